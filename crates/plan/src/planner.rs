//! Points → distinct runs → bundles: points that train identically are one run, and each merged point has its reason.

mod references;

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use super::choice::{Family, label};
use super::fingerprint::{self, canonical_of};
use super::flatten::{Part, loose_family};
use super::grid::{ABSENT, Axis};
use super::points::{Ids, count};
use super::sweep::{Sweep, WeightFile};
use super::{
    Bundle, DataFacts, Merged, ModelConfig, Plan, PlannedRun, RunConfig, RunName, SpecError, TrainConfig, most_together, schema,
};
use imbalance::{Choice, PosWeight, StrategyError};
use imbalance::{pos_weight, sampler};

/// All that decides a run's result, as identities.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct RunKey {
    data: u32,
    model: u32,
    train: u32,
    loss: u32,
    vector: u32,
    sampler: u32,
    seed: u64,
}

/// Numbers for distinct keys, in order of first use.
struct Interner<K>(HashMap<K, u32>);

impl<K: Eq + Hash> Interner<K> {
    fn new() -> Self {
        Self(HashMap::new())
    }

    fn id(&mut self, key: K) -> u32 {
        let next = count(self.0.len());
        *self.0.entry(key).or_insert(next)
    }
}

/// A resolved `pos_weight`.
struct Vector {
    numbers: Vec<f64>,
    text: String,
    identity: u32,
    unit: bool,
}

impl Sweep {
    /// What the sweep comes to, given the facts of each of [`Sweep::data_configs`] in that order, and for each of
    /// [`Sweep::weight_files`] where it is and what is in it.
    ///
    /// # Errors
    /// A `pos_weight` that the data does not allow (a label without positives, a vector of the wrong length).
    pub fn plan(&self, facts: &[DataFacts], weights: &BTreeMap<String, WeightFile>) -> Result<Plan, SpecError> {
        Planner::new(self, facts, weights)?.plan()
    }

    /// [`Sweep::plan`] of data that nothing can be trained on as it is: where a label has one class in train, so that a formula of
    /// weights is undefined, the runs are planned without weights ([`PlannedRun::pos_weight`] is empty).
    ///
    /// # Errors
    /// A `pos_weight` that no data of these labels allows, such as a vector of the wrong length.
    pub fn outline(&self, facts: &[DataFacts], weights: &BTreeMap<String, WeightFile>) -> Result<Plan, SpecError> {
        Planner { undefined_weights: true, ..Planner::new(self, facts, weights)? }.plan()
    }
}

/// A network with its weights, and its canonical texts.
struct Model {
    config: ModelConfig,
    /// Labels of the head in the file of weights.
    head: Option<usize>,
    text: String,
    /// [`Self::text`] where that head is for as many labels as the data has.
    fitting: String,
}

impl Model {
    fn new(config: ModelConfig, file: Option<&WeightFile>) -> Self {
        let content = file.map(|file| file.content.as_str());
        let [text, fitting] = [false, true].map(|fits| fingerprint::model_text(&config, content, fits));
        let weights = file.map(|file| file.source.clone()).or_else(|| config.weights.clone());
        let weights_hash = file.map(|file| file.content.clone());
        Self { config: ModelConfig { weights, weights_hash, ..config }, head: file.and_then(|file| file.head), text, fitting }
    }

    fn text(&self, labels: usize) -> &str {
        if self.head == Some(labels) { &self.fitting } else { &self.text }
    }
}

struct Planner<'a> {
    sweep: &'a Sweep,
    facts: &'a [DataFacts],
    models: Vec<Model>,
    /// Of each distinct data configuration: its preprocessing as text, and what training sees as a number.
    data: Vec<(String, u32)>,
    vectors: HashMap<(u32, Option<u32>), Vector>,
    vector_ids: Interner<String>,
    /// By data, train and loss identity: the training with its length, and its canonical text.
    trainings: HashMap<(u32, u32, u32), (TrainConfig, String)>,
    /// Whether weights may be undefined.
    undefined_weights: bool,
}

impl<'a> Planner<'a> {
    fn new(sweep: &'a Sweep, facts: &'a [DataFacts], weights: &BTreeMap<String, WeightFile>) -> Result<Self, SpecError> {
        let configs = sweep.data_configs();
        if configs.len() != facts.len() {
            let message = format!("{} data configurations, but the facts of {}", configs.len(), facts.len());
            return Err(SpecError { place: sweep.name.clone(), message });
        }
        let mut seen = Interner::new();
        let data = configs.iter().zip(facts).map(|(config, facts)| {
            let text = fingerprint::preprocessing(config);
            let id = seen.id((text.clone(), &facts.content));
            (text, id)
        });
        let data = data.collect();
        let models = sweep
            .parts
            .model
            .items
            .iter()
            .map(|item| Model::new(item.value.clone(), item.value.weights.as_ref().and_then(|typed| weights.get(typed))));
        let models = models.collect();
        let (vectors, trainings) = (HashMap::new(), HashMap::new());
        Ok(Self { sweep, facts, models, data, vectors, vector_ids: Interner::new(), trainings, undefined_weights: false })
    }

