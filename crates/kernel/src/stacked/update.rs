//! The optimizers' arithmetic, a column with its own numbers.

use imbalance::vectorized;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{PANEL, Rows, panels};
use crate::shared::Shared;

/// Rows of a panel that one task moves.
const TASK: usize = 64;

/// How the column of a run moves: `kernel::update`'s arithmetic with a number per column.
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
    /// The weights of a column share the mean of their squares.
    AdamMini,
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
        let mut columns = Columns::new(columns);
        if columns.has(Kind::AdamMini) {
            columns.means = column_means(gradient);
        }
        let rows = TASK * PANEL;
        let moved = value.par_chunks_mut(rows).zip(first.par_chunks_mut(rows));
        moved.zip(second.par_chunks_mut(rows).zip(gradient.par_chunks(rows))).for_each(|((value, first), (second, gradient))| {
            columns.step(value, first, second, gradient);
        });
    });
}

/// What moves each row of the parameters as soon as its gradient is there; no column may share the mean of its squares, which
/// takes all rows. Lengths as [`update`]'s.
pub(super) struct RowUpdate<'a> {
    columns: Vec<Columns>,
    parameters: [Shared<'a>; 3],
    inputs: usize,
}

impl<'a> RowUpdate<'a> {
    pub(super) fn new(columns: &[Column], parameters: [&'a mut [f32]; 3], inputs: usize) -> Self {
        let size = columns.len() * inputs;
        assert!(parameters.iter().all(|part| part.len() == size), "an update of {size} parameters");
        let columns: Vec<Columns> = columns.chunks_exact(PANEL).map(Columns::new).collect();
        assert!(!columns.iter().any(|columns| columns.has(Kind::AdamMini)), "means of columns take all rows");
        Self { columns, parameters: parameters.map(Shared::new), inputs }
    }

    /// Moves the rows that have their `gradient`.
    ///
    /// # Safety
    /// Nobody else moves any of these rows meanwhile.
    pub(super) unsafe fn rows(&self, mut gradient: Rows<'_>) {
        let range = gradient.range();
        // SAFETY: as the caller guarantees.
        let [mut value, mut first, mut second] =
            self.parameters.each_ref().map(|part| unsafe { Rows::new(part, self.inputs, range.clone()) });
        for (panel, columns) in self.columns.iter().enumerate() {
            let [value, first, second] = [&mut value, &mut first, &mut second].map(|rows| rows.panel(panel).as_flattened_mut());
            columns.step(value, first, second, gradient.panel(panel).as_flattened());
        }
    }
}

/// The mean square of each column of `gradient`, `[inputs, PANEL]`: f32 sums of some rows, added up in f64.
fn column_means(gradient: &[f32]) -> [f32; PANEL] {
    let mut sums = [0.0_f64; PANEL];
    vectorized(
        #[inline(always)]
        || {
            for rows in gradient.chunks(TASK * PANEL) {
                let mut part = [0.0_f32; PANEL];
                for row in rows.as_chunks::<PANEL>().0 {
                    for lane in 0..PANEL {
                        part[lane] += row[lane] * row[lane];
                    }
                }
                for lane in 0..PANEL {
                    sums[lane] += f64::from(part[lane]);
                }
            }
        },
    );
    let inputs = (gradient.len() / PANEL).max(1) as f64;
    sums.map(|sum| (sum / inputs) as f32)
}

const ADAM: u8 = Kind::Adam as u8;
const ADAM_MINI: u8 = Kind::AdamMini as u8;
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
    /// The mean square of the gradient (Adam-mini).
    means: [f32; PANEL],
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
            means: [0.0; PANEL],
        }
    }

    fn has(&self, kind: Kind) -> bool {
        self.rule.contains(&(kind as u8))
    }

    /// Moves some rows of the panel.
    fn step(&self, value: &mut [f32], first: &mut [f32], second: &mut [f32], gradient: &[f32]) {
        let mut step = Step { columns: self, value, first, second, gradient };
        if self.has(Kind::Adam) {
            Arch::new().dispatch(MoveKind::<ADAM>(&mut step));
        }
        if self.has(Kind::AdamMini) {
            Arch::new().dispatch(MoveKind::<ADAM_MINI>(&mut step));
        }
        if self.has(Kind::Sgd) {
            Arch::new().dispatch(MoveKind::<SGD>(&mut step));
        }
        if self.has(Kind::Nesterov) {
            Arch::new().dispatch(MoveKind::<NESTEROV>(&mut step));
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
struct MoveKind<'s, 'a, const KIND: u8>(&'s mut Step<'a>);

impl<const KIND: u8> WithSimd for MoveKind<'_, '_, KIND> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Step { columns, value, first, second, gradient } = self.0;
        // A mask of all bits or none keeps the loop below free of branches, so that it is vectorised.
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
                let added = if KIND == ADAM_MINI { columns.means[at] } else { g * g };
                let v = columns.keep_square[at] * square[at] + columns.add_square[at] * added;
                new_mean[at] = m;
                new_square[at] = v;
                moved[at] = if KIND == ADAM || KIND == ADAM_MINI {
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
                if KIND == ADAM || KIND == ADAM_MINI {
                    second[at] = choose(own[at], new_square[at], square[at]);
                }
            }
        }
    }
}
