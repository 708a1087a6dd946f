//! One error type for every verb: its kind, a sentence, and where it came from.
//!
//! Made by the verbs and the transport; read by callers. The sentence never names an address or a pod; of what the
//! caller gave it names at most the argument or the host of a URL. Ten kinds are the contract's words, the others can
//! only arise on this side of the sidecar.

use std::{fmt, io, time::Duration};

use http::StatusCode;
use xdt_proto::{ErrorWord, ReferenceFormError};

/// What every verb of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
///
/// `Display` is the kind and one sentence, without addresses or pod names. [`source`](std::error::Error::source) is the
/// operating system's or the payload's own error, where there is one.
#[derive(Debug, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct Error {
    kind: ErrorKind,
    detail: Box<str>,
    status: Option<StatusCode>,
    retry_after: Option<Duration>,
    may_have_run: bool,
    source: Option<io::Error>,
}

impl Error {
    /// What went wrong, to match on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The contract's error word (section 3); `None` for kinds that only this crate knows.
    #[must_use]
    pub fn word(&self) -> Option<&'static str> {
        self.kind.word().map(ErrorWord::as_str)
    }

    /// Whether repeating the same call may succeed and cannot run user code twice.
    ///
    /// That is the kind's own answer, except after an invoke that broke or timed out once the callee may have been
    /// reached: there it is always `false`, and repeating is the caller's decision.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind.is_retryable() && !self.may_have_run
    }

    /// The sentence, without the kind.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The HTTP status of the answer that carried this error; `None` where no answer came.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// How long the sidecar asks to wait before a retry, in whole seconds (`busy` only).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    pub(crate) fn new(kind: ErrorKind, detail: impl Into<Box<str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            status: None,
            retry_after: None,
            may_have_run: false,
            source: None,
        }
    }

    pub(crate) fn invalid(detail: impl Into<Box<str>>) -> Self {
        Self::new(ErrorKind::InvalidArgument, detail)
    }

    pub(crate) fn timed_out(limit: Duration) -> Self {
        Self::new(ErrorKind::Timeout, format!("no answer within {} ms", limit.as_millis()))
    }

    pub(crate) fn with_source(mut self, source: Option<io::Error>) -> Self {
        self.source = source;
        self
    }

    pub(crate) fn with_answer(mut self, status: StatusCode, retry_after: Option<Duration>) -> Self {
        self.status = Some(status);
        self.retry_after = retry_after;
        self
    }

    /// Marks an error of an invoke: what broke or timed out may have run user code first.
    pub(crate) fn after_sending(mut self) -> Self {
        self.may_have_run |= matches!(self.kind, ErrorKind::TransferBroken | ErrorKind::Timeout);
        self
    }
}

impl Error {
    /// Marks an error of an answer: user code has run.
    pub(crate) fn after_running(mut self) -> Self {
        self.may_have_run = true;
        self
    }
}

/// So that `text.parse::<Reference>()?` works beside the verbs.
impl From<ReferenceFormError> for Error {
    fn from(error: ReferenceFormError) -> Self {
        Self::new(ErrorKind::ReferenceInvalid, error.to_string())
    }
}

/// For `AsyncRead` and for payload streams; the [`Error`] is kept inside.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind {
            ErrorKind::TransferBroken => io::ErrorKind::UnexpectedEof,
            ErrorKind::Timeout => io::ErrorKind::TimedOut,
            ErrorKind::InvalidArgument => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// Kinds of failure: the ten words of the contract, then what only a client can meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The reference is malformed, tampered with, or made under an unknown key.
    ReferenceInvalid,
    /// The reference is authentic, but of another tenant.
    WrongTenant,
    /// The producer no longer holds the object: retrieved, deleted, expired, or restarted.
    ObjectGone,
    /// The object is larger than the sidecar's limits or [`memory_limit`](crate::ClientBuilder::memory_limit) allow.
    TooLarge,
    /// A header or parameter is outside what the contract allows.
    BadRequest,
    /// No buffer came free in time, or all retrievals are claimed and not yet confirmed.
    Busy,
    /// The instance is shutting down and takes no new objects.
    Draining,
    /// The producer could not be connected to.
    ProducerUnreachable,
    /// The connection died before the end; bytes already delivered are void.
    TransferBroken,
    /// A peer was silent for too long, or this call took longer than its timeout.
    Timeout,
    /// Nothing accepts connections at the sidecar's address: it is not there, or not yet.
    SidecarUnavailable,
    /// An argument or environment variable is outside its bounds; nothing was sent.
    InvalidArgument,
    /// The callee of a small invoke could not be connected to; user code never ran.
    Unreachable,
    /// The payload's own file, reader or stream failed, or had another length than stated.
    PayloadFailed,
    /// An answer that the contract does not know: another version, or not a sidecar.
    UnexpectedAnswer,
}

