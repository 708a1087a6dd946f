//! invoke: an ordinary HTTP call by value, whatever its size (thesis, table 6.1).
//!
//! Called by functions. A payload that is known to be small goes straight to the callee; any other is streamed to the
//! sidecar's egress proxy, which turns it into a reference (contract, section 5). A call is sent once and never
//! repeated here. Holds no payload of its own.

use std::{fmt, future::IntoFuture, time::Duration};

use futures_util::future::BoxFuture;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri,
    header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING},
    uri::Scheme,
};
use xdt_proto::headers;

use crate::{
    Client, Error, Payload, Response, Result,
    client::{checked_timeout, within},
    transport::{
        answer,
        send::{Peer, send},
    },
};

impl Client {
    /// Calls the function at `url` with `payload` and waits for the head of its answer.
    ///
    /// Only `http://` URLs. Hosts below `.localhost` are this machine (RFC 6761, section 6.3) when the call goes
    /// straight. Await the returned [`Invoke`], after setting what differs from a plain `POST`.
    ///
    /// To hand on an object that was put before, send its reference as the control message's header, without a payload:
    /// `client.invoke(url, Payload::empty()).header("xdt-reference", reference.as_str())`.
    ///
    /// ```no_run
    /// # async fn example(client: xdt::Client) -> xdt::Result<()> {
    /// let image = vec![0; 10 << 20];
    /// let answer = client
    ///     .invoke("http://resize.default.svc.cluster.local/half", image)
    ///     .content_type("image/png")
    ///     .await?;
    /// if answer.status().is_success() {
    ///     let smaller = answer.body().await?;
    ///     println!("{} bytes", smaller.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn invoke(&self, url: impl Into<String>, payload: impl Into<Payload>) -> Invoke {
        Invoke {
            client: self.clone(),
            url: url.into(),
            payload: payload.into(),
            method: Method::POST,
            headers: HeaderMap::new(),
            timeout: None,
            fault: None,
        }
    }
}

/// A call to be awaited.
///
/// # Errors
/// Of the awaited call, by [kind](crate::ErrorKind): the ten words, if the answer carries one (its status is kept);
/// `InvalidArgument` for a URL, method or header that cannot be sent; `Unreachable` if a small call found no callee;
/// `SidecarUnavailable` if a large one found no egress proxy; `PayloadFailed`; `TransferBroken` and `Timeout`, after
/// which the callee may have run. Any other answer, failing statuses included, is `Ok`.
/// # Cancel safety
/// Dropping the future closes the connection; the callee may have run.
#[must_use = "an invoke does nothing before it is awaited"]
pub struct Invoke {
    client: Client,
    url: String,
    payload: Payload,
    method: Method,
    headers: HeaderMap,
    timeout: Option<Duration>,
    /// The first argument that could not be taken; told when the call is awaited.
    fault: Option<Error>,
}

