//! Convolution on CUDA, for maps `[n, h, w, c]`: 1x1 as one matrix product, the rest by cuDNN (feature `cudnn`), or, where cuDNN is
//! missing or does not know the case, as a product of the laid-out input (im2col), some images at a time.

use std::sync::Arc;

use candle_core::{CudaDevice, DType, Result, Tensor, bail};

#[cfg(feature = "cudnn")]
use super::cudnn;
use super::gemm::{Factor, Target, product};
use super::graph::Fresh;
use super::{Arg, Grid, Module, address, device, empty, int, launch, module, suffix};
use crate::conv::Geometry;
use crate::sides;

const KERNELS: Module = module!("columns");

/// Bytes of a laid-out input: some images of the batch at a time.
const MOST_BYTES: usize = 256 << 20;

/// A convolution of maps of `dtype` with its weight laid out as products and cuDNN take it.
#[derive(Clone)]
pub(super) struct Conv {
    pub sizes: Geometry,
    dtype: DType,
    device: CudaDevice,
    /// `[outputs, kernel, kernel, inputs]` in `dtype`.
    packed: Tensor,
}

impl Conv {
    /// `weight [outputs, inputs, k, k]` in f32.
    pub(super) fn new(sizes: Geometry, dtype: DType, weight: &Tensor) -> Result<Self> {
        let device = device(weight)?.clone();
        if weight.dtype() != DType::F32 {
            bail!("conv2d: weights on CUDA are f32, not {:?}", weight.dtype());
        }
        let weight = weight.contiguous()?.detach();
        let packed = if sizes.kernel == 1 && dtype == DType::F32 {
            weight
        } else {
            let packed = empty(&device, (sizes.outputs, sizes.kernel, sizes.kernel, sizes.inputs), dtype)?;
            let args = [&[address(&weight)?.into()], &weight_args(&sizes)?[..], &[address(&packed)?.into()]].concat();
            let grid = Grid::each(weight.elem_count());
            launch(&device, &KERNELS, &format!("pack_weight_{}", suffix(dtype)?), grid, &args)?;
            packed
        };
        Ok(Self { sizes, dtype, device, packed })
    }

    fn weight(&self) -> Result<Factor> {
        Ok(Factor::new(address(&self.packed)?, self.sizes.lines()))
    }

    /// `y` from `x`: addresses of packed maps.
    pub(super) fn forward(&self, x: u64, y: u64) -> Result<()> {
        let s = &self.sizes;
        let target = |address| Target { address, ld: s.outputs, dtype: self.dtype, add: false };
        if s.is_pointwise() {
            let size = [s.batch * s.out_map(), s.outputs, s.inputs];
            return product(&self.device, self.dtype, size, Factor::new(x, s.inputs), self.weight()?.t(), target(y));
        }
        #[cfg(feature = "cudnn")]
        if cudnn::forward(&self.device, s, self.dtype, [x, address(&self.packed)?, y])? {
            return Ok(());
        }
        self.by_columns(|images, first, col| {
            self.columns("im2col", images, self.at(x, first, s.size, s.inputs), col)?;
            let size = [images * s.out_map(), s.outputs, s.lines()];
            let y = target(self.at(y, first, s.out, s.outputs));
            product(&self.device, self.dtype, size, Factor::new(col, s.lines()), self.weight()?.t(), y)
        })
    }

    /// `dx` from `dy`: addresses of packed maps.
    pub(super) fn input_gradient(&self, dy: u64, dx: u64) -> Result<()> {
        let s = &self.sizes;
        let target = |address, ld| Target { address, ld, dtype: self.dtype, add: false };
        if s.is_pointwise() {
            let size = [s.batch * s.out_map(), s.inputs, s.outputs];
            let dy = Factor::new(dy, s.outputs);
            return product(&self.device, self.dtype, size, dy, self.weight()?, target(dx, s.inputs));
        }
        #[cfg(feature = "cudnn")]
        if cudnn::input_gradient(&self.device, s, self.dtype, [address(&self.packed)?, dy, dx])? {
            return Ok(());
        }
        self.by_columns(|images, first, col| {
            let size = [images * s.out_map(), s.lines(), s.outputs];
            let dy = Factor::new(self.at(dy, first, s.out, s.outputs), s.outputs);
            product(&self.device, self.dtype, size, dy, self.weight()?, target(col, s.lines()))?;
            self.columns("col2im", images, col, self.at(dx, first, s.size, s.inputs))
        })
    }

