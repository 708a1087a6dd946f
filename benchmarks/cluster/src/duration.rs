//! Durations as people write them: `500ms`, `30s`, `5m`, `1h`.
//!
//! Used by the YAML reader and the command line; the same spelling as the sidecar's variables. A bare number is refused,
//! because nobody can tell its unit.

use std::time::Duration;

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a duration: write a whole number and `ms`, `s`, `m` or `h`, such as `30s`")]
pub struct DurationError {
    /// The text as given.
    pub text: String,
}

/// Reads a duration such as `250ms`, `30s`, `5m` or `1h`.
/// # Errors
/// [`DurationError`] without a unit, with a fraction, or beyond 64 bits of milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    read(text.trim()).ok_or_else(|| DurationError { text: text.to_owned() })
}

fn read(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(unit_at);
    let factor: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(digits.parse::<u64>().ok()?.checked_mul(factor)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        for (text, millis) in [
            ("0s", 0),
            ("250ms", 250),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_has_no_clear_meaning_is_refused() {
        for text in ["", "30", "s", "1.5s", "-1s", "1 s", "1d", "99999999999999999999s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
