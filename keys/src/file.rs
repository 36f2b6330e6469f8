//! A keyring as a JSON Web Key Set (RFC 7517, RFC 8037): on disk with secrets, on the wire without.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::fields::Owner;
use crate::keyring::{Key, Keyring, Role, Validity};
use crate::time::Timestamp;

/// Longest key file that is read, in bytes: a few hundred keys.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a key file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It could not be read or written.
    #[error("key file {path} cannot be read or written")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It is not a JWK Set as we write them.
    #[error("key file {path} is not a key set as `keys make` writes it")]
    Json {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// It is larger than any key file of ours.
    #[error("key file {path} is {len_bytes} bytes long, the most we read is {FILE_BYTES_MAX}")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        len_bytes: u64,
    },
    /// One of its keys is not sound.
    #[error("key {kid:?}: {why}")]
    Key {
        /// The key id.
        kid: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No such key in the file.
    #[error("no key {0:?} in the file")]
    NoSuchKey(String),
}

/// A key set as it is written.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Jwks {
    /// The keys.
    pub keys: Vec<Jwk>,
}

/// One key as it is written. Members with `wr_` are ours; a JOSE library ignores them.
#[derive(Clone, Serialize, Deserialize)]
pub struct Jwk {
    kty: String,
    crv: String,
    alg: String,
    #[serde(rename = "use")]
    usage: String,
    /// RFC 7638 thumbprint.
    pub kid: String,
    x: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    d: Option<Zeroizing<String>>,
    wr_role: Role,
    wr_owner: Owner,
    wr_use_from: u64,
    wr_use_until: u64,
    wr_valid_until: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wr_revoked_at: Option<u64>,
}

impl std::fmt::Debug for Jwk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Jwk({} {} {} d: ***)", self.kid, self.wr_role, self.wr_owner)
    }
}

impl Key {
    /// A fresh key pair.
    ///
    /// # Panics
    /// If the operating system gives no random bytes.
    #[must_use]
    pub fn generate(role: Role, owner: Owner, validity: Validity) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).expect("the operating system gives random bytes");
        Self::from_seed(&seed, role, owner, validity)
    }

    /// The key pair of a 32-byte seed, for frozen vectors.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32], role: Role, owner: Owner, validity: Validity) -> Self {
        let signing = SigningKey::from_bytes(seed);
        let verifying = signing.verifying_key();
        let kid = thumbprint(&verifying);
        Self { kid, role, owner, validity, verifying, signing: Some(signing) }
    }

    fn to_jwk(&self, with_secret: bool) -> Jwk {
        let secret = self.signing.as_ref().filter(|_| with_secret);
        Jwk {
            kty: "OKP".into(),
            crv: "Ed25519".into(),
            alg: "EdDSA".into(),
            usage: "sig".into(),
            kid: self.kid.clone(),
            x: URL_SAFE_NO_PAD.encode(self.verifying.as_bytes()),
            d: secret.map(|key| Zeroizing::new(URL_SAFE_NO_PAD.encode(key.to_bytes()))),
            wr_role: self.role,
            wr_owner: self.owner.clone(),
            wr_use_from: self.validity.use_from.as_secs(),
            wr_use_until: self.validity.use_until.as_secs(),
            wr_valid_until: self.validity.valid_until.as_secs(),
            wr_revoked_at: self.validity.revoked_at.map(Timestamp::as_secs),
        }
    }
}

impl TryFrom<Jwk> for Key {
    type Error = KeyFileError;

    fn try_from(jwk: Jwk) -> Result<Self, KeyFileError> {
        let refused = |why| KeyFileError::Key { kid: jwk.kid.chars().take(64).collect(), why };
        if (jwk.kty.as_str(), jwk.crv.as_str(), jwk.alg.as_str()) != ("OKP", "Ed25519", "EdDSA") {
            return Err(refused("kty, crv and alg are not OKP, Ed25519 and EdDSA"));
        }
        let bytes = decode_32(&jwk.x).ok_or_else(|| refused("x is not 32 bytes of base64url"))?;
        let verifying = VerifyingKey::from_bytes(&bytes)
            .map_err(|_| refused("x is not a point of the curve"))?;
        if verifying.is_weak() {
            return Err(refused("x is a weak point of the curve"));
        }
        let signing = match &jwk.d {
            None => None,
            Some(d) => {
                let seed = Zeroizing::new(
                    decode_32(d).ok_or_else(|| refused("d is not 32 bytes of base64url"))?,
                );
                Some(SigningKey::from_bytes(&seed))
            }
        };
        if signing.as_ref().is_some_and(|signing| signing.verifying_key() != verifying) {
            return Err(refused("d is not the secret half of x"));
        }
        if jwk.kid != thumbprint(&verifying) {
            return Err(refused("kid is not the RFC 7638 thumbprint of the key"));
        }
        let validity = Validity {
            use_from: Timestamp::from_secs(jwk.wr_use_from),
            use_until: Timestamp::from_secs(jwk.wr_use_until),
            valid_until: Timestamp::from_secs(jwk.wr_valid_until),
            revoked_at: jwk.wr_revoked_at.map(Timestamp::from_secs),
        };
        if !(validity.use_from < validity.use_until && validity.use_until <= validity.valid_until) {
            return Err(refused("times are not use_from < use_until <= valid_until"));
        }
        Ok(Self {
            kid: jwk.kid,
            role: jwk.wr_role,
            owner: jwk.wr_owner,
            validity,
            verifying,
            signing,
        })
    }
}

