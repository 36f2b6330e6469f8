use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
struct Step {
    command: Command,
    after_ms: u64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let holds = || 1..12_u8;
    let subs = || 200..204_u8;
    let orders = || 100..112_u8;
    let outcome =
        prop_oneof![Just(Outcome::Authorised), Just(Outcome::Declined), Just(Outcome::Unknown)];
    let command = prop_oneof![
        3 => (holds(), subs(), prop::collection::vec(0..22_u32, 0..5))
            .prop_map(|(n, sub, seats)| hold(n, sub, &seats)),
        2 => (holds(), subs(), 0..6_u32, prop::option::of(prop_oneof![Just("near"), Just("far")]))
            .prop_map(|(n, sub, quantity, zone)| best(n, sub, zone, quantity)),
        2 => (holds(), subs()).prop_map(|(n, sub)| release(n, sub)),
        1 => (holds(), subs()).prop_map(|(n, sub)| view(n, sub)),
        3 => (holds(), subs(), 0..4_u8, 0..2_u8, orders())
            .prop_map(|(n, sub, key, body, order)| {
                pay(n, sub, &format!("k{key}"), &format!("b{body}"), order)
            }),
        3 => (orders(), outcome).prop_map(|(order, outcome)| settle(order, outcome)),
        2 => holds().prop_map(|n| Command::Expire { hold: id(n) }),
    ];
    let step = (command, 0..200_000_u64).prop_map(|(command, after_ms)| Step { command, after_ms });
    prop::collection::vec(step, 1..80)
}

/// Who has which seat, told from holds and sold orders alone.
fn owners(state: &State) -> Vec<Seat> {
    let sold = state.orders.values().filter(|order| order.stage == OrderStage::Sold);
    let held = state.holds.values().flat_map(|hold| &hold.seats);
    let mut seats: Vec<Seat> = held.chain(sold.flat_map(|order| &order.seats)).copied().collect();
    seats.sort_unstable();
    seats
}

proptest! {
    #[test]
    fn no_seat_has_two_owners_none_is_lost_and_replay_gives_the_same(steps in steps()) {
        let mut state = State::new(plan(), rules());
        let mut replayed = State::new(plan(), rules());
        let mut now = NOON;
        let (mut used_holds, mut used_orders) = (BTreeSet::new(), BTreeSet::new());
        for Step { command, after_ms } in steps {
            // Ids are random in life; here each is used once.
            match &command {
                Command::Hold { hold, .. } if !used_holds.insert(*hold) => continue,
                Command::BeginPayment(begin) if !used_orders.insert(begin.order) => continue,
                _ => {}
            }
            now = now.plus(Duration::from_millis(after_ms));
            let before = state.counts();
            let (changes, reply) = state.apply(&command, now);
            for change in &changes {
                replayed.evolve(change, now).unwrap();
            }
            let seats = owners(&state);
            prop_assert!(seats.windows(2).all(|pair| pair[0] < pair[1]), "two owners: {seats:?}");
            for seat in 0..20 {
                let is_owned = seats.binary_search(&seat).is_ok();
                prop_assert_eq!(state.free().contains(seat), !is_owned);
            }
            let Counts { free, held, paying, sold } = state.counts();
            prop_assert_eq!(free + held + paying + sold, 20);
            prop_assert_eq!(free, state.free().count());
            let by_visitor: u32 = state.seats_by_visitor.values().sum();
            prop_assert_eq!(u64::from(by_visitor), held + paying + sold);
            prop_assert!(state.seats_by_visitor.values().all(|seats| *seats <= 6));
            if changes.is_empty() && matches!(reply, Reply::Refused(_)) {
                prop_assert_eq!(state.counts(), before, "a refusal changes nothing");
            }
        }
        prop_assert_eq!(replayed.save(), state.save());
        let restored = State::restore(plan(), rules(), state.save()).unwrap();
        prop_assert_eq!(restored.save(), state.save());
        prop_assert_eq!(restored.counts(), state.counts());
        prop_assert_eq!(&restored.deadlines, &state.deadlines);
        prop_assert_eq!(&restored.paying, &state.paying);
        prop_assert_eq!(&restored.bought, &state.bought);
        prop_assert_eq!(&restored.seats_by_visitor, &state.seats_by_visitor);
        prop_assert_eq!(&restored.holds_by_visitor, &state.holds_by_visitor);
        prop_assert_eq!(&restored.declined_by_visitor, &state.declined_by_visitor);
        prop_assert_eq!(&restored.free, &state.free);
    }
}
