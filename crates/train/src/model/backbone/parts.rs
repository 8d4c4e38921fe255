//! Layers from named tensors: what the graphs of all networks are made of.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Tensor};

use super::super::ModelError;
use inference::{Affine, Layer};

/// Epsilon of most batch norms of torchvision and timm.
pub(super) const EPS: f64 = 1e-5;

/// The tensors of a network below its head, under the names of [`plan::tensors`].
pub(super) struct Weights {
    tensors: BTreeMap<String, Tensor>,
    /// Those that were asked for.
    used: RefCell<BTreeSet<String>>,
}

impl Weights {
    pub fn new(tensors: BTreeMap<String, Tensor>) -> Self {
        Self { tensors, used: RefCell::default() }
    }

    #[cfg(test)]
    pub fn used(&self) -> BTreeSet<String> {
        self.used.borrow().clone()
    }

    /// Every number of a tensor.
    pub fn numbers(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        self.used.borrow_mut().insert(name.to_owned());
        let Some(tensor) = self.tensors.get(name) else {
            return Err(ModelError::Weights(format!("there is no tensor {name}")));
        };
        Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
    }

    fn double(&self, name: &str) -> Result<Vec<f64>, ModelError> {
        Ok(self.numbers(name)?.into_iter().map(f64::from).collect())
    }

    /// A batch norm with its running statistics, as what it multiplies by and what it adds.
    fn norm(&self, name: &str, eps: f64) -> Result<(Vec<f64>, Vec<f64>), ModelError> {
        let all = |what: &str| self.double(&format!("{name}.{what}"));
        let (weight, bias, mean, variance) = (all("weight")?, all("bias")?, all("running_mean")?, all("running_var")?);
        let scale: Vec<f64> = weight.iter().zip(variance).map(|(weight, variance)| weight / (variance + eps).sqrt()).collect();
        let shift = bias.iter().zip(mean).zip(&scale).map(|((bias, mean), scale)| bias - mean * scale).collect();
        Ok((scale, shift))
    }

    /// A batch norm before a layer.
    pub fn affine(&self, name: &str) -> Result<Affine, ModelError> {
        let (scale, shift) = self.norm(name, EPS)?;
        let single = |numbers: Vec<f64>| numbers.into_iter().map(|x| x as f32).collect();
        Ok(Affine { scale: single(scale), shift: single(shift) })
    }

    /// A convolution without a bias.
    pub fn plain(&self, name: &str, outputs: usize) -> Result<Layer, ModelError> {
        Ok(Layer { weight: self.numbers(&format!("{name}.weight"))?, bias: vec![0.0; outputs] })
    }

    /// A convolution without a bias, and the batch norm behind it.
    pub fn normed(&self, conv: &str, norm: &str) -> Result<Layer, ModelError> {
        self.normed_with(conv, norm, EPS)
    }

    /// The same with another epsilon.
    pub fn normed_with(&self, conv: &str, norm: &str, eps: f64) -> Result<Layer, ModelError> {
        let (scale, shift) = self.norm(norm, eps)?;
        Ok(self.plain(conv, scale.len())?.then(&scale, &shift))
    }

    /// A layer with a bias.
    pub fn biased(&self, name: &str) -> Result<Layer, ModelError> {
        Ok(Layer { weight: self.numbers(&format!("{name}.weight"))?, bias: self.numbers(&format!("{name}.bias"))? })
    }

    /// The same, times the scale behind it (Touvron et al., "Going deeper with image transformers", ICCV 2021).
    pub fn scaled(&self, name: &str, gamma: &str) -> Result<Layer, ModelError> {
        let gamma = self.double(gamma)?;
        Ok(self.biased(name)?.then(&gamma, &vec![0.0; gamma.len()]))
    }

    /// Weight and bias of a layer norm.
    pub fn layer_norm(&self, name: &str) -> Result<(Vec<f32>, Vec<f32>), ModelError> {
        Ok((self.numbers(&format!("{name}.weight"))?, self.numbers(&format!("{name}.bias"))?))
    }
}
