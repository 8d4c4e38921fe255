//! How fast frozen backbones were: `speeds.json` beside the features, from which a plan tells how long the next ones take.

use std::path::Path;

use serde::{Deserialize, Serialize};

use archive::file;

const NAME: &str = "speeds.json";

/// What was measured last of a backbone under these circumstances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    pub backbone: String,
    /// Of the images, in pixels.
    pub edge: usize,
    pub host: String,
    pub device: String,
    pub threads: usize,
    /// How many images it was measured on.
    pub images: usize,
    pub images_per_s: f64,
}

impl Speed {
    fn is_of_the_same(&self, other: &Self) -> bool {
        let of = |speed: &Self| (speed.edge, speed.threads);
        let names = |speed: &Self| [speed.backbone.clone(), speed.host.clone(), speed.device.clone()];
        of(self) == of(other) && names(self) == names(other)
    }
}

/// The speeds that the folder `cache` has; none where they cannot be read, which costs an estimate.
#[must_use]
pub fn read(cache: &Path) -> Vec<Speed> {
    let bytes = file::read_ours(&cache.join(NAME));
    let read = bytes.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
    read.inspect_err(|error| tracing::debug!("{}: {error}", cache.join(NAME).display())).unwrap_or_default()
}

/// Keeps a speed in place of an earlier one. Of two workers that do so at the same time one may be forgotten until it is told again.
pub fn keep(cache: &Path, speed: Speed) {
    let mut speeds = read(cache);
    speeds.retain(|known| !known.is_of_the_same(&speed));
    speeds.push(speed);
    if let Err(error) = file::write(&cache.join(NAME), |file| Ok(serde_json::to_writer_pretty(file, &speeds)?)) {
        tracing::debug!("{}: {error}", cache.join(NAME).display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_speed_of_the_same_counts() {
        let cache = tempfile::tempdir().unwrap();
        assert_eq!(read(cache.path()), []);
        let speed = |edge, images_per_s| Speed {
            backbone: "resnet50".to_owned(),
            edge,
            host: "h".to_owned(),
            device: "cpu".to_owned(),
            threads: 2,
            images: 100,
            images_per_s,
        };
        for (edge, images_per_s) in [(224, 18.0), (112, 70.0), (224, 19.0)] {
            keep(cache.path(), speed(edge, images_per_s));
        }
        assert_eq!(read(cache.path()), [speed(112, 70.0), speed(224, 19.0)]);
        std::fs::write(cache.path().join(NAME), "[{").unwrap();
        assert_eq!(read(cache.path()), []);
    }
}
