//! Which keys a sweep file may have, and the typed sections they make: `data`, `model`, `train`, `workers`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::HubFile;
use super::architecture::ON_FEATURES;
use super::backbone::{archs, freezes};
use super::choice::Family;
use super::document::{Entry, Node, Value};
use super::flatten::{Layout, loose_family};
use super::points::TrainPart;
use super::search::SEARCH;
use super::typed::{ABOVE_ZERO, BELOW_ONE, Keys, nearest};
use super::{
    Architecture, Budget, Columns, DataConfig, Head, ImageConfig, Length, ModelConfig, Source, SpecError, Start, TrainConfig,
    Unknown, UnknownAs, hub,
};
use imbalance::Choice;
use imbalance::shown::shown;
use imbalance::stratification::SplitConfig;

/// Tables of the file; everything else that is dotted is a key.
pub(super) const SECTIONS: &[&str] = &["data", "data.split", "model", "train", "grid", "search", "workers", "workers.slurm"];

const LETTERS: &[&str] = &["data.samples", "data.label_rates", "data.image_size", "data.signal", "data.seed"];
const COLUMNS: &[&str] = &[
    "data.path_column",
    "data.split_column",
    "data.group_column",
    "data.ignore_columns",
    "data.label_columns",
    "data.label_lists",
    "data.no_label",
    "data.unknown",
    "data.negative",
    "data.positive",
    "data.separator",
    "data.duplicates",
];
const IMAGES: &[&str] = &[
    "data.root",
    "data.labels",
    "data.image_size",
    "data.channels",
    "data.resize",
    "data.normalize",
    "data.flip",
    "data.crop_padding",
    "data.on_bad_image",
    "data.max_pixels",
    "data.transparency",
    "data.pixel_range",
];
const FEATURES: &[&str] = &["data.features", "data.labels", "data.standardize"];
const SPLIT: &[&str] = &["data.split.train", "data.split.val", "data.split.test", "data.split.method", "data.split.seed"];
const MODEL: &[&str] =
    &["model.arch", "model.hidden", "model.dropout", "model.weights", "model.head", "model.freeze", "model.precision"];
const TRAIN: &[&str] = &[
    "train.epochs",
    "train.budget",
    "train.max_steps",
    "train.min_steps",
    "train.patience",
    "train.eval_every",
    "train.batch_size",
    "train.optimizer",
    "train.learning_rate",
    "train.schedule",
    "train.grad_clip",
    "train.precision",
    "train.start",
    TUNE,
    PRIOR_BIAS,
    REFERENCE,
];
/// Axes of which each strategy gets its best value.
pub(super) const TUNE: &str = "train.tune";
/// Whether reference runs are added.
pub(super) const REFERENCE: &str = "train.reference";
/// What `train.start` was called in version 0.1.
const PRIOR_BIAS: &str = "train.prior_bias";
const WORKERS: &[&str] = &[
    "workers.launcher",
    "workers.devices",
    "workers.per_device",
    "workers.attempts",
    "workers.timeout",
    "workers.slurm.partition",
    "workers.slurm.account",
    "workers.slurm.gres",
    "workers.slurm.cpus",
    "workers.slurm.time",
    "workers.slurm.memory",
    "workers.slurm.setup",
    "workers.slurm.extra",
    "workers.slurm.tasks",
    "workers.slurm.runs_per_task",
];

/// How workers may be started.
const LAUNCHERS: &[&str] = &["local", "slurm"];

const KINDS: &[&str] = &["letters", "images", "features"];

/// Every key that is not an axis's short name.
pub(super) fn known() -> impl Iterator<Item = &'static str> {
    ["name", "data.kind"]
        .into_iter()
        .chain([LETTERS, COLUMNS, IMAGES, FEATURES, SPLIT, MODEL, TRAIN, SEARCH, WORKERS].into_iter().flatten().copied())
}

/// Keys that an axis may vary: those that change a run.
pub(super) fn dotted_axes() -> impl Iterator<Item = &'static str> {
    known().filter(|key| {
        !["name", "data.kind", TUNE, REFERENCE].contains(key) && !key.starts_with("workers.") && !key.starts_with("search.")
    })
}

