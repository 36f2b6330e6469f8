//! Who is each visitor, and what have they made up their mind to do?
//!
//! A person follows from the seed and their index alone, so a run can be repeated, and nothing
//! about the crowd is stored before it arrives.

use serde::Serialize;

use crate::rng::Rng;

/// What a visitor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A fan who buys.
    Buyer,
    /// A fan who takes seats and thinks better of it.
    GivesUp,
    /// A fan who is not there when the turn comes.
    NoShow,
    /// A script that buys.
    Bot,
    /// A fan who only looks.
    Looker,
}

impl Kind {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 5] = [Self::Buyer, Self::GivesUp, Self::NoShow, Self::Bot, Self::Looker];

    /// The name used in reports.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Buyer => "buyer",
            Self::GivesUp => "gives up",
            Self::NoShow => "no-show",
            Self::Bot => "bot",
            Self::Looker => "looker",
        }
    }
}

/// Shares of the kinds; who is left over is a [`Kind::Looker`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Shares {
    buyers: f64,
    gives_up: f64,
    no_shows: f64,
    bots: f64,
}

/// Why shares were refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SharesError {
    /// One of them is no share.
    #[error("share of {what} is {value}, expected 0 to 1")]
    OutOfRange {
        /// Which.
        what: &'static str,
        /// What was given.
        value: f64,
    },
    /// Together they are more than everybody.
    #[error("shares add up to {sum}, expected at most 1")]
    TooMany {
        /// The sum.
        sum: f64,
    },
}

impl Shares {
    /// Shares, each 0 to 1 and together at most 1.
    ///
    /// # Errors
    /// If they are not.
    pub fn new(buyers: f64, gives_up: f64, no_shows: f64, bots: f64) -> Result<Self, SharesError> {
        let all =
            [("buyers", buyers), ("give-up", gives_up), ("no-show", no_shows), ("bots", bots)];
        for (what, value) in all {
            if !(0.0..=1.0).contains(&value) {
                return Err(SharesError::OutOfRange { what, value });
            }
        }
        let sum = buyers + gives_up + no_shows + bots;
        if sum > 1.000_001 {
            return Err(SharesError::TooMany { sum });
        }
        Ok(Self { buyers, gives_up, no_shows, bots })
    }
}

impl Default for Shares {
    fn default() -> Self {
        Self { buyers: 0.8, gives_up: 0.1, no_shows: 0.05, bots: 0.05 }
    }
}

/// How a payment goes, in the sandbox's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payment {
    /// Accepted.
    Ok,
    /// Refused at first, accepted with another card.
    DeclinedFirst,
    /// No answer; asked again until it is known.
    Timeout,
    /// Accepted after two seconds.
    Slow,
}

impl Payment {
    /// The token of the first attempt.
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self {
            Self::Ok => "tok_ok",
            Self::DeclinedFirst => "tok_declined",
            Self::Timeout => "tok_timeout",
            Self::Slow => "tok_slow",
        }
    }
}

/// Which seats are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// The part of the house that everybody wants: this is where conflicts come from.
    Hot,
    /// Anywhere, chosen on the map.
    Anywhere,
    /// Whatever the shop thinks best.
    Best,
}

/// One visitor's mind.
#[derive(Debug, Clone)]
pub struct Person {
    /// What they are.
    pub kind: Kind,
    /// How many seats they want, 1 to 4.
    pub quantity: u32,
    /// Which.
    pub wish: Wish,
    /// How paying goes.
    pub payment: Payment,
    /// Whether they say goodbye when they leave without buying, or just close the page.
    pub is_polite: bool,
    /// An index to choose a browser with.
    pub browser: usize,
    /// Their chance from here on.
    pub rng: Rng,
}

impl Person {
    /// Number `index` of the crowd of `seed`.
    #[must_use]
    pub fn nth(seed: u64, index: u64, shares: &Shares) -> Self {
        let mut rng = Rng::nth(seed, index);
        let kind = kind(rng.unit(), shares);
        let quantity = match rng.below(100) {
            0..25 => 1,
            25..70 => 2,
            70..82 => 3,
            _ => 4,
        };
        let wish = match (kind, rng.below(100)) {
            (Kind::Bot, _) | (_, 80..) => Wish::Best,
            (_, 0..50) => Wish::Hot,
            (_, 50..80) => Wish::Anywhere,
        };
        let payment = match rng.below(100) {
            0..90 => Payment::Ok,
            90..95 => Payment::DeclinedFirst,
            95..98 => Payment::Timeout,
            _ => Payment::Slow,
        };
        let is_polite = rng.chance(0.5);
        let browser = usize::try_from(rng.below(1 << 16)).unwrap_or(0);
        Self { kind, quantity, wish, payment, is_polite, browser, rng }
    }
}

