//! `sweep plan FILE`: what `run` would do, and which part is done already.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::disk::Disk;
use super::estimate::{Estimate, estimate};
use super::features::Features;
use super::length::{RunLength, lengths};
use super::output::{self, Facts, TextTable, counted, fit, thousands};
use super::preparing::Preparing;
use super::{load, train};
use crate::cli;
use crate::controller::progress::{Verbosity, span};
use crate::controller::searching::rungs_in_words;
use crate::error::Error;
use crate::launcher::Place;
use crate::report::{Convergence, ShortValues, axis_value, explain, lint};
use data::Untrainable;
use imbalance::PosWeight;
use imbalance::threshold::Policy;
use plan::{BUNDLE_BYTES, DataFacts, Fingerprint, Plan, RunName, SearchBudget, Searched, TOGETHER};
use store::Reader;

/// Most lengths of training that are listed.
const LENGTHS: usize = 3;
/// Most rows of the table of strategies.
const SHOWN: usize = 30;

/// Shows a plan.
///
/// # Errors
/// The errors of `sweep run` before it trains, but for data that nothing can be trained on: the plan says so.
pub async fn run(global: &cli::Global, args: &cli::PlanArgs) -> Result<(), Error> {
    let workers = cli::WorkersArgs::default();
    show(global, &args.file, &workers, args.format).await
}

/// The view of a plan.
struct PlanView {
    plan: Plan,
    /// Why `run` would refuse the data; empty if it would not.
    untrainable: Vec<Untrainable>,
    /// What the columns of each CSV were taken for.
    read: Vec<String>,
    file: String,
    axes: Vec<(String, usize)>,
    /// The state of each run.
    states: Vec<PlannedState>,
    /// How many of the recorded ones have not converged.
    convergence: Convergence,
    lengths: Vec<RunLength>,
    /// Warnings about what looks like a mistake.
    warnings: Vec<lint::Lint>,
    /// What its seeds can tell; `None` where nothing is compared.
    prospect: Option<explain::Prospect>,
    /// Places for workers, or the reason why there are none on this machine.
    slots: Result<Vec<Place>, String>,
    /// The features that the runs to train need.
    features: Vec<Features>,
    /// `None` if nothing is left to train.
    estimate: Option<Result<Estimate, String>>,
    disk: Disk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum PlannedState {
    ToTrain,
    Recorded,
    /// Failed for good: only `sweep resume --failed` tries it again.
    Failed,
    /// The search has stopped it, or left it out.
    PassedOver,
}

/// Plans a file and shows the plan, with the workers of the command line.
///
/// # Errors
/// The errors of [`run`].
pub async fn show(
    global: &cli::Global,
    file: &cli::SweepFileArgs,
    workers: &cli::WorkersArgs,
    format: cli::Format,
) -> Result<(), Error> {
    let typed = file.file.display().to_string();
    let file = load::read(&file.file, &file.set)?;
    let (axes, weights) = (file.sweep.axes(), file.sweep.pos_weights());
    // A plan can be made on a machine without the devices.
    let slots = train::places(workers, &file.sweep.workers).map_err(|error| error.to_string());
    let (loaded, untrainable) = {
        let preparing = Preparing::new(Verbosity::of(global.quiet));
        file.outline(&global.db, &preparing)?
    };
    let (plan, read) = (loaded.plan, loaded.read);
    let (mut states, mut paces) = (vec![PlannedState::ToTrain; plan.runs.len()], Vec::new());
    let mut convergence = Convergence::default();
    if global.db.exists() {
        let mut reader = Reader::open(&global.db).await?;
        let names: Vec<Fingerprint> = plan.runs.iter().map(|run| run.fingerprint.clone()).collect();
        let known = [
            (PlannedState::PassedOver, reader.passed_over(&plan).await?),
            (PlannedState::Failed, reader.failed(&names).await?),
            (PlannedState::Recorded, reader.recorded(&names).await?),
        ];
        for (known, runs) in known {
            states.iter_mut().zip(runs).filter(|(_, is)| *is).for_each(|(state, _)| *state = known);
        }
        paces = reader.paces().await?;
        let of_grid: Vec<Fingerprint> = plan.of_grid().map(|run| run.fingerprint.clone()).collect();
        convergence = Convergence::of_rises(reader.rises(&of_grid).await?);
    }
    let todo: Vec<usize> = (0..states.len()).filter(|&run| states[run] == PlannedState::ToTrain).collect();
    let features = Features::needed(&plan, &todo, slots.as_deref().unwrap_or_default());
    let estimate = match &slots {
        _ if todo.is_empty() => None,
        Ok(slots) => Some(estimate(&plan, &todo, &features, slots, &paces)),
        Err(why) => Some(Err(why.clone())),
    };
    let (warnings, prospect) = foreseen(&plan, &weights);
    let disk = Disk::foreseen(&plan, &todo, &features, slots.as_ref().map_or(1, Vec::len), &global.db);
    let lengths = lengths(&plan);
    let seen = PlanView {
        plan,
        untrainable,
        read,
        file: typed,
        axes,
        states,
        convergence,
        lengths,
        warnings,
        prospect,
        slots,
        features,
        estimate,
        disk,
    };
    match format {
        cli::Format::Table => output::print(&seen.text()),
        cli::Format::Json => output::print_json(&seen),
    }
}

/// Warnings, and what the seeds can tell, before anything trains.
fn foreseen(plan: &Plan, weights: &[PosWeight]) -> (Vec<lint::Lint>, Option<explain::Prospect>) {
    let cases: Vec<explain::Case<'_>> = plan.of_grid().map(|run| explain::Case::planned(run, &plan.tuned)).collect();
    let facts: Vec<DataFacts> = plan.data.iter().map(|(_, facts)| facts.clone()).collect();
    let tunes = plan.policies.iter().any(|policy| matches!(policy, Policy::Fitted(_)));
    let settings = explain::settings(&cases);
    (lint::planned(&cases, &settings, &facts, weights, tunes), explain::Prospect::of(&cases, &settings))
}

impl PlanView {
    fn count(&self, state: PlannedState) -> usize {
        self.states.iter().filter(|&&other| other == state).count()
    }

