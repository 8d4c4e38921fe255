//! Points → typed parts: each combination of values is read once, however many points share it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;

use super::choice::{Family, label, policy, weight};
use super::document::{Node, Place};
use super::fingerprint::canonical_of;
use super::flatten::{Layout, Part, loose_family};
use super::grid::{ABSENT, Grid};
use super::typed::Keys;
use super::{DataConfig, Length, ModelConfig, Source, SpecError, TrainConfig, backbone, schema};
use imbalance::threshold::Policy;
use imbalance::{Choice, PosWeight};
use imbalance::{loss, sampler};

/// One value of a part, and its canonical text.
#[derive(Clone, Debug)]
pub(super) struct Item<T> {
    pub value: T,
    pub text: String,
    /// Items of one part with equal text have equal identities.
    pub identity: u32,
}

/// The distinct values of one part, found by the indices of the axes that change it.
#[derive(Clone, Debug)]
pub(super) struct Memo<T> {
    axes: Vec<usize>,
    seen: HashMap<Vec<u32>, u32>,
    identities: HashMap<String, u32>,
    pub items: Vec<Item<T>>,
}

impl<T: Serialize> Memo<T> {
    fn new(grid: &Grid, parts: &[Part]) -> Self {
        let axes = (0..grid.axes.len()).filter(|&at| parts.contains(&grid.axes[at].part)).collect();
        Self { axes, seen: HashMap::new(), identities: HashMap::new(), items: Vec::new() }
    }

    /// The item of `point`, made from the values of this part's axes where it is new.
    fn id<'a>(
        &mut self,
        grid: &'a Grid,
        point: &[u32],
        make: impl FnOnce(Vec<(&'a str, &'a Node)>) -> Result<T, SpecError>,
    ) -> Result<u32, SpecError> {
        let key: Vec<u32> = self.axes.iter().map(|&axis| point[axis]).collect();
        if let Some(&id) = self.seen.get(&key) {
            return Ok(id);
        }
        let values = self.axes.iter().zip(&key).filter(|(_, index)| **index != ABSENT);
        let value = make(
            values.map(|(&axis, &index)| (grid.axes[axis].key.as_str(), &grid.axes[axis].values[index as usize])).collect(),
        )?;
        let text = canonical_of(&value);
        let next = count(self.identities.len());
        let identity = *self.identities.entry(text.clone()).or_insert(next);
        let id = count(self.items.len());
        self.items.push(Item { value, text, identity });
        self.seen.insert(key, id);
        Ok(id)
    }

    pub fn get(&self, id: u32) -> &Item<T> {
        &self.items[id as usize]
    }

    /// The first item of each identity, in the order of the identities.
    pub fn distinct(&self) -> impl Iterator<Item = &Item<T>> {
        let mut next = 0;
        self.items.iter().filter(move |item| {
            let new = item.identity == next;
            next += u32::from(new);
            new
        })
    }
}

/// A length as an index; there are never more than a million points.
pub(super) fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(ABSENT)
}

/// A loss as typed and as it trains.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(super) struct LossPart {
    /// Simplified, every parameter filled in.
    pub choice: Choice,
    /// Every parameter filled in, not simplified.
    #[serde(skip)]
    pub filled: Choice,
    #[serde(skip)]
    pub typed: Choice,
    #[serde(skip)]
    pub reads_pos_weight: bool,
}

impl LossPart {
    /// The name in the views; `gamma` has a column of its own.
    pub fn label(&self) -> String {
        if self.choice.kind == self.typed.kind { label(&self.typed, &["gamma"]) } else { self.choice.kind.clone() }
    }
}

/// A `pos_weight` before the data is known.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(super) struct WeightPart {
    pub weight: PosWeight,
    #[serde(skip)]
    pub label: String,
    #[serde(skip)]
    pub place: Place,
}

/// A sampler with every parameter, and how it was typed.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(super) struct SamplerPart {
    pub choice: Choice,
    #[serde(skip)]
    pub label: String,
    #[serde(skip)]
    pub place: Place,
}

