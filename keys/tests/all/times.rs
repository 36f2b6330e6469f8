//! Do keys and statements hold exactly as long as they should: validity, revocation, roll, skew?

use keys::{
    Key, Keyring, Pass, Place, Refusal, Role, SKEW_SECS, SignError, Ticket, Timestamp, Validity,
};

use crate::support::{ALWAYS, Kind, NOW, event, key, keyring, owner, sealed, seed};

const HOUR_SECS: u64 = 3600;

#[test]
#[rustfmt::skip] // reads in columns
fn a_statement_holds_from_its_begin_less_the_skew_until_its_very_end() {
    assert_eq!(SKEW_SECS, 30);
    //    now, in ms from the begin    holds
    check(                -30_001,     Err("not_yet"));
    check(                -30_000,     Ok(()));
    check(                      0,     Ok(()));
    check(                 59_999,     Ok(()));
    check(                 60_000,     Err("ended")); // the end knows no skew: nothing lasts longer
    check(                 90_000,     Err("ended"));

    #[track_caller]
    fn check(from_begin_ms: i64, expected: Result<(), &str>) {
        let begins = NOW;
        let now = Timestamp::from_millis(begins.as_millis().checked_add_signed(from_begin_ms).unwrap());
        let place = Place { iat: begins, exp: begins.plus_secs(60), ..Place::sample() };
        let ticket = Ticket { iat: begins, exp: begins.plus_secs(60), ..Ticket::sample() };
        // A pass holds from `nbf`, whenever it was issued.
        let pass = Pass { nbf: begins, exp: begins.plus_secs(60), iat: begins.plus_secs(999), ..Pass::sample() };
        let ring = keyring();
        let answers = [
            ring.open(&ring.seal(&place, NOW).unwrap(), &event(), now).map(|_| ()),
            ring.open(&ring.seal(&ticket, NOW).unwrap(), &event(), now).map(|_| ()),
            ring.open(&ring.seal(&pass, NOW).unwrap(), &event(), now).map(|_| ()),
        ];
        for answer in answers {
            assert_eq!(answer.map_err(|refusal| refusal.label()), expected);
        }
    }
}

#[test]
#[rustfmt::skip] // reads in columns
fn a_key_signs_in_its_time_and_verifies_for_longer() {
    //    now, in ms from `use_from`         signs  verifies
    check(                    -30_001,       false, false);
    check(                    -30_000,       false, true); // another's clock may be behind
    check(                         -1,       false, true);
    check(                          0,       true,  true);
    check(                  3_599_999,       true,  true);
    check(                  3_600_000,       false, true);
    check(                  7_199_999,       false, true);
    check(                  7_200_000,       false, false);

    #[track_caller]
    fn check(from_start_ms: i64, signs: bool, verifies: bool) {
        let validity = Validity {
            use_from: NOW,
            use_until: NOW.plus_secs(HOUR_SECS),
            valid_until: NOW.plus_secs(2 * HOUR_SECS),
            revoked_at: None,
        };
        let ring = Keyring::new([Key::from_seed(&seed(Role::Edge), Role::Edge, owner(Role::Edge), validity)]);
        let now = Timestamp::from_millis(NOW.as_millis().checked_add_signed(from_start_ms).unwrap());
        assert_eq!(ring.seal(&Place::sample(), now).is_ok(), signs);
        let refused = ring.open(&sealed::<Place>(), &event(), now).err();
        let expected = (!verifies).then(|| Refusal::KeyNotValid { kid: key(Role::Edge).kid });
        assert_eq!(refused, expected);
    }
}

#[test]
fn a_revoked_key_neither_signs_nor_verifies_and_others_go_on() {
    let mut ring = keyring();
    let edge_2 = Key::from_seed(&[4; 32], Role::Edge, "edge-2".parse().unwrap(), ALWAYS);
    ring.add(edge_2.clone());
    let (place, pass) = (sealed::<Place>(), sealed::<Pass>());
    let other = ring.seal(&Place { iss: edge_2.owner, ..Place::sample() }, NOW).unwrap();

    let kid = key(Role::Edge).kid;
    ring.revoke(&kid, NOW).unwrap();

    let before = Timestamp::from_millis(NOW.as_millis() - 1);
    assert!(ring.open(&place, &event(), before).is_ok());
    assert_eq!(ring.open(&place, &event(), NOW), Err(Refusal::KeyNotValid { kid: kid.clone() }));
    assert!(matches!(ring.seal(&Place::sample(), NOW), Err(SignError::NoKey { .. })));
    assert!(ring.open(&other, &event(), NOW).is_ok());
    assert!(ring.open(&pass, &event(), NOW).is_ok());

    ring.revoke(&kid, NOW.plus_secs(10)).unwrap();
    assert!(ring.open(&place, &event(), NOW).is_err(), "a second revocation postpones nothing");
    assert_eq!(
        ring.revoke("nobody's", NOW).unwrap_err().to_string(),
        r#"no key "nobody's" in the file"#
    );
}

