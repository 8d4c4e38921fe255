//! Named things with parameters (`"focal"`, `{ kind = "focal", gamma = 2.0 }`): read against the registries, filled with defaults.

use std::collections::BTreeMap;

use super::SpecError;
use super::keys::{ABOVE_ZERO, BELOW_ONE, nearest};
use super::tree::{Node, Place, Value, fault};
use imbalance::shown::shown;
use imbalance::threshold::Policy;
use imbalance::{Absent, Entry, Param, Takes, loss, pos_weight, sampler, threshold};
use imbalance::{Choice, PosWeight, Setting};

/// The kinds one key allows, with their parameters.
pub(super) struct Family {
    /// The key or short name: `loss`, `train.optimizer`.
    pub key: &'static str,
    pub kinds: Vec<(&'static str, &'static [Param])>,
}

/// The keys whose values are choices.
pub(super) const FAMILIES: &[&str] = &["loss", "pos_weight", "sampler", "threshold", "train.optimizer", "train.schedule"];

const fn number(name: &'static str, help: &'static str, default: f64, min: f64, max: f64) -> Param {
    Param { name, help, takes: Takes::Number { min, max }, absent: Absent::Number(default) }
}

const BETA1: Param = number("beta1", "decay of the mean of the gradient", 0.9, 0.0, BELOW_ONE);
const BETA2: Param = number("beta2", "decay of the mean of its square", 0.999, 0.0, BELOW_ONE);
const EPS: Param = number("eps", "added to the root of that mean", 1e-8, ABOVE_ZERO, 1.0);
const DECAY: &str = "weight decay: pulls weights towards zero";
const WARMUP: Param = number("warmup", "epochs of linear rise to the learning rate", 0.0, 0.0, 1e6);
const NESTEROV: Param = Param {
    name: "nesterov",
    help: "1: look ahead along the momentum",
    takes: Takes::Whole { min: 0, max: 1 },
    absent: Absent::Number(0.0),
};

const OPTIMIZERS: &[(&str, &[Param])] = &[
    ("adam", &[BETA1, BETA2, EPS, number("weight_decay", DECAY, 0.0, 0.0, f64::MAX)]),
    ("adamw", &[BETA1, BETA2, EPS, number("weight_decay", DECAY, 0.01, 0.0, f64::MAX)]),
    (
        "sgd",
        &[
            number("momentum", "decay of the running gradient", 0.9, 0.0, BELOW_ONE),
            NESTEROV,
            number("weight_decay", DECAY, 0.0, 0.0, f64::MAX),
        ],
    ),
];

const EVERY: Param = Param {
    name: "every",
    help: "epochs between two steps",
    takes: Takes::Whole { min: 1, max: 1_000_000 },
    absent: Absent::Number(1.0),
};

const SCHEDULES: &[(&str, &[Param])] = &[
    ("constant", &[WARMUP]),
    ("step", &[EVERY, number("factor", "the learning rate is multiplied by this", 0.1, ABOVE_ZERO, 1.0), WARMUP]),
    ("cosine", &[number("final_factor", "end of the curve, as a share of the learning rate", 0.0, 0.0, 1.0), WARMUP]),
];

fn rows<B>(registry: &'static [Entry<B>]) -> Vec<(&'static str, &'static [Param])> {
    registry.iter().map(|entry| (entry.kind, entry.params)).collect()
}

impl Family {
    /// The family of a key of [`FAMILIES`].
    pub fn of(key: &str) -> Option<Self> {
        let (key, kinds) = match key {
            "loss" => ("loss", rows(loss::REGISTRY)),
            "pos_weight" => ("pos_weight", rows(pos_weight::REGISTRY)),
            "sampler" => ("sampler", rows(sampler::REGISTRY)),
            "threshold" => ("threshold", rows(threshold::REGISTRY)),
            "train.optimizer" => ("train.optimizer", OPTIMIZERS.to_vec()),
            "train.schedule" => ("train.schedule", SCHEDULES.to_vec()),
            _ => return None,
        };
        Some(Self { key, kinds })
    }

