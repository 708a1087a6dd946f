//! gRPC messages of `Transfer/Pull` framed by hand, so that payload is never copied into or out of a message.
//!
//! On the wire this is ordinary gRPC with ordinary protobuf. Outgoing: a small head (gRPC prefix, field tag, length)
//! and then a slice of the object, written together. Incoming: heads are parsed, payload is handed on as the slices
//! that HTTP/2 delivered. A library codec copies each message once on each side (architecture, section 3).

use bytes::{Buf, Bytes, BytesMut};
use prost::Message as _;
use xdt_proto::v1;

/// Bytes of gRPC's message prefix: compression flag and length.
const PREFIX: usize = 5;
/// Field 2, length-delimited: `PullResponse.chunk`.
const CHUNK_TAG: u8 = 0x12;
/// Longest head: prefix, tag, five bytes of length.
const MAX_HEAD: usize = PREFIX + 1 + 5;
/// Longest message of a caller that has not shown a ticket yet: a ticket and a few numbers.
pub const MAX_REQUEST: usize = 1024;
/// Longest message that is not a chunk: metadata (8 KiB) and its envelope fit many times over.
pub const MAX_CONTROL_MESSAGE: usize = 64 * 1024;

/// Most slices that go out as one message, and so as one DATA frame. Four of 64 KiB cost the two sidecars somewhat less CPU
/// time than single ones (100 MB: 74 ms against 79, within the noise); larger ones gained nothing.
pub const GATHERED: usize = 4;
/// Most bytes of several slices in one message; also what keeps a message far below the 4 MiB that gRPC clients take.
pub const MOST_GATHERED: usize = 256 * 1024;

/// One gRPC message on its way out: a head and slices of payload, as one buffer that writes all of them at once.
#[derive(Debug)]
pub struct Outgoing {
    head: [u8; MAX_HEAD],
    head_at: u8,
    head_end: u8,
    payload: [Bytes; GATHERED],
    /// The first slice that is not used up.
    slice: usize,
}

impl Outgoing {
    /// `PullResponse { chunk }`.
    #[must_use]
    pub fn chunk(payload: Bytes) -> Self {
        let mut slices = [const { Bytes::new() }; GATHERED];
        slices[0] = payload;
        Self::gathered(slices)
    }

    /// `PullResponse { chunk }` of all these slices; empty ones add nothing.
    #[must_use]
    pub fn gathered(payload: [Bytes; GATHERED]) -> Self {
        let bytes: usize = payload.iter().map(Bytes::len).sum();
        let mut length = [0; 5];
        let varint = encode_varint(bytes, &mut length);
        let mut outgoing = Self::prefixed(1 + varint.len() + bytes, payload);
        outgoing.push(&[CHUNK_TAG]);
        outgoing.push(varint);
        outgoing
    }

    /// Any small message.
    #[must_use]
    pub fn message(message: &impl prost::Message) -> Self {
        let mut payload = [const { Bytes::new() }; GATHERED];
        payload[0] = Bytes::from(message.encode_to_vec());
        Self::prefixed(payload[0].len(), payload)
    }

