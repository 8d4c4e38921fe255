//! New policies for recorded runs: a policy never trains, it reads the scores that a run has kept beside the database.

use std::io;
use std::path::Path;

use archive::Kept;
use imbalance::LabelMatrix;
use imbalance::metric;
use imbalance::threshold::Policy;
use plan::Fingerprint;
use protocol::{Event, SplitName};

/// Evaluations of a recorded run under `policies`, from its folder: val at every epoch, test where its scores were kept.
/// `Eval` events of attempt 0, as [`store::Writer::record`] takes them. A run without test rows (scores that were imported)
/// has none there.
///
/// # Errors
/// Kept scores are missing or damaged: the run has to be trained again.
pub fn evaluate(run: &Fingerprint, folder: &Path, policies: &[Policy]) -> io::Result<Vec<Event>> {
    let kept = Kept::open(folder)?;
    let epochs = kept.epochs()?;
    let mut events = Vec::new();
    for epoch in 0..epochs {
        let val = kept.val(epoch)?;
        let wanted = kept.has_test(epoch)? || epoch + 1 == epochs && kept.test_truth.rows() > 0;
        let test = if wanted { Some(kept.test(epoch)?) } else { None };
        for policy in policies {
            let thresholds = policy.fit(&val, &kept.val_truth);
            let mut add = |split, scores: &[f32], truth: &LabelMatrix| {
                let decisions = metric::decide(scores, truth, &thresholds);
                events.push(Event::Eval {
                    r: run.clone(),
                    a: 0,
                    epoch,
                    split,
                    policy: policy.clone(),
                    thresholds: decisions.thresholds,
                    counts: decisions.counts,
                    samples_f1: decisions.samples_f1,
                    subset_accuracy: decisions.subset_accuracy,
                });
            };
            add(SplitName::Val, &val, &kept.val_truth);
            if let Some(test) = &test {
                add(SplitName::Test, test, &kept.test_truth);
            }
        }
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use archive::testing;

    fn kept() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        testing::fill(folder.path());
        folder
    }

    #[test]
    fn a_policy_is_evaluated_from_kept_scores() {
        let folder = kept();
        let run = Fingerprint("a".into());
        let events = evaluate(&run, folder.path(), &[Policy::Fixed(0.5)]).unwrap();
        let seen: Vec<_> = events
            .iter()
            .map(|event| match event {
                Event::Eval { epoch, split, counts, .. } => {
                    (*epoch, *split, counts.iter().map(|c| (c.tp, c.fn_)).collect::<Vec<_>>())
                }
                other => panic!("{other:?}"),
            })
            .collect();
        let expected = [
            (0, SplitName::Val, vec![(1, 0), (0, 1)]),
            (1, SplitName::Val, vec![(1, 0), (1, 0)]),
            (1, SplitName::Test, vec![(0, 1), (1, 0)]),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn missing_or_damaged_scores_are_named() {
        let run = Fingerprint("a".into());
        for damage in ["epochs/val-0.npy", "epochs/test-1.npy", "truth-val.npy"] {
            let folder = kept();
            std::fs::remove_file(folder.path().join(damage)).unwrap();
            let error = evaluate(&run, folder.path(), &[Policy::Fixed(0.5)]).unwrap_err();
            assert!(error.to_string().contains(damage), "{error}");
        }
    }
}
