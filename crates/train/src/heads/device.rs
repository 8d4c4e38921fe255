//! The networks of some runs on a device: [`super::Heads`] as tensors with an axis of runs, for which the device has operations
//! of its own. Nothing is read back while they train.
//!
//! Values are `[runs, outputs, batch]`. The first layers of all runs, one below the other, are one matrix product each way; what
//! comes after is one product per run, all of them in one call. A run's numbers stand in rows and blocks of their own: what
//! happens to one run changes no other, but the library chooses the order of a product's sums, which may depend on the number of
//! runs.

use candle_core::{Device, Tensor, Var};

use super::{Memory, give_back, layer_names, numbers};
use crate::TrainError;
use crate::optimizer::UpdateRule;
use crate::record::Learner;
use kernel::heads::{activate, deactivate};
use kernel::{Moved, clip_runs, update_runs};

/// One kind of parameter of all runs, `[runs, ...]`, and the optimizers' state of it.
struct DeviceParameters {
    name: String,
    value: Var,
    first: Var,
    second: Var,
}

/// A fully connected layer of all runs: weights `[runs, outputs, inputs]`, biases `[runs, outputs]`.
struct DeviceLayer {
    weight: DeviceParameters,
    bias: DeviceParameters,
}

/// The networks of some runs.
pub struct DeviceHeads {
    layers: Vec<DeviceLayer>,
    /// How each run moves, and the steps it has made.
    rules: Vec<(UpdateRule, u64)>,
    /// `[runs]`: the largest norms of their gradients, where any is clipped.
    limits: Option<Tensor>,
}

/// The gradients of the weights and biases of each layer.
pub type HeadGradients = Vec<[Tensor; 2]>;

impl DeviceParameters {
    fn load(name: &str, learners: &[&mut Learner], memory: &[Memory], device: &Device) -> Result<Self, TrainError> {
        let var = learners.first().and_then(|learner| learner.state.get(name));
        let shape = var.map(|var| var.dims().to_vec()).unwrap_or_default();
        let mut all: [Vec<f32>; 3] = Default::default();
        for (learner, memory) in learners.iter().zip(memory) {
            let own = numbers(learner, memory, name, shape.iter().product())?;
            all.iter_mut().zip(own).for_each(|(all, own)| all.extend(own));
        }
        let shape = [&[learners.len()], &shape[..]].concat();
        let [value, first, second] = all.map(|values| Var::from_vec(values, shape.as_slice(), device));
        Ok(Self { name: name.to_owned(), value: value?, first: first?, second: second? })
    }

    fn moved<'a>(&'a self, gradient: &'a Tensor) -> Moved<'a> {
        Moved { parameter: &self.value, first: &self.first, second: Some(&self.second), gradient }
    }
}

impl DeviceHeads {
    /// The networks of `learners`, which have equal layers, on `device`. `clips` has their gradients' largest norms.
    ///
    /// # Errors
    /// Candle errors; a device without room.
    pub fn load(learners: &[&mut Learner], clips: &[Option<f64>], device: &Device) -> Result<Self, TrainError> {
        let memory: Vec<Memory> = learners.iter().map(|learner| learner.optimizer.state()).collect();
        let block = |name: String| DeviceParameters::load(&name, learners, &memory, device);
        let layer = |name: &String| -> Result<DeviceLayer, TrainError> {
            Ok(DeviceLayer { weight: block(format!("{name}.weight"))?, bias: block(format!("{name}.bias"))? })
        };
        let layers = layer_names(learners).iter().map(layer).collect::<Result<_, _>>()?;
        let rules = learners.iter().map(|learner| (learner.optimizer.rule(), learner.optimizer.steps())).collect();
        let limits = clips.iter().map(|clip| clip.unwrap_or(f64::INFINITY)).collect::<Vec<_>>();
        let clipped = clips.iter().any(Option::is_some);
        let limits = clipped.then(|| Tensor::from_vec(limits, clips.len(), device)).transpose()?;
        Ok(Self { layers, rules, limits })
    }

    /// Writes everything back to the learners that [`Self::load`] read.
    ///
    /// # Errors
    /// Propagates Candle errors.
    pub fn store(&self, learners: &mut [&mut Learner]) -> Result<(), TrainError> {
        let host = |block: &DeviceParameters| -> candle_core::Result<_> {
            let [value, first, second] = [&block.value, &block.first, &block.second].map(|var| kernel::read(var));
            Ok((block.name.clone(), [value?, first?, second?]))
        };
        let blocks = self.layers.iter().flat_map(|layer| [&layer.weight, &layer.bias]);
        let blocks = blocks.map(host).collect::<candle_core::Result<Vec<_>>>()?;
        for (run, learner) in learners.iter_mut().enumerate() {
            let of = |(name, all): &(String, [Tensor; 3])| -> candle_core::Result<_> {
                let [value, first, second] = all.each_ref().map(|all| all.get(run));
                Ok((name.clone(), [value?, first?, second?]))
            };
            let own = blocks.iter().map(of).collect::<candle_core::Result<Vec<_>>>()?;
            give_back(learner, self.rules[run].1, own.into_iter())?;
        }
        Ok(())
    }

