//! `sweep data FILE`: the data set before any training.

use serde::Serialize;

use super::load;
use super::output::{self, Facts, Grid, counted, fit, matrix, thousands};
use super::preparing::Preparing;
use crate::cli;
use crate::controller::progress::Voice;
use crate::data::diagnosis::{Diagnosis, Pattern, diagnose};
use crate::data::oracle::{Oracle, limits};
use crate::data::{Dataset, InputShape, Skipped};
use crate::error::Error;
use crate::spec::{DataConfig, DataFacts, PosWeight, Source};
use crate::strategy::{self, LabelCounts, pos_weight};

/// Labels that tables show; JSON has all.
const LABELS: usize = 40;
/// Labels that stand across a table of formulas; more stand below each other.
const ACROSS: usize = 8;
/// Skipped images that are listed; JSON has all.
const SKIPPED: usize = 20;

/// The one JSON value of `data`.
#[derive(Serialize)]
struct Seen {
    name: String,
    /// One a data configuration of the grid.
    data: Vec<Set>,
}

/// All that is said of one data set.
#[derive(Serialize)]
struct Set {
    config: DataConfig,
    labels: Vec<String>,
    input: InputShape,
    splits: Splits,
    /// Of all rows.
    diagnosis: Diagnosis,
    weights: Vec<Weights>,
    skipped: Vec<Skipped>,
    /// Of `letters`: what the best possible scores reach.
    limits: Option<Vec<Oracle>>,
}

#[derive(Serialize)]
struct Splits {
    train: LabelCounts,
    val: LabelCounts,
    test: LabelCounts,
}

/// What one formula gives for the train split.
#[derive(Serialize)]
struct Weights {
    pos_weight: String,
    /// One a label.
    weights: Vec<f64>,
    /// 1 / (1 + weight): the probability that a score of 0.5 stands for once BCE is trained with the weight.
    half: Vec<f64>,
}

/// Shows every data configuration of a sweep file.
///
/// # Errors
/// A bad sweep file; data that cannot be used.
pub fn run(global: &cli::Global, args: &cli::Data) -> Result<(), Error> {
    let load::File { sweep, base, .. } = load::read(&args.file.file, &args.file.set)?;
    let facts = {
        let preparing = Preparing::new(Voice::of(global.quiet));
        load::prepare(&sweep, &base, &global.db, &|config, done, total| preparing.tell(config, done, total))?
    };
    let configs = sweep.data_configs();
    let typed = sweep.pos_weights();
    let sets = configs.into_iter().zip(facts).map(|(config, facts)| Set::new(config, facts, &typed));
    let seen = Seen { name: sweep.name, data: sets.collect::<Result<_, _>>()? };
    match args.format {
        cli::Format::Json => output::print_json(&seen),
        cli::Format::Table => {
            let texts: Vec<String> = seen.data.iter().map(|set| format!("{}: {}", seen.name, set.text())).collect();
            output::print(&texts.join("\n\n"))
        }
    }
}

/// `letters, signal 2`, `images below photos`, `features x.npy`.
pub fn source(config: &DataConfig) -> String {
    match &config.source {
        Source::Letters { signal, seed, .. } => format!("letters (signal {signal}, seed {seed})"),
        Source::Images { root, .. } => format!("images below {}", root.display()),
        Source::Features { features, .. } => format!("features {}", features.display()),
    }
}

impl Set {
    fn new(config: DataConfig, facts: DataFacts, typed: &[PosWeight]) -> Result<Self, Error> {
        let data = Dataset::open(&facts.folder, &config)?;
        let limits = match &config.source {
            Source::Letters { signal, label_rates, .. } => Some(limits(*signal, label_rates)),
            _ => None,
        };
        Ok(Self {
            diagnosis: diagnose(data.labels()),
            weights: weights(&facts.train, typed),
            skipped: data.skipped().to_vec(),
            labels: facts.labels,
            input: facts.input,
            splits: Splits { train: facts.train, val: facts.val, test: facts.test },
            config,
            limits,
        })
    }

    fn text(&self) -> String {
        let mut parts = vec![self.heading(), self.table(), self.facts().to_string(), self.company()];
        parts.push(self.weights());
        parts.extend(self.oracle());
        parts.extend(self.left_out());
        parts.join("\n")
    }

    fn heading(&self) -> String {
        let input = match self.input {
            InputShape::Image { channels, height, width } => format!("images {channels} x {height} x {width}"),
            InputShape::Features { width } => counted(width, "feature"),
        };
        let (rows, labels) = (counted(self.diagnosis.rows, "row"), counted(self.labels.len(), "label"));
        format!("{}: {rows}, {labels}, {input}\n", source(&self.config))
    }

