//! Against torch (tests/oracle/optimizers.py), and through a checkpoint.

use candle_core::{DType, Device};
use serde_json::Value;

use super::*;

fn oracle() -> Value {
    serde_json::from_str(include_str!("../../../../tests/oracle/optimizers.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

fn choice(case: &Value) -> Choice {
    let params = case["params"].as_object().unwrap();
    let plain = Choice::plain(case["kind"].as_str().unwrap());
    params.iter().fold(plain, |choice, (name, value)| choice.with(name, value.as_f64().unwrap()))
}

fn tensor(values: &[f64], dtype: DType) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

fn parameters(start: &[f64], dtype: DType) -> BTreeMap<String, Var> {
    BTreeMap::from([("p".to_owned(), Var::from_tensor(&tensor(start, dtype)).unwrap())])
}

fn values(parameters: &BTreeMap<String, Var>) -> Vec<f64> {
    parameters["p"].as_tensor().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// The kernels (f32) and their reference (f64) give torch's values.
#[test]
fn every_optimizer_takes_torchs_steps() {
    let oracle = oracle();
    let start = numbers(&oracle["start"]);
    for (dtype, tolerance) in [(DType::F32, 2e-6), (DType::F64, 1e-12)] {
        for case in oracle["cases"].as_array().unwrap() {
            let parameters = parameters(&start, dtype);
            let mut optimizer = Optimizer::new(&choice(case), &parameters).unwrap();
            for (gradient, wanted) in oracle["gradients"].as_array().unwrap().iter().zip(case["path"].as_array().unwrap()) {
                let gradient = tensor(&numbers(gradient), dtype);
                optimizer.step(&BTreeMap::from([("p", gradient)]), oracle["rate"].as_f64().unwrap(), None).unwrap();
                for (got, wanted) in values(&parameters).iter().zip(numbers(wanted)) {
                    assert!((got - wanted).abs() <= tolerance * (1.0 + wanted.abs()), "{dtype:?} {case}: {got} {wanted}");
                }
            }
        }
    }
}

/// A row of weights is a neuron, and one moment is all it has; from the three forms in which an optimizer takes its steps.
#[test]
fn adam_mini_takes_the_papers_steps() {
    let oracle: Value = serde_json::from_str(include_str!("../../../../tests/oracle/adam_mini.json")).unwrap();
    let matrix = |value: &Value| serde_json::from_value::<Vec<Vec<f64>>>(value.clone()).unwrap().concat();
    let params = oracle["params"].as_object().unwrap().iter();
    let choice = params.fold(Choice::plain("adam_mini"), |choice, (name, value)| choice.with(name, value.as_f64().unwrap()));
    let rule = UpdateRule::new(&choice);
    let (rate, start) = (oracle["rate"].as_f64().unwrap(), matrix(&oracle["start"]));
    let shaped = |values: &[f64], shape: &[usize]| tensor(values, DType::F32).reshape(shape).unwrap();
    let parameters = BTreeMap::from([("p".to_owned(), Var::from_tensor(&shaped(&start, &[3, 5])).unwrap())]);
    let mut optimizer = Optimizer::new(&choice, &parameters).unwrap();
    let of = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<f32>>();
    let (mut slices, zeros) = ([of(&start), of(&[0.0; 15]), of(&[0.0; 15])], vec![0.0; 15]);
    let many = |values: &[f64]| Var::from_tensor(&shaped(values, &[1, 3, 5])).unwrap();
    let (value, first, second) = (many(&start), many(&zeros), many(&zeros));
    let steps = oracle["gradients"].as_array().unwrap().iter().zip(oracle["path"].as_array().unwrap());
    for (step, (gradient, wanted)) in steps.enumerate() {
        let (gradient, wanted) = (matrix(gradient), matrix(wanted));
        optimizer.step(&BTreeMap::from([("p", shaped(&gradient, &[3, 5]))]), rate, None).unwrap();
        let [p, m, v] = &mut slices;
        rule.apply(step as u64 + 1, rate, Some(5), [p, m, v], &of(&gradient));
        let many = shaped(&gradient, &[1, 3, 5]);
        let moved = Moved { parameter: &value, first: &first, second: Some(&second), gradient: &many };
        kernel::update_runs(&[moved], &[rule.column(step as u64 + 1, rate)], None).unwrap();
        let found = [parameters["p"].as_tensor(), value.as_tensor()].map(|p| p.flatten_all().unwrap().to_vec1().unwrap());
        for found in found.iter().chain([&slices[0]]) {
            for (found, wanted) in found.iter().zip(&wanted) {
                assert!((f64::from(*found) - wanted).abs() <= 2e-6 * (1.0 + wanted.abs()), "{step}: {found} {wanted}");
            }
        }
    }
}

/// An optimizer that was saved and restored goes on to the last bit.
#[test]
fn a_restored_optimizer_goes_on_as_if_it_had_never_stopped() {
    let oracle = oracle();
    let start = numbers(&oracle["start"]);
    let gradients: Vec<Vec<f64>> = oracle["gradients"].as_array().unwrap().iter().map(numbers).collect();
    for case in oracle["cases"].as_array().unwrap() {
        let walk = |optimizer: &mut Optimizer, range: std::ops::Range<usize>| {
            for gradient in &gradients[range] {
                optimizer.step(&BTreeMap::from([("p", tensor(gradient, DType::F32))]), 0.1, None).unwrap();
            }
        };
        let whole = parameters(&start, DType::F32);
        walk(&mut Optimizer::new(&choice(case), &whole).unwrap(), 0..6);
        let broken = parameters(&start, DType::F32);
        let mut first = Optimizer::new(&choice(case), &broken).unwrap();
        walk(&mut first, 0..3);
        let mut second = Optimizer::new(&choice(case), &broken).unwrap();
        assert!(!second.restore(&BTreeMap::new(), 3).unwrap());
        assert!(
            second.restore(&first.state().iter().map(|(name, tensor)| (name.clone(), tensor)).collect(), first.steps()).unwrap()
        );
        walk(&mut second, 3..6);
        assert_eq!(values(&whole), values(&broken), "{case}");
    }
}

#[test]
fn clipping_keeps_the_direction() {
    let clip_case = &oracle()["clip"];
    let mut gradients = BTreeMap::from([("a", tensor(&[3.0, 4.0], DType::F32)), ("b", tensor(&[12.0], DType::F32))]);
    let norm = clip(&mut gradients, clip_case["limit"].as_f64().unwrap()).unwrap();
    assert!((norm - clip_case["norm"].as_f64().unwrap()).abs() < 1e-6);
    for (gradient, wanted) in gradients.values().zip(clip_case["clipped"].as_array().unwrap()) {
        for (got, wanted) in gradient.to_vec1::<f32>().unwrap().into_iter().zip(numbers(wanted)) {
            assert!((f64::from(got) - wanted).abs() < 1e-6, "{got} {wanted}");
        }
    }
    let before = gradients["a"].to_vec1::<f32>().unwrap();
    clip(&mut gradients, 1e6).unwrap();
    assert_eq!(gradients["a"].to_vec1::<f32>().unwrap(), before);
}
