//! Keys from fixed seeds, a sample of each kind of statement, and a forger who can write any text.

use std::fmt::Debug;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use keys::{
    Beacon, Draw, EventId, Front, Id128, Key, Keyring, Lane, LaneFront, Owner, Pass, Phase, Place,
    PollHint, Risk, Role, Sealed, Statement, StockBand, Ticket, Timestamp, Validity,
};
use serde_json::{Value, json};

/// When the samples were issued; in the past for every clock, so that other libraries agree.
pub const ISSUED: Timestamp = Timestamp::from_secs(1_700_000_000);
/// When the tests happen.
pub const NOW: Timestamp = Timestamp::from_secs(1_700_000_100);
/// When the samples end: the first second of 2100.
pub const ENDS: Timestamp = Timestamp::from_secs(4_102_444_800);

/// Signs and verifies all the time that the samples hold.
pub const ALWAYS: Validity = Validity {
    use_from: ISSUED,
    use_until: ENDS,
    valid_until: ENDS.plus_secs(86_400),
    revoked_at: None,
};

/// One of the three keys that sign the samples.
pub fn key(role: Role) -> Key {
    Key::from_seed(&seed(role), role, owner(role), ALWAYS)
}

pub fn seed(role: Role) -> [u8; 32] {
    match role {
        Role::Edge => [1; 32],
        Role::Controller => [2; 32],
        Role::Origin => [3; 32],
    }
}

pub fn owner(role: Role) -> Owner {
    match role {
        Role::Edge => "edge-1".parse().unwrap(),
        Role::Controller => "controller".parse().unwrap(),
        Role::Origin => "origin".parse().unwrap(),
    }
}

pub const ROLES: [Role; 3] = [Role::Edge, Role::Controller, Role::Origin];

/// All three keys.
pub fn keyring() -> Keyring {
    Keyring::new(ROLES.map(key))
}

pub fn event() -> EventId {
    "opening-night".parse().unwrap()
}

pub fn another_event() -> EventId {
    "closing-night".parse().unwrap()
}

/// A kind of statement, with a sample for `event()` that `keyring()` can sign.
pub trait Kind: Statement + Clone + Debug + PartialEq {
    fn sample() -> Self;

    /// The claim that says from when it holds.
    const BEGINS: &str = "iat";
}

impl Kind for Place {
    fn sample() -> Self {
        Self {
            iss: owner(Role::Edge),
            aud: event(),
            sub: Id128::from_bytes([7; 16]),
            lane: Lane::Standard,
            num: 1_234,
            iat: ISSUED,
            exp: ENDS,
            line: 1,
            fpr: "q83vASNFZ4k".into(),
            back: None,
            moves: 0,
        }
    }
}

impl Kind for Pass {
    fn sample() -> Self {
        Self {
            iss: owner(Role::Controller),
            aud: event(),
            sub: Id128::from_bytes([7; 16]),
            jti: Id128::from_bytes([8; 16]),
            iat: ISSUED,
            nbf: ISSUED,
            exp: ENDS,
            lane: Lane::Priority,
            risk: Risk::Medium,
            generation: 3,
            fpr: String::new(),
        }
    }

    const BEGINS: &str = "nbf";
}

impl Kind for Front {
    fn sample() -> Self {
        let lane =
            |lane, f0| LaneFront { lane, f0, pace_milli: 2_500, limit: 9_000, issued: 8_000 };
        Self {
            iss: owner(Role::Controller),
            aud: event(),
            iat: ISSUED,
            exp: ENDS,
            line: 1,
            epoch: 4,
            seq: 99,
            phase: Phase::Open,
            opens_at: None,
            t0: Timestamp::from_millis(1_700_000_000_250),
            until: Timestamp::from_millis(1_700_000_030_250),
            lanes: vec![
                lane(Lane::Priority, 10),
                lane(Lane::Standard, 1_200),
                lane(Lane::Suspect, 0),
            ],
            reason: "the origin answers in 40 ms; it has room – for more".into(),
            draw: Some(Draw::announced(b"", Beacon::None)),
            stock: Some(StockBand::Few),
            poll: PollHint { near_secs: 2, far_secs: 20 },
            message: Some(
                "Doors are open. Boxes 1–4 are sold out. \"Bring a coat\" 🧥\n".repeat(4),
            ),
        }
    }
}

impl Kind for Ticket {
    fn sample() -> Self {
        Self {
            iss: owner(Role::Origin),
            aud: event(),
            sub: Id128::from_bytes([9; 16]),
            seat: "104-C-12".into(),
            iat: ISSUED,
            exp: ENDS,
        }
    }
}

/// The sample, signed as it should be.
pub fn sealed<T: Kind>() -> Sealed<T> {
    keyring().seal(&T::sample(), NOW).unwrap()
}

/// Opens any text as a `T`; what it was refused for, or nothing.
pub fn refusal<T: Kind>(text: &str) -> Option<keys::Refusal> {
    keyring().open(&Sealed::<T>::new(text), &event(), NOW).err()
}

/// The header that a statement of kind `T` should have.
pub fn header<T: Kind>() -> Value {
    json!({ "alg": "EdDSA", "kid": key(T::ROLE).kid, "typ": T::TYP })
}

/// The claims of the sample.
pub fn claims<T: Kind>() -> Value {
    serde_json::to_value(T::sample()).unwrap()
}

pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What a thief of the key can write: any two parts, properly signed.
pub fn sign_parts(header: &str, payload: &str, seed: &[u8; 32]) -> String {
    let signed = format!("{header}.{payload}");
    let signature = SigningKey::from_bytes(seed).sign(signed.as_bytes());
    format!("{signed}.{}", base64url(signature.to_bytes()))
}

/// As [`sign_parts`], for any two texts that need not even be JSON.
pub fn sign(header: &impl ToString, payload: &impl ToString, seed: &[u8; 32]) -> String {
    sign_parts(&base64url(header.to_string()), &base64url(payload.to_string()), seed)
}

/// An empty folder of this test's own.
pub fn folder(test: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
