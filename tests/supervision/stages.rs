//! Long work without steps: the worker sends heartbeats that name the work as long as it makes progress. The deadline for silence is
//! seconds here instead of minutes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use candle_core::{Device, Tensor};

use crate::common::Place;
use crate::{err, wait_for};

/// One run whose weights come from a hub.
const FETCHES: &str = r#"
name = "fetches"
[data]
kind = "letters"
samples = 200
image_size = 16
label_rates = { A = 0.3, B = 0.5 }
[model]
arch = "linear"
weights = "hf://owner/repository/file.safetensors"
head = "keep"
[train]
epochs = 1
[workers]
attempts = 1
"#;

/// Weights for [`FETCHES`].
fn weights() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
    let tensors: BTreeMap<_, _> =
        [("classifier.weight".to_owned(), zeros(&[2, 256])), ("classifier.bias".to_owned(), zeros(&[2]))].into();
    train::model::save_tensors(&tensors, None, &folder.path().join("w")).unwrap();
    std::fs::read(folder.path().join("w")).unwrap()
}

/// Answers with `weights`, the whole file in pieces with a pause before each; for ever where `pieces` do not end.
fn answer(mut stream: TcpStream, weights: &[u8], pieces: usize, pause: Duration) -> std::io::Result<()> {
    let mut range = None;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        range = line.strip_prefix("range: bytes=").map(str::to_owned).or(range);
    }
    let range = range.unwrap_or_default();
    let (start, end) = range.split_once('-').unwrap_or(("0", ""));
    let (start, last) = (start.parse().unwrap_or(0), end.parse().unwrap_or(weights.len() - 1));
    let (part, all) = (&weights[start..=last], weights.len());
    let length = part.len();
    write!(stream, "HTTP/1.1 206 Partial Content\r\nContent-Length: {length}\r\nContent-Range: bytes {start}-{last}/{all}\r\n")?;
    stream.write_all(b"ETag: \"abc\"\r\nX-Repo-Commit: 123\r\nConnection: close\r\n\r\n")?;
    if length < 100 {
        return stream.write_all(part);
    }
    for piece in part.chunks(length.div_ceil(pieces)) {
        std::thread::sleep(pause);
        stream.write_all(piece)?;
        stream.flush()?;
    }
    Ok(())
}

/// A slow hub.
fn hub(pieces: usize, pause: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let weights = weights();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let weights = weights.clone();
            std::thread::spawn(move || answer(stream, &weights, pieces, pause));
        }
    });
    address
}

/// `sweep run` with this hub; silence of `seconds` is a hang.
fn run(place: &Place, hub: &str, seconds: &str) -> Command {
    let mut command = place.command(&["run", "sweep.toml"]);
    command.env("HF_ENDPOINT", hub).env("HF_HOME", place.path("hub")).env("SWEEP_HUNG_SECONDS", seconds);
    for proxy in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(proxy);
    }
    command
}

#[test]
fn a_slow_download_is_no_hang() {
    let place = Place::new(FETCHES);
    let output = run(&place, &hub(24, Duration::from_millis(500)), "5").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
}

/// The sweep's own download, before anything trains, ends at an interrupt.
#[test]
fn a_download_that_stalls_can_be_interrupted() {
    let place = Place::new(FETCHES);
    let mut child = run(&place, &hub(2, Duration::from_secs(3600)), "3").stderr(std::process::Stdio::null()).spawn().unwrap();
    wait_for("the download", || place.path("hub/hub/models--owner--repository/blobs").exists());
    crate::signal(child.id(), rustix::process::Signal::INT);
    assert_eq!(crate::ended(&mut child), Some(130));
}

/// Thousands of rows with a minority label and hundreds of features: long enough to be seen, and not waited for.
#[test]
fn mixing_rows_says_how_far_it_is() {
    let place = Place::new(
        "name = \"mixes\"\n[data]\nkind = \"features\"\nfeatures = \"x.npy\"\nlabels = \"y.csv\"\n[model]\narch = \"linear\"\n\
         [train]\nepochs = 1\nreference = false\n[grid]\nsampler = \"mlsmote\"\n",
    );
    let (rows, width) = (9000, 768);
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
    header.extend(std::iter::repeat_n(' ', 63 - (10 + header.len()) % 64));
    header.push('\n');
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    npy.extend((header.len() as u16).to_le_bytes());
    npy.extend(header.as_bytes());
    (0..rows * width).for_each(|cell: u32| npy.extend((cell.wrapping_mul(2_654_435_761) as f32).to_le_bytes()));
    std::fs::write(place.path("x.npy"), npy).unwrap();
    let lines: String = (0..rows).map(|row| format!("{row},{},{}\n", u8::from(row % 50 != 3), u8::from(row % 10 != 0))).collect();
    std::fs::write(place.path("y.csv"), format!("id,A,B\n{lines}")).unwrap();
    let mut child = run(&place, "http://127.0.0.1:1", "600").arg("--quiet").spawn().unwrap();
    let mut seen = String::new();
    wait_for("a sign of life in `sweep status`", || {
        let status = place.status();
        seen = status["running"][0]["doing"].as_str().unwrap_or_default().to_owned();
        assert!(child.try_wait().unwrap().is_none(), "it ended unseen: {status}");
        seen.contains("mlsmote") && seen.contains(" of ")
    });
    println!("{seen}");
    let text = String::from_utf8(place.run(&["status"]).stdout).unwrap();
    assert!(text.contains("mlsmote"), "{text}");
    crate::signal(child.id(), rustix::process::Signal::KILL);
    assert_eq!(crate::ended(&mut child), None);
}
