//! The tensors of a model by name, and their way to and from safetensors files.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

use candle_core::{Device, Tensor, Var};

use super::ModelError;
use archive::file;
use archive::seal::Seal;

/// The tensors of a model by name, in one fixed order.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Trained; frozen ones are left out.
    pub parameters: BTreeMap<String, Var>,
    /// Saved but not trained: running statistics, frozen parameters.
    pub buffers: BTreeMap<String, Var>,
}

impl State {
    /// Everything that is saved, by name.
    #[must_use]
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.parameters.iter().chain(&self.buffers).map(|(name, var)| (name.clone(), var.as_detached_tensor())).collect()
    }

    /// The variable `name`, trained or not.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Var> {
        self.parameters.get(name).or_else(|| self.buffers.get(name))
    }
}

/// Writes all tensors of `state` to the safetensors file `path`: complete or not at all.
///
/// # Errors
/// I/O errors, with the path.
pub fn save(state: &State, path: &Path) -> Result<(), ModelError> {
    save_tensors(&state.tensors(), None, path).map(drop)
}

/// Writes `tensors` and text `metadata` to the safetensors file `path`: a temporary file beside it, then renamed, so that `path` is
/// complete or untouched whenever the program stops. It does not wait for the disk. Returns the seal of the file.
///
/// # Errors
/// I/O errors, with the path.
pub fn save_tensors(
    tensors: &BTreeMap<String, Tensor>,
    metadata: Option<HashMap<String, String>>,
    path: &Path,
) -> Result<Seal, ModelError> {
    let bytes = serialize_tensors(tensors, metadata, path)?;
    file::write(path, |file| file.write_all(&bytes)).map_err(|source| ModelError::Write { path: path.to_owned(), source })
}

/// The bytes of the safetensors file `path` with `tensors` and text `metadata`.
///
/// # Errors
/// A tensor that cannot be read.
pub fn serialize_tensors(
    tensors: &BTreeMap<String, Tensor>,
    metadata: Option<HashMap<String, String>>,
    path: &Path,
) -> Result<Vec<u8>, ModelError> {
    let tensors = tensors.iter().map(|(name, tensor)| Ok((name, kernel::read(tensor)?)));
    safetensors::serialize(tensors.collect::<candle_core::Result<BTreeMap<_, _>>>()?, metadata)
        .map_err(|error| ModelError::Write { path: path.to_owned(), source: std::io::Error::other(error) })
}

/// A safetensors file: tensors by name, and its text metadata.
pub type Contents = (BTreeMap<String, Tensor>, HashMap<String, String>);

/// Reads a safetensors file of the user's.
///
/// # Errors
/// A file that is missing, truncated, no regular file or no safetensors, with the path.
pub fn load_tensors(path: &Path, device: &Device) -> Result<Contents, ModelError> {
    let failed = |error: std::io::Error| ModelError::Weights(format!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    file::open_regular(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(failed)?;
    parse_tensors(path, &bytes, device)
}

/// Reads the bytes of the safetensors file `path`.
///
/// # Errors
/// Bytes that are truncated or no safetensors, with the path.
pub fn parse_tensors(path: &Path, bytes: &[u8], device: &Device) -> Result<Contents, ModelError> {
    let failed = |what: &dyn std::fmt::Display| ModelError::Weights(format!("{}: {what}", path.display()));
    let not_safetensors = |error| failed(&format!("not a complete safetensors file ({error})"));
    let (_, header) = safetensors::SafeTensors::read_metadata(bytes).map_err(not_safetensors)?;
    let tensors = candle_core::safetensors::load_buffer(bytes, device)?;
    Ok((tensors.into_iter().collect(), header.metadata().clone().unwrap_or_default()))
}

/// Sets every tensor of `state` from the file `path`, which must have exactly these names and shapes (see [`save`]).
///
/// # Errors
/// A file that cannot be read; missing, unexpected or wrong-shape keys, listed.
pub fn load_state(state: &State, path: &Path) -> Result<(), ModelError> {
    let (tensors, _) = load_tensors(path, &Device::Cpu)?;
    assign_state(state, &tensors, path)
}

/// Sets every tensor of `state` from `tensors` of the file `path`, as [`load_state`].
///
/// # Errors
/// Missing, unexpected or wrong-shape keys, listed.
pub fn assign_state(state: &State, tensors: &BTreeMap<String, Tensor>, path: &Path) -> Result<(), ModelError> {
    assign(state, tensors, &path.display().to_string())
}

/// Keys listed in an error.
const LISTED: usize = 20;

/// Sets every variable of `state` from `tensors`; nothing is set unless all fit.
pub(super) fn assign(state: &State, tensors: &BTreeMap<String, Tensor>, source: &str) -> Result<(), ModelError> {
    let mut problems = Vec::new();
    for (name, var) in state.parameters.iter().chain(&state.buffers) {
        match tensors.get(name) {
            None => problems.push(format!("missing {name} {:?}", var.dims())),
            Some(tensor) if tensor.dims() != var.dims() => {
                problems.push(format!("wrong shape {name}: {:?}, expected {:?}", tensor.dims(), var.dims()));
            }
            Some(_) => {}
        }
    }
    problems.extend(tensors.keys().filter(|name| state.get(name).is_none()).map(|name| format!("unexpected {name}")));
    if !problems.is_empty() {
        let count = problems.len();
        let rest = if count > LISTED { format!("\n  ... and {} more", count - LISTED) } else { String::new() };
        problems.truncate(LISTED);
        return Err(ModelError::Weights(format!(
            "{source}: the weights do not fit the model, {count} keys differ:\n  {}{rest}",
            problems.join("\n  ")
        )));
    }
    for (name, var) in state.parameters.iter().chain(&state.buffers) {
        if let Some(tensor) = tensors.get(name) {
            var.set(&tensor.to_dtype(var.dtype())?.to_device(var.device())?)?;
        }
    }
    Ok(())
}
