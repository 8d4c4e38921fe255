//! The features of a frozen backbone: computed by the first worker that needs them, kept beside the images, used by all runs of
//! all sweeps. A run on them trains like a run on any other matrix of features: see [`plan::ModelConfig::head`].

use std::path::PathBuf;
use std::time::Instant;

use candle_core::{Device, Tensor};

use super::session::fetch_weights;
use super::stage::Unit;
use super::{Beat, Monitor, TrainError};
use crate::model::ModelError;
use crate::model::backbone::{self, Features};
use data::Dataset;
use data::derived::{self, Derived, Making};
use plan::InputShape;
use protocol::Job;

/// Pixels of the images that go through a backbone together: sixteen of 224 x 224. A constant, so that nothing else
/// changes the order of sums.
const PIXELS: usize = 16 * 224 * 224;
/// Images that go through a backbone together at most.
const MOST: usize = 64;

/// How many images of this size go through a backbone together.
#[must_use]
pub fn images_at_once(height: usize, width: usize) -> usize {
    (PIXELS / (height * width).max(1)).clamp(1, MOST)
}

/// Features that are ready to be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// A prepared data set whose inputs are the features.
    pub folder: PathBuf,
    /// One sentence for the log of the run: computed, with the time that it took, or found.
    pub words: String,
}

/// The features that the frozen backbone of `job` gives of its images. `None`: asked to stop before they were complete.
///
/// # Errors
/// Weights that are missing or do not fit; data, a device or a cache that cannot be used.
pub fn find(job: &Job, device: &Device, monitor: &mut dyn Monitor) -> Result<Option<Found>, TrainError> {
    let model = &job.config.model;
    let (Some((backbone, _)), Some(source)) = (model.head(), &model.weights) else {
        let words = format!("a frozen {} needs weights", model.arch);
        return Err(ModelError::Input(words).into());
    };
    fetch_weights(job, monitor)?;
    let weights = {
        let stage = monitor.stage(job, "hashing weights", Some(Unit::Bytes));
        backbone::weights_hash(source, model.weights_hash.as_deref(), &mut |done, total| stage.at(done as u64, total as u64))?
    };
    let recipe = derived::recipe(backbone.name, &weights, &job.config.data);
    let start = Instant::now();
    let wait = || -> Result<bool, TrainError> {
        monitor.beat(job, Beat { epoch: 0, step: 0, steps: 0, loss: 0.0, images_per_s: 0.0 })?;
        Ok(!monitor.stopping())
    };
    let mut making = match derived::derived(&job.data, &recipe, backbone.width, wait)? {
        Derived::There(folder) => {
            let words = format!("features of {}: found in {}", backbone.name, folder.display());
            return Ok(Some(Found { folder, words }));
        }
        Derived::Stopped => return Ok(None),
        Derived::Wanted(making) => making,
    };
    if !compute(job, source, &mut making, device, monitor)? {
        return Ok(None);
    }
    let _stage = monitor.stage(job, "writing the features", None);
    let rows = making.rows();
    let folder = making.finish()?;
    let seconds = start.elapsed().as_secs_f64();
    let words =
        format!("features of {}: computed for {rows} rows in {seconds:.1} s, kept in {}", backbone.name, folder.display());
    Ok(Some(Found { folder, words }))
}

/// Runs the images through the backbone; `false`: asked to stop.
fn compute(job: &Job, source: &str, making: &mut Making, device: &Device, monitor: &mut dyn Monitor) -> Result<bool, TrainError> {
    let (arch, config) = (&job.config.model.arch, &job.config.data);
    let stage = monitor.stage(job, "opening the images and loading the backbone", None);
    let data = Dataset::open(&job.data, config)?;
    let InputShape::Image { height, width, .. } = data.shape() else {
        let words = format!("{arch} needs images, but the data has features");
        return Err(ModelError::Input(words).into());
    };
    let net = Features::load(arch, height, source, device)?;
    drop(stage);
    let rows: Vec<u32> = (0u32..).take(making.rows()).collect();
    let batch = images_at_once(height, width);
    let steps = rows.len().div_ceil(batch);
    let start = Instant::now();
    for (step, rows) in rows.chunks(batch).enumerate() {
        if monitor.stopping() {
            return Ok(false);
        }
        let mut images = vec![0.0; rows.len() * 3 * height * width];
        data.rgb(config, rows, &mut images);
        let images = Tensor::from_vec(images, (rows.len(), 3, height, width), &Device::Cpu)?.to_device(device)?;
        let features = kernel::read(&net.forward(&images)?.flatten_all()?)?.to_vec1::<f32>()?;
        if let Some(bad) = features.iter().find(|x| !x.is_finite()) {
            let words = format!("{source}: a feature of {arch} is {bad}: these weights do not suit it");
            return Err(ModelError::Weights(words).into());
        }
        making.push(&features)?;
        let images_per_s = (step * batch + rows.len()) as f64 / start.elapsed().as_secs_f64().max(1e-9);
        monitor.beat(job, Beat { epoch: 0, step: step + 1, steps, loss: 0.0, images_per_s })?;
    }
    Ok(true)
}
