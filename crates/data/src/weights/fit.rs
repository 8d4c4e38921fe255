//! Which tensor of a file of weights is which tensor of a network: names may have a prefix more or less than the network's, or those of
//! another library. The controller asks this before a run is dealt out, and a worker when it loads the file.

use std::collections::{BTreeMap, BTreeSet};

use safetensors::Dtype;

use super::file::{Header, Held};
use imbalance::shown::cut;
use plan::tensors::{Dims, Tensors};
use plan::{Architecture, Head};

/// Names of one kind in a message.
const NAMED: usize = 3;
/// What training tools leave beside the tensors of a layer, and no network reads.
const COUNTERS: [&str; 3] = ["num_batches_tracked", "total_ops", "total_params"];

/// How a file fits a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    /// The file's name of each tensor below the head, by the network's.
    pub names: BTreeMap<String, String>,
    /// The head, where the file has one that a network here could start with.
    pub head: Option<FileHead>,
    /// The stem reads three channels and the network's one: it is summed over them.
    pub sum_stem: bool,
    /// What was done to make it fit, a phrase each.
    pub words: Vec<String>,
    /// Whether the file has any tensors of a head.
    has_head: bool,
    frozen: bool,
}

/// The head of a file: one linear layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHead {
    pub weight: String,
    pub bias: String,
    pub labels: usize,
}

/// The head that a run starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Whether it is the file's.
    pub kept: bool,
    /// A phrase for the log.
    pub words: String,
}

/// Where the tensors of a network are in a file: behind a prefix, perhaps without what is common to all of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    lacks_common: bool,
    prefix: String,
}

/// The file's names by the network's.
type Found<'f> = BTreeMap<String, &'f str>;

/// Fits a file to a network.
///
/// # Errors
/// What differs, as the end of a sentence that begins with the file's path.
pub fn fit(file: &Header, wanted: &Tensors) -> Result<Fit, String> {
    let (place, found, copies) = placed(file, wanted);
    if !copies.is_empty() {
        let mut prefixes: Vec<String> =
            [&place].into_iter().chain(&copies).map(|place| format!("`{}`", cut(&place.prefix, 60))).collect();
        prefixes.sort_unstable();
        let first = cut(&copies[0].prefix, 60);
        return Err(format!(
            "holds {} whole copies of {}, with the prefixes {}: which one is meant? Write a file with that one alone, in Python:\n  \
             from safetensors.numpy import load_file, save_file; state = load_file(\"old.safetensors\")\n  \
             save_file({{k: v for k, v in state.items() if k.startswith(\"{first}\")}}, \"new.safetensors\")",
            copies.len() + 1,
            wanted.arch,
            prefixes.join(", ")
        ));
    }
    let used: BTreeSet<&str> = found.values().copied().collect();
    let is_head = |name: &str| {
        starts(&place.prefix).any(|start| name.strip_prefix(start).is_some_and(|rest| rest.starts_with(wanted.head)))
    };
    let inside = |name: &str| name.strip_prefix(place.prefix.as_str()).map(str::to_owned);
    let is_unread = |name: &str| inside(name).is_some_and(|rest| wanted.unread.contains(&rest.as_str()));
    let rest = || file.keys().map(String::as_str).filter(|name| !used.contains(name) && !is_counter(name) && !is_unread(name));
    let (unknown, outside): (Vec<&str>, Vec<&str>) =
        rest().filter(|name| !is_head(name)).partition(|name| inside(name).is_some());
    let missing: Vec<String> = wanted
        .body
        .iter()
        .filter(|(name, _)| !found.contains_key(*name))
        .map(|(name, dims)| format!("{name} {}", sizes(dims)))
        .collect();
    let mut sum_stem = false;
    let mut shapes = Vec::new();
    for (name, theirs) in &found {
        let (held, dims) = (&file[*theirs], &wanted.body[name]);
        let stem = wanted.stem == Some(name.as_str()) && is_grey(dims) && held.shape.get(1) == Some(&3);
        let compared: Dims = if stem {
            dims.iter().enumerate().map(|(at, &size)| if at == 1 { Some(3) } else { size }).collect()
        } else {
            dims.clone()
        };
        sum_stem |= stem;
        if !wanted.takes(&compared, &held.shape) {
            shapes.push(format!("{theirs}: {:?}, not {}", held.shape, sizes(dims)));
        }
    }
    let numbers: Vec<String> =
        used.iter().filter(|name| !is_float(&file[**name])).map(|name| format!("{name}: {:?}", file[*name].dtype)).collect();
    let faults = [
        (&missing, "missing"),
        (&unknown.iter().map(|name| (*name).to_owned()).collect(), "not the network's"),
        (&shapes, "of another shape"),
        (&numbers, "of a type that is not read (F32, F16, BF16 and F64 are)"),
    ];
    if faults.iter().any(|(names, _)| !names.is_empty()) {
        let all = wanted.body.len();
        let faults = faults.iter().filter(|(names, _)| !names.is_empty());
        let told: Vec<String> = faults.map(|(names, what)| format!("\n  {} {what}: {}", names.len(), some(names))).collect();
        let there = found.len() - shapes.len();
        let prefix =
            if place.prefix.is_empty() { String::new() } else { format!(", behind the prefix `{}`", cut(&place.prefix, 60)) };
        return Err(format!(
            "does not fit {}: of its {all} tensors below the head the file has {there}{prefix}{}{}",
            wanted.arch,
            told.concat(),
            guess(file, wanted)
        ));
    }
    let heads: Vec<&str> = rest().filter(|name| is_head(name)).collect();
    let mut words = Vec::new();
    if !place.prefix.is_empty() {
        words.push(format!("the prefix `{}` of its names is left out", cut(&place.prefix, 60)));
    }
    if let Some(common) = wanted.common.filter(|_| place.lacks_common) {
        words.push(format!("its names lack `{common}`, which is added"));
    }
    if !outside.is_empty() {
        let names: Vec<String> = outside.iter().map(|name| (*name).to_owned()).collect();
        words.push(format!("what it has beside the network is left out: {}", some(&names)));
    }
    if sum_stem {
        words.push("its stem is for three channels: it is summed over them for grey images".to_owned());
    }
    Ok(Fit {
        head: file_head(file, &heads, wanted.width),
        has_head: !heads.is_empty(),
        frozen: wanted.frozen,
        sum_stem,
        words,
        names: found.into_iter().map(|(name, theirs)| (name, theirs.to_owned())).collect(),
    })
}

