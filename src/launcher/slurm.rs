//! Slurm by its command line: `sbatch`, `squeue`, `scontrol`, `scancel`, `sacct`. What is submitted, and when, is up to [`crate::cluster`].
//!
//! An answer that does not come says nothing: a submission may have arrived although `sbatch` was killed, and tasks go on although `squeue`
//! has timed out. Such errors are [`SlurmError::Silent`], and nothing follows from them.

use std::io;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use plan::SlurmConfig;

/// `sbatch` itself tries for two minutes where there are too many jobs.
const SUBMITTING: Duration = Duration::from_secs(180);
const ASKING: Duration = Duration::from_secs(60);

/// Slurm as a sweep uses it.
#[derive(Clone, Debug, Default)]
pub struct Slurm {
    config: SlurmConfig,
}

/// Why Slurm did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SlurmError {
    /// There was no answer: whether it was done is unknown.
    #[error("{0}")]
    Silent(String),
    /// It was refused.
    #[error("{0}")]
    Refused(String),
    /// The command is not there.
    #[error("{0}")]
    Missing(String),
}

/// The limits of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteLimits {
    /// The most tasks of an array.
    pub array: usize,
    /// The most jobs that the site has at a time, tasks of arrays counted one by one.
    pub jobs: usize,
}

/// What is to be submitted.
#[derive(Clone, Debug)]
pub struct Array<'a> {
    /// The job's name.
    pub name: &'a str,
    pub script: &'a Path,
    pub tasks: usize,
    /// The folder for what tasks say before their worker runs; it is there.
    pub output: &'a Path,
}

/// A task as `squeue` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Number of the array's job.
    pub job: String,
    pub name: String,
    pub index: usize,
    /// `PENDING`, `RUNNING`, `COMPLETED`, ...
    pub state: String,
    /// Why it waits, or how it ended.
    pub reason: String,
    pub node: String,
}

impl Task {
    /// Whether it may still run: every state that is not an end.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !matches!(
            self.state.as_str(),
            "COMPLETED"
                | "FAILED"
                | "CANCELLED"
                | "TIMEOUT"
                | "NODE_FAIL"
                | "PREEMPTED"
                | "BOOT_FAIL"
                | "DEADLINE"
                | "OUT_OF_MEMORY"
                | "REVOKED"
        )
    }

    /// Whether it waits for somebody to release it, which nobody will: after a launch that failed, or by an administrator.
    #[must_use]
    pub fn is_stranded(&self) -> bool {
        let held = ["launch_failed_requeued_held", "launch failed requeued held", "JobHoldMaxRequeue"];
        self.state == "SPECIAL_EXIT" || held.contains(&self.reason.as_str())
    }

    /// Whether it waits to be released.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.state == "PENDING" && self.reason == "JobHeldUser"
    }
}

impl Slurm {
    /// Slurm with a site's settings.
    #[must_use]
    pub fn new(config: SlurmConfig) -> Self {
        Self { config }
    }

    /// `Slurm (partition main)`.
    #[must_use]
    pub fn words(&self) -> String {
        self.config.partition.as_ref().map_or_else(|| "Slurm".to_owned(), |name| format!("Slurm (partition {name})"))
    }

    /// The script of every task: the lines of `workers.slurm.setup`, then `command` in place of the shell, so that signals and exit codes
    /// are its own.
    #[must_use]
    pub fn script(&self, command: &str) -> String {
        let setup: String = self.config.setup.iter().map(|line| format!("{line}\n")).collect();
        format!("#!/bin/bash\n{setup}exec {command}\n")
    }

    fn arguments(&self, array: &Array<'_>) -> Vec<String> {
        let SlurmConfig { partition, account, gres, cpus, time, memory, setup: _, extra, tasks, runs_per_task: _ } = &self.config;
        let range = format!("0-{}", array.tasks.saturating_sub(1));
        let range = tasks.map_or(range.clone(), |most| format!("{range}%{most}"));
        let mut arguments = vec![
            "--parsable".to_owned(),
            // Nothing starts before its number is recorded.
            "--hold".to_owned(),
            "--requeue".to_owned(),
            "--open-mode=append".to_owned(),
            // Two minutes before the time is over, to the worker itself.
            "--signal=B:USR1@120".to_owned(),
            format!("--job-name={}", array.name),
            format!("--array={range}"),
            format!("--output={}", array.output.join("%A_%a.out").display()),
            format!("--chdir={}", array.output.display()),
        ];
        let named = [("partition", partition), ("account", account), ("gres", gres), ("time", time), ("mem", memory)];
        arguments.extend(named.iter().filter_map(|(flag, value)| Some(format!("--{flag}={}", value.as_ref()?))));
        arguments.extend(cpus.map(|cpus| format!("--cpus-per-task={cpus}")));
        arguments.extend(extra.iter().cloned());
        arguments.push(array.script.display().to_string());
        arguments
    }

