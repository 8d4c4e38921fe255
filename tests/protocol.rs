//! docs/protocol.schema.json against what the code writes: every kind of order and record, and the traffic of a real plan. Each key
//! is then renamed in turn, and the schema must notice.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use imbalance::Choice;
use imbalance::LabelCounts;
use imbalance::evaluation::HeldOut;
use imbalance::metric::{Counts, Ranking};
use imbalance::sampler::Realised;
use imbalance::threshold::Policy;
use plan::{self, Fingerprint, Plan};
use protocol::journal::encode;
use protocol::{Event, Heard, Job, Order, Outcome, Record, SplitName, VERSION, heard};
use serde_json::Value;
use sweep::launcher::{Exit, Fake, Launcher, Place, Signal, Standing, WorkerId, WorkerSpec, channel};

/// A validator for the lines that `#/$defs/NAME` describes.
fn schema(name: &str) -> jsonschema::Validator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.schema.json");
    let mut schema: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(jsonschema::meta::is_valid(&schema), "the schema itself is not valid");
    schema["oneOf"] = serde_json::json!([{ "$ref": format!("#/$defs/{name}") }]);
    jsonschema::draft202012::new(&schema).unwrap()
}

fn line(order: &Order) -> Value {
    serde_json::from_str(&order.line()).unwrap()
}

fn record(s: u64, event: Event) -> Value {
    serde_json::from_slice(&encode(&Record { s, t: 1_700_000_000.5, event })).unwrap()
}

fn valid(schema: &jsonschema::Validator, line: &Value) {
    let errors: Vec<_> = schema.iter_errors(line).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{line}\n{}", errors.join("\n"));
}

/// Pointers to the objects of `value` whose keys the protocol fixes (those of `params` belong to the strategies).
fn objects(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if !at.ends_with("/params") {
                found.push(at.to_owned());
            }
            map.iter().for_each(|(key, value)| objects(value, &format!("{at}/{key}"), found));
        }
        Value::Array(values) => values.iter().enumerate().for_each(|(i, value)| objects(value, &format!("{at}/{i}"), found)),
        _ => {}
    }
}

/// Renames, removes and nulls each key of `line` in turn; returns how many changes there were.
fn each_change_is_noticed(schema: &jsonschema::Validator, line: &Value) -> usize {
    let mut places = Vec::new();
    objects(line, "", &mut places);
    let mut changes = 0;
    for place in places {
        let keys: Vec<_> = line.pointer(&place).unwrap().as_object().unwrap().keys().cloned().collect();
        for key in keys {
            let change = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
                let mut changed = line.clone();
                change(changed.pointer_mut(&place).unwrap().as_object_mut().unwrap());
                changed
            };
            // A choice without parameters is as good as one with them, and other keys are passed over.
            if key == "params" || key == "doing" {
                continue;
            }
            let renamed = change(&|map| {
                let value = map.remove(&key).unwrap();
                map.insert(format!("{key}_"), value);
            });
            assert!(!schema.is_valid(&renamed), "`{place}/{key}` may be called `{key}_` in {line}");
            let removed = change(&|map| drop(map.remove(&key)));
            assert!(!schema.is_valid(&removed), "`{place}/{key}` may be missing in {line}");
            let odd = change(&|map| drop(map.insert(key.clone(), serde_json::json!({ "a": [] }))));
            assert!(!schema.is_valid(&odd), "`{place}/{key}` may be anything in {line}");
            changes += 3;
        }
    }
    changes
}

