//! The cost of a false negative over that of a false positive: with bce, 0.5 is then the decision of least expected cost. The
//! only formula here that depends on what is wanted instead of what is rare; for costs per label give an explicit vector.

use super::{Entry, Formula};
use crate::{Absent, Param, Takes};

const COST: Takes = Takes::Number { min: 1e-6, max: 1e6 };

pub(super) const ENTRY: Entry<Formula> = Entry {
    kind: "cost",
    summary: "cost of a false negative / cost of a false positive, for every label",
    params: &[
        Param { name: "fn", help: "what a false negative costs", takes: COST, absent: Absent::Error },
        Param { name: "fp", help: "what a false positive costs", takes: COST, absent: Absent::Number(1.0) },
    ],
    build: |choice, counts| Ok(vec![choice.get("fn") / choice.get("fp"); counts.positives.len()]),
};
