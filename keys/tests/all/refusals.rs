//! Is every bad statement refused, and for the reason that comes first in the documented order?

use keys::{EventId, Front, Keyring, Pass, Place, Refusal, Sealed, Ticket, Timestamp};
use serde_json::{Value, json};

use crate::support::{
    ENDS, ISSUED, Kind, NOW, ROLES, another_event, base64url, claims, event, header, key, keyring,
    refusal, seed, sign, sign_parts,
};

/// What can be wrong with a statement, one for each [`Refusal`], in the order of its variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    TooLong,
    Malformed,
    Header,
    Algorithm,
    Type,
    UnknownKey,
    WrongRole,
    KeyNotValid,
    Signature,
    Claims,
    WrongIssuer,
    WrongAudience,
    NotYet,
    Ended,
}

const FAULTS: [Fault; 14] = [
    Fault::TooLong,
    Fault::Malformed,
    Fault::Header,
    Fault::Algorithm,
    Fault::Type,
    Fault::UnknownKey,
    Fault::WrongRole,
    Fault::KeyNotValid,
    Fault::Signature,
    Fault::Claims,
    Fault::WrongIssuer,
    Fault::WrongAudience,
    Fault::NotYet,
    Fault::Ended,
];

/// A new refusal does not compile until there is a fault for it.
fn fault_behind(refusal: &Refusal) -> Fault {
    match refusal {
        Refusal::TooLong { .. } => Fault::TooLong,
        Refusal::Malformed => Fault::Malformed,
        Refusal::Header => Fault::Header,
        Refusal::Algorithm => Fault::Algorithm,
        Refusal::Type { .. } => Fault::Type,
        Refusal::UnknownKey { .. } => Fault::UnknownKey,
        Refusal::WrongRole { .. } => Fault::WrongRole,
        Refusal::KeyNotValid { .. } => Fault::KeyNotValid,
        Refusal::Signature => Fault::Signature,
        Refusal::Claims { .. } => Fault::Claims,
        Refusal::WrongIssuer { .. } => Fault::WrongIssuer,
        Refusal::WrongAudience { .. } => Fault::WrongAudience,
        Refusal::NotYet { .. } => Fault::NotYet,
        Refusal::Ended { .. } => Fault::Ended,
    }
}

/// A statement on its way through the door, with nothing wrong yet.
struct Attempt {
    header: Value,
    claims: Value,
    signature_fits: bool,
    is_padded: bool,
    is_too_long: bool,
    keyring: Keyring,
    audience: EventId,
}

impl Attempt {
    fn new<T: Kind>() -> Self {
        Self {
            header: header::<T>(),
            claims: claims::<T>(),
            signature_fits: true,
            is_padded: false,
            is_too_long: false,
            keyring: keyring(),
            audience: event(),
        }
    }

    fn with<T: Kind>(mut self, fault: Fault) -> Self {
        match fault {
            Fault::TooLong => self.is_too_long = true,
            Fault::Malformed => self.is_padded = true,
            Fault::Header => self.header["crit"] = json!(["exp"]),
            Fault::Algorithm => self.header["alg"] = json!("none"),
            Fault::Type => self.header["typ"] = json!("JWT"),
            Fault::UnknownKey => self.header["kid"] = json!("nobody's"),
            Fault::WrongRole => {
                let other = ROLES.into_iter().find(|role| *role != T::ROLE).unwrap();
                self.header["kid"] = json!(key(other).kid);
            }
            Fault::KeyNotValid => {
                for kid in ROLES.map(|role| key(role).kid) {
                    self.keyring.revoke(&kid, NOW).unwrap();
                }
            }
            Fault::Signature => self.signature_fits = false,
            Fault::Claims => self.claims["admin"] = json!(true),
            Fault::WrongIssuer => self.claims["iss"] = json!("somebody-else"),
            Fault::WrongAudience => self.audience = another_event(),
            Fault::NotYet => self.claims[T::BEGINS] = json!(NOW.as_secs() + 31),
            Fault::Ended => self.claims["exp"] = json!(NOW.as_secs()),
        }
        self
    }

