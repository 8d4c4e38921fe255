//! The whole of a small convolutional network as one operation: stages of a 3x3 convolution, batch norm, a rectifier and 2x2 max
//! pooling, and the average of the last maps over a grid.
//!
//! Inside, maps have their channels innermost, `[image, height, width, channels]`, with a border of zeros where a convolution
//! reads them: a place's channels are vectors of the products, and no input is laid out as a matrix. What lies between two
//! convolutions is one pass, and backward everything about an image happens while it is in cache.

mod norm;
mod products;
mod shape;

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape as TensorShape, Tensor, bail};
use rayon::prelude::*;

use super::BatchStatistics;
use super::batch_norm::{Channel, Moments, batch_norm_eval, batch_norm_train, check_channels};
use super::cpu::{Scratch, slice, tensor, values};
use super::pool::averaged;
use super::tie::{self, Slot};
use imbalance::vectorized;
use norm::{Affine, Slopes};
use products::{Windows, convolve, correlate};
use shape::Shape;

/// The weights of a stage.
pub struct Stage {
    /// `[outputs, inputs, 3, 3]`
    pub conv: Tensor,
    /// Weight and bias.
    pub norm: (Tensor, Tensor),
}

/// Images `[n, c, h, w]` → `[n, channels x rows x cols]` in the order of torch's `flatten(1)`: stages normalised with the batch's own
/// statistics, their last maps averaged to at most `grid` x `grid` as torch's `AdaptiveAvgPool2d` does; and the statistics.
///
/// Maps of fewer than two rows or columns are not pooled.
///
/// # Errors
/// Candle errors; shapes that do not fit.
pub fn stages_train(images: &Tensor, stages: &[Stage], grid: usize, eps: f64) -> Result<(Tensor, Vec<BatchStatistics>)> {
    if !super::is_ours(images) || stages.is_empty() {
        return train_reference(images, stages, grid, eps);
    }
    let net = Net::new(images, stages, grid)?;
    let slots: Vec<Slot<_>> = stages.iter().map(|_| Slot::default()).collect();
    let tokens = stages.iter().zip(&slots).map(|(stage, slot)| tie::tie([&stage.norm.0, &stage.norm.1, &stage.conv], slot));
    let tokens = Tensor::cat(&tokens.collect::<Result<Vec<_>>>()?, 0)?;
    let weights = stages.iter().map(Stage::weights).collect::<Result<_>>()?;
    let saved = Arc::new(Mutex::new(Saved::default()));
    let op = Stages { net, eps, weights, slots, saved: Arc::clone(&saved) };
    let shapes = op.net.shapes.clone();
    let y = images.contiguous()?.apply_op2(&tokens, op)?;
    let saved = saved.lock().unwrap_or_else(PoisonError::into_inner);
    let batch = images.dim(0)?;
    let of = |(channels, shape): (&Vec<Channel>, &Shape)| BatchStatistics::new(channels, batch * shape.height * shape.width);
    let statistics = saved.channels.iter().zip(&shapes).map(of).collect::<Result<_>>()?;
    Ok((y, statistics))
}

/// The same with given statistics, outside the graph.
///
/// # Errors
/// Candle errors; shapes that do not fit.
pub fn stages_eval(images: &Tensor, stages: &[Stage], statistics: &[BatchStatistics], grid: usize, eps: f64) -> Result<Tensor> {
    if !super::is_ours(images) || stages.is_empty() {
        return eval_reference(images, stages, statistics, grid, eps);
    }
    let net = Net::new(images, stages, grid)?;
    let mut folded = Vec::with_capacity(stages.len());
    for ((stage, statistics), shape) in stages.iter().zip(statistics).zip(&net.shapes) {
        let [weight, bias, conv] = stage.weights()?;
        let affines = statistics.affines(&(weight, bias), eps)?;
        let conv = values(&conv)?;
        let lines = conv.chunks_exact((shape.inputs * 9).max(1)).zip(&affines);
        let scaled: Vec<f32> = lines.flat_map(|(line, &(scale, _))| line.iter().map(move |weight| weight * scale)).collect();
        let mut start: Vec<f32> = affines.iter().map(|&(_, shift)| shift).collect();
        start.resize(shape.output_step(), 0.0);
        folded.push((shape.pack(&scaled), start));
    }
    let images = images.detach().contiguous()?;
    let batch = images.dim(0)?;
    let images = values(&images)?;
    let mut y = vec![0.0; batch * net.width()];
    let each = y.par_chunks_exact_mut(net.width().max(1)).zip(images.par_chunks_exact(net.image()));
    each.for_each(|(y, image)| net.evaluate(image, &folded, y));
    tensor(y, (batch, net.width()))
}

