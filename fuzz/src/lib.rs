//! What reads input that others have written, one function per fuzz target. Each takes any bytes and returns; it panics where the program
//! does, and where what was read contradicts itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use imbalance::LabelCounts;
use imbalance::shown;
use imbalance::stratification::SplitConfig;
use plan::tensors::Known;
use plan::{Columns, DataConfig, DataFacts, HubFile, ImageConfig, InputShape, ModelConfig, Source, Unknown, UnknownAs};
use protocol::check::{Expected, fits, predicts};
use protocol::{Event, Heard, Order, Record, Request, Story, journal, wire};
use sweep::exported::{CARD, ModelCard};

/// A function that takes any bytes.
pub type Target = fn(&[u8]);

/// All targets by the names of their folders in `corpus`.
pub const TARGETS: [(&str, Target); 10] = [
    ("sweep_file", sweep_file),
    ("labels", labels),
    ("npy", npy),
    ("safetensors", safetensors),
    ("jpeg", jpeg),
    ("picture", picture),
    ("orders", orders),
    ("journal", journal),
    ("model", model),
    ("words", words),
];

/// Points of a sweep file up to which it is planned: more take long, and nothing else happens.
const POINTS: usize = 2000;
/// Edge of the pictures that are made.
const EDGE: u32 = 8;
/// Pixels of a picture that are decoded.
const PIXELS: u64 = 1 << 14;

/// A sweep file, and `--set` changes behind it: each follows a NUL byte.
pub fn sweep_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split('\0');
    let file = parts.next().unwrap_or_default();
    let changes: Vec<String> = parts.map(str::to_owned).collect();
    let Ok(sweep) = plan::parse("a.toml", file, &changes) else { return };
    if sweep.points() > POINTS {
        return;
    }
    let facts: Vec<DataFacts> = sweep.data_configs().iter().map(facts).collect();
    let planned = sweep.plan(&facts, &BTreeMap::new());
    let _ = sweep.outline(&facts, &BTreeMap::new());
    if let Ok(plan) = planned {
        assert!(plan.points.iter().all(|run| *run < plan.runs.len()), "a point without its run");
        for run in &plan.runs {
            let order = Order::Refit {
                job: Box::new(protocol::Job {
                    v: protocol::VERSION,
                    run: run.fingerprint.clone(),
                    attempt: 1,
                    config: run.config.clone(),
                    pos_weight: run.pos_weight.clone(),
                    data: "data".into(),
                    folder: "folder".into(),
                    policies: plan.policies.clone(),
                }),
                epochs: 1,
            };
            assert_eq!(protocol::heard(&order.line()), Heard::Order(order), "a worker would not understand its order");
        }
    }
}

/// Facts of data that a plan can be made for.
fn facts(config: &DataConfig) -> DataFacts {
    let (labels, input) = match &config.source {
        Source::Letters { label_rates, image_size, .. } => {
            let edge = *image_size as usize;
            let names = label_rates.iter().map(|(name, _)| name.clone()).collect();
            (names, InputShape::Image { channels: 1, height: edge, width: edge })
        }
        Source::Images { image, .. } => {
            let (channels, edge) = (image.channels as usize, image.size as usize);
            (vec!["A".to_owned(), "B".to_owned()], InputShape::Image { channels, height: edge, width: edge })
        }
        _ => (vec!["A".to_owned(), "B".to_owned()], InputShape::Features { width: 5 }),
    };
    let counts = |rows: usize| LabelCounts::new(rows, (0..labels.len()).map(|label| 1 + label % (rows - 1)).collect());
    let (train, val, test) = (counts(700), counts(150), counts(150));
    DataFacts { content: "0".repeat(32), labels, input, train, val, test, folder: PathBuf::new() }
}

