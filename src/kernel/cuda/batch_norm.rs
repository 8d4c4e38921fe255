//! Batch normalisation on CUDA: statistics in one pass, normalising and rectifying in a second, the gradient in two.

use candle_core::{CudaDevice, DType, Result, Tensor};

use super::{Grid, Module, address, empty, int, launch, module, suffix, whole};

const KERNELS: Module = module!("batch_norm");

/// Threads of a block.
const THREADS: usize = 256;
/// Blocks that share the positions out, at most: enough for every GPU of today, few enough to add up.
const MOST_BLOCKS: usize = 512;
/// Positions a thread should have before there is another block.
const LEAST_POSITIONS: usize = 4;

/// Channels of maps `[positions, channels]`: where they lie, and how far it is from one position to the next.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Channels {
    pub address: u64,
    pub ld: usize,
    pub dtype: DType,
    pub positions: usize,
    pub channels: usize,
}

impl Channels {
    /// All channels of contiguous maps `[..., channels]`.
    pub(in crate::kernel) fn of(maps: &Tensor) -> Result<Self> {
        let channels = maps.dim(candle_core::D::Minus1)?;
        let positions = maps.elem_count() / channels.max(1);
        Ok(Self { address: address(maps)?, ld: channels, dtype: maps.dtype(), positions, channels })
    }

    /// `count` of the channels, from the one of number `first`.
    pub(in crate::kernel) fn part(&self, first: usize, count: usize) -> Self {
        Self { address: self.address + (first * self.dtype.size_in_bytes()) as u64, channels: count, ..*self }
    }

    /// Whether packs of 16 bytes fit.
    fn packs(&self) -> bool {
        let pack = 16 / self.dtype.size_in_bytes();
        self.address.is_multiple_of(16) && self.ld.is_multiple_of(pack) && self.channels.is_multiple_of(pack)
    }
}

/// The grid over channels and positions, and the ending of the kernels' names.
pub(in crate::kernel) struct Plan {
    pub grid: Grid,
    pub suffix: String,
}

impl Plan {
    /// For a kernel that walks over all of `maps` at once; they have the same positions, channels and type.
    pub(in crate::kernel) fn new(maps: &[Channels]) -> Result<Self> {
        let first = maps[0];
        let pack = if maps.iter().all(Channels::packs) { 16 / first.dtype.size_in_bytes() } else { 1 };
        let packs = first.channels.div_ceil(pack).max(1);
        let across = packs.next_power_of_two().min(32);
        let down = THREADS / across;
        let blocks = first.positions.div_ceil(down * LEAST_POSITIONS).clamp(1, MOST_BLOCKS);
        let grid = Grid { blocks: (whole(packs.div_ceil(across)), whole(blocks), 1), threads: (whole(across), whole(down)) };
        Ok(Self { grid, suffix: format!("{}_{pack}", suffix(first.dtype)?) })
    }
}

/// Mean, variance and unbiased variance of channels: `[3, channels]`.
pub(in crate::kernel) struct Moments(pub Tensor);

impl Moments {
    /// Those of `x`, written to columns `first..` of this; `copy` gets a copy of `x`.
    pub(in crate::kernel) fn measure(
        &self,
        device: &CudaDevice,
        x: Channels,
        copy: Option<Channels>,
        first: usize,
    ) -> Result<()> {
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
        let grid = Grid { blocks: (whole(x.channels.div_ceil(32)), 1, 1), threads: (32, 8) };
        launch(device, &KERNELS, &format!("join_moments_{}", suffix(x.dtype)?), grid, &args)
    }
}
