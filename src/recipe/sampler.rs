//! The sampler of a recipe: a template per sampler that draws rows as they are.

use imbalance::sampler::REGISTRY;
use imbalance::{Choice, admit};

use super::template::{Filled, fill};

/// How a sampler gets into a recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The Python that makes it from the targets.
    Template(&'static str),
    /// Why there is none, and the nearest thing to do.
    Without(&'static str),
}

/// Every sampler, by its name in the registry.
pub const WAYS: &[(&str, Way)] = &[
    ("shuffle", Way::Template(include_str!("../../reports/recipe/sampler/shuffle.py.j2"))),
    ("class_aware", Way::Template(include_str!("../../reports/recipe/sampler/class_aware.py.j2"))),
    ("weighted", Way::Template(include_str!("../../reports/recipe/sampler/weighted.py.j2"))),
    ("repeat_factor", Way::Template(include_str!("../../reports/recipe/sampler/repeat_factor.py.j2"))),
    ("balanced_batch", Way::Template(include_str!("../../reports/recipe/sampler/balanced_batch.py.j2"))),
    ("ml_ros", Way::Template(include_str!("../../reports/recipe/sampler/ml_ros.py.j2"))),
    ("ml_rus", Way::Template(include_str!("../../reports/recipe/sampler/ml_rus.py.j2"))),
    ("lp_ros", Way::Template(include_str!("../../reports/recipe/sampler/lp_ros.py.j2"))),
    ("lp_rus", Way::Template(include_str!("../../reports/recipe/sampler/lp_rus.py.j2"))),
    (
        "mlsmote",
        Way::Without(
            "it makes new rows between neighbours, which is a change of the data and no sampler of torch: write its rows into the \
             data set first, or take ml_ros, which clones rows of the same labels",
        ),
    ),
    (
        "remedial",
        Way::Without(
            "it shows a row twice with different labels, which is a change of the data and no sampler of torch: write both copies \
             into the data set first (NaN for a label that is taken away and ignored), or shuffle",
        ),
    ),
];

/// The constants and the function `make_sampler` of a sampler; batches have `batch_size` rows.
///
/// # Errors
/// Why there is none.
pub fn code(choice: &Choice, batch_size: usize) -> Result<String, String> {
    let (entry, choice) = admit(REGISTRY, "sampler", choice).map_err(|error| error.to_string())?;
    match WAYS.iter().find(|(kind, _)| *kind == choice.kind) {
        Some((_, Way::Template(template))) => {
            let mut filled = Filled::of(entry.params, &choice);
            filled.set("batch_size", batch_size);
            fill(template, filled)
        }
        Some((_, Way::Without(why))) => Err((*why).to_owned()),
        None => Err(format!("nobody has written sampler {} in PyTorch yet", choice.kind)),
    }
}

/// Whether the sampler makes whole batches (`batch_sampler` of a DataLoader).
#[must_use]
pub fn makes_batches(choice: &Choice) -> bool {
    choice.kind == "balanced_batch"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sampler_has_a_recipe_or_a_reason() {
        let known: Vec<&str> = REGISTRY.iter().map(|entry| entry.kind).collect();
        assert_eq!(WAYS.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), known, "a sampler is missing in WAYS");
        for (kind, way) in WAYS {
            match (code(&Choice::plain(kind), 32), way) {
                (Ok(text), Way::Template(_)) => {
                    assert!(text.contains("def make_sampler(targets") && !text.contains("{{") && !text.contains("{%"), "{text}");
                }
                (Err(why), Way::Without(_)) => assert!(!why.contains('\n')),
                (found, _) => panic!("{kind}: {found:?}"),
            }
        }
        assert!(code(&Choice::plain("shufle"), 32).unwrap_err().contains("shufle"));
    }
}