impl ErrorKind {
    /// The contract's word for this kind, if it has one.
    #[must_use]
    pub const fn word(self) -> Option<ErrorWord> {
        match self {
            Self::ReferenceInvalid => Some(ErrorWord::ReferenceInvalid),
            Self::WrongTenant => Some(ErrorWord::WrongTenant),
            Self::ObjectGone => Some(ErrorWord::ObjectGone),
            Self::TooLarge => Some(ErrorWord::TooLarge),
            Self::BadRequest => Some(ErrorWord::BadRequest),
            Self::Busy => Some(ErrorWord::Busy),
            Self::Draining => Some(ErrorWord::Draining),
            Self::ProducerUnreachable => Some(ErrorWord::ProducerUnreachable),
            Self::TransferBroken => Some(ErrorWord::TransferBroken),
            Self::Timeout => Some(ErrorWord::Timeout),
            Self::SidecarUnavailable
            | Self::InvalidArgument
            | Self::Unreachable
            | Self::PayloadFailed
            | Self::UnexpectedAnswer => None,
        }
    }

    /// Whether the same put or get may succeed if it is repeated.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self.word() {
            Some(word) => word.is_retryable(),
            None => matches!(self, Self::SidecarUnavailable | Self::Unreachable),
        }
    }

    /// A stable name in the form of the contract's words, such as `sidecar-unavailable`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SidecarUnavailable => "sidecar-unavailable",
            Self::InvalidArgument => "invalid-argument",
            Self::Unreachable => "unreachable",
            Self::PayloadFailed => "payload-failed",
            _ => match self.word() {
                Some(word) => word.as_str(),
                None => "unexpected-answer",
            },
        }
    }
}

impl From<ErrorWord> for ErrorKind {
    fn from(word: ErrorWord) -> Self {
        match word {
            ErrorWord::ReferenceInvalid => Self::ReferenceInvalid,
            ErrorWord::WrongTenant => Self::WrongTenant,
            ErrorWord::ObjectGone => Self::ObjectGone,
            ErrorWord::TooLarge => Self::TooLarge,
            ErrorWord::BadRequest => Self::BadRequest,
            ErrorWord::Busy => Self::Busy,
            ErrorWord::Draining => Self::Draining,
            ErrorWord::ProducerUnreachable => Self::ProducerUnreachable,
            ErrorWord::TransferBroken => Self::TransferBroken,
            ErrorWord::Timeout => Self::Timeout,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_has_a_kind_that_answers_like_it() {
        for word in ErrorWord::ALL {
            let kind = ErrorKind::from(word);
            assert_eq!(kind.word(), Some(word));
            assert_eq!(kind.as_str(), word.as_str());
            assert_eq!(kind.is_retryable(), word.is_retryable());
        }
    }

    #[test]
    fn an_invoke_that_may_have_run_is_not_retryable() {
        for (kind, retryable) in [
            (ErrorKind::TransferBroken, false),
            (ErrorKind::Timeout, false),
            (ErrorKind::Busy, true),
            (ErrorKind::Unreachable, true),
        ] {
            assert!(Error::new(kind, "").is_retryable());
            assert_eq!(Error::new(kind, "").after_sending().is_retryable(), retryable, "{kind}");
        }
    }

    #[test]
    fn an_io_error_keeps_the_error_inside() {
        let io_error = io::Error::from(Error::new(ErrorKind::TransferBroken, "the body ended early"));
        assert_eq!(io_error.kind(), io::ErrorKind::UnexpectedEof);
        let inner = io_error
            .get_ref()
            .and_then(|e| e.downcast_ref::<Error>())
            .expect("the error inside");
        assert_eq!(inner.to_string(), "transfer-broken: the body ended early");
    }
}
