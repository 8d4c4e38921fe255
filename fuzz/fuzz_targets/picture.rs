#![no_main]

use std::sync::Once;

/// A decoder's panic on a malformed file is caught, and is that file's error; the fuzzer's hook would end the process before.
static CAUGHT: Once = Once::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    CAUGHT.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    sweep_fuzz::picture(bytes);
});
