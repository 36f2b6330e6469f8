//! Does a gateway really say this? Checks the signature of a webhook and reads what it is about.
//!
//! The signature covers the time and the body as it came, byte for byte. While a secret is being
//! replaced there are several, and the sender may sign with several as well: one pair that fits
//! is enough. A webhook is a hint that something happened; what happened, we ask the gateway.

use hmac::{Hmac, KeyInit as _, Mac as _};
use keys::{EventId, Id128, Secret, Timestamp};
use serde::Deserialize;
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq as _};

/// A signature made longer ago than this, or as far in the future, is refused.
const TOLERANCE_SECS: u64 = 300;
/// Signatures in one header that are looked at.
const SIGNATURES_MAX: usize = 8;
/// Longest id of a webhook that we remember.
const ID_BYTES_MAX: usize = 128;

/// Why a webhook was refused. The sender learns nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// The header is not `t=…,v1=…`.
    #[error("the signature header cannot be read")]
    Header,
    /// It was made too long ago, or in the future.
    #[error("the signature is {off_secs} seconds off, expected at most {TOLERANCE_SECS}")]
    Time {
        /// How far.
        off_secs: u64,
    },
    /// None of the signatures is made with one of our secrets.
    #[error("no signature fits the body")]
    Signature,
    /// The body is not an event.
    #[error("the body is not an event: {0}")]
    Body(String),
}

/// What a webhook is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its id: the same one may come many times.
    pub id: String,
    /// Which authorisation, if it is one of ours.
    pub about: Option<About>,
}

/// Which authorisation a webhook is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The event on sale.
    pub event: EventId,
    /// The order.
    pub order: Id128,
    /// Which request for it.
    pub number: u32,
    /// The gateway's name for it.
    pub reference: String,
}

/// Believes a webhook, or not.
///
/// # Errors
/// Why not.
pub fn open(
    body: &[u8],
    header: &str,
    secrets: &[Secret],
    now: Timestamp,
) -> Result<Notice, WebhookError> {
    verify(body, header, secrets, now)?;
    read(body)
}

/// Which event a webhook is about, before anybody knows whether to believe it: a way to whoever
/// does.
#[must_use]
pub fn event_of(body: &[u8]) -> Option<EventId> {
    #[derive(Deserialize)]
    struct Body {
        data: DataBody,
    }
    let Body { data } = serde_json::from_slice(body).ok()?;
    data.object.metadata.event.parse().ok()
}

fn verify(
    body: &[u8],
    header: &str,
    secrets: &[Secret],
    now: Timestamp,
) -> Result<(), WebhookError> {
    let parts = || header.split(',').filter_map(|part| part.trim().split_once('='));
    let made = parts().find(|(name, _)| *name == "t").ok_or(WebhookError::Header)?.1;
    let made_secs: u64 = made.parse().map_err(|_| WebhookError::Header)?;
    let signatures: Vec<[u8; 32]> = parts()
        .filter(|(name, _)| *name == "v1")
        .take(SIGNATURES_MAX)
        .filter_map(|(_, hex)| from_hex(hex))
        .collect();
    let mut fits = Choice::from(0);
    for secret in secrets {
        let expected = signature(secret, made, body);
        for signature in &signatures {
            fits |= expected.ct_eq(signature);
        }
    }
    if !bool::from(fits) {
        return Err(WebhookError::Signature);
    }
    let off_secs = now.as_secs().abs_diff(made_secs);
    if off_secs > TOLERANCE_SECS { Err(WebhookError::Time { off_secs }) } else { Ok(()) }
}

fn signature(secret: &Secret, made: &str, body: &[u8]) -> [u8; 32] {
    let mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes());
    let mut mac = mac.expect("HMAC takes keys of any length");
    mac.update(made.as_bytes());
    mac.update(b".");
    mac.update(body);
    mac.finalize().into_bytes().into()
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[derive(Deserialize)]
struct EventBody {
    id: String,
    data: DataBody,
}

#[derive(Deserialize)]
struct DataBody {
    object: ObjectBody,
}

#[derive(Deserialize)]
struct ObjectBody {
    #[serde(default)]
    object: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    metadata: MetadataBody,
}

/// What we told the gateway to keep with an authorisation.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct MetadataBody {
    #[serde(default)]
    event: String,
    #[serde(default)]
    payment: String,
}

