//! Every operation beside what its definition says, in f64.

use imbalance::rng::Rng;
use pulp::{Arch, Scalar, Simd, WithSimd};

use crate::graph::{Affine, Graph, Layer, Operation, Shape, Value, Window};
use crate::product::{Compute, Dot, InF32, Inputs, Packed, whole};
use crate::{Activation, Engine, Precision};

/// A map as its numbers, `[height, width, channels]`.
type Map = (Shape, Vec<f64>);

fn at((shape, numbers): &Map, y: isize, x: isize, channel: usize) -> f64 {
    let inside = y >= 0 && x >= 0 && (y as usize) < shape.height && (x as usize) < shape.width;
    if inside { numbers[(y as usize * shape.width + x as usize) * shape.channels + channel] } else { 0.0 }
}

fn build(shape: Shape, of: impl Fn(usize, usize, usize) -> f64) -> Map {
    let mut numbers = Vec::new();
    for y in 0..shape.height {
        for x in 0..shape.width {
            numbers.extend((0..shape.channels).map(|channel| of(y, x, channel)));
        }
    }
    (shape, numbers)
}

/// The error function, by its series and its continued fraction.
fn erf(x: f64) -> f64 {
    let z = x.abs();
    let value = if z < 2.5 {
        let (mut term, mut sum) = (z, z);
        for n in 1..80 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let fraction = (1..60).rev().fold(z, |below, n| z + f64::from(n) / 2.0 / below);
        1.0 - (-z * z).exp() / std::f64::consts::PI.sqrt() / fraction
    };
    value.copysign(x)
}

fn active(activation: Activation, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let hard = ((x + 3.0) / 6.0).clamp(0.0, 1.0);
    match activation {
        Activation::Identity => x,
        Activation::Relu => x.max(0.0),
        Activation::Silu => x * sigmoid(x),
        Activation::Gelu => x * 0.5 * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        Activation::QuickGelu => x * sigmoid(1.702 * x),
        Activation::HardSwish => x * hard,
        Activation::Sigmoid => sigmoid(x),
        Activation::HardSigmoid => hard,
    }
}

fn affine(affine: Option<&Affine>, x: f64, channel: usize) -> f64 {
    affine.map_or(x, |affine| (x * f64::from(affine.scale[channel]) + f64::from(affine.shift[channel])).max(0.0))
}

/// A factor of a product.
fn kept(precision: Precision, x: f64) -> f64 {
    match precision {
        Precision::F32 => x,
        Precision::Bf16 => f64::from(f32::from_bits(precision.item([x as f32, 0.0]).to_bits() << 16)),
    }
}

