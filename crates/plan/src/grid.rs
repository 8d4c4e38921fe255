//! The grid: axes, their product, what `exclude` drops and `include` adds. A point is one index per axis, so that large grids
//! stay cheap.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::SpecError;
use super::choice::{FAMILIES, Family, policy, weight};
use super::document::{Entry, Node, Place, Value, fault};
use super::fingerprint::{canonical, canonical_of};
use super::flatten::{Layout, Part, Rule, loose_family, loss_params};

/// Index of a value that a point does not have (an axis that only `include` names).
pub(super) const ABSENT: u32 = u32::MAX;
/// The largest number of points.
const MOST_POINTS: usize = 1_000_000;

/// One key and its values.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub key: String,
    pub part: Part,
    /// Those of `[grid]`, then those that only `include` names.
    pub values: Vec<Node>,
    /// The same as JSON: what a point shows.
    pub json: Vec<Json>,
    /// Canonical text of the values: equal values are equal text.
    texts: Vec<String>,
    /// How many of them are in the product.
    listed: usize,
    /// Whether it is one of `train.tune`: no strategy differs from another by it.
    pub tuned: bool,
}

/// All points, in the order of the file, the last axis fastest; followed by those of `include`.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    pub axes: Vec<Axis>,
    /// `[points, axes]`, row-major.
    indices: Vec<u32>,
    pub product: usize,
    pub excluded: Vec<(String, usize)>,
    pub included: usize,
}

impl Axis {
    /// Values in the product: without those that only `include` names.
    pub fn listed(&self) -> usize {
        self.listed
    }
}

impl Grid {
    /// Expands the axes and rules of the file.
    pub fn new(layout: &Layout, place: &Place) -> Result<Self, SpecError> {
        let mut axes = layout.axes.iter().map(axis).collect::<Result<Vec<_>, _>>()?;
        for entry in &layout.tuned {
            if let Some(known) = layout.axes.iter().find(|axis| axis.key == entry.key) {
                let message =
                    format!("`{}` is an axis of the grid already, at {}: tune it, or compare it", entry.key, known.place);
                return Err(fault(&entry.place, message));
            }
            axes.push(Axis { tuned: true, ..axis(entry)? });
        }
        for (key, value) in [
            ("loss", Value::Text("bce".to_owned())),
            ("pos_weight", Value::Text("none".to_owned())),
            ("sampler", Value::Text("shuffle".to_owned())),
            ("threshold", Value::Number(0.5)),
            ("seed", Value::Integer(0)),
        ] {
            if !axes.iter().any(|axis| axis.key == key) {
                let node = Node { place: Arc::clone(place), value };
                axes.push(axis(&Entry { key: key.to_owned(), place: Arc::clone(place), node })?);
            }
        }
        let rules = layout.include.iter().map(|rule| added_values(rule, &mut axes)).collect::<Result<Vec<_>, _>>()?;
        let excludes = layout.exclude.iter().map(|rule| Exclude::new(rule, &axes)).collect::<Result<Vec<_>, _>>()?;

        let product = axes.iter().filter(|axis| axis.listed > 0).try_fold(1_usize, |all, axis| all.checked_mul(axis.listed));
        let product = product.filter(|&product| product <= MOST_POINTS).ok_or_else(|| {
            let sizes: Vec<_> = axes.iter().map(|axis| format!("{} {}", axis.key, axis.listed)).collect();
            fault(place, format!("the grid has more than {MOST_POINTS} points ({}); use fewer values", sizes.join(" x ")))
        })?;
        let mut grid = Self { axes, indices: Vec::new(), product, excluded: Vec::new(), included: 0 };
        grid.expand(&excludes);
        for rule in &rules {
            grid.include(rule)?;
        }
        if grid.indices.is_empty() {
            return Err(fault(place, format!("the grid is empty: exclude drops all {product} points")));
        }
        Ok(grid)
    }

    /// The points: one index per axis each.
    pub fn points(&self) -> impl Iterator<Item = &[u32]> {
        self.indices.chunks_exact(self.axes.len())
    }

