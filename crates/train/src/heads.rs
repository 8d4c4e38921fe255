//! Many small networks (`linear`, `mlp`) in one pass over the same inputs: forward, backward and update in closed form, without a
//! graph. Their first layers stand below each other and are one matrix product; what comes after is each run's own.
//!
//! A run gives the same bits among others as alone (see [`kernel::stacked`]). Candle's graph of the same networks is
//! the reference that tests compare with.

pub mod device;

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::TrainError;
use super::optimizer::UpdateRule;
use super::record::Learner;
use kernel::stacked::{Column, Kind, Losses, Rows};
use kernel::{linear_input_gradient, linear_values, linear_weight_gradient, stacked};

/// One kind of parameter of all runs, with its gradient and the optimizers' state of it: one run after the other, or side by
/// side in panels (see [`stacked`]).
struct Parameters {
    name: String,
    /// As Candle has it.
    shape: Vec<usize>,
    /// Values per run.
    size: usize,
    /// Inputs, where the block is in panels.
    panels: Option<usize>,
    value: Vec<f32>,
    gradient: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
}

/// A fully connected layer of all runs. The weights of the first one are in panels.
struct Layer {
    inputs: usize,
    weight: Parameters,
    bias: Parameters,
}

/// The networks of some runs.
pub struct Heads {
    layers: Vec<Layer>,
    /// How each run moves, and the steps it has made.
    rules: Vec<(UpdateRule, u64)>,
    /// The largest norm of each run's gradient.
    clips: Vec<Option<f64>>,
    /// The first layer's outputs in panels: room that is kept from step to step.
    z: Vec<f32>,
}

/// A layer as one run sees it.
struct LayerView<'h> {
    inputs: usize,
    weight: &'h [f32],
    bias: &'h [f32],
    dweight: &'h mut [f32],
    dbias: &'h mut [f32],
}

impl Parameters {
    fn load(name: &str, learners: &[&mut Learner], memory: &[Memory], in_panels: bool) -> Result<Self, TrainError> {
        let var = learners.first().and_then(|learner| learner.state.get(name));
        let shape = var.map(|var| var.dims().to_vec()).unwrap_or_default();
        let (size, panels) = (shape.iter().product(), shape.last().copied().filter(|_| in_panels));
        let length = match panels {
            Some(inputs) => stacked::panels(learners.len() * shape[0]) * stacked::PANEL * inputs,
            None => learners.len() * size,
        };
        let zeros = || vec![0.0; length];
        let (value, gradient, first, second) = (zeros(), zeros(), zeros(), zeros());
        let mut block = Self { name: name.to_owned(), shape, size, panels, value, gradient, first, second };
        for (run, (learner, memory)) in learners.iter().zip(memory).enumerate() {
            let [value, first, second] = numbers(learner, memory, name, size)?;
            for (at, ((value, first), second)) in value.into_iter().zip(first).zip(second).enumerate() {
                let place = block.place(run, at);
                (block.value[place], block.first[place], block.second[place]) = (value, first, second);
            }
        }
        Ok(block)
    }

    /// Where value number `at` of `run` is.
    fn place(&self, run: usize, at: usize) -> usize {
        let Some(inputs) = self.panels else { return run * self.size + at };
        let column = run * self.shape[0] + at / inputs;
        (column / stacked::PANEL * inputs + at % inputs) * stacked::PANEL + column % stacked::PANEL
    }

    /// `values` of `run`, as a tensor.
    fn tensor(&self, values: &[f32], run: usize) -> candle_core::Result<Tensor> {
        let own: Vec<f32> = (0..self.size).map(|at| values[self.place(run, at)]).collect();
        Tensor::from_vec(own, self.shape.as_slice(), &Device::Cpu)
    }
}

/// The optimizer's state, by name.
type Memory = BTreeMap<String, Tensor>;