fn kind(draw: f64, shares: &Shares) -> Kind {
    let mut below = shares.buyers;
    if draw < below {
        return Kind::Buyer;
    }
    below += shares.gives_up;
    if draw < below {
        return Kind::GivesUp;
    }
    below += shares.no_shows;
    if draw < below {
        return Kind::NoShow;
    }
    below += shares.bots;
    if draw < below { Kind::Bot } else { Kind::Looker }
}

/// `quantity` seats of those that are free: neighbours by number if there are any. Empty if there
/// are not enough.
///
/// `is_free(seat)` is what the map showed; it may be old, and then the shop says so.
#[must_use]
pub fn choose(
    wish: Wish,
    quantity: u32,
    seats_total: u32,
    is_free: impl Fn(u32) -> bool,
    rng: &mut Rng,
) -> Vec<u32> {
    let hot_seats = (seats_total / 20).max(64).min(seats_total);
    let hot = (wish == Wish::Hot).then(|| choose_below(hot_seats, quantity, &is_free, rng));
    match hot {
        Some(seats) if !seats.is_empty() => seats,
        Some(_) | None => choose_below(seats_total, quantity, &is_free, rng),
    }
}

/// From a random seat on, around the end: the first run that is long enough, else any that are
/// free.
fn choose_below(
    seats_total: u32,
    quantity: u32,
    is_free: &impl Fn(u32) -> bool,
    rng: &mut Rng,
) -> Vec<u32> {
    if quantity == 0 || seats_total < quantity {
        return Vec::new();
    }
    let start = u32::try_from(rng.below(u64::from(seats_total))).unwrap_or(0);
    let around = (start..seats_total).chain(0..start);
    let mut run: Vec<u32> = Vec::new();
    let mut any: Vec<u32> = Vec::new();
    for seat in around.filter(|seat| is_free(*seat)) {
        if run.last().is_some_and(|last| last + 1 != seat) {
            run.clear();
        }
        run.push(seat);
        if run.len() == quantity as usize {
            return run;
        }
        if any.len() < quantity as usize {
            any.push(seat);
        }
    }
    if any.len() == quantity as usize { any } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crowd_has_the_shares_it_was_asked_for() {
        let shares = Shares::new(0.6, 0.1, 0.05, 0.05).unwrap();
        let count =
            |kind| (0..10_000).filter(|index| Person::nth(3, *index, &shares).kind == kind).count();
        for (kind, share) in [
            (Kind::Buyer, 6_000),
            (Kind::GivesUp, 1_000),
            (Kind::NoShow, 500),
            (Kind::Bot, 500),
            (Kind::Looker, 2_000),
        ] {
            assert!(count(kind).abs_diff(share) < 200, "{kind:?}: {}", count(kind));
        }
    }

    #[test]
    fn a_person_follows_from_seed_and_index() {
        let person = |seed, index| format!("{:?}", Person::nth(seed, index, &Shares::default()));
        assert_eq!(person(1, 2), person(1, 2));
        assert_ne!(person(1, 2), person(1, 3));
        assert_ne!(person(1, 2), person(2, 2));
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn shares_are_shares() {
        //     buyers give up no-show  bots
        check([ 0.8,   0.1,    0.05,   0.05], true);
        check([ 1.0,   0.0,    0.0,    0.0 ], true);
        check([ 1.0,   0.1,    0.0,    0.0 ], false);
        check([-0.1,   0.1,    0.0,    0.0 ], false);
        check([ 1.1,   0.0,    0.0,    0.0 ], false);
        check([ 0.1,   0.0,    0.0,  f64::NAN], false);
    }

    #[track_caller]
    fn check([buyers, gives_up, no_shows, bots]: [f64; 4], expected: bool) {
        assert_eq!(Shares::new(buyers, gives_up, no_shows, bots).is_ok(), expected);
    }

    #[test]
    fn chosen_seats_are_free_and_mostly_together() {
        let mut rng = Rng::new(1);
        let free = [3_u32, 5, 6, 9];
        let mut together = 0;
        for _ in 0..100 {
            let pair = choose(Wish::Anywhere, 2, 10, |seat| free.contains(&seat), &mut rng);
            together += u32::from(pair == [5, 6]);
            let mut three = choose(Wish::Hot, 3, 10, |seat| free.contains(&seat), &mut rng);
            three.sort_unstable();
            three.dedup();
            assert!(three.len() == 3 && three.iter().all(|seat| free.contains(seat)));
        }
        assert!(together > 70, "{together} of 100 pairs were neighbours");
        assert!(choose(Wish::Hot, 4, 10, |seat| seat < 3, &mut rng).is_empty());
        assert!(choose(Wish::Hot, 1, 0, |_| true, &mut rng).is_empty());
    }

    #[test]
    fn the_hot_zone_is_small() {
        let mut rng = Rng::new(1);
        for _ in 0..100 {
            let seats = choose(Wish::Hot, 4, 80_000, |_| true, &mut rng);
            assert!(seats.iter().all(|seat| *seat < 4_000), "{seats:?}");
        }
    }
}
