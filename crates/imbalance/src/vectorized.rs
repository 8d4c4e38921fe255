/// Runs `body` compiled for the machine's widest vectors. Write `vectorized(#[inline(always)] || ...)`, and mark what it calls the same
/// way: only what is inlined is compiled so.
///
/// The bound matters. A closure that is handed over as `FnOnce` is its own body; handed to pulp's `dispatch` itself it is an `Fn` behind a
/// call that the compiler makes up, without those instructions: several times slower, and nothing says so.
#[inline(always)]
pub fn vectorized<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(body)
}
