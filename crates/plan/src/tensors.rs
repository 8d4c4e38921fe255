//! The tensors that a file of weights must have for an architecture: names and shapes, without a network.
//!
//! They are written down here, and not asked of a worker, because a plan is made where there may be no worker (`sweep plan` on a login
//! node), and because a worker may be another program ([docs/protocol.md]). Tests compare them with the published files' and, in
//! `train::model`, with the networks'.

use std::collections::BTreeMap;

use super::architecture::{ARCHITECTURES, Architecture, Backbone};
use super::macs::{BLOCKS, BOTTLENECK, CNN_GRID, GROWTH, STEM, cnn_sizes};
use super::{DataConfig, InputShape, ModelConfig, Source};

/// A shape; `None` is a size that the data decides and that is not known yet.
pub type Dims = Vec<Option<usize>>;

/// What is known of the data that a network is for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Known {
    pub input: Option<InputShape>,
    pub labels: Option<usize>,
}

impl Known {
    /// What a sweep file says about the data before it is read.
    #[must_use]
    pub fn of(data: &DataConfig) -> Self {
        let image = |channels: u32, edge: u32| {
            let [channels, height, width] = [channels, edge, edge].map(|size| size as usize);
            Some(InputShape::Image { channels, height, width })
        };
        match &data.source {
            Source::Letters { image_size, label_rates, .. } => {
                Self { input: image(1, *image_size), labels: Some(label_rates.len()) }
            }
            Source::Images { image: config, .. } => Self { input: image(config.channels, config.size), labels: None },
            Source::Features { .. } | Source::Imported { .. } => Self::default(),
        }
    }
}

/// The tensors of a network.
#[derive(Clone, Debug)]
pub struct Tensors {
    pub arch: &'static str,
    /// Whether only its features are used.
    pub frozen: bool,
    /// Those below the head.
    pub body: BTreeMap<String, Dims>,
    /// What begins the names of the body in every file, where there is such a thing: `features.`.
    pub common: Option<&'static str>,
    /// What begins the names of the head.
    pub head: &'static str,
    /// Features that the head takes, where that is known.
    pub width: Option<usize>,
    /// Names that features do not need.
    pub unread: &'static [&'static str],
    /// The convolution that reads the image, where a file for three channels suits grey images, too.
    pub stem: Option<&'static str>,
    /// The present name of a tensor with a name of another library or time; any other name as it is.
    pub spelled: fn(&str) -> String,
}

impl ModelConfig {
    /// The tensors of this network; `None` for an architecture that does not exist.
    #[must_use]
    pub fn tensors(&self, known: Known) -> Option<Tensors> {
        let architecture = Architecture::find(&self.arch)?;
        match &self.freeze {
            Some(_) => Some(frozen(architecture.backbone.as_ref()?)),
            None => architecture.trained.map(|_| trained(architecture.name, &self.hidden, known.input)),
        }
    }
}

impl ModelConfig {
    /// Bytes of the file with what a run of this network trains and its running statistics, on data of this shape: the head alone where
    /// the backbone is frozen. `None` for an architecture that does not exist.
    #[must_use]
    pub fn file_bytes(&self, input: InputShape, labels: usize) -> Option<u64> {
        /// What the file says of a tensor beside its numbers, and of itself.
        const TENSOR: usize = 160;
        const FILE: usize = 256;
        if let Some((backbone, head)) = self.head() {
            return head.file_bytes(InputShape::Features { width: backbone.width }, labels);
        }
        let tensors = self.tensors(Known { input: Some(input), labels: Some(labels) })?;
        let body: usize = tensors.body.values().map(|dims| dims.iter().flatten().product::<usize>()).sum();
        let numbers = body + labels * (tensors.width.unwrap_or(0) + 1);
        Some((4 * numbers + TENSOR * (tensors.body.len() + 2) + FILE) as u64)
    }
}

impl Tensors {
    /// Those of every architecture that always has the same: the pretrained ones.
    pub fn published() -> impl Iterator<Item = Self> {
        ARCHITECTURES.iter().filter_map(|architecture| architecture.backbone.as_ref()).map(frozen)
    }
}

