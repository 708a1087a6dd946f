//! Frames of the local socket: a length (4 bytes, big endian) and a message, cut out of whatever pieces arrive.
//!
//! The highest bit of the length says that a memory file comes with the frame: the kernel joins what was sent before a
//! descriptor to what comes with it.

/// Largest message: an object that travels inline (64 KiB), its metadata (8 KiB), and room.
pub const MAX_FRAME: usize = 128 * 1024;
/// Bytes of the length.
const PREFIX: usize = 4;
/// The bit of the length that announces a memory file.
const WITH_FILE: u32 = 1 << 31;

/// A frame that announces more than [`MAX_FRAME`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of {0} bytes is longer than the {MAX_FRAME} allowed")]
pub struct TooLong(pub u64);

/// Collects pieces and gives whole messages. Holds what was pushed and not yet given out; whoever pushes asks for messages
/// in between, so that this is one message and one piece at most.
#[derive(Debug, Default)]
pub struct Frames {
    collected: Vec<u8>,
}

impl Frames {
    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.collected.extend_from_slice(piece);
    }

    /// Whether nothing of an unfinished message is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.collected.is_empty()
    }

    /// The next whole message, and whether a memory file comes with it.
    ///
    /// # Errors
    /// [`TooLong`], as soon as the length is here.
    #[allow(clippy::should_implement_trait)] // it goes on after `None`
    pub fn next(&mut self) -> Result<Option<(Vec<u8>, bool)>, TooLong> {
        let Some(prefix) = self.collected.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let prefix = u32::from_be_bytes(*prefix);
        let length = (prefix & !WITH_FILE) as usize;
        if length > MAX_FRAME {
            return Err(TooLong(length as u64));
        }
        if self.collected.len() < PREFIX + length {
            return Ok(None);
        }
        let rest = self.collected.split_off(PREFIX + length);
        let mut message = std::mem::replace(&mut self.collected, rest);
        message.drain(..PREFIX);
        Ok(Some((message, prefix & WITH_FILE != 0)))
    }
}

/// A message as it goes over the socket.
pub(crate) fn framed(message: &impl prost::Message, with_file: bool) -> Result<Vec<u8>, TooLong> {
    let length = message.encoded_len();
    let prefix = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME);
    let prefix = prefix.ok_or(TooLong(length as u64))?;
    let mut frame = Vec::with_capacity(PREFIX + length);
    let flag = if with_file { WITH_FILE } else { 0 };
    frame.extend_from_slice(&(prefix | flag).to_be_bytes());
    message.encode_raw(&mut frame);
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;
    use xdt_proto::v1;

    use super::*;

    #[test]
    fn a_long_message_is_refused_at_its_length() {
        let mut frames = Frames::default();
        frames.push(&u32::try_from(MAX_FRAME + 1).expect("small").to_be_bytes());
        assert_eq!(frames.next(), Err(TooLong(MAX_FRAME as u64 + 1)));
        let long = v1::Refusal {
            detail: "x".repeat(MAX_FRAME),
            ..Default::default()
        };
        assert!(framed(&long, false).is_err());
    }

    proptest! {
        /// Whatever a peer sends, a message is within its bound, and nothing but the beginning of one is kept.
        #[test]
        fn junk_is_refused_or_waited_for(bytes in prop::collection::vec(any::<u8>(), 0..2000), short in any::<bool>(), cut in 1_usize..300) {
            // Most random lengths are too long; with small ones the messages come out.
            let bytes: Vec<u8> = if short { bytes.iter().enumerate().map(|(at, byte)| if at % 40 < 3 { 0 } else { *byte }).collect() } else { bytes };
            let mut frames = Frames::default();
            let mut given = 0;
            'pieces: for piece in bytes.chunks(cut) {
                frames.push(piece);
                loop {
                    match frames.next() {
                        Ok(Some((message, _))) => {
                            prop_assert!(message.len() <= MAX_FRAME);
                            given += PREFIX + message.len();
                        }
                        Ok(None) => break,
                        Err(TooLong(length)) => {
                            prop_assert!(length > MAX_FRAME as u64);
                            break 'pieces;
                        }
                    }
                }
                prop_assert!(given + frames.collected.len() <= bytes.len());
            }
        }

        /// However the stream is cut, the same messages come out.
        #[test]
        fn messages_survive_any_cut(texts in prop::collection::vec(".{0,200}", 0..6), cuts in prop::collection::vec(1_usize..40, 1..20)) {
            let messages: Vec<v1::LocalGet> = texts.into_iter().map(|reference| v1::LocalGet { reference, most: None }).collect();
            let bytes: Vec<u8> = messages.iter().flat_map(|message| framed(message, false).expect("short")).collect();
            let (mut frames, mut found, mut rest, mut cut) = (Frames::default(), Vec::new(), bytes.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, left) = rest.split_at(rest.len().min(*cut.next().expect("endless")));
                frames.push(piece);
                rest = left;
                while let Some((message, _)) = frames.next().expect("short") {
                    found.push(v1::LocalGet::decode(message.as_slice()).expect("own encoding"));
                }
            }
            prop_assert_eq!(found, messages);
            prop_assert!(frames.is_empty());
        }
    }
}
