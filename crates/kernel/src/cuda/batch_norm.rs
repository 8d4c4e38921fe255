//! Batch normalisation on CUDA: statistics in one pass, normalising and rectifying in a second, the gradient in two.

use std::sync::Arc;

use candle_core::{CudaDevice, DType, Result, Tensor};

use super::graph::Fresh;
use super::{Arg, Grid, Module, address, device, empty, int, launch, module, suffix, whole};
use crate::BatchStatistics;

const KERNELS: Module = module!("batch_norm");

/// Threads of a block.
const THREADS: usize = 256;
/// Blocks of a launch, about: they fill the largest GPU of today once (132 multiprocessors of 2048 threads), and what they find
/// is little beside what they read.
const BLOCKS: usize = 1024;
/// Positions a thread should have before there is another block.
const LEAST_POSITIONS: usize = 4;

/// Channels of maps `[positions, channels]`: where they lie, and how far it is from one position to the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channels {
    pub address: u64,
    pub ld: usize,
    pub dtype: DType,
    pub positions: usize,
    pub channels: usize,
}

impl Channels {
    /// All channels of contiguous maps `[..., channels]`.
    pub(crate) fn of(maps: &Tensor) -> Result<Self> {
        let channels = maps.dim(candle_core::D::Minus1)?;
        let positions = maps.elem_count() / channels.max(1);
        Ok(Self { address: address(maps)?, ld: channels, dtype: maps.dtype(), positions, channels })
    }

    /// `count` of the channels, from the one of number `first`.
    pub(crate) fn part(&self, first: usize, count: usize) -> Self {
        Self { address: self.address + (first * self.dtype.size_in_bytes()) as u64, channels: count, ..*self }
    }

    /// Packed maps of the same sizes that lie elsewhere.
    pub(crate) fn at(&self, address: u64) -> Self {
        Self { address, ld: self.channels, ..*self }
    }

    /// Address and distance of positions, as kernels take them.
    fn strided(&self) -> [Arg; 2] {
        [self.address.into(), (self.ld as i64).into()]
    }

    /// Positions and channels, as kernels take them.
    fn sizes(&self) -> Result<[Arg; 2]> {
        Ok([(self.positions as i64).into(), int(self.channels)?.into()])
    }

    /// Numbers in a pack of 16 bytes.
    pub(super) fn pack(&self) -> usize {
        16 / self.dtype.size_in_bytes()
    }

    /// Whether packs fit.
    pub(super) fn packs(&self) -> bool {
        let pack = self.pack();
        self.address.is_multiple_of(16) && self.ld.is_multiple_of(pack) && self.channels.is_multiple_of(pack)
    }
}

/// The grid over channels and positions, and the ending of the kernels' names.
pub(crate) struct Plan {
    pub grid: Grid,
    pub suffix: String,
}

impl Plan {
    /// For a kernel that walks over all of `maps` at once; they have the same positions, channels and type.
    pub(crate) fn new(maps: &[Channels]) -> Result<Self> {
        let first = maps[0];
        let pack = if maps.iter().all(Channels::packs) { first.pack() } else { 1 };
        let packs = first.channels.div_ceil(pack).max(1);
        let across = packs.next_power_of_two().min(32);
        let down = THREADS / across;
        let wide = packs.div_ceil(across);
        let blocks = first.positions.div_ceil(down * LEAST_POSITIONS).clamp(1, BLOCKS.div_ceil(wide));
        let grid = Grid { blocks: (whole(wide), whole(blocks), 1), threads: (whole(across), whole(down)) };
        Ok(Self { grid, suffix: format!("{}_{pack}", suffix(first.dtype)?) })
    }
}

/// Mean, variance and unbiased variance of channels: `[3, channels]`.
#[derive(Clone)]
pub(crate) struct Moments(Tensor);

impl Moments {
    /// Of `channels` channels, not yet measured.
    pub(crate) fn new(device: &CudaDevice, channels: usize) -> Result<Self> {
        Ok(Self(empty(device, (3, channels), DType::F32)?))
    }

    /// Where the means and the (biased) variances lie.
    pub(crate) fn addresses(&self) -> Result<(u64, u64)> {
        let mean = address(&self.0)?;
        Ok((mean, mean + 4 * self.0.dim(1)? as u64))
    }

    /// Those of `channels` from the one of number `first`, for the running statistics.
    pub(crate) fn statistics(&self, first: usize, channels: usize) -> Result<BatchStatistics> {
        let row = |row: usize| self.0.get(row)?.narrow(0, first, channels);
        Ok(BatchStatistics { mean: row(0)?, variance: row(2)? })
    }

