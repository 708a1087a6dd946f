//! `Range` and `If-Range` (RFC 9110, section 14): one `bytes` range or none.

use http::{HeaderMap, header};
use http_range_header::{EndPosition, StartPosition, parse_range_header};

use crate::error::Problem;

/// What a client asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// The object.
    Whole,
    /// A part of it.
    Part(Part),
}

/// One range, before the size is known.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// From a byte on; to a byte, inclusive, or to the end.
    From(u64, Option<u64>),
    /// The last so many bytes.
    Last(u64),
}

impl Part {
    /// Start and end (exclusive) inside `size` bytes; `None` if the range lies outside.
    #[must_use]
    pub fn within(&self, size: u64) -> Option<(u64, u64)> {
        let (start, end) = match *self {
            Self::From(start, last) => (start, last.map_or(size, |last| size.min(last.saturating_add(1)))),
            Self::Last(count) => (size.saturating_sub(count), size),
        };
        (start < end).then_some((start, end))
    }
}

/// Reads the range that a client wants of the object with entity tag `tag`.
///
/// # Errors
/// `bad-request` for anything but one `bytes` range.
pub fn asked(map: &HeaderMap, tag: &str) -> Result<Asked, Problem> {
    let refused = || Problem::bad_request("Range: one range of the form bytes=FIRST-LAST is accepted");
    let mut values = map.get_all(header::RANGE).iter();
    let Some(value) = values.next() else {
        return Ok(Asked::Whole);
    };
    if values.next().is_some() {
        return Err(refused());
    }
    if map
        .get(header::IF_RANGE)
        .is_some_and(|wanted| wanted.as_bytes() != tag.as_bytes())
    {
        return Ok(Asked::Whole);
    }
    // Range units are case-insensitive.
    let text = value.to_str().map_err(|_| refused())?.to_ascii_lowercase();
    if text == "bytes=-0" {
        return Ok(Asked::Part(Part::Last(0)));
    }
    let parsed = parse_range_header(&text).map_err(|_| refused())?;
    let [range] = parsed.ranges.as_slice() else {
        return Err(refused());
    };
    let part = match (range.start, range.end) {
        (StartPosition::Index(start), EndPosition::Index(last)) if start <= last => Part::From(start, Some(last)),
        (StartPosition::Index(_), EndPosition::Index(_)) => return Err(refused()),
        (StartPosition::Index(start), EndPosition::LastByte) => Part::From(start, None),
        (StartPosition::FromLast(count), _) => Part::Last(count),
    };
    Ok(Asked::Part(part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use xdt_proto::ErrorWord;

    use super::*;

    fn parse(text: &str) -> Result<Asked, Problem> {
        let mut map = HeaderMap::new();
        map.insert(header::RANGE, text.parse().expect("a header value"));
        asked(&map, "\"tag\"")
    }

    #[test]
    fn one_range_is_read() {
        assert_eq!(parse("bytes=0-9"), Ok(Asked::Part(Part::From(0, Some(9)))));
        assert_eq!(parse("bytes=5-"), Ok(Asked::Part(Part::From(5, None))));
        assert_eq!(parse("bytes=-3"), Ok(Asked::Part(Part::Last(3))));
        assert_eq!(asked(&HeaderMap::new(), "\"tag\""), Ok(Asked::Whole));
    }

    #[test]
    fn anything_else_is_a_bad_request() {
        for text in [
            "bytes=0-1,3-4",
            "lines=0-1",
            "bytes=",
            "bytes=a-b",
            "bytes=9-5",
            "0-9",
            "bytes",
            "",
        ] {
            assert_eq!(
                parse(text).map_err(|problem| problem.word),
                Err(ErrorWord::BadRequest),
                "{text:?}"
            );
        }
    }

    #[test]
    fn another_entity_tag_asks_for_the_whole() {
        let mut map = HeaderMap::new();
        map.insert(header::RANGE, "bytes=0-9".parse().expect("value"));
        map.insert(header::IF_RANGE, "\"other\"".parse().expect("value"));
        assert_eq!(asked(&map, "\"tag\""), Ok(Asked::Whole));
    }

    #[test]
    fn ranges_are_cut_to_the_size() {
        assert_eq!(Part::From(0, Some(9)).within(5), Some((0, 5)));
        assert_eq!(Part::From(5, None).within(5), None);
        assert_eq!(Part::Last(9).within(5), Some((0, 5)));
        assert_eq!(Part::Last(0).within(5), None);
        assert_eq!(Part::From(0, Some(u64::MAX)).within(0), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[ -~]{0,40}", size: u64) {
            if let Ok(Asked::Part(part)) = parse(&text)
                && let Some((start, end)) = part.within(size) {
                prop_assert!(start < end && end <= size);
            }
        }
    }
}
