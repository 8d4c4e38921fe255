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
    /// Whether a file's tensor of this shape can be one of the body's with these sizes. A frozen network reads numbers alone, so that
    /// sizes of 1 before the others may be missing.
    #[must_use]
    pub fn takes(&self, dims: &Dims, shape: &[usize]) -> bool {
        let ones = dims.iter().take_while(|size| **size == Some(1)).count();
        let same = |dims: &[Option<usize>]| {
            dims.len() == shape.len() && dims.iter().zip(shape).all(|(size, found)| size.is_none_or(|size| size == *found))
        };
        same(dims) || self.frozen && same(&dims[ones..])
    }

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
        "resnet34" => resnet(&mut names, [3, 4, 6, 3], false),
        "resnet50" => resnet(&mut names, [3, 4, 6, 3], true),
        "resnet101" => resnet(&mut names, [3, 4, 23, 3], true),
        "convnext_tiny" | "convnext_small" => {
            convnext(&mut names, if backbone.name == "convnext_tiny" { 9 } else { 27 });
            head = "head.fc.";
        }
        "vit_small_patch16_224" | "vit_base_patch16_224" => {
            vit(&mut names, backbone.width, 16, 14);
            head = "head.";
        }
        "dinov2_vits14" | "dinov2_vitb14" => {
            dinov2(&mut names, backbone.width);
            (head, unread) = ("head.", &["mask_token"]);
        }
        "clip_vit_b32_quickgelu" | "clip_vit_b32_gelu" => {
            clip(&mut names, backbone.width);
            (head, unread, spelled) = ("head.", &["proj"], clip_name);
        }
        "efficientnet_b0" | "efficientnet_b2" => {
            efficientnet(&mut names, if backbone.name == "efficientnet_b0" { EfficientNet::B0 } else { EfficientNet::B2 });
            (head, spelled) = ("classifier.", efficientnet_name);
        }
        "mobilenet_v3_large" => {
            mobilenet(&mut names);
            names.linear("conv_head", backbone.width, Some(MOBILENET_LAST));
            (head, spelled) = ("classifier.", mobilenet_name);
        }
        _ => {
            mobilenet(&mut names);
            names.biased("conv_head", backbone.width, MOBILENET_LAST, 1);
            head = "classifier.";
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

    /// An inverted residual (Sandler et al. 2018) between so many channels, squeezed to so many.
    fn inverted(&mut self, name: &str, [inputs, inner, outputs]: [usize; 3], kernel: usize, squeezed: Option<usize>) {
        // The first stage does not expand: its projection has the name of the others' expansion.
        let plain = inner == inputs;
        let project = if plain { "conv_pw" } else { "conv_pwl" };
        if !plain {
            self.conv(&format!("{name}.conv_pw"), inner, Some(inputs), 1);
        }
        self.conv(&format!("{name}.conv_dw"), inner, Some(1), kernel);
        if let Some(squeezed) = squeezed {
            self.biased(&format!("{name}.se.conv_reduce"), squeezed, inner, 1);
            self.biased(&format!("{name}.se.conv_expand"), inner, squeezed, 1);
        }
        self.conv(&format!("{name}.{project}"), outputs, Some(inner), 1);
        let norms: &[usize] = if plain { &[inner, outputs] } else { &[inner, inner, outputs] };
        (1..).zip(norms).for_each(|(at, &size)| self.norm(&format!("{name}.bn{at}"), size));
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

/// With so many blocks in the third stage.
fn convnext(names: &mut Names, third: usize) {
    let mut channels = 96;
    names.biased("stem.0", channels, 3, 4);
    names.affine("stem.1", channels);
    for (stage, (blocks, outputs)) in [(3, 96), (3, 192), (third, 384), (3, 768)].into_iter().enumerate() {
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

/// For images that are cut into `grid` x `grid` squares of `patch` pixels.
fn vit(names: &mut Names, width: usize, patch: usize, grid: usize) {
    names.add("cls_token".to_owned(), &[Some(1), Some(1), Some(width)]);
    names.add("pos_embed".to_owned(), &[Some(1), Some(grid * grid + 1), Some(width)]);
    names.biased("patch_embed.proj", width, 3, patch);
    for block in 0..VIT_DEPTH {
        let name = format!("blocks.{block}");
        names.affine(&format!("{name}.norm1"), width);
        names.affine(&format!("{name}.norm2"), width);
        for (layer, outputs, inputs) in [("attn.qkv", 3, 1), ("attn.proj", 1, 1), ("mlp.fc1", 4, 1), ("mlp.fc2", 1, 4)] {
            names.linear(&format!("{name}.{layer}"), outputs * width, Some(inputs * width));
        }
    }
    names.affine("norm", width);
}

/// Blocks of a vision transformer, small or base.
pub const VIT_DEPTH: usize = 12;

/// A vision transformer for images of 518 x 518 pixels, each of whose layers is scaled.
fn dinov2(names: &mut Names, width: usize) {
    vit(names, width, 14, 37);
    for block in 0..VIT_DEPTH {
        names.vectors(&format!("blocks.{block}.ls1"), &["gamma"], width);
        names.vectors(&format!("blocks.{block}.ls2"), &["gamma"], width);
    }
}

/// A vision transformer with a norm before its blocks, and so without a bias before that.
fn clip(names: &mut Names, width: usize) {
    vit(names, width, 32, 7);
    names.0.remove("patch_embed.proj.bias");
    names.affine("norm_pre", width);
}

/// The nearest multiple of 8, but no less than nine tenths: how the networks of MobileNet's family round channels.
fn eights(channels: f64) -> usize {
    let nearest = (8 * ((channels + 4.0) / 8.0) as usize).max(8);
    if (nearest as f64) < 0.9 * channels { nearest + 8 } else { nearest }
}

/// EfficientNet: Tan & Le 2019, scaled in width and depth.
#[derive(Clone, Copy, Debug)]
pub struct EfficientNet {
    width: f64,
    depth: f64,
}

impl EfficientNet {
    pub const B0: Self = Self { width: 1.0, depth: 1.0 };
    pub const B2: Self = Self { width: 1.1, depth: 1.2 };
    /// Table 1 of the paper: expansion, kernel, stride, channels out, layers.
    const STAGES: [(usize, usize, usize, usize, usize); 7] = [
        (1, 3, 1, 16, 1),
        (6, 3, 2, 24, 2),
        (6, 5, 2, 40, 2),
        (6, 3, 2, 80, 3),
        (6, 5, 1, 112, 3),
        (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    ];

    /// So many channels of B0.
    fn channels(self, of_b0: usize) -> usize {
        eights(self.width * of_b0 as f64)
    }

    /// Expansion, kernel, stride, channels out, layers of each stage.
    #[must_use]
    pub fn stages(self) -> [(usize, usize, usize, usize, usize); 7] {
        Self::STAGES.map(|(expansion, kernel, stride, outputs, layers)| {
            (expansion, kernel, stride, self.channels(outputs), (self.depth * layers as f64).ceil() as usize)
        })
    }
}

fn efficientnet(names: &mut Names, network: EfficientNet) {
    let mut channels = network.channels(32);
    names.conv("conv_stem", channels, Some(3), 3);
    names.norm("bn1", channels);
    for (stage, (expansion, kernel, _, outputs, layers)) in network.stages().into_iter().enumerate() {
        for layer in 0..layers {
            let sizes = [channels, channels * expansion, outputs];
            names.inverted(&format!("blocks.{stage}.{layer}"), sizes, kernel, Some(channels / 4));
            channels = outputs;
        }
    }
    let head = network.channels(1280);
    names.conv("conv_head", head, Some(channels), 1);
    names.norm("bn2", head);
}

/// A stage of MobileNetV3.
#[derive(Clone, Copy, Debug)]
pub struct MobileNetStage {
    pub kernel: usize,
    /// Of its first layer.
    pub stride: usize,
    /// Whether it has squeeze and excitation.
    pub squeezed: bool,
    /// Hard swish instead of the rectifier.
    pub hard: bool,
    pub outputs: usize,
    /// Channels that each layer expands to.
    pub expanded: &'static [usize],
}

/// MobileNetV3-Large: Howard et al., "Searching for MobileNetV3", ICCV 2019, table 1.
pub const MOBILENET_STAGES: [MobileNetStage; 6] = [
    MobileNetStage { kernel: 3, stride: 1, squeezed: false, hard: false, outputs: 16, expanded: &[16] },
    MobileNetStage { kernel: 3, stride: 2, squeezed: false, hard: false, outputs: 24, expanded: &[64, 72] },
    MobileNetStage { kernel: 5, stride: 2, squeezed: true, hard: false, outputs: 40, expanded: &[72, 120, 120] },
    MobileNetStage { kernel: 3, stride: 2, squeezed: false, hard: true, outputs: 80, expanded: &[240, 200, 184, 184] },
    MobileNetStage { kernel: 3, stride: 1, squeezed: true, hard: true, outputs: 112, expanded: &[480, 672] },
    MobileNetStage { kernel: 5, stride: 2, squeezed: true, hard: true, outputs: 160, expanded: &[672, 960, 960] },
];
const MOBILENET_LAST: usize = 960;

/// Without the layer behind the mean.
fn mobilenet(names: &mut Names) {
    let mut channels = 16;
    names.conv("conv_stem", channels, Some(3), 3);
    names.norm("bn1", channels);
    for (stage, MobileNetStage { kernel, squeezed, outputs, expanded, .. }) in MOBILENET_STAGES.into_iter().enumerate() {
        for (layer, &inner) in expanded.iter().enumerate() {
            let squeezed = squeezed.then(|| eights(inner as f64 / 4.0));
            names.inverted(&format!("blocks.{stage}.{layer}"), [channels, inner, outputs], kernel, squeezed);
            channels = outputs;
        }
    }
    names.conv("blocks.6.0.conv", MOBILENET_LAST, Some(channels), 1);
    names.norm("blocks.6.0.bn1", MOBILENET_LAST);
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

/// timm's name of a tensor that OpenAI and open_clip call `name`; any other name as it is.
fn clip_name(name: &str) -> String {
    const NAMES: [(&str, &str); 11] = [
        ("class_embedding", "cls_token"),
        ("positional_embedding", "pos_embed"),
        ("conv1.", "patch_embed.proj."),
        ("ln_pre.", "norm_pre."),
        ("ln_post.", "norm."),
        ("transformer.resblocks.", "blocks."),
        (".ln_", ".norm"),
        ("attn.in_proj_", "attn.qkv."),
        ("attn.out_proj.", "attn.proj."),
        ("mlp.c_fc.", "mlp.fc1."),
        ("mlp.c_proj.", "mlp.fc2."),
    ];
    NAMES.iter().fold(name.to_owned(), |name, (theirs, ours)| name.replace(theirs, ours))
}

/// timm's name of a part of a block that torchvision counts as `part`, where a block that does not expand (`plain`) still counts that.
fn inverted_name(part: usize, inner: &str, plain: bool) -> Option<&'static str> {
    Some(match (part, inner) {
        (0, "0") => "conv_pw",
        (0, "1") => "bn1",
        (1, "0") => "conv_dw",
        (1, "1") if plain => "bn1",
        (1, "1") => "bn2",
        (2, "fc1") => "se.conv_reduce",
        (2, "fc2") => "se.conv_expand",
        (3, "0") if plain => "conv_pw",
        (3, "0") => "conv_pwl",
        (3, "1") if plain => "bn2",
        (3, "1") => "bn3",
        _ => return None,
    })
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
            // The first stage does not expand: its parts are one fewer.
            let plain = stage == 1;
            let module = inverted_name(part.parse::<usize>().ok()? + usize::from(plain), inner, plain)?;
            Some(format!("blocks.{}.{layer}.{module}.{end}", stage.checked_sub(1)?))
        }),
        _ => None,
    };
    translated.unwrap_or_else(|| name.to_owned())
}

/// The same for MobileNetV3.
fn mobilenet_name(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let translated = match parts.as_slice() {
        ["features", "0", "0", end] => Some(format!("conv_stem.{end}")),
        ["features", "0", "1", end] => Some(format!("bn1.{end}")),
        ["features", "16", "0", end] => Some(format!("blocks.6.0.conv.{end}")),
        ["features", "16", "1", end] => Some(format!("blocks.6.0.bn1.{end}")),
        ["classifier", "0", end] => Some(format!("conv_head.{end}")),
        ["features", block, "block", part, inner, end] => block.parse::<usize>().ok().and_then(|block| {
            let layers = |(stage, of): (usize, &MobileNetStage)| (0..of.expanded.len()).map(move |layer| (stage, layer));
            let (stage, layer) = MOBILENET_STAGES.iter().enumerate().flat_map(layers).nth(block.checked_sub(1)?)?;
            let plain = stage == 0;
            // What a block does not have is not counted.
            let part = part.parse::<usize>().ok()? + usize::from(plain);
            let part = part + usize::from(part > 1 && !MOBILENET_STAGES[stage].squeezed);
            Some(format!("blocks.{stage}.{layer}.{}.{end}", inverted_name(part, inner, plain)?))
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
            let mut left = wanted.body.clone();
            for (name, json) in nets[wanted.arch]["tensors"].as_object().unwrap() {
                let shape: Vec<usize> = serde_json::from_value(json.clone()).unwrap();
                // open_clip has a text tower, too.
                let name = name.strip_prefix("visual.").unwrap_or(name);
                match left.remove(&(wanted.spelled)(name)) {
                    Some(dims) => assert!(wanted.takes(&dims, &shape), "{}: {name} {shape:?}, not {dims:?}", wanted.arch),
                    None => assert!(name.starts_with(wanted.head) || wanted.unread.contains(&name), "{}: {name}", wanted.arch),
                }
            }
            assert_eq!(left, BTreeMap::new(), "{}", wanted.arch);
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
