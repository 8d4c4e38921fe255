//! Keeps the walls of the house (docs/architecture.md, "What must never be") by reading the source.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms, and what their code may not mention.
struct Wall {
    rooms: &'static [&'static str],
    forbidden: &'static [&'static str],
    why: &'static str,
}

const WALLS: &[Wall] = &[
    Wall {
        rooms: &["spec", "strategy", "metric", "data", "protocol", "controller", "launcher", "store", "report", "scores"],
        forbidden: &["candle_core", "candle_nn", "crate::model::build", "crate::kernel", "crate::train"],
        why: "the controller starts on machines without a CUDA library: Candle lives in model, kernel, train and worker",
    },
    Wall {
        rooms: &["spec", "strategy", "metric"],
        forbidden: &["tokio", "std::fs", "std::time::Instant", "std::time::SystemTime", "std::process", "std::env"],
        why: "these rooms are pure",
    },
    Wall { rooms: &["report"], forbidden: &["crate::controller", "crate::launcher"], why: "a report only reads" },
    Wall {
        rooms: &["worker", "train", "model", "kernel"],
        forbidden: &["crate::store", "sqlx"],
        why: "a worker never opens the database",
    },
    Wall {
        rooms: &[
            "spec",
            "strategy",
            "metric",
            "data",
            "model",
            "kernel",
            "train",
            "worker",
            "protocol",
            "controller",
            "launcher",
            "report",
            "command",
            "scores",
        ],
        forbidden: &["sqlx::", "SELECT ", "INSERT ", "UPDATE ", "DELETE FROM"],
        why: "every SQL statement is in store/, reports/ or migrations/",
    },
    Wall {
        rooms: &[
            "spec",
            "strategy",
            "metric",
            "data",
            "model",
            "kernel",
            "train",
            "worker",
            "protocol",
            "controller",
            "store",
            "report",
            "command",
        ],
        forbidden: &["tokio::process", "process::Command"],
        why: "only launcher/ starts processes",
    },
    Wall {
        rooms: &["spec", "strategy", "metric", "data", "model", "kernel", "train", "worker", "protocol", "launcher", "store"],
        forbidden: &["println!", "eprintln!", "print!(", "eprint!("],
        why: "printing belongs to command/, report/ and controller/progress",
    },
    Wall {
        rooms: &["spec", "strategy", "metric", "data", "model", "kernel", "train", "protocol", "launcher", "store", "report"],
        forbidden: &["process::exit"],
        why: "only the top decides how the process ends",
    },
];

fn sources(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            sources(&entry.unwrap().path(), found);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        found.push(path.to_owned());
    }
}

/// The code of a file without its comments and without its test module, with line numbers.
fn code(text: &str) -> Vec<(usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(number, line)| (number + 1, line))
        .collect()
}

#[test]
fn no_room_reaches_through_a_wall() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut broken, mut read) = (Vec::new(), 0);
    for wall in WALLS {
        for room in wall.rooms {
            let mut files = Vec::new();
            for place in [root.join(room), root.join(format!("{room}.rs"))] {
                if place.exists() {
                    sources(&place, &mut files);
                }
            }
            assert!(!files.is_empty(), "no room is called {room}: mend the list of walls");
            // A file named tests.rs and a folder named tests are test modules.
            let test = |file: &Path| file.ends_with("tests.rs") || file.components().any(|part| part.as_os_str() == "tests");
            for file in files.iter().filter(|file| !test(file.strip_prefix(&root).unwrap_or(file))) {
                read += 1;
                let text = fs::read_to_string(file).unwrap();
                for (number, line) in code(&text) {
                    for word in wall.forbidden.iter().filter(|word| line.contains(**word)) {
                        broken.push(format!("{}:{number}: `{word}` ({})", file.display(), wall.why));
                    }
                }
            }
        }
    }
    assert!(read > 20, "only {read} files were read");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The test above can fail: a planted line is found, a comment is not.
#[test]
fn a_planted_breach_is_seen() {
    let planted = "// println!()\nfn f() { println!(); }\n#[cfg(test)]\nprintln!()";
    assert_eq!(code(planted), [(2, "fn f() { println!(); }")]);
}
