//! What `sweep explain --format json` says about a sweep.

use std::path::{Path, PathBuf};
use std::process::Command;

use imbalance::metric::certainty::special::student_quantile;
use serde_json::Value;

/// A verdict; `Unknown` is anything that claims nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Better,
    Worse,
    Same,
    Unknown,
}

impl Word {
    fn of(value: &Value) -> Option<Self> {
        match value.as_str()? {
            "better" => Some(Self::Better),
            "worse" => Some(Self::Worse),
            "same" => Some(Self::Same),
            _ => Some(Self::Unknown),
        }
    }

    /// Whether it says that there is a difference.
    pub fn claims(self) -> bool {
        matches!(self, Self::Better | Self::Worse)
    }
}

/// What is said of one strategy against the baseline. `None`: the program does not say such a thing.
#[derive(Clone, Debug, Default)]
pub struct ArmSaid {
    pub ranking: Option<Word>,
    pub val_ranking: Option<Word>,
    pub tuned: Option<Word>,
    /// Of AP of each label, and of its F1 at tuned thresholds.
    pub labels: Vec<Option<Word>>,
    pub label_f1: Vec<Option<Word>>,
    /// Of AP of groups of labels: the labels in each.
    pub groups: Vec<(Vec<usize>, Option<Word>)>,
    /// Whether Student's 95 % interval over the seeds excludes 0, as a word: what the seeds alone would say of one comparison.
    pub student: Option<Word>,
    /// Difference of test macro AP, mean over seeds, and its standard deviation.
    pub difference: f64,
    pub deviation: Option<f64>,
}

/// What is said of one sweep.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// In the order of the grid, without the baseline.
    pub arms: Vec<ArmSaid>,
    pub rule: String,
    /// Index of the arm (the baseline is 0) that is recommended, and of the one that may be better.
    pub recommended: Option<usize>,
    pub candidate: Option<usize>,
}

/// Who is asked.
#[derive(Clone, Debug)]
pub enum Ask {
    /// The command of this version, in this process.
    Here,
    /// A program, as a process.
    Program(PathBuf),
}

impl Ask {
    /// `sweep explain --format json` on the newest sweep of `db`.
    ///
    /// # Errors
    /// The command fails, or does not print an explanation.
    pub fn explain(&self, db: &Path) -> Result<Said, Box<dyn std::error::Error>> {
        let told: Value = match self {
            Self::Here => {
                use clap::Parser;
                let output = db.with_extension("json");
                let arguments = [
                    &["sweep", "explain", "--quiet", "--format", "json", "--db"].map(Path::new)[..],
                    &[db],
                    &[Path::new("--output"), &output],
                ];
                sweep::command::run(sweep::cli::Cli::try_parse_from(arguments.concat())?)?;
                serde_json::from_slice(&std::fs::read(output)?)?
            }
            Self::Program(path) => {
                let mut command = Command::new(path);
                command.args(["explain", "--quiet", "--format", "json", "--db"]).arg(db);
                let output = command.env("RAYON_NUM_THREADS", "1").output()?;
                if !output.status.success() {
                    return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
                }
                serde_json::from_slice(&output.stdout)?
            }
        };
        read(&told).ok_or_else(|| format!("not an explanation: {told}").into())
    }
}

fn read(told: &Value) -> Option<Said> {
    let setting = &told["settings"][0];
    let arms = setting["arms"].as_array()?;
    let of_labels = |arm: &Value, keys: &[&str]| -> Vec<Option<Word>> {
        let labels = arm["labels"].as_array().into_iter().flatten();
        labels.map(|label| keys.iter().find_map(|key| Word::of(&label[*key]))).collect()
    };
    let grouped = |name: &Value| -> Vec<usize> {
        let labels = setting["labels"].as_array().into_iter().flatten().enumerate();
        labels.filter(|(_, label)| label["group"] == *name).map(|(at, _)| at).collect()
    };
    let of = |arm: &Value| ArmSaid {
        ranking: Word::of(&arm["ranking"]),
        val_ranking: Word::of(&arm["val_ranking"]),
        tuned: Word::of(&arm["tuned"]),
        labels: of_labels(arm, &["ap_verdict", "verdict"]),
        label_f1: of_labels(arm, &["f1_verdict"]),
        groups: (arm["groups"].as_array().into_iter().flatten())
            .map(|group| (grouped(&group["group"]), Word::of(&group["verdict"])))
            .collect(),
        student: student(&arm["ap"]["difference"]),
        difference: arm["ap"]["difference"]["mean"].as_f64().unwrap_or(f64::NAN),
        deviation: arm["ap"]["difference"]["sd"].as_f64(),
    };
    let advice = &setting["recommendation"];
    let place = |name: &Value| arms.iter().position(|arm| arm["arm"] == *name && name.is_string());
    Some(Said {
        arms: arms.iter().skip(1).map(of).collect(),
        rule: advice["rule"].as_str()?.to_owned(),
        recommended: place(&advice["arm"]),
        candidate: place(&advice["candidate"]),
    })
}

fn word(significant: bool, mean: f64) -> Word {
    match (significant, mean > 0.0) {
        (false, _) => Word::Unknown,
        (true, true) => Word::Better,
        (true, false) => Word::Worse,
    }
}

fn student(difference: &Value) -> Option<Word> {
    let (mean, sd) = (difference["mean"].as_f64()?, difference["sd"].as_f64()?);
    let runs = difference["runs"].as_f64().filter(|runs| *runs > 1.0)?;
    Some(word(mean.abs() > student_quantile(0.975, runs - 1.0) * sd / runs.sqrt(), mean))
}