    /// Values that each strategy gets the best of.
    fn candidates(&self) -> usize {
        self.axes.iter().filter(|(axis, _)| self.plan.tuned.contains(axis)).map(|(_, values)| values).product()
    }

    fn tuned(&self) -> Option<String> {
        (!self.plan.tuned.is_empty()).then(|| {
            format!(
                "each strategy is trained with {} and gets the one with the highest val macro AP, mean over its seeds; all runs are kept",
                match &self.plan.tuned[..] {
                    [key] => format!("{} of {key}", counted(self.candidates(), "value")),
                    keys => format!("{} of {}", counted(self.candidates(), "combination"), keys.join(" and ")),
                }
            )
        })
    }

    fn text(&self) -> String {
        let plan = &self.plan;
        let axes: Vec<String> =
            self.axes.iter().filter(|(_, values)| *values > 1).map(|(axis, values)| format!("{axis} {values}")).collect();
        let mut facts = Facts::default();
        let product = if axes.is_empty() { String::new() } else { format!("= {}", axes.join(" x ")) };
        facts.add("grid", thousands(plan.product), product);
        for (at, (rule, points)) in plan.excluded.iter().enumerate() {
            facts.add(if at == 0 { "excluded" } else { "" }, format!("-{}", thousands(*points)), rule);
        }
        if plan.included > 0 {
            facts.add("included", format!("+{}", thousands(plan.included)), "by [[grid.include]]");
        }
        if !plan.excluded.is_empty() || plan.included > 0 {
            let points = plan.search.as_ref().map_or(plan.points.len(), |searched| searched.points);
            facts.add("points", thousands(points), "");
        }
        for (at, merged) in plan.merged.iter().enumerate() {
            facts.add(if at == 0 { "merged" } else { "" }, format!("-{}", thousands(merged.points)), &merged.reason);
        }
        self.search(&mut facts);
        let (todo, recorded, failed) =
            (self.count(PlannedState::ToTrain), self.count(PlannedState::Recorded), self.count(PlannedState::Failed));
        let mut states = vec![format!("{} to train", thousands(todo)), format!("{} recorded already", thousands(recorded))];
        if failed > 0 {
            states.push(format!("{} failed before (`sweep resume --failed` tries them again)", thousands(failed)));
        }
        let passed_over = self.count(PlannedState::PassedOver);
        if passed_over > 0 {
            states.push(format!("{} stopped or left out by the search (`sweep report --stopped`)", thousands(passed_over)));
        }
        let references = plan.references();
        if references > 0 {
            let why = "a converged logistic regression on the same features, plain and balanced: is the network any good at all? \
                       (train.reference = false leaves them out)";
            facts.add("references", format!("+{references}"), why);
        }
        facts.add("runs", thousands(plan.runs.len()), states.join(", "));
        if let Some(words) = self.convergence.sentence() {
            facts.add("", "", format!("of those recorded already, {words}"));
        }
        if let Some(words) = self.tuned() {
            facts.add("tuned", format!("x{}", thousands(self.candidates())), words);
        }
        for (at, length) in self.lengths.iter().take(LENGTHS).enumerate() {
            let own = if self.lengths.len() > 1 { format!("{}: ", counted(length.runs, "run")) } else { String::new() };
            let most = length.most().map_or_else(String::new, thousands);
            facts.add(if at == 0 { "steps" } else { "" }, most, format!("{own}{}", length.words()));
        }
        if self.lengths.len() > LENGTHS {
            facts.add("", "", format!("and {} more lengths; --format json has all", self.lengths.len() - LENGTHS));
        }
        if let Some(prospect) = &self.prospect {
            facts.add(if prospect.of_splits { "splits" } else { "seeds" }, prospect.seeds.to_string(), prospect.words());
        }
        let largest = plan.bundles.iter().map(|bundle| bundle.runs.len()).max().unwrap_or(0);
        let most = format!("at most {TOGETHER} runs, {} MiB of parameters", BUNDLE_BYTES >> 20);
        let bundles =
            format!("of runs that share data, network, batch order and epochs; the largest has {} ({most})", thousands(largest));
        facts.add("bundles", thousands(plan.bundles.len()), bundles);
        let policies: Vec<String> = plan.policies.iter().map(ToString::to_string).collect();
        facts.add("policies", plan.policies.len().to_string(), format!("{}: computed from the scores", policies.join(", ")));
        for (at, (config, data)) in plan.data.iter().enumerate() {
            let name = if at == 0 { "data" } else { "" };
            facts.add(name, "", format!("{}: {}", super::data::source(config), rows_in_words(data)));
        }
        for (at, read) in self.read.iter().enumerate() {
            facts.add(if at == 0 { "read" } else { "" }, "", read);
        }
        match &self.slots {
            Ok(slots) => facts.add("workers", slots.len().to_string(), Place::words(slots)),
            Err(why) => facts.add("workers", "", format!("not on this machine: {why}")),
        }
        for (at, features) in self.features.iter().enumerate() {
            facts.add(if at == 0 { "features" } else { "" }, "", features.words());
        }
        facts.add(
            "time",
            "",
            match &self.estimate {
                None => "nothing to train".to_owned(),
                Some(Ok(Estimate { seconds, features, basis })) => {
                    let first = if *features > 0.0 { format!(", {} of it for features", span(*features)) } else { String::new() };
                    let time = span(*seconds);
                    match self.stops() {
                        true => format!("at most about {time}{first}, if the search stopped nothing; from {basis}"),
                        false => format!("about {time}{first}, from {basis}"),
                    }
                }
                Some(Err(why)) => format!("unknown: {why}"),
            },
        );
        let (room, words) = self.disk.words();
        facts.add("disk", room, words);
        for (at, lint) in self.warnings.iter().enumerate() {
            // Of several the number, so that a long one does not hide that there are others.
            let all = self.warnings.len();
            let number = if all > 1 { format!("{} of {all}", at + 1) } else { String::new() };
            let about = if lint.about.is_empty() { String::new() } else { format!("{}: ", lint::listed(&lint.about)) };
            facts.add(if at == 0 { "warnings" } else { "" }, number, format!("{about}{}", lint.sentence));
        }
        let refused: String = self.untrainable.iter().map(|found| output::refused(found) + "\n").collect();
        format!("{}: {}\n\n{refused}{facts}\n{}", plan.name, self.file, self.strategies())
    }

