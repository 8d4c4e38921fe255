//! Weights on the Hugging Face hub, which a server in this process plays: pinned when a sweep is planned, known by their content,
//! and named where they cannot be had.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::sync::LazyLock;

use common::Place;
use serde_json::Value;

/// Weights of the `cnn` of [`place`], with a head for four labels.
static WEIGHTS: LazyLock<Vec<u8>> = LazyLock::new(|| cnn(0, ""));

fn cnn(seed: u64, prefix: &str) -> Vec<u8> {
    let (arch, hidden) = ("cnn".to_owned(), vec![16, 32, 64]);
    let (weights, weights_hash, weights_head, freeze, precision) = (None, None, None, None, None);
    let config = plan::ModelConfig { arch, hidden, dropout: 0.0, weights, weights_hash, weights_head, freeze, precision };
    let input = plan::InputShape::Image { channels: 1, height: 16, width: 16 };
    let model = train::model::build(&config, input, 4, None, seed, &candle_core::Device::Cpu).unwrap();
    let tensors = model.state().tensors().into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect();
    train::model::serialize_tensors(&tensors, None, std::path::Path::new("w")).unwrap()
}

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
    fs::write(place.path("w.safetensors"), &*WEIGHTS).unwrap();
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
    fs::write(place.path("w.safetensors"), cnn(1, "")).unwrap();
    assert_ne!(planned(&place, &hub, "w.safetensors"), main);
    // What is recorded is the commit and the content.
    let set = ["--set", "model.weights=hf://owner/repo/a/w.safetensors"];
    let run = sweep(&place, NOWHERE, &[&["run", "sweep.toml", "--on", "fake", "--format", "json"], &set[..]].concat());
    let run: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(run["runs"]["trained"], 1, "{run}");
    let show = sweep(&place, NOWHERE, &["show", &main, "--format", "json"]);
    let show: Value = serde_json::from_slice(&show.stdout).unwrap();
    assert_eq!(show["config"]["model"]["weights"], "hf://owner/repo@c0ffee/a/w.safetensors", "{show}");
    assert_eq!(show["config"]["model"]["weights_hash"], blake3::hash(&WEIGHTS).to_hex().as_str());
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
        for part in [weights, "cannot fetch it from the Hugging Face hub", words, "give its path as `weights`", "/resolve/"] {
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
    fs::write(place.path("w.safetensors"), cnn(1, "")).unwrap();
    let resumed = place.run(&["resume", "--failed"]);
    let text = String::from_utf8_lossy(&resumed.stderr).into_owned();
    assert!(text.contains("it has changed since the sweep was planned"), "{text}");
    assert_eq!(resumed.status.code(), Some(4), "{text}");
    fs::remove_file(place.path("w.safetensors")).unwrap();
    let resumed = place.run(&["resume", "--failed"]);
    assert_eq!(resumed.status.code(), Some(4), "{}", String::from_utf8_lossy(&resumed.stderr));
}

/// A sweep of two runs on the same file, which all of these tests are about.
fn sweep_of(weights: &str) -> Place {
    let place = Place::new(&format!(
        "name = \"s\"\n[data]\nkind = \"letters\"\nsamples = 100\nimage_size = 16\n[model]\narch = \"cnn\"\nweights = \"{weights}\"\n\
         [train]\nepochs = 1\n[grid]\nloss = [\"bce\", \"focal\"]\n"
    ));
    fs::write(place.path("w.safetensors"), &*WEIGHTS).unwrap();
    place
}

/// Its exit code and what it said.
fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_file_that_cannot_be_used_is_one_message_and_no_run() {
    let zip = [b"PK\x03\x04", &[0; 26][..], b"archive/data.pkl", &[0; 99]].concat();
    for (name, bytes, words) in [
        ("w.pth", Some(zip), "torch.load(\"w.pth\""),
        ("w.safetensors", Some(WEIGHTS[..WEIGHTS.len() / 2].to_vec()), "cut short"),
        ("w.safetensors", Some(b"<!doctype html>".to_vec()), "HTML page"),
        ("gone.safetensors", None, "its folder has w.safetensors"),
    ] {
        let place = sweep_of(name);
        bytes.into_iter().for_each(|bytes| fs::write(place.path(name), bytes).unwrap());
        for command in ["plan", "run"] {
            let (code, text) = said(&place.run(&[command, "sweep.toml"]));
            assert_eq!(code, Some(4), "{command} {name}: {text}");
            assert_eq!((text.matches("model.weights").count(), text.contains(words)), (1, true), "{command} {name}: {text}");
        }
        assert!(!place.path("sweep.cache").exists(), "nothing was drawn");
        assert!(!said(&place.run(&["status"])).1.contains("failed"), "nothing was recorded");
        let (code, text) = said(&place.run(&["data", "sweep.toml"]));
        assert!(code == Some(0) && text.contains("`run` will refuse this") && text.contains(words), "{text}");
        // A fault of the surroundings is over when they are mended.
        fs::write(place.path(name), &*WEIGHTS).unwrap();
        let (code, text) = said(&place.run(&["run", "sweep.toml", "--on", "fake"]));
        assert!(code == Some(0) && text.contains("2 of 2 runs recorded"), "{text}");
    }
}

