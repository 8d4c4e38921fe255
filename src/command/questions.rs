//! From flags to options of `report`, `compare` and `explain`, as checked values. An unknown name is an error with the allowed ones
//! and the nearest. The modules below do not know the flags.

use crate::cli;
use crate::error::Error;
use crate::report::compare::{self, Subject};
use crate::report::explain::{self, Groups, Rope};
use crate::report::{LabelChoice, Question, Split, unknown};
use imbalance::Choice;
use imbalance::threshold::{self, Policy};
use store::{At, METRICS};

/// Metrics that are compared unless one is named: ranking first, then decisions.
const USUAL: [&str; 3] = ["macro_ap", "macro_f1", "micro_f1"];

/// The question of `sweep report`; `detailed` and `curves` are left to the caller.
///
/// # Errors
/// [`Error::Usage`] for an unknown name or a number out of range.
pub fn report(args: &cli::ReportArgs) -> Result<Question, Error> {
    if args.top == Some(0) {
        return Err(Error::Usage("--top must be at least 1".to_owned()));
    }
    Ok(Question {
        metric: metric(&args.metric)?,
        metrics: match args.format {
            cli::ReportFormat::Json => &METRICS,
            // For tens of thousands of evaluations, reading the others costs half a second without being shown.
            _ => &["macro_ap"],
        },
        split: split(&args.split)?,
        at: match (args.epoch.as_str(), args.epoch.parse()) {
            ("best", _) => At::Best,
            ("last", _) => At::Last,
            (_, Ok(epoch)) => At::Epoch(epoch),
            (other, _) => return Err(unknown("--epoch", other, &["best", "last", "a number from 0"])),
        },
        policy: args.threshold.as_deref().map(policy).transpose()?,
        group_by: args.group_by.iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect(),
        top: args.top,
        detailed: usize::MAX,
        labels: args.labels.as_deref().map(LabelChoice::read),
        why: args.format != cli::ReportFormat::Csv,
        curves: false,
    })
}

/// The options of `sweep compare`.
///
/// # Errors
/// [`Error::Usage`]: runs and groups mixed, more than two runs, an unknown name, a number out of range.
pub fn compare(args: &cli::CompareArgs) -> Result<compare::CompareOptions, Error> {
    Ok(compare::CompareOptions {
        subject: Subject::read(&args.what)?,
        sweep: args.sweep.clone(),
        metrics: match &args.metric {
            None => USUAL.to_vec(),
            Some(typed) => vec![metric(typed)?],
        },
        policies: match &args.threshold {
            None => vec![Policy::Fixed(0.5), Policy::Fitted(Choice::plain("max_f1"))],
            Some(typed) => vec![policy(typed)?],
        },
        policies_asked: args.threshold.is_some(),
        splits: match &args.split {
            None => vec![Split::Val, Split::Test],
            Some(typed) => vec![split(typed)?],
        },
        rope: rope("--rope", args.rope)?,
        replicates: replicates(args.replicates)?,
    })
}

/// The options of `sweep explain`: what is computed, and what of it is shown.
///
/// # Errors
/// [`Error::Usage`] for a number out of range, or for an axis that strategies do not have.
pub fn explain(args: &cli::ExplainArgs) -> Result<(explain::ExplainOptions, explain::Shown), Error> {
    let rope = Rope { ap: rope("--rope-ap", args.rope_ap)?, f1: rope("--rope-f1", args.rope_f1)? };
    let groups =
        Groups { head: share("--head", args.head)?, tail: share("--tail", args.tail)?, tail_positives: args.tail_positives };
    if groups.tail > groups.head {
        return Err(Error::Usage(format!(
            "--tail {} is above --head {}: rare labels are below frequent ones",
            groups.tail, groups.head
        )));
    }
    let only = args.only.iter().map(|typed| only(typed)).collect::<Result<_, _>>()?;
    let shown = explain::Shown { only, top: args.top.max(1), all: args.all };
    Ok((explain::ExplainOptions { rope, groups, replicates: replicates(args.replicates)? }, shown))
}

/// `loss=asl`.
fn only(typed: &str) -> Result<(explain::Part, String), Error> {
    let parts = explain::Part::ALL.map(explain::Part::name);
    let Some((key, value)) = typed.split_once('=').filter(|(_, value)| !value.is_empty()) else {
        return Err(Error::Usage(format!(
            "--only {typed}: write KEY=VALUE, such as --only loss=asl; keys are {}",
            parts.join(", ")
        )));
    };
    let part = explain::Part::ALL.into_iter().find(|part| part.name() == key.trim());
    let part = part.ok_or_else(|| unknown("--only", key.trim(), &parts))?;
    Ok((part, value.trim().to_owned()))
}

fn share(flag: &str, value: f64) -> Result<f64, Error> {
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err(Error::Usage(format!("{flag} {value}: a share of the rows is from 0 to 1")))
    }
}

