//! The registry of architectures: one row each, with all that a plan must know. The constructors are in `train::model`, one row each
//! under the same name; a test there compares the two.

use crate::macs;

/// A network that can be trained, frozen, or both.
#[derive(Clone, Copy, Debug)]
pub struct Architecture {
    /// As in `model.arch`.
    pub name: &'static str,
    /// Where it is trained whole.
    pub trained: Option<Trained>,
    /// Where its features may be frozen below a head that is trained.
    pub backbone: Option<Backbone>,
}

/// Multiply-adds of one forward pass, given `model.hidden`, (channels, height, width) and the number of labels.
pub(crate) type Macs = fn(&[usize], (usize, usize, usize), usize) -> usize;

/// What a network that is trained whole takes.
#[derive(Clone, Copy, Debug)]
pub struct Trained {
    /// Needs images: it has feature maps, which `train.precision` is about. The others take features, too.
    pub images: bool,
    /// `model.hidden` by default; `None` where the key is not read.
    pub hidden: Option<&'static [usize]>,
    /// Runs of a bundle train in one pass over the inputs.
    pub one_pass: bool,
    /// `[train]` by default.
    pub(crate) step: Step,
    /// Added to [`super::FORMAT`] in the names of its runs: raise it when its numbers alone change.
    pub(crate) numerics: u32,
    pub(crate) macs: Macs,
}

/// A network whose features a head is trained on. Sizes and costs: the papers' tables, torchvision's and timm's model cards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backbone {
    /// As in `model.arch`.
    pub name: &'static str,
    /// Features per image.
    pub width: usize,
    /// The smallest edge of an image, in pixels.
    pub least: u32,
    /// The edge must be a multiple of this.
    pub multiple: u32,
    /// Multiply-adds of one image of 224 x 224 pixels, which grow with the area.
    pub(crate) macs: f64,
}

const fn trained(name: &'static str, trained: Trained) -> Architecture {
    Architecture { name, trained: Some(trained), backbone: None }
}

const fn frozen(name: &'static str, width: usize, least: u32, multiple: u32, macs: f64) -> Architecture {
    Architecture { name, trained: None, backbone: Some(Backbone { name, width, least, multiple, macs }) }
}

/// How a network is trained by default: `batch_size`, `learning_rate`, and the `optimizer` with its `weight_decay`.
/// What each was chosen by: benches/RESULTS.md, 2026-11-29.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub batch_size: usize,
    pub learning_rate: f64,
    pub optimizer: &'static str,
    pub weight_decay: f64,
}

/// For a network that is fine-tuned.
const FINE: Step = Step { batch_size: 64, learning_rate: 1e-3, optimizer: "adam", weight_decay: 0.0 };
/// For features: Adam moves each weight by about the learning rate, so that the many weights of rare features, which fit single rows,
/// move as fast as the few that carry the labels. Adam-mini does not.
pub(crate) const ON_FEATURES: Step = Step { optimizer: "adam_mini", ..FINE };
/// For the `cnn`: small batches and large steps, because it comes as far with a quarter of the images; and weight decay, with which
/// it comes to a better val AP in fewer steps.
const ON_IMAGES: Step = Step { batch_size: 16, learning_rate: 3e-3, optimizer: "adamw", weight_decay: 0.3 };

/// All of them: those that are trained, then those that only give features.
pub const ARCHITECTURES: &[Architecture] = &[
    trained(
        "linear",
        Trained { images: false, hidden: None, one_pass: true, step: ON_FEATURES, numerics: 1, macs: macs::linear },
    ),
    trained(
        "mlp",
        Trained { images: false, hidden: Some(&[128]), one_pass: true, step: ON_FEATURES, numerics: 0, macs: macs::mlp },
    ),
    trained(
        "cnn",
        Trained { images: true, hidden: Some(&[16, 32, 64]), one_pass: false, step: ON_IMAGES, numerics: 1, macs: macs::cnn },
    ),
    Architecture {
        trained: Some(Trained { images: true, hidden: None, one_pass: false, step: FINE, numerics: 0, macs: macs::densenet }),
        // DenseNet halves an image five times: 28 pixels and fewer leave nothing.
        ..frozen("densenet121", 1024, 29, 1, 2.83e9)
    },
    frozen("resnet18", 512, 1, 1, 1.81e9),
    frozen("resnet34", 512, 1, 1, 3.66e9),
    frozen("resnet50", 2048, 1, 1, 4.09e9),
    frozen("resnet101", 2048, 1, 1, 7.8e9),
    frozen("convnext_tiny", 768, 32, 1, 4.46e9),
    frozen("convnext_small", 768, 32, 1, 8.68e9),
    frozen("vit_small_patch16_224", 384, 16, 16, 4.25e9),
    frozen("vit_base_patch16_224", 768, 16, 16, 16.9e9),
    frozen("dinov2_vits14", 384, 14, 14, 5.5e9),
    frozen("dinov2_vitb14", 768, 14, 14, 21.9e9),
    frozen("clip_vit_b32_quickgelu", 768, 32, 32, 4.36e9),
    frozen("clip_vit_b32_gelu", 768, 32, 32, 4.36e9),
    frozen("efficientnet_b0", 1280, 1, 1, 0.39e9),
    frozen("efficientnet_b2", 1408, 1, 1, 0.66e9),
    // torchvision's and timm's: the epsilon of their batch norms is another.
    frozen("mobilenet_v3_large", 1280, 1, 1, 0.22e9),
    frozen("mobilenetv3_large_100", 1280, 1, 1, 0.22e9),
];

impl Architecture {
    /// The architecture called `name`.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        ARCHITECTURES.iter().find(|architecture| architecture.name == name)
    }

    /// What it is where it is trained whole.
    #[must_use]
    pub fn trained(name: &str) -> Option<&'static Trained> {
        Self::find(name)?.trained.as_ref()
    }

    /// Names of those that are trained whole and that `which` picks.
    pub(crate) fn names(which: impl Fn(&Trained) -> bool) -> Vec<&'static str> {
        let picked = ARCHITECTURES.iter().filter(|architecture| architecture.trained.as_ref().is_some_and(&which));
        picked.map(|architecture| architecture.name).collect()
    }
}

impl Backbone {
    /// The backbone called `name`.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        Architecture::find(name)?.backbone.as_ref()
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        ARCHITECTURES.iter().filter_map(|architecture| architecture.backbone.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_good_for_something_and_has_a_name_of_its_own() {
        for (at, row) in ARCHITECTURES.iter().enumerate() {
            assert!(row.trained.is_some() || row.backbone.is_some(), "{}", row.name);
            assert!(row.backbone.is_none_or(|backbone| backbone.name == row.name), "{}", row.name);
            assert!(ARCHITECTURES[..at].iter().all(|other| other.name != row.name), "{}", row.name);
        }
        assert_eq!(Architecture::names(|_| true), ["linear", "mlp", "cnn", "densenet121"]);
        assert_eq!(Architecture::names(|trained| trained.one_pass), ["linear", "mlp"]);
        assert!(Architecture::trained("resnet18").is_none() && Backbone::find("cnn").is_none());
    }
}