fn trained(arch: &'static str, hidden: &[usize], input: Option<InputShape>) -> Tensors {
    let mut names = Names::default();
    let channels = match input {
        Some(InputShape::Image { channels, .. }) => Some(channels),
        _ => None,
    };
    let mut width = input.map(|input| match input {
        InputShape::Image { channels, height, width } => channels * height * width,
        InputShape::Features { width } => width,
    });
    let (mut common, mut stem, mut spelled): (_, _, fn(&str) -> String) = (None, None, str::to_owned);
    match arch {
        "mlp" => {
            for (at, &units) in hidden.iter().enumerate() {
                names.linear(&format!("hidden.{at}"), units, width);
                width = Some(units);
            }
            common = Some("hidden.");
        }
        "cnn" => {
            let mut inputs = channels;
            for (at, &outputs) in hidden.iter().enumerate() {
                names.conv(&format!("stages.{at}.conv"), outputs, inputs, 3);
                names.norm(&format!("stages.{at}.norm"), outputs);
                inputs = Some(outputs);
            }
            width = match (input, inputs) {
                (Some(InputShape::Image { height, width, .. }), Some(channels)) => {
                    let (rows, columns) = cnn_sizes(height, width, hidden.len()).last().copied().unwrap_or((height, width));
                    Some(channels * rows.min(CNN_GRID) * columns.min(CNN_GRID))
                }
                _ => None,
            };
            common = Some("stages.");
        }
        "densenet121" => {
            width = Some(densenet(&mut names, channels));
            (common, stem, spelled) = (Some("features."), Some("features.conv0.weight"), densenet_name);
        }
        // `linear` has a head alone.
        _ => {}
    }
    Tensors { arch, frozen: false, body: names.0, common, head: "classifier.", width, unread: &[], stem, spelled }
}

fn frozen(backbone: &Backbone) -> Tensors {
    let mut names = Names::default();
    let (mut head, mut common, mut unread): (_, _, &[&str]) = ("fc.", None, &[]);
    let mut spelled: fn(&str) -> String = str::to_owned;
    match backbone.name {
        "densenet121" => {
            densenet(&mut names, Some(3));
            (head, common, spelled) = ("classifier.", Some("features."), densenet_name);
        }
        "resnet18" => resnet(&mut names, [2; 4], false),
        "resnet50" => resnet(&mut names, [3, 4, 6, 3], true),
        "convnext_tiny" => {
            convnext(&mut names);
            head = "head.fc.";
        }
        "dinov2_vits14" => {
            dinov2(&mut names, backbone.width);
            (head, unread) = ("head.", &["mask_token"]);
        }
        _ => {
            efficientnet(&mut names);
            (head, spelled) = ("classifier.", efficientnet_name);
        }
    }
    let width = Some(backbone.width);
    Tensors { arch: backbone.name, frozen: true, body: names.0, common, head, width, unread, stem: None, spelled }
}

/// Tensors by name, layer by layer.
#[derive(Default)]
struct Names(BTreeMap<String, Dims>);

impl Names {
    fn add(&mut self, name: String, dims: &[Option<usize>]) {
        self.0.insert(name, dims.to_vec());
    }

    fn vectors(&mut self, name: &str, ends: &[&str], size: usize) {
        ends.iter().for_each(|end| self.add(format!("{name}.{end}"), &[Some(size)]));
    }

    /// Without a bias.
    fn conv(&mut self, name: &str, outputs: usize, inputs: Option<usize>, kernel: usize) {
        self.add(format!("{name}.weight"), &[Some(outputs), inputs, Some(kernel), Some(kernel)]);
    }

    /// With a bias.
    fn biased(&mut self, name: &str, outputs: usize, inputs: usize, kernel: usize) {
        self.conv(name, outputs, Some(inputs), kernel);
        self.vectors(name, &["bias"], outputs);
    }

    fn linear(&mut self, name: &str, outputs: usize, inputs: Option<usize>) {
        self.add(format!("{name}.weight"), &[Some(outputs), inputs]);
        self.vectors(name, &["bias"], outputs);
    }

    /// Batch norm.
    fn norm(&mut self, name: &str, size: usize) {
        self.vectors(name, &["weight", "bias", "running_mean", "running_var"], size);
    }

    /// Layer norm.
    fn affine(&mut self, name: &str, size: usize) {
        self.vectors(name, &["weight", "bias"], size);
    }
}

