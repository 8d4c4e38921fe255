//! Scores into a database: what the program records of a sweep, by the same calls.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use archive::{Archive, Part};
use imbalance::metric::calibration::logit;
use imbalance::{LabelCounts, LabelMatrix, evaluation, metric};
use plan::{DataFacts, InputShape};
use protocol::{Evaluated, SplitName};
use store::Writer;

use super::population::{INPUTS, LABELS};
use super::rows::Stream;
use super::world::{Cell, World};

/// The strategies of a sweep, of which the first is the baseline. What a strategy is called does not matter to how scores are judged.
pub const LOSSES: [&str; 12] =
    ["bce", "focal", "asl", "hill", "poly1", "logit_adjust", "focal_seed", "class_balanced", "db", "splc", "two_way", "ldam"];

/// The sweep file of a cell.
fn file(cell: &Cell) -> String {
    let losses: Vec<String> = LOSSES[..cell.arms].iter().map(|loss| format!("\"{loss}\"")).collect();
    let seeds: Vec<String> = (0..cell.seeds).map(|seed| seed.to_string()).collect();
    format!(
        "name = \"world\"\n[data]\nkind = \"features\"\nfeatures = \"x.npy\"\nlabels = \"y.csv\"\n\
         split = {{ train = 0.5, val = 0.25, test = 0.25 }}\n[model]\narch = \"linear\"\n[train]\nepochs = 1\nreference = false\n\
         [grid]\nloss = [{}]\nthreshold = [0.5]\nseed = [{}]\n",
        losses.join(", "),
        seeds.join(", ")
    )
}

/// The val scores, then the test scores, of a strategy (its place) and a seed.
pub type Scores<'a> = dyn Fn(usize, usize) -> Result<Vec<f32>, Box<dyn Error>> + 'a;

/// Makes a database of one finished sweep at `db`: the scores of a world.
///
/// # Errors
/// Whatever the calls say; none is expected.
pub async fn record(db: &Path, world: &World, cell: &Cell, stream: &Stream) -> Result<(), Box<dyn Error>> {
    let rows = world.rows(stream, cell.rows);
    record_scores(db, cell, stream, &rows.truth, &|arm, seed| Ok(world.scores(stream, &rows, arm, seed))).await
}

/// Makes a database of one finished sweep at `db`, of such scores of val and test rows whose labels are `truth` (val, then test).
///
/// # Errors
/// Whatever the calls say; none is expected.
pub async fn record_scores(
    db: &Path,
    cell: &Cell,
    stream: &Stream,
    truth: &[u8],
    scores_of: &Scores<'_>,
) -> Result<(), Box<dyn Error>> {
    let names: std::sync::Arc<[String]> = ["A", "B", "C", "D"].map(str::to_owned).into();
    let half = cell.rows * LABELS;
    let matrix = |part: &[u8]| LabelMatrix { names: names.clone(), values: part.to_vec() };
    let (val, test) = (matrix(&truth[..half]), matrix(&truth[half..]));
    let positives = super::population::RATES.map(|rate| (rate * 2.0 * cell.rows as f64).round() as usize).to_vec();
    let facts = DataFacts {
        content: stream.content(),
        labels: names.to_vec(),
        input: InputShape::Features { width: INPUTS },
        train: LabelCounts::new(2 * cell.rows, positives),
        val: val.counts(),
        test: test.counts(),
        folder: db.with_extension("cache"),
    };
    let text = file(cell);
    let plan = plan::parse("world.toml", &text, &[])?.plan(&[facts], &BTreeMap::new())?;
    if plan.runs.len() != cell.arms * cell.seeds {
        return Err(format!("{} runs for {cell}", plan.runs.len()).into());
    }
    let archive = Archive::beside(db).map_err(|(_, error)| error)?;
    let mut events = Vec::new();
    for run in &plan.runs {
        let arm = LOSSES.iter().position(|loss| *loss == run.config.loss.kind).ok_or("a strategy that was not asked for")?;
        let scores = scores_of(arm, usize::try_from(run.config.seed)?)?;
        let logits: Vec<f32> = scores.iter().map(|score| logit(*score) as f32).collect();
        let (val_scores, test_scores) = scores.split_at(half);
        let kept_val = Part { scores: val_scores, logits: &logits[..half], truth: &val };
        let kept_test = Part { scores: test_scores, logits: &logits[half..], truth: &test };
        archive::keep(&archive.run(&run.fingerprint.0), kept_val, Some(kept_test))?;
        let fitted = evaluation::fit(&plan.policies, val_scores, &val)?;
        for (split, scores, truth) in [(SplitName::Val, val_scores, &val), (SplitName::Test, test_scores, &test)] {
            let evaluated = Evaluated { run: &run.fingerprint, attempt: 0, epoch: 0, split };
            events.push(evaluated.ranking(metric::rank(scores, truth)));
            events.extend(evaluated.under(&fitted, scores, truth));
        }
    }
    let mut writer = Writer::open(db).await?;
    writer.import(&plan, Path::new("world.toml"), &text, &events).await?;
    writer.close().await?;
    Ok(())
}
