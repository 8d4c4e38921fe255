//! What only a terminal gets: pictures beside the numbers, and answers to keys. The terminal is made by `script` of util-linux.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]
#![expect(clippy::print_stdout, reason = "a test says that it is skipped")]

mod common;

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::Place;

/// Two strategies, two seeds, made-up results.
const SWEEP: &str = r#"
name = "screen"
[data]
kind = "letters"
samples = 200
image_size = 16
[model]
arch = "linear"
[train]
epochs = 5
[grid]
loss = ["bce", "focal"]
seed = [0, 1]
"#;
/// Every character that pictures are made of, and tables are not.
const BLOCKS: &str = "▁▂▃▄▅▆▇█▏▎▍▌▋▊▉░";
const PATIENCE: Duration = Duration::from_secs(60);

/// A command line in a terminal of this width; `None` without `script`, which is said.
fn on_terminal(place: &Place, columns: usize, line: &str) -> Option<Command> {
    if Command::new("script").arg("--version").output().is_err() {
        println!("skipped: `script` of util-linux is not here");
        return None;
    }
    let sweep = format!("sweep() {{ '{}' \"$@\"; }}", env!("CARGO_BIN_EXE_sweep"));
    let mut command = Command::new("script");
    command.args(["-qec", &format!("stty cols {columns} rows 40; {sweep}; {line}"), "/dev/null"]);
    command.current_dir(place.folder.path()).stdin(Stdio::null()).env("SHELL", "/bin/sh").env("TERM", "xterm");
    for name in ["LC_ALL", "LC_CTYPE", "SWEEP_DB", "NO_COLOR"] {
        command.env_remove(name);
    }
    command.env("LANG", "C.UTF-8");
    Some(command)
}

/// What stands on the terminal at the end.
fn screen(mut command: Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

fn has_blocks(text: &str) -> bool {
    text.chars().any(|letter| BLOCKS.contains(letter))
}

/// A place with the sweep, trained.
fn trained() -> Place {
    let place = Place::new(SWEEP);
    place.succeed(&["run", "sweep.toml", "--on", "fake", "--quiet"]);
    place
}

#[test]
fn only_a_terminal_gets_pictures() {
    let place = trained();
    let run = place.json(&["report"])["rows"][0]["runs"][0].as_str().unwrap().to_owned();
    let piped = |arguments: &[&str]| String::from_utf8(place.succeed(arguments).stdout).unwrap();
    for arguments in [
        &["report"][..],
        &["report", "--format", "markdown"],
        &["report", "--format", "csv"],
        &["report", "--format", "json"],
        &["show", &run],
    ] {
        let text = piped(arguments);
        assert!(!has_blocks(&text) && !text.contains("curves:"), "{arguments:?}: {text}");
        assert_eq!(text, piped(&[arguments, &["--ascii"]].concat()), "{arguments:?}: --ascii is for terminals");
    }
    let Some(report) = on_terminal(&place, 160, "sweep report") else { return };
    let text = screen(report);
    assert!(has_blocks(&text) && text.contains("bars: ") && text.contains("curves: "), "{text}");
    // On 80 columns the table is as it was without pictures.
    let narrow = screen(on_terminal(&place, 80, "NO_COLOR=1 sweep report").unwrap());
    let plain = screen(on_terminal(&place, 80, "NO_COLOR=1 TERM=dumb sweep report").unwrap());
    assert!(narrow == plain && !has_blocks(&plain), "{narrow}");
    let file = screen(on_terminal(&place, 160, "sweep report --output report.txt").unwrap());
    assert_eq!(file, "");
    assert_eq!(std::fs::read_to_string(place.path("report.txt")).unwrap(), piped(&["report"]));
    let text = screen(on_terminal(&place, 160, &format!("sweep show {run}")).unwrap());
    assert!(text.contains("val macro_ap  ▁") && text.contains("train loss    █") && text.contains("0–1"), "{text}");
}

#[test]
fn ascii_where_it_is_asked_for_or_needed() {
    let place = trained();
    let run = place.json(&["report"])["rows"][0]["runs"][0].as_str().unwrap().to_owned();
    for line in [
        "sweep report --ascii".to_owned(),
        "LC_ALL=C sweep report".to_owned(),
        "TERM=dumb sweep report --ascii".to_owned(),
        format!("sweep show {run} --ascii"),
        format!("LANG=de_DE.ISO-8859-1 sweep show {run}"),
    ] {
        let Some(command) = on_terminal(&place, 160, &line) else { return };
        let text = screen(command);
        assert!(!has_blocks(&text) && text.contains("@"), "{line}: {text}");
        assert_eq!(text.contains("curves: "), line.contains("report"), "{line}: {text}");
    }
}

/// A command in a terminal whose keys are ours.
struct Session {
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Session {
    /// A command line whose made-up epochs take a while; `None` without `script`.
    fn of(place: &Place, line: &str) -> Option<Self> {
        let mut command = on_terminal(place, 120, line)?;
        command.env("SWEEP_FAKE_EPOCH_SECONDS", "0.3");
        Some(Self::start(command))
    }

    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut stdout, said) = (child.stdout.take().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut bytes) {
                heard.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Self { child, said }
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    fn wait_for(&self, words: &str) {
        let start = Instant::now();
        while !self.said().contains(words) {
            assert!(start.elapsed() < PATIENCE, "`{words}` is never said: {}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn types(&mut self, keys: &str) {
        self.child.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for its end: whether it was a success.
    fn ends(mut self) -> (bool, String) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.success(), self.said());
            }
            if start.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("it does not end: {}", self.said());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn enter_prints_the_status_and_a_question_mark_the_keys() {
    let place = Place::new(SWEEP);
    for (line, live) in
        [("sweep run sweep.toml --on fake --devices cpu", true), ("TERM=dumb sweep resume --on fake --devices cpu -v", false)]
    {
        let Some(mut session) = Session::of(&place, line) else { return };
        // What is typed before the sweep listens is not for it.
        session.wait_for("epoch 2/5");
        session.types("\n");
        session.wait_for(" runs over, ");
        session.types("?\n");
        session.wait_for("Enter: a line with the status; ?: the keys");
        session.types("ls\n");
        session.wait_for("what you typed was not for the shell");
        if live {
            // Twice an interrupt: the rest is for the other way.
            session.types("\u{3}");
            session.wait_for("stopping after the current epoch");
            let (success, text) = session.ends();
            assert!(!success && text.contains(" queued; "), "{text}");
            let status = text.lines().find(|line| line.contains(" runs over, ")).unwrap();
            assert!(status.contains(" running, ") && status.contains("epoch "), "{status}");
        } else {
            let (success, text) = session.ends();
            assert!(success && text.contains("4 of 4 runs recorded"), "{text}");
        }
    }
}

/// A read of the terminal would stop a job in the background.
#[test]
fn in_the_background_the_keys_are_for_others() {
    let place = Place::new(SWEEP);
    let line = "set -m; sweep run sweep.toml --on fake --devices cpu & read word; echo \"the shell has $word\"; wait; echo over";
    let Some(mut session) = Session::of(&place, line) else { return };
    session.wait_for("epoch 2/5");
    session.types("this\n");
    session.wait_for("the shell has this");
    let (success, text) = session.ends();
    assert!(success && text.contains("4 of 4 runs recorded") && text.contains("over"), "{text}");
    assert!(!text.contains("what you typed"), "{text}");
}
