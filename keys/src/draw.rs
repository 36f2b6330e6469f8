//! The draw: a random order among those who came before the opening, which anyone can check.
//!
//! Before the opening the controller publishes a commitment to a secret and says which beacon will
//! be mixed in; at the opening it publishes how many there are, the beacon's value and the secret.
//! From these alone everybody computes every position: a keyed permutation of the numbers, so
//! nothing is stored for anyone. Nobody outside can choose the order, for the secret was not known.
//! The operator cannot either, as far as the beacon's value was unknown when the last of the counted
//! came: whoever knows the secret and the value can try what one number more or less would give.
//!
//! The permutation is a balanced Feistel network with [`ROUNDS`] rounds of HMAC-SHA256 over the
//! next even power of two, walked until it is inside (Black and Rogaway, "Ciphers with Arbitrary
//! Finite Domains", CT-RSA 2002). With this many rounds it is used where four would do for large
//! numbers of visitors, because small ones are where few rounds show.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::fields::{EventId, Lane};

/// Rounds of the network.
pub const ROUNDS: u8 = 10;
/// Begins every message that is hashed, so that no other use of the secret collides.
const DOMAIN: &[u8] = b"waiting-room draw v1";

/// What is published of a draw, as a member of the front.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draw {
    /// SHA-256 of the secret, base64url: published before the opening.
    pub commitment: String,
    /// What will be mixed in: said before the opening.
    pub beacon: Beacon,
    /// What is published at the opening; absent before.
    pub opened: Option<Opened>,
}

/// Where the public part of the seed comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "snake_case", deny_unknown_fields)]
pub enum Beacon {
    /// Nowhere: who knows the secret knows the order before the opening, and this says so openly.
    None,
    /// A value that the operator gives after the commitment was published: a lottery's numbers, a
    /// stock index.
    Operator {
        /// What value it will be, for people.
        of: String,
    },
    /// A round of a drand network (<https://drand.love>), known only after it has taken place.
    Drand {
        /// The chain's hash, hexadecimal.
        chain: String,
        /// The round.
        round: u64,
    },
}

/// What the opening reveals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opened {
    /// The secret, base64url.
    pub secret: String,
    /// The beacon's value, base64url; empty if there is none.
    pub beacon: String,
    /// How many numbers of each lane are drawn among, in the order of [`Lane::ALL`].
    pub counts: [u64; 3],
}

/// Why an opened draw is not to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DrawError {
    /// Secret, beacon or commitment are not base64url.
    #[error("secret, beacon or commitment is not unpadded base64url")]
    NotBase64,
    /// The secret is not the one that was committed to.
    #[error("the secret is not the one that was committed to")]
    Commitment,
    /// The beacon's value is given though there is no beacon, or missing though there is one.
    #[error("the beacon's value does not fit the beacon that was announced")]
    Beacon,
}

impl Draw {
    /// A draw that has not been opened.
    #[must_use]
    pub fn announced(secret: &[u8], beacon: Beacon) -> Self {
        let commitment = URL_SAFE_NO_PAD.encode(Sha256::digest(secret));
        Self { commitment, beacon, opened: None }
    }

    /// The lane's order; unknown before the opening.
    ///
    /// # Errors
    /// If what was revealed does not fit what was announced.
    pub fn order(&self, event: &EventId, line: u64, lane: Lane) -> Result<Order, DrawError> {
        let Some(opened) = &self.opened else { return Ok(Order::Unknown) };
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| DrawError::NotBase64);
        let (secret, beacon) = (decode(&opened.secret)?, decode(&opened.beacon)?);
        if decode(&self.commitment)? != Sha256::digest(&secret).as_slice() {
            return Err(DrawError::Commitment);
        }
        if beacon.is_empty() != (self.beacon == Beacon::None) {
            return Err(DrawError::Beacon);
        }
        let count = opened.counts[lane.index()];
        let facts = SeedFacts { secret: &secret, beacon: &beacon, event, line, lane, count };
        Ok(Order::Drawn { seed: Seed::derive(facts), count })
    }
}

