//! What the seeds of a sweep can tell, before anything trains (docs/certainty.md). Pure.

use std::collections::BTreeSet;

use serde::Serialize;

use super::super::text_grid::several;
use super::advice::SEEDS_NEEDED;
use super::arms::{Case, SettingRuns};
use super::verdict::SEEDS;
use imbalance::metric::certainty::detectable;

/// Seeds that are told beside those of a sweep.
const NINE: usize = 9;

/// The seeds, the comparisons, and the words that they make possible.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prospect {
    /// Of the strategy that shares the most with its baseline; splits of the data take their place where there are several.
    pub seeds: usize,
    pub of_splits: bool,
    /// Comparisons with a baseline in the whole sweep.
    pub comparisons: usize,
    /// The fewest seeds with which anything is said of rankings, and with which a strategy is recommended for its ranking.
    pub seeds_for_words: usize,
    pub seeds_for_recommendation: usize,
    /// The smallest difference that is told, in standard deviations of a seed's difference, the rows apart: with these seeds, with those
    /// of a recommendation, and with nine.
    pub detectable: [Option<f64>; 3],
}

impl Prospect {
    /// Of a sweep; `None` where nothing is compared.
    #[must_use]
    pub fn of(cases: &[Case<'_>], settings: &[SettingRuns]) -> Option<Self> {
        let (mut seeds, mut comparisons, mut of_splits) = (0, 0, false);
        for setting in settings {
            let Some(baseline) = setting.baseline else { continue };
            let data: BTreeSet<usize> = setting.arms.iter().flat_map(|arm| &arm.cases).map(|&case| cases[case].data).collect();
            let splits = data.len() > 1;
            let replicates = |arm: usize| -> BTreeSet<u64> {
                let of = |&case: &usize| if splits { cases[case].data as u64 } else { cases[case].config.seed };
                setting.arms[arm].cases.iter().map(of).collect()
            };
            let theirs = replicates(baseline.arm);
            let others = (0..setting.arms.len()).filter(|arm| *arm != baseline.arm);
            let pairs: Vec<usize> = others.map(|arm| replicates(arm).intersection(&theirs).count()).filter(|n| *n > 0).collect();
            comparisons += pairs.len();
            if let Some(most) = pairs.into_iter().max().filter(|most| *most > seeds) {
                (seeds, of_splits) = (most, splits);
            }
        }
        let least = |seeds: usize| detectable(seeds, comparisons);
        (comparisons > 0).then(|| Self {
            seeds,
            of_splits,
            comparisons,
            seeds_for_words: SEEDS,
            seeds_for_recommendation: SEEDS_NEEDED,
            detectable: [seeds, SEEDS_NEEDED, NINE].map(least),
        })
    }

    fn unit(&self) -> &'static str {
        if self.of_splits { "split" } else { "seed" }
    }

    /// What can be said with these seeds.
    #[must_use]
    pub fn words(&self) -> String {
        let [own, five, nine] = self.detectable.map(|least| format!("{:.1}", least.unwrap_or(f64::INFINITY)));
        let (unit, comparisons) = (self.unit(), several(self.comparisons, "comparison"));
        let possible = match self.seeds {
            few if few < SEEDS => {
                format!("nothing is said of which strategy ranks better: that needs {SEEDS}, a recommendation {SEEDS_NEEDED}")
            }
            few if few < SEEDS_NEEDED => {
                format!("better, the same and worse can be said, a recommendation for a ranking needs {SEEDS_NEEDED}")
            }
            _ => "better, the same and worse can be said, and a strategy be recommended for its ranking".to_owned(),
        };
        let told = if self.seeds < SEEDS { String::new() } else { format!("{own} times with these {unit}s, ") };
        format!(
            "of each strategy, {comparisons}: {possible}; a difference is told from 0 when it is so many times what it varies by from \
             {unit} to {unit} (standard deviation): {told}{five} times with {SEEDS_NEEDED}, {nine} times with {NINE}"
        )
    }

    /// Why so few are a mistake; `None` where they are enough for every word.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let own = several(self.seeds, self.unit());
        match self.seeds {
            enough if enough >= SEEDS_NEEDED => None,
            few if few < SEEDS => Some(format!(
                "nothing can be said of which strategy ranks better from {own}: how much a {} changes is not known; {SEEDS} are needed for a \
                 word, {SEEDS_NEEDED} for a recommendation",
                self.unit()
            )),
            _ => Some(format!(
                "{own} tell large differences only, and no strategy is recommended for its ranking: that needs {SEEDS_NEEDED}"
            )),
        }
    }
}
