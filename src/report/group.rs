//! The runs of each row, and comparable data sets. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value};

use super::load::Loaded;
use super::question::{Column, Question, Split};
use super::score::{Score, place};
use super::summary::{Absent, DataSet, Row, Spread};
use imbalance::LabelCounts;
use plan::{DataFacts, Reference};
use store::METRICS;

/// The column that numbers data sets where they differ in no other column.
pub const PREPARED: &str = "prepared";

/// The counts of the split that is asked for.
#[must_use]
pub fn counts(facts: &DataFacts, split: Split) -> &LabelCounts {
    match split {
        Split::Val => &facts.val,
        Split::Test => &facts.test,
    }
}

/// The comparable data sets, and which of them each of `facts` belongs to.
#[must_use]
pub fn data_sets<'f>(facts: &'f [DataFacts], split: Split) -> (Vec<DataSet>, Vec<usize>) {
    let mut first: Vec<&'f DataFacts> = Vec::new();
    let mut sets: Vec<DataSet> = Vec::new();
    let put = |facts: &'f DataFacts| {
        let same = |other: &&DataFacts| (&other.labels, &other.val, &other.test) == (&facts.labels, &facts.val, &facts.test);
        if let Some(at) = first.iter().position(same) {
            sets[at].content.push(facts.content.clone());
            return at;
        }
        let counts = counts(facts, split);
        let known: usize = (0..counts.positives.len()).map(|label| counts.known(label)).sum();
        let prevalence = counts.positives.iter().sum::<usize>() as f64 / known.max(1) as f64;
        let LabelCounts { rows, positives, unknown } = counts.clone();
        let (labels, content) = (facts.labels.clone(), vec![facts.content.clone()]);
        let without_positives = super::splits::without_positives(facts);
        first.push(facts);
        sets.push(DataSet { content, labels, rows, positives, unknown, prevalence, without_positives });
        sets.len() - 1
    };
    let of = facts.iter().map(put).collect();
    (sets, of)
}

/// Data set, columns, runs.
type StrategyRuns = (usize, Map<String, Value>, Vec<usize>);

/// The runs of each strategy, in the order of the plan; each reference run is a group of its own.
pub struct StrategyGroups {
    strategies: Vec<StrategyRuns>,
    /// Run → index into `strategies`.
    of_run: Vec<usize>,
    /// Whether [`PREPARED`] is needed to distinguish rows: nothing is averaged across data sets.
    pub alike: bool,
}

impl StrategyGroups {
    /// Runs of one data set with equal values in `columns` are a group.
    #[must_use]
    pub fn new(loaded: &Loaded, columns: &[Column], of_facts: &[usize]) -> Self {
        let mut known: HashMap<(usize, String), usize> = HashMap::new();
        let (mut seen, mut alike) = (HashSet::new(), false);
        let (mut strategies, mut of_run) = (Vec::new(), Vec::with_capacity(loaded.runs.len()));
        for (at, run) in loaded.runs.iter().enumerate() {
            let strategy: Map<String, Value> =
                columns.iter().map(|column| (column.name().to_owned(), column.value(&run.row, &run.params))).collect();
            let data = of_facts.get(run.data).copied().unwrap_or(0);
            let text = Value::Object(strategy.clone()).to_string();
            let text = run.row.reference().map_or(text.clone(), |reference| format!("{} {text}", reference.name()));
            let group = *known.entry((run.data, text.clone())).or_insert_with(|| {
                alike |= !seen.insert((data, text));
                strategies.push((data, strategy, Vec::new()));
                strategies.len() - 1
            });
            strategies[group].2.push(at);
            of_run.push(group);
        }
        if alike {
            for (_, strategy, runs) in &mut strategies {
                strategy.insert(PREPARED.to_owned(), (loaded.runs[runs[0]].data + 1).into());
            }
        }
        Self { strategies, of_run, alike }
    }

    /// A row for each strategy and policy that has evaluations on the split that is shown, and the strategies that have none.
    #[must_use]
    pub fn rows(&self, loaded: &Loaded, question: &Question) -> (Vec<Row>, Vec<Absent>) {
        let cells = |scores: &[Score]| {
            let mut cells: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
            for (at, score) in scores.iter().enumerate() {
                cells.entry((self.of_run[score.run], score.policy)).or_default().push(at);
            }
            cells
        };
        let shown = loaded.shown(question.split);
        let (cells, on_val) = (cells(shown), cells(&loaded.val));
        let (metric, ap) = (place(question.metric), place("macro_ap"));
        let mut present = vec![false; self.strategies.len()];
        let row = |(&(group, policy), members): (&(usize, usize), &Vec<usize>)| {
            present[group] = true;
            let (data, strategy, runs) = &self.strategies[group];
            let spread = |metric: usize| Spread::of(members.iter().filter_map(|&at| shown[at].values[metric]));
            let on_val = on_val.get(&(group, policy)).map_or(&[][..], Vec::as_slice);
            let val = |metric: usize| Spread::of(on_val.iter().filter_map(|&at| loaded.val[at].values[metric]));
            Row {
                rank: None,
                data: *data,
                baseline: false,
                reference: loaded.runs[runs[0]].row.reference().map(Reference::name),
                strategy: strategy.clone(),
                policy: loaded.policies[policy].clone(),
                n: members.len(),
                of: runs.len(),
                metrics: METRICS.iter().enumerate().filter_map(|(at, name)| Some((*name, spread(at)?))).collect(),
                val: val(metric),
                held_out: Spread::of(on_val.iter().filter_map(|&at| loaded.val[at].held_out)),
                predicted_rate: Spread::of(members.iter().filter_map(|&at| shown[at].predicted_rate)),
                equal_to: vec![],
                runs: members.iter().map(|&at| loaded.runs[shown[at].run].row.run.clone()).collect(),
                steps: median(members.iter().filter_map(|&at| loaded.runs[shown[at].run].row.steps)),
                labels: vec![],
                curve: vec![],
                val_ap: val(ap).map(|ap| ap.mean),
                members: members.clone(),
            }
        };
        let rows = cells.iter().map(row).collect();
        let of_grid = |runs: &[usize]| loaded.runs[runs[0]].row.reference().is_none();
        let absent = self.strategies.iter().zip(present).filter(|((_, _, runs), present)| !present && of_grid(runs));
        let absent = absent.map(|((_, strategy, runs), _)| {
            let count = |wanted: &[&str]| {
                let rows = runs.iter().map(|&run| &loaded.runs[run].row).filter(|row| !row.stopped_early && !row.left_out);
                rows.filter(|row| wanted.contains(&row.state.as_str())).count()
            };
            let stopped = runs.iter().map(|&run| &loaded.runs[run].row).filter(|row| row.stopped_early || row.left_out);
            let (failed, elsewhere, stopped) = (count(&["failed"]), count(&["succeeded"]), stopped.count());
            let left = runs.len() - failed - elsewhere - stopped;
            Absent { strategy: strategy.clone(), failed, left, stopped, elsewhere }
        });
        (rows, absent.collect())
    }
}

/// The lower median.
fn median(values: impl Iterator<Item = i64>) -> Option<i64> {
    let mut values: Vec<i64> = values.collect();
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) / 2).copied()
}