fn metric(typed: &str) -> Result<&'static str, Error> {
    METRICS.into_iter().find(|name| *name == typed).ok_or_else(|| unknown("--metric", typed, &METRICS))
}

fn split(typed: &str) -> Result<Split, Error> {
    match typed {
        "val" => Ok(Split::Val),
        "test" => Ok(Split::Test),
        other => Err(unknown("--split", other, &["val", "test"])),
    }
}

pub fn policy(typed: &str) -> Result<Policy, Error> {
    threshold::parse(typed).map_err(|error| Error::Usage(format!("--threshold: {error}")))
}

fn rope(flag: &str, size: f64) -> Result<f64, Error> {
    if (0.0..1.0).contains(&size) {
        Ok(size)
    } else {
        Err(Error::Usage(format!("{flag} {size}: differences that mean nothing are from 0 to below 1, such as 0.01")))
    }
}

fn replicates(count: usize) -> Result<usize, Error> {
    if (2..=1_000_000).contains(&count) {
        Ok(count)
    } else {
        Err(Error::Usage(format!("--replicates {count}: 2 to 1,000,000, and 500 is usual")))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn arguments(command: &str, flags: &str) -> cli::Command {
        cli::Cli::try_parse_from(["sweep", command].into_iter().chain(flags.split_whitespace())).unwrap().command
    }

    fn told<T>(result: Result<T, Error>) -> Result<T, String> {
        result.map_err(|error| {
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        })
    }

    fn asked_report(flags: &str) -> Result<Question, String> {
        let cli::Command::Report(args) = arguments("report", flags) else { panic!() };
        told(report(&args))
    }

    fn asked_compare(flags: &str) -> Result<compare::CompareOptions, String> {
        let cli::Command::Compare(args) = arguments("compare", flags) else { panic!() };
        told(compare(&args))
    }

    #[test]
    fn flags_of_report_are_read() {
        assert_eq!(asked_report("--format json").unwrap(), Question::default());
        assert_eq!(asked_report("").unwrap(), Question { metrics: &["macro_ap"], ..Question::default() });
        let question =
            asked_report("--metric hamming_loss --split test --epoch 3 --threshold 0.30 --group-by loss,sampler --top 2")
                .unwrap();
        assert_eq!((question.metric, question.lower_is_better(), question.split), ("hamming_loss", true, Split::Test));
        assert_eq!((question.at, question.policy, question.top), (At::Epoch(3), Some(Policy::Fixed(0.3)), Some(2)));
        assert_eq!(question.group_by, ["loss", "sampler"]);
        assert_eq!(asked_report("--epoch last").unwrap().at, At::Last);
    }

    #[test]
    fn wrong_names_are_told_with_the_right_ones() {
        let error = asked_report("--metric makro_f1").unwrap_err();
        assert!(
            error.starts_with("--metric has no `makro_f1` (did you mean `macro_f1`?); there are macro_f1, micro_f1,"),
            "{error}"
        );
        assert_eq!(
            asked_report("--split tset").unwrap_err(),
            "--split has no `tset` (did you mean `test`?); there are val, test"
        );
        assert_eq!(asked_report("--split train").unwrap_err(), "--split has no `train`; there are val, test");
        assert!(asked_report("--epoch lasst").unwrap_err().contains("did you mean `last`?"));
        assert!(asked_report("--epoch 1.5").unwrap_err().contains("a number from 0"));
        assert!(asked_report("--threshold max_f2").unwrap_err().contains("did you mean `max_f1`?"));
        assert!(asked_report("--threshold 1.5").unwrap_err().contains("from 0 to 1"));
        assert_eq!(asked_report("--top 0").unwrap_err(), "--top must be at least 1");
    }

    #[test]
    fn two_runs_or_groups() {
        let ask = asked_compare("1a2b 3c4d").unwrap();
        assert_eq!(ask.subject, Subject::Runs("1a2b".to_owned(), "3c4d".to_owned()));
        assert_eq!((ask.metrics.len(), ask.splits.len(), ask.policies.len(), ask.rope), (3, 2, 2, 0.01));
        let ask = asked_compare("loss=bce loss=asl(clip=0.05,gamma_neg=4),sampler=shuffle pos_weight=[1,2.5] --split test --threshold 0.3 --metric macro_f1").unwrap();
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
            ("a b --replicates 1", "500 is usual"),
        ] {
            let error = asked_compare(flags).unwrap_err();
            assert!(error.contains(told), "{flags}: {error}");
        }
        for (flags, wrong) in
            [("--rope-ap 1", "--rope-ap 1: "), ("--rope-f1=-0.1", "--rope-f1 -0.1: "), ("--replicates 1", "usual")]
        {
            let cli::Command::Explain(args) = arguments("explain", flags) else { panic!() };
            let error = told(explain(&args)).unwrap_err();
            assert!(error.contains(wrong), "{flags}: {error}");
        }
    }
}