/// The parameter `name` of a learner, which has `size` values, and its optimizer's state of it.
fn numbers(learner: &Learner, memory: &Memory, name: &str, size: usize) -> Result<[Vec<f32>; 3], TrainError> {
    let missing = || candle_core::Error::Msg(format!("the network has no {name}"));
    let value = kernel::read(&learner.state.get(name).ok_or_else(missing)?.flatten_all()?)?.to_vec1::<f32>()?;
    if value.len() != size {
        return Err(missing().into());
    }
    let remembered = |part: &str| match memory.get(&format!("{part}.{name}")) {
        Some(tensor) => kernel::read(&tensor.flatten_all()?)?.to_vec1::<f32>(),
        None => Ok(vec![0.0; size]),
    };
    Ok([value, remembered("first")?, remembered("second")?])
}

/// The names of the layers of `learners`' networks.
fn layer_names(learners: &[&mut Learner]) -> Vec<String> {
    let has = |name: &str| learners.first().is_some_and(|learner| learner.state.get(&format!("{name}.weight")).is_some());
    let mut names: Vec<String> = (0..).map(|layer| format!("hidden.{layer}")).take_while(|name| has(name)).collect();
    names.push("classifier".to_owned());
    names
}

/// Writes the trained parameters and the optimizer's state to a learner, by name, after `steps` steps in all.
fn give_back(learner: &mut Learner, steps: u64, blocks: impl Iterator<Item = (String, [Tensor; 3])>) -> Result<(), TrainError> {
    let mut memory = Memory::new();
    for (name, [value, first, second]) in blocks {
        if let Some(var) = learner.state.get(&name) {
            var.set(&value)?;
        }
        memory.extend([(format!("first.{name}"), first), (format!("second.{name}"), second)]);
    }
    let memory = memory.iter().map(|(name, tensor)| (name.clone(), tensor)).collect();
    learner.optimizer.restore(&memory, steps)?;
    Ok(())
}

impl Heads {
    /// The networks of `learners`, which have equal layers and are on the CPU. `clips` has their gradients' largest norms.
    ///
    /// # Errors
    /// Propagates Candle errors.
    pub fn load(learners: &[&mut Learner], clips: Vec<Option<f64>>) -> Result<Self, TrainError> {
        let memory: Vec<Memory> = learners.iter().map(|learner| learner.optimizer.state()).collect();
        let layer = |(place, name): (usize, &String)| -> Result<Layer, TrainError> {
            let weight = Parameters::load(&format!("{name}.weight"), learners, &memory, place == 0)?;
            let bias = Parameters::load(&format!("{name}.bias"), learners, &memory, false)?;
            Ok(Layer { inputs: weight.shape.last().copied().unwrap_or(0), weight, bias })
        };
        let layers = layer_names(learners).iter().enumerate().map(layer).collect::<Result<_, _>>()?;
        let rules = learners.iter().map(|learner| (learner.optimizer.rule(), learner.optimizer.steps())).collect();
        Ok(Self { layers, rules, clips, z: Vec::new() })
    }

    /// Writes everything back to the learners that [`Self::load`] read.
    ///
    /// # Errors
    /// Propagates Candle errors.
    pub fn store(&self, learners: &mut [&mut Learner]) -> Result<(), TrainError> {
        for (run, learner) in learners.iter_mut().enumerate() {
            let of = |block: &Parameters| -> candle_core::Result<_> {
                let [value, first, second] = [&block.value, &block.first, &block.second].map(|values| block.tensor(values, run));
                Ok((block.name.clone(), [value?, first?, second?]))
            };
            let blocks = self.blocks().map(of).collect::<candle_core::Result<Vec<_>>>()?;
            give_back(learner, self.rules[run].1, blocks.into_iter())?;
        }
        Ok(())
    }

    fn blocks(&self) -> impl Iterator<Item = &Parameters> {
        self.layers.iter().flat_map(|layer| [&layer.weight, &layer.bias])
    }

