//! Tests of the framing against the protobuf library, over every cut of the stream.

use proptest::prelude::*;
use v1::pull_response::Part;

use super::*;

fn collect(mut message: Outgoing) -> Vec<u8> {
    let mut bytes = vec![0; message.remaining()];
    message.copy_to_slice(&mut bytes);
    bytes
}

fn library(part: Part) -> Vec<u8> {
    let body = v1::PullResponse { part: Some(part) }.encode_to_vec();
    let mut message = vec![0];
    message.extend_from_slice(&u32::try_from(body.len()).expect("short").to_be_bytes());
    message.extend_from_slice(&body);
    message
}

/// Feeds `stream` in pieces of the given lengths (repeated), and joins neighbouring chunks.
fn decode_in_pieces(stream: &[u8], pieces: &[usize]) -> Result<Vec<Incoming>, FrameError> {
    let mut decoder = Decoder::for_pull_answer();
    let mut found: Vec<Incoming> = Vec::new();
    let (mut at, mut turn) = (0, 0);
    while at < stream.len() {
        let end = stream.len().min(at + pieces[turn % pieces.len()].max(1));
        let mut input = Bytes::copy_from_slice(&stream[at..end]);
        while let Some(part) = decoder.next(&mut input)? {
            found.push(part);
        }
        assert!(input.is_empty(), "all input is used up");
        (at, turn) = (end, turn + 1);
    }
    decoder.finish()?;
    Ok(found)
}

fn payload(found: &[Incoming]) -> Vec<u8> {
    found
        .iter()
        .flat_map(|part| {
            if let Incoming::Chunk(bytes) = part {
                bytes.to_vec()
            } else {
                Vec::new()
            }
        })
        .collect()
}

proptest! {
    #[test]
    fn gathered_slices_are_one_chunk_however_they_are_written(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), GATHERED),
        steps in proptest::collection::vec(1usize..200, 1..8),
    ) {
        let whole = Bytes::from(parts.concat());
        let slices: Vec<Bytes> = parts.into_iter().map(Bytes::from).collect();
        let mut message = Outgoing::gathered(slices.try_into().expect("as many"));
        let (mut written, mut turn) = (Vec::new(), 0);
        while message.has_remaining() {
            let mut room = [std::io::IoSlice::new(&[]); 3];
            let filled = message.chunks_vectored(&mut room);
            prop_assert!(filled > 0 && room[..filled].iter().all(|part| !part.is_empty()));
            let there: Vec<u8> = room[..filled].iter().flat_map(|part| part.iter().copied()).collect();
            prop_assert!(there.starts_with(message.chunk()));
            let step = steps[turn % steps.len()].min(there.len());
            written.extend_from_slice(&there[..step]);
            message.advance(step);
            turn += 1;
        }
        prop_assert_eq!(written, library(Part::Chunk(whole)));
    }
}

#[test]
fn a_chunk_is_what_the_library_would_write() {
    for length in [1, 127, 128, 16_383, 16_384, 300_000] {
        let bytes = Bytes::from(vec![0x12; length]);
        assert_eq!(
            collect(Outgoing::chunk(bytes.clone())),
            library(Part::Chunk(bytes)),
            "{length} bytes"
        );
    }
}

#[test]
fn head_and_payload_are_written_together() {
    let message = Outgoing::chunk(Bytes::from_static(b"payload"));
    let mut slices = [std::io::IoSlice::new(&[]); 4];
    assert_eq!(message.chunks_vectored(&mut slices), 2);
    assert_eq!(&*slices[1], b"payload");
}

#[test]
fn faults_are_told_apart() {
    assert_eq!(decode_in_pieces(&[1, 0, 0, 0, 0], &[9]), Err(FrameError::Compressed));
    let long = [0, 0, 0x10, 0, 0, 0x0a];
    assert_eq!(decode_in_pieces(&long, &[9]), Err(FrameError::TooLong(1 << 20)));
    assert_eq!(
        decode_in_pieces(&[0, 0, 0, 0, 9, 0x12, 3, 1, 2, 3], &[99]),
        Err(FrameError::Malformed)
    );
    assert_eq!(
        decode_in_pieces(&[0, 0, 0, 0, 9, 0x12, 0xff, 0xff, 0xff, 0xff, 0xff], &[99]),
        Err(FrameError::Malformed)
    );
    let whole = library(Part::Chunk(Bytes::from_static(b"abc")));
    assert_eq!(
        decode_in_pieces(&whole[..whole.len() - 1], &[99]),
        Err(FrameError::Truncated)
    );
    assert_eq!(decode_in_pieces(&whole[..3], &[99]), Err(FrameError::Truncated));
}

proptest! {
    #[test]
    fn every_cut_of_a_stream_decodes_alike(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..5000), 0..5),
        pieces in proptest::collection::vec(1usize..3000, 1..6),
        by_library: bool,
    ) {
        let closing = Part::Closing(v1::Closing { crc64_nvme: 7, length: 8 });
        let opening = Part::Opening(v1::Opening { answer: Bytes::from_static(b"a"), proof: Bytes::new() });
        let mut stream = library(opening.clone());
        for chunk in &chunks {
            let bytes = Bytes::copy_from_slice(chunk);
            stream.extend(if by_library { library(Part::Chunk(bytes)) } else { collect(Outgoing::chunk(bytes)) });
        }
        stream.extend(library(closing.clone()));
        let found = decode_in_pieces(&stream, &pieces).expect("well formed");
        prop_assert_eq!(payload(&found), chunks.concat());
        let control: Vec<Part> = found.into_iter().filter_map(|part| match part {
            Incoming::Message(message) => Some(decode_part(message).expect("protobuf")),
            Incoming::Chunk(_) => None,
        }).collect();
        prop_assert_eq!(control, vec![opening, closing]);
    }

    #[test]
    fn any_bytes_decode_or_fail_without_panic(stream in proptest::collection::vec(any::<u8>(), 0..400), piece in 1usize..50) {
        let _any = decode_in_pieces(&stream, &[piece]);
    }
}
