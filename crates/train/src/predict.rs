//! Scores of inputs that have no labels, by a model that is trained: decoded, made numbers and scored batch by batch, the next batch
//! decoded while this one is scored. Batches are those of an evaluation: the rows of a test split, in its order, get the recorded logits to
//! the last bit. On the CPU other batches give the same bits, but for an `mlp`, whose matrix products round otherwise at their edges.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::TrainError;
use super::bundle::rows_at_once;
use super::evaluate::LEAST_BATCH;
use super::features::{images_at_once, of_images};
use super::heads::Heads;
use super::optimizer::Optimizer;
use super::record::Learner;
use crate::model::backbone::{self, Features};
use crate::model::{self, Model, ModelError};
use archive::file;
use data::Unlabelled;
use kernel::stacked::row_step;
use plan::{InputShape, RunConfig};
use protocol::{Inputs, Request, Standardize};

/// Numbers of one record at most, so that it fits a line of a journal.
const RECORD: usize = 50_000;
/// Bytes of decoded pictures that wait for the network at most, beside those of one batch.
const WAITING: usize = 64 << 20;

/// Logits of some inputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scored {
    /// Number of the first input, and how many they are.
    pub first: usize,
    pub rows: usize,
    /// `[rows, labels]` row-major, without the bad ones.
    pub logits: Vec<f32>,
    /// Number of each input that cannot be used, and why.
    pub bad: Vec<(usize, String)>,
}

/// The network of a request.
struct Predictor {
    inputs: Unlabelled,
    net: Net,
    labels: usize,
    /// Rows of one forward pass.
    batch: usize,
    device: Device,
}

/// What turns numbers into logits.
enum Net {
    Whole(Box<dyn Model>),
    /// A linear network or an mlp on the CPU, computed as runs in one pass are.
    Heads(Box<Heads>),
    /// A pretrained network below one of the others.
    Frozen(Box<Features>, Box<Net>),
}

/// The rows of a request for features; `None` of one for pictures.
fn features(request: &Request, inputs: &Unlabelled) -> Result<Option<Vec<Row>>, TrainError> {
    match &request.inputs {
        Inputs::Pictures(_) => Ok(None),
        Inputs::Features(file) => Ok(Some(inputs.features(Path::new(&file.path))?)),
    }
}

/// An input as bytes, or why it cannot be used.
type Row = Result<Vec<u8>, String>;

