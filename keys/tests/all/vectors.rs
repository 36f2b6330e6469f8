//! Are statements written today as they were when the format was frozen, and can others read them?
//!
//! `vectors.json` holds the public halves of keys with fixed seeds and a sealed text of each kind.
//! Places and tickets outlive a deployment: if a test here fails, old ones are no longer read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use keys::{Front, Jwks, Keyring, Pass, Place, Sealed, Ticket};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::support::{Kind, NOW, event, keyring, sealed};

#[derive(Serialize, Deserialize)]
struct Vectors {
    about: String,
    jwks: Jwks,
    statements: Vec<Vector>,
}

#[derive(Serialize, Deserialize)]
struct Vector {
    typ: String,
    kid: String,
    claims: Value,
    text: String,
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors.json")
}

fn frozen() -> Vectors {
    serde_json::from_str(&fs::read_to_string(path()).unwrap()).unwrap()
}

#[test]
fn statements_are_written_as_they_were_when_the_format_was_frozen() {
    fn vector<T: Kind>() -> Vector {
        let kid = keyring().keys().find(|key| key.role == T::ROLE).unwrap().kid.clone();
        let text = sealed::<T>().as_str().to_owned();
        Vector { typ: T::TYP.into(), kid, claims: serde_json::to_value(T::sample()).unwrap(), text }
    }
    let today = Vectors {
        about: "Frozen: a change here is a change of the format. keys/tests/all/vectors.rs".into(),
        jwks: keyring().public_jwks(),
        statements: vec![
            vector::<Place>(),
            vector::<Pass>(),
            vector::<Front>(),
            vector::<Ticket>(),
        ],
    };
    let today = serde_json::to_string_pretty(&today).unwrap() + "\n";
    if fs::read_to_string(path()).unwrap_or_default() != today {
        let beside = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vectors.json");
        fs::write(&beside, today).unwrap();
        panic!("the format is not the frozen one; compare {:?} with {beside:?}", path());
    }
}

#[test]
fn frozen_texts_open_to_the_frozen_claims_and_seal_to_the_same_bytes() {
    fn check<T: Kind>(vector: &Vector) {
        let ring = Keyring::from_jwks(frozen().jwks).unwrap();
        assert_eq!(vector.typ, T::TYP);
        let opened = ring.open(&Sealed::<T>::new(&*vector.text), &event(), NOW).unwrap();
        assert_eq!(*opened, T::sample());
        let claims: T = serde_json::from_value(vector.claims.clone()).unwrap();
        assert_eq!(*opened, claims);
        let again = keyring().seal(&claims, NOW).unwrap();
        assert_eq!(again.as_str(), vector.text);
    }
    let [place, pass, front, ticket] = &frozen().statements[..] else {
        panic!("one of each kind");
    };
    check::<Place>(place);
    check::<Pass>(pass);
    check::<Front>(front);
    check::<Ticket>(ticket);
}

#[test]
fn another_jose_library_accepts_the_frozen_texts_and_no_others() {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = keys.join("../.tools/python/bin/python");
    assert!(python.exists(), "{python:?} is missing; `make tools` makes it");
    let output = Command::new(&python)
        .arg("-I")
        .arg(keys.join("tests/verify_with_pyjwt.py"))
        .arg(path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.starts_with("accepted 4, refused "), "{said}");
}