    fn refusal<T: Kind>(&self) -> Option<Refusal> {
        let signer = if self.signature_fits { seed(T::ROLE) } else { [66; 32] };
        let mut text = sign(&self.header, &self.claims, &signer);
        if self.is_padded {
            text.push('=');
        }
        if self.is_too_long {
            text.push_str(&"A".repeat(T::BYTES_MAX));
        }
        self.keyring.open(&Sealed::<T>::new(text), &self.audience, NOW).err()
    }
}

#[test]
fn a_statement_without_fault_is_accepted() {
    fn check<T: Kind>() {
        assert_eq!(Attempt::new::<T>().refusal::<T>(), None, "{}", T::TYP);
    }
    check::<Place>();
    check::<Pass>();
    check::<Front>();
    check::<Ticket>();
}

#[test]
fn every_fault_is_refused_by_its_name() {
    fn check<T: Kind>() {
        for fault in FAULTS {
            let refusal = Attempt::new::<T>().with::<T>(fault).refusal::<T>();
            assert_eq!(refusal.as_ref().map(fault_behind), Some(fault), "{} {refusal:?}", T::TYP);
        }
    }
    check::<Place>();
    check::<Pass>();
    check::<Front>();
    check::<Ticket>();
}

#[test]
fn of_two_faults_the_earlier_in_the_documented_order_is_named() {
    fn check<T: Kind>() {
        for (at, earlier) in FAULTS.into_iter().enumerate() {
            for later in FAULTS.into_iter().skip(at + 1) {
                // The earlier comes last: where both are about one member, it has the last word.
                let attempt = Attempt::new::<T>().with::<T>(later).with::<T>(earlier);
                let named = attempt.refusal::<T>().as_ref().map(fault_behind);
                assert_eq!(named, Some(earlier), "{}: {earlier:?} and {later:?}", T::TYP);
            }
        }
    }
    check::<Place>();
    check::<Pass>();
    check::<Front>();
    check::<Ticket>();
}

#[test]
fn of_all_faults_the_earliest_is_named_and_each_repair_shows_the_next() {
    fn check<T: Kind>() {
        for (at, earliest) in FAULTS.into_iter().enumerate() {
            let faults = FAULTS.into_iter().skip(at).rev();
            let attempt = faults.fold(Attempt::new::<T>(), Attempt::with::<T>);
            assert_eq!(attempt.refusal::<T>().as_ref().map(fault_behind), Some(earliest));
        }
    }
    check::<Place>();
    check::<Pass>();
    check::<Front>();
    check::<Ticket>();
}

#[test]
fn a_refusal_says_what_was_found_and_what_was_expected() {
    fn check(fault: Fault, label: &str, expected: Refusal) {
        let refusal = Attempt::new::<Place>().with::<Place>(fault).refusal::<Place>();
        assert_eq!(refusal, Some(expected.clone()));
        assert_eq!(expected.label(), label);
    }
    let edge = || key(keys::Role::Edge);
    let kid = || edge().kid;
    let too_long = 1024 + sign(&header::<Place>(), &claims::<Place>(), &[0; 32]).len();

    check(Fault::TooLong, "too_long", Refusal::TooLong { len_bytes: too_long, max_bytes: 1024 });
    check(Fault::Malformed, "malformed", Refusal::Malformed);
    check(Fault::Header, "header", Refusal::Header);
    check(Fault::Algorithm, "algorithm", Refusal::Algorithm);
    check(Fault::Type, "type", Refusal::Type { expected: "wr-place+jwt" });
    check(Fault::UnknownKey, "unknown_key", Refusal::UnknownKey { kid: "nobody's".into() });
    check(
        Fault::WrongRole,
        "wrong_role",
        Refusal::WrongRole { kid: key(keys::Role::Controller).kid, role: keys::Role::Controller },
    );
    check(Fault::KeyNotValid, "key_not_valid", Refusal::KeyNotValid { kid: kid() });
    check(Fault::Signature, "signature", Refusal::Signature);
    check(
        Fault::WrongIssuer,
        "wrong_issuer",
        Refusal::WrongIssuer { issuer: "somebody-else".parse().unwrap(), owner: edge().owner },
    );
    check(
        Fault::WrongAudience,
        "wrong_audience",
        Refusal::WrongAudience { actual: event(), expected: another_event() },
    );
    check(Fault::NotYet, "not_yet", Refusal::NotYet { begins: NOW.plus_secs(31), now: NOW });
    check(Fault::Ended, "ended", Refusal::Ended { ended: NOW, now: NOW });

    let Some(Refusal::Claims { typ, detail }) =
        Attempt::new::<Place>().with::<Place>(Fault::Claims).refusal::<Place>()
    else {
        panic!("an unknown claim is refused as such");
    };
    assert_eq!(typ, "wr-place+jwt");
    assert!(detail.contains("admin"), "{detail}");
    assert!(ISSUED < NOW && NOW < ENDS);
}

