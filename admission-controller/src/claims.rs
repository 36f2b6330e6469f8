//! Judges one claim: may this place enter now?
//!
//! Whoever was let in once is let in again, whatever the room does since: the store remembers the
//! pass, and a repeated claim is answered with it. A place whose pass has ended is used up, but for
//! one exception: who missed their turn, or whose pass ended because it was not used, comes back
//! once. They stand as far behind the front as it moves in [`BACK_BEHIND_SECS`], one at a position,
//! so that a crowd that comes back together does not enter together.

use admission_api::{CameBack, PassRules};
use keys::{Front, Lane, Order, Pass, Phase, Place, Risk, Timestamp};

use crate::front;
use crate::turns::Over;

/// A score below this is worth telling the origin about.
const SCORE_LOW_RISK: u8 = 60;
/// Who comes back waits for about this long.
const BACK_BEHIND_SECS: u64 = 20;

/// What is known of the visitor who claims.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// The visitor's pass, if there was a claim that counted.
    pub claimed: Option<Claimed>,
    /// Whether the visitor was judged a likely bot.
    pub suspicion: Option<Flag>,
    /// How often the place was moved to another device.
    pub moves: u64,
}

/// What became of a claim that counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The pass still holds.
    Inside(PassRecord),
    /// It has ended. Told if it ended by its own time, and the visitor has not come back before.
    Ended(Option<Lapsed>),
    /// The visitor has come back, and stands here.
    Back(Back),
}

/// A pass that ended by its own time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lapsed {
    /// The lane that it came through.
    pub lane: Lane,
    /// The number that it came with.
    pub num: u64,
    /// When its claim counted.
    pub first_at: Timestamp,
    /// When it ended.
    pub exp: Timestamp,
}

impl Lapsed {
    /// It was not used for a while, a short while ago.
    fn may_return(&self, rules: &PassRules, now: Timestamp) -> bool {
        let is_for_want_of_use = self.exp < self.first_at.plus_secs(rules.max_secs).floor_to_secs();
        is_for_want_of_use && now < self.exp.plus_secs(rules.return_secs)
    }
}

/// Where a visitor stands who has come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Back {
    /// The lane.
    pub lane: Lane,
    /// The number that the visitor came with.
    pub num: u64,
    /// The position, whatever the number says.
    pub position: u64,
    /// Whether the visitor has used the number before, and let a pass lapse.
    pub had_pass: bool,
}

impl Back {
    /// Why the visitor came back.
    #[must_use]
    pub const fn why(self) -> CameBack {
        if self.had_pass { CameBack::PassExpired } else { CameBack::TurnMissed }
    }
}

/// A judgement that was not made in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// The number kept in the `standard` lane.
    pub standard_num: u64,
    /// The number in the `suspect` lane.
    pub suspect_num: u64,
    /// Whether it was taken back.
    pub is_restored: bool,
}

/// A pass as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassRecord {
    /// The visitor.
    pub sub: keys::Id128,
    /// The pass.
    pub jti: keys::Id128,
    /// The lane it came through.
    pub lane: Lane,
    /// The number it came with.
    pub num: u64,
    /// How likely a bot.
    pub risk: Risk,
    /// Generation of passes.
    pub generation: u64,
    /// When the claim counted.
    pub first_at: Timestamp,
    /// When it was issued or last renewed.
    pub renewed_at: Timestamp,
    /// When it ends unless renewed.
    pub exp: Timestamp,
    /// When the place ends: until then it must be remembered as used.
    pub place_exp: Timestamp,
    /// Whether the visitor has come back once: there is no second time.
    pub has_returned: bool,
}

impl PassRecord {
    /// Stands for a place that was made void before anybody claimed it: it has ended already.
    #[must_use]
    pub fn void(sub: keys::Id128, now: Timestamp, place_exp: Timestamp) -> Self {
        Self {
            sub,
            jti: keys::Id128::from_bytes([0; 16]),
            lane: Lane::Standard,
            num: 0,
            risk: Risk::Low,
            generation: 0,
            first_at: now,
            renewed_at: now,
            exp: now,
            place_exp,
            has_returned: false,
        }
    }

