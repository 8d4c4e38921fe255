//! Many small networks (`linear`, `mlp`) in one pass over the same inputs: forward, backward and update in closed form, without a
//! graph. Their first layers stand below each other and are one matrix product; what comes after is each run's own.
//!
//! A run gives the same bits among others as alone (see [`crate::kernel::stacked`]). Candle's own way through the same networks is
//! the reference that tests compare with.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::TrainError;
use super::optimizer::Rule;
use super::record::Learner;
use crate::kernel::{dense, dense_input_gradient, dense_weight_gradient, stacked};

/// One kind of parameter of all runs, one after the other, with its gradient and what the optimizers remember of it.
struct Block {
    name: String,
    /// As Candle has it.
    shape: Vec<usize>,
    /// Values a run.
    size: usize,
    value: Vec<f32>,
    gradient: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
}

/// A fully connected layer of all runs.
struct Layer {
    inputs: usize,
    weight: Block,
    bias: Block,
}

/// The networks of some runs.
pub struct Heads {
    layers: Vec<Layer>,
    /// How each run moves, and the steps it has made.
    rules: Vec<(Rule, u64)>,
    /// The largest norm of each run's gradient.
    clips: Vec<Option<f64>>,
}

/// A layer as one run sees it.
struct Part<'h> {
    inputs: usize,
    weight: &'h [f32],
    bias: &'h [f32],
    dweight: &'h mut [f32],
    dbias: &'h mut [f32],
}

impl Block {
    /// Room for `padded` values, those of `learners` in front.
    fn load(name: &str, learners: &[&mut Learner], memory: &[Memory], padded: usize) -> Result<Self, TrainError> {
        let mut block = Self {
            name: name.to_owned(),
            shape: vec![],
            size: 0,
            value: Vec::with_capacity(padded),
            gradient: vec![0.0; padded],
            first: Vec::with_capacity(padded),
            second: Vec::with_capacity(padded),
        };
        for (learner, memory) in learners.iter().zip(memory) {
            let Some(var) = learner.state.get(name) else {
                return Err(candle_core::Error::Msg(format!("the network has no {name}")).into());
            };
            block.shape = var.dims().to_vec();
            block.size = var.elem_count();
            let flat = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
            block.value.extend(flat(var)?);
            block.first.extend(flat(&memory[&format!("first.{name}")])?);
            match memory.get(&format!("second.{name}")) {
                Some(second) => block.second.extend(flat(second)?),
                None => block.second.resize(block.first.len(), 0.0),
            }
        }
        for part in [&mut block.value, &mut block.first, &mut block.second] {
            part.resize(padded, 0.0);
        }
        Ok(block)
    }

    /// The values of `run`.
    fn of(&self, run: usize) -> &[f32] {
        &self.value[run * self.size..(run + 1) * self.size]
    }

    /// This part of `values` of `run`, as a tensor.
    fn tensor(&self, values: &[f32], run: usize) -> candle_core::Result<Tensor> {
        Tensor::from_slice(&values[run * self.size..(run + 1) * self.size], self.shape.as_slice(), &Device::Cpu)
    }
}

/// What an optimizer remembers, by name.
type Memory = BTreeMap<String, Tensor>;

impl Heads {
    /// The networks of `learners`, which have equal layers and are on the CPU. `clips` has their gradients' largest norms.
    ///
    /// # Errors
    /// Candle's.
    pub fn load(learners: &[&mut Learner], clips: Vec<Option<f64>>) -> Result<Self, TrainError> {
        let memory: Vec<Memory> = learners.iter().map(|learner| learner.optimizer.state()).collect();
        let (mut layers, runs) = (Vec::new(), learners.len());
        let hidden = |layer: usize| format!("hidden.{layer}");
        let has = |name: &str| learners.first().is_some_and(|learner| learner.state.get(&format!("{name}.weight")).is_some());
        let mut names: Vec<String> = (0..).map(hidden).take_while(|name| has(name)).collect();
        names.push("classifier".to_owned());
        for (place, name) in names.iter().enumerate() {
            let weight = format!("{name}.weight");
            let dims = learners.first().and_then(|learner| Some(learner.state.get(&weight)?.dims().to_vec())).unwrap_or_default();
            let &[outputs, inputs] = dims.as_slice() else {
                return Err(candle_core::Error::Msg(format!("{weight} is no matrix")).into());
            };
            let rows = if place == 0 { stacked::padded(runs * outputs) } else { runs * outputs };
            let weight = Block::load(&weight, learners, &memory, rows * inputs)?;
            let bias = Block::load(&format!("{name}.bias"), learners, &memory, runs * outputs)?;
            layers.push(Layer { inputs, weight, bias });
        }
        let rules = learners.iter().map(|learner| (learner.optimizer.rule(), learner.optimizer.steps())).collect();
        Ok(Self { layers, rules, clips })
    }

