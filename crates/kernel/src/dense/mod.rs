//! A dense block (Huang et al. 2017) as one operation. One buffer holds all its channels: each layer reads the first so many and
//! writes its own behind them, so nothing is ever joined or copied. A channel's batch statistics are measured once, when it is
//! written, and serve every later layer; a normalised map exists only in cache, packed for the product that reads it.
//!
//! Backward, a layer's gradient of channel c is `f_l (g_l - mean(g_l) - x̂ mean(g_l x̂))`. The first term is added to the buffer
//! of gradients as soon as it is there; the other two are multiples of 1 and of x̂, which is the same for every layer, so they
//! are two numbers per channel that are taken off once, when the channel's own layer has its turn.

mod backward;
mod forward;
mod tiles;

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::BatchStatistics;
use super::batch_norm::{Channel, batch_norm_eval, batch_norm_train};
use super::cpu::{slice, tensor, values};
use super::tie::{self, Slot};
use forward::Saved;
use tiles::Sizes;

/// The weights of norm - relu - 1x1 convolution - norm - relu - 3x3 convolution.
pub struct DenseLayer {
    /// Weight and bias.
    pub norm1: (Tensor, Tensor),
    /// `[bottleneck, inputs, 1, 1]`
    pub conv1: Tensor,
    pub norm2: (Tensor, Tensor),
    /// `[growth, bottleneck, 3, 3]`
    pub conv2: Tensor,
}

/// What the two norms of each layer have seen.
pub type LayerStatistics = [BatchStatistics; 2];

/// Channel-major `x [c, n, h, w]` → `[c + layers x growth, n, h, w]`: x, then what each layer adds, normalised with the batch's
/// own statistics. On CUDA the weights are variables or constants, and their gradients those of [`crate::backward`].
///
/// # Errors
/// Candle errors; shapes that do not fit.
pub fn dense_block_train(x: &Tensor, layers: &[DenseLayer], eps: f64) -> Result<(Tensor, Vec<LayerStatistics>)> {
    let sizes = Sizes::new(x, layers)?;
    #[cfg(feature = "cuda")]
    if super::is_nhwc(x) && !layers.is_empty() {
        return super::cuda::dense_block_train(x, layers, eps);
    }
    if !super::is_ours(x) || layers.is_empty() {
        return reference(x, layers, eps);
    }
    let slots: Vec<[Slot<_>; 2]> = layers.iter().map(|_| Default::default()).collect();
    let mut tokens = Vec::with_capacity(2 * layers.len());
    for (layer, [first, second]) in layers.iter().zip(&slots) {
        let DenseLayer { norm1, conv1, norm2, conv2 } = layer;
        tokens.push(tie::tie([&norm1.0, &norm1.1, conv1], first)?);
        tokens.push(tie::tie([&norm2.0, &norm2.1, conv2], second)?);
    }
    let contiguous = |layer: &DenseLayer| {
        let DenseLayer { norm1, conv1, norm2, conv2 } = layer;
        let [a, b, c, d, e, f] = [&norm1.0, &norm1.1, conv1, &norm2.0, &norm2.1, conv2].map(Tensor::contiguous);
        Ok::<_, candle_core::Error>([a?, b?, c?, d?, e?, f?])
    };
    let weights = layers.iter().map(contiguous).collect::<Result<_>>()?;
    let saved = Arc::new(Mutex::new(Saved::default()));
    let op = Block { sizes, eps, weights, slots, saved: Arc::clone(&saved) };
    let y = x.contiguous()?.apply_op2(&Tensor::cat(&tokens, 0)?, op)?;
    let saved = saved.lock().unwrap_or_else(PoisonError::into_inner);
    let statistics = |channels: &[Channel]| BatchStatistics::new(channels, sizes.area());
    let of = |(l, inner): (usize, &Vec<Channel>)| Ok([statistics(&saved.channels[..sizes.inputs(l)])?, statistics(inner)?]);
    let all = saved.inner.iter().enumerate().map(of).collect::<Result<_>>()?;
    Ok((y, all))
}