impl Predictor {
    /// Loads the model of `request` on `device`.
    fn load(request: &Request, device: &Device) -> Result<Self, TrainError> {
        let config = RunConfig::from(request.config.clone());
        let path = PathBuf::from(&request.model);
        let gone = |why: &dyn std::fmt::Display| ModelError::Gone(format!("{}: {why}", path.display()));
        let mut bytes = Vec::new();
        file::open_regular(&path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(|error| gone(&error))?;
        if blake3::hash(&bytes).to_hex().as_str() != request.model_hash {
            return Err(gone(&"is not the model that was asked for: it is damaged, or has changed").into());
        }
        let (tensors, _) = model::parse_tensors(&path, &bytes, &Device::Cpu)?;
        let head = config.model.head();
        let standardize = request.standardize.clone().map(|Standardize { mean, scale }| (mean, scale));
        // The columns of the matrix that the first layer multiplies are the features that the model reads.
        let width = tensors.get("hidden.0.weight").or_else(|| tensors.get("classifier.weight"));
        let width = width.and_then(|weight| weight.dims().last().copied()).unwrap_or(0);
        let inputs = Unlabelled::new(&config.data, head.is_some(), standardize, width, request.white)?;
        let labels = request.labels as usize;
        let (net, batch) = match (head, &config.model.weights) {
            (Some((backbone, head)), Some(source)) => {
                let InputShape::Image { height, .. } = inputs.shape() else {
                    return Err(ModelError::Input(format!("{} reads pictures", backbone.name)).into());
                };
                backbone::weights_hash(source, config.model.weights_hash.as_deref(), &mut |_, _| ())?;
                let below = Features::load(&config.model, height, source, device)?;
                let shape = InputShape::Features { width: backbone.width };
                let above = Net::new(&RunConfig { model: head, ..config }, shape, labels, &tensors, &path, device)?;
                (Net::Frozen(Box::new(below), Box::new(above)), images_at_once(height, height))
            }
            _ => {
                let batch = config.train.batch_size.max(LEAST_BATCH);
                // What the run started from is in its model.
                let model = plan::ModelConfig { weights: None, weights_hash: None, ..config.model.clone() };
                let net = Net::new(&RunConfig { model, ..config }, inputs.shape(), labels, &tensors, &path, device)?;
                let batch = if matches!(net, Net::Heads(_)) { rows_at_once(inputs.shape().values()) } else { batch };
                (net, batch)
            }
        };
        Ok(Self { inputs, net, labels, batch, device: device.clone() })
    }

    /// Logits of `rows`, row-major `[rows, labels]`.
    fn logits(&self, rows: &[Vec<u8>]) -> Result<Vec<f32>, TrainError> {
        let mut logits = Vec::with_capacity(rows.len() * self.labels);
        for rows in rows.chunks(self.batch) {
            let width = self.inputs.shape().values();
            let step = if matches!(self.net, Net::Heads(_)) { row_step(width) } else { width };
            let mut numbers = vec![0.0; rows.len() * step];
            self.inputs.numbers(rows, step, &mut numbers);
            logits.extend(self.net.logits(numbers, rows.len(), self.inputs.shape(), &self.device)?);
        }
        Ok(logits)
    }
}

impl Net {
    /// The network of `config` with `tensors` of the file `path` as its parameters.
    fn new(
        config: &RunConfig,
        input: InputShape,
        labels: usize,
        tensors: &BTreeMap<String, Tensor>,
        path: &Path,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let heads = config.in_one_pass() && device.is_cpu();
        let model = model::build(&config.model, input, labels, None, 0, device)?;
        model::assign_state(model.state(), tensors, path)?;
        if heads {
            let optimizer = Optimizer::new(&config.train.optimizer, &model.state().parameters)?;
            let mut learner = Learner { state: model.state().clone(), optimizer };
            return Ok(Self::Heads(Box::new(Heads::load(&[&mut learner], vec![None])?)));
        }
        Ok(Self::Whole(model::at_precision(model, &config.model, &config.train.precision, device)?))
    }