    fn prefixed(length: usize, payload: [Bytes; GATHERED]) -> Self {
        let mut outgoing = Self {
            head: [0; MAX_HEAD],
            head_at: 0,
            head_end: 0,
            payload,
            slice: 0,
        };
        outgoing.push(&[0]);
        outgoing.push(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        outgoing
    }

    fn push(&mut self, bytes: &[u8]) {
        let at = usize::from(self.head_end);
        self.head[at..at + bytes.len()].copy_from_slice(bytes);
        #[allow(clippy::cast_possible_truncation)] // a head has 11 bytes at most
        let length = bytes.len() as u8;
        self.head_end += length;
    }

    fn head(&self) -> &[u8] {
        &self.head[usize::from(self.head_at)..usize::from(self.head_end)]
    }
}

fn encode_varint(value: usize, room: &mut [u8; 5]) -> &[u8] {
    let mut rest = u32::try_from(value).unwrap_or(u32::MAX);
    let mut length = 0;
    loop {
        #[allow(clippy::cast_possible_truncation)] // seven bits
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        room[length] = if rest == 0 { low } else { low | 0x80 };
        length += 1;
        if rest == 0 {
            return &room[..length];
        }
    }
}

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.head().len() + self.payload[self.slice..].iter().map(Bytes::len).sum::<usize>()
    }

    fn chunk(&self) -> &[u8] {
        if self.head().is_empty() {
            let mut slices = self.payload[self.slice..].iter();
            slices.find(|slice| !slice.is_empty()).map_or(&[], |slice| slice)
        } else {
            self.head()
        }
    }

    fn chunks_vectored<'a>(&'a self, out: &mut [std::io::IoSlice<'a>]) -> usize {
        let mut filled = 0;
        let slices = self.payload[self.slice..].iter().map(|slice| &slice[..]);
        for part in std::iter::once(self.head()).chain(slices) {
            if !part.is_empty() && filled < out.len() {
                out[filled] = std::io::IoSlice::new(part);
                filled += 1;
            }
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        let head = count.min(self.head().len());
        #[allow(clippy::cast_possible_truncation)] // a head has 11 bytes at most
        let step = head as u8;
        self.head_at += step;
        count -= head;
        while count > 0 {
            let slice = &mut self.payload[self.slice];
            let step = count.min(slice.len());
            slice.advance(step);
            count -= step;
            if slice.is_empty() && count > 0 {
                self.slice += 1;
            }
        }
    }
}

/// A message stream that is no `Transfer` answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The compression flag was set, which was not negotiated.
    #[error("a compressed message")]
    Compressed,
    /// A message other than a chunk is over its limit.
    #[error("a control message of {0} bytes")]
    TooLong(usize),
    /// Not protobuf of the expected type.
    #[error("a malformed message")]
    Malformed,
    /// The stream ended inside a message.
    #[error("the stream ended inside a message")]
    Truncated,
}

/// What a decoder found next.
#[derive(Debug, PartialEq)]
pub enum Incoming {
    /// The next bytes of the object: part of a chunk or a whole one.
    Chunk(Bytes),
    /// Any other message, still encoded.
    Message(Bytes),
}

/// Cuts a stream of DATA slices into [`Incoming`] parts without copying payload.
///
/// Holds at most [`MAX_CONTROL_MESSAGE`] bytes of its own.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    chunks: bool,
    limit: usize,
}

#[derive(Debug)]
enum State {
    /// Collecting prefix, and for chunks tag and length.
    Head(BytesMut),
    /// Handing on the rest of a chunk.
    Chunk { left: usize },
    /// Collecting a small message.
    Message { length: usize, have: BytesMut },
}

impl Decoder {
    /// For answers to `Pull`: chunks are recognised.
    #[must_use]
    pub fn for_pull_answer() -> Self {
        Self {
            state: State::Head(BytesMut::new()),
            chunks: true,
            limit: MAX_CONTROL_MESSAGE,
        }
    }

    /// For unary answers: every message is small.
    #[must_use]
    pub fn for_messages() -> Self {
        Self {
            state: State::Head(BytesMut::new()),
            chunks: false,
            limit: MAX_CONTROL_MESSAGE,
        }
    }

    /// For requests, of which every message is at most `MAX_REQUEST` bytes.
    #[must_use]
    pub fn for_requests() -> Self {
        Self {
            limit: MAX_REQUEST,
            ..Self::for_messages()
        }
    }