    /// The labels that tables show.
    fn shown(&self) -> Vec<String> {
        self.labels.iter().take(LABELS).map(|label| fit(label)).collect()
    }

    /// Positives and prevalence of every label in every split.
    fn table(&self) -> String {
        let Splits { train, val, test } = &self.splits;
        let all = LabelCounts { rows: self.diagnosis.rows, positives: self.diagnosis.positives.clone() };
        let splits = [("train", train), ("val", val), ("test", test), ("all", &all)];
        let header = splits.iter().map(|(name, _)| (*name).to_owned());
        let mut grid =
            Grid::new(1, ["positives".to_owned()].into_iter().chain(header).chain(["IRLbl", "neg/pos"].map(str::to_owned)));
        let rows = splits.iter().map(|(_, counts)| counted(counts.rows, "row"));
        grid.row([String::new()].into_iter().chain(rows).chain([String::new(), String::new()]));
        for (label, name) in self.shown().into_iter().enumerate() {
            let cell = |counts: &LabelCounts| {
                let positives = counts.positives[label];
                format!("{} {:>6}", thousands(positives), percent(positives as f64 / counts.rows.max(1) as f64))
            };
            let cells = splits.iter().map(|(_, counts)| cell(counts));
            let ratios = [self.diagnosis.imbalance.irlbl[label], self.diagnosis.imr[label]].map(ratio);
            grid.row([name].into_iter().chain(cells).chain(ratios));
        }
        let more = self.labels.len().saturating_sub(LABELS);
        let more = if more > 0 { format!("and {}; --format json has all\n", counted(more, "more label")) } else { String::new() };
        format!("{grid}{more}")
    }

    fn facts(&self) -> Facts {
        let Diagnosis { rows, imbalance, cardinality, density, labelsets, company, scumble, .. } = &self.diagnosis;
        let mut facts = Facts::default();
        let imbalanced = imbalance.mean_ir.is_some_and(|mean| mean > 1.5) && imbalance.cvir.is_some_and(|cv| cv > 0.2);
        let verdict = if imbalanced { "imbalanced" } else { "not imbalanced" };
        let words = format!(
            "mean of IRLbl = most positives / the label's positives; with CVIR {verdict} by Charte's rule of thumb (MeanIR > 1.5, CVIR > 0.2)"
        );
        facts.add("MeanIR", number(imbalance.mean_ir, 3), words);
        facts.add("CVIR", number(imbalance.cvir, 3), "deviation of IRLbl / MeanIR");
        let words = "rare and frequent labels in one row: 0 never; above 0.1, resampling rows for the rare ones brings the frequent ones along";
        facts.add("SCUMBLE", format!("{scumble:.3}"), words);
        facts.add(
            "cardinality",
            format!("{cardinality:.3}"),
            format!("labels a row; density {density:.3} = cardinality / labels"),
        );
        let most = percent(labelsets.most_frequent as f64 / (*rows).max(1) as f64);
        let words = format!(
            "combinations of labels; {} on one row only, the most frequent on {most} of the rows",
            thousands(labelsets.singletons)
        );
        facts.add("labelsets", thousands(labelsets.distinct), words);
        let words = format!("of the rows; independent labels would leave {}", percent(company.none_if_independent));
        facts.add("no label", percent(company.none), words);
        let words = format!("of the rows; independent labels would give {}", percent(company.several_if_independent));
        facts.add("several", percent(company.several), words);
        facts.add("so", "", meaning(company.pattern));
        facts
    }

    /// Which labels share rows.
    fn company(&self) -> String {
        let names = self.shown();
        if names.len() < 2 {
            return String::new();
        }
        // Numbers above the columns where names would be too wide.
        let wide = names.iter().map(|name| name.chars().count().max(5) + 2).sum::<usize>() > output::WIDTH - 30;
        let columns: Vec<String> = if wide { (1..=names.len()).map(|label| label.to_string()).collect() } else { names.clone() };
        let rows: Vec<String> =
            if wide { names.iter().enumerate().map(|(at, name)| format!("{} {name}", at + 1)).collect() } else { names };
        let together = matrix("rows with both", &rows, &columns, |i, j| thousands(self.diagnosis.together[i][j]));
        let given = matrix("P(column | row), %", &rows, &columns, |i, j| {
            self.diagnosis.given[i][j].map_or_else(|| "-".to_owned(), |p| format!("{:.1}", 100.0 * p))
        });
        format!("{together}\n{given}")
    }

    fn weights(&self) -> String {
        let weights = self.by_formula("pos_weight (from train)", |weights| &weights.weights);
        let half = self.by_formula("score 0.5 then means", |weights| &weights.half);
        let note =
            "The second table: P(label) at which BCE, trained with that weight, predicts the label at a threshold of 0.5.\n";
        format!("{weights}\n{half}{note}")
    }

