//! An optimizer's step over all parameters, of one network or of many side by side: on CUDA one launch for all of them, elsewhere
//! tensor by tensor.

use candle_core::{Result, Tensor, Var};

use super::stacked::{Column, Kind};
use super::{AdamStep, Blend, SgdStep};

/// A parameter with its optimizer's state, and its newest gradient; all of one shape.
#[derive(Clone, Copy, Debug)]
pub struct Moved<'a> {
    pub parameter: &'a Var,
    /// Running mean of the gradient.
    pub first: &'a Var,
    /// Adam: running mean of its square.
    pub second: Option<&'a Var>,
    pub gradient: &'a Tensor,
}

/// One step of an optimizer.
#[derive(Clone, Copy, Debug)]
pub enum Update {
    /// `neuron`: the weights of a neuron share the mean of their squares (Adam-mini).
    Adam {
        mean: Blend,
        square: Blend,
        step: AdamStep,
        neuron: bool,
    },
    Sgd {
        mean: Blend,
        step: SgdStep,
    },
}

impl Update {
    /// Moves all of `moved`; `scale` (`[2]`, of [`clip_scale`]) is what the gradients are still to be multiplied with.
    ///
    /// # Errors
    /// Candle errors; shapes that differ.
    pub fn apply(&self, moved: &[Moved<'_>], scale: Option<&Tensor>) -> Result<()> {
        #[cfg(feature = "cuda")]
        if let Some(device) = super::cuda::updates::device_of(moved) {
            return super::cuda::updates::apply(self, moved, scale, &device);
        }
        self.one_by_one(moved, scale)
    }

    /// [`Self::apply`], tensor by tensor.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn one_by_one(&self, moved: &[Moved<'_>], scale: Option<&Tensor>) -> Result<()> {
        let scale = scale.map(|scale| scale.narrow(0, 0, 1)).transpose()?;
        for Moved { parameter, first, second, gradient } in moved {
            let scaled = match &scale {
                Some(scale) => Some(gradient.broadcast_mul(&scale.to_dtype(gradient.dtype())?)?),
                None => None,
            };
            let gradient = scaled.as_ref().unwrap_or(gradient);
            match (self, second) {
                (Self::Adam { mean, square, step, neuron }, Some(second)) => {
                    mean.update(first, gradient, parameter)?;
                    match neuron_means(gradient, 1)?.filter(|_| *neuron) {
                        Some(means) => {
                            let weights = gradient.flatten_from(1)?;
                            let squares = means.broadcast_as(weights.shape())?.reshape(gradient.shape())?;
                            Blend { square: false, ..*square }.update(second, &squares, parameter)?;
                        }
                        None => square.update(second, gradient, parameter)?,
                    }
                    step.update(parameter, first, second)?;
                }
                (Self::Sgd { mean, step }, _) => {
                    mean.update(first, gradient, parameter)?;
                    step.update(parameter, first, gradient)?;
                }
                (Self::Adam { .. }, None) => candle_core::bail!("Adam needs the mean of the squares"),
            }
        }
        Ok(())
    }
}

/// The mean square of each neuron's gradient, `[..., neurons, 1]`, where `gradient` has more than `outer` axes: those of the
/// neurons and before. A bias is a weight of its own.
pub(super) fn neuron_means(gradient: &Tensor, outer: usize) -> Result<Option<Tensor>> {
    if gradient.rank() <= outer {
        return Ok(None);
    }
    gradient.flatten_from(outer)?.sqr()?.mean_keepdim(outer).map(Some)
}

/// What brings the norm of all gradients down to `limit`, at most 1, and the norm they have: `[2]`, f64, on the device. `None`
/// where the host has to look at the numbers itself.
///
/// # Errors
/// Propagates Candle errors.
#[cfg_attr(not(feature = "cuda"), expect(unused_variables, reason = "only a device has a use for them"))]
pub fn clip_scale<'a>(gradients: impl Iterator<Item = &'a Tensor>, limit: f64) -> Result<Option<Tensor>> {
    #[cfg(feature = "cuda")]
    {
        let gradients: Vec<&Tensor> = gradients.collect();
        if let Some(device) = super::cuda::updates::device_of_all(gradients.iter().copied()) {
            return super::cuda::updates::clip_scale(&gradients, limit, &device).map(Some);
        }
    }
    Ok(None)
}

/// Numbers of a run's column, as a kernel reads them.
pub(super) const NUMBERS: usize = 11;
/// The first of them, where a neuron's weights share the mean of their squares.
pub(super) const MINI: f32 = 3.0;

