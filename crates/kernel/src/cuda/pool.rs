//! Pooling on CUDA, for maps `[n, h, w, c]`.

use candle_core::{DType, Result, Tensor};

use super::batch_norm::Channels;
use super::graph::Fresh;
use super::{Arg, Grid, Module, address, device, empty, int, launch, module, suffix};
use crate::pool::Window;

const KERNELS: Module = module!("pool");

/// Windows over maps `[n, h, w, c]`.
#[derive(Clone, Copy)]
struct Windows {
    batch: usize,
    channels: usize,
    window: Window,
}

impl Windows {
    fn new(what: &str, x: &Tensor, kernel: usize, stride: usize, padding: usize) -> Result<Self> {
        let (batch, h, w, channels) = x.dims4()?;
        Ok(Self { batch, channels, window: Window::of(what, (h, w), kernel, stride, padding)? })
    }

    fn args(&self) -> Result<Vec<Arg>> {
        let Self { batch, channels, window: Window { input, output, kernel, stride, padding } } = *self;
        let sizes = [batch, input.0, input.1, channels, kernel, stride, padding, output.0, output.1];
        sizes.into_iter().map(|size| Ok(int(size)?.into())).collect()
    }

    fn result(&self) -> (usize, usize, usize, usize) {
        (self.batch, self.window.output.0, self.window.output.1, self.channels)
    }
}

/// Runs the kernel over packs of `maps`, the larger of those it walks over.
fn run(name: &str, maps: &Tensor, others: &[u64], args: &[&[Arg]]) -> Result<()> {
    let channels = Channels::of(maps)?;
    let pack = if channels.packs() && others.iter().all(|other| other.is_multiple_of(16)) { channels.pack() } else { 1 };
    let name = format!("{name}_{}_{pack}", suffix(maps.dtype())?);
    launch(device(maps)?, &KERNELS, &name, Grid::each(maps.elem_count() / pack), &args.concat())
}

/// The largest side of a window whose winner has a number of one byte.
pub(crate) const MOST_POOLED: usize = 16;

/// As [`crate::max_pool2d`], for windows of at most [`MOST_POOLED`] per side.
pub(crate) fn max_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: usize) -> Result<Tensor> {
    let x = x.contiguous()?;
    let windows = Windows::new("max_pool2d", &x, kernel, stride, padding)?;
    let cuda = device(&x)?;
    let y = Fresh::new(cuda, windows.result(), x.dtype())?;
    let winners = empty(cuda, windows.result(), DType::U8)?;
    let to = y.address()?;
    run("max_pool", &x, &[to], &[&[address(&x)?.into()], &windows.args()?, &[to.into(), address(&winners)?.into()]])?;
    let shape = x.shape().clone();
    y.attach1("max_pool2d", &x, move |_, dy| {
        let dx = empty(device(dy)?, &shape, dy.dtype())?;
        let from = address(dy)?;
        let args: [&[Arg]; 3] = [&[from.into(), address(&winners)?.into()], &windows.args()?, &[address(&dx)?.into()]];
        run("max_pool_back", &dx, &[from], &args)?;
        Ok([Some(dx)])
    })
}

/// As [`crate::avg_pool2d`].
pub(crate) fn avg_pool2d(x: &Tensor, kernel: usize) -> Result<Tensor> {
    let x = x.contiguous()?;
    let windows = Windows::new("avg_pool2d", &x, kernel, kernel, 0)?;
    let y = Fresh::new(device(&x)?, windows.result(), x.dtype())?;
    let to = y.address()?;
    run("avg_pool", &x, &[to], &[&[address(&x)?.into()], &windows.args()?, &[to.into()]])?;
    let shape = x.shape().clone();
    y.attach1("avg_pool2d", &x, move |_, dy| {
        let dx = empty(device(dy)?, &shape, dy.dtype())?;
        let from = address(dy)?;
        run("avg_pool_back", &dx, &[from], &[&[from.into()], &windows.args()?, &[address(&dx)?.into()]])?;
        Ok([Some(dx)])
    })
}

/// As [`crate::global_avg_pool`]: `[n, h, w, c]` → `[n, c]` in f32.
pub(crate) fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    let x = x.contiguous()?;
    let (batch, h, w, channels) = x.dims4()?;
    let sizes = [int(batch)?.into(), int(h * w)?.into(), int(channels)?.into()];
    let y = Fresh::new(device(&x)?, (batch, channels), DType::F32)?;
    run("global_pool", &x, &[], &[&[address(&x)?.into()], &sizes, &[y.address()?.into()]])?;
    let (shape, dtype) = (x.shape().clone(), x.dtype());
    y.attach1("global_avg_pool", &x, move |_, dy| {
        let dx = empty(device(dy)?, &shape, dtype)?;
        run("global_pool_back", &dx, &[], &[&[address(dy)?.into()], &sizes, &[address(&dx)?.into()]])?;
        Ok([Some(dx)])
    })
}