    /// Numbers per row.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.layers[0].inputs
    }

    /// Whether dropout falls on the inputs themselves: there is no hidden layer before the head.
    #[must_use]
    pub fn is_linear(&self) -> bool {
        self.layers.len() == 1
    }

    /// Numbers per row that the head reads, on which dropout falls.
    #[must_use]
    pub fn features(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.inputs)
    }

    /// Rows of `x`.
    #[must_use]
    pub fn batch(&self, x: &[f32]) -> usize {
        x.len() / stacked::row_step(self.inputs())
    }

    /// Logits of `x [batch, inputs]`, rows [`stacked::row_step`] apart: row-major `[batch, labels]`, one matrix per run.
    #[must_use]
    pub fn logits(&self, x: &[f32]) -> Vec<Vec<f32>> {
        let (weight, batch) = (&self.layers[0].weight.value, self.batch(x));
        let mut z = vec![0.0; weight.len() / self.inputs() * batch];
        stacked::forward(x, weight, self.inputs(), &mut z, |_| ());
        let forward = |run: usize| {
            let of = |block: &Parameters| run * block.size..(run + 1) * block.size;
            let first = &self.layers[0].bias;
            let z = upright(&z, run, &first.value[of(first)], batch);
            let rest = self.layers[1..].iter();
            let rest =
                rest.map(|layer| (layer.inputs, &layer.weight.value[of(&layer.weight)], &layer.bias.value[of(&layer.bias)]));
            activations(z, &rest.collect::<Vec<_>>(), None).pop().unwrap_or_default()
        };
        (0..self.rules.len()).into_par_iter().map(forward).collect()
    }

    /// A step over `x [batch, inputs]`, rows [`stacked::row_step`] apart: every run moves against the gradient of its loss of row-major
    /// `targets` `[batch, labels]`, with its own learning rate. The losses that `losses` has are evaluated in the panels;
    /// `loss(run, logits, gradient)` is another run's loss of row-major `[batch, labels]` logits, whose gradient it writes. `mask` is the
    /// dropout of the features before the head where there are hidden layers (that of the inputs is the caller's).
    ///
    /// Returns each run's loss, NaN where one of its slopes is NaN or infinite, and the runs whose gradient is NaN or infinite where
    /// its norm was asked for; they have not moved.
    pub fn step(
        &mut self,
        x: &[f32],
        mask: Option<&[f32]>,
        (losses, targets): (&Losses, &[u8]),
        rates: &[f64],
        loss: impl Fn(usize, &[f32], &mut [f32]) -> f64 + Sync,
    ) -> (Vec<f64>, Vec<usize>) {
        let results = self.backward(x, mask, (losses, targets), loss);
        for (_, steps) in &mut self.rules {
            *steps += 1;
        }
        let inputs = self.inputs();
        let columns: Vec<Column> = self.rules.iter().zip(rates).map(|((rule, step), &rate)| rule.column(*step, rate)).collect();
        // Where nothing has to be known about a whole gradient, its rows are used while they are in the caches.
        let whole = self.clips.iter().any(Option::is_some) || columns.iter().any(|column| column.rule == Kind::AdamMini);
        let Layer { weight, .. } = &mut self.layers[0];
        if whole {
            stacked::weight_gradient(x, &self.z, inputs, &mut weight.gradient);
        } else {
            let parameters = [&mut weight.value[..], &mut weight.first, &mut weight.second];
            stacked::descend(x, &self.z, inputs, &in_panels(&columns, weight.shape[0], &[]), parameters, &mut weight.gradient);
        }
        let broken = self.clip();
        let moves = |run: &usize| !broken.contains(run);
        for block in self.layers.iter_mut().flat_map(|layer| [&mut layer.weight, &mut layer.bias]) {
            if block.panels.is_some() {
                if whole {
                    let columns = in_panels(&columns, block.shape[0], &broken);
                    stacked::update(&columns, &mut block.value, &mut block.first, &mut block.second, &block.gradient);
                }
                continue;
            }
            let Parameters { size, shape, value, gradient, first, second, .. } = block;
            let inputs = (shape.len() > 1).then(|| shape[1]);
            let moved = value.par_chunks_exact_mut(*size).zip(first.par_chunks_exact_mut(*size));
            let by = second.par_chunks_exact_mut(*size).zip(gradient.par_chunks_exact(*size));
            let all = moved.zip(by).zip(self.rules.par_iter().zip(rates)).enumerate();
            all.filter(|(run, _)| moves(run)).for_each(|(_, (((value, first), (second, gradient)), (rule, rate)))| {
                let (rule, step) = rule;
                rule.apply(*step, *rate, inputs, [value, first, second], gradient);
            });
        }
        (results, broken)
    }

    /// Forward and backward but for the first layer's weights: leaves the gradient of its outputs in `z`. Returns the losses.
    fn backward(
        &mut self,
        x: &[f32],
        mask: Option<&[f32]>,
        (losses, targets): (&Losses, &[u8]),
        loss: impl Fn(usize, &[f32], &mut [f32]) -> f64 + Sync,
    ) -> Vec<f64> {
        let (inputs, batch) = (self.inputs(), self.batch(x));
        let [first, rest @ ..] = &mut self.layers[..] else { return Vec::new() };
        self.z.resize(first.weight.value.len() / inputs * batch, 0.0);
        let (labels, share) = (targets.len() / batch.max(1), 1.0 / targets.len() as f32);
        let sums = stacked::forward(x, &first.weight.value, inputs, &mut self.z, |mut rows: Rows<'_>| {
            let range = rows.range();
            losses.evaluate(&mut rows, &first.bias.value, &targets[range.start * labels..range.end * labels], share)
        });
        let mut results = losses.means(&sums, batch);
        for (run, dbias) in first.bias.gradient.chunks_exact_mut(first.bias.size).enumerate().filter(|(run, _)| losses.has(*run))
        {
            for (output, dbias) in dbias.iter_mut().enumerate() {
                let column = run * first.bias.size + output;
                *dbias = sums.iter().map(|sums| sums[column / stacked::PANEL].slope[column % stacked::PANEL]).sum();
            }
        }
        let others: Vec<usize> = (0..results.len()).filter(|&run| !losses.has(run)).collect();
        if others.is_empty() {
            return results;
        }
        let mut parts: Vec<Vec<LayerView<'_>>> = results.iter().map(|_| Vec::new()).collect();
        for Layer { inputs, weight, bias } in rest {
            let gradients = weight.gradient.chunks_exact_mut(weight.size).zip(bias.gradient.chunks_exact_mut(bias.size));
            let values = weight.value.chunks_exact(weight.size).zip(bias.value.chunks_exact(bias.size));
            for (parts, ((weight, bias), (dweight, dbias))) in parts.iter_mut().zip(values.zip(gradients)) {
                parts.push(LayerView { inputs: *inputs, weight, bias, dweight, dbias });
            }
        }
        let (z, outputs) = (&self.z, first.bias.size);
        let (bias, dbias) = (first.bias.value.par_chunks_exact(outputs), first.bias.gradient.par_chunks_exact_mut(outputs));
        // One task per run: losses differ in cost.
        let each = bias.zip(dbias).zip(&mut parts).zip(&mut results).enumerate().with_max_len(1);
        let each = each.filter(|(run, _)| !losses.has(*run)).map(|(run, (((bias, dbias), parts), result))| {
            let own = upright(z, run, bias, batch);
            let (value, dz) = backward(own, parts, dbias, mask, |logits, gradient| loss(run, logits, gradient));
            *result = value;
            dz
        });
        let dz: Vec<Vec<f32>> = each.collect();
        lay_down(&others, &dz, outputs, batch, &mut self.z);
        results
    }

    /// Scales the gradients of runs whose norm is above their limit. Returns the runs whose norm is NaN or infinite.
    fn clip(&mut self) -> Vec<usize> {
        let mut broken = Vec::new();
        for run in 0..self.rules.len() {
            let Some(limit) = self.clips[run] else { continue };
            let square = |block: &Parameters| -> f64 {
                (0..block.size).map(|at| f64::from(block.gradient[block.place(run, at)])).map(|g| g * g).sum()
            };
            let norm = self.blocks().map(square).sum::<f64>().sqrt();
            let scale = (limit / (norm + 1e-6)) as f32;
            if !norm.is_finite() {
                broken.push(run);
            } else if scale < 1.0 {
                for block in self.layers.iter_mut().flat_map(|layer| [&mut layer.weight, &mut layer.bias]) {
                    for at in 0..block.size {
                        let place = block.place(run, at);
                        block.gradient[place] *= scale;
                    }
                }
            }
        }
        broken
    }
}

