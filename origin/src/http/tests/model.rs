//! Does the API do what a plain model says? Random visitors ask random things over HTTP, and a
//! model of sets and maps, which shares no code with the sale, says what is to be answered and
//! which seats are taken then. One origin serves all cases; each has seats and visitors of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

/// Seats of one case; asked for is one more, which does not exist.
const SEATS: u8 = 10;
const NO_SEAT: u32 = 4_000_000;
const ORDER_MAX: usize = 4;
const VISITOR_MAX: usize = 6;
const ATTEMPTS_MAX: usize = 10;
const CONFIG: &str = "sale.seats_per_order_max = 4\nsale.seats_per_visitor_max = 6";

/// A request, with everything named by small numbers so that a failing case becomes short.
#[derive(Debug, Clone)]
enum Ask {
    Hold { who: u8, seats: Vec<u8> },
    View { who: u8, hold: u8 },
    Amend { who: u8, hold: u8, add: Vec<u8>, drop: Vec<u8> },
    Extend { who: u8, hold: u8, is_checkout: bool },
    Release { who: u8, hold: u8 },
    Pay { who: u8, hold: u8, key: u8, is_good: bool },
}

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let (who, hold) = (|| 0..3_u8, || 0..8_u8);
    let seats = |many| prop::collection::vec(0..=SEATS, 0..many);
    let ask = prop_oneof![
        4 => (who(), seats(6)).prop_map(|(who, seats)| Ask::Hold { who, seats }),
        1 => (who(), hold()).prop_map(|(who, hold)| Ask::View { who, hold }),
        3 => (who(), hold(), seats(4), seats(4))
            .prop_map(|(who, hold, add, drop)| Ask::Amend { who, hold, add, drop }),
        1 => (who(), hold(), any::<bool>())
            .prop_map(|(who, hold, is_checkout)| Ask::Extend { who, hold, is_checkout }),
        1 => (who(), hold()).prop_map(|(who, hold)| Ask::Release { who, hold }),
        3 => (who(), hold(), 0..3_u8, any::<bool>())
            .prop_map(|(who, hold, key, is_good)| Ask::Pay { who, hold, key, is_good }),
    ];
    prop::collection::vec(ask, 1..25)
}