/// The error for a key that does not exist in `section` (`""` is the top of the file).
pub(super) fn unknown_key(section: &str, name: &str) -> String {
    let name = &shown(name)[..];
    let prefix = if section.is_empty() { String::new() } else { format!("{section}.") };
    let mut allowed: Vec<&str> = Vec::new();
    for key in known().filter(|key| *key != PRIOR_BIAS).chain(SECTIONS.iter().copied()) {
        if let Some(rest) = key.strip_prefix(&prefix)
            && !rest.contains('.')
            && !allowed.contains(&rest)
        {
            allowed.push(rest);
        }
    }
    let mut hint = nearest(name, allowed.iter().copied());
    if hint.is_empty() {
        let elsewhere = known().find(|key| key.rsplit('.').next() == Some(name));
        hint = elsewhere.map_or_else(|| nearest(&format!("{prefix}{name}"), known()), |key| format!("; did you mean `{key}`?"));
    }
    let place = if section.is_empty() { "at the top of the file".to_owned() } else { format!("in [{section}]") };
    format!("`{name}` is not a key {place}; allowed: {}{hint}", allowed.join(", "))
}

/// `[data]`.
pub(super) fn data(keys: &Keys<'_>) -> Result<DataConfig, SpecError> {
    let kind = keys.require("data.kind", "one of letters, images, features")?.one_of("data.kind", KINDS)?;
    let of_kind: [&[&str]; 2] = match kind.as_str() {
        "letters" => [LETTERS, &[]],
        "images" => [IMAGES, COLUMNS],
        _ => [FEATURES, COLUMNS],
    };
    for key in known().filter(|key| key.starts_with("data.") && *key != "data.kind" && !SPLIT.contains(key)) {
        if let Some(node) = keys.get(key).filter(|_| !of_kind.iter().any(|list| list.contains(&key))) {
            let allowed: Vec<_> = of_kind.iter().copied().flatten().filter_map(|key| key.strip_prefix("data.")).collect();
            return Err(node.fault(format!("`{key}` means nothing to kind = {kind:?}; allowed: {}", allowed.join(", "))));
        }
    }
    let path = |key: &str, what: &str| keys.require(key, what)?.text(key).map(PathBuf::from);
    let source = match kind.as_str() {
        "letters" => Source::Letters {
            samples: keys.size("data.samples", 4000, 10..=100_000_000)?,
            label_rates: label_rates(keys)?,
            image_size: edge(keys, 32)?,
            signal: keys.number("data.signal", 2.0, (0.0, 100.0))?,
            seed: keys.integer("data.seed", 0, 0..=i64::MAX as u64)?,
        },
        "images" => Source::Images {
            root: path("data.root", "the folder that the paths of the CSV start from")?,
            labels: path("data.labels", "the CSV with a path and one 0/1 column per label")?,
            image: image(keys)?,
            columns: columns(keys)?,
        },
        _ => Source::Features {
            features: path("data.features", "a .npy or .safetensors file with one row per sample")?,
            labels: path("data.labels", "the CSV with one 0/1 column per label, rows in the order of the features")?,
            columns: columns(keys)?,
            standardize: keys.boolean("data.standardize", true)?,
        },
    };
    Ok(DataConfig { source, split: split(keys)? })
}

fn edge(keys: &Keys<'_>, default: u64) -> Result<u32, SpecError> {
    let edge = keys.integer("data.image_size", default, 8..=4096)?;
    u32::try_from(edge).map_err(|_| keys.place_fault("data.image_size", "is too large"))
}

fn label_rates(keys: &Keys<'_>) -> Result<Vec<(String, f64)>, SpecError> {
    let Some(node) = keys.get("data.label_rates") else {
        // 19000, 65000, 38000 and 105000 of 224000: the question this program was written for.
        return Ok([("A", 0.0848), ("B", 0.2902), ("C", 0.1696), ("D", 0.4688)]
            .map(|(label, rate)| (label.to_owned(), rate))
            .to_vec());
    };
    let entries = node.entries().filter(|entries| !entries.is_empty());
    let entries = entries.ok_or_else(|| {
        node.fault(format!(
            "`data.label_rates` must be a table of labels and their rates, such as {{ A = 0.1, B = 0.3 }}, not {}",
            node.shown()
        ))
    })?;
    if entries.len() > super::MOST_LABELS {
        let most = super::MOST_LABELS;
        return Err(node.fault(format!("`data.label_rates` has {} labels; allowed are {most} at most", entries.len())));
    }
    let rate = |entry: &Entry| {
        let rate = entry.node.number(&format!("data.label_rates.{}", shown(&entry.key)), (ABOVE_ZERO, BELOW_ONE))?;
        Ok((entry.key.clone(), rate))
    };
    entries.iter().map(rate).collect()
}