    /// Submits an array, held. Returns the number of its job.
    ///
    /// # Errors
    /// Silence, after which it may have arrived; a refusal, in the words of `sbatch` and with the usual cause.
    pub async fn submit(&self, array: &Array<'_>) -> Result<String, SlurmError> {
        let arguments = self.arguments(array);
        let output = ask("sbatch", &arguments.iter().map(String::as_str).collect::<Vec<_>>(), SUBMITTING).await?;
        // `JOB` or `JOB;CLUSTER`
        let text = String::from_utf8_lossy(&output.stdout);
        let job = text.lines().last().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned();
        if job.is_empty() || !job.bytes().all(|b| b.is_ascii_digit()) {
            return Err(SlurmError::Silent(format!("sbatch has answered {text:?} in place of the number of a job")));
        }
        Ok(job)
    }

    /// Lets the tasks of a held job start. A job that is not held stays as it is.
    ///
    /// # Errors
    /// Silence or a refusal.
    pub async fn release(&self, job: &str) -> Result<(), SlurmError> {
        ask("scontrol", &["release", job], ASKING).await.map(drop)
    }

    /// Ends a job (`7`) or a task (`7_3`). One that is not there any more is ended.
    ///
    /// # Errors
    /// Silence.
    pub async fn cancel(&self, job: &str) -> Result<(), SlurmError> {
        match ask("scancel", &["--quiet", job], ASKING).await {
            Err(SlurmError::Refused(why)) => {
                tracing::debug!("scancel {job}: {why}");
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// The tasks of the jobs with these names that Slurm knows, also those that have ended lately. A name without tasks is no error.
    ///
    /// # Errors
    /// Silence or a refusal: nothing is known then.
    pub async fn tasks(&self, names: &[String]) -> Result<Vec<Task>, SlurmError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let names = names.join(",");
        let output = ask("squeue", &["-h", "-r", "-t", "all", "-n", &names, "-o", "%F|%K|%j|%T|%r|%N"], ASKING).await?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(task).collect())
    }

    /// How a task ended: its state and exit code (`FAILED`, `0:53`), as long as Slurm remembers.
    pub async fn ending(&self, job: &str, index: usize) -> Option<(String, String)> {
        let id = format!("{job}_{index}");
        if let Ok(output) = ask("scontrol", &["show", "job", "-o", &id], ASKING).await {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let field = |name: &str| text.split_whitespace().find_map(|word| Some(word.strip_prefix(name)?.to_owned()));
            if let (Some(state), Some(code)) = (field("JobState="), field("ExitCode=")) {
                return Some((state, code));
            }
        }
        // Where accounting is on, it remembers for longer.
        let output = ask("sacct", &["-X", "-n", "-P", "-j", &id, "-o", "State,ExitCode"], ASKING).await.ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let (state, code) = text.lines().next()?.split_once('|')?;
        Some((state.split_whitespace().next()?.to_owned(), code.to_owned()))
    }

    /// The limits of the site.
    ///
    /// # Errors
    /// Silence or a refusal.
    pub async fn limits(&self) -> Result<SiteLimits, SlurmError> {
        let output = ask("scontrol", &["show", "config"], ASKING).await?;
        let text = String::from_utf8_lossy(&output.stdout);
        let number = |name: &str, usual: usize| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(name)?.trim().strip_prefix('='));
            line.and_then(|value| value.trim().parse().ok()).unwrap_or(usual)
        };
        Ok(SiteLimits { array: number("MaxArraySize", 1001), jobs: number("MaxJobCount", 10_000) })
    }
}

/// `JOB|INDEX|NAME|STATE|REASON|NODE`
fn task(line: &str) -> Option<Task> {
    let mut parts = line.splitn(6, '|');
    let mut next = || parts.next().map(str::to_owned);
    let (job, index, name, state, reason) = (next()?, next()?, next()?, next()?, next()?);
    Some(Task { job, index: index.parse().ok()?, name, state, reason, node: next().unwrap_or_default() })
}

/// What is known of errors of Slurm, by their words or exit codes, with the usual cause.
const CAUSES: [(&str, &str); 9] = [
    (
        "0:53",
        "the task's output file could not be opened on its node: does the node see the folder of the database, at the same path?",
    ),
    ("127:0", "the program was not found on the node: does it see the folder of the database, at the same path?"),
    ("invalid partition", "`workers.slurm.partition` names a partition that is not there; `sinfo` lists them"),
    ("invalid account", "set `workers.slurm.account`; `sacctmgr show associations user=$USER` lists yours"),
    (
        "invalid generic resource",
        "`workers.slurm.gres` asks for something that no node has; `sinfo -o '%P %G'` lists what they have",
    ),
    (
        "node configuration is not available",
        "no node has that many CPUs, that much memory or those devices; `sinfo -o '%P %c %m %G'` says",
    ),
    (
        "memory specification",
        "`workers.slurm.memory` asks for more than a node has, or this site wants --mem-per-cpu in `workers.slurm.extra`",
    ),
    ("time limit", "`workers.slurm.time` is more than the partition allows; `sinfo -o '%P %l'` says"),
    ("maximum", "the site's limit on jobs is reached; set `workers.slurm.tasks`, or wait"),
];

/// The usual cause of an error in Slurm's words.
#[must_use]
pub fn usual_cause(words: &str) -> Option<&'static str> {
    let words = words.to_lowercase();
    CAUSES.iter().find(|(sign, _)| words.contains(sign)).map(|(_, cause)| *cause)
}