/// The rule (0 Adam, 1 SGD, 2 Nesterov's, 3 Adam-mini) and what it needs.
fn numbers(column: &Column) -> [f32; NUMBERS] {
    let Column { rule, decay, keep, add, keep_square, add_square, rate, shrink, eps, root, momentum } = *column;
    let rule = match rule {
        Kind::Adam => 0.0,
        Kind::Nesterov => 2.0,
        Kind::AdamMini => MINI,
        Kind::Sgd | Kind::None => 1.0,
    };
    [rule, decay, keep, add, keep_square, add_square, rate, shrink, eps, root, momentum]
}

/// Moves the parameters of networks that lie side by side, `[runs, ...]`, each run by its own of `columns`; `scales` (`[2,
/// runs]`, of [`clip_runs`]) are what its gradients are still to be multiplied with. The arithmetic is
/// [`super::stacked::update`]'s.
///
/// # Errors
/// Candle errors; shapes that differ.
pub fn update_runs(moved: &[Moved<'_>], columns: &[Column], scales: Option<&Tensor>) -> Result<()> {
    let numbers: Vec<_> = columns.iter().map(numbers).collect();
    for Moved { parameter, first, second, gradient } in moved {
        let fits = |tensor: &Tensor| tensor.elem_count() == parameter.elem_count();
        let second = second.is_some_and(|second| fits(second));
        if !fits(first) || !second || !fits(gradient) || !parameter.elem_count().is_multiple_of(columns.len().max(1)) {
            candle_core::bail!("an update of {:?} for {} runs from {:?}", parameter.shape(), columns.len(), gradient.shape());
        }
    }
    #[cfg(feature = "cuda")]
    if let Some(device) = super::cuda::updates::device_of(moved) {
        return super::cuda::updates::update_runs(moved, &numbers, scales, &device);
    }
    let scales = scales.map(|scales| scales.get(0)?.to_vec1::<f64>()).transpose()?;
    for Moved { parameter, first, second, gradient } in moved {
        let Some(second) = second else { continue };
        let values = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
        let (mut p, mut m, mut v, g) = (values(parameter)?, values(first)?, values(second)?, values(gradient)?);
        let size = p.len() / columns.len().max(1);
        let means = neuron_means(gradient, 2)?.map(|means| values(&means)).transpose()?;
        let inputs = means.as_ref().map_or(1, |means| g.len() / means.len().max(1));
        for (at, g) in g.into_iter().enumerate() {
            let run = at / size;
            let scale = scales.as_ref().map_or(1.0, |scales| scales[run] as f32);
            let mean = means.as_ref().map(|means| means[at / inputs] * (scale * scale));
            moved_value(&numbers[run], g * scale, mean, &mut p[at], &mut m[at], &mut v[at]);
        }
        for (tensor, values) in [(parameter, p), (first, m), (second, v)] {
            tensor.set(&Tensor::from_vec(values, tensor.shape(), tensor.device())?)?;
        }
    }
    Ok(())
}

/// What the kernel does with one value; `mean` is the mean square of its neuron's gradient, if it is a weight.
fn moved_value(by: &[f32; NUMBERS], g: f32, mean: Option<f32>, p: &mut f32, m: &mut f32, v: &mut f32) {
    let [rule, decay, keep, add, keep_square, add_square, rate, shrink, eps, root, momentum] = *by;
    let slope = g + decay * *p;
    *m = keep * *m + add * slope;
    if rule == 0.0 || rule == MINI {
        let square = mean.filter(|_| rule == MINI).unwrap_or(slope * slope);
        *v = keep_square * *v + add_square * square;
        *p = shrink * *p - rate * *m / (v.sqrt() * root + eps);
    } else {
        *p -= rate * if rule == 2.0 { slope + momentum * *m } else { *m };
    }
}

/// What brings the norm of each run's gradients down to its limit, at most 1, and the norm: `[2, runs]`, f64. `gradients` are
/// `[runs, ...]`, `limits` (`[runs]`, f64) are infinite where nothing is clipped: 1 and 0 there.
///
/// # Errors
/// Propagates Candle errors.
pub fn clip_runs(gradients: &[&Tensor], limits: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if let Some(device) = super::cuda::updates::device_of_all(gradients.iter().copied()) {
        return super::cuda::updates::clip_runs(gradients, limits, &device);
    }
    let mut squares = vec![0.0; limits.elem_count()];
    for gradient in gradients {
        for (sum, own) in squares.iter_mut().zip(gradient.flatten_from(1)?.to_vec2::<f32>()?) {
            *sum += own.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>();
        }
    }
    let each = squares.iter().zip(limits.to_vec1::<f64>()?).map(|(square, limit)| {
        let (norm, scale) = (square.sqrt(), limit / (square.sqrt() + 1e-6));
        let limited = limit.is_finite();
        (if limited && scale < 1.0 { scale } else { 1.0 }, if limited { norm } else { 0.0 })
    });
    let (scales, norms): (Vec<f64>, Vec<f64>) = each.unzip();
    Tensor::from_vec([scales, norms].concat(), (2, squares.len()), limits.device())
}
