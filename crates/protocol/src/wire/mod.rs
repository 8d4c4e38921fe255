//! Wire types: the JSON of orders and records, and of the configurations in the database. They are converted to and from the types
//! that the program computes with, so that a new field there changes nothing here.
//!
//! A reader ignores unknown keys, and a key with a default may be missing: that is how a later version adds to this one. In the configuration of an order an unknown key is refused ([`unknown_keys`]): it would change what is trained.

mod config;
mod order;
mod record;
pub mod request;
#[cfg(test)]
mod schema;

pub use config::{Choice, Columns, Config, Data, Division, Image, Model, Policy, PosWeight, Setting, Source, Training};
pub use order::{Job, Order, Prediction};
pub use record::{
    Begin, Close, Counts, Drawn, End, Epoch, Eval, Event, Heartbeat, Open, Outcome, Predicted, Rank, Record, Split,
};

use serde_json::Value;

/// The keys of `given` that are not in `known`, dotted: `train.patience`. Keys of `params`, which belong to the strategies, are compared as well.
#[must_use]
pub fn unknown_keys(given: &Value, known: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    compare(given, known, "", &mut unknown);
    unknown
}

fn compare(given: &Value, known: &Value, at: &str, unknown: &mut Vec<String>) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (key, value) in given {
                let place = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                match known.get(key) {
                    Some(known) => compare(value, known, &place, unknown),
                    // Empty or null means the same as missing.
                    None if is_nothing(value) => {}
                    None => unknown.push(place),
                }
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (at_index, (given, known)) in given.iter().zip(known).enumerate() {
                compare(given, known, &format!("{at}[{at_index}]"), unknown);
            }
        }
        _ => {}
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unknown_keys_are_named_with_their_place() {
        let known = json!({"train": {"epochs": 1}, "loss": {"kind": "bce"}, "list": [{"a": 1}]});
        assert_eq!(unknown_keys(&known, &known), [] as [&str; 0]);
        let given = json!({"train": {"epochs": 1, "patience": 3, "clip": null}, "loss": {"kind": "bce", "params": {}}, "x": [1],
                           "list": [{"a": 1, "b": 2}]});
        assert_eq!(unknown_keys(&given, &known), ["list[0].b", "train.patience", "x"]);
    }
}
