//! get: a reference becomes bytes, whole or as they arrive (thesis, table 6.1).
//!
//! Called by consumers. A get in memory reserves once and holds one object; an open reader holds one chunk.

use std::{
    future::IntoFuture,
    ops::{Bound, RangeBounds},
};

use futures_util::future::BoxFuture;
use xdt_proto::Reference;

use crate::{
    Client, Error, Object, Reader, Result,
    transport::{ByteRange, GetRequest},
};

impl Client {
    /// Gets the object behind `reference`, whole and verified. This is one retrieval.
    ///
    /// ```no_run
    /// # async fn example(client: xdt::Client, text: &str) -> xdt::Result<()> {
    /// let reference: xdt::Reference = text.parse()?;
    /// let object = client.get(&reference).await?;
    /// println!("{} bytes of {:?}", object.len(), object.content_type());
    /// # Ok(())
    /// # }
    /// ```
    pub fn get(&self, reference: &Reference) -> Get {
        Get {
            client: self.clone(),
            reference: reference.clone(),
            range: None,
            counted: false,
        }
    }

    /// Opens the object behind `reference` to be read as it arrives: the same as `get(reference).open()`.
    ///
    /// ```no_run
    /// # async fn example(client: xdt::Client, reference: xdt::Reference) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut reader = client.open(&reference).await?;
    /// let mut file = tokio::fs::File::create("copy").await?;
    /// tokio::io::copy(&mut reader, &mut file).await?;
    /// # Ok(())
    /// # }
    /// ```
    /// # Errors
    /// As [`Get`]; once open, as [`Reader::chunk`].
    /// # Cancel safety
    /// Dropping the future, or the reader before its end, gives the retrieval back.
    pub async fn open(&self, reference: &Reference) -> Result<Reader> {
        self.get(reference).open().await
    }
}

/// A get to be awaited (for an [`Object`]) or [opened](Get::open) (for a [`Reader`]).
///
/// # Errors
/// Of the awaited call, by [kind](crate::ErrorKind): `ReferenceInvalid`, `WrongTenant`, `ObjectGone`; `Busy` while all
/// retrievals are claimed; `ProducerUnreachable`; `TransferBroken` if the body ended early; `Timeout`, counted over the
/// whole get; `TooLarge` over the client's memory limit; `SidecarUnavailable`; `InvalidArgument` for a range that is
/// empty or outside the object.
/// # Cancel safety
/// Dropping the future frees the bytes and gives the retrieval back.
#[derive(Debug, Clone)]
#[must_use = "a get does nothing before it is awaited"]
pub struct Get {
    client: Client,
    reference: Reference,
    range: Option<(Bound<u64>, Bound<u64>)>,
    counted: bool,
}

impl Get {
    /// Only these bytes, such as `0..1024` or `1024..`; an end after the object's is cut to it. Reading a range is no
    /// retrieval, unless it is [`counted`](Self::counted).
    pub fn range(mut self, range: impl RangeBounds<u64>) -> Self {
        self.range = Some((range.start_bound().cloned(), range.end_bound().cloned()));
        self
    }

    /// Makes this range the last one: it counts as a retrieval. Without effect on a whole get, which always counts.
    pub fn counted(mut self) -> Self {
        self.counted = true;
        self
    }

    /// Opens the object to be read as it arrives. The client's timeout bounds the opening, then each silence.
    ///
    /// # Errors
    /// As the awaited get; once open, as [`Reader::chunk`].
    /// # Cancel safety
    /// Dropping the future, or the reader before its end, gives the retrieval back.
    pub async fn open(self) -> Result<Reader> {
        let client = self.client.clone();
        let request = self.request()?;
        client.bounded(client.shared().transport.open(request)).await
    }

    async fn run(self) -> Result<Object> {
        let client = self.client.clone();
        let request = self.request()?;
        client.bounded(client.shared().transport.get(request)).await
    }

    fn request(self) -> Result<GetRequest> {
        let range = self.range.map(|bounds| byte_range(bounds, self.counted)).transpose()?;
        let shared = self.client.shared();
        Ok(GetRequest {
            reference: self.reference,
            range,
            silence: self.client.timeout(),
            memory_limit: shared.memory_limit,
        })
    }
}

impl IntoFuture for Get {
    type Output = Result<Object>;
    type IntoFuture = BoxFuture<'static, Result<Object>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

fn byte_range((start, end): (Bound<u64>, Bound<u64>), counted: bool) -> Result<ByteRange> {
    let empty = || Error::invalid("range: holds no bytes");
    let start = match start {
        Bound::Unbounded => 0,
        Bound::Included(start) => start,
        Bound::Excluded(before) => before.checked_add(1).ok_or_else(empty)?,
    };
    let last = match end {
        Bound::Unbounded => None,
        Bound::Included(last) => Some(last),
        Bound::Excluded(end) => Some(end.checked_sub(1).ok_or_else(empty)?),
    };
    if last.is_some_and(|last| last < start) {
        return Err(empty());
    }
    Ok(ByteRange { start, last, counted })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(range: impl RangeBounds<u64>) -> Option<(u64, Option<u64>)> {
        let bounds = (range.start_bound().cloned(), range.end_bound().cloned());
        byte_range(bounds, false).ok().map(|range| (range.start, range.last))
    }

    #[test]
    fn ranges_become_first_and_last_byte() {
        assert_eq!(parse(0..10), Some((0, Some(9))));
        assert_eq!(parse(3..=3), Some((3, Some(3))));
        assert_eq!(parse(5..), Some((5, None)));
        assert_eq!(parse(..), Some((0, None)));
        assert_eq!(parse(..1), Some((0, Some(0))));
    }

    #[test]
    #[expect(clippy::reversed_empty_ranges, reason = "callers compute their ends")]
    fn empty_ranges_are_refused() {
        assert_eq!(parse(0..0), None);
        assert_eq!(parse(7..7), None);
        assert_eq!(parse(9..3), None);
    }
}
