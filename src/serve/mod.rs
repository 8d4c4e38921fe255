//! `sweep serve`: the page of `sweep report --format html`, live. A thread looks at the database and publishes what changed; an HTTP
//! server on 127.0.0.1 hands it out. Everything is read-only, but for requests to stop, which go to the controller by a file
//! ([`crate::controller::control`]). docs/serve.md#the-protocol has the protocol between page and server:
//!
//! | request | answer |
//! |---|---|
//! | `GET ./` | the document, with `<html data-live>` and `<meta name="sweep-rev" content="ID">`; 503 with a small page while there is nothing to show |
//! | `GET ./model` | `{"id": ID, "model": {...}, "parts": {element id: HTML}}`; 503 with `{"id": ID, "why", "command"}` |
//! | `GET ./events` | a stream of `change` and `reset` |
//! | `POST ./stop` | 202; 409 with `{"why", "command"}` where nobody trains what is to be stopped |
//!
//! An ID is `<instance>-<rev>`. A rev grows by one with every change; an instance ends with the server, and when another sweep is shown.

mod change;
mod events;
mod feed;
mod gate;
mod page;
mod port;
mod reply;
mod stop;
mod waiting;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tokio::sync::{Notify, watch as channel};
use tokio::task;
use tokio::time::timeout;

use crate::error::Error;
use crate::report::page::PageOptions;
use feed::Feed;
use gate::Gate;
pub use port::{Port, USUAL as USUAL_PORT};
use watch::Watcher;

/// Most bytes of a request's body.
const BODY: usize = 4096;
/// How long open connections are waited for at the end.
const LEAVE: Duration = Duration::from_secs(2);

/// What is to be served.
#[derive(Clone, Debug)]
pub struct Settings {
    pub db: PathBuf,
    /// Name, id or `latest`.
    pub sweep: String,
    pub page: PageOptions,
    pub port: Port,
    /// Names by which the server may be called, beside localhost.
    pub names: Vec<String>,
}

/// What requests are answered from.
struct App {
    feed: Arc<Feed>,
    gate: Gate,
    db: PathBuf,
}

/// A server. It ends when this is dropped.
pub struct Server {
    port: u16,
    token: String,
    feed: Arc<Feed>,
    stop: channel::Sender<bool>,
    watcher: Option<JoinHandle<()>>,
    served: task::JoinHandle<std::io::Result<()>>,
}

impl Server {
    /// Takes the port and begins to answer.
    ///
    /// # Errors
    /// A port that is taken or not allowed; a wrong name of a host.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        let Settings { db, sweep, page, port, names } = settings;
        let names = names.iter().map(|name| gate::name(name)).collect::<Result<_, _>>()?;
        let token = random(24)?;
        let feed = Arc::new(Feed::new(random(4)?, waiting::first(&db, &sweep)));
        let (listener, port) = port::listen(port).await?;
        let (stop, stopped) = channel::channel(false);
        let watcher = Watcher::new(db.clone(), sweep, page, Arc::clone(&feed), stopped.clone());
        let watcher = std::thread::Builder::new().name("sweep-serve".to_owned()).spawn(|| watcher.work());
        let watcher = watcher.map_err(|error| Error::Unexpected(format!("cannot start a thread: {error}")))?;
        let app = Arc::new(App { feed: Arc::clone(&feed), gate: Gate::new(names, &token), db });
        let router = Router::new()
            .route("/", get(page::document))
            .route("/model", get(page::model))
            .route("/events", get(events::stream))
            .route("/stop", post(stop::stop))
            .fallback(reply::not_found)
            .layer(DefaultBodyLimit::max(BODY))
            .layer(from_fn_with_state(Arc::clone(&app), gate::guard))
            .with_state(app);
        let mut leaving = stopped;
        let until = async move {
            let _ = leaving.wait_for(|stop| *stop).await;
        };
        let served = tokio::spawn(async move { axum::serve(listener, router).with_graceful_shutdown(until).await });
        Ok(Self { port, token, feed, stop, watcher: Some(watcher), served })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What to open in a browser. The fragment, which browsers send to nobody, has the token for requests to stop.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/#token={}", self.port, self.token)
    }

    /// Ends it, after a last look at the database, so that open pages have its last state.
    pub async fn close(mut self) {
        let _ = self.stop.send(true);
        if let Some(watcher) = self.watcher.take() {
            let gone = Arc::new(Notify::new());
            let told = Arc::clone(&gone);
            std::thread::spawn(move || {
                let _ = watcher.join();
                told.notify_one();
            });
            let _ = timeout(LEAVE, gone.notified()).await;
        }
        self.feed.close();
        let _ = timeout(LEAVE, &mut self.served).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        self.feed.close();
        self.served.abort();
    }
}

/// So many bytes from the operating system, as hex digits.
fn random(bytes: usize) -> Result<String, Error> {
    use std::io::Read;
    let path = PathBuf::from("/dev/urandom");
    let mut random = vec![0; bytes];
    let read = std::fs::File::open(&path).and_then(|mut file| file.read_exact(&mut random));
    read.map_err(|source| Error::Io { path, source })?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