impl Invoke {
    /// The method; default `POST`. `CONNECT` is refused.
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Adds a header. `Content-Length` and `Transfer-Encoding` are refused: the payload decides them.
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        if let Err(error) = self.append(name.as_ref(), value.as_ref()) {
            self.fault.get_or_insert(error);
        }
        self
    }

    fn append(&mut self, name: &str, value: &str) -> Result<()> {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Error::invalid("header: a name is made of letters, digits and -_.!#$%&'*+^`|~"))?;
        if name == CONTENT_LENGTH || name == TRANSFER_ENCODING {
            return Err(Error::invalid(format!("header: {name} follows from the payload")));
        }
        let value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| Error::invalid(format!("header: the value of {name} has control characters")))?;
        let appended = self.headers.try_append(name, value);
        appended
            .map(drop)
            .map_err(|_| Error::invalid("header: there are too many"))
    }

    /// The content type of the payload; replaces any given before.
    pub fn content_type(mut self, content_type: impl AsRef<str>) -> Self {
        self.headers.remove(CONTENT_TYPE);
        self.header(CONTENT_TYPE, content_type)
    }

    /// How long the call may take up to the head of the answer, and how long the callee may then be silent while the
    /// body is read. 1 ms to 24 h; default: the client's.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    async fn run(self) -> Result<Response> {
        let limit = checked_timeout(self.timeout.unwrap_or(self.client.timeout()))?;
        within(limit, self.call(limit)).await.map_err(Error::after_sending)
    }

    async fn call(self, limit: Duration) -> Result<Response> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.method == Method::CONNECT {
            return Err(Error::invalid("method: CONNECT opens a tunnel and is no invocation"));
        }
        let uri = target(&self.url)?;
        let host = uri.host().unwrap_or_default().to_owned();
        let body = self.payload.into_body().await?;
        let shared = self.client.shared();
        let inline = body.length().is_some_and(|length| length <= shared.inline_limit.get());
        let mut request = http::Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers;
        let answer = if inline {
            request
                .headers_mut()
                .insert(headers::ACCEPT, HeaderValue::from_static(headers::ACCEPT_REFERENCE));
            send(&shared.direct, request, Peer::Callee(&host)).await?
        } else {
            send(&shared.egress, request, Peer::Sidecar).await?
        };
        if answer.headers().contains_key(headers::ERROR) {
            return Err(answer::problem(answer).await);
        }
        // The egress proxy resolves references itself; one that it left in place is the callee's own affair.
        if inline {
            Response::resolved(shared, answer, limit).await
        } else {
            Ok(Response::plain(shared, answer, limit))
        }
    }
}

impl IntoFuture for Invoke {
    type Output = Result<Response>;
    type IntoFuture = BoxFuture<'static, Result<Response>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// Prints the method and the payload's size; URL and headers may hold secrets.
impl fmt::Debug for Invoke {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invoke")
            .field("method", &self.method)
            .field("payload", &self.payload)
            .finish_non_exhaustive()
    }
}

/// An absolute `http://` URL with a host and no user.
fn target(url: &str) -> Result<Uri> {
    let uri: Uri = url.parse().map_err(|_| Error::invalid("url: is not a URL"))?;
    match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => {}
        Some(scheme) => {
            return Err(Error::invalid(format!(
                "url: scheme {scheme} is not supported, only http"
            )));
        }
        None => return Err(Error::invalid("url: must begin with http://")),
    }
    if uri.authority().is_none_or(|authority| authority.as_str().contains('@')) {
        return Err(Error::invalid("url: must name a host, and no user"));
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn only_plain_http_urls_are_targets() {
        assert!(target("http://f.default.localhost:8080/path?q=1").is_ok());
        assert!(target("HTTP://f").is_ok());
        for (url, word) in [
            ("https://f/", "https"),
            ("ftp://f/", "ftp"),
            ("/path", "http://"),
            ("f:80", "http://"),
        ] {
            let error = target(url).expect_err(url);
            assert!(error.detail().contains(word), "{url}: {error}");
        }
        for url in ["", "http://", "http://u:p@f/", "http://a b/", "http:///x"] {
            assert_eq!(
                target(url).map_err(|error| error.kind()).err(),
                Some(ErrorKind::InvalidArgument),
                "{url:?}"
            );
        }
    }

    #[tokio::test]
    async fn arguments_that_cannot_be_sent_are_named() {
        let client = Client::builder().build().expect("defaults are valid");
        let invoke = || client.invoke("http://f.localhost/", "x");
        let cases = [
            (invoke().header("content-length", "1"), "content-length"),
            (invoke().header("x-a", "line\nbreak"), "x-a"),
            (invoke().header("no name", "x"), "name"),
            (invoke().method(Method::CONNECT), "method"),
            (invoke().timeout(Duration::ZERO), "timeout"),
        ];
        for (invoke, word) in cases {
            let error = invoke.await.expect_err(word);
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.detail().contains(word), "{error}");
        }
    }
}