/// Training from the other operations of this crate.
fn train_reference(images: &Tensor, stages: &[Stage], grid: usize, eps: f64) -> Result<(Tensor, Vec<BatchStatistics>)> {
    let (mut x, mut statistics) = (super::enter(images)?, Vec::with_capacity(stages.len()));
    for Stage { conv, norm } in stages {
        let (y, seen) = batch_norm_train(&super::conv2d(&x, conv, 1, 1)?, &norm.0, &norm.1, eps, true)?;
        statistics.push(seen);
        x = pooled(&y)?;
    }
    Ok((super::flatten(&super::adaptive_avg_pool2d(&x, grid)?)?, statistics))
}

/// Evaluation from the other operations of this crate.
fn eval_reference(images: &Tensor, stages: &[Stage], statistics: &[BatchStatistics], grid: usize, eps: f64) -> Result<Tensor> {
    let mut x = super::enter(&images.detach())?;
    for (stage, statistics) in stages.iter().zip(statistics) {
        let [weight, bias, conv] = stage.weights()?;
        x = pooled(&batch_norm_eval(&super::conv2d(&x, &conv, 1, 1)?, statistics, &weight, &bias, eps, true)?)?;
    }
    super::flatten(&super::adaptive_avg_pool2d(&x, grid)?)
}

fn pooled(maps: &Tensor) -> Result<Tensor> {
    let (height, width) = super::map_size(maps)?;
    if height.min(width) >= 2 { super::max_pool2d(maps, 2, 2, 0) } else { Ok(maps.clone()) }
}

impl Stage {
    /// Weight and bias of the norm, and the convolution's weight: outside the graph, each in one piece.
    fn weights(&self) -> Result<[Tensor; 3]> {
        let own = |t: &Tensor| t.detach().contiguous();
        Ok([own(&self.norm.0)?, own(&self.norm.1)?, own(&self.conv)?])
    }
}

/// The sizes of a network.
struct Net {
    shapes: Vec<Shape>,
    /// Channels, height and width of an image.
    image: [usize; 3],
    /// Rows and columns that the last maps are averaged to.
    grid: (usize, usize),
}

impl Net {
    fn new(images: &Tensor, stages: &[Stage], grid: usize) -> Result<Self> {
        let (_, channels, height, width) = images.dims4()?;
        let weights: Vec<&Tensor> = stages.iter().map(|stage| &stage.conv).collect();
        let shapes = Shape::all(&weights, [channels, height, width])?;
        for (shape, stage) in shapes.iter().zip(stages) {
            check_channels(shape.outputs, &stage.norm.0, &stage.norm.1)?;
        }
        let (rows, cols) = shapes.last().map_or((0, 0), Shape::pooled);
        Ok(Self { shapes, image: [channels, height, width], grid: (rows.min(grid), cols.min(grid)) })
    }

    /// Numbers of an image.
    fn image(&self) -> usize {
        self.image.iter().product::<usize>().max(1)
    }

    /// Features of an image.
    fn width(&self) -> usize {
        self.shapes.last().map_or(0, |shape| shape.outputs * self.grid.0 * self.grid.1)
    }

    /// An image `[channels, height, width]` as the first convolution reads it.
    fn enter(&self, image: &[f32], x: &mut [f32]) {
        let [channels, height, width] = self.image;
        x.fill(0.0);
        let line = (width + 2) * channels;
        for (channel, plane) in image.chunks_exact(height * width).enumerate() {
            for (row, from) in plane.chunks_exact(width).enumerate() {
                let x = &mut x[(row + 1) * line + channels + channel..];
                x.iter_mut().step_by(channels).zip(from).for_each(|(x, &value)| *x = value);
            }
        }
    }

