//! The values that statements are made of: each is checked where it is constructed.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// Why a value was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// Not a slug of 1 to 64 characters.
    #[error("{what} {value:?} is not 1 to 64 of a-z, 0-9 and -, starting with a letter or digit")]
    NotASlug {
        /// Which field.
        what: &'static str,
        /// What was given, cut to 64 characters.
        value: String,
    },
    /// Not 16 bytes of base64url.
    #[error("id {0:?} is not 22 characters of unpadded base64url")]
    NotAnId(String),
    /// Not a shared secret. What was given is not repeated.
    #[error("a secret is 16 to 256 printable ASCII characters without spaces, this is not")]
    NotASecret,
    /// Not one of the lanes.
    #[error("lane {0:?} is not one of priority, standard, suspect")]
    NotALane(String),
}

fn slug(what: &'static str, text: &str) -> Result<String, FieldError> {
    let is_slug = (1..=64).contains(&text.len())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !text.starts_with('-');
    if is_slug {
        Ok(text.to_owned())
    } else {
        Err(FieldError::NotASlug { what, value: text.chars().take(64).collect() })
    }
}

macro_rules! slug_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The slug as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = FieldError;
            fn from_str(text: &str) -> Result<Self, FieldError> {
                slug($what, text).map(Self)
            }
        }
        impl TryFrom<String> for $name {
            type Error = FieldError;
            fn try_from(text: String) -> Result<Self, FieldError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

slug_type!(
    /// One thing on sale behind one waiting room: a slug of 1 to 64 of `a-z`, `0-9` and `-`.
    EventId,
    "event id"
);
slug_type!(
    /// Who holds a key: an edge's, controller's or origin's name, a slug like [`EventId`].
    Owner,
    "owner"
);

slug_type!(
    /// A name for machines, of whatever: a slug like [`EventId`].
    Slug,
    "slug"
);

/// A random 128-bit id, written as 22 characters of unpadded base64url.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id128([u8; 16]);

impl Id128 {
    /// A fresh id from the operating system's random source.
    ///
    /// # Panics
    /// If the operating system gives no random bytes, which no service can go on without.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        Self(bytes)
    }

    /// From its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Id128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}
impl fmt::Debug for Id128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for Id128 {
    type Err = FieldError;
    fn from_str(text: &str) -> Result<Self, FieldError> {
        let refused = || FieldError::NotAnId(text.chars().take(32).collect());
        if text.len() != 22 {
            return Err(refused());
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| refused())?;
        bytes.try_into().map(Self).map_err(|_| refused())
    }
}
impl TryFrom<String> for Id128 {
    type Error = FieldError;
    fn try_from(text: String) -> Result<Self, FieldError> {
        text.parse()
    }
}
impl From<Id128> for String {
    fn from(id: Id128) -> String {
        id.to_string()
    }
}

/// A numbered line of its own within an event's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Visitors with an access code or an earlier claim to be served.
    Priority,
    /// Everybody else.
    Standard,
    /// Visitors that were judged likely bots: slower, never blocked.
    Suspect,
}

impl Lane {
    /// All lanes, in the order in which they are listed everywhere.
    pub const ALL: [Self; 3] = [Self::Priority, Self::Standard, Self::Suspect];

    /// The name used in statements, metrics and pages.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Priority => "priority",
            Self::Standard => "standard",
            Self::Suspect => "suspect",
        }
    }

    /// Position in [`Lane::ALL`], to index an array by lane.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Priority => 0,
            Self::Standard => 1,
            Self::Suspect => 2,
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
impl FromStr for Lane {
    type Err = FieldError;
    fn from_str(text: &str) -> Result<Self, FieldError> {
        Self::ALL
            .into_iter()
            .find(|lane| lane.label() == text)
            .ok_or_else(|| FieldError::NotALane(text.chars().take(16).collect()))
    }
}

/// How likely a visitor is a bot, as the origin may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// Nothing speaks for a bot.
    Low,
    /// Something does, not enough to act on.
    Medium,
    /// Judged a bot and served in the `suspect` lane.
    High,
}

impl Risk {
    /// The name used in statements and headers.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}
