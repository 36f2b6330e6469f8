use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::payment::Order;
use super::*;

/// Whom no limit is for.
const BOX_OFFICE: u8 = 210;

#[derive(Debug, Clone)]
struct Step {
    command: Command,
    after_ms: u64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let holds = || 1..12_u8;
    let subs = || 200..204_u8;
    let orders = || 100..112_u8;
    let outcome = prop_oneof![Just(authorised()), Just(declined()), Just(Outcome::Unknown)];
    let pick = || {
        let areas = prop::option::of(0..4_u32);
        (prop::collection::vec(0..22_u32, 0..4), areas).prop_map(|(seats, quantity)| Pick {
            seats,
            areas: quantity.into_iter().map(floor).collect(),
        })
    };
    let channel = || prop_oneof![Just("press".to_owned()), Just("sponsor".to_owned())];
    let zone = || prop::option::of(prop_oneof![Just("near"), Just("far"), Just("floor")]);
    let by = prop_oneof![Just(Extension::Checkout), Just(Extension::MoreTime)];
    let entries = || 50..62_u8;
    let action = Action { client_secret: "s".into(), next_action: serde_json::Value::Null };
    let late = prop_oneof![
        Just(authorised()),
        Just(Outcome::ActionRequired(action)),
        Just(Outcome::Captured { amount: 1 }),
        Just(Outcome::GivenUp),
    ];
    let command = prop_oneof![
        3 => (holds(), subs(), pick()).prop_map(|(n, sub, pick)| {
            Command::Hold { hold: id(n), sub: id(sub), want: Want::Pick(pick) }
        }),
        2 => (holds(), subs(), 0..6_u32, zone())
            .prop_map(|(n, sub, quantity, zone)| best(n, sub, zone, quantity)),
        1 => (holds(), subs(), 0..2_u32, 0..3_u32).prop_map(|(n, sub, spaces, companions)| {
            let seats = PartySeats::Accessible { spaces, companions };
            let party = Party { zones: vec![], price_max: None, seats, may_split: true };
            Command::Hold { hold: id(n), sub: id(sub), want: Want::Best(party) }
        }),
        1 => (holds(), pick(), prop::option::of(channel())).prop_map(|(n, pick, channel)| {
            let want = Want::Pick(pick);
            Command::HoldAtBoxOffice { hold: id(n), sub: id(BOX_OFFICE), want, channel }
        }),
        3 => (prop_oneof![holds(), entries()], subs(), pick(), pick()).prop_map(|(n, sub, add, drop)| {
            Command::Amend { hold: id(n), sub: id(sub), add, drop }
        }),
        2 => (prop_oneof![holds(), entries()], subs(), by)
            .prop_map(|(n, sub, by)| Command::Extend { hold: id(n), sub: id(sub), by }),
        2 => (pick(), channel()).prop_map(|(pick, channel)| Command::Block { pick, channel }),
        2 => (pick(), channel()).prop_map(|(pick, channel)| Command::Unblock { pick, channel }),
        4 => (entries(), subs(), zone(), 0..4_u32).prop_map(|(n, sub, zone, quantity)| {
            Command::Join {
                entry: id(n),
                sub: id(sub),
                zone: zone.map(str::to_owned),
                quantity,
                contact: (n % 2 == 0).then(|| contact("zoe@example.net")),
            }
        }),
        2 => entries().prop_map(|n| Command::AcceptOffer { entry: id(n) }),
        1 => entries().prop_map(|n| Command::Leave { entry: id(n) }),
        1 => entries().prop_map(|n| {
            Command::Post(PostCommand::Told { hold: id(n), outcome: Delivered::Sent })
        }),
        1 => entries().prop_map(|n| Command::ViewEntry { entry: id(n) }),
        2 => (prop_oneof![holds(), entries()], subs()).prop_map(|(n, sub)| release(n, sub)),
        1 => (holds(), subs()).prop_map(|(n, sub)| view(n, sub)),
        3 => (prop_oneof![holds(), entries()], subs(), 0..4_u8, 0..2_u8, orders())
            .prop_map(|(n, sub, key, body, order)| {
                pay(n, sub, &format!("k{key}"), &format!("b{body}"), order)
            }),
        3 => (orders(), outcome).prop_map(|(order, outcome)| settle(order, outcome)),
        2 => prop_oneof![holds(), entries()].prop_map(|n| Command::Expire { hold: id(n) }),
        2 => (orders(), 0..3_u32, late).prop_map(|(order, n, outcome)| told(order, n, outcome)),
        1 => (orders(), 0..3_u32).prop_map(|(order, number)| Command::MovePayment {
            order: id(order),
            number,
            gateway: GatewayName::default(),
        }),
        1 => orders().prop_map(|order| Command::BeginCapture { order: id(order) }),
        1 => (orders(), 0..3_u32)
            .prop_map(|(order, number)| Command::Voided { order: id(order), number }),
    ];
    let step = (command, 0..100_000_u64).prop_map(|(command, after_ms)| Step { command, after_ms });
    prop::collection::vec(step, 1..120)
}