    /// The windows of the grid: for each feature of one channel, the places it is the mean of.
    fn cells(&self, mut each: impl FnMut(usize, usize, f32)) {
        let (Some(shape), (rows, cols)) = (self.shapes.last(), self.grid) else { return };
        let (height, width) = shape.pooled();
        for cell in 0..rows * cols {
            let (above, beside) = (averaged(cell / cols, height, rows), averaged(cell % cols, width, cols));
            let share = 1.0 / (above.len() * beside.len()) as f32;
            for row in above {
                for col in beside.clone() {
                    each(cell, row * width + col, share);
                }
            }
        }
    }

    /// The last maps of an image, `[height, width, channels]`, to its features.
    fn leave(&self, maps: &[f32], features: &mut [f32]) {
        let Some(shape) = self.shapes.last() else { return };
        let (step, cells) = (shape.output_step(), self.grid.0 * self.grid.1);
        features.fill(0.0);
        self.cells(|cell, place, share| {
            let features = features[cell..].iter_mut().step_by(cells);
            features.zip(&maps[place * step..]).for_each(|(feature, value)| *feature += value * share);
        });
    }

    /// The gradient of the last maps from that of the features.
    fn leave_back(&self, slopes: &[f32], maps: &mut [f32]) {
        let Some(shape) = self.shapes.last() else { return };
        let (step, cells) = (shape.output_step(), self.grid.0 * self.grid.1);
        maps.fill(0.0);
        self.cells(|cell, place, share| {
            let slopes = slopes[cell..].iter().step_by(cells);
            slopes.zip(&mut maps[place * step..]).for_each(|(slope, map)| *map += slope * share);
        });
    }

    /// One image with weights and starts into which the norms are folded.
    fn evaluate(&self, image: &[f32], folded: &[(Vec<f32>, Vec<f32>)], features: &mut [f32]) {
        let Some(first) = self.shapes.first() else { return };
        let mut x = Scratch::new(first.input());
        self.enter(image, &mut x);
        for (s, (shape, (weights, start))) in self.shapes.iter().zip(folded).enumerate() {
            let mut y = Scratch::new(shape.map());
            convolve(&x, &windows(shape), weights, start, (shape.height, shape.width), &mut y);
            let (next, border) = self.next(s);
            x.resize(next);
            vectorized(
                #[inline(always)]
                || norm::activate(&y, shape, &Affine::none(shape.output_step()), border, &mut x),
            );
        }
        self.leave(&x, features);
    }

    /// Numbers of the map behind stage `s`, and its border: the next stage's input, or the last map.
    fn next(&self, s: usize) -> (usize, usize) {
        let (rows, cols) = self.shapes[s].pooled();
        self.shapes.get(s + 1).map_or((rows * cols * self.shapes[s].output_step(), 0), |next| (next.input(), 1))
    }
}

/// The windows of a stage's convolution over its input.
fn windows(shape: &Shape) -> Windows {
    Windows::new(shape.inputs, shape.input_step, shape.width)
}

/// What the forward pass leaves for the backward pass, per stage.
#[derive(Default)]
struct Saved {
    /// The convolution's input and output, and what the norm has seen.
    inputs: Vec<Scratch>,
    outputs: Vec<Scratch>,
    channels: Vec<Vec<Channel>>,
}

struct Stages {
    net: Net,
    eps: f64,
    /// As [`Stage::weights`] gives them.
    weights: Vec<[Tensor; 3]>,
    slots: Vec<Slot<[Vec<f32>; 3]>>,
    /// Filled by the forward pass.
    saved: Arc<Mutex<Saved>>,
}

/// What the backward pass gives.
struct Gradients {
    /// Of each stage: the norm's weight and bias, the convolution's weight.
    weights: Vec<[Vec<f32>; 3]>,
    images: Option<Vec<f32>>,
}

/// Groups of images whose weight gradients are summed apart: the same for every number of threads.
const PARTS: usize = 8;

