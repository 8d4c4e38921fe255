//! The files of weights that a sweep names, before anything is dealt out or decoded: found or fetched, recognised, compared with the
//! networks that start with them, and hashed. One message for all runs.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::preparing::Preparing;
use crate::error::Error;
use archive::file::expand_home;
use data::DataError;
use data::weights::{self, Fit, Header, Start};
use imbalance::shown::cut;
use plan::tensors::Known;
use plan::{DataConfig, DataFacts, HubFile, ModelConfig, Sweep, WeightFile, meant_as_repository};
use protocol::Job;

/// Characters of a path in a message.
const LONG: usize = 300;

/// The files of weights of a sweep.
pub struct Weights {
    /// By what was typed, as a plan wants them.
    pub files: BTreeMap<String, WeightFile>,
    headers: BTreeMap<String, File>,
}

/// A file on this machine that holds tensors.
struct File {
    path: PathBuf,
    header: Header,
}

impl File {
    fn read(path: PathBuf) -> Result<Self, Error> {
        let header = weights::header(&path).map_err(|why| wrong(&path, &why))?;
        Ok(Self { path, header })
    }

    fn hash(&self, preparing: &Preparing) -> Result<String, Error> {
        let hash = weights::hash(&self.path, &mut |done, total| preparing.hashing(done, total));
        hash.map_err(|error| wrong(&self.path, &format!("cannot be read: {error}")))
    }

    /// How it fits a network, and the head that the network's runs start with.
    fn suits(&self, model: &ModelConfig, known: Known) -> Result<(Fit, Start), Error> {
        weights::suits(&self.header, model, known).map_err(|why| wrong(&self.path, &why))
    }
}

fn wrong(path: &Path, why: &str) -> Error {
    let message = format!("{} {why}", cut(&path.display().to_string(), LONG));
    Error::Data(DataError { place: "model.weights".to_owned(), message })
}

/// What was typed as a path that does not depend on the working folder, or as the address that it is.
fn source(typed: &str, base: &Path) -> String {
    if HubFile::parse(typed).is_some() {
        return typed.to_owned();
    }
    base.join(expand_home(Path::new(typed))).to_string_lossy().into_owned()
}

impl Weights {
    /// Finds, fetches and checks the files of `sweep`, as far as that is possible before its data is read.
    ///
    /// # Errors
    /// A file that cannot be had or used, or that is for another network; a repository's name in place of a file's.
    pub fn of(sweep: &Sweep, base: &Path, preparing: &Preparing) -> Result<Self, Error> {
        let (mut files, mut headers) = (BTreeMap::new(), BTreeMap::new());
        let (networks, configs) = (sweep.pretrained(), sweep.data_configs());
        for typed in sweep.weight_files() {
            let found = weights::find(&source(&typed, base), &mut |done, total| preparing.fetching(done, total))?;
            if let Some(meant) = meant_as_repository(&typed).filter(|_| !found.path.exists()) {
                return Err(Error::Usage(format!(
                    "model.weights: there is no file {typed} here; if it is a repository of the Hugging Face hub, write {meant}, or another \
                     file of it"
                )));
            }
            let file = File::read(found.path)?;
            let (mut said, mut head) = (BTreeSet::new(), None);
            for (model, data) in of_file(&networks, &typed) {
                let (fit, _) = file.suits(model, Known::of(&configs[data]))?;
                said.extend(fit.words);
                head = head.or(fit.head.filter(|_| model.freeze.is_none()).map(|head| head.labels));
            }
            said.iter().for_each(|words| preparing.note(&format!("weights {}: {words}", cut(&typed, LONG))));
            let content = file.hash(preparing)?;
            let floating = matches!(HubFile::parse(&typed), Some(Ok(HubFile { revision: None, .. })));
            if floating && found.source != typed {
                tracing::info!("{typed} is {} today: with that address it stays the same", found.source);
            }
            files.insert(typed.clone(), WeightFile { source: found.source, content, head });
            headers.insert(typed, file);
        }
        Ok(Self { files, headers })
    }

    /// Checks them once more with all that is known of the data, and tells which head runs start with.
    ///
    /// # Errors
    /// A file that does not fit the data.
    pub fn compare(&self, sweep: &Sweep, facts: &[DataFacts]) -> Result<(), Error> {
        let networks = sweep.pretrained();
        for (typed, file) in &self.headers {
            let mut said = BTreeSet::new();
            for (model, data) in of_file(&networks, typed) {
                let facts = &facts[data];
                let known = Known { input: Some(facts.input), labels: Some(facts.labels.len()) };
                said.insert(file.suits(model, known)?.1.words);
            }
            said.iter().for_each(|words| tracing::info!("weights {}: {words}", cut(typed, LONG)));
        }
        Ok(())
    }
}

/// The networks that start with the file that is typed so, each with the index of its data.
fn of_file<'n>(networks: &[(&'n ModelConfig, usize)], typed: &str) -> Vec<(&'n ModelConfig, usize)> {
    networks.iter().filter(|(model, _)| model.weights.as_deref() == Some(typed)).copied().collect()
}

/// What is wrong with those files of `sweep` that this machine has: nothing is fetched or hashed.
#[must_use]
pub fn faults(sweep: &Sweep, base: &Path) -> Vec<Error> {
    let (networks, configs) = (sweep.pretrained(), sweep.data_configs());
    let fault = |typed: String| {
        let file = File::read(weights::find_here(&source(&typed, base))?);
        let compared = file.and_then(|file| {
            of_file(&networks, &typed)
                .into_iter()
                .try_for_each(|(model, data)| file.suits(model, Known::of(&configs[data])).map(drop))
        });
        compared.err()
    };
    sweep.weight_files().into_iter().filter_map(fault).collect()
}

/// Finds the weights of recorded runs that are to be trained, fetches those that this machine lacks, and checks that they are what the
/// runs are named after and fit their networks.
///
/// # Errors
/// Weights that cannot be had or used, or have changed.
pub fn recorded<'a>(jobs: impl Iterator<Item = &'a Job>, preparing: &Preparing) -> Result<(), Error> {
    let mut networks: Vec<(&ModelConfig, &DataConfig, usize)> = Vec::new();
    for job in jobs.filter(|job| job.config.model.weights.is_some()) {
        let network = (&job.config.model, &job.config.data, job.pos_weight.len());
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    let mut files: BTreeMap<(&str, Option<&str>), File> = BTreeMap::new();
    for (model, data, labels) in networks {
        let Some(source) = model.weights.as_deref() else { continue };
        let planned = model.weights_hash.as_deref();
        let file = match files.entry((source, planned)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(as_planned(source, planned, preparing)?),
        };
        file.suits(model, Known { labels: Some(labels), ..Known::of(data) })?;
    }
    Ok(())
}

/// The file `source`, which must have the hash `planned`, where that is known.
fn as_planned(source: &str, planned: Option<&str>, preparing: &Preparing) -> Result<File, Error> {
    let found = weights::find(source, &mut |done, total| preparing.fetching(done, total))?;
    let file = File::read(found.path)?;
    let hash = file.hash(preparing)?;
    if planned.is_some_and(|planned| planned != hash) {
        let message = "it has changed since the sweep was planned; put the file back, or `sweep run FILE` plans it again";
        return Err(Error::Data(DataError { place: source.to_owned(), message: message.to_owned() }));
    }
    Ok(file)
}
