//! put: the sidecar holds an object and answers with its reference (thesis, table 6.1).
//!
//! Called by producers. Checks its arguments before anything is sent; holds no payload of its own.

use std::{fmt, future::IntoFuture, time::Duration};

use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue};
use xdt_proto::{Reference, Retrievals, headers};

use crate::{
    Client, Error, ErrorKind, Metadata, Payload, Result,
    transport::{PutRequest, PutTerms},
};

impl Client {
    /// Puts an object: its bytes stay in this instance, and the reference is all that travels to consumers.
    ///
    /// Await the returned [`Put`], after setting how often the object may be retrieved and what goes with it.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # async fn example(client: xdt::Client) -> xdt::Result<()> {
    /// // One consumer.
    /// let reference = client.put(vec![0; 1 << 20]).await?;
    /// // A broadcast to eight, with a word about the bytes.
    /// let model = xdt::Payload::file("/models/weights.bin");
    /// let shared =
    ///     client.put(model).retrievals(8).metadata("epoch", "3").ttl(Duration::from_secs(60)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn put(&self, payload: impl Into<Payload>) -> Put {
        Put {
            client: self.clone(),
            payload: payload.into(),
            retrievals: 1,
            content_type: None,
            metadata: Metadata::new(),
            ttl: None,
        }
    }
}

/// A put to be awaited.
///
/// # Errors
/// Of the awaited call: [`InvalidArgument`](ErrorKind::InvalidArgument) for zero retrievals, or for a content type or
/// metadata that fit no header; [`BadRequest`](ErrorKind::BadRequest) for more than 8 KiB of metadata;
/// [`TooLarge`](ErrorKind::TooLarge); [`Busy`](ErrorKind::Busy) if no memory came free in time;
/// [`Draining`](ErrorKind::Draining); [`PayloadFailed`](ErrorKind::PayloadFailed);
/// [`SidecarUnavailable`](ErrorKind::SidecarUnavailable); [`TransferBroken`](ErrorKind::TransferBroken) and
/// [`Timeout`](ErrorKind::Timeout), after which the object may be held until its time is up.
/// # Cancel safety
/// Dropping the future breaks the upload, and the sidecar discards what it has. If the answer was already on its way,
/// the object is held until its time is up.
#[must_use = "a put does nothing before it is awaited"]
pub struct Put {
    client: Client,
    payload: Payload,
    retrievals: u16,
    content_type: Option<String>,
    metadata: Metadata,
    ttl: Option<Duration>,
}

impl Put {
    /// How many complete gets the object serves before it is freed: 1 to 65535, default 1.
    pub fn retrievals(mut self, count: u16) -> Self {
        self.retrievals = count;
        self
    }

    /// The content type that consumers see, such as `application/json`.
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// One item of user metadata that travels with the object. Names are made of the characters of header names,
    /// lower case; values of visible ASCII and spaces; 8 KiB in all. A second value for a name replaces the first.
    pub fn metadata(mut self, name: impl AsRef<str>, value: impl Into<String>) -> Self {
        self.metadata.insert(name.as_ref().to_ascii_lowercase(), value.into());
        self
    }

    /// How long the object may wait for its retrievals, in whole milliseconds (rounded up). The sidecar shortens it to
    /// its own limit (`XDT_OBJECT_TTL`, which is also the default); zero means for ever, where the sidecar allows it.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    async fn run(self) -> Result<Reference> {
        let retrievals = Retrievals::new(self.retrievals)
            .ok_or_else(|| Error::invalid("retrievals: must be a whole number from 1 to 65535"))?;
        let content_type = self
            .content_type
            .map(|text| HeaderValue::try_from(text).map_err(|_| Error::invalid("content_type: must be visible ASCII")));
        check_metadata(&self.metadata)?;
        let request = PutRequest {
            payload: self.payload,
            terms: PutTerms {
                retrievals,
                content_type: content_type.transpose()?,
                metadata: self.metadata,
                ttl: self.ttl,
            },
        };
        self.client.bounded(self.client.shared().transport.put(request)).await
    }
}

impl IntoFuture for Put {
    type Output = Result<Reference>;
    type IntoFuture = BoxFuture<'static, Result<Reference>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// Prints sizes, never bytes or metadata.
impl fmt::Debug for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Put")
            .field("payload", &self.payload)
            .field("retrievals", &self.retrievals)
            .finish_non_exhaustive()
    }
}

fn check_metadata(metadata: &Metadata) -> Result<()> {
    for (name, value) in metadata {
        if name.is_empty() || HeaderName::try_from(name).is_err() {
            return Err(Error::invalid(
                "metadata: a name is made of letters, digits and -_.!#$%&'*+^`|~",
            ));
        }
        if HeaderValue::try_from(value).is_err() {
            return Err(Error::invalid(format!(
                "metadata: the value of {name} must be visible ASCII"
            )));
        }
    }
    let size: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > headers::META_LIMIT {
        let detail = format!("metadata: {size} bytes, more than the {} allowed", headers::META_LIMIT);
        return Err(Error::new(ErrorKind::BadRequest, detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str) -> Option<ErrorKind> {
        check_metadata(&Metadata::from([(name.into(), value.into())]))
            .err()
            .map(|error| error.kind())
    }

    #[test]
    fn metadata_is_bounded_and_fits_headers() {
        assert_eq!(check("key", "value 1"), None);
        assert_eq!(check("k", &"v".repeat(headers::META_LIMIT - 1)), None);
        assert_eq!(
            check("k", &"v".repeat(headers::META_LIMIT)),
            Some(ErrorKind::BadRequest)
        );
        assert_eq!(check("", "v"), Some(ErrorKind::InvalidArgument));
        assert_eq!(check("a b", "v"), Some(ErrorKind::InvalidArgument));
        assert_eq!(check("k", "line\r\nbreak"), Some(ErrorKind::InvalidArgument));
    }

    #[tokio::test]
    async fn zero_retrievals_name_the_argument_and_send_nothing() {
        let client = Client::builder().build().expect("defaults are valid");
        let error = client.put("x").retrievals(0).await.expect_err("zero is refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.detail().starts_with("retrievals"));
    }
}