impl Stages {
    fn forward(&self, images: &[f32]) -> Result<(Vec<f32>, Saved)> {
        let Net { shapes, .. } = &self.net;
        let mut saved = Saved::default();
        let Some(first) = shapes.first() else { bail!("no stages") };
        let mut x = Scratch::new(images.len() / self.net.image() * first.input());
        let entering = x.par_chunks_exact_mut(first.input()).zip(images.par_chunks_exact(self.net.image()));
        entering.for_each(|(x, image)| self.net.enter(image, x));
        for (s, (shape, weights)) in shapes.iter().zip(&self.weights).enumerate() {
            let (weight, bias, conv) = (values(&weights[0])?, values(&weights[1])?, values(&weights[2])?);
            let (packed, start, windows) = (shape.pack(&conv), vec![0.0; shape.output_step()], windows(shape));
            let mut y = Scratch::new(x.len() / shape.input() * shape.map());
            let each = y.par_chunks_exact_mut(shape.map()).zip(x.par_chunks_exact(shape.input()));
            let moments: Vec<Vec<Moments>> = each
                .map(|(y, x)| {
                    convolve(x, &windows, &packed, &start, (shape.height, shape.width), y);
                    vectorized(
                        #[inline(always)]
                        || norm::moments(y, shape),
                    )
                })
                .collect();
            let channel = |c| Moments::join(moments.iter().map(|moments| moments[c])).channel(self.eps);
            let channels: Vec<Channel> = (0..shape.outputs).map(channel).collect();
            let affine = Affine::new(&channels, &weight, &bias);
            let (next, border) = self.net.next(s);
            let mut out = Scratch::new(y.len() / shape.map() * next);
            let each = out.par_chunks_exact_mut(next).zip(y.par_chunks_exact(shape.map()));
            each.for_each(|(out, y)| {
                vectorized(
                    #[inline(always)]
                    || norm::activate(y, shape, &affine, border, out),
                )
            });
            saved.inputs.push(std::mem::replace(&mut x, out));
            saved.outputs.push(y);
            saved.channels.push(channels);
        }
        let (last, _) = self.net.next(shapes.len() - 1);
        let mut features = vec![0.0; x.len() / last * self.net.width()];
        let each = features.par_chunks_exact_mut(self.net.width()).zip(x.par_chunks_exact(last));
        each.for_each(|(features, maps)| self.net.leave(maps, features));
        Ok((features, saved))
    }

