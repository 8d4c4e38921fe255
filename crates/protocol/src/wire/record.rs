//! Records: one JSON object per line of a worker's journal.

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Policy;
use plan::Fingerprint;

/// A line without its checksum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub s: u64,
    pub t: f64,
    #[serde(flatten)]
    pub event: Event,
}

/// The kinds of records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "k", rename_all = "snake_case")]
#[cfg_attr(test, derive(JsonSchema))]
pub enum Event {
    Open(Open),
    Begin(Begin),
    Hb(Heartbeat),
    Epoch(Epoch),
    Drawn(Drawn),
    Rank(Rank),
    Eval(Eval),
    HeldOut(HeldOut),
    Predicted(Predicted),
    End(End),
    Close(Close),
}

/// First record, once the worker is ready for orders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Open {
    /// Version of the protocol.
    pub v: u32,
    /// As `--name`.
    pub worker: String,
    pub pid: u32,
    pub host: String,
    pub device: String,
    pub threads: u64,
    /// Version of the worker's program.
    pub version: String,
}

/// An order to train is taken up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Begin {
    /// The run.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9a-f]{32}(-again)?$")))]
    pub r: String,
    /// The attempt.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub a: u32,
    /// Epochs that a checkpoint spares it; null from scratch.
    #[serde(default)]
    pub from: Option<u64>,
}

/// Sign of life, at most one per second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Heartbeat {
    /// Any run of the order, or null.
    #[serde(default)]
    pub r: Option<String>,
    pub epoch: u64,
    pub step: u64,
    pub steps: u64,
    /// Mean loss of the epoch so far; null where it is not a finite number.
    #[serde(default)]
    pub loss: Option<f64>,
    /// Null where it is not a finite number.
    #[serde(default)]
    pub images_per_s: Option<f64>,
    /// Work without steps that is under way, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doing: Option<String>,
}

/// An epoch has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Epoch {
    /// The run.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9a-f]{32}(-again)?$")))]
    pub r: String,
    /// The attempt.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub a: u32,
    /// From 0.
    pub epoch: u64,
    pub train_loss: f64,
    pub val_loss: f64,
    #[cfg_attr(test, schemars(range(min = 0.0)))]
    pub learning_rate: f64,
    #[cfg_attr(test, schemars(range(min = 0.0)))]
    pub seconds: f64,
    #[cfg_attr(test, schemars(range(min = 0.0)))]
    pub images_per_s: f64,
    /// Gradient steps so far, those of this epoch included.
    #[serde(default)]
    pub steps: Option<u64>,
}

/// What the sampler showed in the first epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Drawn {
    /// The run.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9a-f]{32}(-again)?$")))]
    pub r: String,
    /// The attempt.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub a: u32,
    /// Rows that the epoch showed.
    pub draws: u64,
    /// What the network saw of each label.
    pub prevalence: Vec<f64>,
    /// Mean over the labels of its absolute difference to train.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1.0)))]
    pub shift: f64,
    /// Share of the draws that had been shown before.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1.0)))]
    pub duplicates: f64,
    /// Share of the train rows that were not shown.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1.0)))]
    pub never_drawn: f64,
    /// Share of the draws whose input or labels no row has.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1.0)))]
    pub made_up: f64,
}

/// Ranking metrics, which need no threshold, of one split at one epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Rank {
    /// The run.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9a-f]{32}(-again)?$")))]
    pub r: String,
    /// The attempt.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub a: u32,
    pub epoch: u64,
    pub split: Split,
    /// One per label; null without positives.
    pub ap: Vec<Option<f64>>,
    /// One per label; null with one class only.
    pub auc: Vec<Option<f64>>,
    /// One per label.
    pub mean_score: Vec<f64>,
}

/// Decisions of one policy on one split at one epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Eval {
    /// The run.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9a-f]{32}(-again)?$")))]
    pub r: String,
    /// The attempt.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub a: u32,
    pub epoch: u64,
    pub split: Split,
    pub policy: Policy,
    /// One per label, float32: predicted where score >= threshold.
    pub thresholds: Vec<f32>,
    /// One per label.
    pub counts: Vec<Counts>,
    /// Mean over rows of the row's F1; 0 where truth and decision are both empty.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1.0)))]
    pub samples_f1: f64,
    /// Share of rows with every label right.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1.0)))]
    pub subset_accuracy: f64,
}

/// Decisions of one fitted policy on val at one epoch, each row under thresholds that it was not fitted on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct HeldOut {
    /// The run.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9a-f]{32}(-again)?$")))]
    pub r: String,
    /// The attempt.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub a: u32,
    pub epoch: u64,
    pub policy: Policy,
    /// One per label, of all rows of val.
    pub counts: Vec<Counts>,
    /// Mean over rows of the row's F1; 0 where truth and decision are both empty.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1.0)))]
    pub samples_f1: f64,
    /// Share of rows with every label right.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1.0)))]
    pub subset_accuracy: f64,
}

