//! The one table from errors to HTTP: problem documents with the contract's word, and plain-text answers of Knative's.

use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;
use xdt_proto::{ErrorWord, PROBLEM_TYPE_PREFIX, headers};

use crate::{
    body::{Body, full},
    transfer::{description::DescriptionError, get::GetError, put::PutError},
};

/// What a client should wait before it repeats a `busy` request, in seconds.
const RETRY_AFTER_SECONDS: u16 = 1;

/// A failed XDT request: the word, and what a person may read. Never an address, a name or a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word}: {detail}")]
pub struct Problem {
    /// The contract's error word.
    pub word: ErrorWord,
    /// A sentence for people.
    pub detail: String,
}

impl Problem {
    /// A header or parameter that does not parse, named.
    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self {
            word: ErrorWord::BadRequest,
            detail: detail.into(),
        }
    }

    /// The answer of contract section 3 (RFC 9457).
    #[must_use]
    pub fn response(&self) -> Response<Body> {
        let status = StatusCode::from_u16(self.word.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let document = json!({
            "type": format!("{PROBLEM_TYPE_PREFIX}{}", self.word),
            "title": title(self.word),
            "status": status.as_u16(),
            "detail": self.detail,
        });
        let mut response = Response::new(full(document.to_string()));
        *response.status_mut() = status;
        let map = response.headers_mut();
        map.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        map.insert(headers::ERROR, HeaderValue::from_static(self.word.as_str()));
        if self.word == ErrorWord::Busy {
            map.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response
    }
}

fn title(word: ErrorWord) -> &'static str {
    match word {
        ErrorWord::ReferenceInvalid => "Reference not valid",
        ErrorWord::WrongTenant => "Reference of another tenant",
        ErrorWord::ObjectGone => "Object gone",
        ErrorWord::TooLarge => "Object too large",
        ErrorWord::BadRequest => "Bad request",
        ErrorWord::Busy => "Busy",
        ErrorWord::Draining => "Shutting down",
        ErrorWord::ProducerUnreachable => "Producer unreachable",
        ErrorWord::TransferBroken => "Transfer broken",
        ErrorWord::Timeout => "Timeout",
    }
}

impl From<GetError> for Problem {
    fn from(error: GetError) -> Self {
        Self {
            word: error.kind(),
            detail: error.to_string(),
        }
    }
}

impl From<&PutError> for Problem {
    fn from(error: &PutError) -> Self {
        Self {
            word: error.kind(),
            detail: error.to_string(),
        }
    }
}

impl From<DescriptionError> for Problem {
    fn from(error: DescriptionError) -> Self {
        Self::bad_request(error.to_string())
    }
}

/// An error and what lies behind it, outermost first, for the log.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The form of the stock queue-proxy's own answers: the text, a newline, and headers against content sniffing.
#[must_use]
pub fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(full(format!("{text}\n")));
    *response.status_mut() = status;
    let map = response.headers_mut();
    map.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    map.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn every_word_becomes_a_problem_document() {
        for word in ErrorWord::ALL {
            let response = Problem {
                word,
                detail: "why".to_owned(),
            }
            .response();
            assert_eq!(response.status().as_u16(), word.status());
            assert_eq!(response.headers()[headers::ERROR], word.as_str());
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
            assert_eq!(
                response.headers().contains_key(header::RETRY_AFTER),
                word == ErrorWord::Busy
            );
            let bytes = response.into_body().collect().await.expect("in memory").to_bytes();
            let document: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
            assert_eq!(document["type"], format!("urn:xdt:error:{word}"));
            assert_eq!(document["detail"], "why");
        }
    }
}