/// Who has which seat, told from holds, sold orders and blocks alone.
fn owners(state: &State) -> Vec<Seat> {
    let sold = state.orders.values().filter(|order| order.stage == OrderStage::Sold);
    let held = state.holds.values().flat_map(|hold| &hold.seats);
    let blocked = state.blocks().into_iter().flat_map(|block| block.runs);
    let seats = held.chain(sold.flat_map(|order| &order.seats)).copied();
    let mut seats: Vec<Seat> = seats.chain(blocked.flat_map(Run::seats)).collect();
    seats.sort_unstable();
    seats
}

/// A smaller house than the others', so that it is often sold out: a row of eight of which seat 0 is
/// accessible and 1 a companion's, a row of four, and a floor for six.
fn small_plan() -> Arc<Plan> {
    let row = |first, len, zone| PlanRow { first, len, zone, block: 0 };
    let zone = |id: &str, price| Zone { id: id.into(), price };
    let zones = vec![zone("near", 200), zone("far", 100), zone("floor", 50)];
    let distances = (0..12).map(|seat| u64::abs_diff(seat % 8, 4)).collect();
    let plan = Plan::new(vec![row(0, 8, 0), row(8, 4, 1)], zones, distances, "small".into());
    let floor = Area { id: "floor".into(), first: 12, len: 6, zone: 2 };
    let attributes =
        Attributes { accessible: vec![0], companions: vec![(1, 0)], restricted: vec![9] };
    let plan = plan.unwrap().with_areas(vec![floor]).unwrap();
    Arc::new(plan.with_attributes(attributes).unwrap())
}

/// Every seat is somebody's or free, and counted once.
fn check_seats(state: &State) -> Result<(), TestCaseError> {
    let seats = owners(state);
    prop_assert!(seats.windows(2).all(|pair| pair[0] < pair[1]), "two owners: {seats:?}");
    for seat in 0..18 {
        prop_assert_eq!(state.free().contains(seat), seats.binary_search(&seat).is_err());
    }
    let Counts { free, held, paying, sold, blocked } = state.counts();
    prop_assert_eq!(free + held + paying + sold + blocked, 18);
    prop_assert_eq!(free, state.free().count());
    let in_orders = |order: &&Order| order.stage == OrderStage::Sold;
    let in_orders = state.orders.values().filter(in_orders).map(|order| order.seats.len());
    prop_assert_eq!(sold as usize, in_orders.sum::<usize>());
    let in_holds = state.holds.values().map(|hold| hold.seats.len());
    prop_assert_eq!((held + paying) as usize, in_holds.sum::<usize>());
    let by_visitor: u32 = state.seats_by_visitor.values().sum();
    prop_assert_eq!(u64::from(by_visitor), held + paying + sold);
    Ok(())
}

fn check_limits(state: &State, now: Timestamp) -> Result<(), TestCaseError> {
    let above =
        state.seats_by_visitor.iter().find(|(sub, seats)| **sub != id(BOX_OFFICE) && **seats > 6);
    prop_assert_eq!(above, None);
    for (hold_id, hold) in &state.holds {
        prop_assert_eq!(hold.seats.len(), hold.prices.len());
        prop_assert!(hold.seats.is_sorted() && !hold.seats.is_empty());
        prop_assert!(hold.sub == id(BOX_OFFICE) || hold.seats.len() <= 4);
        if hold.attempts == 0 && hold.paying.is_none() {
            prop_assert!(
                hold.until
                    <= hold
                        .since
                        .plus(state.rules.hold_max)
                        .max(hold.since.plus(state.rules.offer))
            );
        }
        let has_deadline = state.deadlines.contains(&(hold.until, *hold_id));
        prop_assert_eq!(has_deadline, hold.paying.is_none(), "{:?} at {}", hold, now);
    }
    Ok(())
}

