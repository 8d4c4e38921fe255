//! Scores of new inputs: what was asked for ([`inputs`]), what is known of it already ([`partial`]), and the answer ([`answer`]). A worker
//! scores (an [`Errand`](crate::controller::errand::Errand)), since the controller has no Candle.

pub mod answer;
pub mod inputs;
pub mod partial;

/// Logits of an input; `None` where it cannot be used or is not scored yet.
pub type Logits = Option<Vec<f32>>;
/// An input that cannot be used: its number, and why.
pub type Fault = (usize, String);

pub use answer::{Answer, Shape};
pub use inputs::Wanted;
pub use partial::Partial;
