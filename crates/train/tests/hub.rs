//! `weights = "hf://owner/repository/file"`: the way from a hub's server to a model, and what is said when there is none. The hub is
//! played by a server in this process; each case is this program again with the hub's environment variables set.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use candle_core::{Device, Tensor};
use plan::InputShape;
use plan::ModelConfig;
use train::model;

const ADDRESS: &str = "hf://owner/repository/folder/file.safetensors";

/// Not a test of its own: loads [`ADDRESS`] into a small model and prints its weights or the error.
#[test]
#[ignore = "the other tests run it"]
fn load() {
    let weights = Some(ADDRESS.to_owned());
    let config = ModelConfig {
        arch: "linear".into(),
        hidden: vec![],
        dropout: 0.0,
        weights,
        freeze: None,
        precision: None,
        weights_hash: None,
        weights_head: None,
    };
    match model::build(&config, InputShape::Features { width: 3 }, 2, None, 0, &Device::Cpu) {
        Ok(model) => println!("loaded {:?}", model.state().parameters["classifier.weight"].to_vec2::<f32>().unwrap()),
        Err(error) => println!("failed {error}"),
    }
}

fn child(endpoint: &str, home: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "load", "--ignored", "--nocapture"]).env("HF_ENDPOINT", endpoint).env("HF_HOME", home);
    command.env_remove("HTTP_PROXY").env_remove("http_proxy").env_remove("ALL_PROXY").env_remove("all_proxy");
    command
}

/// The line that [`load`] printed.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let line =
        text.lines().find_map(|line| line.find("loaded ").or_else(|| line.find("failed ")).map(|at| line[at..].to_owned()));
    line.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

static WEIGHTS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let tensors: BTreeMap<_, _> = [
        ("classifier.weight".to_owned(), Tensor::new(&[[1f32, 2.0, 3.0], [4.0, 5.0, 6.0]], &Device::Cpu).unwrap()),
        ("classifier.bias".to_owned(), Tensor::new(&[0f32, 1.0], &Device::Cpu).unwrap()),
    ]
    .into();
    model::save_tensors(&tensors, None, &folder.path().join("w")).unwrap();
    std::fs::read(folder.path().join("w")).unwrap()
});

fn answer(mut stream: TcpStream, found: bool) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let path = lines.next().unwrap_or_else(|| Ok(String::new()))?.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut range = None;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        range = line.strip_prefix("range: bytes=").map(str::to_owned).or(range);
    }
    if !found || path != "/owner/repository/resolve/main/folder/file.safetensors" {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let range = range.unwrap_or_default();
    let (start, end) = range.split_once('-').unwrap_or(("0", ""));
    let (start, last) = (start.parse().unwrap_or(0), end.parse().unwrap_or(WEIGHTS.len() - 1));
    let part = &WEIGHTS[start..=last];
    let (length, all) = (part.len(), WEIGHTS.len());
    write!(stream, "HTTP/1.1 206 Partial Content\r\nContent-Length: {length}\r\nContent-Range: bytes {start}-{last}/{all}\r\n")?;
    stream.write_all(b"ETag: \"abc\"\r\nX-Repo-Commit: 123\r\nConnection: close\r\n\r\n")?;
    stream.write_all(part)
}

/// A hub that has the file or not, and how often it was asked.
fn hub(found: bool) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
            answer(stream.unwrap(), found).unwrap();
        }
    });
    (address, asked)
}

const LOADED: &str = "loaded [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]";

#[test]
fn a_file_of_the_hub_is_fetched_once() {
    let home = tempfile::tempdir().unwrap();
    let (address, asked) = hub(true);
    assert_eq!(said(&child(&address, home.path()).output().unwrap()), LOADED);
    let before = asked.load(Ordering::SeqCst);
    assert!(before > 0);
    assert_eq!(said(&child(&address, home.path()).output().unwrap()), LOADED);
    assert_eq!(asked.load(Ordering::SeqCst), before, "the second time it lies in the cache");
    // Then no network is needed.
    assert_eq!(said(&child("http://127.0.0.1:1", home.path()).output().unwrap()), LOADED);
}

/// Each cause is told, with the file and what to do.
#[test]
fn what_cannot_be_fetched_is_named_with_its_cause() {
    let home = tempfile::tempdir().unwrap();
    for (endpoint, cause) in [
        (hub(false).0, "404"),
        ("http://127.0.0.1:1".to_owned(), "Connection refused"),
        ("https://no-such-host.invalid".to_owned(), "lookup"),
    ] {
        let text = said(&child(&endpoint, home.path()).output().unwrap());
        for part in [&format!("failed {ADDRESS}: cannot fetch"), cause, "/owner/repository/resolve/main/folder/file.safetensors"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

#[test]
#[ignore = "takes seven seconds: the hub's client gives up waiting after five"]
fn a_worker_waits_for_another_one_s_download() {
    let home = tempfile::tempdir().unwrap();
    let blobs = home.path().join("hub/models--owner--repository/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let lock = std::fs::File::create(blobs.join("abc.lock")).unwrap();
    lock.lock().unwrap();
    let child = child(&hub(true).0, home.path()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(7));
    drop(lock);
    assert_eq!(said(&child.wait_with_output().unwrap()), LOADED);
}
