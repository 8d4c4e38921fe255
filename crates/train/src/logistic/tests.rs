use std::fmt::Write as _;
use std::path::Path as FilePath;

use candle_core::{Device, Tensor};
use serde_json::Value;

use super::*;
use crate::testing::{prepared, timeless};
use imbalance::metric;
use imbalance::rng::Rng;
use protocol::journal::JournalError;
use protocol::{Event, SplitName};

const LIMITS: Limits = Limits { memory: 10, tolerance: 1e-9, evaluations: MOST_EVALUATIONS };

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn matrix(labels: usize, values: &[f64]) -> LabelMatrix {
    LabelMatrix { names: (0..labels).map(|label| label.to_string()).collect(), values: values.iter().map(|&y| y as u8).collect() }
}

fn solve(path: &mut Path<'_>, strength: f64) -> Step {
    match path.advance(strength, &mut |_, _| Ok(None)).unwrap() {
        Advance::Solved(step) => step,
        Advance::Ended(_) => panic!("nobody has ended it"),
    }
}

/// tests/oracle/logistic.py: the same coefficients, the same AP on val and the same choice as scikit-learn's.
#[test]
fn solutions_are_those_of_scikit_learn() {
    let fixture: Value = serde_json::from_str(include_str!("../../../../tests/oracle/logistic.json")).unwrap();
    let [width, labels] = ["width", "labels"].map(|key| fixture[key].as_u64().unwrap() as usize);
    let [train, val] = ["train", "val"].map(|split| {
        let values: Vec<f32> = numbers(&fixture["features"][split]).into_iter().map(|value| value as f32).collect();
        (values, matrix(labels, &numbers(&fixture["truth"][split])))
    });
    for reference in Reference::ALL {
        let terms = ClassWeights::new(reference, &train.1);
        let mut path = Path::new(Features { values: &train.0, width }, &train.1, &terms, LIMITS);
        let solved = &fixture["solved"][reference.name()];
        let mut best = (0, f64::NEG_INFINITY);
        for (epoch, wanted) in solved["path"].as_array().unwrap().iter().enumerate() {
            assert!((STRENGTHS[epoch] / wanted["C"].as_f64().unwrap() - 1.0).abs() < 1e-14);
            assert_eq!(solve(&mut path, STRENGTHS[epoch]).unfinished, 0);
            for (solution, wanted) in path.solutions.iter().zip(wanted["solutions"].as_array().unwrap()) {
                for (found, wanted) in solution.iter().zip(numbers(wanted)) {
                    let close = (found - wanted).abs() < 1e-5 * wanted.abs().max(0.1);
                    assert!(close, "{reference:?}, C = {}: {found} instead of {wanted}", STRENGTHS[epoch]);
                }
            }
            let logits = Features { values: &val.0, width }.logits(&path.solutions);
            let ranking = metric::rank(&logits, &val.1);
            let ap = metric::average::mean_defined(&ranking.ap).unwrap().mean;
            assert!((ap - wanted["val_ap"].as_f64().unwrap()).abs() < 1e-12, "{reference:?}, C = {}: {ap}", STRENGTHS[epoch]);
            if ap > best.1 {
                best = (epoch, ap);
            }
        }
        assert_eq!(best.0 as u64, solved["chosen"].as_u64().unwrap());
        // 0 positives in 90 rows: half a row in 91.
        let constant = &path.solutions[labels - 1];
        assert!(constant[..width].iter().all(|weight| *weight == 0.0) && (sigmoid(constant[width]) - 0.5 / 91.0).abs() < 1e-12);
    }
}

/// tests/oracle/unknown.py: each label as scikit-learn fits it to the rows that know it.
#[test]
fn labels_are_fitted_on_the_rows_that_know_them() {
    let fixture: Value = serde_json::from_str(include_str!("../../../../tests/oracle/unknown.json")).unwrap();
    let fixture = &fixture["regressions"];
    let [width, labels] = ["width", "labels"].map(|key| fixture[key].as_u64().unwrap() as usize);
    let values: Vec<f32> = numbers(&fixture["features"]).into_iter().map(|value| value as f32).collect();
    let train = Features { values: &values, width };
    let truth = matrix(labels, &numbers(&fixture["truth"]));
    let strength = fixture["strength"].as_f64().unwrap();
    assert!(truth.has_unknown() && truth.known_rows() < truth.rows());
    for reference in Reference::ALL {
        let terms = ClassWeights::new(reference, &truth);
        let mut path = Path::new(train, &truth, &terms, LIMITS);
        let Step { train_loss, unfinished, .. } = solve(&mut path, strength);
        assert_eq!(unfinished, 0);
        for (solution, wanted) in path.solutions.iter().zip(fixture["solutions"][reference.name()].as_array().unwrap()) {
            for (found, wanted) in solution.iter().zip(numbers(wanted)) {
                assert!((found - wanted).abs() < 1e-5 * wanted.abs().max(0.1), "{reference:?}: {found} instead of {wanted}");
            }
        }
        // The recorded loss is that of the known cells, as val's is.
        let loss = crate::evaluate::loss(&terms, &train.logits(&path.solutions), &truth, 0).unwrap();
        assert!((loss - train_loss).abs() < 1e-6, "{loss} is not {train_loss}");
    }
}