    /// Puts everything back where [`Self::load`] took it from.
    ///
    /// # Errors
    /// Candle's.
    pub fn store(&self, learners: &mut [&mut Learner]) -> Result<(), TrainError> {
        for (run, learner) in learners.iter_mut().enumerate() {
            let mut memory = Memory::new();
            for block in self.blocks() {
                if let Some(var) = learner.state.get(&block.name) {
                    var.set(&block.tensor(&block.value, run)?)?;
                }
                memory.insert(format!("first.{}", block.name), block.tensor(&block.first, run)?);
                memory.insert(format!("second.{}", block.name), block.tensor(&block.second, run)?);
            }
            let memory = memory.iter().map(|(name, tensor)| (name.clone(), tensor)).collect();
            learner.optimizer.restore(&memory, self.rules[run].1)?;
        }
        Ok(())
    }

    fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.layers.iter().flat_map(|layer| [&layer.weight, &layer.bias])
    }

    fn inputs(&self) -> usize {
        self.layers[0].inputs
    }

    /// Whether dropout falls on the inputs themselves: there is no hidden layer before the head.
    #[must_use]
    pub fn is_linear(&self) -> bool {
        self.layers.len() == 1
    }

    /// Numbers a row that the head reads, on which dropout falls.
    #[must_use]
    pub fn features(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.inputs)
    }

    /// The first layer's outputs without bias, `[all outputs, batch]`.
    fn first(&self, x: &[f32]) -> Vec<f32> {
        let weight = &self.layers[0].weight.value;
        let mut z = vec![0.0; weight.len() / self.inputs() * (x.len() / self.inputs())];
        stacked::forward(weight, x, self.inputs(), &mut z);
        z
    }

    /// Logits of `x [batch, inputs]`: row-major `[batch, labels]`, a run each.
    #[must_use]
    pub fn logits(&self, x: &[f32]) -> Vec<Vec<f32>> {
        let z = self.first(x);
        let height = self.layers[0].bias.size * (x.len() / self.inputs());
        let forward = |(run, z): (usize, &[f32])| {
            let parts: Vec<_> =
                self.layers.iter().map(|layer| (layer.inputs, layer.weight.of(run), layer.bias.of(run))).collect();
            activations(&parts, z, None).pop().unwrap_or_default()
        };
        z.par_chunks_exact(height.max(1)).take(self.rules.len()).enumerate().map(forward).collect()
    }

    /// Forward and backward over `x [batch, inputs]`: `loss(run, logits, gradient)` is a run's loss of row-major `[batch, labels]`
    /// logits, whose gradient it writes. `mask` is the dropout of the features before the head where there are hidden layers (that
    /// of the inputs is the caller's). Returns what `loss` gave.
    pub fn gradients<T: Send>(
        &mut self,
        x: &[f32],
        mask: Option<&[f32]>,
        loss: impl Fn(usize, &[f32], &mut [f32]) -> T + Sync,
    ) -> Vec<T> {
        let (inputs, runs) = (self.inputs(), self.rules.len());
        let mut z = self.first(x);
        let height = self.layers[0].bias.size * (x.len() / inputs);
        let mut parts: Vec<Vec<Part<'_>>> = (0..runs).map(|_| Vec::new()).collect();
        for layer in &mut self.layers {
            let (inputs, weight, bias) = (layer.inputs, &mut layer.weight, &mut layer.bias);
            let dweights = weight.gradient.chunks_exact_mut(weight.size);
            let dbiases = bias.gradient.chunks_exact_mut(bias.size);
            let values = weight.value.chunks_exact(weight.size).zip(bias.value.chunks_exact(bias.size));
            for ((parts, (weight, bias)), (dweight, dbias)) in parts.iter_mut().zip(values).zip(dweights.zip(dbiases)) {
                parts.push(Part { inputs, weight, bias, dweight, dbias });
            }
        }
        let results = z
            .par_chunks_exact_mut(height.max(1))
            .zip(parts.par_iter_mut())
            .enumerate()
            .map(|(run, (z, parts))| backward(parts, z, mask, |logits, gradient| loss(run, logits, gradient)))
            .collect();
        drop(parts);
        // Rows of no run keep their zeros.
        stacked::weight_gradient(&z, x, inputs, &mut self.layers[0].weight.gradient);
        results
    }

    /// Moves every run against its gradient with its own learning rate. Returns the runs whose gradient is no number where its norm
    /// was asked for; they have not moved.
    pub fn update(&mut self, rates: &[f64]) -> Vec<usize> {
        let mut broken = Vec::new();
        for (run, clip) in self.clips.iter().enumerate() {
            let Some(limit) = clip else { continue };
            let square = |block: &Block| -> f64 {
                block.gradient[run * block.size..(run + 1) * block.size].iter().map(|&g| f64::from(g) * f64::from(g)).sum()
            };
            let norm = self.blocks().map(square).sum::<f64>().sqrt();
            let scale = limit / (norm + 1e-6);
            if !norm.is_finite() {
                broken.push(run);
            } else if scale < 1.0 {
                for layer in &mut self.layers {
                    for block in [&mut layer.weight, &mut layer.bias] {
                        let size = block.size;
                        block.gradient[run * size..(run + 1) * size].iter_mut().for_each(|g| *g *= scale as f32);
                    }
                }
            }
        }
        for (_, steps) in &mut self.rules {
            *steps += 1;
        }
        for layer in &mut self.layers {
            for Block { size, value, gradient, first, second, .. } in [&mut layer.weight, &mut layer.bias] {
                let moved = value.par_chunks_exact_mut(*size).zip(first.par_chunks_exact_mut(*size));
                let by = second.par_chunks_exact_mut(*size).zip(gradient.par_chunks_exact(*size));
                let all = moved.zip(by).zip(self.rules.par_iter().zip(rates)).enumerate();
                all.filter(|(run, _)| !broken.contains(run)).for_each(
                    |(_, (((value, first), (second, gradient)), (rule, rate)))| {
                        let (rule, step) = rule;
                        rule.apply(*step, *rate, value, first, second, gradient);
                    },
                );
            }
        }
        broken
    }
}