/// The same from the other operations of this crate, or Candle's where those do not run.
fn reference(x: &Tensor, layers: &[DenseLayer], eps: f64) -> Result<(Tensor, Vec<LayerStatistics>)> {
    let (mut maps, mut statistics) = (vec![x.clone()], Vec::with_capacity(layers.len()));
    for DenseLayer { norm1, conv1, norm2, conv2 } in layers {
        let (x, first) = batch_norm_train(&super::concat(&maps)?, &norm1.0, &norm1.1, eps, true)?;
        let (x, second) = batch_norm_train(&super::conv2d(&x, conv1, 1, 0)?, &norm2.0, &norm2.1, eps, true)?;
        maps.push(super::conv2d(&x, conv2, 1, 1)?);
        statistics.push([first, second]);
    }
    Ok((super::concat(&maps)?, statistics))
}

/// The block of [`dense_block_train`] with given statistics, outside the graph.
///
/// # Errors
/// Candle errors; shapes that do not fit.
pub fn dense_block_eval(x: &Tensor, layers: &[DenseLayer], statistics: &[LayerStatistics], eps: f64) -> Result<Tensor> {
    let weights: Vec<DenseLayer> = layers.iter().map(DenseLayer::detached).collect::<Result<_>>()?;
    if !super::is_ours(x) {
        return eval_reference(x, &weights, statistics, eps);
    }
    let sizes = Sizes::new(x, layers)?;
    let mut norms = Vec::with_capacity(layers.len());
    for (layer, [first, second]) in weights.iter().zip(statistics) {
        norms.push((first.affines(&layer.norm1, eps)?, second.affines(&layer.norm2, eps)?));
    }
    let convolutions = weights.iter().flat_map(|layer| [&layer.conv1, &layer.conv2]).map(values).collect::<Result<Vec<_>>>()?;
    let fixed = norms.into_iter().zip(convolutions.as_chunks::<2>().0);
    let fixed: Vec<_> = fixed.map(|((norm1, norm2), [conv1, conv2])| forward::Fixed { norm1, conv1, norm2, conv2 }).collect();
    let x = x.detach().contiguous()?;
    let y = forward::evaluate(&sizes, &fixed, &values(&x)?);
    tensor(y, sizes.shape())
}

/// The same from the other operations of this crate.
fn eval_reference(x: &Tensor, layers: &[DenseLayer], statistics: &[LayerStatistics], eps: f64) -> Result<Tensor> {
    let mut maps = vec![x.detach()];
    for (DenseLayer { norm1, conv1, norm2, conv2 }, [first, second]) in layers.iter().zip(statistics) {
        let x = batch_norm_eval(&super::concat(&maps)?, first, &norm1.0, &norm1.1, eps, true)?;
        let x = batch_norm_eval(&super::conv2d(&x, conv1, 1, 0)?, second, &norm2.0, &norm2.1, eps, true)?;
        maps.push(super::conv2d(&x, conv2, 1, 1)?);
    }
    super::concat(&maps)
}

impl DenseLayer {
    /// The same weights outside the graph, each in one piece.
    fn detached(&self) -> Result<Self> {
        let own = |t: &Tensor| t.detach().contiguous();
        let both = |(weight, bias): &(Tensor, Tensor)| Ok::<_, candle_core::Error>((own(weight)?, own(bias)?));
        Ok(Self { norm1: both(&self.norm1)?, conv1: own(&self.conv1)?, norm2: both(&self.norm2)?, conv2: own(&self.conv2)? })
    }
}

/// A layer's weights as plain numbers.
struct Weights<'a> {
    norm1: (&'a [f32], &'a [f32]),
    conv1: &'a [f32],
    norm2: (&'a [f32], &'a [f32]),
    conv2: &'a [f32],
}

