//! Options of `sweep compare`: two runs, or groups of a sweep's runs. A wrong name is an error that lists the allowed ones.

use super::super::question::Split;
use crate::error::Error;
use imbalance::metric::certainty::Resampling;
use imbalance::threshold::Policy;

/// What is compared, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct CompareOptions {
    pub subject: Subject,
    /// Selects the sweep that groups are taken from.
    pub sweep: String,
    /// Of [`store::METRICS`].
    pub metrics: Vec<&'static str>,
    pub policies: Vec<Policy>,
    /// Whether the policies were asked for by name; otherwise one that cannot be evaluated is left out.
    pub policies_asked: bool,
    pub splits: Vec<Split>,
    /// Differences up to this mean nothing in practice.
    pub rope: f64,
    /// Resamples of the rows.
    pub replicates: usize,
}

/// What is compared.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// Fingerprints, or the starts of them.
    Runs(String, String),
    /// The others are compared with the first.
    Groups(Vec<Selector>),
}

/// `loss=asl,sampler=shuffle`: the runs with these values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// As typed.
    pub text: String,
    /// Column → value, as typed.
    pub terms: Vec<(String, String)>,
}

impl CompareOptions {
    /// How `rows` rows are resampled: the same draws in every call.
    #[must_use]
    pub fn resampling<'g>(&self, rows: usize, groups: Option<&'g [u32]>) -> Resampling<'g> {
        super::super::difference::resampling(rows, groups, self.replicates)
    }
}

impl Subject {
    /// Parses two runs, or two or more groups.
    ///
    /// # Errors
    /// [`Error::Usage`]: runs and groups mixed, more than two runs, a group that cannot be read.
    pub fn read(typed: &[String]) -> Result<Self, Error> {
        let groups = typed.iter().filter(|text| text.contains('=')).count();
        match typed {
            [a, b] if groups == 0 => Ok(Self::Runs(a.clone(), b.clone())),
            _ if groups == 0 => Err(Error::Usage(format!(
                "compare takes two runs, not {}; several are compared as groups, such as `sweep compare loss=bce loss=asl loss=focal`",
                typed.len()
            ))),
            _ if groups < typed.len() => {
                let run = typed.iter().find(|text| !text.contains('=')).map_or("", String::as_str);
                Err(Error::Usage(format!("`{run}` is a run among groups: compare two runs, or groups such as loss=bce loss=asl")))
            }
            _ => typed.iter().map(|text| Selector::read(text)).collect::<Result<_, _>>().map(Self::Groups),
        }
    }
}

impl Selector {
    /// Parses `column=value,column=value`; commas within brackets belong to the value.
    ///
    /// # Errors
    /// A term that is not `column=value`.
    pub fn read(text: &str) -> Result<Self, Error> {
        let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
        for (at, letter) in text.char_indices() {
            match letter {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth -= 1,
                ',' if depth == 0 => {
                    parts.push(&text[start..at]);
                    start = at + 1;
                }
                _ => {}
            }
        }
        parts.push(&text[start..]);
        let term = |part: &str| {
            let term = part.split_once('=').map(|(column, value)| (column.trim().to_owned(), value.trim().to_owned()));
            term.filter(|(column, value)| !column.is_empty() && !value.is_empty()).ok_or_else(|| {
                Error::Usage(format!("`{text}`: `{part}` is not column=value; a group is written loss=asl,sampler=shuffle"))
            })
        };
        Ok(Self { text: text.to_owned(), terms: parts.into_iter().map(term).collect::<Result<_, _>>()? })
    }
}