    /// How many runs there are.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.rules.len()
    }

    /// Whether dropout falls on the inputs themselves: there is no hidden layer before the head.
    #[must_use]
    pub fn is_linear(&self) -> bool {
        self.layers.len() == 1
    }

    /// Numbers per row that the head reads, on which dropout falls.
    ///
    /// # Errors
    /// None in practice.
    pub fn features(&self) -> candle_core::Result<usize> {
        self.layers.last().map_or(Ok(0), |layer| layer.weight.value.dim(2))
    }

    /// What each layer gives, the last one logits, `[runs, labels, batch]`, of `x [batch, inputs]`. `mask` (`[features, batch]`)
    /// is the dropout of the features before the head where there are hidden layers (that of the inputs is the caller's).
    fn activations(&self, x: &Tensor, mask: Option<&Tensor>) -> candle_core::Result<Vec<Tensor>> {
        let mut all: Vec<Tensor> = Vec::with_capacity(self.layers.len());
        for (place, DeviceLayer { weight, bias }) in self.layers.iter().enumerate() {
            let weight = weight.value.as_detached_tensor();
            let (runs, outputs, inputs) = weight.dims3()?;
            let z = match all.last() {
                None => weight.reshape((runs * outputs, inputs))?.matmul(&x.t()?)?.reshape((runs, outputs, x.dim(0)?))?,
                Some(below) => weight.matmul(below)?,
            };
            let above = self.layers.len() - place - 1;
            all.push(activate(&z, &bias.value.as_detached_tensor(), above > 0, mask.filter(|_| above == 1))?);
        }
        Ok(all)
    }

    /// Logits of `x [batch, inputs]`: `[runs, labels, batch]`.
    ///
    /// # Errors
    /// Propagates Candle errors.
    pub fn logits(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let last = self.activations(x, None)?.pop();
        last.ok_or_else(|| candle_core::Error::Msg("a network without layers".to_owned()))
    }

    /// Forward and backward over `x [batch, inputs]`: `evaluate` makes the gradient of logits. `mask`: as [`Self::activations`].
    ///
    /// # Errors
    /// Candle errors; errors of `evaluate`.
    pub fn gradients(
        &self,
        x: &Tensor,
        mask: Option<&Tensor>,
        evaluate: impl FnOnce(&Tensor) -> Result<Tensor, TrainError>,
    ) -> Result<HeadGradients, TrainError> {
        let all = self.activations(x, mask)?;
        let Some(logits) = all.last() else { return Ok(HeadGradients::new()) };
        let mut dy = evaluate(logits)?;
        let mut gradients = HeadGradients::new();
        for (place, DeviceLayer { weight, .. }) in self.layers.iter().enumerate().rev() {
            let bias = dy.sum(2)?;
            let Some(below) = place.checked_sub(1).map(|below| &all[below]) else {
                let (runs, outputs, batch) = dy.dims3()?;
                let weight = dy.reshape((runs * outputs, batch))?.matmul(x)?;
                gradients.push([weight.reshape((runs, outputs, x.dim(1)?))?, bias]);
                break;
            };
            gradients.push([dy.matmul(&below.transpose(1, 2)?)?, bias]);
            let dx = weight.value.as_detached_tensor().transpose(1, 2)?.matmul(&dy)?;
            dy = deactivate(&dx, below, mask.filter(|_| place + 1 == self.layers.len()))?;
        }
        gradients.reverse();
        Ok(gradients)
    }

    /// Moves every run against its gradient with its own learning rate. Returns the norms of the gradients, `[1, runs]`, where
    /// any is clipped. The parameters of a run whose gradient is NaN or infinite are worthless afterwards.
    ///
    /// # Errors
    /// Propagates Candle errors.
    pub fn update(&mut self, gradients: &HeadGradients, rates: &[f64]) -> candle_core::Result<Option<Tensor>> {
        let all: Vec<&Tensor> = gradients.iter().flatten().collect();
        let scales = self.limits.as_ref().map(|limits| clip_runs(&all, limits)).transpose()?;
        let moves = |((rule, steps), rate): (&mut (UpdateRule, u64), &f64)| {
            *steps += 1;
            rule.column(*steps, *rate)
        };
        let columns: Vec<_> = self.rules.iter_mut().zip(rates).map(moves).collect();
        let blocks = self.layers.iter().flat_map(|layer| [&layer.weight, &layer.bias]);
        let moved: Vec<Moved<'_>> = blocks.zip(&all).map(|(block, gradient)| block.moved(gradient)).collect();
        update_runs(&moved, &columns, scales.as_ref())?;
        scales.map(|scales| scales.narrow(0, 1, 1)).transpose()
    }
}