fn image(keys: &Keys<'_>) -> Result<ImageConfig, SpecError> {
    let size = edge(keys, 224)?;
    let channels = keys.integer("data.channels", 3, 1..=3)?;
    if channels == 2 {
        return Err(keys.place_fault("data.channels", "must be 1 (grey) or 3 (RGB), not 2"));
    }
    let crop_padding = keys.integer("data.crop_padding", 0, 0..=u64::from(size))?;
    Ok(ImageConfig {
        size,
        channels: if channels == 1 { 1 } else { 3 },
        resize: keys.one_of("data.resize", "stretch", &["stretch", "crop"])?,
        normalize: keys.one_of("data.normalize", "imagenet", &["none", "half", "imagenet", "clip"])?,
        flip: keys.boolean("data.flip", false)?,
        crop_padding: u32::try_from(crop_padding).map_err(|_| keys.place_fault("data.crop_padding", "is too large"))?,
        on_bad_image: keys.one_of("data.on_bad_image", "error", &["error", "skip"])?,
        max_pixels: keys.integer("data.max_pixels", 100_000_000, 1..=10_000_000_000)?,
        transparency: keys.one_of("data.transparency", "drop", &["drop", "black", "white"])?,
        pixel_range: keys.one_of("data.pixel_range", "full", &["full", "used"])?,
    })
}

fn columns(keys: &Keys<'_>) -> Result<Columns, SpecError> {
    let names = |key: &str, of: &str| -> Result<Vec<String>, SpecError> {
        let Some(node) = keys.get(key) else { return Ok(Vec::new()) };
        node.list(key, of)?.iter().map(|name| name.text(key)).collect()
    };
    let negative = spellings(keys, "data.negative")?;
    let positive = spellings(keys, "data.positive")?;
    if let Some(both) = negative.iter().find(|word| positive.contains(word)) {
        return Err(keys.place_fault("data.positive", &format!("{both:?} is in `data.negative` too: it cannot mean both")));
    }
    Ok(Columns {
        path: keys.text("data.path_column")?,
        split: keys.text("data.split_column")?,
        group: keys.text("data.group_column")?,
        ignore: names("data.ignore_columns", "column names")?,
        labels: names("data.label_columns", "column names")?,
        separator: keys.get("data.separator").map(separator).transpose()?,
        lists: label_lists(keys)?,
        no_label: match keys.get("data.no_label").map(|node| &node.value) {
            Some(Value::List(_)) => spellings(keys, "data.no_label")?,
            Some(Value::Text(word)) => vec![word.clone()],
            None => Vec::new(),
            Some(_) => return Err(keys.place_fault("data.no_label", "must be a name such as \"No Finding\", or a list of names")),
        },
        negative,
        positive,
        unknown: unknown(keys)?,
        group_duplicates: keys.one_of("data.duplicates", "error", &["error", "group"])? == "group",
    })
}

/// Texts of cells, the empty one too; a number stands for its digits.
fn spellings(keys: &Keys<'_>, key: &str) -> Result<Vec<String>, SpecError> {
    let Some(node) = keys.get(key) else { return Ok(Vec::new()) };
    let text = |node: &Node| match &node.value {
        Value::Text(word) => Ok(word.clone()),
        Value::Integer(_) | Value::Number(_) => Ok(node.to_string()),
        _ => Err(node
            .fault(format!("`{key}` must be a list of texts as cells have them, such as [\"no\", \"\"], not {}", node.shown()))),
    };
    node.list(key, "texts as cells have them, such as [\"no\", \"\"]")?.iter().map(text).collect()
}

