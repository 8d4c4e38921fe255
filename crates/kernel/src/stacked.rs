//! The first layer of many networks over the same inputs, in one pass over them.
//!
//! The layer's outputs of all networks lie side by side in **panels** of [`PANEL`] columns: weights, their gradients and the optimizer's
//! memory are `[panels, inputs, PANEL]`, outputs and their gradients `[panels, batch, PANEL]`. That is the order in which the products
//! read and write them, so that nothing is packed. A column's sums run one after the other with fused multiply-adds, wherever it stands
//! and whatever stands beside it: a network gives the same bits among others as alone, on any number of threads.

mod losses;
mod product;
mod update;

pub use losses::{Losses, Sums};
pub use product::Rows;
use product::{Operand, product};
use update::RowUpdate;
pub use update::{Column, Kind, update};

/// Columns of a panel: a vector of the widest machines.
pub const PANEL: usize = 16;

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
/// `weight [panels, inputs, PANEL]`. `then` takes some rows of `z` at a time, while they are in the caches; what it gives comes back in
/// the order of the rows.
///
/// # Panics
/// Where the lengths do not fit.
pub fn forward<T: Send>(x: &[f32], weight: &[f32], inputs: usize, z: &mut [f32], then: impl Fn(Rows<'_>) -> T + Sync) -> Vec<T> {
    let step = row_step(inputs);
    product(Operand::<false> { values: x, step, rows: x.len() / step, depth: inputs }, weight, z, then)
}

/// The weights' gradient: `dweight [panels, inputs, PANEL]` from `x [batch, inputs]` (rows [`row_step`] apart) and
/// `dz [panels, batch, PANEL]`.
///
/// # Panics
/// Where the lengths do not fit.
pub fn weight_gradient(x: &[f32], dz: &[f32], inputs: usize, dweight: &mut [f32]) {
    let step = row_step(inputs);
    product(Operand::<true> { values: x, step, rows: inputs, depth: x.len() / step }, dz, dweight, |_| ());
}

/// [`weight_gradient`], and each row of the weights (`parameters`: weights, first and second means) moves as soon as its gradient is
/// there; `columns` are `[panels * PANEL]`, none of them [`Kind::AdamMini`].
///
/// # Panics
/// Where the lengths do not fit.
pub fn descend(x: &[f32], dz: &[f32], inputs: usize, columns: &[Column], parameters: [&mut [f32]; 3], dweight: &mut [f32]) {
    let step = row_step(inputs);
    let update = RowUpdate::new(columns, parameters, inputs);
    product(Operand::<true> { values: x, step, rows: inputs, depth: x.len() / step }, dz, dweight, |rows| {
        // SAFETY: a product's tasks have rows of their own.
        unsafe { update.rows(rows) };
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use imbalance::rng::Rng;

    fn values(name: u64, count: usize) -> Vec<f32> {
        let mut rng = Rng::new(name, "stacked", &[]);
        (0..count).map(|_| rng.normal() as f32).collect()
    }

    /// To the last bit the gradient and then the update, of columns with rules of their own.
    #[test]
    fn descending_is_the_gradient_and_the_update() {
        let (batch, inputs, panels) = (70, 333, 3);
        let (x, dz) = (values(1, batch * row_step(inputs)), values(2, panels * batch * PANEL));
        let number = |at: usize| 0.1 + 0.01 * at as f32;
        let column = |at: usize| Column {
            rule: [Kind::Adam, Kind::Sgd, Kind::Nesterov, Kind::None][at % 4],
            decay: 0.01,
            keep: number(at),
            add: 1.0 - number(at),
            keep_square: 0.9,
            add_square: 0.1,
            rate: number(at) * 1e-2,
            shrink: 0.999,
            eps: 1e-8,
            root: 1.5,
            momentum: 0.9,
        };
        let columns: Vec<Column> = (0..panels * PANEL).map(column).collect();
        let start = || [3, 4, 5].map(|name| values(name, panels * inputs * PANEL).iter().map(|x| x.abs()).collect::<Vec<f32>>());
        let ([mut value, mut first, mut second], mut gradient) = (start(), vec![0.0; panels * inputs * PANEL]);
        weight_gradient(&x, &dz, inputs, &mut gradient);
        update(&columns, &mut value, &mut first, &mut second, &gradient);
        let (mut parts, mut own) = (start(), vec![0.0; gradient.len()]);
        descend(&x, &dz, inputs, &columns, parts.each_mut().map(|part| &mut part[..]), &mut own);
        assert_eq!((&parts, &own), (&[value, first, second], &gradient));
        assert_ne!(parts, start());
    }

    /// Both products against sums in f64, and to the last bit the same at another place with other columns around.
    #[test]
    fn columns_are_right_and_do_not_depend_on_their_neighbours() {
        for (batch, inputs) in [(1, 1), (7, 5), (33, 300), (256, 1024), (130, 2051)] {
            let step = row_step(inputs);
            let (x, weight) = (values(1, batch * step), values(2, 6 * inputs * PANEL));
            let mut all = vec![0.0; 6 * batch * PANEL];
            forward(&x, &weight, inputs, &mut all, |_| ());
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
                forward(&x, &lone, inputs, &mut z, |_| ());
                assert!((0..batch).all(|row| z[at(5, row, batch)] == all[at(column, row, batch)]));
                let mut gradient = vec![0.0; inputs * PANEL];
                weight_gradient(&x, &z, inputs, &mut gradient);
                assert!((0..inputs).all(|d| gradient[at(5, d, inputs)] == dweight[at(column, d, inputs)]));
            }
        }
    }
}
