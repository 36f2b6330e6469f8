//! Each promise is broken on purpose, and the checker names it.

use keys::{Id128, LaneFront, Phase, PollHint};

use super::*;
use crate::history::{Admitted, Held, Paying, TicketSeen};

/// What one test breaks.
type Fault = fn(&mut History);

#[test]
fn a_sound_history_is_clean() {
    let verdict = check(&sound(), bounds());
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert_eq!(verdict.checks.len(), 15);
    assert!(verdict.checks.iter().all(|check| check.checked_total > 0), "{verdict:#?}");
}

#[test]
#[rustfmt::skip] // reads in columns
fn every_planted_fault_is_caught_and_named() {
    use Promise::*;
    //      what is wrong                     what it breaks
    breaks("two orders with one seat",        &[SeatSoldOnce, SeatOwnedOnce, OrdersAddUp, TicketsLive], |h| h.orders[1].seats[0] = 10);
    breaks("held while held",                 &[SeatOwnedOnce], |h| h.holds.push(held("h9", &[30], 30_500, 40_000)));
    breaks("held while sold",                 &[SeatOwnedOnce], |h| h.holds.push(held("h9", &[10], 90_000, 99_000)));
    breaks("held through another hold",       &[SeatOwnedOnce], |h| {
        h.holds.push(held("h8", &[50], 10_000, 90_000));
        h.holds.push(held("h9", &[50], 20_000, 21_000));
        h.holds.push(held("hA", &[50], 60_000, 61_000)); // after h9, still within h8
    });
    breaks("sold while another holds it",     &[SeatOwnedOnce], |h| h.holds.push(held("h9", &[10], 29_000, 99_000)));
    breaks("above the front",                 &[NoneAboveFront], |h| h.admitted[1].position = Some(13));
    breaks("entered a second too early",      &[NoneAboveFront], |h| h.admitted[1].at = millis(10_900));
    breaks("above the front of its own lane", &[NoneAboveFront], |h| h.admitted[1].lane = Lane::Suspect);
    breaks("two passes for one",              &[AdmittedOnce], |h| { let mut again = h.admitted[0].clone(); again.jti = id(99); h.admitted.push(again); });
    breaks("one pass for two",                &[AdmittedOnce], |h| h.admitted[1].jti = h.admitted[0].jti);
    breaks("one number for two",              &[NumberOnce], |h| h.joined[1].num = 1);
    breaks("last in, first numbered",         &[OrderOfJoins], |h| { h.joined[2].sent_at = millis(9_000); h.joined[2].at = millis(9_010); h.joined[2].num = 0; });
    breaks("a place of somebody else",        &[PlaceKept], |h| h.joined.push(Joined { is_first: false, sub: id(98), num: 50, ..h.joined[2].clone() }));
    breaks("another number of the lane",      &[PlaceKept], |h| h.joined.push(Joined { is_first: false, num: 50, ..h.joined[2].clone() }));
    breaks("charged more than the prices",    &[OrdersAddUp, ChargesMatch], |h| h.orders[0].total += 1);
    breaks("a ticket is missing",             &[OrdersAddUp], |h| h.orders[0].tickets = 1);
    breaks("other seats than were held",      &[OrdersAddUp, TicketsLive], |h| h.orders[0].seats = vec![70, 71]);
    breaks("one order for two holds",         &[OrdersAddUp, TicketsLive, ChargesMatch], |h| h.orders[1].order = "o1".into());
    breaks("an order is gone",                &[OrdersLast], |h| h.orders[0].reread = Reread::Gone);
    breaks("an order has changed",            &[OrdersLast], |h| h.orders[0].reread = Reread::Changed("seats".into()));
    breaks("sold twice with a ticket for each", &[SeatSoldOnce, SeatOwnedOnce, TicketsLive], |h| {
        h.orders.push(sold("o3", "h4", &[10], 95_000));
        h.tickets.push(ticket("o3", 10, true));
        charges(h).push(charge("o3", 100));
    });
    breaks("held while it is being paid",     &[SeatOwnedOnce], |h| h.holds.push(held("h9", &[60], 41_000, 45_000)));
    breaks("a ticket is void",                &[TicketsLive],  |h| h.tickets[0].is_live = false);
    breaks("one ticket for two seats",        &[TicketsLive],  |h| h.tickets[1].ticket = h.tickets[0].ticket.clone());
    breaks("given back and still live",       &[TicketsLive, ChargesMatch], |h| h.returned.push(returned("o1", &[10], 90_000)));
    breaks("given back and not repaid",       &[ChargesMatch], |h| { h.returned.push(returned("o1", &[10], 90_000)); h.tickets[0].is_live = false; });
    breaks("repaid and not given back",       &[ChargesMatch], |h| charges(h)[0].refunded = 100);
    breaks("held before it was given back",   &[SeatOwnedOnce], |h| { give_back(h); h.holds.push(held("h9", &[10], 89_000, 99_000)); });
    breaks("another answer to the same key",  &[KeysRepeat],   |h| h.keyed.push(keyed("k1", "hold-bought")));
    breaks("charged twice",                   &[ChargesMatch], |h| charges(h).push(charge("o1", 200)));
    breaks("charged another sum",             &[ChargesMatch], |h| charges(h)[0].amount = 199);
    breaks("never charged",                   &[ChargesMatch], |h| charges(h)[0].is_live = false);
    breaks("charged and never told",          &[ChargesMatch], |h| charges(h).push(charge("o9", 5)));
    breaks("the front went back",             &[FrontMonotonic], |h| h.fronts[1].lanes[0].f0 = 9);
    breaks("a forged pass",                   &[StatementsVerify], |h| h.note_unverified("pass: signature does not fit".into()));
}

