//! A sweep on a cluster under faults: the same rows as on this machine, each run with exactly one winner, nothing left behind.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use imbalance::rng::Rng;
use rustix::process::Signal;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::common::Place;
use crate::{kill, signal, times};

/// Runs of a linear network, six of each of `SEEDS` seeds, in slices of a few.
const FILE: &str = r#"
name = "small"
[data]
kind = "letters"
samples = 300
image_size = 16
label_rates = { A = 0.2, B = 0.5, C = 0.3 }
[model]
arch = "mlp"
hidden = [8]
[train]
epochs = EPOCHS
batch_size = 32
reference = false
[grid]
loss = ["bce", { kind = "focal", gamma = 2.0 }, { kind = "asl", gamma_neg = 4.0 }]
pos_weight = ["none", "sqrt"]
threshold = [0.5, "max_f1"]
seed = SEEDS
[workers]
attempts = 50
[workers.slurm]
runs_per_task = RUNS
"#;

/// A cluster and a folder with a sweep file.
struct Cluster {
    place: Place,
    /// Folder of the stand-in's commands and state; `None`: Slurm itself.
    stand_in: Option<PathBuf>,
}

impl Cluster {
    fn new(seeds: u64, runs_per_task: u64, epochs: u64) -> Self {
        let seeds: Vec<u64> = (0..seeds).collect();
        let file = FILE.replace("SEEDS", &format!("{seeds:?}")).replace("RUNS", &runs_per_task.to_string());
        let file = file.replace("EPOCHS", &epochs.to_string());
        let place = Place::new(&file);
        let stand_in = std::env::var_os("SWEEP_SLURM").is_none().then(|| {
            let folder = place.path("stand-in");
            fs::create_dir(&folder).unwrap();
            let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/chaos/slurm");
            for name in ["sbatch", "squeue", "scontrol", "scancel", "sacct"] {
                symlink(&script, folder.join(name)).unwrap();
            }
            folder
        });
        Self { place, stand_in }
    }