/// `data.separator`: a character, or its name.
fn separator(node: &Node) -> Result<char, SpecError> {
    const KEY: &str = "data.separator";
    let wrong = || node.fault(format!("`{KEY}` must be one ASCII character, such as \";\", or \"tab\", not {}", node.shown()));
    let Value::Text(text) = &node.value else { return Err(wrong()) };
    let mut letters = text.chars();
    match (text.as_str(), letters.next(), letters.next()) {
        ("tab", ..) => Ok('\t'),
        (_, Some(letter), None) if letter.is_ascii() && !letter.is_ascii_alphanumeric() && !"\"\n\r".contains(letter) => {
            Ok(letter)
        }
        _ => Err(wrong()),
    }
}

/// `data.label_lists`: a table of columns and what separates the names in their cells.
fn label_lists(keys: &Keys<'_>) -> Result<BTreeMap<String, String>, SpecError> {
    const KEY: &str = "data.label_lists";
    let Some(node) = keys.get(KEY) else { return Ok(BTreeMap::new()) };
    let wrong = |node: &Node| {
        let what = "a table of columns and what separates the names in a cell, such as { \"Finding Labels\" = \"|\" }";
        node.fault(format!("`{KEY}` must be {what}, not {}", node.shown()))
    };
    let entries = node.entries().filter(|entries| !entries.is_empty()).ok_or_else(|| wrong(node))?;
    let read = |entry: &Entry| match &entry.node.value {
        Value::Text(separator) if !separator.is_empty() => Ok((entry.key.clone(), separator.clone())),
        _ => Err(wrong(&entry.node)),
    };
    entries.iter().map(read).collect()
}

/// `data.unknown`: a word, or a table of labels and words in which `*` is every other label.
fn unknown(keys: &Keys<'_>) -> Result<Unknown, SpecError> {
    const KEY: &str = "data.unknown";
    let Some(node) = keys.get(KEY) else { return Ok(Unknown::default()) };
    let word = |node: &Node| Ok(UnknownAs::named(&node.one_of(KEY, &UnknownAs::NAMES)?).unwrap_or_default());
    let mut unknown = Unknown { judge_known: keys.over.iter().any(|(key, _)| *key == KEY), ..Unknown::default() };
    let Some(entries) = node.entries() else {
        return Ok(Unknown { all: word(node)?, ..unknown });
    };
    for entry in entries {
        let value = word(&entry.node)?;
        if entry.key == "*" {
            unknown.all = value;
        } else {
            unknown.labels.insert(entry.key.clone(), value);
        }
    }
    Ok(unknown)
}

fn split(keys: &Keys<'_>) -> Result<SplitConfig, SpecError> {
    let share = |key, default| keys.number(key, default, (ABOVE_ZERO, BELOW_ONE));
    let split = SplitConfig {
        train: share("data.split.train", 0.70)?,
        val: share("data.split.val", 0.15)?,
        test: share("data.split.test", 0.15)?,
        method: keys.one_of("data.split.method", "iterative", &["iterative", "random"])?,
        seed: keys.integer("data.split.seed", 0, 0..=i64::MAX as u64)?,
    };
    let sum = split.train + split.val + split.test;
    if (sum - 1.0).abs() > 1e-6 {
        let typed = SPLIT.iter().take(3).find(|key| keys.get(key).is_some()).unwrap_or(&"data.split.train");
        let SplitConfig { train, val, test, .. } = split;
        return Err(
            keys.place_fault(typed, &format!("the shares of the splits must sum to 1; {train} + {val} + {test} is {sum:.4}"))
        );
    }
    Ok(split)
}

fn has_features(keys: &Keys<'_>) -> bool {
    matches!(keys.get("data.kind").map(|node| &node.value), Some(Value::Text(kind)) if kind == "features")
}

fn arch(keys: &Keys<'_>) -> Result<String, SpecError> {
    keys.one_of("model.arch", if has_features(keys) { "mlp" } else { "cnn" }, &archs())
}

