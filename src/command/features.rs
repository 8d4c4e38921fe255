//! The features of frozen backbones that the runs of a plan need: what is there, how long the rest takes, and what they take of the disk.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use super::output::{bytes, counted, thousands};
use crate::controller::progress::{rate, span};
use crate::launcher::Place;
use data::derived::{self, State};
use data::speeds::{self, Speed};
use plan::{Backbone, InputShape, ModelConfig, Plan};

/// Multiply-adds per second of one CPU thread in a frozen backbone: 20 G (`efficientnet_b0`) to 53 G (`resnet18`) at 224 x 224 on an AMD
/// EPYC machine with AVX-512, a quarter less with AVX2.
const MACS_A_SECOND: f64 = 40e9;
/// Times that in bf16, with AVX512-BF16.
const BF16: f64 = 1.7;

/// Features that runs to train need.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Features {
    backbone: String,
    images: usize,
    /// Images whose features are there, of an earlier attempt too.
    done: usize,
    /// Where all of them are, or will be.
    folder: PathBuf,
    complete: bool,
    /// What all of them take.
    pub bytes: u64,
    /// What is written beside these before they are complete.
    pub meanwhile: u64,
    /// Seconds until they are complete; `None` where nothing tells.
    pub seconds: Option<f64>,
    images_per_s: Option<f64>,
    /// Whether that speed was measured on this machine; else it follows from the size of the network.
    measured: bool,
}

impl Features {
    /// Those that the runs `todo` of the plan need, each once, as fast as the slowest of `slots` computes them.
    #[must_use]
    pub fn needed(plan: &Plan, todo: &[usize], slots: &[Place]) -> Vec<Self> {
        let (mut found, mut known) = (Vec::new(), BTreeSet::new());
        for run in todo.iter().filter_map(|&run| plan.runs.get(run)) {
            let facts = &plan.data[run.data].1;
            let (Some((backbone, _)), InputShape::Image { height, .. }) = (run.config.model.head(), facts.input) else {
                continue;
            };
            let Some(hash) = run.config.model.weights_hash.as_deref() else { continue };
            let images = facts.train.rows + facts.val.rows + facts.test.rows;
            let recipe = derived::recipe(&run.config.model, hash, &run.config.data);
            if !known.insert((facts.folder.clone(), recipe.clone())) {
                continue;
            }
            let Ok(State { folder, done, complete }) = derived::state(&facts.folder, &recipe, backbone.width, images) else {
                continue;
            };
            let measured = folder.parent().map(speeds::read).unwrap_or_default();
            let paces: Vec<Option<(f64, bool)>> =
                slots.iter().map(|slot| pace(slot, &run.config.model, backbone, height, &measured)).collect();
            let slowest = paces.into_iter().reduce(|a, b| Some(if a?.0 < b?.0 { a? } else { b? })).flatten();
            let row = |number: usize| (4 * backbone.width * number) as u64;
            found.push(Self {
                backbone: run.config.model.features(),
                images,
                done,
                folder,
                complete,
                // Beside the numbers a row has its labels and its name.
                bytes: row(images) + (images * (facts.labels.len() + 100)) as u64,
                meanwhile: if complete { 0 } else { row(images - done) },
                seconds: if complete { Some(0.0) } else { slowest.map(|(pace, _)| (images - done) as f64 / pace) },
                images_per_s: slowest.map(|(pace, _)| pace),
                measured: slowest.is_some_and(|(_, measured)| measured),
            });
        }
        found
    }

    /// Whether they have to be computed, all or the rest.
    #[must_use]
    pub fn missing(&self) -> bool {
        !self.complete
    }

    /// `resnet50: 224,000 images, about 3h 23m (18.4 images/s, measured here), 1.7 GiB in sweep.cache`.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { backbone, images, done, folder, .. } = self;
        let (all, room) = (counted(*images, "image"), bytes(self.bytes));
        if self.complete {
            return format!("{backbone}: {all}, found in {} ({room})", folder.display());
        }
        let there = if *done > 0 { format!(", {} of them there already", thousands(*done)) } else { String::new() };
        let time = match (self.seconds, self.images_per_s) {
            (Some(seconds), Some(pace)) => {
                let basis = if self.measured { "measured here" } else { "an estimate from the network's multiply-adds" };
                format!("about {} ({} images/s, {basis})", span(seconds), rate(pace))
            }
            _ => "for a time that is not known (nothing was measured on this device)".to_owned(),
        };
        let cache = folder.parent().unwrap_or(folder).display();
        format!("{backbone}: {all}{there}, {time}, {room} in {cache}")
    }
}

