//! `cargo bench --bench kernels`: what `crates/kernel` does, each line above the same by plain Candle (its own layout, [batch, channels, ..]).
//!
//! `forward` is the values alone, `both` the values and every gradient. Both sides use all cores; `RAYON_NUM_THREADS` and
//! `CANDLE_NUM_THREADS` say otherwise. Shapes are DenseNet-121's at 224 x 224, in batches of 4. One line has no Candle beside it:
//! Candle cannot differentiate an overlapping max pool.
#![expect(clippy::disallowed_methods, reason = "Candle's pools are what ours are compared with, where they are right")]

use std::fmt;

use candle_core::{Device, Module, ModuleT, Result, Tensor, Var};
use candle_nn::{BatchNorm, Optimizer};
use divan::Bencher;
use imbalance::rng::Rng;
use kernel::{self, AdamStep, Blend, DenseLayer, stacked};

/// As the program itself has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 4;
const EPS: f64 = 1e-5;

fn main() {
    divan::main();
}

/// A line of the table.
#[derive(Clone, Copy)]
struct Case<T> {
    what: T,
    candle: bool,
}

impl<T: fmt::Display> fmt::Display for Case<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, if self.candle { "candle" } else { "sweep" })
    }
}

fn beside<T: Copy>(cases: &[T]) -> Vec<Case<T>> {
    cases.iter().flat_map(|&what| [false, true].map(|candle| Case { what, candle })).collect()
}

fn var(shape: &[usize]) -> Var {
    let mut rng = Rng::new(0, "bench", &[]);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
    let tensor = Tensor::from_vec(values, shape, &Device::Cpu).expect("as many values as the shape has");
    Var::from_tensor(&tensor).expect("a variable")
}

/// Maps in the order of the side that reads them.
fn maps(channels: usize, size: usize, candle: bool) -> Var {
    let (first, second) = if candle { (BATCH, channels) } else { (channels, BATCH) };
    var(&[first, second, size, size])
}

fn forward(bencher: Bencher, work: impl Fn() -> Result<Tensor>) {
    bencher.bench_local(|| work().expect("the shapes fit"));
}

fn both(bencher: Bencher, work: impl Fn() -> Result<Tensor>) {
    bencher.bench_local(|| work().and_then(|y| y.sum_all()?.backward()).expect("the shapes fit"));
}

/// A convolution of a square kernel with padding that keeps the size.
#[derive(Clone, Copy)]
struct Conv {
    inputs: usize,
    outputs: usize,
    size: usize,
    kernel: usize,
    stride: usize,
}

impl fmt::Display for Conv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inputs, outputs, size, kernel, stride } = self;
        write!(f, "{kernel}x{kernel}/{stride} {inputs}-{outputs} at {size}")
    }
}

const CONVOLUTIONS: [Conv; 3] = [
    Conv { inputs: 256, outputs: 128, size: 28, kernel: 1, stride: 1 },
    Conv { inputs: 128, outputs: 32, size: 28, kernel: 3, stride: 1 },
    Conv { inputs: 3, outputs: 64, size: 224, kernel: 7, stride: 2 },
];

fn convolution(case: &Case<Conv>) -> impl Fn() -> Result<Tensor> + use<> {
    let Case { what: Conv { inputs, outputs, size, kernel, stride }, candle } = *case;
    let (x, weight) = (maps(inputs, size, candle), var(&[outputs, inputs, kernel, kernel]));
    let padding = kernel / 2;
    move || if candle { x.conv2d(&weight, padding, stride, 1, 1) } else { kernel::conv2d(&x, &weight, stride, padding) }
}

#[divan::bench_group(max_time = 1)]
mod conv2d {
    use super::*;

    #[divan::bench(args = beside(&CONVOLUTIONS))]
    fn forward(bencher: Bencher, case: &Case<Conv>) {
        super::forward(bencher, convolution(case));
    }

    #[divan::bench(args = beside(&CONVOLUTIONS))]
    fn both(bencher: Bencher, case: &Case<Conv>) {
        super::both(bencher, convolution(case));
    }
}

fn norm(channels: usize) -> BatchNorm {
    let constant = |value: f64| {
        var(&[channels])
            .affine(0.0, value)
            .and_then(|tensor| Ok(Var::from_tensor(&tensor)?.as_tensor().clone()))
            .expect("a variable")
    };
    BatchNorm::new(channels, constant(0.0), constant(1.0), constant(1.0), constant(0.0), EPS).expect("a norm of these channels")
}

#[divan::bench(args = beside(&["256 at 28"]), max_time = 1)]
fn batch_norm_relu_both(bencher: Bencher, case: &Case<&str>) {
    let (x, weight, bias) = (maps(256, 28, case.candle), var(&[256]), var(&[256]));
    let norm = norm(256);
    both(bencher, || {
        if case.candle {
            norm.forward_t(&x, true)?.relu()
        } else {
            Ok(kernel::batch_norm_train(&x, &weight, &bias, EPS, true)?.0)
        }
    });
}

#[divan::bench_group(max_time = 1)]
mod pool {
    use super::*;

    #[divan::bench(args = beside(&["64 at 112"]))]
    fn max_3x3_2_forward(bencher: Bencher, case: &Case<&str>) {
        let x = maps(64, 112, case.candle);
        let padded = || x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?.max_pool2d_with_stride(3, 2);
        forward(bencher, || if case.candle { padded() } else { kernel::max_pool2d(&x, 3, 2, 1) });
    }

    #[divan::bench]
    fn max_3x3_2_both(bencher: Bencher) {
        let x = maps(64, 112, false);
        both(bencher, || kernel::max_pool2d(&x, 3, 2, 1));
    }