/// `[train]` before the data is known.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TrainPart {
    /// Its length is a placeholder.
    pub config: TrainConfig,
    pub length: Length,
}

/// The parts of one point, as ids of items.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ids {
    pub data: u32,
    pub model: u32,
    pub train: u32,
    pub loss: u32,
    pub weight: u32,
    pub sampler: u32,
    pub seed: u64,
}

/// The parts of every point of a grid.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub data: Memo<DataConfig>,
    pub model: Memo<ModelConfig>,
    pub train: Memo<TrainPart>,
    pub loss: Memo<LossPart>,
    pub weight: Memo<WeightPart>,
    pub sampler: Memo<SamplerPart>,
    pub points: Vec<Ids>,
    /// Those that some point has, in the order of the axis, each once.
    pub policies: Vec<Policy>,
    /// Of each value of the axis `threshold` that some point has: the first value that is the same policy.
    pub same_policy: Vec<Option<usize>>,
}

impl Parts {
    /// Reads and checks every combination that some point needs.
    pub fn new(grid: &Grid, layout: &Layout, top: &Place) -> Result<Self, SpecError> {
        let mut parts = Self {
            data: Memo::new(grid, &[Part::Data]),
            model: Memo::new(grid, &[Part::Model]),
            // Defaults depend on the architecture.
            train: Memo::new(grid, &[Part::Train, Part::Model]),
            loss: Memo::new(grid, &[Part::Loss]),
            weight: Memo::new(grid, &[Part::Weight]),
            sampler: Memo::new(grid, &[Part::Sampler]),
            points: Vec::new(),
            policies: Vec::new(),
            same_policy: Vec::new(),
        };
        let place = |section: &str| layout.sections.get(section).unwrap_or(top);
        let axis = |key: &str| grid.axes.iter().position(|axis| axis.key == key);
        let seed = axis("seed");
        let threshold = axis("threshold");
        let mut fitting = HashSet::new();
        let mut used = vec![false; threshold.map_or(0, |axis| grid.axes[axis].values.len())];
        for point in grid.points() {
            let keys = |section, over| Keys { base: &layout.base, over, place: place(section) };
            let ids = Ids {
                data: parts.data.id(grid, point, |over| schema::data(&keys("data", over)))?,
                model: parts.model.id(grid, point, |over| schema::model(&keys("model", over)))?,
                train: parts.train.id(grid, point, |over| schema::train(&keys("train", over)))?,
                loss: parts.loss.id(grid, point, |values| loss_part(&values, top))?,
                weight: parts.weight.id(grid, point, |values| weight_part(&values, top))?,
                sampler: parts.sampler.id(grid, point, |values| sampler_part(&values, top))?,
                seed: match seed {
                    Some(axis) => grid.axes[axis].values[point[axis] as usize].integer("seed", 0..=i64::MAX as u64)?,
                    None => 0,
                },
            };
            let frozen = parts.model.get(ids.model).value.freeze.is_some();
            let (model, train) = (&parts.model.get(ids.model).value, &parts.train.get(ids.train).value.config);
            if train.precision == "bf16" && !model.has_maps() {
                let trained = if frozen { "the head of a frozen backbone" } else { &model.arch };
                let message = format!("bf16 is for networks with feature maps, cnn and densenet121; {trained} trains in \"f32\"");
                let over = grid.axes.iter().zip(point).filter(|(axis, index)| axis.part == Part::Train && **index != ABSENT);
                let over = over.map(|(axis, &index)| (axis.key.as_str(), &axis.values[index as usize])).collect();
                return Err(keys("train", over).place_fault("train.precision", &message));
            }
            feeds(&parts.sampler.get(ids.sampler).value, &parts.data.get(ids.data).value, frozen)?;
            if fitting.insert((ids.data, ids.model)) {
                let over = grid.axes.iter().zip(point).filter(|(axis, index)| axis.part == Part::Data && **index != ABSENT);
                let over = over.map(|(axis, &index)| (axis.key.as_str(), &axis.values[index as usize])).collect();
                backbone::fits(&parts.data.get(ids.data).value, &parts.model.get(ids.model).value, &keys("data", over))?;
            }
            if let Some(axis) = threshold
                && let Some(used) = used.get_mut(point[axis] as usize)
            {
                *used = true;
            }
            parts.points.push(ids);
        }
        if let (Some(axis), Some(family)) = (threshold, Family::of("threshold")) {
            // Policies that are equal have equal names.
            let mut firsts = HashMap::new();
            for (at, (node, used)) in grid.axes[axis].values.iter().zip(used).enumerate() {
                let same = if used {
                    let policy = policy(node, &family)?;
                    let first = *firsts.entry(policy.to_string()).or_insert(at);
                    if first == at {
                        parts.policies.push(policy);
                    }
                    Some(first)
                } else {
                    None
                };
                parts.same_policy.push(same);
            }
        }
        Ok(parts)
    }
}

