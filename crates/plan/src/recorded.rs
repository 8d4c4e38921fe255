//! The text of a sweep as stored in the database: the file, and what `--set` changed. Pure.

use super::choice::{FAMILIES, Family};
use super::{RunConfig, SpecError, Sweep, parse};
use imbalance::{Choice, ChoiceError, PosWeight};

/// What stands before a `--set` change in a recorded text: a comment of TOML, the change behind it as a JSON string.
const SET: &str = "# --set ";

/// The text that the database keeps: the file's, and a line for every `--set`.
#[must_use]
pub fn recorded(mut text: String, set: &[String]) -> String {
    for change in set {
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&format!("{SET}{}\n", serde_json::Value::from(change.as_str())));
    }
    text
}

/// The sweep that [`recorded`] text describes. `file` is its name in errors.
///
/// # Errors
/// Text that is not a sweep file for this version of the program.
pub fn recall(file: &str, text: &str) -> Result<Sweep, SpecError> {
    let changes = text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix(SET)?).ok());
    parse(file, text, &changes.collect::<Vec<String>>())
}

/// A recorded choice of `key` (`loss`, `train.optimizer`, ...), checked, with defaults for parameters that were added later.
///
/// # Errors
/// An unknown kind or parameter, a value that is not allowed.
pub fn admitted(key: &str, choice: &Choice) -> Result<Choice, ChoiceError> {
    match Family::of(key) {
        Some(family) => family.complete(choice),
        None => Err(ChoiceError::Kind { what: "choice", typed: key.to_owned(), allowed: FAMILIES.to_vec() }),
    }
}

impl RunConfig {
    /// The configuration of a recorded run as this version can train it.
    ///
    /// # Errors
    /// As [`admitted`].
    pub fn admitted(mut self) -> Result<Self, ChoiceError> {
        self.loss = admitted("loss", &self.loss)?;
        if let PosWeight::Formula(choice) = &mut self.pos_weight {
            *choice = admitted("pos_weight", choice)?;
        }
        self.sampler = admitted("sampler", &self.sampler)?;
        self.train.optimizer = admitted("train.optimizer", &self.train.optimizer)?;
        self.train.schedule = admitted("train.schedule", &self.train.schedule)?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_text_remembers_its_changes() {
        let set =
            ["data.kind=letters".to_owned(), "grid.loss=[\"bce\",\n\"focal\"]".to_owned(), "workers.per_device=3".to_owned()];
        let text = recorded("name = \"x\"".to_owned(), &set);
        let sweep = recall("x.toml", &text).unwrap();
        assert_eq!((sweep.workers.per_device, sweep.points()), (3, 2));
        assert!(recall("x.toml", "name = \"x\"").is_err(), "without the changes it is no sweep file");
    }
}
