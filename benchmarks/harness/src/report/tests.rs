//! The page as a whole: what stands on it, and that nothing is fetched.

use super::*;
use crate::results::fixtures::{facts, run, sample};

fn results() -> Results {
    let folder = tempfile::tempdir().unwrap();
    let mut results = Results::open(folder.path(), run()).unwrap();
    let mut samples = Vec::new();
    for (backend, ms) in [("s3", 8), ("redis", 2), ("xdt-ct", 4)] {
        samples.extend((0..120).map(|rep| sample(backend, rep, ms * 1_000_000 + rep, false)));
    }
    let mut invalid = facts("xdt-auto");
    invalid.invalid = Some("transfers took inline <b>".into());
    let facts = vec![facts("s3"), facts("redis"), facts("xdt-ct"), invalid];
    results.add(facts, samples, Vec::new()).unwrap();
    results
}

#[test]
fn the_first_paragraph_says_where_a_baseline_wins() {
    let sentences = verdict::of(&results());
    assert!(sentences[0].starts_with("1 cells are not valid"), "{sentences:?}");
    assert!(
        sentences[1].starts_with("xdt-ct loses, by median, to Redis in 1 of 1 cells (one-to-one 1 MB 2.00x)"),
        "{sentences:?}"
    );
    assert!(
        sentences
            .iter()
            .any(|text| text.starts_with("xdt-ct is faster than S3 in 1 of 1 (up to 2.00x)")),
        "{sentences:?}"
    );
}

#[test]
fn the_page_is_whole_and_loads_nothing() {
    let page = page(&results(), &[]).unwrap();
    for part in [
        "fig-6-3-a",
        "fig-6-3-b",
        "fig-cdf-1048576",
        "id=\"cost\"",
        "id=\"correctness\"",
        "prefers-color-scheme: dark",
    ] {
        assert!(page.contains(part), "no {part}");
    }
    assert!(page.find("id=\"verdict\"").unwrap() < page.find("id=\"figures\"").unwrap());
    assert!(page.contains("transfers took inline &lt;b&gt;"), "text is escaped");
    for loaded in ["src=", "@import", "url(", "<script", "<link"] {
        assert!(!page.contains(loaded), "{loaded}");
    }
    assert!(!page.contains("NaN"));
}
