use candle_core::{DType, Device, Tensor};

use super::*;

fn config(arch: &str, hidden: &[usize]) -> ModelConfig {
    ModelConfig::new(arch, hidden)
}

const GREY: InputShape = InputShape::Image { channels: 1, height: 32, width: 32 };

fn noise(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = imbalance::rng::Rng::new(seed, "noise", &[]);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Mean binary cross entropy of logits, from Candle's operations.
fn bce(logits: &Tensor, targets: &Tensor) -> Tensor {
    let softplus = (logits.abs().unwrap().neg().unwrap().exp().unwrap() + 1.0).unwrap().log().unwrap();
    let loss = ((logits.maximum(0.0).unwrap() - (logits * targets).unwrap()).unwrap() + softplus).unwrap();
    loss.mean_all().unwrap()
}

fn step(model: &dyn Model, x: &Tensor, targets: &Tensor, epoch: usize, rate: f64) -> f32 {
    let loss = bce(&model.forward(x, Some(Step { seed: 0, epoch, step: 0 })).unwrap(), targets);
    let gradients = loss.backward().unwrap();
    for var in model.state().parameters.values() {
        let gradient = gradients.get(var).unwrap();
        var.set(&(var.as_detached_tensor() - (gradient * rate).unwrap()).unwrap()).unwrap();
    }
    loss.to_scalar().unwrap()
}

/// Rows whose label is whether a bright square is at the left.
fn separable(rows: usize, size: usize) -> (Tensor, Tensor) {
    let mut x = numbers(&noise(&[rows, 1, size, size], 5));
    let targets: Vec<f32> = (0..rows).map(|row| (row % 2) as f32).collect();
    for (row, image) in x.chunks_exact_mut(size * size).enumerate() {
        let from = if row % 2 == 1 { 0 } else { size / 2 };
        for line in image.chunks_exact_mut(size).take(size / 2) {
            line[from..from + size / 2].iter_mut().for_each(|pixel| *pixel += 2.0);
        }
    }
    (
        Tensor::from_vec(x, (rows, 1, size, size), &Device::Cpu).unwrap(),
        Tensor::from_vec(targets, (rows, 1), &Device::Cpu).unwrap(),
    )
}

#[test]
fn every_architecture_learns_and_repeats() {
    let (x, targets) = separable(16, 32);
    for (arch, hidden, rate, steps) in
        [("linear", &[][..], 0.01, 8), ("mlp", &[16], 0.02, 8), ("cnn", &[8, 8], 0.1, 8), ("densenet121", &[], 0.05, 4)]
    {
        let run = || {
            let model = build(&config(arch, hidden), GREY, 1, Some(&[0.0]), 3, &Device::Cpu).unwrap();
            let losses: Vec<f32> = (0..steps).map(|epoch| step(model.as_ref(), &x, &targets, epoch, rate)).collect();
            (losses, numbers(&model.forward(&x, None).unwrap()))
        };
        let (losses, logits) = run();
        assert!(losses[steps - 1] < 0.6 * losses[0], "{arch}: {losses:?}");
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(pool.install(run), (losses, logits), "{arch}: one thread gives other numbers");
    }
}

#[test]
fn heads_start_at_their_bias_and_seeds_differ() {
    let shape = InputShape::Features { width: 5 };
    let zeros = Tensor::zeros((2, 5), DType::F32, &Device::Cpu).unwrap();
    let model = build(&config("linear", &[]), shape, 3, Some(&[-1.0, 0.5, 2.0]), 0, &Device::Cpu).unwrap();
    assert_eq!(numbers(&model.forward(&zeros, None).unwrap()), [-1.0, 0.5, 2.0, -1.0, 0.5, 2.0]);
    let weight = |seed| {
        let model = build(&config("linear", &[]), shape, 3, None, seed, &Device::Cpu).unwrap();
        numbers(model.state().parameters["classifier.weight"].as_tensor())
    };
    assert_eq!(weight(1), weight(1));
    assert_ne!(weight(1), weight(2));
}

#[test]
fn wrong_inputs_are_explained() {
    let features = InputShape::Features { width: 12 };
    let tiny = InputShape::Image { channels: 1, height: 8, width: 8 };
    for (arch, input, expected) in [
        ("cnn", features, "use `linear` or `mlp`"),
        ("densenet121", tiny, "at least 32 x 32"),
        ("vgg", GREY, "`vgg` cannot be trained"),
    ] {
        let error = build(&config(arch, &[4]), input, 2, None, 0, &Device::Cpu).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn states_come_back_and_misfits_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let make = |hidden: &[usize], seed| build(&config("cnn", hidden), GREY, 2, None, seed, &Device::Cpu).unwrap();
    let (model, other) = (make(&[4, 4], 1), make(&[4, 4], 2));
    save(model.state(), &path).unwrap();
    load_state(other.state(), &path).unwrap();
    let x = noise(&[3, 1, 32, 32], 1);
    assert_eq!(numbers(&model.forward(&x, None).unwrap()), numbers(&other.forward(&x, None).unwrap()));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "the temporary file stays behind");

    let error = load_state(make(&[4, 5, 3], 1).state(), &path).unwrap_err().to_string();
    for part in
        ["missing stages.2.conv.weight", "wrong shape stages.1.norm.bias: [4], expected [5]", "wrong shape classifier.weight"]
    {
        assert!(error.contains(part), "{error}");
    }
    std::fs::write(&path, &std::fs::read(&path).unwrap()[..100]).unwrap();
    assert!(load_state(model.state(), &path).unwrap_err().to_string().contains("not a complete safetensors"));
}

#[test]
fn pretrained_weights_fit_another_head_and_grey_images() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let rgb = InputShape::Image { channels: 3, height: 32, width: 32 };
    let donor = build(&config("densenet121", &[]), rgb, 7, None, 1, &Device::Cpu).unwrap();
    let mut tensors = donor.state().tensors();
    tensors.insert("features.norm0.num_batches_tracked".into(), Tensor::new(3i64, &Device::Cpu).unwrap());
    save_tensors(&tensors, None, &path).unwrap();
    let mut wanted = config("densenet121", &[]);
    wanted.weights = Some(path.display().to_string());
    let model = build(&wanted, GREY, 2, Some(&[-1.0, 1.0]), 5, &Device::Cpu).unwrap();
    let stem = numbers(&donor.state().parameters["features.conv0.weight"].sum_keepdim(1).unwrap());
    assert_eq!(numbers(model.state().parameters["features.conv0.weight"].as_tensor()), stem);
    assert_eq!(numbers(model.state().parameters["classifier.bias"].as_tensor()), [-1.0, 1.0]);

    tensors.remove("features.conv0.weight");
    tensors.insert("features.conv9.weight".into(), Tensor::new(1f32, &Device::Cpu).unwrap());
    save_tensors(&tensors, None, &path).unwrap();
    let error = build(&wanted, GREY, 2, None, 5, &Device::Cpu).err().unwrap().to_string();
    for part in ["1 missing: features.conv0.weight [64, 1, 7, 7]", "1 not the network's: features.conv9.weight"] {
        assert!(error.contains(part), "{error}");
    }
    wanted.weights = Some("hf://owner/repo".into());
    assert!(build(&wanted, GREY, 2, None, 5, &Device::Cpu).err().unwrap().to_string().contains("hf://owner/repository/file"));
}

