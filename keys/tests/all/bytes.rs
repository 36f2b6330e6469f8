//! Does a statement verify only as the very bytes that were signed?

use std::sync::LazyLock;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{STANDARD, URL_SAFE as PADDED, URL_SAFE_NO_PAD};
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use keys::{EventId, Front, Id128, Lane, Pass, Place, Refusal, Ticket};
use proptest::prelude::*;

use crate::support::{
    ENDS, ISSUED, Kind, NOW, base64url, claims, event, header, keyring, refusal, sealed, seed,
    sign_parts,
};

/// A sealed text of each kind, and how that kind refuses a text.
struct Sample {
    text: String,
    refusal: fn(&str) -> Option<Refusal>,
}

static SAMPLES: LazyLock<[Sample; 4]> = LazyLock::new(|| {
    fn sample<T: Kind>() -> Sample {
        Sample { text: sealed::<T>().as_str().to_owned(), refusal: refusal::<T> }
    }
    [sample::<Place>(), sample::<Pass>(), sample::<Front>(), sample::<Ticket>()]
});

#[test]
fn each_byte_of_a_ticket_changed_to_each_other_ascii_byte_is_refused() {
    let Sample { text, refusal } = &SAMPLES[3];
    for at in 0..text.len() {
        for byte in 0..128_u8 {
            let mut changed = text.clone().into_bytes();
            if changed[at] == byte {
                continue;
            }
            changed[at] = byte;
            let changed = String::from_utf8(changed).unwrap();
            assert!(refusal(&changed).is_some(), "byte {at} changed to {byte}: {changed}");
        }
    }
}