/// `[model]`, with the keys that the architecture does not read folded away.
pub(super) fn model(keys: &Keys<'_>) -> Result<ModelConfig, SpecError> {
    let features = has_features(keys);
    let arch = arch(keys)?;
    let takes_features = Architecture::names(|trained| !trained.images);
    if features && !takes_features.contains(&arch.as_str()) {
        let allowed = takes_features.join(", ");
        let message = format!("{arch} needs images, and data.kind is \"features\"; allowed: {allowed}");
        return Err(keys.place_fault("model.arch", &message));
    }
    let weights = keys.text("model.weights")?;
    match weights.as_deref().map(|weights| (HubFile::parse(weights), hub::of_another_kind(weights))) {
        Some((Some(Err(why)), _)) => {
            return Err(keys.place_fault("model.weights", &format!("the file on the Hugging Face hub {why}")));
        }
        Some((None, Some(why))) => return Err(keys.place_fault("model.weights", &why)),
        _ => {}
    }
    let freeze = keys.get("model.freeze").map(|node| node.one_of("model.freeze", &["backbone"])).transpose()?;
    let frozen = freeze.is_some();
    freezes(keys, &arch, frozen, weights.is_some())?;
    let hidden = match keys.get("model.hidden") {
        None if frozen => Vec::new(),
        None => Architecture::trained(&arch).and_then(|trained| trained.hidden).unwrap_or_default().to_vec(),
        Some(node) => hidden(node, usize::from(!frozen))?,
    };
    Ok(ModelConfig {
        hidden: if reads(&arch, frozen, "model.hidden") { hidden } else { Vec::new() },
        dropout: keys.number("model.dropout", 0.0, (0.0, BELOW_ONE))?,
        weights_head: head(keys, &arch, frozen, weights.is_some())?,
        weights,
        weights_hash: None,
        precision: precision(keys, &arch, frozen)?,
        freeze,
        arch,
    })
}

/// What the products of a frozen backbone are computed in; `None` is f32.
fn precision(keys: &Keys<'_>, arch: &str, frozen: bool) -> Result<Option<String>, SpecError> {
    const KEY: &str = "model.precision";
    let precision = keys.one_of(KEY, "f32", &["f32", "bf16"])?;
    if precision == "f32" {
        return Ok(None);
    }
    if !frozen {
        let message = format!(
            "\"bf16\" is for the features of a frozen backbone, and {arch} is trained: add freeze = \"backbone\" and its `weights`, or take train.precision"
        );
        return Err(keys.place_fault(KEY, &message));
    }
    Ok(Some(precision))
}

/// What becomes of the head in the file of weights; `None` where there is nothing to decide.
fn head(keys: &Keys<'_>, arch: &str, frozen: bool, weights: bool) -> Result<Option<Head>, SpecError> {
    const KEY: &str = "model.head";
    let keep = keys.one_of(KEY, "new", &["new", "keep"])? == "keep";
    if frozen && keep {
        let message = "\"keep\" means nothing with freeze = \"backbone\": a head of its own is trained on the features, and the one in \
                       the file of weights is never used; remove one of the two";
        return Err(keys.place_fault(KEY, message));
    }
    if keep && !weights {
        return Err(keys.place_fault(KEY, "\"keep\" keeps the head of a file: it needs `model.weights`"));
    }
    if arch == "linear" && weights && !keep {
        let message = "linear is a head and nothing else, which starts new: model.head = \"keep\" starts with the file's";
        return Err(keys.place_fault("model.weights", message));
    }
    Ok((weights && !frozen).then_some(if keep { Head::Keep } else { Head::New }))
}

/// Whether the architecture, frozen or not, reads the key.
pub(super) fn reads(arch: &str, frozen: bool, key: &str) -> bool {
    key != "model.hidden" || frozen || Architecture::trained(arch).is_some_and(|trained| trained.hidden.is_some())
}

fn hidden(node: &Node, least: usize) -> Result<Vec<usize>, SpecError> {
    let sizes = node.list("model.hidden", "sizes, such as [16, 32, 64]; an axis is a list of such lists")?;
    if sizes.len() < least || sizes.len() > 16 {
        return Err(node.fault(format!("`model.hidden` must have {least} to 16 sizes, not {}", sizes.len())));
    }
    sizes
        .iter()
        .map(|size| size.integer("model.hidden", 1..=65_536).map(|size| usize::try_from(size).unwrap_or(usize::MAX)))
        .collect()
}

