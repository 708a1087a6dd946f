//! What is framed comes out again, however the stream is cut.
#![no_main]

use arbitrary::Arbitrary;
use bytes::{Buf, Bytes};
use libfuzzer_sys::fuzz_target;
use xdt_queue_proxy::transfer::frame::{Decoder, Incoming, Outgoing};

#[derive(Debug, Arbitrary)]
struct Input {
    chunks: Vec<Vec<u8>>,
    pieces: Vec<u8>,
}

fuzz_target!(|input: Input| {
    let mut stream = Vec::new();
    for chunk in &input.chunks {
        let mut message = Outgoing::chunk(Bytes::copy_from_slice(chunk));
        while message.has_remaining() {
            let part = message.chunk().to_vec();
            message.advance(part.len());
            stream.extend(part);
        }
    }
    let (mut decoder, mut found, mut at, mut turn) = (Decoder::for_pull_answer(), Vec::new(), 0, 0);
    while at < stream.len() {
        let piece = input.pieces.get(turn % input.pieces.len().max(1)).copied().unwrap_or(7);
        let end = stream.len().min(at + usize::from(piece).max(1));
        let mut part = Bytes::copy_from_slice(&stream[at..end]);
        while let Some(next) = decoder.next(&mut part).expect("own framing") {
            match next {
                Incoming::Chunk(bytes) => found.extend_from_slice(&bytes),
                Incoming::Message(_) => panic!("only chunks were framed"),
            }
        }
        (at, turn) = (end, turn + 1);
    }
    decoder.finish().expect("whole messages");
    assert_eq!(found, input.chunks.concat());
});
