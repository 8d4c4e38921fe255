//! A loss that is a mean over cells, evaluated where the logits lie: slopes and the loss in one pass, from the loss's numbers
//! ([`crate::strategy::loss::Form`]). Nothing has to be read back before the next step.

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};

use super::cpu::typed;
use crate::strategy::loss::{Form, IGNORED};

/// Numbers of a part of the sum: its loss in two, and whether a slope of it is no number.
pub const PART: usize = 3;

/// Parts that a batch's loss is summed in, at most.
const MOST_PARTS: usize = 64;

/// Parts of the sum over `cells` cells.
#[must_use]
pub fn parts(cells: usize) -> usize {
    cells.div_ceil(1024).clamp(1, MOST_PARTS)
}

/// A form on a device.
pub struct Cells {
    pub(super) form: Form,
    /// [`Form::table`], f64; on the CPU it is not read.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "only a kernel reads it"))]
    pub(super) table: Tensor,
    /// `[batch, 1]` numbers of the rows of the batch at hand, where the form has a use for them.
    pub(super) rows: Option<Tensor>,
    pub(super) parts: usize,
}

impl Cells {
    /// The form on the device of `like`, for batches whose losses are summed in `parts` parts.
    ///
    /// # Errors
    /// Candle's.
    pub fn new(form: Form, parts: usize, device: &candle_core::Device) -> Result<Self> {
        let table = form.table();
        let table = Tensor::from_slice(&table, table.len(), device)?;
        Ok(Self { form, table, rows: None, parts })
    }

    /// The gradient (`[rows, labels]`) of the mean loss over the cells of `logits` (`[rows, labels]`, f32) and `targets` (as many, u8), and the
    /// parts of the sum of the cells' losses, `[parts x PART]`: see [`total`]. `rows` (`[rows]`, f64) are the numbers of the rows.
    ///
    /// # Errors
    /// Candle's; shapes that do not fit; a device without this kernel.
    pub fn evaluate(&mut self, logits: &Tensor, targets: &Tensor, rows: Option<Tensor>) -> Result<(Tensor, Tensor)> {
        let (count, labels) = logits.dims2()?;
        let fits = targets.elem_count() == count * labels && rows.as_ref().is_none_or(|rows| rows.elem_count() == count);
        if !fits || labels != self.form.positive.weight.len() || logits.dtype() != DType::F32 || targets.dtype() != DType::U8 {
            bail!("a loss over {labels} labels of {:?} and targets {:?}", logits.shape(), targets.shape());
        }
        self.rows = rows;
        let result = logits.detach().contiguous()?.apply_op2_no_bwd(&targets.contiguous()?, self)?;
        let (cells, parts) = (count * labels, self.parts * PART);
        Ok((result.narrow(0, 0, cells)?.reshape((count, labels))?, result.narrow(0, cells, parts)?))
    }
}

/// The sum of the cells' losses from its parts, and whether every slope is a number.
#[must_use]
pub fn total(parts: &[f32]) -> (f64, bool) {
    let sum = parts.chunks_exact(PART).map(|part| f64::from(part[0]) + f64::from(part[1])).sum();
    (sum, parts.chunks_exact(PART).all(|part| part[2] == 0.0))
}

impl CustomOp2 for Cells {
    fn name(&self) -> &'static str {
        "mean over cells"
    }

    /// What the kernel is compared with.
    fn cpu_fwd(
        &self,
        logits: &CpuStorage,
        logits_layout: &Layout,
        targets: &CpuStorage,
        targets_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (logits, targets) = (typed::<f32>(logits, logits_layout)?, typed::<u8>(targets, targets_layout)?);
        let rows = self.rows.as_ref().map(|rows| rows.to_vec1::<f64>()).transpose()?;
        let (labels, share) = (self.form.positive.weight.len(), 1.0 / logits.len() as f64);
        let mut result = vec![0.0; logits.len() + self.parts * PART];
        let (mut sum, mut bad) = (0.0, false);
        for (cell, (&z, &y)) in logits.iter().zip(targets).enumerate().filter(|(_, (_, y))| **y != IGNORED) {
            let row = rows.as_ref().map_or(1.0, |rows| rows[cell / labels]);
            let term = self.form.term(cell % labels, z.into(), y == 1, row);
            sum += term.value;
            result[cell] = (term.slope * share) as f32;
            bad |= !result[cell].is_finite();
        }
        let high = sum as f32;
        let rest = if high.is_finite() { (sum - f64::from(high)) as f32 } else { 0.0 };
        result[logits.len()..][..PART].copy_from_slice(&[high, rest, f32::from(u8::from(bad))]);
        let shape = Shape::from(result.len());
        Ok((CpuStorage::F32(result), shape))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        logits: &candle_core::CudaStorage,
        logits_layout: &Layout,
        targets: &candle_core::CudaStorage,
        targets_layout: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        super::cuda::cells::run(self, (logits, logits_layout), (targets, targets_layout))
    }
}
