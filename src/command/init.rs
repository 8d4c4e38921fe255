//! `sweep init INPUT LABELS.csv`: looks at the files and writes a sweep file that fits them.

mod choose;
mod write;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::estimate::estimate;
use super::output::{self, Facts, counted, thousands};
use super::train;
use crate::cli;
use crate::controller::progress::span;
use crate::error::Error;
use choose::{Chosen, Grid, Taken};
use data::seen::{self, Pictures};
use data::{Ids, Table};
use imbalance::LabelCounts;
use imbalance::stratification::NAMES;
use plan::{Columns, DataFacts, ImageConfig, InputShape};
use std::collections::BTreeMap;

/// Endings of files of features.
const FEATURES: [&str; 2] = ["npy", "safetensors"];
/// The shares of train, val and test where the CSV does not divide.
const SHARES: [f64; 3] = [0.70, 0.15, 0.15];

/// The one JSON value of `init`.
#[derive(Serialize)]
struct InitView {
    file: String,
    /// What each column was taken for, and why.
    columns: Vec<Taken>,
    /// What was seen of the pictures or features, a sentence each.
    seen: Vec<String>,
    runs: usize,
    /// Seconds of training, of a machine like this one; `None` where nothing tells.
    seconds: Option<f64>,
    /// What stands in the way of `sweep plan`.
    open: Vec<String>,
}

/// What the input is.
enum Input {
    Images { root: PathBuf, pictures: Pictures },
    Features { file: PathBuf, rows: usize, width: usize },
}

/// A grid, and the edge to which pictures are scaled for it (0 for features).
#[derive(Clone, Copy)]
struct Fit<'g> {
    grid: &'g Grid,
    size: u32,
}

/// Edges of pictures that a small network is good for.
const SIZES: [u32; 4] = [96, 64, 48, 32];
/// Grids that are worth smaller pictures; what is smaller still has the smallest ones.
const WORTH: usize = 5;
/// Names of folders that say nothing about what is in them.
const FOLDERS: [&str; 10] = ["images", "image", "img", "imgs", "photos", "pictures", "data", "train", "jpegimages", "files"];

/// Everything that the sweep file follows from.
struct Looked {
    name: String,
    input: Input,
    labels: PathBuf,
    chosen: Chosen,
    table: Table,
}

/// Looks at the files, writes the sweep file, and says what was taken for what.
///
/// # Errors
/// Files that cannot be read at all; a sweep file that is there already.
pub fn run(args: &cli::InitArgs) -> Result<(), Error> {
    let labels = labels_of(args)?;
    let output = &args.output;
    if output.exists() && !args.force {
        let message =
            format!("{} is there already: give another name with --output, or --force to write over it", output.display());
        return Err(Error::Usage(message));
    }
    let looked = look(&args.input, &labels)?;
    let folder = output
        .parent()
        .map_or_else(|| PathBuf::from("."), |folder| if folder.as_os_str().is_empty() { ".".into() } else { folder.to_owned() });
    let (text, runs, seconds) = fitting(&looked, &folder, args.minutes)?;
    archive::file::write(output, |file| file.write_all(text.as_bytes()))
        .map_err(|source| Error::Io { path: output.clone(), source })?;
    let mut open = check(&text, output, &folder);
    if let Input::Images { pictures, .. } = &looked.input
        && pictures.missing > 0
    {
        let hint = pictures.hint.as_deref().unwrap_or("correct the paths of the CSV, or data.root");
        open.push(format!("{} of the files are not there: {hint}", thousands(pictures.missing)));
    }
    let view = InitView {
        file: output.display().to_string(),
        columns: looked.chosen.taken.clone(),
        seen: sentences(&looked),
        runs,
        seconds,
        open,
    };
    match args.format {
        cli::Format::Json => output::print_json(&view),
        cli::Format::Table => output::print(&view.text()),
    }
}

