//! Compares a custom operation in f32 with its reference in f64: values, gradients, and equal bits for any number of threads.

use candle_core::{DType, Device, Result, Tensor, Var};

use imbalance::rng::Rng;

/// Values, then the gradient of each input under a random linear loss.
fn run(inputs: &[Vec<f64>], shapes: &[&[usize]], dtype: DType, f: &dyn Fn(&[Tensor]) -> Result<Tensor>) -> Vec<Vec<f64>> {
    let vars: Vec<Var> = inputs
        .iter()
        .zip(shapes)
        .map(|(input, &shape)| {
            let tensor = Tensor::from_vec(input.clone(), shape, &Device::Cpu).unwrap();
            Var::from_tensor(&tensor.to_dtype(dtype).unwrap()).unwrap()
        })
        .collect();
    let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let y = f(&tensors).unwrap();
    let mut rng = Rng::new(2, "loss", &[]);
    let direction: Vec<f64> = (0..y.elem_count()).map(|_| f64::from(rng.normal() as f32)).collect();
    let direction = Tensor::from_vec(direction, y.shape(), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
    let gradients = (&y * direction).unwrap().sum_all().unwrap().backward().unwrap();
    let mut all = vec![flat(&y)];
    all.extend(tensors.iter().map(|t| gradients.get(t).map(flat).unwrap_or_default()));
    all
}

/// The numbers of a tensor in order.
pub(super) fn flat(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// The norm of the difference, and that of what is expected.
fn apart(got: &[f64], expected: &[f64]) -> (f64, f64) {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    (norm(&mut got.iter().zip(expected).map(|(a, b)| a - b)), norm(&mut expected.iter().copied()))
}

/// Panics unless values agree to 1e-5 of their norm.
pub(super) fn close(got: &[f64], expected: &[f64]) {
    let (error, scale) = apart(got, expected);
    assert!(got.len() == expected.len() && error <= 1e-5 * scale, "off by {error} of {scale}");
}

/// Panics unless `ours` (f32) agrees with `reference` (f64) on random inputs of `shapes`, and with itself on other thread counts.
pub(super) fn check(
    shapes: &[&[usize]],
    ours: impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync,
    reference: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let mut rng = Rng::new(1, "inputs", &[]);
    let inputs: Vec<Vec<f64>> = shapes
        .iter()
        .map(|shape| {
            // Multiples of 1/16 make ties, zeros among them.
            (0..shape.iter().product()).map(|_| (rng.normal() * 16.0).round() / 16.0).collect()
        })
        .collect();
    let got = run(&inputs, shapes, DType::F32, &ours);
    let expected = run(&inputs, shapes, DType::F64, &reference);
    for (what, (got, expected)) in got.iter().zip(&expected).enumerate() {
        assert_eq!(got.len(), expected.len(), "{shapes:?}: size of result {what}");
        let (error, scale) = apart(got, expected);
        assert!(error <= 1e-5 * scale + 1e-5, "{shapes:?}: result {what} is off by {error} of {scale}");
    }
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let again = pool.install(|| run(&inputs, shapes, DType::F32, &ours));
        assert!(again == got, "{shapes:?}: {threads} threads change the result");
    }
}