    /// `program` where Slurm's commands are found, with the clocks of a test.
    fn equip(&self, command: &mut Command) {
        command.env("SWEEP_CLUSTER_PACE", "0.2,0.3,2").env_remove("SLURM_ARRAY_TASK_ID");
        if let Some(folder) = &self.stand_in {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", folder.display())).env("STAND_IN", folder);
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(arguments);
        self.equip(&mut command);
        command
    }

    fn slurm(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = match &self.stand_in {
            Some(folder) => Command::new(folder.join(program)),
            None => Command::new(program),
        };
        self.equip(&mut command);
        String::from_utf8_lossy(&command.args(arguments).output().unwrap().stdout).into_owned()
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// As if on another machine: one with another name.
    fn start_elsewhere(&self, arguments: &[&str]) -> Child {
        let may = Command::new("unshare").args(["-u", "true"]).status().is_ok_and(|status| status.success());
        if !may {
            return self.start(arguments);
        }
        let mut command = Command::new("unshare");
        command.args(["-u", "sh", "-c", "hostname elsewhere && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_sweep")]).args(arguments);
        command.current_dir(self.place.folder.path()).env_remove("SWEEP_DB").stdin(Stdio::null());
        self.equip(&mut command);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {words}");
        words
    }

    /// Watches until the sweep is over, whatever was killed before.
    fn finish(&self) {
        let resumed = self.command(&["resume", "--quiet", "--on", "slurm"]).output().unwrap();
        if !resumed.status.success() {
            let words = String::from_utf8_lossy(&resumed.stderr).into_owned();
            assert!(
                words.contains("no such database") || words.contains("has no sweep") || words.contains("is empty"),
                "{words}"
            );
            self.succeed(&["run", "sweep.toml", "--quiet", "--on", "slurm"]);
        }
    }

    fn recorded(&self) -> i64 {
        let status = self.place.run(&["status", "--format", "json"]);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
        status["runs"]["succeeded"].as_i64().or(status["succeeded"].as_i64()).unwrap_or(0)
    }

    /// Its processes with this word in their command line.
    fn processes(&self, word: &str) -> Vec<u32> {
        self.place.processes().into_iter().filter(|(_, line)| line.contains(word)).map(|(pid, _)| pid).collect()
    }

    /// Nothing of the sweep is left: no process, no journal, no checkpoint, no task in the queue.
    fn is_clean(&self) {
        let start = Instant::now();
        while !self.processes(" worker ").is_empty() || !self.processes(" slice ").is_empty() {
            assert!(start.elapsed() < Duration::from_secs(90), "left behind: {:?}", self.place.processes());
            std::thread::sleep(Duration::from_millis(50));
        }
        for folder in ["ck", "sub", "own", "cmd"] {
            let there = fs::read_dir(self.place.path("sweep.runs/cluster").join(folder)).unwrap().flatten();
            // What a killed process was writing or removing goes when it is an hour old: it may belong to a living one.
            let left: Vec<_> = there.map(|e| e.path()).filter(|path| !path.display().to_string().contains("/.")).collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

/// The rows of the same sweep on this machine.
fn undisturbed(cluster: &Cluster) -> Vec<String> {
    let place = Place::new(&fs::read_to_string(cluster.place.path("sweep.toml")).unwrap());
    place.succeed(&["run", "sweep.toml", "--quiet"]);
    place.rows()
}

fn is_equal(cluster: &Cluster, wanted: &[String]) {
    let rows = cluster.place.rows();
    assert!(rows == wanted, "{} rows instead of {}, or other ones", rows.len(), wanted.len());
}

#[test]
fn a_sweep_on_a_cluster_is_that_of_this_machine() {
    let cluster = Cluster::new(2, 5, 4);
    let wanted = undisturbed(&cluster);
    let words = cluster.succeed(&["run", "sweep.toml", "--on", "slurm", "--format", "json"]);
    assert!(words.contains("submitted ") && words.contains("12 of 12 runs recorded"), "{words}");
    is_equal(&cluster, &wanted);
    cluster.is_clean();
    // Kept scores are where those of this machine are: a new policy trains nothing.
    let words = cluster.succeed(&["run", "sweep.toml", "--set", "grid.threshold=[0.5, 'prior_match']"]);
    assert!(words.contains("nothing to train"), "{words}");
    let words = cluster.succeed(&["run", "sweep.toml", "--on", "slurm"]);
    assert!(words.contains("nothing to train") && !words.contains("submitted"), "{words}");
}

#[test]
fn a_detached_sweep_needs_nobody_and_is_taken_in_by_syncs() {
    let cluster = Cluster::new(1, 2, 4);
    let wanted = undisturbed(&cluster);
    let words = cluster.succeed(&["run", "sweep.toml", "--on", "slurm", "--detach"]);
    assert!(words.contains("left to the cluster"), "{words}");
    // Nobody else trains what the tasks train.
    let refused = cluster.command(&["run", "sweep.toml", "--on", "local"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", String::from_utf8_lossy(&refused.stderr));
    let start = Instant::now();
    while cluster.recorded() < 6 {
        assert!(start.elapsed() < Duration::from_secs(120), "{} recorded", cluster.recorded());
        cluster.succeed(&["sync", "--quiet"]);
        std::thread::sleep(Duration::from_millis(300));
    }
    cluster.finish();
    is_equal(&cluster, &wanted);
    cluster.is_clean();
    let nothing = cluster.command(&["cancel"]).output().unwrap();
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("has no tasks on a cluster"));
}

#[test]
fn a_cancelled_sweep_keeps_what_is_done_and_goes_on_here() {
    let cluster = Cluster::new(4, 8, 60);
    let wanted = undisturbed(&cluster);
    cluster.succeed(&["run", "sweep.toml", "--on", "slurm", "--detach", "--quiet"]);
    std::thread::sleep(Duration::from_millis(700));
    cluster.succeed(&["cancel"]);
    assert!(cluster.processes(" worker ").is_empty() && cluster.processes(" slice ").is_empty());
    let recorded = cluster.recorded();
    println!("{recorded} of 24 recorded when cancelled");
    cluster.succeed(&["resume", "--on", "local", "--quiet"]);
    is_equal(&cluster, &wanted);
    cluster.is_clean();
}

/// The three points at which a controller can die while it submits, by a command of Slurm that kills it.
#[test]
fn a_controller_that_dies_while_it_submits_submits_once() {
    for (point, script) in [
        ("before", "[ \"$(basename $0)\" = sbatch ] && kill -9 $PPID && exit 1"),
        ("after", "[ \"$(basename $0)\" = sbatch ] && REAL \"$@\" >/dev/null && kill -9 $PPID && exit 1"),
        ("recorded", "[ \"$(basename $0) $1\" = 'scontrol release' ] && kill -9 $PPID && exit 1"),
    ] {
        let cluster = Cluster::new(1, 2, 4);
        let wanted = undisturbed(&cluster);
        let traps = cluster.place.path("traps");
        fs::create_dir(&traps).unwrap();
        let found = |name: &str| match &cluster.stand_in {
            Some(folder) => folder.join(name).display().to_string(),
            None => String::from_utf8_lossy(&Command::new("which").arg(name).output().unwrap().stdout).trim().to_owned(),
        };
        for name in ["sbatch", "scontrol"] {
            use std::os::unix::fs::PermissionsExt;
            let real = found(name);
            let text = format!("#!/bin/bash\n{}\nexec {real} \"$@\"\n", script.replace("REAL", &real));
            fs::write(traps.join(name), text).unwrap();
            fs::set_permissions(traps.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = cluster.command(&["run", "sweep.toml", "--on", "slurm", "--quiet"]);
        let path = command.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value.map(|v| v.to_owned()));
        let path = path.unwrap_or_else(|| std::env::var_os("PATH").unwrap());
        command.env("PATH", format!("{}:{}", traps.display(), path.to_string_lossy()));
        assert!(!command.output().unwrap().status.success(), "{point}: it was not killed");
        cluster.finish();
        is_equal(&cluster, &wanted);
        cluster.is_clean();
    }
}

/// slurmctld is killed after it has released a job, and knows nothing of it when it is back.
#[test]
fn a_release_that_slurm_has_forgotten_is_repeated() {
    let cluster = Cluster::new(1, 3, 4);
    let Some(folder) = &cluster.stand_in else {
        println!("skipped: Slurm forgets when it likes (SWEEP_SLURM is set)");
        return;
    };
    let wanted = undisturbed(&cluster);
    fs::write(folder.join("forgetful"), "").unwrap();
    let words = cluster.succeed(&["run", "sweep.toml", "--on", "slurm"]);
    assert!(words.contains("2 tasks were held again after their release; released once more"), "{words}");
    is_equal(&cluster, &wanted);
    cluster.is_clean();
    // Somebody who holds tasks later means it: one pass says how they go on, and a resumed watch lets them.
    let cluster = Cluster::new(1, 3, 4);
    let folder = cluster.stand_in.as_ref().unwrap();
    fs::write(folder.join("forgetful"), "").unwrap();
    cluster.succeed(&["run", "sweep.toml", "--on", "slurm", "--detach", "--quiet"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(cluster.place.path("sweep.db"));
        let mut database = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::raw_sql("UPDATE submissions SET released_at = released_at - 3600").execute(&mut database).await.unwrap();
        database.close().await.unwrap();
    });
    let words = cluster.succeed(&["sync"]);
    assert!(words.contains("2 tasks are held, and wait for `scontrol release 1`"), "{words}");
    cluster.succeed(&["resume", "--on", "slurm"]);
    is_equal(&cluster, &wanted);
    cluster.is_clean();
}

/// Two live copies of a task: the older ends itself, and each run has one winner.
#[test]
fn two_copies_of_a_task_do_no_harm() {
    let cluster = Cluster::new(4, 12, 40);
    let wanted = undisturbed(&cluster);
    cluster.succeed(&["run", "sweep.toml", "--on", "slurm", "--detach", "--quiet"]);
    let mut copies = Vec::new();
    let start = Instant::now();
    while copies.len() < 4 && start.elapsed() < Duration::from_secs(20) {
        copies.extend(copy_of_a_task(&cluster, copies.len() as u32));
        std::thread::sleep(Duration::from_millis(150));
    }
    assert!(!copies.is_empty());
    cluster.finish();
    for mut copy in copies {
        copy.wait().unwrap();
    }
    is_equal(&cluster, &wanted);
    cluster.is_clean();
}

/// Starts another copy of a task that runs.
fn copy_of_a_task(cluster: &Cluster, restart: u32) -> Option<Child> {
    let (_, line) = cluster.place.processes().into_iter().find(|(_, line)| line.contains(" slice "))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let after = |flag: &str| words.iter().position(|word| *word == flag).and_then(|at| words.get(at + 1)).copied();
    let (root, submission) = (after("--root")?, after("--submission")?);
    let index = (restart % 2).to_string();
    let mut command = Command::new(words.first()?);
    cluster.equip(&mut command);
    command.args(["slice", "--root", root, "--submission", submission, "--index", &index, "--restart", &restart.to_string()]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
}

/// A submission that no task can begin: Slurm's words, the usual cause, and nothing is tried over and over.
#[test]
fn tasks_that_cannot_begin_end_the_sweep_with_their_words() {
    let cluster = Cluster::new(1, 6, 4);
    let setup = "workers.slurm.setup=['echo there is no module >&2; exit 7']";
    let output = cluster.command(&["run", "sweep.toml", "--on", "slurm", "--set", setup]).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("there is no module") && words.contains("ended before its worker began"), "{words}");
    let nowhere = cluster.place.command(&["run", "sweep.toml", "--on", "slurm"]).env("PATH", "/nonexistent").output().unwrap();
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("on a login node"), "{}", String::from_utf8_lossy(&nowhere.stderr));
    assert_eq!(cluster.command(&["run", "sweep.toml", "--detach", "--on", "local"]).output().unwrap().status.code(), Some(2));
    cluster.finish();
}

/// Another job takes the place of every task; they go on from their checkpoints, on whatever node has room.
#[test]
fn preempted_tasks_go_on_elsewhere() {
    if std::env::var_os("SWEEP_SLURM").is_none() {
        println!("skipped: preemption is Slurm's own (SWEEP_SLURM is not set)");
        return;
    }
    let cluster = Cluster::new(4, 6, 400);
    let wanted = undisturbed(&cluster);
    cluster.succeed(&["run", "sweep.toml", "--on", "slurm", "--detach", "--quiet"]);
    std::thread::sleep(Duration::from_secs(3));
    let before = cluster.processes(" slice ").len();
    for _ in 0..4 {
        cluster.slurm("sbatch", &["-p", "hi", "-c", "2", "-o", "/dev/null", "--wrap", "sleep 5"]);
    }
    let start = Instant::now();
    while cluster.processes(" slice ").len() >= before.max(1) && start.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(100));
    }
    println!(
        "{before} tasks ran, {} after {:.0} s of preemption",
        cluster.processes(" slice ").len(),
        start.elapsed().as_secs_f64()
    );
    cluster.finish();
    is_equal(&cluster, &wanted);
    cluster.is_clean();
}

/// The controller sees the shared folder through a mount that remembers names and sizes for twenty seconds.
#[test]
fn a_controller_behind_a_stale_mount_loses_nothing() {
    if std::env::var_os("SWEEP_STALE_MOUNT").is_none() {
        println!("skipped: needs bindfs and the right to mount (SWEEP_STALE_MOUNT is not set)");
        return;
    }
    let cluster = Cluster::new(4, 6, 60);
    let wanted = undisturbed(&cluster);
    // What the controller shares with the tasks lies behind the mount, under the same name.
    let (mounted, real) = (cluster.place.path("sweep.runs/cluster"), cluster.place.path("real"));
    fs::create_dir_all(&mounted).unwrap();
    fs::create_dir_all(&real).unwrap();
    let options = "attr_timeout=20,entry_timeout=20,negative_timeout=20,kernel_cache";
    let status = Command::new("bindfs").args(["-o", options]).arg(&real).arg(&mounted).status().unwrap();
    assert!(status.success());
    struct Mounted(PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }
    let view = Mounted(mounted.clone());
    // Tasks see the files themselves: the real folder is mounted over the stale one, in a name space of their own.
    let bare = cluster.place.path("bare.sh");
    let mount = format!("mount --bind {} {}", real.display(), mounted.display());
    fs::write(&bare, format!("[ -n \"$BARE\" ] || BARE=1 exec unshare -m sh -c \"{mount} && exec bash $0\"\n")).unwrap();
    let setup = format!("workers.slurm.setup=['. {}']", bare.display());
    let start = Instant::now();
    let mut command = cluster.command(&["run", "sweep.toml", "--on", "slurm", "--set", &setup]);
    let output = command.env("SWEEP_CLUSTER_PACE", "0.2,0.5,45").output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("behind the stale mount: {:.0} s", start.elapsed().as_secs_f64());
    let rows = cluster.place.rows();
    drop(view);
    assert!(rows == wanted, "{words}");
}

/// What is done to a sweep on a cluster; the last three only where there are daemons and partitions of Slurm's own.
const KINDS: [&str; 11] = [
    "controller, kill -9, the next perhaps on another machine",
    "controller, SIGTERM",
    "worker, kill -9",
    "worker, SIGTERM",
    "task, kill -9",
    "task, SIGUSR1 (time is nearly over)",
    "task, second live copy",
    "task, requeued",
    "slurmctld, kill -9",
    "slurmd, kill -9",
    "task, preempted",
];

/// The faults of one kind after the other, and how long it took each time until something was recorded again.
struct Faults {
    rng: Rng,
    turn: usize,
    /// Of each of [`KINDS`] that there is.
    seconds: Vec<Vec<f64>>,
    /// Of each kind.
    enough: usize,
}

impl Faults {
    fn are_enough(&self) -> bool {
        self.seconds.iter().all(|seconds| seconds.len() >= self.enough)
    }

    /// The next kind of which there were not enough; one that finds nothing to be done to has its turn again later.
    fn next(&mut self) -> usize {
        let kinds = self.seconds.len();
        let next = (1..=kinds).map(|step| (self.turn + step) % kinds).find(|&kind| self.seconds[kind].len() < self.enough);
        self.turn = next.unwrap_or(self.turn);
        self.turn
    }

    /// Disturbs a sweep of so many runs for as long as it lasts, or until there were enough; then lets it end. Returns how long it took.
    fn disturb(&mut self, cluster: &Cluster, all: i64, most: Duration) -> Duration {
        let (start, long) = (Instant::now(), times() > 3);
        let mut copies = Vec::new();
        let mut controller: Option<Child> = None;
        loop {
            let recorded = cluster.recorded();
            if recorded >= all || start.elapsed() > most || self.are_enough() {
                break;
            }
            let mut done = false;
            if let Some(child) = &mut controller {
                done = child.try_wait().unwrap().is_some();
            }
            if controller.is_none() || done {
                let verb: &[&str] = if cluster.place.path("sweep.db").exists() && recorded > 0 {
                    &["resume", "--quiet", "--on", "slurm"]
                } else {
                    &["run", "sweep.toml", "--quiet", "--on", "slurm"]
                };
                controller = Some(if self.rng.below(2) == 0 { cluster.start(verb) } else { cluster.start_elsewhere(verb) });
            }
            std::thread::sleep(Duration::from_secs_f64(0.05 + 0.4 * self.rng.uniform()));
            let kind = self.next();
            let one = |rng: &mut Rng, word: &str| {
                let pids = cluster.processes(word);
                (!pids.is_empty()).then(|| pids[rng.below(pids.len() as u64) as usize])
            };
            match kind {
                0 | 1 => {
                    let Some(mut child) = controller.take() else { continue };
                    signal(child.id(), if kind == 0 { Signal::KILL } else { Signal::TERM });
                    child.wait().unwrap();
                }
                2..=5 => {
                    let (word, what) = [
                        (" worker ", Signal::KILL),
                        (" worker ", Signal::TERM),
                        (" slice ", Signal::KILL),
                        (" slice ", Signal::USR1),
                    ][kind - 2];
                    let Some(pid) = one(&mut self.rng, word) else { continue };
                    signal(pid, what);
                }
                6 => match copy_of_a_task(cluster, self.rng.below(4) as u32) {
                    Some(copy) => copies.push(copy),
                    None => continue,
                },
                7 => {
                    let Some(task) = running_task(cluster) else { continue };
                    cluster.slurm("scontrol", &["requeue", &task]);
                }
                8 => daemon("slurmctld"),
                9 => daemon(&format!("n{}", 1 + self.rng.below(4))),
                _ => drop(cluster.slurm("sbatch", &["-p", "hi", "-c", "2", "-o", "/dev/null", "--wrap", "sleep 2"])),
            }
            // How long until something is recorded again, by a controller that is started again where it was ended.
            let fault = Instant::now();
            while long && fault.elapsed() < Duration::from_secs(60) && cluster.recorded() <= recorded {
                if controller.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some()) {
                    controller = Some(cluster.start_elsewhere(&["run", "sweep.toml", "--quiet", "--on", "slurm"]));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            self.seconds[kind].push(fault.elapsed().as_secs_f64());
        }
        if let Some(mut child) = controller {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        cluster.finish();
        for mut copy in copies {
            copy.wait().unwrap();
        }
        start.elapsed()
    }
}

/// All kinds of faults in turn on one sweep after the other, until there were enough of each; prints a line per kind.
#[test]
fn faults_at_random_lose_nothing() {
    let long = times() > 3;
    let (seeds, runs_per_task) = if long { (134, 20) } else { (6, 6) };
    let mut rng = Rng::new(std::process::id().into(), "cluster", &[]);
    let kinds = if std::env::var_os("SWEEP_SLURM").is_some() { KINDS.len() } else { KINDS.len() - 3 };
    let turn = rng.below(kinds as u64) as usize;
    let mut faults = Faults { rng, turn, seconds: vec![Vec::new(); kinds], enough: if long { times() as usize } else { 3 } };
    let mut wanted = Vec::new();
    // A slice of it is over after one sweep, before all kinds have come perhaps.
    for round in 0..if long { 8 } else { 1 } {
        let cluster = Cluster::new(seeds, runs_per_task, 60);
        if round == 0 {
            wanted = undisturbed(&cluster);
        }
        let (all, most) = ((seeds * 6) as i64, Duration::from_secs(if long { 2400 } else { 60 }));
        let time = faults.disturb(&cluster, all, most);
        println!("{all} runs in {:.0} s", time.as_secs_f64());
        is_equal(&cluster, &wanted);
        cluster.is_clean();
        if faults.are_enough() {
            break;
        }
    }
    for (kind, times) in KINDS.iter().zip(&mut faults.seconds) {
        times.sort_by(f64::total_cmp);
        let time = |at: Option<&f64>| at.map_or_else(String::new, |time| format!("{time:.1} s"));
        println!("| {kind} | {} | nothing | {}, {} |", times.len(), time(times.get(times.len() / 2)), time(times.last()));
    }
    assert!(!long || faults.are_enough(), "eight sweeps were not enough");
}

/// Kills a daemon of the cluster that tests/chaos/slurm-up has started, and starts it again after a while.
fn daemon(name: &str) {
    let folder = PathBuf::from(std::env::var("SLURM_CONF").expect("`. <(tests/chaos/slurm-up)` sets it"));
    let pid = fs::read_to_string(folder.with_file_name(format!("{name}.pid"))).unwrap_or_default();
    kill(pid.trim().parse().unwrap_or(0));
    std::thread::sleep(Duration::from_secs(2));
    let up = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/chaos/slurm-up");
    assert!(Command::new(up).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
}

fn running_task(cluster: &Cluster) -> Option<String> {
    let (_, line) = cluster.place.processes().into_iter().find(|(_, line)| line.contains(" slice "))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "--submission")?;
    let name = format!("sw-{}", words.get(at + 1)?);
    let listed = cluster.slurm("squeue", &["-h", "-r", "-t", "all", "-n", &name, "-o", "%F|%K|%j|%T|%r|%N"]);
    let running: Vec<&str> = listed.lines().filter(|line| line.contains("|RUNNING|")).collect();
    let mut parts = running.first()?.split('|');
    Some(format!("{}_{}", parts.next()?, parts.next()?))
}
