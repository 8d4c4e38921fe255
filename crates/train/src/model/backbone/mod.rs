//! Pretrained networks without their last layer: what a frozen backbone computes from images. Inference only: no gradients,
//! running statistics as the file has them.
//!
//! resnet18, resnet50 and convnext_tiny are candle-transformers'; DenseNet is our own. EfficientNet and DINOv2 are here because
//! candle-transformers' differ from the networks that the published weights were trained in (their files say how).

mod dinov2;
mod efficientnet;

use std::sync::PoisonError;

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{Func, LayerNorm, VarBuilder, VarMap};
use candle_transformers::models::{convnext, resnet};

use super::densenet::DenseNet;
use super::layers::Init;
use super::network::Body;
use super::{ModelError, State, weights};
use data::weights::Beat;
use plan::InputShape;
use plan::tensors::Tensors;

/// A pretrained network that gives features.
pub struct Features {
    net: Net,
}

enum Net {
    Plain(Box<dyn Module + Send + Sync>),
    Normed(Func<'static>, LayerNorm),
    Own(Box<DenseNet>),
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
    /// The backbone `arch` for images of `edge` x `edge` pixels with the weights of `source`: all keys must fit, except that the
    /// last layer and what only training needs are left out.
    ///
    /// # Errors
    /// An unknown architecture, images that do not fit it; weights that do not, with the keys.
    pub fn load(arch: &str, edge: usize, source: &str, device: &Device) -> Result<Self, ModelError> {
        let Some(wanted) = Tensors::published().find(|wanted| wanted.arch == arch) else {
            return Err(ModelError::Input(format!("`{arch}` is no backbone")));
        };
        if arch == DENSENET {
            let mut init = Init::new(0, device);
            let net = DenseNet::new(&mut init, InputShape::Image { channels: 3, height: edge, width: edge })?;
            weights::load_body(source, &wanted, &init.state)?;
            return Ok(Self { net: Net::Own(Box::new(net)) });
        }
        let Some(Pretrained { net, .. }) = PRETRAINED.iter().find(|row| row.name == arch) else {
            return Err(ModelError::Input(format!("`{arch}` is no backbone")));
        };
        // Built twice: the first one has the variables that the file is read into; the second has none, so that no graph keeps its maps
        // alive.
        let state = variables(*net, device)?;
        weights::load_body(source, &wanted, &state)?;
        let tensors = state.tensors().into_iter().collect();
        Ok(Self { net: net(VarBuilder::from_tensors(tensors, DType::F32, device))? })
    }

    /// Features `[batch, width]` of images `[batch, 3, edge, edge]`.
    ///
    /// # Errors
    /// Propagates Candle errors.
    pub fn forward(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        match &self.net {
            Net::Plain(net) => net.forward(images),
            Net::Normed(net, norm) => norm.forward(&net.forward(images)?.contiguous()?),
            Net::Own(net) => net.features(images, false),
        }
    }
}

/// The variables that a backbone's constructor asks for.
fn variables(net: MakeNet, device: &Device) -> Result<State, ModelError> {
    let vars = VarMap::new();
    net(VarBuilder::from_varmap(&vars, DType::F32, device))?;
    let named = vars.data().lock().unwrap_or_else(PoisonError::into_inner);
    // ConvNeXt also asks for the response norms of its second version, and runs without them.
    let needed = named.iter().filter(|(name, _)| !name.contains(".grn."));
    Ok(State { buffers: needed.map(|(name, var)| (name.clone(), var.clone())).collect(), ..State::default() })
}

type MakeNet = fn(VarBuilder<'static>) -> Result<Net, ModelError>;

/// A backbone's constructor.
struct Pretrained {
    /// As in [`plan::ARCHITECTURES`].
    name: &'static str,
    net: MakeNet,
}

/// All but DenseNet, which is our own network without its head.
const PRETRAINED: &[Pretrained] = &[
    Pretrained { name: "resnet18", net: |vb| Ok(Net::Plain(Box::new(resnet::resnet18_no_final_layer(vb)?))) },
    Pretrained { name: "resnet50", net: |vb| Ok(Net::Plain(Box::new(resnet::resnet50_no_final_layer(vb)?))) },
    Pretrained {
        name: "convnext_tiny",
        net: |vb| {
            // timm's and torchvision's features are those after the norm of the head.
            let norm = candle_nn::layer_norm(768, 1e-6, vb.pp("head.norm"))?;
            Ok(Net::Normed(convnext::convnext_no_final_layer(&convnext::Config::tiny(), vb)?, norm))
        },
    },
    Pretrained { name: "dinov2_vits14", net: |vb| Ok(Net::Plain(Box::new(dinov2::DinoV2::vits14(vb)?))) },
    Pretrained { name: "efficientnet_b0", net: |vb| Ok(Net::Plain(Box::new(efficientnet::EfficientNet::b0(vb)?))) },
];

/// DenseNet's name.
const DENSENET: &str = "densenet121";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backbone_has_the_tensors_of_the_plan() {
        for row in PRETRAINED {
            let wanted = Tensors::published().find(|wanted| wanted.arch == row.name).unwrap().body;
            let state = variables(row.net, &Device::Cpu).unwrap();
            let dims = |var: &candle_core::Var| var.dims().iter().map(|&size| Some(size)).collect::<Vec<_>>();
            let ours: std::collections::BTreeMap<_, _> =
                state.buffers.iter().map(|(name, var)| (name.clone(), dims(var))).collect();
            assert_eq!(ours, wanted, "{}", row.name);
        }
    }

    #[test]
    fn every_architecture_of_the_registry_has_a_constructor() {
        let mut known: Vec<&str> = PRETRAINED.iter().map(|row| row.name).chain([DENSENET]).collect();
        let mut wanted: Vec<&str> = plan::Backbone::all().map(|backbone| backbone.name).collect();
        known.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(known, wanted);
        let trained = plan::ARCHITECTURES.iter().filter(|row| row.trained.is_some()).map(|row| row.name);
        assert_eq!(trained.collect::<Vec<_>>(), super::super::BODIES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }
}
