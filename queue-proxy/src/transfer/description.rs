//! What is known of an object besides its bytes: size, content type, user metadata.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use xdt_proto::{ByteCount, headers, v1};

/// Metadata of one object.
#[derive(Debug, Clone, Default)]
pub struct Description {
    /// Bytes; `None` while the object is still being streamed in and its length was not announced.
    pub size: Option<ByteCount>,
    /// As the producer gave it.
    pub content_type: Option<HeaderValue>,
    /// `xdt-meta-*` headers under their full names, in the order given.
    pub metadata: Vec<(HeaderName, HeaderValue)>,
}

/// Longest content type kept, in bytes.
const CONTENT_TYPE_LIMIT: usize = 1024;

/// Headers that are not kept with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// A content type over its limit.
    #[error("Content-Type has {bytes} bytes; {CONTENT_TYPE_LIMIT} are accepted")]
    ContentType {
        /// Bytes in the value.
        bytes: usize,
    },
    /// Metadata over its limit.
    #[error(transparent)]
    Metadata(#[from] MetadataTooLong),
}

/// User metadata over the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Xdt-Meta-* headers hold {bytes} bytes; {limit} are accepted, names and values counted", limit = headers::META_LIMIT)]
pub struct MetadataTooLong {
    /// Bytes in all names (without the prefix) and values.
    pub bytes: usize,
}

impl Description {
    /// Reads content type and metadata from a request or response.
    ///
    /// # Errors
    /// [`DescriptionError`].
    pub fn from_headers(size: Option<ByteCount>, map: &HeaderMap) -> Result<Self, DescriptionError> {
        let metadata: Vec<_> = map
            .iter()
            .filter(|(name, _)| name.as_str().starts_with(headers::META_PREFIX))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let description = Self {
            size,
            content_type: map.get(CONTENT_TYPE).cloned(),
            metadata,
        };
        description.check_lengths()?;
        Ok(description)
    }

    /// Whether content type and metadata are short enough to be kept.
    ///
    /// # Errors
    /// [`DescriptionError`].
    pub fn check_lengths(&self) -> Result<(), DescriptionError> {
        let lengths = self
            .metadata
            .iter()
            .map(|(name, value)| name.as_str().len() - headers::META_PREFIX.len() + value.len());
        let bytes = lengths.sum();
        if bytes > headers::META_LIMIT {
            return Err(MetadataTooLong { bytes }.into());
        }
        match self.content_type.as_ref().map_or(0, HeaderValue::len) {
            bytes if bytes > CONTENT_TYPE_LIMIT => Err(DescriptionError::ContentType { bytes }),
            _ => Ok(()),
        }
    }

    /// Bytes of content type and metadata.
    pub(super) fn header_bytes(&self) -> u64 {
        let metadata = self
            .metadata
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len());
        (metadata.sum::<usize>() + self.content_type.as_ref().map_or(0, HeaderValue::len)) as u64
    }

    /// As peers and SDKs read it.
    #[must_use]
    pub fn to_wire(&self) -> v1::Description {
        v1::Description {
            size: self.size.map(ByteCount::get),
            content_type: self
                .content_type
                .as_ref()
                .map(|value| Bytes::copy_from_slice(value.as_bytes())),
            metadata: self
                .metadata
                .iter()
                .map(|(name, value)| v1::Metadata {
                    name: name.as_str()[headers::META_PREFIX.len()..].to_owned(),
                    value: Bytes::copy_from_slice(value.as_bytes()),
                })
                .collect(),
        }
    }

    /// Reads a peer's description; parts that are no legal headers make it `None`.
    #[must_use]
    pub fn from_wire(wire: &v1::Description) -> Option<Self> {
        let content_type = match &wire.content_type {
            Some(bytes) => Some(HeaderValue::from_bytes(bytes).ok()?),
            None => None,
        };
        let metadata = wire
            .metadata
            .iter()
            .map(|item| {
                let name = HeaderName::try_from(format!("{}{}", headers::META_PREFIX, item.name)).ok()?;
                Some((name, HeaderValue::from_bytes(&item.value).ok()?))
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            size: wire.size.map(ByteCount::new),
            content_type,
            metadata,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name: HeaderName = name.parse().expect("name");
            (name, value.parse::<HeaderValue>().expect("value"))
        });
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name, value);
        }
        map
    }

    #[test]
    fn metadata_survives_the_wire() {
        let headers = map(&[
            ("content-type", "image/png"),
            ("xdt-meta-a", "1"),
            ("xdt-meta-a", "2"),
            ("x-other", "3"),
        ]);
        let description = Description::from_headers(Some(ByteCount::new(9)), &headers).expect("short");
        let back = Description::from_wire(&description.to_wire()).expect("legal");
        assert_eq!(back.metadata, description.metadata);
        assert_eq!(back.metadata.len(), 2);
        assert_eq!(
            (back.size, back.content_type),
            (Some(ByteCount::new(9)), Some("image/png".parse().expect("value")))
        );
    }

    #[test]
    fn names_and_values_count_against_the_limit() {
        let value = "v".repeat(headers::META_LIMIT - 1);
        assert!(Description::from_headers(None, &map(&[("xdt-meta-n", &value)])).is_ok());
        let longer = map(&[("xdt-meta-nn", &value)]);
        let error = Description::from_headers(None, &longer).expect_err("one byte too many");
        let bytes = headers::META_LIMIT + 1;
        assert_eq!(error, MetadataTooLong { bytes }.into());
    }

    #[test]
    fn a_peer_cannot_smuggle_headers() {
        let wire = v1::Description {
            metadata: vec![v1::Metadata {
                name: "a".into(),
                value: Bytes::from_static(b"x\r\nevil: 1"),
            }],
            ..Default::default()
        };
        assert!(Description::from_wire(&wire).is_none());
    }
}
