//! Getting at the numbers of CPU tensors, and running loops with the widest vectors the machine has.

use std::ops::Deref;

use candle_core::{CpuStorage, Device, Layout, Result, Shape, Storage, Tensor, bail};

/// The values of contiguous f32 storage.
pub(super) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(data), Some((start, end))) => Ok(&data[start..end]),
        (CpuStorage::F32(_), None) => bail!("a kernel needs contiguous tensors, got strides {:?}", layout.stride()),
        _ => bail!("a CPU kernel needs f32"),
    }
}

/// A tensor's values, borrowed.
pub(super) struct Values<G> {
    guard: G,
    start: usize,
    end: usize,
}

impl<G: Deref<Target = Storage>> Deref for Values<G> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.guard {
            Storage::Cpu(CpuStorage::F32(data)) => &data[self.start..self.end],
            _ => unreachable!("`values` has checked it"),
        }
    }
}

/// The values of a contiguous f32 tensor on the CPU.
pub(super) fn values(tensor: &Tensor) -> Result<Values<impl Deref<Target = Storage> + '_>> {
    let (guard, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*guard else { bail!("a CPU kernel needs a CPU tensor") };
    slice(storage, layout)?;
    let (start, end) = layout.contiguous_offsets().unwrap_or_default();
    Ok(Values { guard, start, end })
}

/// A CPU tensor that owns `data`.
pub(super) fn tensor(data: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(data, shape.into(), &Device::Cpu)
}

/// Runs `body` compiled for the machine's vector instructions. What it calls must be `#[inline(always)]`.
#[inline]
pub(super) fn vectorized<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(body)
}
