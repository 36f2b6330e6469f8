//! The house that the tests of the sale are about, and the ways to ask something of it.

mod after;
mod amend;
mod blocks;
mod dues;
mod holds;
mod invariants;
mod payment;
mod waitlist;

use std::sync::Arc;
use std::time::Duration;

use keys::{Id128, Timestamp};

use super::plan::{PlanRow, Zone};
use super::*;

const NOON: Timestamp = Timestamp::from_secs(1_000_000);
const HOLD_SECS: u64 = 600;
const GIVE_UP_SECS: u64 = 20 * HOLD_SECS;

/// Two rows of ten: seats 0 to 9 in zone `near` at 200, 10 to 19 in zone `far` at 100.
fn plan() -> Arc<Plan> {
    let rows = vec![
        PlanRow { first: 0, len: 10, zone: 0, block: 0 },
        PlanRow { first: 10, len: 10, zone: 1, block: 0 },
    ];
    let zone = |id: &str, price| Zone { id: id.into(), price };
    let distances = (0..20).map(|seat| (seat % 10_u64).abs_diff(5) + 100 * (seat / 10)).collect();
    let zones = vec![zone("near", 200), zone("far", 100)];
    Arc::new(Plan::new(rows, zones, distances, "two rows".into()).unwrap())
}

fn rules() -> Rules {
    let hold = Duration::from_secs(HOLD_SECS);
    let payment = PaymentRules {
        give_up_after: Duration::from_secs(GIVE_UP_SECS),
        capture_after: Duration::from_secs(60),
    };
    let post = PostRules { mail: true, sms: true };
    Rules {
        hold,
        seats_per_order_max: 4,
        seats_per_visitor_max: 6,
        payment,
        post,
        ..Rules::default()
    }
}

fn id(n: u8) -> Id128 {
    Id128::from_bytes([n; 16])
}

fn ticket(order: u8, nth: u8) -> Id128 {
    let mut bytes = [order; 16];
    bytes[15] = nth;
    Id128::from_bytes(bytes)
}

const ANA: u8 = 201;
const BEN: u8 = 202;

fn hold(n: u8, sub: u8, seats: &[Seat]) -> Command {
    Command::Hold { hold: id(n), sub: id(sub), want: Want::Pick(Pick::seats(seats.to_vec())) }
}

fn best(n: u8, sub: u8, zone: Option<&str>, quantity: u32) -> Command {
    let zones = zone.into_iter().map(str::to_owned).collect();
    let seats = PartySeats::Any { quantity };
    let party = Party { zones, price_max: None, seats, may_split: false };
    Command::Hold { hold: id(n), sub: id(sub), want: Want::Best(party) }
}

fn floor(quantity: u32) -> AreaPick {
    AreaPick { area: "floor".into(), quantity }
}

fn pay(n: u8, sub: u8, key: &str, body: &str, order: u8) -> Command {
    Command::BeginPayment(BeginPayment {
        hold: id(n),
        sub: id(sub),
        key: key.into(),
        body: body.into(),
        order: id(order),
        tickets: (0..4).map(|nth| ticket(order, nth)).collect(),
        name: "Ana".into(),
        email: (sub == ANA).then(|| "ana@example.org".into()),
        phone: None,
        locale: None,
        gateway: Some(GatewayName::default()),
        token: "tok_ok".into(),
    })
}

fn contact(email: &str) -> Contact {
    Contact { email: email.into(), locale: Some("de".into()) }
}

fn settle(order: u8, outcome: Outcome) -> Command {
    told(order, 0, outcome)
}

fn told(order: u8, number: u32, outcome: Outcome) -> Command {
    Command::Settle(Settlement {
        order: id(order),
        number,
        gateway: GatewayName::default(),
        reference: None,
        outcome,
        notice: None,
    })
}

fn authorised() -> Outcome {
    Outcome::Authorised { amount: 10_000 }
}

fn declined() -> Outcome {
    Outcome::Declined { code: Some("card_declined".into()) }
}

fn charge(order: u8, amount: u64) -> Reply {
    Reply::Charge(ChargeView { order: id(order), number: 0, amount, currency: Currency::USD })
}

fn unsettled(state: &mut State) -> Vec<Id128> {
    let (_, reply) = state.apply(&Command::ListPaymentWork, NOON);
    let Reply::PaymentWork(work) = reply else { panic!("{reply:?}") };
    work.unsettled.into_iter().map(|open| open.order).collect()
}

fn release(n: u8, sub: u8) -> Command {
    Command::Release { hold: id(n), sub: id(sub) }
}

fn view(n: u8, sub: u8) -> Command {
    Command::ViewHold { hold: id(n), sub: id(sub) }
}

/// A house in which 1 is a hold of Ana's (seats 0, 1), 2 one that Ben is paying as order 102
/// (seats 2, 3), and 3 was bought by Ben as order 103 (seat 4) with the key `k3`.
fn house() -> State {
    let mut state = State::new(plan(), rules());
    for command in [
        hold(1, ANA, &[0, 1]),
        hold(2, BEN, &[2, 3]),
        hold(3, BEN, &[4]),
        pay(3, BEN, "k3", "body", 103),
        settle(103, authorised()),
        pay(2, BEN, "k2", "body", 102),
    ] {
        let (changes, reply) = state.apply(&command, NOON);
        assert!(!matches!(reply, Reply::Refused(_)), "{command:?} is refused: {reply:?}");
        assert_eq!(changes.len(), 1);
    }
    state
}

#[track_caller]
fn check(command: Command, after_ms: u64, code: &str) {
    let mut state = house();
    let (before, saved) = (state.counts(), state.save());
    let now = NOON.plus(Duration::from_millis(after_ms));
    let (changes, reply) = state.apply(&command, now);
    let Reply::Refused(refusal) = reply else { panic!("{command:?} is not refused: {reply:?}") };
    assert_eq!(refusal.code(), code, "{command:?}");
    assert_eq!((state.counts(), changes), (before, vec![]), "{command:?}");
    assert_eq!(state.save(), saved, "{command:?}");
}

#[track_caller]
fn check_done(command: Command, after_ms: u64) {
    let mut state = house();
    let (_, reply) = state.apply(&command, NOON.plus(Duration::from_millis(after_ms)));
    assert!(!matches!(reply, Reply::Refused(_)), "{command:?} is refused: {reply:?}");
}
