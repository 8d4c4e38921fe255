//! The first layer of many networks over the same inputs, in one pass over them.
//!
//! The layer's outputs of all networks lie side by side in **panels** of [`PANEL`] columns: weights, their gradients and the optimizer's
//! memory are `[panels, inputs, PANEL]`, outputs and their gradients `[panels, batch, PANEL]`. That is the order in which the products
//! read and write them, so that nothing is packed. A column's sums run one after the other with fused multiply-adds, wherever it stands
//! and whatever stands beside it: a network gives the same bits among others as alone, on any number of threads.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Columns of a panel: a vector of the widest machines.
pub const PANEL: usize = 16;
/// Rows of a panel that one task computes.
const TASK: usize = 64;

/// Panels that hold `columns` columns.
#[must_use]
pub fn panels(columns: usize) -> usize {
    columns.div_ceil(PANEL)
}

/// Numbers from one row of `x` to the next: with rows of a power of two all would fall into the same places of the first cache.
#[must_use]
pub fn row_step(inputs: usize) -> usize {
    inputs.next_multiple_of(16) + 16
}

/// Outputs without bias: `z [panels, batch, PANEL]` from `x [batch, inputs]` (rows [`row_step`] apart) and
/// `weight [panels, inputs, PANEL]`.
///
/// # Panics
/// Where the lengths do not fit.
pub fn forward(x: &[f32], weight: &[f32], inputs: usize, z: &mut [f32]) {
    let step = row_step(inputs);
    let batch = x.len() / step;
    assert_eq!((x.len() % step, z.len() / PANEL), (0, weight.len() / PANEL / inputs * batch), "the sizes of a stacked layer");
    let panels = z.par_chunks_exact_mut(batch * PANEL).zip(weight.par_chunks_exact(inputs * PANEL));
    panels.for_each(|(z, weight)| {
        z.par_chunks_mut(TASK * PANEL).enumerate().for_each(|(task, z)| {
            let a = &x[task * TASK * step..];
            Arch::new().dispatch(Product::<false> { a, step, b: weight, out: z });
        });
    });
}

/// The weights' gradient: `dweight [panels, inputs, PANEL]` from `x [batch, inputs]` (rows [`row_step`] apart) and
/// `dz [panels, batch, PANEL]`.
///
/// # Panics
/// Where the lengths do not fit.
pub fn weight_gradient(x: &[f32], dz: &[f32], inputs: usize, dweight: &mut [f32]) {
    let step = row_step(inputs);
    let batch = x.len() / step;
    assert_eq!((x.len() % step, dz.len() / PANEL), (0, dweight.len() / PANEL / inputs * batch), "the sizes of a stacked layer");
    let panels = dweight.par_chunks_exact_mut(inputs * PANEL).zip(dz.par_chunks_exact(batch * PANEL));
    panels.for_each(|(dweight, dz)| {
        dweight.par_chunks_mut(TASK * PANEL).enumerate().for_each(|(task, dweight)| {
            let a = &x[task * TASK..];
            Arch::new().dispatch(Product::<true> { a, step, b: dz, out: dweight });
        });
    });
}

/// `out [rows, PANEL] = a [rows, depth] b [depth, PANEL]`; `step` numbers of `a` lie between two rows, or between two places along the
/// depth where it is `TURNED`, and the others lie side by side.
struct Product<'a, const TURNED: bool> {
    a: &'a [f32],
    step: usize,
    b: &'a [f32],
    out: &'a mut [f32],
}

impl<const TURNED: bool> WithSimd for Product<'_, TURNED> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // As many sums at once as leave registers for the operands: 16 vectors of 32, or 12 of 16.
        if S::F32_LANES >= 16 { rows::<S, 16, 1, TURNED>(simd, self) } else { rows::<S, 6, 2, TURNED>(simd, self) }
    }
}

/// Where (`row`, `depth`) of `a` is.
#[inline(always)]
fn place<const TURNED: bool>(row: usize, depth: usize, step: usize) -> usize {
    if TURNED { row + depth * step } else { row * step + depth }
}

#[inline(always)]
fn rows<S: Simd, const R: usize, const V: usize, const TURNED: bool>(simd: S, product: Product<'_, TURNED>) {
    let Product { a, step, b, out } = product;
    let (rows, depth) = (out.len() / PANEL, b.len() / PANEL);
    assert!(rows == 0 || depth == 0 || place::<TURNED>(rows - 1, depth - 1, step) < a.len(), "a product outside its matrix");
    let (whole, rest) = out.split_at_mut(rows / R * R * PANEL);
    let start = |row| place::<TURNED>(row, 0, step);
    for (tile, out) in whole.chunks_exact_mut(R * PANEL).enumerate() {
        // SAFETY: checked above for all rows.
        unsafe { sums::<S, R, V, TURNED>(simd, a.as_ptr().add(start(tile * R)), step, b, out) };
    }
    for (row, out) in rest.chunks_exact_mut(PANEL).enumerate() {
        // SAFETY: as above.
        unsafe { sums::<S, 1, V, TURNED>(simd, a.as_ptr().add(start(rows / R * R + row)), step, b, out) };
    }
}