/// Images per second on `slot`, and whether that was measured; `None` where nothing tells.
fn pace(slot: &Place, model: &ModelConfig, backbone: &Backbone, edge: usize, measured: &[Speed]) -> Option<(f64, bool)> {
    let (host, name) = (protocol::host(), model.features());
    let macs = backbone.macs(edge) / if model.precision.is_some() { BF16 } else { 1.0 };
    let same = |speed: &&Speed| {
        (&speed.backbone, speed.edge, speed.threads) == (&name, edge, slot.threads)
            && (&speed.host, &speed.device) == (&host, &slot.device)
    };
    match measured.iter().find(same).filter(|speed| speed.images_per_s > 0.0) {
        Some(speed) => Some((speed.images_per_s, true)),
        None => (slot.device == "cpu").then(|| (MACS_A_SECOND * slot.threads as f64 / macs, false)),
    }
}

/// Seconds until all of them are complete, on so many workers, of which one computes those of a backbone. The error says why that is not known.
///
/// # Errors
/// A backbone whose speed nothing tells.
pub fn seconds(features: &[Features], workers: usize) -> Result<f64, String> {
    let each: Vec<f64> = features
        .iter()
        .map(|of| of.seconds.ok_or_else(|| format!("features of {} were never computed on this device", of.backbone)))
        .collect::<Result<_, _>>()?;
    Ok(each.iter().fold(0.0, |longest: f64, &one| longest.max(one)).max(each.iter().sum::<f64>() / workers.max(1) as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(done: usize, complete: bool, seconds: Option<f64>) -> Features {
        Features {
            backbone: "resnet50".to_owned(),
            images: 224_000,
            done,
            folder: "sweep.cache/0123".into(),
            complete,
            bytes: 1_835_008_000,
            meanwhile: 0,
            seconds,
            images_per_s: seconds.map(|_| 18.4),
            measured: done == 0,
        }
    }

    #[test]
    fn words_tell_what_is_there_and_what_is_missing() {
        let words = features(0, false, Some(12_180.0)).words();
        assert_eq!(words, "resnet50: 224,000 images, about 3h 23m (18.4 images/s, measured here), 1.7 GiB in sweep.cache");
        let words = features(51_200, false, Some(9390.0)).words();
        assert_eq!(
            words,
            "resnet50: 224,000 images, 51,200 of them there already, about 2h 36m (18.4 images/s, an estimate from the \
             network's multiply-adds), 1.7 GiB in sweep.cache"
        );
        let words = features(224_000, true, Some(0.0)).words();
        assert_eq!(words, "resnet50: 224,000 images, found in sweep.cache/0123 (1.7 GiB)");
        assert!(features(0, false, None).words().contains("a time that is not known"));
    }

    #[test]
    fn each_backbone_is_computed_by_one_worker() {
        let times = |times: &[f64]| times.iter().map(|&time| features(0, false, Some(time))).collect::<Vec<_>>();
        assert_eq!(seconds(&times(&[60.0, 60.0, 30.0]), 2), Ok(75.0));
        assert_eq!(seconds(&times(&[60.0]), 2), Ok(60.0));
        assert_eq!(seconds(&[], 2), Ok(0.0));
        assert!(seconds(&[features(0, false, None)], 1).unwrap_err().contains("resnet50"));
    }

    #[test]
    fn a_measured_speed_is_believed_where_all_is_as_it_was() {
        let speed = Speed {
            backbone: "resnet50".to_owned(),
            edge: 224,
            host: protocol::host(),
            device: "cpu".to_owned(),
            threads: 2,
            images: 1000,
            images_per_s: 18.4,
        };
        let (model, backbone) = (ModelConfig::new("resnet50", Vec::new()), Backbone::find("resnet50").unwrap());
        let slot = |device: &str, threads| Place { device: device.to_owned(), threads };
        let found = |slot: &Place, edge| pace(slot, &model, backbone, edge, std::slice::from_ref(&speed));
        assert_eq!(found(&slot("cpu", 2), 224), Some((18.4, true)));
        let half = ModelConfig { precision: Some("bf16".to_owned()), ..model.clone() };
        let estimate = pace(&slot("cpu", 2), &half, backbone, 224, std::slice::from_ref(&speed));
        assert_eq!(estimate, Some((2.0 * MACS_A_SECOND * BF16 / backbone.macs(224), false)));
        assert_eq!(found(&slot("cpu", 1), 224), Some((MACS_A_SECOND / backbone.macs(224), false)));
        assert_eq!(found(&slot("cpu", 2), 112), Some((2.0 * MACS_A_SECOND / backbone.macs(112), false)));
        assert_eq!(found(&slot("cuda:0", 2), 224), None);
    }
}