fn events() -> Vec<Event> {
    let r = Fingerprint("0123456789abcdef0123456789abcdef".to_owned());
    let host = "a \"host\",\"c\":\"".to_owned();
    let (worker, device, version) = ("1a2b-7-0".to_owned(), "cuda:0".to_owned(), "0.1.0".to_owned());
    let ranking = Ranking { ap: vec![Some(0.1 + 0.2), None], auc: vec![None, Some(1.0)], mean_score: vec![1.0 / 3.0, 5e-324] };
    let eval = |split, policy| Event::Eval {
        r: r.clone(),
        a: 1,
        epoch: 0,
        split,
        policy,
        thresholds: vec![0.1, 1.0f32.next_up()],
        counts: vec![Counts { tp: 1, fp: 2, fn_: 3, tn: u64::from(u32::MAX) }, Counts::default()],
        samples_f1: 0.7,
        subset_accuracy: 0.0,
    };
    let drawn = Realised { draws: 9, prevalence: vec![0.25, 1.0], shift: 0.1, duplicates: 0.5, never_drawn: 0.0, made_up: 0.125 };
    let held_out = HeldOut { counts: vec![Counts { tp: 1, fp: 2, fn_: 3, tn: 4 }], samples_f1: 0.25, subset_accuracy: 1.0 };
    let mut events = vec![
        Event::Open { v: VERSION, worker, pid: 7, host, device, threads: 2, version },
        Event::Begin { r: r.clone(), a: 1, from: None },
        Event::Begin { r: r.clone(), a: 2, from: Some(3) },
        Event::Hb { r: Some(r.clone()), epoch: 0, step: 1, steps: 9, loss: 0.25, images_per_s: 1e3, doing: None },
        Event::Hb { r: None, epoch: 0, step: 0, steps: 0, loss: 0.0, images_per_s: 0.0, doing: Some("hashing".to_owned()) },
        Event::Epoch {
            r: r.clone(),
            a: 1,
            epoch: 0,
            train_loss: std::f64::consts::PI,
            val_loss: 1e-300,
            learning_rate: 1e-3,
            seconds: 0.1,
            images_per_s: 1.0,
            steps: Some(u64::MAX),
        },
        Event::Drawn { r: r.clone(), a: 1, drawn },
        Event::Rank { r: r.clone(), a: 1, epoch: 0, split: SplitName::Test, ranking },
        eval(SplitName::Val, Policy::Fixed(0.5)),
        eval(SplitName::Test, Policy::Fitted(Choice::plain("max_f1"))),
        eval(SplitName::Val, Policy::Fitted(Choice::plain("demo").with("beta", 2.0).with("by", "mean"))),
        Event::HeldOut { r: r.clone(), a: 1, epoch: 0, policy: Policy::Fitted(Choice::plain("max_f1")), held_out },
        Event::Close { why: "finished".to_owned() },
    ];
    let worker_says = [
        Outcome::Ok,
        Outcome::Stopped,
        Outcome::StoppedEarly,
        Outcome::Diverged,
        Outcome::OutOfMemory,
        Outcome::Data,
        Outcome::Io,
        Outcome::Crashed,
    ];
    events.extend(worker_says.map(|st| Event::End { r: r.clone(), a: 1, st, n: 5, why: "line 1\nline 2".to_owned() }));
    events
}

#[test]
fn every_kind_of_record_fits_and_no_other_field_does() {
    let schema = schema("record");
    let mut changes = 0;
    for (s, event) in events().into_iter().enumerate() {
        let line = record(s as u64, event);
        valid(&schema, &line);
        changes += each_change_is_noticed(&schema, &line);
    }
    assert!(changes > 300, "only {changes} changes were tried");
}

#[test]
fn what_a_worker_may_not_say_does_not_fit() {
    let schema = schema("record");
    let r = Fingerprint("0123456789abcdef0123456789abcdef".to_owned());
    for st in ["killed", "hung", "timeout", "lost"] {
        let mut line = record(0, Event::End { r: r.clone(), a: 1, st: Outcome::Crashed, n: 0, why: String::new() });
        valid(&schema, &line);
        line["st"] = st.into();
        assert!(!schema.is_valid(&line), "{line}");
    }
    // JSON has no NaN: a heartbeat's is null, and no other record has one.
    let line =
        record(0, Event::Hb { r: None, epoch: 0, step: 0, steps: 0, loss: f64::NAN, images_per_s: f64::INFINITY, doing: None });
    assert_eq!((&line["loss"], &line["images_per_s"]), (&Value::Null, &Value::Null));
    valid(&schema, &line);
    let drawn = Realised { draws: 1, prevalence: vec![0.5], shift: f64::NAN, duplicates: 0.0, never_drawn: 0.0, made_up: 0.0 };
    let line = record(0, Event::Drawn { r: r.clone(), a: 1, drawn });
    assert!(!schema.is_valid(&line), "{line}");
    let mut line = record(0, Event::Begin { r: Fingerprint("short".to_owned()), a: 1, from: None });
    assert!(!schema.is_valid(&line), "{line}");
    line["r"] = r.0.into();
    valid(&schema, &line);
    line["s"] = (-1).into();
    assert!(!schema.is_valid(&line), "{line}");
}

const LETTERS: &str = r#"
[data]
kind = "letters"
samples = 120
image_size = 16
label_rates = { A = 0.3, "with, \"quotes\"" = 0.5 }
[model]
arch = "mlp"
hidden = [4]
[train]
epochs = 2
grad_clip = 1.0
schedule = { kind = "cosine", warmup = 1 }
[grid]
loss = ["bce", { kind = "focal", gamma = 2.0, alpha = 0.25 }]
pos_weight = ["sqrt", [2.0, 3.0]]
sampler = ["shuffle", "class_aware"]
threshold = [0.5, "max_f1"]
"#;
const IMAGES: &str = r#"
[data]
kind = "images"
root = "photos"
labels = "photos/labels.csv"
group_column = "patient"
ignore_columns = ["age"]
[model]
arch = "densenet121"
weights = "hf://owner/repository/file.safetensors"
freeze = "backbone"
[grid]
"train.optimizer" = ["sgd", "adamw"]
"#;
const FEATURES: &str = r#"
[data]
kind = "features"
features = "x.npy"
labels = "y.csv"
[grid]
seed = [0, 9007199254740993]
"#;

