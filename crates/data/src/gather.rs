//! From the mapped bytes to what a network sees: normalisation, and the random changes of training.

use rayon::prelude::*;

use imbalance::rng::Rng;
use imbalance::vectorized;
use plan::InputShape;
use plan::{ImageConfig, Source};

/// torchvision's mean and deviation of ImageNet, for images in [0, 1].
const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

/// OpenAI's of the images that CLIP was trained on, which open_clip keeps.
const CLIP: ([f32; 3], [f32; 3]) = ([0.481_454_67, 0.457_827_5, 0.408_210_72], [0.268_629_55, 0.261_302_6, 0.275_777_1]);

/// How the images of a frozen backbone are normalised: as the data says, letters as ImageNet's.
#[must_use]
pub fn normalization(source: &Source) -> &str {
    if let Source::Images { image, .. } = source { &image.normalize } else { "imagenet" }
}

/// The mean and the deviation of each channel by which `normalize` makes numbers of images in [0, 1].
fn statistics(normalize: &str, channels: usize) -> (Vec<f32>, Vec<f32>) {
    // Grey images take the mean over the three channels.
    let grey = |values: [f32; 3]| if channels == 3 { values.to_vec() } else { vec![values.iter().sum::<f32>() / 3.0; channels] };
    match normalize {
        "imagenet" => (grey(IMAGENET.0), grey(IMAGENET.1)),
        "clip" => (grey(CLIP.0), grey(CLIP.1)),
        "half" => (vec![0.5; channels], vec![0.5; channels]),
        _ => (vec![0.0; channels], vec![1.0; channels]),
    }
}

/// The mean and the deviation of each channel of pictures in [0, 1] that runs on `source` subtract and divide by; `rgb`: for a pretrained
/// network. `None` where rows are features.
#[must_use]
pub fn mean_and_deviation(source: &Source, rgb: bool) -> Option<(Vec<f32>, Vec<f32>)> {
    let own = |normalize: &str, channels: usize| statistics(normalize, channels);
    match source {
        Source::Letters { .. } if rgb => Some(own(normalization(source), 3)),
        Source::Letters { .. } => Some(own("none", 1)),
        Source::Images { image, .. } => Some(own(&image.normalize, if rgb { 3 } else { image.channels as usize })),
        Source::Features { .. } | Source::Imported { .. } => None,
    }
}

/// How inputs are changed on the way out.
pub enum Transform {
    Image(ImageTransform),
    /// (x - mean) * scale, column by column; scale is 0 where a column is constant. Empty: as they are.
    Features {
        mean: Vec<f32>,
        scale: Vec<f32>,
    },
}

/// A random change of an image: mirrored, then moved; what comes in from outside is black.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub flip: bool,
    /// How many pixels below and to the right of its own place an output pixel's source lies.
    pub down: isize,
    pub right: isize,
}

/// value * scale + offset per channel; mirrored and shifted at train time.
pub struct ImageTransform {
    channels: usize,
    height: usize,
    width: usize,
    scale: Vec<f32>,
    offset: Vec<f32>,
    flip: bool,
    padding: usize,
    /// The bytes hold one channel, which is repeated.
    repeat: bool,
}

impl ImageTransform {
    /// The transform of `source`; letters stay in [0, 1] and are never changed at random.
    #[must_use]
    pub fn new(source: &Source, channels: usize, height: usize, width: usize) -> Self {
        let config = if let Source::Images { image, .. } = source { Some(image) } else { None };
        let normalize = config.map_or("none", |image| image.normalize.as_str());
        let (mean, deviation) = statistics(normalize, channels);
        Self {
            channels,
            height,
            width,
            scale: deviation.iter().map(|deviation| 1.0 / (255.0 * deviation)).collect(),
            offset: mean.iter().zip(&deviation).map(|(mean, deviation)| -mean / deviation).collect(),
            flip: config.is_some_and(|image: &ImageConfig| image.flip),
            padding: config.map_or(0, |image| image.crop_padding as usize),
            repeat: false,
        }
    }

    /// The transform of `source` for a network that was made for three channels, without changes at random: the channel of a grey
    /// image is repeated, as `PIL.Image.convert("RGB")` does, and letters are normalised as `imagenet`.
    #[must_use]
    pub fn rgb(source: &Source, channels: usize, height: usize, width: usize) -> Self {
        let mut transform = Self::new(source, 3, height, width);
        if normalization(source) == "imagenet" {
            transform.normalize(&IMAGENET.0, &IMAGENET.1);
        }
        Self { flip: false, padding: 0, repeat: channels == 1, ..transform }
    }

