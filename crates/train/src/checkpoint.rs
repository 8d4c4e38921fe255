//! Everything that an unfinished run needs to continue as if it had never stopped: parameters, running statistics, the optimizer's
//! state, the results of its epochs so far, and the seals of the files that belong to them. One safetensors file, sealed as a whole,
//! replaced after an epoch (after several where they are short).

use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::TrainError;
use super::keep::Folder;
use super::optimizer::Optimizer;
use crate::model::{self, State};
use archive::file;
use archive::seal::{self, Seals};
use plan::{FORMAT, Fingerprint};

/// The results of an epoch, apart from its scores.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochFacts {
    pub train_loss: f64,
    pub val_loss: f64,
    pub learning_rate: f64,
    pub seconds: f64,
    pub images_per_s: f64,
    /// Gradient steps so far.
    pub steps: u64,
}

/// The part of a checkpoint that is not tensors.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    run: Fingerprint,
    steps: u64,
    epochs: Vec<EpochFacts>,
    /// Seals of the files that the epochs so far have written.
    seals: Seals,
}

const HEADER: &str = "sweep";
/// The seal of the whole file.
const SEAL: &str = "seal";
const MODEL: &str = "model.";
const OPTIMIZER: &str = "optimizer.";

/// Writes the checkpoint after `epochs`.
///
/// # Errors
/// The file cannot be written; the previous checkpoint stays.
pub fn save(
    folder: &Folder,
    run: &Fingerprint,
    state: &State,
    optimizer: &Optimizer,
    epochs: &[EpochFacts],
) -> Result<(), TrainError> {
    let named = |prefix: &'static str, tensors: BTreeMap<String, Tensor>| {
        tensors.into_iter().map(move |(name, tensor)| (format!("{prefix}{name}"), tensor))
    };
    let tensors = named(MODEL, state.tensors()).chain(named(OPTIMIZER, optimizer.state())).collect();
    let header = Header {
        format: FORMAT,
        run: run.clone(),
        steps: optimizer.steps(),
        epochs: epochs.to_vec(),
        seals: folder.seals.clone(),
    };
    // Plain numbers and texts can always be serialised; an empty text would only make the checkpoint unusable.
    let header = serde_json::to_string(&header).unwrap_or_default();
    let metadata = HashMap::from([(HEADER.to_owned(), header), (SEAL.to_owned(), seal::blank())]);
    let path = folder.files().checkpoint();
    let mut bytes = model::serialize_tensors(&tensors, Some(metadata), &path)?;
    seal::stamp(&mut bytes);
    file::write(&path, |file| file.write_all(&bytes)).map_err(|source| TrainError::Io { path, source })?;
    Ok(())
}

/// A complete, undamaged checkpoint of this run and this version.
pub struct Checkpoint {
    pub epochs: Vec<EpochFacts>,
    pub seals: Seals,
    steps: u64,
    tensors: BTreeMap<String, Tensor>,
}

/// The checkpoint in the folder, if it is of this run and this version and undamaged.
#[must_use]
pub fn read(folder: &Folder, run: &Fingerprint) -> Option<Checkpoint> {
    let path = folder.files().checkpoint();
    let anew = |why: &str| tracing::warn!("{}: {why}; the run starts anew", path.display());
    let bytes = match file::read_ours(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            anew(&error.to_string());
            return None;
        }
    };
    match seal::intact(&bytes) {
        Some(true) => {}
        Some(false) => {
            anew("is damaged");
            return None;
        }
        None => {
            anew("has no seal: it is damaged or of an older program");
            return None;
        }
    }
    let (tensors, metadata) =
        model::parse_tensors(&path, &bytes, &Device::Cpu).inspect_err(|error| anew(&error.to_string())).ok()?;
    let header: Header = serde_json::from_str(metadata.get(HEADER)?).ok()?;
    let ours = header.format == FORMAT && header.run == *run;
    ours.then_some(Checkpoint { epochs: header.epochs, seals: header.seals, steps: header.steps, tensors })
}

impl Checkpoint {
    /// Restores `state` and `optimizer`. Returns `false`, with nothing changed, where the checkpoint does not fit them.
    ///
    /// # Errors
    /// Propagates Candle errors.
    pub fn restore(&self, state: &State, optimizer: &mut Optimizer) -> Result<bool, TrainError> {
        let part = |prefix: &str| -> BTreeMap<String, &Tensor> {
            self.tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor))).collect()
        };
        let parameters = part(MODEL);
        let fits = |(name, own): (&String, &Tensor)| parameters.get(name).is_some_and(|found| found.dims() == own.dims());
        if !state.tensors().iter().all(fits) || !optimizer.restore(&part(OPTIMIZER), self.steps)? {
            return Ok(false);
        }
        for (name, var) in state.parameters.iter().chain(&state.buffers) {
            var.set(&parameters[name].to_device(var.device())?)?;
        }
        Ok(true)
    }
}