/// What a graph's operations are, with factors of products in `precision`.
fn reference(graph: &Graph, image: &[f32], precision: Precision) -> Vec<f64> {
    let kept = |x: f64| kept(precision, x);
    let mut maps: Vec<Map> = Vec::new();
    for (operation, &shape) in graph.operations.iter().zip(&graph.shapes) {
        let map = |value: &Value| &maps[value.0];
        let taps = |window: &Window| {
            let Window { size, stride, padding } = *window;
            move |y: usize, x: usize| {
                let corner = move |along: usize| (along * stride) as isize - padding as isize;
                (0..size * size).map(move |tap| (tap, corner(y) + (tap / size) as isize, corner(x) + (tap % size) as isize))
            }
        };
        let made = match operation {
            Operation::Input => build(shape, |y, x, c| f64::from(image[(c * shape.height + y) * shape.width + x])),
            Operation::Convolution { from, window, layer, before, residual, activation } => {
                let (from, inputs) = (map(from), map(from).0.channels);
                let each = window.size * window.size;
                build(shape, |y, x, output| {
                    let mut sum = f64::from(layer.bias[output]);
                    for (tap, y, x) in taps(window)(y, x) {
                        for input in 0..inputs {
                            let weight = f64::from(layer.weight[(output * inputs + input) * each + tap]);
                            sum += kept(weight) * kept(affine(before.as_ref(), at(from, y, x, input), input));
                        }
                    }
                    let more = residual.map_or(0.0, |residual| at(map(&residual), y as isize, x as isize, output));
                    active(*activation, sum + more)
                })
            }
            Operation::Depthwise { from, window, layer, activation } => build(shape, |y, x, c| {
                let each = window.size * window.size;
                let product = |(tap, y, x)| f64::from(layer.weight[c * each + tap]) * at(map(from), y, x, c);
                active(*activation, f64::from(layer.bias[c]) + taps(window)(y, x).map(product).sum::<f64>())
            }),
            Operation::MaxPool { from, window } => build(shape, |y, x, c| {
                taps(window)(y, x).map(|(_, y, x)| at(map(from), y, x, c)).fold(f64::NEG_INFINITY, f64::max)
            }),
            Operation::AveragePool { from, size, before } => {
                let from = map(from);
                let (tall, wide) = if *size == 0 { (from.0.height, from.0.width) } else { (*size, *size) };
                build(shape, |y, x, c| {
                    let pixel = |tap: usize| at(from, (y * tall + tap / wide) as isize, (x * wide + tap % wide) as isize, c);
                    let sum: f64 = (0..tall * wide).map(|tap| affine(before.as_ref(), pixel(tap), c)).sum();
                    sum / (tall * wide) as f64
                })
            }
            Operation::LayerNorm { from, weight, bias, eps } => build(shape, |y, x, c| {
                let pixel = |c: usize| at(map(from), y as isize, x as isize, c);
                let mean = (0..shape.channels).map(pixel).sum::<f64>() / shape.channels as f64;
                let variance = (0..shape.channels).map(|c| (pixel(c) - mean).powi(2)).sum::<f64>() / shape.channels as f64;
                (pixel(c) - mean) / (variance + f64::from(*eps)).sqrt() * f64::from(weight[c]) + f64::from(bias[c])
            }),
            Operation::Attention { from, heads } => {
                let (width, head) = (shape.channels, shape.channels / heads);
                let part = |part: usize, token: usize, c: usize| kept(at(map(from), token as isize, 0, part * width + c));
                build(shape, |token, _, c| {
                    let first = c / head * head;
                    let score = |other: usize| {
                        let dot: f64 = (first..first + head).map(|c| part(0, token, c) * part(1, other, c)).sum();
                        (dot / (head as f64).sqrt()).exp()
                    };
                    let sum: f64 = (0..shape.height).map(score).sum();
                    (0..shape.height).map(|other| kept(score(other) / sum) * part(2, other, c)).sum()
                })
            }
            Operation::Gate { from, by } => {
                build(shape, |y, x, c| at(map(from), y as isize, x as isize, c) * at(map(by), 0, 0, c))
            }
            Operation::Join { from, by } => {
                let (from, by) = (map(from), map(by));
                build(shape, |y, x, c| match c.checked_sub(from.0.channels) {
                    None => at(from, y as isize, x as isize, c),
                    Some(c) => at(by, y as isize, x as isize, c),
                })
            }
            Operation::Tokens { from, class, positions } => build(shape, |token, _, c| {
                let wide = map(from).0.width;
                let value = token
                    .checked_sub(1)
                    .map_or(f64::from(class[c]), |at_| at(map(from), (at_ / wide) as isize, (at_ % wide) as isize, c));
                value + f64::from(positions[token * shape.channels + c])
            }),
            Operation::First { from } => build(shape, |_, _, c| at(map(from), 0, 0, c)),
        };
        maps.push(made);
    }
    maps.pop().unwrap().1
}

fn numbers(rng: &mut Rng, count: usize) -> Vec<f32> {
    (0..count).map(|_| (2.0 * rng.uniform() - 1.0) as f32).collect()
}

fn layer(rng: &mut Rng, outputs: usize, each: usize) -> Layer {
    let scale = (3.0 / each as f32).sqrt();
    let weight = numbers(rng, outputs * each).into_iter().map(|weight| weight * scale).collect();
    Layer { weight, bias: numbers(rng, outputs) }
}

/// The engine's numbers are the definition's, for several images at once and for each by itself, on any number of threads.
fn check(name: &str, graph: &Graph) {
    check_in(Precision::F32, 2e-6, name, graph);
    if Precision::Bf16.supported() {
        // A number between two of bf16 is now and then rounded to the other one.
        check_in(Precision::Bf16, 4e-3, name, graph);
    } else {
        println!("bf16: skipped, this CPU has no instructions for it");
    }
}

fn check_in(precision: Precision, bound: f64, name: &str, graph: &Graph) {
    let mut rng = Rng::new(1, name, &[]);
    let engine = Engine::new(graph, precision);
    let shape = graph.shapes[0];
    let each = shape.height * shape.width * shape.channels;
    let images = numbers(&mut rng, 7 * each);
    let all = engine.run(&images);
    for (image, features) in images.chunks(each).zip(all.chunks(engine.width())) {
        let expected = reference(graph, image, precision);
        let most = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        let off = features.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        assert!(features.len() == expected.len() && off <= bound * most, "{name}, {precision:?}: off by {off:e} of {most}");
        assert_eq!(engine.run(image), features, "{name}, {precision:?}: an image by itself");
    }
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| engine.run(&images)), all, "{name}, {precision:?}: {threads} threads");
    }
}

