//! `sweep report`: the comparison.

use std::io::IsTerminal;
use std::path::Path;

use super::output::{TextTable, print, print_json, raw};
use super::preparing::Preparing;
use super::questions;
use super::terminal;
use crate::cli::{self, Format, Global, ReportFormat};
use crate::controller::progress::{Verbosity, say};
use crate::error::Error;
use crate::report::page::{PageBuilder, PageOptions, Place, quoted};
use crate::report::searched::{self, SearchView, StoppedStrategy};
use crate::report::{self, Form, LabelChoice, Question, Summary};
use store::{Reader, SweepId};

/// Rows whose labels are shown without `--top`.
const DETAILED: usize = 10;
/// Rows that `sweep run` shows when it has finished.
const AFTER_RUN: usize = 10;

/// Prints the report, or writes it to `--output`.
///
/// # Errors
/// An unknown name; database errors; a file that cannot be written.
pub async fn run(global: &Global, args: &cli::ReportArgs) -> Result<(), Error> {
    if args.stopped {
        return stopped(global, args).await;
    }
    let mut question = questions::report(args)?;
    if matches!(args.format, ReportFormat::Table | ReportFormat::Markdown) {
        question.detailed = question.top.unwrap_or(DETAILED);
        question.labels.get_or_insert(LabelChoice::Rare);
    }
    if args.no_images && args.format != ReportFormat::Html {
        return Err(Error::Usage("--no-images is for --format html: the others have no pictures".to_owned()));
    }
    if args.curves && args.format != ReportFormat::Json {
        return Err(Error::Usage("--curves is for --format json; the page (--format html) has its curves".to_owned()));
    }
    let form = table(args.output.is_none(), args.ascii);
    question.curves = args.format == ReportFormat::Table && is_illustrated(form);
    let mut reader = Reader::open(&global.db).await?;
    let sweep = reader.find_sweep(&args.sweep).await?;
    if args.format == ReportFormat::Html {
        return page(global, args, question, &mut reader, sweep.id).await;
    }
    let id = sweep.id;
    let mut summary = report::answer(&mut reader, sweep, &question).await?;
    if args.curves {
        summary.curves = Some(reader.curves(id, &[]).await?);
    }
    let form = match args.format {
        ReportFormat::Table => form,
        ReportFormat::Csv => Form::Csv,
        ReportFormat::Markdown => Form::Markdown,
        ReportFormat::Json | ReportFormat::Html => Form::Json,
    };
    let text = report::render(&summary, form)?;
    match &args.output {
        Some(path) => write(path, &text).map_err(|source| Error::Io { path: path.clone(), source }),
        None if form == Form::Json => print_json(&summary),
        None => print(&text),
    }
}

/// What a search has stopped.
async fn stopped(global: &Global, args: &cli::ReportArgs) -> Result<(), Error> {
    let json = match args.format {
        ReportFormat::Table => false,
        ReportFormat::Json => true,
        _ => return Err(Error::Usage("--stopped has the formats table and json".to_owned())),
    };
    let mut reader = Reader::open(&global.db).await?;
    let sweep = reader.find_sweep(&args.sweep).await?;
    let Some(found) = searched::search(&mut reader, sweep.id).await? else {
        let message = format!("`{}` has no [search]: it trains its whole grid, and nothing is stopped early", sweep.title);
        return Err(Error::Usage(message));
    };
    let text =
        if json { serde_json::to_string_pretty(&found).unwrap_or_default() + "\n" } else { in_words(&sweep.title, &found) };
    match &args.output {
        Some(path) => write(path, &text).map_err(|source| Error::Io { path: path.clone(), source }),
        None if json => print_json(&found),
        None => print(&text),
    }
}

fn in_words(title: &str, found: &SearchView) -> String {
    let mut text = format!("{title}: {}\n", found.title());
    let metric = found.search.halving.as_ref().map_or("", |halving| halving.metric.words());
    if !found.stopped.is_empty() {
        let mut table = TextTable::new(2, ["strategy", "run", "after", metric, "cut", "below by", "place"]);
        let number = |value: Option<f64>| value.map_or_else(|| "undefined".to_owned(), |value| format!("{value:.4}"));
        for StoppedStrategy { strategy, run, complete, decision, below } in &found.stopped {
            let run = format!("{}{}", run.get(..8).unwrap_or(run), if *complete { " (complete)" } else { "" });
            let (after, place) = (decision.evaluations.to_string(), format!("{} of {}", decision.place, decision.among));
            table.row([strategy.clone(), run, after, number(decision.value), number(decision.cut), number(*below), place]);
        }
        text.push_str(&format!("\n{table}after: evaluations before the rung; place: among those that had come there\n"));
    }
    let lines = found.notes().into_iter().filter(|note| !note.contains("--stopped")).chain(found.hidden());
    for line in lines {
        text.push_str(&format!("\n{}", report::wrap(&format!("- {line}"), 120).join("\n  ")));
    }
    text + "\n"
}

