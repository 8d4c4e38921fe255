//! The decisions of a recipe.

use imbalance::threshold::Rule;

use super::python;

/// `THRESHOLDS` (or the number of labels that a row gets) and the function `decide` of a rule.
#[must_use]
pub fn code(rule: &Rule) -> String {
    match rule {
        Rule::Thresholds(thresholds) => {
            let items: Vec<String> = thresholds.iter().map(|&threshold| python::float32(threshold)).collect();
            let thresholds = python::list("THRESHOLDS", ("torch.tensor([", "], dtype=torch.float32)"), &items);
            format!(
                "{thresholds}


def decide(scores: torch.Tensor) -> torch.Tensor:
    \"\"\"Which labels are predicted, given `torch.sigmoid(logits)`.\"\"\"
    return scores.float() >= THRESHOLDS.to(scores.device)
"
            )
        }
        Rule::Top(count) => format!(
            "TOP = {count}  # labels that every row gets


def decide(scores: torch.Tensor) -> torch.Tensor:
    \"\"\"The labels with the highest `torch.sigmoid(logits)` of each row; of equal ones the
    first.\"\"\"
    order = scores.float().argsort(dim=1, descending=True, stable=True)
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, order[:, :TOP], True)
"
        ),
    }
}
