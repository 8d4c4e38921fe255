//! Weights on the Hugging Face hub, which a server in this process plays: pinned when a sweep is planned, known by their content,
//! and named where they cannot be had.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;

use common::Place;
use serde_json::Value;

const WEIGHTS: &[u8] = b"what is in the file decides, whatever it is called";

/// Answers for the main branch, which is commit `c0ffee` today, and for that commit.
fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let path = lines.next().unwrap_or_else(|| Ok(String::new()))?.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut range = String::new();
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(asked) = line.strip_prefix("range: bytes=") {
            asked.clone_into(&mut range);
        }
    }
    let known = ["/owner/repo/resolve/main/a/w.safetensors", "/owner/repo/resolve/c0ffee/a/w.safetensors"];
    if !known.contains(&path.as_str()) {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let (start, end) = range.split_once('-').unwrap_or(("0", ""));
    let (start, last) = (start.parse().unwrap_or(0), end.parse().unwrap_or(WEIGHTS.len() - 1));
    let (part, all) = (&WEIGHTS[start..=last], WEIGHTS.len());
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{last}/{all}\r\n",
        part.len()
    )?;
    stream.write_all(b"ETag: \"abc\"\r\nX-Repo-Commit: c0ffee\r\nConnection: close\r\n\r\n")?;
    stream.write_all(part)
}

fn hub() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().for_each(|stream| drop(answer(stream.unwrap()))));
    address
}

const NOWHERE: &str = "http://127.0.0.1:1";

fn sweep(place: &Place, endpoint: &str, arguments: &[&str]) -> Output {
    let mut command = place.command(arguments);
    for proxy in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(proxy);
    }
    command.env("HF_ENDPOINT", endpoint).env("HF_HOME", place.path("home")).output().unwrap()
}

/// The fingerprint of the one run that is planned.
fn planned(place: &Place, endpoint: &str, weights: &str) -> String {
    let change = format!("model.weights={weights}");
    let output = sweep(place, endpoint, &["plan", "sweep.toml", "--format", "json", "--set", &change]);
    assert!(output.status.success(), "{weights}: {}", String::from_utf8_lossy(&output.stderr));
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    plan["runs"][0]["run"].as_str().unwrap().to_owned()
}

fn place() -> Place {
    let place = Place::new("name = \"s\"\n[data]\nkind = \"letters\"\nsamples = 100\nimage_size = 16\n[model]\narch = \"cnn\"\n");
    fs::write(place.path("w.safetensors"), WEIGHTS).unwrap();
    place
}

#[test]
fn weights_of_the_hub_are_pinned_and_known_by_their_content() {
    let (place, hub) = (place(), hub());
    let main = planned(&place, &hub, "hf://owner/repo/a/w.safetensors");
    assert_eq!(planned(&place, &hub, "hf://owner/repo@c0ffee/a/w.safetensors"), main);
    assert_eq!(planned(&place, &hub, "w.safetensors"), main, "the same file on this machine");
    // From now on no network is needed, also for the commit that came as the main branch.
    for weights in ["hf://owner/repo/a/w.safetensors", "hf://owner/repo@c0ffee/a/w.safetensors"] {
        assert_eq!(planned(&place, NOWHERE, weights), main);
    }
    fs::write(place.path("w.safetensors"), "another file").unwrap();
    assert_ne!(planned(&place, &hub, "w.safetensors"), main);
    // What is recorded is the commit and the content.
    let set = ["--set", "model.weights=hf://owner/repo/a/w.safetensors"];
    let run = sweep(&place, NOWHERE, &[&["run", "sweep.toml", "--on", "fake", "--format", "json"], &set[..]].concat());
    let run: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(run["runs"]["trained"], 1, "{run}");
    let show = sweep(&place, NOWHERE, &["show", &main, "--format", "json"]);
    let show: Value = serde_json::from_slice(&show.stdout).unwrap();
    assert_eq!(show["config"]["model"]["weights"], "hf://owner/repo@c0ffee/a/w.safetensors", "{show}");
    assert_eq!(show["config"]["model"]["weights_hash"], blake3::hash(WEIGHTS).to_hex().as_str());
}

#[test]
fn weights_that_cannot_be_fetched_end_a_run_before_anything_trains() {
    let (place, hub) = (place(), hub());
    for (endpoint, weights, words) in [
        (NOWHERE, "hf://owner/repo/a/w.safetensors", "Connection refused"),
        (&hub, "hf://owner/repo@other/a/w.safetensors", "404"),
        (&hub, "hf://owner/nothing/a/w.safetensors", "404"),
    ] {
        let output = sweep(&place, endpoint, &["run", "sweep.toml", "--set", &format!("model.weights={weights}")]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{text}");
        for part in [weights, "cannot fetch it from the Hugging Face hub", words, "give its path as `weights`"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    for weights in ["hf://a/b/../../../x", "hf://../../x", "hf://a/b@../x"] {
        let output = sweep(&place, NOWHERE, &["run", "sweep.toml", "--set", &format!("model.weights={weights}")]);
        assert_eq!(output.status.code(), Some(2), "{weights}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The weights change between the plan and the training: the run's name would lie.
#[test]
fn weights_that_change_after_the_plan_are_refused() {
    let place = place();
    let set = ["--set", "model.weights=w.safetensors"];
    let begun = place.command(&[&["run", "sweep.toml", "--quiet"], &set[..]].concat()).env("SWEEP_WORKER", "/bin/false").output();
    assert!(!begun.unwrap().status.success());
    fs::write(place.path("w.safetensors"), "another file").unwrap();
    let resumed = place.run(&["resume", "--failed"]);
    let text = String::from_utf8_lossy(&resumed.stderr).into_owned();
    assert!(text.contains("it has changed since the sweep was planned"), "{text}");
    assert_eq!(resumed.status.code(), Some(4), "{text}");
    fs::remove_file(place.path("w.safetensors")).unwrap();
    let resumed = place.run(&["resume", "--failed"]);
    assert_eq!(resumed.status.code(), Some(4), "{}", String::from_utf8_lossy(&resumed.stderr));
}