/// `[train]`; some defaults are those of the architecture.
pub(super) fn train(keys: &Keys<'_>) -> Result<TrainPart, SpecError> {
    let whole = Some(arch(keys)?).filter(|_| keys.get("model.freeze").is_none());
    let step = whole.as_ref().and_then(|arch| Architecture::trained(arch)).map_or(ON_FEATURES, |trained| trained.step);
    let optimizer = Choice::plain(step.optimizer).with("weight_decay", step.weight_decay);
    let length = length(keys)?;
    let config = TrainConfig {
        epochs: 0,
        draws: None,
        stop: None,
        batch_size: keys.size("train.batch_size", step.batch_size, 1..=1_000_000)?,
        optimizer: choice(keys, "train.optimizer", optimizer)?,
        learning_rate: keys.number("train.learning_rate", step.learning_rate, (ABOVE_ZERO, 1000.0))?,
        schedule: schedule(keys, &length)?,
        grad_clip: keys.get("train.grad_clip").map(|node| node.number("train.grad_clip", (ABOVE_ZERO, f64::MAX))).transpose()?,
        precision: keys.one_of("train.precision", "f32", &["f32", "bf16"])?,
        start: start(keys)?,
    };
    Ok(TrainPart { length, config })
}

/// `train.schedule`: `every` and `warmup` count epochs where there is a number of epochs, and are shares of `train.max_steps`
/// otherwise.
fn schedule(keys: &Keys<'_>, length: &Length) -> Result<Choice, SpecError> {
    /// `every` by default where it is a share.
    const QUARTER: f64 = 0.25;
    const KEY: &str = "train.schedule";
    let mut schedule = choice(keys, KEY, Choice::plain("constant"))?;
    let typed = |param: &str| {
        let inline = keys.get(KEY).and_then(Node::entries).and_then(|entries| entries.iter().find(|entry| entry.key == param));
        let loose = || keys.over.iter().find(|(key, _)| loose_family(key) == Some((KEY, param))).map(|(_, node)| *node);
        inline.map(|entry| &entry.node).or_else(loose)
    };
    let wrong = |param: &str, what: &str| {
        let value = schedule.find(param).unwrap_or_default();
        typed(param).map_or_else(|| keys.place_fault(KEY, what), |node| node.fault(format!("`{param}` is {value}: {what}")))
    };
    let shares = matches!(length, Length::Auto { .. });
    for param in ["every", "warmup"] {
        let Some(value) = schedule.find(param) else { continue };
        if shares && value >= 1.0 && typed(param).is_some() {
            let what = "with train.epochs = \"auto\" it is a share of train.max_steps, below 1, such as 0.1; with a number of epochs it counts epochs";
            return Err(wrong(param, what));
        }
        if !shares && param == "every" && value.fract() != 0.0 {
            return Err(wrong(
                param,
                "it counts epochs, so it must be whole; with train.epochs = \"auto\" it is a share of train.max_steps",
            ));
        }
    }
    if shares && schedule.kind == "step" && typed("every").is_none() {
        schedule = schedule.with("every", QUARTER);
    }
    Ok(schedule)
}

/// `train.epochs` and the keys that go with it.
fn length(keys: &Keys<'_>) -> Result<Length, SpecError> {
    const MOST: u64 = 1_000_000_000;
    let auto = keys.get("train.epochs").is_none_or(|node| matches!(&node.value, Value::Text(word) if word == "auto"));
    let budget = keys.one_of("train.budget", "steps", &["steps", "epochs"])?;
    if auto {
        if budget == "epochs" {
            let message = "\"epochs\" needs a number of epochs (train.epochs = 10): with \"auto\" every sampler gets the same number of steps";
            return Err(keys.place_fault("train.budget", message));
        }
        let steps = |key| keys.get(key).map(|_| keys.size(key, 1, 1..=MOST)).transpose();
        let (max_steps, min_steps) = (steps("train.max_steps")?, steps("train.min_steps")?);
        if let (Some(most), Some(least)) = (max_steps, min_steps)
            && least > most
        {
            let message = format!("is {least}, more than `train.max_steps`, which is {most}");
            return Err(keys.place_fault("train.min_steps", &message));
        }
        return Ok(Length::Auto {
            max_steps,
            min_steps,
            patience: steps("train.patience")?,
            eval_every: steps("train.eval_every")?,
        });
    }
    for key in ["train.max_steps", "train.min_steps", "train.patience", "train.eval_every"] {
        if keys.get(key).is_some() {
            return Err(keys.place_fault(key, "means something with train.epochs = \"auto\" only, not with a number of epochs"));
        }
    }
    let node = keys.require("train.epochs", "\"auto\" or a number")?;
    if let Value::Text(_) = node.value {
        return Err(node.fault(format!("`train.epochs` must be \"auto\" or an integer, not {}", node.shown())));
    }
    let budget = if budget == "steps" { Budget::Steps } else { Budget::Epochs };
    Ok(Length::Epochs { epochs: keys.size("train.epochs", 1, 1..=100_000)?, budget })
}