/// A CSV of labels. The first two bytes say how it is to be read.
pub fn labels(bytes: &[u8]) {
    let Some(([how, more], text)) = bytes.split_first_chunk() else { return };
    let on = |bit: u8| how >> bit & 1 == 1;
    let columns = Columns {
        path: on(0).then(|| "id".to_owned()),
        split: on(1).then(|| "split".to_owned()),
        group: on(2).then(|| "group".to_owned()),
        labels: if on(3) { vec!["A".to_owned()] } else { Vec::new() },
        lists: if on(4) { BTreeMap::from([("tags".to_owned(), "|".to_owned())]) } else { BTreeMap::new() },
        no_label: if on(4) { vec!["none".to_owned()] } else { Vec::new() },
        separator: on(5).then_some(';'),
        ignore: if on(6) { vec!["age".to_owned()] } else { Vec::new() },
        positive: if on(7) { vec!["yes".to_owned()] } else { Vec::new() },
        negative: if on(7) { vec!["no".to_owned()] } else { Vec::new() },
        unknown: Unknown {
            all: [UnknownAs::Error, UnknownAs::Ignore, UnknownAs::Negative, UnknownAs::Positive][usize::from(more & 3)],
            ..Unknown::default()
        },
        group_duplicates: more >> 3 & 1 == 1,
    };
    let ids = if more >> 2 & 1 == 1 { data::Ids::Pictures } else { data::Ids::Rows };
    with_file("labels.csv", text, |file| {
        if let Ok(survey) = data::survey(file, &columns) {
            survey.looks().for_each(drop);
        }
        if let Ok(table) = data::read_labels(file, &columns, ids) {
            let rows = table.ids.len();
            assert!(rows > 0 && table.lines.len() == rows, "rows without their lines");
            assert_eq!(table.labels.values.len(), rows * table.labels.names.len(), "rows that are not whole");
            assert!(table.labels.values.iter().all(|value| *value <= 2), "a value that is none");
            assert!(table.splits.iter().flatten().all(|split| *split <= 2), "a split that is none");
            assert!(
                table.groups.iter().flatten().all(|group| (*group as usize) < table.group_names.len()),
                "a group that is none"
            );
        }
        let _ = data::listed(file, None, Path::new("/nowhere"));
    });
}

/// A `.npy` file, as the archive reads its own and as features, scores and inputs of a model are read.
pub fn npy(bytes: &[u8]) {
    let path = Path::new("a.npy");
    if let Ok((labels, values)) = archive::parse_matrix::<f32>(path, bytes) {
        assert!(values.len().is_multiple_of(labels.max(1)), "a row that is not whole");
    }
    let _ = archive::parse_matrix::<u8>(path, bytes);
    with_file("features.npy", bytes, features);
}

/// A file of weights, and of features, scores and inputs of a model.
pub fn safetensors(bytes: &[u8]) {
    with_file("features.safetensors", bytes, |file| {
        features(file);
        let Ok(header) = data::weights::header(file) else { return };
        for (arch, hidden) in [("mlp", vec![4, 3]), ("cnn", vec![4, 8]), ("linear", vec![]), ("densenet121", vec![])] {
            for known in [
                Known::default(),
                Known { input: Some(InputShape::Image { channels: 1, height: 8, width: 8 }), labels: Some(2) },
                Known { input: Some(InputShape::Features { width: 5 }), labels: Some(3) },
            ] {
                let _ = data::weights::suits(&header, &ModelConfig::new(arch, hidden.clone()), known);
            }
        }
        let frozen = ModelConfig { freeze: Some("backbone".to_owned()), ..ModelConfig::new("resnet18", []) };
        let _ = data::weights::suits(&header, &frozen, Known::default());
    });
}

