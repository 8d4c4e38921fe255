//! Parameters of strategies: what they allow, how a choice is completed and checked, and how one is read back from its name.

use std::collections::BTreeMap;

use super::{Entry, StrategyError, require};
use crate::{Choice, Setting};

/// One parameter of a strategy: the schema of the sweep file is read off these.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Param {
    pub name: &'static str,
    /// Meaning, unit and source, in one line.
    pub help: &'static str,
    pub takes: Takes,
    pub absent: Absent,
}

/// The values a parameter allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Takes {
    /// A finite number in this closed range.
    Number { min: f64, max: f64 },
    /// A whole number in this closed range (stored as [`Setting::Number`]).
    Whole { min: u32, max: u32 },
    /// One of these words.
    Word(&'static [&'static str]),
}

/// What a choice gets where the sweep file does not give the parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Absent {
    /// The parameter is required.
    Error,
    /// The parameter is optional and stays out of [`Choice::params`].
    Off,
    Number(f64),
    Word(&'static str),
}

impl Takes {
    /// Whether `setting` is allowed.
    #[must_use]
    pub fn allows(&self, setting: &Setting) -> bool {
        match (self, setting) {
            (Self::Number { min, max }, Setting::Number(number)) => (*min..=*max).contains(number),
            (Self::Whole { min, max }, Setting::Number(number)) => {
                number.fract() == 0.0 && (f64::from(*min)..=f64::from(*max)).contains(number)
            }
            (Self::Word(words), Setting::Word(word)) => words.contains(&word.as_str()),
            _ => false,
        }
    }
}

impl std::fmt::Display for Takes {
    /// `a number from 0 to 1`, `max, mean or sum`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number { min, max } => write!(f, "a number from {min} to {max}"),
            Self::Whole { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Word([]) => f.write_str("nothing"),
            Self::Word([word]) => f.write_str(word),
            Self::Word([words @ .., last]) => write!(f, "{} or {last}", words.join(", ")),
        }
    }
}

impl Param {
    /// The default of the parameter; `Ok(None)` for an optional one.
    fn fallback(&self, kind: &str) -> Result<Option<Setting>, StrategyError> {
        match self.absent {
            Absent::Error => Err(StrategyError(format!("{kind} needs `{}`: {}", self.name, self.takes))),
            Absent::Off => Ok(None),
            Absent::Number(number) => Ok(Some(number.into())),
            Absent::Word(word) => Ok(Some(word.into())),
        }
    }
}

/// The choice of `entry` with these parameters: all are known and allowed, absent ones filled in.
///
/// # Errors
/// An unknown, forbidden or missing parameter.
pub fn complete<B>(entry: &Entry<B>, mut given: BTreeMap<String, Setting>) -> Result<Choice, StrategyError> {
    let kind = entry.kind;
    let mut choice = Choice::plain(kind);
    for param in entry.params {
        let Some(setting) = given.remove(param.name) else {
            choice.params.extend(param.fallback(kind)?.map(|setting| (param.name.to_owned(), setting)));
            continue;
        };
        if !param.takes.allows(&setting) {
            return Err(StrategyError(format!("`{}` of {kind} must be {}, not {setting}", param.name, param.takes)));
        }
        choice.params.insert(param.name.to_owned(), setting);
    }
    let Some(unknown) = given.keys().next() else { return Ok(choice) };
    let names: Vec<_> = entry.params.iter().map(|param| param.name).collect();
    let has = if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
    Err(StrategyError(format!("{kind} has no parameter `{unknown}`{}; {has}", nearest(unknown, &names))))
}

/// Reads a choice from the form that [`Choice`] displays: `max_f1`, `weighted(by=mean,empty=1)`. `what` names the registry in
/// errors.
///
/// # Errors
/// Malformed text, or as [`complete`].
pub fn parse<B>(registry: &[Entry<B>], what: &str, text: &str) -> Result<Choice, StrategyError> {
    let text = text.trim();
    let (kind, list) = match text.split_once('(') {
        None => (text, ""),
        Some((kind, rest)) => {
            let list = rest.strip_suffix(')').ok_or_else(|| StrategyError(format!("`{text}` lacks its closing parenthesis")))?;
            (kind.trim_end(), list)
        }
    };
    let entry = require(registry, what, kind)?;
    let mut given = BTreeMap::new();
    for pair in list.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| StrategyError(format!("`{pair}` in `{text}` is not of the form name=value")))?;
        let (name, value) = (name.trim(), value.trim());
        let setting = value.parse().map_or_else(|_| Setting::from(value), Setting::Number);
        if given.insert(name.to_owned(), setting).is_some() {
            return Err(StrategyError(format!("`{text}` gives `{name}` twice")));
        }
    }
    complete(entry, given)
}

/// ` (did you mean `focal`?)` where a name is near enough, else nothing.
#[must_use]
pub fn nearest(typed: &str, names: &[&str]) -> String {
    if typed.len() > 100 {
        return String::new();
    }
    names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(typed, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 3)
        .min()
        .map_or_else(String::new, |(_, name)| format!(" (did you mean `{name}`?)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTRY: &[Entry<()>] = &[Entry {
        kind: "demo",
        summary: "",
        params: &[
            Param { name: "must", help: "", takes: Takes::Number { min: 0.0, max: 1.0 }, absent: Absent::Error },
            Param { name: "maybe", help: "", takes: Takes::Whole { min: 1, max: 9 }, absent: Absent::Off },
            Param { name: "by", help: "", takes: Takes::Word(&["max", "mean"]), absent: Absent::Word("max") },
        ],
        build: (),
    }];

    fn error(text: &str) -> String {
        parse(REGISTRY, "demo", text).unwrap_err().0
    }

    #[test]
    fn a_displayed_choice_reads_back() {
        let choice = parse(REGISTRY, "demo", "demo( must = 0.5 , maybe=3 )").unwrap();
        assert_eq!(choice, Choice::plain("demo").with("must", 0.5).with("maybe", 3.0).with("by", "max"));
        assert_eq!(parse(REGISTRY, "demo", &choice.to_string()).unwrap(), choice);
        assert_eq!(parse(REGISTRY, "demo", "demo(must=1)").unwrap().find("maybe"), None);
    }

    #[test]
    fn errors_say_what_would_be_right() {
        assert_eq!(error("dema"), "no demo is called `dema` (did you mean `demo`?); there are demo");
        assert_eq!(error("demo"), "demo needs `must`: a number from 0 to 1");
        assert_eq!(error("demo(must=2)"), "`must` of demo must be a number from 0 to 1, not 2");
        assert_eq!(error("demo(must=NaN)"), "`must` of demo must be a number from 0 to 1, not NaN");
        assert_eq!(error("demo(must=1,maybe=1.5)"), "`maybe` of demo must be a whole number from 1 to 9, not 1.5");
        assert_eq!(error("demo(must=1,by=min)"), "`by` of demo must be max or mean, not min");
        assert_eq!(
            error("demo(must=1,maybee=2)"),
            "demo has no parameter `maybee` (did you mean `maybe`?); it has must, maybe, by"
        );
        assert_eq!(error("demo(must=1"), "`demo(must=1` lacks its closing parenthesis");
        assert_eq!(error("demo(must)"), "`must` in `demo(must)` is not of the form name=value");
        assert_eq!(error("demo(must=1,must=1)"), "`demo(must=1,must=1)` gives `must` twice");
    }
}