/// What is to be answered: a status, and the code of a refusal.
type Answer = (u16, Option<&'static str>);

const fn no(status: u16, code: &'static str) -> Answer {
    (status, Some(code))
}

/// What a hold has become.
#[derive(Debug, Clone, PartialEq)]
enum Fate {
    Stands,
    Released,
    Bought,
}

#[derive(Debug, Clone)]
struct Hold {
    who: u8,
    seats: BTreeSet<u8>,
    fate: Fate,
    extended: BTreeSet<bool>,
    declined: usize,
}

/// What everybody has.
#[derive(Debug, Default)]
struct Model {
    holds: Vec<Hold>,
    /// By visitor and key: what was asked with it, and whether it was paid.
    keys: BTreeMap<(u8, u8), ((u8, bool), bool)>,
}

impl Model {
    fn owned(&self) -> impl Iterator<Item = &Hold> {
        self.holds.iter().filter(|hold| hold.fate != Fate::Released)
    }

    fn taken(&self) -> BTreeSet<u8> {
        self.owned().flat_map(|hold| hold.seats.iter().copied()).collect()
    }

    fn has(&self, who: u8) -> usize {
        self.owned().filter(|hold| hold.who == who).map(|hold| hold.seats.len()).sum()
    }

    /// Whether seats are named that exist, each once.
    fn understood(seats: &[u8]) -> Result<(), Answer> {
        let distinct: BTreeSet<u8> = seats.iter().copied().collect();
        match () {
            () if seats.contains(&SEATS) => Err(no(422, "unknown-seat")),
            () if distinct.len() < seats.len() => Err(no(422, "duplicate-seat")),
            () => Ok(()),
        }
    }

    fn free(&self, seats: &[u8]) -> Result<(), Answer> {
        let taken = self.taken();
        let is_free = seats.iter().all(|seat| !taken.contains(seat));
        if is_free { Ok(()) } else { Err(no(409, "seat-taken")) }
    }

    fn standing(&mut self, who: u8, hold: u8) -> Result<&mut Hold, Answer> {
        match self.holds.get_mut(usize::from(hold)) {
            None | Some(Hold { fate: Fate::Released, .. }) => Err(no(404, "unknown-hold")),
            Some(hold) if hold.who != who => Err(no(403, "foreign-hold")),
            Some(Hold { fate: Fate::Bought, .. }) => Err(no(409, "hold-bought")),
            Some(hold) => Ok(hold),
        }
    }

    fn ask(&mut self, ask: &Ask) -> Answer {
        self.decide(ask).unwrap_or_else(|refusal| refusal)
    }

    fn decide(&mut self, ask: &Ask) -> Result<Answer, Answer> {
        match ask {
            Ask::Hold { who, seats } => {
                check_count(seats.len(), ORDER_MAX)?;
                Self::understood(seats)?;
                self.check_visitor(*who, seats.len())?;
                self.free(seats)?;
                let (fate, seats) = (Fate::Stands, seats.iter().copied().collect());
                let (extended, declined) = (BTreeSet::new(), 0);
                self.holds.push(Hold { who: *who, seats, fate, extended, declined });
                Ok((201, None))
            }
            Ask::View { who, hold } => self.standing(*who, *hold).map(|_| (200, None)),
            Ask::Amend { who, hold, add, drop } => {
                let had = self.standing(*who, *hold)?.seats.clone();
                if add.is_empty() && drop.is_empty() {
                    return Err(no(422, "no-seats"));
                }
                let will_have = had.len().saturating_sub(drop.len()) + add.len();
                check_count(will_have, ORDER_MAX)?;
                if drop.len() > had.len() {
                    return Err(no(422, "seat-not-held"));
                }
                Self::understood(add)?;
                Self::understood(drop)?;
                if add.iter().any(|seat| had.contains(seat)) {
                    return Err(no(422, "duplicate-seat"));
                }
                if drop.iter().any(|seat| !had.contains(seat)) {
                    return Err(no(422, "seat-not-held"));
                }
                if add.len() > drop.len() {
                    self.check_visitor(*who, add.len() - drop.len())?;
                }
                self.free(add)?;
                let seats = &mut self.standing(*who, *hold)?.seats;
                seats.retain(|seat| !drop.contains(seat));
                seats.extend(add);
                Ok((200, None))
            }
            Ask::Extend { who, hold, is_checkout } => {
                let is_first = self.standing(*who, *hold)?.extended.insert(*is_checkout);
                if is_first { Ok((200, None)) } else { Err(no(409, "no-extension-left")) }
            }
            Ask::Release { who, hold } => {
                self.standing(*who, *hold)?.fate = Fate::Released;
                Ok((204, None))
            }
            Ask::Pay { who, hold, key, is_good } => {
                let (outcomes, body) =
                    ([no(402, "payment-declined"), (201, None)], (*hold, *is_good));
                if let Some((before, is_paid)) = self.keys.get(&(*who, *key)) {
                    let is_same = *before == body;
                    let outcome = outcomes[usize::from(*is_paid)];
                    return if is_same {
                        Ok(outcome)
                    } else {
                        Err(no(422, "idempotency-mismatch"))
                    };
                }
                let found = self.standing(*who, *hold)?;
                if found.declined >= ATTEMPTS_MAX {
                    return Err(no(409, "too-many-attempts"));
                }
                match is_good {
                    true => found.fate = Fate::Bought,
                    false => found.declined += 1,
                }
                self.keys.insert((*who, *key), (body, *is_good));
                Ok(outcomes[usize::from(*is_good)])
            }
        }
    }

    fn check_visitor(&self, who: u8, more: usize) -> Result<(), Answer> {
        if self.has(who) + more > VISITOR_MAX { Err(no(422, "too-many-seats")) } else { Ok(()) }
    }
}

fn check_count(seats: usize, max: usize) -> Result<(), Answer> {
    match seats {
        0 => Err(no(422, "no-seats")),
        _ if seats > max => Err(no(422, "too-many-seats")),
        _ => Ok(()),
    }
}

/// The visitors of one case, and what the origin calls what the model numbers.
struct Case<'a> {
    visitors: Vec<Visitor<'a>>,
    first: u32,
    holds: Vec<String>,
    orders: BTreeMap<(u8, u8), String>,
}