impl Fit {
    /// The head of a run that starts with this file, where `labels` is how many the data has, if that is known. `asked` is `None` in runs
    /// of earlier versions, which kept a head that fitted.
    ///
    /// # Errors
    /// A head that is to be kept and cannot be, as the end of a sentence that begins with the file's path.
    pub fn start(&self, asked: Option<Head>, labels: Option<usize>) -> Result<Start, String> {
        let counted = |labels: usize| if labels == 1 { "1 label".to_owned() } else { format!("{labels} labels") };
        let fits = self.head.as_ref().filter(|head| labels.is_none_or(|labels| labels == head.labels));
        let kept = match (asked, &self.head) {
            _ if self.frozen => false,
            (Some(Head::New), _) => false,
            (None, _) => fits.is_some(),
            (Some(Head::Keep), Some(_)) if fits.is_some() => true,
            (Some(Head::Keep), Some(head)) => {
                return Err(format!(
                    "model.head = \"keep\" cannot keep its head: it is for {}, and the data has {}; model.head = \"new\" starts with a new one",
                    counted(head.labels),
                    counted(labels.unwrap_or_default())
                ));
            }
            (Some(Head::Keep), None) => {
                let why =
                    if self.has_head { "its head is not one linear layer on the network's features" } else { "it has no head" };
                return Err(format!("model.head = \"keep\" cannot be: {why}; model.head = \"new\" starts with a new one"));
            }
        };
        let theirs = match &self.head {
            Some(head) if kept => format!("the head is the file's, for {}", counted(head.labels)),
            Some(head) => format!("the head starts new; the file's, for {}, is left out", counted(head.labels)),
            None if self.has_head => "the head starts new; the file's is left out".to_owned(),
            None => "the head starts new; the file has none".to_owned(),
        };
        Ok(Start { kept, words: theirs })
    }
}

