//! `sweep`: which imbalance strategy is best for my multi-label data, and why?
//!
//! The map of the rooms, in the direction the data goes (docs/architecture.md draws it):
//!
//! | room | owns |
//! |---|---|
//! | [`spec`] | TOML → [`spec::Plan`]: schema, axes, canonical form, fingerprint, bundles (pure) |
//! | [`strategy`] | losses, pos_weight formulas, samplers, threshold policies; one a file, one registry each (pure maths) |
//! | [`metric`] | counts, curves, averages (pure) |
//! | [`data`] | images, features, letters, split, diagnosis, decoded cache |
//! | [`model`], [`kernel`] | architectures, and the operations Candle lacks |
//! | [`train`] | optimizer, schedule, loop, checkpoint |
//! | [`worker`] | the process that trains: jobs in, journal out |
//! | [`protocol`] | the messages and the journal |
//! | [`controller`], [`launcher`] | what happens next, and how workers are started |
//! | [`store`] | every SQL statement: one writer, read-only readers |
//! | [`archive`] | what runs keep in files beside the database: names, whole-file writes, seals |
//! | [`shown`] | foreign text on a screen: escaped and cut |
//! | [`report`] | load, summarise (pure), render |
//! | [`cli`], [`command`] | what was typed; one short file a command |
//! | [`logs`] | words on stderr |

pub mod archive;
pub mod cli;
pub mod command;
pub mod controller;
pub mod data;
pub mod error;
pub mod kernel;
pub mod launcher;
pub mod logs;
pub mod metric;
pub mod model;
pub mod protocol;
pub mod report;
pub mod rng;
pub mod shown;
pub mod spec;
pub mod store;
pub mod strategy;
pub mod train;
pub mod worker;
