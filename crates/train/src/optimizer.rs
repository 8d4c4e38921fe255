//! Adam (Kingma & Ba 2015), AdamW (Loshchilov & Hutter 2019) and SGD with momentum (Sutskever et al. 2013), as PyTorch defines
//! them, and Adam-mini (Zhang et al., "Adam-mini: use fewer learning rates to gain more", ICLR 2025, with a block per neuron). Their whole state can be saved, so that a training goes on from a checkpoint as if it had never stopped.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, Var};

use imbalance::Choice;
use kernel::stacked::{Column, Kind};
use kernel::{AdamStep, Blend, Moved, SgdStep, Update, neuron_squares};

/// How a parameter moves.
#[derive(Clone, Copy, Debug)]
pub enum UpdateRule {
    /// `neuron`: the weights of a neuron share one second moment, the mean of theirs.
    Adam {
        beta1: f64,
        beta2: f64,
        eps: f64,
        decay: f64,
        decoupled: bool,
        neuron: bool,
    },
    Sgd {
        momentum: f64,
        nesterov: bool,
        decay: f64,
    },
}

impl UpdateRule {
    /// The rule of a sweep file's `train.optimizer`.
    #[must_use]
    pub fn new(choice: &Choice) -> Self {
        match choice.kind.as_str() {
            "sgd" => Self::Sgd {
                momentum: choice.get("momentum"),
                nesterov: choice.get("nesterov") != 0.0,
                decay: choice.get("weight_decay"),
            },
            kind => Self::Adam {
                beta1: choice.get("beta1"),
                beta2: choice.get("beta2"),
                eps: choice.get("eps"),
                decay: choice.get("weight_decay"),
                decoupled: matches!(kind, "adamw" | "adam_mini"),
                neuron: kind == "adam_mini",
            },
        }
    }

    /// What step number `step` (from 1) does on plain slices: `first` and `second` (of Adam) are the optimizer's state. `inputs`:
    /// weights per neuron; `None` for biases.
    pub fn apply(&self, step: u64, rate: f64, inputs: Option<usize>, moved: [&mut [f32]; 3], gradient: &[f32]) {
        let [parameter, first, second] = moved;
        match *self {
            Self::Adam { neuron, .. } => {
                let (mean, square, move_by) = self.adam(step, rate);
                mean.apply(first, gradient, parameter);
                match inputs.filter(|_| neuron) {
                    Some(inputs) => {
                        Blend { square: false, ..square }.apply(second, &neuron_squares(gradient, inputs), parameter);
                    }
                    None => square.apply(second, gradient, parameter),
                }
                move_by.apply(parameter, first, second);
            }
            Self::Sgd { momentum, nesterov, decay } => {
                Blend { keep: momentum, add: 1.0, decay, square: false }.apply(first, gradient, parameter);
                SgdStep { rate, momentum, decay, nesterov }.apply(parameter, first, gradient);
            }
        }
    }

    /// What step number `step` (from 1) does, for the columns of a panel.
    #[must_use]
    pub fn column(&self, step: u64, rate: f64) -> Column {
        match *self {
            Self::Adam { neuron, .. } => {
                let (mean, square, move_by) = self.adam(step, rate);
                Column {
                    rule: if neuron { Kind::AdamMini } else { Kind::Adam },
                    decay: mean.decay as f32,
                    keep: mean.keep as f32,
                    add: mean.add as f32,
                    keep_square: square.keep as f32,
                    add_square: square.add as f32,
                    rate: move_by.rate as f32,
                    shrink: move_by.shrink as f32,
                    eps: move_by.eps as f32,
                    root: move_by.root as f32,
                    momentum: 0.0,
                }
            }
            Self::Sgd { momentum, nesterov, decay } => Column {
                rule: if nesterov { Kind::Nesterov } else { Kind::Sgd },
                decay: decay as f32,
                keep: momentum as f32,
                add: 1.0,
                rate: rate as f32,
                momentum: momentum as f32,
                ..Column::default()
            },
        }
    }

    /// Adam's three updates of step number `step`.
    fn adam(&self, step: u64, rate: f64) -> (Blend, Blend, AdamStep) {
        let Self::Adam { beta1, beta2, eps, decay, decoupled, .. } = *self else { unreachable!("asked of Adam only") };
        let (l2, shrink) = if decoupled { (0.0, 1.0 - rate * decay) } else { (decay, 1.0) };
        let blend = |keep: f64, square| Blend { keep, add: 1.0 - keep, decay: l2, square };
        let unbias = |beta: f64| 1.0 - beta.powf(step as f64);
        let move_by = AdamStep { rate: rate / unbias(beta1), shrink, eps, root: 1.0 / unbias(beta2).sqrt() };
        (blend(beta1, false), blend(beta2, true), move_by)
    }
}

