//! Where the numbers of a page come from, and how to get them again.

use serde::Serialize;

use super::super::load::Loaded;
use super::super::question::Question;
use crate::error::Error;
use store::{At, Reader};

/// Where a page comes from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Provenance {
    /// The sweep file, as it was read, and the changes of `--set`.
    pub file: String,
    pub text: String,
    pub changes: Vec<String>,
    /// The program that began the sweep, and the one that wrote the page.
    pub version: String,
    pub page_version: String,
    pub host: String,
    /// Unix seconds.
    pub created_at: f64,
    pub begun_at: f64,
    pub finished_at: Option<f64>,
    /// Seconds in which something was training.
    pub busy_seconds: f64,
    pub devices: Vec<Device>,
    /// The name of the database.
    pub db: String,
    pub views: Vec<View>,
}

/// Where runs were trained.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Device {
    pub device: String,
    pub host: String,
    pub runs: i64,
}

/// How to get the numbers of one view again.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct View {
    /// The id of its section.
    pub id: &'static str,
    pub command: String,
    pub sql: Option<String>,
}

impl Provenance {
    /// Of this sweep.
    ///
    /// # Errors
    /// The database.
    pub async fn of(reader: &mut Reader, loaded: &Loaded, question: &Question) -> Result<Self, Error> {
        let sweep = &loaded.sweep;
        let devices = reader.devices(sweep.id).await?.into_iter();
        let db = reader.path().file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Ok(Self {
            file: sweep.file.clone(),
            text: sweep.recorded().text,
            changes: sweep.recorded().changes().into_owned(),
            version: sweep.version.clone(),
            page_version: env!("CARGO_PKG_VERSION").to_owned(),
            host: sweep.host.clone(),
            created_at: sweep.created_at,
            begun_at: sweep.begun_at,
            finished_at: sweep.finished_at,
            busy_seconds: reader.busy_seconds(sweep.id).await?,
            devices: devices.map(|(device, host, runs)| Device { device, host, runs }).collect(),
            views: views(&sweep.title, &db, question),
            db,
        })
    }
}

/// The command and the query of every view.
fn views(title: &str, db: &str, question: &Question) -> Vec<View> {
    let name = quoted(title);
    let flags = if db == "sweep.db" { String::new() } else { format!(" --db {}", quoted(db)) };
    let at = match question.at {
        At::Best => String::new(),
        at => format!(" --epoch {at}"),
    };
    let threshold =
        question.policy.as_ref().map_or_else(String::new, |policy| format!(" --threshold {}", quoted(&policy.to_string())));
    let report = format!("sweep report {name} --metric {}{at}{threshold}{flags}", question.metric);
    let epoch = match question.at {
        At::Best => "best_epoch".to_owned(),
        At::Last => "last_epoch".to_owned(),
        At::Epoch(epoch) => format!("epoch = {epoch}"),
    };
    let literal = format!("'{}'", title.replace('\'', "''"));
    let metric = question.metric;
    let view = |id, command: String, sql: Option<String>| View { id, command, sql };
    vec![
        view("verdict", format!("sweep explain {name}{flags}"), None),
        view(
            "leaderboard",
            report.clone(),
            Some(format!(
                "SELECT loss, pos_weight, gamma, sampler, params, policy, avg({metric}) AS mean, count(*) AS n\nFROM leaderboard WHERE sweep = {literal} \
                 AND split = 'val' AND {epoch}\nGROUP BY 1, 2, 3, 4, 5, 6 ORDER BY mean DESC;"
            )),
        ),
        view(
            "thresholds",
            format!("sweep report {name} --threshold 0.5 --format json{flags}"),
            Some(format!(
                "SELECT run, policy, label, threshold, tp, fp, fn, tn\nFROM label_metrics WHERE sweep = {literal} AND split = 'val' AND {epoch};"
            )),
        ),
        view(
            "scatter",
            format!("sweep report {name} --threshold 0.5{flags}"),
            Some(format!(
                "SELECT run, macro_ap, macro_f1\nFROM leaderboard WHERE sweep = {literal} AND split = 'val' AND {epoch} AND policy = '0.5';"
            )),
        ),
        view(
            "learning",
            format!("sweep report {name} --curves --format json{flags}"),
            Some(format!(
                "SELECT DISTINCT run, epoch, macro_ap\nFROM leaderboard_all WHERE sweep = {literal} AND split = 'val' ORDER BY run, epoch;"
            )),
        ),
        view(
            "heat",
            format!("sweep report {name} --labels all --format csv{flags}"),
            Some(format!(
                "SELECT label, loss, pos_weight, gamma, sampler, avg(ap) AS ap\nFROM label_metrics WHERE sweep = {literal} AND split = 'val' AND {epoch}\n\
                 GROUP BY 1, 2, 3, 4, 5;"
            )),
        ),
        view("axes", format!("{report} --format json"), None),
        view("reliability", format!("sweep explain {name} --all{flags}"), None),
        view("samplers", report, Some("SELECT r.fingerprint, d.*\nFROM draws d JOIN runs r ON r.id = d.run;".to_owned())),
        view("failures", format!("sweep status {name}{flags}"), None),
    ]
}

/// A word quoted for a shell.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = !word.is_empty() && word.chars().all(|letter| letter.is_alphanumeric() || "._-/+:@%".contains(letter));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}
