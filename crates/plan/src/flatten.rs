//! The file's tables as flat dotted keys: what belongs to the base configuration, what to the grid; `--set` changes both.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::SpecError;
use super::choice::{FAMILIES, Family};
use super::document::{Entry, Node, Place, Value, fault, read_assignment};
use super::schema::{SECTIONS, TUNE, dotted_axes, known, unknown_key};
use super::typed::nearest;
use imbalance::shown::shown;

/// A rule of `[[grid.exclude]]` or `[[grid.include]]`: axis → values.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub keys: Vec<Entry>,
}

/// A sweep file without its nesting.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    pub base: BTreeMap<String, Node>,
    /// In the order of the file.
    pub axes: Vec<Entry>,
    /// Those of `train.tune`: each strategy gets its best value.
    pub tuned: Vec<Entry>,
    pub exclude: Vec<Rule>,
    pub include: Vec<Rule>,
    /// Where each section begins.
    pub sections: BTreeMap<String, Place>,
}

impl Layout {
    /// Flattens the file and applies the overrides.
    pub fn new(root: &Node, overrides: &[String]) -> Result<Self, SpecError> {
        let mut layout = Self::default();
        layout.tables("", root, None)?;
        for assignment in overrides {
            let (path, value) = read_assignment(assignment)?;
            let place = Arc::clone(&value.place);
            let nested = path.iter().rev().fold(value, |node, key| Node {
                place: Arc::clone(&place),
                value: Value::Table(vec![Entry { key: key.clone(), place: Arc::clone(&place), node }]),
            });
            layout.tables("", &nested, Some(path.len()))?;
        }
        Ok(layout)
    }

    /// The values that the grid gives to `key`.
    pub fn on_axes(&self, key: &str) -> impl Iterator<Item = &Node> {
        let rules = self.include.iter().flat_map(|rule| &rule.keys);
        let entries = self.axes.iter().chain(rules).filter(move |entry| entry.key == key);
        entries.flat_map(|entry| match &entry.node.value {
            Value::List(values) => values.as_slice(),
            _ => std::slice::from_ref(&entry.node),
        })
    }

    /// `typed`: the length of the key of a `--set`; a table that was typed whole replaces, one that was reached into is merged.
    fn tables(&mut self, section: &str, node: &Node, typed: Option<usize>) -> Result<(), SpecError> {
        let entries = node.entries().ok_or_else(|| node.fault(format!("`{section}` must be a table, not {}", node.shown())))?;
        for entry in entries {
            let key = if section.is_empty() { entry.key.clone() } else { format!("{section}.{}", entry.key) };
            if key == "grid" {
                self.sections.entry(key).or_insert_with(|| Arc::clone(&entry.place));
                self.grid("", &entry.node, typed)?;
            } else if key == TUNE {
                self.tune(&entry.node, typed)?;
            } else if SECTIONS.contains(&key.as_str()) {
                self.sections.entry(key.clone()).or_insert_with(|| Arc::clone(&entry.place));
                self.tables(&key, &entry.node, typed)?;
            } else if known().any(|known| known == key) {
                self.set(key, entry, typed);
            } else {
                return Err(fault(&entry.place, unknown_key(section, &entry.key)));
            }
        }
        Ok(())
    }

    fn set(&mut self, key: String, entry: &Entry, typed: Option<usize>) {
        if typed.is_some()
            && let Some(axis) = self.axes.iter_mut().find(|axis| axis.key == key)
        {
            let only = Value::List(vec![entry.node.clone()]);
            axis.node = Node { place: Arc::clone(&entry.node.place), value: only };
            return;
        }
        let reached_into = typed.is_some_and(|parts| parts > key.split('.').count());
        match self.base.get_mut(&key).filter(|_| reached_into) {
            Some(old) => merge(old, &entry.node),
            None => {
                self.base.insert(key, entry.node.clone());
            }
        }
    }