#[test]
#[rustfmt::skip] // reads in columns
fn doubt_is_decided_in_the_servers_favour() {
    //      what happened
    allows("taken after its release was sent",  |h| { h.holds[2].until = millis(30_400); h.holds.push(held("h9", &[30], 30_400, 40_000)); });
    allows("taken after its end",               |h| h.holds.push(held("h9", &[30], 31_000, 40_000)));
    allows("an order later than its hold",      |h| { h.holds[0].until = millis(25_000); h.holds.push(held("h9", &[10], 25_000, 26_000)); });
    allows("two joins at the same time",        |h| { h.joined[1].num = 1; h.joined[0].num = 2; h.joined[1].sent_at = millis(1_000); });
    allows("swapped within the bound",          |h| { h.joined[1].num = 1; h.joined[0].num = 2; h.joined[1].sent_at = millis(1_200); });
    allows("the same pass again",               |h| { let again = h.admitted[0].clone(); h.admitted.push(again); });
    allows("the front moved before we saw it",  |h| { h.fronts[2].seq = 4; h.fronts[2].lanes[0].f0 = 500; h.admitted[1].at = millis(15_000); h.admitted[1].position = Some(400); });
    allows("charged, and the answer got lost",  |h| { h.unresolved_total = 1; charges(h).push(charge("o9", 5)); });
    allows("declined, then charged",            |h| { let mut first = charge("o1", 200); first.is_live = false; charges(h).push(first); });
    allows("held after it was given back",      |h| { give_back(h); h.holds.push(held("h9", &[10], 90_000, 99_000)); });
    allows("sold again after it was given back", |h| { give_back(h); h.orders.push(sold("o3", "h4", &[10], 95_000)); h.tickets.push(ticket("o3", 10, true)); charges(h).push(charge("o3", 100)); });
    allows("held once the gateway has decided", |h| h.holds.push(held("h9", &[60], 50_000, 55_000)));
    allows("held once nobody waits any more",   |h| { h.paying[0].until = millis(45_000); h.holds.push(held("h9", &[60], 45_000, 46_000)); });
    allows("a new line, a new place",           |h| h.joined.push(Joined { is_first: false, sub: id(98), line: 2, ..h.joined[2].clone() }));
    allows("not all orders are read again",     |h| h.orders[0].reread = Reread::NotAsked);
    allows("entered without a number",          |h| h.admitted[0].position = None);
    allows("another lane after the judgement",  |h| h.joined.push(Joined { is_first: false, lane: Lane::Suspect, num: 1, ..h.joined[2].clone() }));
}

#[test]
#[rustfmt::skip] // reads in columns
fn what_cannot_be_decided_is_not_clean() {
    leaves_open("nobody entered",                Promise::SomebodyServed, |h| h.admitted.clear());
    leaves_open("no front after the admission",  Promise::NoneAboveFront, |h| { h.admitted[1].at = millis(70_000); h.admitted[1].position = Some(900); });
    leaves_open("an order could not be read",    Promise::OrdersLast,     |h| h.orders[0].reread = Reread::Unread("503".into()));
    leaves_open("the ledger could not be read",  Promise::ChargesMatch,   |h| h.ledger = Ledger::Unread("401".into()));
}

#[test]
fn the_swap_is_measured_without_a_bound() {
    let mut history = sound();
    history.joined[0].num = 9;
    let verdict = check(&history, Bounds { swap_max: None });
    let found = verdict.of(Promise::OrderOfJoins).unwrap();
    assert_eq!(found.finding, Finding::Kept);
    let note = found.note.as_deref().unwrap();
    assert!(note.contains("2 joins overtook somebody, by 1990 ms at most"), "{note}");
}

#[track_caller]
fn breaks(what: &str, expected: &[Promise], plant: Fault) {
    let mut history = sound();
    plant(&mut history);
    let mut broken = check(&history, bounds()).broken();
    let mut expected = expected.to_vec();
    broken.sort_unstable();
    expected.sort_unstable();
    assert_eq!(broken, expected, "{what}");
}

#[track_caller]
fn allows(what: &str, change: Fault) {
    let mut history = sound();
    change(&mut history);
    let verdict = check(&history, bounds());
    assert!(verdict.is_clean(), "{what}: {verdict:#?}");
}

#[track_caller]
fn leaves_open(what: &str, promise: Promise, change: Fault) {
    let mut history = sound();
    change(&mut history);
    let verdict = check(&history, bounds());
    assert!(!verdict.is_clean(), "{what}");
    assert_eq!(verdict.broken(), [], "{what}");
    let finding = &verdict.of(promise).unwrap().finding;
    assert!(matches!(finding, Finding::Unproven { .. }), "{what}: {finding:?}");
}

