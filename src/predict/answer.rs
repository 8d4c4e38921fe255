//! The answer: a line or an object for each input, in the order in which they were named.

use serde_json::{Map, Value, json};

use super::Logits;
use super::inputs::Wanted;
use crate::error::Error;
use crate::exported::ModelCard;
use imbalance::evaluation::probabilities;
use imbalance::metric::Decide;
use imbalance::threshold::Rule;

/// The form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Csv,
    Json,
}

/// Scores and decisions.
pub struct Answer<'a> {
    pub card: &'a ModelCard,
    pub wanted: &'a Wanted,
    /// Of each input; `None` of those that cannot be used.
    pub logits: &'a [Logits],
    /// The policy of the decisions, and what it came to.
    pub policy: &'a str,
    pub rule: &'a Rule,
    pub calibrated: bool,
}

/// An input's scores and decisions.
struct Line {
    id: String,
    scores: Vec<f32>,
    decisions: Vec<bool>,
}

impl Answer<'_> {
    /// As text, without the inputs that cannot be used. Decisions are about scores as the thresholds were fitted to them, calibrated or
    /// not.
    ///
    /// # Errors
    /// A calibration that this version cannot apply.
    pub fn text(&self, shape: Shape) -> Result<String, Error> {
        let lines = self.lines()?;
        let failed = |error: csv::Error| Error::Unexpected(error.to_string());
        match shape {
            Shape::Csv => csv(&self.card.labels, &lines).map_err(failed),
            Shape::Json => {
                Ok(serde_json::to_string_pretty(&self.json(&lines)).map_err(|error| Error::Unexpected(error.to_string()))? + "\n")
            }
        }
    }

    fn lines(&self) -> Result<Vec<Line>, Error> {
        let good = || self.logits.iter().enumerate().filter_map(|(number, logits)| Some((number, logits.as_ref()?)));
        let raw: Vec<f32> = good().flat_map(|(_, logits)| probabilities(logits)).collect();
        let scores = if self.calibrated { self.card.calibrated(&raw)? } else { raw.clone() };
        let labels = self.card.labels.len();
        let line = |((number, _), (raw, scores)): ((usize, _), (&[f32], &[f32]))| {
            let mut decisions = vec![false; labels];
            self.rule.row(raw, &mut decisions);
            let id = self.wanted.ids.get(number).cloned().unwrap_or_else(|| number.to_string());
            Line { id, scores: scores.to_vec(), decisions }
        };
        Ok(good().zip(raw.chunks_exact(labels).zip(scores.chunks_exact(labels))).map(line).collect())
    }

    fn json(&self, lines: &[Line]) -> Value {
        let labels = &self.card.labels;
        let row = |line: &Line| {
            let scores: Map<String, Value> = labels.iter().cloned().zip(line.scores.iter().map(|&score| json!(score))).collect();
            let found = labels.iter().zip(&line.decisions).filter(|(_, yes)| **yes).map(|(label, _)| label);
            json!({ "id": line.id, "labels": found.collect::<Vec<_>>(), "scores": scores })
        };
        json!({
            "run": self.card.provenance.run,
            "threshold": self.policy,
            "calibrated": self.calibrated,
            "predictions": lines.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

fn csv(labels: &[String], lines: &[Line]) -> Result<String, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let columns = ["score", "decision"].iter().flat_map(|what| labels.iter().map(move |label| format!("{what}.{label}")));
    writer.write_record(std::iter::once("id".to_owned()).chain(columns))?;
    for Line { id, scores, decisions } in lines {
        let decisions = decisions.iter().map(|&yes| if yes { "1" } else { "0" }.to_owned());
        writer.write_record(std::iter::once(id.clone()).chain(scores.iter().map(ToString::to_string)).chain(decisions))?;
    }
    let bytes = writer.into_inner().map_err(csv::IntoInnerError::into_error)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