/// Cells of one label's confusion matrix.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Counts {
    pub tp: u64,
    pub fp: u64,
    #[serde(rename = "fn")]
    pub fn_: u64,
    pub tn: u64,
}

/// Logits of inputs that have no labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Predicted {
    /// The run that the model comes from.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9a-f]{32}(-again)?$")))]
    pub r: String,
    /// The attempt.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub a: u32,
    /// Number of the first input in the request, from 0.
    pub first: u64,
    /// How many inputs the record is about.
    pub rows: u64,
    /// Float32, row-major, one per label and input that can be used.
    pub logits: Vec<f32>,
    /// Number of each input that cannot be used, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad: Vec<(u64, String)>,
}

/// The attempt is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct End {
    /// The run.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9a-f]{32}(-again)?$")))]
    pub r: String,
    /// The attempt.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub a: u32,
    pub st: Outcome,
    /// Epoch, drawn, rank, eval, held_out and predicted records of this attempt in this journal.
    pub n: u64,
    /// For people; empty where all is well.
    #[serde(default)]
    pub why: String,
}

/// Last record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Close {
    /// For people.
    #[serde(default)]
    pub why: String,
}

/// A split that is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(JsonSchema))]
pub enum Split {
    Val,
    Test,
}

/// How an attempt ended, as its worker sees it. (Verdicts of the controller are `killed`, `hung`, `timeout` and `lost`.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(JsonSchema))]
pub enum Outcome {
    Ok,
    Stopped,
    StoppedEarly,
    Diverged,
    OutOfMemory,
    Data,
    Io,
    Crashed,
}

impl From<&crate::Record> for Record {
    fn from(record: &crate::Record) -> Self {
        Self { s: record.s, t: record.t, event: (&record.event).into() }
    }
}

impl From<Record> for crate::Record {
    fn from(record: Record) -> Self {
        Self { s: record.s, t: record.t, event: record.event.into() }
    }
}

impl From<&crate::Event> for Event {
    fn from(event: &crate::Event) -> Self {
        use crate::Event as Said;
        let finite = |number: f64| number.is_finite().then_some(number);
        match event.clone() {
            Said::Open { v, worker, pid, host, device, threads, version } => {
                Self::Open(Open { v, worker, pid, host, device, threads: threads as u64, version })
            }
            Said::Begin { r, a, from } => Self::Begin(Begin { r: r.0, a, from: from.map(|epochs| epochs as u64) }),
            Said::Hb { r, epoch, step, steps, loss, images_per_s, doing } => Self::Hb(Heartbeat {
                r: r.map(|run| run.0),
                epoch: epoch as u64,
                step: step as u64,
                steps: steps as u64,
                loss: finite(loss),
                images_per_s: finite(images_per_s),
                doing,
            }),
            Said::Epoch { r, a, epoch, train_loss, val_loss, learning_rate, seconds, images_per_s, steps } => {
                let epoch = epoch as u64;
                Self::Epoch(Epoch { r: r.0, a, epoch, train_loss, val_loss, learning_rate, seconds, images_per_s, steps })
            }
            Said::Drawn { r, a, drawn } => {
                let imbalance::sampler::Realised { draws, prevalence, shift, duplicates, never_drawn, made_up } = drawn;
                Self::Drawn(Drawn { r: r.0, a, draws: draws as u64, prevalence, shift, duplicates, never_drawn, made_up })
            }
            Said::Rank { r, a, epoch, split, ranking } => {
                let imbalance::metric::Ranking { ap, auc, mean_score } = ranking;
                Self::Rank(Rank { r: r.0, a, epoch: epoch as u64, split: split.into(), ap, auc, mean_score })
            }
            Said::Eval { r, a, epoch, split, policy, thresholds, counts, samples_f1, subset_accuracy } => Self::Eval(Eval {
                r: r.0,
                a,
                epoch: epoch as u64,
                split: split.into(),
                policy: (&policy).into(),
                thresholds,
                counts: counts.into_iter().map(Into::into).collect(),
                samples_f1,
                subset_accuracy,
            }),
            Said::HeldOut { r, a, epoch, policy, held_out } => {
                let imbalance::evaluation::HeldOut { counts, samples_f1, subset_accuracy } = held_out;
                let counts = counts.into_iter().map(Into::into).collect();
                let (epoch, policy) = (epoch as u64, (&policy).into());
                Self::HeldOut(HeldOut { r: r.0, a, epoch, policy, counts, samples_f1, subset_accuracy })
            }
            Said::Predicted { r, a, first, rows, logits, bad } => {
                let bad = bad.into_iter().map(|(input, why)| (input as u64, why)).collect();
                Self::Predicted(Predicted { r: r.0, a, first: first as u64, rows: rows as u64, logits, bad })
            }
            Said::End { r, a, st, n, why } => Self::End(End { r: r.0, a, st: st.into(), n, why }),
            Said::Close { why } => Self::Close(Close { why }),
        }
    }
}

