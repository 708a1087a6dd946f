//! Any bytes, cut anywhere, as the answer of a peer: refused or read, never a panic, and all input used up.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use xdt_queue_proxy::transfer::frame::{Decoder, MAX_CONTROL_MESSAGE, Incoming};

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (piece, stream) = input;
    for mut decoder in [Decoder::for_pull_answer(), Decoder::for_messages()] {
        'stream: for part in stream.chunks(usize::from(piece).max(1)) {
            let mut part = Bytes::copy_from_slice(part);
            loop {
                match decoder.next(&mut part) {
                    Ok(Some(Incoming::Message(message))) => assert!(message.len() <= MAX_CONTROL_MESSAGE),
                    Ok(Some(Incoming::Chunk(_))) => {}
                    Ok(None) => break,
                    Err(_) => break 'stream,
                }
            }
            assert!(part.is_empty());
        }
        let _whole = decoder.finish();
    }
});
