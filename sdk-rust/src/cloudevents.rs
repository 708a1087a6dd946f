//! CloudEvents whose data stays where it is: the event carries a reference as its attribute `dataref`.
//!
//! For events as HTTP requests in binary mode, whose attributes are headers (CloudEvents 1.0, HTTP binding, section 3.1, and
//! the extension "Dataref"), so that Knative Eventing can carry them. Other forms of events take the attribute's name,
//! [`DATAREF`], and the reference as text.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{Reference, Result};

/// The attribute.
pub const DATAREF: &str = "dataref";
/// The same as a header.
const HEADER: HeaderName = HeaderName::from_static("ce-dataref");

/// Adds the attribute to an event's headers; replaces one that is there.
///
/// ```no_run
/// # async fn example(client: xdt::Client, pixels: Vec<u8>, mut headers: http::HeaderMap) -> xdt::Result<()> {
/// let reference = client.put(pixels).retrievals(2).await?;
/// xdt::cloudevents::attach(&mut headers, &reference);
/// // In the function that receives the event:
/// if let Some(reference) = xdt::cloudevents::reference(&headers)? {
///     let pixels = client.get(&reference).await?;
/// }
/// # Ok(())
/// # }
/// ```
pub fn attach(event: &mut HeaderMap, reference: &Reference) {
    // A reference is made of characters that any header takes.
    if let Ok(value) = HeaderValue::from_str(reference.as_str()) {
        event.insert(HEADER, value);
    }
}

/// The reference that an event carries, if it does.
///
/// # Errors
/// [`ReferenceInvalid`](crate::ErrorKind::ReferenceInvalid) for an attribute that has not the form of a reference.
pub fn reference(event: &HeaderMap) -> Result<Option<Reference>> {
    let Some(value) = event.get(HEADER) else {
        return Ok(None);
    };
    Ok(Some(value.to_str().unwrap_or_default().parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn an_event_carries_one_reference() {
        let mut event = HeaderMap::new();
        assert_eq!(reference(&event).expect("nothing there"), None);
        for sealed in [[1], [2]] {
            let put = Reference::from_sealed(&sealed).expect("short");
            attach(&mut event, &put);
            assert_eq!(reference(&event).expect("its form"), Some(put));
        }
        event.insert(HEADER, HeaderValue::from_static("https://elsewhere/"));
        let error = reference(&event).expect_err("no reference of ours");
        assert_eq!(error.kind(), ErrorKind::ReferenceInvalid);
    }
}