    /// `train.tune = { "train.learning_rate" = [1e-3, 1e-2] }`; an empty table takes back what the file says.
    fn tune(&mut self, node: &Node, typed: Option<usize>) -> Result<(), SpecError> {
        let wrong = |node: &Node| {
            node.fault(format!(
                "`{TUNE}` must be a table of keys of [train] and [model] with the values to choose from, such as \
                 {{ \"train.learning_rate\" = [1e-4, 1e-3, 1e-2] }}, not {}",
                node.shown()
            ))
        };
        let entries = node.entries().ok_or_else(|| wrong(node))?;
        if entries.is_empty() {
            self.tuned.clear();
        }
        for axis in entries.iter().map(|entry| axis_keys("", entry)).collect::<Result<Vec<_>, _>>()?.concat() {
            if !matches!(Part::of(&axis.key), Some(Part::Train | Part::Model)) {
                let message = format!(
                    "`{}` cannot be tuned: strategies are compared by it, or the data is. Tune keys of [train] and [model], such as \
                     \"train.learning_rate\"",
                    axis.key
                );
                return Err(fault(&axis.place, message));
            }
            match self.tuned.iter_mut().find(|old| old.key == axis.key) {
                Some(old) if typed.is_some() => *old = axis,
                Some(old) => return Err(fault(&axis.place, format!("`{}` is tuned already, at {}", axis.key, old.place))),
                None => self.tuned.push(axis),
            }
        }
        Ok(())
    }

