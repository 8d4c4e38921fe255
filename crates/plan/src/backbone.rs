//! What a sweep file may ask of pretrained networks that `freeze = "backbone"` uses, and the head that is trained on them.

use super::architecture::{ARCHITECTURES, Architecture, Backbone};
use super::typed::Keys;
use super::{DataConfig, ModelConfig, Source, SpecError};

impl Backbone {
    /// Multiply-adds of one image of `edge` x `edge` pixels.
    #[must_use]
    pub fn macs(&self, edge: usize) -> f64 {
        self.macs * (edge * edge) as f64 / f64::from(224 * 224)
    }

    /// What is wrong with an image of `edge` x `edge` pixels, and the nearest sizes that are right.
    #[must_use]
    pub fn unfit(&self, edge: u32) -> Option<String> {
        let Self { name, least, multiple, .. } = self;
        if edge < *least {
            return Some(format!("{name} needs at least {least} pixels, not {edge}"));
        }
        let below = edge / multiple * multiple;
        (below != edge).then(|| {
            let above = below + multiple;
            format!("{name} cuts an image into squares of {multiple} pixels, and {edge} is not a multiple of that; the nearest are {below} and {above}")
        })
    }
}

impl ModelConfig {
    /// Where the backbone is frozen: the backbone, and the head that is trained on its features as on any other matrix of
    /// features.
    #[must_use]
    pub fn head(&self) -> Option<(&'static Backbone, Self)> {
        self.freeze.as_ref()?;
        let arch = if self.hidden.is_empty() { "linear" } else { "mlp" };
        let (weights, weights_hash, weights_head, freeze, precision) = (None, None, None, None, None);
        let (arch, hidden) = (arch.to_owned(), self.hidden.clone());
        let head = Self { arch, hidden, dropout: self.dropout, weights, weights_hash, weights_head, freeze, precision };
        Some((Backbone::find(&self.arch)?, head))
    }

    /// What computes the features, in words: `resnet50`, `resnet50 in bf16`.
    #[must_use]
    pub fn features(&self) -> String {
        let precision = self.precision.as_ref().map(|precision| format!(" in {precision}")).unwrap_or_default();
        format!("{}{precision}", self.arch)
    }
}

/// Names of the architectures: those that are trained, then those that only give features.
pub(super) fn archs() -> Vec<&'static str> {
    ARCHITECTURES.iter().map(|architecture| architecture.name).collect()
}

/// Errors where a frozen architecture is not a backbone or has no weights, or where one is trained that can only be frozen.
pub(super) fn freezes(keys: &Keys<'_>, arch: &str, frozen: bool, weights: bool) -> Result<(), SpecError> {
    let backbone = Backbone::find(arch).is_some();
    if frozen && !backbone {
        let names: Vec<_> = Backbone::all().map(|backbone| backbone.name).collect();
        let message = format!("{arch} has no pretrained backbone to freeze; these have: {}", names.join(", "));
        return Err(keys.place_fault("model.freeze", &message));
    }
    if frozen && !weights {
        let message = format!(
            "a frozen {arch} needs `model.weights` (a safetensors file, or hf://owner/repository@revision/file): features of random weights are useless"
        );
        return Err(keys.place_fault("model.freeze", &message));
    }
    if backbone && !frozen && Architecture::trained(arch).is_none() {
        let message = format!(
            "{arch} is not trained here, it gives features to a head: add freeze = \"backbone\" and its `weights`; trained are {}",
            Architecture::names(|_| true).join(", ")
        );
        return Err(keys.place_fault("model.arch", &message));
    }
    Ok(())
}

/// Errors where the data's images do not fit the network, or where images that are read once would change at random.
pub(super) fn fits(data: &DataConfig, model: &ModelConfig, keys: &Keys<'_>) -> Result<(), SpecError> {
    let edge = match &data.source {
        Source::Letters { image_size, .. } => *image_size,
        Source::Images { image, .. } => image.size,
        Source::Features { .. } | Source::Imported { .. } => return Ok(()),
    };
    if let Some(message) = Backbone::find(&model.arch).and_then(|backbone| backbone.unfit(edge)) {
        return Err(keys.place_fault("data.image_size", &message));
    }
    if let (Source::Images { image, .. }, Some(_)) = (&data.source, &model.freeze) {
        for key in [("data.flip", image.flip), ("data.crop_padding", image.crop_padding > 0)] {
            if let (key, true) = key {
                let message = format!(
                    "the features of a frozen {} are computed once, so that random changes at train time are impossible; remove it",
                    model.arch
                );
                return Err(keys.place_fault(key, &message));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_do_not_fit_are_told_with_the_nearest_that_do() {
        let of = |arch, edge| Backbone::find(arch).unwrap().unfit(edge);
        assert_eq!(of("dinov2_vits14", 224), None);
        let words = of("dinov2_vits14", 230).unwrap();
        assert!(words.ends_with("230 is not a multiple of that; the nearest are 224 and 238"), "{words}");
        assert_eq!(of("densenet121", 16).unwrap(), "densenet121 needs at least 29 pixels, not 16");
        assert_eq!(of("resnet18", 33), None);
    }

    #[test]
    fn a_frozen_backbone_leaves_a_plain_head() {
        let mut config = ModelConfig {
            arch: "resnet18".to_owned(),
            hidden: Vec::new(),
            dropout: 0.5,
            weights: Some("w".to_owned()),
            weights_hash: None,
            weights_head: None,
            freeze: Some("backbone".to_owned()),
            precision: Some("bf16".to_owned()),
        };
        let (backbone, head) = config.head().unwrap();
        assert_eq!((backbone.width, head.arch.as_str(), head.dropout), (512, "linear", 0.5));
        assert_eq!(config.features(), "resnet18 in bf16");
        assert!(head.weights.is_none() && head.freeze.is_none() && head.precision.is_none());
        // Its runs are named after the numbers of their head.
        assert_eq!(crate::numerics(&config, "bce"), crate::numerics(&head, "bce"));
        config.hidden = vec![7];
        let (_, deep) = config.head().unwrap();
        assert_eq!(deep.arch, "mlp");
        assert_eq!(crate::numerics(&config, "bce"), crate::numerics(&deep, "bce"));
        assert_ne!(crate::numerics(&head, "bce"), crate::numerics(&deep, "bce"));
        config.freeze = None;
        assert!(config.head().is_none());
    }
}