/// A column for each output of each run, in whole panels; nothing moves in those of `broken` runs.
fn in_panels(columns: &[Column], outputs: usize, broken: &[usize]) -> Vec<Column> {
    let own = |(run, column): (usize, &Column)| if broken.contains(&run) { Column::default() } else { *column };
    let mut all: Vec<Column> =
        columns.iter().enumerate().map(own).flat_map(|column| std::iter::repeat_n(column, outputs)).collect();
    all.resize(all.len().next_multiple_of(stacked::PANEL), Column::default());
    all
}

/// The first layer's outputs of `run`, `[batch, outputs]`, from the panels `z`; with bias.
fn upright(z: &[f32], run: usize, bias: &[f32], batch: usize) -> Vec<f32> {
    let outputs = bias.len();
    let mut y = vec![0.0; batch * outputs];
    for (output, bias) in bias.iter().enumerate() {
        let column = run * outputs + output;
        let panel = &z[column / stacked::PANEL * batch * stacked::PANEL..][..batch * stacked::PANEL];
        let from = panel.iter().skip(column % stacked::PANEL).step_by(stacked::PANEL);
        y.iter_mut().skip(output).step_by(outputs).zip(from).for_each(|(y, z)| *y = z + bias);
    }
    y
}

/// The reverse: the gradients `dz` of some `runs` into their columns.
fn lay_down(runs: &[usize], dz: &[Vec<f32>], outputs: usize, batch: usize, z: &mut [f32]) {
    z.par_chunks_exact_mut((batch * stacked::PANEL).max(1)).enumerate().for_each(|(panel, z)| {
        for lane in 0..stacked::PANEL {
            let column = panel * stacked::PANEL + lane;
            let Ok(place) = runs.binary_search(&(column / outputs)) else { continue };
            let to = z.iter_mut().skip(lane).step_by(stacked::PANEL);
            to.zip(dz[place].iter().skip(column % outputs).step_by(outputs)).for_each(|(z, dz)| *z = *dz);
        }
    });
}

