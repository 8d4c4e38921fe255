//! Products of a matrix with panels.
//!
//! A block of sums stays in vector registers while its operands stream by: some rows of one to three panels, so that every number
//! loaded serves several multiply-adds. The depth is walked in stretches whose part of the panels fits into the first cache; the
//! sums wait in the result meanwhile, which changes no bit.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::PANEL;
use crate::shared::Shared;

/// Rows that one task computes at most: whole blocks of 8, and equally many tasks for each of two or four threads in a batch of 256.
const TASK: usize = 64;
/// Steps along the depth between two stays of the sums in the result.
const STRETCH: usize = 96;

/// `[rows, depth]`. `step` numbers lie between two rows, or between two places along the depth where it is `TURNED`, and the
/// others lie side by side.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a, const TURNED: bool> {
    pub(super) values: &'a [f32],
    pub(super) step: usize,
    pub(super) rows: usize,
    pub(super) depth: usize,
}

impl<const TURNED: bool> Operand<'_, TURNED> {
    #[inline(always)]
    fn place(&self, row: usize, depth: usize) -> usize {
        place::<TURNED>(row, depth, self.step)
    }
}

/// Where (`row`, `depth`) of an operand is.
#[inline(always)]
fn place<const TURNED: bool>(row: usize, depth: usize, step: usize) -> usize {
    if TURNED { row + depth * step } else { row * step + depth }
}

/// `out [panels, rows, PANEL] = a [rows, depth] b [panels, depth, PANEL]`. `then` takes the rows of each task while they are in the
/// caches; what it gives comes back in the order of the rows.
pub(super) fn product<const TURNED: bool, T: Send>(
    a: Operand<'_, TURNED>,
    b: &[f32],
    out: &mut [f32],
    then: impl Fn(Rows<'_>) -> T + Sync,
) -> Vec<T> {
    let Operand { values, rows, depth, .. } = a;
    let panels = if depth == 0 { out.len() / (rows * PANEL).max(1) } else { b.len() / (depth * PANEL) };
    assert_eq!((b.len(), out.len()), (panels * depth * PANEL, panels * rows * PANEL), "the sizes of a stacked layer");
    assert!(rows == 0 || depth == 0 || a.place(rows - 1, depth - 1) < values.len(), "a product outside its matrix");
    if depth == 0 {
        out.fill(0.0);
    }
    let shared = Shared::new(out);
    // Few rows still give each of two or four threads a task.
    let size = if rows > 2 * TASK { TASK } else { TASK / 2 };
    let tasks = (0..rows.div_ceil(size)).into_par_iter().with_max_len(1);
    tasks
        .map(|task| {
            let (first, last) = (task * size, rows.min((task + 1) * size));
            Arch::new().dispatch(Task { a, b, out: &shared, panels, first, last });
            // SAFETY: the rows of two tasks do not overlap.
            then(unsafe { Rows::new(&shared, rows, first..last) })
        })
        .collect()
}

/// Some rows of a matrix in panels.
pub struct Rows<'a> {
    matrix: &'a Shared<'a>,
    panels: usize,
    /// Rows of the matrix.
    of: usize,
    rows: Range<usize>,
}

impl<'a> Rows<'a> {
    /// # Safety
    /// Nobody else has any of these rows while they live.
    pub(super) unsafe fn new(matrix: &'a Shared<'a>, of: usize, rows: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= of && matrix.len().is_multiple_of((of * PANEL).max(1)), "rows of a matrix");
        Self { matrix, panels: matrix.len() / (of * PANEL).max(1), of, rows }
    }

    /// Which rows they are.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// The rows of a panel.
    ///
    /// # Panics
    /// Where there is no such panel.
    pub fn panel(&mut self, panel: usize) -> &mut [[f32; PANEL]] {
        assert!(panel < self.panels, "panel {panel} of {}", self.panels);
        let first = panel * self.of;
        // SAFETY: whoever made this guarantees that the rows are its alone.
        unsafe { self.matrix.part((first + self.rows.start) * PANEL..(first + self.rows.end) * PANEL) }.as_chunks_mut().0
    }
}

/// A task's rows of an operand along a stretch of the depth.
struct Part<'a> {
    values: &'a [f32],
    step: usize,
}

/// Some rows of all panels.
struct Task<'a, const TURNED: bool> {
    a: Operand<'a, TURNED>,
    b: &'a [f32],
    out: &'a Shared<'a>,
    panels: usize,
    first: usize,
    last: usize,
}

impl<const TURNED: bool> WithSimd for Task<'_, TURNED> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut packed = [0.0; STRETCH * TASK];
        for start in (0..self.a.depth).step_by(STRETCH) {
            let depths = (start, self.a.depth.min(start + STRETCH));
            let a = if TURNED { self.pack(depths, &mut packed) } else { self.lines(depths) };
            let mut panel = 0;
            while panel < self.panels {
                // 24 sums of the machine's 32 vectors, or 12 of 16. More rows would leave no registers for where they begin.
                panel += match (S::F32_LANES >= PANEL, self.panels - panel) {
                    (true, 3 | 5..) => self.rows::<S, 8, 3, 1>(simd, &a, panel, depths),
                    (true, 2 | 4) => self.rows::<S, 8, 2, 1>(simd, &a, panel, depths),
                    (true, _) => self.rows::<S, 8, 1, 1>(simd, &a, panel, depths),
                    (false, _) => self.rows::<S, 6, 1, 2>(simd, &a, panel, depths),
                };
            }
        }
    }
}