/// The CSV of labels: the one that was typed, or the only one in the folder or beside the features.
fn labels_of(args: &cli::InitArgs) -> Result<PathBuf, Error> {
    if let Some(labels) = &args.labels {
        return Ok(labels.clone());
    }
    let folder = if args.input.is_dir() { args.input.clone() } else { archive::file::folder_of(&args.input).to_owned() };
    let tables = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        entries
            .filter(|path| {
                path.extension().is_some_and(|ending| ["csv", "tsv"].iter().any(|known| ending.eq_ignore_ascii_case(known)))
            })
            .collect()
    };
    match tables(&folder).as_slice() {
        [only] => Ok(only.clone()),
        found => Err(Error::Usage(format!(
            "which file has the labels? {} has {}: name it after {}",
            folder.display(),
            counted(found.len(), "CSV file"),
            args.input.display()
        ))),
    }
}

/// Looks at everything.
fn look(input: &Path, labels: &Path) -> Result<Looked, Error> {
    let images = input.is_dir();
    if !images && !input.extension().is_some_and(|ending| FEATURES.iter().any(|known| ending.eq_ignore_ascii_case(known))) {
        let what = if input.exists() {
            "is neither a folder of images nor a .npy or .safetensors file of features"
        } else {
            "is not there"
        };
        return Err(Error::Usage(format!("{} {what}", input.display())));
    }
    let survey = data::survey(labels, &Columns::default())?;
    let ids = if images { Ids::Pictures } else { Ids::Rows };
    let mut chosen = choose::columns(&survey, ids);
    let mut table = data::read_labels(labels, &chosen.columns, ids)?;
    if choose::without_one_class(&mut chosen, &table, &survey) {
        table = data::read_labels(labels, &chosen.columns, ids)?;
    }
    let input = if images {
        let pictures = seen::pictures(input, &table.ids, &probe());
        if pictures.twice > 0 || pictures.equal.unwrap_or(0) > 0 {
            chosen.columns.group_duplicates = true;
        }
        Input::Images { root: input.to_owned(), pictures }
    } else {
        let (rows, width) = seen::features(input)?;
        Input::Features { file: input.to_owned(), rows, width }
    };
    let name = name_of(&input, labels);
    Ok(Looked { name, input, labels: labels.to_owned(), chosen, table })
}

/// The folder's name, of a folder that says more than `images`.
fn name_of(input: &Input, labels: &Path) -> String {
    let input = match input {
        Input::Images { root, .. } => root,
        Input::Features { file, .. } => archive::file::folder_of(file),
    };
    let full = std::path::absolute(input).unwrap_or_else(|_| input.to_owned());
    let named = full.ancestors().filter_map(|folder| folder.file_name()).map(|name| name.to_string_lossy().into_owned());
    let telling = named.take(2).find(|name| !FOLDERS.contains(&name.to_lowercase().as_str()));
    usable(&telling.or_else(|| labels.file_stem().map(|stem| stem.to_string_lossy().into_owned())).unwrap_or_default())
}

/// A name for the sweep.
fn usable(name: &str) -> String {
    let name: String =
        name.chars().map(|letter| if letter.is_ascii_alphanumeric() || "-_".contains(letter) { letter } else { '-' }).collect();
    let name = name.trim_matches('-').to_lowercase();
    if name.is_empty() || plan::unusable_name(&name).is_some() { "my-data".to_owned() } else { name }
}

/// How pictures are decoded to see how long it takes.
fn probe() -> ImageConfig {
    plan::parse("init", "data = { kind = \"images\", root = \".\", labels = \"x\" }\ngrid = { loss = [\"bce\"] }", &[])
        .ok()
        .and_then(|sweep| match sweep.data_configs().into_iter().next().map(|config| config.source) {
            Some(plan::Source::Images { image, .. }) => Some(image),
            _ => None,
        })
        .expect("the smallest sweep file of images is one")
}

/// The edges that pictures could have: not above their own.
fn sizes(input: &Input) -> Vec<u32> {
    match input {
        Input::Features { .. } => vec![0],
        Input::Images { pictures, .. } => {
            let median = pictures.sizes.get(pictures.sizes.len() / 2).map_or(64, |(width, height)| *width.min(height));
            SIZES.into_iter().filter(|&size| size <= median.max(SIZES[SIZES.len() - 1])).collect()
        }
    }
}

