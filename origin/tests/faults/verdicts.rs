//! Does the checker of histories find the planted bugs by what visitors were told? The same crowd
//! over HTTP meets each of them, and a process that is killed; the rule that the bug breaks is
//! named. Without a bug the same stories are clean, and every rule of the sale was put to the test.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use keys::Timestamp;
use loadtest::answers::{HoldAnswer, OrderAnswer, ledger};
use loadtest::checker::{Bounds, Promise, Verdict, check};
use loadtest::history::{History, Keyed, Ledger, Paying, Reread};
use serde_json::Value;
use servers::Postgres;

use crate::support::{Heard, Node, Visitor, World, eventually};

/// Seats that everybody wants.
const SEATS: std::ops::Range<u32> = 2000..2006;
/// The one of these that is asked for when the process is killed.
const LAST: u32 = 2006;
const VISITORS: usize = 12;
/// How long nobody gives up waiting for the sandbox; see `payment.absent_after_secs`.
const PATIENCE_SECS: u64 = 60;
/// Pause before somebody asks again who was not answered.
const AGAIN: Duration = Duration::from_millis(50);
/// How often.
const TRIES: usize = 400;
/// Holds that outlive the story, and money that takes its time.
const LONG: &str = "sale.hold_secs = 300\nsandbox.slow_ms = 1500";
/// Holds that end while the money takes its time.
const SHORT: &str = "sale.hold_secs = 1\nsandbox.slow_ms = 4000";

/// What is promised of a sale.
const PROMISES: [Promise; 7] = [
    Promise::SeatSoldOnce,
    Promise::SeatOwnedOnce,
    Promise::OrdersAddUp,
    Promise::OrdersLast,
    Promise::TicketsLive,
    Promise::KeysRepeat,
    Promise::ChargesMatch,
];

/// What a crowd was told.
#[derive(Default)]
struct Crowd(Mutex<History>);

impl Crowd {
    fn history(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap()
    }

    /// Takes a seat: the hold, if they got it.
    async fn hold(&self, visitor: &Visitor<'_>, node: &Node, seat: u32) -> Option<HoldAnswer> {
        let Heard::Done(body) = visitor.hold(node, &[seat]).await else { return None };
        let hold: HoldAnswer = serde_json::from_value(body).unwrap();
        self.history().holds.push(hold.held(Timestamp::now()));
        Some(hold)
    }