#[test]
fn the_key_id_in_a_refusal_is_cut_to_64_characters() {
    let mut header = header::<Place>();
    header["kid"] = json!("ж".repeat(100));
    let text = sign(&header, &claims::<Place>(), &seed(keys::Role::Edge));
    assert_eq!(refusal::<Place>(&text), Some(Refusal::UnknownKey { kid: "ж".repeat(64) }));
}

#[test]
#[rustfmt::skip] // reads in columns
fn only_three_parts_of_unpadded_base64url_are_well_formed() {
    //    the text, with h, p and s for the three good parts
    check(""); check("."); check(".."); check("..."); check("h"); check("h.p");
    check("h.p."); check("h..s"); check(".p.s"); check(".h.p.s"); check("h.p.s."); check("h.p.s.s");
    check("h.h.p.s"); check("h.p..s"); check("h,p,s"); check("h.p.h"); check("h.p.ss");
    check("h=.p.s"); check("h.p=.s"); check("h.p.s="); check("h.p.s=="); check("h.p.s\n");
    check(" h.p.s"); check("h .p.s"); check("h.p .s"); check("h.p. s"); check("h.p.s%3D");
    check("h+.p.s"); check("h.p/.s"); check("h.p.s\0"); check("h.p.é");

    #[track_caller]
    fn check(shape: &str) {
        let text = crate::support::sealed::<Place>();
        let parts: Vec<&str> = text.as_str().split('.').collect();
        let text: String = shape.chars().map(|c| match c {
            'h' => parts[0].to_owned(),
            'p' => parts[1].to_owned(),
            's' => parts[2].to_owned(),
            other => other.to_string(),
        }).collect();
        let refusal = refusal::<Place>(&text);
        // Of `h..s` and `.p.s` the empty part is base64url of nothing, and nothing is no JSON.
        let expected = match shape {
            "h..s" => Refusal::Signature,
            ".p.s" => Refusal::Header,
            _ => Refusal::Malformed,
        };
        assert_eq!(refusal, Some(expected), "{shape:?}");
    }
}