/// The sweep file with the largest grid that takes at most `minutes`, and what `init` says about it.
fn fitting(looked: &Looked, folder: &Path, minutes: f64) -> Result<(String, usize, Option<f64>), Error> {
    let sizes = sizes(&looked.input);
    let grids = choose::grids(&facts(looked, sizes[0]));
    let (large, small) = grids.split_at(WORTH.min(grids.len()));
    let least = sizes[sizes.len() - 1];
    let of_large = large.iter().flat_map(|grid| sizes.iter().map(move |&size| Fit { grid, size }));
    let mut last = None;
    for fit in of_large.chain(small.iter().map(|grid| Fit { grid, size: least })) {
        let facts = facts(looked, fit.size);
        let sweep = plan::parse("init", &write::text(looked, folder, fit, None), &[])?;
        let all: Vec<DataFacts> = sweep.data_configs().iter().map(|_| facts.clone()).collect();
        let planned = sweep.outline(&all, &BTreeMap::new())?;
        let workers = cli::WorkersArgs::default();
        let runs: Vec<usize> = (0..planned.runs.len()).collect();
        let slots = train::places(&workers, &sweep.workers).ok();
        let seconds = slots.and_then(|slots| estimate(&planned, &runs, &[], &slots, &[]).ok()).map(|estimate| estimate.seconds);
        last = Some((write::text(looked, folder, fit, seconds.map(span).as_deref()), runs.len(), seconds));
        if seconds.is_none_or(|seconds| seconds <= 60.0 * minutes) {
            break;
        }
    }
    last.ok_or_else(|| Error::Usage("there is no grid to write".to_owned()))
}

/// What a plan would know of the data, with rows divided by their shares.
fn facts(looked: &Looked, size: u32) -> DataFacts {
    let labels = &looked.table.labels;
    let input = match &looked.input {
        Input::Images { pictures, .. } => {
            InputShape::Image { channels: if pictures.grey { 1 } else { 3 }, height: size as usize, width: size as usize }
        }
        Input::Features { width, .. } => InputShape::Features { width: *width },
    };
    let of = |split: usize| match &looked.table.splits {
        Some(splits) if splits.iter().any(|&found| usize::from(found) == split) => {
            let rows: Vec<u32> =
                (0u32..).zip(splits).filter(|(_, found)| usize::from(**found) == split).map(|(row, _)| row).collect();
            labels.select(&rows).counts()
        }
        _ => share(&labels.counts(), SHARES[split]),
    };
    DataFacts {
        content: String::new(),
        labels: labels.names.to_vec(),
        input,
        train: of(0),
        val: of(1),
        test: of(2),
        folder: PathBuf::new(),
    }
}

/// Counts of a share of the rows.
fn share(counts: &LabelCounts, share: f64) -> LabelCounts {
    let part = |count: usize| ((count as f64 * share).round() as usize).max(usize::from(count > 0));
    LabelCounts::new(part(counts.rows), counts.positives.iter().map(|&count| part(count)).collect())
}

/// What keeps the written file from being used; empty if nothing does.
fn check(text: &str, output: &Path, folder: &Path) -> Vec<String> {
    let sweep = match plan::parse(&output.display().to_string(), text, &[]) {
        Ok(sweep) => sweep,
        Err(error) => return vec![error.to_string()],
    };
    let read = |source: &plan::Source| match source {
        plan::Source::Images { labels, columns, .. } => data::read_labels(&folder.join(labels), columns, Ids::Pictures).map(drop),
        plan::Source::Features { labels, columns, .. } => data::read_labels(&folder.join(labels), columns, Ids::Rows).map(drop),
        _ => Ok(()),
    };
    sweep.data_configs().iter().filter_map(|config| read(&config.source).err()).map(|error| error.to_string()).collect()
}

