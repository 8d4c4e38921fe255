//! A run's strategy as a short file of Python for PyTorch: loss, positive weights, start of the head, sampler, decisions. Pure: from what
//! is recorded of a run to text. The formulas are templates in `reports/recipe/`; tests/oracle/recipes.py runs them and compares values,
//! gradients, draws and decisions with ours.

pub mod loss;
mod python;
pub mod sampler;
mod template;
mod threshold;

use imbalance::threshold::{Policy, Rule};
use imbalance::{Choice, LabelCounts, PosWeight, find, pos_weight};
use plan::Start;

/// What a recipe is made of.
#[derive(Clone, Debug)]
pub struct Recipe<'a> {
    /// Lines above everything: which run it is, and what it was measured to do. Foreign text may be in them.
    pub remarks: Vec<String>,
    pub labels: &'a [String],
    /// Or why the strategy has no recipe.
    pub strategy: Result<Strategy<'a>, String>,
    /// Or why there are no thresholds.
    pub decisions: Result<Decisions<'a>, String>,
}

/// How a run was trained.
#[derive(Clone, Debug)]
pub struct Strategy<'a> {
    pub loss: &'a Choice,
    pub pos_weight: &'a PosWeight,
    /// Resolved, one per label.
    pub weights: &'a [f64],
    pub sampler: &'a Choice,
    /// Of train.
    pub counts: &'a LabelCounts,
    pub epochs: usize,
    pub batch_size: usize,
    /// Or why the head does not start there.
    pub bias: Result<Bias, String>,
}

/// Where the bias of the head starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Bias {
    pub start: Start,
    /// One per label.
    pub values: Vec<f64>,
    /// Whether the weights of the head start at 0, too.
    pub zero_weights: bool,
}

/// How scores become decisions.
#[derive(Clone, Debug)]
pub struct Decisions<'a> {
    pub policy: &'a Policy,
    /// Fitted on val.
    pub rule: &'a Rule,
}

impl Recipe<'_> {
    /// The file.
    #[must_use]
    pub fn python(&self) -> String {
        let labels: Vec<String> = self.labels.iter().map(|label| python::string(label)).collect();
        let mut parts = vec![python::list("LABELS", ("[", "]"), &labels)];
        let mut usage = Usage::default();
        match &self.strategy {
            Ok(strategy) => strategy.write(&mut parts, &mut usage),
            Err(why) => parts.push(python::comment(&format!("No loss, weights or sampler: {why}."))),
        }
        parts.push(match &self.decisions {
            Ok(Decisions { policy, rule }) => {
                let words = match policy {
                    Policy::Fixed(number) => format!("Threshold policy {number}: the same for every label."),
                    Policy::Fitted(choice) => {
                        let summary = find(imbalance::threshold::REGISTRY, &choice.kind).map_or("", |entry| entry.summary);
                        format!("Threshold policy {policy}: {summary}; fitted on val, for the scores of this run: fit them again for another model.")
                    }
                };
                usage.decides = true;
                python::comment(&words) + "\n" + threshold::code(rule).trim_end()
            }
            Err(why) => python::comment(&format!("No thresholds: {why}.")),
        });
        parts.extend(usage.text());
        let body = parts.join("\n\n");
        let remarks: Vec<String> = self.remarks.iter().map(|remark| python::comment(remark)).collect();
        let imports = [("math.", "import math\n\n"), ("torch.", "import torch\n"), ("F.", "import torch.nn.functional as F\n")];
        let imports: String = imports.into_iter().filter(|(used, _)| body.contains(used)).map(|(_, import)| import).collect();
        spaced(&[remarks.join("\n"), imports + "\n" + &body].join("\n\n"))
    }
}

impl Strategy<'_> {
    fn write(&self, parts: &mut Vec<String>, usage: &mut Usage) {
        let weighed = loss::reads_pos_weight(&self.loss.kind) && self.weights.iter().any(|weight| *weight != 1.0);
        let told = loss::Told { choice: self.loss, weighed, counts: self.counts, epochs: self.epochs };
        match loss::code(told) {
            Ok(code) => {
                if weighed {
                    let weights: Vec<String> = self.weights.iter().map(|&weight| python::float(weight)).collect();
                    parts.push(python::comment(&weight_words(self.pos_weight)) + "\n" + &python::tensor("POS_WEIGHT", &weights));
                }
                let unknown = if self.counts.unknown.is_empty() {
                    String::new()
                } else {
                    python::comment("Targets are 0, 1 or NaN, which is unknown: such a cell costs nothing.") + "\n"
                };
                parts.push(unknown + code.text.trim_end());
                usage.loss = Some((code.by_epoch, code.is_module));
            }
            Err(why) => parts.push(python::comment(&format!("No loss: {why}."))),
        }
        match &self.bias {
            Ok(bias) => {
                parts.push(bias.code());
                usage.starts = true;
            }
            Err(why) => parts.push(python::comment(&format!("No start of the head's bias: {why}."))),
        }
        match sampler::code(self.sampler, self.batch_size) {
            Ok(code) => {
                parts.push(code.trim_end().to_owned());
                usage.sampler = Some((sampler::makes_batches(self.sampler), self.batch_size));
            }
            Err(why) => parts.push(python::comment(&format!("No sampler: {}: {why}.", self.sampler))),
        }
    }
}