/// `R` rows of a product, `V` vectors of columns at a time.
///
/// # Safety
/// `a` has `R` rows as deep as `b`.
#[inline(always)]
unsafe fn sums<S: Simd, const R: usize, const V: usize, const TURNED: bool>(
    simd: S,
    a: *const f32,
    step: usize,
    b: &[f32],
    out: &mut [f32],
) {
    let wide = V * S::F32_LANES;
    for column in (0..PANEL).step_by(wide) {
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        for (depth, b) in b.chunks_exact(PANEL).enumerate() {
            let b = S::as_simd_f32s(&b[column..column + wide]).0;
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                let a = simd.splat_f32s(unsafe { *a.add(place::<TURNED>(row, depth, step)) });
                for (sum, &b) in sums.iter_mut().zip(b) {
                    *sum = simd.mul_add_f32s(a, b, *sum);
                }
            }
        }
        for (sums, out) in sums.iter().zip(out.chunks_exact_mut(PANEL)) {
            S::as_mut_simd_f32s(&mut out[column..column + wide]).0.copy_from_slice(sums);
        }
    }
}

/// How the column of a run moves: `kernel::update`'s arithmetic with a number a column.
#[derive(Clone, Copy, Debug, Default)]
pub struct Column {
    pub rule: Kind,
    /// Share of the parameter that belongs to its gradient (L2 decay).
    pub decay: f32,
    /// Of the first mean: what is kept of it, and how much of the gradient is added.
    pub keep: f32,
    pub add: f32,
    /// Of the mean of squares (Adam).
    pub keep_square: f32,
    pub add_square: f32,
    pub rate: f32,
    /// Decoupled decay (Adam).
    pub shrink: f32,
    pub eps: f32,
    pub root: f32,
    /// SGD: how much of the mean Nesterov's step looks ahead.
    pub momentum: f32,
}

/// Which arithmetic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    Adam,
    Sgd,
    Nesterov,
    /// Nothing moves: a column of no run.
    #[default]
    None,
}

/// Moves the parameters of `[panels, inputs, PANEL]` against their gradient; `columns` are `[panels * PANEL]`.
pub fn update(columns: &[Column], value: &mut [f32], first: &mut [f32], second: &mut [f32], gradient: &[f32]) {
    let size = value.len() / panels(columns.len()).max(1);
    let moved = value.par_chunks_exact_mut(size).zip(first.par_chunks_exact_mut(size));
    let by = second.par_chunks_exact_mut(size).zip(gradient.par_chunks_exact(size));
    moved.zip(by).zip(columns.par_chunks_exact(PANEL)).for_each(|(((value, first), (second, gradient)), columns)| {
        let has = |kind| columns.iter().any(|column| column.rule == kind);
        let rows = TASK * PANEL;
        let moved = value.par_chunks_mut(rows).zip(first.par_chunks_mut(rows));
        moved.zip(second.par_chunks_mut(rows).zip(gradient.par_chunks(rows))).for_each(|((value, first), (second, gradient))| {
            let columns = Columns::new(columns);
            if has(Kind::Adam) {
                let step = Step { columns: &columns, value, first, second, gradient };
                Arch::new().dispatch(Rows::<ADAM>(step));
            }
            if has(Kind::Sgd) {
                let step = Step { columns: &columns, value, first, second, gradient };
                Arch::new().dispatch(Rows::<SGD>(step));
            }
            if has(Kind::Nesterov) {
                let step = Step { columns: &columns, value, first, second, gradient };
                Arch::new().dispatch(Rows::<NESTEROV>(step));
            }
        });
    });
}

const ADAM: u8 = Kind::Adam as u8;
const SGD: u8 = Kind::Sgd as u8;
const NESTEROV: u8 = Kind::Nesterov as u8;

/// The numbers of a panel's columns, a vector each.
struct Columns {
    rule: [u8; PANEL],
    decay: [f32; PANEL],
    keep: [f32; PANEL],
    add: [f32; PANEL],
    keep_square: [f32; PANEL],
    add_square: [f32; PANEL],
    rate: [f32; PANEL],
    shrink: [f32; PANEL],
    eps: [f32; PANEL],
    root: [f32; PANEL],
    momentum: [f32; PANEL],
}

impl Columns {
    fn new(columns: &[Column]) -> Self {
        let of = |number: fn(&Column) -> f32| std::array::from_fn(|at| number(&columns[at]));
        Self {
            rule: std::array::from_fn(|at| columns[at].rule as u8),
            decay: of(|column| column.decay),
            keep: of(|column| column.keep),
            add: of(|column| column.add),
            keep_square: of(|column| column.keep_square),
            add_square: of(|column| column.add_square),
            rate: of(|column| column.rate),
            shrink: of(|column| column.shrink),
            eps: of(|column| column.eps),
            root: of(|column| column.root),
            momentum: of(|column| column.momentum),
        }
    }
}

