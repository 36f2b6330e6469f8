//! May each key sign its own kind only, for its owner only, and is each statement good for just
//! its event?

use keys::{Front, Key, Keyring, Pass, Place, Refusal, Role, Sealed, SignError, Statement, Ticket};
use serde_json::json;

use crate::support::{
    ALWAYS, Kind, NOW, ROLES, another_event, base64url, claims, event, header, key, keyring, owner,
    refusal, sealed, seed, sign,
};

#[test]
fn a_key_signs_the_kinds_of_its_role_and_no_other() {
    fn check<T: Kind>(may_sign: Role) {
        for role in ROLES {
            let ring = Keyring::new([key(role)]);
            // The thief of a key writes its owner's name and its id, which are the right ones.
            let mut claims = claims::<T>();
            claims["iss"] = json!(owner(role));
            let statement: T = serde_json::from_value(claims.clone()).unwrap();
            let mut header = header::<T>();
            header["kid"] = json!(key(role).kid);
            let forged = Sealed::<T>::new(sign(&header, &claims, &seed(role)));

            let sealed = ring.seal(&statement, NOW);
            let opened = keyring().open(&forged, &event(), NOW);
            if role == may_sign {
                assert_eq!(sealed.unwrap().as_str().split('.').count(), 3);
                assert_eq!(opened.unwrap().into_inner(), statement);
            } else {
                assert!(matches!(sealed, Err(SignError::NoKey { .. })), "{role} {}", T::TYP);
                assert_eq!(opened, Err(Refusal::WrongRole { kid: key(role).kid, role }));
            }
        }
    }
    check::<Place>(Role::Edge);
    check::<Pass>(Role::Controller);
    check::<Front>(Role::Controller);
    check::<Ticket>(Role::Origin);
}

#[test]
fn a_statement_opens_as_its_own_kind_only() {
    fn check<A: Kind, B: Kind>() {
        let text = sealed::<A>();
        let opened = keyring().open(&Sealed::<B>::new(text.as_str()), &event(), NOW);
        if A::TYP == B::TYP {
            assert!(opened.is_ok(), "{}", A::TYP);
        } else if text.as_str().len() > B::BYTES_MAX {
            assert!(matches!(opened, Err(Refusal::TooLong { .. })), "{} {}", A::TYP, B::TYP);
        } else {
            let expected = Refusal::Type { expected: B::TYP };
            assert_eq!(opened.err(), Some(expected), "{} as {}", A::TYP, B::TYP);
        }
    }
    fn check_all<A: Kind>() {
        check::<A, Place>();
        check::<A, Pass>();
        check::<A, Front>();
        check::<A, Ticket>();
    }
    check_all::<Place>();
    check_all::<Pass>();
    check_all::<Front>();
    check_all::<Ticket>();
}

#[test]
fn a_renamed_type_does_not_make_a_place_a_pass() {
    let text = sealed::<Place>();
    let (_, rest) = text.as_str().split_once('.').unwrap();
    let mut header = header::<Place>();
    header["typ"] = json!(Pass::TYP);
    let renamed = format!("{}.{rest}", base64url(header.to_string()));
    assert!(matches!(refusal::<Pass>(&renamed), Some(Refusal::WrongRole { role: Role::Edge, .. })));
    header["kid"] = json!(key(Role::Controller).kid);
    let renamed = format!("{}.{rest}", base64url(header.to_string()));
    assert_eq!(refusal::<Pass>(&renamed), Some(Refusal::Signature));
}

#[test]
fn a_pass_and_a_front_share_a_key_but_not_their_claims() {
    let mut header = header::<Pass>();
    let mut front = claims::<Front>();
    // Or it is too long for a pass.
    (front["message"], front["draw"]) = (json!(null), json!(null));
    let front_as_pass = sign(&header, &front, &seed(Role::Controller));
    assert!(matches!(refusal::<Pass>(&front_as_pass), Some(Refusal::Claims { .. })));
    header["typ"] = json!(Front::TYP);
    let pass_as_front = sign(&header, &claims::<Pass>(), &seed(Role::Controller));
    assert!(matches!(refusal::<Front>(&pass_as_front), Some(Refusal::Claims { .. })));
}