    #[divan::bench(args = beside(&["128 at 56"]))]
    fn average_2x2_both(bencher: Bencher, case: &Case<&str>) {
        let x = maps(128, 56, case.candle);
        both(bencher, || if case.candle { x.avg_pool2d(2) } else { kernel::avg_pool2d(&x, 2) });
    }

    #[divan::bench(args = beside(&["1024 at 7"]))]
    fn global_both(bencher: Bencher, case: &Case<&str>) {
        let x = maps(1024, 7, case.candle);
        both(bencher, || if case.candle { x.mean((2, 3)) } else { kernel::global_avg_pool(&x) });
    }
}

/// Six layers of 32 channels, bottleneck 128, behind `channels`.
fn dense_layers(channels: usize) -> Vec<DenseLayer> {
    let layer = |layer: usize| {
        let inputs = channels + 32 * layer;
        let pair = |channels: usize| (var(&[channels]).as_tensor().clone(), var(&[channels]).as_tensor().clone());
        DenseLayer {
            norm1: pair(inputs),
            conv1: var(&[128, inputs, 1, 1]).as_tensor().clone(),
            norm2: pair(128),
            conv2: var(&[32, 128, 3, 3]).as_tensor().clone(),
        }
    };
    (0..6).map(layer).collect()
}

#[divan::bench(args = beside(&["6 layers behind 128 at 28"]), max_time = 3)]
fn dense_block_both(bencher: Bencher, case: &Case<&str>) {
    let (x, layers) = (maps(128, 28, case.candle), dense_layers(128));
    let norms: Vec<[BatchNorm; 2]> = (0..layers.len()).map(|layer| [norm(128 + 32 * layer), norm(128)]).collect();
    let candle = || {
        let mut all = vec![x.as_tensor().clone()];
        for (layer, [first, second]) in layers.iter().zip(&norms) {
            let inner = first.forward_t(&Tensor::cat(&all, 1)?, true)?.relu()?.conv2d(&layer.conv1, 0, 1, 1, 1)?;
            all.push(second.forward_t(&inner, true)?.relu()?.conv2d(&layer.conv2, 1, 1, 1, 1)?);
        }
        Tensor::cat(&all, 1)
    };
    both(bencher, || if case.candle { candle() } else { Ok(kernel::dense_block_train(&x, &layers, EPS)?.0) });
}

#[divan::bench(args = beside(&["256 x 1024 to 4"]), max_time = 1)]
fn linear_both(bencher: Bencher, case: &Case<&str>) {
    let (x, weight, bias) = (var(&[256, 1024]), var(&[4, 1024]), var(&[4]));
    let candle = candle_nn::Linear::new(weight.as_tensor().clone(), Some(bias.as_tensor().clone()));
    both(bencher, || if case.candle { candle.forward(&x) } else { kernel::linear(&x, &weight, &bias) });
}

/// The two products of a step of 20 heads of 4 labels on 1024 features: one matrix of 80 columns.
#[divan::bench(args = beside(&["256 x 1024 to 80"]), max_time = 1)]
fn stacked_heads(bencher: Bencher, case: &Case<&str>) {
    let (inputs, columns, rows) = (1024, 80, 256);
    if case.candle {
        let (x, weight, dz) = (var(&[rows, inputs]), var(&[inputs, columns]), var(&[rows, columns]));
        let (x, weight, dz) = (x.as_detached_tensor(), weight.as_detached_tensor(), dz.as_detached_tensor());
        let products = || -> Result<(Tensor, Tensor)> { Ok((x.matmul(&weight)?, x.t()?.matmul(&dz)?)) };
        bencher.bench_local(|| products().expect("the shapes fit"));
    } else {
        let panels = stacked::panels(columns) * stacked::PANEL;
        let (x, weight, dz) =
            (vec![0.5f32; rows * stacked::row_step(inputs)], vec![0.1; inputs * panels], vec![0.2; rows * panels]);
        let (mut z, mut dweight) = (vec![0.0; rows * panels], vec![0.0; inputs * panels]);
        bencher.bench_local(|| {
            stacked::forward(&x, &weight, inputs, &mut z, |_| ());
            stacked::weight_gradient(&x, &dz, inputs, &mut dweight);
        });
    }
}

/// One step over 7 million parameters, gradients given.
#[divan::bench(args = beside(&["7,000,000"]), max_time = 1)]
fn adam(bencher: Bencher, case: &Case<&str>) {
    let (p, m, v) = (var(&[7000, 1000]), var(&[7000, 1000]), var(&[7000, 1000]));
    let gradients = (|| p.affine(0.5, 0.0)?.sum_all()?.backward())().expect("a gradient");
    let gradient = gradients.get(&p).expect("of p").clone();
    if case.candle {
        let mut adam = candle_nn::AdamW::new_lr(vec![p], 1e-3).expect("an optimizer");
        bencher.bench_local(|| adam.step(&gradients).expect("the shapes fit"));
    } else {
        let (first, second) = (
            Blend { keep: 0.9, add: 0.1, decay: 0.0, square: false },
            Blend { keep: 0.999, add: 0.001, decay: 0.0, square: true },
        );
        let step = AdamStep { rate: 1e-3, shrink: 1.0, eps: 1e-8, root: 1.0 };
        v.set(&v.sqr().expect("squares")).expect("the shapes fit");
        bencher.bench_local(|| {
            first.update(&m, &gradient, &p).and_then(|()| second.update(&v, &gradient, &p)).expect("the shapes fit");
            step.update(&p, &m, &v).expect("the shapes fit");
        });
    }
}
