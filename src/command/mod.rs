//! One short file per command.

mod compare;
mod completions;
mod data;
mod db;
mod disk;
mod estimate;
mod explain;
mod export;
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
mod status;
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
        Command::Plan(args) => wait(plan::run(&global, &args)),
        Command::Data(args) => data::run(&global, &args),
        Command::Resume(args) => wait(resume::run(&global, &args)),
        Command::Status(args) => wait(status::run(&global, &args)),
        Command::Report(args) => wait(report::run(&global, &args)),
        Command::Compare(args) => wait(compare::run(&global, &args)),
        Command::Serve(args) => wait(serve::run(&global, &args)),
        Command::Explain(args) => wait(explain::run(&global, &args)),
        Command::Show(args) => wait(show::run(&global, &args)),
        Command::Export(args) => wait(export::run(&global, &args)),
        Command::Predict(args) => wait(predict::run(&global, &args)),
        Command::Db(command) => wait(db::run(&global, &command)),
        Command::Recipe(args) => wait(recipe::run(&global, &args)),
        Command::Import(args) => wait(import::run(&global, &args)),
        Command::Gc(args) => wait(gc::run(&global, &args)),
        Command::Rm(args) => wait(rm::run(&global, &args)),
        Command::Completions(args) => completions::run(&args),
        Command::Worker(args) => worker::run(args),
    }
}

/// Runs an asynchronous command.
fn wait(command: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| Error::Unexpected(format!("cannot start the runtime: {error}")))?.block_on(command)
}
