//! Pretrained weights: a local safetensors file or one on the Hugging Face hub, fitted to a network.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};

use super::state::{assign, parse_tensors};
use super::{ModelError, State};
use archive::file::open_regular;
use data::weights;

/// The stem, which reads the image's channels.
const STEM: &str = "features.conv0.weight";

/// The tensors of `source` by their present names, without counters of batches; `hash` is what the file must be, where that is known.
fn read(source: &str, hash: Option<&str>) -> Result<BTreeMap<String, Tensor>, ModelError> {
    let path = fetch(source)?;
    let mut bytes = Vec::new();
    let read = open_regular(&path).and_then(|mut file| file.read_to_end(&mut bytes));
    read.map_err(|error| ModelError::Weights(format!("{}: {error}", path.display())))?;
    as_planned(source, hash, || blake3::hash(&bytes).to_hex().to_string())?;
    let (tensors, _) = parse_tensors(&path, &bytes, &Device::Cpu).map_err(|error| match path.extension() {
        Some(extension) if extension != "safetensors" => ModelError::Weights(format!(
            "{error}; weights must be safetensors: convert with `safetensors.torch.save_file(torch.load(file), \"file.safetensors\")`"
        )),
        _ => error,
    })?;
    let kept = tensors.into_iter().filter(|(name, _)| !name.ends_with("num_batches_tracked"));
    Ok(kept.map(|(name, tensor)| (current_name(&name), tensor)).collect())
}

/// Refuses a file that is not the one that the run is named after.
pub(super) fn as_planned(source: &str, planned: Option<&str>, found: impl FnOnce() -> String) -> Result<(), ModelError> {
    match planned.filter(|&planned| planned != found()) {
        Some(_) => Err(ModelError::Weights(format!(
            "{source}: it has changed since the sweep was planned; put the file back, or `sweep run FILE` plans it again"
        ))),
        None => Ok(()),
    }
}

/// Sets `state` from those tensors of `source` that `rename` gives a name: these must be exactly the state's.
pub(super) fn load_body(source: &str, state: &State, rename: impl Fn(&str) -> Option<String>) -> Result<(), ModelError> {
    let tensors = read(source, None)?.into_iter().filter_map(|(name, tensor)| Some((rename(&name)?, tensor)));
    assign(state, &tensors.collect(), source)
}

/// Sets `state` from `source`: all keys must fit, except that counters of batches are ignored, a head for another number of labels
/// is replaced by the new one, and a stem for three channels is summed over them for grey images.
pub(super) fn load(source: &str, hash: Option<&str>, state: &State) -> Result<(), ModelError> {
    let mut tensors = read(source, hash)?;
    for name in ["classifier.weight", "classifier.bias"] {
        if let (Some(own), Some(theirs)) = (state.get(name), tensors.get(name))
            && own.dim(0)? != theirs.dim(0)?
        {
            tracing::info!("{source}: {name} is for {} labels, not {}: the head starts anew", theirs.dim(0)?, own.dim(0)?);
            tensors.insert(name.to_owned(), own.as_detached_tensor().copy()?);
        }
    }
    if let (Some(own), Some(theirs)) = (state.get(STEM), tensors.get(STEM))
        && own.rank() == 4
        && theirs.rank() == 4
        && (own.dim(1)?, theirs.dim(1)?) == (1, 3)
    {
        tracing::info!("{source}: {STEM} is for three channels: summed over them for grey images");
        let grey = theirs.to_dtype(DType::F32)?.sum_keepdim(1)?;
        tensors.insert(STEM.to_owned(), grey);
    }
    assign(state, &tensors, source)
}

/// torchvision's first DenseNet files write `norm.1` where its modules are named `norm1`.
fn current_name(name: &str) -> String {
    let mut name = name.to_owned();
    for part in ["norm", "conv"] {
        for digit in ['1', '2'] {
            name = name.replace(&format!(".{part}.{digit}."), &format!(".{part}{digit}."));
        }
    }
    name
}

/// A local path for `source`, downloaded once into the hub's usual cache.
pub(super) fn fetch(source: &str) -> Result<PathBuf, ModelError> {
    let found = weights::find(source, &mut |_, _| ()).map_err(|error| ModelError::Weights(error.to_string()))?;
    Ok(found.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_names() {
        assert_eq!(
            current_name("features.denseblock1.denselayer2.norm.1.weight"),
            "features.denseblock1.denselayer2.norm1.weight"
        );
        assert_eq!(current_name("features.transition1.norm.weight"), "features.transition1.norm.weight");
        assert_eq!(current_name("stages.1.conv.weight"), "stages.1.conv.weight");
    }
}
