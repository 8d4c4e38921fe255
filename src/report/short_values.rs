//! Values of an axis as short as they stay distinct: what differs between them is never cut. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::text_grid::{LONG, with};

/// The values of one axis as a table shows them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShortValues {
    short: BTreeMap<String, String>,
    /// `sgd: momentum=0.9`: parameters that all values of a kind share, which their short forms leave out.
    pub shared: Vec<String>,
}

impl ShortValues {
    /// The short forms of `texts`, which are values as [`super::text_grid::text`] writes them.
    #[must_use]
    pub fn of(texts: &BTreeSet<String>) -> Self {
        let mut kinds: BTreeMap<&str, Vec<(&String, Vec<&str>)>> = BTreeMap::new();
        let mut short = BTreeMap::new();
        for text in texts {
            match choice(text) {
                Some((kind, params)) => kinds.entry(kind).or_default().push((text, params)),
                None => _ = short.insert(text.clone(), scientific(text)),
            }
        }
        let mut shared = Vec::new();
        for (kind, values) in kinds {
            let in_all = |param: &&str| values.len() > 1 && values.iter().all(|(_, params)| params.contains(param));
            // A value without parameters shares none.
            let common: Vec<&str> = values[0].1.iter().copied().filter(in_all).filter(|_| !texts.contains(kind)).collect();
            if !common.is_empty() {
                shared.push(format!("{kind}: {}", common.iter().map(|param| plain(param)).collect::<Vec<_>>().join(", ")));
            }
            for (text, params) in &values {
                let own: Vec<String> = params.iter().filter(|param| !common.contains(param)).map(|param| plain(param)).collect();
                short.insert((*text).clone(), with(kind, &own));
            }
        }
        vectors(texts, &mut short);
        Self { short, shared }
    }

    /// The short form of a value; one that is not among them stays as it is.
    #[must_use]
    pub fn get(&self, text: &str) -> String {
        self.short.get(text).cloned().unwrap_or_else(|| text.to_owned())
    }
}

/// `kind(name=value,...)` as its parts; `None` for anything else.
fn choice(text: &str) -> Option<(&str, Vec<&str>)> {
    let (kind, params) = text.strip_suffix(')')?.split_once('(')?;
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0);
    for (at, letter) in params.char_indices() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&params[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&params[start..]);
    parts.iter().all(|part| part.contains('=')).then_some((kind, parts))
}

/// `weight_decay=1e-5` for `weight_decay=0.00001`: a small number by its digits, not by its zeros.
fn plain(param: &str) -> String {
    match param.split_once('=') {
        Some((name, value)) => format!("{name}={}", scientific(value)),
        None => param.to_owned(),
    }
}

/// `1e-5` for `0.00001`; other texts as they are.
#[must_use]
pub fn scientific(value: &str) -> String {
    match value.parse::<f64>() {
        Ok(number) if number != 0.0 && number.is_finite() && number.abs() < 1e-3 => format!("{number:e}"),
        _ => value.to_owned(),
    }
}

/// Long lists of numbers by their beginning and length, or by the first place in which they differ.
fn vectors(texts: &BTreeSet<String>, short: &mut BTreeMap<String, String>) {
    let items = |text: &str| -> Option<Vec<String>> {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        (text.chars().count() > LONG).then(|| inner.split(',').map(|item| item.trim().to_owned()).collect())
    };
    let long: Vec<(&String, Vec<String>)> = texts.iter().filter_map(|text| Some((text, items(text)?))).collect();
    let Some((_, first)) = long.first() else { return };
    let differ = |at: &usize| long.iter().any(|(_, items)| items.get(*at) != first.get(*at));
    let longest = long.iter().map(|(_, items)| items.len()).max().unwrap_or(0);
    let from = (0..longest).find(differ).unwrap_or(0);
    for (text, items) in &long {
        let some = if from == 0 { items.iter().take(2).cloned().collect::<Vec<_>>().join(",") } else { String::new() };
        let name = match items.get(from) {
            Some(item) if from > 0 => format!("[…,{item},…] ({} numbers, from number {})", items.len(), from + 1),
            _ => format!("[{some},…] ({} numbers)", items.len()),
        };
        short.insert((*text).clone(), name);
    }
    // Lists that differ further on only are told apart by nothing less than all of them.
    let names: BTreeSet<&String> = long.iter().filter_map(|(text, _)| short.get(*text)).collect();
    if names.len() < long.len() {
        long.iter().for_each(|(text, _)| _ = short.insert((*text).clone(), (*text).clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(texts: &[&str]) -> (Vec<String>, Vec<String>) {
        let values = ShortValues::of(&texts.iter().map(|text| (*text).to_owned()).collect());
        (texts.iter().map(|text| values.get(text)).collect(), values.shared)
    }

    #[test]
    fn the_digits_that_differ_are_kept_and_what_is_shared_is_said_once() {
        let (names, shared) = short(&["adam", "sgd(momentum=0.9,weight_decay=0.0001)", "sgd(momentum=0.9,weight_decay=0.00001)"]);
        assert_eq!(names, ["adam", "sgd(weight_decay=1e-4)", "sgd(weight_decay=1e-5)"]);
        assert_eq!(shared, ["sgd: momentum=0.9"]);
        let (names, shared) = short(&["sgd", "sgd(momentum=0.9)"]);
        assert_eq!((names[1].as_str(), shared.len()), ("sgd(momentum=0.9)", 0));
        let (names, shared) = short(&["bce", "class_balanced(beta=0.9999,by=label)"]);
        assert_eq!((names[1].as_str(), shared.len()), ("class_balanced(beta=0.9999,by=label)", 0));
        // An unknown shape stays as it is.
        assert_eq!(short(&["a (b)", "f(g(x=1,y=2),z=3)"]).0, ["a (b)", "f(g(x=1,y=2),z=3)"]);
        assert_eq!(["0.001", "0.00025", "-0.00001", "0", "x"].map(scientific), ["0.001", "2.5e-4", "-1e-5", "0", "x"]);
    }

    #[test]
    fn long_lists_show_where_they_differ() {
        let list = |last: &str| format!("[{}{last}]", "1.5,".repeat(158));
        let (names, _) = short(&["none", &list("2"), &list("3")]);
        assert_eq!(names[1..], ["[…,2,…] (159 numbers, from number 159)", "[…,3,…] (159 numbers, from number 159)"]);
        assert_eq!(short(&[&list("2")]).0, ["[1.5,1.5,…] (159 numbers)"]);
        assert_eq!(short(&["[1.0, 2.0]"]).0, ["[1.0, 2.0]"]);
        // Three of which two differ only later.
        let three = ["[1,1,1,1,1,1,1,1,1,1,1,1]", "[2,1,1,1,1,1,1,1,1,1,1,1]", "[2,1,1,1,1,1,1,1,1,1,1,3]"];
        assert_eq!(short(&three).0.iter().collect::<BTreeSet<_>>().len(), 3);
    }
}