impl Keyring {
    /// Reads a key file.
    ///
    /// # Errors
    /// If it cannot be read, is too long, is not a key set, or holds an unsound key.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let io = |source| KeyFileError::Io { path: path.to_owned(), source };
        let len_bytes = fs::metadata(path).map_err(io)?.len();
        if len_bytes > FILE_BYTES_MAX {
            return Err(KeyFileError::TooLong { path: path.to_owned(), len_bytes });
        }
        let text = Zeroizing::new(fs::read_to_string(path).map_err(io)?);
        let jwks: Jwks = serde_json::from_str(&text)
            .map_err(|source| KeyFileError::Json { path: path.to_owned(), source })?;
        Self::from_jwks(jwks)
    }

    /// Writes the key file, secrets included, readable by its owner only; the old file is replaced
    /// in one step.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), KeyFileError> {
        let io = |source| KeyFileError::Io { path: path.to_owned(), source };
        let json = |source| KeyFileError::Json { path: path.to_owned(), source };
        let jwks = Jwks { keys: self.keys().map(|key| key.to_jwk(true)).collect() };
        let text = Zeroizing::new(serde_json::to_string_pretty(&jwks).map_err(json)?);
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        // A left-over from a crash would keep its old mode.
        let _ = fs::remove_file(&beside);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)
            .map_err(io)?;
        file.write_all(text.as_bytes()).map_err(io)?;
        file.sync_all().map_err(io)?;
        fs::rename(&beside, path).map_err(io)
    }

    /// From a key set.
    ///
    /// # Errors
    /// If one of its keys is not sound, or there twice.
    pub fn from_jwks(jwks: Jwks) -> Result<Self, KeyFileError> {
        let mut keyring = Self::default();
        for jwk in jwks.keys {
            let key = Key::try_from(jwk)?;
            if keyring.key_mut(&key.kid).is_some() {
                return Err(KeyFileError::Key { kid: key.kid, why: "the key is there twice" });
            }
            keyring.add(key);
        }
        Ok(keyring)
    }

    /// The public halves, as services publish them.
    #[must_use]
    pub fn public_jwks(&self) -> Jwks {
        Jwks { keys: self.keys().map(|key| key.to_jwk(false)).collect() }
    }

    /// Makes a successor for every signing key that will be in use at `at`: it signs from then on,
    /// and the old one signs no more and verifies for `overlap_secs`. Returns the new ids.
    ///
    /// `at` lies ahead by as long as it takes to tell everybody who verifies: a key that signs
    /// before the others know it makes statements that they refuse. A key that begins at `at` or
    /// later is left alone, for it would have had no time at all.
    pub fn roll(&mut self, at: Timestamp, use_secs: u64, overlap_secs: u64) -> Vec<String> {
        // Key files count whole seconds; with a fraction, a young key could end as it began there.
        let at = at.floor_to_secs();
        let old: Vec<Key> = self
            .keys()
            .filter(|key| key.can_sign() && key.validity.revoked_at.is_none())
            .filter(|key| key.validity.use_from < at && at < key.validity.use_until)
            .cloned()
            .collect();
        let mut made = Vec::new();
        for key in old {
            if let Some(known) = self.key_mut(&key.kid) {
                known.validity.use_until = at;
                known.validity.valid_until = at.plus_secs(overlap_secs);
            }
            let validity = Validity {
                use_from: at,
                use_until: at.plus_secs(use_secs),
                valid_until: at.plus_secs(use_secs).plus_secs(overlap_secs),
                revoked_at: None,
            };
            let successor = Key::generate(key.role, key.owner, validity);
            made.push(successor.kid.clone());
            self.add(successor);
        }
        made
    }

    /// Marks a key revoked from `now` on.
    ///
    /// # Errors
    /// If there is no such key.
    pub fn revoke(&mut self, kid: &str, now: Timestamp) -> Result<(), KeyFileError> {
        let key = self.key_mut(kid).ok_or_else(|| KeyFileError::NoSuchKey(kid.to_owned()))?;
        key.validity.revoked_at.get_or_insert(now);
        Ok(())
    }
}

fn decode_32(text: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

/// RFC 7638: SHA-256 over the required members in lexical order.
fn thumbprint(key: &VerifyingKey) -> String {
    let x = URL_SAFE_NO_PAD.encode(key.as_bytes());
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(Sha256::digest(canonical))
}