/// Where most tensors of the network are, which these are, and the other places where all of them are, too.
fn placed<'f>(file: &'f Header, wanted: &Tensors) -> (Place, Found<'f>, Vec<Place>) {
    let mut places: BTreeMap<Place, Found<'f>> = BTreeMap::new();
    // What is nothing but a head is found by that.
    let head: BTreeMap<String, Dims> = if wanted.body.is_empty() {
        ["weight", "bias"].into_iter().map(|end| (format!("{}{end}", wanted.head), Dims::new())).collect()
    } else {
        BTreeMap::new()
    };
    let sought = if wanted.body.is_empty() { &head } else { &wanted.body };
    for name in file.keys().filter(|name| !is_counter(name)) {
        for start in starts(name) {
            let rest = &name[start.len()..];
            let mut at = |lacks_common: bool, spelled: String| {
                if sought.contains_key(&spelled) {
                    let place = Place { lacks_common, prefix: start.to_owned() };
                    places.entry(place).or_default().entry(spelled).or_insert(name);
                }
            };
            at(false, (wanted.spelled)(rest));
            if let Some(common) = wanted.common.filter(|common| !start.ends_with(common)) {
                at(true, (wanted.spelled)(&format!("{common}{rest}")));
            }
        }
    }
    let whole = |found: &Found<'_>| {
        found.len() == sought.len()
            && found.iter().all(|(name, theirs)| sought[name].is_empty() || wanted.takes(&sought[name], &file[*theirs].shape))
    };
    let order = |(place, found): &(&Place, &Found<'_>)| (found.len(), !place.lacks_common, std::cmp::Reverse(place.prefix.len()));
    let best = places.iter().max_by_key(order).map(|(place, found)| (place.clone(), found.clone()));
    let Some((place, found)) = best else {
        return (Place { lacks_common: false, prefix: String::new() }, Found::new(), Vec::new());
    };
    let is_copy =
        |other: &(&Place, &Found<'_>)| *other.0 != place && other.0.lacks_common == place.lacks_common && whole(other.1);
    let copies = if whole(&found) { places.iter().filter(is_copy).map(|(other, _)| other.clone()).collect() } else { Vec::new() };
    (place, if wanted.body.is_empty() { Found::new() } else { found }, copies)
}

/// The empty text, and all that ends with a dot at the beginning of `name`.
fn starts(name: &str) -> impl Iterator<Item = &str> {
    [""].into_iter().chain(name.match_indices('.').map(|(at, _)| &name[..=at]))
}

fn is_counter(name: &str) -> bool {
    COUNTERS.contains(&name.rsplit('.').next().unwrap_or_default())
}

fn is_float(held: &Held) -> bool {
    matches!(held.dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64)
}

fn is_grey(dims: &Dims) -> bool {
    dims.len() == 4 && dims[1] == Some(1)
}

/// `[64, ?, 3, 3]`.
fn sizes(dims: &Dims) -> String {
    let sizes: Vec<String> = dims.iter().map(|size| size.map_or_else(|| "?".to_owned(), |size| size.to_string())).collect();
    format!("[{}]", sizes.join(", "))
}

/// The first few of many names.
fn some(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(NAMED).map(|name| cut(name, 100)).collect();
    let more = names.len().saturating_sub(NAMED);
    shown.join(", ") + &if more > 0 { format!(", and {more} more") } else { String::new() }
}

/// The one linear layer that `names` are, if they are that.
fn file_head(file: &Header, names: &[&str], width: Option<usize>) -> Option<FileHead> {
    let &[bias, weight] = names else { return None };
    let (layer, other) = (weight.strip_suffix("weight")?, bias.strip_suffix("bias")?);
    let [shape, biases] = [weight, bias].map(|name| &file[name]);
    let (&[labels], &[outputs, inputs]) = (&biases.shape[..], &shape.shape[..]) else { return None };
    let fits = layer == other && outputs == labels && width.is_none_or(|width| width == inputs);
    (fits && is_float(shape) && is_float(biases)).then(|| FileHead { weight: weight.to_owned(), bias: bias.to_owned(), labels })
}

/// Another network whose names these are; empty where there is none.
fn guess(file: &Header, wanted: &Tensors) -> String {
    /// Shares of the tensors that another network has, too.
    const NEARLY: f64 = 0.5;
    const WHOLLY: f64 = 0.95;
    let others = Tensors::published().filter(|other| other.arch != wanted.arch);
    // And whether it has all that the other one needs.
    let share = |other: &Tensors| {
        let (_, found, _) = placed(file, other);
        let fitting = found.iter().filter(|(name, theirs)| other.takes(&other.body[*name], &file[**theirs].shape)).count();
        let parts = file.keys().filter(|name| !is_counter(name)).count().max(other.body.len());
        (fitting as f64 / parts as f64, fitting == other.body.len())
    };
    let (own, _) = share(wanted);
    let shares: Vec<_> = others.map(|other| (share(&other), other.arch)).collect();
    let (best, whole) = shares.iter().map(|(share, _)| *share).max_by(|one, two| one.0.total_cmp(&two.0)).unwrap_or_default();
    // Networks that differ in what a file does not say, such as CLIP's activation.
    let archs: Vec<&str> = shares.iter().filter(|((share, _), _)| *share == best).map(|(_, arch)| *arch).collect();
    match &archs[..] {
        [arch, ..] if best > own.max(NEARLY) => {
            let freeze = if Architecture::trained(arch).is_none() { " with freeze = \"backbone\"" } else { "" };
            let quoted: Vec<String> = archs.iter().map(|arch| format!("\"{arch}\"")).collect();
            let cure = format!(": model.arch = {}{freeze} takes it", quoted.join(" or "));
            let end = if whole && best > WHOLLY { &cure } else { ", or nearly" };
            format!("\n  its names and shapes are those of {}{end}", archs.join(" and "))
        }
        _ if own == 0.0 => format!("\n  none of its names and shapes is {}'s: it is for another network", wanted.arch),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use imbalance::rng::Rng;
    use plan::ModelConfig;
    use plan::tensors::Known;

    fn model(arch: &str, frozen: bool, head: Option<Head>) -> ModelConfig {
        ModelConfig {
            arch: arch.to_owned(),
            hidden: if arch == "cnn" { vec![4, 8] } else { Vec::new() },
            dropout: 0.0,
            weights: Some("w".to_owned()),
            weights_hash: None,
            weights_head: head,
            freeze: frozen.then(|| "backbone".to_owned()),
            precision: None,
        }
    }

    fn wanted(arch: &str, frozen: bool, channels: usize) -> Tensors {
        let input = Some(plan::InputShape::Image { channels, height: 32, width: 32 });
        model(arch, frozen, None).tensors(Known { input, labels: None }).unwrap()
    }

    fn held(shape: &[usize]) -> Held {
        Held { shape: shape.to_vec(), dtype: Dtype::F32 }
    }

    /// A file as it is published, with a head for five labels.
    fn file(wanted: &Tensors) -> Header {
        let dims = |dims: &Dims| held(&dims.iter().map(|size| size.unwrap()).collect::<Vec<_>>());
        let mut file: Header = wanted.body.iter().map(|(name, shape)| (name.clone(), dims(shape))).collect();
        file.insert(format!("{}weight", wanted.head), held(&[5, wanted.width.unwrap()]));
        file.insert(format!("{}bias", wanted.head), held(&[5]));
        file
    }

    fn behind(prefix: &str, file: &Header) -> Header {
        file.iter().map(|(name, held)| (format!("{prefix}{name}"), held.clone())).collect()
    }

    const ALL: [(&str, bool); 18] = [
        ("densenet121", true),
        ("resnet18", true),
        ("resnet34", true),
        ("resnet50", true),
        ("resnet101", true),
        ("convnext_tiny", true),
        ("convnext_small", true),
        ("vit_small_patch16_224", true),
        ("vit_base_patch16_224", true),
        ("dinov2_vits14", true),
        ("dinov2_vitb14", true),
        ("clip_vit_b32_gelu", true),
        ("efficientnet_b0", true),
        ("efficientnet_b2", true),
        ("mobilenet_v3_large", true),
        ("mobilenetv3_large_100", true),
        ("densenet121", false),
        ("cnn", false),
    ];

    #[test]
    fn any_prefix_of_a_whole_file_is_left_out_and_said() {
        let mut rng = Rng::new(7, "prefix", &[]);
        let mut random = || -> String {
            let parts = 1 + (rng.uniform() * 3.0) as usize;
            let mut letter = || char::from(b"abcmodelfeaturesnet_019"[(rng.uniform() * 23.0) as usize]);
            (0..parts).map(|_| (0..4).map(|_| letter()).chain(['.']).collect::<String>()).collect()
        };
        let usual = [
            "",
            "module.",
            "model.",
            "module.densenet121.",
            "backbone.",
            "encoder.",
            "net.",
            "_orig_mod.",
            "module._orig_mod.model.",
            "features.",
        ];
        for (arch, frozen) in ALL {
            let wanted = wanted(arch, frozen, 3);
            let plain = file(&wanted);
            for prefix in usual.map(str::to_owned).into_iter().chain((0..10).map(|_| random())) {
                let fit = fit(&behind(&prefix, &plain), &wanted).unwrap_or_else(|why| panic!("{arch} {prefix}: {why}"));
                assert!(fit.names.iter().all(|(name, theirs)| *theirs == format!("{prefix}{name}")), "{arch} {prefix}");
                assert_eq!(fit.head.as_ref().map(|head| head.labels), Some(5), "{arch} {prefix}");
                assert_eq!(fit.words.len(), usize::from(!prefix.is_empty()), "{:?}", fit.words);
                assert!(prefix.is_empty() || fit.words[0].contains(&format!("`{prefix}`")), "{:?}", fit.words);
            }
        }
    }

    #[test]
    fn names_may_lack_what_is_common_to_all_of_them() {
        for (arch, common) in [("densenet121", "features."), ("cnn", "stages.")] {
            let wanted = wanted(arch, false, 3);
            for prefix in ["", "0.", "module.", "features._orig_mod.", "model.backbone."] {
                let short = |(name, held): (&String, &Held)| {
                    (name.strip_prefix(common).map_or_else(|| name.clone(), |rest| format!("{prefix}{rest}")), held.clone())
                };
                let fit = fit(&file(&wanted).iter().map(short).collect(), &wanted).unwrap();
                assert_eq!(fit.names.len(), wanted.body.len());
                assert!(fit.words.iter().any(|words| words.contains(common)), "{:?}", fit.words);
                assert_eq!(fit.head.unwrap().weight, "classifier.weight", "{prefix}");
            }
        }
    }

    #[test]
    fn old_names_counters_other_modules_and_types_do_no_harm() {
        let wanted = wanted("densenet121", true, 3);
        let plain = file(&wanted);
        let old = |name: &str| {
            ["norm1", "norm2", "conv1", "conv2"].iter().fold(name.to_owned(), |name, part| {
                let (word, digit) = part.split_at(4);
                if name.contains("denselayer") { name.replace(&format!(".{part}."), &format!(".{word}.{digit}.")) } else { name }
            })
        };
        let mut chexnet: Header =
            plain.iter().map(|(name, held)| (format!("module.densenet121.{}", old(name)), held.clone())).collect();
        chexnet.insert(
            "module.densenet121.features.norm0.num_batches_tracked".to_owned(),
            Held { shape: vec![], dtype: Dtype::I64 },
        );
        chexnet.insert("module.densenet121.features.norm0.total_ops".to_owned(), held(&[1]));
        let fit = fit(&chexnet, &wanted).unwrap();
        assert_eq!((fit.names.len(), fit.words.len()), (wanted.body.len(), 1));
        // Beside a network with a prefix there may be others.
        let mut lightning = behind("model.", &plain);
        lightning.insert("loss.pos_weight".to_owned(), held(&[5]));
        lightning.insert("n_averaged".to_owned(), Held { shape: vec![], dtype: Dtype::I64 });
        let fit = super::fit(&lightning, &wanted).unwrap();
        assert!(fit.words[1].contains("left out: loss.pos_weight, n_averaged"), "{:?}", fit.words);
        // In it there may not.
        let mut more = plain.clone();
        more.insert("features.conv9.weight".to_owned(), held(&[1]));
        assert!(super::fit(&more, &wanted).unwrap_err().contains("1 not the network's: features.conv9.weight"));
        let mut half = plain;
        half.values_mut().for_each(|held| held.dtype = Dtype::F16);
        assert!(super::fit(&half, &wanted).is_ok());
        half.values_mut().for_each(|held| held.dtype = Dtype::I8);
        assert!(super::fit(&half, &wanted).unwrap_err().contains("I8"));
    }

    #[test]
    fn two_copies_are_not_chosen_between() {
        let wanted = wanted("resnet18", true, 3);
        for (one, two) in [("model.", "ema."), ("", "ema."), ("encoder_q.", "encoder_k.")] {
            let both: Header = behind(one, &file(&wanted)).into_iter().chain(behind(two, &file(&wanted))).collect();
            let told = fit(&both, &wanted).unwrap_err();
            assert!(told.contains("2 whole copies of resnet18") && told.contains(&format!("`{two}`")), "{told}");
        }
    }

    #[test]
    fn another_network_is_told_by_its_name_and_a_damaged_one_by_what_differs() {
        for (arch, frozen) in ALL {
            for (other, _) in ALL.into_iter().filter(|(other, frozen)| *frozen && *other != arch) {
                let prefix = if arch < other { "" } else { "module." };
                let told = fit(&behind(prefix, &file(&wanted(other, true, 3))), &wanted(arch, frozen, 3)).unwrap_err();
                assert!(told.starts_with(&format!("does not fit {arch}")), "{told}");
                let known = match other {
                    "clip_vit_b32_gelu" => {
                        "clip_vit_b32_quickgelu and clip_vit_b32_gelu: model.arch = \"clip_vit_b32_quickgelu\" or \"clip_vit_b32_gelu\""
                    }
                    _ => &format!("{other}: model.arch = \"{other}\""),
                };
                assert!(told.contains(&format!("those of {known}")), "{arch}: {told}");
            }
        }
        let wanted = wanted("densenet121", false, 3);
        let mut less = file(&wanted);
        less.remove("features.norm5.running_var");
        let told = fit(&less, &wanted).unwrap_err();
        assert!(told.contains("of its 604 tensors below the head the file has 603"), "{told}");
        assert!(told.contains("1 missing: features.norm5.running_var [1024]"), "{told}");
        let mut grey = file(&wanted);
        grey.insert("features.conv0.weight".to_owned(), held(&[64, 1, 7, 7]));
        let told = fit(&grey, &wanted).unwrap_err();
        assert!(told.contains("1 of another shape: features.conv0.weight: [64, 1, 7, 7], not [64, 3, 7, 7]"), "{told}");
        let noise: Header = (0..900).map(|at| (format!("x{at}.y"), held(&[2]))).collect();
        let told = fit(&noise, &wanted).unwrap_err();
        assert!(told.contains("and 897 more") && told.contains("none of its names and shapes"), "{told}");
        assert!(told.lines().count() < 6, "{told}");
    }

    #[test]
    fn positions_and_registers_of_dinov2_are_compared() {
        let wanted = wanted("dinov2_vits14", true, 3);
        let mut facebook = file(&wanted);
        facebook.insert("mask_token".to_owned(), held(&[1, 384]));
        assert!(fit(&facebook, &wanted).is_ok());
        let mut registers = file(&wanted);
        registers.insert("reg_token".to_owned(), held(&[1, 4, 384]));
        assert!(fit(&registers, &wanted).unwrap_err().contains("1 not the network's: reg_token"));
        facebook.insert("pos_embed".to_owned(), held(&[1, 257, 384]));
        assert!(fit(&facebook, &wanted).unwrap_err().contains("pos_embed: [1, 257, 384], not [1, 1370, 384]"));
    }

    #[test]
    fn the_image_tower_of_a_whole_clip_is_found_by_its_names() {
        let wanted = wanted("clip_vit_b32_quickgelu", true, 3);
        let timm = fit(&file(&wanted), &wanted).unwrap();
        assert!(timm.words.is_empty(), "{:?}", timm.words);
        let mut clip = Header::new();
        for (tower, width) in [("visual.", 768), ("", 512)] {
            for block in 0..12 {
                for (layer, outputs, inputs) in [
                    ("attn.in_proj_", 3 * width, width),
                    ("attn.out_proj.", width, width),
                    ("mlp.c_fc.", 4 * width, width),
                    ("mlp.c_proj.", width, 4 * width),
                ] {
                    let name = format!("{tower}transformer.resblocks.{block}.{layer}");
                    clip.insert(format!("{name}weight"), held(&[outputs, inputs]));
                    clip.insert(format!("{name}bias"), held(&[outputs]));
                }
                for name in ["ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias"] {
                    clip.insert(format!("{tower}transformer.resblocks.{block}.{name}"), held(&[width]));
                }
            }
        }
        for name in ["ln_pre.weight", "ln_pre.bias", "ln_post.weight", "ln_post.bias", "class_embedding"] {
            clip.insert(format!("visual.{name}"), held(&[768]));
        }
        clip.insert("visual.conv1.weight".to_owned(), held(&[768, 3, 32, 32]));
        clip.insert("visual.positional_embedding".to_owned(), held(&[50, 768]));
        clip.insert("visual.proj".to_owned(), held(&[768, 512]));
        clip.insert("positional_embedding".to_owned(), held(&[77, 512]));
        clip.insert("token_embedding.weight".to_owned(), held(&[49408, 512]));
        clip.insert("text_projection".to_owned(), held(&[512, 512]));
        clip.insert("logit_scale".to_owned(), held(&[]));
        for name in ["ln_final.weight", "ln_final.bias"] {
            clip.insert(name.to_owned(), held(&[512]));
        }
        for prefix in ["", "module."] {
            let fit = fit(&behind(prefix, &clip), &wanted).unwrap();
            assert_eq!(fit.names.len(), wanted.body.len());
            assert_eq!(fit.names["blocks.3.attn.qkv.bias"], format!("{prefix}visual.transformer.resblocks.3.attn.in_proj_bias"));
            assert!(fit.words[0].contains("visual.") && fit.words[1].contains("logit_scale"), "{:?}", fit.words);
        }
        clip.insert("visual.positional_embedding".to_owned(), held(&[197, 768]));
        let told = fit(&clip, &wanted).unwrap_err();
        assert!(told.contains("visual.positional_embedding: [197, 768], not [1, 50, 768]"), "{told}");
    }

    #[test]
    fn a_stem_for_three_channels_suits_grey_images() {
        let rgb = file(&wanted("densenet121", false, 3));
        let fit = fit(&rgb, &wanted("densenet121", false, 1)).unwrap();
        assert!(fit.sum_stem && fit.words[0].contains("summed"), "{:?}", fit.words);
    }

    #[test]
    fn the_head_is_new_unless_it_is_kept_and_fits() {
        let wanted = wanted("densenet121", false, 3);
        let plain = file(&wanted);
        let with = fit(&plain, &wanted).unwrap();
        let start = |fit: &Fit, asked, labels| fit.start(asked, labels).map(|start| (start.kept, start.words));
        let new = "the head starts new; the file's, for 5 labels, is left out".to_owned();
        assert_eq!(start(&with, Some(Head::New), Some(5)), Ok((false, new.clone())));
        assert_eq!(start(&with, Some(Head::Keep), Some(5)), Ok((true, "the head is the file's, for 5 labels".to_owned())));
        assert!(start(&with, Some(Head::Keep), None).unwrap().0, "not known yet");
        let told = start(&with, Some(Head::Keep), Some(1)).unwrap_err();
        assert!(told.contains("it is for 5 labels, and the data has 1 label"), "{told}");
        // Runs of earlier versions.
        assert!(start(&with, None, Some(5)).unwrap().0);
        assert_eq!(start(&with, None, Some(6)), Ok((false, new)));
        let headless: Header =
            plain.iter().filter(|(name, _)| !name.starts_with("classifier")).map(|(n, h)| (n.clone(), h.clone())).collect();
        let without = fit(&headless, &wanted).unwrap();
        assert!(start(&without, Some(Head::New), Some(5)).unwrap().1.contains("the file has none"));
        assert!(start(&without, Some(Head::Keep), Some(5)).unwrap_err().contains("it has no head"));
        // Inside a Sequential, as CheXNet's; and a head of two layers.
        let mut nested = headless;
        nested.insert("classifier.0.weight".to_owned(), held(&[14, 1024]));
        nested.insert("classifier.0.bias".to_owned(), held(&[14]));
        assert_eq!(fit(&nested, &wanted).unwrap().head.unwrap().labels, 14);
        nested.insert("classifier.2.weight".to_owned(), held(&[2, 14]));
        nested.insert("classifier.2.bias".to_owned(), held(&[2]));
        let deep = fit(&nested, &wanted).unwrap();
        assert!(start(&deep, Some(Head::Keep), Some(2)).unwrap_err().contains("not one linear layer"));
        assert!(start(&deep, Some(Head::New), Some(2)).is_ok());
    }
}