    fn plan(mut self) -> Result<Plan, SpecError> {
        let sweep = self.sweep;
        let (grid, parts) = (&sweep.grid, &sweep.parts);
        let mut model_ids = Interner::new();
        let models: Vec<u32> =
            self.models.iter().map(|model| model_ids.id((model.text.clone(), model.config.weights_head))).collect();
        let mut found: HashMap<RunKey, usize> = HashMap::new();
        let mut firsts: Vec<usize> = Vec::new();
        let mut reasons: Vec<(String, usize)> = Vec::new();
        // Runs that could train together, how many of each there are, and the bundles that they are parted into.
        let (mut alike, mut together, mut bundles) = (Interner::new(), Vec::new(), Interner::new());
        let mut plan = Plan {
            name: sweep.name.clone(),
            product: grid.product,
            excluded: grid.excluded.clone(),
            included: grid.included,
            points: Vec::with_capacity(parts.points.len()),
            search: None,
            tuned: sweep.tuned(),
            runs: Vec::new(),
            merged: Vec::new(),
            bundles: Vec::new(),
            policies: parts.policies.clone(),
            data: sweep.data_configs().into_iter().zip(self.facts.iter().cloned()).collect(),
        };
        let points: Vec<&[u32]> = grid.points().collect();
        for (at, (point, ids)) in points.iter().zip(&parts.points).enumerate() {
            let data = parts.data.get(ids.data).identity;
            self.resolve(data, ids)?;
            let vector = &self.vectors[&self.vector_key(data, ids)];
            let key = RunKey {
                data: self.data[data as usize].1,
                model: models[ids.model as usize],
                train: parts.train.get(ids.train).identity,
                loss: parts.loss.get(ids.loss).identity,
                vector: vector.identity,
                sampler: parts.sampler.get(ids.sampler).identity,
                seed: ids.seed,
            };
            let run = match found.get(&key) {
                Some(&run) => {
                    let reason = self.reason(point, points[firsts[run]], ids, &parts.points[firsts[run]]);
                    match reasons.iter_mut().find(|(known, _)| *known == reason) {
                        Some((_, points)) => *points += 1,
                        None => reasons.push((reason, 1)),
                    }
                    run
                }
                None => {
                    self.batches(data, ids)?;
                    let (train, text) = self.training(data, ids.train, ids.loss);
                    let length = (train.epochs, train.draws);
                    let alike = alike.id((key.data, key.model, key.sampler, key.seed, train.batch_size, length)) as usize;
                    if together.len() <= alike {
                        together.push(0);
                    }
                    let (model, facts) = (&self.models[ids.model as usize].config, &self.facts[data as usize]);
                    let bundle = bundles.id((alike, together[alike] / most_together(model, facts))) as usize;
                    together[alike] += 1;
                    let run = plan.runs.len();
                    plan.runs.push(self.run(point, ids, bundle, (train, &text)));
                    if plan.bundles.len() <= bundle {
                        plan.bundles.push(Bundle { runs: Vec::new() });
                    }
                    plan.bundles[bundle].runs.push(run);
                    firsts.push(at);
                    found.insert(key, run);
                    run
                }
            };
            plan.points.push(run);
        }
        plan.merged = reasons.into_iter().map(|(reason, points)| Merged { reason, points }).collect();
        if let Some(search) = &sweep.search {
            plan.draw(search, &sweep.budget_place)?;
        }
        if sweep.reference {
            self.references(&mut plan);
        }
        Ok(plan)
    }

    /// The weights of a point: by the weight's id, or `None` where the loss reads none.
    fn vector_key(&self, data: u32, ids: &Ids) -> (u32, Option<u32>) {
        (data, self.sweep.parts.loss.get(ids.loss).value.reads_pos_weight.then_some(ids.weight))
    }

    fn resolve(&mut self, data: u32, ids: &Ids) -> Result<(), SpecError> {
        let key = self.vector_key(data, ids);
        if self.vectors.contains_key(&key) {
            return Ok(());
        }
        let facts = &self.facts[data as usize];
        let (numbers, text) = match key.1 {
            None => (vec![1.0; facts.labels.len()], None),
            Some(weight) => {
                let part = &self.sweep.parts.weight.get(weight).value;
                match pos_weight::resolve(&part.weight, &facts.train) {
                    Ok(numbers) => (numbers, None),
                    Err(StrategyError::OneClass { .. }) if self.undefined_weights => (Vec::new(), Some(part.label.clone())),
                    Err(error) => {
                        let message = format!("pos_weight {}: {}", part.label, error.with_labels(&facts.labels));
                        return Err(SpecError { place: part.place.to_string(), message });
                    }
                }
            }
        };
        let text = text.unwrap_or_else(|| canonical_of(&numbers));
        let identity = self.vector_ids.id(text.clone());
        #[expect(clippy::float_cmp, reason = "weights of exactly one change nothing")]
        let unit = !numbers.is_empty() && numbers.iter().all(|&number| number == 1.0);
        self.vectors.insert(key, Vector { numbers, text, identity, unit });
        Ok(())
    }

