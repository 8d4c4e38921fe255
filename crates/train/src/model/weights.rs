//! Pretrained weights: a local safetensors file or one on the Hugging Face hub, loaded into a network as `data::weights` fits it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::state::{assign, parse_tensors};
use super::{ModelError, State};
use archive::file::open_regular;
use data::weights::{self, Header};
use plan::ModelConfig;
use plan::tensors::{Known, Tensors};

/// The head's tensors.
const HEAD: [&str; 2] = ["classifier.weight", "classifier.bias"];

/// A file of weights.
struct File {
    source: String,
    header: Header,
    tensors: BTreeMap<String, Tensor>,
}

/// Reads `source`; `hash` is what the file must be, where that is known.
fn read(source: &str, hash: Option<&str>) -> Result<File, ModelError> {
    let found = weights::find(source, &mut |_, _| ()).map_err(|error| ModelError::Gone(error.to_string()))?;
    let header = header(source, &found.path)?;
    let mut bytes = Vec::new();
    let read = open_regular(&found.path).and_then(|mut file| file.read_to_end(&mut bytes));
    read.map_err(|error| ModelError::Gone(format!("{}: {error}", found.path.display())))?;
    as_planned(source, hash, || blake3::hash(&bytes).to_hex().to_string())?;
    let (tensors, _) = parse_tensors(&found.path, &bytes, &Device::Cpu)?;
    Ok(File { source: source.to_owned(), header, tensors })
}

/// The controller has looked at the file before the run was dealt out: one that cannot be used now is another one, or gone.
fn header(source: &str, path: &Path) -> Result<Header, ModelError> {
    weights::header(path).map_err(|why| ModelError::Gone(format!("{source} {why}")))
}

/// Refuses a file that is not the one that the run is named after.
pub(super) fn as_planned(source: &str, planned: Option<&str>, found: impl FnOnce() -> String) -> Result<(), ModelError> {
    match planned.filter(|&planned| planned != found()) {
        Some(_) => Err(ModelError::Gone(format!(
            "{source}: it has changed since the sweep was planned; put the file back, or `sweep run FILE` plans it again"
        ))),
        None => Ok(()),
    }
}

impl File {
    fn misfit(&self, why: &str) -> ModelError {
        ModelError::Weights(format!("{} {why}", self.source))
    }

    fn tensor(&self, name: &str) -> Result<&Tensor, ModelError> {
        self.tensors.get(name).ok_or_else(|| self.misfit(&format!("has no tensor {name}")))
    }
}

/// The tensors below the head in `source`, which must be `planned` where that is known, under the names of `wanted`: finite numbers, or
/// features would be none, or those of another network.
pub(super) fn body(source: &str, planned: Option<&str>, wanted: &Tensors) -> Result<BTreeMap<String, Tensor>, ModelError> {
    let file = read(source, planned)?;
    let fit = weights::fit(&file.header, wanted).map_err(|why| file.misfit(&why))?;
    let finite = |(name, theirs): (&String, &String)| {
        let tensor = file.tensor(theirs)?;
        let numbers: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        match numbers.iter().find(|number| !number.is_finite()) {
            Some(bad) => Err(file.misfit(&format!("has {bad} in the tensor {theirs}: a number that is not finite"))),
            None => Ok((name.clone(), tensor.clone())),
        }
    };
    fit.names.iter().map(finite).collect()
}

/// Sets `state`, the network of `config`, from its file of weights; the head is the file's or stays new, as `config` has it.
pub(super) fn load(source: &str, config: &ModelConfig, known: Known, state: &State) -> Result<(), ModelError> {
    let file = read(source, config.weights_hash.as_deref())?;
    let (fit, start) = weights::suits(&file.header, config, known).map_err(|why| file.misfit(&why))?;
    let mut tensors = BTreeMap::new();
    for (name, theirs) in &fit.names {
        let tensor = file.tensor(theirs)?;
        let stem = fit.sum_stem && tensor.rank() == 4 && state.get(name).is_some_and(|own| own.dims() != tensor.dims());
        let tensor = if stem { tensor.to_dtype(DType::F32)?.sum_keepdim(1)? } else { tensor.clone() };
        tensors.insert(name.clone(), tensor);
    }
    let kept = fit.head.as_ref().filter(|_| start.kept);
    for (at, name) in HEAD.into_iter().enumerate() {
        let tensor = match (kept, state.get(name)) {
            (Some(head), _) => file.tensor([&head.weight, &head.bias][at])?.clone(),
            (None, Some(own)) => own.as_detached_tensor().copy()?,
            (None, None) => continue,
        };
        tensors.insert(name.to_owned(), tensor);
    }
    assign(state, &tensors, source)
}

/// A line for the log of a run that starts with a file of weights: how the file was fitted, and which head the run starts with.
#[must_use]
pub fn words(config: &ModelConfig, known: Known) -> Option<String> {
    let source = config.weights.as_deref()?;
    let header = weights::header(&weights::find_here(source)?).ok()?;
    let (fit, start) = weights::suits(&header, config, known).ok()?;
    let phrases: Vec<&str> = fit.words.iter().map(String::as_str).chain([start.words.as_str()]).collect();
    Some(format!("weights {source}: {}", phrases.join("; ")))
}
