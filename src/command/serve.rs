//! `sweep serve [SWEEP]`: the page of a sweep in a browser, live.

use std::path::Path;

use crate::cli;
use crate::controller::Interrupts;
use crate::controller::progress::say;
use crate::error::Error;
use crate::report::Question;
use crate::report::page::{PageOptions, Place};
use crate::serve::{Port, Server, Settings, USUAL_PORT};
use store::{Reader, StoreError};

/// Serves until it is interrupted, which is its usual end: exit code 0.
///
/// # Errors
/// A database of another program; a port that cannot be had. A database or a sweep that is not there yet is waited for.
pub async fn run(global: &cli::Global, args: &cli::ServeArgs) -> Result<(), Error> {
    let missing = missing(&global.db, &args.sweep).await?;
    let mut interrupts = Interrupts::listen()?;
    let server = start(global, &args.sweep, &args.address).await?;
    if let Some(why) = missing.filter(|_| !global.quiet) {
        say(&format!("waiting: {why}"));
    }
    interrupts.next().await;
    drop(server);
    Ok(())
}

/// Starts the server and says where it is: on stderr, as Jupyter and TensorBoard do.
///
/// # Errors
/// See [`Server::start`].
pub async fn start(global: &cli::Global, sweep: &str, address: &cli::AddressArgs) -> Result<Server, Error> {
    let cli::AddressArgs { port, allow_host } = address;
    let settings = Settings {
        db: global.db.clone(),
        sweep: sweep.to_owned(),
        page: PageOptions {
            question: Question { metrics: &["macro_ap"], ..Question::default() },
            images: true,
            place: Place::Live,
        },
        port: port.map_or(Port::Usual, Port::Given),
        names: allow_host.clone(),
    };
    let server = Server::start(settings).await?;
    if !global.quiet && port.is_none() && server.port() != USUAL_PORT {
        say(&format!("port {USUAL_PORT} is taken; port {} is used", server.port()));
    }
    // Also with --quiet: without its token nobody can stop anything by the page.
    say(&server.url());
    if !global.quiet {
        say(&format!(
            "from another machine: ssh -L {0}:127.0.0.1:{0} {1}, then the same address there",
            server.port(),
            store::host()
        ));
    }
    Ok(server)
}

/// What is not there yet, in words.
async fn missing(db: &Path, sweep: &str) -> Result<Option<String>, Error> {
    let found = match Reader::open(db).await {
        Ok(mut reader) => reader.find_sweep(sweep).await.map(drop),
        Err(error) => Err(error),
    };
    match found {
        Ok(()) => Ok(None),
        Err(error @ StoreError::Foreign { .. }) => Err(error.into()),
        Err(error) => Ok(Some(error.to_string())),
    }
}