fn bounds() -> Bounds {
    Bounds { swap_max: Some(Duration::from_millis(250)) }
}

/// Three join a second apart, two enter at positions 10 and 12 as the front reaches them and buy,
/// a third hold ends unused.
fn sound() -> History {
    let fronts = vec![front(1, 0, 0), front(2, 10_000, 10), front(3, 20_000, 20)];
    let admitted = |n: u8, position, at| Admitted {
        sub: id(n),
        jti: id(n + 100),
        lane: Lane::Standard,
        position: Some(position),
        at: millis(at),
    };
    History {
        joined: vec![joined(1, 1, 1_000), joined(2, 2, 2_000), joined(3, 3, 3_000)],
        admitted: vec![admitted(1, 10, 10_050), admitted(2, 12, 12_050)],
        holds: vec![
            held("h1", &[10, 11], 20_000, 80_000),
            held("h2", &[20, 21], 30_000, 31_000),
            held("h3", &[30, 31], 30_000, 31_000),
        ],
        orders: vec![sold("o1", "h1", &[10, 11], 29_500), sold("o2", "h2", &[20, 21], 31_000)],
        fronts,
        paying: vec![Paying {
            order: "o5".into(),
            hold: "h5".into(),
            seats: vec![60],
            from: millis(40_000),
            until: millis(99_000),
        }],
        keyed: vec![keyed("k1", "o1"), keyed("k1", "o1"), keyed("k2", "o2")],
        tickets: vec![
            ticket("o1", 10, true),
            ticket("o1", 11, true),
            ticket("o2", 20, true),
            ticket("o2", 21, true),
        ],
        ledger: Ledger::Charges(vec![
            charge("o1", 200),
            charge("o2", 200),
            Charge { is_live: false, at: Some(millis(50_000)), ..charge("o5", 100) },
        ]),
        ..History::default()
    }
}

/// One position a second from `f0` on, for the `standard` lane.
fn front(seq: u64, t0: u64, f0: u64) -> Front {
    let entry =
        |lane, f0, pace_milli| LaneFront { lane, f0, pace_milli, limit: 1_000, issued: 1_000 };
    Front {
        iss: "controller".parse().unwrap(),
        aud: "final".parse().unwrap(),
        iat: millis(t0),
        exp: millis(t0 + 60_000),
        line: 1,
        epoch: 1,
        seq,
        phase: Phase::Open,
        opens_at: None,
        t0: millis(t0),
        until: millis(t0 + 30_000),
        lanes: vec![entry(Lane::Standard, f0, 1_000), entry(Lane::Suspect, 0, 0)],
        reason: String::new(),
        draw: None,
        stock: None,
        poll: PollHint { near_secs: 1, far_secs: 5 },
        message: None,
    }
}

fn joined(n: u8, num: u64, at: u64) -> Joined {
    Joined {
        person: n.into(),
        sub: id(n),
        line: 1,
        lane: Lane::Standard,
        num,
        sent_at: millis(at - 10),
        at: millis(at),
        is_first: true,
    }
}

fn held(hold: &str, seats: &[u32], from: u64, until: u64) -> Held {
    let total = 100 * seats.len() as u64;
    let (from, until) = (millis(from), millis(until));
    Held { hold: hold.into(), seats: seats.to_vec(), from, until, total }
}

fn sold(order: &str, hold: &str, seats: &[u32], at: u64) -> Sold {
    Sold {
        order: order.into(),
        hold: hold.into(),
        seats: seats.to_vec(),
        prices: vec![100; seats.len()],
        total: 100 * seats.len() as u64,
        tickets: seats.len(),
        at: millis(at),
        reread: Reread::Same,
    }
}

fn charges(history: &mut History) -> &mut Vec<Charge> {
    match &mut history.ledger {
        Ledger::Charges(charges) => charges,
        other => panic!("{other:?} has no charges"),
    }
}

fn charge(order: &str, amount: u64) -> Charge {
    Charge { order: order.into(), amount, is_live: true, ..Charge::default() }
}

fn ticket(order: &str, seat: u32, is_live: bool) -> TicketSeen {
    TicketSeen { order: order.into(), seat, ticket: format!("{order}-{seat}"), is_live }
}

fn keyed(key: &str, answer: &str) -> Keyed {
    Keyed { key: key.into(), answer: answer.into() }
}

fn returned(order: &str, seats: &[u32], at: u64) -> Returned {
    Returned { order: order.into(), seats: seats.to_vec(), at: millis(at) }
}

/// Seat 10 of the first order is given back, with all that belongs to it.
fn give_back(history: &mut History) {
    history.returned.push(returned("o1", &[10], 90_000));
    history.tickets[0].is_live = false;
    charges(history)[0].refunded = 100;
    // Its hold would have stood for longer.
    history.holds[0].until = millis(99_000);
}

fn millis(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn id(n: u8) -> Id128 {
    Id128::from_bytes([n; 16])
}
