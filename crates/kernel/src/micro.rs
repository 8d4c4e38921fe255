//! Two inner loops that keep a block of sums in vector registers: what `gemm` is for large matrices, for operands that lie at
//! given offsets of a buffer in cache (a convolution's shifted maps) and for few rows.

use pulp::{Arch, Simd, WithSimd};

/// Positions of one block of sums: three 512-bit vectors, or twice three 256-bit ones.
pub(super) const PANEL: usize = 48;
/// Outputs of one block.
pub(super) const OCTET: usize = 8;
/// What a buffer needs behind the last position that counts: whole vectors are read.
pub(super) const SLACK: usize = 16;

/// Numbers of a vector.
#[inline(always)]
pub(super) const fn lanes<S: Simd>() -> usize {
    size_of::<S::f32s>() / size_of::<f32>()
}

/// `V` vectors that lie behind each other.
///
/// # Safety
/// They do.
#[inline(always)]
pub(super) unsafe fn vectors<S: Simd, const V: usize>(at: *const f32) -> [S::f32s; V] {
    // SAFETY: the caller's.
    std::array::from_fn(|v| unsafe { at.add(v * lanes::<S>()).cast::<S::f32s>().read_unaligned() })
}

/// `out[o][p] = Σ_j weights[j][o] x[offsets[j] + p]` for [`OCTET`] outputs o (rows of `out`) and `out.len() / OCTET` positions p,
/// a multiple of [`PANEL`]. Panel q of the positions starts at `q * step` in `x`.
pub(super) fn multiply(x: &[f32], step: usize, offsets: &[usize], weights: &[f32], out: &mut [f32]) {
    let panels = out.len() / (OCTET * PANEL);
    assert!(out.len() == panels * OCTET * PANEL && weights.len() == offsets.len() * OCTET, "whole panels and octets");
    let last = offsets.iter().max().map_or(0, |last| last + (panels.max(1) - 1) * step + PANEL);
    assert!(last <= x.len(), "a product outside its operand");
    Arch::new().dispatch(Multiply { x, step, offsets, weights, out, panels });
}

struct Multiply<'a> {
    x: &'a [f32],
    step: usize,
    offsets: &'a [usize],
    weights: &'a [f32],
    out: &'a mut [f32],
    panels: usize,
}