    /// Every parameter name of any kind, once.
    pub fn params(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.kinds.iter().flat_map(|(_, params)| params.iter().map(|param| param.name)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The parameters of `kind`.
    pub fn of_kind(&self, kind: &str) -> &'static [Param] {
        self.kinds.iter().find(|(name, _)| *name == kind).map_or(&[], |(_, params)| params)
    }

    /// Reads `"kind"` or `{ kind = "kind", param = ... }`: what was typed, without defaults.
    pub fn read(&self, node: &Node) -> Result<Choice, SpecError> {
        let key = self.key;
        let names = || self.kinds.iter().map(|(kind, _)| *kind);
        let allowed = || names().collect::<Vec<_>>().join(", ");
        let kind_of = |node: &Node, kind: &str| match names().find(|name| *name == kind) {
            Some(kind) => Ok(kind),
            None => Err(node.fault(format!(
                "no {key} is called {}; allowed: {}{}",
                shown(&format!("{kind:?}")),
                allowed(),
                nearest(kind, names())
            ))),
        };
        match &node.value {
            Value::Text(kind) => kind_of(node, kind).map(Choice::plain),
            Value::Table(entries) => {
                let Some(entry) = entries.iter().find(|entry| entry.key == "kind") else {
                    return Err(node.fault(format!("a table for `{key}` needs `kind`: one of {}", allowed())));
                };
                let kind = kind_of(&entry.node, &entry.node.text("kind")?)?;
                let params = self.of_kind(kind);
                let mut choice = Choice::plain(kind);
                for entry in entries.iter().filter(|entry| entry.key != "kind") {
                    let Some(param) = params.iter().find(|param| param.name == entry.key) else {
                        return Err(fault(&entry.place, unknown_param(&entry.key, kind, params)));
                    };
                    choice.params.insert(entry.key.clone(), setting(&entry.key, &entry.node, &param.takes)?);
                }
                Ok(choice)
            }
            _ => Err(node.fault(format!("`{key}` must be a name ({}) or a table with `kind`, not {}", allowed(), node.shown()))),
        }
    }

    /// `typed` with every parameter filled in: first what was typed with it, then the loose values (axes), then the defaults.
    pub fn fill(&self, typed: &Choice, place: &Place, loose: &[(&str, &Node)]) -> Result<Choice, SpecError> {
        let mut filled = typed.clone();
        for param in self.of_kind(&typed.kind) {
            if filled.params.contains_key(param.name) {
                continue;
            }
            let value = match loose.iter().find(|(name, _)| *name == param.name) {
                Some((_, node)) => setting(param.name, node, &param.takes)?,
                None => match param.absent {
                    Absent::Number(number) => number.into(),
                    Absent::Word(word) => word.into(),
                    Absent::Off => continue,
                    Absent::Error => {
                        let (kind, name, key) = (&typed.kind, param.name, self.key);
                        let axis = if key == "loss" { name.to_owned() } else { format!("{key}.{name}") };
                        return Err(fault(
                            place,
                            format!(
                                "{kind} needs `{name}` ({}): write {{ kind = {kind:?}, {name} = ... }} or give an axis \"{axis}\"",
                                param.help
                            ),
                        ));
                    }
                },
            };
            filled.params.insert(param.name.to_owned(), value);
        }
        Ok(filled)
    }

    /// Checks a loose value: some kind that has the parameter must allow it.
    pub fn check_loose(&self, name: &str, node: &Node) -> Result<(), SpecError> {
        let mut first = None;
        for param in self.kinds.iter().flat_map(|(_, params)| *params).filter(|param| param.name == name) {
            match setting(name, node, &param.takes) {
                Ok(_) => return Ok(()),
                Err(error) => first = first.or(Some(error)),
            }
        }
        first.map_or(Ok(()), Err)
    }
}

fn unknown_param(name: &str, kind: &str, params: &[Param]) -> String {
    let name = &shown(name)[..];
    if params.is_empty() {
        return format!("{kind} has no parameter `{name}`; it has none at all");
    }
    let names: Vec<_> = params.iter().map(|param| param.name).collect();
    let hint = nearest(name, names.iter().copied());
    format!("{kind} has no parameter `{name}`; allowed: {}{hint}", names.join(", "))
}

fn setting(key: &str, node: &Node, takes: &Takes) -> Result<Setting, SpecError> {
    match *takes {
        Takes::Number { min, max } => node.number(key, (min, max)).map(Setting::Number),
        Takes::Whole { min: 0, max: 1 } if matches!(node.value, Value::Boolean(_)) => {
            node.number(key, (0.0, 1.0)).map(Setting::Number)
        }
        #[expect(clippy::cast_precision_loss, reason = "the range is one of u32")]
        Takes::Whole { min, max } => {
            node.integer(key, u64::from(min)..=u64::from(max)).map(|number| Setting::Number(number as f64))
        }
        Takes::Word(words) => node.one_of(key, words).map(Setting::Word),
    }
}

/// A `pos_weight`: a formula, or one number a label.
pub(super) fn weight(node: &Node, family: &Family) -> Result<PosWeight, SpecError> {
    match &node.value {
        Value::List(numbers) if numbers.is_empty() => Err(node.fault("`pos_weight` has no weights; write one number a label")),
        Value::List(numbers) => numbers
            .iter()
            .map(|number| number.number("pos_weight", (ABOVE_ZERO, f64::MAX)))
            .collect::<Result<_, _>>()
            .map(PosWeight::Explicit),
        Value::Integer(_) | Value::Number(_) => Err(node.fault(format!(
            "`pos_weight` cannot be the single number {}; a vector is one value, so write [[10.8, 2.4, ...]]: one number a label",
            node.shown()
        ))),
        _ => family.read(node).map(PosWeight::Formula),
    }
}

/// A threshold policy: a number, or a rule fitted on validation.
pub(super) fn policy(node: &Node, family: &Family) -> Result<Policy, SpecError> {
    match node.value {
        Value::Integer(_) | Value::Number(_) => node.number("threshold", (0.0, 1.0)).map(Policy::Fixed),
        _ => family.fill(&family.read(node)?, &node.place, &[]).map(Policy::Fitted),
    }
}

/// How a choice is shown: its kind, and the parameters that were typed with it (all but those in `hide`).
pub(super) fn label(choice: &Choice, hide: &[&str]) -> String {
    let shown: BTreeMap<_, _> = choice
        .params
        .iter()
        .filter(|(name, _)| !hide.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Choice { kind: choice.kind.clone(), params: shown }.to_string()
}