    fn expand(&mut self, excludes: &[Exclude]) {
        let mut dropped = vec![0; excludes.len()];
        let mut point: Vec<u32> = self.axes.iter().map(|axis| if axis.listed > 0 { 0 } else { ABSENT }).collect();
        loop {
            match excludes.iter().position(|rule| rule.matches(&point)) {
                Some(rule) => dropped[rule] += 1,
                None => self.indices.extend_from_slice(&point),
            }
            // Counts like an odometer: the last axis changes fastest.
            let turned = self.axes.iter().zip(&mut point).rev().find_map(|(axis, index)| {
                if axis.listed == 0 {
                    return None;
                }
                *index += 1;
                if (*index as usize) < axis.listed {
                    return Some(());
                }
                *index = 0;
                None
            });
            if turned.is_none() {
                break;
            }
        }
        self.excluded = excludes.iter().map(|rule| rule.typed.clone()).zip(dropped).collect();
    }

    /// Adds the points of one rule: its values in all combinations, the first value of every other axis, and every threshold and
    /// value to tune.
    fn include(&mut self, rule: &[(usize, Vec<u32>)]) -> Result<(), SpecError> {
        let given = |axis: usize| rule.iter().find(|(named, _)| *named == axis).map(|(_, indices)| indices.clone());
        #[expect(clippy::cast_possible_truncation, reason = "an axis has at most a million values")]
        let choices: Vec<Vec<u32>> = self
            .axes
            .iter()
            .enumerate()
            .map(|(at, axis)| {
                given(at).unwrap_or_else(|| match axis.listed {
                    0 => vec![ABSENT],
                    listed if axis.part == Part::Threshold || axis.tuned => (0..listed as u32).collect(),
                    _ => vec![0],
                })
            })
            .collect();
        let points = choices.iter().try_fold(1_usize, |all, values| all.checked_mul(values.len()));
        let left = MOST_POINTS.saturating_sub(self.indices.len() / self.axes.len());
        let Some(points) = points.filter(|points| *points <= left) else {
            let place = rule.first().and_then(|(axis, indices)| self.axes[*axis].values.get(*indices.first()? as usize));
            let message = format!("with this the grid has more than {MOST_POINTS} points; use fewer values");
            return Err(place.map_or_else(
                || SpecError { place: "grid.include".to_owned(), message: message.clone() },
                |node| node.fault(&message),
            ));
        };
        for mut number in 0..points {
            let start = self.indices.len();
            for values in choices.iter().rev() {
                self.indices.push(values[number % values.len()]);
                number /= values.len();
            }
            self.indices[start..].reverse();
        }
        self.included += points;
        Ok(())
    }
}

fn axis(entry: &Entry) -> Result<Axis, SpecError> {
    let key = entry.key.as_str();
    let part = Part::of(key).ok_or_else(|| fault(&entry.place, format!("no axis is called `{key}`")))?;
    let values = alternatives(key, &entry.node)?;
    let mut axis = Axis {
        key: key.to_owned(),
        part,
        values: Vec::new(),
        json: Vec::new(),
        texts: Vec::new(),
        listed: values.len(),
        tuned: false,
    };
    let mut seen = HashMap::new();
    for node in values {
        let text = normal(key, node)?;
        if let Some(first) = seen.insert(text.clone(), Arc::clone(&node.place)) {
            return Err(node.fault(format!("the value {} appears twice in axis `{key}`: it is at {first} already", node.shown())));
        }
        axis.json.push(node.json());
        axis.texts.push(text);
        axis.values.push(node.clone());
    }
    Ok(axis)
}

/// A list is its values, anything else is one value.
fn alternatives<'n>(key: &str, node: &'n Node) -> Result<&'n [Node], SpecError> {
    match &node.value {
        Value::List(values) if values.is_empty() => {
            Err(node.fault(format!("`{key}` is empty; give at least one value, or leave the key out")))
        }
        Value::List(values) => Ok(values),
        _ => Ok(std::slice::from_ref(node)),
    }
}

/// Checks one value of an axis and gives it as text in which equal values are equal, however they are typed. What is left to defaults
/// is not in it: a loose parameter may still say it.
fn normal(key: &str, node: &Node) -> Result<String, SpecError> {
    let family = Family::of(key);
    match (key, &family) {
        ("seed", _) => {
            node.integer("seed", 0..=i64::MAX as u64)?;
        }
        ("pos_weight", Some(family)) => return weight(node, family).map(|weight| canonical_of(&weight)),
        ("threshold", Some(family)) => {
            policy(node, family)?;
            if let Ok(choice) = family.read(node) {
                return Ok(canonical_of(&choice));
            }
        }
        (_, Some(family)) => return family.read(node).map(|choice| canonical_of(&choice)),
        _ => {
            let loose = if loss_params().contains(&key) { Some(("loss", key)) } else { loose_family(key) };
            if let Some((family, param)) = loose
                && let Some(family) = Family::of(family)
            {
                family.check_loose(param, node)?;
                return Ok(canonical(&as_number(&node.json())));
            }
        }
    }
    Ok(canonical(&node.json()))
}

