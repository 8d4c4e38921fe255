//! Plans and records as the other crates would make them; no workers needed.

use std::collections::{BTreeMap, BTreeSet};

use crate::Writer;
use imbalance::Choice;
use imbalance::LabelCounts;
use imbalance::PosWeight;
use imbalance::evaluation::HeldOut;
use imbalance::metric::{Counts, Ranking};
use imbalance::rng::Rng;
use imbalance::sampler::Realised;
use imbalance::stratification::SplitConfig;
use imbalance::threshold::Policy;
use plan::InputShape;
use plan::*;
use protocol::{Event, Outcome, Record, SplitName};

pub const LABELS: [&str; 4] = ["A", "label, with \"quotes\"", "N/A", "D/d-d d"];

/// Begins an attempt at one run and returns its number.
pub async fn begin_attempt(writer: &mut Writer, run: &Fingerprint, device: &str) -> u32 {
    writer.begin_attempts(std::slice::from_ref(run), device).await.unwrap()[0]
}

pub fn policies() -> Vec<Policy> {
    vec![Policy::Fixed(0.5), Policy::Fitted(Choice::plain("max_f1"))]
}

pub fn facts() -> DataFacts {
    let counts = |rows: usize, positives: [usize; 4]| LabelCounts::new(rows, positives.to_vec());
    DataFacts {
        content: "c0ffee".to_owned(),
        labels: LABELS.map(str::to_owned).to_vec(),
        input: InputShape::Features { width: 3 },
        train: counts(700, [59, 203, 119, 328]),
        val: counts(150, [13, 43, 0, 70]),
        test: counts(150, [13, 43, 0, 70]),
        folder: "sweep.cache/c0ffee".into(),
    }
}

pub fn config(loss: &Choice, seed: u64, epochs: usize) -> RunConfig {
    let columns = Columns::default();
    let source = Source::Features { features: "x.npy".into(), labels: "y.csv".into(), columns, standardize: true };
    let split = SplitConfig { train: 0.7, val: 0.15, test: 0.15, method: "iterative".to_owned(), seed: 0 };
    RunConfig {
        data: DataConfig { source, split },
        model: ModelConfig::new("linear", []),
        train: TrainConfig {
            epochs,
            draws: None,
            stop: None,
            batch_size: 64,
            optimizer: Choice::plain("sgd").with("momentum", 0.9),
            learning_rate: 1e-3,
            schedule: Choice::plain("constant"),
            grad_clip: None,
            precision: "f32".to_owned(),
            start: Start::Prior,
        },
        loss: loss.clone(),
        pos_weight: PosWeight::Formula(Choice::plain("none")),
        sampler: Choice::plain("shuffle"),
        seed,
    }
}

/// `losses` x `seeds` runs.
pub fn plan(name: &str, losses: &[&str], seeds: u64, epochs: usize) -> Plan {
    let facts = facts();
    let mut runs = Vec::new();
    for loss in losses {
        for seed in 0..seeds {
            let choice = if *loss == "focal" { Choice::plain(loss).with("gamma", 2.0) } else { Choice::plain(loss) };
            let config = config(&choice, seed, epochs);
            let hash = blake3::hash(serde_json::to_string(&config).unwrap().as_bytes());
            runs.push(PlannedRun {
                fingerprint: Fingerprint(hash.to_hex()[..32].to_owned()),
                data: 0,
                pos_weight: vec![1.0; 4],
                name: RunName {
                    loss: (*loss).to_owned(),
                    pos_weight: "none".to_owned(),
                    gamma: choice.find("gamma"),
                    sampler: "shuffle".to_owned(),
                    seed,
                    params: BTreeMap::new(),
                },
                bundle: seed as usize,
                config,
            });
        }
    }
    let points = (0..runs.len()).collect();
    let data = vec![(runs[0].config.data.clone(), facts)];
    let bundles = (0..seeds as usize).map(|_| Bundle { runs: vec![] }).collect();
    Plan {
        name: name.to_owned(),
        product: runs.len(),
        excluded: vec![],
        included: 0,
        search: None,
        tuned: Vec::new(),
        points,
        runs,
        merged: vec![],
        bundles,
        policies: policies(),
        data,
    }
}

/// Makes the journal of one worker.
pub struct Journal {
    pub records: Vec<Record>,
}

impl Journal {
    pub fn new() -> Self {
        let mut journal = Self { records: vec![] };
        journal.push(Event::Open {
            v: protocol::VERSION,
            worker: "w0".to_owned(),
            pid: 7,
            host: "host".to_owned(),
            device: "cpu".to_owned(),
            threads: 1,
            version: "0.1.0".to_owned(),
        });
        journal
    }

    pub fn push(&mut self, event: Event) {
        let s = self.records.len() as u64;
        self.records.push(Record { s, t: 1_700_000_000.0 + s as f64, event });
    }

