//! The ways to lie, with the controller's reaction and messages.

use serde_json::{Value, json};

use super::proxy::{Liar, Said, seal};

/// A way to lie.
pub struct Way {
    pub name: &'static str,
    /// Exit code of a sweep whose workers all lie so.
    pub code: i32,
    /// The message on stderr.
    pub words: &'static str,
}

const fn way(name: &'static str, code: i32, words: &'static str) -> Way {
    Way { name, code, words }
}

pub const WAYS: &[Way] = &[
    // the same record twice
    way("eval twice", 3, "records arrived"),
    way("eval twice, counted", 0, ""),
    way("epoch twice, counted", 0, ""),
    way("end twice", 0, ""),
    // numbers that no table holds
    way("tp is 2^62", 3, "tp + fn of label 0 (from 0) is 4611686018427"),
    way("fp is 2^63", 3, "tp + fp + fn + tn of label 0"),
    way("tn is 2^64-1", 3, "too large to add up"),
    way("tp is 2^64", 3, "is no record of protocol 2"),
    way("epoch of rank is 2^64-1", 3, "epoch is 18446744073709551615, but the run has 3"),
    way("epoch of eval is 2^64-1", 3, "epoch is 18446744073709551615, but the run has 3"),
    way("epoch of epoch is 2^64-1", 3, "epoch is 18446744073709551615, but the run has 3"),
    way("epoch is 3", 3, "epoch is 3, but the run has 3"),
    way("draws is 2^63", 3, "draws is 9223372036854775808"),
    way("threads is 2^63", 0, ""),
    way("time is 1e300", 0, ""),
    // counts and scores that cannot be
    way("tp is 999999", 3, "tp + fn of label 0 (from 0) is"),
    way("a positive is a negative", 3, "tp + fn of label 0 (from 0) is"),
    way("a row is missing", 3, "tp + fp + fn + tn of label 0 (from 0) is"),
    way("ap is 1e308", 3, "should be from 0 to 1"),
    way("ap is null", 3, "ap of label 0 (from 0) is null, but the label has positives"),
    way("auc is negative", 3, "auc is -0.5, should be from 0 to 1"),
    way("mean score is 1e10", 3, "mean_score is 10000000000, should be from 0 to 1"),
    way("samples f1 is 7", 3, "samples_f1 is 7, should be from 0 to 1"),
    way("threshold is 1e39", 3, "thresholds is inf"),
    way("seconds is negative", 3, "seconds is -1, should not be negative"),
    way("best epoch is another", 3, "1 of 2 test rankings arrived"),
    // NaN and other non-numbers
    way("threshold is NaN", 3, "is no record of protocol 2"),
    way("train loss is null", 3, "is no record of protocol 2"),
    way("train loss is 1e999", 3, "is no record of protocol 2"),
    way("tp is negative", 3, "is no record of protocol 2"),
    way("loss of the heartbeat is null", 0, ""),
    // shapes
    way("a threshold more", 3, "thresholds has 5 values, but there are 4 labels"),
    way("a count less", 3, "counts has 3 values, but there are 4 labels"),
    way("no ap", 3, "ap has 0 values"),
    way("a prevalence more", 3, "prevalence has 5 values"),
    way("split is train", 3, "unknown variant `train`"),
    way("split is nonsense", 3, "is no record of protocol 2"),
    way("policy was not ordered", 3, "policy \"0.75\" was not ordered"),
    way("policy is unknown", 3, "was not ordered"),
    // records that are missing
    way("no evals, counted", 3, "0 of 3 epochs with val evaluations arrived"),
    way("no evals of one policy, counted", 0, ""),
    way("no test rows", 3, "records arrived"),
    way("no test rows, counted", 3, "test rankings arrived"),
    way("no begin", 3, "the attempt has not begun"),
    way("n is 0", 3, "of 0 records arrived"),
    way("n is 2^64-1", 3, "records arrived"),
    // records in the wrong place
    way("close in the middle", 3, "follows `close`"),
    way("open twice", 3, "a journal has one `open`"),
    way("no open", 1, "a journal starts with `open`"),
    way("attempt is 2^32-1", 3, "was not ordered to make attempt 4294967295"),
    way("another run", 3, "was not ordered to make attempt 1 at run 00000000"),
    way("begins after 99 epochs", 3, "continues after 99 epochs"),
    way("outcome is lost", 3, "unknown variant `lost`"),
    way("outcome is unknown", 3, "is no record of protocol 2"),
    way("outcome is an escape code", 3, "unknown variant `\\u{1b}[31m`"),
    way("kind is unknown", 3, "is no record of protocol 2"),
    way("protocol is 99", 1, "version 99 of the protocol"),
    // damaged lines
    way("3 MB line", 3, "bytes, may have 1048576"),
    way("3 MB without an end", 3, "1048576"),
    way("half a line", 3, "the line "),
    way("garbage", 3, "does not end with its checksum"),
    way("wrong checksum", 3, "checksum is "),
    way("number is skipped", 3, "has number "),
    way("number is repeated", 3, "has number "),
    way("an unknown key", 0, ""),
    // the file itself
    way("journal is a fifo", 1, "is not a regular file"),
    way("journal vanishes", 3, "was removed while its worker ran"),
    way("journal shrinks", 3, "cannot be used"),
    way("outcome is stopped early", 3, "nobody asked to stop this run for good"),
    // foreign text
    way("control characters in why", 3, "\\u{1b}[31mred\\u{7}"),
    way("why of 500 kB", 3, "xxxxx"),
];

