//! Access to the numbers of CPU tensors.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};

use candle_core::{CpuStorage, Device, Layout, Result, Shape, Storage, Tensor, bail};
use rayon::prelude::*;

/// The values of contiguous f32 storage.
pub(super) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    if matches!(storage, CpuStorage::F32(_)) { typed(storage, layout) } else { bail!("a CPU kernel needs f32") }
}

/// The values of contiguous storage of any type.
pub(super) fn typed<'a, T: candle_core::WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<T>()?[start..end]),
        None => bail!("a kernel needs contiguous tensors, got strides {:?}", layout.stride()),
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

/// Zeros to write a result into, made by all threads: one alone spends a twentieth of a DenseNet step on them while the others
/// wait.
pub(super) fn zeros(length: usize) -> Vec<f32> {
    /// Numbers that make a task of their own worth while.
    const SHARE: usize = 1 << 14;
    let mut all = Vec::with_capacity(length);
    let (room, _) = all.spare_capacity_mut().split_at_mut(length);
    room.par_chunks_mut(SHARE).for_each(|part| part.fill(MaybeUninit::new(0.0)));
    // SAFETY: all of them have just been written.
    unsafe { all.set_len(length) };
    all
}

thread_local! {
    /// Buffers that were used before: neither zeroed nor fetched page by page again.
    static USED: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Buffers a thread keeps.
const KEPT: usize = 96;
/// How many times larger than needed a kept buffer may be.
const EXCESS: usize = 4;

/// Working memory with arbitrary old values: write before you read.
#[derive(Debug, Default)]
pub(super) struct Scratch(Vec<f32>);

impl Scratch {
    pub(super) fn new(length: usize) -> Self {
        let mut scratch = Self::default();
        scratch.resize(length);
        scratch
    }

    /// Changes the length; the values become arbitrary.
    pub(super) fn resize(&mut self, length: usize) {
        if self.0.capacity() < length {
            let fitting = USED.with_borrow_mut(|used| {
                let fits = |buffer: &Vec<f32>| (length..=EXCESS * length).contains(&buffer.capacity());
                let best = (0..used.len()).filter(|&i| fits(&used[i])).min_by_key(|&i| used[i].capacity());
                best.map(|best| used.swap_remove(best))
            });
            self.keep();
            self.0 = fitting.unwrap_or_default();
        }
        if self.0.capacity() < length {
            self.0 = vec![0.0; length];
        } else {
            self.0.resize(length, 0.0);
        }
    }

    /// Keeps the buffer for the next user.
    fn keep(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        if buffer.capacity() > 0 {
            // A thread that ends has no list any more.
            let _ = USED.try_with(|used| {
                let mut used = used.borrow_mut();
                if used.len() < KEPT {
                    used.push(buffer);
                }
            });
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.keep();
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}
