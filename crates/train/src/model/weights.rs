//! Pretrained weights: a local safetensors file or one on the Hugging Face hub, fitted to a network.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use hf_hub::api::sync::{ApiBuilder, ApiError};

use super::state::{assign, load_tensors};
use super::{ModelError, State};

/// The stem, which reads the image's channels.
const STEM: &str = "features.conv0.weight";

/// How long another worker may take to download the same file.
const PATIENCE: Duration = Duration::from_secs(600);

/// The tensors of `source` by their present names, without counters of batches.
fn read(source: &str) -> Result<BTreeMap<String, Tensor>, ModelError> {
    let path = fetch(source)?;
    let (tensors, _) = load_tensors(&path, &Device::Cpu).map_err(|error| match path.extension() {
        Some(extension) if extension != "safetensors" => ModelError::Weights(format!(
            "{error}; weights must be safetensors: convert with `safetensors.torch.save_file(torch.load(file), \"file.safetensors\")`"
        )),
        _ => error,
    })?;
    let kept = tensors.into_iter().filter(|(name, _)| !name.ends_with("num_batches_tracked"));
    Ok(kept.map(|(name, tensor)| (current_name(&name), tensor)).collect())
}

/// Sets `state` from those tensors of `source` that `rename` gives a name: these must be exactly the state's.
pub(super) fn load_body(source: &str, state: &State, rename: impl Fn(&str) -> Option<String>) -> Result<(), ModelError> {
    let tensors = read(source)?.into_iter().filter_map(|(name, tensor)| Some((rename(&name)?, tensor)));
    assign(state, &tensors.collect(), source)
}

/// Sets `state` from `source`: all keys must fit, except that counters of batches are ignored, a head for another number of
/// labels is replaced by the new one, and a stem for three channels is summed over them for grey images.
pub(super) fn load(source: &str, state: &State) -> Result<(), ModelError> {
    let mut tensors = read(source)?;
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

/// `hf://owner/repo/path/in/repo` → (`owner/repo`, `path/in/repo`); `None` for anything else.
fn hub_address(source: &str) -> Option<Result<(String, String), ModelError>> {
    let address = source.strip_prefix("hf://")?;
    let mut parts = address.splitn(3, '/').filter(|part| !part.is_empty());
    Some(match (parts.next(), parts.next(), parts.next()) {
        (Some(owner), Some(repo), Some(file)) => Ok((format!("{owner}/{repo}"), file.to_owned())),
        _ => Err(ModelError::Weights(format!("`{source}` must be hf://owner/repo/file.safetensors"))),
    })
}

/// A local path for `source`, downloaded once into the hub's usual cache.
pub(super) fn fetch(source: &str) -> Result<PathBuf, ModelError> {
    let Some(address) = hub_address(source) else { return Ok(PathBuf::from(source)) };
    let (repo, file) = address?;
    let failed = |error: ApiError| {
        ModelError::Weights(format!(
            "{source}: cannot fetch it from the Hugging Face hub ({}); without network, download `{file}` of `{repo}` elsewhere and \
             give its path as `weights`",
            causes(&error)
        ))
    };
    let api = ApiBuilder::from_env().with_progress(false).with_retries(2).build().map_err(failed)?.model(repo.clone());
    let start = Instant::now();
    loop {
        match api.get(&file) {
            // Another worker is downloading it; the hub's client itself waits a few seconds only.
            Err(ApiError::LockAcquisition(_)) if start.elapsed() < PATIENCE => {}
            fetched => return fetched.map_err(failed),
        }
    }
}

/// An error and what it comes from, without repetitions.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_addresses() {
        assert!(hub_address("weights/file.safetensors").is_none());
        let (repo, file) = hub_address("hf://timm/densenet121.tv_in1k/a/model.safetensors").unwrap().unwrap();
        assert_eq!((repo.as_str(), file.as_str()), ("timm/densenet121.tv_in1k", "a/model.safetensors"));
        for bad in ["hf://", "hf://timm", "hf://timm/densenet121", "hf://timm//file"] {
            assert!(hub_address(bad).unwrap().unwrap_err().to_string().contains("owner/repo/file"), "{bad}");
        }
    }

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