    /// Pays for a hold, and asks with the same key until there is an answer for good.
    async fn pay(&self, visitor: &Visitor<'_>, node: &Node, hold: &HoldAnswer, token: &str) {
        for _ in 0..TRIES {
            if self.pay_once(visitor, node, hold, token).await {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
        self.history().unresolved_total += 1;
    }

    /// Whether there was an answer for good.
    async fn pay_once(
        &self,
        visitor: &Visitor<'_>,
        node: &Node,
        hold: &HoldAnswer,
        token: &str,
    ) -> bool {
        let key = format!("key of {}", hold.hold);
        let Some((status, body)) = visitor.pay(node, &hold.hold, &key, token).await else {
            return false;
        };
        let (now, code) = (Timestamp::now(), body["code"].as_str().unwrap_or_default());
        let mut history = self.history();
        let answer = match (status, code) {
            (200 | 201, _) => {
                let order: OrderAnswer = serde_json::from_value(body).unwrap();
                if history.orders.iter().all(|known| known.order != order.order) {
                    history.orders.push(order.sold(&hold.hold, now));
                }
                order.order
            }
            (409, "payment-in-progress") => {
                history.paying.push(Paying {
                    order: body["order"].as_str().unwrap().to_owned(),
                    hold: hold.hold.clone(),
                    seats: hold.seats.iter().map(|seat| seat.seat).collect(),
                    from: now,
                    until: now.plus_secs(PATIENCE_SECS),
                });
                return false;
            }
            (503, _) => return false,
            (_, code) => code.to_owned(),
        };
        history.keyed.push(Keyed { key, answer });
        true
    }

    /// Everybody wants the same seats at once, buys what they get, and asks again with the same key.
    async fn race(&self, world: &World, node: &Node) {
        let all = (0..VISITORS).map(|_| async {
            let visitor = world.visitor();
            for seat in SEATS.chain([LAST]) {
                if let Some(hold) = self.hold(&visitor, node, seat).await
                    && seat % 2 == 0
                {
                    self.pay(&visitor, node, &hold, "tok_ok").await;
                    self.pay(&visitor, node, &hold, "tok_ok").await;
                }
            }
        });
        futures_util::future::join_all(all).await;
    }

    /// Somebody pays with a token that takes its time, sees that it is under way, and somebody else
    /// wants the seat meanwhile. A sale with a bug may be halted by then: the rows are a guard too.
    async fn pay_slowly(&self, world: &World, node: &Node, is_sound: bool) {
        let (ana, ben, seat) = (world.visitor(), world.visitor(), world.fresh_seat());
        let Some(hold) = self.hold(&ana, node, seat).await else {
            assert!(!is_sound, "a fresh seat is free");
            return;
        };
        let is_over = std::sync::atomic::AtomicBool::new(false);
        let over = || is_over.load(std::sync::atomic::Ordering::Relaxed);
        let paying = async {
            self.pay(&ana, node, &hold, "tok_slow").await;
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        };
        let asking = async {
            while self.history().paying.iter().all(|paying| paying.hold != hold.hold) && !over() {
                tokio::time::sleep(AGAIN).await;
                self.pay_once(&ana, node, &hold, "tok_slow").await;
            }
        };
        let wanting = async {
            while !over() && self.hold(&ben, node, seat).await.is_none() {
                tokio::time::sleep(AGAIN).await;
            }
        };
        tokio::join!(paying, asking, wanting);
    }

    /// Looks at everything once more, and judges.
    async fn verdict(self, world: &World, node: &Node) -> Verdict {
        let visitor = world.visitor();
        let mut body = None;
        eventually("the ledger tells", async || {
            body = node.ledger(world).await;
            body.is_some()
        })
        .await;
        let body = body.expect("it is there");
        let orders = self.history().orders.clone();
        for (at, sold) in orders.iter().enumerate() {
            let reread = match visitor.order(node, &sold.order).await {
                Heard::Done(body) => {
                    let order: OrderAnswer = serde_json::from_value(body).unwrap();
                    self.history().tickets.extend(order.tickets_seen());
                    order.compare(sold)
                }
                Heard::No(404, _) => Reread::Gone,
                other => Reread::Unread(format!("{other:?}")),
            };
            self.history().orders[at].reread = reread;
        }
        let mut history = self.0.into_inner().unwrap();
        history.ledger = Ledger::Charges(ledger(&body).unwrap());
        check(&history, Bounds::default())
    }
}

/// A sale on SQLite with a bug, or with none. Early in it the process is killed and started again.
async fn sale(bug: Option<&str>, config: &str) -> Verdict {
    let world = World::sqlite();
    let mut node = world.node_with(config);
    let is_sound = bug.is_none();
    let bug = bug.map(|bug| format!("ORIGIN_PLANTED_BUG={bug} ")).unwrap_or_default();
    node.start_with(&world, &format!("{bug}ORIGIN_FAILPOINTS=append-begun:2:kill")).await;
    let crowd = Crowd::default();
    let visitor = world.visitor();
    crowd.hold(&visitor, &node, world.fresh_seat()).await;
    crowd.hold(&visitor, &node, LAST).await;
    eventually("it dies", async || node.has_ended()).await;
    node.start_with(&world, &bug).await;
    eventually("it serves", async || visitor.availability(&node).await.is_done()).await;
    crowd.race(&world, &node).await;
    let slow = (0..3).map(|_| crowd.pay_slowly(&world, &node, is_sound));
    futures_util::future::join_all(slow).await;
    crowd.verdict(&world, &node).await
}

/// A frozen owner wakes up after somebody else has taken over and sold the seat.
async fn late_owner(bug: &str) -> Verdict {
    let world = World::postgres(Postgres::shared().database());
    // The rows are a guard of their own, which would find it before anybody is told.
    let more = format!("postgres.rows = \"fast\"\n{LONG}");
    let mut owner = world.member_with(&more);
    owner.start_with(&world, &format!("{bug} ORIGIN_FAILPOINTS=append-begun:1:stop")).await;
    let crowd = Crowd::default();
    let (ana, ben, seat) = (world.visitor(), world.visitor(), world.fresh_seat());
    eventually("it serves", async || ana.availability(&owner).await.is_done()).await;
    let mut other = world.member_with(&more);
    other.start(&world).await;
    let meanwhile = async {
        eventually("the owner freezes", async || owner.is_frozen()).await;
        eventually("the other sells", async || crowd.hold(&ben, &other, seat).await.is_some())
            .await;
        owner.resume();
    };
    tokio::join!(crowd.hold(&ana, &owner, seat), meanwhile);
    crowd.verdict(&world, &other).await
}

#[track_caller]
fn assert_breaks(verdict: &Verdict, promise: Promise) {
    assert!(verdict.broken().contains(&promise), "{promise:?} is not broken in {verdict:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_bug_a_sale_with_a_kill_is_clean() {
    for config in [LONG, SHORT] {
        let verdict = sale(None, config).await;
        assert_eq!(verdict.broken(), [], "{verdict:#?}");
        for promise in PROMISES {
            let checked = verdict.of(promise).map_or(0, |check| check.checked_total);
            assert!(checked > 0, "{promise:?} was not put to the test");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_before_lock_is_found_by_two_owners_of_a_seat() {
    let verdict = sale(Some("read-before-lock"), LONG).await;
    assert_breaks(&verdict, Promise::SeatOwnedOnce);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answer_before_sync_is_found_by_two_owners_of_a_seat() {
    let verdict = sale(Some("answer-before-sync"), LONG).await;
    assert_breaks(&verdict, Promise::SeatOwnedOnce);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_dedupe_is_found_by_two_answers_to_a_key() {
    let verdict = sale(Some("drop-dedupe"), LONG).await;
    assert_breaks(&verdict, Promise::KeysRepeat);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_paying_is_found_by_an_owner_before_the_gateway_has_decided() {
    let verdict = sale(Some("expire-paying"), SHORT).await;
    assert_breaks(&verdict, Promise::SeatOwnedOnce);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_skipped_epoch_check_is_found_by_two_owners_of_a_seat() {
    let verdict = late_owner("ORIGIN_PLANTED_BUG=skip-epoch-check").await;
    assert_breaks(&verdict, Promise::SeatOwnedOnce);
    let verdict = late_owner("").await;
    assert_eq!(verdict.broken(), [], "{verdict:#?}");
}
