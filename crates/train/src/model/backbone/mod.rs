//! Pretrained networks without their last layer: what a frozen backbone computes from images. Inference only: no gradients,
//! running statistics as the file has them.
//!
//! Each network is a graph, one file for each family. On the CPU the crate `inference` computes it; elsewhere, and in tests, Candle does:
//! by the networks of candle-transformers where these are the published ones, else operation by operation (`reference`).

mod convnext;
mod densenet;
mod efficientnet;
mod inverted;
mod mobilenet;
mod parts;
mod reference;
mod resnet;
mod vit;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{Func, LayerNorm, VarBuilder};
use candle_transformers::models::{convnext as candle_convnext, resnet as candle_resnet};

use super::{ModelError, weights};
use data::weights::Beat;
use inference::{Engine, Graph, Precision};
use parts::Weights;
use plan::ModelConfig;
use plan::tensors::{EfficientNet, Tensors};
use reference::Reference;
use vit::Vit;

/// A pretrained network that gives features.
pub struct Features {
    net: Net,
}

enum Net {
    Engine(Box<Engine>),
    Reference(Box<Reference>),
    Candle(Func<'static>, Option<LayerNorm>),
}

/// blake3 of the weights in `source`, a local file or one on the hub (fetched once), which must be `planned` where that is known.
/// `beat` hears of (done, total) bytes.
///
/// # Errors
/// A file that cannot be fetched or read, or has changed.
pub fn weights_hash(source: &str, planned: Option<&str>, beat: Beat<'_>) -> Result<String, ModelError> {
    let wrong = |error: &dyn std::fmt::Display| ModelError::Gone(error.to_string());
    let found = data::weights::find(source, beat).map_err(|error| wrong(&error))?;
    let hash = data::weights::hash(&found.path, beat).map_err(|error| wrong(&format!("{}: {error}", found.path.display())))?;
    weights::as_planned(source, planned, || hash.clone())?;
    Ok(hash)
}

impl Features {
    /// The backbone of `model` for images of `edge` x `edge` pixels with the weights of `source`: all keys must fit, except that the
    /// last layer and what only training needs are left out.
    ///
    /// # Errors
    /// An unknown architecture, images that do not fit it; weights that do not, with the keys; a precision that the device does not
    /// have.
    pub fn load(model: &ModelConfig, edge: usize, source: &str, device: &Device) -> Result<Self, ModelError> {
        let (arch, precision) = (&model.arch, precision(model, device)?);
        match device {
            Device::Cpu => {
                let graph = graph(arch, edge, &body(arch, source, model.weights_hash.as_deref())?)?;
                Ok(Self { net: Net::Engine(Box::new(Engine::new(&graph, precision))) })
            }
            device => Self::by_candle(arch, edge, source, device),
        }
    }

    /// The same, computed by Candle wherever it is.
    ///
    /// # Errors
    /// Those of [`Self::load`].
    pub fn by_candle(arch: &str, edge: usize, source: &str, device: &Device) -> Result<Self, ModelError> {
        let tensors = body(arch, source, None)?;
        let net = match CANDLE.iter().find(|(name, _)| *name == arch) {
            Some((_, make)) => make(VarBuilder::from_tensors(tensors.into_iter().collect(), DType::F32, device))?,
            None => Net::Reference(Box::new(Reference::new(&graph(arch, edge, &tensors)?, device)?)),
        };
        Ok(Self { net })
    }

