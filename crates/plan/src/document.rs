//! The sweep file as a tree in which every value and key has its place (`file:line:column`), so that each error can name it.
//! The meaning of keys is not known here.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::SpecError;
use imbalance::shown::shown;

/// `file:line:column`, or the flag that was typed.
pub(super) type Place = Arc<str>;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub place: Place,
    pub value: Value,
}

/// One entry of a table.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    /// Of the key, not of its value.
    pub place: Place,
    pub node: Node,
}

/// A TOML value. Numbers are finite; tables keep the order of the file.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Number(f64),
    Boolean(bool),
    Date(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

impl Node {
    /// An error at this value.
    pub fn fault(&self, message: impl Into<String>) -> SpecError {
        fault(&self.place, message)
    }

    /// The value in a sentence of an error.
    pub fn shown(&self) -> String {
        shown(&self.to_string())
    }

    /// The entries, if this is a table.
    pub fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value as JSON: for the plan, and for comparing values whatever their spelling.
    pub fn json(&self) -> serde_json::Value {
        match &self.value {
            Value::Text(text) | Value::Date(text) => text.as_str().into(),
            Value::Integer(number) => (*number).into(),
            Value::Number(number) => (*number).into(),
            Value::Boolean(flag) => (*flag).into(),
            Value::List(nodes) => nodes.iter().map(Self::json).collect(),
            Value::Table(entries) => entries.iter().map(|entry| (entry.key.clone(), entry.node.json())).collect(),
        }
    }
}

impl std::fmt::Display for Node {
    /// As TOML would write it, on one line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.value {
            Value::Text(text) => write!(f, "{text:?}"),
            Value::Integer(number) => write!(f, "{number}"),
            Value::Number(number) => write!(f, "{number}"),
            Value::Boolean(flag) => write!(f, "{flag}"),
            Value::Date(text) => f.write_str(text),
            Value::List(nodes) => {
                let parts: Vec<_> = nodes.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", parts.join(", "))
            }
            Value::Table(entries) => {
                let parts: Vec<_> = entries.iter().map(|entry| format!("{} = {}", entry.key, entry.node)).collect();
                write!(f, "{{ {} }}", parts.join(", "))
            }
        }
    }
}

/// An error at a place.
pub(super) fn fault(place: &Place, message: impl Into<String>) -> SpecError {
    SpecError { place: place.to_string(), message: message.into() }
}

/// Reads a whole file; the root is a table.
pub(super) fn read(file: &str, text: &str) -> Result<Node, SpecError> {
    let lines = Lines::new(file, text);
    let table = DeTable::parse(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.get(..start).map_or("", |before| &text[before.rfind('\n').map_or(0, |at| at + 1)..]);
        let path = line.lines().next().is_some_and(|line| line.contains('\\')) && error.message().contains("escape");
        let hint = if path {
            "; in double quotes a backslash begins an escape: write the path in single quotes, or with slashes"
        } else {
            ""
        };
        fault(&lines.place(start), error.message().replace('\n', "; ") + hint)
    })?;
    let place = |span: std::ops::Range<usize>| lines.place(span.start);
    Ok(Node { place: lines.place(0), value: table_value(table.into_inner(), &place)? })
}

/// Reads `KEY=VALUE`: the parts of the dotted key and the value, which is TOML or a bare word.
pub(super) fn read_assignment(assignment: &str) -> Result<(Vec<String>, Node), SpecError> {
    let typed: Place = format!("--set {}", shown(assignment)).into();
    let (key, value) = split_assignment(assignment)
        .ok_or_else(|| fault(&typed, "must be KEY=VALUE with a dotted key, such as --set train.epochs=2"))?;
    let place: Place = format!("--set {}", shown(key)).into();
    let path = key_path(key).ok_or_else(|| fault(&place, "is not a dotted key; allowed are keys such as train.epochs"))?;
    if value.is_empty() {
        return Err(fault(&place, "has no value; write it after the =, such as --set train.epochs=2"));
    }
    let parsed = match DeValue::parse(value) {
        Ok(value) => node(value, &|_| Arc::clone(&place))?,
        Err(_) if is_bare(value) => Node { place: Arc::clone(&place), value: Value::Text(value.to_owned()) },
        Err(error) => return Err(fault(&place, error.message().replace('\n', "; "))),
    };
    let value = match parsed.value {
        Value::Date(text) => Value::Text(text),
        other => other,
    };
    Ok((path, Node { place, value }))
}

/// Splits at the first `=` outside quotes.
fn split_assignment(assignment: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (at, letter) in assignment.char_indices() {
        match (quote, letter) {
            (None, '=') => return Some((assignment[..at].trim(), assignment[at + 1..].trim())),
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            _ => {}
        }
    }
    None
}