fn start(keys: &Keys<'_>) -> Result<Start, SpecError> {
    match (keys.get("train.start"), keys.get(PRIOR_BIAS)) {
        (Some(_), Some(node)) => Err(node.fault(format!("`{PRIOR_BIAS}` is the old name of `train.start`: keep one of them"))),
        (None, Some(node)) => node.boolean(PRIOR_BIAS).map(Start::of_prior_bias),
        _ => keys.one_of("train.start", "link", &Start::NAMES).map(|name| Start::named(&name)),
    }
}

/// What the file says in words of version 0.1, with the words of this one.
pub(super) fn old_spellings(layout: &Layout) -> Vec<String> {
    let old = layout.base.get(PRIOR_BIAS).into_iter().chain(layout.on_axes(PRIOR_BIAS));
    let said = old.filter_map(|node| {
        let flag = node.boolean(PRIOR_BIAS).ok()?;
        Some(format!("{}: `{PRIOR_BIAS} = {flag}` is now called `train.start = \"{}\"`", node.place, Start::of_prior_bias(flag)))
    });
    said.collect()
}

/// The choice that the file makes, or `default`; each with the parameters that other keys give it.
fn choice(keys: &Keys<'_>, key: &str, mut default: Choice) -> Result<Choice, SpecError> {
    let Some(family) = Family::of(key) else {
        return Ok(default);
    };
    let loose: Vec<_> =
        keys.over.iter().filter_map(|(name, node)| Some((name.strip_prefix(key)?.strip_prefix('.')?, *node))).collect();
    Arc::make_mut(&mut default.params).retain(|name, _| loose.iter().all(|(given, _)| given != name));
    let typed = keys.get(key).map_or(Ok(default), |node| family.read(node))?;
    family.fill(&typed, keys.place(key), &loose)
}

/// `[workers]`: how the sweep is run; nothing in it changes a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkersConfig {
    /// How workers are started: `local` or `slurm`.
    pub launcher: String,
    /// `auto`, or a list of `cpu` and `cuda:N`.
    pub devices: Vec<String>,
    pub per_device: usize,
    /// Attempts per run.
    pub attempts: u32,
    /// The time limit of one run.
    pub timeout: Option<Duration>,
    pub slurm: SlurmConfig,
}

impl Default for WorkersConfig {
    fn default() -> Self {
        Self {
            launcher: LAUNCHERS[0].to_owned(),
            devices: vec!["auto".to_owned()],
            per_device: 1,
            attempts: 2,
            timeout: None,
            slurm: SlurmConfig::default(),
        }
    }
}

/// `[workers.slurm]`: what a task asks Slurm for. What is absent is the site's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlurmConfig {
    pub partition: Option<String>,
    pub account: Option<String>,
    /// `gpu:1`.
    pub gres: Option<String>,
    /// CPUs per task.
    pub cpus: Option<usize>,
    /// As sbatch reads it: `4:00:00`.
    pub time: Option<String>,
    /// As sbatch reads it: `16G`.
    pub memory: Option<String>,
    /// Lines of shell that a task begins with: `module load cuda`.
    pub setup: Vec<String>,
    /// Arguments of sbatch that are passed on untouched.
    pub extra: Vec<String>,
    /// The most tasks at a time.
    pub tasks: Option<usize>,
    /// Runs of a task; chosen from how long they take otherwise.
    pub runs_per_task: Option<usize>,
}

