//! All that an unfinished run needs to go on as if it had never stopped: parameters, running statistics, the optimizer's memory,
//! and what its epochs have cost so far. One safetensors file, replaced after an epoch (after several, where they are done in a moment).

use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::TrainError;
use super::keep::Folder;
use super::optimizer::Optimizer;
use crate::model::{self, State};
use plan::{FORMAT, Fingerprint};

/// What an epoch came to, besides its scores.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochFacts {
    pub train_loss: f64,
    pub val_loss: f64,
    pub learning_rate: f64,
    pub seconds: f64,
    pub images_per_s: f64,
}

/// The part of a checkpoint that is no tensor.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    run: Fingerprint,
    steps: u64,
    epochs: Vec<EpochFacts>,
}

const HEADER: &str = "sweep";
const MODEL: &str = "model.";
const OPTIMIZER: &str = "optimizer.";

/// Writes the checkpoint after `epochs`.
///
/// # Errors
/// The file cannot be written; the last one stays.
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
    let header = Header { format: FORMAT, run: run.clone(), steps: optimizer.steps(), epochs: epochs.to_vec() };
    // Plain numbers and texts: they have a JSON form. Without one the checkpoint would only not be used.
    let header = serde_json::to_string(&header).unwrap_or_default();
    Ok(model::save_tensors(&tensors, Some(HashMap::from([(HEADER.to_owned(), header)])), &folder.checkpoint())?)
}

/// A checkpoint that was read whole, of this run and this version.
pub struct Checkpoint {
    pub epochs: Vec<EpochFacts>,
    steps: u64,
    tensors: BTreeMap<String, Tensor>,
}

/// The checkpoint in the folder, if there is one of this run and this version that can be read whole.
#[must_use]
pub fn read(folder: &Folder, run: &Fingerprint) -> Option<Checkpoint> {
    let path = folder.checkpoint();
    if !path.exists() {
        return None;
    }
    let (tensors, metadata) =
        model::load_tensors(&path, &Device::Cpu).inspect_err(|error| tracing::warn!("{error}; the run starts anew")).ok()?;
    let header: Header = serde_json::from_str(metadata.get(HEADER)?).ok()?;
    let ours = header.format == FORMAT && header.run == *run;
    ours.then_some(Checkpoint { epochs: header.epochs, steps: header.steps, tensors })
}

impl Checkpoint {
    /// Puts `state` and `optimizer` where the checkpoint left them. `false`, with nothing changed, where it does not fit them.
    ///
    /// # Errors
    /// Candle's.
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
