//! `sweep export`: what other programs need of a run, as files.

use std::path::Path;

use super::questions;
use super::report::write;
use crate::cli::{self, Global};
use crate::controller::progress::{Verbosity, say};
use crate::error::Error;
use crate::report::Split;
use crate::report::predictions::{Ask, Predictions, predictions};
use imbalance::metric::calibration::Repair;
use store::Reader;

/// Writes the predictions of the run that `args` names.
///
/// # Errors
/// A file that is there; no run or more than one matches; scores or data that are gone; a file that cannot be written.
pub async fn run(global: &Global, args: &cli::ExportArgs) -> Result<(), Error> {
    let path = &args.predictions;
    let ask = Ask {
        split: match args.split {
            cli::ExportSplit::Val => Some(Split::Val),
            cli::ExportSplit::Test => Some(Split::Test),
            cli::ExportSplit::All => None,
        },
        policy: args.threshold.as_deref().map(questions::policy).transpose()?,
        calibrated: args.calibrated,
    };
    let io = |source| Error::Io { path: path.clone(), source };
    is_free(path, args.force)?;
    let found = predictions(&mut Reader::open(&global.db).await?, &args.run, &ask).await?;
    write(path, &found.csv).map_err(io)?;
    if Verbosity::of(global.quiet) != Verbosity::Quiet {
        say(&format!("{}: {}", path.display(), words(&found)));
    }
    Ok(())
}

/// Refuses to write over what is at `path`, unless `force` says so.
///
/// # Errors
/// Something is there.
pub(super) fn is_free(path: &Path, force: bool) -> Result<(), Error> {
    // A link to nothing is something, too; a device is written to.
    let taken = std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file() || found.is_symlink() || found.is_dir());
    if taken && !force {
        return Err(Error::Usage(format!("{} exists: --force writes over it", path.display())));
    }
    Ok(())
}

/// `1,200 rows; decisions under max_f1, ...`.
fn words(found: &Predictions) -> String {
    let chosen = found.held_out_f1.map_or_else(String::new, |f1| {
        format!(", the best of the run's policies on val (macro F1 {f1:.3} on rows that its thresholds have not seen)")
    });
    let mut words = format!("{} rows; decisions under {}{chosen}", super::output::thousands(found.rows), found.policy);
    if let Some((repair, nll)) = &found.repair {
        let fitted = "fitted on val, and val's own rows through one fitted on the other parts of it";
        let by = match repair {
            Repair::None => "as they are, since no map makes val likelier".to_owned(),
            Repair::Link => "through the loss's formula".to_owned(),
            Repair::Platt => format!("through a line per label (Platt) {fitted}"),
            Repair::Isotonic => format!("through steps per label (isotonic regression) {fitted}"),
        };
        let link = nll.link.map_or_else(String::new, |nll| format!("formula {nll:.4}, "));
        words += &format!(
            "; scores {by} (negative log-likelihood of held-out val: as they are {:.4}, {link}line {:.4}, steps {:.4})",
            nll.none, nll.platt, nll.isotonic
        );
    }
    if found.numbered {
        words += "; rows are numbered from 0 within their split in the order of the import, whose CSV of labels is gone or has changed";
    }
    words
}