    /// Formulas and labels: the few of them across.
    fn by_formula(&self, corner: &str, values: fn(&Weights) -> &[f64]) -> String {
        let labels = self.shown();
        let formulas: Vec<String> = self.weights.iter().map(|weights| fit(&weights.pos_weight)).collect();
        let cell = |formula: usize, label: usize| ratio(values(&self.weights[formula]).get(label).copied());
        if labels.len() <= ACROSS {
            matrix(corner, &formulas, &labels, cell)
        } else {
            matrix(corner, &labels, &formulas, |label, formula| cell(formula, label))
        }
    }

    fn oracle(&self) -> Option<String> {
        let limits = self.limits.as_ref()?;
        let header = ["best possible", "AP", "AUC", "F1", "at threshold", "predicted", "F1 at 0.5", "predicted"];
        let mut grid = Grid::new(1, header);
        let mean = |value: fn(&Oracle) -> f64| limits.iter().map(value).sum::<f64>() / limits.len().max(1) as f64;
        for oracle in limits {
            let Oracle { label, ap, auc, best, half, .. } = oracle;
            let [ap, auc, f1, threshold, half_f1] =
                [*ap, *auc, best.f1, best.threshold, half.f1].map(|value| format!("{value:.4}"));
            let predicted = [best.predicted_rate, half.predicted_rate].map(percent);
            let [at_best, at_half] = predicted;
            grid.row([fit(label), ap, auc, f1, threshold, at_best, half_f1, at_half]);
        }
        let macros =
            [mean(|o| o.ap), mean(|o| o.auc), mean(|o| o.best.f1), mean(|o| o.half.f1)].map(|value| format!("{value:.4}"));
        let [ap, auc, f1, half_f1] = macros;
        grid.row(["macro".to_owned(), ap, auc, f1, String::new(), String::new(), half_f1, String::new()]);
        let note = "Closed form: no model reaches more on average, whatever its loss; F1 at 0.5 is that of perfectly calibrated scores.\n";
        Some(format!("{grid}{note}"))
    }

    fn left_out(&self) -> Option<String> {
        if self.skipped.is_empty() {
            return None;
        }
        let mut text = format!("{} left out (data.on_bad_image = \"skip\"):\n", counted(self.skipped.len(), "image"));
        for Skipped { id, reason } in self.skipped.iter().take(SKIPPED) {
            text.push_str(&format!("  {id}: {reason}\n"));
        }
        let more = self.skipped.len().saturating_sub(SKIPPED);
        if more > 0 {
            text.push_str(&format!("  and {} more; --format json has all\n", thousands(more)));
        }
        Some(text)
    }
}

/// Every formula of the registry that needs no parameter, and every weight of the grid.
fn weights(train: &LabelCounts, typed: &[PosWeight]) -> Vec<Weights> {
    let formulas =
        pos_weight::REGISTRY.iter().filter_map(|entry| strategy::complete(entry, std::collections::BTreeMap::new()).ok());
    let mut all: Vec<PosWeight> = formulas.map(PosWeight::Formula).collect();
    for weight in typed {
        if !all.contains(weight) {
            all.push(weight.clone());
        }
    }
    let name = |weight: &PosWeight| match weight {
        PosWeight::Formula(choice) => choice.to_string(),
        PosWeight::Explicit(numbers) => format!("[{}]", numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
    };
    // What the grid's weights cannot be on this data, `run` and `plan` say with their place in the file.
    let resolved = all.iter().filter_map(|weight| Some((name(weight), pos_weight::resolve(weight, train).ok()?)));
    resolved
        .map(|(pos_weight, weights)| Weights {
            pos_weight,
            half: weights.iter().map(|weight| 1.0 / (1.0 + weight)).collect(),
            weights,
        })
        .collect()
}

fn meaning(pattern: Pattern) -> &'static str {
    match pattern {
        Pattern::NearExclusive => {
            "the labels are nearly exclusive: a row mostly has one of them; resampling rows for one label hardly touches the others"
        }
        Pattern::Avoiding => "the labels avoid each other: fewer rows have several than chance would give",
        Pattern::AsIfIndependent => {
            "the labels go together as if by chance; resampling rows for one label brings the others along at their own rates"
        }
        Pattern::Gathering => "the labels gather on the same rows: resampling rows for a rare label brings frequent ones along",
        Pattern::Single => "there is nothing to go together",
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// Four figures of what may be large or small.
fn ratio(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value >= 1000.0 => thousands(value.round() as usize),
        Some(value) if value >= 100.0 => format!("{value:.1}"),
        Some(value) if value >= 10.0 => format!("{value:.2}"),
        Some(value) if value >= 1.0 => format!("{value:.3}"),
        Some(value) => format!("{value:.4}"),
    }
}
