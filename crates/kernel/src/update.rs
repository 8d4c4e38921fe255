//! Updates of parameters in place: the arithmetic of Adam and SGD, one pass over memory each, without temporary tensors.

use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Tensor, Var, bail};
use rayon::prelude::*;

use super::cpu::slice;
use imbalance::vectorized;

/// Values that one task updates.
const CHUNK: usize = 1 << 14;

/// A running mean of gradients: `m ← keep m + add (g + decay p)`, squared before it is added where `square`.
#[derive(Clone, Copy, Debug)]
pub struct Blend {
    pub keep: f64,
    pub add: f64,
    /// L2 decay: this share of the parameter belongs to its gradient.
    pub decay: f64,
    pub square: bool,
}

impl Blend {
    /// Updates the mean `m` of `p`'s gradients with the newest, `g`.
    ///
    /// # Errors
    /// Candle errors; shapes that differ.
    pub fn update(&self, m: &Var, g: &Tensor, p: &Var) -> Result<()> {
        if super::is_ours(m) {
            return m.inplace_op3(&g.contiguous()?, &p.as_detached_tensor(), self);
        }
        let g = (g + p.as_detached_tensor().affine(self.decay, 0.0)?)?;
        let g = if self.square { g.sqr()? } else { g };
        m.set(&(m.as_detached_tensor().affine(self.keep, 0.0)? + g.affine(self.add, 0.0)?)?)
    }
}

/// Adam's step: `p ← shrink p - rate m / (√v root + eps)`.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    pub rate: f64,
    /// Decoupled decay: 1 - learning rate × weight decay.
    pub shrink: f64,
    pub eps: f64,
    /// Undoes the bias of `v` towards zero: 1 / √(1 - beta2^t).
    pub root: f64,
}

impl AdamStep {
    /// Moves `p` against the mean `m` of its gradients, scaled by the mean `v` of their squares.
    ///
    /// # Errors
    /// Candle errors; shapes that differ.
    pub fn update(&self, p: &Var, m: &Var, v: &Var) -> Result<()> {
        let (m, v) = (m.as_detached_tensor(), v.as_detached_tensor());
        if super::is_ours(p) {
            return p.inplace_op3(&m, &v, self);
        }
        let step = (m / v.sqrt()?.affine(self.root, self.eps)?)?;
        p.set(&(p.as_detached_tensor().affine(self.shrink, 0.0)? - step.affine(self.rate, 0.0)?)?)
    }
}

/// The mean square of each neuron's gradient, once per weight: `gradient` is `[neurons, inputs]`, row-major. Sums are f64.
#[must_use]
pub fn neuron_squares(gradient: &[f32], inputs: usize) -> Vec<f32> {
    let mean = |row: &[f32]| row.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>() / row.len() as f64;
    gradient.chunks(inputs.max(1)).flat_map(|row| std::iter::repeat_n(mean(row) as f32, row.len())).collect()
}

/// SGD's step: `p ← p - rate m`, or with `nesterov` `p ← p - rate (g + decay p + momentum m)`.
#[derive(Clone, Copy, Debug)]
pub struct SgdStep {
    pub rate: f64,
    pub momentum: f64,
    pub decay: f64,
    pub nesterov: bool,
}

impl SgdStep {
    /// Moves `p` against its running gradient `m`; `g` is the newest.
    ///
    /// # Errors
    /// Candle errors; shapes that differ.
    pub fn update(&self, p: &Var, m: &Var, g: &Tensor) -> Result<()> {
        let m = m.as_detached_tensor();
        if super::is_ours(p) {
            return p.inplace_op3(&m, &g.contiguous()?, self);
        }
        let old = p.as_detached_tensor();
        let step = if self.nesterov { ((g + old.affine(self.decay, 0.0)?)? + m.affine(self.momentum, 0.0)?)? } else { m };
        p.set(&(old - step.affine(self.rate, 0.0)?)?)
    }
}

/// `a ← f(a, b, c)` for all values, in parallel.
fn each(a: &mut [f32], b: &[f32], c: &[f32], f: impl Fn(f32, f32, f32) -> f32 + Sync) {
    assert!(a.len() == b.len() && a.len() == c.len(), "an update of {} values from {} and {}", a.len(), b.len(), c.len());
    let run = |a: &mut [f32], b: &[f32], c: &[f32]| {
        vectorized(
            #[inline(always)]
            || a.iter_mut().zip(b.iter().zip(c)).for_each(|(a, (&b, &c))| *a = f(*a, b, c)),
        );
    };
    if a.len() <= CHUNK {
        return run(a, b, c);
    }
    a.par_chunks_mut(CHUNK).zip(b.par_chunks(CHUNK).zip(c.par_chunks(CHUNK))).for_each(|(a, (b, c))| run(a, b, c));
}

/// One [`InplaceOp3`] from the arithmetic of one value.
macro_rules! in_place {
    ($op:ty, $name:literal, |$self:ident| $f:expr) => {
        impl $op {
            /// The update on plain slices, the updated one first; all of one length.
            pub fn apply(&self, a: &mut [f32], b: &[f32], c: &[f32]) {
                let $self = self;
                each(a, b, c, $f);
            }
        }

        impl InplaceOp3 for $op {
            fn name(&self) -> &'static str {
                $name
            }

            fn cpu_fwd(
                &self,
                a: &mut CpuStorage,
                a_layout: &Layout,
                b: &CpuStorage,
                b_layout: &Layout,
                c: &CpuStorage,
                c_layout: &Layout,
            ) -> Result<()> {
                let (b, c) = (slice(b, b_layout)?, slice(c, c_layout)?);
                let (CpuStorage::F32(a), Some((start, end))) = (a, a_layout.contiguous_offsets()) else {
                    bail!("an update needs contiguous f32");
                };
                if end - start != b.len() || b.len() != c.len() {
                    bail!("an update of {} values from {} and {}", end - start, b.len(), c.len());
                }
                self.apply(&mut a[start..end], b, c);
                Ok(())
            }
        }
    };
}

in_place!(Blend, "blend", |op| {
    let (keep, add, decay, square) = (op.keep as f32, op.add as f32, op.decay as f32, op.square);
    move |m, g, p| {
        let g = g + decay * p;
        keep * m + add * if square { g * g } else { g }
    }
});

in_place!(AdamStep, "adam step", |op| {
    let (rate, shrink, eps, root) = (op.rate as f32, op.shrink as f32, op.eps as f32, op.root as f32);
    move |p, m, v| shrink * p - rate * m / (v.sqrt() * root + eps)
});

in_place!(SgdStep, "sgd step", |op| {
    let (rate, momentum, decay, nesterov) = (op.rate as f32, op.momentum as f32, op.decay as f32, op.nesterov);
    move |p, m, g| p - rate * if nesterov { g + decay * p + momentum * m } else { m }
});
