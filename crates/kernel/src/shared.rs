//! Floats that several tasks write at once.

use std::marker::PhantomData;
use std::ops::Range;

/// Floats whose disjoint parts are written by several tasks at once.
pub(crate) struct Shared<'a> {
    data: *mut f32,
    length: usize,
    _borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: the only way in is `Shared::part`, whose callers guarantee disjoint parts.
unsafe impl Sync for Shared<'_> {}
// SAFETY: as above; the pointer is a borrow of plain floats.
unsafe impl Send for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(crate) fn new(data: &'a mut [f32]) -> Self {
        Self { data: data.as_mut_ptr(), length: data.len(), _borrow: PhantomData }
    }

    /// # Safety
    /// No other task may use any of these floats at the same time.
    #[expect(clippy::mut_from_ref, reason = "the caller guarantees that no other task uses this part")]
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &mut [f32] {
        assert!(range.start <= range.end && range.end <= self.length, "a part outside its buffer");
        // SAFETY: inside the borrow, and the caller guarantees that no other task uses this part.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(range.start), range.len()) }
    }

    /// All of them, for a task that writes where no other task does.
    pub(crate) fn as_ptr(&self) -> *mut f32 {
        self.data
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }
}