/// The plan of a sweep file with the data prepared below `cache`, or with made-up facts where the data is missing.
fn plan(text: &str, cache: Option<&Path>) -> Plan {
    let sweep = plan::parse("test.toml", text, &[]).unwrap();
    let facts = sweep.data_configs().into_iter().map(|config| match cache {
        Some(cache) => data::prepare(&config, Path::new("."), cache, &|_, _| {}).unwrap().facts,
        None => {
            let counts = LabelCounts::new(10, vec![4]);
            plan::DataFacts {
                content: "c".to_owned(),
                labels: vec!["A".to_owned()],
                input: plan::InputShape::Features { width: 3 },
                train: counts.clone(),
                val: counts.clone(),
                test: counts,
                folder: "/cache/c".into(),
            }
        }
    });
    let facts: Vec<_> = facts.collect();
    sweep.plan(&facts, &std::collections::BTreeMap::new()).unwrap()
}

/// The orders of a plan, as the controller gives them.
fn orders(plan: &Plan) -> Vec<Order> {
    let job = |run: &plan::PlannedRun| {
        Order::Train(Box::new(Job {
            v: VERSION,
            run: run.fingerprint.clone(),
            attempt: 1,
            config: run.config.clone(),
            pos_weight: run.pos_weight.clone(),
            data: plan.data[run.data].1.folder.clone(),
            folder: PathBuf::from("/runs").join(&run.fingerprint.0),
            policies: plan.policies.clone(),
        }))
    };
    let stop_run = Order::StopRun { run: plan.runs[0].fingerprint.clone(), attempt: 1 };
    plan.runs.iter().map(job).chain([stop_run, Order::Stop]).collect()
}

/// The same orders as one bundle.
fn bundle(plan: &Plan) -> Order {
    let job = |order| if let Order::Train(job) = order { Some(*job) } else { None };
    Order::Bundle { jobs: orders(plan).into_iter().filter_map(job).collect() }
}

#[test]
fn every_kind_of_order_fits_and_no_other_field_does() {
    let cache = tempfile::tempdir().unwrap();
    let schema = schema("order");
    let mut trained = 0;
    for plan in [plan(LETTERS, Some(cache.path())), plan(IMAGES, None), plan(FEATURES, None)] {
        for order in orders(&plan) {
            let line = line(&order);
            valid(&schema, &line);
            assert!(each_change_is_noticed(&schema, &line) > 0);
            assert_eq!(heard(&line.to_string()), Heard::Order(order.clone()));
            trained += usize::from(matches!(order, Order::Train(_)));
        }
        let line = line(&bundle(&plan));
        valid(&schema, &line);
        assert!(each_change_is_noticed(&schema, &line) > 0);
        assert_eq!(heard(&line.to_string()), Heard::Order(bundle(&plan)));
    }
    // On frozen features and on features, two runs and two reference runs each.
    assert_eq!(trained, 8 + 4 + 4);
}

/// Orders of a real plan go in, the journal that comes out is checked line by line.
#[test]
fn the_traffic_of_a_real_plan_fits() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(LETTERS, Some(folder.path()));
    let (signals, mut heard) = channel();
    let mut launcher = Fake::new(vec![Place { device: "cpu".to_owned(), threads: 1 }], Duration::ZERO, signals);
    let (id, journal) = (WorkerId(0), folder.path().join("w.jsonl"));
    let log = folder.path().join("w.log");
    launcher.start(WorkerSpec { id, name: "w".to_owned(), place: 0, journal: journal.clone(), log });
    for order in orders(&plan) {
        launcher.send(id, &order);
    }
    let exit = loop {
        if let Signal::Stands(_, Standing::Gone(exit)) = heard.blocking_recv().unwrap() {
            break exit;
        }
    };
    assert_eq!(exit, Exit::Process { code: Some(0), signal: None, out_of_memory: false });
    let schema = schema("record");
    let text = std::fs::read_to_string(journal).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.iter().for_each(|line| valid(&schema, line));
    let kinds = |kind: &str| lines.iter().filter(|line| line["k"] == kind).count();
    assert_eq!((kinds("open"), kinds("begin"), kinds("epoch"), kinds("end"), kinds("close")), (1, 8, 16, 8, 1));
}

#[test]
fn the_page_names_every_kind_and_every_field() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.md")).unwrap();
    let named = |word: &str| page.contains(&format!("`{word}`"));
    let missing = |line: &Value| -> Vec<String> {
        let keys = line.as_object().unwrap().keys().map(String::as_str);
        keys.chain(line["k"].as_str()).filter(|word| !named(word)).map(str::to_owned).collect()
    };
    for event in events() {
        assert_eq!(missing(&record(0, event)), Vec::<String>::new());
    }
    let cache = tempfile::tempdir().unwrap();
    for order in orders(&plan(LETTERS, Some(cache.path()))) {
        assert_eq!(missing(&line(&order)), Vec::<String>::new());
    }
}
