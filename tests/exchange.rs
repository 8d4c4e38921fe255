//! `sweep db export` through the real program: what other programs read is what SQL says.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use common::{Place, SWEEP};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Column, Connection, Row, TypeInfo, ValueRef};
use store::{Cell, RELATIONS};

/// The columns and rows of a question.
fn ask(db: &Path, question: &str) -> (Vec<String>, Vec<Vec<Cell>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(db).read_only(true);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let rows = sqlx::query(sqlx::AssertSqlSafe(question.to_owned())).fetch_all(&mut connection).await.unwrap();
        let columns =
            rows.first().map_or_else(Vec::new, |row| row.columns().iter().map(|column| column.name().to_owned()).collect());
        let cell = |row: &sqlx::sqlite::SqliteRow, at: usize| {
            let value = row.try_get_raw(at).unwrap();
            match value.type_info().name() {
                _ if value.is_null() => Cell::Null,
                "INTEGER" => Cell::Integer(row.get(at)),
                "REAL" => Cell::Real(row.get(at)),
                _ => Cell::Text(row.get_unchecked(at)),
            }
        };
        (columns, rows.iter().map(|row| (0..row.len()).map(|at| cell(row, at)).collect()).collect())
    })
}

fn text(cell: &Cell) -> &str {
    match cell {
        Cell::Text(text) => text,
        other => panic!("{other:?} is no text"),
    }
}

fn real(cell: &Cell) -> f64 {
    match cell {
        Cell::Real(number) => *number,
        Cell::Integer(number) => *number as f64,
        other => panic!("{other:?} is no number"),
    }
}

fn integer(cell: &Cell) -> i64 {
    match cell {
        Cell::Integer(number) => *number,
        other => panic!("{other:?} is no integer"),
    }
}

/// Made-up results of eight runs and of the references.
fn made_up(file: &str) -> Place {
    let place = Place::new(file);
    place.succeed(&["run", "sweep.toml", "--on", "fake", "--devices", "cpu", "--quiet"]);
    place
}

fn said(place: &Place, arguments: &[&str]) -> String {
    let output = place.succeed(&[&["db", "export"], arguments].concat());
    String::from_utf8(output.stderr).unwrap()
}

/// Columns and rows of a CSV.
fn csv(path: &Path) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let columns = reader.headers().unwrap().iter().map(str::to_owned).collect();
    (columns, reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect())
}

fn parquet(path: &Path) -> (Vec<String>, Vec<Vec<Cell>>) {
    let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
    let fields = reader.metadata().file_metadata().schema().get_fields();
    let columns = fields.iter().map(|field| field.name().to_owned()).collect();
    let cell = |field: &Field| match field {
        Field::Null => Cell::Null,
        Field::Long(number) => Cell::Integer(*number),
        Field::Double(number) => Cell::Real(*number),
        Field::Str(text) => Cell::Text(text.clone()),
        other => panic!("{other:?}"),
    };
    let rows = reader.get_row_iter(None).unwrap();
    (columns, rows.map(|row| row.unwrap().get_column_iter().map(|(_, field)| cell(field)).collect()).collect())
}

/// As the documentation says: an apostrophe before what a spreadsheet would run.
fn csv_cell(cell: &Cell) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Integer(number) => number.to_string(),
        Cell::Real(number) => format!("{number:?}"),
        Cell::Text(text) => {
            let runs =
                text.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) && text.parse::<f64>().is_err();
            format!("{}{text}", if runs { "'" } else { "" })
        }
    }
}

/// CSV and Parquet of `folder` have these rows of every table and view, in any order.
fn compare_tables(place: &Place, folder: &str, condition: impl Fn(&str) -> String) -> usize {
    let mut compared = 0;
    for relation in &RELATIONS {
        let name = relation.name;
        let (columns, mut wanted) = ask(&place.path("sweep.db"), &format!("SELECT * FROM {name}{}", condition(name)));
        let (csv_columns, mut lines) = csv(&place.path(&format!("{folder}/{name}.csv")));
        let (parquet_columns, mut rows) = parquet(&place.path(&format!("{folder}/{name}.parquet")));
        assert_eq!(csv_columns, parquet_columns, "{name}");
        if !wanted.is_empty() {
            assert_eq!(csv_columns, columns, "{name}");
        }
        assert_eq!((lines.len(), rows.len()), (wanted.len(), wanted.len()), "{name}");
        let key = |row: &Vec<Cell>| row.iter().map(csv_cell).collect::<Vec<_>>();
        wanted.sort_by_key(key);
        rows.sort_by_key(key);
        lines.sort();
        for ((wanted, row), line) in wanted.iter().zip(&rows).zip(&lines) {
            assert_eq!(row, wanted, "{name}");
            assert_eq!(*line, key(wanted), "{name}");
            compared += 1;
        }
    }
    compared
}