#[test]
fn convolutions_of_every_shape_are_what_they_are_defined_as() {
    let mut rng = Rng::new(0, "convolutions", &[]);
    for (inputs, outputs) in [(3, 16), (3, 40), (16, 24), (24, 50), (40, 130)] {
        for (window, edge) in [
            (Window::POINT, 5),
            (Window::new(1, 2, 0), 6),
            (Window::new(3, 1, 1), 7),
            (Window::new(3, 2, 1), 8),
            (Window::new(2, 2, 0), 6),
            (Window::new(4, 4, 0), 9),
            (Window::new(7, 2, 3), 9),
        ] {
            let (mut graph, x) = Graph::new(inputs, edge, edge + 1);
            let each = inputs * window.size * window.size;
            // Of images, and of maps.
            let y = graph.convolution(x, window, layer(&mut rng, outputs, each), Activation::Silu);
            let second = layer(&mut rng, outputs, 9 * outputs);
            graph.fused(y, Window::new(3, 1, 1), second, None, Some(y), Activation::Relu);
            check(&format!("{inputs} to {outputs}, {window:?}"), &graph);
        }
    }
}

struct Apply<'a>(Activation, &'a mut [f32]);

impl WithSimd for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.0.apply(simd, self.1);
    }
}

#[test]
fn activations_are_what_they_are_defined_as() {
    let mut rng = Rng::new(0, "activations", &[]);
    for activation in [
        Activation::Identity,
        Activation::Relu,
        Activation::Silu,
        Activation::Gelu,
        Activation::QuickGelu,
        Activation::HardSwish,
        Activation::Sigmoid,
        Activation::HardSigmoid,
    ] {
        let (mut graph, x) = Graph::new(3, 8, 8);
        let mut wide = layer(&mut rng, 48, 3);
        wide.weight.iter_mut().for_each(|weight| *weight *= 4.0);
        graph.convolution(x, Window::POINT, wide, activation);
        check(&format!("{activation:?}"), &graph);
        let mut far = [-200.0, -88.5, -20.0, -0.0, 0.0, 1e-20, 20.0, 88.5, 200.0];
        Arch::new().dispatch(Apply(activation, &mut far));
        let ends: Vec<f64> = far.iter().map(|x| f64::from(*x)).collect();
        for (x, value) in [-200.0, -88.5, -20.0, -0.0, 0.0, 1e-20, 20.0, 88.5, 200.0].into_iter().zip(ends) {
            assert!((value - active(activation, x)).abs() <= 1e-6 * x.abs().max(1.0), "{activation:?} of {x}: {value}");
        }
    }
}

#[test]
fn depthwise_convolutions_pools_and_gates_are_what_they_are_defined_as() {
    let mut rng = Rng::new(0, "depthwise", &[]);
    for channels in [16, 24, 40] {
        for (window, edge) in [
            (Window::new(3, 1, 1), 7),
            (Window::new(3, 2, 1), 8),
            (Window::new(5, 1, 2), 11),
            (Window::new(5, 2, 2), 9),
            (Window::new(7, 1, 3), 10),
        ] {
            let (mut graph, x) = Graph::new(3, edge, edge);
            let x = graph.convolution(x, Window::POINT, layer(&mut rng, channels, 3), Activation::Relu);
            let weights = layer(&mut rng, channels, window.size * window.size);
            let y = graph.depthwise(x, window, weights, Activation::HardSwish);
            let squeezed = graph.global_average(y, None);
            let gate = graph.convolution(squeezed, Window::POINT, layer(&mut rng, channels, channels), Activation::Sigmoid);
            let y = graph.gate(y, gate);
            let before = Affine { scale: numbers(&mut rng, channels), shift: numbers(&mut rng, channels) };
            graph.average_pool(y, 2, Some(before));
            check(&format!("{channels} channels, {window:?}"), &graph);
        }
    }
}

/// As in DenseNet: maps that grow in their place, read by layers with a batch norm before them.
#[test]
fn joined_maps_are_what_they_are_defined_as() {
    let mut rng = Rng::new(0, "joined", &[]);
    let (mut graph, x) = Graph::new(3, 10, 10);
    let x = graph.convolution(x, Window::new(3, 1, 1), layer(&mut rng, 32, 27), Activation::Relu);
    let mut x = graph.max_pool(x, Window::new(3, 2, 1));
    for channels in [32, 48, 64] {
        let before = Affine { scale: numbers(&mut rng, channels), shift: numbers(&mut rng, channels) };
        let y = graph.fused(x, Window::POINT, layer(&mut rng, 64, channels), Some(before), None, Activation::Relu);
        let y = graph.convolution(y, Window::new(3, 1, 1), layer(&mut rng, 16, 9 * 64), Activation::Identity);
        x = graph.join(x, y);
    }
    let before = Affine { scale: numbers(&mut rng, 80), shift: numbers(&mut rng, 80) };
    graph.global_average(x, Some(before));
    check("joined", &graph);
}

