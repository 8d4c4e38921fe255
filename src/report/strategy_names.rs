//! Names of strategies, as short as they stay distinct. Pure.

use serde_json::{Map, Value};

use super::text_grid::{text, with};

/// The name of imported scores, whose strategy is unknown.
pub const IMPORTED: &str = "imported scores";

/// `bce`, `bce + sqrt`, `focal(gamma=2) + class_aware`: the loss, what weights its positives, and the sampler where it is not plain
/// shuffling. `params` are a run's other axes; those of the data, the network and the training loop are not part of a strategy.
#[must_use]
pub fn strategy(loss: &str, pos_weight: &str, gamma: Option<f64>, sampler: &str, params: &Map<String, Value>) -> String {
    if [loss, pos_weight, sampler].iter().all(|name| *name == "imported") {
        return IMPORTED.to_owned();
    }
    let [loss, weight, sampler] = parts(loss, pos_weight, gamma, sampler, params);
    let weight = if weight == "none" { String::new() } else { format!(" + {weight}") };
    let sampler = if sampler == "shuffle" { String::new() } else { format!(" + {sampler}") };
    format!("{loss}{weight}{sampler}")
}

/// The loss, the positive weight and the sampler of a strategy, each with its parameters.
#[must_use]
pub fn parts(loss: &str, pos_weight: &str, gamma: Option<f64>, sampler: &str, params: &Map<String, Value>) -> [String; 3] {
    let own = |prefix: &str| -> Vec<String> {
        let of = |key: &str| match (prefix, key.split_once('.')) {
            ("", None) => Some(key.to_owned()),
            (_, Some((parent, name))) if parent == prefix => Some(name.to_owned()),
            _ => None,
        };
        params.iter().filter_map(|(key, value)| Some(format!("{}={}", of(key)?, text(Some(value))))).collect()
    };
    let gamma = gamma.filter(|gamma| *gamma != 0.0).map(|gamma| format!("gamma={gamma}"));
    let loss = with(loss, &own("").into_iter().chain(gamma).collect::<Vec<_>>());
    [loss, with(pos_weight, &own("pos_weight")), with(sampler, &own("sampler"))]
}

/// The axes that are not part of a strategy, nor `tuned`: those in which settings of a sweep differ.
#[must_use]
pub fn setting(params: &Map<String, Value>, tuned: &[String]) -> Vec<(String, String)> {
    let other = |key: &String| ["data.", "model.", "train."].iter().any(|prefix| key.starts_with(prefix)) && !tuned.contains(key);
    params.iter().filter(|(key, _)| other(key)).map(|(key, value)| (key.clone(), text(Some(value)))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_say_what_is_not_plain() {
        let none = Map::new();
        assert_eq!(strategy("bce", "none", None, "shuffle", &none), "bce");
        assert_eq!(strategy("bce", "sqrt", None, "class_aware", &none), "bce + sqrt + class_aware");
        assert_eq!(strategy("focal", "none", Some(2.0), "shuffle", &none), "focal(gamma=2)");
        assert_eq!(strategy("focal(alpha=0.25)", "none", Some(1.5), "shuffle", &none), "focal(alpha=0.25,gamma=1.5)");
        assert_eq!(strategy("poly1", "none", Some(0.0), "shuffle", &none), "poly1");
        let Value::Object(params) = json!({"clip": 0.05, "pos_weight.exponent": 0.5, "sampler.t": 0.3, "train.epochs": 3}) else {
            panic!()
        };
        assert_eq!(
            strategy("asl", "power", None, "repeat_factor", &params),
            "asl(clip=0.05) + power(exponent=0.5) + repeat_factor(t=0.3)"
        );
        assert_eq!(setting(&params, &[]), [("train.epochs".to_owned(), "3".to_owned())]);
    }
}