    /// Whether the batches can hold what the sampler promises.
    fn batches(&self, data: u32, ids: &Ids) -> Result<(), SpecError> {
        let parts = &self.sweep.parts;
        let (sampler, size) = (&parts.sampler.get(ids.sampler).value, parts.train.get(ids.train).value.config.batch_size);
        let (kind, labels) = (&sampler.choice.kind, self.facts[data as usize].labels.len());
        let least =
            imbalance::find(sampler::REGISTRY, kind).map_or(1, |entry| (entry.build.least_batch)(&sampler.choice, labels));
        if size < least {
            let message = format!(
                "sampler {} needs train.batch_size to be {least} or more with {labels} labels, not {size}",
                sampler.choice
            );
            return Err(super::document::fault(&sampler.place, message));
        }
        Ok(())
    }

    /// A training with a loss, with its length on the data, and its canonical text.
    fn training(&mut self, data: u32, train: u32, loss: u32) -> (TrainConfig, String) {
        let (item, loss) = (self.sweep.parts.train.get(train), self.sweep.parts.loss.get(loss));
        let facts = &self.facts[data as usize];
        let made = || {
            let mut config = item.value.length.resolve(&item.value.config, facts.train.rows);
            let change = imbalance::loss::last_change(&loss.value.choice, config.epochs);
            config.stop = config.stop.map(|stop| stop.after(change));
            let text = fingerprint::train_text(&config);
            (config, text)
        };
        self.trainings.entry((data, item.identity, loss.identity)).or_insert_with(made).clone()
    }

    fn run(&self, point: &[u32], ids: &Ids, bundle: usize, (train, train_text): (TrainConfig, &str)) -> PlannedRun {
        let parts = &self.sweep.parts;
        let data = parts.data.get(ids.data).identity;
        let vector = &self.vectors[&self.vector_key(data, ids)];
        let model = &self.models[ids.model as usize];
        let loss = parts.loss.get(ids.loss);
        let (weight, sampler) = (&parts.weight.get(ids.weight).value, parts.sampler.get(ids.sampler));
        let fingerprint = fingerprint::FingerprintParts {
            content: &self.facts[data as usize].content,
            preprocessing: &self.data[data as usize].0,
            model: model.text(self.facts[data as usize].labels.len()),
            format: super::numerics(&model.config, &loss.value.choice.kind),
            train: train_text,
            loss: &loss.text,
            pos_weight: &vector.text,
            sampler: &sampler.text,
            seed: ids.seed,
        }
        .fingerprint();
        let (pos_weight, pos_weight_label) = if vector.unit {
            (PosWeight::Formula(Choice::plain("none")), "none".to_owned())
        } else {
            (weight.weight.clone(), weight.label.clone())
        };
        PlannedRun {
            fingerprint,
            config: RunConfig {
                data: parts.data.get(ids.data).value.clone(),
                model: model.config.clone(),
                train,
                loss: loss.value.choice.clone(),
                pos_weight,
                sampler: sampler.value.choice.clone(),
                seed: ids.seed,
            },
            data: data as usize,
            pos_weight: vector.numbers.clone(),
            name: RunName {
                loss: loss.value.label(),
                pos_weight: pos_weight_label,
                gamma: loss.value.choice.find("gamma"),
                sampler: sampler.value.label.clone(),
                seed: ids.seed,
                params: self.params(point, ids),
            },
            bundle,
        }
    }

    /// The axes without a column of their own that this run reads.
    fn params(&self, point: &[u32], ids: &Ids) -> BTreeMap<String, serde_json::Value> {
        let named = ["loss", "pos_weight", "gamma", "sampler", "seed", "threshold"];
        let axes = self.sweep.grid.axes.iter().zip(point);
        axes.filter(|(axis, index)| **index != ABSENT && !named.contains(&axis.key.as_str()) && self.unread(axis, ids).is_none())
            .map(|(axis, &index)| (axis.key.clone(), axis.json[index as usize].clone()))
            .collect()
    }