impl From<Event> for crate::Event {
    fn from(event: Event) -> Self {
        let number = |number: Option<f64>| number.unwrap_or(f64::NAN);
        match event {
            Event::Open(Open { v, worker, pid, host, device, threads, version }) => {
                Self::Open { v, worker, pid, host, device, threads: threads as usize, version }
            }
            Event::Begin(Begin { r, a, from }) => Self::Begin { r: Fingerprint(r), a, from: from.map(|epochs| epochs as usize) },
            Event::Hb(Heartbeat { r, epoch, step, steps, loss, images_per_s, doing }) => Self::Hb {
                r: r.map(Fingerprint),
                epoch: epoch as usize,
                step: step as usize,
                steps: steps as usize,
                loss: number(loss),
                images_per_s: number(images_per_s),
                doing,
            },
            Event::Epoch(Epoch { r, a, epoch, train_loss, val_loss, learning_rate, seconds, images_per_s, steps }) => {
                Self::Epoch {
                    r: Fingerprint(r),
                    a,
                    epoch: epoch as usize,
                    train_loss,
                    val_loss,
                    learning_rate,
                    seconds,
                    images_per_s,
                    steps,
                }
            }
            Event::Drawn(Drawn { r, a, draws, prevalence, shift, duplicates, never_drawn, made_up }) => {
                let draws = draws as usize;
                let drawn = imbalance::sampler::Realised { draws, prevalence, shift, duplicates, never_drawn, made_up };
                Self::Drawn { r: Fingerprint(r), a, drawn }
            }
            Event::Rank(Rank { r, a, epoch, split, ap, auc, mean_score }) => {
                let ranking = imbalance::metric::Ranking { ap, auc, mean_score };
                Self::Rank { r: Fingerprint(r), a, epoch: epoch as usize, split: split.into(), ranking }
            }
            Event::Eval(Eval { r, a, epoch, split, policy, thresholds, counts, samples_f1, subset_accuracy }) => Self::Eval {
                r: Fingerprint(r),
                a,
                epoch: epoch as usize,
                split: split.into(),
                policy: policy.into(),
                thresholds,
                counts: counts.into_iter().map(Into::into).collect(),
                samples_f1,
                subset_accuracy,
            },
            Event::HeldOut(HeldOut { r, a, epoch, policy, counts, samples_f1, subset_accuracy }) => {
                let counts = counts.into_iter().map(Into::into).collect();
                let held_out = imbalance::evaluation::HeldOut { counts, samples_f1, subset_accuracy };
                Self::HeldOut { r: Fingerprint(r), a, epoch: epoch as usize, policy: policy.into(), held_out }
            }
            Event::Predicted(Predicted { r, a, first, rows, logits, bad }) => {
                let bad = bad.into_iter().map(|(input, why)| (input as usize, why)).collect();
                Self::Predicted { r: Fingerprint(r), a, first: first as usize, rows: rows as usize, logits, bad }
            }
            Event::End(End { r, a, st, n, why }) => Self::End { r: Fingerprint(r), a, st: st.into(), n, why },
            Event::Close(Close { why }) => Self::Close { why },
        }
    }
}

impl From<imbalance::metric::Counts> for Counts {
    fn from(counts: imbalance::metric::Counts) -> Self {
        let imbalance::metric::Counts { tp, fp, fn_, tn } = counts;
        Self { tp, fp, fn_, tn }
    }
}

impl From<Counts> for imbalance::metric::Counts {
    fn from(counts: Counts) -> Self {
        let Counts { tp, fp, fn_, tn } = counts;
        Self { tp, fp, fn_, tn }
    }
}

impl From<crate::SplitName> for Split {
    /// Train is not evaluated, so no event names it.
    fn from(split: crate::SplitName) -> Self {
        if split == crate::SplitName::Test { Self::Test } else { Self::Val }
    }
}

impl From<Split> for crate::SplitName {
    fn from(split: Split) -> Self {
        match split {
            Split::Val => Self::Val,
            Split::Test => Self::Test,
        }
    }
}

impl From<crate::Outcome> for Outcome {
    /// Verdicts of the controller become `crashed`: no worker may give them.
    fn from(outcome: crate::Outcome) -> Self {
        use crate::Outcome as Verdict;
        match outcome {
            Verdict::Ok => Self::Ok,
            Verdict::Stopped => Self::Stopped,
            Verdict::StoppedEarly => Self::StoppedEarly,
            Verdict::Diverged => Self::Diverged,
            Verdict::OutOfMemory => Self::OutOfMemory,
            Verdict::Data => Self::Data,
            Verdict::Io => Self::Io,
            Verdict::Crashed | Verdict::Killed | Verdict::Hung | Verdict::Timeout | Verdict::Lost => Self::Crashed,
        }
    }
}

impl From<Outcome> for crate::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::Ok,
            Outcome::Stopped => Self::Stopped,
            Outcome::StoppedEarly => Self::StoppedEarly,
            Outcome::Diverged => Self::Diverged,
            Outcome::OutOfMemory => Self::OutOfMemory,
            Outcome::Data => Self::Data,
            Outcome::Io => Self::Io,
            Outcome::Crashed => Self::Crashed,
        }
    }
}
