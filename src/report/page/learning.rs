//! Learning curves of the page.

use std::collections::HashMap;

use serde::Serialize;

use store::CurvePoint;

/// Points that the page has at most: beyond, the strategies that rank lower have no curves.
const POINTS: usize = 30_000;

/// The curves of one strategy.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Learning {
    /// Of the strategy.
    pub key: String,
    pub runs: Vec<RunCurve>,
}

/// The curves of one run: a value per evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunCurve {
    /// The start of its fingerprint.
    pub run: String,
    pub seed: i64,
    /// Gradient steps; evaluations where they are not recorded.
    pub steps: Vec<i64>,
    /// Macro AP on val.
    pub ap: Vec<Option<f64>>,
    pub train_loss: Vec<Option<f64>>,
    pub val_loss: Vec<Option<f64>>,
}

/// A run as its curve names it: fingerprint, how it is shown, seed.
pub type Named = (String, String, i64);

/// The curves of `strategies` (key, runs) in their order, from the points of each run, as many as fit, and how many of them have theirs.
#[must_use]
pub fn curves(by_run: &HashMap<String, Vec<CurvePoint>>, strategies: &[(String, Vec<Named>)]) -> (Vec<Learning>, usize) {
    let mut left = POINTS;
    let (mut found, mut shown) = (Vec::new(), 0);
    for (key, runs) in strategies {
        let curves: Vec<RunCurve> = runs.iter().filter_map(|named| Some(curve(named, by_run.get(&named.0)?))).collect();
        let size: usize = curves.iter().map(|curve| curve.steps.len()).sum();
        if size > left {
            break;
        }
        left -= size;
        shown += 1;
        if size > 0 {
            found.push(Learning { key: key.clone(), runs: curves });
        }
    }
    (found, shown)
}

fn curve((_, shown, seed): &Named, points: &[CurvePoint]) -> RunCurve {
    let rounded = |value: Option<f64>| value.map(|value| (value * 1e5).round() / 1e5);
    RunCurve {
        run: shown.clone(),
        seed: *seed,
        steps: points.iter().map(|point| point.steps.unwrap_or(point.epoch + 1)).collect(),
        ap: points.iter().map(|point| rounded(point.macro_ap)).collect(),
        train_loss: points.iter().map(|point| rounded(point.train_loss)).collect(),
        val_loss: points.iter().map(|point| rounded(point.val_loss)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_those_of_the_first_strategies_that_fit() {
        let point = |run: &str, epoch: i64| CurvePoint {
            run: run.to_owned(),
            epoch,
            steps: (run == "a").then_some(10 * (epoch + 1)),
            train_loss: Some(0.123_456_7),
            val_loss: None,
            macro_ap: Some(0.5),
        };
        let points = [point("a", 0), point("a", 1), point("b", 0)].into_iter().chain((0..POINTS as i64).map(|at| point("c", at)));
        let named = |run: &str| vec![(run.to_owned(), run.to_uppercase(), 7)];
        let strategies = [
            ("x".to_owned(), named("a")),
            ("none".to_owned(), named("z")),
            ("y".to_owned(), named("b")),
            ("c".to_owned(), named("c")),
        ];
        let mut by_run: HashMap<String, Vec<CurvePoint>> = HashMap::new();
        points.for_each(|point| by_run.entry(point.run.clone()).or_default().push(point));
        let (found, shown) = curves(&by_run, &strategies);
        assert_eq!((found.len(), shown), (2, 3));
        assert_eq!((found[0].key.as_str(), &found[0].runs[0].steps), ("x", &vec![10, 20]));
        assert_eq!((found[0].runs[0].train_loss[0], found[0].runs[0].run.as_str()), (Some(0.12346), "A"));
        assert_eq!(found[1].runs[0].steps, [1], "without steps the evaluations count");
    }
}