/// Whether an error means that there was no answer, so that the request may have arrived.
fn is_silence(words: &str) -> bool {
    let words = words.to_lowercase();
    [
        "socket timed out",
        "unable to contact",
        "connection refused",
        "connection timed out",
        "zero bytes were transmitted",
        "in standby",
    ]
    .iter()
    .any(|sign| words.contains(sign))
}

/// Runs a command of Slurm in an environment that says nothing of a job which this program may itself be in.
#[expect(clippy::disallowed_methods, reason = "this is a launcher")]
async fn ask(program: &str, arguments: &[&str], limit: Duration) -> Result<Output, SlurmError> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_a_job(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    // Ctrl-C is for this program.
    command.process_group(0);
    let child = match command.spawn() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(SlurmError::Missing(format!(
                "`{program}` is not on this machine: a sweep on Slurm is run on a login node, where `sbatch` works"
            )));
        }
        child => child.map_err(|error| SlurmError::Silent(format!("{program}: {error}")))?,
    };
    let output = match timeout(limit, child.wait_with_output()).await {
        Err(_) => return Err(SlurmError::Silent(format!("{program} has not answered for {} s", limit.as_secs()))),
        Ok(output) => output.map_err(|error| SlurmError::Silent(format!("{program}: {error}")))?,
    };
    tracing::debug!("{program} {}: {}", arguments.join(" "), output.status);
    if output.status.success() {
        return Ok(output);
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let words = if words.is_empty() { format!("{program} has failed ({})", output.status) } else { words };
    if is_silence(&words) {
        return Err(SlurmError::Silent(words));
    }
    let cause = usual_cause(&words).map(|cause| format!("\nThe usual cause: {cause}")).unwrap_or_default();
    Err(SlurmError::Refused(words + &cause))
}

/// A variable by which Slurm and MPI speak to what runs in a job; `sbatch` would take them for the new job's.
fn is_of_a_job(name: &str) -> bool {
    let of_a_job = ["SLURM_", "SBATCH_", "PMIX_", "PMI_", "SRUN_", "SALLOC_"].iter().any(|prefix| name.starts_with(prefix));
    of_a_job && !["SLURM_CONF", "SLURM_CLUSTERS"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_read_as_squeue_lists_them() {
        let task = task("12|3|sw-a|PENDING|Resources|").unwrap();
        assert_eq!((task.job.as_str(), task.index, task.is_active()), ("12", 3, true));
        let ended = super::task("12|3|sw-a|FAILED|JobLaunchFailure|n1").unwrap();
        assert!(!ended.is_active() && ended.node == "n1");
        assert!(super::task("12|3|sw-a|PENDING|launch failed requeued held|").unwrap().is_stranded());
        assert_eq!(super::task("12|N/A|sw-a|PENDING|None|"), None, "a job that is no array is none of ours");
    }

    #[test]
    fn what_the_file_says_is_passed_on_and_extra_comes_last() {
        let config = SlurmConfig {
            partition: Some("gpu".to_owned()),
            gres: Some("gpu:1".to_owned()),
            cpus: Some(8),
            extra: vec!["--mem-per-cpu=4G".to_owned()],
            tasks: Some(5),
            setup: vec!["module load cuda".to_owned()],
            ..SlurmConfig::default()
        };
        let slurm = Slurm::new(config);
        let array = Array { name: "sw-x", script: Path::new("/s/task.sh"), tasks: 12, output: Path::new("/s/slurm") };
        let arguments = slurm.arguments(&array);
        for expected in
            ["--hold", "--array=0-11%5", "--partition=gpu", "--gres=gpu:1", "--cpus-per-task=8", "--output=/s/slurm/%A_%a.out"]
        {
            assert!(arguments.iter().any(|argument| argument == expected), "{expected}: {arguments:?}");
        }
        assert_eq!(arguments[arguments.len() - 2..], ["--mem-per-cpu=4G", "/s/task.sh"]);
        assert!(!arguments.iter().any(|argument| argument.starts_with("--mem=")));
        assert_eq!(slurm.script("'/a b/sweep' slice"), "#!/bin/bash\nmodule load cuda\nexec '/a b/sweep' slice\n");
    }

    #[test]
    fn errors_have_their_usual_cause_and_silence_is_told_apart() {
        assert!(usual_cause("FAILED, exit code 0:53").unwrap().contains("output file"));
        assert!(usual_cause("sbatch: error: invalid partition specified: nope").unwrap().contains("sinfo"));
        assert!(is_silence("squeue: error: Unable to contact slurm controller (connect failure)"));
        assert!(is_silence("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"));
        assert!(!is_silence("sbatch: error: invalid partition specified: nope"));
    }

    #[test]
    fn a_job_inside_a_job_is_scrubbed() {
        assert!(is_of_a_job("SLURM_CPU_BIND") && is_of_a_job("SBATCH_ACCOUNT"));
        assert!(!is_of_a_job("SLURM_CONF") && !is_of_a_job("HOME"));
    }
}
