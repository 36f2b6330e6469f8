//! Unverified text and verified statement are different types.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// Text that claims to be a statement `T`. Nothing in it may be believed yet.
///
/// It prints as `***`: whoever holds a place or a pass can use it, so neither belongs in a log.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed<T> {
    text: String,
    #[serde(skip)]
    claims: PhantomData<fn() -> T>,
}

impl<T> Sealed<T> {
    /// Takes any text; [`crate::Keyring::open`] is what bounds and checks it.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), claims: PhantomData }
    }

    /// The text as it travels in a cookie, header or document.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl<T> fmt::Debug for Sealed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(***)")
    }
}

/// A statement whose signature, type, audience and times were checked. Made by
/// [`crate::Keyring::open`] only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    claims: T,
}

impl<T> Verified<T> {
    pub(crate) fn new(claims: T) -> Self {
        Self { claims }
    }

    /// Gives the claims away.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.claims
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.claims
    }
}