/// The parts of a dotted key, which may be quoted.
fn key_path(key: &str) -> Option<Vec<String>> {
    if key.contains(['\n', '\r', '=']) {
        return None;
    }
    let text = format!("{key} = 0");
    let mut table = DeTable::parse(&text).ok()?.into_inner();
    let mut path = Vec::new();
    loop {
        let mut entries = table.into_iter();
        let (name, value) = entries.next()?;
        if entries.next().is_some() {
            return None;
        }
        path.push(name.into_inner().into_owned());
        match value.into_inner() {
            DeValue::Table(inner) => table = inner,
            DeValue::Integer(_) => return Some(path),
            _ => return None,
        }
    }
}

/// Text that can only be meant as a string: a path, a name, a device.
fn is_bare(text: &str) -> bool {
    !text.starts_with(['"', '\'', '[', '{']) && !text.contains(['\n', '\r'])
}

type Locate<'a> = dyn Fn(std::ops::Range<usize>) -> Place + 'a;

fn table_value(table: DeTable<'_>, place: &Locate<'_>) -> Result<Value, SpecError> {
    let mut entries = table.into_iter().collect::<Vec<_>>();
    entries.sort_by_key(|(key, _)| key.span().start);
    let entries = entries.into_iter().map(|(key, value)| {
        let at = place(key.span());
        Ok(Entry { key: key.into_inner().into_owned(), place: at, node: node(value, place)? })
    });
    Ok(Value::Table(entries.collect::<Result<_, SpecError>>()?))
}

fn node(value: Spanned<DeValue<'_>>, place: &Locate<'_>) -> Result<Node, SpecError> {
    let at = place(value.span());
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Boolean(flag) => Value::Boolean(flag),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Integer(number) => Value::Integer(
            i64::from_str_radix(number.as_str(), number.radix())
                .map_err(|_| fault(&at, format!("{} is too large; allowed are integers of 64 bits", shown(number.as_str()))))?,
        ),
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(parsed) if parsed.is_finite() => Value::Number(parsed),
            _ => return Err(fault(&at, format!("{} is not a value here; allowed are finite numbers", shown(number.as_str())))),
        },
        DeValue::Array(values) => Value::List(values.into_iter().map(|value| node(value, place)).collect::<Result<_, _>>()?),
        DeValue::Table(table) => table_value(table, place)?,
    };
    Ok(Node { place: at, value })
}

/// Byte offsets → `file:line:column` (both from 1, columns in characters).
struct Lines<'a> {
    file: &'a str,
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(file: &'a str, text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file, text, starts }
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|&start| start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let column = self.text.get(start..offset).map_or(0, |text| text.chars().count()) + 1;
        format!("{}:{line}:{column}", self.file).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let root = read("f.toml", "name = \"é\"\n[data]\n  'ü' = 1\n").unwrap();
        let data = &root.entries().unwrap()[1];
        assert_eq!(&*data.place, "f.toml:2:2");
        let inner = &data.node.entries().unwrap()[0];
        assert_eq!((&*inner.place, &*inner.node.place), ("f.toml:3:3", "f.toml:3:9"));
    }

    #[test]
    fn tables_keep_the_order_of_the_file() {
        let root = read("f", "z = 1\na = 2\nm = 3").unwrap();
        let keys: Vec<_> = root.entries().unwrap().iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["z", "a", "m"]);
    }

    #[test]
    fn malformed_toml_and_endless_numbers_are_placed() {
        let text = |text| read("f", text).unwrap_err().to_string();
        assert!(text("a = 1\nb = \n").starts_with("f:2:"), "{}", text("a = 1\nb = \n"));
        assert!(text("a = 1\na = 2").starts_with("f:2:1: duplicate key"), "{}", text("a = 1\na = 2"));
        assert_eq!(text("a = [1.0, nan]"), "f:1:11: nan is not a value here; allowed are finite numbers");
        assert_eq!(text("a = 1e999"), "f:1:5: 1e999 is not a value here; allowed are finite numbers");
        assert!(text("a = 99999999999999999999").contains("64 bits"));
    }

    #[test]
    fn assignments_take_toml_and_bare_words() {
        let parse = |text: &str| read_assignment(text).map(|(path, node)| (path.join("/"), node.to_string()));
        assert_eq!(parse("train.epochs=2").unwrap(), ("train/epochs".into(), "2".into()));
        assert_eq!(parse("data.root = my photos/x=1").unwrap(), ("data/root".into(), "\"my photos/x=1\"".into()));
        assert_eq!(parse("grid.'train.lr'=[1, 2]").unwrap(), ("grid/train.lr".into(), "[1, 2]".into()));
        assert_eq!(parse("name=2024-01-01").unwrap().1, "\"2024-01-01\"");
        for bad in ["", "=1", "epochs", "a=", "a=[1", "a..b=1", "a=\"x", "[a]=1", "a=inf"] {
            assert!(parse(bad).unwrap_err().place.starts_with("--set"), "{bad}");
        }
    }
}