/// Returns the channels at its end.
fn densenet(names: &mut Names, inputs: Option<usize>) -> usize {
    names.conv("features.conv0", STEM, inputs, 7);
    names.norm("features.norm0", STEM);
    let (mut channels, inner) = (STEM, BOTTLENECK * GROWTH);
    for (b, layers) in (1..).zip(BLOCKS) {
        for l in 1..=layers {
            let name = format!("features.denseblock{b}.denselayer{l}");
            names.norm(&format!("{name}.norm1"), channels);
            names.conv(&format!("{name}.conv1"), inner, Some(channels), 1);
            names.norm(&format!("{name}.norm2"), inner);
            names.conv(&format!("{name}.conv2"), GROWTH, Some(inner), 3);
            channels += GROWTH;
        }
        if b < BLOCKS.len() {
            names.norm(&format!("features.transition{b}.norm"), channels);
            names.conv(&format!("features.transition{b}.conv"), channels / 2, Some(channels), 1);
            channels /= 2;
        }
    }
    names.norm("features.norm5", channels);
    channels
}

fn resnet(names: &mut Names, blocks: [usize; 4], bottleneck: bool) {
    names.conv("conv1", 64, Some(3), 7);
    names.norm("bn1", 64);
    let mut channels = 64;
    for (stage, (count, inner)) in (1..).zip(blocks.into_iter().zip([64, 128, 256, 512])) {
        let outputs = if bottleneck { 4 * inner } else { inner };
        for block in 0..count {
            let name = format!("layer{stage}.{block}");
            let convs: &[(usize, usize, usize)] = if bottleneck {
                &[(inner, channels, 1), (inner, inner, 3), (outputs, inner, 1)]
            } else {
                &[(inner, channels, 3), (outputs, inner, 3)]
            };
            for (at, &(outputs, inputs, kernel)) in (1..).zip(convs) {
                names.conv(&format!("{name}.conv{at}"), outputs, Some(inputs), kernel);
                names.norm(&format!("{name}.bn{at}"), outputs);
            }
            if channels != outputs {
                names.conv(&format!("{name}.downsample.0"), outputs, Some(channels), 1);
                names.norm(&format!("{name}.downsample.1"), outputs);
            }
            channels = outputs;
        }
    }
}

fn convnext(names: &mut Names) {
    let mut channels = 96;
    names.biased("stem.0", channels, 3, 4);
    names.affine("stem.1", channels);
    for (stage, (blocks, outputs)) in [(3, 96), (3, 192), (9, 384), (3, 768)].into_iter().enumerate() {
        if stage > 0 {
            names.affine(&format!("stages.{stage}.downsample.0"), channels);
            names.biased(&format!("stages.{stage}.downsample.1"), outputs, channels, 2);
            channels = outputs;
        }
        for block in 0..blocks {
            let name = format!("stages.{stage}.blocks.{block}");
            names.vectors(&name, &["gamma"], channels);
            names.biased(&format!("{name}.conv_dw"), channels, 1, 7);
            names.affine(&format!("{name}.norm"), channels);
            names.linear(&format!("{name}.mlp.fc1"), 4 * channels, Some(channels));
            names.linear(&format!("{name}.mlp.fc2"), channels, Some(4 * channels));
        }
    }
    names.affine("head.norm", channels);
}

fn dinov2(names: &mut Names, width: usize) {
    /// Places of 518 x 518 pixels, and the class token.
    const TOKENS: usize = 37 * 37 + 1;
    names.add("cls_token".to_owned(), &[Some(1), Some(1), Some(width)]);
    names.add("pos_embed".to_owned(), &[Some(1), Some(TOKENS), Some(width)]);
    names.biased("patch_embed.proj", width, 3, 14);
    for block in 0..12 {
        let name = format!("blocks.{block}");
        for at in [1, 2] {
            names.affine(&format!("{name}.norm{at}"), width);
            names.vectors(&format!("{name}.ls{at}"), &["gamma"], width);
        }
        for (layer, outputs, inputs) in [("attn.qkv", 3, 1), ("attn.proj", 1, 1), ("mlp.fc1", 4, 1), ("mlp.fc2", 1, 4)] {
            names.linear(&format!("{name}.{layer}"), outputs * width, Some(inputs * width));
        }
    }
    names.affine("norm", width);
}

/// EfficientNet-B0, table 1 of the paper: expansion, kernel, stride, channels out, layers.
pub const EFFICIENTNET_STAGES: [(usize, usize, usize, usize, usize); 7] = [
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
];