#[test]
fn each_bit_of_what_was_signed_counts() {
    for Sample { text, refusal } in &*SAMPLES {
        let parts: Vec<_> =
            text.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
        let parts: [Vec<u8>; 3] = parts.try_into().unwrap();
        for part in 0..3 {
            for bit in 0..parts[part].len() * 8 {
                let mut parts = parts.clone();
                parts[part][bit / 8] ^= 1 << (bit % 8);
                let changed = parts.map(base64url).join(".");
                assert!(refusal(&changed).is_some(), "part {part}, bit {bit}: {changed}");
            }
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    for Sample { text, refusal } in &*SAMPLES {
        for at in 0..text.len() {
            assert!(refusal(&text[..at]).is_some(), "the first {at} bytes");
            assert!(at == 0 || refusal(&text[at..]).is_some(), "all but the first {at} bytes");
        }
    }
}

#[test]
fn a_byte_more_at_either_end_is_refused() {
    for Sample { text, refusal } in &*SAMPLES {
        assert_eq!(refusal(text), None);
        for byte in (0..128_u8).map(char::from) {
            assert!(refusal(&format!("{text}{byte}")).is_some(), "{byte:?} after it");
            assert!(refusal(&format!("{byte}{text}")).is_some(), "{byte:?} before it");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn no_changed_character_verifies(
        kind in 0..4_usize, at in any::<prop::sample::Index>(), new in any::<char>(),
    ) {
        let Sample { text, refusal } = &SAMPLES[kind];
        let mut changed: Vec<char> = text.chars().collect();
        let at = at.index(changed.len());
        prop_assume!(changed[at] != new);
        changed[at] = new;
        let changed: String = changed.into_iter().collect();
        prop_assert!(refusal(&changed).is_some());
    }

    #[test]
    fn no_changed_base64url_character_verifies(
        kind in 0..4_usize, at in any::<prop::sample::Index>(), new in "[A-Za-z0-9_-]",
    ) {
        let Sample { text, refusal } = &SAMPLES[kind];
        let at = at.index(text.len());
        prop_assume!(text[at..=at] != new);
        let changed = format!("{}{new}{}", &text[..at], &text[at + 1..]);
        prop_assert!(refusal(&changed).is_some());
    }

    #[test]
    fn nothing_cut_out_put_in_or_swapped_verifies(
        kind in 0..4_usize,
        at in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        insert in ".{0,8}",
    ) {
        let Sample { text, refusal } = &SAMPLES[kind];
        let (at, other) = (at.index(text.len()), other.index(text.len()));
        let (from, to) = (at.min(other), at.max(other));

        let spliced = format!("{}{insert}{}", &text[..from], &text[to..]);
        prop_assert!(spliced == *text || refusal(&spliced).is_some());

        let mut swapped = text.clone().into_bytes();
        swapped.swap(from, to);
        let swapped = String::from_utf8(swapped).unwrap();
        prop_assert!(swapped == *text || refusal(&swapped).is_some());
    }

    #[test]
    fn no_text_at_all_verifies_by_chance(text in "[A-Za-z0-9_.-]{0,600}|.{0,100}") {
        for Sample { refusal, .. } in &*SAMPLES {
            prop_assert!(refusal(&text).is_some());
        }
    }

    #[test]
    fn parts_of_two_statements_do_not_make_a_third(first in 0..4_usize, second in 0..4_usize) {
        prop_assume!(first != second);
        let one: Vec<&str> = SAMPLES[first].text.split('.').collect();
        let two: Vec<&str> = SAMPLES[second].text.split('.').collect();
        for mixed in [
            [two[0], one[1], one[2]],
            [one[0], two[1], one[2]],
            [one[0], one[1], two[2]],
        ] {
            for Sample { refusal, .. } in &*SAMPLES {
                prop_assert!(refusal(&mixed.join(".")).is_some());
            }
        }
    }

    #[test]
    fn what_was_sealed_opens_as_it_was(
        sub in any::<[u8; 16]>(), num in any::<u64>(), line in any::<u64>(), fpr in ".{0,40}",
        lane in prop::sample::select(Lane::ALL.to_vec()),
        aud in "[a-z0-9][a-z0-9-]{0,63}",
        lasts_secs in 101..1_000_000_u64,
    ) {
        let aud: EventId = aud.parse().unwrap();
        let place = Place {
            sub: Id128::from_bytes(sub), num, line, fpr, lane,
            aud: aud.clone(),
            exp: ISSUED.plus_secs(lasts_secs),
            ..Place::sample()
        };
        let sealed = keyring().seal(&place, NOW).unwrap();
        prop_assert_eq!(keyring().open(&sealed, &aud, NOW).unwrap().into_inner(), place);
    }
}

#[test]
fn two_spellings_of_the_same_base64_are_not_both_accepted() {
    // A lenient reader, as many a JOSE library has it.
    let lenient = GeneralPurpose::new(
        &URL_SAFE,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
    );
    let mut respelled_count = 0;
    for Sample { text, refusal } in &*SAMPLES {
        let parts: Vec<&str> = text.split('.').collect();
        for at in 0..3 {
            for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=".chars()
            {
                let part = parts[at];
                for respelled in
                    [format!("{}{last}", &part[..part.len() - 1]), format!("{part}{last}")]
                {
                    let means_the_same = lenient
                        .decode(&respelled)
                        .is_ok_and(|bytes| bytes == lenient.decode(part).unwrap());
                    if respelled == part || !means_the_same {
                        continue;
                    }
                    respelled_count += 1;
                    let mut parts = parts.clone();
                    parts[at] = &respelled;
                    assert_eq!(refusal(&parts.join(".")), Some(Refusal::Malformed), "{respelled}");
                }
            }
        }
    }
    assert!(respelled_count >= 4 * 15, "each signature has 15 other spellings: {respelled_count}");
}

#[test]
fn another_spelling_is_refused_even_if_it_is_what_was_signed() {
    // Claims of a length that leaves bits over.
    let json = (0..3)
        .map(|more| {
            let mut claims = claims::<Place>();
            claims["fpr"] = format!("{:x<more$}", "").into();
            claims.to_string()
        })
        .find(|json| json.len() % 3 != 0)
        .unwrap();
    let header = header::<Place>().to_string();
    let sign = |header: &str, payload: &str| {
        refusal::<Place>(&sign_parts(header, payload, &seed(keys::Role::Edge)))
    };
    let (good_header, good_payload) =
        (URL_SAFE_NO_PAD.encode(&header), URL_SAFE_NO_PAD.encode(&json));
    assert_eq!(sign(&good_header, &good_payload), None);

    let padded = PADDED.encode(&json);
    assert!(padded.ends_with('='));
    assert_eq!(sign(&good_header, &padded), Some(Refusal::Malformed));
    assert_eq!(sign(&good_header, &STANDARD.encode(&json)), Some(Refusal::Malformed));
    assert_eq!(sign(&good_header, &format!("{good_payload}\n")), Some(Refusal::Malformed));
    assert_eq!(sign(&format!("{good_header}="), &good_payload), Some(Refusal::Malformed));
    assert_eq!(sign(&format!(" {good_header}"), &good_payload), Some(Refusal::Malformed));

    let mut trailing = good_payload.into_bytes();
    let last = trailing.last_mut().unwrap();
    *last += 1; // the lowest bit of the last character is behind the last byte
    let trailing = String::from_utf8(trailing).unwrap();
    assert_eq!(sign(&good_header, &trailing), Some(Refusal::Malformed));
}

#[test]
fn claims_in_another_order_need_another_signature() {
    let text = sealed::<Place>();
    let parts: Vec<&str> = text.as_str().split('.').collect();
    let json = serde_json::to_string(&Place::sample()).unwrap();
    assert_eq!(parts[1], URL_SAFE_NO_PAD.encode(&json), "the claims are in the struct's order");

    let sorted = claims::<Place>().to_string();
    assert_ne!(json, sorted);
    let payload = URL_SAFE_NO_PAD.encode(&sorted);
    let reordered = format!("{}.{payload}.{}", parts[0], parts[2]);
    assert_eq!(refusal::<Place>(&reordered), Some(Refusal::Signature));
}

#[test]
fn a_signature_that_is_not_in_lowest_terms_is_refused() {
    // s + L verifies as well as s for a lax verifier (RFC 8032, section 5.1.7).
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    for Sample { text, refusal } in &*SAMPLES {
        let (signed, signature) = text.rsplit_once('.').unwrap();
        let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let mut carry = 0;
        for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            *byte = u8::try_from(sum & 0xff).unwrap();
            carry = sum >> 8;
        }
        let other = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        assert_eq!(refusal(&other), Some(Refusal::Signature));
    }
    assert!(keyring().open(&sealed::<Place>(), &event(), ENDS.minus_secs(1)).is_ok());
}