    /// One attempt that continues after `from` epochs, as a worker writes it: it records all epochs, and every number depends on (run, epoch,
    /// split, policy) only.
    pub fn attempt(&mut self, run: &PlannedRun, attempt: u32, from: usize, policies: &[Policy]) {
        let (r, a) = (run.fingerprint.clone(), attempt);
        self.push(Event::Begin { r: r.clone(), a, from: (from > 0).then_some(from) });
        let epochs = run.config.train.epochs;
        let before = self.records.len();
        for epoch in 0..epochs {
            self.push(Event::Epoch {
                r: r.clone(),
                a,
                epoch,
                train_loss: 1.0 / (epoch + 1) as f64,
                val_loss: 1.1 / (epoch + 1) as f64,
                learning_rate: 1e-3,
                seconds: 0.5,
                images_per_s: 1400.0,
                steps: Some(10 * (epoch as u64 + 1)),
            });
            if epoch == 0 {
                self.push(Event::Drawn { r: r.clone(), a, drawn: drawn() });
            }
            self.evaluate(&r, a, epoch, SplitName::Val, policies);
        }
        let best = best_epoch(&r, epochs);
        self.evaluate(&r, a, best, SplitName::Test, policies);
        if best != epochs - 1 {
            self.evaluate(&r, a, epochs - 1, SplitName::Test, policies);
        }
        for epoch in BTreeSet::from([best, epochs - 1]) {
            for policy in policies.iter().filter(|policy| matches!(policy, Policy::Fitted(_))) {
                let mut event = held_out(&r, epoch, policy);
                if let Event::HeldOut { a: of, .. } = &mut event {
                    *of = a;
                }
                self.push(event);
            }
        }
        let n = (self.records.len() - before) as u64;
        self.push(Event::End { r, a, st: Outcome::Ok, n, why: String::new() });
    }

    fn evaluate(&mut self, r: &Fingerprint, a: u32, epoch: usize, split: SplitName, policies: &[Policy]) {
        self.push(Event::Rank { r: r.clone(), a, epoch, split, ranking: ranking(r, epoch, split) });
        for policy in policies {
            self.push(evaluation(r, a, epoch, split, policy));
        }
    }
}

pub fn drawn() -> Realised {
    let prevalence = vec![0.3, 0.4, 0.35, 0.5];
    Realised { draws: 700, prevalence, shift: 0.1, duplicates: 0.375, never_drawn: 0.25, made_up: 0.0 }
}

fn rng(r: &Fingerprint, epoch: usize, what: &str) -> Rng {
    let hash = blake3::hash(format!("{r} {epoch} {what}").as_bytes());
    Rng::new(u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap()), "fixture", &[])
}

pub fn ranking(r: &Fingerprint, epoch: usize, split: SplitName) -> Ranking {
    let mut rng = rng(r, epoch, &format!("rank {split:?}"));
    let mut four = || (0..4).map(|_| rng.uniform()).collect::<Vec<f64>>();
    // no positives of the third label: undefined
    let mut ap: Vec<Option<f64>> = four().into_iter().map(Some).collect();
    let mut auc: Vec<Option<f64>> = four().into_iter().map(Some).collect();
    (ap[2], auc[2]) = (None, None);
    Ranking { ap, auc, mean_score: four() }
}

pub fn best_epoch(r: &Fingerprint, epochs: usize) -> usize {
    let ap = |epoch| ranking(r, epoch, SplitName::Val).ap.iter().flatten().sum::<f64>();
    (0..epochs).reduce(|best, epoch| if ap(epoch) > ap(best) { epoch } else { best }).unwrap()
}

/// Of the first attempt.
pub fn held_out(r: &Fingerprint, epoch: usize, policy: &Policy) -> Event {
    let Event::Eval { counts, .. } = evaluation(r, 1, epoch, SplitName::Val, policy) else { unreachable!() };
    // one positive less is found
    let counts = counts.into_iter().map(|counts| match counts.tp {
        0 => counts,
        tp => Counts { tp: tp - 1, fn_: counts.fn_ + 1, ..counts },
    });
    let held_out = HeldOut { counts: counts.collect(), samples_f1: 0.25, subset_accuracy: 0.125 };
    Event::HeldOut { r: r.clone(), a: 1, epoch, policy: policy.clone(), held_out }
}

pub fn evaluation(r: &Fingerprint, a: u32, epoch: usize, split: SplitName, policy: &Policy) -> Event {
    let mut rng = rng(r, epoch, &format!("eval {split:?} {policy}"));
    let counts = [13_u64, 43, 0, 70].map(|positives| {
        // sometimes nothing is predicted, so that zero divisions occur
        let (tp, fp) = if rng.below(4) == 0 { (0, 0) } else { (rng.below(positives + 1), rng.below(150 - positives)) };
        Counts { tp, fp, fn_: positives - tp, tn: 150 - positives - fp }
    });
    Event::Eval {
        r: r.clone(),
        a,
        epoch,
        split,
        policy: policy.clone(),
        thresholds: vec![0.5, 0.1, 0.3, 0.9],
        counts: counts.to_vec(),
        samples_f1: rng.uniform(),
        subset_accuracy: rng.uniform(),
    }
}
