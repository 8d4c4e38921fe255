//! `sweep`: which imbalance strategy is best for my multi-label data, and why?
//!
//! The program over the other crates of the workspace, in the direction of the data (see docs/architecture.md):
//!
//! | crate or module | owns |
//! |---|---|
//! | [`imbalance`] | losses, pos_weight formulas, samplers, threshold policies, metrics, certainty (pure) |
//! | [`plan`] | TOML → [`plan::Plan`]: schema, axes, canonical form, fingerprint, bundles (pure) |
//! | [`protocol`] | the messages and the journal between controller and workers |
//! | [`data`] | images, features, letters, decoded once into a prepared folder |
//! | [`archive`] | the files that a run keeps beside the database |
//! | `kernel`, `train` | the operations Candle lacks; networks, the training loop, the worker |
//! | [`store`] | every SQL statement: one writer, read-only readers |
//! | [`controller`], [`launcher`] | what happens next, and how workers are started |
//! | [`doing`] | the work of workers between epochs, such as features, as they say it |
//! | [`cluster`] | the same on a cluster, by tasks that need no controller |
//! | [`recipe`] | a run's strategy as PyTorch (pure) |
//! | [`report`] | load, summarise (pure), render |
//! | [`exported`], [`predict`] | a run's model outside of the database; scores of new inputs |
//! | [`garbage`] | what lies beside a database and is not needed any more |
//! | [`serve`] | the page of a sweep, live, by HTTP |
//! | [`exchange`] | the results for spreadsheets, notebooks, MLflow and TensorBoard |
//! | [`cli`], [`command`] | arguments; one short file per command |
//! | [`logs`], [`error`], [`shell`] | messages on stderr; the exit codes; commands to be pasted |

#[cfg(not(target_os = "linux"))]
compile_error!("sweep runs on Linux only: it watches its workers through /proc and locks its files with flock");

pub mod cli;
pub mod cluster;
pub mod command;
pub mod controller;
pub mod doing;
pub mod error;
pub mod exchange;
pub mod exported;
pub mod garbage;
pub mod launcher;
pub mod logs;
pub mod predict;
pub mod recipe;
pub mod report;
pub mod serve;
pub mod shell;
