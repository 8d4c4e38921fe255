//! Rare and frequent labels: head, medium and tail (after Liu et al., "Large-scale long-tailed recognition in an open world", CVPR
//! 2019, for labels that occur together). Pure.

use serde::Serialize;

use imbalance::LabelCounts;

/// What makes a label one of the head or of the tail; the others are medium.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Groups {
    /// Prevalence in train from which a label is one of the head.
    pub head: f64,
    /// Prevalence in train below which a label is one of the tail.
    pub tail: f64,
    /// Positives in train below which a label is one of the tail, whatever its prevalence.
    pub tail_positives: usize,
}

impl Default for Groups {
    fn default() -> Self {
        Self { head: 0.10, tail: 0.02, tail_positives: 50 }
    }
}

/// How frequent a label is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelGroup {
    Head,
    Medium,
    Tail,
}

impl LabelGroup {
    /// All groups, the most frequent first.
    pub const ALL: [Self; 3] = [Self::Head, Self::Medium, Self::Tail];

    /// As text.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Medium => "medium",
            Self::Tail => "tail",
        }
    }
}

impl Groups {
    /// What makes a label one of `group`.
    #[must_use]
    pub fn words(&self, group: LabelGroup) -> String {
        let percent = |share: f64| format!("{}%", 100.0 * share);
        match group {
            LabelGroup::Head => format!("on at least {} of the train rows", percent(self.head)),
            LabelGroup::Medium => "between the two".to_owned(),
            LabelGroup::Tail => format!("below {} or {} positives", percent(self.tail), self.tail_positives),
        }
    }

    /// The group of a label by its counts in train.
    #[must_use]
    pub fn of(&self, train: &LabelCounts, label: usize) -> LabelGroup {
        let (positives, prevalence) = (train.positives[label], train.prevalence(label));
        if positives < self.tail_positives || prevalence < self.tail {
            LabelGroup::Tail
        } else if prevalence >= self.head {
            LabelGroup::Head
        } else {
            LabelGroup::Medium
        }
    }

    /// The labels of each group that has any, by their counts in train; empty where all are in one group.
    #[must_use]
    pub fn divide(&self, train: &LabelCounts) -> Vec<(LabelGroup, Vec<usize>)> {
        let of = |group: LabelGroup| {
            (group, (0..train.positives.len()).filter(|&label| self.of(train, label) == group).collect::<Vec<_>>())
        };
        let groups: Vec<_> = LabelGroup::ALL.map(of).into_iter().filter(|(_, labels)| !labels.is_empty()).collect();
        if groups.len() > 1 { groups } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_head_medium_or_tail() {
        let groups = Groups::default();
        let of = |positives| groups.of(&LabelCounts::new(10_000, vec![positives]), 0);
        assert_eq!([1000, 999, 200, 199].map(of), [LabelGroup::Head, LabelGroup::Medium, LabelGroup::Medium, LabelGroup::Tail]);
        assert_eq!(groups.of(&LabelCounts::new(100, vec![49]), 0), LabelGroup::Tail, "49 positives are few, however frequent");
        let known = LabelCounts::new(10_000, vec![150]).with_unknown(vec![9000]);
        assert_eq!(groups.of(&known, 0), LabelGroup::Head, "15 % of the rows that know it");
        let train = LabelCounts::new(10_000, vec![5000, 10, 300, 2000]);
        let found = groups.divide(&train);
        assert_eq!(found, [(LabelGroup::Head, vec![0, 3]), (LabelGroup::Medium, vec![2]), (LabelGroup::Tail, vec![1])]);
        assert!(groups.divide(&LabelCounts::new(100, vec![60, 70])).is_empty());
    }
}
