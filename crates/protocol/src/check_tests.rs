use super::*;
use imbalance::metric::Ranking;
use imbalance::sampler::Realised;
use imbalance::threshold::Policy;
use plan::Fingerprint;

fn run() -> Fingerprint {
    Fingerprint("0123456789abcdef0123456789abcdef".to_owned())
}

fn truth() -> LabelCounts {
    LabelCounts::new(10, vec![4, 0])
}

/// The complaint about `event` of a run of three epochs on two labels, the second without positives; empty if there is none.
fn said(event: &Event) -> String {
    let truth = truth();
    let expected = Expected { epochs: 3, labels: 2, val: Some(&truth), test: Some(&truth) };
    fits(event, &expected).err().unwrap_or_default()
}

struct Eval {
    epoch: usize,
    split: SplitName,
    thresholds: Vec<f32>,
    counts: Vec<Counts>,
    shares: [f64; 2],
}

impl Default for Eval {
    fn default() -> Self {
        let counts = vec![Counts { tp: 3, fp: 2, fn_: 1, tn: 4 }, Counts { tp: 0, fp: 0, fn_: 0, tn: 10 }];
        Self { epoch: 2, split: SplitName::Test, thresholds: vec![0.5, 1.0f32.next_up()], counts, shares: [0.0, 1.0] }
    }
}

impl Eval {
    fn said(self) -> String {
        let Self { epoch, split, thresholds, counts, shares: [samples_f1, subset_accuracy] } = self;
        let policy = Policy::Fixed(0.5);
        said(&Event::Eval { r: run(), a: 1, epoch, split, policy, thresholds, counts, samples_f1, subset_accuracy })
    }
}

#[test]
fn counts_are_those_of_the_split() {
    let counts = |first: Counts| Eval { counts: vec![first, Eval::default().counts[1]], ..Eval::default() }.said();
    assert_eq!(Eval::default().said(), "");
    let right = Eval::default().counts[0];
    assert_eq!(counts(Counts { tp: 999_999, ..right }), "tp + fn of label 0 (from 0) is 1000000, but the split has 4");
    assert_eq!(counts(Counts { tn: 5, ..right }), "tp + fp + fn + tn of label 0 (from 0) is 11, but the split has 10");
    for huge in [1 << 62, 1 << 63, u64::MAX] {
        assert!(counts(Counts { tp: huge, fn_: huge, ..right }).contains("tp + fn of label 0"));
        assert!(counts(Counts { tn: huge, fp: huge, ..right }).contains("tp + fp + fn + tn of label 0"));
    }
    assert!(counts(Counts { tp: u64::MAX, fn_: 9, ..right }).contains("too large to add up"));
}

/// Rows that do not know a label are none of its four cells, and its ranking is of those that do.
#[test]
fn counts_are_those_of_the_rows_that_know_the_label() {
    let truth = LabelCounts::new(10, vec![4, 3]).with_unknown(vec![3, 7]);
    let expected = Expected { epochs: 3, labels: 2, val: Some(&truth), test: Some(&truth) };
    let counted = |tn: u64| {
        let counts = vec![Counts { tp: 3, fp: 2, fn_: 1, tn }, Counts { tp: 3, ..Counts::default() }];
        let (thresholds, split, policy) = (vec![0.5; 2], SplitName::Val, Policy::Fixed(0.5));
        let (samples_f1, subset_accuracy) = (0.5, 0.5);
        fits(&Event::Eval { r: run(), a: 1, epoch: 0, split, policy, thresholds, counts, samples_f1, subset_accuracy }, &expected)
    };
    assert_eq!(counted(1), Ok(()));
    assert_eq!(counted(4).unwrap_err(), "tp + fp + fn + tn of label 0 (from 0) is 10, but the split has 7");
    let ranked = |auc: Option<f64>| {
        let ranking = Ranking { ap: vec![Some(0.5), Some(1.0)], auc: vec![Some(0.5), auc], mean_score: vec![0.5; 2] };
        fits(&Event::Rank { r: run(), a: 1, epoch: 0, split: SplitName::Val, ranking }, &expected)
    };
    assert_eq!(ranked(None), Ok(()));
    assert!(ranked(Some(0.5)).unwrap_err().contains("both positives and negatives"));
}

