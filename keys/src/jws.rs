//! Compact JWS, the small part of it that we speak: written one way, read one way.
//!
//! Refusals come in one order, cheapest first, and [`Refusal`]'s variants stand in it: length,
//! shape, header, key, signature, claims, issuer, audience, times. So a forged text costs no more
//! than one signature check, and the same text is refused for the same reason everywhere.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::fields::{EventId, Owner};
use crate::keyring::Role;
use crate::statement::Statement;
use crate::time::Timestamp;

/// Why a statement was refused, in the order in which the reasons are looked for.
///
/// Visitors see none of this: a refused statement counts as none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Longer than the kind's `BYTES_MAX`.
    #[error("statement is {len_bytes} bytes long, the most we read is {max_bytes}")]
    TooLong {
        /// Its length.
        len_bytes: usize,
        /// The bound.
        max_bytes: usize,
    },
    /// Not three parts of unpadded base64url, the last of them 64 bytes.
    #[error("statement is not three parts of unpadded base64url")]
    Malformed,
    /// The header is not a JSON object of exactly `alg`, `kid` and `typ`.
    #[error("header is not an object of just alg, kid and typ")]
    Header,
    /// Another algorithm than EdDSA, `none` included.
    #[error("algorithm is not EdDSA")]
    Algorithm,
    /// A statement of another kind.
    #[error("type is not {expected}")]
    Type {
        /// What was asked for.
        expected: &'static str,
    },
    /// No such key.
    #[error("key {kid:?} is unknown")]
    UnknownKey {
        /// The key id as claimed, cut to 64 characters.
        kid: String,
    },
    /// The key has another role than this kind of statement needs.
    #[error("key {kid:?} has the role {role}, which may not sign this")]
    WrongRole {
        /// The key id.
        kid: String,
        /// Its role.
        role: Role,
    },
    /// The key was revoked or is outside its time.
    #[error("key {kid:?} is revoked or outside its time")]
    KeyNotValid {
        /// The key id.
        kid: String,
    },
    /// The signature does not fit.
    #[error("signature does not fit")]
    Signature,
    /// Signed, but not the claims of this kind: unknown, duplicate, missing or ill-formed.
    #[error("claims are not those of {typ}: {detail}")]
    Claims {
        /// The kind.
        typ: &'static str,
        /// What the parser said; holds no secret, for the text was signed by us.
        detail: String,
    },
    /// `iss` is not the owner of the key.
    #[error("issuer is {issuer} but the key belongs to {owner}")]
    WrongIssuer {
        /// The claim.
        issuer: Owner,
        /// The key's owner.
        owner: Owner,
    },
    /// For another event.
    #[error("statement is for {actual}, not for {expected}")]
    WrongAudience {
        /// The claim.
        actual: EventId,
        /// What was asked for.
        expected: EventId,
    },
    /// Its time has not come, even with the allowed skew of clocks.
    #[error("statement begins at {begins} and it is {now}")]
    NotYet {
        /// From when it holds.
        begins: Timestamp,
        /// The time of the check.
        now: Timestamp,
    },
    /// Its time is over.
    #[error("statement ended at {ended} and it is {now}")]
    Ended {
        /// When it ended.
        ended: Timestamp,
        /// The time of the check.
        now: Timestamp,
    },
}

impl Refusal {
    /// A short name for metrics and logs.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too_long",
            Self::Malformed => "malformed",
            Self::Header => "header",
            Self::Algorithm => "algorithm",
            Self::Type { .. } => "type",
            Self::UnknownKey { .. } => "unknown_key",
            Self::WrongRole { .. } => "wrong_role",
            Self::KeyNotValid { .. } => "key_not_valid",
            Self::Signature => "signature",
            Self::Claims { .. } => "claims",
            Self::WrongIssuer { .. } => "wrong_issuer",
            Self::WrongAudience { .. } => "wrong_audience",
            Self::NotYet { .. } => "not_yet",
            Self::Ended { .. } => "ended",
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}

/// A text whose outer shape and header are those of a `T`; its signature is not yet checked.
pub(crate) struct Parsed<'a> {
    pub kid: String,
    signed: &'a str,
    payload: Vec<u8>,
    signature: Signature,
}

/// Checks length, shape and header.
pub(crate) fn parse<T: Statement>(text: &str) -> Result<Parsed<'_>, Refusal> {
    if text.len() > T::BYTES_MAX {
        return Err(Refusal::TooLong { len_bytes: text.len(), max_bytes: T::BYTES_MAX });
    }
    let (signed, signature) = text.rsplit_once('.').ok_or(Refusal::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(Refusal::Malformed)?;
    let decode = |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed);
    let (header, payload, signature) = (decode(header)?, decode(payload)?, decode(signature)?);
    let signature: [u8; 64] = signature.try_into().map_err(|_| Refusal::Malformed)?;

    let header: Header = read_object(&header).map_err(|_| Refusal::Header)?;
    if header.alg != "EdDSA" {
        return Err(Refusal::Algorithm);
    }
    if header.typ != T::TYP {
        return Err(Refusal::Type { expected: T::TYP });
    }
    Ok(Parsed { kid: header.kid, signed, payload, signature: Signature::from_bytes(&signature) })
}

/// Checks the signature, then reads the claims.
pub(crate) fn verify<T: Statement>(parsed: &Parsed<'_>, key: &VerifyingKey) -> Result<T, Refusal> {
    key.verify_strict(parsed.signed.as_bytes(), &parsed.signature)
        .map_err(|_| Refusal::Signature)?;
    read_object(&parsed.payload).map_err(|e| Refusal::Claims { typ: T::TYP, detail: e.to_string() })
}

/// Reads a JSON object. Left alone, serde would also take an array of the members' values.
fn read_object<T: DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    if json.first() == Some(&b'{') {
        serde_json::from_slice(json)
    } else {
        Err(serde::de::Error::custom("not an object"))
    }
}

/// Writes and signs.
pub(crate) fn seal<T: Statement>(
    claims: &T,
    kid: &str,
    key: &SigningKey,
) -> Result<String, serde_json::Error> {
    let header = Header { alg: "EdDSA".into(), kid: kid.to_owned(), typ: T::TYP.into() };
    let mut text = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header)?);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims)?, &mut text);
    let signature = key.sign(text.as_bytes());
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(signature.to_bytes(), &mut text);
    Ok(text)
}