/// What each layer gives of one run, row-major, the last one logits: `z` is the first layer's outputs, `layers` are the others.
fn activations(z: Vec<f32>, layers: &[(usize, &[f32], &[f32])], mask: Option<&[f32]>) -> Vec<Vec<f32>> {
    let mut all = vec![z];
    for (place, &(inputs, weight, bias)) in layers.iter().enumerate() {
        let x = &mut all[place];
        x.iter_mut().for_each(|x| *x = x.max(0.0));
        if let Some(mask) = mask.filter(|_| place + 1 == layers.len()) {
            x.iter_mut().zip(mask).for_each(|(x, mask)| *x *= mask);
        }
        let y = linear_values(x, weight, bias, inputs);
        all.push(y);
    }
    all
}

/// Sums over the rows of `dy`.
fn add_up(dy: &[f32], dbias: &mut [f32]) {
    dbias.fill(0.0);
    for row in dy.chunks_exact(dbias.len().max(1)) {
        dbias.iter_mut().zip(row).for_each(|(sum, dy)| *sum += dy);
    }
}

/// Forward and backward pass of one run from its first layer's outputs `z`. Returns what the loss gave, and the gradient of `z`.
fn backward(
    z: Vec<f32>,
    parts: &mut [LayerView<'_>],
    dbias: &mut [f32],
    mask: Option<&[f32]>,
    loss: impl FnOnce(&[f32], &mut [f32]) -> f64,
) -> (f64, Vec<f32>) {
    let layers: Vec<_> = parts.iter().map(|part| (part.inputs, part.weight, part.bias)).collect();
    let all = activations(z, &layers, mask);
    let logits = all.last().map_or(&[][..], Vec::as_slice);
    let mut dy = vec![0.0; logits.len()];
    let result = loss(logits, &mut dy);
    let last = parts.len();
    for (place, part) in parts.iter_mut().enumerate().rev() {
        add_up(&dy, part.dbias);
        let x = &all[place];
        part.dweight.copy_from_slice(&linear_weight_gradient(&dy, x, part.inputs));
        let mut dx = linear_input_gradient(&dy, part.weight, part.inputs);
        if let Some(mask) = mask.filter(|_| place + 1 == last) {
            dx.iter_mut().zip(mask).for_each(|(dx, mask)| *dx *= mask);
        }
        // No gradient passes where the rectifier was off or a unit was dropped.
        dx.iter_mut().zip(x).for_each(|(dx, &x)| *dx = if x > 0.0 { *dx } else { 0.0 });
        dy = dx;
    }
    add_up(&dy, dbias);
    (result, dy)
}