fn slurm(keys: &Keys<'_>) -> Result<SlurmConfig, SpecError> {
    let some = |key: &str, most: u64| keys.get(key).map(|_| keys.size(key, 1, 1..=most)).transpose();
    let text = |key: &str| match (keys.text(key)?, keys.get(key)) {
        (Some(text), Some(node)) if text.is_empty() || text.contains(|c: char| c.is_control()) => {
            Err(node.fault(format!("`{key}` must be a text of one line, not {}", node.shown())))
        }
        (text, _) => Ok(text),
    };
    let lines = |key: &str| {
        let Some(node) = keys.get(key) else { return Ok(Vec::new()) };
        let Value::List(nodes) = &node.value else {
            return Err(node.fault(format!("`{key}` must be a list of texts, not {}", node.shown())));
        };
        let line = |node: &Node| {
            let text = node.text(key)?;
            let whole = !text.is_empty() && !text.contains(['\n', '\0']);
            if whole { Ok(text) } else { Err(node.fault(format!("`{key}` has lines of one text each, not {}", node.shown()))) }
        };
        nodes.iter().map(line).collect()
    };
    Ok(SlurmConfig {
        partition: text("workers.slurm.partition")?,
        account: text("workers.slurm.account")?,
        gres: text("workers.slurm.gres")?,
        cpus: some("workers.slurm.cpus", 4096)?,
        time: text("workers.slurm.time")?,
        memory: text("workers.slurm.memory")?,
        setup: lines("workers.slurm.setup")?,
        extra: lines("workers.slurm.extra")?,
        tasks: some("workers.slurm.tasks", 100_000)?,
        runs_per_task: some("workers.slurm.runs_per_task", 100_000)?,
    })
}

/// `[workers]`.
pub(super) fn workers(keys: &Keys<'_>) -> Result<WorkersConfig, SpecError> {
    let absent = WorkersConfig::default();
    let attempts = keys.integer("workers.attempts", absent.attempts.into(), 1..=100)?;
    Ok(WorkersConfig {
        launcher: keys.one_of("workers.launcher", &absent.launcher, LAUNCHERS)?,
        devices: keys.get("workers.devices").map_or(Ok(absent.devices), devices)?,
        per_device: keys.size("workers.per_device", absent.per_device, 1..=1024)?,
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        timeout: keys.get("workers.timeout").map(timeout).transpose()?,
        slurm: slurm(keys)?,
    })
}

fn devices(node: &Node) -> Result<Vec<String>, SpecError> {
    let texts = match &node.value {
        Value::List(nodes) => nodes.iter().map(|node| node.text("workers.devices")).collect::<Result<Vec<_>, _>>()?,
        _ => node.text("workers.devices")?.split(',').map(|device| device.trim().to_owned()).collect(),
    };
    let allowed = "allowed: \"auto\", or a list of \"cpu\" and \"cuda:N\"";
    if texts.is_empty() {
        return Err(node.fault(format!("`workers.devices` is empty; {allowed}")));
    }
    for (at, device) in texts.iter().enumerate() {
        let cuda = device.strip_prefix("cuda:").is_some_and(|index| index.parse::<u16>().is_ok());
        if !(cuda || device == "cpu" || (device == "auto" && texts.len() == 1)) {
            return Err(node.fault(format!("`workers.devices` cannot have {}; {allowed}", shown(&format!("{device:?}")))));
        }
        if texts.iter().take(at).any(|other| other == device) {
            return Err(node.fault(format!("`workers.devices` names {device} twice; per_device sets the workers per device")));
        }
    }
    Ok(texts)
}

fn timeout(node: &Node) -> Result<Duration, SpecError> {
    let seconds = match &node.value {
        Value::Text(text) => duration(text),
        _ => node.number("workers.timeout", (ABOVE_ZERO, 1e9)).ok(),
    };
    seconds.filter(|&seconds| seconds > 0.0 && seconds <= 1e9).map(Duration::from_secs_f64).ok_or_else(|| {
        node.fault(format!(
            "`workers.timeout` must be a time such as \"90s\", \"45m\", \"2h\", \"1h30m\" or a number of seconds, not {}",
            node.shown()
        ))
    })
}

/// Seconds of `1d`, `2h`, `45m`, `90s`, or several of these in a row.
pub(super) fn duration(text: &str) -> Option<f64> {
    let mut seconds = 0.0;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, tail) = rest.split_at(end);
        let number: f64 = number.parse().ok()?;
        let unit_end = tail.find(|letter: char| letter.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        seconds += number
            * match unit.trim() {
                "s" => 1.0,
                "m" | "min" => 60.0,
                "h" => 3600.0,
                "d" => 86400.0,
                _ => return None,
            };
        rest = tail;
    }
    (seconds > 0.0).then_some(seconds)
}
