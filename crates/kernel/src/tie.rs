//! Weights of an operation that takes more of them than Candle allows.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::cpu::tensor;
use super::gradients::hand_over;

/// Where an operation's backward pass leaves the gradients of some weights.
pub(super) type Slot<G> = Arc<Mutex<Option<G>>>;

/// Ties three weights into the graph: the result, a number that means nothing, is to be an argument of the operation, whose
/// backward pass comes first and fills `slot`.
pub(super) fn tie([a, b, c]: [&Tensor; 3], slot: &Slot<[Vec<f32>; 3]>) -> Result<Tensor> {
    a.apply_op3(b, c, Tie(Arc::clone(slot)))
}

/// Leaves the gradients of the weights that were tied with `slot`.
pub(super) fn leave<G>(slot: &Slot<G>, gradients: G) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(gradients);
}

/// Takes them.
///
/// # Errors
/// There are none, or not any more.
pub(super) fn take<G>(slot: &Slot<G>) -> Result<G> {
    let gradients = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    gradients.map_or_else(|| bail!("the gradients of these weights have been taken already"), Ok)
}

struct Tie(Slot<[Vec<f32>; 3]>);

impl CustomOp3 for Tie {
    fn name(&self) -> &'static str {
        "tie"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), 1.into()))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        _y: &Tensor,
        _dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [da, db, dc] = take(&self.0)?;
        let keep = |t: &Tensor, gradient| hand_over(t, t.track_op().then(|| tensor(gradient, t.shape())).transpose()?);
        Ok((keep(a, da)?, keep(b, db)?, keep(c, dc)?))
    }
}