#[test]
#[rustfmt::skip] // reads in columns
fn a_header_is_an_object_of_just_alg_kid_and_typ() {
    let kid = key(keys::Role::Edge).kid;
    //    header, KID for the key's id                                            refused for
    check(&kid, r#"{"alg":"EdDSA","kid":"KID","typ":"wr-place+jwt"}"#,            None);
    check(&kid, r#"{"typ":"wr-place+jwt","kid":"KID","alg":"EdDSA"}"#,            None);
    check(&kid, r#"{}"#,                                                          Some(Refusal::Header));
    check(&kid, r#"null"#,                                                        Some(Refusal::Header));
    check(&kid, r#"["EdDSA","KID","wr-place+jwt"]"#,                              Some(Refusal::Header));
    check(&kid, r#"{"alg":"EdDSA","kid":"KID"}"#,                                 Some(Refusal::Header));
    check(&kid, r#"{"alg":"EdDSA","typ":"wr-place+jwt"}"#,                        Some(Refusal::Header));
    check(&kid, r#"{"kid":"KID","typ":"wr-place+jwt"}"#,                          Some(Refusal::Header));
    check(&kid, r#"{"alg":"EdDSA","alg":"EdDSA","kid":"KID","typ":"wr-place+jwt"}"#, Some(Refusal::Header));
    check(&kid, r#"{"alg":"EdDSA","kid":"KID","typ":"wr-place+jwt","jku":"x"}"#,  Some(Refusal::Header));
    check(&kid, r#"{"alg":"EdDSA","kid":"KID","typ":"wr-place+jwt","b64":true}"#, Some(Refusal::Header));
    check(&kid, r#"{"alg":"EdDSA","kid":["KID"],"typ":"wr-place+jwt"}"#,          Some(Refusal::Header));
    check(&kid, r#"{"alg":"EdDSA","kid":"KID","typ":"wr-place+jwt"} {}"#,         Some(Refusal::Header));
    check(&kid, r#"{"alg":"none","kid":"KID","typ":"wr-place+jwt"}"#,             Some(Refusal::Algorithm));
    check(&kid, r#"{"alg":"None","kid":"KID","typ":"wr-place+jwt"}"#,             Some(Refusal::Algorithm));
    check(&kid, r#"{"alg":"eddsa","kid":"KID","typ":"wr-place+jwt"}"#,            Some(Refusal::Algorithm));
    check(&kid, r#"{"alg":"HS256","kid":"KID","typ":"wr-place+jwt"}"#,            Some(Refusal::Algorithm));
    check(&kid, r#"{"alg":"ES256","kid":"KID","typ":"wr-place+jwt"}"#,            Some(Refusal::Algorithm));
    check(&kid, r#"{"alg":"EdDSA","kid":"KID","typ":"WR-PLACE+JWT"}"#,            Some(Refusal::Type { expected: "wr-place+jwt" }));
    check(&kid, r#"{"alg":"EdDSA","kid":"KID","typ":"JWT"}"#,                     Some(Refusal::Type { expected: "wr-place+jwt" }));
    check(&kid, r#"{"alg":"EdDSA","kid":"","typ":"wr-place+jwt"}"#,               Some(Refusal::UnknownKey { kid: String::new() }));

    #[track_caller]
    fn check(kid: &str, header: &str, expected: Option<Refusal>) {
        let header = header.replace("KID", kid);
        let text = sign(&header, &claims::<Place>(), &seed(keys::Role::Edge));
        assert_eq!(refusal::<Place>(&text), expected, "{header}");
    }
}

#[test]
fn claims_that_are_missing_unknown_or_there_twice_are_refused() {
    fn check<T: Kind>() {
        let good = claims::<T>();
        let members = good.as_object().unwrap();
        for (name, value) in members {
            let mut without = members.clone();
            without.remove(name);
            // Only what may be absent may be missing.
            let is_refused = is_refused_for_claims::<T>(&json!(without).to_string());
            assert_eq!(is_refused, !is_optional(name), "{} without {name}", T::TYP);

            let twice = good.to_string().replacen('{', &format!("{{\"{name}\":{value},"), 1);
            assert!(is_refused_for_claims::<T>(&twice), "{} with {name} twice", T::TYP);
        }
        let with = |extra: &str| good.to_string().replacen('{', &format!("{{{extra},"), 1);
        assert!(is_refused_for_claims::<T>(&with(r#""Iss":"edge-1""#)));
        assert!(is_refused_for_claims::<T>(&with(r#""":0"#)));
        assert!(is_refused_for_claims::<T>(&format!("[{good}]")));
        assert!(is_refused_for_claims::<T>(&format!("{good} {good}")));
        assert!(is_refused_for_claims::<T>(&good.to_string()[1..]));
        assert!(is_refused_for_claims::<T>(""));
    }
    check::<Place>();
    check::<Pass>();
    check::<Front>();
    check::<Ticket>();
}

fn is_optional(name: &str) -> bool {
    ["opens_at", "draw", "stock", "message"].contains(&name)
}

#[test]
fn claims_as_a_bare_list_of_values_are_refused() {
    // In the order of the struct's members, which serde takes for the struct.
    let ticket =
        r#"["origin","opening-night","CQkJCQkJCQkJCQkJCQkJCQ","104-C-12",1700000000,4102444800]"#;
    assert!(is_refused_for_claims::<Ticket>(ticket));
}

#[test]
#[rustfmt::skip] // reads in columns
fn ill_formed_claims_are_refused() {
    check::<Place>("lane", json!("vip"));
    check::<Place>("lane", json!("Standard"));
    check::<Place>("num",  json!(-1));
    check::<Place>("num",  json!(1.5));
    check::<Place>("num",  json!("1"));
    check::<Place>("sub",  json!("short"));
    check::<Place>("sub",  json!("BwcHBwcHBwcHBwcHBwcHBx")); // bits behind the 128th
    check::<Place>("sub",  json!("BwcHBwcHBwcHBwcHBwcHBw==")); 
    check::<Place>("iss",  json!("Edge 1"));
    check::<Place>("aud",  json!(["opening-night"]));
    check::<Place>("aud",  json!(""));
    check::<Place>("aud",  json!("a".repeat(65)));
    check::<Place>("exp",  json!(null));
    check::<Place>("exp",  json!("4102444800"));
    check::<Place>("iat",  json!(1_700_000_000.5));
    check::<Pass>("risk",  json!("none"));
    check::<Pass>("gen",   json!(null));
    check::<Pass>("nbf",   json!(true));
    check::<Front>("phase", json!("SoldOut"));
    check::<Front>("stock", json!("many"));
    check::<Front>("lanes", json!({}));
    check::<Front>("lanes", json!([{"lane": "standard", "f0": 0, "pace_milli": 0, "limit": 0, "issued": 0, "more": 0}]));
    check::<Front>("poll",  json!({"near_secs": 1, "far_secs": 4_294_967_296u64}));
    check::<Front>("draw",  json!({"commitment": "", "secret": ""}));
    check::<Ticket>("seat", json!(12));

    #[track_caller]
    fn check<T: Kind>(name: &str, value: Value) {
        let mut claims = claims::<T>();
        claims[name] = value;
        assert!(is_refused_for_claims::<T>(&claims.to_string()), "{claims}");
    }
}

fn is_refused_for_claims<T: Kind>(json: &str) -> bool {
    let text = sign_parts(&base64url(header::<T>().to_string()), &base64url(json), &seed(T::ROLE));
    match refusal::<T>(&text) {
        None => false,
        Some(Refusal::Claims { .. }) => true,
        Some(other) => panic!("{json} is refused for another reason: {other}"),
    }
}

#[test]
fn the_longest_text_that_is_read_is_the_kinds_own() {
    fn check<T: Kind>(max_bytes: usize) {
        for (len_bytes, is_too_long) in [(max_bytes, false), (max_bytes + 1, true)] {
            let refusal = refusal::<T>(&"A".repeat(len_bytes));
            let expected = if is_too_long {
                Refusal::TooLong { len_bytes, max_bytes }
            } else {
                Refusal::Malformed
            };
            assert_eq!(refusal, Some(expected), "{}", T::TYP);
        }
    }
    check::<Place>(1024);
    check::<Pass>(1024);
    check::<Front>(8192);
    check::<Ticket>(1024);
}

#[test]
fn what_nobody_would_read_is_not_signed() {
    let too_long = Place { fpr: "x".repeat(1024), ..Place::sample() };
    let refused = keyring().seal(&too_long, NOW).unwrap_err();
    assert!(matches!(refused, keys::SignError::TooLong { max_bytes: 1024, .. }), "{refused}");
}

#[test]
fn times_beyond_all_calendars_neither_panic_nor_wrap() {
    let mut claims = claims::<Place>();
    claims["exp"] = json!(u64::MAX);
    let text = sign(&header::<Place>(), &claims, &seed(keys::Role::Edge));
    assert_eq!(refusal::<Place>(&text), None);
    let last = Timestamp::from_millis(u64::MAX);
    assert!(keyring().open_for_any_event(&Sealed::<Place>::new(text), last).is_err());
}
