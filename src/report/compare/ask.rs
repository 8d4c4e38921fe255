//! What is asked of `sweep compare`: two runs, or groups of a sweep's runs. A wrong name is an error with the allowed ones.

use super::super::question::{Split, unknown};
use crate::cli;
use crate::error::Error;
use imbalance::Choice;
use imbalance::metric::certainty::Resampling;
use imbalance::threshold::{self, Policy};
use store::METRICS;

/// Metrics that are compared unless one is named: ranking first, then decisions.
const USUAL: [&str; 3] = ["macro_ap", "macro_f1", "micro_f1"];

/// A question about a difference.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    pub subject: Subject,
    /// Selects the sweep that groups are taken from.
    pub sweep: String,
    /// Of [`METRICS`].
    pub metrics: Vec<&'static str>,
    pub policies: Vec<Policy>,
    /// Whether the policies were asked for: else one that cannot be evaluated is left out.
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

impl Ask {
    /// Reads the flags.
    ///
    /// # Errors
    /// [`Error::Usage`]: runs and groups mixed, more than two runs, a name that does not exist, a number out of range.
    pub fn read(args: &cli::Compare) -> Result<Self, Error> {
        let usage = |message: String| Err(Error::Usage(message));
        let metrics = match &args.metric {
            None => USUAL.to_vec(),
            Some(typed) => {
                let known = METRICS.iter().find(|name| **name == typed.as_str());
                vec![*known.ok_or_else(|| unknown("--metric", typed, &METRICS))?]
            }
        };
        let splits = match args.split.as_deref() {
            None => vec![Split::Val, Split::Test],
            Some("val") => vec![Split::Val],
            Some("test") => vec![Split::Test],
            Some(other) => return Err(unknown("--split", other, &["val", "test"])),
        };
        let policies = match &args.threshold {
            None => vec![Policy::Fixed(0.5), Policy::Fitted(Choice::plain("max_f1"))],
            Some(typed) => vec![threshold::parse(typed).map_err(|error| Error::Usage(format!("--threshold: {error}")))?],
        };
        if !(0.0..1.0).contains(&args.rope) {
            return usage(format!("--rope {}: differences that mean nothing are from 0 to below 1, such as 0.01", args.rope));
        }
        if !(2..=1_000_000).contains(&args.replicates) {
            return usage(format!("--replicates {}: 2 to 1,000,000, and 1,000 is usual", args.replicates));
        }
        Ok(Self {
            subject: subject(&args.what)?,
            sweep: args.sweep.clone(),
            metrics,
            policies,
            policies_asked: args.threshold.is_some(),
            splits,
            rope: args.rope,
            replicates: args.replicates,
        })
    }

    /// How `rows` rows are resampled: the same draws in every call.
    #[must_use]
    pub fn resampling<'g>(&self, rows: usize, groups: Option<&'g [u32]>) -> Resampling<'g> {
        super::super::difference::resampling(rows, groups, self.replicates)
    }
}

fn subject(typed: &[String]) -> Result<Subject, Error> {
    let groups = typed.iter().filter(|text| text.contains('=')).count();
    match typed {
        [a, b] if groups == 0 => Ok(Subject::Runs(a.clone(), b.clone())),
        _ if groups == 0 => Err(Error::Usage(format!(
            "compare takes two runs, not {}; several are compared as groups, such as `sweep compare loss=bce loss=asl loss=focal`",
            typed.len()
        ))),
        _ if groups < typed.len() => {
            let run = typed.iter().find(|text| !text.contains('=')).map_or("", String::as_str);
            Err(Error::Usage(format!("`{run}` is a run among groups: compare two runs, or groups such as loss=bce loss=asl")))
        }
        _ => typed.iter().map(|text| Selector::read(text)).collect::<Result<_, _>>().map(Subject::Groups),
    }
}

impl Selector {
    /// Reads `column=value,column=value`; commas within brackets belong to the value.
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn read(flags: &str) -> Result<Ask, String> {
        let cli = cli::Cli::try_parse_from(["sweep", "compare"].into_iter().chain(flags.split_whitespace())).unwrap();
        let cli::Command::Compare(args) = cli.command else { panic!() };
        Ask::read(&args).map_err(|error| {
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        })
    }

    #[test]
    fn two_runs_or_groups() {
        let ask = read("1a2b 3c4d").unwrap();
        assert_eq!(ask.subject, Subject::Runs("1a2b".to_owned(), "3c4d".to_owned()));
        assert_eq!((ask.metrics.len(), ask.splits.len(), ask.policies.len(), ask.rope), (3, 2, 2, 0.01));
        let ask = read("loss=bce loss=asl(clip=0.05,gamma_neg=4),sampler=shuffle pos_weight=[1,2.5] --split test --threshold 0.3 --metric macro_f1").unwrap();
        let Subject::Groups(groups) = &ask.subject else { panic!() };
        let terms = |at: usize| groups[at].terms.iter().map(|(a, b)| format!("{a} is {b}")).collect::<Vec<_>>();
        assert_eq!(terms(1), ["loss is asl(clip=0.05,gamma_neg=4)", "sampler is shuffle"]);
        assert_eq!(terms(2), ["pos_weight is [1,2.5]"]);
        assert_eq!((ask.metrics.as_slice(), ask.splits.as_slice()), (&["macro_f1"][..], &[Split::Test][..]));
        assert_eq!((ask.policies.as_slice(), ask.policies_asked), (&[Policy::Fixed(0.3)][..], true));
    }

    #[test]
    fn mixtures_and_wrong_names_are_told() {
        for (flags, told) in [
            ("1a2b loss=bce", "`1a2b` is a run among groups"),
            ("1a 2b 3c", "two runs, not 3"),
            ("loss= loss=bce", "is not column=value"),
            ("loss=bce,focal loss=bce", "`focal` is not column=value"),
            ("a b --metric makro_f1", "did you mean `macro_f1`?"),
            ("a b --split tset", "did you mean `test`?"),
            ("a b --threshold maxf1", "did you mean `max_f1`?"),
            ("a b --rope 2", "such as 0.01"),
            ("a b --replicates 1", "1,000 is usual"),
        ] {
            let error = read(flags).unwrap_err();
            assert!(error.contains(told), "{flags}: {error}");
        }
    }
}