    /// Those of `x`, written to columns `first..` of this; `copy` gets a copy of `x`.
    pub(crate) fn measure(&self, device: &CudaDevice, x: Channels, copy: Option<Channels>, first: usize) -> Result<()> {
        let all: Vec<Channels> = [x].into_iter().chain(copy).collect();
        let plan = Plan::new(&all)?;
        let blocks = plan.grid.blocks.1 as usize;
        let partial = empty(device, (blocks, 2, x.channels), DType::F32)?;
        let (copy, copy_ld) = copy.map_or((0, 0), |copy| (copy.address, copy.ld));
        let (positions, channels) = (x.positions as i64, int(x.channels)?);
        let args = [
            x.address.into(),
            (x.ld as i64).into(),
            copy.into(),
            (copy_ld as i64).into(),
            positions.into(),
            channels.into(),
            address(&partial)?.into(),
        ];
        launch(device, &KERNELS, &format!("moments_{}", plan.suffix), plan.grid, &args)?;
        let row = |row: usize| Ok::<_, candle_core::Error>(address(&self.0)? + 4 * (row * self.0.dim(1)? + first) as u64);
        let args = [
            x.address.into(),
            address(&partial)?.into(),
            int(blocks)?.into(),
            positions.into(),
            channels.into(),
            row(0)?.into(),
            row(1)?.into(),
            row(2)?.into(),
        ];
        launch(device, &KERNELS, &format!("join_moments_{}", suffix(x.dtype)?), joining(x.channels), &args)
    }
}

/// The grid of the kernels that add up what blocks have found.
fn joining(channels: usize) -> Grid {
    Grid { blocks: (whole(channels.div_ceil(32)), 1, 1), threads: (32, 8) }
}

/// A norm whose statistics are known, with the rectifier behind it where `relu`. Addresses of `[channels]` in f32 each.
#[derive(Clone, Copy)]
pub(crate) struct Norm<'a> {
    pub device: &'a CudaDevice,
    pub mean: u64,
    pub variance: u64,
    pub weight: u64,
    pub bias: u64,
    pub eps: f64,
    pub relu: bool,
}

/// The gradients of a norm's weight and bias, which are also the sums over g x̂ and g.
pub(crate) struct Sums {
    pub dweight: Tensor,
    pub dbias: Tensor,
}

impl Norm<'_> {
    fn args(&self) -> [Arg; 6] {
        let (eps, relu) = (self.eps as f32, i32::from(self.relu));
        [self.mean.into(), self.variance.into(), self.weight.into(), self.bias.into(), eps.into(), relu.into()]
    }

    fn run(&self, kernel: &str, plan: &Plan, args: &[&[Arg]]) -> Result<()> {
        launch(self.device, &KERNELS, &format!("{kernel}_{}", plan.suffix), plan.grid, &args.concat())
    }

    /// Normalises and rectifies `x` into `y`.
    pub(crate) fn apply(&self, x: Channels, y: Channels) -> Result<()> {
        let plan = Plan::new(&[x, y])?;
        self.run("normalise", &plan, &[&x.strided(), &self.args(), &x.sizes()?, &y.strided()])
    }

    /// The sums that the gradient `dy` of the result gives. With `add`, `(gradients, pending [2, total])` of a dense block, what
    /// needs no sums is added to the gradients and the rest to `pending`.
    pub(crate) fn sums(&self, x: Channels, dy: Channels, add: Option<(Channels, u64, usize)>) -> Result<Sums> {
        let all: Vec<Channels> = [x, dy].into_iter().chain(add.map(|add| add.0)).collect();
        let plan = Plan::new(&all)?;
        let blocks = plan.grid.blocks.1 as usize;
        let partial = empty(self.device, (blocks, 2, x.channels), DType::F32)?;
        let partial_address: Arg = address(&partial)?.into();
        let (adding, pending, total) = add.map_or(([0u64.into(), 0i64.into()], 0, 0), |add| (add.0.strided(), add.1, add.2));
        let all: [&[Arg]; 6] = [&x.strided(), &dy.strided(), &self.args(), &adding, &x.sizes()?, &[partial_address]];
        self.run("gradient_sums", &plan, &all)?;
        let gradients = empty(self.device, (2, x.channels), DType::F32)?;
        let sums = Sums { dweight: gradients.get(0)?, dbias: gradients.get(1)? };
        let args = [
            partial_address,
            int(blocks)?.into(),
            (x.positions as i64).into(),
            int(x.channels)?.into(),
            self.variance.into(),
            self.weight.into(),
            (self.eps as f32).into(),
            address(&sums.dweight)?.into(),
            address(&sums.dbias)?.into(),
            pending.into(),
            int(total)?.into(),
        ];
        launch(self.device, &KERNELS, "join_sums", joining(x.channels), &args)?;
        Ok(sums)
    }

    /// The gradient of `x` from that of the result, `dy`, into `dx`, which may be `dy`; both are packed.
    pub(crate) fn back(&self, x: Channels, dy: Channels, sums: &Sums, dx: Channels) -> Result<()> {
        let plan = Plan::new(&[x, dy, dx])?;
        let sums = [address(&sums.dweight)?.into(), address(&sums.dbias)?.into()];
        self.run(
            "normalise_back",
            &plan,
            &[&x.strided(), &[dy.address.into()], &self.args(), &sums, &x.sizes()?, &[dx.address.into()]],
        )
    }

    /// Takes `pending`, addresses of a constant and of a multiple of x̂ for each channel, off the gradients `d`; `out` is packed.
    pub(crate) fn settle(&self, x: Channels, d: Channels, pending: (u64, u64), out: Channels) -> Result<()> {
        let plan = Plan::new(&[x, d, out])?;
        let (eps, mean, variance) = ((self.eps as f32).into(), self.mean.into(), self.variance.into());
        let statistics = [mean, variance, eps, pending.0.into(), pending.1.into()];
        self.run("settle", &plan, &[&x.strided(), &d.strided(), &statistics, &x.sizes()?, &[out.address.into()]])
    }
}

