//! Quantities with their unit in the type, and the one way to write them: `64KiB`, `30s`, `3` retrievals.

use std::{fmt, num::NonZeroU16, str::FromStr, time::Duration};

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteCount(u64);

impl ByteCount {
    /// No bytes.
    pub const ZERO: Self = Self(0);

    /// `bytes` bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// `kib` × 1024 bytes, saturating.
    #[must_use]
    pub const fn kib(kib: u64) -> Self {
        Self(kib.saturating_mul(1 << 10))
    }

    /// `mib` × 1024² bytes, saturating.
    #[must_use]
    pub const fn mib(mib: u64) -> Self {
        Self(mib.saturating_mul(1 << 20))
    }

    /// `gib` × 1024³ bytes, saturating.
    #[must_use]
    pub const fn gib(gib: u64) -> Self {
        Self(gib.saturating_mul(1 << 30))
    }

    /// The plain number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The plain number for sizes of memory, saturating where `usize` is smaller.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl From<usize> for ByteCount {
    fn from(bytes: usize) -> Self {
        Self(bytes as u64)
    }
}

/// The largest unit that divides the number, as [`FromStr`] reads it.
impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            n if n % (1 << 30) == 0 => write!(f, "{}GiB", n >> 30),
            n if n % (1 << 20) == 0 => write!(f, "{}MiB", n >> 20),
            n if n % (1 << 10) == 0 => write!(f, "{}KiB", n >> 10),
            n => write!(f, "{n}"),
        }
    }
}

/// A size that is not a whole number of bytes, `KiB`, `MiB` or `GiB`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a size is a whole number of bytes, or one followed by KiB, MiB or GiB, such as 64KiB")]
pub struct ParseSizeError;

impl FromStr for ByteCount {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, ParseSizeError> {
        let (digits, unit) = split_number(text);
        let shift = match unit {
            "" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err(ParseSizeError),
        };
        let number = digits.parse::<u64>().map_err(|_| ParseSizeError)?;
        number.checked_mul(1 << shift).map(Self).ok_or(ParseSizeError)
    }
}

/// A duration that is not a whole number of `ms`, `s`, `m` or `h`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a duration is a whole number followed by ms, s, m or h, such as 30s, or 0")]
pub struct ParseDurationError;

/// Reads a duration as the contract writes it: `250ms`, `30s`, `10m`, `2h`, or `0`.
///
/// # Errors
/// [`ParseDurationError`] for anything else, also for a number that overflows 64 bits of milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    let (digits, unit) = split_number(text);
    let number = digits.parse::<u64>().map_err(|_| ParseDurationError)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "" if number == 0 => 0,
        _ => return Err(ParseDurationError),
    };
    number
        .checked_mul(millis)
        .map(Duration::from_millis)
        .ok_or(ParseDurationError)
}

fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// How often an object may be retrieved before it is freed: 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Retrievals(NonZeroU16);

impl Retrievals {
    /// One retrieval, the default of every put and the rule for invoke.
    pub const ONE: Self = Self(NonZeroU16::MIN);

    /// `count` retrievals; `None` for zero.
    #[must_use]
    pub fn new(count: u16) -> Option<Self> {
        NonZeroU16::new(count).map(Self)
    }

    /// The plain number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl Default for Retrievals {
    fn default() -> Self {
        Self::ONE
    }
}

impl fmt::Display for Retrievals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number of retrievals outside 1 to 65535, or no number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("retrievals is a whole number from 1 to 65535")]
pub struct RetrievalsError;

impl FromStr for Retrievals {
    type Err = RetrievalsError;

    fn from_str(text: &str) -> Result<Self, RetrievalsError> {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(RetrievalsError);
        }
        text.parse().ok().and_then(Self::new).ok_or(RetrievalsError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_take_binary_units_and_bare_bytes() {
        assert_eq!("64KiB".parse(), Ok(ByteCount::kib(64)));
        assert_eq!("1MiB".parse(), Ok(ByteCount::mib(1)));
        assert_eq!("16GiB".parse(), Ok(ByteCount::gib(16)));
        assert_eq!("1000".parse(), Ok(ByteCount::new(1000)));
        assert_eq!("0".parse(), Ok(ByteCount::ZERO));
    }

    #[test]
    fn sizes_refuse_everything_else() {
        for text in [
            "",
            "KiB",
            "64KB",
            "64 KiB",
            "-1",
            "+1",
            "1.5MiB",
            "64kib",
            "99999999999GiB",
            "٣KiB",
        ] {
            assert_eq!(text.parse::<ByteCount>(), Err(ParseSizeError), "{text:?}");
        }
    }

    #[test]
    fn durations_take_four_units_and_zero() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
    }

    #[test]
    fn durations_refuse_everything_else() {
        for text in [
            "",
            "30",
            "s",
            "1d",
            "1.5s",
            "-1s",
            "30 s",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(parse_duration(text), Err(ParseDurationError), "{text:?}");
        }
    }

    #[test]
    fn retrievals_run_from_one_to_65535() {
        assert_eq!("1".parse(), Ok(Retrievals::ONE));
        assert_eq!("65535".parse::<Retrievals>().map(Retrievals::get), Ok(65535));
        for text in ["0", "65536", "", "-1", "+1", "1.0", " 1"] {
            assert_eq!(text.parse::<Retrievals>(), Err(RetrievalsError), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_size_reads_back(bytes: u64) {
            let size = ByteCount::new(bytes);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }
    }
}
