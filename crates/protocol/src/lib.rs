//! The vocabulary on both sides of the process boundary (docs/protocol.md): jobs to a worker, records from it, and the journal that
//! carries the records. Knows no process and no database.

pub mod check;
mod environment;
mod heard;
mod host;
pub mod journal;
mod message;
mod results;
mod story;
mod text;
pub mod wire;

pub use environment::environment;
pub use heard::{Heard, heard};
pub use host::{host, outlive_the_file_size_limit};
pub use journal::Journal;
pub use message::*;
pub use results::Evaluated;
pub use story::Story;
pub use text::plain;
pub use wire::request::{Input, Inputs, Request, Standardize};

#[cfg(test)]
mod tests {
    use super::*;
    use imbalance::stratification::SplitConfig;
    use imbalance::threshold::Policy;
    use imbalance::{Choice, PosWeight};
    use plan::{Columns, DataConfig, Fingerprint, ImageConfig, ModelConfig, RunConfig, Source, TrainConfig};

    /// An order with every kind of value in it.
    pub fn job() -> Job {
        let image = ImageConfig {
            size: 32,
            channels: 3,
            resize: "crop".to_owned(),
            normalize: "imagenet".to_owned(),
            flip: true,
            crop_padding: 4,
            on_bad_image: "skip".to_owned(),
            max_pixels: 1 << 40,
            transparency: "white".to_owned(),
            pixel_range: "used".to_owned(),
        };
        let columns = Columns { group: Some("patient".to_owned()), ignore: vec!["age".to_owned()], ..Columns::default() };
        let source = Source::Images { root: "/a b/photos".into(), labels: "/a b/labels.csv".into(), image, columns };
        let split = SplitConfig { train: 0.7, val: 0.15, test: 0.15, method: "iterative".to_owned(), seed: u64::MAX };
        let config = RunConfig {
            data: DataConfig { source, split },
            model: ModelConfig {
                arch: "densenet121".to_owned(),
                hidden: vec![8, 4],
                dropout: 0.25,
                weights: Some("hf://owner/repository/file".to_owned()),
                weights_hash: Some("c0ffee".to_owned()),
                weights_head: Some(plan::Head::Keep),
                freeze: Some("backbone".to_owned()),
                precision: Some("bf16".to_owned()),
            },
            train: TrainConfig {
                epochs: 3,
                draws: None,
                stop: None,
                batch_size: 64,
                optimizer: Choice::plain("sgd").with("momentum", 0.9),
                learning_rate: 1e-3,
                schedule: Choice::plain("constant"),
                grad_clip: Some(1.0),
                precision: "f32".to_owned(),
                start: plan::Start::Prior,
            },
            loss: Choice::plain("class_balanced").with("beta", 0.99).with("by", "mean"),
            pos_weight: PosWeight::Explicit(vec![1.5, 0.1 + 0.2]),
            sampler: Choice::plain("shuffle"),
            seed: 9_007_199_254_740_993,
        };
        Job {
            v: VERSION,
            run: Fingerprint("0123456789abcdef0123456789abcdef".to_owned()),
            attempt: 2,
            config,
            pos_weight: vec![1.5, 0.1 + 0.2],
            data: "/cache/key".into(),
            folder: "/runs/0123".into(),
            policies: vec![Policy::Fixed(0.5), Policy::Fitted(Choice::plain("max_fbeta").with("beta", 2.0))],
        }
    }
}