    fn grid(&mut self, prefix: &str, node: &Node, typed: Option<usize>) -> Result<(), SpecError> {
        let what = if prefix.is_empty() { "[grid]" } else { prefix };
        let entries = node.entries().ok_or_else(|| node.fault(format!("`{what}` must be a table, not {}", node.shown())))?;
        for entry in entries {
            match entry.key.as_str() {
                "exclude" if prefix.is_empty() => self.exclude = rules("grid.exclude", &entry.node)?,
                "include" if prefix.is_empty() => self.include = rules("grid.include", &entry.node)?,
                _ => {
                    for axis in axis_keys(prefix, entry)? {
                        match self.axes.iter_mut().find(|old| old.key == axis.key) {
                            Some(old) if typed.is_some() => *old = axis,
                            Some(old) => {
                                return Err(fault(&axis.place, format!("`{}` is an axis already, at {}", axis.key, old.place)));
                            }
                            None => self.axes.push(axis),
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// `old` with the entries of `new` in it; a bare name becomes the `kind` of a table.
fn merge(old: &mut Node, new: &Node) {
    if let (Value::Text(_), Some(_)) = (&old.value, new.entries()) {
        let place = Arc::clone(&old.place);
        let kind = Entry { key: "kind".to_owned(), place: Arc::clone(&place), node: old.clone() };
        *old = Node { place, value: Value::Table(vec![kind]) };
    }
    match (&mut old.value, new.entries()) {
        (Value::Table(entries), Some(changes)) => {
            for change in changes {
                match entries.iter_mut().find(|entry| entry.key == change.key) {
                    Some(entry) => *entry = change.clone(),
                    None => entries.push(change.clone()),
                }
            }
        }
        _ => *old = new.clone(),
    }
}

fn rules(name: &str, node: &Node) -> Result<Vec<Rule>, SpecError> {
    let single = std::slice::from_ref(node);
    let tables = match &node.value {
        Value::List(tables) => tables.as_slice(),
        _ => single,
    };
    let rule = |table: &Node| {
        let entries =
            table.entries().ok_or_else(|| table.fault(format!("`{name}` must be [[{name}]] tables, not {}", table.shown())))?;
        if entries.is_empty() {
            return Err(table.fault(format!("a [[{name}]] without keys would match everything; name at least one axis")));
        }
        let mut keys = Vec::new();
        for entry in entries {
            keys.extend(axis_keys("", entry)?);
        }
        Ok(Rule { keys })
    };
    tables.iter().map(rule).collect()
}

/// The axes that one entry of `[grid]` names: `"train.epochs" = ...`, or the same unquoted, which TOML reads as nested tables.
fn axis_keys(prefix: &str, entry: &Entry) -> Result<Vec<Entry>, SpecError> {
    let key = if prefix.is_empty() { entry.key.clone() } else { format!("{prefix}.{}", entry.key) };
    let entries = entry.node.entries();
    let loose =
        FAMILIES.contains(&key.as_str()) && entries.is_some_and(|entries| !entries.iter().any(|entry| entry.key == "kind"));
    if let Some(entries) =
        entries.filter(|_| loose || (SECTIONS.contains(&key.as_str()) && !["grid", "search", "workers"].contains(&key.as_str())))
    {
        let mut axes = Vec::new();
        for entry in entries {
            axes.extend(axis_keys(&key, entry)?);
        }
        return Ok(axes);
    }
    if Part::of(&key).is_none() {
        return Err(fault(&entry.place, unknown_axis(&key)));
    }
    Ok(vec![Entry { key, place: Arc::clone(&entry.place), node: entry.node.clone() }])
}

/// The part of a run that an axis changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Data,
    Model,
    Train,
    Loss,
    Weight,
    Sampler,
    Seed,
    Threshold,
}

impl Part {
    /// The part that `key` changes; `None` where no axis has this name.
    pub fn of(key: &str) -> Option<Self> {
        let short = match key {
            "loss" => Some(Self::Loss),
            "pos_weight" => Some(Self::Weight),
            "sampler" => Some(Self::Sampler),
            "threshold" => Some(Self::Threshold),
            "seed" => Some(Self::Seed),
            _ if loss_params().contains(&key) => Some(Self::Loss),
            _ => None,
        };
        short.or_else(|| {
            let family = loose_family(key).map_or(key, |(family, _)| family);
            match family {
                "pos_weight" => Some(Self::Weight),
                "sampler" => Some(Self::Sampler),
                _ if !dotted_axes().any(|known| known == family) => None,
                _ if family.starts_with("data.") => Some(Self::Data),
                _ if family.starts_with("model.") => Some(Self::Model),
                _ => Some(Self::Train),
            }
        })
    }
}

/// Parameter names of any loss: each may be an axis of its own.
pub(super) fn loss_params() -> Vec<&'static str> {
    Family::of("loss").map(|family| family.params()).unwrap_or_default()
}

/// `train.optimizer.momentum` → (`train.optimizer`, `momentum`), for parameters that some kind of the family has.
pub(super) fn loose_family(key: &str) -> Option<(&str, &str)> {
    let (family, param) = key.rsplit_once('.')?;
    let known = matches!(family, "train.optimizer" | "train.schedule" | "pos_weight" | "sampler");
    known.then(|| Family::of(family)).flatten().filter(|family| family.params().contains(&param)).map(|_| (family, param))
}

fn unknown_axis(key: &str) -> String {
    let key = &shown(key)[..];
    if matches!(key, "name" | "data.kind") || key.starts_with("workers") {
        return format!("`{key}` cannot be an axis: it is the same for the whole sweep");
    }
    let params = loss_params();
    let short = ["loss", "pos_weight", "sampler", "threshold", "seed"];
    let names = || short.into_iter().chain(params.iter().copied());
    let mut hint = nearest(key, names().chain(dotted_axes()));
    if hint.is_empty()
        && let Some(dotted) = dotted_axes().find(|dotted| dotted.rsplit('.').next() == Some(key))
    {
        hint = format!("; did you mean \"{dotted}\"?");
    }
    format!(
        "no axis is called `{key}`; allowed: {}, and dotted keys such as \"train.learning_rate\"{hint}",
        names().collect::<Vec<_>>().join(", ")
    )
}
