//! Is a key file written safely, read back as it was, and refused when it is not sound?

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use keys::{Jwks, Key, KeyFileError, Keyring, Place, Role};
use serde_json::{Value, json};

use crate::support::{ALWAYS, Kind, NOW, base64url, event, folder, key, keyring, owner, seed};

#[test]
fn a_key_file_is_read_back_as_it_was_written() {
    let path = folder("read_back").join("keys.json");
    let mut ring = keyring();
    ring.revoke(&key(Role::Origin).kid, NOW).unwrap();
    ring.add(
        Keyring::from_jwks(other_edge().public_jwks()).unwrap().keys().next().unwrap().clone(),
    );
    ring.save(&path).unwrap();

    let read = Keyring::load(&path).unwrap();
    assert_eq!(read.keys().count(), 4);
    for (before, after) in ring.keys().zip(read.keys()) {
        assert_eq!(before.kid, after.kid);
        assert_eq!((before.role, &before.owner), (after.role, &after.owner));
        assert_eq!(before.validity, after.validity);
        assert_eq!(before.can_sign(), after.can_sign());
    }
    let text = read.seal(&Place::sample(), NOW).unwrap();
    assert!(ring.open(&text, &event(), NOW).is_ok());
}

fn other_edge() -> Keyring {
    Keyring::new([Key::from_seed(&[4; 32], Role::Edge, "edge-2".parse().unwrap(), ALWAYS)])
}

#[test]
fn a_key_file_is_its_owners_alone_whatever_was_there_before() {
    let folder = folder("mode");
    let path = folder.join("keys.json");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    keyring().save(&path).unwrap();
    assert_eq!(mode(), 0o600);

    // Someone opened it up, and a crash left a file beside it that anyone can read.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let beside = folder.join("keys.json.new");
    fs::write(&beside, "left over").unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o666)).unwrap();
    keyring().save(&path).unwrap();
    assert_eq!(mode(), 0o600);
    assert!(!beside.exists());

    // Nor is a link there followed to somewhere else.
    let elsewhere = folder.join("elsewhere");
    symlink(&elsewhere, &beside).unwrap();
    keyring().save(&path).unwrap();
    assert!(!elsewhere.exists());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn key_files_that_differ_in_their_ending_do_not_meet() {
    let folder = folder("endings");
    let (new, json) = (folder.join("keys.new"), folder.join("keys.json"));
    keyring().save(&new).unwrap();
    other_edge().save(&json).unwrap();
    assert_eq!(Keyring::load(&new).unwrap().keys().count(), 3);
    assert_eq!(Keyring::load(&json).unwrap().keys().count(), 1);
}

#[test]
fn a_file_that_cannot_be_written_is_left_as_it_was() {
    let path = folder("missing").join("no-such-folder/keys.json");
    assert!(matches!(keyring().save(&path), Err(KeyFileError::Io { .. })));
    assert!(matches!(Keyring::load(&path), Err(KeyFileError::Io { .. })));
}

#[test]
fn what_is_no_key_file_is_refused() {
    let path = folder("no_key_file").join("keys.json");
    for text in ["", "[]", "{}", r#"{"keys":[{}]}"#, r#"{"keys":[{"kty":"OKP"}]}"#, "\u{1}"] {
        fs::write(&path, text).unwrap();
        assert!(matches!(Keyring::load(&path), Err(KeyFileError::Json { .. })), "{text:?}");
    }
    fs::write(&path, " ".repeat((1 << 20) + 1)).unwrap();
    assert!(matches!(
        Keyring::load(&path),
        Err(KeyFileError::TooLong { len_bytes: 1_048_577, .. })
    ));
}

#[test]
#[rustfmt::skip] // reads in columns
fn a_key_that_is_not_sound_is_refused() {
    let of = |role| base64url(seed(role));
    let weak = {
        let mut point = [0; 32]; // the neutral element: it verifies every message's signature
        point[0] = 1;
        base64url(point)
    };
    //    member           value                        why
    check("kty",           json!("RSA"),                "kty, crv and alg are not OKP, Ed25519 and EdDSA");
    check("crv",           json!("X25519"),             "kty, crv and alg are not OKP, Ed25519 and EdDSA");
    check("alg",           json!("HS256"),              "kty, crv and alg are not OKP, Ed25519 and EdDSA");
    check("x",             json!("AAAA"),               "x is not 32 bytes of base64url");
    check("x",             json!("+".repeat(43)),       "x is not 32 bytes of base64url");
    check("x",             json!(base64url([2; 32])),   "x is not a point of the curve");
    check("x",             json!(weak),                 "x is a weak point of the curve");
    check("d",             json!("AAAA"),               "d is not 32 bytes of base64url");
    check("d",             json!(of(Role::Controller)), "d is not the secret half of x");
    check("kid",           json!("edge-1"),             "kid is not the RFC 7638 thumbprint of the key");
    check("wr_use_from",   json!(5_000_000_000_u64),    "times are not use_from < use_until <= valid_until");
    check("wr_use_until",  json!(1_700_000_000),        "times are not use_from < use_until <= valid_until");
    check("wr_use_until",  json!(4_200_000_000_u64),    "times are not use_from < use_until <= valid_until");
    check("wr_valid_until",json!(4_000_000_000_u64),    "times are not use_from < use_until <= valid_until");

    #[track_caller]
    fn check(member: &str, value: Value, expected: &str) {
        let mut jwk = edge_jwk();
        jwk[member] = value;
        let jwks: Jwks = serde_json::from_value(json!({ "keys": [jwk] })).unwrap();
        match Keyring::from_jwks(jwks) {
            Err(KeyFileError::Key { why, .. }) => assert_eq!(why, expected, "{member}"),
            other => panic!("{member}: {other:?}"),
        }
    }
}

#[test]
fn a_key_that_is_there_twice_is_refused() {
    let mut again = edge_jwk();
    again["wr_role"] = json!("controller");
    let jwks = serde_json::from_value(json!({ "keys": [edge_jwk(), again] })).unwrap();
    let refused = Keyring::from_jwks(jwks).unwrap_err();
    assert!(refused.to_string().ends_with("the key is there twice"), "{refused}");
}

/// The edge's key as it stands in a key file, secret included.
fn edge_jwk() -> Value {
    let path = folder(&format!("jwk-{:?}", std::thread::current().id())).join("keys.json");
    Keyring::new([key(Role::Edge)]).save(&path).unwrap();
    let file: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(file["keys"][0]["d"], json!(base64url(seed(Role::Edge))));
    file["keys"][0].clone()
}

#[test]
fn a_key_id_is_the_thumbprint_of_rfc_8037() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    // Appendix A.1 to A.3.
    let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
    let key = Key::from_seed(&seed.try_into().unwrap(), Role::Edge, owner(Role::Edge), ALWAYS);
    assert_eq!(key.kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let jwks = serde_json::to_value(Keyring::new([key]).public_jwks()).unwrap();
    assert_eq!(jwks["keys"][0]["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
}