    /// As a pass whose time is over: its visitor may come back, unless that was done before.
    #[must_use]
    pub fn lapsed(&self) -> Option<Lapsed> {
        let Self { lane, num, first_at, exp, has_returned, .. } = *self;
        (!has_returned).then_some(Lapsed { lane, num, first_at, exp })
    }

    /// What a pass says of itself, for a store that has forgotten it. The number is not in it.
    #[must_use]
    pub fn shown(pass: &Pass, place_secs: u64) -> Self {
        Self {
            sub: pass.sub,
            jti: pass.jti,
            lane: pass.lane,
            num: 0,
            risk: pass.risk,
            generation: pass.generation,
            first_at: pass.nbf,
            renewed_at: pass.iat,
            exp: pass.exp,
            place_exp: pass.nbf.plus_secs(place_secs),
            has_returned: false,
        }
    }

    /// The statement to sign, bound to the client by `fpr`. Signing it twice gives the same text.
    #[must_use]
    pub fn claims(&self, iss: keys::Owner, aud: keys::EventId, fpr: String) -> Pass {
        Pass {
            iss,
            aud,
            sub: self.sub,
            jti: self.jti,
            iat: self.renewed_at.floor_to_secs(),
            nbf: self.first_at.floor_to_secs(),
            exp: self.exp.floor_to_secs(),
            lane: self.lane,
            risk: self.risk,
            generation: self.generation,
            fpr,
        }
    }
}

/// The room as far as a claim is concerned.
#[derive(Debug, Clone, Copy)]
pub struct RoomFacts<'a> {
    /// What it is doing.
    pub phase: Phase,
    /// Whether everybody is let in.
    pub is_off: bool,
    /// Every front that was signed and may still be followed.
    pub signed: &'a [Front],
    /// In which order each lane's numbers stand, by [`Lane::index`].
    pub orders: [Order; 3],
    /// Whose turn is over.
    pub over: Over,
    /// How long turns and passes hold.
    pub rules: PassRules,
}

impl RoomFacts<'_> {
    /// Between which positions whoever comes back now may stand: some way behind the front, but
    /// never beyond the numbers that exist, for the front does not go there.
    fn back_behind(&self, lane: Lane, front: u64) -> (u64, u64) {
        let newest = self.signed.last().and_then(|newest| newest.lane(lane));
        let (pace_milli, issued) = newest.map_or((0, 0), |entry| (entry.pace_milli, entry.issued));
        let ahead = (pace_milli.saturating_mul(BACK_BEHIND_SECS) / 1000).max(1);
        let at_most = issued.max(front);
        (front.saturating_add(ahead).min(at_most), at_most)
    }
}

/// What becomes of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was counted before.
    Repeat(PassRecord),
    /// Its pass has ended.
    Used,
    /// It may enter now, with the number `num` of `lane`.
    Enter {
        /// The lane that counts.
        lane: Lane,
        /// The number that counts.
        num: u64,
    },
    /// The front of its lane has not reached it.
    NotYet {
        /// That front.
        front: u64,
    },
    /// The visitor's place is another one.
    Moved {
        /// Its number in the `suspect` lane.
        suspect_num: u64,
    },
    /// The place is on another device now.
    Gone,
    /// The visitor may come back, this once.
    Return {
        /// The lane that counts.
        lane: Lane,
        /// The number that counts.
        num: u64,
        /// The position is at least this, and behind the last one who came back,
        at_least: u64,
        /// and at most this.
        at_most: u64,
        /// Why.
        why: CameBack,
    },
    /// The visitor has come back, and the front has not reached them yet.
    Back {
        /// Where they stand.
        back: Back,
        /// The front of that lane.
        front: u64,
    },
    /// Nobody enters any more.
    Shut,
}