/// Runs `body` with the numbers of `layers`.
fn with_weights<R>(layers: &[[Tensor; 6]], body: impl FnOnce(&[Weights<'_>]) -> R) -> Result<R> {
    let all = layers.iter().flatten().map(values).collect::<Result<Vec<_>>>()?;
    let (layers, _) = all.as_chunks::<6>();
    let layers: Vec<Weights> =
        layers.iter().map(|[w1, b1, conv1, w2, b2, conv2]| Weights { norm1: (w1, b1), conv1, norm2: (w2, b2), conv2 }).collect();
    Ok(body(&layers))
}

struct Block {
    sizes: Sizes,
    eps: f64,
    weights: Vec<[Tensor; 6]>,
    slots: Vec<[Slot<[Vec<f32>; 3]>; 2]>,
    /// Filled by the forward pass.
    saved: Arc<Mutex<Saved>>,
}

impl CustomOp2 for Block {
    fn name(&self) -> &'static str {
        "dense_block"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let (y, saved) = with_weights(&self.weights, |weights| forward::run(&self.sizes, self.eps, weights, x))?;
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = saved;
        Ok((CpuStorage::F32(y), self.sizes.shape()))
    }

    fn bwd(&self, x: &Tensor, tokens: &Tensor, y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let dy = values(&dy.contiguous()?)?.to_vec();
        let y = values(y)?;
        let (dx, gradients) = with_weights(&self.weights, |weights| backward::run(&self.sizes, weights, &saved, &y, dy))?;
        for ([first, second], [of_first, of_second]) in self.slots.iter().zip(gradients) {
            tie::leave(first, of_first);
            tie::leave(second, of_second);
        }
        let dx = x.track_op().then(|| tensor(dx, x.shape())).transpose()?;
        Ok((dx, Some(tokens.zeros_like()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, close, flat};
    use super::*;

    /// Shapes of the six tensors of each layer of a block that begins with `first` channels.
    fn shapes(first: usize, growth: usize, bottleneck: usize, layers: usize) -> Vec<Vec<usize>> {
        let of = |l: usize| {
            let inputs = first + l * growth;
            let norm1 = [vec![inputs], vec![inputs], vec![bottleneck, inputs, 1, 1]];
            norm1.into_iter().chain([vec![bottleneck], vec![bottleneck], vec![growth, bottleneck, 3, 3]])
        };
        (0..layers).flat_map(of).collect()
    }

    /// The layers of tensors of such shapes.
    fn layers(t: &[Tensor]) -> Vec<DenseLayer> {
        let of = |t: &[Tensor; 6]| {
            let [w1, b1, conv1, w2, b2, conv2] = t.clone();
            DenseLayer { norm1: (w1, b1), conv1, norm2: (w2, b2), conv2 }
        };
        t.as_chunks::<6>().0.iter().map(of).collect()
    }

    /// Sizes that leave rests everywhere: odd maps, channels that fill no octet, maps in one piece, several and bands of one.
    const CASES: [(usize, usize, usize, usize, [usize; 3]); 5] = [
        (5, 3, 10, 2, [3, 5, 7]),
        (12, 32, 24, 3, [16, 2, 2]),
        (8, 4, 16, 1, [1, 1, 1]),
        (20, 9, 7, 2, [2, 53, 47]),
        (6, 8, 8, 2, [40, 9, 8]),
    ];

    #[test]
    fn blocks_match_the_reference() {
        for (first, growth, bottleneck, count, [n, h, w]) in CASES {
            let mut shapes = shapes(first, growth, bottleneck, count);
            shapes.insert(0, vec![first, n, h, w]);
            let shapes: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
            let ours = |t: &[Tensor]| Ok(dense_block_train(&t[0], &layers(&t[1..]), 1e-5)?.0);
            check(&shapes, ours, |t| Ok(reference(&t[0], &layers(&t[1..]), 1e-5)?.0));
        }
    }

    /// Values without a graph: against f64, and the same bits on any number of threads.
    #[test]
    fn evaluation_matches_the_reference() {
        for (first, growth, bottleneck, count, [n, h, w]) in CASES {
            let mut rng = imbalance::rng::Rng::new(1, "noise", &[]);
            let mut noise = |shape: &[usize]| {
                let values: Vec<f64> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
                Tensor::from_vec(values, shape, &candle_core::Device::Cpu).unwrap()
            };
            let x = noise(&[first, n, h, w]);
            let weights: Vec<Tensor> = shapes(first, growth, bottleneck, count).iter().map(|shape| noise(shape)).collect();
            // Means and deviations of each layer's two norms.
            let sides = (0..count).flat_map(|l| [first + l * growth, bottleneck]);
            let seen: Vec<[Tensor; 2]> = sides.map(|channels| [noise(&[channels]), noise(&[channels])]).collect();
            let statistics = |to: candle_core::DType| -> Vec<LayerStatistics> {
                let of = |[mean, deviation]: &[Tensor; 2]| {
                    let variance = deviation.sqr().unwrap().affine(1.0, 0.1).unwrap();
                    BatchStatistics { mean: mean.to_dtype(to).unwrap(), variance: variance.to_dtype(to).unwrap() }
                };
                seen.as_chunks::<2>().0.iter().map(|pair| pair.each_ref().map(of)).collect()
            };
            let (wide, single) = (candle_core::DType::F64, candle_core::DType::F32);
            let expected = flat(&eval_reference(&x, &layers(&weights), &statistics(wide), 1e-5).unwrap());
            let (x, weights) =
                (x.to_dtype(single).unwrap(), weights.iter().map(|t| t.to_dtype(single).unwrap()).collect::<Vec<_>>());
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| flat(&dense_block_eval(&x, &layers(&weights), &statistics(single), 1e-5).unwrap()))
            };
            let got = run(1);
            close(&got, &expected);
            assert!(run(3) == got, "threads change the result");
        }
    }

    #[test]
    fn statistics_match_the_reference() {
        let noise = |shape: &[usize], seed| {
            let mut rng = imbalance::rng::Rng::new(seed, "noise", &[]);
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
            Tensor::from_vec(values, shape, &candle_core::Device::Cpu).unwrap()
        };
        let layer = |inputs| DenseLayer {
            norm1: (noise(&[inputs], 1), noise(&[inputs], 2)),
            conv1: noise(&[8, inputs, 1, 1], 3),
            norm2: (noise(&[8], 4), noise(&[8], 5)),
            conv2: noise(&[4, 8, 3, 3], 6),
        };
        let (x, layers) = (noise(&[5, 3, 7, 6], 7), [layer(5), layer(9)]);
        let ours = dense_block_train(&x, &layers, 1e-5).unwrap().1;
        let theirs = reference(&x, &layers, 1e-5).unwrap().1;
        for (ours, theirs) in ours.iter().flatten().zip(theirs.iter().flatten()) {
            for (ours, theirs) in [(&ours.mean, &theirs.mean), (&ours.variance, &theirs.variance)] {
                let apart = (ours - theirs).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                let scale = theirs.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                assert_eq!(ours.dims(), theirs.dims());
                assert!(apart <= 1e-5 * scale, "{apart} of {scale}");
            }
        }
    }

    #[test]
    fn weights_that_do_not_fit_are_refused() {
        let of = |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        let layer = DenseLayer {
            norm1: (of(&[4]), of(&[4])),
            conv1: of(&[8, 4, 1, 1]),
            norm2: (of(&[8]), of(&[8])),
            conv2: of(&[4, 8, 3, 3]),
        };
        assert!(dense_block_train(&of(&[4, 1, 2, 2]), std::slice::from_ref(&layer), 1e-5).is_ok());
        let error = dense_block_train(&of(&[5, 1, 2, 2]), &[layer], 1e-5).unwrap_err().to_string();
        assert!(error.contains("layer 0 do not fit 5 channels"), "{error}");
    }
}
