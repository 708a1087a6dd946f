//! The contract's error words (section 3): one closed enum, with status and retryability.

use std::{fmt, str::FromStr};

/// What a problem's `type` begins with (RFC 9457); the error word follows.
pub const PROBLEM_TYPE_PREFIX: &str = "urn:xdt:error:";

/// Why an XDT request failed. Travels in the header `Xdt-Error` and at the end of the problem's `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorWord {
    /// The reference is malformed, tampered with, or made under an unknown key.
    ReferenceInvalid,
    /// The reference is authentic, but of another tenant.
    WrongTenant,
    /// The producer no longer holds the object: retrieved, deleted, expired, or restarted.
    ObjectGone,
    /// The object is larger than a limit allows.
    TooLarge,
    /// A header or parameter does not parse.
    BadRequest,
    /// No buffer came free in time, or all retrievals are claimed and not yet confirmed.
    Busy,
    /// The instance is shutting down and takes no new objects.
    Draining,
    /// The producer could not be connected to.
    ProducerUnreachable,
    /// The stream died after it began; delivered bytes are void.
    TransferBroken,
    /// A peer was silent for longer than the pull timeout.
    Timeout,
}

impl ErrorWord {
    /// Every word, in the contract's order.
    pub const ALL: [Self; 10] = [
        Self::ReferenceInvalid,
        Self::WrongTenant,
        Self::ObjectGone,
        Self::TooLarge,
        Self::BadRequest,
        Self::Busy,
        Self::Draining,
        Self::ProducerUnreachable,
        Self::TransferBroken,
        Self::Timeout,
    ];

    /// The word as it travels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReferenceInvalid => "reference-invalid",
            Self::WrongTenant => "wrong-tenant",
            Self::ObjectGone => "object-gone",
            Self::TooLarge => "too-large",
            Self::BadRequest => "bad-request",
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::ProducerUnreachable => "producer-unreachable",
            Self::TransferBroken => "transfer-broken",
            Self::Timeout => "timeout",
        }
    }

    /// The HTTP status that belongs to the word.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::ReferenceInvalid | Self::BadRequest => 400,
            Self::WrongTenant => 403,
            Self::ObjectGone => 410,
            Self::TooLarge => 413,
            Self::Busy => 429,
            Self::Draining | Self::ProducerUnreachable => 503,
            Self::TransferBroken => 502,
            Self::Timeout => 504,
        }
    }

    /// Whether the same put or get may succeed if it is repeated.
    ///
    /// An invoke that failed with [`Self::TransferBroken`] or [`Self::Timeout`] may have run user code; repeating it is
    /// for the caller to decide.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::Busy | Self::ProducerUnreachable | Self::TransferBroken | Self::Timeout => true,
            Self::ReferenceInvalid
            | Self::WrongTenant
            | Self::ObjectGone
            | Self::TooLarge
            | Self::BadRequest
            | Self::Draining => false,
        }
    }
}

impl fmt::Display for ErrorWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Fails with `()` for a word that this version does not know.
impl FromStr for ErrorWord {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|word| word.as_str() == text).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract, section 3, row by row.
    #[test]
    fn words_have_the_contract_status() {
        let table = [
            ("reference-invalid", 400),
            ("wrong-tenant", 403),
            ("object-gone", 410),
            ("too-large", 413),
            ("bad-request", 400),
            ("busy", 429),
            ("draining", 503),
            ("producer-unreachable", 503),
            ("transfer-broken", 502),
            ("timeout", 504),
        ];
        assert_eq!(table.len(), ErrorWord::ALL.len());
        for (text, status) in table {
            let word: ErrorWord = text.parse().expect("a word of the contract");
            assert_eq!((word.as_str(), word.status()), (text, status));
        }
        assert_eq!("object-lost".parse::<ErrorWord>(), Err(()));
    }
}
