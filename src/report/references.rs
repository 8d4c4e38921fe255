//! What the reference runs say about the strategies. Pure.

use super::text_grid::number;

/// What it means where a reference run (its name and macro AP on val) ranks better than the best strategy, which has `best`, by more than
/// `rope`; `None` where a strategy ranks as well.
#[must_use]
pub fn outdone((name, reference): (&str, f64), best: f64, rope: f64) -> Option<String> {
    (reference > best + rope).then(|| {
        let reference = number(reference);
        format!(
            "{name}, a logistic regression on the same features, has macro AP {reference} on val, more than every strategy here (at most {}): \
             change the network or its training (model.hidden, train.learning_rate) before you ask about imbalance",
            number(best)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_only_where_no_strategy_ranks_as_well() {
        let words = outdone(("logistic", 0.744), 0.731, 0.005).unwrap();
        assert!(words.starts_with("logistic, a logistic regression") && words.contains("0.744 on val"), "{words}");
        for (best, rope) in [(0.7, 0.0), (0.8, 0.0), (0.697, 0.005)] {
            assert_eq!(outdone(("logistic", 0.7), best, rope), None);
        }
    }
}
