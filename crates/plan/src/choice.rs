//! Named things with parameters (`"focal"`, `{ kind = "focal", gamma = 2.0 }`): read against the registries, filled with defaults.

use std::sync::Arc;

use super::SpecError;
use super::document::{Node, Place, Value, fault};
use super::typed::{ABOVE_ZERO, BELOW_ONE};
use imbalance::threshold::Policy;
use imbalance::{Absent, Choice, ChoiceError, Param, PosWeight, Setting, Takes, loss, pos_weight, sampler, threshold};

/// The kinds that one key allows, and the nodes of the sweep file that name them.
pub(super) struct Family {
    /// The key or short name: `loss`, `train.optimizer`.
    pub key: &'static str,
    pub kinds: imbalance::Family,
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
const WARMUP: Param =
    number("warmup", "epochs of linear rise to the learning rate; with epochs = \"auto\" a share of max_steps", 0.0, 0.0, 1e6);
const NESTEROV: Param = Param {
    name: "nesterov",
    help: "1: look ahead along the momentum",
    takes: Takes::Whole { min: 0, max: 1 },
    absent: Absent::Number(0.0),
};

const OPTIMIZERS: &[(&str, &[Param])] = &[
    ("adam", &[BETA1, BETA2, EPS, number("weight_decay", DECAY, 0.0, 0.0, f64::MAX)]),
    ("adamw", &[BETA1, BETA2, EPS, number("weight_decay", DECAY, 0.01, 0.0, f64::MAX)]),
    ("adam_mini", &[BETA1, BETA2, EPS, number("weight_decay", DECAY, 0.0, 0.0, f64::MAX)]),
    (
        "sgd",
        &[
            number("momentum", "decay of the running gradient", 0.9, 0.0, BELOW_ONE),
            NESTEROV,
            number("weight_decay", DECAY, 0.0, 0.0, f64::MAX),
        ],
    ),
];

const EVERY: Param =
    number("every", "epochs between two steps; with epochs = \"auto\" a share of max_steps", 1.0, ABOVE_ZERO, 1e6);

const SCHEDULES: &[(&str, &[Param])] = &[
    ("constant", &[WARMUP]),
    ("step", &[EVERY, number("factor", "the learning rate is multiplied by this", 0.1, ABOVE_ZERO, 1.0), WARMUP]),
    ("cosine", &[number("final_factor", "end of the curve, as a share of the learning rate", 0.0, 0.0, 1.0), WARMUP]),
];

impl Family {
    /// The family of a key of [`FAMILIES`].
    pub fn of(key: &str) -> Option<Self> {
        let listed = |what, kinds: &[(&'static str, &'static [Param])]| imbalance::Family { what, kinds: kinds.to_vec() };
        let kinds = match key {
            "loss" => imbalance::Family::of("loss", loss::REGISTRY),
            "pos_weight" => imbalance::Family::of("pos_weight", pos_weight::REGISTRY),
            "sampler" => imbalance::Family::of("sampler", sampler::REGISTRY),
            "threshold" => imbalance::Family::of("threshold", threshold::REGISTRY),
            "train.optimizer" => listed("train.optimizer", OPTIMIZERS),
            "train.schedule" => listed("train.schedule", SCHEDULES),
            _ => return None,
        };
        Some(Self { key: kinds.what, kinds })
    }

    /// `choice` with every parameter that its kind has; for choices that were recorded, by this version or another.
    pub fn complete(&self, choice: &Choice) -> Result<Choice, ChoiceError> {
        self.kinds.complete(&choice.kind, (*choice.params).clone())
    }