/// A matrix of features with any number of columns up to nine, and of scores beside labels.
fn features(file: &Path) {
    let source =
        Source::Features { features: PathBuf::new(), labels: PathBuf::new(), columns: Columns::default(), standardize: true };
    let split = SplitConfig { train: 0.7, val: 0.15, test: 0.15, method: "random".to_owned(), seed: 0 };
    let config = DataConfig { source, split };
    for width in [1, 3] {
        let Ok(inputs) = data::Unlabelled::new(&config, false, Some((vec![0.5; width], vec![2.0; width])), width, u16::MAX)
        else {
            return;
        };
        if let Ok(rows) = inputs.features(file) {
            let rows: Vec<Vec<u8>> = rows.into_iter().flatten().collect();
            let mut numbers = vec![0.0; rows.len() * width];
            inputs.numbers(&rows, width, &mut numbers);
        }
    }
    with_file("scores.csv", b"id,A,B,C\n0,0,1,0\n1,1,0,0\n2,0,0,1\n", |labels| {
        let columns = Columns::default();
        for logits in [false, true] {
            let files = data::Files { scores: file, labels, test_scores: None, test_labels: None, columns: &columns, logits };
            if let Ok(imported) = data::Imported::read(&files) {
                assert!(imported.val.scores.iter().all(|score| (0.0..=1.0).contains(score)), "a score that is no probability");
            }
        }
    });
}

/// A JPEG; its first two bytes are put before what does not have them.
pub fn jpeg(bytes: &[u8]) {
    if bytes.starts_with(&[0xFF, 0xD8]) { decode(bytes) } else { decode(&[&[0xFF, 0xD8], bytes].concat()) }
}

/// A picture of any format.
pub fn picture(bytes: &[u8]) {
    decode(bytes);
}

/// Its length says how it is decoded.
fn decode(bytes: &[u8]) {
    let how = bytes.len();
    let pick = |bit: usize, no: &str, yes: &str| if how >> bit & 1 == 1 { yes } else { no }.to_owned();
    let config = ImageConfig {
        size: EDGE,
        channels: if how & 1 == 1 { 1 } else { 3 },
        resize: pick(1, "stretch", "crop"),
        normalize: "none".to_owned(),
        flip: false,
        crop_padding: 0,
        on_bad_image: "error".to_owned(),
        max_pixels: PIXELS,
        transparency: pick(2, "drop", "white"),
        pixel_range: "full".to_owned(),
    };
    let white = data::decode::largest_of(bytes, &config).map_or(data::decode::FULL, data::decode::white);
    if let Ok(picture) = data::decode::decode(bytes, &config, white) {
        assert_eq!(picture.pixels.len(), (config.channels * EDGE * EDGE) as usize, "a picture of another size");
    }
}

/// Lines of a worker's stdin, and the file that an order may point at.
pub fn orders(bytes: &[u8]) {
    for line in String::from_utf8_lossy(bytes).lines() {
        if let Heard::Order(order) = protocol::heard(line) {
            // Numbers that JSON does not have are not in an order.
            assert_eq!(protocol::heard(&order.line()), Heard::Order(order), "an order reads otherwise when it is written again");
        }
    }
    with_file("request.json", bytes, |file| drop(Request::read(file)));
}

/// A journal: lines without checksums, which are made here, and one byte before them that says whose journal it is. A line that begins
/// with `!` is taken as it is.
pub fn journal(bytes: &[u8]) {
    let Some((whose, text)) = bytes.split_first() else { return };
    let mut whole = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        match line.strip_prefix(b"!") {
            Some(raw) => whole.extend([raw, b"\n"].concat()),
            None => {
                let body = line.strip_suffix(b"}").unwrap_or(line);
                whole.extend_from_slice(body);
                whole.extend(format!(",\"c\":\"{:08x}\"}}\n", crc32fast::hash(body)).into_bytes());
            }
        }
    }
    let (val, test) = (LabelCounts::new(18, vec![5, 8]), LabelCounts { rows: 18, positives: vec![5, 9], unknown: vec![0, 0] });
    let expected = if whose >> 2 & 1 == 1 {
        Expected { epochs: 3, labels: 2, val: None, test: None }
    } else {
        Expected { epochs: 3, labels: 2, val: Some(&val), test: Some(&test) }
    };
    let run = plan::Fingerprint("0123456789abcdef0123456789abcdef".to_owned());
    let mut story = match whose & 3 {
        0 => Story::new(),
        1 => Story::left_over(false),
        _ => Story::left_over(true),
    };
    story.order(&run, 1);
    story.stop(&run, 1);
    for line in whole.split_inclusive(|byte| *byte == b'\n') {
        let Ok(record) = journal::decode(line) else { continue };
        if protocol::check::finite(&record.event).is_ok() {
            same(&record);
        }
        let _ = story.take(&record.event);
        let _ = fits(&record.event, &expected);
        let _ = predicts(&record.event, 2, (whose >> 3 & 1 == 1).then_some(5), 2);
    }
    with_file("a.jsonl", &whole, |file| {
        let mut found = journal::read(file, 0, 0).expect("it is there");
        assert!(found.offset <= whole.len() as u64 && found.records.len() == found.ends.len(), "records beyond the end");
        while found.problem.is_none() && !found.records.is_empty() {
            found = journal::read(file, found.offset, found.next_seq).expect("it is there");
        }
    });
}