#[test]
fn tables_are_what_sql_says() {
    let place = made_up(SWEEP);
    let words = said(&place, &["out"]);
    assert!(
        words.starts_with("out: 23 tables and 4 views (") && words.contains("1 sweep, ") && words.contains(" runs"),
        "{words}"
    );
    assert!(compare_tables(&place, "out", |_| String::new()) > 1000);
    let files = fs::read_dir(place.path("out")).unwrap().count();
    assert_eq!(files, 2 * RELATIONS.len());
    // Numbers are read as the same bits.
    let (columns, rows) = csv(&place.path("out/label_metrics.csv"));
    let at = columns.iter().position(|name| name == "f1").unwrap();
    let (_, wanted) = ask(&place.path("sweep.db"), "SELECT f1 FROM label_metrics");
    let bits = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(f64::to_bits).collect::<BTreeSet<u64>>();
    assert_eq!(bits(&mut rows.iter().map(|row| row[at].parse().unwrap())), bits(&mut wanted.iter().map(|row| real(&row[0]))));
}

#[test]
fn the_same_export_is_the_same_bytes() {
    let place = made_up(SWEEP);
    for folder in ["one", "two"] {
        said(&place, &[folder, "--format", "parquet,csv,tensorboard", "--format", "mlflow"]);
    }
    let of = |folder: &str| {
        let mut files = Vec::new();
        walk(&place.path(folder), &mut files);
        let relative = |path: &PathBuf| path.strip_prefix(place.path(folder)).unwrap().to_owned();
        files.iter().map(|path| (relative(path), fs::read(path).unwrap())).collect::<BTreeMap<_, _>>()
    };
    let (one, two) = (of("one"), of("two"));
    assert!(one.len() > 50 && one.keys().eq(two.keys()));
    // The MLflow database names its own folder.
    assert!(one.iter().all(|(name, bytes)| name == Path::new("mlflow.db") || two[name] == *bytes));
}

fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, into) } else { into.push(path) }
    }
}