/// Some rows of a panel.
struct Step<'a> {
    columns: &'a Columns,
    value: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    gradient: &'a [f32],
}

/// Moves the columns of one kind.
struct Rows<'a, const KIND: u8>(Step<'a>);

impl<const KIND: u8> WithSimd for Rows<'_, KIND> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Step { columns, value, first, second, gradient } = self.0;
        // All bits of a number, or none: chosen so, the loop below stays one of vectors.
        let own: [u32; PANEL] = std::array::from_fn(|at| if columns.rule[at] == KIND { u32::MAX } else { 0 });
        let choose = |own: u32, new: f32, old: f32| f32::from_bits(new.to_bits() & own | old.to_bits() & !own);
        let ((values, _), (firsts, _)) = (value.as_chunks_mut::<PANEL>(), first.as_chunks_mut::<PANEL>());
        let ((seconds, _), (gradients, _)) = (second.as_chunks_mut::<PANEL>(), gradient.as_chunks::<PANEL>());
        for (((value, first), second), gradient) in values.iter_mut().zip(firsts).zip(seconds).zip(gradients) {
            let (old, mean, square) = (*value, *first, *second);
            let (mut moved, mut new_mean, mut new_square) = ([0.0; PANEL], [0.0; PANEL], [0.0; PANEL]);
            for at in 0..PANEL {
                let g = gradient[at] + columns.decay[at] * old[at];
                let m = columns.keep[at] * mean[at] + columns.add[at] * g;
                let v = columns.keep_square[at] * square[at] + columns.add_square[at] * (g * g);
                new_mean[at] = m;
                new_square[at] = v;
                moved[at] = if KIND == ADAM {
                    columns.shrink[at] * old[at] - columns.rate[at] * m / (v.sqrt() * columns.root[at] + columns.eps[at])
                } else if KIND == NESTEROV {
                    old[at] - columns.rate[at] * (g + columns.momentum[at] * m)
                } else {
                    old[at] - columns.rate[at] * m
                };
            }
            for at in 0..PANEL {
                value[at] = choose(own[at], moved[at], old[at]);
                first[at] = choose(own[at], new_mean[at], mean[at]);
                if KIND == ADAM {
                    second[at] = choose(own[at], new_square[at], square[at]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn values(name: u64, count: usize) -> Vec<f32> {
        let mut rng = Rng::new(name, "stacked", &[]);
        (0..count).map(|_| rng.normal() as f32).collect()
    }

    /// Both products against sums in f64, and to the last bit the same at another place with other columns around.
    #[test]
    fn columns_are_right_and_do_not_depend_on_their_neighbours() {
        for (batch, inputs) in [(1, 1), (7, 5), (33, 300), (256, 1024), (130, 2051)] {
            let step = row_step(inputs);
            let (x, weight) = (values(1, batch * step), values(2, 6 * inputs * PANEL));
            let mut all = vec![0.0; 6 * batch * PANEL];
            forward(&x, &weight, inputs, &mut all);
            let at = |column: usize, row: usize, rows: usize| (column / PANEL * rows + row) * PANEL + column % PANEL;
            let mut dweight = vec![0.0; weight.len()];
            weight_gradient(&x, &all, inputs, &mut dweight);
            for column in [0, 31, 41, 95] {
                let close = |found: f32, terms: &[f64]| {
                    let size = terms.iter().map(|term| term * term).sum::<f64>().sqrt();
                    let error = (f64::from(found) - terms.iter().sum::<f64>()).abs();
                    assert!(error <= 1e-5 * size + 1e-9, "{error} of {size}");
                };
                for row in [0, batch / 2, batch - 1] {
                    let term = |d| f64::from(x[row * step + d]) * f64::from(weight[at(column, d, inputs)]);
                    close(all[at(column, row, batch)], &(0..inputs).map(term).collect::<Vec<_>>());
                }
                for d in [0, inputs / 2, inputs - 1] {
                    let term = |row| f64::from(x[row * step + d]) * f64::from(all[at(column, row, batch)]);
                    close(dweight[at(column, d, inputs)], &(0..batch).map(term).collect::<Vec<_>>());
                }
                let (mut lone, mut z) = (vec![0.0; inputs * PANEL], vec![0.0; batch * PANEL]);
                (0..inputs).for_each(|d| lone[at(5, d, inputs)] = weight[at(column, d, inputs)]);
                forward(&x, &lone, inputs, &mut z);
                assert!((0..batch).all(|row| z[at(5, row, batch)] == all[at(column, row, batch)]));
                let mut gradient = vec![0.0; inputs * PANEL];
                weight_gradient(&x, &z, inputs, &mut gradient);
                assert!((0..inputs).all(|d| gradient[at(5, d, inputs)] == dweight[at(column, d, inputs)]));
            }
        }
    }
}
