//! What `sweep explain` says of sweeps whose truth is known is seldom wrong: a slice of docs/certainty.md, with fixed random numbers,
//! through the program.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

#[path = "../examples/certainty/worlds/mod.rs"]
mod worlds;

use worlds::count::{Rate, Rates, rates};
use worlds::population::macro_ap;
use worlds::said::Ask;
use worlds::world::{Cell, World};

/// What is counted in `sweeps` sweeps of `cell`.
fn counted(cell: &str, sweeps: usize) -> Rates {
    let cell: Cell = cell.parse().unwrap();
    let world = World::new(&cell.world, cell.arms).unwrap();
    let program = Ask::Program(env!("CARGO_BIN_EXE_sweep").into());
    let said = worlds::ask(&program, &world, &cell, 1, sweeps, 2).unwrap();
    let effect =
        |arm: usize, label: Option<usize>| label.map_or_else(|| macro_ap(world.effects[arm]), |label| world.effects[arm][label]);
    rates(&said, &effect)
}

/// An error that is meant to occur in at most 10 % of the sweeps (5 % of those with one comparison, and of recommendations) has not been
/// shown to occur in more.
fn seldom(rates: &Rates, name: &str, most: f64) {
    if let Some(rate) = rates.get(name) {
        assert!(rate.low <= most, "{name}: {rate:?}");
    }
}

#[test]
fn exact_intervals_are_those_of_clopper_and_pearson() {
    // scipy.stats.binomtest(k, n).proportion_ci(method="exact")
    let close = |(low, high): (f64, f64), expected: [f64; 2]| {
        assert!((low - expected[0]).abs() < 1e-9 && (high - expected[1]).abs() < 1e-9, "{low} {high}");
    };
    close(worlds::count::exact(0.0, 40.0), [0.0, 0.088_097_302_878_803_35]);
    close(worlds::count::exact(7.0, 60.0), [0.048_214_841_871_314_34, 0.225_716_153_145_692_5]);
    close(worlds::count::exact(60.0, 60.0), [0.940_370_507_713_665_3, 1.0]);
    // Sweeps whose comparisons all agree have as many independent comparisons as there are sweeps.
    let alike: Vec<(usize, usize)> = (0..40).map(|at| if at < 10 { (11, 11) } else { (0, 11) }).collect();
    let rate = Rate::of(&alike).unwrap();
    let (low, high) = worlds::count::exact(10.0, 40.0);
    assert!((rate.low - low).abs() < 1e-9 && (rate.high - high).abs() < 1e-9, "{rate:?}");
}

/// Luck of trainings: a word about strategies has to allow for it.
#[test]
fn trainings_that_differ_by_luck_are_seldom_called_better_or_worse() {
    let rates = counted("luck1/2x3/600", 50);
    ["any", "val_any", "f1_any", "label_any", "train_with"].iter().for_each(|name| seldom(&rates, name, 0.05));
}

/// Seeds that all agree, because every run has learnt the same quirk: a word has to allow for other rows.
#[test]
fn rankings_that_differ_on_these_rows_only_are_seldom_called_better_or_worse() {
    let rates = counted("quirks/2x3/300", 60);
    assert!(rates["student_claim"].low > 0.3, "the seeds do not agree: {rates:?}");
    ["any", "val_any"].iter().for_each(|name| seldom(&rates, name, 0.05));
}

/// Many strategies: one of them is always the luckiest, with few seeds and with enough.
#[test]
fn the_luckiest_of_many_is_seldom_called_better_or_recommended() {
    for (cell, sweeps) in [("luck0.5/12x3/150", 40), ("luck0.5/12x9/150", 16)] {
        let rates = counted(cell, sweeps);
        ["any", "val_any", "f1_any"].iter().for_each(|name| seldom(&rates, name, 0.10));
        ["label_any", "group_any", "train_with"].iter().for_each(|name| seldom(&rates, name, 0.05));
    }
}

#[test]
fn a_difference_is_seen_and_never_turned_round() {
    let rates = counted("better40/2x9/600", 16);
    assert!(rates["right"].rate >= 0.75 && rates["train_with_right"].rate >= 0.5 && rates["wrong"].hits == 0, "{rates:?}");
}

/// A difference of nearly three ropes on few rows is not none, only because seeds agree; but where nothing differs, enough rows say so.
#[test]
fn the_same_is_said_where_the_rows_can_tell() {
    let rates = counted("fixed14/2x3/300", 100);
    seldom(&rates, "said_same", 0.05);
    assert!(rates["wrong"].low <= 0.025, "{rates:?}");
    let equal = counted("equal/2x3/1500", 12);
    assert!(equal["same"].rate >= 0.5 && equal["claim"].hits <= 1, "{equal:?}");
}