/// Two sweeps; one of them, and files that are there.
#[test]
fn one_sweep_has_its_rows_and_nothing_is_written_over_unasked() {
    let place = made_up(SWEEP);
    let other =
        ["run", "sweep.toml", "--on", "fake", "--devices", "cpu", "--quiet", "--set", "name='other'", "--set", "grid.seed=[7]"];
    place.succeed(&other);
    said(&place, &["one", "--sweep", "other", "--format", "csv,parquet,mlflow,tensorboard"]);
    let ids = "(SELECT run FROM sweep_runs WHERE sweep = 2)";
    let condition = |name: &str| match name {
        "label_metrics" | "leaderboard" | "label_metrics_all" | "leaderboard_all" => " WHERE sweep_id = 2".to_owned(),
        "sweeps" => " WHERE id = 2".to_owned(),
        "sweep_runs" | "sweep_policies" | "submissions" | "searches" | "search_decisions" => " WHERE sweep = 2".to_owned(),
        "slices" | "slice_runs" => " WHERE submission IN (SELECT id FROM submissions WHERE sweep = 2)".to_owned(),
        "runs" => format!(" WHERE id IN {ids}"),
        "datasets" | "labels" | "policies" => String::new(),
        "journals" => format!(" WHERE id IN (SELECT journal FROM attempts WHERE run IN {ids})"),
        "label_counts" | "held_out" | "label_held_out" => {
            format!(" WHERE evaluation IN (SELECT id FROM evaluations WHERE run IN {ids})")
        }
        _ => format!(" WHERE run IN {ids}"),
    };
    compare_tables(&place, "one", condition);
    let (_, titles) = ask(&place.path("one/mlflow.db"), "SELECT name FROM experiments ORDER BY experiment_id");
    assert_eq!(titles.iter().map(|row| text(&row[0])).collect::<Vec<_>>(), ["Default", "other"]);
    assert!(place.path("one/other").is_dir() && !place.path("one/small").exists());

    let refused = |arguments: &[&str], code: i32, words: &str| {
        let output = place.run(&[&["db", "export"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && said.contains(words), "{code}: {said}");
    };
    for format in ["csv", "parquet", "mlflow", "tensorboard"] {
        refused(&["one", "--sweep", "other", "--format", format], 2, "exists: --force writes over it");
    }
    said(&place, &["one", "--format", "mlflow", "--force"]);
    let (_, titles) = ask(&place.path("one/mlflow.db"), "SELECT name FROM experiments ORDER BY experiment_id");
    assert_eq!(titles.len(), 3);
    fs::write(place.path("one/mlflow.db-wal"), "").unwrap();
    refused(&["one", "--format", "mlflow", "--force"], 2, "another program uses mlflow.db");
    refused(&["new", "--sweep", "none"], 1, "has no sweep `none`");
    refused(&["new", "--db", "none.db"], 1, "no such database");
    refused(&["new", "--format", "excel"], 2, "excel");
    refused(&["sweep.toml"], 2, "sweep.toml is no folder");
    assert!(!place.path("new").exists());
    // What a killed export has left is no obstacle, and goes once it is old.
    fs::create_dir_all(place.path("late/.exporting-x")).unwrap();
    fs::write(place.path("late/.exporting-x/runs.csv"), "half").unwrap();
    said(&place, &["late"]);
    assert!(place.path("late/.exporting-x").exists(), "it may belong to a living process");
    let touched = std::process::Command::new("touch").args(["-d", "2 hours ago"]).arg(place.path("late/.exporting-x")).status();
    assert!(touched.unwrap().success());
    said(&place, &["late", "--force"]);
    assert_eq!(fs::read_dir(place.path("late")).unwrap().count(), 2 * RELATIONS.len());
    // A link is written over, not through.
    fs::write(place.path("mine"), "mine").unwrap();
    fs::remove_file(place.path("late/runs.csv")).unwrap();
    std::os::unix::fs::symlink(place.path("mine"), place.path("late/runs.csv")).unwrap();
    refused(&["late"], 2, "exists");
    said(&place, &["late", "--force"]);
    assert_eq!(fs::read_to_string(place.path("mine")).unwrap(), "mine");
    // A full disk leaves nothing, not even what an earlier export wrote in part.
    let full = place.command(&["db", "export", "full"]);
    let mut shell = std::process::Command::new("sh");
    shell.current_dir(place.folder.path()).args(["-c", "ulimit -f 100; exec \"$0\" db export full"]).arg(full.get_program());
    let output = shell.env_remove("SWEEP_DB").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("full/"), "{said}");
    assert!(!place.path("full").exists());
}

/// Names that MLflow takes.
fn is_valid(name: &str) -> bool {
    let allowed = |letter: char| letter.is_alphanumeric() || "/_.- :".contains(letter);
    let components: Vec<&str> = name.split('/').collect();
    name.chars().all(allowed) && name.chars().count() <= 250 && !components.iter().any(|part| ["", ".", ".."].contains(part))
}

fn compare_mlflow(place: &Place, file: &str) -> usize {
    let (db, mlflow) = (place.path("sweep.db"), place.path(file));
    let (_, sound) = ask(&mlflow, "PRAGMA integrity_check");
    assert_eq!(text(&sound[0][0]), "ok");
    assert_eq!(ask(&mlflow, "PRAGMA foreign_key_check").1.len(), 0);
    let (_, revision) = ask(&mlflow, "SELECT version_num FROM alembic_version");
    assert_eq!(text(&revision[0][0]), "97727af70f4d");
    for table in ["metrics", "latest_metrics", "params", "tags"] {
        let (_, keys) = ask(&mlflow, &format!("SELECT DISTINCT key FROM {table}"));
        assert!(keys.iter().all(|key| is_valid(text(&key[0]))), "{table}: {keys:?}");
    }
    // Label names as they are in metrics, by run.
    let (_, tags) = ask(&mlflow, "SELECT run_uuid, substr(key, 13), value FROM tags WHERE key LIKE 'sweep.label.%'");
    let changed: BTreeMap<(String, String), String> =
        tags.iter().map(|row| ((text(&row[0]).to_owned(), text(&row[2]).to_owned()), text(&row[1]).to_owned())).collect();
    let (_, metrics) = ask(
        &mlflow,
        "SELECT e.name, t.value, r.run_uuid, m.key, m.step, m.value FROM metrics m JOIN runs r USING (run_uuid) JOIN experiments e USING (experiment_id)
         JOIN tags t ON t.run_uuid = r.run_uuid AND t.key = 'sweep.fingerprint'",
    );
    let mut found = BTreeMap::new();
    let mut ids = BTreeMap::new();
    for row in &metrics {
        let run = (text(&row[0]).to_owned(), text(&row[1]).to_owned());
        ids.insert(run.clone(), text(&row[2]).to_owned());
        found.insert((run, text(&row[3]).to_owned(), integer(&row[4])), real(&row[5]));
    }
    let policy = |name: &str| name.replace(['(', '=', ')'], "_");
    let (_, wanted) =
        ask(&db, "SELECT sweep, run, split, policy, label, epoch, f1, precision, recall, ap FROM label_metrics_all");
    for row in &wanted {
        let run = (text(&row[0]).to_owned(), text(&row[1]).to_owned());
        let label = text(&row[4]).to_owned();
        let label = changed.get(&(ids[&run].clone(), label.clone())).cloned().unwrap_or(label);
        let (split, epoch) = (text(&row[2]), integer(&row[5]));
        for (metric, value) in [("f1", &row[6]), ("precision", &row[7]), ("recall", &row[8])] {
            let key = format!("{split}/{}/{metric}/{label}", policy(text(&row[3])));
            assert_eq!(found.get(&(run.clone(), key.clone(), epoch)), Some(&real(value)), "{key}");
        }
        let ap = found.get(&(run, format!("{split}/ap/{label}"), epoch));
        assert_eq!(ap.copied(), if row[9] == Cell::Null { None } else { Some(real(&row[9])) });
    }
    let (_, board) =
        ask(&db, "SELECT sweep, run, split, policy, epoch, macro_f1, held_out_macro_f1, best_epoch FROM leaderboard_all");
    for row in &board {
        let run = (text(&row[0]).to_owned(), text(&row[1]).to_owned());
        let (split, epoch) = (text(&row[2]), integer(&row[4]));
        let policy = policy(text(&row[3]));
        let value = found[&(run.clone(), format!("{split}/{policy}/macro_f1"), epoch)];
        // The view sums up in another order.
        assert!((value - real(&row[5])).abs() < 1e-12);
        if let Some(held_out) = found.get(&(run.clone(), format!("{split}/{policy}/held_out_macro_f1"), epoch)) {
            assert!((held_out - real(&row[6])).abs() < 1e-12);
        }
        let best = if split == "val" { "best".to_owned() } else { format!("best_{split}") };
        let best = found.get(&(run, format!("{best}/{policy}/macro_f1"), epoch)).copied();
        assert_eq!(best, (row[7] == Cell::Integer(1)).then_some(value));
    }
    // The last value of each metric.
    let (_, latest) = ask(
        &mlflow,
        "SELECT count(*), (SELECT count(*) FROM (SELECT DISTINCT run_uuid, key FROM metrics)) FROM latest_metrics l
         JOIN metrics m USING (run_uuid, key, step, value, is_nan, timestamp)
         WHERE l.step = (SELECT max(step) FROM metrics m WHERE m.run_uuid = l.run_uuid AND m.key = l.key)",
    );
    assert_eq!(latest[0][0], latest[0][1]);
    wanted.len()
}

#[test]
fn mlflow_has_every_f1() {
    let place = made_up(SWEEP);
    said(&place, &["out", "--format", "mlflow"]);
    assert!(compare_mlflow(&place, "out/mlflow.db") > 100);
    let mlflow = place.path("out/mlflow.db");
    let (_, runs) = ask(&mlflow, "SELECT run_uuid, name, status, start_time, end_time, artifact_uri FROM runs ORDER BY name");
    let (_, wanted) = ask(&place.path("sweep.db"), "SELECT fingerprint, started_at, finished_at FROM runs");
    assert_eq!(runs.len(), wanted.len());
    for run in &runs {
        assert!(text(&run[0]).len() == 32 && text(&run[2]) == "FINISHED", "{run:?}");
        let fingerprint = text(&run[5]).rsplit('/').next().unwrap();
        let wanted = wanted.iter().find(|row| text(&row[0]) == fingerprint).unwrap();
        assert_eq!(integer(&run[3]), (real(&wanted[1]) * 1000.0).round() as i64);
        assert_eq!(integer(&run[4]), (real(&wanted[2]) * 1000.0).round() as i64);
    }
    assert!(runs.iter().any(|run| text(&run[1]) == "focal(gamma=2) + sqrt + class_aware, seed 1"), "{runs:?}");
    let (_, gamma) = ask(&mlflow, "SELECT value FROM params WHERE key = 'gamma'");
    assert!(!gamma.is_empty() && gamma.len() < runs.len() && gamma.iter().all(|row| text(&row[0]) == "2"));
}

/// The fields of a protobuf message: number and bytes; of numbers their little-endian bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut number = 0;
        for shift in (0..).step_by(7) {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            number |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                break;
            }
        }
        number
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                fields.push((key >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            5 => 4,
            _ => varint(&mut bytes) as usize,
        };
        let (value, rest) = bytes.split_at(length);
        fields.push((key >> 3, value.to_vec()));
        bytes = rest;
    }
    fields
}