    /// Every parameter name of any kind, once.
    pub fn params(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.kinds.kinds.iter().flat_map(|(_, params)| params.iter().map(|param| param.name)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The parameters of `kind`.
    pub fn of_kind(&self, kind: &str) -> &'static [Param] {
        self.kinds.kind(kind).map_or(&[], |(_, params)| params)
    }

    /// Reads `"kind"` or `{ kind = "kind", param = ... }`: what was typed, without defaults.
    pub fn read(&self, node: &Node) -> Result<Choice, SpecError> {
        let key = self.key;
        let allowed = || self.kinds.kinds.iter().map(|(kind, _)| *kind).collect::<Vec<_>>().join(", ");
        let of = |node: &Node, kind: &str| self.kinds.kind(kind).map_err(|error| node.fault(error.to_string()));
        match &node.value {
            Value::Text(kind) => of(node, kind).map(|(kind, _)| Choice::plain(kind)),
            Value::Table(entries) => {
                let Some(entry) = entries.iter().find(|entry| entry.key == "kind") else {
                    return Err(node.fault(format!("a table for `{key}` needs `kind`: one of {}", allowed())));
                };
                let (kind, params) = of(&entry.node, &entry.node.text("kind")?)?;
                let mut choice = Choice::plain(kind);
                for entry in entries.iter().filter(|entry| entry.key != "kind") {
                    let param =
                        imbalance::param(kind, &entry.key, params).map_err(|error| fault(&entry.place, error.to_string()))?;
                    choice.set(&entry.key, setting(Some(kind), param, &entry.node)?);
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
                Some((_, node)) => Some(setting(Some(&typed.kind), param, node)?),
                None => param.fallback(&typed.kind).map_err(|_| {
                    let (kind, name, key) = (&typed.kind, param.name, self.key);
                    let axis = if key == "loss" { name.to_owned() } else { format!("{key}.{name}") };
                    let how = format!("write {{ kind = {kind:?}, {name} = ... }} or give an axis \"{axis}\"");
                    fault(place, format!("{kind} needs `{name}` ({}): {how}", param.help))
                })?,
            };
            value.into_iter().for_each(|value| filled.set(param.name, value));
        }
        Ok(filled)
    }

    /// Checks a loose value: some kind that has the parameter must allow it.
    pub fn check_loose(&self, name: &str, node: &Node) -> Result<(), SpecError> {
        let mut first = None;
        for param in self.kinds.kinds.iter().flat_map(|(_, params)| *params).filter(|param| param.name == name) {
            match setting(None, param, node) {
                Ok(_) => return Ok(()),
                Err(error) => first = first.or(Some(error)),
            }
        }
        first.map_or(Ok(()), Err)
    }
}

/// The value of a parameter; `true` and `false` are 1 and 0 where these are the ends of its range.
fn setting(kind: Option<&str>, param: &Param, node: &Node) -> Result<Setting, SpecError> {
    let flag = matches!(param.takes, Takes::Whole { min: 0, max: 1 } | Takes::Number { min: 0.0, max: 1.0 });
    let read = match &node.value {
        #[expect(clippy::cast_precision_loss, reason = "a parameter beyond 2^53 has no use for its last digit")]
        Value::Integer(number) => Setting::Number(*number as f64),
        // -0 is 0
        Value::Number(number) => Setting::Number(number + 0.0),
        Value::Boolean(value) if flag => Setting::Number(f64::from(u8::from(*value))),
        Value::Text(word) => Setting::Word(word.clone()),
        _ => return Err(node.fault(param.wrong(kind, node.to_string()).to_string())),
    };
    if param.takes.allows(&read) { Ok(read) } else { Err(node.fault(param.wrong(kind, node.to_string()).to_string())) }
}

/// A `pos_weight`: a formula, or one number per label.
pub(super) fn weight(node: &Node, family: &Family) -> Result<PosWeight, SpecError> {
    match &node.value {
        Value::List(numbers) if numbers.is_empty() => Err(node.fault("`pos_weight` has no weights; write one number per label")),
        Value::List(numbers) => numbers
            .iter()
            .map(|number| number.number("pos_weight", (ABOVE_ZERO, f64::MAX)))
            .collect::<Result<_, _>>()
            .map(PosWeight::Explicit),
        Value::Integer(_) | Value::Number(_) => Err(node.fault(format!(
            "`pos_weight` cannot be the single number {}; a vector is one value, so write [[10.8, 2.4, ...]]: one number per label",
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
    let mut shown = choice.clone();
    Arc::make_mut(&mut shown.params).retain(|name, _| !hide.contains(&name.as_str()));
    shown.to_string()
}
