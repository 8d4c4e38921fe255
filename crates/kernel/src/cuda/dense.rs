//! A dense block on CUDA: the mathematics of [`crate::dense_block_train`], on one buffer `[n, h, w, all channels]`. A layer
//! reads the first so many channels where they lie; what it adds is written beside them in the pass that measures it. Kept for the
//! backward pass are that buffer and each layer's bottleneck; normalised maps are computed again.

use candle_core::{CudaDevice, DType, Result, Tensor, bail};

use super::batch_norm::{Channels, Moments, Norm};
use super::conv::Conv;
use super::graph::Fresh;
use super::{address, device, empty};
use crate::conv::Geometry;
use crate::gradients::hand_over_apart;
use crate::{DenseLayer, LayerStatistics};

/// A layer after its forward pass.
struct Layer {
    /// Channels it reads.
    inputs: usize,
    norm1: (Tensor, Tensor),
    conv1: Conv,
    norm2: (Tensor, Tensor),
    conv2: Conv,
    /// The bottleneck's maps, and what they look like.
    z: Tensor,
    inner: Moments,
}

/// All that the backward pass needs but the block's own result.
struct Saved {
    device: CudaDevice,
    eps: f64,
    dtype: DType,
    first: usize,
    growth: usize,
    bottleneck: usize,
    /// Of every channel of the block.
    moments: Moments,
    layers: Vec<Layer>,
}

/// Working memory for packed maps; what a layer leaves there the next one overwrites.
struct Scratch {
    maps: Tensor,
    at: u64,
}

impl Scratch {
    fn new(device: &CudaDevice, like: Channels, channels: usize) -> Result<Self> {
        let maps = empty(device, (like.positions, channels), like.dtype)?;
        let at = address(&maps)?;
        Ok(Self { maps, at })
    }

    /// The first part of it as packed maps of `channels` channels.
    fn of(&self, channels: usize) -> Channels {
        let (positions, dtype) = (self.maps.elem_count() / self.maps.dims()[1].max(1), self.maps.dtype());
        Channels { address: self.at, ld: channels, dtype, positions, channels }
    }
}

impl Saved {
    fn norm1<'a>(&'a self, layer: &Layer) -> Result<Norm<'a>> {
        self.norm(&self.moments, &layer.norm1)
    }

    fn norm2<'a>(&'a self, layer: &Layer) -> Result<Norm<'a>> {
        self.norm(&layer.inner, &layer.norm2)
    }

    fn norm<'a>(&'a self, moments: &Moments, (weight, bias): &(Tensor, Tensor)) -> Result<Norm<'a>> {
        let (mean, variance) = moments.addresses()?;
        let (weight, bias) = (address(weight)?, address(bias)?);
        Ok(Norm { device: &self.device, mean, variance, weight, bias, eps: self.eps, relu: true })
    }

    fn channels(&self) -> usize {
        self.first + self.layers.len() * self.growth
    }

    /// From the result `y` and its gradient to the gradients of the input and of each layer's six weights.
    fn backward(&self, y: &Tensor, dy: &Tensor) -> Result<(Tensor, Vec<[Tensor; 6]>)> {
        let total = self.channels();
        let whole = Channels::of(y)?;
        // Layers add to it.
        let gradients = dy.copy()?;
        let d = Channels::of(&gradients)?;
        // What is still to be taken off each channel's gradient: a multiple of 1 and one of x̂.
        let pending = Tensor::zeros((2, total), DType::F32, y.device())?;
        let pending_at = address(&pending)?;
        let widest = self.layers.last().map_or(0, |layer| layer.inputs);
        let (normal, back) = (Scratch::new(&self.device, whole, widest)?, Scratch::new(&self.device, whole, widest)?);
        let (inner, inner_back) =
            (Scratch::new(&self.device, whole, self.bottleneck)?, Scratch::new(&self.device, whole, self.bottleneck)?);
        let own = Scratch::new(&self.device, whole, self.growth)?;
        let mut all = Vec::with_capacity(self.layers.len());
        for layer in self.layers.iter().rev() {
            let (inputs, conv1, conv2) = (layer.inputs, &layer.conv1, &layer.conv2);
            let (norm1, norm2) = (self.norm1(layer)?, self.norm2(layer)?);
            let g = own.of(self.growth);
            self.settle(&norm1, inputs, self.growth, (whole, d, pending_at), g)?;
            let (z, normal_z, dz) = (Channels::of(&layer.z)?, inner.of(self.bottleneck), inner_back.of(self.bottleneck));
            norm2.apply(z, normal_z)?;
            let dconv2 = conv2.weight_gradient(normal_z.address, g.address)?;
            conv2.input_gradient(g.address, dz.address)?;
            let second = norm2.sums(z, dz, None)?;
            norm2.back(z, dz, &second, dz)?;
            let (x, normal_x, dx) = (whole.part(0, inputs), normal.of(inputs), back.of(inputs));
            norm1.apply(x, normal_x)?;
            let dconv1 = conv1.weight_gradient(normal_x.address, dz.address)?;
            conv1.input_gradient(dz.address, dx.address)?;
            let first = norm1.sums(x, dx, Some((d.part(0, inputs), pending_at, total)))?;
            all.push([first.dweight, first.dbias, dconv1, second.dweight, second.dbias, dconv2]);
        }
        all.reverse();
        let (n, h, w, _) = y.dims4()?;
        let dx = empty(&self.device, (n, h, w, self.first), self.dtype)?;
        if let Some(layer) = self.layers.first() {
            self.settle(&self.norm1(layer)?, 0, self.first, (whole, d, pending_at), Channels::of(&dx)?)?;
        }
        Ok((dx, all))
    }

    /// The finished gradients of `count` channels from the one of number `first`, into `out`.
    fn settle(&self, norm: &Norm<'_>, first: usize, count: usize, of: (Channels, Channels, u64), out: Channels) -> Result<()> {
        let (y, d, pending) = of;
        let skip = 4 * first as u64;
        let norm = Norm { mean: norm.mean + skip, variance: norm.variance + skip, ..*norm };
        let slope = pending + 4 * self.channels() as u64;
        norm.settle(y.part(first, count), d.part(first, count), (pending + skip, slope + skip), out)
    }
}