fn field(fields: &[(u64, Vec<u8>)], number: u64) -> Option<&[u8]> {
    fields.iter().find(|(found, _)| *found == number).map(|(_, value)| value.as_slice())
}

/// CRC-32C, bit by bit, rotated and masked.
fn masked(bytes: &[u8]) -> u32 {
    let crc = !bytes.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    });
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[derive(Default)]
struct Events {
    scalars: BTreeMap<(String, i64), f32>,
    curves: BTreeMap<String, Vec<f32>>,
    hparams: BTreeMap<String, Vec<u8>>,
    group: String,
    status: Option<u64>,
}

fn events(path: &Path) -> Events {
    let bytes = fs::read(path).unwrap();
    let (mut rest, mut all, mut first) = (bytes.as_slice(), Events::default(), true);
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        assert_eq!(u32::from_le_bytes(rest[8..12].try_into().unwrap()), masked(&rest[..8]));
        let message = &rest[12..12 + length];
        assert_eq!(u32::from_le_bytes(rest[12 + length..16 + length].try_into().unwrap()), masked(message));
        rest = &rest[16 + length..];
        let event = fields(message);
        assert_eq!(field(&event, 3).is_some(), first);
        first = false;
        let step = field(&event, 2).map_or(0, |step| i64::from_le_bytes(step.try_into().unwrap()));
        for (_, value) in field(&event, 5).map(fields).unwrap_or_default() {
            let value = fields(&value);
            let tag = String::from_utf8(field(&value, 1).unwrap().to_vec()).unwrap();
            if let Some(number) = field(&value, 2) {
                let before = all.scalars.insert((tag, step), f32::from_le_bytes(number.try_into().unwrap()));
                assert_eq!(before, None);
                continue;
            }
            let data = fields(field(&fields(field(&value, 9).unwrap()), 1).unwrap());
            let content = fields(field(&data, 2).unwrap());
            match field(&data, 1).unwrap() {
                b"hparams" => {
                    if let Some(start) = field(&content, 3) {
                        let start = fields(start);
                        all.group = String::from_utf8(field(&start, 4).unwrap().to_vec()).unwrap();
                        for (_, pair) in start.iter().filter(|(number, _)| *number == 1) {
                            let pair = fields(pair);
                            let name = String::from_utf8(field(&pair, 1).unwrap().to_vec()).unwrap();
                            all.hparams.insert(name, field(&pair, 2).unwrap().to_vec());
                        }
                    } else {
                        let end = fields(field(&content, 4).unwrap());
                        all.status = field(&end, 1).map(|status| u64::from_le_bytes(status.try_into().unwrap()));
                    }
                }
                b"pr_curves" => {
                    let tensor = fields(field(&value, 8).unwrap());
                    let numbers = field(&tensor, 4).unwrap().chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap()));
                    all.curves.insert(tag, numbers.collect());
                }
                other => panic!("{other:?}"),
            }
        }
    }
    all
}

