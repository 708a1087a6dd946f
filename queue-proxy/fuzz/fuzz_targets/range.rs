//! Any text as a range: what is accepted lies inside the object.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xdt_queue_proxy::door::http::range;

fuzz_target!(|input: (String, u64)| {
    let (text, size) = input;
    let Ok(value) = text.parse::<http::HeaderValue>() else { return };
    let mut map = http::HeaderMap::new();
    map.insert("range", value);
    if let Ok(range::Asked::Part(part)) = range::asked(&map, "\"tag\"") {
        if let Some((start, end)) = part.within(size) {
            assert!(start < end && end <= size);
        }
    }
});