/// As [`crate::dense_block_train`], for `x [n, h, w, c]` and one layer or more that fit it. The gradients of its weights, which are
/// variables or constants, are those of [`crate::backward`]; Candle's own backward pass ends with an error.
pub(crate) fn dense_block_train(x: &Tensor, layers: &[DenseLayer], eps: f64) -> Result<(Tensor, Vec<LayerStatistics>)> {
    let x = x.contiguous()?;
    let cuda = device(&x)?.clone();
    let (n, h, w, first) = x.dims4()?;
    let Some(layer) = layers.first() else { bail!("a dense block without layers") };
    let (growth, bottleneck) = (layer.conv2.dim(0)?, layer.conv1.dim(0)?);
    let total = first + layers.len() * growth;
    let moments = Moments::new(&cuda, total)?;
    let mut saved = Saved { device: cuda.clone(), eps, dtype: x.dtype(), first, growth, bottleneck, moments, layers: Vec::new() };
    let y = Fresh::new(&cuda, (n, h, w, total), x.dtype())?;
    let given = Channels::of(&x)?;
    let whole = Channels { address: y.address()?, ld: total, channels: total, ..given };
    saved.moments.measure(&cuda, given, Some(whole.part(0, first)), 0)?;
    let normal = Scratch::new(&cuda, given, total - growth)?;
    let (inner, own) = (Scratch::new(&cuda, given, bottleneck)?, Scratch::new(&cuda, given, growth)?);
    let mut statistics = Vec::with_capacity(layers.len());
    for (l, layer) in layers.iter().enumerate() {
        let inputs = first + l * growth;
        let conv = |from: usize, weight, padding| {
            Conv::new(Geometry::of(&[n, h, w, from], (from, n, h, w), weight, 1, padding)?, x.dtype(), weight)
        };
        let pair = |(weight, bias): &(Tensor, Tensor)| Ok::<_, candle_core::Error>((kept(weight)?, kept(bias)?));
        let layer = Layer {
            inputs,
            norm1: pair(&layer.norm1)?,
            conv1: conv(inputs, &layer.conv1, 0)?,
            norm2: pair(&layer.norm2)?,
            conv2: conv(bottleneck, &layer.conv2, 1)?,
            z: empty(&cuda, (n, h, w, bottleneck), x.dtype())?,
            inner: Moments::new(&cuda, bottleneck)?,
        };
        let (z, normal_x, normal_z, new) = (Channels::of(&layer.z)?, normal.of(inputs), inner.of(bottleneck), own.of(growth));
        saved.norm1(&layer)?.apply(whole.part(0, inputs), normal_x)?;
        layer.conv1.forward(normal_x.address, z.address)?;
        layer.inner.measure(&cuda, z, None, 0)?;
        saved.norm2(&layer)?.apply(z, normal_z)?;
        layer.conv2.forward(normal_z.address, new.address)?;
        saved.moments.measure(&cuda, new, Some(whole.part(inputs, growth)), inputs)?;
        statistics.push([saved.moments.statistics(0, inputs)?, layer.inner.statistics(0, bottleneck)?]);
        saved.layers.push(layer);
    }
    let of = |DenseLayer { norm1, conv1, norm2, conv2 }: &DenseLayer| {
        [&norm1.0, &norm1.1, conv1, &norm2.0, &norm2.1, conv2].map(Tensor::clone)
    };
    let weights: Vec<Tensor> = layers.iter().flat_map(of).collect();
    if weights.iter().any(|weight| weight.track_op() && !weight.is_variable()) {
        bail!("the weights of a dense block on CUDA are variables, or constants");
    }
    // An operation has three arguments at most: one weight stands in the graph for all of them.
    let proxy = weights.iter().position(Tensor::track_op).unwrap_or(0);
    let (tracked, argument) = (x.track_op(), weights[proxy].clone());
    let y = y.attach2("dense_block", [&x, &argument], move |y, dy| {
        let (dx, gradients) = saved.backward(y, dy)?;
        let mut own = None;
        for (at, (weight, gradient)) in weights.iter().zip(gradients.into_iter().flatten()).enumerate() {
            match weight.track_op() {
                true if at == proxy => own = Some(gradient),
                true => hand_over_apart(weight, gradient)?,
                false => (),
            }
        }
        Ok([tracked.then_some(dx), own])
    })?;
    Ok((y, statistics))
}

/// A weight as the backward pass will need it: contiguous, and outside the graph.
fn kept(weight: &Tensor) -> Result<Tensor> {
    Ok(weight.contiguous()?.detach())
}
