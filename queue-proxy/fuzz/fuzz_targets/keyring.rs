//! Any bytes as a key ring file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xdt_queue_proxy::trust::KeyRing;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(ring) = KeyRing::parse(bytes) {
        assert!((1..=64).contains(&ring.len()));
    }
});
