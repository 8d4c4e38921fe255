//! The reference runs of a plan: a pair for each data configuration and each frozen backbone on it. They belong to no point of the grid.

use std::collections::{BTreeMap, HashSet};

use super::super::flatten::Part;
use super::super::grid::ABSENT;
use super::super::points::Ids;
use super::super::reference::Reference;
use super::super::{Bundle, FORMAT, ModelConfig, Plan, PlannedRun, RunName, fingerprint};
use super::{Planner, canonical_of};

/// Axes of the network that decide what a frozen backbone gives.
const BACKBONE: [&str; 4] = ["model.arch", "model.weights", "model.freeze", "model.precision"];

impl Planner<'_> {
    /// Adds the reference runs beside the runs of the points.
    pub(super) fn references(&self, plan: &mut Plan) {
        let parts = &self.sweep.parts;
        let mut seen = HashSet::new();
        for (point, ids) in self.sweep.grid.points().zip(&parts.points) {
            let data = parts.data.get(ids.data);
            let Some(model) = self.models[ids.model as usize].config.reference(&data.value.source) else { continue };
            let text = fingerprint::model_text(&model, model.weights_hash.as_deref(), false);
            if !seen.insert((self.data[data.identity as usize].1, text.clone())) {
                continue;
            }
            for reference in Reference::ALL {
                let run = self.reference(reference, (point, ids), (&model, &text), plan.bundles.len());
                plan.bundles.push(Bundle { runs: vec![plan.runs.len()] });
                plan.runs.push(run);
            }
        }
    }

    fn reference(
        &self,
        reference: Reference,
        (point, ids): (&[u32], &Ids),
        (model, model_text): (&ModelConfig, &str),
        bundle: usize,
    ) -> PlannedRun {
        let data = self.sweep.parts.data.get(ids.data);
        let facts = &self.facts[data.identity as usize];
        let config = reference.run(data.value.clone(), model.clone(), facts.train.rows);
        let pos_weight = vec![1.0; facts.labels.len()];
        let fingerprint = fingerprint::FingerprintParts {
            content: &facts.content,
            preprocessing: &self.data[data.identity as usize].0,
            model: model_text,
            // It is not trained as a network of its architecture is.
            format: FORMAT,
            train: &fingerprint::train_text(&config.train),
            loss: &canonical_of(&config.loss),
            pos_weight: &canonical_of(&pos_weight),
            sampler: &canonical_of(&config.sampler),
            seed: config.seed,
        }
        .fingerprint();
        let frozen = model.freeze.is_some();
        let decides = |key: &str, part: Part| part == Part::Data || (frozen && BACKBONE.contains(&key));
        let axes = self.sweep.grid.axes.iter().zip(point).filter(|(_, index)| **index != ABSENT);
        let axes = axes.filter(|(axis, _)| decides(&axis.key, axis.part));
        let params: BTreeMap<_, _> = axes.map(|(axis, &index)| (axis.key.clone(), axis.json[index as usize].clone())).collect();
        let name = RunName {
            loss: reference.name().to_owned(),
            pos_weight: "none".to_owned(),
            gamma: None,
            sampler: config.sampler.kind.clone(),
            seed: config.seed,
            params,
        };
        PlannedRun { fingerprint, config, data: data.identity as usize, pos_weight, name, bundle }
    }
}
