//! Orders: one JSON object per line on a worker's stdin.

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, Policy};

/// An order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "k", rename_all = "snake_case")]
#[cfg_attr(test, derive(JsonSchema))]
pub enum Order {
    /// Make this attempt.
    Train(Box<Job>),
    /// Make these attempts, in one pass if the worker can.
    Bundle { jobs: Vec<Job> },
    /// Finish the current epoch, write its checkpoint, end the attempts as `stopped`, then close.
    Stop,
    /// Finish the current epoch of this attempt, write its checkpoint and end it as `stopped_early`: it will not be continued. Other
    /// attempts go on. A worker that does not train this attempt ignores the order.
    StopRun {
        #[cfg_attr(test, schemars(regex(pattern = "^[0-9a-f]{32}(-again)?$")))]
        run: String,
        #[cfg_attr(test, schemars(range(min = 1)))]
        attempt: u32,
    },
    /// Train this run once more on train and val together, for as many epochs, without evaluation; keep the model in its folder.
    Refit {
        job: Box<Job>,
        /// Epochs to train.
        #[cfg_attr(test, schemars(range(min = 1)))]
        epochs: u64,
    },
    /// Score inputs that have no labels.
    Predict(Prediction),
}

/// An order to score inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Prediction {
    /// Version of the protocol.
    pub v: u32,
    /// The run that the model comes from.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9a-f]{32}(-again)?$")))]
    pub run: String,
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub attempt: u32,
    /// A JSON file: see `request`.
    pub request: String,
    /// Inputs that are done already.
    #[serde(default)]
    pub from: u64,
}

/// One attempt at one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub struct Job {
    /// Version of the protocol.
    pub v: u32,
    /// The run's fingerprint.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9a-f]{32}(-again)?$")))]
    pub run: String,
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub attempt: u32,
    pub config: Config,
    /// Resolved, one per label.
    pub pos_weight: Vec<f64>,
    /// Folder of the prepared data.
    pub data: String,
    /// The run's own folder; it exists.
    pub folder: String,
    /// Policies to evaluate each epoch under.
    pub policies: Vec<Policy>,
}

impl From<&crate::Job> for Job {
    fn from(job: &crate::Job) -> Self {
        let crate::Job { v, run, attempt, config, pos_weight, data, folder, policies } = job;
        Self {
            v: *v,
            run: run.0.clone(),
            attempt: *attempt,
            config: config.into(),
            pos_weight: pos_weight.clone(),
            data: data.to_string_lossy().into_owned(),
            folder: folder.to_string_lossy().into_owned(),
            policies: policies.iter().map(Into::into).collect(),
        }
    }
}

impl From<Job> for crate::Job {
    fn from(job: Job) -> Self {
        let Job { v, run, attempt, config, pos_weight, data, folder, policies } = job;
        Self {
            v,
            run: plan::Fingerprint(run),
            attempt,
            config: config.into(),
            pos_weight,
            data: data.into(),
            folder: folder.into(),
            policies: policies.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<&crate::Order> for Order {
    fn from(order: &crate::Order) -> Self {
        match order {
            crate::Order::Train(job) => Self::Train(Box::new((&**job).into())),
            crate::Order::Bundle { jobs } => Self::Bundle { jobs: jobs.iter().map(Into::into).collect() },
            crate::Order::Stop => Self::Stop,
            crate::Order::Refit { job, epochs } => Self::Refit { job: Box::new((&**job).into()), epochs: *epochs as u64 },
            crate::Order::Predict(crate::Prediction { v, run, attempt, request, from }) => Self::Predict(Prediction {
                v: *v,
                run: run.0.clone(),
                attempt: *attempt,
                request: request.to_string_lossy().into_owned(),
                from: *from as u64,
            }),
            crate::Order::StopRun { run, attempt } => Self::StopRun { run: run.0.clone(), attempt: *attempt },
        }
    }
}

impl From<Order> for crate::Order {
    fn from(order: Order) -> Self {
        match order {
            Order::Train(job) => Self::Train(Box::new((*job).into())),
            Order::Bundle { jobs } => Self::Bundle { jobs: jobs.into_iter().map(Into::into).collect() },
            Order::Stop => Self::Stop,
            Order::Refit { job, epochs } => Self::Refit { job: Box::new((*job).into()), epochs: epochs as usize },
            Order::Predict(Prediction { v, run, attempt, request, from }) => Self::Predict(crate::Prediction {
                v,
                run: plan::Fingerprint(run),
                attempt,
                request: request.into(),
                from: from as usize,
            }),
            Order::StopRun { run, attempt } => Self::StopRun { run: plan::Fingerprint(run), attempt },
        }
    }
}
