//! Any bytes, in any pieces, as frames of the local socket and of the node socket: messages stay within their bound, and
//! what decodes is encoded again as it was.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use xdt_proto::v1::{Description, LocalAnswer, LocalRequest, NodeAnswer, NodeRequest, local_request::Verb};
use xdt_queue_proxy::transfer::description;
use xdt_shm::{Frames, MAX_FRAME};

#[derive(Debug, Arbitrary)]
struct Input {
    bytes: Vec<u8>,
    cut: u8,
}

fn round_trip<M: prost::Message + Default + PartialEq>(bytes: &[u8]) {
    if let Ok(message) = M::decode(bytes) {
        let again = M::decode(message.encode_to_vec().as_slice());
        assert!(again.is_ok_and(|again| again == message));
    }
}

fn legal(wire: Option<&Description>) {
    let described = wire.and_then(description::Description::from_wire);
    for (name, _) in described.iter().flat_map(|described| &described.metadata) {
        assert!(name.as_str().starts_with("xdt-meta-"));
    }
}

fuzz_target!(|input: Input| {
    let mut frames = Frames::default();
    for piece in input.bytes.chunks(usize::from(input.cut).max(1)) {
        frames.push(piece);
        loop {
            match frames.next() {
                Ok(Some((message, _with_file))) => {
                    assert!(message.len() <= MAX_FRAME);
                    round_trip::<LocalAnswer>(&message);
                    round_trip::<NodeAnswer>(&message);
                    round_trip::<NodeRequest>(&message);
                    if let Ok(LocalRequest {
                        verb: Some(Verb::Put(put)),
                    }) = LocalRequest::decode(message.as_slice())
                    {
                        legal(put.description.as_ref());
                    }
                }
                Ok(None) => break,
                Err(_too_long) => return,
            }
        }
    }
});