fn efficientnet(names: &mut Names) {
    names.conv("conv_stem", 32, Some(3), 3);
    names.norm("bn1", 32);
    let mut channels = 32;
    for (stage, (expansion, kernel, _, outputs, layers)) in EFFICIENTNET_STAGES.into_iter().enumerate() {
        for layer in 0..layers {
            let name = format!("blocks.{stage}.{layer}");
            let inner = channels * expansion;
            // The first stage does not expand: its project has the name of the others' expansion.
            let plain = expansion == 1;
            let project = if plain { "conv_pw" } else { "conv_pwl" };
            if !plain {
                names.conv(&format!("{name}.conv_pw"), inner, Some(channels), 1);
            }
            names.conv(&format!("{name}.conv_dw"), inner, Some(1), kernel);
            names.biased(&format!("{name}.se.conv_reduce"), channels / 4, inner, 1);
            names.biased(&format!("{name}.se.conv_expand"), inner, channels / 4, 1);
            names.conv(&format!("{name}.{project}"), outputs, Some(inner), 1);
            let norms: &[usize] = if plain { &[inner, outputs] } else { &[inner, inner, outputs] };
            (1..).zip(norms).for_each(|(at, &size)| names.norm(&format!("{name}.bn{at}"), size));
            channels = outputs;
        }
    }
    names.conv("conv_head", 1280, Some(channels), 1);
    names.norm("bn2", 1280);
}

/// torchvision's first DenseNet files write `norm.1` where its modules are named `norm1`.
fn densenet_name(name: &str) -> String {
    let mut name = name.to_owned();
    for part in ["norm", "conv"] {
        for digit in ['1', '2'] {
            name = name.replace(&format!(".{part}.{digit}."), &format!(".{part}{digit}."));
        }
    }
    name
}

/// timm's name of a tensor that torchvision calls `name`; any other name as it is.
fn efficientnet_name(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let translated = match parts.as_slice() {
        ["features", "0", "0", end] => Some(format!("conv_stem.{end}")),
        ["features", "0", "1", end] => Some(format!("bn1.{end}")),
        ["features", "8", "0", end] => Some(format!("conv_head.{end}")),
        ["features", "8", "1", end] => Some(format!("bn2.{end}")),
        ["features", stage, layer, "block", part, inner, end] => stage.parse::<usize>().ok().and_then(|stage| {
            let first = stage == 1;
            // The first stage does not expand: its parts are one fewer.
            let module = match (part.parse::<usize>().ok()? + usize::from(first), *inner) {
                (0, "0") => "conv_pw",
                (0, "1") => "bn1",
                (1, "0") => "conv_dw",
                (1, "1") if first => "bn1",
                (1, "1") => "bn2",
                (2, "fc1") => "se.conv_reduce",
                (2, "fc2") => "se.conv_expand",
                (3, "0") if first => "conv_pw",
                (3, "0") => "conv_pwl",
                (3, "1") if first => "bn2",
                (3, "1") => "bn3",
                _ => return None,
            };
            Some(format!("blocks.{}.{layer}.{module}.{end}", stage.checked_sub(1)?))
        }),
        _ => None,
    };
    translated.unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_files_have_these_names_and_shapes() {
        let nets: serde_json::Value = serde_json::from_str(include_str!("../../../tests/oracle/backbones.json")).unwrap();
        let mut seen = 0;
        for wanted in Tensors::published() {
            let file = nets[wanted.arch]["tensors"].as_object().unwrap();
            let body = file.iter().filter(|(name, _)| !name.starts_with(wanted.head));
            let shape = |json: &serde_json::Value| -> Dims {
                json.as_array().unwrap().iter().map(|size| size.as_u64().map(|size| size as usize)).collect()
            };
            let theirs: BTreeMap<_, _> = body.map(|(name, json)| ((wanted.spelled)(name), shape(json))).collect();
            assert_eq!(theirs, wanted.body, "{}", wanted.arch);
            seen += 1;
        }
        assert_eq!(seen, nets.as_object().unwrap().len());
    }

    #[test]
    fn old_names() {
        assert_eq!(
            densenet_name("features.denseblock1.denselayer2.norm.1.weight"),
            "features.denseblock1.denselayer2.norm1.weight"
        );
        assert_eq!(densenet_name("features.transition1.norm.weight"), "features.transition1.norm.weight");
    }
}