impl<const TURNED: bool> Task<'_, TURNED> {
    /// The operand where it is.
    #[inline(always)]
    fn lines(&self, depths: (usize, usize)) -> Part<'_> {
        Part { values: &self.a.values[self.a.place(self.first, depths.0)..], step: self.a.step }
    }

    /// A copy of the task's part of the operand. Its lines are far apart, so that each would be waited for in turn.
    #[inline(always)]
    fn pack<'p>(&self, depths: (usize, usize), packed: &'p mut [f32; STRETCH * TASK]) -> Part<'p> {
        let rows = self.last - self.first;
        for (depth, to) in (depths.0..depths.1).zip(packed.chunks_exact_mut(TASK)) {
            let from = &self.a.values[self.a.place(self.first, depth)..][..rows];
            if rows == TASK { to.copy_from_slice(&from[..TASK]) } else { to[..rows].copy_from_slice(from) }
        }
        Part { values: packed, step: TASK }
    }

    /// All rows of the task and `P` panels, `R` rows and `V` vectors of a panel at a time. Returns `P`.
    #[inline(always)]
    fn rows<S: Simd, const R: usize, const P: usize, const V: usize>(
        &self,
        simd: S,
        a: &Part<'_>,
        panel: usize,
        depths: (usize, usize),
    ) -> usize {
        let mut row = self.first;
        while row < self.last {
            let left = self.last - row;
            for column in (0..PANEL).step_by(V * S::F32_LANES) {
                // SAFETY: `product` has checked the sizes; the rows are this task's and there are as many.
                unsafe {
                    if left >= R {
                        self.sums::<S, R, P, V>(simd, a, (panel, row, column), depths);
                    } else if left >= 4 {
                        self.sums::<S, 4, P, V>(simd, a, (panel, row, column), depths);
                    } else {
                        self.sums::<S, 1, P, V>(simd, a, (panel, row, column), depths);
                    }
                }
            }
            row += if left >= R { R } else { left.min(4) / 4 * 3 + 1 };
        }
        P
    }

    /// Adds what lies between the two `depths` to the sums of `R` rows, `P` panels and `V` vectors, the first of which are at
    /// (panel, row, column).
    ///
    /// # Safety
    /// There are so many rows, panels, columns and depths, and no other task touches these rows.
    #[inline(always)]
    unsafe fn sums<S: Simd, const R: usize, const P: usize, const V: usize>(
        &self,
        simd: S,
        part: &Part<'_>,
        (panel, row, column): (usize, usize, usize),
        depths: (usize, usize),
    ) {
        let Operand { rows, depth, .. } = self.a;
        let (from, next) = ((panel * depth + depths.0) * PANEL + column, depth * PANEL);
        let at = |row: usize, depth: usize| place::<TURNED>(row, depth, part.step);
        // SAFETY: as the caller guarantees, for this and what follows; vectors may lie anywhere.
        let (a, b, out) = unsafe {
            let out = self.out.as_ptr().add((panel * rows + row) * PANEL + column);
            (part.values.as_ptr().add(at(row - self.first, 0)), self.b.as_ptr().add(from), out)
        };
        // SAFETY: as above.
        let vector = |at: *const f32, place: usize| unsafe { at.add(place).cast::<S::f32s>().read_unaligned() };
        let place = |panel: usize, row: usize, vector: usize| (panel * rows + row) * PANEL + vector * S::F32_LANES;
        let mut sums = [[[simd.splat_f32s(0.0); V]; P]; R];
        if depths.0 > 0 {
            for (r, sums) in sums.iter_mut().enumerate() {
                for (p, sums) in sums.iter_mut().enumerate() {
                    for (v, sum) in sums.iter_mut().enumerate() {
                        *sum = vector(out, place(p, r, v));
                    }
                }
            }
        }
        for d in 0..depths.1 - depths.0 {
            let mut columns = [[simd.splat_f32s(0.0); V]; P];
            for (p, columns) in columns.iter_mut().enumerate() {
                for (v, column) in columns.iter_mut().enumerate() {
                    *column = vector(b, p * next + d * PANEL + v * S::F32_LANES);
                }
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as above.
                let a = simd.splat_f32s(unsafe { *a.add(at(r, d)) });
                for (sums, columns) in sums.iter_mut().zip(columns) {
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = simd.mul_add_f32s(a, column, *sum);
                    }
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (p, sums) in sums.iter().enumerate() {
                for (v, sum) in sums.iter().enumerate() {
                    // SAFETY: as above.
                    unsafe { out.add(place(p, r, v)).cast::<S::f32s>().write_unaligned(*sum) };
                }
            }
        }
    }
}
