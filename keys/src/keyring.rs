//! Which key may sign or verify what, and when.
//!
//! A key has one role and one owner for life. It signs between `use_from` and `use_until` and
//! goes on verifying until `valid_until`, so that statements outlive the roll of their key.

use std::collections::BTreeMap;
use std::fmt;

use ed25519_dalek::{SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::fields::{EventId, Owner};
use crate::jws::{self, Refusal};
use crate::sealed::{Sealed, Verified};
use crate::statement::Statement;
use crate::time::Timestamp;

/// How far the clocks of two of our machines may differ before statements "from the future" are
/// refused, in seconds.
pub const SKEW_SECS: u64 = 30;

/// What a key may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Places.
    Edge,
    /// Fronts and passes.
    Controller,
    /// Tickets.
    Origin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Edge => "edge",
            Self::Controller => "controller",
            Self::Origin => "origin",
        })
    }
}

/// The times of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Signs from here (inclusive).
    pub use_from: Timestamp,
    /// Signs until here (exclusive).
    pub use_until: Timestamp,
    /// Verifies until here (exclusive).
    pub valid_until: Timestamp,
    /// Neither signs nor verifies from here on.
    pub revoked_at: Option<Timestamp>,
}

impl Validity {
    fn may_sign(&self, now: Timestamp) -> bool {
        self.use_from <= now && now < self.use_until && !self.is_revoked(now)
    }

    fn may_verify(&self, now: Timestamp) -> bool {
        self.use_from <= now.plus_secs(SKEW_SECS) && now < self.valid_until && !self.is_revoked(now)
    }

    fn is_revoked(&self, now: Timestamp) -> bool {
        self.revoked_at.is_some_and(|at| at <= now)
    }
}

/// One key: always its public half, and for its owner the secret half as well.
#[derive(Clone)]
pub struct Key {
    /// RFC 7638 thumbprint of the public half.
    pub kid: String,
    /// The one role it has.
    pub role: Role,
    /// Whose it is; equals `iss` of what it signs.
    pub owner: Owner,
    /// When it may be used.
    pub validity: Validity,
    pub(crate) verifying: VerifyingKey,
    pub(crate) signing: Option<SigningKey>,
}

impl Key {
    /// Whether the secret half is here.
    #[must_use]
    pub fn can_sign(&self) -> bool {
        self.signing.is_some()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = if self.can_sign() { "***" } else { "none" };
        write!(f, "Key({} {} {} secret: {secret})", self.kid, self.role, self.owner)
    }
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// No key for it at this time.
    #[error("no key of {owner} with the role {role} may sign at {now}")]
    NoKey {
        /// Who wanted to sign.
        owner: Owner,
        /// As what.
        role: Role,
        /// When.
        now: Timestamp,
    },
    /// The text would be longer than anybody reads.
    #[error(
        "statement of {len_bytes} bytes is not signed, for the most that is read is {max_bytes}"
    )]
    TooLong {
        /// How long it would be.
        len_bytes: usize,
        /// The kind's `BYTES_MAX`.
        max_bytes: usize,
    },
    /// The claims could not be written as JSON.
    #[error("claims cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// Nobody would believe it now.
    #[error("statement is not signed, for it does not hold now")]
    NotInForce(#[source] Refusal),
}

/// The keys that one service knows.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    keys: BTreeMap<String, Key>,
}