/// An optimizer and its state of each parameter.
#[derive(Debug)]
pub struct Optimizer {
    rule: UpdateRule,
    slots: BTreeMap<String, ParameterState>,
    steps: u64,
}

#[derive(Debug)]
struct ParameterState {
    parameter: Var,
    /// Running mean of the gradient.
    first: Var,
    /// Adam: running mean of its square.
    second: Option<Var>,
}

impl Optimizer {
    /// The optimizer of a sweep file's `train.optimizer`, over `parameters` by name.
    ///
    /// # Errors
    /// Propagates Candle errors.
    pub fn new(choice: &Choice, parameters: &BTreeMap<String, Var>) -> Result<Self> {
        let rule = UpdateRule::new(choice);
        let zeros = |parameter: &Var| Var::zeros(parameter.shape(), parameter.dtype(), parameter.device());
        let slot = |(name, parameter): (&String, &Var)| {
            let second = if matches!(rule, UpdateRule::Adam { .. }) { Some(zeros(parameter)?) } else { None };
            Ok((name.clone(), ParameterState { parameter: parameter.clone(), first: zeros(parameter)?, second }))
        };
        Ok(Self { rule, slots: parameters.iter().map(slot).collect::<Result<_>>()?, steps: 0 })
    }

    /// One step against the gradients by name with learning rate `rate`; a parameter without a gradient stays. `scale`: what the
    /// gradients are still to be multiplied with ([`kernel::clip_scale`]).
    ///
    /// # Errors
    /// Propagates Candle errors.
    pub fn step(&mut self, gradients: &BTreeMap<&str, Tensor>, rate: f64, scale: Option<&Tensor>) -> Result<()> {
        self.steps += 1;
        let moved = self.slots.iter().filter_map(|(name, ParameterState { parameter, first, second })| {
            Some(Moved { parameter, first, second: second.as_ref(), gradient: gradients.get(name.as_str())? })
        });
        let update = match self.rule {
            UpdateRule::Adam { neuron, .. } => {
                let (mean, square, step) = self.rule.adam(self.steps, rate);
                Update::Adam { mean, square, step, neuron }
            }
            UpdateRule::Sgd { momentum, nesterov, decay } => Update::Sgd {
                mean: Blend { keep: momentum, add: 1.0, decay, square: false },
                step: SgdStep { rate, momentum, decay, nesterov },
            },
        };
        update.apply(&moved.collect::<Vec<_>>(), scale)
    }

    /// How it moves parameters.
    #[must_use]
    pub fn rule(&self) -> UpdateRule {
        self.rule
    }

    /// Steps so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Its state: `first.NAME` and, of Adam, `second.NAME`.
    #[must_use]
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let mut state = BTreeMap::new();
        for (name, slot) in &self.slots {
            state.insert(format!("first.{name}"), slot.first.as_detached_tensor());
            if let Some(second) = &slot.second {
                state.insert(format!("second.{name}"), second.as_detached_tensor());
            }
        }
        state
    }

    /// Takes over what [`Self::state`] gave after `steps` steps. `false`, and nothing is changed, where `state` lacks something.
    ///
    /// # Errors
    /// Propagates Candle errors.
    pub fn restore(&mut self, state: &BTreeMap<String, &Tensor>, steps: u64) -> Result<bool> {
        let own = self.state();
        if own.iter().any(|(name, own)| state.get(name).is_none_or(|found| found.dims() != own.dims())) {
            return Ok(false);
        }
        for (name, slot) in &self.slots {
            let load = |part: &str, var: &Var| match state.get(&format!("{part}.{name}")) {
                Some(tensor) => var.set(&tensor.to_device(var.device())?),
                None => Ok(()),
            };
            load("first", &slot.first)?;
            slot.second.iter().try_for_each(|second| load("second", second))?;
        }
        self.steps = steps;
        Ok(true)
    }
}

/// The L2 norm of all gradients together, f64.
///
/// # Errors
/// Propagates Candle errors.
pub fn norm(gradients: &BTreeMap<&str, Tensor>) -> Result<f64> {
    let mut sum = 0.0;
    for gradient in gradients.values() {
        let flat = kernel::read(&gradient.flatten_all()?)?.to_vec1::<f32>()?;
        sum += flat.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>();
    }
    Ok(sum.sqrt())
}

/// Scales the gradients down to the norm `limit` where they are above it (Pascanu et al. 2013; as torch's `clip_grad_norm_`).
/// Returns the norm they had.
///
/// # Errors
/// Propagates Candle errors.
pub fn clip(gradients: &mut BTreeMap<&str, Tensor>, limit: f64) -> Result<f64> {
    let norm = norm(gradients)?;
    let scale = limit / (norm + 1e-6);
    if scale < 1.0 {
        for gradient in gradients.values_mut() {
            *gradient = gradient.affine(scale, 0.0)?;
        }
    }
    Ok(norm)
}

#[cfg(test)]
mod tests;