/// Nobody waits for what could be had, and who came first is not behind.
fn check_line(state: &State, changes: &[Change], before: &State) -> Result<(), TestCaseError> {
    let plan = &state.plan;
    let open_in = |state: &State, zone: u8| {
        let seats = (0..18).filter(|seat| state.free().contains(*seat));
        seats.filter(|s| plan.zone_of(*s) == Some(zone) && !plan.is_reserved(*s)).count() as u32
    };
    for (_, entry) in state.waitlist.entries() {
        let zones = match &entry.zone {
            Some(zone) => vec![plan.zone_named(zone).unwrap()],
            None => vec![0, 1, 2],
        };
        let most = zones.into_iter().map(|zone| open_in(state, zone)).max().unwrap();
        prop_assert!(most < entry.quantity, "{entry:?} waits while {most} are free");
    }
    // Offers of one command go to entries in the order in which they came, as far as they wait for
    // the same.
    let offered = changes.iter().filter_map(|change| match change {
        Change::Held { hold, .. } => before.waitlist.entries().find(|(id, _)| *id == hold),
        _ => None,
    });
    for (id, entry) in offered {
        let earlier = state.waitlist.entries().find(|(_, other)| {
            other.number < entry.number
                && other.zone == entry.zone
                && other.quantity <= entry.quantity
        });
        prop_assert!(earlier.is_none(), "{id} was served before {earlier:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn no_seat_has_two_owners_none_is_lost_and_replay_gives_the_same(steps in steps()) {
        let mut state = State::new(small_plan(), rules());
        let mut replayed = State::new(small_plan(), rules());
        let mut now = NOON;
        let mut used = BTreeSet::new();
        for (at, Step { command, after_ms }) in steps.into_iter().enumerate() {
            // Ids are random in life; here each is used once.
            let new = match &command {
                Command::Hold { hold, .. } | Command::HoldAtBoxOffice { hold, .. } => Some(*hold),
                Command::Join { entry, .. } => Some(*entry),
                Command::BeginPayment(begin) => Some(begin.order),
                _ => None,
            };
            // Nobody can know of an order before it is begun.
            if matches!(&command, Command::Settle(told) if !used.contains(&told.order)) {
                continue;
            }
            if new.is_some_and(|new| !used.insert(new)) {
                continue;
            }
            now = now.plus(Duration::from_millis(after_ms));
            let before = state.clone();
            let (changes, reply) = state.apply(&command, now);
            for change in &changes {
                let json = serde_json::to_string(change).unwrap();
                replayed.evolve(&serde_json::from_str(&json).unwrap(), now).unwrap();
            }
            check_seats(&state)?;
            check_limits(&state, now)?;
            check_line(&state, &changes, &before)?;
            // An authorisation that counts is not to be voided.
            for (order, live) in &state.orders {
                prop_assert!(!state.dues.owes(*order, live.payment.number), "{order}");
            }
            if changes.is_empty() && matches!(reply, Reply::Refused(_)) {
                prop_assert_eq!(state.counts(), before.counts(), "a refusal changes nothing");
            }
            if at % 16 == 0 {
                // From here on the replay starts at a snapshot.
                let json = serde_json::to_string(&state.save()).unwrap();
                let saved = serde_json::from_str(&json).unwrap();
                replayed = State::restore(small_plan(), rules(), saved).unwrap();
                replayed.set_next_seq(state.next_seq);
            }
        }
        prop_assert_eq!(replayed.save(), state.save());
        let restored = State::restore(small_plan(), rules(), state.save()).unwrap();
        prop_assert_eq!(restored.save(), state.save());
        prop_assert_eq!(restored.counts(), state.counts());
        prop_assert_eq!(&restored.deadlines, &state.deadlines);
        prop_assert_eq!(&restored.paying, &state.paying);
        prop_assert_eq!(&restored.bought, &state.bought);
        prop_assert_eq!(&restored.seats_by_visitor, &state.seats_by_visitor);
        prop_assert_eq!(&restored.holds_by_visitor, &state.holds_by_visitor);
        prop_assert_eq!(&restored.declined_by_visitor, &state.declined_by_visitor);
        prop_assert_eq!(&restored.waitlist, &state.waitlist);
        prop_assert_eq!(restored.free(), state.free());
        prop_assert_eq!(restored.stock.open(), state.stock.open());
        prop_assert_eq!(&restored.dues, &state.dues);
    }
}