    /// Whether strategies are stopped on the way.
    fn stops(&self) -> bool {
        self.plan.search.as_ref().is_some_and(|searched| searched.search.halving.is_some())
    }

    /// What of the grid is trained.
    fn search(&self, facts: &mut Facts) {
        let Some(Searched { search, strategies, runs, drawn, .. }) = &self.plan.search else { return };
        let of_grid = self.plan.of_grid().count();
        let kind = if search.halving.is_some() { "asha" } else { "random" };
        let left = runs - of_grid;
        let what = match search.budget {
            Some(SearchBudget::Runs(budget)) => {
                let runs = counted(budget, "run");
                format!(
                    "{drawn} of {strategies} strategies, drawn with seed {}: all of their seeds fit into a budget of {runs}",
                    search.seed
                )
            }
            Some(SearchBudget::Seconds(seconds)) => {
                let time = span(seconds);
                format!("{strategies} strategies in random order (seed {}); no run begins after {time} of training", search.seed)
            }
            None => format!("{strategies} strategies"),
        };
        let minus = if left > 0 { format!("-{}", thousands(left)) } else { String::new() };
        facts.add("search", minus, format!("{kind}: {what}"));
        if let Some(halving) = &search.halving {
            let epochs = self.plan.of_grid().map(|run| run.config.train.epochs).max().unwrap_or(0);
            let words = format!(
                "each strategy competes on {} by its first run, {}; 1 of {} goes on, the others are stopped; the other seeds are trained of those \
                 that come through, and plain bce is never stopped",
                halving.metric.words(),
                rungs_in_words(halving, epochs),
                halving.reduction
            );
            facts.add("", "", words);
        }
    }