impl WithSimd for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = lanes::<S>();
        let width = self.panels * PANEL;
        for panel in 0..self.panels {
            // SAFETY: `multiply` has checked that all offsets of all panels lie inside `x`, and that `out` and `weights` are
            // whole.
            unsafe {
                let x = self.x.as_ptr().add(panel * self.step);
                let out = self.out.as_mut_ptr().add(panel * PANEL);
                match lanes {
                    16 => multiply_block::<S, 3, 8>(simd, x, self.offsets, self.weights.as_ptr(), out, width),
                    8 => {
                        for part in [0, PANEL / 2] {
                            for half in [0, OCTET / 2] {
                                let (x, weights) = (x.add(part), self.weights.as_ptr().add(half));
                                multiply_block::<S, 3, 4>(simd, x, self.offsets, weights, out.add(half * width + part), width);
                            }
                        }
                    }
                    _ => {
                        for part in (0..PANEL).step_by(2 * lanes) {
                            for pair in (0..OCTET).step_by(2) {
                                let (x, weights) = (x.add(part), self.weights.as_ptr().add(pair));
                                multiply_block::<S, 2, 2>(simd, x, self.offsets, weights, out.add(pair * width + part), width);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// # Safety
/// `x` holds `V` vectors at every offset, `weights` [`OCTET`] values per row from its first row's start on, `out` `O` rows of
/// `stride`.
#[inline(always)]
unsafe fn multiply_block<S: Simd, const V: usize, const O: usize>(
    simd: S,
    x: *const f32,
    offsets: &[usize],
    weights: *const f32,
    out: *mut f32,
    stride: usize,
) {
    let lanes = lanes::<S>();
    let mut sums = [[simd.splat_f32s(0.0); V]; O];
    // SAFETY: as the caller guarantees.
    unsafe {
        for (j, &offset) in offsets.iter().enumerate() {
            let (x, weights) = (x.add(offset), weights.add(j * OCTET));
            let vectors = vectors::<S, V>(x);
            for (o, sums) in sums.iter_mut().enumerate() {
                let weight = simd.splat_f32s(*weights.add(o));
                for (sum, &vector) in sums.iter_mut().zip(&vectors) {
                    *sum = simd.mul_add_e_f32s(vector, weight, *sum);
                }
            }
        }
        for (o, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                out.add(o * stride + v * lanes).cast::<S::f32s>().write_unaligned(sum);
            }
        }
    }
}

/// Rows and columns of one block of dot products.
const ROWS: usize = 4;
const COLS: usize = 6;

/// `out[r * stride + c] += Σ_p a[rows[r] + p] b[cols[c] + p]` over p < `length`. Behind each column [`SLACK`] more values must
/// lie in `b`, and they must be finite.
pub(super) fn dots((a, rows): (&[f32], &[usize]), (b, cols): (&[f32], &[usize]), length: usize, out: &mut [f32], stride: usize) {
    let end = |offsets: &[usize]| offsets.iter().max().map_or(0, |last| last + length);
    assert!(end(rows) <= a.len() && end(cols) + SLACK <= b.len(), "a dot product outside its operands");
    assert!(rows.is_empty() || cols.is_empty() || (rows.len() - 1) * stride + cols.len() <= out.len(), "results outside `out`");
    Arch::new().dispatch(Dots { a, rows, b, cols, length, out, stride });
}

struct Dots<'a> {
    a: &'a [f32],
    rows: &'a [usize],
    b: &'a [f32],
    cols: &'a [usize],
    length: usize,
    out: &'a mut [f32],
    stride: usize,
}

impl WithSimd for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let wide = size_of::<S::f32s>() == 64;
        for (i, rows) in self.rows.chunks(ROWS).enumerate() {
            for (j, cols) in self.cols.chunks(COLS).enumerate() {
                // The last blocks repeat a row or column; its sums are ignored.
                let row = |r: usize| rows[r.min(rows.len() - 1)];
                let col = |c: usize| cols[c.min(cols.len() - 1)];
                let mut sums = [[0.0; COLS]; ROWS];
                // SAFETY: `dots` has checked all offsets, with slack for whole vectors of `b`.
                unsafe {
                    if wide {
                        dot_block::<S, ROWS, COLS>(simd, self.a, row, self.b, col, self.length, 0, &mut sums);
                    } else {
                        for half in [0, ROWS / 2] {
                            let row = |r| row(r + half);
                            dot_block::<S, 2, COLS>(simd, self.a, row, self.b, col, self.length, half, &mut sums);
                        }
                    }
                }
                for (r, sums) in sums.iter().enumerate().take(rows.len()) {
                    let out = &mut self.out[(i * ROWS + r) * self.stride + j * COLS..][..cols.len()];
                    out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
                }
            }
        }
    }
}

/// Rows `first..first + R` of a block.
///
/// # Safety
/// `length` values of `a` behind every row's offset, `length + SLACK` of `b` behind every column's.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "it is one loop, inlined")]
unsafe fn dot_block<S: Simd, const R: usize, const C: usize>(
    simd: S,
    a: &[f32],
    row: impl Fn(usize) -> usize,
    b: &[f32],
    col: impl Fn(usize) -> usize,
    length: usize,
    first: usize,
    out: &mut [[f32; C]; ROWS],
) {
    let lanes = lanes::<S>();
    let mut sums = [[simd.splat_f32s(0.0); C]; R];
    let whole = length / lanes * lanes;
    let rows: [usize; R] = std::array::from_fn(row);
    // SAFETY: as the caller guarantees.
    unsafe {
        let columns: [*const f32; C] = std::array::from_fn(|c| b.as_ptr().add(col(c)));
        let pointers: [*const f32; R] = rows.map(|row| a.as_ptr().add(row));
        let mut add = |at: usize, rows: [S::f32s; R]| {
            for c in 0..C {
                let column = columns[c].add(at).cast::<S::f32s>().read_unaligned();
                for r in 0..R {
                    sums[r][c] = simd.mul_add_e_f32s(rows[r], column, sums[r][c]);
                }
            }
        };
        for at in (0..whole).step_by(lanes) {
            add(at, pointers.map(|row| row.add(at).cast::<S::f32s>().read_unaligned()));
        }
        if whole < length {
            add(whole, rows.map(|row| simd.partial_load_f32s(&a[row + whole..row + length])));
        }
    }
    for r in 0..R {
        for c in 0..C {
            out[first + r][c] = simd.reduce_sum_f32s(sums[r][c]);
        }
    }
}
