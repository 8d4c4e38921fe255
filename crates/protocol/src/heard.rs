//! An order as a worker reads it: what it can carry out, or what it has to refuse and why.

use serde_json::Value;

use super::{Order, VERSION, wire};
use plan::Fingerprint;

/// A line of a worker's stdin.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Order(Order),
    /// These attempts cannot be made: each ends as `crashed`, with the reason. The list may be empty.
    Refused {
        attempts: Vec<(Fingerprint, u32)>,
        why: String,
    },
}

/// Parses `line`. Unknown keys are ignored, except in a configuration, where they would change what is trained.
#[must_use]
pub fn heard(line: &str) -> Heard {
    let value: Value = match serde_json::from_str(line) {
        Ok(value) => value,
        Err(error) => return Heard::Refused { attempts: Vec::new(), why: format!("the order is not JSON: {error}") },
    };
    let jobs: Vec<&Value> = match (value["jobs"].as_array(), value.get("job")) {
        (Some(jobs), _) => jobs.iter().collect(),
        (None, Some(job)) => vec![job],
        (None, None) => vec![&value],
    };
    let refused = |why: String| Heard::Refused { attempts: jobs.iter().filter_map(|job| attempt(job)).collect(), why };
    if let Some(v) = jobs.iter().filter_map(|job| job.get("v")).find(|v| **v != VERSION) {
        return refused(format!("the order is of protocol {v}, this worker speaks {VERSION}"));
    }
    let order: wire::Order = match serde_json::from_str(line) {
        Ok(order) => order,
        Err(error) => return refused(format!("the order is not one of protocol {VERSION}: {error}")),
    };
    let known = match &order {
        wire::Order::Train(job) => vec![&job.config],
        wire::Order::Bundle { jobs } => jobs.iter().map(|job| &job.config).collect(),
        wire::Order::Refit { job, .. } => vec![&job.config],
        wire::Order::Stop | wire::Order::StopRun { .. } | wire::Order::Predict(_) => Vec::new(),
    };
    for (job, config) in jobs.iter().zip(known) {
        let known = serde_json::to_value(config).unwrap_or_default();
        let unknown = wire::unknown_keys(&job["config"], &known);
        if !unknown.is_empty() {
            let keys = unknown.join(", ");
            return refused(format!("this worker does not know `config` key {keys}: it would train something else"));
        }
    }
    Heard::Order(order.into())
}

fn attempt(job: &Value) -> Option<(Fingerprint, u32)> {
    let attempt = u32::try_from(job["attempt"].as_u64()?).ok()?;
    Some((Fingerprint(job["run"].as_str()?.to_owned()), attempt))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Prediction;
    use crate::tests::job;

    fn value() -> Value {
        serde_json::from_str(&Order::Train(Box::new(job())).line()).unwrap()
    }

    fn refused(value: &Value) -> String {
        match heard(&value.to_string()) {
            Heard::Refused { attempts, why } => {
                assert_eq!(attempts, [(job().run, job().attempt)]);
                why
            }
            Heard::Order(order) => panic!("{order:?}"),
        }
    }

    #[test]
    fn orders_come_back_and_later_keys_are_passed_over() {
        let bundle = Order::Bundle { jobs: vec![job(), job()] };
        let refit = Order::Refit { job: Box::new(job()), epochs: 7 };
        let request = "/x/request.json".into();
        let predict = Order::Predict(Prediction { v: VERSION, run: job().run, attempt: 1, request, from: 64 });
        let stop_run = Order::StopRun { run: job().run, attempt: 3 };
        for order in [Order::Train(Box::new(job())), bundle, Order::Stop, stop_run, refit, predict] {
            assert_eq!(heard(&order.line()), Heard::Order(order));
        }
        let mut later = value();
        later["priority"] = 3.into();
        later["config"]["train"]["patience"] = Value::Null;
        assert_eq!(heard(&later.to_string()), Heard::Order(Order::Train(Box::new(job()))));
    }

    #[test]
    fn an_attempt_that_cannot_be_made_as_ordered_is_refused() {
        let mut other = value();
        other["v"] = 1.into();
        assert_eq!(refused(&other), "the order is of protocol 1, this worker speaks 2");
        let mut unknown = value();
        unknown["config"]["train"]["patience"] = 3.into();
        assert!(refused(&unknown).contains("train.patience"), "{}", refused(&unknown));
        let mut refit: Value = serde_json::from_str(&Order::Refit { job: Box::new(job()), epochs: 7 }.line()).unwrap();
        refit["job"]["config"]["train"]["patience"] = 3.into();
        assert!(refused(&refit).contains("train.patience"), "{}", refused(&refit));
        let mut missing = value();
        missing["config"]["train"].as_object_mut().unwrap().remove("epochs");
        assert!(refused(&missing).contains("missing field `epochs`"), "{}", refused(&missing));
        assert!(matches!(heard("{"), Heard::Refused { attempts, .. } if attempts.is_empty()));
    }
}
