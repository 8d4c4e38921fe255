//! New policies for recorded runs: evaluated from kept scores, without training.

use std::io;
use std::path::Path;

use super::{again, progress};
use crate::error::Error;
use crate::report::{RowGroups, Split, SweepGroups};
use archive::{Archive, Kept};
use imbalance::evaluation;
use imbalance::threshold::Policy;
use plan::Fingerprint;
use protocol::{Evaluated, Event, SplitName};
use store::{Reader, SweepId, Writer};

/// Evaluations of a recorded run under `policies`, from its folder: val at every epoch, test where its scores were kept.
/// `Eval` events of attempt 0, as [`store::Writer::record`] takes them. A run without test rows (scores that were imported)
/// has none there. At the best and the last epoch `HeldOut` events too, unless it is not known which rows are of one group.
///
/// # Errors
/// Kept scores that cannot be read; [`is_lost`] tells whether they are lost.
fn evaluate(
    run: &Fingerprint,
    folder: &Path,
    policies: &[Policy],
    groups: Result<Option<&RowGroups>, &str>,
) -> io::Result<Vec<Event>> {
    let kept = Kept::open(folder)?;
    let epochs = kept.epochs()?;
    let mut events = Vec::new();
    for epoch in 0..epochs {
        let val = kept.val(epoch)?;
        let wanted = kept.has_test(epoch)? || epoch + 1 == epochs && kept.test_truth.rows() > 0;
        let test = if wanted { Some(kept.test(epoch)?) } else { None };
        let fitted = evaluation::fit(policies, &val.scores, &kept.val_truth).map_err(io::Error::other)?;
        let on = |split| Evaluated { run, attempt: 0, epoch, split };
        events.extend(on(SplitName::Val).under(&fitted, &val.scores, &kept.val_truth));
        if let (true, Ok(groups)) = (wanted || epoch + 1 == epochs, groups) {
            let groups = groups.and_then(|groups| groups.of(Split::Val, kept.val_truth.rows()));
            let held_out = on(SplitName::Val).held_out(policies, &val.scores, &kept.val_truth, groups);
            events.extend(held_out.map_err(io::Error::other)?);
        }
        if let Some(test) = &test {
            events.extend(on(SplitName::Test).under(&fitted, &test.scores, &kept.test_truth));
        }
    }
    Ok(events)
}

/// Whether kept scores are missing, or are not what a worker writes. Any other error (permissions, too many open files, a failing
/// disk) says nothing about them: they may be intact.
fn is_lost(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// Rows of new policies from kept scores. Runs whose scores are lost are queued to be trained again, beside their recorded results.
///
/// # Errors
/// Kept scores that exist and cannot be read; a database without the files of its runs. Nothing is queued then.
pub async fn refill(writer: &mut Writer, sweep: SweepId, archive: &Archive, quiet: bool) -> Result<(), Error> {
    let (mut refilled, mut lost): (Vec<Fingerprint>, Vec<(Fingerprint, String)>) = (Vec::new(), Vec::new());
    let wanted = writer.unevaluated(sweep).await?;
    for policy in wanted.iter().flat_map(|(_, policies)| policies) {
        policy.admitted().map_err(|error| Error::Recorded { what: format!("policy {policy}"), why: error.to_string() })?;
    }
    let groups = if wanted.is_empty() {
        SweepGroups::default()
    } else {
        let mut reader = Reader::open(writer.path()).await?;
        SweepGroups::read(&mut reader, sweep).await?
    };
    for (run, policies) in &wanted {
        match evaluate(run, archive.run(&run.0).path(), policies, groups.of(&run.0)) {
            Ok(events) => {
                writer.record(&events).await?;
                refilled.push(run.clone());
            }
            Err(why) if is_lost(&why) => lost.push((run.clone(), why.to_string())),
            Err(source) => return Err(Error::KeptScores { run: run.clone(), source }),
        }
    }
    if !lost.is_empty()
        && lost.len() == wanted.len()
        && !any_folder(wanted.iter().map(|(run, _)| archive.run(&run.0).path().to_owned()))?
    {
        return Err(Error::NoRunFolders { folder: archive.runs().to_owned(), runs: lost.len() });
    }
    let short = if refilled.is_empty() { Vec::new() } else { writer.unevaluated(sweep).await? };
    let short: Vec<Fingerprint> = short.into_iter().map(|(run, _)| run).filter(|run| refilled.contains(run)).collect();
    refilled.retain(|run| !short.contains(run));
    lost.extend(short.into_iter().map(|run| (run, "some epochs are missing".to_owned())));
    if !refilled.is_empty() && !quiet {
        progress::say(&format!("evaluated new threshold policies on {} recorded runs, from their kept scores", refilled.len()));
    }
    let queued = writer.retraining().await?;
    for run in refilled.iter().filter(|run| queued.contains(run)) {
        again::forget(writer, archive, run).await?;
    }
    for (run, why) in lost {
        if !quiet {
            let run = run.short();
            progress::say(&format!(
                "run {run} is trained again: its kept scores cannot be used ({why}); its results stay until then"
            ));
        }
        writer.retrain(sweep, &run).await?;
    }
    Ok(())
}

fn any_folder(folders: impl IntoIterator<Item = std::path::PathBuf>) -> Result<bool, Error> {
    for path in folders {
        if path.try_exists().map_err(|source| Error::Io { path, source })? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        let events = evaluate(&run, folder.path(), &[Policy::Fixed(0.5)], Ok(None)).unwrap();
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
            let path = folder.path().join(damage);
            let error = || evaluate(&run, folder.path(), &[Policy::Fixed(0.5)], Ok(None)).unwrap_err();
            let bytes = fs::read(&path).unwrap();
            for cut in [0, 20, bytes.len() - 1] {
                fs::write(&path, &bytes[..cut]).unwrap();
                assert!(error().to_string().contains(damage) && is_lost(&error()), "{cut}: {:?}", error());
            }
            fs::write(&path, b"something else altogether").unwrap();
            assert!(error().to_string().contains(damage) && is_lost(&error()), "{:?}", error());
            fs::remove_file(&path).unwrap();
            assert!(error().to_string().contains(damage) && is_lost(&error()), "{:?}", error());
        }
        let folder = kept();
        fs::remove_dir_all(folder.path().join("epochs")).unwrap();
        assert!(is_lost(&evaluate(&run, folder.path(), &[Policy::Fixed(0.5)], Ok(None)).unwrap_err()));
    }

    /// A link to itself represents every file that exists and cannot be opened.
    #[cfg(unix)]
    #[test]
    fn scores_that_cannot_be_opened_are_not_lost() {
        let run = Fingerprint("a".into());
        for name in ["epochs/val-0.npy", "epochs/test-1.npy", "epochs/test-0.npy", "truth-val.npy", "epochs"] {
            let folder = kept();
            let path = folder.path().join(name);
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            std::os::unix::fs::symlink(&path, &path).unwrap();
            let error = evaluate(&run, folder.path(), &[Policy::Fixed(0.5)], Ok(None)).unwrap_err();
            assert!(error.to_string().contains(name) && !is_lost(&error), "{name}: {error:?}");
        }
    }
}
