//! The built-in oracle data set (docs/strategies.md#closed-form): grey images in which letter k is drawn at a contrast that
//! encodes a latent g_k ~ N(0, 1), with y_k ~ Bern(sigmoid(signal * g_k + b_k)) and b_k such that P(y_k = 1) is the rate asked
//! for. Only `libm` and [`imbalance::rng`] enter, so that the bytes are the same on every machine.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::DataError;
use super::Unprepared;
use super::glyph;
use super::prepared::{Rows, Writer};
use imbalance::LabelMatrix;
use imbalance::oracle::intercept;
use imbalance::rng::Rng;
use plan::InputShape;
use plan::Source;

/// Part of the prepared folder's key; increase it when the images change.
pub const VERSION: u32 = 1;

/// Draws the whole data set into a prepared folder below `cache`, unless it is there.
///
/// # Errors
/// See [`Letters::new`]; a cache folder that cannot be written.
///
/// # Panics
/// If `source` is of another kind.
pub fn prepare(source: &Source, cache: &Path, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<PathBuf, Unprepared> {
    let Source::Letters { samples, label_rates, image_size, signal, seed } = source else {
        unreachable!("only the letters come here");
    };
    let letters = Letters::new(label_rates, *image_size, *signal, *seed)?;
    let mut key = blake3::Hasher::new();
    key.update(format!("letters {VERSION} {samples} {image_size} {} {seed}", signal.to_bits()).as_bytes());
    for (name, rate) in label_rates {
        key.update(format!(" {} {name} {}", name.len(), rate.to_bits()).as_bytes());
    }
    super::ensure(cache, &key, |key| {
        let mut writer = Writer::create(cache)?;
        let mut values = Vec::with_capacity(samples * label_rates.len());
        for start in (0..*samples).step_by(CHUNK) {
            progress(start, *samples);
            let rows: Vec<_> = (start..(start + CHUNK).min(*samples))
                .into_par_iter()
                .map(|row| {
                    let latents = letters.draw(row as u64);
                    (letters.image(&latents), latents)
                })
                .collect();
            for (image, latents) in rows {
                writer.push(&image)?;
                values.extend(latents.iter().map(|latent| latent.1));
            }
        }
        progress(*samples, *samples);
        let rows = Rows {
            ids: (0..*samples).map(|row| row.to_string()).collect(),
            labels: LabelMatrix { names: label_rates.iter().map(|(name, _)| name.clone()).collect(), values },
            splits: None,
            groups: None,
            group_names: Vec::new(),
            skipped: Vec::new(),
            doubts: Vec::new(),
            white: None,
        };
        let content = writer.hash();
        writer.finish(key, letters.shape(), &rows, content)
    })
}

/// Rows drawn in parallel before they are written.
const CHUNK: usize = 4096;

/// Draws rows one by one.
pub struct Letters<'a> {
    label_rates: &'a [(String, f64)],
    intercepts: Vec<f64>,
    signal: f64,
    seed: u64,
    size: usize,
    /// Cells per side, pixels per cell, pixels per font pixel.
    grid: usize,
    cell: usize,
    scale: usize,
}

impl<'a> Letters<'a> {
    /// A generator of images of `image_size` x `image_size` pixels.
    ///
    /// # Errors
    /// No labels, a rate outside (0, 1), a negative signal, or an image too small for a cell of 8x8 pixels per label.
    pub fn new(label_rates: &'a [(String, f64)], image_size: u32, signal: f64, seed: u64) -> Result<Self, DataError> {
        let wrong = |message: String| Err(DataError { place: "data kind `letters`".to_owned(), message });
        if label_rates.is_empty() {
            return wrong("`label_rates` names no label".to_owned());
        }
        if let Some((name, rate)) = label_rates.iter().find(|(_, rate)| !(*rate > 0.0 && *rate < 1.0)) {
            return wrong(format!("the rate of `{name}` is {rate}; it must lie between 0 and 1"));
        }
        if !(signal >= 0.0 && signal.is_finite()) {
            return wrong(format!("`signal` is {signal}; it must be 0 or more"));
        }
        let grid = (1..).find(|side| side * side >= label_rates.len()).unwrap_or(1);
        let size = image_size as usize;
        if size < 8 * grid {
            return wrong(format!(
                "`image_size` is {size}, but {} letters need a grid of {grid}x{grid} cells of 8 pixels: at least {}",
                label_rates.len(),
                8 * grid
            ));
        }
        let cell = size / grid;
        let scale = (cell / (glyph::WIDTH + 1)).min(cell / (glyph::HEIGHT + 1));
        let intercepts = label_rates.iter().map(|(_, rate)| intercept(signal, *rate)).collect();
        Ok(Self { label_rates, intercepts, signal, seed, size, grid, cell, scale })
    }

    /// What a network sees.
    #[must_use]
    pub fn shape(&self) -> InputShape {
        InputShape::Image { channels: 1, height: self.size, width: self.size }
    }