fn sigmoid(z: f64) -> f64 {
    imbalance::loss::sigmoid(z)
}

/// Features of some rows, and 70 labels that depend on them: more than advance together.
fn many() -> (Vec<f32>, LabelMatrix) {
    let (rows, width, labels) = (300, 17, 70);
    let mut rng = Rng::new(0, "features", &[]);
    let values: Vec<f32> = (0..rows * width).map(|_| rng.normal() as f32).collect();
    let truth = (0..rows * labels).map(|at| {
        let (row, label) = (at / labels, at % labels);
        f64::from(u8::from(f64::from(values[row * width + label % width]) + rng.normal() > 0.8))
    });
    let truth: Vec<f64> = truth.collect();
    let truth = matrix(labels, &truth);
    (values, truth)
}

#[test]
fn threads_change_no_bit() {
    let (values, truth) = many();
    let terms = ClassWeights::new(Reference::Balanced, &truth);
    let solutions = [1, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut path = Path::new(Features { values: &values, width: 17 }, &truth, &terms, LIMITS);
            let losses = [0.01, 1.0].map(|strength| solve(&mut path, strength).train_loss.to_bits());
            (losses, path.solutions)
        })
    });
    assert_eq!(solutions[0], solutions[1]);
}

/// At the optimum the gradient vanishes, label by label: computed here row by row, without blocks and parts.
#[test]
fn the_gradient_vanishes() {
    let (values, truth) = many();
    let terms = ClassWeights::new(Reference::Balanced, &truth);
    let mut path = Path::new(Features { values: &values, width: 17 }, &truth, &terms, LIMITS);
    let (strength, rows) = (0.3, truth.rows());
    solve(&mut path, strength);
    let counts = truth.counts();
    for (label, solution) in path.solutions.iter().enumerate() {
        let mut gradient: Vec<f64> = solution[..17].iter().map(|weight| weight / strength).chain([0.0]).collect();
        for row in 0..rows {
            let x = || values[row * 17..][..17].iter().map(|&x| f64::from(x)).chain([1.0]);
            let (z, positives) = (x().zip(solution).map(|(x, w)| x * w).sum::<f64>(), counts.positives[label]);
            let (y, of) = if truth.row(row)[label] == 1 { (1.0, positives) } else { (0.0, rows - positives) };
            let slope = rows as f64 / (2.0 * of as f64) * (sigmoid(z) - y);
            gradient.iter_mut().zip(x()).for_each(|(sum, x)| *sum += slope * x);
        }
        assert!(gradient.iter().all(|derivative| derivative.abs() < 1e-6), "{label}: {gradient:?}");
    }
}

const FILE: &str = r#"
name = "t"
[data]
kind = "features"
features = "FOLDER/x.npy"
labels = "FOLDER/y.csv"
[model]
arch = "mlp"
[grid]
threshold = [0.5, "max_f1"]
"#;

/// The reference runs of a small sweep, with their data.
fn runs() -> (tempfile::TempDir, tempfile::TempDir, Dataset, Vec<Job>) {
    let source = tempfile::tempdir().unwrap();
    let (mut rng, mut table, mut values) = (Rng::new(1, "features", &[]), "id,A,B,C\n".to_owned(), Vec::new());
    for row in 0..300 {
        let labels = [row % 3 / 2, row % 2, row % 5 / 4];
        values.extend((0..12).map(|column| (rng.normal() + 0.5 * f64::from(labels[column % 3])) as f32));
        writeln!(table, "{row},{},{},{}", labels[0], labels[1], labels[2]).unwrap();
    }
    std::fs::write(source.path().join("y.csv"), table).unwrap();
    Tensor::from_vec(values, (300, 12), &Device::Cpu).unwrap().write_npy(source.path().join("x.npy")).unwrap();
    let (folder, data, mut jobs) = prepared(&FILE.replace("FOLDER", &source.path().display().to_string()), &[]);
    jobs.retain(|job| job.config.reference().is_some());
    (source, folder, data, jobs)
}

