//! Matrix products through the `gemm` crate, cut into tiles that depend on the shapes alone.

use std::marker::PhantomData;

use gemm::Parallelism;
use rayon::prelude::*;

use super::cpu::zeros;

/// A borrowed matrix with any strides.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    data: &'a [f32],
    pub(super) rows: usize,
    pub(super) cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows` x `cols`, row-major without gaps.
    pub(super) fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::with_stride(data, rows, cols, cols)
    }

    /// `rows` x `cols`; a row starts `row_stride` after the one before.
    pub(super) fn with_stride(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(rows == 0 || cols == 0 || (rows - 1) * row_stride + cols <= data.len(), "a matrix larger than its values");
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// The transpose.
    pub(super) fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    /// The part that starts at (`row`, `col`).
    pub(super) fn block(self, row: usize, rows: usize, col: usize, cols: usize) -> Self {
        assert!(row + rows <= self.rows && col + cols <= self.cols, "a block outside its matrix");
        Self { data: &self.data[row * self.row_stride + col * self.col_stride..], rows, cols, ..self }
    }
}

/// A row-major matrix whose disjoint tiles are written by several tasks at once.
pub(super) struct SharedMatrix<'a> {
    data: *mut f32,
    rows: usize,
    cols: usize,
    _borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: the only way to write is `SharedMatrix::product`, whose callers guarantee disjoint tiles.
unsafe impl Sync for SharedMatrix<'_> {}
// SAFETY: as above; the pointer is a borrow of plain floats.
unsafe impl Send for SharedMatrix<'_> {}

impl<'a> SharedMatrix<'a> {
    pub(super) fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "the size of a matrix");
        Self { data: data.as_mut_ptr(), rows, cols, _borrow: PhantomData }
    }

    /// Writes (or adds, with `add`) `a` b to the tile whose corner is (`row`, `col`).
    ///
    /// # Safety
    /// No other task may touch that tile at the same time.
    pub(super) unsafe fn product(&self, row: usize, col: usize, a: Matrix, b: Matrix, add: bool) {
        assert!(a.cols == b.rows && row + a.rows <= self.rows && col + b.cols <= self.cols, "the shapes of a product");
        // SAFETY: `Matrix` checked that both operands lie inside their slices, the assertion above that the tile lies inside
        // this matrix, and the caller guarantees that no other task writes it.
        unsafe {
            gemm::gemm(
                a.rows,
                b.cols,
                a.cols,
                self.data.add(row * self.cols + col),
                1,
                self.cols as isize,
                add,
                a.data.as_ptr(),
                a.col_stride as isize,
                a.row_stride as isize,
                b.data.as_ptr(),
                b.col_stride as isize,
                b.row_stride as isize,
                1.0,
                1.0,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    }
}

/// Columns of a tile, and rows where there are few columns to share out.
const TILE: (usize, usize) = (64, 256);
/// Tiles that keep every core of a usual machine busy.
const ENOUGH_TILES: usize = 16;
/// Multiply-adds below which sharing out costs more than it brings.
const SMALL: usize = 1 << 16;

/// `a` b as a row-major vector, in parallel over fixed tiles.
pub(super) fn product(a: Matrix, b: Matrix) -> Vec<f32> {
    let (rows, cols) = (a.rows, b.cols);
    let mut out = zeros(rows * cols);
    let shared = SharedMatrix::new(&mut out, rows, cols);
    let (mut tile_rows, mut tile_cols) = (rows.max(1), cols.max(1));
    if rows * cols * a.cols > SMALL {
        tile_cols = TILE.1;
        if cols.div_ceil(TILE.1) < ENOUGH_TILES {
            tile_rows = TILE.0;
        }
    }
    let across = cols.div_ceil(tile_cols);
    (0..rows.div_ceil(tile_rows) * across).into_par_iter().for_each(|tile| {
        let (row, col) = (tile / across * tile_rows, tile % across * tile_cols);
        let (height, width) = (tile_rows.min(rows - row), tile_cols.min(cols - col));
        // SAFETY: the tiles of this loop do not overlap, and no other task has access to `out`.
        unsafe { shared.product(row, col, a.block(row, height, 0, a.cols), b.block(0, b.rows, col, width), false) };
    });
    out
}
