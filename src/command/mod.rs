//! One short file per command.

mod cancel;
mod compare;
mod completions;
mod data;
mod db;
mod disk;
mod estimate;
mod explain;
mod export;
mod features;
mod gc;
mod import;
mod init;
mod inputs;
mod length;
pub mod load;
mod output;
mod plan;
mod predict;
pub mod preparing;
mod questions;
mod recipe;
pub mod report;
mod resume;
mod rm;
mod run;
mod serve;
pub mod show;
mod slice;
mod status;
mod sync;
mod terminal;
mod train;
mod weights;
mod worker;

use std::future::Future;

use crate::cli::{Cli, Command};
use crate::error::Error;

/// Runs the command.
///
/// # Errors
/// Every error that ends the command early; [`Error::exit_code`] is the exit code of the process.
pub fn run(cli: Cli) -> Result<(), Error> {
    let Cli { global, command } = cli;
    match command {
        Command::Run(args) => wait(run::run(&global, &args)),
        Command::Init(args) => init::run(&args),
        Command::Plan(args) => read(|| plan::run(&global, &args)),
        Command::Data(args) => data::run(&global, &args),
        Command::Resume(args) => wait(resume::run(&global, &args)),
        Command::Sync(args) => wait(sync::run(&global, &args)),
        Command::Cancel(args) => wait(cancel::run(&global, &args)),
        Command::Status(args) => read(|| status::run(&global, &args)),
        Command::Report(args) => read(|| report::run(&global, &args)),
        Command::Compare(args) => read(|| compare::run(&global, &args)),
        Command::Serve(args) => wait(serve::run(&global, &args)),
        Command::Explain(args) => read(|| explain::run(&global, &args)),
        Command::Show(args) => read(|| show::run(&global, &args)),
        Command::Export(args) => read(|| export::run(&global, &args)),
        Command::Predict(args) => wait(predict::run(&global, &args)),
        Command::Db(command) => read(|| db::run(&global, &command)),
        Command::Recipe(args) => read(|| recipe::run(&global, &args)),
        Command::Import(args) => wait(import::run(&global, &args)),
        Command::Gc(args) => read(|| gc::run(&global, &args)),
        Command::Rm(args) => read(|| rm::run(&global, &args)),
        Command::Completions(args) => completions::run(&args),
        Command::Worker(args) => worker::run(args),
        Command::Slice(args) => wait(slice::run(args)),
    }
}

/// Runs an asynchronous command.
fn wait(command: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| Error::Unexpected(format!("cannot start the runtime: {error}")))?.block_on(command)
}

/// Runs a command that says nothing before it has read everything: again where a sweep began to write meanwhile.
fn read<F: Future<Output = Result<(), Error>>>(command: impl Fn() -> F) -> Result<(), Error> {
    wait(anew(command))
}

/// Reads, and reads again where a sweep began to write meanwhile.
async fn anew<T, F: Future<Output = Result<T, Error>>>(question: impl Fn() -> F) -> Result<T, Error> {
    // A writer begins once; ten of them in the time of one answer are worth an error.
    for _ in 0..10 {
        match question().await {
            Err(Error::Store(store::StoreError::Overtaken { .. })) => {}
            other => return other,
        }
    }
    question().await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_question_that_was_overtaken_is_asked_again_and_no_other() {
        const OVERTAKEN: fn() -> Error = || Error::Store(store::StoreError::Overtaken { path: "x.db".into() });
        let asked = Cell::new(0);
        let answer = |until: u32, error: fn() -> Error| {
            asked.set(0);
            read(|| {
                asked.set(asked.get() + 1);
                std::future::ready(if asked.get() > until { Ok(()) } else { Err(error()) })
            })
        };
        assert!(answer(3, OVERTAKEN).is_ok());
        assert_eq!(asked.get(), 4);
        assert_eq!(answer(100, OVERTAKEN).unwrap_err().to_string(), OVERTAKEN().to_string());
        assert_eq!(asked.get(), 11);
        assert!(matches!(answer(100, || Error::Interrupted), Err(Error::Interrupted)));
        assert_eq!(asked.get(), 1);
    }
}