/// A record is the same when it is written and read again; what is not a number stays so.
fn same(record: &Record) {
    let again = journal::decode(&journal::encode(record)).expect("it was read before");
    match (&record.event, &again.event) {
        (Event::Hb { .. }, Event::Hb { .. }) => {}
        _ => assert_eq!(&again, record, "a record reads otherwise when it is written again"),
    }
}

/// `model.json` of a folder from elsewhere.
pub fn model(bytes: &[u8]) {
    let folder = place("model");
    fs::create_dir_all(&folder).expect("a folder of our own");
    fs::write(folder.join(CARD), bytes).expect("a file of our own");
    let Ok(card) = ModelCard::read(&folder) else { return };
    let labels = card.labels.len();
    let scores: Vec<f32> = (0..2 * labels).map(|at| at as f32 / (2 * labels) as f32).collect();
    let _ = card.rule(None);
    let _ = card.rule(Some(&imbalance::threshold::Policy::Fixed(0.25)));
    let _ = card.strategy();
    if let Ok(calibrated) = card.calibrated(&scores) {
        assert_eq!(calibrated.len(), scores.len(), "other scores");
    }
    let _: plan::RunConfig = card.provenance.config.clone().into();
    let _ = serde_json::to_vec(&card).expect("what was read can be written");
}

/// Short texts: addresses of weights, policies, names, and anything that is shown.
pub fn words(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(Ok(file)) = HubFile::parse(&text) {
        assert!(!file.file.split('/').any(|part| part.is_empty() || part == ".."), "a path out of its repository");
        assert_eq!(HubFile::parse(&file.to_string()), Some(Ok(file)), "an address reads otherwise when it is written again");
    }
    let _ = plan::meant_as_repository(&text);
    let _ = plan::unusable_name(&text);
    if let Ok(policy) = imbalance::threshold::parse(&text) {
        let _ = policy.to_string();
    }
    for (shown, lines) in [(shown::shown(&text), false), (shown::cut(&text, 9), false), (shown::message(&text), true)] {
        assert!(!shown.chars().any(|letter| shown::is_obeyed(letter) && !(lines && letter == '\n')), "{shown:?} would be obeyed");
    }
    let _ = (shown::escape(&text), shown::lines(&text), shown::styled(&text), shown::json(&text), shown::is_formula(&text));
    let _ = protocol::plain(&text, 20);
    let _ = serde_json::from_str::<wire::Policy>(&text);
}

/// A path for this process and thread alone, in memory where the system has such a place.
fn place(name: &str) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    folder.join(format!("sweep-fuzz-{}-{name}", std::process::id()))
}

fn with_file(name: &str, bytes: &[u8], read: impl FnOnce(&Path)) {
    let path = place(name);
    fs::write(&path, bytes).expect("a file of our own");
    read(&path);
    fs::remove_file(&path).expect("a file of our own");
}