#[test]
fn transformers_are_what_they_are_defined_as() {
    let mut rng = Rng::new(0, "transformer", &[]);
    for (edge, width, heads) in [(12, 32, 2), (20, 96, 3)] {
        let (mut graph, x) = Graph::new(3, edge, edge);
        let x = graph.convolution(x, Window::new(4, 4, 0), layer(&mut rng, width, 48), Activation::Identity);
        let tokens = 1 + (edge / 4) * (edge / 4);
        let (class, positions) = (numbers(&mut rng, width), numbers(&mut rng, tokens * width));
        let x = graph.tokens(x, class, positions);
        let y = graph.layer_norm(x, numbers(&mut rng, width), numbers(&mut rng, width), 1e-6);
        let y = graph.convolution(y, Window::POINT, layer(&mut rng, 3 * width, width), Activation::Identity);
        let y = graph.attention(y, heads);
        let x = graph.fused(y, Window::POINT, layer(&mut rng, width, width), None, Some(x), Activation::Gelu);
        graph.first(x);
        check(&format!("{tokens} tokens"), &graph);
    }
}

/// Rows with their weights, and the sums.
struct Sums<'a> {
    precision: Precision,
    rows: &'a [Vec<f32>],
    weights: &'a Packed,
    sums: Vec<Vec<f32>>,
}

impl Compute for &mut Sums<'_> {
    #[inline(always)]
    fn with<S: Simd, D: Dot<S>>(self, simd: S, dot: D) {
        let mut rows = vec![vec![0.0; self.rows[0].len().div_ceil(self.precision.numbers())]; self.rows.len()];
        for (items, row) in rows.iter_mut().zip(self.rows) {
            // SAFETY: only what the CPU has is tried.
            unsafe { dot.take(simd, row, None, items) };
        }
        let places: Vec<*const f32> = rows.iter().map(|row| row.as_ptr()).collect();
        let inputs = Inputs { taps: &[0], run: rows[0].len() };
        for panel in &self.weights.panels {
            let weights = (self.weights.of(panel).as_ptr(), panel.width());
            let each = |row: usize, column: usize, width: usize, some: &mut [f32]| {
                for (sums, some) in self.sums[row..].iter_mut().zip(some.chunks_exact(width)) {
                    sums[panel.first + column..][..width].copy_from_slice(some);
                }
            };
            // SAFETY: rows and weights of the same depth.
            unsafe { dot.sums(simd, &places, inputs, weights, panel.units, each) };
        }
    }
}

/// In vectors of every width that this CPU has, not only in those that an engine takes here.
#[test]
fn products_are_the_same_in_vectors_of_every_width() {
    let mut rng = Rng::new(0, "widths", &[]);
    for (outputs, count, depth) in [(5, 1, 3), (16, 8, 37), (40, 13, 64), (70, 32, 96), (130, 7, 33)] {
        let rows: Vec<Vec<f32>> = (0..count).map(|_| numbers(&mut rng, depth)).collect();
        let matrix = numbers(&mut rng, outputs * depth);
        for precision in [Precision::F32, Precision::Bf16].into_iter().filter(|precision| precision.supported()) {
            let per = precision.numbers();
            let weight = |output: usize, input: usize| if input < depth { matrix[output * depth + input] } else { 0.0 };
            let weights = Packed::new(outputs, depth.div_ceil(per), |output, item| {
                precision.item([weight(output, item * per), weight(output, item * per + 1)])
            });
            let expected = |row: &[f32], output: usize| -> f64 {
                let products = row
                    .iter()
                    .enumerate()
                    .map(|(at, x)| kept(precision, f64::from(*x)) * kept(precision, f64::from(weight(output, at))));
                products.sum()
            };
            let check = |name: &str, run: &dyn Fn(&mut Sums<'_>)| {
                let mut sums = Sums { precision, rows: &rows, weights: &weights, sums: vec![vec![0.0; whole(outputs)]; count] };
                run(&mut sums);
                for (row, sums) in rows.iter().zip(&sums.sums) {
                    for (output, sum) in sums[..outputs].iter().enumerate() {
                        let off = (f64::from(*sum) - expected(row, output)).abs();
                        assert!(off <= 1e-5, "{name}, {count} x {depth} x {outputs}, {precision:?}: off by {off:e}");
                    }
                }
            };
            check("an engine's", &|sums| sums.compute(precision));
            match precision {
                Precision::F32 => {
                    check("one number", &|sums| Scalar::new().vectorize(InF32(sums)));
                    #[cfg(target_arch = "x86_64")]
                    if let Some(simd) = pulp::x86::V3::try_new() {
                        check("AVX2", &|sums| Simd::vectorize(simd, InF32(sums)));
                    }
                }
                #[cfg(target_arch = "x86_64")]
                // SAFETY: supported.
                Precision::Bf16 => check("AVX512-BF16", &|sums| unsafe { crate::half::pairs::compute(sums) }),
                #[cfg(not(target_arch = "x86_64"))]
                Precision::Bf16 => {}
            }
        }
    }
}