    /// Features `[batch, width]` of images `[batch, 3, edge, edge]`.
    ///
    /// # Errors
    /// Propagates Candle errors.
    pub fn forward(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        match &self.net {
            Net::Engine(engine) => {
                let batch = images.dim(0)?;
                Tensor::from_vec(engine.run(&images.flatten_all()?.to_vec1()?), (batch, engine.width()), images.device())
            }
            Net::Reference(reference) => reference.forward(images),
            Net::Candle(net, None) => net.forward(images),
            Net::Candle(net, Some(norm)) => norm.forward(&net.forward(images)?.contiguous()?),
        }
    }
}

/// What the products of the backbone of `model` are computed in.
fn precision(model: &ModelConfig, device: &Device) -> Result<Precision, ModelError> {
    const KEY: &str = "model.precision = \"bf16\"";
    match model.precision.as_deref() {
        None | Some("f32") => Ok(Precision::F32),
        Some("bf16") if !device.is_cpu() => {
            Err(ModelError::Input(format!("{KEY} is for features on the CPU, and this worker's device is another: use \"f32\"")))
        }
        Some("bf16") if !Precision::Bf16.supported() => Err(ModelError::Input(format!(
            "{KEY} needs a CPU with AVX512-BF16 (Intel's servers since 2023, with AMX besides; AMD since Zen 4), which this one is not: use \"f32\""
        ))),
        Some("bf16") => Ok(Precision::Bf16),
        Some(other) => Err(ModelError::Input(format!("model.precision cannot be {other:?}; allowed: f32, bf16"))),
    }
}

/// What a network's graph needs of the file `source`.
fn body(arch: &str, source: &str, planned: Option<&str>) -> Result<BTreeMap<String, Tensor>, ModelError> {
    let wanted = Tensors::published().find(|wanted| wanted.arch == arch);
    weights::body(source, planned, &wanted.ok_or_else(|| unknown(arch))?)
}

/// A network with these weights.
fn graph(arch: &str, edge: usize, tensors: &BTreeMap<String, Tensor>) -> Result<Graph, ModelError> {
    let (_, make) = GRAPHS.iter().find(|(name, _)| *name == arch).ok_or_else(|| unknown(arch))?;
    make(&Weights::new(tensors.clone()), edge)
}

fn unknown(arch: &str) -> ModelError {
    ModelError::Input(format!("`{arch}` is no backbone"))
}

type MakeByCandle = fn(VarBuilder<'static>) -> candle_core::Result<Net>;

/// Networks of candle-transformers that are the published ones.
const CANDLE: &[(&str, MakeByCandle)] = &[
    ("resnet18", |vb| Ok(Net::Candle(candle_resnet::resnet18_no_final_layer(vb)?, None))),
    ("resnet34", |vb| Ok(Net::Candle(candle_resnet::resnet34_no_final_layer(vb)?, None))),
    ("resnet50", |vb| Ok(Net::Candle(candle_resnet::resnet50_no_final_layer(vb)?, None))),
    ("resnet101", |vb| Ok(Net::Candle(candle_resnet::resnet101_no_final_layer(vb)?, None))),
    ("convnext_tiny", |vb| convnext_by_candle(vb, &candle_convnext::Config::tiny())),
    ("convnext_small", |vb| convnext_by_candle(vb, &candle_convnext::Config::small())),
];

fn convnext_by_candle(vb: VarBuilder<'static>, config: &candle_convnext::Config) -> candle_core::Result<Net> {
    // timm's and torchvision's features are those after the norm of the head.
    let norm = candle_nn::layer_norm(768, 1e-6, vb.pp("head.norm"))?;
    Ok(Net::Candle(candle_convnext::convnext_no_final_layer(config, vb)?, Some(norm)))
}

type Make = fn(&Weights, usize) -> Result<Graph, ModelError>;

/// Networks by their names in [`plan::ARCHITECTURES`].
const GRAPHS: &[(&str, Make)] = &[
    ("densenet121", densenet::graph),
    ("resnet18", |weights, edge| resnet::graph(weights, edge, [2, 2, 2, 2], false)),
    ("resnet34", |weights, edge| resnet::graph(weights, edge, [3, 4, 6, 3], false)),
    ("resnet50", |weights, edge| resnet::graph(weights, edge, [3, 4, 6, 3], true)),
    ("resnet101", |weights, edge| resnet::graph(weights, edge, [3, 4, 23, 3], true)),
    ("convnext_tiny", |weights, edge| convnext::graph(weights, edge, [3, 3, 9, 3])),
    ("convnext_small", |weights, edge| convnext::graph(weights, edge, [3, 3, 27, 3])),
    ("vit_small_patch16_224", |weights, edge| Vit::SMALL.graph(weights, edge)),
    ("vit_base_patch16_224", |weights, edge| Vit::BASE.graph(weights, edge)),
    ("dinov2_vits14", |weights, edge| Vit::DINOV2_SMALL.graph(weights, edge)),
    ("dinov2_vitb14", |weights, edge| Vit::DINOV2_BASE.graph(weights, edge)),
    ("clip_vit_b32_quickgelu", |weights, edge| Vit::CLIP_QUICK.graph(weights, edge)),
    ("clip_vit_b32_gelu", |weights, edge| Vit::CLIP.graph(weights, edge)),
    ("efficientnet_b0", |weights, edge| efficientnet::graph(weights, edge, EfficientNet::B0)),
    ("efficientnet_b2", |weights, edge| efficientnet::graph(weights, edge, EfficientNet::B2)),
    ("mobilenet_v3_large", |weights, edge| mobilenet::graph(weights, edge, 1e-3)),
    ("mobilenetv3_large_100", |weights, edge| mobilenet::graph(weights, edge, parts::EPS)),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_backbone_reads_the_tensors_of_the_plan() {
        for (name, make) in GRAPHS {
            let wanted = Tensors::published().find(|wanted| wanted.arch == *name).unwrap().body;
            let tensors: BTreeMap<String, Tensor> = wanted
                .iter()
                .map(|(name, dims)| {
                    let dims: Vec<usize> = dims.iter().map(|dim| dim.unwrap_or(3)).collect();
                    (name.clone(), Tensor::ones(dims, DType::F32, &Device::Cpu).unwrap())
                })
                .collect();
            let weights = Weights::new(tensors);
            let width = Engine::new(&make(&weights, 56).unwrap(), Precision::F32).width();
            assert_eq!(weights.used(), wanted.keys().cloned().collect::<BTreeSet<String>>(), "{name}");
            assert_eq!(width, plan::Backbone::find(name).unwrap().width, "{name}");
        }
    }

    #[test]
    fn every_architecture_of_the_registry_has_a_constructor() {
        let mut known: Vec<&str> = GRAPHS.iter().map(|(name, _)| *name).collect();
        let mut wanted: Vec<&str> = plan::Backbone::all().map(|backbone| backbone.name).collect();
        known.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(known, wanted);
        let trained = plan::ARCHITECTURES.iter().filter(|row| row.trained.is_some()).map(|row| row.name);
        assert_eq!(trained.collect::<Vec<_>>(), super::super::BODIES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }
}