/// What is written in the place of `record`.
pub fn lie(way: &str, mut record: Value, liar: &mut Liar) -> Vec<Said> {
    let kind = record["k"].as_str().unwrap_or_default().to_owned();
    let is = |wanted: &str| kind == wanted;
    let test = record["split"] == "test";
    // Changes one key of the records of a kind.
    macro_rules! set {
        ($kind:literal, $pointer:literal, $value:expr) => {
            if is($kind) {
                liar.lied = true;
                *record.pointer_mut($pointer).unwrap() = json!($value);
            }
        };
    }
    let text = |liar: &mut Liar, record: Value, from: &str, to: &str| {
        let text = liar.text(record);
        assert!(text.contains(from), "{text}");
        vec![Said::Raw(seal(text.replacen(from, to, 1)))]
    };
    match way {
        "eval twice" | "eval twice, counted" if is("eval") => {
            liar.lied = true;
            if way.ends_with("counted") {
                liar.count(&record, 1);
            }
            return vec![Said::Record(record.clone()), Said::Record(record)];
        }
        "epoch twice, counted" if is("epoch") => {
            liar.lied = true;
            liar.count(&record, 1);
            return vec![Said::Record(record.clone()), Said::Record(record)];
        }
        "end twice" if is("end") => {
            liar.lied = true;
            return vec![Said::Record(record.clone()), Said::Record(record)];
        }
        "tp is 2^62" => set!("eval", "/counts/0/tp", 1u64 << 62),
        "fp is 2^63" => set!("eval", "/counts/0/fp", 1u64 << 63),
        "tn is 2^64-1" => set!("eval", "/counts/0/tn", u64::MAX),
        "tp is 2^64" => set!("eval", "/counts/0/tp", 18_446_744_073_709_551_616.0),
        "epoch of rank is 2^64-1" => set!("rank", "/epoch", u64::MAX),
        "epoch of eval is 2^64-1" => set!("eval", "/epoch", u64::MAX),
        "epoch of epoch is 2^64-1" => set!("epoch", "/epoch", u64::MAX),
        "epoch is 3" => set!("rank", "/epoch", 3),
        "draws is 2^63" => set!("drawn", "/draws", 1u64 << 63),
        "threads is 2^63" => set!("open", "/threads", 1u64 << 63),
        "time is 1e300" => {
            liar.lied = true;
            record["t"] = json!(1e300);
        }
        "tp is 999999" => set!("eval", "/counts/0/tp", 999_999),
        "a positive is a negative" if is("eval") => {
            liar.lied = true;
            let fn_ = record["counts"][0]["fn"].as_u64().unwrap();
            record["counts"][0]["fn"] = json!(fn_ + 1);
        }
        "a row is missing" if is("eval") => {
            liar.lied = true;
            let tn = record["counts"][0]["tn"].as_u64().unwrap();
            record["counts"][0]["tn"] = json!(tn + 1);
        }
        "ap is 1e308" => set!("rank", "/ap/0", 1e308),
        "ap is null" => set!("rank", "/ap/0", Value::Null),
        "auc is negative" => set!("rank", "/auc/0", -0.5),
        "mean score is 1e10" => set!("rank", "/mean_score/0", 1e10),
        "samples f1 is 7" => set!("eval", "/samples_f1", 7.0),
        "threshold is 1e39" => set!("eval", "/thresholds/0", 1e39),
        "seconds is negative" => set!("epoch", "/seconds", -1.0),
        "best epoch is another" if is("rank") && !test && record["epoch"] == 0 => {
            liar.lied = true;
            record["ap"].as_array_mut().unwrap().iter_mut().for_each(|ap| *ap = json!(1.0));
        }
        "threshold is NaN" if is("eval") => {
            liar.lied = true;
            return text(liar, record, "\"thresholds\":[", "\"thresholds\":[NaN,");
        }
        "train loss is null" => set!("epoch", "/train_loss", Value::Null),
        "train loss is 1e999" if is("epoch") => {
            liar.lied = true;
            return text(liar, record, "\"train_loss\":", "\"train_loss\":1e999,\"x\":");
        }
        "tp is negative" => set!("eval", "/counts/0/tp", -1),
        "loss of the heartbeat is null" if is("epoch") => {
            liar.lied = true;
            let beat = json!({"s": 0, "t": 1.0, "k": "hb", "r": record["r"], "epoch": 0, "step": 1, "steps": 2, "loss": null,
                              "images_per_s": null});
            return vec![Said::Record(beat), Said::Record(record)];
        }
        "a threshold more" if is("eval") => {
            liar.lied = true;
            record["thresholds"].as_array_mut().unwrap().push(json!(0.5));
        }
        "a count less" if is("eval") => {
            liar.lied = true;
            record["counts"].as_array_mut().unwrap().pop();
        }
        "no ap" => set!("rank", "/ap", Vec::<f64>::new()),
        "a prevalence more" if is("drawn") => {
            liar.lied = true;
            record["prevalence"].as_array_mut().unwrap().push(json!(0.5));
        }
        "split is train" => set!("rank", "/split", "train"),
        "split is nonsense" => set!("eval", "/split", "nonsense"),
        "policy was not ordered" => set!("eval", "/policy", 0.75),
        "policy is unknown" => set!("eval", "/policy", json!({"kind": "max_luck"})),
        "no evals, counted" if is("eval") => {
            liar.lied = true;
            liar.count(&record, -1);
            return Vec::new();
        }
        "no evals of one policy, counted" if is("eval") && record["policy"] == 0.25 => {
            liar.lied = true;
            liar.count(&record, -1);
            return Vec::new();
        }
        "no test rows" | "no test rows, counted" if test => {
            liar.lied = true;
            if way.ends_with("counted") {
                liar.count(&record, -1);
            }
            return Vec::new();
        }
        "no begin" if is("begin") => {
            liar.lied = true;
            return Vec::new();
        }
        "n is 0" => set!("end", "/n", 0),
        "n is 2^64-1" => set!("end", "/n", u64::MAX),
        "close in the middle" if is("epoch") => {
            liar.lied = true;
            return vec![Said::Record(json!({"s": 0, "t": 1.0, "k": "close", "why": "finished"})), Said::Record(record)];
        }
        "open twice" if is("begin") => {
            liar.lied = true;
            let open = json!({"s": 0, "t": 1.0, "k": "open", "v": protocol::VERSION, "worker": "w", "pid": 1, "host": "h",
                              "device": "cpu", "threads": 1, "version": "0"});
            return vec![Said::Record(open), Said::Record(record)];
        }
        "no open" if is("open") => {
            liar.lied = true;
            return vec![Said::Record(
                json!({"s": 0, "t": 1.0, "k": "hb", "r": null, "epoch": 0, "step": 0, "steps": 0, "loss": 0.0,
                                            "images_per_s": 0.0}),
            )];
        }
        "attempt is 2^32-1" if record.get("a").is_some() => {
            liar.lied = true;
            record["a"] = json!(u32::MAX);
        }
        "another run" if record.get("a").is_some() => {
            liar.lied = true;
            record["r"] = json!("0".repeat(32));
        }
        "begins after 99 epochs" => set!("begin", "/from", 99),
        "outcome is lost" => set!("end", "/st", "lost"),
        "outcome is stopped early" => set!("end", "/st", "stopped_early"),
        "outcome is unknown" => set!("end", "/st", "splendid"),
        "outcome is an escape code" => set!("end", "/st", "\u{1b}[31m"),
        "kind is unknown" => set!("drawn", "/k", "surprise"),
        "protocol is 99" => set!("open", "/v", 99),
        "3 MB line" if is("epoch") => {
            liar.lied = true;
            record["x"] = json!("x".repeat(3 << 20));
        }
        "3 MB without an end" if is("epoch") => {
            liar.lied = true;
            return vec![Said::Raw(vec![b'x'; 3 << 20])];
        }
        "half a line" if is("epoch") => {
            liar.lied = true;
            let half = liar.text(record.clone());
            return vec![Said::Raw(half.as_bytes()[..half.len() / 2].to_vec())];
        }
        "garbage" if is("epoch") => {
            liar.lied = true;
            return vec![Said::Raw(b"\xff\xfe not a line\n".to_vec()), Said::Record(record)];
        }
        "wrong checksum" if is("epoch") => {
            liar.lied = true;
            let mut line = seal(liar.text(record));
            let at = line.len() - 4;
            line[at] = if line[at] == b'0' { b'1' } else { b'0' };
            return vec![Said::Raw(line)];
        }
        "number is skipped" if is("epoch") => {
            liar.lied = true;
            liar.text(record.clone());
        }
        "number is repeated" if is("epoch") => {
            liar.lied = true;
            let mut before = record.clone();
            before["s"] = json!(0);
            return vec![Said::Misnumbered(before), Said::Record(record)];
        }
        "an unknown key" => {
            liar.lied = true;
            record["surprise"] = json!({"deep": [1, 2, {"er": null}]});
        }
        "journal vanishes" if is("epoch") && !liar.lied => {
            // Only what has been read is missed.
            std::thread::sleep(std::time::Duration::from_millis(200));
            liar.lied = std::fs::remove_file(&liar.journal).is_ok();
        }
        "journal shrinks" if is("epoch") && !liar.lied => {
            std::thread::sleep(std::time::Duration::from_millis(200));
            liar.cut_journal(10);
            liar.lied = true;
        }
        "control characters in why" if is("end") => {
            liar.lied = true;
            (record["st"], record["why"]) = (json!("crashed"), json!("\u{1b}[31mred\u{7}\u{9b}"));
        }
        "why of 500 kB" if is("end") => {
            liar.lied = true;
            (record["st"], record["why"]) = (json!("crashed"), json!("x".repeat(500_000)));
        }
        _ => {}
    }
    if is("end")
        && let Some(more) = record["r"].as_str().and_then(|run| liar.told.remove(run))
    {
        let n = record["n"].as_i64().unwrap();
        record["n"] = json!(n + more);
    }
    vec![Said::Record(record)]
}
