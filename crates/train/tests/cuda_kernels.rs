//! Each operation on feature maps on a CUDA device beside the same operation on the CPU: values and gradients, in f32 and in
//! bf16. And the operations on the heads of a bundle.
//!
//! The CPU's operations are compared with references in f64 (unit tests of `kernel`) and with torchvision (crates/train/tests/densenet.rs).
//! The device may be a GPU or the host emulation of tests/cuda_on_host. Without either the tests are skipped, and say so; they
//! fail where `SWEEP_NEED_GPU` is set.

#![cfg(feature = "cuda")]
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]
#![expect(clippy::print_stdout, reason = "what was skipped, and how far results are apart")]

#[path = "common/cuda.rs"]
mod cuda;

use candle_core::{DType, Device, Result, Tensor, Var};
use imbalance::loss::{self, Context};
use imbalance::rng::Rng;
use imbalance::{LabelCounts, parse};
use kernel::cells::{self, Cells};
use kernel::heads::{activate, deactivate};
use kernel::stacked::{Column, Kind};
use kernel::{self, BatchStatistics, DenseLayer, Moved};

/// An argument: maps, written channel-major as on the CPU, or weights.
#[derive(Clone, Copy, Debug)]
enum Argument<'a> {
    Maps(&'a [usize]),
    Weights(&'a [usize]),
}
use Argument::{Maps, Weights};

impl Argument<'_> {
    fn shape(&self) -> &[usize] {
        match self {
            Maps(shape) | Weights(shape) => shape,
        }
    }

    /// Normal numbers that bf16 holds exactly, in sixteenths: ties, zeros among them. Weights of many inputs are small.
    fn values(&self, seed: u64) -> Vec<f32> {
        let mut rng = Rng::new(seed, "inputs", &[]);
        let shape = self.shape();
        let scale = match self {
            &Weights(&[_, inputs, k, _]) => ((inputs * k * k) as f64).sqrt().recip(),
            _ => 1.0,
        };
        let round = |value: f64| half::bf16::from_f64((value * 16.0).round() / 16.0 * scale).to_f32();
        (0..shape.iter().product()).map(|_| round(rng.normal())).collect()
    }
}

