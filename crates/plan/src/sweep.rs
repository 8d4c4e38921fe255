//! A sweep file, read and checked: all that can be known before the data is.

use std::collections::HashSet;
use std::path::Path;

use super::document::{self, Place};
use super::flatten::Layout;
use super::grid::Grid;
use super::points::Parts;
use super::typed::Keys;
use super::{DataConfig, ModelConfig, Search, SpecError, WorkersConfig, schema, search};
use imbalance::{Choice, PosWeight};

/// What a sweep file says.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// `name`, else the file's name without `.toml`.
    pub name: String,
    pub workers: WorkersConfig,
    /// What is trained instead of the whole grid.
    pub search: Option<Search>,
    /// Where the search's budget stands, or would stand.
    pub(super) budget_place: String,
    /// Whether reference runs are planned beside those of the grid.
    pub reference: bool,
    /// What the file says in words of an older version, and what it is called now: a sentence each.
    pub old_spellings: Vec<String>,
    pub(super) grid: Grid,
    pub(super) parts: Parts,
}

/// A file of weights: where it is (a path, or its address on the hub with the commit), and the hash of what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightFile {
    pub source: String,
    pub content: String,
    /// Labels of its head, where a network that is trained whole can start with it.
    pub head: Option<usize>,
}

/// Reads a sweep file and `--set KEY=VALUE` changes to it. `file` is its name in errors.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn parse(file: &str, text: &str, overrides: &[String]) -> Result<Sweep, SpecError> {
    let root = document::read(file, text)?;
    let layout = Layout::new(&root, overrides)?;
    let place = |section: &str| layout.sections.get(section).unwrap_or(&root.place);
    let keys = |section| Keys { base: &layout.base, over: Vec::new(), place: place(section) };
    let name = name(&keys(""), file, &root.place)?;
    let workers = schema::workers(&keys("workers"))?;
    let search = search::search(&keys("search"), !layout.tuned.is_empty())?;
    let budget_place = keys("search").place("search.budget").to_string();
    let reference = keys("train").boolean(schema::REFERENCE, true)?;
    let grid = Grid::new(&layout, place("grid"))?;
    let parts = Parts::new(&grid, &layout, &root.place)?;
    Ok(Sweep { name, workers, search, budget_place, reference, old_spellings: schema::old_spellings(&layout), grid, parts })
}

fn name(keys: &Keys<'_>, file: &str, top: &Place) -> Result<String, SpecError> {
    let stem = || Path::new(file).file_stem().map_or_else(|| "sweep".to_owned(), |stem| stem.to_string_lossy().into_owned());
    let name = keys.text("name")?.unwrap_or_else(stem);
    let place = keys.get("name").map_or(top, |node| &node.place);
    match unusable_name(&name) {
        Some(why) => Err(document::fault(place, format!("`name` {why}"))),
        None => Ok(name),
    }
}

/// Why a sweep cannot have this name; `None` for a valid name.
#[must_use]
pub fn unusable_name(name: &str) -> Option<&'static str> {
    match name {
        "latest" => Some("cannot be \"latest\": commands use that word for the newest sweep"),
        _ if name.chars().any(imbalance::shown::is_obeyed) => {
            Some("must be one line of text without control characters and marks of direction")
        }
        _ => None,
    }
}

impl Sweep {
    /// The distinct data configurations of the grid, in order of first use: [`Sweep::plan`] wants the facts of each.
    #[must_use]
    pub fn data_configs(&self) -> Vec<DataConfig> {
        self.parts.data.distinct().map(|item| item.value.clone()).collect()
    }

    /// The distinct `pos_weight` values of the grid, in order of first use.
    #[must_use]
    pub fn pos_weights(&self) -> Vec<PosWeight> {
        self.parts.weight.distinct().map(|item| item.value.weight.clone()).collect()
    }

    /// The distinct samplers of the grid, every parameter filled in, in order of first use.
    #[must_use]
    pub fn samplers(&self) -> Vec<Choice> {
        self.parts.sampler.distinct().map(|item| item.value.choice.clone()).collect()
    }

    /// Rows of a training batch at the first point.
    #[must_use]
    pub fn batch_size(&self) -> usize {
        self.parts.train.distinct().next().map_or(1, |item| item.value.config.batch_size)
    }

    /// Weight files that the grid names, as typed: [`Sweep::plan`] wants the content hash of each.
    #[must_use]
    pub fn weight_files(&self) -> Vec<String> {
        let mut files: Vec<_> = self.parts.model.distinct().filter_map(|item| item.value.weights.clone()).collect();
        files.sort_unstable();
        files.dedup();
        files
    }

    /// The distinct networks that start with a file of weights, each with the index in [`Sweep::data_configs`] of the data that it is for.
    #[must_use]
    pub fn pretrained(&self) -> Vec<(&ModelConfig, usize)> {
        let mut seen = HashSet::new();
        let points = self.parts.points.iter().map(|ids| (self.parts.model.get(ids.model), self.parts.data.get(ids.data)));
        let new = points.filter(|(model, data)| model.value.weights.is_some() && seen.insert((model.identity, data.identity)));
        new.map(|(model, data)| (&model.value, data.identity as usize)).collect()
    }

    /// The axes of the product and how many values each has, in the order of the file.
    #[must_use]
    pub fn axes(&self) -> Vec<(String, usize)> {
        let axes = self.grid.axes.iter().map(|axis| (axis.key.clone(), axis.listed()));
        axes.filter(|(_, listed)| *listed > 0).collect()
    }

    /// The keys of `train.tune`: of the values of these axes each strategy gets the best.
    #[must_use]
    pub fn tuned(&self) -> Vec<String> {
        self.grid.axes.iter().filter(|axis| axis.tuned).map(|axis| axis.key.clone()).collect()
    }

    /// Points after `exclude` and `include`.
    #[must_use]
    pub fn points(&self) -> usize {
        self.parts.points.len()
    }
}
