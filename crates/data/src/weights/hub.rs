//! Files of the Hugging Face hub: found in its cache, else fetched into it. Cache, token and offline mode are those of Python's
//! `huggingface_hub`, so that what one program has downloaded is there for the other.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hf_hub::api::Progress;
use hf_hub::api::sync::{ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};

use super::Beat;
use archive::file::expand_home;
use plan::HubFile;

/// How long another process may take to download the same file.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How long the hub may take to answer at all: packets are dropped silently behind many a firewall.
const REACH: Duration = Duration::from_secs(6);
/// The hub, unless `HF_ENDPOINT` says another.
const HUB: &str = "https://huggingface.co";

/// A variable of the environment that is set to something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The folder of the hub's cache, and the file of its token.
fn places(variable: &impl Fn(&str) -> Option<String>) -> (PathBuf, PathBuf) {
    let path = |name: &str| variable(name).map(|path| expand_home(Path::new(&path)));
    let usual = || path("XDG_CACHE_HOME").unwrap_or_else(|| expand_home(Path::new("~/.cache"))).join("huggingface");
    let home = path("HF_HOME").unwrap_or_else(usual);
    let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")).unwrap_or_else(|| home.join("hub"));
    (cache, path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token")))
}

/// Whether the user has forbidden to use the network, and by which variable.
fn offline(variable: &impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    let is_true = |value: String| ["1", "ON", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str());
    let name = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].into_iter().find(|name| variable(name).is_some())?;
    variable(name).is_some_and(is_true).then_some(name)
}

fn cache() -> Cache {
    Cache::new(places(&variable).0)
}

/// A file of the hub in its cache.
pub(super) fn cached(file: &HubFile) -> Option<PathBuf> {
    let cache = cache().repo(repository(file));
    // The snapshot first: a commit that was downloaded as the main branch has no ref of its own.
    let pinned = file.revision.as_deref().map(|revision| cache.pointer_path(revision).join(&file.file));
    pinned.filter(|path| path.exists()).or_else(|| cache.get(&file.file))
}

fn repository(file: &HubFile) -> Repo {
    let name = file.repository.clone();
    match &file.revision {
        Some(revision) => Repo::with_revision(name, RepoType::Model, revision.clone()),
        None => Repo::new(name, RepoType::Model),
    }
}

/// The commit in `.../snapshots/COMMIT/path/in/repository`.
pub(super) fn commit(path: &Path, file: &str) -> Option<String> {
    let folder = path.ancestors().nth(file.split('/').count())?;
    folder.parent()?.ends_with("snapshots").then(|| folder.file_name()?.to_str().map(str::to_owned))?
}

/// The file on this machine, fetched unless it is there.
///
/// # Errors
/// Why it cannot be had, and what to do.
pub(super) fn fetch(file: &HubFile, beat: Beat<'_>) -> Result<PathBuf, String> {
    if let Some(path) = cached(file) {
        return Ok(path);
    }
    let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| HUB.to_owned());
    let fetched = match offline(&variable) {
        Some(name) => Err(format!("{name} is set, and the hub's cache does not have it")),
        None => reach(&endpoint).and_then(|()| download(file, &endpoint, beat).map_err(|error| causes(&error))),
    };
    fetched.map_err(|why| {
        let HubFile { repository, revision, file } = file;
        let revision = revision.as_deref().unwrap_or("main");
        let (place, _) = places(&variable);
        let place = place.display();
        let refused = if ["401", "403", "404"].iter().any(|status| why.ends_with(status)) {
            " It may have another name or revision, or be private: then HF_TOKEN, or `hf auth login`, lets you in."
        } else {
            ""
        };
        format!(
            "cannot fetch it from the Hugging Face hub ({why}).{refused} Without network: download {HUB}/{repository}/resolve/{revision}/{file} \
             elsewhere, copy it here and give its path as `weights`; or `hf download {repository} {file}` on a machine that shares the \
             hub's cache, which is {place} here (HF_HUB_CACHE and HF_HOME say where it is)"
        )
    })
}