/// As [`crate::batch_norm_train`], for maps `[n, h, w, c]`.
pub(crate) fn batch_norm_train(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    relu: bool,
) -> Result<(Tensor, BatchStatistics)> {
    let (x, weight, bias) = (x.contiguous()?, weight.contiguous()?, bias.contiguous()?);
    let cuda = device(&x)?.clone();
    let maps = Channels::of(&x)?;
    let moments = Moments::new(&cuda, maps.channels)?;
    moments.measure(&cuda, maps, None, 0)?;
    let (mean, variance) = moments.addresses()?;
    let norm = Norm { device: &cuda, mean, variance, weight: address(&weight)?, bias: address(&bias)?, eps, relu };
    let y = Fresh::new(&cuda, x.shape(), x.dtype())?;
    norm.apply(maps, maps.at(y.address()?))?;
    let statistics = moments.statistics(0, maps.channels)?;
    // What is captured lives as long as the graph.
    let held = Arc::new((x.clone(), weight.clone(), bias.clone(), moments));
    let y = y.attach3("batch_norm", [&x, &weight, &bias], move |_, dy| {
        let (x, weight, bias, moments) = &*held;
        let (mean, variance) = moments.addresses()?;
        let (weight_at, bias_at) = (address(weight)?, address(bias)?);
        let norm = Norm { device: device(x)?, mean, variance, weight: weight_at, bias: bias_at, eps, relu };
        let (maps, dy) = (Channels::of(x)?, Channels::of(dy)?);
        let sums = norm.sums(maps, dy, None)?;
        let mut dx = None;
        if x.track_op() {
            let fresh = empty(norm.device, x.shape(), x.dtype())?;
            norm.back(maps, dy, &sums, Channels::of(&fresh)?)?;
            dx = Some(fresh);
        }
        let keep = |argument: &Tensor, gradient| argument.track_op().then_some(gradient);
        Ok([dx, keep(weight, sums.dweight), keep(bias, sums.dbias)])
    })?;
    Ok((y, statistics))
}

/// As [`crate::batch_norm_eval`], for maps `[n, h, w, c]`; outside the graph.
pub(crate) fn batch_norm_eval(
    x: &Tensor,
    statistics: &BatchStatistics,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    relu: bool,
) -> Result<Tensor> {
    let [mean, variance] = [statistics.mean.contiguous()?, statistics.variance.contiguous()?];
    let (x, weight, bias) = (x.contiguous()?, weight.contiguous()?, bias.contiguous()?);
    let cuda = device(&x)?;
    let (mean, variance) = (address(&mean)?, address(&variance)?);
    let norm = Norm { device: cuda, mean, variance, weight: address(&weight)?, bias: address(&bias)?, eps, relu };
    let y = empty(cuda, x.shape(), x.dtype())?;
    norm.apply(Channels::of(&x)?, Channels::of(&y)?)?;
    Ok(y)
}

/// `running ← (1 - momentum) running + momentum batch`, in place.
pub(crate) fn absorb(mean: &Tensor, variance: &Tensor, batch: &BatchStatistics, momentum: f64) -> Result<()> {
    let channels = mean.elem_count();
    let args = [
        address(mean)?.into(),
        address(variance)?.into(),
        address(&batch.mean)?.into(),
        address(&batch.variance)?.into(),
        ((1.0 - momentum) as f32).into(),
        (momentum as f32).into(),
        int(channels)?.into(),
    ];
    launch(device(mean)?, &KERNELS, "absorb", Grid::each(channels), &args)
}