    /// Logits of `rows` inputs of `shape` as `numbers`; those of heads are rows [`row_step`] apart.
    fn logits(&self, numbers: Vec<f32>, rows: usize, shape: InputShape, device: &Device) -> Result<Vec<f32>, TrainError> {
        let tensor = |numbers: Vec<f32>, shape: InputShape| match shape {
            InputShape::Image { channels, height, width } => {
                Tensor::from_vec(numbers, (rows, channels, height, width), &Device::Cpu)?.to_device(device)
            }
            InputShape::Features { width } => Tensor::from_vec(numbers, (rows, width), &Device::Cpu)?.to_device(device),
        };
        match (self, shape) {
            (Self::Whole(model), _) => {
                let logits = model.forward(&tensor(numbers, shape)?, None)?.flatten_all()?;
                Ok(kernel::read(&logits)?.to_vec1()?)
            }
            (Self::Heads(heads), _) => Ok(heads.logits(&numbers).pop().unwrap_or_default()),
            (Self::Frozen(..), InputShape::Features { .. }) => {
                Err(ModelError::Input("a pretrained network reads pictures".to_owned()).into())
            }
            (Self::Frozen(below, above), InputShape::Image { height, width, .. }) => {
                let features = of_images(below, numbers, (height, width), device)?;
                let width = features.len() / rows;
                let step = if matches!(**above, Self::Heads(_)) { row_step(width) } else { width };
                let mut apart = vec![0.0; rows * step];
                for (to, from) in apart.chunks_exact_mut(step).zip(features.chunks_exact(width)) {
                    to[..width].copy_from_slice(from);
                }
                above.logits(apart, rows, InputShape::Features { width }, device)
            }
        }
    }
}

/// Scores the inputs of `request` from number `from` on. `loaded` is called once the model is there; `tell` gets the results in the
/// order of the inputs and says whether to go on.
///
/// # Errors
/// The model or a matrix of features cannot be used; a logit is NaN or infinite; the errors of `tell`.
pub fn predict(
    request: &Request,
    from: usize,
    device: &Device,
    loaded: impl FnOnce(),
    mut tell: impl FnMut(Scored) -> Result<bool, TrainError>,
) -> Result<bool, TrainError> {
    let predictor = Predictor::load(request, device)?;
    let mut matrix = features(request, &predictor.inputs)?;
    loaded();
    let count = match (&matrix, &request.inputs) {
        (Some(rows), _) => rows.len(),
        (None, Inputs::Pictures(files)) => files.len(),
        (None, Inputs::Features(_)) => 0,
    };
    let bytes = predictor.inputs.shape().row_bytes().max(1);
    // Several batches at once, as far as they may wait: small ones alone would not keep all cores busy with decoding.
    let block = (WAITING / bytes).clamp(predictor.batch, predictor.batch.max(512)) / predictor.batch * predictor.batch;
    let mut read = |start: usize| -> Vec<Row> {
        let range = start.min(count)..(start + block).min(count);
        match (&mut matrix, &request.inputs) {
            (Some(rows), _) => rows[range].iter_mut().map(|row| std::mem::replace(row, Ok(Vec::new()))).collect(),
            (None, Inputs::Pictures(files)) => {
                files[range].par_iter().map(|file| predictor.inputs.picture(Path::new(&file.path))).collect()
            }
            (None, Inputs::Features(_)) => Vec::new(),
        }
    };
    let mut rows = read(from);
    for first in (from..count).step_by(block) {
        let (scored, next) = rayon::join(|| score(&predictor, first, rows), || read(first + block));
        for scored in pieces(scored?, predictor.labels) {
            if !tell(scored)? {
                return Ok(false);
            }
        }
        rows = next;
    }
    Ok(true)
}

/// The logits of `rows`, the first of which is input number `first`.
fn score(predictor: &Predictor, first: usize, rows: Vec<Row>) -> Result<Scored, TrainError> {
    let (count, mut good, mut numbers, mut bad) = (rows.len(), Vec::new(), Vec::new(), Vec::new());
    for (at, row) in rows.into_iter().enumerate() {
        match row {
            Ok(row) => {
                good.push(row);
                numbers.push(first + at);
            }
            Err(why) => bad.push((first + at, why)),
        }
    }
    let logits = predictor.logits(&good)?;
    if let Some(at) = logits.iter().position(|logit| !logit.is_finite()) {
        let input = numbers[at / predictor.labels.max(1)];
        return Err(TrainError::Diverged(format!("a logit of input {input} (from 0) is {}", logits[at])));
    }
    Ok(Scored { first, rows: count, logits, bad })
}

/// `scored` in parts that each fit a record.
fn pieces(scored: Scored, labels: usize) -> Vec<Scored> {
    let most = (RECORD / labels.max(1)).max(1);
    if scored.rows <= most {
        return vec![scored];
    }
    let Scored { first, rows, logits, bad } = scored;
    let (mut logits, mut bad) = (logits.as_slice(), bad.into_iter().peekable());
    let piece = |start: usize| {
        let rows = most.min(rows - start);
        let end = first + start + rows;
        let bad: Vec<_> = std::iter::from_fn(|| bad.next_if(|(input, _)| *input < end)).collect();
        let (mine, rest) = logits.split_at((rows - bad.len()) * labels);
        logits = rest;
        Scored { first: first + start, rows, logits: mine.to_vec(), bad }
    };
    (0..rows).step_by(most).map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_results_are_told_in_parts() {
        let labels = RECORD / 2;
        let bad = vec![(11, "broken".to_owned()), (14, "gone".to_owned())];
        let logits: Vec<f32> = (0..3 * labels).map(|at| at as f32).collect();
        let scored = Scored { first: 10, rows: 5, logits: logits.clone(), bad: bad.clone() };
        let parts = pieces(scored, labels);
        let ranges: Vec<(usize, usize, usize)> = parts.iter().map(|part| (part.first, part.rows, part.bad.len())).collect();
        assert_eq!(ranges, [(10, 2, 1), (12, 2, 0), (14, 1, 1)]);
        assert_eq!(parts.iter().flat_map(|part| part.logits.clone()).collect::<Vec<_>>(), logits);
        assert_eq!(parts.into_iter().flat_map(|part| part.bad).collect::<Vec<_>>(), bad);
    }
}
