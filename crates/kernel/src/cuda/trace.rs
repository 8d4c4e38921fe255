//! What the device does in a step, by class of operation: an event before and after each launch of ours.

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaEvent, sys};
use candle_core::{CudaDevice, Result};

use crate::trace::Class;

/// Class, begin and end of what was launched.
type Seen = Vec<(String, CudaEvent, CudaEvent)>;

thread_local! {
    /// What this thread has launched since it began to look.
    static SEEN: RefCell<Option<Seen>> = const { RefCell::new(None) };
}

fn event(device: &CudaDevice) -> Result<CudaEvent> {
    device.cuda_stream().record_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT)).w()
}

/// Does `launch`, between two events where this thread is looking.
pub(super) fn timed<T>(device: &CudaDevice, class: &str, launch: impl FnOnce() -> Result<T>) -> Result<T> {
    if SEEN.with_borrow(Option::is_none) {
        return launch();
    }
    let begin = event(device)?;
    let result = launch()?;
    let end = event(device)?;
    SEEN.with_borrow_mut(|seen| seen.get_or_insert_default().push((class.to_owned(), begin, end)));
    Ok(result)
}

/// [`crate::trace::traced`] on `device`.
pub(crate) fn traced(device: &CudaDevice, work: impl FnOnce() -> Result<()>) -> Result<(f64, Vec<Class>)> {
    SEEN.set(Some(Seen::new()));
    let (begin, done) = (event(device)?, work());
    let seen = SEEN.take().unwrap_or_default();
    done?;
    let end = event(device)?;
    let mut classes = BTreeMap::<String, Class>::new();
    for (name, begin, end) in seen {
        let class = classes.entry(name.clone()).or_insert(Class { name, launches: 0, milliseconds: 0.0 });
        class.launches += 1;
        class.milliseconds += f64::from(begin.elapsed_ms(&end).w()?);
    }
    Ok((begin.elapsed_ms(&end).w()?.into(), classes.into_values().collect()))
}
