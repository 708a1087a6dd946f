//! Metadata of objects: whatever headers a client sends, what is kept is within its limits and survives the wire.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use xdt_queue_proxy::transfer::{SpillUrl, description::Description};

fuzz_target!(|pairs: Vec<(String, Vec<u8>)>| {
    let mut map = HeaderMap::new();
    for (name, value) in &pairs {
        let _url = SpillUrl::parse(name);
        for name in [name.clone(), format!("xdt-meta-{name}")] {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value)) {
                map.append(name, value);
            }
        }
    }
    let Ok(description) = Description::from_headers(None, &map) else { return };
    let back = Description::from_wire(&description.to_wire()).expect("what was kept is legal");
    assert_eq!(back.metadata, description.metadata);
    assert_eq!(back.content_type, description.content_type);
    assert!(back.check_lengths().is_ok());
});