#[test]
fn an_old_copy_of_the_keys_brings_no_revoked_key_back() {
    let mut ring = keyring();
    let kid = key(Role::Edge).kid;
    ring.revoke(&kid, NOW).unwrap();
    ring.add(key(Role::Edge));
    assert!(ring.open(&sealed::<Place>(), &event(), NOW).is_err());

    // And of two revocations the earlier counts, whichever comes in last.
    let revoked_at = Some(NOW.minus_secs(50));
    for revoked_at in [revoked_at, Some(NOW)] {
        let mut copy = key(Role::Edge);
        copy.validity.revoked_at = revoked_at;
        ring.add(copy);
    }
    let known = ring.keys().find(|key| key.kid == kid).unwrap();
    assert_eq!(known.validity.revoked_at, revoked_at);
}

#[test]
fn learning_the_public_half_of_a_key_does_not_lose_the_secret_half() {
    let mut ring = keyring();
    for public in Keyring::from_jwks(keyring().public_jwks()).unwrap().keys() {
        ring.add(public.clone());
    }
    assert!(ring.keys().all(Key::can_sign));
    assert!(ring.seal(&Place::sample(), NOW).is_ok());
}

#[test]
fn after_a_roll_the_new_key_signs_and_the_old_verifies_through_the_overlap() {
    let mut ring = keyring();
    let old_text = ring.seal(&Place::sample(), NOW).unwrap();
    let old_kids: Vec<String> = ring.keys().map(|key| key.kid.clone()).collect();

    let new_kids = ring.roll(NOW, 24 * HOUR_SECS, HOUR_SECS);
    assert_eq!(new_kids.len(), 3, "one successor each");
    assert!(new_kids.iter().all(|kid| !old_kids.contains(kid)));
    for role in [Role::Edge, Role::Controller, Role::Origin] {
        assert_eq!(ring.owner_of(role), Some(&owner(role)), "role and owner are handed on");
    }

    let new_text = ring.seal(&Place::sample(), NOW).unwrap();
    assert!(new_kids.contains(&kid_of(new_text.as_str())));
    assert!(old_kids.contains(&kid_of(old_text.as_str())));

    let overlap_ends = NOW.plus_secs(HOUR_SECS);
    let just_before = Timestamp::from_millis(overlap_ends.as_millis() - 1);
    assert!(ring.open(&old_text, &event(), NOW).is_ok());
    assert!(ring.open(&old_text, &event(), just_before).is_ok());
    assert_eq!(
        ring.open(&old_text, &event(), overlap_ends),
        Err(Refusal::KeyNotValid { kid: kid_of(old_text.as_str()) })
    );

    // The new one: signs for 24 hours, verifies for one more.
    assert!(ring.open(&new_text, &event(), NOW.plus_secs(25 * HOUR_SECS - 1)).is_ok());
    assert!(ring.open(&new_text, &event(), NOW.plus_secs(25 * HOUR_SECS)).is_err());
    assert!(ring.seal(&Place::sample(), NOW.plus_secs(24 * HOUR_SECS - 1)).is_ok());
    assert!(ring.seal(&Place::sample(), NOW.plus_secs(24 * HOUR_SECS)).is_err());
}

#[test]
fn only_keys_in_use_are_rolled() {
    let made = |role, seed: u8, validity| Key::from_seed(&[seed; 32], role, owner(role), validity);
    let (hour_ago, in_an_hour) = (NOW.minus_secs(HOUR_SECS), NOW.plus_secs(HOUR_SECS));
    let over = Validity { use_from: hour_ago, use_until: NOW, ..ALWAYS };
    let to_come = Validity { use_from: in_an_hour, ..ALWAYS };
    let this_second = Validity { use_from: NOW, ..ALWAYS };
    let revoked = Validity { revoked_at: Some(hour_ago), ..ALWAYS };
    let mut ring = Keyring::new([
        made(Role::Edge, 10, over),
        made(Role::Edge, 11, to_come),
        made(Role::Edge, 12, this_second),
        made(Role::Edge, 13, revoked),
    ]);
    // Another's key, of which we have the public half, is another's to roll.
    for public in Keyring::from_jwks(keyring().public_jwks()).unwrap().keys() {
        ring.add(public.clone());
    }
    assert_eq!(ring.roll(NOW, HOUR_SECS, HOUR_SECS), Vec::<String>::new());
    assert_eq!(ring.keys().count(), 7);
}

#[test]
fn a_key_rolled_in_its_first_second_leaves_a_file_that_can_be_read() {
    let born = Timestamp::from_millis(NOW.as_millis() + 100);
    let validity = Validity { use_from: born, ..ALWAYS };
    let mut ring = Keyring::new([Key::generate(Role::Edge, owner(Role::Edge), validity)]);
    ring.roll(Timestamp::from_millis(NOW.as_millis() + 900), HOUR_SECS, 0);
    Keyring::from_jwks(ring.public_jwks()).unwrap();
}

#[test]
fn of_two_keys_that_may_sign_the_newer_does() {
    let newer = Validity { use_from: NOW.minus_secs(10), ..ALWAYS };
    let newer = Key::from_seed(&[4; 32], Role::Edge, owner(Role::Edge), newer);
    let mut ring = keyring();
    ring.add(newer.clone());
    assert_eq!(kid_of(ring.seal(&Place::sample(), NOW).unwrap().as_str()), newer.kid);
    let earlier = NOW.minus_secs(11);
    let text = ring.seal(&Place::sample(), earlier).unwrap();
    assert_eq!(kid_of(text.as_str()), key(Role::Edge).kid);
}

fn kid_of(text: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let header = URL_SAFE_NO_PAD.decode(text.split('.').next().unwrap()).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}
