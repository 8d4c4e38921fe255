//! A sweep as the database keeps it: the file's text, and beside it what `--set` changed. Pure.

use std::borrow::Cow;

use super::choice::{FAMILIES, Family};
use super::flatten::Layout;
use super::{RunConfig, SpecError, Sweep, document, parse};
use imbalance::{Choice, ChoiceError, PosWeight};

/// What stood before a `--set` change at the end of a text that version 0.1 recorded: a comment of TOML, the change behind it as a
/// JSON string.
const SET: &str = "# --set ";

/// A sweep file as it was read, and the `--set` changes to it, as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    pub text: String,
    /// `None`: an older program recorded it, which appended the changes to the text.
    pub changes: Option<Vec<String>>,
}

impl<T: Into<String>> From<T> for Recorded {
    /// A text without changes.
    fn from(text: T) -> Self {
        Self { text: text.into(), changes: Some(Vec::new()) }
    }
}

impl Recorded {
    /// The sweep that was recorded. `file` is how errors call it.
    ///
    /// # Errors
    /// Text that this version of the program does not take for a sweep file.
    pub fn recall(&self, file: &str) -> Result<Sweep, SpecError> {
        parse(file, &self.text, &self.changes())
    }

    /// The keys of its `train.tune`, without a look at the rest of the file.
    ///
    /// # Errors
    /// As [`Self::recall`].
    pub fn tuned(&self, file: &str) -> Result<Vec<String>, SpecError> {
        let layout = Layout::new(&document::read(file, &self.text)?, &self.changes())?;
        Ok(layout.tuned.into_iter().map(|axis| axis.key).collect())
    }

    pub fn changes(&self) -> Cow<'_, [String]> {
        self.changes.as_deref().map_or_else(|| appended(&self.text).into(), Cow::Borrowed)
    }
}

/// The changes in the last lines of a text of version 0.1; what a user wrote further up is a comment.
fn appended(text: &str) -> Vec<String> {
    let change = |line: &str| serde_json::from_str(line.strip_prefix(SET)?).ok();
    let mut changes: Vec<String> = text.lines().rev().map_while(change).collect();
    changes.reverse();
    changes
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
        if self.reference().is_some() {
            return Ok(self);
        }
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

    const FILE: &str = "name = \"x\"\n# --set \"workers.per_device=7\"\n[data]\nkind = \"letters\"\n";

    #[test]
    fn changes_are_remembered_and_comments_are_comments() {
        let changes = ["grid.loss=[\"bce\",\n\"focal\"]".to_owned(), "workers.per_device=3".to_owned()];
        let recorded = Recorded { text: FILE.to_owned(), changes: Some(changes.to_vec()) };
        let sweep = recorded.recall("x.toml").unwrap();
        assert_eq!((sweep.workers.per_device, sweep.points()), (3, 2));
        let comment = format!("{FILE}# --set \"workers.per_device=9\"\n");
        assert_eq!(Recorded::from(comment).recall("x.toml").unwrap().workers.per_device, 1, "nobody typed these");
    }

    #[test]
    fn what_version_0_1_appended_is_still_obeyed() {
        let text = format!("{FILE}# --set \"grid.loss=[\\\"bce\\\", \\\"focal\\\"]\"\n# --set \"workers.per_device=3\"\n");
        let sweep = Recorded { text, changes: None }.recall("x.toml").unwrap();
        assert_eq!((sweep.workers.per_device, sweep.points()), (3, 2));
        let untouched = Recorded { text: FILE.to_owned(), changes: None };
        assert_eq!(untouched.recall("x.toml").unwrap().workers.per_device, 1);
    }
}
