//! Variables that the controller never sets and that telemetry libraries honour wherever somebody sets them: `OTEL_*`,
//! `METRICS_PROMETHEUS_*`, and the pod's name (contract of the queue-proxy, section 1.2).

use std::collections::BTreeMap;

/// What of the environment is kept for telemetry.
const PREFIXES: [&str; 2] = ["OTEL_", "METRICS_PROMETHEUS_"];
const NAMES: [&str; 2] = ["POD_NAME", "HOSTNAME"];

/// Those variables, as given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ambient(BTreeMap<String, String>);

impl Ambient {
    /// Keeps what telemetry reads.
    pub fn of<'v>(variables: impl IntoIterator<Item = (&'v String, &'v String)>) -> Self {
        let kept = |name: &str| NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        let variables = variables.into_iter().filter(|(name, _)| kept(name));
        Self(variables.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// What is set, and not to nothing.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The pod's name as the libraries find it.
    #[must_use]
    pub fn pod(&self) -> &str {
        NAMES.iter().find_map(|name| self.get(name)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_telemetry_variables_are_kept_and_nothing_is_not_set() {
        let variables: BTreeMap<String, String> = [
            ("OTEL_A", "1"),
            ("OTEL_B", ""),
            ("HOME", "x"),
            ("HOSTNAME", "h"),
            ("OTEL_C", "soon"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let ambient = Ambient::of(&variables);
        assert_eq!(ambient.get("OTEL_A"), Some("1"));
        assert_eq!(ambient.get("OTEL_B"), None);
        assert_eq!(ambient.get("HOME"), None);
        assert_eq!(ambient.pod(), "h");
    }
}