#[test]
fn tensorboard_has_what_sql_says() {
    let place = Place::new(SWEEP);
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    let words = said(&place, &["out", "--format", "tensorboard"]);
    assert!(!words.contains("without curves") && words.contains("tensorboard --logdir out"), "{words}");
    let db = place.path("sweep.db");
    let (_, runs) = ask(
        &db,
        "SELECT w.run, w.loss, w.pos_weight, w.seed, r.best_epoch, r.started_at FROM sweep_runs w JOIN runs r ON r.id = w.run",
    );
    let mut files = Vec::new();
    walk(&place.path("out"), &mut files);
    assert_eq!(files.len(), runs.len());
    let mut compared = 0;
    for run in runs.iter().filter(|run| !text(&run[1]).starts_with("logistic")) {
        let (id, seed, best) = (integer(&run[0]), integer(&run[3]), integer(&run[4]));
        let loss = if text(&run[1]) == "bce" { "bce" } else { "focal(gamma=2)" };
        let weight = if text(&run[2]) == "none" { "" } else { "+sqrt" };
        let path = place
            .path(&format!("out/small/{loss}{weight}+class_aware/seed{seed}/events.out.tfevents.{}.sweep", real(&run[5]) as u64));
        let found = events(&path);
        assert_eq!((found.group.replace(' ', ""), found.status), (format!("small:{loss}{weight}+class_aware"), Some(1)));
        let names: Vec<&str> = found.hparams.keys().map(String::as_str).filter(|name| *name != "gamma").collect();
        assert_eq!(names, ["loss", "pos_weight", "sampler", "seed", "sweep"]);
        assert_eq!(fields(&found.hparams["seed"]), [(2, (seed as f64).to_le_bytes().to_vec())]);
        assert_eq!(fields(&found.hparams["loss"]), [(3, text(&run[1]).as_bytes().to_vec())]);
        let is = |tag: String, epoch: i64, value: &Cell| {
            let wanted = match value {
                Cell::Null => None,
                number => Some(real(number) as f32),
            };
            assert_eq!(found.scalars.get(&(tag.clone(), epoch)).copied(), wanted, "{tag}");
        };
        let (_, epochs) = ask(&db, &format!("SELECT epoch, train_loss, val_loss, learning_rate FROM epochs WHERE run = {id}"));
        for row in &epochs {
            for (tag, value) in ["train/loss", "val/loss", "train/learning_rate"].into_iter().zip(&row[1..]) {
                is(tag.to_owned(), integer(&row[0]), value);
            }
        }
        let views = "FROM {} v JOIN runs r ON r.fingerprint = v.run WHERE r.id =";
        let labels = views.replace("{}", "label_metrics");
        let (_, rows) = ask(&db, &format!("SELECT epoch, policy, label, f1, ap {labels} {id} AND split = 'val'"));
        for row in &rows {
            let label = text(&row[2]).replace(['/', '"', ','], "_");
            is(format!("label f1 {}/{label}", text(&row[1])), integer(&row[0]), &row[3]);
            is(format!("label ap/{label}"), integer(&row[0]), &row[4]);
            compared += 1;
        }
        let board = views.replace("{}", "leaderboard");
        let (_, rows) = ask(&db, &format!("SELECT epoch, split, policy, macro_ap, macro_f1 {board} {id}"));
        for row in &rows {
            let (epoch, split) = (integer(&row[0]), text(&row[1]));
            is(format!("{split}/macro_ap"), epoch, &row[3]);
            let tag = format!("{split}/macro_f1/{}", text(&row[2]));
            assert!((f64::from(found.scalars[&(tag, epoch)]) - real(&row[4])).abs() < 1e-6);
        }
        // The curve at 0.5 has the counts of the policy 0.5.
        let (_, counts) = ask(
            &db,
            &format!(
                "SELECT label, tp, fp, tn, fn, precision, recall {labels} {id} AND split = 'val' AND policy = '0.5' AND epoch = {best}"
            ),
        );
        assert_eq!(found.curves.len(), counts.len());
        for row in &counts {
            let curve = &found.curves[&format!("{}/pr_curves", text(&row[0]).replace(['/', '"', ','], "_"))];
            assert_eq!(curve.len(), 6 * 101);
            let at_half: Vec<f32> = (0..6).map(|line| curve[line * 101 + 50]).collect();
            assert_eq!(at_half, row[1..].iter().map(|cell| real(cell) as f32).collect::<Vec<_>>());
        }
    }
    assert!(compared > 100);
    // Without kept scores everything else stands; what is no longer written goes, and a file of the user's stays.
    fs::rename(place.path("sweep.runs"), place.path("away")).unwrap();
    let stale = files[0].parent().unwrap().join("events.out.tfevents.1.sweep");
    let mine = files[0].parent().unwrap().join("events.out.tfevents.1.mine");
    fs::write(&stale, "old").unwrap();
    fs::write(&mine, "mine").unwrap();
    let words = said(&place, &["out", "--format", "tensorboard", "--force"]);
    assert!(words.contains(&format!("{} runs without curves", runs.len())), "{words}");
    assert!(!stale.exists() && mine.exists());
    assert!(files.iter().all(|file| events(file).curves.is_empty()));
}

