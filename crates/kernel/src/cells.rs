//! Losses that are a mean over cells, of one run or of many, evaluated where the logits lie: slopes and losses in one pass, from
//! the losses' numbers ([`imbalance::loss::Form`]). Nothing has to be read back before the next step.

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};

use super::cpu::typed;
use imbalance::loss::{Form, IGNORED};

/// Numbers of a part of the sum: its loss in two, and whether one of its slopes is NaN or infinite.
pub const PART: usize = 3;

/// Parts that a batch's loss is summed in, at most.
const MOST_PARTS: usize = 64;

/// Parts of the sum over `cells` cells.
#[must_use]
pub fn parts(cells: usize) -> usize {
    cells.div_ceil(1024).clamp(1, MOST_PARTS)
}

/// The forms of some runs' losses on a device.
pub struct Cells {
    /// One per run, over the same labels.
    pub(super) forms: Vec<Form>,
    /// [`Form::table`] of each, f64; on the CPU it is not read.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "only a kernel reads it"))]
    pub(super) table: Tensor,
    /// `[runs, batch]` numbers of the rows of the batch at hand, where a form has a use for them.
    pub(super) rows: Option<Tensor>,
    pub(super) parts: usize,
}

impl Cells {
    /// The forms on `device`, for batches whose losses are summed in `parts` parts.
    ///
    /// # Errors
    /// Propagates Candle errors.
    pub fn new(forms: Vec<Form>, parts: usize, device: &candle_core::Device) -> Result<Self> {
        let tables: Vec<f64> = forms.iter().flat_map(Form::table).collect();
        let table = Tensor::from_slice(&tables, tables.len(), device)?;
        Ok(Self { forms, table, rows: None, parts })
    }

    pub(super) fn labels(&self) -> usize {
        self.forms.first().map_or(0, |form| form.positive.weight.len())
    }

    /// The gradients of each run's mean loss over the cells of its logits, and the parts of the sums of the cells' losses,
    /// `[runs, parts x PART]`: see [`total`]. `logits` (f32) are `[batch, labels]` of one run, or `[runs, labels, batch]`; the
    /// gradients are of their shape. `targets` (u8) are `[batch, labels]`, and `rows` (`[runs, batch]`, f64) the numbers of the
    /// rows.
    ///
    /// # Errors
    /// Candle errors; shapes that do not fit; a device without this kernel.
    pub fn evaluate(&mut self, logits: &Tensor, targets: &Tensor, rows: Option<Tensor>) -> Result<(Tensor, Tensor)> {
        let (runs, batch, labels) = match *logits.dims() {
            [batch, labels] => (1, batch, labels),
            [runs, labels, batch] => (runs, batch, labels),
            _ => bail!("logits {:?}", logits.shape()),
        };
        let fits = runs == self.forms.len() && self.forms.iter().all(|form| form.positive.weight.len() == labels);
        let given = targets.elem_count() == batch * labels && rows.as_ref().is_none_or(|rows| rows.elem_count() == runs * batch);
        if !fits || !given || logits.dtype() != DType::F32 || targets.dtype() != DType::U8 {
            bail!("{} losses over labels of {:?} and targets {:?}", self.forms.len(), logits.shape(), targets.shape());
        }
        self.rows = rows.map(|rows| rows.contiguous()).transpose()?;
        let result = logits.detach().contiguous()?.apply_op2_no_bwd(&targets.contiguous()?, self)?;
        let (cells, parts) = (logits.elem_count(), self.parts * PART);
        Ok((result.narrow(0, 0, cells)?.reshape(logits.shape())?, result.narrow(0, cells, runs * parts)?.reshape((runs, parts))?))
    }
}

/// The sum of the cells' losses from its parts, and whether every slope is finite.
#[must_use]
pub fn total(parts: &[f32]) -> (f64, bool) {
    let sum = parts.chunks_exact(PART).map(|part| f64::from(part[0]) + f64::from(part[1])).sum();
    (sum, parts.chunks_exact(PART).all(|part| part[2] == 0.0))
}

/// A sum and whether a slope is NaN or infinite, as [`total`] reads them.
#[must_use]
pub fn part(sum: f64, bad: bool) -> [f32; PART] {
    let high = sum as f32;
    let rest = if high.is_finite() { (sum - f64::from(high)) as f32 } else { 0.0 };
    [high, rest, f32::from(u8::from(bad))]
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
        let rows = self.rows.as_ref().map(|rows| rows.flatten_all()?.to_vec1::<f64>()).transpose()?;
        let (runs, labels, count) = (self.forms.len(), self.labels(), logits.len());
        let (cells, upright) = (count / runs.max(1), logits_layout.dims().len() == 3);
        let (batch, share) = (cells / labels.max(1), 1.0 / cells as f64);
        let mut result = vec![0.0; count + runs * self.parts * PART];
        for (run, form) in self.forms.iter().enumerate() {
            let (mut sum, mut bad) = (0.0, false);
            for cell in 0..cells {
                let (row, label) = if upright { (cell % batch, cell / batch) } else { (cell / labels, cell % labels) };
                let (at, y) = (run * cells + cell, targets[row * labels + label]);
                if y == IGNORED {
                    continue;
                }
                let number = rows.as_ref().map_or(1.0, |rows| rows[run * batch + row]);
                let term = form.term(label, logits[at].into(), y == 1, number);
                sum += term.value;
                result[at] = (term.slope * share) as f32;
                bad |= !result[at].is_finite();
            }
            result[count + run * self.parts * PART..][..PART].copy_from_slice(&part(sum, bad));
        }
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
