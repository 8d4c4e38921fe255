//! Parameters of strategies, and the one validator of choices: which kinds a family has, which parameters a kind takes, what is filled
//! in where nothing is given. Sweep files, policies as text and recorded choices all pass through here; whoever knows a file adds
//! the place to the error.

use std::collections::BTreeMap;

use crate::{Choice, ChoiceError, Entry, Setting, hint};

/// One parameter of a strategy: the schema of the sweep file is read off these.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Param {
    pub name: &'static str,
    /// What it does, with unit and source.
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

/// What a choice gets where the sweep file is silent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Absent {
    /// An error: it must be given.
    Error,
    /// Nothing: the parameter is optional and stays out of [`Choice::params`].
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

    /// The nearest word to what was given.
    pub(crate) fn hint(&self, given: &str) -> String {
        match self {
            Self::Word(words) => hint(given.trim_matches('"'), words),
            _ => String::new(),
        }
    }
}

impl std::fmt::Display for Takes {
    /// `a number from 0 to 1`, `a number above 0`, `max, mean or sum`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number { min, max } => write!(f, "a number{}", range(*min, *max)),
            Self::Whole { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Word([]) => f.write_str("nothing"),
            Self::Word([word]) => f.write_str(word),
            Self::Word([words @ .., last]) => write!(f, "{} or {last}", words.join(", ")),
        }
    }
}

/// ` from 0 to 1`, ` above 0`, ` of at least 0 and below 1`: an end next to 0 or 1 leaves it out, an end of the largest number is none.
#[must_use]
pub fn range(min: f64, max: f64) -> String {
    let above_zero = min > 0.0 && min < 1e-300;
    let below_one = max < 1.0 && max > 1.0 - 1e-12;
    let (no_min, no_max) = (min <= -f64::MAX, max >= f64::MAX);
    if !(above_zero || below_one || no_min || no_max) {
        return format!(" from {min} to {max}");
    }
    let low = if no_min {
        String::new()
    } else if above_zero {
        " above 0".to_owned()
    } else {
        format!(" of at least {min}")
    };
    let high = if no_max {
        String::new()
    } else if below_one {
        " below 1".to_owned()
    } else {
        format!(" of at most {max}")
    };
    if low.is_empty() || high.is_empty() { format!("{low}{high}") } else { format!("{low} and{high}") }
}

impl Param {
    /// `setting`, if the parameter takes it.
    ///
    /// # Errors
    /// [`ChoiceError::Value`]; `kind` is named in it.
    pub fn check(&self, kind: Option<&str>, setting: Setting) -> Result<Setting, ChoiceError> {
        if self.takes.allows(&setting) { Ok(setting) } else { Err(self.wrong(kind, setting.to_string())) }
    }

    /// The error about a value that the parameter does not take.
    #[must_use]
    pub fn wrong(&self, kind: Option<&str>, given: String) -> ChoiceError {
        ChoiceError::Value { kind: kind.map(str::to_owned), param: self.name, takes: self.takes, given }
    }

    /// What the parameter is where it was not given; `None` for an optional one.
    ///
    /// # Errors
    /// [`ChoiceError::Missing`].
    pub fn fallback(&'static self, kind: &str) -> Result<Option<Setting>, ChoiceError> {
        match self.absent {
            Absent::Error => Err(ChoiceError::Missing { kind: kind.to_owned(), param: self }),
            Absent::Off => Ok(None),
            Absent::Number(number) => Ok(Some(number.into())),
            Absent::Word(word) => Ok(Some(word.into())),
        }
    }
}

/// The kinds that one key allows, each with its parameters.
#[derive(Clone, Debug)]
pub struct Family {
    /// In errors: `loss`, `threshold policy`.
    pub what: &'static str,
    pub kinds: Vec<(&'static str, &'static [Param])>,
}

impl Family {
    /// The kinds of a registry.
    #[must_use]
    pub fn of<B>(what: &'static str, registry: &'static [Entry<B>]) -> Self {
        Self { what, kinds: registry.iter().map(|entry| (entry.kind, entry.params)).collect() }
    }

    /// The kind of this name, and its parameters.
    ///
    /// # Errors
    /// [`ChoiceError::Kind`].
    pub fn kind(&self, typed: &str) -> Result<(&'static str, &'static [Param]), ChoiceError> {
        self.kinds.iter().find(|(kind, _)| *kind == typed).copied().ok_or_else(|| ChoiceError::Kind {
            what: self.what,
            typed: typed.to_owned(),
            allowed: self.kinds.iter().map(|(kind, _)| *kind).collect(),
        })
    }