/// Keeps what it hears; stops at an evaluation.
#[derive(Default)]
struct Listener {
    events: Vec<Event>,
    notes: Vec<String>,
    beats: usize,
    stop_at: Option<usize>,
}

impl Monitor for Listener {
    fn begin(&mut self, _: &Job, from: Option<usize>) -> Result<(), JournalError> {
        assert_eq!(from, None);
        Ok(())
    }

    fn beat(&mut self, _: &Job, beat: Beat) -> Result<(), JournalError> {
        assert!(beat.loss.is_finite() && beat.step <= beat.steps);
        self.beats += 1;
        Ok(())
    }

    fn record(&mut self, _: &Job, events: Vec<Event>) -> Result<(), JournalError> {
        self.events.extend(events.into_iter().map(timeless));
        Ok(())
    }

    fn stopping(&self) -> bool {
        self.stop_at.is_some_and(|at| self.beats >= at)
    }

    fn note(&mut self, _: &Job, words: &str) {
        self.notes.push(words.to_owned());
    }
}

fn scores(folder: &FilePath, split: &str) -> Vec<f32> {
    archive::parse_matrix::<f32>(folder, &std::fs::read(folder.join(format!("scores-{split}.npy"))).unwrap()).unwrap().1
}

#[test]
fn a_run_is_recorded_like_any_other_and_starts_anew_to_the_same_last_bit() {
    let (_source, _folder, data, jobs) = runs();
    assert_eq!(jobs.iter().map(|job| job.config.loss.kind.as_str()).collect::<Vec<_>>(), ["logistic", "logistic_balanced"]);
    for job in &jobs {
        let mut whole = Listener::default();
        assert_eq!(crate::run(job, &data, &Device::Cpu, &mut whole).unwrap(), Finish::Done);
        let epochs: Vec<usize> = whole
            .events
            .iter()
            .filter_map(|event| if let Event::Epoch { epoch, .. } = event { Some(*epoch) } else { None })
            .collect();
        assert_eq!(epochs, (0..epochs.len()).collect::<Vec<_>>());
        let tested = |event: &&Event| matches!(event, Event::Rank { split: SplitName::Test, .. });
        assert_eq!(whole.events.iter().filter(tested).count(), 2, "the best and the last strength");
        let val_ap = |event: &Event| match event {
            Event::Rank { split: SplitName::Val, epoch, ranking, .. } => {
                Some((*epoch, metric::average::mean_defined(&ranking.ap)?.mean))
            }
            _ => None,
        };
        let best =
            whole.events.iter().filter_map(val_ap).fold((0, 0.0), |best, found| if found.1 > best.1 { found } else { best });
        assert_eq!(epochs.len(), best.0 + 5, "it ends when four strengths have been no better");
        assert!(whole.notes[0].starts_with(&format!("chosen by val macro AP: C = {}", STRENGTHS[best.0])), "{:?}", whole.notes);
        // The kept model gives the kept scores.
        let model = model::build(&job.config.model, data.shape(), 3, None, 0, &Device::Cpu).unwrap();
        model::load_state(model.state(), &job.folder.join(archive::MODEL)).unwrap();
        let kept =
            [("val", &data.split().val), ("test", &data.split().test)].map(|(split, rows)| (scores(&job.folder, split), rows));
        for (kept, rows) in &kept {
            let mut inputs = vec![0.0; rows.len() * 12];
            data.gather(rows, None, &mut inputs);
            let inputs = Tensor::from_vec(inputs, (rows.len(), 12), &Device::Cpu).unwrap();
            let logits = model.forward(&inputs, None).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(kept.iter().zip(logits).all(|(score, z)| (f64::from(*score) - sigmoid(z.into())).abs() < 1e-5));
        }
        // Stopped half way, then anew.
        let mut stopped = Listener { stop_at: Some(whole.beats / 2), ..Listener::default() };
        assert_eq!(crate::run(job, &data, &Device::Cpu, &mut stopped).unwrap(), Finish::Stopped);
        assert!(!stopped.events.is_empty() && stopped.events.len() < whole.events.len());
        let mut again = Listener::default();
        assert_eq!(crate::run(job, &data, &Device::Cpu, &mut again).unwrap(), Finish::Done);
        assert_eq!(again.events, whole.events);
        assert_eq!(scores(&job.folder, "test"), kept[1].0);
    }
}