/// The values of an `include` rule, as (axis, indices); values and axes that are new are added outside the product.
fn added_values(rule: &Rule, axes: &mut Vec<Axis>) -> Result<Vec<(usize, Vec<u32>)>, SpecError> {
    let mut named: Vec<(usize, Vec<u32>)> = Vec::new();
    for entry in &rule.keys {
        let extra = axis(entry)?;
        equally_many(axes, entry)?;
        let at = axes.iter().position(|axis| axis.key == extra.key).unwrap_or_else(|| {
            axes.push(Axis { values: Vec::new(), json: Vec::new(), texts: Vec::new(), listed: 0, ..extra.clone() });
            axes.len() - 1
        });
        let target = &mut axes[at];
        let mut indices = Vec::new();
        for ((node, json), text) in extra.values.into_iter().zip(extra.json).zip(extra.texts) {
            let index = target.texts.iter().position(|known| *known == text).unwrap_or_else(|| {
                target.values.push(node);
                target.json.push(json);
                target.texts.push(text);
                target.values.len() - 1
            });
            #[expect(clippy::cast_possible_truncation, reason = "an axis has at most a million values")]
            indices.push(index as u32);
        }
        named.push((at, indices));
    }
    Ok(named)
}

/// Refuses a rule that would give some strategies more values to choose from than others.
fn equally_many(axes: &[Axis], entry: &Entry) -> Result<(), SpecError> {
    if axes.iter().any(|axis| axis.tuned && axis.key == entry.key) {
        let message = format!("`{}` is tuned, and every strategy must have equally many values to choose from", entry.key);
        return Err(fault(&entry.place, message));
    }
    Ok(())
}

/// A rule of `exclude`: for each axis it names, which of the axis's values match.
struct Exclude {
    typed: String,
    matches: Vec<(usize, Vec<bool>)>,
}

impl Exclude {
    fn new(rule: &Rule, axes: &[Axis]) -> Result<Self, SpecError> {
        let mut matches = Vec::new();
        for entry in &rule.keys {
            let Some(at) = axes.iter().position(|axis| axis.key == entry.key) else {
                let names: Vec<_> = axes.iter().map(|axis| axis.key.as_str()).collect();
                let message = format!(
                    "`{}` is not an axis of this grid, so it cannot be excluded; the axes: {}",
                    imbalance::shown::shown(&entry.key),
                    names.join(", ")
                );
                return Err(fault(&entry.place, message));
            };
            equally_many(axes, entry)?;
            let mut matching = vec![false; axes[at].values.len()];
            for pattern in alternatives(&entry.key, &entry.node)? {
                let text = normal(&entry.key, pattern)?;
                let pattern = pattern.json();
                for (index, matching) in matching.iter_mut().enumerate() {
                    let chosen = FAMILIES.contains(&entry.key.as_str()) && is_kind_of(&axes[at].json[index], &pattern);
                    *matching |= chosen || axes[at].texts[index] == text;
                }
            }
            matches.push((at, matching));
        }
        let typed: Vec<_> = rule.keys.iter().map(|entry| format!("{} = {}", entry.key, entry.node)).collect();
        Ok(Self { typed: typed.join(", "), matches })
    }

    fn matches(&self, point: &[u32]) -> bool {
        self.matches.iter().all(|(axis, matching)| matching.get(point[*axis] as usize).copied().unwrap_or(false))
    }
}

/// `true` and `false` as the 1 and 0 that parameters take them for.
fn as_number(value: &Json) -> Json {
    value.as_bool().map_or_else(|| value.clone(), |flag| u8::from(flag).into())
}

/// Whether `value` is what `pattern` names: the same kind, and every parameter that the pattern has.
fn is_kind_of(value: &Json, pattern: &Json) -> bool {
    let field = |json: &Json, name: &str| match json {
        Json::String(kind) if name == "kind" => Some(canonical(&Json::String(kind.clone()))),
        Json::Object(map) => map.get(name).map(|value| canonical(&as_number(value))),
        _ => None,
    };
    match pattern {
        Json::String(_) => field(value, "kind") == field(pattern, "kind"),
        Json::Object(map) => map.iter().all(|(name, wanted)| field(value, name) == Some(canonical(&as_number(wanted)))),
        _ => false,
    }
}
