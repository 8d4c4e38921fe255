//! The loss of a recipe: a template per loss, which holds the formula as Python.

use imbalance::loss::{REGISTRY, last_change};
use imbalance::{Choice, LabelCounts, find};

use super::python;
use super::template::{Filled, fill};

/// The Python of every loss, by its name in the registry.
pub const TEMPLATES: &[(&str, &str)] = &[
    ("bce", include_str!("../../reports/recipe/loss/bce.py.j2")),
    ("focal", include_str!("../../reports/recipe/loss/focal.py.j2")),
    ("focal_seed", include_str!("../../reports/recipe/loss/focal_seed.py.j2")),
    ("class_balanced", include_str!("../../reports/recipe/loss/class_balanced.py.j2")),
    ("asl", include_str!("../../reports/recipe/loss/asl.py.j2")),
    ("logit_adjust", include_str!("../../reports/recipe/loss/logit_adjust.py.j2")),
    ("ldam", include_str!("../../reports/recipe/loss/ldam.py.j2")),
    ("db", include_str!("../../reports/recipe/loss/db.py.j2")),
    ("soft_f1", include_str!("../../reports/recipe/loss/soft_f1.py.j2")),
    ("poly1", include_str!("../../reports/recipe/loss/poly1.py.j2")),
    ("two_way", include_str!("../../reports/recipe/loss/two_way.py.j2")),
    ("zlpr", include_str!("../../reports/recipe/loss/zlpr.py.j2")),
    ("hill", include_str!("../../reports/recipe/loss/hill.py.j2")),
    ("splc", include_str!("../../reports/recipe/loss/splc.py.j2")),
];

/// What a loss's Python depends on.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    pub choice: &'a Choice,
    /// Resolved, one per label; not one of 1 each.
    pub weighed: bool,
    /// Of train.
    pub counts: &'a LabelCounts,
    /// Of the training.
    pub epochs: usize,
}

/// A loss as Python.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    pub text: String,
    /// Whether it is called with the epoch, too.
    pub by_epoch: bool,
    /// Whether it is a module, which has a device.
    pub is_module: bool,
}

/// Whether the loss multiplies its positive term by the positive weights.
#[must_use]
pub fn reads_pos_weight(kind: &str) -> bool {
    find(REGISTRY, kind).is_some_and(|entry| entry.build.reads_pos_weight)
}

/// The constants and the function `loss` of a loss.
///
/// # Errors
/// Why there is none: a choice that this version does not know.
pub fn code(told: Told<'_>) -> Result<Code, String> {
    let (entry, choice) = imbalance::admit(REGISTRY, "loss", told.choice).map_err(|error| error.to_string())?;
    let unknown = !told.counts.unknown.is_empty();
    let cells = |counts: Vec<usize>| counts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let negatives = (0..told.counts.positives.len()).map(|label| told.counts.negatives(label)).collect();
    let mut filled = Filled::of(entry.params, &choice);
    filled.set("weighed", told.weighed);
    filled.set("w", if told.weighed { "POS_WEIGHT.to(logits) * " } else { "" });
    filled.set("unknown", unknown);
    filled.set("mean", if unknown { "cells.masked_fill(targets.isnan(), 0.0).mean()" } else { "cells.mean()" });
    filled.set("POSITIVES", python::tensor("POSITIVES", &cells(told.counts.positives.clone())));
    filled.set("NEGATIVES", python::tensor("NEGATIVES", &cells(negatives)));
    let by_epoch = match choice.kind.as_str() {
        "ldam" => {
            let from = last_change(&choice, told.epochs);
            // The training changes in its course, or has its last form from the first epoch on; or it never gets there.
            let reached = from > 0 || choice.get("drw") * told.epochs as f64 <= 1e-9;
            reached.then(|| filled.set("deferred_from", from)).is_some()
        }
        "splc" => {
            let from = choice.get("start") as usize;
            (from < told.epochs).then(|| filled.set("corrected_from", from)).is_some()
        }
        _ => false,
    };
    let template = TEMPLATES.iter().find(|(kind, _)| *kind == choice.kind).map(|(_, template)| *template);
    let template = template.ok_or_else(|| format!("nobody has written loss {} in PyTorch yet", choice.kind))?;
    Ok(Code { text: fill(template, filled)?, by_epoch, is_module: choice.kind == "bce" && !unknown })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loss_has_a_recipe() {
        let known: Vec<&str> = REGISTRY.iter().map(|entry| entry.kind).collect();
        assert_eq!(TEMPLATES.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), known, "a loss is missing in TEMPLATES");
        let counts = LabelCounts::new(100, vec![5, 60]);
        for entry in REGISTRY {
            let choice = imbalance::parse(REGISTRY, "loss", entry.kind).unwrap();
            for counts in [counts.clone(), counts.clone().with_unknown(vec![3, 0])] {
                for weighed in [false, reads_pos_weight(entry.kind)] {
                    let code = code(Told { choice: &choice, weighed, counts: &counts, epochs: 10 }).unwrap();
                    assert!(code.text.contains("loss = ") || code.text.contains("def loss("), "{}", code.text);
                    assert_eq!(code.text.contains("POS_WEIGHT"), weighed, "{}", code.text);
                    assert!(!code.text.contains("{{") && !code.text.contains("{%"), "{}", code.text);
                    assert_eq!(code.by_epoch, code.text.contains("epoch: int"));
                }
            }
        }
    }

    #[test]
    fn an_unknown_loss_is_a_sentence() {
        let told = Told { choice: &Choice::plain("bze"), weighed: false, counts: &LabelCounts::new(2, vec![1]), epochs: 1 };
        assert!(code(told).unwrap_err().contains("bze"));
    }

    /// A schedule that the training does not reach is not in the recipe.
    #[test]
    fn schedules_follow_the_length_of_the_training() {
        let counts = LabelCounts::new(100, vec![5, 60]);
        let of = |loss: &str, epochs| {
            let choice = imbalance::parse(REGISTRY, "loss", loss).unwrap();
            let code = code(Told { choice: &choice, weighed: false, counts: &counts, epochs }).unwrap();
            code.text.lines().find_map(|line| line.split_once("_FROM = ").map(|(_, from)| from[..1].to_owned()))
        };
        assert_eq!((of("ldam", 10), of("ldam", 4), of("ldam(drw=0)", 4)), (Some("8".to_owned()), None, Some("0".to_owned())));
        assert_eq!((of("splc", 10), of("splc(start=0)", 1), of("splc", 1)), (Some("1".to_owned()), Some("0".to_owned()), None));
    }
}
