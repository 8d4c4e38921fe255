//! `sweep gc`: what lies beside the database and is not needed any more, and its removal.

use serde::Serialize;

use super::load::cache_folder;
use super::output::{self, Facts, bytes, counted};
use crate::cli::{Format, GcArgs, Global};
use crate::controller;
use crate::error::Error;
use crate::garbage::{Ask, Garbage, Kind, find};
use archive::Archive;
use archive::disk::Size;
use store::{Reader, Writer, holder};

/// The one JSON value of `gc`.
#[derive(Serialize)]
struct GcView {
    db: String,
    /// Whether it is gone.
    deleted: bool,
    keep: usize,
    kinds: Vec<KindView>,
    /// Bytes of all of it.
    bytes: u64,
    /// What is left alone though it might go, and why.
    notes: Vec<String>,
    /// Who writes to the database now; `None`: nobody on this machine.
    holder: Option<String>,
}

/// All that can go for one reason.
#[derive(Serialize)]
struct KindView {
    kind: Kind,
    /// Runs, folders or files, as `why` calls them.
    count: usize,
    files: u64,
    bytes: u64,
    why: String,
    afterwards: &'static str,
    paths: Vec<String>,
}

/// Lists what can go, and removes it where that is asked for.
///
/// # Errors
/// A database that cannot be read, or is written by somebody else while something is to be removed; a folder that is a link, or that
/// cannot be read; something that cannot be removed.
pub async fn run(global: &Global, args: &GcArgs) -> Result<(), Error> {
    let ask = Ask { keep: args.keep, epochs: args.epochs, cache: args.cache, features: args.max_features_size };
    // The reader first: a writer would create an empty database.
    let mut reader = Reader::open(&global.db).await?;
    let cache = cache_folder(&global.db);
    let found = if args.delete { delete(global, ask).await? } else { find(&mut reader, &cache, ask).await? };
    let view = GcView::new(global, args, found);
    match args.format {
        Format::Table => output::print(&view.text(global, args)),
        Format::Json => output::print_json(&view),
    }
}

async fn delete(global: &Global, ask: Ask) -> Result<Garbage, Error> {
    let mut writer = Writer::open(&global.db).await?;
    let cache = cache_folder(&global.db);
    // What a start of the program removes of itself is told, too.
    let mut found = find(&mut Reader::open(&global.db).await?, &cache, ask).await?;
    if archive::runs_folder(&global.db).exists() {
        let archive = Archive::beside(&global.db).map_err(Error::file)?;
        controller::recover(&mut writer, &archive).await?;
        let now = find(&mut Reader::open(&global.db).await?, &cache, ask).await?;
        found.join(now);
    }
    found.remove(store::now())?;
    writer.close().await?;
    Ok(found)
}

impl GcView {
    fn new(global: &Global, args: &GcArgs, found: Garbage) -> Self {
        let (mut kinds, mut all) = (Vec::new(), 0);
        for kind in Kind::ALL {
            let count = found.of(kind).count();
            if count == 0 {
                continue;
            }
            let Size { files, bytes } = found.size(kind);
            all += bytes;
            let (why, afterwards) = words(kind, count, args);
            let paths = found.of(kind).flat_map(|item| &item.paths).map(|path| path.display().to_string()).collect();
            kinds.push(KindView { kind, count, files, bytes, why, afterwards, paths });
        }
        let holder = if args.delete { None } else { holder(&global.db) };
        Self {
            db: global.db.display().to_string(),
            deleted: args.delete,
            keep: args.keep,
            kinds,
            bytes: all,
            notes: found.notes,
            holder,
        }
    }

    fn text(&self, global: &Global, args: &GcArgs) -> String {
        let mut facts = Facts::default();
        for view in &self.kinds {
            facts.add(title(view.kind), bytes(view.bytes), format!("{} ({})", view.why, counted(view.files as usize, "file")));
            facts.add("", "", format!("afterwards: {}", view.afterwards));
        }
        let db = global.db.display();
        let head = match (self.kinds.is_empty(), self.deleted) {
            (true, _) => format!("{db}: nothing can go\n"),
            (false, true) => format!("{db}: removed\n\n"),
            (false, false) => format!("{db}: what can go\n\n"),
        };
        if !self.kinds.is_empty() {
            let mut words = vec!["gc"];
            let keep = args.keep.to_string();
            if args.keep != 10 {
                words.extend(["--keep", &keep]);
            }
            words.extend(args.epochs.then_some("--epochs"));
            words.extend(args.cache.then_some("--cache"));
            let size = args.max_features_size.map(|size| size.to_string());
            words.extend(size.iter().flat_map(|size| ["--max-features-size", size]));
            words.push("--delete");
            let command = crate::shell::sweep(&words, &global.db);
            let rest =
                if self.deleted { "given back".to_owned() } else { format!("nothing is removed yet: `{command}` does it") };
            facts.add("all", bytes(self.bytes), rest);
        }
        if let Some(holder) = &self.holder {
            facts.add("in use", "", format!("by {holder}: --delete is refused until it has ended"));
        }
        self.notes.iter().for_each(|note| facts.add("note", "", note));
        format!("{head}{facts}")
    }
}

fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::UnknownRuns => "unknown runs",
        Kind::Leftovers => "leftovers",
        Kind::Parameters => "parameters",
        Kind::Epochs => "epochs",
        Kind::Prepared => "prepared data",
        Kind::Features => "features",
        Kind::Unfinished => "unfinished data",
    }
}

/// Why it can go, and what is not possible afterwards.
fn words(kind: Kind, count: usize, args: &GcArgs) -> (String, &'static str) {
    let keep = args.keep;
    match kind {
        Kind::UnknownRuns => (
            format!(
                "{} of runs that the database does not have: their sweep was removed, or they were copied here",
                counted(count, "folder")
            ),
            "nothing is missed by this database; if another database of this name has them, put it back first",
        ),
        Kind::Leftovers => (
            format!(
                "{} that killed processes have left, journals that could not be used, verdicts of sweeps that are gone",
                counted(count, "thing")
            ),
            "nothing is missed",
        ),
        Kind::Parameters => (
            format!(
                "of {} that {} not among the best {keep} of any sweep by val macro AP, and not exported",
                counted(count, "run"),
                if count == 1 { "is" } else { "are" }
            ),
            "no `export --to` and no `predict` of these runs (`export --to DIR --refit` trains anew); reports, new threshold policies, \
             `explain` and `export --predictions` work as before",
        ),
        Kind::Epochs => (
            format!("logits of all epochs but the best and the last of {}", counted(count, "run")),
            "a threshold policy that these runs do not have makes `sweep run` train them anew, and `report --epoch N` has only the \
             policies that they have",
        ),
        Kind::Prepared => (
            format!("{} of prepared data or features that no recorded run uses", counted(count, "folder")),
            "`sweep run` prepares them again, from your files",
        ),
        Kind::Features => (
            format!(
                "{} of features of frozen backbones that were used longest ago: the others take at most {}",
                counted(count, "folder"),
                bytes(args.max_features_size.unwrap_or(0))
            ),
            "the next run on them computes them again, which `sweep plan` says beforehand",
        ),
        Kind::Unfinished => (format!("{} of preparations that did not end", counted(count, "thing")), "nothing is missed"),
    }
}
