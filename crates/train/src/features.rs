//! The features of a frozen backbone: computed by the first worker that needs them, kept beside the images, used by all runs of
//! all sweeps. A run on them trains like a run on any other matrix of features: see [`plan::ModelConfig::head`].

use std::path::PathBuf;
use std::time::{Duration, Instant};

use candle_core::{Device, DeviceLocation, Tensor};

use super::session::fetch_weights;
use super::stage::Unit;
use super::{Monitor, TrainError};
use crate::model::ModelError;
use crate::model::backbone::{self, Features};
use archive::disk;
use data::Dataset;
use data::derived::{self, Derived, Making};
use data::speeds::{self, Speed};
use plan::words::bytes;
use plan::{Backbone, InputShape};
use protocol::{Job, host};

/// Pixels of the images that go through a backbone together: sixteen of 224 x 224. A constant, so that nothing else
/// changes the order of sums.
const PIXELS: usize = 16 * 224 * 224;
/// Images that go through a backbone together at most.
const MOST: usize = 64;
/// Time between two notes of the speed; what ends sooner says little about it.
const MEASURED: Duration = Duration::from_secs(5);

/// How many images of this size go through a backbone together.
#[must_use]
pub fn images_at_once(height: usize, width: usize) -> usize {
    (PIXELS / (height * width).max(1)).clamp(1, MOST)
}

/// Features of images of `height` x `width` pixels in three channels, one after the other: those that a sweep keeps, and those that a
/// prediction is made from.
///
/// # Errors
/// Propagates Candle errors.
pub fn of_images(
    net: &Features,
    images: Vec<f32>,
    (height, width): (usize, usize),
    device: &Device,
) -> candle_core::Result<Vec<f32>> {
    let rows = images.len() / (3 * height * width);
    let images = Tensor::from_vec(images, (rows, 3, height, width), &Device::Cpu)?.to_device(device)?;
    kernel::read(&net.forward(&images)?.flatten_all()?)?.to_vec1()
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
    let recipe = derived::recipe(model, &weights, &job.config.data);
    let (mut waiting, mut looks) = (None, 0);
    let wait = || -> Result<bool, TrainError> {
        let words = || format!("waiting for the features of {}, which another worker computes", model.features());
        // Each look is a sign of life: the other may take hours.
        looks += 1;
        waiting.get_or_insert_with(|| monitor.stage(job, &words(), Some(Unit::Rows))).at(looks, 0);
        Ok(!monitor.stopping())
    };
    let found = derived::derived(&job.data, &recipe, backbone.width, wait)?;
    drop(waiting);
    let mut making = match found {
        Derived::There(folder) => {
            let words = format!("features of {}: found in {}", model.features(), folder.display());
            return Ok(Some(Found { folder, words }));
        }
        Derived::Stopped => return Ok(None),
        Derived::Wanted(making) => making,
    };
    let (before, start) = (making.done(), Instant::now());
    has_room(backbone, &making)?;
    if !compute(job, source, &mut making, device, monitor)? {
        return Ok(None);
    }
    let _stage = monitor.stage(job, "writing the features", None);
    let rows = making.rows();
    let folder = making.finish()?;
    let seconds = start.elapsed().as_secs_f64();
    let found = if before > 0 { format!(" ({before} of them by a worker before)") } else { String::new() };
    let words = format!(
        "features of {}: computed for {rows} rows{found} in {seconds:.1} s, kept in {}",
        model.features(),
        folder.display()
    );
    Ok(Some(Found { folder, words }))
}

/// Hours of computing must not end at a full disk.
fn has_room(backbone: &Backbone, making: &Making) -> Result<(), TrainError> {
    let needs = making.needs();
    match disk::free(making.cache()) {
        Ok(free) if free < needs => {
            let (needs, free) = (bytes(needs), bytes(free));
            let words = format!(
                "the features of {} need {needs}, and {free} are free: `sweep gc --cache` lists what can go, --db names a place elsewhere",
                backbone.name
            );
            let source = std::io::Error::new(std::io::ErrorKind::StorageFull, words);
            Err(TrainError::Io { path: making.cache().to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Runs the images through the backbone; `false`: asked to stop.
fn compute(job: &Job, source: &str, making: &mut Making, device: &Device, monitor: &mut dyn Monitor) -> Result<bool, TrainError> {
    let (arch, config) = (job.config.model.features(), &job.config.data);
    let stage = monitor.stage(job, "opening the images and loading the backbone", None);
    let data = Dataset::open(&job.data, config)?;
    let InputShape::Image { height, width, .. } = data.shape() else {
        let words = format!("{arch} needs images, but the data has features");
        return Err(ModelError::Input(words).into());
    };
    let net = Features::load(&job.config.model, height, source, device)?;
    drop(stage);
    let rows: Vec<u32> = (0u32..).take(making.rows()).skip(making.done()).collect();
    let batches: Vec<&[u32]> = rows.chunks(images_at_once(height, width)).collect();
    let read = |rows: &[u32]| {
        let mut images = vec![0.0; rows.len() * 3 * height * width];
        data.rgb(config, rows, &mut images);
        images
    };
    let stage = monitor.stage(job, &format!("features of {arch}"), Some(Unit::Images));
    stage.at(making.done() as u64, making.rows() as u64);
    let (before, start, mut noted) = (making.done(), Instant::now(), Instant::now());
    let mut images = batches.first().map(|rows| read(rows)).unwrap_or_default();
    for step in 0..batches.len() {
        if monitor.stopping() {
            return Ok(false);
        }
        // The next images are read while these go through the network.
        let (features, next) = rayon::join(
            || of_images(&net, images, (height, width), device),
            || batches.get(step + 1).map(|rows| read(rows)).unwrap_or_default(),
        );
        let features = features?;
        images = next;
        if let Some(bad) = features.iter().find(|x| !x.is_finite()) {
            let words = format!("{source}: a feature of {arch} is {bad}: these weights do not suit it");
            return Err(ModelError::Weights(words).into());
        }
        making.push(&features)?;
        stage.at(making.done() as u64, making.rows() as u64);
        if noted.elapsed() >= MEASURED {
            noted = Instant::now();
            let images = making.done() - before;
            let speed = Speed {
                backbone: arch.clone(),
                edge: height,
                host: host(),
                device: name(device),
                threads: rayon::current_num_threads(),
                images,
                images_per_s: images as f64 / start.elapsed().as_secs_f64(),
            };
            speeds::keep(making.cache(), speed);
        }
    }
    Ok(true)
}

/// As `workers.devices` has it.
fn name(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        _ => "cpu".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::Unprepared;
    use protocol::Outcome;

    #[test]
    fn without_room_nothing_is_begun() {
        let file = "model.arch = \"linear\"\n[data]\nkind = \"letters\"\nsamples = 60\nimage_size = 16\n";
        let (_folder, _, jobs) = crate::testing::prepared(file, &[]);
        let backbone = Backbone::find("resnet50").unwrap();
        let room = |width| {
            let asked = derived::derived::<Unprepared>(&jobs[0].data, "a", width, || Ok(true)).unwrap();
            let Derived::Wanted(making) = asked else { panic!("they are there") };
            has_room(backbone, &making)
        };
        room(backbone.width).unwrap();
        let refused = room(1 << 50).unwrap_err();
        assert_eq!(refused.outcome(), Outcome::Io);
        assert!(refused.to_string().contains("cache: the features of resnet50 need "), "{refused}");
    }
}
