//! Prometheus' text format, read strictly: what breaks it fails the test.

use std::collections::{BTreeMap, BTreeSet};

/// One line with a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Name, with `_bucket`, `_sum` or `_count` for histograms.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Value.
    pub value: f64,
}

/// All of one page.
#[derive(Debug, Clone, Default)]
pub struct Exposition {
    /// Type of each family.
    pub types: BTreeMap<String, String>,
    /// Samples in order.
    pub samples: Vec<Sample>,
}

impl Sample {
    /// A label's text; empty if it is absent.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map(String::as_str).unwrap_or_default()
    }
}

impl Exposition {
    /// Reads a page.
    ///
    /// # Panics
    /// If it is not in the format: a name or label that is none, a sample without a type, a family told twice, a
    /// series told twice, a histogram whose buckets fall.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (mut page, mut told) = (Self::default(), BTreeSet::new());
        assert!(text.is_empty() || text.ends_with('\n'), "the last line ends");
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a type");
                let known = ["counter", "gauge", "histogram"].contains(&kind);
                assert!(known && is_name(name), "{line}");
                let again = page.types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(again, None, "told twice: {line}");
            } else if !line.starts_with("# HELP ") {
                let sample = sample(line);
                assert!(page.family(&sample.name).is_some(), "no type: {line}");
                let first = told.insert((sample.name.clone(), sample.labels.clone()));
                assert!(first, "told twice: {line}");
                page.samples.push(sample);
            }
        }
        page.buckets_rise();
        page
    }

    /// Samples of this name.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }

    /// The only sample of this name.
    ///
    /// # Panics
    /// If there is none, or more than one.
    #[must_use]
    pub fn only(&self, name: &str) -> &Sample {
        let found: Vec<_> = self.named(name).collect();
        assert_eq!(found.len(), 1, "one {name} was expected: {found:?}");
        found[0]
    }

    /// Finite bounds of a histogram, as written, in order of its first series.
    #[must_use]
    pub fn bounds(&self, family: &str) -> Vec<String> {
        let bucket = format!("{family}_bucket");
        let mut bounds: Vec<String> = Vec::new();
        for sample in self.named(&bucket) {
            match sample.label("le") {
                "+Inf" => break,
                bound => bounds.push(bound.to_owned()),
            }
        }
        bounds
    }

    fn family(&self, sample: &str) -> Option<&str> {
        let parts = ["_bucket", "_sum", "_count"];
        let whole = self.types.get(sample).map(String::as_str);
        whole.or_else(|| {
            let family = parts.iter().find_map(|part| sample.strip_suffix(part))?;
            self.types
                .get(family)
                .map(String::as_str)
                .filter(|kind| *kind == "histogram")
        })
    }

    fn buckets_rise(&self) {
        let mut last: Option<(&str, BTreeMap<String, String>, f64)> = None;
        for sample in self.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
            let mut series = sample.labels.clone();
            series.remove("le").expect("a bucket has a bound");
            if let Some((name, labels, value)) = &last
                && *name == sample.name
                && *labels == series
            {
                assert!(*value <= sample.value, "a bucket holds those below it: {sample:?}");
            }
            last = Some((&sample.name, series, sample.value));
        }
    }
}

fn sample(line: &str) -> Sample {
    let name = line.split(['{', ' ']).next().unwrap_or_default();
    assert!(is_name(name), "no name: {line}");
    let rest = &line[name.len()..];
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest, line),
        None => (BTreeMap::new(), rest),
    };
    Sample {
        name: name.to_owned(),
        labels,
        value: value
            .trim_start()
            .parse()
            .unwrap_or_else(|_| panic!("no value: {line}")),
    }
}

fn labels<'t>(mut rest: &'t str, line: &str) -> (BTreeMap<String, String>, &'t str) {
    let mut labels = BTreeMap::new();
    while !rest.starts_with('}') {
        let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
        assert!(is_name(name) && !name.contains(':'), "no label name: {line}");
        let (mut value, mut characters) = (String::new(), after.chars());
        loop {
            match characters.next().unwrap_or_else(|| panic!("no end of a label: {line}")) {
                '"' => break,
                '\\' => value.push(match characters.next() {
                    Some('n') => '\n',
                    Some(escaped @ ('\\' | '"')) => escaped,
                    other => panic!("no escape: {other:?} in {line}"),
                }),
                character => value.push(character),
            }
        }
        assert_eq!(
            labels.insert(name.to_owned(), value),
            None,
            "told twice: {name} in {line}"
        );
        rest = characters.as_str();
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    (labels, &rest[1..])
}

fn is_name(text: &str) -> bool {
    let first = text.bytes().next().unwrap_or(b'0');
    !first.is_ascii_digit()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read() {
        let page = Exposition::parse(
            "# HELP a b c\n# TYPE a histogram\na_bucket{x=\"1\\\"}\\n\",le=\"0.5\"} 1\na_bucket{x=\"1\\\"}\\n\",le=\"+Inf\"} 2\n\
             a_sum{x=\"1\\\"}\\n\"} 3.5\na_count{x=\"1\\\"}\\n\"} 2\n# TYPE b gauge\nb 7\n",
        );
        assert_eq!(page.bounds("a"), ["0.5"]);
        assert_eq!(page.only("b").value, 7.0);
        assert_eq!(page.only("a_sum").label("x"), "1\"}\n");
    }

    #[test]
    fn what_breaks_the_format_is_no_page() {
        for text in [
            "a 1\n",
            "# TYPE a gauge\na{b=1} 1\n",
            "# TYPE a gauge\na{} x\n",
            "# TYPE a gauge\na 1\na 2\n",
            "# TYPE a gauge\n# TYPE a gauge\n",
            "# TYPE a gauge\na 1",
            "# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"2\"} 1\n",
        ] {
            assert!(std::panic::catch_unwind(|| Exposition::parse(text)).is_err(), "{text}");
        }
    }
}