/// Whether the sampler can work on the data: a frozen backbone turns images into features.
fn feeds(sampler: &SamplerPart, data: &DataConfig, frozen: bool) -> Result<(), SpecError> {
    let kind = &sampler.choice.kind;
    let needs = imbalance::find(sampler::REGISTRY, kind).is_some_and(|entry| entry.build.needs_features);
    if needs && !frozen && !matches!(data.source, Source::Features { .. }) {
        let message = format!(
            "sampler {kind} mixes features and means nothing to images: data.kind must be \"features\", or the backbone frozen"
        );
        return Err(super::document::fault(&sampler.place, message));
    }
    Ok(())
}

/// The typed choice of `key`, its place, and the loose values beside it (their names without the key).
fn chosen<'a>(key: &str, values: &[(&'a str, &'a Node)], top: &Place) -> (Option<&'a Node>, Place, Vec<(&'a str, &'a Node)>) {
    let node = values.iter().find(|(name, _)| *name == key).map(|(_, node)| *node);
    let loose = values.iter().filter(|(name, _)| *name != key);
    let loose = loose.map(|(name, node)| (loose_family(name).map_or(*name, |(_, param)| param), *node)).collect();
    (node, node.map_or_else(|| Arc::clone(top), |node| Arc::clone(&node.place)), loose)
}

fn read(key: &str, values: &[(&str, &Node)], top: &Place) -> Result<(Choice, Choice, Place), SpecError> {
    let (node, place, loose) = chosen(key, values, top);
    let (Some(family), Some(node)) = (Family::of(key), node) else {
        return Err(super::document::fault(&place, format!("`{key}` is missing")));
    };
    let typed = family.read(node)?;
    let filled = family.fill(&typed, &place, &loose)?;
    Ok((typed, filled, place))
}

fn loss_part(values: &[(&str, &Node)], top: &Place) -> Result<LossPart, SpecError> {
    let (typed, filled, _) = read("loss", values, top)?;
    let choice = loss::simplify(filled.clone());
    let reads_pos_weight = imbalance::find(loss::REGISTRY, &choice.kind).is_some_and(|entry| entry.build.reads_pos_weight);
    Ok(LossPart { choice, filled, typed, reads_pos_weight })
}

fn weight_part(values: &[(&str, &Node)], top: &Place) -> Result<WeightPart, SpecError> {
    let (node, place, loose) = chosen("pos_weight", values, top);
    let (Some(family), Some(node)) = (Family::of("pos_weight"), node) else {
        return Err(super::document::fault(&place, "`pos_weight` is missing"));
    };
    Ok(match weight(node, &family)? {
        PosWeight::Formula(typed) => {
            let filled = family.fill(&typed, &place, &loose)?;
            WeightPart { weight: PosWeight::Formula(filled), label: typed.to_string(), place }
        }
        PosWeight::Explicit(numbers) => {
            let texts: Vec<_> = numbers.iter().map(ToString::to_string).collect();
            let label = format!("[{}]", texts.join(","));
            WeightPart { weight: PosWeight::Explicit(numbers), label, place }
        }
    })
}

fn sampler_part(values: &[(&str, &Node)], top: &Place) -> Result<SamplerPart, SpecError> {
    let (typed, choice, place) = read("sampler", values, top)?;
    Ok(SamplerPart { choice, label: typed.to_string(), place })
}
