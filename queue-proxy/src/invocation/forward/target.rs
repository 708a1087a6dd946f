//! Request targets as the user container gets them: path and query byte for byte (contract of the queue-proxy, section
//! 2.2), except that bytes which belong in no path are percent-encoded, as Go's `net/url` does.

use http::{Request, Uri, header, uri::PathAndQuery};

/// Targets in absolute form become origin form: the path and query alone.
pub(super) fn to_origin_form<B>(request: &mut Request<B>) {
    let uri = request.uri();
    if uri.scheme().is_some() || uri.authority().is_some() || needs_encoding(uri.path()) {
        *request.uri_mut() = Uri::from(path_and_query(uri));
    }
}

/// HTTP/2 takes the authority from the URI: the request's own, or the restored `Host`.
pub(super) fn with_authority<B>(request: &mut Request<B>) {
    let Some(host) = request.headers_mut().remove(header::HOST) else {
        return;
    };
    let uri = Uri::builder()
        .scheme("http")
        .authority(host.as_bytes())
        .path_and_query(path_and_query(request.uri()))
        .build();
    if let Ok(uri) = uri {
        *request.uri_mut() = uri;
    }
}

fn path_and_query(uri: &Uri) -> PathAndQuery {
    let given = uri.path_and_query().cloned();
    let given = given.unwrap_or_else(|| PathAndQuery::from_static("/"));
    if !needs_encoding(given.path()) {
        return given;
    }
    let mut text = encoded(given.path());
    if let Some(query) = given.query() {
        text.push('?');
        text.push_str(query);
    }
    PathAndQuery::try_from(text).unwrap_or(given)
}

/// Whether a path holds bytes that belong in none (RFC 3986); then all of it is encoded anew.
fn needs_encoding(path: &str) -> bool {
    !path
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:@[]%/".contains(&byte))
}

fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len() * 3);
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' { decoded(&mut bytes) } else { byte };
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let digit = |value: u8| char::from(b"0123456789ABCDEF"[usize::from(value & 15)]);
            text.extend(['%', digit(byte >> 4), digit(byte)]);
        }
    }
    text
}

/// The byte behind `%`; the percent sign itself where no two digits follow (the server refuses those before).
fn decoded(bytes: &mut std::str::Bytes<'_>) -> u8 {
    let mut ahead = bytes.clone();
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    let value = digit(ahead.next()).zip(digit(ahead.next()));
    match value.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
        Some(value) => {
            *bytes = ahead;
            value
        }
        None => b'%',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(target: &str) -> String {
        let mut request = Request::get(target).body(()).expect("a target");
        to_origin_form(&mut request);
        request.uri().to_string()
    }

    #[test]
    fn ordinary_targets_pass_byte_for_byte() {
        for target in [
            "/",
            "//a//b",
            "/a%2Fb%2f",
            "/a;b=c?x;y&z=%zz",
            "/?",
            "/a?",
            "/a?b?c=|",
            "/!$&'()*+,;=:@[]~",
            "*",
        ] {
            assert_eq!(sent(target), target);
        }
    }

    #[test]
    fn absolute_targets_lose_their_authority() {
        assert_eq!(sent("http://a.b:80/c?d"), "/c?d");
        assert_eq!(sent("http://a.b"), "/");
        assert_eq!(sent("http://a.b?c"), "/?c");
    }

    #[test]
    fn bytes_that_belong_in_no_path_are_encoded_as_go_does() {
        assert_eq!(sent("/a|b"), "/a%7Cb");
        assert_eq!(sent("/é/%2F(x)?q=é"), "/%C3%A9//%28x%29?q=é");
    }

    #[test]
    fn http2_gets_the_host_as_its_authority() {
        let mut request = Request::get("http://old/x?y")
            .header("host", "new:1")
            .body(())
            .expect("a request");
        with_authority(&mut request);
        assert_eq!(request.uri().to_string(), "http://new:1/x?y");
        assert!(request.headers().is_empty());
    }
}
