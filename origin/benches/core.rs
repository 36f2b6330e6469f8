//! How long does the core of a sale take to decide and carry out one hold? Without log and HTTP:
//! each round holds and releases, so that the house stays as full as it was.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use keys::{Id128, Timestamp};
use origin::sale::{
    Command, Party, PartySeats, Pick, Plan, PlanRow, Rules, Seat, State, Want, Zone,
};

const SEATS: u32 = 80_000;
const SEATS_PER_ROW: u32 = 27;
const ZONES: u32 = 4;
const NOW: Timestamp = Timestamp::from_secs(1_000_000);

/// Rows in four zones, each row further from the pitch than the one before it.
fn plan() -> Arc<Plan> {
    let (mut rows, mut distances) = (Vec::new(), Vec::new());
    for (at, first) in (0..SEATS).step_by(SEATS_PER_ROW as usize).enumerate() {
        let len = SEATS_PER_ROW.min(SEATS - first);
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        let zone = u8::try_from(first * ZONES / SEATS).unwrap_or(u8::MAX);
        rows.push(PlanRow { first, len, zone, block: at / 20 });
        let from_middle = |seat: u32| u64::from(seat.abs_diff(SEATS_PER_ROW / 2)).pow(2);
        distances.extend((0..len).map(|seat| from_middle(seat) + u64::from(at).pow(2)));
    }
    let zone = |n: u32| Zone { id: format!("cat{n}"), price: 10_000 };
    let zones = (1..=ZONES).map(zone).collect();
    Arc::new(Plan::new(rows, zones, distances, "bench".into()).expect("rows follow each other"))
}

fn id(n: u32) -> Id128 {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    Id128::from_bytes(bytes)
}

/// A house of which so many per cent are held, four at random seats by each visitor.
fn house(percent: u32) -> State {
    let mut state = State::new(plan(), Rules::default());
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let wanted = u64::from(SEATS) * u64::from(100 - percent) / 100;
    let mut visitor = 1_000;
    while state.counts().free > wanted {
        let seat = u32::try_from(next() % u64::from(SEATS)).unwrap_or(0);
        if state.free().contains(seat) {
            visitor += 1;
            let want = Want::Pick(Pick::seats(vec![seat]));
            state.apply(&Command::Hold { hold: id(visitor), sub: id(visitor), want }, NOW);
        }
    }
    state
}

fn best_four(zone: Option<&str>, may_split: bool) -> Want {
    let zones = zone.into_iter().map(str::to_owned).collect();
    let seats = PartySeats::Any { quantity: 4 };
    Want::Best(Party { zones, price_max: None, seats, may_split })
}

fn round(state: &mut State, hold: &Command, release: &Command) {
    black_box(state.apply(hold, NOW));
    black_box(state.apply(release, NOW));
}

fn holds(criterion: &mut Criterion) {
    let release = Command::Release { hold: id(1), sub: id(1) };
    let mut bench = |name: &str, state: &mut State, want: Want| {
        let hold = Command::Hold { hold: id(1), sub: id(1), want };
        criterion.bench_function(name, |b| b.iter(|| round(state, &hold, &release)));
    };
    let mut empty = house(0);
    let seats: Vec<Seat> = (40_000..40_004).collect();
    bench("hold and release 4 named seats, 0 % full", &mut empty, Want::Pick(Pick::seats(seats)));
    for percent in [0, 88, 99] {
        let mut state = house(percent);
        let name = |what: &str| format!("hold and release {what}, {percent} % full");
        bench(&name("the best 4"), &mut state, best_four(None, false));
        bench(&name("the best 4 of a zone"), &mut state, best_four(Some("cat3"), false));
        bench(&name("the best 4, split if need be"), &mut state, best_four(None, true));
    }
}

criterion_group!(benches, holds);
criterion_main!(benches);
