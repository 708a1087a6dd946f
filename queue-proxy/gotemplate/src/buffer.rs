//! Output with a bound: what comes after it is dropped and remembered as too much.

use crate::ExecError;

/// Most bytes that one execution, or one function in it, may write.
pub const MAX_OUTPUT: usize = 8 << 20;

#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    over: bool,
}

impl Buffer {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.over || self.bytes.len() + bytes.len() > MAX_OUTPUT {
            self.over = true;
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }

    pub(crate) fn push_char(&mut self, c: char) {
        self.push(c.encode_utf8(&mut [0; 4]).as_bytes());
    }

    pub(crate) fn fill(&mut self, byte: u8, count: usize) {
        if self.over || self.bytes.len().saturating_add(count) > MAX_OUTPUT {
            self.over = true;
        } else {
            self.bytes.resize(self.bytes.len() + count, byte);
        }
    }

    pub(crate) fn finish(self) -> Result<Vec<u8>, ExecError> {
        if self.over {
            return Err(too_long());
        }
        Ok(self.bytes)
    }
}

pub(crate) fn too_long() -> ExecError {
    ExecError::new("the output is too long")
}