/// Names that a file system, a spreadsheet, a screen or MLflow would trip over.
#[test]
fn hostile_names_stay_names() {
    let long = "long ".repeat(60);
    let labels = ["=1+1", "../../../escape", "a/b", "a_b", &long, "\u{202e}turned\u{1b}[31m", "@SUM(A1)", "-x", "..", "CON"];
    let place = Place::new(
        "name = \"../..\"\n[data]\nkind = \"features\"\nfeatures = \"x.npy\"\nlabels = \"labels.csv\"\n[model]\narch = \"linear\"\n\
         [train]\nepochs = 2\nreference = false\n[grid]\npos_weight = [\"none\", [3, 2, 2, 2, 2, 2, 2, 2, 2, 2]]\nthreshold = [0.5, \"max_f1\"]\n",
    );
    let values: Vec<f32> = (0..360_u16).map(|at| f32::from(at * 37 % 101) / 50.0 - 1.0).collect();
    archive::write_matrix(&place.path("x.npy"), 3, &values).unwrap();
    let cells = |row: usize| {
        (0..labels.len()).map(|label| u8::from((row + label).is_multiple_of(label + 2)).to_string()).collect::<Vec<_>>().join(",")
    };
    let rows: String = (0..120).map(|row| format!("{row},{}\n", cells(row))).collect();
    fs::write(place.path("labels.csv"), format!("id,{}\n{rows}", labels.join(","))).unwrap();
    let named = place.run(&["run", "sweep.toml", "--quiet"]);
    let name = if named.status.success() { "_.__.." } else { "=cmd" };
    if name == "=cmd" {
        // The schema of sweep files takes no such name.
        place.succeed(&["run", "sweep.toml", "--quiet", "--set", "name='=cmd'"]);
    }
    let before: BTreeSet<PathBuf> = fs::read_dir(place.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    said(&place, &["out", "--format", "parquet,csv,mlflow,tensorboard"]);
    let after: BTreeSet<PathBuf> = fs::read_dir(place.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), [&place.path("out")]);
    compare_tables(&place, "out", |_| String::new());
    let (columns, rows) = csv(&place.path("out/labels.csv"));
    let at = columns.iter().position(|name| name == "name").unwrap();
    let written: Vec<&str> = rows.iter().map(|row| row[at].as_str()).collect();
    assert!(written.contains(&"'=1+1") && written.contains(&"'@SUM(A1)") && written.contains(&"'-x"), "{written:?}");
    compare_mlflow(&place, "out/mlflow.db");
    let (_, keys) = ask(&place.path("out/mlflow.db"), "SELECT DISTINCT key FROM metrics WHERE key LIKE 'val/0.5/f1/%'");
    assert_eq!(keys.len(), labels.len(), "{keys:?}");
    let mut files = Vec::new();
    walk(&place.path("out"), &mut files);
    let folders: BTreeSet<String> = files
        .iter()
        .filter(|path| path.to_string_lossy().ends_with(".sweep"))
        .flat_map(|path| {
            path.strip_prefix(place.path("out")).unwrap().iter().map(|part| part.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        })
        .collect();
    let tame = |name: &String| {
        !name.starts_with('.') && name.chars().all(|letter| letter.is_alphanumeric() || "_+-=.,()".contains(letter))
    };
    assert!(folders.len() > 3 && folders.iter().all(tame), "{folders:?}");
    let tags = events(files.iter().find(|path| path.to_string_lossy().ends_with(".sweep")).unwrap());
    assert_eq!(tags.curves.len(), labels.len());
}

/// Nothing yet, failed runs, imported scores.
#[test]
fn sweeps_without_results_and_imported_runs_are_exported() {
    const ALL: &str = "parquet,csv,mlflow,tensorboard";
    let place = made_up(SWEEP);
    let sqlite = |question: &str| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connection =
                SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(place.path("sweep.db"))).await.unwrap();
            sqlx::raw_sql(sqlx::AssertSqlSafe(question.to_owned())).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        });
    };
    // One has failed with a loss that was no number, one is running, one waits, one was stopped early, one is left out.
    sqlite(
        "UPDATE runs SET state = 'failed', best_epoch = NULL WHERE id = 1; UPDATE epochs SET train_loss = NULL WHERE run = 1;
         UPDATE attempts SET outcome = 'diverged', why = 'the loss is not a number' WHERE run = 1;
         UPDATE runs SET state = 'running', best_epoch = NULL, finished_at = NULL WHERE id = 2;
         DELETE FROM epochs WHERE run = 3; DELETE FROM label_rankings WHERE run = 3; DELETE FROM rankings WHERE run = 3;
         DELETE FROM label_counts WHERE evaluation IN (SELECT id FROM evaluations WHERE run = 3);
         DELETE FROM label_held_out WHERE evaluation IN (SELECT id FROM evaluations WHERE run = 3);
         DELETE FROM held_out WHERE evaluation IN (SELECT id FROM evaluations WHERE run = 3);
         DELETE FROM evaluations WHERE run = 3; UPDATE runs SET state = 'queued', best_epoch = NULL, started_at = NULL, finished_at = NULL WHERE id = 3;
         UPDATE runs SET state = 'failed', best_epoch = NULL WHERE id = 4; UPDATE attempts SET outcome = 'stopped_early', why = 'asked to' WHERE run = 4;
         UPDATE runs SET state = 'queued', best_epoch = NULL WHERE id = 5; UPDATE sweep_runs SET left_out = 1 WHERE run = 5;",
    );
    said(&place, &["out", "--format", ALL]);
    compare_tables(&place, "out", |_| String::new());
    compare_mlflow(&place, "out/mlflow.db");
    let (_, states) = ask(
        &place.path("out/mlflow.db"),
        "SELECT status, count(*), sum(end_time IS NULL) FROM runs GROUP BY status ORDER BY status",
    );
    let states: Vec<(&str, i64, i64)> = states.iter().map(|row| (text(&row[0]), integer(&row[1]), integer(&row[2]))).collect();
    let few = states.iter().filter(|state| state.0 != "FINISHED").map(|state| (state.0, state.1));
    assert!(few.eq([("FAILED", 1), ("KILLED", 2), ("RUNNING", 1), ("SCHEDULED", 1)]), "{states:?}");
    let (_, nan) = ask(&place.path("out/mlflow.db"), "SELECT value, is_nan FROM metrics WHERE key = 'train/loss' AND is_nan");
    assert!(nan.len() == 3 && nan.iter().all(|row| real(&row[0]) == 0.0), "{nan:?}");
    let (_, why) = ask(&place.path("out/mlflow.db"), "SELECT value FROM tags WHERE key = 'sweep.why' ORDER BY 1");
    assert_eq!(why, ["diverged: the loss is not a number", "stopped_early: asked to"].map(|why| [Cell::Text(why.to_owned())]));
    // A sweep of which nothing has begun, and then a database without a sweep.
    sqlite("DELETE FROM sweep_runs; UPDATE sweeps SET name = 'mlflow.db', title = 'Default';");
    said(&place, &["none", "--format", ALL]);
    let (_, names) = ask(&place.path("none/mlflow.db"), "SELECT name FROM experiments ORDER BY experiment_id");
    assert_eq!(names, [[Cell::Text("Default".to_owned())], [Cell::Text("Default.2".to_owned())]]);
    sqlite("DELETE FROM sweep_policies; DELETE FROM sweeps;");
    let words = said(&place, &["empty", "--format", ALL]);
    assert!(words.contains("0 sweeps, 0 runs"), "{words}");
    let rows = csv(&place.path("empty/leaderboard.csv"));
    assert!(rows.0.contains(&"macro_f1".to_owned()) && rows.1.is_empty());

    let place = Place::new(SWEEP);
    archive::write_matrix(&place.path("val.npy"), 2, &[0.9_f32, 0.2, 0.4, 0.7, 0.1, 0.6]).unwrap();
    fs::write(place.path("val.csv"), "id,=A,B\nx,1,0\ny,0,1\nz,0,1\n").unwrap();
    place.succeed(&["import", "--scores", "val.npy", "--labels", "val.csv", "--name", "theirs", "--quiet"]);
    let words = said(&place, &["out", "--format", ALL]);
    assert!(words.contains("1 sweep, 1 run") && !words.contains("without curves"), "{words}");
    compare_tables(&place, "out", |_| String::new());
    compare_mlflow(&place, "out/mlflow.db");
    let mut files = Vec::new();
    walk(&place.path("out/theirs"), &mut files);
    let found = events(&files[0]);
    assert!(
        found.curves.len() == 2 && found.scalars.contains_key(&("best/macro_ap".to_owned(), 0)),
        "{:?}",
        found.scalars.keys()
    );
}