/// Writes the page, and says on stderr what it is.
async fn page(
    global: &Global,
    args: &cli::ReportArgs,
    question: Question,
    reader: &mut Reader,
    sweep: SweepId,
) -> Result<(), Error> {
    if question.split == report::Split::Test {
        return Err(Error::Usage(
            "--format html has val and test on one page: strategies rank on val, and test stands beside them; leave --split out"
                .to_owned(),
        ));
    }
    let preparing = Preparing::new(Verbosity::of(global.quiet));
    let options = PageOptions { question, images: !args.no_images, place: Place::File };
    let mut page = PageBuilder::new(options).build(reader, sweep, &|done, total| preparing.explaining(done, total)).await?;
    drop(preparing);
    let html = page.file()?;
    let Some(path) = &args.output else {
        if std::io::stdout().is_terminal() {
            return Err(Error::Usage("--format html writes a page: name its file, such as --output report.html".to_owned()));
        }
        return raw(&html);
    };
    write(path, &html).map_err(|source| Error::Io { path: path.clone(), source })?;
    if !global.quiet {
        let megabytes = html.len() as f64 / 1e6;
        say(&format!("{}: {megabytes:.1} MB, {} of {} runs", path.display(), page.model.runs.recorded, page.model.runs.total));
        page.model.missing.iter().for_each(|line| say(&format!("not on the page: {line}")));
    }
    Ok(())
}

/// The leaderboard as `sweep run` and `sweep resume` show it when they have finished: the best rows, and where to look next.
///
/// # Errors
/// Database errors; a stdout that cannot be written.
pub async fn print_after_run(db: &Path, sweep: SweepId, format: Format) -> Result<(), Error> {
    if format == Format::Json {
        return print_json(&leaderboard_json(db, sweep).await?);
    }
    let form = table(true, false);
    let question = Question { detailed: 1, labels: Some(LabelChoice::Rare), curves: is_illustrated(form), ..Question::default() };
    let summary = leaderboard(db, sweep, question).await?;
    let text = report::render(&summary, form)?;
    print(&format!("\n{text}\n{}", next_steps(db, &summary)))
}

/// The same leaderboard as the value that `sweep report --top 10 --format json` prints.
///
/// # Errors
/// Database errors.
pub async fn leaderboard_json(db: &Path, sweep: SweepId) -> Result<serde_json::Value, Error> {
    let summary = leaderboard(db, sweep, Question { detailed: AFTER_RUN, ..Question::default() }).await?;
    serde_json::to_value(summary).map_err(|error| Error::Unexpected(error.to_string()))
}

async fn leaderboard(db: &Path, sweep: SweepId, question: Question) -> Result<Summary, Error> {
    let question = &Question { top: Some(AFTER_RUN), ..question };
    // Another sweep may have begun as soon as this one was over.
    super::anew(|| async {
        let mut reader = Reader::open(db).await?;
        let sweep = reader.sweep(sweep).await?;
        report::answer(&mut reader, sweep, question).await
    })
    .await
}

/// Commands that show more, ready to be pasted.
fn next_steps(db: &Path, summary: &Summary) -> String {
    let db = db.display().to_string();
    let flag = if db == "sweep.db" { String::new() } else { format!(" --db {}", quoted(&db)) };
    let mut lines = vec![
        (format!("sweep explain{flag}"), "what each strategy changed, the numbers, and warnings"),
        (format!("sweep report{flag}"), "every row with its labels"),
        (format!("sweep report{flag} --split test"), "the same order, scored on test"),
    ];
    let recommended = summary.why.iter().flat_map(|why| &why.settings).find_map(|setting| setting.runs.first());
    let of_best_row = || summary.rows.iter().filter(|row| row.is_strategy()).find_map(|row| row.runs.first());
    let named = match recommended {
        Some(run) => Some((run, "a run of the recommended strategy: epochs, labels, configuration")),
        None => of_best_row().map(|run| (run, "a run of the best row: epochs, labels, configuration")),
    };
    if let Some((run, words)) = named {
        let run = run.get(..8).unwrap_or(run);
        lines.push((format!("sweep show {run}{flag}"), words));
        lines.push((format!("sweep export {run}{flag} --to model"), "its model; `sweep predict model PATH` scores new inputs"));
    }
    lines.push((format!("sqlite3 -box {}", quoted(&db)), "anything else: the views leaderboard and label_metrics"));
    let width = lines.iter().map(|(command, _)| command.chars().count()).max().unwrap_or(0).min(60);
    lines.iter().map(|(command, what)| format!("  {command:<width$}  # {what}\n")).collect()
}

/// Width of stdout: a terminal's own, 120 where there is none.
pub(super) fn width(to_stdout: bool) -> u16 {
    let terminal = to_stdout && std::io::stdout().is_terminal();
    comfy_table::Table::new().width().filter(|_| terminal).map_or(120, |width| width.max(80))
}

/// A table for stdout: with bold text and pictures on a terminal that supports them, plain otherwise.
fn table(to_stdout: bool, ascii: bool) -> Form {
    let terminal = to_stdout && std::io::stdout().is_terminal();
    let blocks = if to_stdout { terminal::blocks(ascii) } else { None };
    Form::Table { style: terminal && styled(), width: width(to_stdout), blocks }
}

fn is_illustrated(form: Form) -> bool {
    matches!(form, Form::Table { blocks: Some(_), .. })
}

/// Whether a terminal may be sent escape codes (<https://no-color.org>).
pub(super) fn styled() -> bool {
    let off = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !off && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Writes a temporary file and renames it, so that the report is never seen half-written. Anything but a regular file
/// (`/dev/stderr`) is written directly.
pub(super) fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return std::fs::write(path, text);
    }
    archive::file::write_for_others(path, |file| file.write_all(text.as_bytes())).map(drop)
}
