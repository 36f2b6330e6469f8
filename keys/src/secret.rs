//! Shared secrets from configuration: bounded, and never printed.

use std::fmt;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::fields::FieldError;

/// A token or other shared secret: 16 to 256 printable ASCII characters, so that it cannot be
/// guessed and fits into a header field. It prints as `***`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The text itself, for whoever sends or compares it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl TryFrom<String> for Secret {
    type Error = FieldError;
    fn try_from(text: String) -> Result<Self, FieldError> {
        let text = Zeroizing::new(text);
        let fits = (16..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if fits { Ok(Self(text)) } else { Err(FieldError::NotASecret) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_bounded_and_never_printed() {
        let secret = Secret::try_from("sixteen-letters!".to_owned()).unwrap();
        assert_eq!(format!("{secret:?}"), "***");
        for text in ["fifteen-letter!", "with a space in it", "\u{fc}ber-sixteen-letters", ""] {
            let error = Secret::try_from(text.to_owned()).unwrap_err();
            assert!(!error.to_string().contains("letter"), "{error}");
        }
    }
}