/// Judges a place that was verified and belongs to this line.
#[must_use]
pub fn judge(place: &Place, known: &Known, room: &RoomFacts<'_>, now: Timestamp) -> Verdict {
    if place.moves < known.moves {
        return Verdict::Gone;
    }
    let is_over = match room.phase {
        Phase::SoldOut | Phase::Closed => true,
        // Paused stops the front, not those whom it has called already.
        Phase::Scheduled | Phase::Open | Phase::Paused => false,
    };
    let front_of = |lane| front::effective(room.signed, lane, now);
    let back_to = |lane, num, why| {
        let (at_least, at_most) = room.back_behind(lane, front_of(lane));
        Verdict::Return { lane, num, at_least, at_most, why }
    };
    match &known.claimed {
        Some(Claimed::Inside(record)) => return Verdict::Repeat(record.clone()),
        Some(Claimed::Ended(lapsed)) => {
            return match lapsed.filter(|lapsed| lapsed.may_return(&room.rules, now)) {
                Some(_) if is_over => Verdict::Shut,
                Some(Lapsed { lane, num, .. }) => back_to(lane, num, CameBack::PassExpired),
                None => Verdict::Used,
            };
        }
        Some(Claimed::Back(_)) if is_over => return Verdict::Shut,
        Some(Claimed::Back(back)) => {
            let Back { lane, num, position, .. } = *back;
            let front = front_of(lane);
            return if room.is_off {
                Verdict::Enter { lane, num }
            } else if position > front {
                Verdict::Back { back: *back, front }
            } else if position <= room.over.missed[lane.index()] {
                Verdict::Used
            } else {
                Verdict::Enter { lane, num }
            };
        }
        None => {}
    }
    let (lane, num) = match (place.lane, known.suspicion) {
        (Lane::Suspect, Some(flag)) if flag.is_restored => (Lane::Standard, flag.standard_num),
        (Lane::Priority | Lane::Standard, Some(flag)) if !flag.is_restored => {
            return Verdict::Moved { suspect_num: flag.suspect_num };
        }
        (lane, _) => (lane, place.num),
    };
    if is_over {
        return Verdict::Shut;
    }
    if room.is_off {
        return Verdict::Enter { lane, num };
    }
    let front = front_of(lane);
    let Some(position) = room.orders[lane.index()].position(num).filter(|at| *at <= front) else {
        return Verdict::NotYet { front };
    };
    // Nobody stands at 0: whose number that is, the store refuses.
    let is_up_to = |limit: [u64; 3]| (1..=limit[lane.index()]).contains(&position);
    if is_up_to(room.over.lost) {
        Verdict::Used
    } else if is_up_to(room.over.missed) {
        back_to(lane, num, CameBack::TurnMissed)
    } else {
        Verdict::Enter { lane, num }
    }
}

/// How likely a bot, as the pass says it.
#[must_use]
pub const fn risk(lane: Lane, score: u8) -> Risk {
    match lane {
        Lane::Suspect => Risk::High,
        Lane::Priority | Lane::Standard if score < SCORE_LOW_RISK => Risk::Medium,
        Lane::Priority | Lane::Standard => Risk::Low,
    }
}

#[cfg(test)]
mod tests {
    use keys::{Id128, LaneFront, PollHint};

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const SUB: Id128 = Id128::from_bytes([7; 16]);

    fn place(lane: Lane, num: u64) -> Place {
        Place {
            iss: "edge-1".parse().unwrap(),
            aud: "e".parse().unwrap(),
            sub: SUB,
            lane,
            num,
            iat: NOW,
            exp: NOW.plus_secs(60),
            line: 1,
            fpr: String::new(),
            back: None,
            moves: 0,
        }
    }

    /// A front that stands at 10 in every lane.
    fn signed() -> Front {
        let entry = |lane| LaneFront { lane, f0: 10, pace_milli: 0, limit: 10, issued: 50 };
        Front {
            iss: "controller-1".parse().unwrap(),
            aud: "e".parse().unwrap(),
            iat: NOW,
            exp: NOW.plus_secs(60),
            line: 1,
            epoch: 1,
            seq: 1,
            phase: Phase::Open,
            opens_at: None,
            t0: NOW,
            until: NOW.plus_secs(10),
            lanes: Lane::ALL.map(entry).to_vec(),
            reason: String::new(),
            draw: None,
            stock: None,
            poll: PollHint { near_secs: 1, far_secs: 15 },
            message: None,
        }
    }

