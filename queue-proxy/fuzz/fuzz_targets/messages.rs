//! Any bytes as the small messages of the data plane: a legal description never smuggles a header.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use xdt_proto::v1;
use xdt_queue_proxy::transfer::{description::Description, frame::decode_part};

fuzz_target!(|bytes: &[u8]| {
    let bytes = Bytes::copy_from_slice(bytes);
    let _part = decode_part(bytes.clone());
    let _start = v1::PullRequest::decode(bytes.clone());
    if let Ok(wire) = v1::Description::decode(bytes) {
        if let Some(description) = Description::from_wire(&wire) {
            for (name, _) in &description.metadata {
                assert!(name.as_str().starts_with("xdt-meta-"));
            }
        }
    }
});