#[test]
fn a_file_that_vanishes_while_its_runs_wait_costs_no_attempt() {
    let place = sweep_of("w.safetensors");
    assert!(!place.command(&["run", "sweep.toml"]).env("SWEEP_WORKER", "/bin/false").output().unwrap().status.success());
    fs::rename(place.path("w.safetensors"), place.path("elsewhere")).unwrap();
    for command in [vec!["resume", "--failed"], vec!["run", "sweep.toml"]] {
        let (code, text) = said(&place.run(&command));
        assert!(code == Some(4) && text.contains("does not exist"), "{text}");
    }
    fs::rename(place.path("elsewhere"), place.path("w.safetensors")).unwrap();
    let (code, text) = said(&place.run(&["resume", "--failed"]));
    assert!(code == Some(0) && text.contains("2 of 2 runs recorded"), "{text}");
}

#[test]
fn a_prefix_is_said_once_and_the_head_in_the_log() {
    let place = sweep_of("w.safetensors");
    fs::write(place.path("w.safetensors"), cnn(0, "module.")).unwrap();
    let (code, text) = said(&place.run(&["run", "sweep.toml", "-v"]));
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(text.matches("the prefix `module.`").count(), 1, "{text}");
    assert!(text.contains("info: weights w.safetensors: the head starts new; the file's, for 4 labels, is left out"), "{text}");
    let logs = || {
        let runs = fs::read_dir(place.path("sweep.runs")).unwrap().map(|entry| entry.unwrap().path().join("log.txt"));
        runs.filter_map(|log| fs::read_to_string(log).ok()).collect::<Vec<_>>()
    };
    assert_eq!(logs().len(), 2);
    assert!(logs().iter().all(|log| log.contains("`module.`") && log.contains("the head starts new")), "{:?}", logs());
    // Kept, it is another run.
    let (code, text) = said(&place.run(&["run", "sweep.toml", "-v", "--set", "model.head=keep"]));
    assert!(code == Some(0) && text.contains("the head is the file's, for 4 labels"), "{text}");
    assert!(text.contains("2 runs, 0 recorded"), "{text}");
    assert_eq!(logs().iter().filter(|log| log.contains("the head is the file's")).count(), 2);
    let (code, text) =
        said(&place.run(&["run", "sweep.toml", "--set", "model.head=keep", "--set", "data.label_rates={A = 0.3, B = 0.5}"]));
    assert!(code == Some(4) && text.contains("it is for 4 labels, and the data has 2 labels"), "{text}");
}

#[test]
fn the_home_folder_and_every_cache_are_found_and_offline_tries_no_network() {
    let place = sweep_of("~/w.safetensors");
    let home = place.path("");
    let plan = |weights: &str, set: &[(&str, &str)]| {
        let mut command = place.command(&["plan", "sweep.toml", "--set", &format!("model.weights={weights}")]);
        for name in
            ["HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]
        {
            command.env_remove(name);
        }
        command.env("HOME", &home).env("HF_ENDPOINT", NOWHERE).envs(set.iter().copied());
        said(&command.output().unwrap())
    };
    assert_eq!(plan("~/w.safetensors", &[]).0, Some(0));
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let repository = place.path("cache/hub/models--owner--repo");
    fs::create_dir_all(repository.join("snapshots").join(commit)).unwrap();
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::write(repository.join("refs/main"), commit).unwrap();
    fs::write(repository.join("snapshots").join(commit).join("w.safetensors"), &*WEIGHTS).unwrap();
    let (root, hub) = (place.path("cache").display().to_string(), place.path("cache/hub").display().to_string());
    let address = "hf://owner/repo/w.safetensors";
    for set in [("HF_HUB_CACHE", &hub), ("HUGGINGFACE_HUB_CACHE", &hub), ("HF_HOME", &root)] {
        let (code, text) = plan(address, &[(set.0, set.1), ("HF_HUB_OFFLINE", "1")]);
        assert_eq!(code, Some(0), "{set:?}: {text}");
    }
    for name in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
        let (code, text) = plan(address, &[(name, "1")]);
        assert!(code == Some(4) && text.contains(&format!("{name} is set")) && !text.contains("refused"), "{text}");
        assert!(text.contains("https://huggingface.co/owner/repo/resolve/main/w.safetensors"), "{text}");
    }
    for (weights, right) in [
        ("hf://owner/repo", "hf://owner/repo/model.safetensors"),
        ("https://huggingface.co/owner/repo/resolve/main/w.safetensors", address),
        ("https://download.pytorch.org/models/x.pth", "download it"),
        ("owner/repo.tv_in1k", "hf://owner/repo.tv_in1k/model.safetensors"),
    ] {
        let (code, text) = plan(weights, &[]);
        assert!(code == Some(2) && text.contains(right), "{weights}: {text}");
    }
}
