//! Any text as a reference and any bytes as a ticket: never authentic, never a panic; and every change of a real one
//! is refused.
#![no_main]

use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use libfuzzer_sys::fuzz_target;
use xdt_proto::{ByteCount, ObjectId, Reference, Retrievals};
use xdt_queue_proxy::trust::{Identity, KeyRing, OpenError, TargetAddress, Trust, Verb};

static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let ring = br#"{"primary":"k","keys":[{"id":"k","secret":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]}"#;
    let ring = KeyRing::parse(ring).expect("a ring");
    let address = TargetAddress::parse("10.0.0.1:8014").expect("an address");
    Trust::new(Identity::new("t", "n", address).expect("random"), Arc::new(ArcSwap::from_pointee(ring)))
});

fuzz_target!(|input: (Vec<u8>, u16, u8)| {
    let (bytes, at, change) = input;
    if let Ok(text) = std::str::from_utf8(&bytes) {
        assert_eq!(TRUST.open(text).err(), Some(OpenError::Invalid));
    }
    assert!(TRUST.admit(&bytes, Verb::Pull).is_err());
    if change != 0 {
        let object = ObjectId::from_bytes([1; 16]);
        let real = TRUST.refer(object, Some(ByteCount::new(1)), Retrievals::ONE).expect("random");
        let mut sealed = real.to_sealed();
        let at = usize::from(at) % sealed.len();
        sealed[at] ^= change;
        let changed = Reference::from_sealed(&sealed).expect("same length");
        assert_eq!(TRUST.open(changed.as_str()).err(), Some(OpenError::Invalid));
    }
});
