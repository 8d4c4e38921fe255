//! New policies for recorded runs: a policy never trains, it reads the scores that a run has kept beside the database.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::Path;
use std::sync::Arc;

use crate::data::LabelMatrix;
use crate::metric;
use crate::protocol::{Event, SplitName};
use crate::spec::Fingerprint;
use crate::strategy::threshold::Policy;

/// Evaluations of a recorded run under `policies`, from its folder: val at every epoch, test where its scores were kept.
/// `Eval` events of attempt 0, as [`crate::store::Writer::record`] takes them.
///
/// # Errors
/// Kept scores are missing or damaged: the run has to be trained again.
pub fn evaluate(run: &Fingerprint, folder: &Path, policies: &[Policy]) -> io::Result<Vec<Event>> {
    let val_truth = read_truth(&folder.join("truth-val.npy"))?;
    let test_truth = read_truth(&folder.join("truth-test.npy"))?;
    let kept = fs::read_dir(folder.join("epochs"))?.flatten();
    let epochs = kept.filter(|entry| entry.file_name().to_string_lossy().starts_with("val-")).count();
    let mut events = Vec::new();
    for epoch in 0..epochs {
        let val = read_scores(&folder.join(format!("epochs/val-{epoch}.npy")), &val_truth)?;
        let test = folder.join(format!("epochs/test-{epoch}.npy"));
        // Test scores are kept of the best and the last epoch.
        let test = if test.exists() || epoch + 1 == epochs { Some(read_scores(&test, &test_truth)?) } else { None };
        for policy in policies {
            let thresholds = policy.fit(&val, &val_truth);
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
            add(SplitName::Val, &val, &val_truth);
            if let Some(test) = &test {
                add(SplitName::Test, test, &test_truth);
            }
        }
    }
    Ok(events)
}

/// A `[rows, labels]` matrix in C order.
fn read<T: npyz::Deserialize>(path: &Path) -> io::Result<(usize, Vec<T>)> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let file = npyz::NpyFile::new(BufReader::new(File::open(path).map_err(named)?)).map_err(named)?;
    let &[_, labels] = file.shape() else { return Err(damaged(path, "is no matrix")) };
    if file.order() != npyz::Order::C {
        return Err(damaged(path, "is not in C order"));
    }
    Ok((labels as usize, file.into_vec().map_err(named)?))
}

fn read_truth(path: &Path) -> io::Result<LabelMatrix> {
    let (labels, values) = read::<u8>(path)?;
    if values.iter().any(|&value| value > 1) {
        return Err(damaged(path, "holds values that are not 0 or 1"));
    }
    // The database knows the names; here only the number of labels counts.
    let names: Arc<[String]> = (0..labels).map(|label| label.to_string()).collect();
    Ok(LabelMatrix { names, values })
}

fn read_scores(path: &Path, truth: &LabelMatrix) -> io::Result<Vec<f32>> {
    let (labels, scores) = read::<f32>(path)?;
    if labels != truth.names.len() || scores.len() != truth.values.len() {
        return Err(damaged(path, "does not have the rows and labels of the truth beside it"));
    }
    if scores.iter().any(|score| !score.is_finite()) {
        return Err(damaged(path, "holds scores that are not finite"));
    }
    Ok(scores)
}

fn damaged(path: &Path, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} {what}", path.display()))
}

/// Removes what an earlier result left, so that a run trains from scratch.
///
/// # Errors
/// The folder cannot be removed.
pub fn forget(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use npyz::WriterBuilder;

    use super::*;

    fn write<T: npyz::AutoSerialize + Copy>(path: &Path, labels: u64, values: &[T]) {
        let shape = [values.len() as u64 / labels, labels];
        let mut writer =
            npyz::WriteOptions::new().default_dtype().shape(&shape).writer(File::create(path).unwrap()).begin_nd().unwrap();
        writer.extend(values.iter().copied()).unwrap();
        writer.finish().unwrap();
    }

    fn kept() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("epochs")).unwrap();
        write(&path("truth-val.npy"), 2, &[1u8, 0, 0, 1]);
        write(&path("truth-test.npy"), 2, &[1u8, 1]);
        write(&path("epochs/val-0.npy"), 2, &[0.9f32, 0.2, 0.4, 0.1]);
        write(&path("epochs/val-1.npy"), 2, &[0.9f32, 0.2, 0.4, 0.6]);
        write(&path("epochs/test-1.npy"), 2, &[0.3f32, 0.7]);
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
            fs::remove_file(folder.path().join(damage)).unwrap();
            let error = evaluate(&run, folder.path(), &[Policy::Fixed(0.5)]).unwrap_err();
            assert!(error.to_string().contains(damage), "{error}");
        }
        let folder = kept();
        write(&folder.path().join("epochs/val-0.npy"), 2, &[0.9f32, f32::NAN, 0.4, 0.1]);
        assert!(evaluate(&run, folder.path(), &[Policy::Fixed(0.5)]).unwrap_err().to_string().contains("not finite"));
    }
}