    fn normalize(&mut self, mean: &[f32], deviation: &[f32]) {
        self.scale = deviation.iter().map(|deviation| 1.0 / (255.0 * deviation)).collect();
        self.offset = mean.iter().zip(deviation).map(|(mean, deviation)| -mean / deviation).collect();
    }

    /// The change of `row` in the epoch that `augment` names (seed, epoch).
    fn change(&self, row: u32, augment: Option<(u64, usize)>) -> Change {
        let Some((seed, epoch)) = augment.filter(|_| self.flip || self.padding > 0) else { return Change::default() };
        let mut rng = Rng::new(seed, "augment", &[epoch as u64, u64::from(row)]);
        let flip = self.flip && rng.next_u32() & 1 == 1;
        let reach = 2 * self.padding as u64 + 1;
        let mut shift = || rng.below(reach) as isize - self.padding as isize;
        Change { flip, down: shift(), right: shift() }
    }

    /// Writes `[channels, height, width]` of one row's bytes.
    pub fn apply(&self, pixels: &[u8], Change { flip, down, right }: Change, out: &mut [f32]) {
        let (area, width) = (self.height * self.width, self.width);
        for channel in 0..self.channels {
            let (scale, offset) = (self.scale[channel], self.offset[channel]);
            let seen = if self.repeat { 0 } else { channel };
            let (from, to) = (&pixels[seen * area..(seen + 1) * area], &mut out[channel * area..(channel + 1) * area]);
            if (flip, down, right) == (false, 0, 0) {
                normalize(from.iter(), to, scale, offset);
                continue;
            }
            // Columns of the unmirrored image, moved by `right`, that have a source; the others and lines without one are black.
            let (first, end) = ((-right).clamp(0, width as isize), (width as isize - right).clamp(0, width as isize));
            let seen = first as usize..end.max(first) as usize;
            for (y, line) in to.chunks_exact_mut(width).enumerate() {
                let source = y.checked_add_signed(down).filter(|&y| y < self.height && !seen.is_empty());
                if source.is_none() || seen.len() < width {
                    line.fill(0.0f32.mul_add(scale, offset));
                }
                let Some(source) = source.map(|y| &from[y * width..(y + 1) * width]) else { continue };
                let source = source[seen.start.saturating_add_signed(right)..].iter().take(seen.len());
                if flip {
                    normalize(source.rev(), &mut line[width - seen.end..width - seen.start], scale, offset);
                } else {
                    normalize(source, &mut line[seen.clone()], scale, offset);
                }
            }
        }
    }
}

/// byte * scale + offset, rounded once. Compiled for the machine's vectors: without them the fused operation is a function call.
fn normalize<'a>(from: impl Iterator<Item = &'a u8>, to: &mut [f32], scale: f32, offset: f32) {
    vectorized(
        #[inline(always)]
        || {
            for (to, &from) in to.iter_mut().zip(from) {
                *to = f32::from(from).mul_add(scale, offset);
            }
        },
    );
}

fn decode(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes))
}

impl Transform {
    /// Standardisation by the mean and deviation of the `train` rows.
    #[must_use]
    pub fn standardize(inputs: &[u8], width: usize, train: &[u32]) -> Self {
        /// Rows summed together: a constant, so that the sums do not depend on the number of threads.
        const CHUNK: usize = 1024;
        let row = |row: u32| decode(&inputs[row as usize * width * 4..(row as usize + 1) * width * 4]).map(f64::from);
        let sums = |term: &(dyn Fn(usize, f64) -> f64 + Sync)| -> Vec<f64> {
            let chunks: Vec<Vec<f64>> = train
                .par_chunks(CHUNK)
                .map(|rows| {
                    let mut sums = vec![0.0; width];
                    for &r in rows {
                        for (column, (sum, x)) in sums.iter_mut().zip(row(r)).enumerate() {
                            *sum += term(column, x);
                        }
                    }
                    sums
                })
                .collect();
            (0..width).map(|column| chunks.iter().map(|sums| sums[column]).sum()).collect()
        };
        let n = train.len().max(1) as f64;
        let first: Vec<f64> = train.first().map(|&r| row(r).collect()).unwrap_or_default();
        let varies = sums(&|column, x| f64::from(u8::from(x.to_bits() != first[column].to_bits())));
        let mean: Vec<f64> = sums(&|_, x| x).iter().map(|sum| sum / n).collect();
        let squares = sums(&|column, x| (x - mean[column]) * (x - mean[column]));
        let scale = squares.iter().zip(&varies).map(|(sum, varies)| {
            let deviation = (sum / n).sqrt();
            if *varies == 0.0 || deviation == 0.0 { 0.0 } else { (1.0 / deviation) as f32 }
        });
        Self::Features { scale: scale.collect(), mean: mean.iter().map(|mean| *mean as f32).collect() }
    }

