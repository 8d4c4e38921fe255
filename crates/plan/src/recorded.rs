//! The text of a sweep as the database keeps it: the file, and what `--set` changed. Pure.

use super::{SpecError, Sweep, parse};

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

/// The sweep that [`recorded`] text describes. `file` is how errors call it.
///
/// # Errors
/// Text that this version of the program does not take for a sweep file.
pub fn recall(file: &str, text: &str) -> Result<Sweep, SpecError> {
    let changes = text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix(SET)?).ok());
    parse(file, text, &changes.collect::<Vec<String>>())
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