#[test]
fn evaluations_have_one_value_per_label_and_are_of_this_run() {
    let default = Eval::default;
    assert!(Eval { epoch: 3, ..default() }.said().contains("epoch is 3, but the run has 3"));
    assert!(Eval { epoch: usize::MAX, ..default() }.said().contains("but the run has 3"));
    assert!(Eval { split: SplitName::Train, ..default() }.said().contains("train is not evaluated"));
    assert!(Eval { thresholds: vec![0.5], ..default() }.said().contains("thresholds has 1 values, but there are 2 labels"));
    assert!(Eval { counts: Vec::new(), ..default() }.said().contains("counts has 0 values"));
    assert_eq!(Eval { thresholds: vec![0.5, f32::INFINITY], ..default() }.said(), "thresholds is inf");
    assert!(Eval { shares: [1.5, 0.0], ..default() }.said().contains("samples_f1 is 1.5"));
    assert!(Eval { shares: [0.0, -0.5], ..default() }.said().contains("subset_accuracy is -0.5"));
}

#[test]
fn ranking_metrics_are_numbers_exactly_where_they_are_defined() {
    let rank = |ap: [Option<f64>; 2], auc: [Option<f64>; 2], mean: f64| {
        let ranking = Ranking { ap: ap.to_vec(), auc: auc.to_vec(), mean_score: vec![mean, 0.0] };
        said(&Event::Rank { r: run(), a: 1, epoch: 0, split: SplitName::Val, ranking })
    };
    let (ap, auc) = ([Some(0.5), None], [Some(1.0), None]);
    assert_eq!(rank(ap, auc, 1.0 + 1e-12), "");
    assert!(rank([Some(1e308), None], auc, 0.5).contains("ap is "));
    assert!(rank([None, None], auc, 0.5).contains("ap of label 0 (from 0) is null, but the label has positives"));
    assert!(rank([Some(0.5), Some(0.0)], auc, 0.5).contains("ap of label 1 (from 0) is 0, should be null"));
    assert!(rank(ap, [Some(1.0), Some(0.5)], 0.5).contains("auc of label 1"));
    assert!(rank(ap, auc, -0.1).contains("mean_score is -0.1"));
}

#[test]
fn epochs_draws_and_attempts_are_within_their_ranges() {
    let epoch = |epoch, rate, seconds| Event::Epoch {
        r: run(),
        a: 1,
        epoch,
        train_loss: -1.0,
        val_loss: 1e300,
        learning_rate: rate,
        seconds,
        images_per_s: 0.0,
        steps: Some(0),
    };
    assert_eq!(said(&epoch(0, 0.1, 1.0)), "");
    assert!(said(&epoch(7, 0.1, 1.0)).contains("epoch is 7"));
    assert!(said(&epoch(0, -0.1, 1.0)).contains("learning_rate is -0.1"));
    assert_eq!(said(&epoch(0, f64::NAN, 1.0)), "learning_rate is NaN");
    let drawn = |draws, first: f64, made_up| {
        let prevalence = vec![first, 0.0];
        let drawn = Realised { draws, prevalence, shift: 0.0, duplicates: 0.0, never_drawn: 0.0, made_up };
        Event::Drawn { r: run(), a: 1, drawn }
    };
    assert_eq!(said(&drawn(10, 0.5, 1.0)), "");
    assert!(said(&drawn(usize::MAX, 0.5, 1.0)).contains("draws is"));
    assert!(said(&drawn(10, 1.5, 1.0)).contains("prevalence is 1.5"));
    assert!(said(&drawn(10, 0.5, 2.0)).contains("made_up is 2"));
    assert!(said(&Event::Begin { r: run(), a: 1, from: Some(4) }).contains("continues after 4 epochs"));
    assert!(said(&Event::Begin { r: run(), a: u32::MAX, from: None }).contains("no attempt 4294967295"));
    assert!(said(&Event::Begin { r: run(), a: 0, from: None }).contains("no attempt 0"));
    let end = |st| said(&Event::End { r: run(), a: 1, st, n: u64::MAX, why: String::new() });
    assert_eq!(end(Outcome::Crashed), "");
    assert!(end(Outcome::Lost).contains("verdict of the controller"));
}

/// Without the counts of the data set only what needs no truth is checked.
#[test]
fn an_unknown_truth_checks_less() {
    let expected = Expected { epochs: 3, labels: 2, val: None, test: None };
    let ranking = Ranking { ap: vec![None, Some(0.1)], auc: vec![None, None], mean_score: vec![0.0, 0.0] };
    let event = |ranking| Event::Rank { r: run(), a: 1, epoch: 0, split: SplitName::Val, ranking };
    assert_eq!(fits(&event(ranking.clone()), &expected), Ok(()));
    assert!(fits(&event(Ranking { ap: vec![None, Some(2.0)], ..ranking }), &expected).is_err());
}
