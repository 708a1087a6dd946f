//! The form of a reference. What is sealed inside is the queue-proxy's secret (`queue-proxy/src/trust/reference.rs`).

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

/// An opaque string that stands for one object; fits one HTTP header. Contract, section 6.
///
/// A value of this type has the right form (prefix, alphabet, length); whether it is authentic only a queue-proxy can
/// tell. `Display` prints the whole string, which is what travels; `Debug` prints a short digest, which is what may be
/// logged.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Reference(String);

impl Reference {
    /// What every reference begins with: the format and its version.
    pub const PREFIX: &str = "xdt1.";
    /// Longest reference, in characters.
    pub const MAX_LEN: usize = 256;

    /// Makes a reference from sealed bytes; `None` if they are too many for [`Self::MAX_LEN`].
    #[must_use]
    pub fn from_sealed(sealed: &[u8]) -> Option<Self> {
        let text = format!("{}{}", Self::PREFIX, URL_SAFE_NO_PAD.encode(sealed));
        (text.len() <= Self::MAX_LEN).then_some(Self(text))
    }

    /// The sealed bytes.
    #[must_use]
    pub fn to_sealed(&self) -> Vec<u8> {
        // The form was checked when the value was made, so the fallback is never taken.
        URL_SAFE_NO_PAD
            .decode(&self.0[Self::PREFIX.len()..])
            .unwrap_or_default()
    }

    /// The string that travels in a header, a message or a file name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Eight hexadecimal digits that tell references apart in a log and cannot be used in their place.
    #[must_use]
    pub fn digest(&self) -> String {
        let hash = Sha256::digest(self.0.as_bytes());
        format!("{:02x}{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2], hash[3])
    }
}

impl AsRef<str> for Reference {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reference({})", self.digest())
    }
}

/// A string that is no reference; the same text whatever was wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the reference is not valid")]
pub struct ReferenceFormError;

impl FromStr for Reference {
    type Err = ReferenceFormError;

    fn from_str(text: &str) -> Result<Self, ReferenceFormError> {
        let sealed = text.strip_prefix(Self::PREFIX).ok_or(ReferenceFormError)?;
        if text.len() > Self::MAX_LEN || sealed.is_empty() {
            return Err(ReferenceFormError);
        }
        // Decoding also refuses non-canonical endings, so that one object never has two spellings.
        URL_SAFE_NO_PAD.decode(sealed).map_err(|_| ReferenceFormError)?;
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn debug_hides_the_reference() {
        let reference = Reference::from_sealed(&[7; 100]).expect("short enough");
        let text = format!("{reference:?}");
        assert_eq!(text.len(), "Reference(01234567)".len());
        assert!(!text.contains(&reference.as_str()[5..20]));
    }

    #[test]
    fn other_forms_are_refused() {
        let long = format!("xdt1.{}", "A".repeat(252));
        for text in [
            "",
            "xdt1.",
            "xdt2.AAAA",
            "AAAA",
            "xdt1.AA=",
            "xdt1.A A",
            "xdt1.AB",
            "xdt1.A",
            "xdt1.ä",
            &long,
        ] {
            assert_eq!(text.parse::<Reference>(), Err(ReferenceFormError), "{text:?}");
        }
    }

    #[test]
    fn sealed_bytes_over_the_limit_are_refused() {
        assert!(Reference::from_sealed(&[0; 188]).is_some());
        assert!(Reference::from_sealed(&[0; 189]).is_none());
    }

    proptest! {
        #[test]
        fn a_reference_reads_back(sealed in proptest::collection::vec(any::<u8>(), 1..=188)) {
            let reference = Reference::from_sealed(&sealed).expect("188 bytes fit");
            prop_assert!(reference.as_str().len() <= Reference::MAX_LEN);
            let back: Reference = reference.as_str().parse().expect("own form");
            prop_assert_eq!(back.to_sealed(), sealed);
        }

        #[test]
        fn any_text_parses_or_is_refused(text in "\\PC*") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.as_str(), text);
            }
        }
    }
}