    /// One row per strategy: runs that differ only in their seed, or in what is tuned, share one.
    fn strategies(&self) -> String {
        let mut found: Vec<(RunName, Vec<u64>, usize, usize)> = Vec::new();
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for (run, state) in self.plan.runs.iter().zip(&self.states) {
            let mut name = RunName { seed: 0, ..run.name.clone() };
            name.params.retain(|key, _| !self.plan.tuned.contains(key));
            let key = serde_json::to_string(&name).unwrap_or_default();
            let at = *places.entry(key).or_insert_with(|| {
                found.push((name, Vec::new(), 0, 0));
                found.len() - 1
            });
            let (_, seeds, runs, recorded) = &mut found[at];
            if !seeds.contains(&run.name.seed) {
                seeds.push(run.name.seed);
            }
            *runs += 1;
            *recorded += usize::from(*state == PlannedState::Recorded);
        }
        let axes = OtherAxes::of(self.plan.of_grid().map(|run| &run.name), &self.plan.tuned);
        let other = !axes.varying.is_empty();
        let header = ["loss", "pos_weight", "gamma", "sampler", "seeds", "recorded"].into_iter();
        let mut grid = TextTable::new(7, header.chain(other.then_some("other axes")));
        for (name, seeds, runs, recorded) in found.iter().take(SHOWN) {
            let gamma = name.gamma.map_or_else(String::new, |gamma| gamma.to_string());
            let recorded = format!("{recorded} of {runs}");
            let cells = [fit(&name.loss), fit(&name.pos_weight), gamma, fit(&name.sampler), some(seeds), recorded];
            grid.row(cells.into_iter().chain(other.then(|| axes.words(name))));
        }
        let more = found.len().saturating_sub(SHOWN);
        let more =
            if more > 0 { format!("and {} more; --format json lists every run\n", thousands(more)) } else { String::new() };
        format!("{}{grid}{more}", axes.shared)
    }

    /// All but the runs.
    fn json(&self) -> Value {
        let plan = &self.plan;
        json!({
            "name": plan.name,
            "file": self.file,
            "axes": self.axes.iter().map(|(axis, values)| json!({ "axis": axis, "values": values })).collect::<Vec<_>>(),
            "product": plan.product,
            "excluded": plan.excluded.iter().map(|(rule, points)| json!({ "rule": rule, "points": points })).collect::<Vec<_>>(),
            "included": plan.included,
            "read": self.read,
            "points": plan.points.len(),
            "merged": plan.merged,
            "references": plan.references(),
            "search": plan.search,
            "distinct": plan.runs.len(),
            "tuned": plan.tuned,
            "lengths": self.lengths,
            "convergence": self.convergence,
            "to_train": self.count(PlannedState::ToTrain),
            "recorded": self.count(PlannedState::Recorded),
            "failed": self.count(PlannedState::Failed),
            "passed_over": self.count(PlannedState::PassedOver),
            "bundles": plan.bundles.len(),
            "policies": plan.policies,
            "data": plan.data.iter().map(|(config, facts)| json!({ "config": config, "facts": facts })).collect::<Vec<_>>(),
            "workers": self.slots.as_ref().ok().map(|slots| {
                slots.iter().map(|slot| json!({ "device": slot.device, "threads": slot.threads })).collect::<Vec<_>>()
            }),
            "warnings": self.warnings,
            "certainty": self.prospect,
            "refused": self.untrainable,
            "features": self.features,
            "estimate": self.estimate.as_ref().and_then(|estimate| estimate.as_ref().ok()),
            "disk": self.disk,
            "runs": null,
        })
    }
}

/// One object, whose runs are written one by one: a plan may have a hundred thousand.
impl Serialize for PlanView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rest = self.json();
        let entries = rest.as_object().into_iter().flatten();
        serializer.collect_map(entries.map(|(key, value)| {
            let value = if key == "runs" { Field::Runs(self) } else { Field::Other(value) };
            (key, value)
        }))
    }
}

