//! Worlds of real trainings that differ in nothing, or in their length only, through `sweep run`.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use archive::{Archive, Kept, write_matrix};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use super::worlds::in_turn;
use super::worlds::population::LABELS;
use super::worlds::record::record_scores;
use super::worlds::rows::{Rows, Stream};
use super::worlds::said::{Ask, Said};
use super::worlds::world::{Cell, World};

/// What exists.
pub const WORLDS: [(&str, &str); 2] = [
    ("trained", "real: trainings of one network under bce and samplers that all come to a shuffle of the rows"),
    ("steps", "real: a linear model under bce that has converged, and samplers that only train it longer"),
];

pub fn is_one(world: &str) -> bool {
    WORLDS.iter().any(|(name, _)| *name == world)
}

/// A clone percentage of 0 and a threshold that no label is below leave every row once an epoch, in an order of each sampler's own.
const SHUFFLES: [&str; 6] = [
    "\"shuffle\"",
    "{ kind = \"ml_ros\", percent = 0 }",
    "{ kind = \"ml_rus\", percent = 0 }",
    "{ kind = \"lp_ros\", percent = 0 }",
    "{ kind = \"lp_rus\", percent = 0 }",
    "{ kind = \"repeat_factor\", t = 0.0001 }",
];
/// Where each row has one label and all are equally frequent, every row is repeated alike: 1, 1.5 and 2 times.
const LONGER: [&str; 3] = ["\"shuffle\"", "{ kind = \"repeat_factor\", t = 0.5625 }", "{ kind = \"repeat_factor\", t = 1.0 }"];

/// Each sampler has `seeds` runs.
fn file(cell: &Cell, seeds: usize) -> String {
    let (samplers, model, train) = if cell.world == "steps" {
        (&LONGER[..], "arch = \"linear\"", "epochs = 20\nbudget = \"epochs\"\nlearning_rate = 0.01")
    } else {
        (&SHUFFLES[..], "arch = \"mlp\"\nhidden = [64]", "epochs = 16\nlearning_rate = 0.015")
    };
    let seeds: Vec<String> = (0..seeds).map(|seed| seed.to_string()).collect();
    format!(
        "name = \"world\"\n[data]\nkind = \"features\"\nfeatures = \"x.npy\"\nlabels = \"y.csv\"\n[model]\n{model}\n[train]\n{train}\n\
         batch_size = 64\nschedule = \"cosine\"\nreference = false\n[grid]\nloss = \"bce\"\nsampler = [{}]\nthreshold = [0.5]\nseed = [{}]\n\
         [workers]\ndevices = [\"cpu\"]\nper_device = 1\n",
        samplers[..cell.arms.min(samplers.len())].join(", "),
        seeds.join(", ")
    )
}

/// What a sweep has kept, of val and then of test.
#[derive(Default)]
struct Trained {
    truth: Vec<u8>,
    /// Scores of every run at its best epoch: by seed, in the order of the grid.
    scores: HashMap<usize, Vec<Vec<f32>>>,
}

async fn trained(db: &Path) -> Result<Trained, Box<dyn Error>> {
    let archive = Archive::beside(db).map_err(|(_, error)| error)?;
    let mut connection = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(db)).await?;
    let runs: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT r.fingerprint, w.seed, r.best_epoch FROM sweep_runs w JOIN runs r ON r.id = w.run ORDER BY w.position",
    )
    .fetch_all(&mut connection)
    .await?;
    connection.close().await?;
    let mut trained = Trained::default();
    for (fingerprint, seed, epoch) in runs {
        let kept = Kept::open(archive.run(&fingerprint).path())?;
        let epoch = usize::try_from(epoch)?;
        let both = [kept.val(epoch)?.scores, kept.test(epoch)?.scores].concat();
        trained.scores.entry(usize::try_from(seed)?).or_default().push(both);
        trained.truth = [kept.val_truth.values, kept.test_truth.values].concat();
    }
    Ok(trained)
}