/// What each layer gives of one run, row-major, the last one logits; `z [outputs, batch]` are the first layer's outputs without bias.
fn activations(layers: &[(usize, &[f32], &[f32])], z: &[f32], mask: Option<&[f32]>) -> Vec<Vec<f32>> {
    let mut all: Vec<Vec<f32>> = Vec::with_capacity(layers.len());
    for (place, &(inputs, weight, bias)) in layers.iter().enumerate() {
        let mut y = if let Some(x) = all.last() { dense(x, weight, bias, inputs) } else { upright(z, bias) };
        if place + 1 < layers.len() {
            y.iter_mut().for_each(|y| *y = y.max(0.0));
            if let Some(mask) = mask.filter(|_| place + 2 == layers.len()) {
                y.iter_mut().zip(mask).for_each(|(y, mask)| *y *= mask);
            }
        }
        all.push(y);
    }
    all
}

/// `z [outputs, batch]` plus bias as `[batch, outputs]`.
fn upright(z: &[f32], bias: &[f32]) -> Vec<f32> {
    let (outputs, batch) = (bias.len(), z.len() / bias.len().max(1));
    let mut y = vec![0.0; z.len()];
    for (output, (z, bias)) in z.chunks_exact(batch.max(1)).zip(bias).enumerate() {
        for (row, z) in z.iter().enumerate() {
            y[row * outputs + output] = z + bias;
        }
    }
    y
}

/// One run's way forward and back. `z` holds its first layer's outputs and gets their gradient.
fn backward<T>(parts: &mut [Part<'_>], z: &mut [f32], mask: Option<&[f32]>, loss: impl FnOnce(&[f32], &mut [f32]) -> T) -> T {
    let layers: Vec<_> = parts.iter().map(|part| (part.inputs, part.weight, part.bias)).collect();
    let all = activations(&layers, z, mask);
    let logits = all.last().map_or(&[][..], Vec::as_slice);
    let mut dy = vec![0.0; logits.len()];
    let result = loss(logits, &mut dy);
    let last = parts.len() - 1;
    for (place, part) in parts.iter_mut().enumerate().rev() {
        let outputs = part.bias.len();
        part.dbias.fill(0.0);
        for row in dy.chunks_exact(outputs.max(1)) {
            part.dbias.iter_mut().zip(row).for_each(|(sum, dy)| *sum += dy);
        }
        if place == 0 {
            let batch = dy.len() / outputs.max(1);
            for (output, dz) in z.chunks_exact_mut(batch.max(1)).enumerate() {
                dz.iter_mut().enumerate().for_each(|(row, dz)| *dz = dy[row * outputs + output]);
            }
            break;
        }
        let x = &all[place - 1];
        part.dweight.copy_from_slice(&dense_weight_gradient(&dy, x, part.inputs));
        let mut dx = dense_input_gradient(&dy, part.weight, part.inputs);
        if let Some(mask) = mask.filter(|_| place == last) {
            dx.iter_mut().zip(mask).for_each(|(dx, mask)| *dx *= mask);
        }
        // Where the rectifier was shut (or dropout fell) nothing comes through.
        dx.iter_mut().zip(x).for_each(|(dx, &x)| *dx = if x > 0.0 { *dx } else { 0.0 });
        dy = dx;
    }
    result
}