#[test]
fn every_network_has_the_tensors_of_the_plan() {
    let features = InputShape::Features { width: 12 };
    for (arch, hidden, input) in [
        ("linear", &[][..], features),
        ("linear", &[], GREY),
        ("mlp", &[7, 3], features),
        ("mlp", &[5], GREY),
        ("cnn", &[4, 8, 3], GREY),
        ("cnn", &[4, 4, 4, 4, 4], InputShape::Image { channels: 3, height: 40, width: 40 }),
        ("densenet121", &[], GREY),
    ] {
        let config = config(arch, hidden);
        let tensors = config.tensors(Known { input: Some(input), labels: Some(2) }).unwrap();
        let state = build(&config, input, 2, None, 0, &Device::Cpu).unwrap().state().tensors();
        let dims = |tensor: &Tensor| tensor.dims().iter().map(|&size| Some(size)).collect::<Vec<_>>();
        let (head, body): (Vec<_>, Vec<_>) = state.iter().partition(|(name, _)| name.starts_with(tensors.head));
        let ours: std::collections::BTreeMap<_, _> =
            body.into_iter().map(|(name, tensor)| (name.clone(), dims(tensor))).collect();
        assert_eq!(ours, tensors.body, "{arch}");
        assert_eq!(dims(head[1].1), [Some(2), tensors.width], "{arch}");
    }
}

#[test]
fn a_head_is_kept_only_where_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let donor = build(&config("cnn", &[4]), GREY, 2, None, 1, &Device::Cpu).unwrap();
    let tensors = donor.state().tensors().into_iter().map(|(name, tensor)| (format!("module.{name}"), tensor));
    save_tensors(&tensors.collect(), None, &path).unwrap();
    let bias = Some(&[-1.0, 1.0][..]);
    let built = |head, labels: usize| {
        let weights = Some(path.display().to_string());
        let config = ModelConfig { weights, weights_head: head, ..config("cnn", &[4]) };
        let bias = bias.filter(|bias| bias.len() == labels);
        let words = weights_words(&config, Known { input: Some(GREY), labels: Some(labels) });
        build(&config, GREY, labels, bias, 5, &Device::Cpu).map(|model| (model, words.unwrap()))
    };
    let weight = |model: &dyn Model, name: &str| numbers(model.state().parameters[name].as_tensor());
    for (head, kept) in [(Some(plan::Head::New), false), (Some(plan::Head::Keep), true), (None, true)] {
        let (model, words) = built(head, 2).unwrap();
        let same = |name: &str| weight(model.as_ref(), name) == weight(donor.as_ref(), name);
        assert!(same("stages.0.conv.weight"));
        assert_eq!((same("classifier.weight"), same("classifier.bias")), (kept, kept), "{head:?}");
        assert!(words.contains("the prefix `module.`"), "{words}");
        assert!(words.contains(if kept { "the head is the file's" } else { "the head starts new" }), "{words}");
    }
    assert!(built(Some(plan::Head::New), 3).unwrap().1.contains("the file's, for 2 labels, is left out"));
    let told = built(Some(plan::Head::Keep), 3).err().unwrap().to_string();
    assert!(told.contains("it is for 2 labels, and the data has 3 labels"), "{told}");
}