    /// Why the axis means nothing to this point, if it does not.
    fn unread(&self, axis: &Axis, ids: &Ids) -> Option<String> {
        let parts = &self.sweep.parts;
        let loose = |typed: &Choice, family: &str, param: &str| {
            let kinds = Family::of(family)?;
            if typed.params.contains_key(param) {
                return Some(format!("{} says `{param}` itself", label(typed, &[])));
            }
            let read = kinds.of_kind(&typed.kind).iter().any(|known| known.name == param);
            (!read).then(|| format!("`{}` means nothing to {}", axis.key, typed.kind))
        };
        match axis.part {
            Part::Threshold => Some("`threshold` does not train: every run is evaluated under each policy".to_owned()),
            Part::Model => {
                let ModelConfig { arch, freeze, .. } = &parts.model.get(ids.model).value;
                (!schema::reads(arch, freeze.is_some(), &axis.key)).then(|| format!("`{}` means nothing to {arch}", axis.key))
            }
            Part::Loss if axis.key != "loss" => {
                let loss = &parts.loss.get(ids.loss).value;
                loose(&loss.typed, "loss", &axis.key).or_else(|| simplified(&loss.filled, &loss.choice))
            }
            Part::Weight => {
                let loss = &parts.loss.get(ids.loss).value;
                if !loss.reads_pos_weight {
                    return Some(format!("`pos_weight` means nothing to {}", loss.choice.kind));
                }
                let (_, param) = loose_family(&axis.key)?;
                match &parts.weight.get(ids.weight).value.weight {
                    PosWeight::Formula(choice) => loose(&Choice::plain(&choice.kind), "pos_weight", param),
                    PosWeight::Explicit(_) => Some(format!("`{}` means nothing to a vector", axis.key)),
                }
            }
            Part::Train => {
                let (family, param) = loose_family(&axis.key)?;
                let train = &parts.train.get(ids.train).value.config;
                let choice = if family == "train.optimizer" { &train.optimizer } else { &train.schedule };
                loose(&Choice::plain(&choice.kind), family, param)
            }
            Part::Sampler => {
                let (_, param) = loose_family(&axis.key)?;
                loose(&Choice::plain(&parts.sampler.get(ids.sampler).value.choice.kind), "sampler", param)
            }
            Part::Data | Part::Loss | Part::Seed => None,
        }
    }

    /// The earlier value of the axis `threshold` that is the same policy, if there is one.
    fn same_policy(&self, value: u32) -> Option<usize> {
        let first = self.sweep.parts.same_policy.get(value as usize).copied().flatten()?;
        (first < value as usize).then_some(first)
    }

    /// Why `point` is the run of `first`: by the first axis that differs, thresholds before all others.
    fn reason(&self, point: &[u32], first: &[u32], ids: &Ids, first_ids: &Ids) -> String {
        let axes = &self.sweep.grid.axes;
        let differs = |at: &usize| point[*at] != first[*at];
        let threshold = (0..axes.len()).filter(|&at| axes[at].part == Part::Threshold).find(differs);
        let Some(at) = threshold.or_else(|| (0..axes.len()).find(differs)) else {
            return "the same point again".to_owned();
        };
        let axis = &axes[at];
        if let (Part::Threshold, Some(first)) = (axis.part, self.same_policy(point[at])) {
            let [one, two] = [first, point[at] as usize].map(|value| &axis.values[value]);
            return format!("threshold {one} and {two} are the same policy");
        }
        if let Some(reason) = self.unread(axis, ids).or_else(|| self.unread(axis, first_ids)) {
            return reason;
        }
        let parts = &self.sweep.parts;
        match axis.part {
            Part::Loss => {
                let (one, two) = (&parts.loss.get(ids.loss).value, &parts.loss.get(first_ids.loss).value);
                simplified(&one.filled, &one.choice)
                    .or_else(|| simplified(&two.filled, &two.choice))
                    .unwrap_or_else(|| format!("`{}` and `{}` are the same loss", two.typed, one.typed))
            }
            Part::Weight => {
                let data = parts.data.get(ids.data).identity;
                let (one, two) = (&parts.weight.get(ids.weight).value.label, &parts.weight.get(first_ids.weight).value.label);
                if one != "none" && self.vectors[&self.vector_key(data, ids)].unit {
                    format!("pos_weight `{one}` is 1 for every label here: `none`")
                } else {
                    format!("pos_weight `{two}` and `{one}` are the same weights here")
                }
            }
            _ => {
                let value = |index: u32| axis.json.get(index as usize).map_or_else(|| "nothing".to_owned(), ToString::to_string);
                format!("`{}` {} and {} train the same here", axis.key, value(first[at]), value(point[at]))
            }
        }
    }
}

/// `focal(gamma=0)` is `bce`, where that is so.
fn simplified(filled: &Choice, choice: &Choice) -> Option<String> {
    (filled != choice).then(|| format!("`{filled}` is `{choice}`"))
}