impl Keyring {
    /// A keyring of these keys; a later key with the same id replaces an earlier one.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Self {
        Self { keys: keys.into_iter().map(|key| (key.kid.clone(), key)).collect() }
    }

    /// All keys, by id.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.values()
    }

    /// Changes a key's times, if it is here.
    pub(crate) fn key_mut(&mut self, kid: &str) -> Option<&mut Key> {
        self.keys.get_mut(kid)
    }

    /// Adds a key; if it is known, its times are updated, and neither a secret half nor a
    /// revocation is ever lost: an old copy of a key set must not bring a stolen key back.
    pub fn add(&mut self, key: Key) {
        match self.keys.get_mut(&key.kid) {
            Some(known) => {
                let revoked_at =
                    known.validity.revoked_at.into_iter().chain(key.validity.revoked_at).min();
                known.validity = Validity { revoked_at, ..key.validity };
                known.signing = key.signing.or_else(|| known.signing.take());
            }
            None => {
                self.keys.insert(key.kid.clone(), key);
            }
        }
    }

    /// The owner of the keys that can sign with this role, if there is just one.
    #[must_use]
    pub fn owner_of(&self, role: Role) -> Option<&Owner> {
        let mut owners = self.keys().filter(|k| k.role == role && k.can_sign()).map(|k| &k.owner);
        let first = owners.next()?;
        owners.all(|owner| owner == first).then_some(first)
    }

    /// Signs `claims` with the newest key of its issuer that may.
    ///
    /// # Errors
    /// If no key of `claims.issuer()` with the kind's role may sign at `now`, or the text would be
    /// too long to be read.
    pub fn seal<T: Statement>(&self, claims: &T, now: Timestamp) -> Result<Sealed<T>, SignError> {
        let newest = self
            .keys()
            .filter(|key| key.role == T::ROLE && key.owner == *claims.issuer())
            .filter(|key| key.validity.may_sign(now))
            .filter_map(|key| key.signing.as_ref().map(|signing| (key, signing)))
            .max_by_key(|(key, _)| key.validity.use_from);
        let Some((key, signing)) = newest else {
            return Err(SignError::NoKey { owner: claims.issuer().clone(), role: T::ROLE, now });
        };
        let text = jws::seal(claims, &key.kid, signing)?;
        if text.len() > T::BYTES_MAX {
            return Err(SignError::TooLong { len_bytes: text.len(), max_bytes: T::BYTES_MAX });
        }
        Ok(Sealed::new(text))
    }

    /// As [`Keyring::seal`]; the claims come back as verified, for what was signed here just now needs
    /// no check of its signature.
    ///
    /// # Errors
    /// The same, and if the claims do not hold at `now`.
    pub fn seal_own<T: Statement>(
        &self,
        claims: T,
        now: Timestamp,
    ) -> Result<(Sealed<T>, Verified<T>), SignError> {
        let sealed = self.seal(&claims, now)?;
        Ok((sealed, Self::in_time(claims, now).map_err(SignError::NotInForce)?))
    }

    /// Checks a statement for `audience` at `now`, in the order of [`Refusal`]'s variants.
    ///
    /// # Errors
    /// The first reason to refuse it.
    pub fn open<T: Statement>(
        &self,
        sealed: &Sealed<T>,
        audience: &EventId,
        now: Timestamp,
    ) -> Result<Verified<T>, Refusal> {
        let claims = self.open_any(sealed, now)?;
        if claims.audience() != audience {
            return Err(Refusal::WrongAudience {
                actual: claims.audience().clone(),
                expected: audience.clone(),
            });
        }
        Self::in_time(claims, now)
    }

    /// As [`Keyring::open`] for whoever learns the event from the statement itself.
    ///
    /// # Errors
    /// The first reason to refuse it.
    pub fn open_for_any_event<T: Statement>(
        &self,
        sealed: &Sealed<T>,
        now: Timestamp,
    ) -> Result<Verified<T>, Refusal> {
        let claims = self.open_any(sealed, now)?;
        Self::in_time(claims, now)
    }

    fn open_any<T: Statement>(&self, sealed: &Sealed<T>, now: Timestamp) -> Result<T, Refusal> {
        let parsed = jws::parse::<T>(sealed.as_str())?;
        let kid = || parsed.kid.chars().take(64).collect::<String>();
        let key = self.keys.get(&parsed.kid).ok_or_else(|| Refusal::UnknownKey { kid: kid() })?;
        if key.role != T::ROLE {
            return Err(Refusal::WrongRole { kid: kid(), role: key.role });
        }
        if !key.validity.may_verify(now) {
            return Err(Refusal::KeyNotValid { kid: kid() });
        }
        let claims: T = jws::verify(&parsed, &key.verifying)?;
        if *claims.issuer() != key.owner {
            return Err(Refusal::WrongIssuer {
                issuer: claims.issuer().clone(),
                owner: key.owner.clone(),
            });
        }
        Ok(claims)
    }

    fn in_time<T: Statement>(claims: T, now: Timestamp) -> Result<Verified<T>, Refusal> {
        let (begins, ended) = claims.times();
        if now.plus_secs(SKEW_SECS) < begins {
            return Err(Refusal::NotYet { begins, now });
        }
        if now >= ended {
            return Err(Refusal::Ended { ended, now });
        }
        Ok(Verified::new(claims))
    }
}