    /// Takes the next part off the front of `input`; `None` when all of `input` is used up.
    ///
    /// # Errors
    /// [`FrameError`]; the decoder is then of no further use.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Incoming>, FrameError> {
        loop {
            match &mut self.state {
                State::Head(have) => {
                    let Some(next) = read_head(have, input, self.chunks, self.limit)? else {
                        return Ok(None);
                    };
                    self.state = next;
                }
                State::Chunk { left: 0 } => self.state = State::Head(BytesMut::new()),
                State::Chunk { left } => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let part = input.split_to(input.len().min(*left));
                    *left -= part.len();
                    return Ok(Some(Incoming::Chunk(part)));
                }
                State::Message { length, have } => {
                    let part = input.split_to(input.len().min(*length - have.len()));
                    have.extend_from_slice(&part);
                    if have.len() < *length {
                        return Ok(None);
                    }
                    let message = std::mem::take(have).freeze();
                    self.state = State::Head(BytesMut::new());
                    return Ok(Some(Incoming::Message(message)));
                }
            }
        }
    }

    /// Checks that the stream did not end inside a message.
    ///
    /// # Errors
    /// [`FrameError::Truncated`].
    pub fn finish(&self) -> Result<(), FrameError> {
        match &self.state {
            State::Head(have) if have.is_empty() => Ok(()),
            State::Chunk { left: 0 } => Ok(()),
            _ => Err(FrameError::Truncated),
        }
    }
}

/// Reads one byte after the other until the head is complete: heads are short and come once per message.
fn read_head(have: &mut BytesMut, input: &mut Bytes, chunks: bool, limit: usize) -> Result<Option<State>, FrameError> {
    while !input.is_empty() {
        if have.len() >= PREFIX {
            let message = u32::from_be_bytes([have[1], have[2], have[3], have[4]]) as usize;
            let first = have.get(PREFIX).copied().or_else(|| input.first().copied());
            let is_chunk = chunks && message > 0 && first == Some(CHUNK_TAG);
            if !is_chunk {
                return control_message(message, limit).map(Some);
            }
        }
        have.extend_from_slice(&input.split_to(1));
        if have[0] != 0 {
            return Err(FrameError::Compressed);
        }
        if have.len() == PREFIX && have[1..] == [0; 4] {
            return Ok(Some(State::Message {
                length: 0,
                have: BytesMut::new(),
            }));
        }
        if have.len() > PREFIX + 1
            && let Some(left) = chunk_length(have)?
        {
            return Ok(Some(State::Chunk { left }));
        }
    }
    Ok(None)
}

fn control_message(length: usize, limit: usize) -> Result<State, FrameError> {
    if length > limit {
        return Err(FrameError::TooLong(length));
    }
    Ok(State::Message {
        length,
        have: BytesMut::new(),
    })
}

/// The payload's length once the head is complete; it must fill the rest of the message exactly.
fn chunk_length(head: &[u8]) -> Result<Option<usize>, FrameError> {
    let digits = &head[PREFIX + 1..];
    if digits.last().is_some_and(|byte| byte & 0x80 != 0) {
        return if digits.len() >= 5 {
            Err(FrameError::Malformed)
        } else {
            Ok(None)
        };
    }
    let length = digits
        .iter()
        .rev()
        .fold(0u64, |value, byte| (value << 7) | u64::from(byte & 0x7f));
    let message = u64::from(u32::from_be_bytes([head[1], head[2], head[3], head[4]]));
    if 1 + digits.len() as u64 + length != message {
        return Err(FrameError::Malformed);
    }
    usize::try_from(length).map(Some).map_err(|_| FrameError::Malformed)
}

/// Decodes one collected message.
///
/// # Errors
/// [`FrameError::Malformed`].
pub fn decode<M: prost::Message + Default>(message: Bytes) -> Result<M, FrameError> {
    M::decode(message).map_err(|_| FrameError::Malformed)
}

/// The first or last message of an answer to `Pull`.
///
/// # Errors
/// [`FrameError::Malformed`] for an empty answer as well.
pub fn decode_part(message: Bytes) -> Result<v1::pull_response::Part, FrameError> {
    v1::PullResponse::decode(message)
        .ok()
        .and_then(|answer| answer.part)
        .ok_or(FrameError::Malformed)
}

#[cfg(test)]
mod tests;