impl MetadataBody {
    /// The authorisation that these name, if they are ours.
    pub(super) fn about(&self, reference: &str) -> Option<About> {
        let (order, number) = self.payment.rsplit_once(':')?;
        Some(About {
            event: self.event.parse().ok()?,
            order: order.parse().ok()?,
            number: number.parse().ok()?,
            reference: reference.to_owned(),
        })
    }
}

fn read(body: &[u8]) -> Result<Notice, WebhookError> {
    let event: EventBody =
        serde_json::from_slice(body).map_err(|error| WebhookError::Body(error.to_string()))?;
    if event.id.is_empty() || event.id.len() > ID_BYTES_MAX {
        return Err(WebhookError::Body("expected an id of 1 to 128 bytes".to_owned()));
    }
    let ObjectBody { object, id, metadata } = event.data.object;
    let about = metadata.about(&id).filter(|_| object == "payment_intent");
    Ok(Notice { id: event.id, about })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const BODY: &str = r#"{"id":"evt_1","object":"event","data":{"object":{"id":"pi_1",
        "object":"payment_intent","metadata":{"event":"final","payment":"AAAAAAAAAAAAAAAAAAAAAA:2"}}}}"#;

    fn secret(text: &str) -> Secret {
        Secret::try_from(text.to_owned()).unwrap()
    }

    fn signed(secret: &Secret, at_secs: u64, body: &str) -> String {
        let made = at_secs.to_string();
        let hex: String =
            signature(secret, &made, body.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        format!("t={made},v1={hex}")
    }

    #[test]
    fn a_signature_of_somebody_else_of_another_body_or_of_another_time_is_refused() {
        let (old, new) = (secret("whsec_of_yesterday"), secret("whsec_of_today_12"));
        let other = secret("whsec_of_somebody");
        let now = NOW.as_secs();
        let both = [old.clone(), new.clone()];
        let fits = |header: &str, body: &str| verify(body.as_bytes(), header, &both, NOW);
        let refused = Err(WebhookError::Signature);
        let off = |off_secs| Err(WebhookError::Time { off_secs });
        assert_eq!(fits(&signed(&old, now, BODY), BODY), Ok(()));
        assert_eq!(fits(&signed(&new, now, BODY), BODY), Ok(()));
        assert_eq!(fits(&signed(&new, now - 300, BODY), BODY), Ok(()));
        assert_eq!(fits(&signed(&new, now - 301, BODY), BODY), off(301));
        assert_eq!(fits(&signed(&new, now + 301, BODY), BODY), off(301));
        assert_eq!(fits(&signed(&other, now, BODY), BODY), refused);
        assert_eq!(fits(&signed(&new, now, BODY), &BODY.replace("pi_1", "pi_2")), refused);
        let rotated = format!("{},{}", signed(&other, now, BODY), &signed(&new, now, BODY)[13..]);
        assert_eq!(fits(&rotated, BODY), Ok(()), "one of two signatures fits: {rotated}");
        let moved = signed(&new, now - 400, BODY).replace("t=1799999600", "t=1800000000");
        assert_eq!(fits(&moved, BODY), refused, "the time is signed");
        for header in ["", "v1=00", "t=now,v1=00", "t"] {
            assert_eq!(fits(header, BODY), Err(WebhookError::Header), "{header:?}");
        }
        assert_eq!(fits("t=1800000000,v1=zz,v0=00", BODY), refused);
        assert_eq!(verify(BODY.as_bytes(), &signed(&new, now, BODY), &[], NOW), refused);
    }

    #[test]
    fn what_is_not_ours_is_read_and_left_alone() {
        let about = read(BODY.as_bytes()).unwrap().about.unwrap();
        assert_eq!((about.event.as_str(), about.number), ("final", 2));
        assert_eq!(about.reference, "pi_1");
        for body in [
            BODY.replace("\"payment_intent\"", "\"charge\""),
            BODY.replace("AAAAAAAAAAAAAAAAAAAAAA:2", "somebody-elses"),
            BODY.replace("\"final\"", "\"No Slug\""),
        ] {
            assert_eq!(read(body.as_bytes()).unwrap().about, None, "{body}");
        }
        assert!(read(b"{}").is_err() && read(b"[").is_err());
    }
}
