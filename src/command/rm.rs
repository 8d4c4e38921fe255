//! `sweep rm SWEEP`: a sweep and the runs that nobody else has, removed.

use serde::Serialize;

use super::output::{self, Facts, bytes, counted, thousands};
use crate::cli::{Format, Global, RmArgs};
use crate::error::Error;
use crate::garbage::{self, Doomed};
use crate::report::wrap;
use crate::shell;
use crate::{cluster, controller};
use archive::Archive;
use store::{Reader, RowCounts, SweepRow, Writer, holder};

/// The one JSON value of `rm`.
#[derive(Serialize)]
struct RmView {
    sweep: SweepRow,
    /// Whether it is gone.
    deleted: bool,
    /// Fingerprints of the runs that go.
    runs: Vec<String>,
    /// How many of its runs belong to other sweeps, and stay.
    shared: i64,
    rows: RowCounts,
    files: u64,
    /// Of the files.
    bytes: u64,
    /// About what the rows take of the database.
    database_bytes: u64,
    /// Who writes to the database now; `None`: nobody on this machine.
    holder: Option<String>,
}

/// Says what goes with a sweep, and removes it where that is asked for.
///
/// # Errors
/// No such sweep; a database that cannot be read, or is written by somebody else while something is to be removed; a link in the place of
/// a run's folder; something that cannot be removed.
pub async fn run(global: &Global, args: &RmArgs) -> Result<(), Error> {
    let mut reader = Reader::open(&global.db).await?;
    let (sweep, doomed) = if args.delete {
        delete(global, args).await?
    } else {
        let sweep = reader.find_sweep(&args.sweep).await?;
        let doomed = garbage::doomed(&mut reader, sweep.id).await?;
        (sweep, doomed)
    };
    let Doomed { removal, size, .. } = doomed;
    let view = RmView {
        sweep,
        deleted: args.delete,
        runs: removal.runs,
        shared: removal.shared,
        rows: removal.rows,
        files: size.files,
        bytes: size.bytes,
        database_bytes: removal.rows.bytes(),
        holder: if args.delete { None } else { holder(&global.db) },
    };
    match args.format {
        Format::Table => output::print(&view.text(global)),
        Format::Json => output::print_json(&view),
    }
}

async fn delete(global: &Global, args: &RmArgs) -> Result<(SweepRow, Doomed), Error> {
    let mut writer = Writer::open(&global.db).await?;
    let mut reader = Reader::open(&global.db).await?;
    let sweep = reader.find_sweep(&args.sweep).await?;
    if archive::runs_folder(&global.db).exists() {
        let archive = Archive::beside(&global.db).map_err(Error::file)?;
        controller::recover(&mut writer, &archive).await?;
    }
    if cluster::is_there(&mut writer, sweep.id).await? {
        return Err(Error::Usage(format!("`{}` has tasks on a cluster; `sweep cancel` ends them first", sweep.title)));
    }
    let doomed = garbage::doomed(&mut reader, sweep.id).await?;
    garbage::remove_sweep(&mut writer, sweep.id, &doomed).await?;
    if let Err(error) = writer.shrink().await {
        tracing::warn!("the file of the database keeps its size, and later sweeps use the room: {error}");
    }
    writer.close().await?;
    Ok((sweep, doomed))
}

impl RmView {
    fn text(&self, global: &Global) -> String {
        let mut facts = Facts::default();
        let shared = match self.shared {
            0 => String::new(),
            1 => "; 1 more belongs to another sweep and stays".to_owned(),
            n => format!("; {} more belong to other sweeps and stay", thousands(n as usize)),
        };
        let rows = thousands(self.rows.total() as usize);
        facts.add(
            "runs",
            thousands(self.runs.len()),
            format!("that no other sweep has, with their attempts and results{shared}"),
        );
        facts.add("rows", rows, format!("about {} of the database", bytes(self.database_bytes)));
        facts.add("files", thousands(self.files as usize), format!("{} beside it", bytes(self.bytes)));
        let end = if self.deleted {
            String::new()
        } else {
            let command = shell::sweep(&["rm", &self.sweep.title, "--delete"], &global.db);
            let holder = self
                .holder
                .as_ref()
                .map_or_else(String::new, |holder| format!("\nin use by {holder}: --delete is refused until it has ended\n"));
            let words =
                format!("nothing is removed yet: `{command}` does it, for good; prepared data stays (`sweep gc --cache`)");
            format!("\n{}\n{holder}", wrap(&words, output::WIDTH).join("\n"))
        };
        let (state, points) = (&self.sweep.state, counted(self.sweep.points as usize, "point"));
        let head = if self.deleted { "removed" } else { "would be removed" };
        format!("{} ({state}, {points}): {head}\n\n{facts}{end}", imbalance::shown::escape(&self.sweep.title))
    }
}