    /// The choice of `kind` with these parameters: all known and allowed, absent ones filled in.
    ///
    /// # Errors
    /// An unknown, forbidden or missing parameter, an unknown kind.
    pub fn complete(&self, kind: &str, mut given: BTreeMap<String, Setting>) -> Result<Choice, ChoiceError> {
        let (kind, params) = self.kind(kind)?;
        if let Some(unknown) = given.keys().find(|name| params.iter().all(|param| param.name != name.as_str())) {
            return Err(unknown_param(kind, unknown, params));
        }
        let mut choice = Choice::plain(kind);
        for param in params {
            let setting = match given.remove(param.name) {
                Some(setting) => Some(param.check(Some(kind), setting)?),
                None => param.fallback(kind)?,
            };
            setting.into_iter().for_each(|setting| choice.set(param.name, setting));
        }
        Ok(choice)
    }

    /// Reads a choice from the form that [`Choice`] displays: `max_f1`, `weighted(by=mean,empty=1)`.
    ///
    /// # Errors
    /// Malformed text, or as [`Self::complete`].
    pub fn parse(&self, text: &str) -> Result<Choice, ChoiceError> {
        let text = text.trim();
        let form = |text: &str, why| ChoiceError::Form { text: text.to_owned(), why };
        let (kind, list) = match text.split_once('(') {
            None => (text, ""),
            Some((kind, rest)) => {
                (kind.trim_end(), rest.strip_suffix(')').ok_or_else(|| form(text, "lacks its closing parenthesis"))?)
            }
        };
        self.kind(kind)?;
        let mut given = BTreeMap::new();
        for pair in list.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| form(pair, "is not of the form name=value"))?;
            let (name, value) = (name.trim(), value.trim());
            let setting = value.parse().map_or_else(|_| Setting::from(value), Setting::Number);
            if given.insert(name.to_owned(), setting).is_some() {
                return Err(form(text, "gives a parameter twice"));
            }
        }
        self.complete(kind, given)
    }
}

/// The parameter of this name.
///
/// # Errors
/// [`ChoiceError::Param`].
pub fn param(kind: &str, typed: &str, params: &'static [Param]) -> Result<&'static Param, ChoiceError> {
    params.iter().find(|param| param.name == typed).ok_or_else(|| unknown_param(kind, typed, params))
}

fn unknown_param(kind: &str, typed: &str, params: &[Param]) -> ChoiceError {
    let allowed = params.iter().map(|param| param.name).collect();
    ChoiceError::Param { kind: kind.to_owned(), typed: typed.to_owned(), allowed }
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

    fn parse(text: &str) -> Result<Choice, ChoiceError> {
        Family::of("demo", REGISTRY).parse(text)
    }

    fn error(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_displayed_choice_reads_back() {
        let choice = parse("demo( must = 0.5 , maybe=3 )").unwrap();
        assert_eq!(choice, Choice::plain("demo").with("must", 0.5).with("maybe", 3.0).with("by", "max"));
        assert_eq!(parse(&choice.to_string()).unwrap(), choice);
        assert_eq!(parse("demo(must=1)").unwrap().find("maybe"), None);
    }

    #[test]
    fn errors_say_what_would_be_right() {
        assert_eq!(error("Dema"), "no demo is called \"Dema\"; allowed: demo; did you mean `demo`?");
        assert_eq!(error("demo"), "demo needs `must`: a number from 0 to 1");
        assert_eq!(error("demo(must=2)"), "`must` of demo must be a number from 0 to 1, not 2");
        assert_eq!(error("demo(must=NaN)"), "`must` of demo must be a number from 0 to 1, not NaN");
        assert_eq!(error("demo(must=1,maybe=1.5)"), "`maybe` of demo must be a whole number from 1 to 9, not 1.5");
        assert_eq!(error("demo(must=1,by=maen)"), "`by` of demo must be max or mean, not maen; did you mean `mean`?");
        assert_eq!(
            error("demo(must=1,maybee=2)"),
            "demo has no parameter `maybee`; allowed: must, maybe, by; did you mean `maybe`?"
        );
        assert_eq!(error("demo(must=1"), "`demo(must=1` lacks its closing parenthesis");
        assert_eq!(error("demo(must)"), "`must` is not of the form name=value");
        assert_eq!(error("demo(must=1,must=1)"), "`demo(must=1,must=1)` gives a parameter twice");
    }

    #[test]
    fn ranges_read_like_a_sentence() {
        assert_eq!(range(0.0, 1.0), " from 0 to 1");
        assert_eq!(range(f64::MIN_POSITIVE, f64::MAX), " above 0");
        assert_eq!(range(0.0, 1.0 - f64::EPSILON / 2.0), " of at least 0 and below 1");
        assert_eq!(range(f64::MIN_POSITIVE, 1.0), " above 0 and of at most 1");
        assert_eq!(range(f64::NEG_INFINITY, f64::INFINITY), "");
    }
}
