//! Batches from a data set that lies on the device as the prepared folder holds it: one pass from its bytes to what the network sees.

use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};

use super::cpu::typed;

/// What one row of the data set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// `[channels, height, width]`, from u8.
    Image { channels: usize, height: usize, width: usize },
    /// `[width]`, f32.
    Features { width: usize },
}

impl Row {
    /// Numbers in one row.
    #[must_use]
    pub fn values(self) -> usize {
        match self {
            Self::Image { channels, height, width } => channels * height * width,
            Self::Features { width } => width,
        }
    }
}

/// Words of an item in a list: row, flip, down, right; partner, flip, down, right; four that name the stream of shares.
pub const WORDS: usize = 12;

/// The partner of an item that is mixed with none.
pub const NONE: u32 = u32::MAX;

/// `[items, channels, height, width]` or `[items, width]`, f32, of the rows that `items` (`[items, WORDS]`, u32) names in `data`
/// (`[rows, row_bytes]`, u8); `numbers` (`[2, channels or width]`, f32) are `Dataset::normalizing`'s. Equals `Dataset::gather`
/// and [`imbalance::sampler::Blend::mix`].
///
/// # Errors
/// Candle errors; a device without this kernel.
pub fn gather(data: &Tensor, items: &Tensor, numbers: &Tensor, shape: Row) -> Result<Tensor> {
    if data.dtype() != DType::U8 || items.dtype() != DType::U32 || items.dims2()?.1 != WORDS {
        bail!("rows are gathered from u8 by lists of {WORDS} u32");
    }
    data.apply_op3_no_bwd(items, numbers, &Gather { shape })
}

/// The operation of [`gather`].
pub(super) struct Gather {
    pub shape: Row,
}

impl Gather {
    /// The shape of a batch of `items`.
    pub fn batch(&self, items: usize) -> Shape {
        match self.shape {
            Row::Image { channels, height, width } => Shape::from((items, channels, height, width)),
            Row::Features { width } => Shape::from((items, width)),
        }
    }

    /// Number `place` of the row that begins `item`.
    fn value(&self, data: &[u8], item: &[u32], [first, second]: [&[f32]; 2], place: usize) -> f32 {
        match self.shape {
            Row::Image { channels, height, width } => {
                let (channel, y, x) = (place / (height * width), place / width % height, place % width);
                let x = if item[1] == 0 { x } else { width - 1 - x };
                let moved = |at: usize, by: u32, size: usize| at.checked_add_signed(by as i32 as isize).filter(|&at| at < size);
                let value = moved(y, item[2], height)
                    .zip(moved(x, item[3], width))
                    .map_or(0, |(y, x)| data[((item[0] as usize * channels + channel) * height + y) * width + x]);
                f32::from(value).mul_add(first[channel], second[channel])
            }
            Row::Features { width } => {
                let at = 4 * (item[0] as usize * width + place);
                let value = f32::from_le_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]);
                (value - first[place]) * second[place]
            }
        }
    }
}

impl CustomOp3 for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    /// What the kernel is compared with.
    fn cpu_fwd(
        &self,
        data: &CpuStorage,
        data_layout: &Layout,
        items: &CpuStorage,
        items_layout: &Layout,
        numbers: &CpuStorage,
        numbers_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (data, items, numbers) =
            (typed::<u8>(data, data_layout)?, typed::<u32>(items, items_layout)?, typed::<f32>(numbers, numbers_layout)?);
        let (first, second) = numbers.split_at(numbers.len() / 2);
        let mut out = Vec::with_capacity(items.len() / WORDS * self.shape.values());
        for item in items.chunks_exact(WORDS) {
            let mut shares = imbalance::rng::Rng::from_words([item[8], item[9], item[10], item[11]]);
            for place in 0..self.shape.values() {
                let mut value = self.value(data, item, [first, second], place);
                if item[4] != NONE {
                    value += shares.uniform() as f32 * (self.value(data, &item[4..], [first, second], place) - value);
                }
                out.push(value);
            }
        }
        Ok((CpuStorage::F32(out), self.batch(items.len() / WORDS)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        data: &candle_core::CudaStorage,
        data_layout: &Layout,
        items: &candle_core::CudaStorage,
        items_layout: &Layout,
        numbers: &candle_core::CudaStorage,
        numbers_layout: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        super::cuda::gather::run(self, (data, data_layout), (items, items_layout), (numbers, numbers_layout))
    }
}