impl Case<'_> {
    fn seats(&self, seats: &[u8]) -> Vec<u32> {
        let real = |seat: &u8| if *seat == SEATS { NO_SEAT } else { self.first + u32::from(*seat) };
        seats.iter().map(real).collect()
    }

    fn hold(&self, hold: u8) -> String {
        let known = self.holds.get(usize::from(hold)).cloned();
        // Nobody has ever heard of this one, and the same key must ask for the same.
        known.unwrap_or_else(|| Id128::from_bytes([hold; 16]).to_string())
    }

    async fn ask(&self, ask: &Ask) -> Seen {
        let (who, method, path, body) = match ask {
            Ask::Hold { who, seats } => {
                (who, Method::POST, "/holds".to_owned(), json!({"seats": self.seats(seats)}))
            }
            Ask::View { who, hold } => {
                (who, Method::GET, format!("/holds/{}", self.hold(*hold)), Value::Null)
            }
            Ask::Amend { who, hold, add, drop } => {
                let add = json!({"seats": self.seats(add)});
                let body = json!({"add": add, "drop": {"seats": self.seats(drop)}});
                (who, Method::PATCH, format!("/holds/{}", self.hold(*hold)), body)
            }
            Ask::Extend { who, hold, is_checkout } => {
                let reason = if *is_checkout { "checkout" } else { "more-time" };
                let path = format!("/holds/{}/extend", self.hold(*hold));
                (who, Method::POST, path, json!({ "reason": reason }))
            }
            Ask::Release { who, hold } => {
                (who, Method::DELETE, format!("/holds/{}", self.hold(*hold)), Value::Null)
            }
            Ask::Pay { who, hold, key, is_good } => {
                let token = if *is_good { "tok_ok" } else { "tok_declined" };
                let visitor = &self.visitors[usize::from(*who)];
                return visitor.pay(&self.hold(*hold), token, &format!("key-{key}")).await;
            }
        };
        let visitor = &self.visitors[usize::from(*who)];
        let request = visitor.request(method, &path);
        let request = if body.is_null() { request } else { request.json(&body) };
        visitor.house.send(request).await
    }

    /// The seats that the origin shows as taken.
    async fn taken(&self) -> BTreeSet<u8> {
        let visitor = &self.visitors[0];
        let shown = visitor.house.send(visitor.request(Method::GET, "/availability")).await;
        let bits = STANDARD.decode(text(&shown.succeeds(200)["taken"])).unwrap();
        let is_taken = |seat: u32| bits[seat as usize / 8] >> (seat % 8) & 1 == 1;
        (0..SEATS).filter(|seat| is_taken(self.first + u32::from(*seat))).collect()
    }
}

fn named(body: &Value, first: u32) -> BTreeSet<u8> {
    let seats = body["seats"].as_array().into_iter().flatten();
    let seats = seats.filter_map(|seat| seat["seat"].as_u64());
    seats.map(|seat| u8::try_from(seat - u64::from(first)).unwrap()).collect()
}

async fn compare(house: &House, asks: &[Ask]) -> Result<(), TestCaseError> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let visitors = (0..3).map(|_| house.visitor()).collect();
    let first = NEXT.fetch_add(u32::from(SEATS), Ordering::Relaxed);
    let mut case = Case { visitors, first, holds: Vec::new(), orders: BTreeMap::new() };
    let mut model = Model::default();
    for ask in asks {
        let expected = model.ask(ask);
        let seen = case.ask(ask).await;
        let answer = (seen.status.as_u16(), seen.body["code"].as_str());
        prop_assert_eq!(answer, expected, "{:?}: {}", ask, seen.body);
        let is_done = expected.1.is_none();
        match ask {
            Ask::Hold { .. } if is_done => {
                case.holds.push(text(&seen.body["hold"]).to_owned());
                let made = model.holds.last().unwrap();
                prop_assert_eq!(&named(&seen.body, first), &made.seats, "{:?}", ask);
            }
            Ask::View { hold, .. } | Ask::Amend { hold, .. } | Ask::Extend { hold, .. }
                if is_done =>
            {
                let known = &model.holds[usize::from(*hold)];
                prop_assert_eq!(&named(&seen.body, first), &known.seats, "{:?}", ask);
            }
            Ask::Pay { who, hold, key, .. } if is_done => {
                let known = &model.holds[usize::from(*hold)];
                prop_assert_eq!(&named(&seen.body, first), &known.seats, "{:?}", ask);
                let order = text(&seen.body["order"]).to_owned();
                let before = case.orders.entry((*who, *key)).or_insert_with(|| order.clone());
                prop_assert_eq!(&*before, &order, "the same key, the same order");
            }
            _ if expected.1 == Some("seat-taken") => {
                let seats = seen.body["seats"].as_array().cloned().unwrap_or_default();
                prop_assert!(!seats.is_empty(), "{:?} names no seat", ask);
                for seat in seats.iter().filter_map(Value::as_u64) {
                    let seat = u8::try_from(seat - u64::from(first)).unwrap();
                    prop_assert!(model.taken().contains(&seat), "{:?}: {} is free", ask, seat);
                }
            }
            _ => {}
        }
        prop_assert_eq!(case.taken().await, model.taken(), "after {:?}", ask);
    }
    let bought = model.holds.iter().filter(|hold| hold.fate == Fate::Bought).count();
    prop_assert_eq!(case.orders.len(), bought);
    for order in case.orders.values() {
        let seen = house.get(&format!("/api/v1/orders/{order}")).await;
        prop_assert_eq!(seen.body["state"].as_str(), Some("confirmed"), "{}", seen.body);
    }
    Ok(())
}

#[test]
fn the_api_does_what_a_plain_model_says() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    let house = runtime.block_on(House::open_with(CONFIG));
    let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
    let run = TestRunner::new(config).run(&asks(), |asks| runtime.block_on(compare(&house, &asks)));
    if let Err(error) = run {
        panic!("{error}");
    }
}