#[test]
fn a_place_of_one_event_is_void_at_another() {
    fn check<T: Kind>() {
        let text = sealed::<T>();
        assert_eq!(
            keyring().open(&text, &another_event(), NOW),
            Err(Refusal::WrongAudience { actual: event(), expected: another_event() })
        );
        let opened = keyring().open_for_any_event(&text, NOW).unwrap();
        assert_eq!(*opened.audience(), event(), "whoever asks for no event is told which");
    }
    check::<Place>();
    check::<Pass>();
    check::<Front>();
    check::<Ticket>();
}

#[test]
fn an_edge_signs_in_no_other_edges_name() {
    let edge_2 = Key::from_seed(&[4; 32], Role::Edge, "edge-2".parse().unwrap(), ALWAYS);
    let mut ring = keyring();
    ring.add(edge_2.clone());

    // Sealing picks the key by the issuer, so only a thief's own tool gets this far.
    let mut header = header::<Place>();
    header["kid"] = json!(edge_2.kid);
    let forged = Sealed::<Place>::new(sign(&header, &claims::<Place>(), &[4; 32]));
    assert_eq!(
        ring.open(&forged, &event(), NOW),
        Err(Refusal::WrongIssuer { issuer: owner(Role::Edge), owner: edge_2.owner.clone() })
    );

    let own = Place { iss: edge_2.owner, ..Place::sample() };
    let text = ring.seal(&own, NOW).unwrap();
    assert_eq!(ring.open(&text, &event(), NOW).unwrap().into_inner(), own);
    assert_eq!(
        refusal::<Place>(text.as_str()),
        Some(Refusal::UnknownKey { kid: edge_2.kid }),
        "who was not told of edge-2 does not believe it"
    );
}

#[test]
fn a_key_id_names_one_key_and_not_its_owner() {
    // The controller's id over a signature of the edge, and the reverse.
    let swapped = sign(&header::<Pass>(), &claims::<Pass>(), &seed(Role::Edge));
    assert_eq!(refusal::<Pass>(&swapped), Some(Refusal::Signature));
    let swapped = sign(&header::<Place>(), &claims::<Place>(), &seed(Role::Controller));
    assert_eq!(refusal::<Place>(&swapped), Some(Refusal::Signature));
}

#[test]
fn public_halves_verify_and_do_not_sign() {
    let public = Keyring::from_jwks(keyring().public_jwks()).unwrap();
    assert!(public.keys().all(|key| !key.can_sign()));
    assert!(public.open(&sealed::<Pass>(), &event(), NOW).is_ok());
    assert!(matches!(public.seal(&Pass::sample(), NOW), Err(SignError::NoKey { .. })));
    assert_eq!(public.owner_of(Role::Edge), None);
}

#[test]
fn a_service_knows_itself_by_its_keys_if_they_agree() {
    let mut ring = Keyring::new([key(Role::Edge)]);
    assert_eq!(ring.owner_of(Role::Edge), Some(&owner(Role::Edge)));
    assert_eq!(ring.owner_of(Role::Controller), None);
    ring.add(Key::generate(Role::Edge, owner(Role::Edge), ALWAYS));
    assert_eq!(ring.owner_of(Role::Edge), Some(&owner(Role::Edge)));
    ring.add(Key::generate(Role::Edge, "edge-2".parse().unwrap(), ALWAYS));
    assert_eq!(ring.owner_of(Role::Edge), None);
}

#[test]
fn a_known_key_keeps_its_role_and_owner() {
    let mut ring = keyring();
    let (kid, edge_seed) = (key(Role::Edge).kid, seed(Role::Edge));
    ring.add(Key::from_seed(&edge_seed, Role::Controller, owner(Role::Controller), ALWAYS));
    let known = ring.keys().find(|key| key.kid == kid).unwrap();
    assert_eq!((known.role, &known.owner), (Role::Edge, &owner(Role::Edge)));
}

#[test]
fn nothing_that_prints_a_secret_prints_it() {
    let secret = base64url(seed(Role::Edge));
    let text = sealed::<Place>();
    let jwk = keyring().public_jwks().keys.remove(0);
    for printed in [
        format!("{:?}", key(Role::Edge)),
        format!("{:?}", keyring()),
        format!("{text:?}"),
        format!("{jwk:?}"),
        serde_json::to_string(&keyring().public_jwks()).unwrap(),
    ] {
        assert!(!printed.contains(&secret), "{printed}");
        assert!(!printed.contains(text.as_str()), "{printed}");
        assert!(!printed.contains("\"d\""), "{printed}");
    }
    assert_eq!(format!("{text:?}"), "Sealed(***)");
    assert!(format!("{:?}", key(Role::Edge)).contains("secret: ***"));
}