    /// The gradients of each stage's weights, and of the images where `images`.
    fn backward(&self, saved: &Saved, slopes: &[f32], images: bool) -> Result<Gradients> {
        let Net { shapes, .. } = &self.net;
        let batch = slopes.len() / self.net.width();
        let part = batch.div_ceil(PARTS);
        let (last, _) = self.net.next(shapes.len() - 1);
        // The gradient of the maps behind a stage, part by part.
        let mut dy: Vec<Scratch> = slopes
            .par_chunks(part * self.net.width())
            .map(|slopes| {
                let mut maps = Scratch::new(slopes.len() / self.net.width() * last);
                let each = maps.chunks_exact_mut(last).zip(slopes.chunks_exact(self.net.width()));
                each.for_each(|(maps, slopes)| self.net.leave_back(slopes, maps));
                maps
            })
            .collect();
        let mut gradients = Vec::with_capacity(shapes.len());
        for (s, (shape, weights)) in shapes.iter().zip(&self.weights).enumerate().rev() {
            let (x, y, channels) = (&saved.inputs[s], &saved.outputs[s], &saved.channels[s]);
            let (weight, bias, conv) = (values(&weights[0])?, values(&weights[1])?, values(&weights[2])?);
            let affine = Affine::new(channels, &weight, &bias);
            let behind = shape.pooled().0 * shape.pooled().1 * shape.output_step();
            let parts = || x.par_chunks(part * shape.input()).zip(y.par_chunks(part * shape.map()));
            let sums: Vec<Vec<[f64; 2]>> = y
                .par_chunks(part * shape.map())
                .zip(&dy)
                .flat_map_iter(|(y, dy)| {
                    let images = y.chunks_exact(shape.map()).zip(dy.chunks_exact(behind));
                    images.map(|(y, dy)| {
                        vectorized(
                            #[inline(always)]
                            || norm::slope_sums(y, dy, shape, &affine),
                        )
                    })
                })
                .collect();
            let total = |c: usize| sums.iter().fold([0.0, 0.0], |[a, b], sums| [a + sums[c][0], b + sums[c][1]]);
            let total: Vec<[f64; 2]> = (0..shape.outputs).map(total).collect();
            let slopes = Slopes::new(&total, batch * shape.height * shape.width);
            let back = (s > 0 || images).then(|| Back::new(shape, &conv));
            let windows = windows(shape);
            let (partial, below): (Vec<Scratch>, Vec<Scratch>) = parts()
                .zip(&dy)
                .map(|((x, y), dy)| {
                    let mut gradient = Scratch::new(9 * shape.inputs * shape.output_step());
                    gradient.fill(0.0);
                    let mut spread = Scratch::new(shape.slopes());
                    // Its border stays as it is.
                    spread.fill(0.0);
                    let size = back.as_ref().map_or(0, |back| back.map(shape));
                    let mut below = Scratch::new(size * (y.len() / shape.map()));
                    let each = x.chunks_exact(shape.input()).zip(y.chunks_exact(shape.map())).zip(dy.chunks_exact(behind));
                    for (image, ((x, y), dy)) in each.enumerate() {
                        vectorized(
                            #[inline(always)]
                            || norm::spread(y, dy, shape, &affine, &slopes, &mut spread),
                        );
                        correlate(x, &windows, &spread, (shape.height, shape.width), &mut gradient);
                        if let Some(back) = &back {
                            let below = &mut below[image * size..][..size];
                            convolve(&spread, &back.windows, &back.weights, &back.start, (shape.height, shape.width), below);
                        }
                    }
                    (gradient, below)
                })
                .unzip();
            let mut gradient = vec![0.0; 9 * shape.inputs * shape.output_step()];
            for partial in &partial {
                gradient.iter_mut().zip(&**partial).for_each(|(sum, part)| *sum += part);
            }
            let [dbias, dweight] = [0, 1].map(|i| total.iter().map(|sums| sums[i] as f32).collect());
            gradients.push([dweight, dbias, shape.unpack(&gradient)]);
            dy = below;
        }
        gradients.reverse();
        let images = images.then(|| self.images(&dy));
        Ok(Gradients { weights: gradients, images })
    }

    /// The gradient of the images `[channels, height, width]` from that of the first convolution's input.
    fn images(&self, below: &[Scratch]) -> Vec<f32> {
        let [channels, height, width] = self.net.image;
        let (area, step) = (height * width, channels.next_multiple_of(shape::GROUP));
        let image = |map: &[f32]| {
            let at = (0..channels).flat_map(|channel| (0..area).map(move |place| place * step + channel));
            at.map(|at| map[at]).collect::<Vec<f32>>()
        };
        below.iter().flat_map(|part| part.chunks_exact(area * step).flat_map(image)).collect()
    }
}

/// The convolution that gives the gradient of a stage's input.
struct Back {
    weights: Vec<f32>,
    start: Vec<f32>,
    windows: Windows,
}

impl Back {
    fn new(shape: &Shape, conv: &[f32]) -> Self {
        Self {
            weights: shape.pack_back(conv),
            start: vec![0.0; shape.inputs.next_multiple_of(shape::GROUP)],
            windows: Windows::new(shape.outputs, shape.output_step(), shape.width),
        }
    }

    /// Numbers of the gradient of one image.
    fn map(&self, shape: &Shape) -> usize {
        shape.height * shape.width * self.start.len()
    }
}

