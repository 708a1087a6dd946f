//! Key rings for tests: fixed secrets, so that sidecars started apart share one.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

/// A key ring to be written to a file.
#[derive(Debug, Clone)]
pub struct Ring {
    keys: Vec<(String, [u8; 32])>,
    primary: String,
}

impl Ring {
    /// One key with a secret made from `seed`.
    #[must_use]
    pub fn new(id: &str, seed: u8) -> Self {
        Self {
            keys: vec![(id.to_owned(), secret(seed))],
            primary: id.to_owned(),
        }
    }

    /// What sidecars get when a test names no ring.
    #[must_use]
    pub fn standard() -> Self {
        Self::new("test-1", 1)
    }

    /// Lists one more key.
    #[must_use]
    pub fn and(mut self, id: &str, seed: u8) -> Self {
        self.keys.push((id.to_owned(), secret(seed)));
        self
    }

    /// Seals with key `id` from now on.
    #[must_use]
    pub fn primary(mut self, id: &str) -> Self {
        id.clone_into(&mut self.primary);
        self
    }

    /// The file's text.
    #[must_use]
    pub fn json(&self) -> String {
        let keys: Vec<_> = self
            .keys
            .iter()
            .map(|(id, secret)| json!({ "id": id, "secret": STANDARD.encode(secret) }))
            .collect();
        json!({ "primary": self.primary, "keys": keys }).to_string()
    }

    /// The secrets as they stand in the file; no log may show them.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        self.keys.iter().map(|(_, secret)| STANDARD.encode(secret)).collect()
    }
}

fn secret(seed: u8) -> [u8; 32] {
    std::array::from_fn(|index| seed.wrapping_mul(31).wrapping_add(u8::try_from(index).unwrap_or(0)))
}
