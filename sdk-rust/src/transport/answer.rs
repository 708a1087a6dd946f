//! Answers that are no object: errors as `application/problem+json` (RFC 9457), small JSON, and the rest of both.
//!
//! Used by the local HTTP transport and by invoke. Reads at most 16 KiB of any such answer.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, header::RETRY_AFTER};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::{Deserialize, de::DeserializeOwned};
use xdt_proto::{ErrorWord, headers};

use crate::{Error, ErrorKind, Result};

/// A problem is a few lines; the status has a line per path and outcome.
const ANSWER_LIMIT: usize = 16 * 1024;
/// Longest detail kept in an error, in characters: one sentence.
const DETAIL_LIMIT: usize = 300;

#[derive(Deserialize)]
struct Problem {
    detail: Option<String>,
    title: Option<String>,
}

/// The error that a failed answer stands for: its word, status, `Retry-After` and detail.
pub(crate) async fn problem(response: Response<Incoming>) -> Error {
    let (parts, body) = response.into_parts();
    let (kind, fallback) = kind(&parts.headers);
    let detail = match read(body).await {
        Some(bytes) => detail(&bytes).unwrap_or_else(|| fallback.to_owned()),
        None => fallback.to_owned(),
    };
    Error::new(kind, detail).with_answer(parts.status, retry_after(&parts.headers))
}

fn kind(answer: &HeaderMap) -> (ErrorKind, &'static str) {
    let Some(word) = answer.get(headers::ERROR) else {
        return (ErrorKind::UnexpectedAnswer, "a failing status without an error word");
    };
    match word.to_str().unwrap_or_default().parse::<ErrorWord>() {
        Ok(word) => (word.into(), "the answer gives no detail"),
        Err(()) => (
            ErrorKind::UnexpectedAnswer,
            "an error word that this version does not know",
        ),
    }
}

fn detail(body: &[u8]) -> Option<String> {
    let problem: Problem = serde_json::from_slice(body).ok()?;
    let text = problem.detail.or(problem.title)?;
    Some(text.chars().filter(|c| !c.is_control()).take(DETAIL_LIMIT).collect())
}

/// Only the form in seconds (RFC 9110, section 10.2.3); the contract sends no dates.
fn retry_after(answer: &HeaderMap) -> Option<Duration> {
    let seconds = answer.get(RETRY_AFTER)?.to_str().ok()?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// An answer that the contract does not know; `rule` says what it does know.
pub(crate) fn unexpected<B>(response: &Response<B>, rule: &str) -> Error {
    Error::new(ErrorKind::UnexpectedAnswer, rule).with_answer(response.status(), None)
}

/// A small JSON answer.
pub(crate) async fn json<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T> {
    let error = unexpected(&response, "the answer is not the JSON of the contract");
    let Some(body) = read(response.into_body()).await else {
        return Err(error);
    };
    serde_json::from_slice(&body).map_err(|_| error)
}

/// Reads a small body to its end, so that its connection can be used again.
pub(crate) async fn finish(body: Incoming) {
    read(body).await;
}

/// The whole body; `None` if it broke or is over the limit.
async fn read(body: Incoming) -> Option<Bytes> {
    let body = Limited::new(body, ANSWER_LIMIT).collect().await;
    body.ok().map(http_body_util::Collected::to_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detail_is_one_short_line() {
        assert_eq!(
            detail(br#"{"detail":"no\nbuffer","title":"Busy"}"#).as_deref(),
            Some("nobuffer")
        );
        assert_eq!(detail(br#"{"title":"Busy"}"#).as_deref(), Some("Busy"));
        assert_eq!(detail(b"Bad Gateway"), None);
        let long = format!(r#"{{"detail":"{}"}}"#, "a".repeat(1000));
        assert_eq!(detail(long.as_bytes()).map(|text| text.len()), Some(DETAIL_LIMIT));
    }

    #[test]
    fn an_unknown_word_is_unexpected() {
        let mut answer = HeaderMap::new();
        assert_eq!(kind(&answer).0, ErrorKind::UnexpectedAnswer);
        answer.insert(headers::ERROR, http::HeaderValue::from_static("object-lost"));
        assert_eq!(kind(&answer).0, ErrorKind::UnexpectedAnswer);
        answer.insert(headers::ERROR, http::HeaderValue::from_static("busy"));
        assert_eq!(kind(&answer).0, ErrorKind::Busy);
    }
}