impl CustomOp2 for Stages {
    fn name(&self) -> &'static str {
        "stages"
    }

    fn cpu_fwd(&self, images: &CpuStorage, layout: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, TensorShape)> {
        let (y, saved) = self.forward(slice(images, layout)?)?;
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = saved;
        let width = self.net.width();
        let shape = (y.len() / width, width).into();
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(&self, images: &Tensor, tokens: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let dy = dy.contiguous()?;
        let gradients = self.backward(&saved, &values(&dy)?, images.track_op())?;
        for (slot, gradients) in self.slots.iter().zip(gradients.weights) {
            tie::leave(slot, gradients);
        }
        let dx = gradients.images.map(|dx| tensor(dx, images.shape())).transpose()?;
        Ok((dx, Some(tokens.zeros_like()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, close, flat};
    use super::*;
    use imbalance::rng::Rng;

    /// Channels, height and width of the images, and outputs of each stage: channels that fill no group, maps that halve to odd
    /// sizes and to one row, grids that do not divide, more groups than a panel has.
    const CASES: [(usize, [usize; 3], &[usize]); 7] = [
        (5, [3, 32, 32], &[16, 32, 64]),
        (3, [1, 9, 13], &[5, 20]),
        (11, [3, 8, 8], &[8, 16]),
        (2, [2, 5, 3], &[33, 7, 50]),
        (4, [4, 7, 21], &[16]),
        (3, [17, 6, 6], &[48, 96]),
        (1, [3, 45, 46], &[12, 24]),
    ];

    fn shapes((batch, image, hidden): (usize, [usize; 3], &[usize])) -> Vec<Vec<usize>> {
        let mut inputs = image[0];
        let of = |&outputs: &usize| [vec![outputs, std::mem::replace(&mut inputs, outputs), 3, 3], vec![outputs], vec![outputs]];
        let stages: Vec<Vec<usize>> = hidden.iter().flat_map(of).collect();
        [vec![batch, image[0], image[1], image[2]]].into_iter().chain(stages).collect()
    }

    fn stages(t: &[Tensor]) -> Vec<Stage> {
        let of = |[conv, weight, bias]: &[Tensor; 3]| Stage { conv: conv.clone(), norm: (weight.clone(), bias.clone()) };
        t.as_chunks::<3>().0.iter().map(of).collect()
    }

    #[test]
    fn training_matches_the_reference() {
        for case in CASES {
            let shapes = shapes(case);
            let shapes: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
            let ours = |t: &[Tensor]| Ok(stages_train(&t[0], &stages(&t[1..]), 4, 1e-5)?.0);
            check(&shapes, ours, |t| Ok(train_reference(&t[0], &stages(&t[1..]), 4, 1e-5)?.0));
        }
    }

    fn noise(shape: &[usize], seed: u64) -> Tensor {
        let mut rng = Rng::new(seed, "noise", &[]);
        let values: Vec<f64> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
        Tensor::from_vec(values, shape, &candle_core::Device::Cpu).unwrap()
    }

    /// Statistics, and the evaluation with them: against f64, and the same bits on any number of threads.
    #[test]
    fn statistics_and_evaluation_match_the_reference() {
        for case in CASES {
            let wide: Vec<Tensor> = (0..).zip(shapes(case)).map(|(seed, shape)| noise(&shape, seed)).collect();
            let single: Vec<Tensor> = wide.iter().map(|t| t.to_dtype(candle_core::DType::F32).unwrap()).collect();
            let (_, expected) = train_reference(&wide[0], &stages(&wide[1..]), 4, 1e-5).unwrap();
            let (_, got) = stages_train(&single[0], &stages(&single[1..]), 4, 1e-5).unwrap();
            for (got, expected) in got.iter().zip(&expected) {
                close(&flat(&got.mean), &flat(&expected.mean));
                close(&flat(&got.variance), &flat(&expected.variance));
            }
            let expected = eval_reference(&wide[0], &stages(&wide[1..]), &expected, 4, 1e-5).unwrap();
            let evaluate = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| stages_eval(&single[0], &stages(&single[1..]), &got, 4, 1e-5).unwrap())
            };
            let alone = flat(&evaluate(1));
            close(&alone, &flat(&expected));
            assert_eq!(alone, flat(&evaluate(3)), "threads change the result");
        }
    }

    #[test]
    fn weights_that_do_not_fit_are_errors() {
        let t: Vec<Tensor> = (0..).zip(shapes((2, [3, 8, 8], &[4]))).map(|(seed, shape)| noise(&shape, seed)).collect();
        let t: Vec<Tensor> = t.iter().map(|t| t.to_dtype(candle_core::DType::F32).unwrap()).collect();
        assert!(stages_train(&t[0].narrow(1, 0, 2).unwrap(), &stages(&t[1..]), 4, 1e-5).is_err());
        let short = [t[1].clone(), t[2].narrow(0, 0, 3).unwrap(), t[3].clone()];
        assert!(stages_train(&t[0], &stages(&short), 4, 1e-5).is_err());
    }
}
