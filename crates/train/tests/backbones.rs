//! Features of frozen backbones against torchvision's, timm's and open_clip's.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::{Device, Tensor};
use plan::{Backbone, ModelConfig};
use serde::Deserialize;
use train::model::backbone::Features;
use train::model::{load_tensors, save_tensors};

/// One network of tests/oracle/backbones.json.
#[derive(Deserialize)]
struct Net {
    edge: usize,
    /// Of a layer's weights, in inverse inputs.
    variance: f64,
    /// Names and shapes of the whole network, its last layer too.
    tensors: BTreeMap<String, Vec<usize>>,
    /// The first image's, then every fourth of the second one's.
    features: Vec<f64>,
    /// How far torch's autocast in bf16 is off, in parts of the largest feature.
    bf16: f64,
}

/// Numbers in [-1, 1), as `draw` in tests/oracle/densenet.py.
fn draw(name: &str, count: usize) -> impl Iterator<Item = f64> + use<> {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    (1..=count as u64).map(move |i| {
        let mut z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 40) as f64 / f64::from(1 << 23) - 1.0
    })
}

/// What a tensor starts as, as `value` in tests/oracle/backbones.py.
fn value(name: &str, shape: &[usize], variance: f64) -> Tensor {
    let bound = (3.0 * variance / shape.iter().skip(1).product::<usize>() as f64).sqrt();
    let matrix = shape.len() >= 2 && !matches!(name, "cls_token" | "pos_embed");
    let value = |u: f64| match name {
        _ if matrix => u * bound,
        _ if name.ends_with("running_var") => 1.0 + u / 2.0,
        _ if name.ends_with("weight") || name.ends_with("gamma") => 1.0 + u / 4.0,
        _ => u / 4.0,
    };
    let values: Vec<f32> = draw(name, shape.iter().product()).map(|u| value(u) as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn images(edge: usize) -> Tensor {
    let values: Vec<f32> = draw("pictures", 2 * 3 * edge * edge).map(|u| 2.0 * u as f32).collect();
    Tensor::from_vec(values, (2, 3, edge, edge), &Device::Cpu).unwrap()
}

/// The largest difference between two rows, in parts of the largest number of the second.
fn difference(ours: impl Iterator<Item = f64>, theirs: &[f64]) -> f64 {
    let largest = theirs.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
    ours.zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest
}

fn model(arch: &str, precision: Option<&str>) -> ModelConfig {
    ModelConfig {
        freeze: Some("backbone".to_owned()),
        precision: precision.map(str::to_owned),
        ..ModelConfig::new(arch, Vec::new())
    }
}

#[expect(clippy::print_stdout, reason = "how far, and what was skipped")]
fn check(name: &str) {
    let nets: BTreeMap<String, Net> = serde_json::from_str(include_str!("../../../tests/oracle/backbones.json")).unwrap();
    let Net { edge, variance, tensors, features, bf16 } = &nets[name];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let mut weights: BTreeMap<_, _> = tensors.iter().map(|(name, shape)| (name.clone(), value(name, shape, *variance))).collect();
    weights.insert("counter.num_batches_tracked".to_owned(), Tensor::new(7u32, &Device::Cpu).unwrap());
    save_tensors(&weights, None, &path).unwrap();
    let load = |precision| Features::load(&model(name, precision), *edge, &path.to_string_lossy(), &Device::Cpu);
    let width = Backbone::find(name).unwrap().width;
    // How far both images are from the oracle.
    let off = |ours: &[Vec<f32>]| {
        assert_eq!((ours[0].len(), features.len()), (width, width + width.div_ceil(4)));
        let first = difference(ours[0].iter().map(|x| f64::from(*x)), &features[..width]);
        first.max(difference(ours[1].iter().step_by(4).map(|x| f64::from(*x)), &features[width..]))
    };
    let ours = load(None).unwrap().forward(&images(*edge)).unwrap().to_vec2::<f32>().unwrap();
    println!("{name}: off by {:.1e} of the largest feature", off(&ours));
    assert!(off(&ours) <= 1e-5, "{name}: off by {:.1e}", off(&ours));
    let candle = Features::by_candle(name, *edge, &path.to_string_lossy(), &Device::Cpu).unwrap();
    let candle = candle.forward(&images(*edge)).unwrap().to_vec2::<f32>().unwrap();
    for (ours, candle) in ours.iter().zip(&candle) {
        let candle: Vec<f64> = candle.iter().map(|x| f64::from(*x)).collect();
        let off = difference(ours.iter().map(|x| f64::from(*x)), &candle);
        assert!(off <= 1e-5, "{name}: {off:.1e} from Candle's");
    }
    match load(Some("bf16")) {
        Ok(half) => {
            let half = half.forward(&images(*edge)).unwrap().to_vec2::<f32>().unwrap();
            println!("{name}: bf16 off by {:.1e}, torch's autocast by {bf16:.1e}", off(&half));
            assert!(off(&half) <= 1.5 * bf16, "{name}: bf16 off by {:.1e}, torch's autocast by {bf16:.1e}", off(&half));
        }
        Err(error) => {
            assert!(error.to_string().contains("needs a CPU with AVX512-BF16"), "{error}");
            println!("{name}: bf16 skipped, {error}");
        }
    }

    // A file for another network is refused with its keys.
    let lost =
        weights.keys().find(|name| ["running_mean", "norm", "ln_"].iter().any(|part| name.contains(part))).unwrap().clone();
    let alien = format!("{}.alien", lost.rsplit_once('.').unwrap().0);
    let mut other = weights.clone();
    other.remove(&lost);
    other.insert(alien.clone(), Tensor::new(0f32, &Device::Cpu).unwrap());
    save_tensors(&other, None, &path).unwrap();
    let error = load(None).err().unwrap().to_string();
    assert!(error.contains("1 missing: ") && error.contains(&format!("1 not the network's: {alien}")), "{error}");
}

#[test]
fn resnet18() {
    check("resnet18");
}

#[test]
fn resnet34() {
    check("resnet34");
}

#[test]
fn resnet50() {
    check("resnet50");
}

#[test]
fn resnet101() {
    check("resnet101");
}

#[test]
fn convnext_tiny() {
    check("convnext_tiny");
}

#[test]
fn convnext_small() {
    check("convnext_small");
}

#[test]
fn vit_small_patch16_224() {
    check("vit_small_patch16_224");
}

#[test]
fn vit_base_patch16_224() {
    check("vit_base_patch16_224");
}

#[test]
fn dinov2_vits14() {
    check("dinov2_vits14");
}

#[test]
fn dinov2_vitb14() {
    check("dinov2_vitb14");
}

#[test]
fn clip_vit_b32_quickgelu() {
    check("clip_vit_b32_quickgelu");
}

#[test]
fn clip_vit_b32_gelu() {
    check("clip_vit_b32_gelu");
}

#[test]
fn efficientnet_b0() {
    check("efficientnet_b0");
}

#[test]
fn efficientnet_b2() {
    check("efficientnet_b2");
}

#[test]
fn mobilenet_v3_large() {
    check("mobilenet_v3_large");
}

#[test]
fn mobilenetv3_large_100() {
    check("mobilenetv3_large_100");
}

#[test]
fn densenet121() {
    check("densenet121");
}

/// Whole files that `tests/oracle/backbones.py FOLDER` made: images of the usual size, timm's names.
#[test]
fn whole_files_of_timm_and_torchvision() {
    let Some(folder) = std::env::var_os("SWEEP_BACKBONES").map(PathBuf::from) else {
        println!("skipped: see tests/oracle/backbones.py");
        return;
    };
    for backbone in Backbone::all() {
        let (results, _) = load_tensors(&folder.join(format!("{}.results.safetensors", backbone.name)), &Device::Cpu).unwrap();
        let weights = folder.join(format!("{}.safetensors", backbone.name));
        let images = &results["pictures"];
        let net = Features::load(&model(backbone.name, None), images.dim(2).unwrap(), &weights.to_string_lossy(), &Device::Cpu)
            .unwrap();
        let start = std::time::Instant::now();
        let ours = net.forward(images).unwrap().to_vec2::<f32>().unwrap();
        let seconds = start.elapsed().as_secs_f64();
        let theirs = results["features"].to_vec2::<f32>().unwrap();
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let theirs: Vec<f64> = theirs.iter().map(|x| f64::from(*x)).collect();
            let off = difference(ours.iter().map(|x| f64::from(*x)), &theirs);
            println!("{}: off by {off:.1e} of the largest, {:.2} s a picture", backbone.name, seconds / 2.0);
            assert!(off <= 1e-5, "{}: off by {off:.1e}", backbone.name);
        }
    }
}