/// Labels of a row, or `None` for one that is left out.
type Pick<'a> = dyn FnMut(usize, &'static str) -> Option<[u8; LABELS]> + 'a;

/// Writes so many rows of each split, in the order of `rows`.
fn write(folder: &Path, rows: &Rows, sizes: [(&'static str, usize); 3], pick: &mut Pick<'_>) -> Result<(), Box<dyn Error>> {
    let (mut table, mut inputs) = ("id,split,A,B,C,D\n".to_owned(), Vec::new());
    let mut at = 0;
    for (split, size) in sizes {
        let mut written = 0;
        while written < size {
            let x = rows.inputs.get(at).ok_or("too few rows")?;
            if let Some([a, b, c, d]) = pick(at, split) {
                writeln!(table, "{at},{split},{a},{b},{c},{d}")?;
                inputs.extend(x.iter().map(|value| *value as f32));
                written += 1;
            }
            at += 1;
        }
    }
    std::fs::write(folder.join("y.csv"), table)?;
    write_matrix(&folder.join("x.npy"), rows.inputs[0].len(), &inputs)?;
    Ok(())
}

/// Trains and asks. A sweep of more strategies than there are samplers has further seeds of the same samplers in the places of the others:
/// trainings that differ in nothing are strategies that differ in nothing.
///
/// # Errors
/// The first thing that goes wrong.
pub fn ask(program: &Path, cell: &Cell, seed: u64, count: usize, threads: usize) -> Result<Vec<Said>, String> {
    let program = std::path::absolute(program).map_err(|error| error.to_string())?;
    let world = World::new("equal", 2)?;
    let one = |at: usize, folder: &Path| -> Result<Said, Box<dyn Error>> {
        let place = folder.join(at.to_string());
        std::fs::create_dir(&place)?;
        let sizes = [("train", 2 * cell.rows), ("val", cell.rows), ("test", cell.rows)];
        let all = 4 * cell.rows;
        // Twice as many as are needed.
        let stream = Stream::new(seed, cell, at);
        let rows = world.rows(&stream, if cell.world == "steps" { all } else { all / 2 });
        if cell.world == "steps" {
            let mut left: HashMap<&str, [usize; LABELS]> = HashMap::new();
            write(&place, &rows, sizes, &mut |row, split| {
                let size = sizes.iter().find(|(name, _)| *name == split).map_or(0, |(_, size)| *size);
                let left = left.entry(split).or_insert([size / LABELS; LABELS]);
                let label = rows.likeliest(row);
                left[label] = left[label].checked_sub(1)?;
                Some(std::array::from_fn(|at| u8::from(at == label)))
            })?;
        } else {
            write(&place, &rows, sizes, &mut |row, _| rows.truth[row * LABELS..][..LABELS].try_into().ok())?;
        }
        let alike = if cell.world == "steps" { cell.arms } else { cell.arms.min(SHUFFLES.len()) };
        std::fs::write(place.join("world.toml"), file(cell, cell.seeds * cell.arms.div_ceil(alike)))?;
        let output =
            Command::new(&program).args(["run", "world.toml", "--quiet", "--db", "world.db"]).current_dir(&place).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        let mut db = place.join("world.db");
        if alike < cell.arms {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let trained = runtime.block_on(trained(&db))?;
            db = place.join("dealt.db");
            let dealt = |arm: usize, seed: usize| {
                let runs = trained.scores.get(&(arm / alike * cell.seeds + seed)).ok_or("a seed was not trained")?;
                Ok(runs.get(arm % alike).ok_or("a sampler was not trained")?.clone())
            };
            runtime.block_on(record_scores(&db, cell, &stream, &trained.truth, &dealt))?;
        }
        let said = Ask::Program(program.clone()).explain(&db)?;
        if said.arms.len() + 1 != cell.arms {
            return Err(format!("{} strategies for {cell}", said.arms.len() + 1).into());
        }
        std::fs::remove_dir_all(&place)?;
        Ok(said)
    };
    in_turn(count, threads, &one)
}