/// Whether the hub, or the proxy before it, can be connected to, within seconds. The hub's client would wait for minutes.
fn reach(endpoint: &str) -> Result<(), String> {
    let proxied = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    if proxied.iter().any(|name| variable(name).is_some()) {
        return Ok(());
    }
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", endpoint));
    let host = rest.split('/').next().unwrap_or_default().to_owned();
    let port = if scheme == "http" { 80 } else { 443 };
    let address =
        if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) { host } else { format!("{host}:{port}") };
    let (told, answer) = mpsc::channel();
    let asked = address.clone();
    // A thread, because a name server that does not answer cannot be given a time.
    std::thread::spawn(move || {
        let connect = || -> std::io::Result<()> {
            let mut last = std::io::Error::from(std::io::ErrorKind::HostUnreachable);
            for address in asked.to_socket_addrs()? {
                match TcpStream::connect_timeout(&address, REACH) {
                    Ok(_) => return Ok(()),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        // Nobody may be waiting any more.
        let _ = told.send(connect());
    });
    match answer.recv_timeout(REACH) {
        Ok(reached) => reached.map_err(|error| format!("{address}: {error}")),
        Err(_) => Err(format!("{address} does not answer within {} s", REACH.as_secs())),
    }
}

fn download(file: &HubFile, endpoint: &str, beat: Beat<'_>) -> Result<PathBuf, ApiError> {
    let token = || std::fs::read_to_string(places(&variable).1).ok().map(|token| token.trim().to_owned());
    let token = variable("HF_TOKEN").or_else(|| variable("HUGGING_FACE_HUB_TOKEN")).or_else(token);
    let api = ApiBuilder::from_cache(cache())
        .with_endpoint(endpoint.to_owned())
        .with_token(token.filter(|token| !token.is_empty()))
        .with_progress(false)
        .with_retries(2)
        .build()?
        .repo(repository(file));
    let start = Instant::now();
    loop {
        match api.download_with_progress(&file.file, Told { beat: &mut *beat, done: 0, total: 0 }) {
            // Another process is downloading it; the hub's client itself waits a few seconds only.
            Err(ApiError::LockAcquisition(_)) if start.elapsed() < PATIENCE => {
                beat(0, 0);
                if let Some(path) = cached(file) {
                    return Ok(path);
                }
            }
            fetched => return fetched,
        }
    }
}

/// Reports the progress of a download.
struct Told<'b> {
    beat: Beat<'b>,
    done: usize,
    total: usize,
}

impl Progress for Told<'_> {
    fn init(&mut self, size: usize, _: &str) {
        self.total = size;
        (self.beat)(0, size);
    }

    fn update(&mut self, size: usize) {
        self.done += size;
        (self.beat)(self.done, self.total);
    }

    fn finish(&mut self) {}
}

/// An error and its causes, without repetitions.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_is_read_from_the_cache() {
        let path = Path::new("/home/x/hub/models--a--b/snapshots/0123abc/folder/file.safetensors");
        assert_eq!(commit(path, "folder/file.safetensors").as_deref(), Some("0123abc"));
        assert_eq!(commit(Path::new("/elsewhere/file"), "file"), None);
    }

    #[test]
    fn the_cache_is_where_huggingface_hub_has_it() {
        let of = |set: &[(&str, &str)]| {
            let set: Vec<(String, String)> = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            places(&move |name: &str| set.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())).0
        };
        let all = [("HF_HUB_CACHE", "/1"), ("HUGGINGFACE_HUB_CACHE", "/2"), ("HF_HOME", "/3"), ("XDG_CACHE_HOME", "/4")];
        for (at, wanted) in ["/1", "/2", "/3/hub", "/4/huggingface/hub"].into_iter().enumerate() {
            assert_eq!(of(&all[at..]), Path::new(wanted));
        }
        let home = std::env::home_dir().unwrap();
        assert_eq!(of(&[]), home.join(".cache/huggingface/hub"));
        assert_eq!(of(&[("HF_HOME", "~/hf")]), home.join("hf/hub"));
    }

    #[test]
    fn offline_is_what_huggingface_hub_takes_for_it() {
        let of = |name: &'static str, value: &'static str| offline(&move |asked: &str| (asked == name).then(|| value.to_owned()));
        for name in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
            for value in ["1", "true", "YES", "on"] {
                assert_eq!(of(name, value), Some(name));
            }
            for value in ["0", "false", "no"] {
                assert_eq!(of(name, value), None);
            }
        }
    }

    #[test]
    fn a_hub_that_does_not_answer_is_given_up_within_seconds() {
        let start = Instant::now();
        // Reserved for documentation (RFC 5737): nothing answers, or the network refuses at once.
        assert!(reach("http://192.0.2.1:81").is_err());
        assert!(reach("http://127.0.0.1:1").is_err());
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