/// A field of a plan.
enum Field<'a> {
    Runs(&'a PlanView),
    Other(&'a Value),
}

impl Serialize for Field<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let seen = match self {
            Self::Runs(seen) => seen,
            Self::Other(value) => return value.serialize(serializer),
        };
        serializer.collect_seq(seen.plan.runs.iter().zip(&seen.states).map(|(run, state)| {
            json!({
                "run": run.fingerprint, "state": state, "bundle": run.bundle, "data": run.data,
                "loss": run.name.loss, "pos_weight": run.name.pos_weight, "gamma": run.name.gamma,
                "sampler": run.name.sampler, "seed": run.name.seed, "params": run.name.params,
                "weights": Some(&run.pos_weight).filter(|weights| !weights.is_empty()),
            })
        }))
    }
}

/// The axes beside the four that have columns: those in which strategies differ, with short values.
struct OtherAxes {
    varying: BTreeMap<String, ShortValues>,
    /// A line with what all strategies share.
    shared: String,
}

impl OtherAxes {
    fn of<'n>(names: impl Iterator<Item = &'n RunName>, tuned: &[String]) -> Self {
        let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut all = 0;
        let mut having: BTreeMap<String, usize> = BTreeMap::new();
        for name in names {
            all += 1;
            for (key, value) in name.params.iter().filter(|(key, _)| !tuned.contains(key)) {
                values.entry(key.clone()).or_default().insert(axis_value(Some(value)));
                *having.entry(key.clone()).or_default() += 1;
            }
        }
        let same = |key: &String, values: &BTreeSet<String>| values.len() == 1 && having.get(key) == Some(&all);
        let mut shared = Vec::new();
        let mut varying = BTreeMap::new();
        for (key, texts) in values {
            if same(&key, &texts) {
                shared.extend(texts.iter().map(|text| format!("{key} {text}")));
            } else {
                varying.insert(key, ShortValues::of(&texts));
            }
        }
        let mut lines: Vec<String> = Vec::new();
        lines.extend((!shared.is_empty()).then(|| format!("every strategy: {}", shared.join(", "))));
        lines.extend(varying.values().flat_map(|values| &values.shared).map(|shared| format!("every {shared}")));
        let shared = lines.into_iter().map(|line| line + "\n").collect();
        Self { varying, shared }
    }

    /// `train.optimizer=sgd(weight_decay=1e-4)`.
    fn words(&self, name: &RunName) -> String {
        let word =
            |(key, value): (&String, &Value)| Some(format!("{key}={}", self.varying.get(key)?.get(&axis_value(Some(value)))));
        name.params.iter().filter_map(word).collect::<Vec<_>>().join(" ")
    }
}

/// `4,000 rows (2,800 train, 600 val, 600 test), 4 labels, images 1 x 32 x 32`.
fn rows_in_words(facts: &DataFacts) -> String {
    let DataFacts { train, val, test, labels, input, .. } = facts;
    let all = counted(train.rows + val.rows + test.rows, "row");
    let splits = [train.rows, val.rows, test.rows].map(thousands);
    let input = super::data::input(*input);
    let [train, val, test] = splits;
    format!("{all} ({train} train, {val} val, {test} test), {}, {input}", counted(labels.len(), "label"))
}

/// The first few of many numbers.
fn some(numbers: &[u64]) -> String {
    let shown: Vec<String> = numbers.iter().take(5).map(u64::to_string).collect();
    if numbers.len() > 5 { format!("{} ... ({})", shown.join(" "), numbers.len()) } else { shown.join(" ") }
}
