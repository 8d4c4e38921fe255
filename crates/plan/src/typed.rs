//! Typed reading of values: what a key may hold, and the error when it holds something else.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::SpecError;
use super::document::{Node, Place, Value, fault};

/// Lower end of a range that leaves out zero.
pub(super) const ABOVE_ZERO: f64 = f64::MIN_POSITIVE;
/// Upper end of a range that leaves out one.
pub(super) const BELOW_ONE: f64 = 1.0 - f64::EPSILON / 2.0;

/// The values of dotted keys: those of one point of the grid over those of the file.
pub(super) struct Keys<'a> {
    pub base: &'a BTreeMap<String, Node>,
    pub over: Vec<(&'a str, &'a Node)>,
    /// Where a missing key would stand.
    pub place: &'a Place,
}

impl<'a> Keys<'a> {
    /// The value of `key`, if it has one.
    pub fn get(&self, key: &str) -> Option<&'a Node> {
        self.over.iter().find(|(name, _)| *name == key).map(|(_, node)| *node).or_else(|| self.base.get(key))
    }

    /// Where `key` stands, or would stand.
    pub fn place(&self, key: &str) -> &'a Place {
        self.get(key).map_or(self.place, |node| &node.place)
    }

    /// An error at `key`; the message starts with its name.
    pub fn place_fault(&self, key: &str, message: &str) -> SpecError {
        fault(self.place(key), format!("`{key}`: {message}"))
    }

    /// The value of `key`, or an error that says what it is for.
    pub fn require(&self, key: &str, what: &str) -> Result<&'a Node, SpecError> {
        self.get(key).ok_or_else(|| fault(self.place, format!("`{key}` is missing: {what}")))
    }

    pub fn integer(&self, key: &str, default: u64, range: RangeInclusive<u64>) -> Result<u64, SpecError> {
        self.get(key).map_or(Ok(default), |node| node.integer(key, range))
    }

    pub fn size(&self, key: &str, default: usize, range: RangeInclusive<u64>) -> Result<usize, SpecError> {
        usize::try_from(self.integer(key, default as u64, range)?)
            .map_err(|_| fault(self.place(key), format!("`{key}` is too large for this machine")))
    }

    pub fn number(&self, key: &str, default: f64, range: (f64, f64)) -> Result<f64, SpecError> {
        self.get(key).map_or(Ok(default), |node| node.number(key, range))
    }

    pub fn boolean(&self, key: &str, default: bool) -> Result<bool, SpecError> {
        self.get(key).map_or(Ok(default), |node| node.boolean(key))
    }

    pub fn one_of(&self, key: &str, default: &str, allowed: &[&str]) -> Result<String, SpecError> {
        self.get(key).map_or(Ok(default.to_owned()), |node| node.one_of(key, allowed))
    }

    pub fn text(&self, key: &str) -> Result<Option<String>, SpecError> {
        self.get(key).map(|node| node.text(key)).transpose()
    }
}

impl Node {
    /// A whole number; a float with a whole value is accepted.
    pub fn integer(&self, key: &str, range: RangeInclusive<u64>) -> Result<u64, SpecError> {
        let found = match self.value {
            Value::Integer(number) => u64::try_from(number).ok(),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: whole and within 2^53")]
            Value::Number(number) if number.fract() == 0.0 && (0.0..9e15).contains(&number) => Some(number as u64),
            _ => None,
        };
        found.filter(|number| range.contains(number)).ok_or_else(|| {
            let (low, high) = range.into_inner();
            let allowed = if high >= i64::MAX as u64 { format!("of at least {low}") } else { format!("from {low} to {high}") };
            self.fault(format!("`{key}` must be an integer {allowed}, not {}", self.shown()))
        })
    }

    /// A number within a closed range; `true` and `false` count as 1 and 0 where these are the ends of the range.
    pub fn number(&self, key: &str, range: (f64, f64)) -> Result<f64, SpecError> {
        let found = match self.value {
            #[expect(clippy::cast_precision_loss, reason = "a parameter beyond 2^53 has no use for its last digit")]
            Value::Integer(number) => Some(number as f64),
            Value::Number(number) => Some(number),
            Value::Boolean(flag) if range == (0.0, 1.0) => Some(f64::from(u8::from(flag))),
            _ => None,
        };
        found
            .filter(|number| (range.0..=range.1).contains(number))
            // -0 is 0
            .map(|number| number + 0.0)
            .ok_or_else(|| {
                self.fault(format!("`{key}` must be a number{}, not {}", imbalance::range(range.0, range.1), self.shown()))
            })
    }

    pub fn boolean(&self, key: &str) -> Result<bool, SpecError> {
        match self.value {
            Value::Boolean(flag) => Ok(flag),
            _ => Err(self.fault(format!("`{key}` must be true or false, not {}", self.shown()))),
        }
    }

    /// A string that is not empty.
    pub fn text(&self, key: &str) -> Result<String, SpecError> {
        match &self.value {
            Value::Text(text) if !text.trim().is_empty() => Ok(text.clone()),
            _ => Err(self.fault(format!("`{key}` must be a string that is not empty, not {}", self.shown()))),
        }
    }

    pub fn one_of(&self, key: &str, allowed: &[&str]) -> Result<String, SpecError> {
        let list = allowed.join(", ");
        match &self.value {
            Value::Text(text) if allowed.contains(&text.as_str()) => Ok(text.clone()),
            Value::Text(text) => {
                let hint = nearest(text, allowed.iter().copied());
                Err(self.fault(format!("`{key}` cannot be {}; allowed: {list}{hint}", self.shown())))
            }
            _ => Err(self.fault(format!("`{key}` must be one of {list}, not {}", self.shown()))),
        }
    }

    pub fn list(&self, key: &str, of: &str) -> Result<&[Self], SpecError> {
        match &self.value {
            Value::List(nodes) => Ok(nodes),
            _ => Err(self.fault(format!("`{key}` must be a list of {of}, not {}", self.shown()))),
        }
    }
}

/// `; did you mean `x`?` where a name is near, else nothing.
pub(super) fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    imbalance::nearest(name, names).map_or_else(String::new, |known| format!("; did you mean `{known}`?"))
}