/// Channel-major to the order of a CUDA device, and back.
fn to_nhwc(maps: &Tensor) -> Tensor {
    maps.permute((1, 2, 3, 0)).unwrap().contiguous().unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.to_device(&Device::Cpu).unwrap().to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The numbers of `tensor`; those of maps as the CPU orders them.
fn ordered(tensor: &Tensor, maps: bool) -> Vec<f32> {
    let host = tensor.to_device(&Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
    let turned = maps && tensor.device().is_cuda();
    numbers(&if turned { host.permute((3, 0, 1, 2)).unwrap().contiguous().unwrap() } else { host })
}

/// The result, then the gradient of each argument under a random linear loss.
fn run(arguments: &[Argument<'_>], device: &Device, dtype: DType, f: &dyn Fn(&[Tensor]) -> Result<Tensor>) -> Vec<Vec<f32>> {
    let cuda = device.is_cuda();
    let vars: Vec<Var> = (1..)
        .zip(arguments)
        .map(|(seed, argument)| {
            let tensor = Tensor::from_vec(argument.values(seed), argument.shape(), &Device::Cpu).unwrap();
            let tensor = match argument {
                Maps(_) if cuda => to_nhwc(&tensor).to_dtype(dtype).unwrap(),
                _ => tensor,
            };
            Var::from_tensor(&tensor.to_device(device).unwrap()).unwrap()
        })
        .collect();
    let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let y = f(&tensors).unwrap();
    let maps = y.rank() == 4;
    let shape: Vec<usize> = match *y.dims() {
        [n, h, w, c] if cuda => vec![c, n, h, w],
        ref other => other.to_vec(),
    };
    let mut rng = Rng::new(99, "loss", &[]);
    let direction: Vec<f32> = (0..y.elem_count()).map(|_| half::bf16::from_f64(rng.normal()).to_f32()).collect();
    let direction = Tensor::from_vec(direction, shape, &Device::Cpu).unwrap();
    let direction = if maps && cuda { to_nhwc(&direction) } else { direction };
    let direction = direction.to_dtype(y.dtype()).unwrap().to_device(device).unwrap();
    let gradients = kernel::backward(&(&y * direction).unwrap().sum_all().unwrap()).unwrap();
    let mut all = vec![ordered(&y, maps)];
    for (argument, tensor) in arguments.iter().zip(&tensors) {
        all.push(gradients.get(tensor).unwrap().map(|g| ordered(&g, matches!(argument, Maps(_)))).unwrap_or_default());
    }
    all
}

/// Panics unless each of the results `got` is `expected`, to `tolerance` of its norm.
fn agree(what: &str, arguments: &[Argument<'_>], tolerance: f64, got: &[Vec<f32>], expected: &[Vec<f32>]) {
    let mut worst = 0f64;
    for (which, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert_eq!(got.len(), expected.len(), "{what} {arguments:?}: size of result {which}");
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
        let error = norm(&mut got.iter().zip(expected).map(|(a, b)| f64::from(a - b)));
        let scale = norm(&mut expected.iter().map(|&v| f64::from(v)));
        worst = worst.max(error / (scale + 1e-5 / tolerance));
        assert!(error <= tolerance * scale + 1e-5, "{what} {arguments:?}: result {which} is off by {error:.1e} of {scale:.1e}");
    }
    println!("{what} {:?}: off by {worst:.1e} at most", arguments[0].shape());
}

/// Panics unless `f` on the device agrees with `f` on the CPU, to (in f32, in bf16) of the norm of each result, and with itself.
fn check(what: &str, arguments: &[Argument<'_>], tolerance: (f64, f64), f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let Some(device) = cuda::device() else { return };
    let expected = run(arguments, &Device::Cpu, DType::F32, &f);
    for (dtype, tolerance) in [(DType::F32, tolerance.0), (DType::BF16, tolerance.1)] {
        let got = run(arguments, &device, dtype, &f);
        agree(&format!("{what} {dtype:?}"), arguments, tolerance, &got, &expected);
        assert!(run(arguments, &device, dtype, &f) == got, "{what} {arguments:?} {dtype:?}: the second time other bits");
    }
}

/// What one operation may be off by: f32 sums in another order; a rounding to 8 bits on the way in or out.
const ONE: (f64, f64) = (2e-6, 8e-3);

#[test]
fn convolutions() {
    let cases = [
        (3, 5, (7, 9), 3, 1, 1),
        (2, 4, (14, 15), 3, 2, 1),
        (3, 8, (28, 21), 7, 2, 3),
        (70, 33, (6, 5), 1, 1, 0),
        (64, 32, (6, 5), 3, 1, 1),
        (16, 24, (5, 5), 1, 1, 0),
        (5, 3, (6, 6), 2, 2, 0),
        (4, 3, (5, 6), 1, 2, 0),
        (2, 2, (3, 3), 2, 1, 2),
    ];
    for (inputs, outputs, (h, w), k, stride, padding) in cases {
        check("conv2d", &[Maps(&[inputs, 3, h, w]), Weights(&[outputs, inputs, k, k])], ONE, |t| {
            kernel::conv2d(&t[0], &t[1], stride, padding)
        });
    }
}

/// Products of numbers with all their bits, in sizes that tensor cores take, each a sum of 1024 or more: the other tests' numbers are
/// exact in bf16, so that nothing but this one sees what a library rounds on the way in.
#[test]
fn f32_keeps_its_bits_on_the_way_in() {
    let Some(cuda) = cuda::device() else { return };
    let mut errors = Vec::new();
    let mut compare = |what: String, got: &Tensor, expected: &Tensor| {
        let got = got.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
        let norm = |t: &Tensor| t.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt();
        let error = norm(&(got - expected).unwrap()) / norm(expected);
        println!("{what}: off by {error:.1e}");
        errors.push((what, error));
    };
    let wide = |t: &Tensor| t.to_dtype(DType::F64).unwrap();
    let there = |t: &Tensor| t.to_device(&cuda).unwrap();

    let (a, b) = (random(&[256, 1024], 1, &Device::Cpu), random(&[1024, 192], 2, &Device::Cpu));
    let turned = |t: &Tensor| there(&t.t().unwrap().contiguous().unwrap()).t().unwrap();
    let product = wide(&a).matmul(&wide(&b)).unwrap();
    compare("matmul".into(), &there(&a).matmul(&there(&b)).unwrap(), &product);
    compare("matmul of a transpose".into(), &turned(&a).matmul(&there(&b)).unwrap(), &product);
    compare("matmul by a transpose".into(), &there(&a).matmul(&turned(&b)).unwrap(), &product);

    let [n, h, w] = [4, 16, 16];
    for (inputs, outputs, k) in [(1024, 1024, 1), (128, 128, 3)] {
        let padding = k / 2;
        let x = random(&[n, h, w, inputs], 3, &Device::Cpu);
        let weight = random(&[outputs, inputs, k, k], 4, &Device::Cpu);
        let dy = random(&[n, h, w, outputs], 5, &Device::Cpu);
        let taps: Vec<(usize, usize)> = (0..k * k).map(|tap| (tap / k, tap % k)).collect();
        let padded = |t: &Tensor, i: usize, j: usize| {
            t.pad_with_zeros(1, i, 2 * padding - i).unwrap().pad_with_zeros(2, j, 2 * padding - j).unwrap()
        };
        let around = padded(&wide(&x), padding, padding);
        let seen: Vec<Tensor> = taps.iter().map(|&(i, j)| around.narrow(1, i, h).unwrap().narrow(2, j, w).unwrap()).collect();
        let seen = Tensor::cat(&seen, 3).unwrap().reshape((n * h * w, k * k * inputs)).unwrap();
        let matrix =
            wide(&weight).permute((0, 2, 3, 1)).unwrap().contiguous().unwrap().reshape((outputs, k * k * inputs)).unwrap();
        let slope = wide(&dy).reshape((n * h * w, outputs)).unwrap();
        let y = seen.matmul(&matrix.t().unwrap()).unwrap().reshape((n, h, w, outputs)).unwrap();
        let dweight = slope.t().unwrap().matmul(&seen).unwrap().reshape((outputs, k, k, inputs)).unwrap();
        let dweight = dweight.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
        let back = slope.matmul(&matrix).unwrap().reshape((n, h, w, k * k * inputs)).unwrap();
        let parts = taps.iter().enumerate().map(|(tap, &(i, j))| padded(&back.narrow(3, tap * inputs, inputs).unwrap(), i, j));
        let dx = parts.reduce(|sum, part| (sum + part).unwrap()).unwrap();
        let dx = dx.narrow(1, padding, h).unwrap().narrow(2, padding, w).unwrap();

        let (x, weight) = (Var::from_tensor(&there(&x)).unwrap(), Var::from_tensor(&there(&weight)).unwrap());
        let got = kernel::conv2d(x.as_tensor(), weight.as_tensor(), 1, padding).unwrap();
        let gradients = (&got * there(&dy)).unwrap().sum_all().unwrap().backward().unwrap();
        compare(format!("conv2d {k}x{k}"), &got, &y);
        compare(format!("conv2d {k}x{k}, input's gradient"), gradients.get(&x).unwrap(), &dx);
        compare(format!("conv2d {k}x{k}, weight's gradient"), gradients.get(&weight).unwrap(), &dweight);
    }
    let wrong: Vec<_> = errors.iter().filter(|(_, error)| error.is_nan() || *error > 1e-6).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn batch_norms_in_training() {
    for relu in [false, true] {
        for shape in [[3, 2, 5, 7], [1, 3, 40, 30], [5, 2, 1, 1], [40, 3, 9, 4], [264, 2, 3, 3]] {
            let arguments = [Maps(&shape), Weights(&shape[..1]), Weights(&shape[..1])];
            check("batch_norm", &arguments, (1e-5, 2e-2), |t| Ok(kernel::batch_norm_train(&t[0], &t[1], &t[2], 1e-5, relu)?.0));
        }
    }
}

/// Values far from zero: the variance must not drown in the mean's square.
#[test]
fn large_means_keep_their_variance() {
    let Some(device) = cuda::device() else { return };
    let values: Vec<f32> = (0..4000).map(|i| 10_000.0 + (i / 8 % 2) as f32).collect();
    let x = Tensor::from_vec(values, (5, 10, 10, 8), &device).unwrap();
    let (one, zero) = (Tensor::ones(8, DType::F32, &device).unwrap(), Tensor::zeros(8, DType::F32, &device).unwrap());
    let statistics = kernel::batch_norm_train(&x, &one, &zero, 0.0, false).unwrap().1;
    for mean in numbers(&statistics.mean) {
        assert!((mean - 10_000.5).abs() < 2e-3, "{mean}");
    }
    for variance in numbers(&statistics.variance) {
        assert!((variance - 0.25 * 500.0 / 499.0).abs() < 1e-6, "{variance}");
    }
}

#[test]
fn statistics_move_the_running_ones_as_on_the_cpu() {
    let Some(cuda) = cuda::device() else { return };
    let values = Maps(&[12, 3, 5, 4]).values(1);
    let moved = |device: &Device| {
        let x = Tensor::from_vec(values.clone(), (12, 3, 5, 4), &Device::Cpu).unwrap();
        let x = if device.is_cuda() { to_nhwc(&x).to_device(device).unwrap() } else { x };
        let ones = Var::ones(12, DType::F32, device).unwrap();
        let twos = Var::from_tensor(&Tensor::full(2f32, 12, device).unwrap()).unwrap();
        let batch = kernel::batch_norm_train(&x, ones.as_tensor(), twos.as_tensor(), 1e-5, true).unwrap().1;
        batch.absorb_into(&ones, &twos, 0.1).unwrap();
        [numbers(ones.as_tensor()), numbers(twos.as_tensor())].concat()
    };
    for (ours, expected) in moved(&cuda).iter().zip(moved(&Device::Cpu)) {
        assert!((ours - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{ours}, on the CPU {expected}");
    }
}

#[test]
fn given_statistics_outside_the_graph_and_in_it() {
    for shape in [[3, 2, 5, 7], [16, 3, 4, 5]] {
        let arguments = [Maps(&shape), Weights(&shape[..1]), Weights(&shape[..1])];
        for outside in [false, true] {
            check("batch_norm_eval", &arguments, (1e-5, 2e-2), |t| {
                let weight = t[1].detach();
                let statistics = BatchStatistics { mean: weight.clone(), variance: weight.sqr()? };
                if !outside {
                    return kernel::batch_norm_eval(&t[0], &statistics, &t[1], &t[2], 1e-5, true);
                }
                kernel::batch_norm_eval(&t[0].detach(), &statistics, &weight, &t[2].detach(), 1e-5, true)
            });
        }
    }
}

#[test]
fn pools() {
    for (h, w, k, stride, padding) in [(7, 9, 3, 2, 1), (6, 6, 2, 2, 0), (5, 8, 3, 1, 1), (4, 4, 3, 3, 0), (17, 17, 17, 1, 0)] {
        for channels in [2, 16] {
            check("max_pool2d", &[Maps(&[channels, 3, h, w])], ONE, |t| kernel::max_pool2d(&t[0], k, stride, padding));
        }
    }
    for (h, w, k) in [(7, 7, 2), (6, 9, 3), (4, 4, 2), (5, 5, 5)] {
        for channels in [2, 16] {
            check("avg_pool2d", &[Maps(&[channels, 3, h, w])], ONE, |t| kernel::avg_pool2d(&t[0], k));
        }
    }
    for channels in [3, 16] {
        check("global_avg_pool", &[Maps(&[channels, 3, 5, 4])], ONE, |t| kernel::global_avg_pool(&t[0]));
        check("adaptive_avg_pool2d", &[Maps(&[channels, 3, 5, 7])], (1e-5, 2e-2), |t| kernel::adaptive_avg_pool2d(&t[0], 3));
    }
}

#[test]
fn ways_in_and_out() {
    check("flatten", &[Maps(&[3, 2, 4, 5])], ONE, |t| kernel::flatten(&t[0]));
    check("relu", &[Maps(&[3, 2, 4, 5])], ONE, |t| kernel::relu(&t[0]));
    check("concat", &[Maps(&[3, 2, 4, 5]), Maps(&[5, 2, 4, 5])], ONE, |t| kernel::concat(&[t[0].clone(), t[1].clone()]));
    let Some(device) = cuda::device() else { return };
    let images = Tensor::from_vec(Maps(&[2, 3, 4, 5]).values(1), (2, 3, 4, 5), &Device::Cpu).unwrap();
    let entered = kernel::enter(&images.to_device(&device).unwrap()).unwrap();
    assert_eq!(entered.dims(), [2, 4, 5, 3]);
    assert_eq!(kernel::map_size(&entered).unwrap(), (4, 5));
    assert_eq!(ordered(&entered, true), numbers(&kernel::enter(&images).unwrap()));
}

/// Views that are not contiguous: the channels 8..24 of wider maps, and maps with height and width exchanged.
#[test]
fn views() {
    let part = |t: &Tensor| if t.device().is_cuda() { t.narrow(3, 8, 16) } else { t.narrow(0, 8, 16) };
    let turned = |t: &Tensor| if t.device().is_cuda() { t.transpose(1, 2) } else { t.transpose(2, 3) };
    let maps: &[usize] = &[32, 2, 5, 6];
    check("view", &[Maps(maps), Weights(&[7, 16, 3, 3])], ONE, |t| kernel::conv2d(&part(&t[0])?, &t[1], 1, 1));
    check("view", &[Maps(maps), Weights(&[16]), Weights(&[16])], (1e-5, 2e-2), |t| {
        Ok(kernel::batch_norm_train(&turned(&part(&t[0])?)?, &t[1], &t[2], 1e-5, true)?.0)
    });
    check("view", &[Maps(maps)], ONE, |t| kernel::max_pool2d(&turned(&t[0])?, 3, 2, 1));
    check("view", &[Maps(maps)], ONE, |t| kernel::avg_pool2d(&part(&t[0])?, 2));
    check("view", &[Maps(maps)], ONE, |t| kernel::global_avg_pool(&turned(&t[0])?));
}

/// The layers of a block from the arguments behind its input.
fn layers(t: &[Tensor]) -> Vec<DenseLayer> {
    t[1..]
        .chunks_exact(6)
        .map(|t| DenseLayer {
            norm1: (t[0].clone(), t[1].clone()),
            conv1: t[2].clone(),
            norm2: (t[3].clone(), t[4].clone()),
            conv2: t[5].clone(),
        })
        .collect()
}

/// A dense block from the crate's other operations.
fn by_parts(t: &[Tensor]) -> Result<Tensor> {
    let mut maps = vec![t[0].clone()];
    for DenseLayer { norm1, conv1, norm2, conv2 } in layers(t) {
        let x = kernel::batch_norm_train(&kernel::concat(&maps)?, &norm1.0, &norm1.1, 1e-5, true)?.0;
        let x = kernel::batch_norm_train(&kernel::conv2d(&x, &conv1, 1, 0)?, &norm2.0, &norm2.1, 1e-5, true)?.0;
        maps.push(kernel::conv2d(&x, &conv2, 1, 1)?);
    }
    kernel::concat(&maps)
}

/// Channels of all rests, one image and several. In f32 beside the CPU. In bf16 beside its parts on the device: the roundings
/// of a layer turn some of the next one's rectifiers on and off, so that f32 gradients are no measure of theirs.
#[test]
fn dense_blocks() {
    let Some(device) = cuda::device() else { return };
    let cases = [
        (5, 3, 10, 2, [3, 5, 7]),
        (16, 32, 24, 3, [4, 6, 5]),
        (8, 8, 16, 1, [2, 3, 3]),
        (20, 9, 7, 2, [2, 13, 11]),
        (64, 32, 128, 2, [2, 4, 4]),
    ];
    for (first, growth, bottleneck, count, [n, h, w]) in cases {
        let mut shapes = vec![vec![first, n, h, w]];
        for l in 0..count {
            let inputs = first + l * growth;
            shapes.extend([vec![inputs], vec![inputs], vec![bottleneck, inputs, 1, 1]]);
            shapes.extend([vec![bottleneck], vec![bottleneck], vec![growth, bottleneck, 3, 3]]);
        }
        let arguments: Vec<Argument> =
            shapes.iter().enumerate().map(|(i, shape)| if i == 0 { Maps(shape) } else { Weights(shape) }).collect();
        let block = |t: &[Tensor]| Ok(kernel::dense_block_train(&t[0], &layers(t), 1e-5)?.0);
        for (dtype, tolerance) in [(DType::F32, 5e-5), (DType::BF16, 6e-2)] {
            let got = run(&arguments, &device, dtype, &block);
            let expected = match dtype {
                DType::F32 => run(&arguments, &Device::Cpu, dtype, &block),
                _ => run(&arguments, &device, dtype, &by_parts),
            };
            agree(&format!("dense_block {dtype:?}"), &arguments, tolerance, &got, &expected);
            assert!(run(&arguments, &device, dtype, &block) == got, "{arguments:?} {dtype:?}: the second time other bits");
        }
    }
}

#[test]
fn the_statistics_of_dense_blocks() {
    let Some(cuda) = cuda::device() else { return };
    let arguments = [
        Maps(&[5, 3, 7, 6]),
        Weights(&[5]),
        Weights(&[5]),
        Weights(&[8, 5, 1, 1]),
        Weights(&[8]),
        Weights(&[8]),
        Weights(&[4, 8, 3, 3]),
        Weights(&[9]),
        Weights(&[9]),
        Weights(&[8, 9, 1, 1]),
        Weights(&[8]),
        Weights(&[8]),
        Weights(&[4, 8, 3, 3]),
    ];
    let found = |device: &Device| -> Vec<Vec<f32>> {
        let tensors: Vec<Tensor> = (1..)
            .zip(&arguments)
            .map(|(seed, argument)| {
                let tensor = Tensor::from_vec(argument.values(seed), argument.shape(), &Device::Cpu).unwrap();
                let maps = matches!(argument, Maps(_)) && device.is_cuda();
                if maps { to_nhwc(&tensor) } else { tensor }.to_device(device).unwrap()
            })
            .collect();
        let statistics = kernel::dense_block_train(&tensors[0], &layers(&tensors), 1e-5).unwrap().1;
        statistics.iter().flatten().flat_map(|norm| [numbers(&norm.mean), numbers(&norm.variance)]).collect()
    };
    agree("statistics", &arguments, 2e-6, &found(&cuda), &found(&Device::Cpu));
}

/// Normal numbers.
fn random(shape: &[usize], seed: u64, device: &Device) -> Tensor {
    let mut rng = Rng::new(seed, "heads", &[]);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
    Tensor::from_vec(values, shape, device).unwrap()
}

/// Runs, outputs and batches of bundles: one run, one output, one row, more values than a block has threads.
const BUNDLES: [[usize; 3]; 5] = [[1, 4, 48], [3, 1, 5], [32, 7, 1], [5, 33, 60], [32, 40, 300]];

#[test]
fn biases_rectifiers_and_dropout_of_bundles() {
    let Some(cuda) = cuda::device() else { return };
    for [runs, outputs, batch] in BUNDLES {
        for (rectified, masked) in [(false, false), (true, false), (true, true)] {
            let on = |device: &Device| {
                let z = random(&[runs, outputs, batch], 1, device);
                let mask = masked.then(|| random(&[batch, outputs], 3, device).t().unwrap().relu().unwrap());
                let y = activate(&z, &random(&[runs, outputs], 2, device), rectified, mask.as_ref()).unwrap();
                let dz = deactivate(&random(&[runs, outputs, batch], 4, device), &y, mask.as_ref()).unwrap();
                [numbers(&y), numbers(&dz)]
            };
            assert!(on(&cuda) == on(&Device::Cpu), "{runs} runs, {outputs} outputs, {batch} rows");
        }
    }
    let nan = Tensor::full(f32::NAN, (1, 1, 1), &cuda).unwrap();
    let zero = Tensor::zeros((1, 1), DType::F32, &cuda).unwrap();
    assert!(numbers(&activate(&nan, &zero, true, None).unwrap())[0].is_nan(), "a rectifier hides no broken number");
}

/// Sizes below and above what a launch has threads, an odd one among them.
#[test]
fn dropout_masks_are_the_cpus_to_the_bit() {
    let Some(cuda) = cuda::device() else { return };
    for (shape, probability) in [((3, 7), 0.3), ((64, 1024), 0.1), ((1, 1), 0.5), ((4097, 257), 0.999)] {
        let on = |device: &Device| {
            let mask = kernel::dropout_mask(Rng::new(5, "dropout", &[1, 2]), probability, shape, device).unwrap();
            assert_eq!(mask.dims2().unwrap(), shape);
            numbers(&mask)
        };
        let theirs = on(&Device::Cpu);
        assert!(on(&cuda) == theirs, "{shape:?} with {probability}");
        assert!(theirs.len() < 20 || theirs.contains(&0.0) && theirs.iter().any(|&factor| factor > 1.0));
    }
}

/// The product below has more numbers than cuDNN and Candle count: it is refused before it is made, in words that end a run as
/// `out_of_memory`.
#[test]
fn maps_with_too_many_numbers_are_refused() {
    let Some(cuda) = cuda::device() else { return };
    let (x, weight) = (random(&[1, 256, 256, 1], 1, &cuda), random(&[40_000, 1, 1, 1], 2, &cuda));
    let error = kernel::conv2d(&x, &weight, 1, 0).unwrap_err();
    assert!(error.to_string().contains("2621440000 numbers"), "{error}");
    assert_eq!(train::TrainError::from(error).outcome(), protocol::Outcome::OutOfMemory);
}

/// Candle's backward pass knows of three arguments at most: what it cannot deliver it must not lose in silence.
#[test]
fn the_weights_of_a_dense_block_need_our_backward_pass() {
    let Some(cuda) = cuda::device() else { return };
    let var = |shape: &[usize]| Var::from_tensor(&random(shape, 1, &cuda)).unwrap().as_tensor().clone();
    let t: Vec<Tensor> = [&[2usize, 3, 3, 4][..], &[4], &[4], &[8, 4, 1, 1], &[8], &[8], &[2, 8, 3, 3]].map(var).to_vec();
    let sum = |t: &[Tensor]| kernel::dense_block_train(&t[0], &layers(t), 1e-5).unwrap().0.sum_all().unwrap();
    let error = sum(&t).backward().unwrap_err().to_string();
    assert!(error.contains("kernel::backward"), "{error}");
    // a constant among the weights
    let mut some = t.clone();
    some[1] = some[1].detach();
    let (all, fewer) = (kernel::backward(&sum(&t)).unwrap(), kernel::backward(&sum(&some)).unwrap());
    for (at, tensor) in t.iter().enumerate() {
        let of = |gradients: &kernel::Gradients| gradients.get(tensor).unwrap().map(|gradient| numbers(&gradient));
        assert_eq!(of(&fewer), of(&all).filter(|_| at != 1), "{at}");
        assert!(of(&all).is_some());
    }
    some[2] = (&some[2] * 2.0).unwrap();
    assert!(kernel::dense_block_train(&some[0], &layers(&some), 1e-5).is_err(), "a weight that is the result of an operation");
}

#[test]
fn launches_are_counted_by_class() {
    let Some(cuda) = cuda::device() else { return };
    let x = random(&[2, 5, 5, 4], 1, &cuda);
    let weight = random(&[3, 4, 1, 1], 2, &cuda);
    let work = || {
        kernel::conv2d(&x, &weight, 1, 0)?;
        kernel::avg_pool2d(&x, 2)?;
        kernel::avg_pool2d(&x, 5).map(drop)
    };
    let (milliseconds, classes) = kernel::trace::traced(&cuda, work).unwrap().unwrap();
    let found: Vec<(&str, usize)> = classes.iter().map(|class| (class.name.as_str(), class.launches)).collect();
    assert_eq!(found, [("avg_pool_f32_4", 2), ("cuBLAS product", 1)]);
    assert!(classes.iter().all(|class| class.milliseconds >= 0.0) && milliseconds >= 0.0);
    // nothing is kept of a failure, nor of what comes after
    assert!(kernel::trace::traced(&cuda, || candle_core::bail!("no")).is_err());
    work().unwrap();
    assert!(kernel::trace::traced(&cuda, || Ok(())).unwrap().unwrap().1.is_empty());
}

/// Each run has a loss of its own; two of them weigh rows.
#[test]
fn losses_of_bundles() {
    let Some(cuda) = cuda::device() else { return };
    let counts = LabelCounts::new(1000, vec![100, 400, 20]);
    let names = ["bce", "db", "focal(gamma=1.5)", "asl", "class_balanced(by=average_n)", "ldam", "splc(start=0)", "focal_seed"];
    let context = Context { pos_weight: vec![3.0, 0.5, 7.0], counts, epochs: 4 };
    let build = |name: &str| loss::build(&parse(loss::REGISTRY, "loss", name).unwrap(), &context).unwrap();
    let losses: Vec<_> = names.iter().map(|name| build(name)).collect();
    for batch in [1, 48, 700] {
        let mut rng = Rng::new(batch as u64, "targets", &[]);
        let targets: Vec<u8> = (0..batch * 3).map(|_| [0, 1, 0, 0, 1, 0, 2][rng.below(7) as usize]).collect();
        let parts = cells::parts(batch * 3);
        let on = |device: &Device| {
            let forms = losses.iter().map(|loss| loss.form(3).unwrap()).collect();
            let rows = losses.iter().flat_map(|loss| {
                let own = loss.rows(3, &targets);
                if own.is_empty() { vec![1.0; batch] } else { own }
            });
            let rows = Tensor::from_vec(rows.collect::<Vec<f64>>(), (names.len(), batch), device).unwrap();
            let logits = (random(&[names.len(), 3, batch], 5, device) * 3.0).unwrap();
            let targets = Tensor::from_slice(&targets, (batch, 3), device).unwrap();
            let (gradient, sums) = Cells::new(forms, parts, device).unwrap().evaluate(&logits, &targets, Some(rows)).unwrap();
            assert_eq!(gradient.dims(), logits.dims());
            let sums: Vec<_> = sums.to_vec2::<f32>().unwrap().iter().map(|parts| cells::total(parts)).collect();
            (gradient.flatten_from(1).unwrap().to_vec2::<f32>().unwrap(), sums)
        };
        let ((ours, sums), (theirs, others)) = (on(&cuda), on(&Device::Cpu));
        agree("losses", &[Weights(&[names.len(), 3, batch])], 3e-6, &ours, &theirs);
        for ((name, (sum, finite)), (other, _)) in names.iter().zip(sums).zip(others) {
            assert!(finite && (sum - other).abs() <= 1e-6 * other.abs(), "{name}: {sum}, on the CPU {other}");
        }
    }
}

/// Adam, AdamW, Adam-mini, SGD, Nesterov's and clipped and unclipped runs side by side; tensors smaller and larger than a block's share.
#[test]
fn updates_of_bundles() {
    let Some(cuda) = cuda::device() else { return };
    let adam = Column {
        keep: 0.9,
        add: 0.1,
        keep_square: 0.99,
        add_square: 0.01,
        rate: 0.02,
        shrink: 1.0,
        eps: 1e-8,
        root: 3.0,
        ..Column::default()
    };
    let sgd = Column { rule: Kind::Sgd, decay: 0.1, keep: 0.9, add: 1.0, rate: 0.03, momentum: 0.9, ..Column::default() };
    let kinds = [
        Column { rule: Kind::Adam, decay: 0.1, ..adam },
        sgd,
        Column { rule: Kind::Adam, shrink: 0.9, ..adam },
        Column { rule: Kind::Nesterov, ..sgd },
        Column { rule: Kind::AdamMini, shrink: 0.9, ..adam },
    ];
    for runs in [1, 3, 32] {
        let columns: Vec<Column> = (0..runs).map(|run| Column { rate: 0.01 + run as f32 * 1e-3, ..kinds[run % 5] }).collect();
        let limits: Vec<f64> = (0..runs).map(|run| [2.0, f64::INFINITY, 1e6][run % 3]).collect();
        let sizes = [vec![runs, 5, 70], vec![runs, 5], vec![runs, 1, 4099], vec![runs, 1]];
        let on = |device: &Device| {
            let vars = |seed: u64| -> Vec<Var> {
                let var = |(at, size): (usize, &Vec<usize>)| Var::from_tensor(&random(size, seed + at as u64, device)).unwrap();
                sizes.iter().enumerate().map(var).collect()
            };
            let (p, m, v) = (vars(10), vars(20), vars(30));
            v.iter().for_each(|v| v.set(&v.as_detached_tensor().sqr().unwrap()).unwrap());
            let gradients: Vec<Tensor> = vars(40).iter().map(Var::as_detached_tensor).collect();
            let limits = Tensor::from_slice(&limits, runs, device).unwrap();
            let scales = kernel::clip_runs(&gradients.iter().collect::<Vec<_>>(), &limits).unwrap();
            let moved = |at: usize| Moved { parameter: &p[at], first: &m[at], second: Some(&v[at]), gradient: &gradients[at] };
            let moved: Vec<Moved<'_>> = (0..sizes.len()).map(moved).collect();
            kernel::update_runs(&moved, &columns, Some(&scales)).unwrap();
            kernel::update_runs(&moved, &columns, None).unwrap();
            let mut all: Vec<Vec<f32>> = [p, m, v].iter().flatten().map(|var| numbers(var.as_tensor())).collect();
            all.push(numbers(&scales));
            all
        };
        let (ours, theirs) = (on(&cuda), on(&Device::Cpu));
        agree("updates", &[Weights(&[runs])], 1e-6, &ours, &theirs);
        assert!(on(&cuda) == ours, "the second time other bits");
        let scales = &theirs[12];
        assert!(
            scales[0] < 0.1
                && scales[runs] > 20.0
                && (runs < 3 || scales[1] == 1.0 && scales[runs + 1] == 0.0 && scales[2] == 1.0)
        );
    }
}