/// The order in which one lane's numbers stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// By number: there is no draw.
    #[default]
    ByNumber,
    /// There will be a draw, and nobody knows yet.
    Unknown,
    /// Drawn among the first `count` numbers; who came later stands where the number says.
    Drawn {
        /// The lane's seed.
        seed: Seed,
        /// How many are drawn among.
        count: u64,
    },
}

impl Order {
    /// The position of a number, both counted from 1; `None` while nobody knows.
    #[must_use]
    pub fn position(&self, num: u64) -> Option<u64> {
        match self {
            Self::ByNumber => Some(num),
            Self::Unknown => None,
            Self::Drawn { seed, count } => {
                Some(num.checked_sub(1).map_or(0, |number| seed.permute(*count, number) + 1))
            }
        }
    }
}

/// The seed of one lane's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed([u8; 32]);

/// What a lane's seed is derived from.
#[derive(Debug, Clone, Copy)]
pub struct SeedFacts<'a> {
    /// Revealed at the opening; its SHA-256 was published before.
    pub secret: &'a [u8],
    /// The beacon's value; empty if there is none.
    pub beacon: &'a [u8],
    /// The event.
    pub event: &'a EventId,
    /// The line's generation.
    pub line: u64,
    /// The lane.
    pub lane: Lane,
    /// How many numbers are drawn among.
    pub count: u64,
}

impl Seed {
    /// `HMAC-SHA256(secret, domain ‖ beacon ‖ event ‖ line ‖ lane ‖ count)`; texts are preceded by
    /// their length in four bytes, numbers are eight bytes, all big-endian.
    ///
    /// # Panics
    /// Never: HMAC takes keys of any length.
    #[must_use]
    pub fn derive(facts: SeedFacts<'_>) -> Self {
        let mut mac = keyed(facts.secret);
        for text in [DOMAIN, facts.beacon, facts.event.as_str().as_bytes()] {
            update_text(&mut mac, text);
        }
        mac.update(&facts.line.to_be_bytes());
        update_text(&mut mac, facts.lane.label().as_bytes());
        mac.update(&facts.count.to_be_bytes());
        Self(mac.finalize().into_bytes().into())
    }

    /// Where `number` of `0..count` stands: a permutation of `0..count`. Numbers from `count` on
    /// came later and stand where they are.
    #[must_use]
    pub fn permute(&self, count: u64, number: u64) -> u64 {
        if number >= count {
            return number;
        }
        let half_bits = half_bits(count);
        let mut at = number;
        loop {
            at = self.network(half_bits, at);
            if at < count {
                return at;
            }
        }
    }

    fn network(&self, half_bits: u32, number: u64) -> u64 {
        let mask = (1_u64 << half_bits) - 1;
        let (mut left, mut right) = (number >> half_bits, number & mask);
        for round in 0..ROUNDS {
            let mut mac = keyed(&self.0);
            mac.update(&[round]);
            mac.update(&right.to_be_bytes());
            let digest: [u8; 32] = mac.finalize().into_bytes().into();
            let head = digest.first_chunk::<8>().copied().unwrap_or_default();
            (left, right) = (right, left ^ (u64::from_be_bytes(head) & mask));
        }
        left << half_bits | right
    }
}