/// What was seen of the files, a sentence each.
fn sentences(looked: &Looked) -> Vec<String> {
    let mut said = vec![format!("{}: {}", looked.labels.display(), looked.table.layout)];
    match &looked.input {
        Input::Features { file, rows, width } => {
            said.push(format!("{}: {} rows of {width} features", file.display(), thousands(*rows)));
            if *rows != looked.table.ids.len() {
                said.push(format!(
                    "{rows} rows of features and {} rows of labels do not fit: `sweep plan` will refuse them",
                    looked.table.ids.len()
                ));
            }
        }
        Input::Images { root, pictures } => said.extend(of_pictures(root, pictures, looked)),
    }
    if let Some(splits) = &looked.table.splits {
        let rows = |split: usize| splits.iter().filter(|found| usize::from(**found) == split).count();
        let of: Vec<String> = NAMES
            .iter()
            .enumerate()
            .filter(|(split, _)| rows(*split) > 0)
            .map(|(split, name)| format!("{name} {}", thousands(rows(split))))
            .collect();
        let lacks = if of.len() < NAMES.len() { "; the split that it lacks is made from the train rows" } else { "" };
        said.push(format!("rows are divided by the CSV: {}{lacks}", of.join(", ")));
    }
    said
}

fn of_pictures(root: &Path, pictures: &Pictures, looked: &Looked) -> Vec<String> {
    let rows = looked.table.ids.len();
    let mut said = Vec::new();
    if let (Some(least), Some(most)) = (pictures.sizes.first(), pictures.sizes.last()) {
        let (width, height) = pictures.sizes[pictures.sizes.len() / 2];
        let size = if least == most {
            format!("{width}x{height}")
        } else {
            format!("{width}x{height} (from {}x{} to {}x{})", least.0, least.1, most.0, most.1)
        };
        let formats: Vec<String> = pictures.formats.keys().cloned().collect();
        let grey = if pictures.grey { "grey, " } else { "" };
        said.push(format!(
            "{}: {} pictures, {grey}{size}, {}",
            root.display(),
            thousands(rows - pictures.missing),
            formats.join(" and ")
        ));
    }
    if pictures.missing > 0 {
        said.push(format!("{} of {} files are not there", thousands(pictures.missing), thousands(rows)));
    }
    if let Some((file, why)) = &pictures.first_broken {
        said.push(format!(
            "{} of some pictures cannot be read, {file} for one: {why}; on_bad_image = \"skip\" leaves them out",
            pictures.broken
        ));
    }
    if pictures.deep > 0 {
        said.push(format!("{} of the pictures that were looked at have 16 bits a channel: if they use a part of that range only, pixel_range = \"used\"", pictures.deep));
    }
    match (pictures.twice, pictures.equal) {
        (0, Some(0)) => {}
        (0, None) => said.push("the pictures are too large to look for equal ones here; `sweep plan` does".to_owned()),
        (twice, equal) => said.push(format!(
            "{twice} pictures have several rows and {} are equal under several names: duplicates = \"group\" keeps them in one split",
            equal.unwrap_or(0)
        )),
    }
    let decoding =
        pictures.decoding.as_secs_f64() * rows as f64 / std::thread::available_parallelism().map_or(1, usize::from) as f64;
    if decoding > 1.0 {
        said.push(format!("reading all pictures once takes about {}", span(decoding)));
    }
    said
}

impl InitView {
    fn text(&self) -> String {
        let mut facts = Facts::default();
        for (at, said) in self.seen.iter().enumerate() {
            facts.add(if at == 0 { "seen" } else { "" }, "", said);
        }
        for (at, taken) in self.columns.iter().enumerate() {
            facts.add(if at == 0 { "columns" } else { "" }, "", taken.sentence());
        }
        let time = self.seconds.map_or_else(
            || "unknown on this machine".to_owned(),
            |seconds| format!("at most {} on this machine: most end on their own before", span(seconds)),
        );
        facts.add("grid", thousands(self.runs), format!("runs, {time}"));
        for (at, open) in self.open.iter().enumerate() {
            facts.add(if at == 0 { "open" } else { "" }, "", open);
        }
        let file = &self.file;
        format!(
            "wrote {file}\n\n{facts}\nLook at it, then `sweep plan {file}` says what it would do, and `sweep run {file}` does it.\n"
        )
    }
}
