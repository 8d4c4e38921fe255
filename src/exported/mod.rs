//! A model outside of the database: the folder that `sweep export --to` writes, and that `sweep predict` reads.

mod card;
mod make;

pub use card::{CARD, Calibration, Measured, ModelCard, Preprocessing};
pub use make::{Ask, Exported, export, has_model, refit_folder};