/// Half the bits of the smallest even power of two that is not below `count`; at least one.
fn half_bits(count: u64) -> u32 {
    let bits = u64::BITS - count.saturating_sub(1).leading_zeros();
    bits.div_ceil(2).max(1)
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn update_text(mac: &mut Hmac<Sha256>, text: &[u8]) {
    let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
    mac.update(&len.to_be_bytes());
    mac.update(text);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn seed(secret: u64, count: u64) -> Seed {
        Seed::derive(SeedFacts {
            secret: &secret.to_be_bytes(),
            beacon: b"beacon",
            event: &"final".parse().unwrap(),
            line: 1,
            lane: Lane::Standard,
            count,
        })
    }

    #[test]
    fn every_number_gets_one_place_and_every_place_one_number() {
        for count in [1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 1000, 4097] {
            let seed = seed(count, count);
            let places: HashSet<u64> =
                (0..count).map(|number| seed.permute(count, number)).collect();
            assert_eq!(places.len() as u64, count);
            assert!(places.iter().all(|place| *place < count), "{count}");
            assert_eq!(seed.permute(count, count), count);
            assert_eq!(seed.permute(count, count + 7), count + 7);
        }
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn what_is_revealed_must_fit_what_was_announced() {
        let secret = URL_SAFE_NO_PAD.encode("secret");
        let operator = Beacon::Operator { of: "the lottery of 1 May".into() };
        //    announced           revealed secret    beacon     answer
        check(&Beacon::None,      &secret,           "",        Ok(()));
        check(&Beacon::None,      &secret,           "AAAA",    Err(DrawError::Beacon));
        check(&operator,          &secret,           "AAAA",    Ok(()));
        check(&operator,          &secret,           "",        Err(DrawError::Beacon));
        check(&Beacon::None,      "b3RoZXI",         "",        Err(DrawError::Commitment));
        check(&Beacon::None,      "not base64!",     "",        Err(DrawError::NotBase64));
    }

    #[track_caller]
    fn check(announced: &Beacon, secret: &str, beacon: &str, expected: Result<(), DrawError>) {
        let opened = Opened { secret: secret.into(), beacon: beacon.into(), counts: [0, 10, 0] };
        let draw = Draw { opened: Some(opened), ..Draw::announced(b"secret", announced.clone()) };
        let order = draw.order(&"final".parse().unwrap(), 1, Lane::Standard);
        assert_eq!(order.map(|_| ()), expected);
    }

    #[test]
    fn before_the_opening_nobody_knows_and_later_comers_stand_behind() {
        let event = "final".parse().unwrap();
        let mut draw = Draw::announced(b"secret", Beacon::None);
        let unknown = draw.order(&event, 1, Lane::Standard).unwrap();
        assert_eq!((unknown, unknown.position(1)), (Order::Unknown, None));
        let secret = URL_SAFE_NO_PAD.encode("secret");
        draw.opened = Some(Opened { secret, beacon: String::new(), counts: [0, 10, 0] });
        let order = draw.order(&event, 1, Lane::Standard).unwrap();
        let mut positions: Vec<u64> = (1..=12).map(|num| order.position(num).unwrap()).collect();
        assert_eq!(positions[10..], [11, 12]);
        positions.sort_unstable();
        assert_eq!(positions, (1..=12).collect::<Vec<u64>>());
    }

    /// Pearson's statistic of counts that should all be equal.
    fn chi_squared(counts: &[u64]) -> f64 {
        let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
        counts.iter().map(|count| (*count as f64 - expected).powi(2) / expected).sum()
    }

    #[test]
    fn a_number_stands_anywhere_with_the_same_chance() {
        // 99.9 % quantiles of χ² with count - 1 degrees of freedom.
        for (count, bound) in [(4_u64, 16.27), (7, 22.46), (16, 37.70), (50, 85.35)] {
            for number in [0, count / 2, count - 1] {
                let mut counts = vec![0; usize::try_from(count).unwrap()];
                for secret in 0..4000 {
                    let place = seed(secret, count).permute(count, number);
                    counts[usize::try_from(place).unwrap()] += 1;
                }
                let statistic = chi_squared(&counts);
                assert!(statistic < bound, "{number} of {count}: {statistic} {counts:?}");
            }
        }
    }

    #[test]
    fn who_came_together_does_not_stand_together() {
        // The distance of two neighbours, over many draws, in ten classes of equal chance.
        const COUNT: u64 = 1000;
        let mut counts = [0_u64; 10];
        for secret in 0..3000 {
            let seed = seed(secret, COUNT);
            let (a, b) = (seed.permute(COUNT, 41), seed.permute(COUNT, 42));
            let distance = (b + COUNT - a - 1) % COUNT; // 0..=998, each with the same chance
            counts[usize::try_from(distance * 10 / (COUNT - 1)).unwrap()] += 1;
        }
        assert!(chi_squared(&counts) < 27.88, "{counts:?}"); // 99.9 %, 9 degrees
    }
}
