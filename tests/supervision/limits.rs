//! Files that may not grow: `ulimit -f` and a disk without room. Exit code 1 wherever it happens, with a message that says how to continue.

use std::process::Command;

use crate::common::Place;
use crate::err;

const FILE: &str = r#"
name = "small"
[data]
kind = "letters"
samples = 300
image_size = 16
[model]
arch = "cnn"
hidden = [2]
[train]
epochs = 2
[grid]
seed = [0, 1, 2]
"#;

/// Everything that a sweep writes, from the prepared data to the last journal, meets the limit at one of these.
#[test]
fn a_limit_on_the_size_of_files_ends_a_sweep_with_words_and_exit_code_1() {
    let place = Place::new(FILE);
    let sweep = env!("CARGO_BIN_EXE_sweep");
    for kilobytes in [1, 8, 40, 80, 110, 140] {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("ulimit -f {kilobytes} && exec {sweep} run sweep.toml --quiet --db x{kilobytes}.db")]);
        let output = command.current_dir(place.folder.path()).output().unwrap();
        let words = err(&output);
        if output.status.success() {
            println!("{kilobytes} KiB are enough");
            continue;
        }
        assert_eq!(output.status.code(), Some(1), "{kilobytes} KiB: {:?} {words}", output.status);
        let named = ["File too large", "file size", "disk is full", "I/O error"].iter().any(|name| words.contains(name));
        assert!(named, "{kilobytes} KiB: {words}");
        place.succeed(&["run", "sweep.toml", "--quiet", "--db", &format!("x{kilobytes}.db")]);
    }
}

#[expect(clippy::print_stdout, reason = "a test says what it leaves out")]
/// Runs shell commands with a small disk at `disk`; false where this machine cannot make one.
fn with_a_disk(place: &Place, kilobytes: u32, commands: &str) -> bool {
    std::fs::create_dir_all(place.path("disk")).unwrap();
    let script = format!("mount -t tmpfs -o size={kilobytes}k none disk || exit 99\n{commands}");
    let output = Command::new("unshare").args(["-rm", "sh", "-c", &script]).current_dir(place.folder.path()).output();
    match output {
        Ok(output) if output.status.success() => true,
        other => {
            println!("skipped: no small disk can be made here ({other:?})");
            false
        }
    }
}

#[test]
fn a_full_disk_is_exit_code_1_in_every_phase() {
    let place = Place::new(FILE);
    let sweep = env!("CARGO_BIN_EXE_sweep");
    for kilobytes in [8, 48, 88, 140, 200, 260, 320, 400, 500] {
        let commands = format!(
            "{sweep} run sweep.toml --quiet --db disk/sweep.db >out 2>err; echo $? >code\n\
             mount -o remount,size=50m disk\n\
             {sweep} run sweep.toml --quiet --db disk/sweep.db >out2 2>err2; echo $? >code2\n"
        );
        if !with_a_disk(&place, kilobytes, &commands) {
            return;
        }
        let read = |name: &str| std::fs::read_to_string(place.path(name)).unwrap();
        let words = read("err");
        assert_eq!(read("code2"), "0\n", "{kilobytes} KiB, then room: {}", read("err2"));
        if read("code") == "0\n" {
            println!("{kilobytes} KiB are enough");
            continue;
        }
        assert_eq!(read("code"), "1\n", "{kilobytes} KiB: {words}");
        assert!(words.contains("disk is full") || words.contains("No space left"), "{kilobytes} KiB: {words}");
    }
}

/// An import has nothing that could be resumed.
#[test]
fn an_import_on_a_full_disk_advises_what_can_be_done() {
    let place = Place::new("");
    let rows = 400;
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, 2), }}");
    header.extend(std::iter::repeat_n(' ', 63 - (10 + header.len()) % 64));
    header.push('\n');
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    npy.extend((header.len() as u16).to_le_bytes());
    npy.extend(header.as_bytes());
    (0..rows * 2).for_each(|cell| npy.extend((((cell * 7) % 100) as f32 / 100.0).to_le_bytes()));
    std::fs::write(place.path("x.npy"), npy).unwrap();
    let lines: String = (0..rows).map(|row| format!("{row},{},{}\n", row % 2, row % 3 / 2)).collect();
    std::fs::write(place.path("y.csv"), format!("id,A,B\n{lines}")).unwrap();
    let sweep = env!("CARGO_BIN_EXE_sweep");
    for kilobytes in [8, 100, 180, 240, 320] {
        let import = format!(
            "{sweep} import --scores x.npy --labels y.csv --test-scores x.npy --test-labels y.csv --name theirs --db disk/sweep.db"
        );
        let commands = format!("{import} >out 2>err; echo $? >code\n");
        if !with_a_disk(&place, kilobytes, &commands) {
            return;
        }
        let read = |name: &str| std::fs::read_to_string(place.path(name)).unwrap();
        if read("code") == "0\n" {
            println!("{kilobytes} KiB are enough");
            continue;
        }
        assert_eq!(read("code"), "1\n", "{kilobytes} KiB: {}", read("err"));
        assert!(!read("err").contains("sweep resume"), "{kilobytes} KiB: {}", read("err"));
    }
}