impl Bias {
    fn code(&self) -> String {
        let words = match self.start {
            Start::Link => "Where the head's bias starts: there the loss is right about the prevalences of train.",
            Start::Prior => "Where the head's bias starts: the logits of the prevalences of train.",
            Start::Zero => "Where the head's bias starts.",
        };
        let values: Vec<String> = self.values.iter().map(|&value| python::float32(value as f32)).collect();
        let zero = if self.zero_weights { "        head.weight.zero_()\n" } else { "" };
        format!(
            "{}
{}


def start(head: torch.nn.Linear) -> None:
    with torch.no_grad():
{zero}        head.bias.copy_(START)",
            python::comment(words),
            python::tensor("START", &values)
        )
    }
}

/// What a weight formula is.
fn weight_words(weight: &PosWeight) -> String {
    match weight {
        PosWeight::Formula(choice) => {
            let summary = find(pos_weight::REGISTRY, &choice.kind).map_or("", |entry| entry.summary);
            format!("Positive weights {choice}: {summary}; from the train rows.")
        }
        PosWeight::Explicit(_) => "Positive weights, as the sweep file gave them.".to_owned(),
    }
}

/// What the example of use is about.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    /// Whether the loss takes the epoch, and whether it is a module.
    loss: Option<(bool, bool)>,
    starts: bool,
    /// Whether it makes batches, and their size.
    sampler: Option<(bool, usize)>,
    decides: bool,
}

impl Usage {
    /// A training loop as a comment; nothing where there is nothing to use.
    fn text(self) -> Option<String> {
        let mut lines = Vec::new();
        if self.starts {
            lines.push("start(model.classifier)  # the last layer".to_owned());
        }
        if let Some((by_epoch, is_module)) = self.loss {
            lines.push(match self.sampler {
                Some((true, _)) => "loader = DataLoader(data, batch_sampler=make_sampler(targets))".to_owned(),
                Some((false, size)) => format!("loader = DataLoader(data, batch_size={size}, sampler=make_sampler(targets))"),
                None => "loader = DataLoader(data, batch_size=..., shuffle=True)".to_owned(),
            });
            if is_module {
                lines.push("loss.to(device)".to_owned());
            }
            lines.push("for epoch in range(epochs):".to_owned());
            lines.push("    for x, y in loader:".to_owned());
            lines.push("        optimizer.zero_grad()".to_owned());
            lines.push(format!("        loss(model(x), y{}).backward()", if by_epoch { ", epoch" } else { "" }));
            lines.push("        optimizer.step()".to_owned());
        }
        if self.decides {
            lines.push("predicted = decide(torch.sigmoid(model(x).double()))".to_owned());
        }
        let about = match self.sampler {
            Some(_) => "Use, with targets as float [rows, labels] and those of the train rows as `targets`:",
            None => "Use, with targets as float [rows, labels]:",
        };
        let lines: Vec<String> = lines.into_iter().map(|line| format!("#     {line}")).collect();
        (!lines.is_empty()).then(|| format!("# {about}\n#\n{}", lines.join("\n")))
    }
}

/// Two blank lines around functions and classes, one between other parts, none more, and a line end at the end.
fn spaced(text: &str) -> String {
    let mut spaced = String::with_capacity(text.len());
    let mut blank = 0;
    let mut inside = false;
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() {
            blank += 1;
            continue;
        }
        let opens = line.starts_with("def ") || line.starts_with("class ");
        // What follows the body of a function at the margin ends it.
        let leaves = inside && !line.starts_with(' ');
        let wanted = if spaced.is_empty() {
            0
        } else if opens || leaves {
            2
        } else {
            blank.min(if inside { blank } else { 1 })
        };
        spaced.extend(std::iter::repeat_n('\n', wanted));
        spaced.push_str(line);
        spaced.push('\n');
        inside = opens || (inside && !leaves);
        blank = 0;
    }
    spaced
}