    /// The gradient of the weight, `[outputs, inputs, k, k]` in f32, from packed maps.
    pub(super) fn weight_gradient(&self, x: u64, dy: u64) -> Result<Tensor> {
        let s = &self.sizes;
        let dweight = empty(&self.device, (s.outputs, s.inputs, s.kernel, s.kernel), DType::F32)?;
        let target = |address, add| Target { address, ld: s.lines(), dtype: DType::F32, add };
        if s.is_pointwise() {
            let size = [s.outputs, s.inputs, s.batch * s.out_map()];
            let (dy, x) = (Factor::new(dy, s.outputs).t(), Factor::new(x, s.inputs));
            product(&self.device, self.dtype, size, dy, x, target(address(&dweight)?, false))?;
            return Ok(dweight);
        }
        #[cfg(feature = "cudnn")]
        {
            let packed = empty(&self.device, self.packed.shape(), self.dtype)?;
            if cudnn::weight_gradient(&self.device, s, self.dtype, [x, dy, address(&packed)?])? {
                self.unpack(&packed, &dweight)?;
                return Ok(dweight);
            }
        }
        let packed = empty(&self.device, self.packed.shape(), DType::F32)?;
        let to = address(&packed)?;
        self.by_columns(|images, first, col| {
            self.columns("im2col", images, self.at(x, first, s.size, s.inputs), col)?;
            let size = [s.outputs, s.lines(), images * s.out_map()];
            let dy = Factor::new(self.at(dy, first, s.out, s.outputs), s.outputs).t();
            product(&self.device, self.dtype, size, dy, Factor::new(col, s.lines()), target(to, first > 0))
        })?;
        self.unpack(&packed, &dweight)?;
        Ok(dweight)
    }

    fn unpack(&self, packed: &Tensor, dweight: &Tensor) -> Result<()> {
        let args = [&[address(packed)?.into()], &weight_args(&self.sizes)?[..], &[address(dweight)?.into()]].concat();
        let kernel = format!("unpack_weight_{}", suffix(packed.dtype())?);
        launch(&self.device, &KERNELS, &kernel, Grid::each(dweight.elem_count()), &args)
    }

    /// Where image `first` of packed maps at `address` begins.
    fn at(&self, address: u64, first: usize, (h, w): (usize, usize), channels: usize) -> u64 {
        address + (first * h * w * channels * self.dtype.size_in_bytes()) as u64
    }

    /// Calls `body` with (images, the first of them, a buffer for their laid-out input) until all have had their turn.
    fn by_columns(&self, body: impl Fn(usize, usize, u64) -> Result<()>) -> Result<()> {
        let s = &self.sizes;
        let one = s.out_map() * s.lines();
        let at_once = (MOST_BYTES / (one * self.dtype.size_in_bytes()).max(1)).clamp(1, s.batch.max(1));
        let col = empty(&self.device, at_once * one, self.dtype)?;
        for first in (0..s.batch).step_by(at_once) {
            body(at_once.min(s.batch - first), first, address(&col)?)?;
        }
        Ok(())
    }

    /// Runs `im2col` or `col2im`.
    fn columns(&self, kernel: &str, images: usize, from: u64, to: u64) -> Result<()> {
        let s = &self.sizes;
        let pack = 16 / self.dtype.size_in_bytes();
        let fits = s.inputs.is_multiple_of(pack) && from.is_multiple_of(16) && to.is_multiple_of(16);
        let pack = if fits { pack } else { 1 };
        let sizes = [images, s.size.0, s.size.1, s.inputs, s.kernel, s.stride, s.padding, s.out.0, s.out.1];
        let mut args: Vec<Arg> = vec![from.into()];
        for size in sizes {
            args.push(int(size)?.into());
        }
        args.push(to.into());
        let count = if kernel == "im2col" { s.out_map() * s.lines() } else { s.size.0 * s.size.1 * s.inputs };
        let grid = Grid::each(images * count / pack);
        launch(&self.device, &KERNELS, &format!("{kernel}_{}_{pack}", suffix(self.dtype)?), grid, &args)
    }
}

fn weight_args(s: &Geometry) -> Result<[Arg; 3]> {
    Ok([int(s.outputs)?.into(), int(s.inputs)?.into(), int(s.kernel * s.kernel)?.into()])
}

/// As [`crate::conv2d`], for maps `[n, h, w, c]`.
pub(crate) fn conv2d(x: &Tensor, weight: &Tensor, stride: usize, padding: usize) -> Result<Tensor> {
    let x = x.contiguous()?;
    let sizes = Geometry::of(x.dims(), sides(&x)?, weight, stride, padding)?;
    let conv = Conv::new(sizes, x.dtype(), weight)?;
    let cuda = device(&x)?;
    let y = Fresh::new(cuda, (sizes.batch, sizes.out.0, sizes.out.1, sizes.outputs), x.dtype())?;
    conv.forward(address(&x)?, y.address()?)?;
    let held = Arc::new((x.clone(), weight.track_op(), conv));
    y.attach2("conv2d", [&x, weight], move |_, dy| {
        let (x, trained, conv) = &*held;
        let mut dx = None;
        if x.track_op() {
            let fresh = empty(&conv.device, x.shape(), x.dtype())?;
            conv.input_gradient(address(dy)?, address(&fresh)?)?;
            dx = Some(fresh);
        }
        let dweight = if *trained { Some(conv.weight_gradient(address(x)?, address(dy)?)?) } else { None };
        Ok([dx, dweight])
    })
}