    fn record() -> PassRecord {
        PassRecord {
            sub: SUB,
            jti: Id128::from_bytes([8; 16]),
            lane: Lane::Standard,
            num: 3,
            risk: Risk::Low,
            generation: 1,
            first_at: NOW,
            renewed_at: NOW,
            exp: NOW.plus_secs(600),
            place_exp: NOW.plus_secs(3600),
            has_returned: false,
        }
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn a_claim_counts_when_the_front_has_reached_it_and_the_room_lets_people_in() {
        use Lane::{Standard, Suspect};
        use Phase::{Closed, Open, Paused, Scheduled, SoldOut};
        let known = |claimed, suspicion| Known { claimed, suspicion, moves: 0 };
        let flag = |is_restored| Some(Flag { standard_num: 5, suspect_num: 20, is_restored });
        let inside = || Some(Claimed::Inside(record()));
        //    lane      num  known                               phase      off    verdict
        check(Standard,  10, known(None, None),                  Open,      false, Verdict::Enter { lane: Standard, num: 10 });
        check(Standard,  11, known(None, None),                  Open,      false, Verdict::NotYet { front: 10 });
        check(Standard,  11, known(None, None),                  Open,      true,  Verdict::Enter { lane: Standard, num: 11 });
        check(Standard,  10, known(None, None),                  Paused,    false, Verdict::Enter { lane: Standard, num: 10 });
        check(Standard,  11, known(None, None),                  Scheduled, false, Verdict::NotYet { front: 10 });
        check(Standard,  10, known(None, None),                  SoldOut,   false, Verdict::Shut);
        check(Standard,  10, known(None, None),                  Closed,    true,  Verdict::Shut);
        check(Standard,  10, known(inside(), None),              SoldOut,   false, Verdict::Repeat(record()));
        check(Standard,  99, known(inside(), flag(false)),       Open,      false, Verdict::Repeat(record()));
        check(Standard,  10, known(Some(Claimed::Ended(None)), None), Open, true,  Verdict::Used);
        check(Standard,   5, known(None, flag(false)),           Open,      true,  Verdict::Moved { suspect_num: 20 });
        check(Standard,   5, known(None, flag(true)),            Open,      false, Verdict::Enter { lane: Standard, num: 5 });
        check(Suspect,   20, known(None, flag(false)),           Open,      false, Verdict::NotYet { front: 10 });
        check(Suspect,   20, known(None, flag(true)),            Open,      false, Verdict::Enter { lane: Standard, num: 5 });
    }

    #[track_caller]
    fn check(lane: Lane, num: u64, known: Known, phase: Phase, is_off: bool, expected: Verdict) {
        let signed = [signed()];
        let orders = [Order::ByNumber; 3];
        let room = RoomFacts { phase, is_off, orders, ..room(&signed) };
        assert_eq!(judge(&place(lane, num), &known, &room, NOW), expected);
    }

    fn room(signed: &[Front]) -> RoomFacts<'_> {
        RoomFacts {
            phase: Phase::Open,
            is_off: false,
            signed,
            orders: [Order::ByNumber; 3],
            over: Over::default(),
            rules: PassRules { max_secs: 1000, return_secs: 100, ..PassRules::default() },
        }
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn who_missed_a_turn_or_let_a_pass_lapse_comes_back_once() {
        use CameBack::{PassExpired, TurnMissed};
        use Phase::{Open, SoldOut};
        let over = Over { missed: [0, 6, 0], lost: [0, 2, 0] };
        let lapsed = |from_secs: u64, ago_secs: u64| {
            let (first_at, exp) = (NOW.minus_secs(from_secs), NOW.minus_secs(ago_secs));
            Some(Claimed::Ended(Some(Lapsed { lane: Lane::Standard, num: 3, first_at, exp })))
        };
        let at = |position| Back { lane: Lane::Standard, num: 3, position, had_pass: false };
        let back = |position| Some(Claimed::Back(at(position)));
        let returns = |num, why| Verdict::Return { lane: Lane::Standard, num, at_least: 50, at_most: 50, why };
        let enters = |num| Verdict::Enter { lane: Lane::Standard, num };
        let check = |num, claimed, phase, is_off, expected: Verdict| {
            // Two positions a second: who comes back stands forty behind the front.
            let mut signed = [signed()];
            signed[0].lanes.iter_mut().for_each(|lane| lane.pace_milli = 2000);
            let room = RoomFacts { phase, is_off, over, ..room(&signed) };
            let known = Known { claimed, ..Known::default() };
            let judged = judge(&place(Lane::Standard, num), &known, &room, NOW);
            assert_eq!(judged, expected, "{num} {known:?}");
        };
        //    num  known             phase    off    verdict
        check(7,   None,             Open,    false, enters(7));
        check(6,   None,             Open,    false, returns(6, TurnMissed));
        check(3,   None,             Open,    false, returns(3, TurnMissed));
        check(2,   None,             Open,    false, Verdict::Used);           // too late for that, too
        check(2,   None,             Open,    true,  enters(2));
        check(6,   None,             SoldOut, false, Verdict::Shut);
        check(3,   lapsed(700, 50),  Open,    false, returns(3, PassExpired));
        check(3,   lapsed(700, 100), Open,    false, Verdict::Used);           // too late
        check(3,   lapsed(1050, 50), Open,    false, Verdict::Used);           // had all its time
        check(3,   lapsed(700, 50),  SoldOut, false, Verdict::Shut);
        check(3,   back(11),         Open,    false, Verdict::Back { back: at(11), front: 10 });
        check(3,   back(10),         Open,    false, enters(3));
        check(3,   back(6),          Open,    false, Verdict::Used);           // missed again
        check(3,   back(6),          Open,    true,  enters(3));
        check(3,   back(10),         SoldOut, false, Verdict::Shut);
    }

    #[test]
    fn a_place_that_was_moved_to_another_device_is_void_even_inside() {
        let signed = [signed()];
        let known = |claimed| Known { claimed, moves: 2, ..Known::default() };
        let judged = |moves, claimed| {
            let place = Place { moves, ..place(Lane::Standard, 3) };
            judge(&place, &known(claimed), &room(&signed), NOW)
        };
        assert_eq!(judged(1, None), Verdict::Gone);
        assert_eq!(judged(1, Some(Claimed::Inside(record()))), Verdict::Gone);
        assert_eq!(judged(2, None), Verdict::Enter { lane: Lane::Standard, num: 3 });
        assert_eq!(judged(2, Some(Claimed::Inside(record()))), Verdict::Repeat(record()));
    }

    #[test]
    fn before_the_draw_nobody_has_a_turn_and_after_it_the_position_counts() {
        let order = |counts| {
            let draw = keys::Draw::announced(b"secret", keys::Beacon::None);
            let opened = keys::Opened { secret: "c2VjcmV0".into(), beacon: String::new(), counts };
            let draw = keys::Draw { opened: Some(opened), ..draw };
            draw.order(&"e".parse().unwrap(), 1, Lane::Standard).unwrap()
        };
        let drawn = order([0, 40, 0]);
        let judged = |num, order| {
            let (signed, orders) = ([signed()], [order; 3]);
            let room = RoomFacts { orders, ..room(&signed) };
            judge(&place(Lane::Standard, num), &Known::default(), &room, NOW)
        };
        for num in 1..=50 {
            assert_eq!(judged(num, Order::Unknown), Verdict::NotYet { front: 10 });
            let is_in = drawn.position(num).unwrap() <= 10;
            assert_eq!(matches!(judged(num, drawn), Verdict::Enter { .. }), is_in, "{num}");
        }
        let entered = (1..=50).filter(|num| judged(*num, drawn) != Verdict::NotYet { front: 10 });
        assert_eq!(entered.count(), 10);
    }

    #[test]
    fn the_pass_says_how_likely_a_bot_is_inside() {
        assert_eq!(risk(Lane::Suspect, 99), Risk::High);
        assert_eq!(risk(Lane::Standard, 59), Risk::Medium);
        assert_eq!(risk(Lane::Standard, 60), Risk::Low);
    }
}
