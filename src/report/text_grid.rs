//! Shared by table and markdown: a table before it is drawn, and the formatting of values.

use serde_json::Value;

use super::summary::Spread;
use imbalance::shown::escape;

/// A missing value.
pub const NONE: &str = "–";
/// Characters of a value from which it counts as long.
pub const LONG: usize = 20;

/// A table before it is drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grid {
    pub heads: Vec<Head>,
    pub rows: Vec<Vec<String>>,
}

/// A column's title.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub title: String,
    /// Whether the column is right-aligned, as numbers are.
    pub right: bool,
}

impl Head {
    /// A title; `right` for numbers.
    #[must_use]
    pub fn new(title: impl Into<String>, right: bool) -> Self {
        Self { title: title.into(), right }
    }
}

impl Grid {
    /// The width of each column: its longest line.
    #[must_use]
    pub fn widths(&self) -> Vec<usize> {
        let longest = |cell: &String| cell.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        let column = |(at, head): (usize, &Head)| {
            let cells = self.rows.iter().filter_map(|row| row.get(at)).map(longest).max().unwrap_or(0);
            cells.max(head.title.chars().count())
        };
        self.heads.iter().enumerate().map(column).collect()
    }

    /// Columns on the screen, two blanks between cells.
    #[must_use]
    pub fn width(&self) -> usize {
        self.widths().iter().map(|width| width + 2).sum::<usize>().saturating_sub(2)
    }

    /// Rows as columns: the first column has the titles, the titles are the first column.
    #[must_use]
    pub fn transposed(&self) -> Self {
        let first = self.heads.first().map_or_else(String::new, |head| head.title.clone());
        let names = self.rows.iter().filter_map(|row| row.first()).map(|name| Head::new(name, true));
        let row = |(at, head): (usize, &Head)| {
            let cells = self.rows.iter().map(|row| row.get(at).cloned().unwrap_or_default());
            std::iter::once(head.title.clone()).chain(cells).collect()
        };
        Self {
            heads: std::iter::once(Head::new(first, false)).chain(names).collect(),
            rows: self.heads.iter().enumerate().skip(1).map(row).collect(),
        }
    }

    /// The same table without the column of this title.
    #[must_use]
    pub fn without(mut self, title: &str) -> Self {
        if let Some(at) = self.heads.iter().position(|head| head.title == title) {
            self.heads.remove(at);
            for row in &mut self.rows {
                row.remove(at);
            }
        }
        self
    }
}

/// A value of an axis.
#[must_use]
pub fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => NONE.to_owned(),
        Some(Value::String(word)) => word.clone(),
        // 2.0 in the database is shown as 2, as typed
        Some(Value::Number(number)) => number.as_f64().map_or_else(|| number.to_string(), |number| number.to_string()),
        // {"kind": "adamw", "weight_decay": 1} as every screen names a choice with parameters
        Some(Value::Object(choice)) if let Some(Value::String(kind)) = choice.get("kind") => {
            let params = choice.iter().filter(|(name, _)| *name != "kind");
            with(kind, &params.map(|(name, value)| format!("{name}={}", text(Some(value)))).collect::<Vec<_>>())
        }
        Some(other) => other.to_string(),
    }
}

/// `name` with parameters added to those it has: `focal(gamma=2)`.
#[must_use]
pub fn with(name: &str, params: &[String]) -> String {
    match (params.is_empty(), name.strip_suffix(')')) {
        (true, _) => name.to_owned(),
        (false, Some(open)) => format!("{open},{})", params.join(",")),
        (false, None) => format!("{name}({})", params.join(",")),
    }
}

/// Three digits.
#[must_use]
pub fn number(value: f64) -> String {
    format!("{value:.3}")
}

/// `1 seed`, `3 seeds`.
#[must_use]
pub fn several(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// One digit.
#[must_use]
pub fn percent(rate: f64) -> String {
    format!("{:.1}%", rate * 100.0)
}

/// `0.612 ± 0.011`; `pad` keeps the means of a column below each other where some have no deviation.
#[must_use]
pub fn spread(spread: Option<Spread>, pad: bool) -> String {
    match spread {
        None => NONE.to_owned(),
        Some(Spread { mean, sd: Some(sd), .. }) => format!("{} ± {}", number(mean), number(sd)),
        // no-break spaces, which no renderer trims
        Some(Spread { mean, sd: None, .. }) => {
            number(mean) + if pad { "\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}" } else { "" }
        }
    }
}

/// The first `width` characters on one line, the last of them an ellipsis where something is cut.
#[must_use]
pub fn shorten(text: &str, width: usize) -> String {
    let text = escape(text);
    if text.chars().nth(width).is_none() {
        return text.into_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// `text` where it has at most `width` characters; else as many of its clauses as have, and an ellipsis.
#[must_use]
pub fn clauses(text: &str, width: usize) -> String {
    let cut = shorten(text, width);
    let ends = |at: &(usize, char)| matches!(at.1, ';' | ',' | '.') && cut[at.0 + 1..].starts_with(' ');
    match cut.char_indices().rfind(ends) {
        Some((end, _)) if cut.ends_with('…') && end > cut.len() / 2 => format!("{} …", &cut[..end]),
        _ => cut,
    }
}

/// `text` in lines of at most `width` characters, broken at spaces.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut length = 0;
    for word in text.split(' ') {
        let letters = word.chars().count();
        match lines.last_mut() {
            Some(line) if length == 0 || length + 1 + letters <= width => {
                if length > 0 {
                    line.push(' ');
                    length += 1;
                }
                line.push_str(word);
                length += letters;
            }
            _ => {
                lines.push(word.to_owned());
                length = letters;
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{clauses, text};
    use serde_json::json;

    #[test]
    fn what_is_cut_ends_where_a_clause_does() {
        let text = "held-out F1 is lower; believe the test column, or give validation more rows";
        assert_eq!(clauses(text, 80), text);
        assert_eq!(clauses(text, 60), "held-out F1 is lower; believe the test column …");
        assert_eq!(clauses(text, 30), "held-out F1 is lower …");
        assert_eq!(clauses("no clause ends here", 10), "no clause…");
        assert_eq!(clauses("0.012;0.034;0.056;0.078", 12), "0.012;0.034…");
    }

    #[test]
    fn a_choice_is_written_as_everywhere() {
        for (value, shown) in [
            (json!({ "kind": "adamw", "weight_decay": 1.0 }), "adamw(weight_decay=1)"),
            (json!({ "beta1": 0.8, "kind": "adam", "weight_decay": 0.1 }), "adam(beta1=0.8,weight_decay=0.1)"),
            (json!({ "kind": "sgd" }), "sgd"),
            (json!(2.0), "2"),
            (json!([16, 32]), "[16,32]"),
        ] {
            assert_eq!(text(Some(&value)), shown);
        }
    }
}
