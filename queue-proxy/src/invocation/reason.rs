//! Reason phrases: those of the stock proxy, whatever the user container calls a status (contract of the queue-proxy,
//! section 2.2). HTTP/2 has none.

use http::Response;
use hyper::ext::ReasonPhrase;

/// Replaces the user container's own phrase. Only statuses for which Go has another phrase than hyper, or hyper none at
/// all, cost anything.
pub fn standardize<B>(response: &mut Response<B>) {
    let status = response.status();
    let phrase = match status.as_u16() {
        203 => Some(ReasonPhrase::from_static(b"Non-Authoritative Information")),
        413 => Some(ReasonPhrase::from_static(b"Request Entity Too Large")),
        414 => Some(ReasonPhrase::from_static(b"Request URI Too Long")),
        416 => Some(ReasonPhrase::from_static(b"Requested Range Not Satisfiable")),
        code if status.canonical_reason().is_none() => ReasonPhrase::try_from(format!("status code {code}")).ok(),
        _ => None,
    };
    match phrase {
        Some(phrase) => {
            response.extensions_mut().insert(phrase);
        }
        None => {
            response.extensions_mut().remove::<ReasonPhrase>();
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn phrases_are_the_standard_ones() {
        for (status, expected) in [
            (200, None),
            (413, Some("Request Entity Too Large")),
            (299, Some("status code 299")),
        ] {
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            response.extensions_mut().insert(ReasonPhrase::from_static(b"Mine"));
            standardize(&mut response);
            let phrase = response.extensions().get::<ReasonPhrase>();
            assert_eq!(
                phrase.map(ReasonPhrase::as_bytes),
                expected.map(str::as_bytes),
                "{status}"
            );
        }
    }
}