    /// The change of `row` in the epoch that `augment` names (seed, epoch); features are never changed.
    #[must_use]
    pub fn change(&self, row: u32, augment: Option<(u64, usize)>) -> Change {
        if let Self::Image(image) = self { image.change(row, augment) } else { Change::default() }
    }

    /// Two numbers of each channel or column: images are `value * first + second`, features `(value - first) * second`.
    #[must_use]
    pub fn numbers(&self, width: usize) -> (Vec<f32>, Vec<f32>) {
        match self {
            Self::Image(ImageTransform { scale, offset, .. }) => (scale.clone(), offset.clone()),
            Self::Features { mean, .. } if mean.is_empty() => (vec![0.0; width], vec![1.0; width]),
            Self::Features { mean, scale } => (mean.clone(), scale.clone()),
        }
    }

    /// Writes the transformed `rows` of `inputs` to `out`, `step` numbers apart, in parallel.
    pub fn gather(
        &self,
        shape: InputShape,
        inputs: &[u8],
        rows: &[u32],
        augment: Option<(u64, usize)>,
        step: usize,
        out: &mut [f32],
    ) {
        let (values, bytes) = (shape.values(), shape.row_bytes());
        assert!(step >= values && out.len() == rows.len() * step, "the buffer must hold exactly the rows asked for");
        let least = (16_384 / values.max(1)).max(1);
        let row = |row: u32| &inputs[row as usize * bytes..(row as usize + 1) * bytes];
        out.par_chunks_mut(step.max(1) * least).zip(rows.par_chunks(least)).for_each(|(out, rows)| {
            for (at, out) in out.chunks_exact_mut(step.max(1)).enumerate() {
                if let Some(&next) = rows.get(at + 1) {
                    prefetch(row(next));
                }
                let (out, from) = (&mut out[..values], row(rows[at]));
                match self {
                    Self::Image(image) => image.apply(from, image.change(rows[at], augment), out),
                    Self::Features { mean, .. } if mean.is_empty() => vectorized(
                        #[inline(always)]
                        || out.iter_mut().zip(decode(from)).for_each(|(out, x)| *out = x),
                    ),
                    Self::Features { mean, scale } => vectorized(
                        #[inline(always)]
                        || {
                            for ((out, x), (mean, scale)) in out.iter_mut().zip(decode(from)).zip(mean.iter().zip(scale)) {
                                *out = (x - mean) * scale;
                            }
                        },
                    ),
                }
            }
        });
    }
}

/// Asks for the cache lines of `bytes`, which are read next, without waiting for them.
fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes.chunks(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: it reads nothing that the program sees, and every x86-64 has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Equal to the definition to the last bit, computed one number at a time: mirrored, then moved, black from outside.
    #[test]
    fn lines_are_moved_and_mirrored_as_single_pixels_would_be() {
        let (channels, height, width) = (2, 5, 7);
        let pixels: Vec<u8> = (0..channels * height * width).map(|i| (i * 89 + 3) as u8).collect();
        let mut seen = std::collections::BTreeSet::new();
        for (flip, padding) in [(false, 0), (true, 0), (true, 3), (true, 9)] {
            let transform = ImageTransform {
                channels,
                height,
                width,
                scale: vec![0.0171, 0.0175],
                offset: vec![-2.1, 0.3],
                flip,
                padding,
                repeat: false,
            };
            for epoch in 0..200 {
                let mut out = vec![f32::NAN; pixels.len()];
                transform.apply(&pixels, transform.change(5, Some((3, epoch))), &mut out);
                let mut rng = Rng::new(3, "augment", &[epoch as u64, 5]);
                let flipped = flip && rng.next_u32() & 1 == 1;
                let mut shift = || rng.below(2 * padding as u64 + 1) as isize - padding as isize;
                let (down, right) = (shift(), shift());
                seen.insert((flipped, down, right));
                for (i, value) in out.iter().enumerate() {
                    let (channel, y, x) = (i / (height * width), i / width % height, i % width);
                    let x = if flipped { width - 1 - x } else { x };
                    let (y, x) = (y as isize + down, x as isize + right);
                    let inside = (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
                    let pixel = if inside { pixels[(channel * height + y as usize) * width + x as usize] } else { 0 };
                    let expected = f32::from(pixel).mul_add(transform.scale[channel], transform.offset[channel]);
                    assert_eq!(value.to_bits(), expected.to_bits(), "flip {flipped}, down {down}, right {right}, at {i}");
                }
            }
        }
        assert!(seen.len() > 200);
    }
}
