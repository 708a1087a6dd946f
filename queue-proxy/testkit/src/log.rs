//! What a sidecar's log must not hold: warnings that the test did not expect, and what no log may tell.

use serde_json::Value;

/// Begins every metadata value that tests use; no log may show it.
pub const METADATA_MARK: &str = "METADATA-MARK";
/// Part of every address that tests use.
const LOOPBACK: &str = "127.";
/// Begins every reference.
const REFERENCE: &str = "xdt1.";

/// What to look for.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Parts of warnings and errors that this test expects.
    pub allowed: Vec<String>,
    /// Texts that must never appear.
    pub secrets: Vec<String>,
    /// Nothing is looked for.
    pub unchecked: bool,
}

impl Rules {
    /// Every fault of `log`, one line each.
    #[must_use]
    pub fn faults(&self, log: &str) -> Vec<String> {
        let lines = log.lines().filter(|_| !self.unchecked);
        lines
            .flat_map(|line| {
                self.faults_of(line)
                    .into_iter()
                    .map(move |fault| format!("{fault}: {line}"))
            })
            .collect()
    }

    fn faults_of(&self, line: &str) -> Vec<&'static str> {
        let mut faults = Vec::new();
        let Ok(entry) = serde_json::from_str::<Value>(line) else {
            return vec!["not a line of JSON"];
        };
        let severity = entry["severity"].as_str().unwrap_or_default();
        if self.secrets.iter().any(|secret| line.contains(secret)) {
            faults.push("shows a key");
        }
        if severity == "DEBUG" {
            return faults;
        }
        if severity != "INFO" && !self.allowed.iter().any(|part| line.contains(part)) {
            faults.push("an unexpected warning or error");
        }
        if line.contains(LOOPBACK) {
            faults.push("shows an address");
        }
        if line.contains(REFERENCE) {
            faults.push("shows a reference");
        }
        if line.contains(crate::payload::MARK) || line.contains(METADATA_MARK) {
            faults.push("shows payload or metadata");
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_found_and_expected_warnings_pass() {
        let rules = Rules {
            allowed: vec!["expected".to_owned()],
            secrets: vec!["s3cret".to_owned()],
            unchecked: false,
        };
        for (line, faults) in [
            (r#"{"severity":"INFO","message":"fine"}"#, 0),
            (r#"{"severity":"WARNING","message":"expected here"}"#, 0),
            (r#"{"severity":"WARNING","message":"other"}"#, 1),
            (r#"{"severity":"INFO","message":"peer 127.64.0.1"}"#, 1),
            (r#"{"severity":"DEBUG","message":"peer 127.64.0.1"}"#, 0),
            (r#"{"severity":"DEBUG","message":"s3cret"}"#, 1),
            (r#"{"severity":"ERROR","message":"xdt1.AAAA"}"#, 2),
            ("thread main panicked", 1),
        ] {
            assert_eq!(rules.faults(line).len(), faults, "{line}");
        }
    }
}
