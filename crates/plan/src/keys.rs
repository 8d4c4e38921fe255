//! Typed reading of values: what a key may hold, and the error when it holds something else.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::SpecError;
use super::tree::{Node, Place, Value, fault};

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
            .ok_or_else(|| self.fault(format!("`{key}` must be a number{}, not {}", range_text(range), self.shown())))
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

/// ` from 0 to 1`, ` above 0`, ...
pub(super) fn range_text((low, high): (f64, f64)) -> String {
    let low = match low {
        low if low <= -f64::MAX => String::new(),
        low if low > 0.0 && low < 1e-300 => " above 0".to_owned(),
        low => format!(" of at least {low}"),
    };
    let high = match high {
        high if high >= f64::MAX => String::new(),
        high if high < 1.0 && high > 1.0 - 1e-12 => " below 1".to_owned(),
        high => format!(" of at most {high}"),
    };
    if low.is_empty() || high.is_empty() { format!("{low}{high}") } else { format!("{low} and{high}") }
}

/// `; did you mean `x`?` where a name is near, else nothing.
pub(super) fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    // No key is so long, and the distance of a text of megabytes takes its square in memory.
    if name.len() > 100 {
        return String::new();
    }
    let lower = name.to_lowercase();
    names
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(&lower, known), known))
        .filter(|&(distance, known)| distance <= 1 + known.len().min(lower.len()) / 3)
        .min()
        .map_or_else(String::new, |(_, known)| format!("; did you mean `{known}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        assert_eq!(nearest("epoch", ["epochs", "batch_size"]), "; did you mean `epochs`?");
        assert_eq!(nearest("Fokal", ["bce", "focal"]), "; did you mean `focal`?");
        assert_eq!(nearest("zzz", ["bce", "focal"]), "");
    }

    #[test]
    fn ranges_read_like_a_sentence() {
        assert_eq!(range_text((0.0, 1.0)), " of at least 0 and of at most 1");
        assert_eq!(range_text((ABOVE_ZERO, f64::MAX)), " above 0");
        assert_eq!(range_text((0.0, BELOW_ONE)), " of at least 0 and below 1");
        assert_eq!(range_text((f64::NEG_INFINITY, f64::INFINITY)), "");
    }
}