    /// The latents and the labels of one row.
    #[must_use]
    pub fn draw(&self, row: u64) -> Vec<(f64, u8)> {
        let one = |(label, b): (usize, &f64)| {
            let mut rng = Rng::new(self.seed, "letters", &[row, label as u64]);
            let g = rng.normal();
            let probability = 1.0 / (1.0 + libm::exp(-(self.signal * g + b)));
            (g, u8::from(rng.uniform() < probability))
        };
        self.intercepts.iter().enumerate().map(one).collect()
    }

    /// The image of one row's latents: `[1, size, size]`, black with one letter per cell.
    #[must_use]
    pub fn image(&self, latents: &[(f64, u8)]) -> Vec<u8> {
        let mut image = vec![0; self.size * self.size];
        let (left, top) = ((self.cell - glyph::WIDTH * self.scale) / 2, (self.cell - glyph::HEIGHT * self.scale) / 2);
        for (label, ((name, _), (g, _))) in self.label_rates.iter().zip(latents).enumerate() {
            let grey = (255.0 * ((g + 3.0) / 6.0).clamp(0.0, 1.0)).round() as u8;
            let (cell_x, cell_y) = (label % self.grid * self.cell + left, label / self.grid * self.cell + top);
            for (y, bits) in glyph::of(name, label).iter().enumerate() {
                for x in (0..glyph::WIDTH).filter(|x| bits >> (glyph::WIDTH - 1 - x) & 1 == 1) {
                    for line in 0..self.scale {
                        let start = (cell_y + y * self.scale + line) * self.size + cell_x + x * self.scale;
                        image[start..start + self.scale].fill(grey);
                    }
                }
            }
        }
        image
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates() -> Vec<(String, f64)> {
        [("A", 0.0848), ("B", 0.2902), ("C", 0.1696), ("D", 0.4688)].map(|(name, rate)| (name.to_owned(), rate)).to_vec()
    }

    #[test]
    fn rates_and_latents_are_as_asked() {
        let rates = rates();
        let letters = Letters::new(&rates, 32, 1.5, 7).unwrap();
        let rows: Vec<_> = (0..20_000).map(|row| letters.draw(row)).collect();
        for (label, (name, rate)) in rates.iter().enumerate() {
            let n = rows.len() as f64;
            let share = rows.iter().map(|row| f64::from(row[label].1)).sum::<f64>() / n;
            let deviation = (rate * (1.0 - rate) / n).sqrt();
            assert!((share - rate).abs() < 4.0 * deviation, "{name}: {share} instead of {rate}");
            let mean = rows.iter().map(|row| row[label].0).sum::<f64>() / n;
            assert!(mean.abs() < 4.0 / n.sqrt());
        }
    }

    /// The brightest pixel of each cell encodes g to 8-bit precision.
    #[test]
    fn images_encode_the_latents() {
        let rates = rates();
        for size in [16, 32, 50, 64] {
            let letters = Letters::new(&rates, size, 1.0, 0).unwrap();
            for row in 0..50 {
                let latents = letters.draw(row);
                let image = letters.image(&latents);
                for (label, (g, _)) in latents.iter().enumerate() {
                    let (x0, y0) = (label % 2 * letters.cell, label / 2 * letters.cell);
                    let pixels = (0..letters.cell).flat_map(|y| (0..letters.cell).map(move |x| (x0 + x, y0 + y)));
                    let grey = pixels.map(|(x, y)| image[y * letters.size + x]).max().unwrap();
                    assert!((f64::from(grey) / 255.0 * 6.0 - 3.0 - g.clamp(-3.0, 3.0)).abs() <= 3.0 / 255.0 + 1e-12);
                }
            }
        }
    }

    /// The bytes are the same on every machine and in every version.
    #[test]
    fn golden_bytes() {
        let rates = rates();
        let letters = Letters::new(&rates, 32, 1.0, 0).unwrap();
        let mut hasher = blake3::Hasher::new();
        for row in 0..1000 {
            let latents = letters.draw(row);
            hasher.update(&letters.image(&latents));
            hasher.update(&latents.iter().map(|latent| latent.1).collect::<Vec<u8>>());
        }
        assert_eq!(&hasher.finalize().to_hex()[..16], "27909bdfb4e3b64a");
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let rates = rates();
        let message = |result: Result<Letters<'_>, DataError>| result.err().unwrap().to_string();
        assert!(message(Letters::new(&rates, 15, 1.0, 0)).contains("at least 16"));
        assert!(message(Letters::new(&rates, 32, f64::NAN, 0)).contains("`signal` is NaN"));
        assert!(message(Letters::new(&[("A".to_owned(), 1.0)], 32, 1.0, 0)).contains("the rate of `A` is 1"));
        assert!(message(Letters::new(&[], 32, 1.0, 0)).contains("no label"));
    }
}
