//! A sale in virtual time: the real writer on a log in memory, the real checkout, and two fake
//! gateways whose ledgers say what buyers would have paid. Hours pass in a moment, and nothing
//! happens between two rounds of the resolver.

mod outages;
mod webhooks;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fake_gateway::{Call, FakeGateway, LineKind, Script, Totals};
use keys::{EventId, Id128, Secret, Timestamp};

use super::*;
use crate::load::Window;
use crate::log::{Log, MemoryLog};
use crate::partition::{EventSetup, Partition, PartitionSetup, Tenure};
use crate::pay::{Gateway, Stripe, StripeSetup};
use crate::record::{self, Entry, FIRST_LINK};
use crate::sale::{
    Change, Counts, OrderStage, PaymentRules, PaymentWork, Pick, Plan, PlanRow, Rules, Seat, State,
    Want, Zone,
};
use crate::shelf::Shelf;
use crate::steady::Reading;

const KEY: &str = "sk_test_of_the_shop";
const CARD: &str = "pm_card_visa";
const PRICE: u64 = 100;
const SEATS: u32 = 40;
const HOLD_SECS: u64 = 600;

/// An event with forty seats, and two gateways.
struct Market {
    a: FakeGateway,
    b: FakeGateway,
    partition: Partition,
    log: MemoryLog,
    shelf: Arc<Shelf>,
    metrics: Arc<Metrics>,
    checkout: Arc<Checkout>,
    passed_ms: Arc<AtomicU64>,
}

impl Drop for Market {
    fn drop(&mut self) {
        self.partition.stop();
    }
}

/// Somebody with seats held.
#[derive(Debug, Clone, Copy)]
struct Buyer {
    sub: Id128,
    hold: Id128,
}

fn the_final() -> EventId {
    "wc2026-final".parse().unwrap()
}

fn name(text: &str) -> GatewayName {
    GatewayName::try_from(text.to_owned()).unwrap()
}

fn plan() -> Plan {
    let zones = vec![Zone { id: "cat1".into(), price: PRICE }];
    let rows = vec![PlanRow { first: 0, len: SEATS, zone: 0, block: 0 }];
    let distances = (0..u64::from(SEATS)).collect();
    Plan::new(rows, zones, distances, "a row".into()).unwrap()
}

impl Market {
    async fn open() -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        let a = FakeGateway::start(any, KEY).await.unwrap();
        let b = FakeGateway::start(any, KEY).await.unwrap();
        let gateway = |fake: &FakeGateway| {
            let setup = StripeSetup {
                base_url: fake.base_url().parse().unwrap(),
                secret_key: Secret::try_from(KEY.to_owned()).unwrap(),
                webhook_secrets: Vec::new(),
            };
            Gateway::Stripe(Stripe::new(setup, "").unwrap())
        };
        let gateways = vec![(name("a"), gateway(&a)), (name("b"), gateway(&b))];
        let passed_ms = Arc::new(AtomicU64::new(0));
        let (began, passed) = (Timestamp::now(), Arc::clone(&passed_ms));
        let clock: Clock = Arc::new(move || {
            let elapsed = Duration::from_millis(passed.load(Ordering::SeqCst));
            Reading { wall: began.plus(elapsed), elapsed }
        });
        let shelf = Arc::new(Shelf::new(SEATS));
        let payment = PaymentRules {
            give_up_after: Duration::from_secs(600),
            capture_after: Duration::from_secs(60),
        };
        let rules = Rules { payment, hold: Duration::from_secs(HOLD_SECS), ..Rules::default() };
        let setup = EventSetup {
            event: the_final(),
            plan: Arc::new(plan()),
            rules,
            shelf: Arc::clone(&shelf),
        };
        let (log, metrics) = (MemoryLog::default(), Arc::new(Metrics::new().unwrap()));
        let sales = Arc::new(Sales::new(1, [setup.clone()]));
        let writer = PartitionSetup {
            partition: 0,
            owner: "origin-1".parse().unwrap(),
            events: vec![setup],
            tenure: Tenure::Sole,
            log: Log::Memory(log.clone()),
            clock: Arc::clone(&clock),
            may_cut_damaged_tail: false,
            // The whole log is read in the end.
            snapshot_changes: 1_000_000,
            window: Arc::new(Window::new(1, Instant::now())),
            metrics: Arc::clone(&metrics),
        };
        let (partition, _) = Partition::start(writer, Log::Memory(log.clone())).unwrap();
        sales.put_writer(0, partition.clone());
        // In real time: a gateway that is there answers long before.
        let timeout = Duration::from_secs(5);
        let gateways = Gateways::new(gateways, timeout, Arc::clone(&clock), Arc::clone(&metrics));
        let rules = CheckoutRules {
            absent_after: Duration::from_secs(120),
            reconcile_every: Duration::from_secs(300),
        };
        let checkout = Checkout::new(sales, gateways, rules, Arc::clone(&metrics), clock);
        let checkout = Arc::new(checkout);
        Self { a, b, partition, log, shelf, metrics, checkout, passed_ms }
    }

    /// So much time passes, and the resolver has a round every `step_secs`.
    async fn pass(&self, secs: u64, step_secs: u64) {
        for _ in 0..secs / step_secs {
            self.passed_ms.fetch_add(step_secs * 1000, Ordering::SeqCst);
            self.checkout.resolve().await;
        }
    }

    async fn ask(&self, command: Command) -> Reply {
        self.partition.ask(&the_final(), command).await.unwrap().reply
    }

    async fn tries(&self, seat: Seat) -> Result<Buyer, Refusal> {
        let buyer = Buyer { sub: Id128::random(), hold: Id128::random() };
        let want = Want::Pick(Pick::seats(vec![seat]));
        match self.ask(Command::Hold { hold: buyer.hold, sub: buyer.sub, want }).await {
            Reply::Refused(refusal) => Err(refusal),
            _ => Ok(buyer),
        }
    }

    async fn holds(&self, seat: Seat) -> Buyer {
        self.tries(seat).await.unwrap()
    }

    async fn is_taken(&self, seat: Seat) -> bool {
        matches!(self.tries(seat).await, Err(Refusal::SeatTaken { .. }))
    }

    async fn pays(&self, buyer: Buyer) -> Reply {
        let begin = BeginPayment {
            hold: buyer.hold,
            sub: buyer.sub,
            key: "key".into(),
            body: "body".into(),
            order: Id128::random(),
            tickets: vec![Id128::random()],
            name: "Ana".into(),
            email: None,
            phone: None,
            locale: None,
            gateway: None,
            token: CARD.into(),
        };
        self.checkout.pay(the_final(), begin).await.unwrap().answer.reply
    }

    /// Somebody buys a seat.
    async fn sells(&self, seat: Seat) -> OrderView {
        let buyer = self.holds(seat).await;
        match self.pays(buyer).await {
            Reply::Order(order) => *order,
            other => panic!("{other:?}"),
        }
    }

    fn order(&self, order: Id128) -> Option<OrderView> {
        self.shelf.order(order)
    }

    fn counts(&self) -> Counts {
        self.shelf.counts()
    }

    async fn work(&self) -> PaymentWork {
        match self.ask(Command::ListPaymentWork).await {
            Reply::PaymentWork(work) => *work,
            other => panic!("{other:?}"),
        }
    }

    fn findings(&self) -> Vec<(Id128, Finding)> {
        let findings = self.checkout.findings().into_iter();
        findings.map(|((_, order, _), finding)| (order, finding)).collect()
    }

    fn totals(&self) -> [Totals; 2] {
        [self.a.totals(), self.b.totals()]
    }

    /// Nothing is left to do, nobody has to look, and both ledgers say what the log says: who has
    /// a ticket has paid once, and nobody else has.
    async fn adds_up(&self, orders: u64) {
        let work = self.work().await;
        let left = (work.unsettled.len(), work.voids_total, work.uncaptured_total);
        assert_eq!((left, work.refunds_total, work.lost.len()), ((0, 0, 0), 0, 0));
        assert_eq!(self.findings(), []);
        let [a, b] = self.totals();
        let captured = a.captured_amount + b.captured_amount;
        assert_eq!((a.reserved + b.reserved, captured), (0, orders * PRICE), "{a:?} {b:?}");
        assert_eq!(self.counts().sold, orders);
        let lines = [&self.a, &self.b].into_iter().flat_map(FakeGateway::ledger);
        let captured = lines.filter(|line| line.kind == LineKind::Captured);
        let mut paid: Vec<Id128> = captured
            .map(|line| line.metadata["payment"].split(':').next().unwrap().parse().unwrap())
            .collect();
        paid.sort();
        paid.dedup();
        let sold: Vec<Id128> = self.shelf.orders().iter().map(|order| order.order).collect();
        assert_eq!(paid, sold, "each order once");
        self.no_timer_freed_what_was_being_paid();
    }

    /// Reads the whole log: seats leave `Paying` because they are sold, because the gateway has
    /// said no, or with the authorisation written down as one to be voided in the same record.
    fn no_timer_freed_what_was_being_paid(&self) {
        let mut log = Log::Memory(self.log.clone());
        let mut link = FIRST_LINK;
        let rules = Rules { payment: PaymentRules::default(), ..Rules::default() };
        let mut state = State::new(Arc::new(plan()), rules);
        for stored in log.read(0, 0, u32::MAX).unwrap() {
            let (record, next) = record::decode::<Entry>(stored.seq, &stored.bytes, &link).unwrap();
            link = next;
            let paying = state.counts().paying;
            let mut explained = 0;
            for (seq, entry) in (record.seq..).zip(&record.entries) {
                explained += match &entry.change {
                    Change::Sold { .. } => 1,
                    Change::PaymentDeclined { code, is_void_owed, .. } => {
                        let is_said = code.as_deref().is_some_and(|code| code != "not_answered");
                        assert!(is_said || *is_void_owed, "a timer alone: {:?}", entry.change);
                        1
                    }
                    Change::PaymentBegun(_) => -1,
                    _ => 0,
                };
                state.set_next_seq(seq);
                state.evolve(&entry.change, record.at).unwrap();
            }
            let left =
                i64::try_from(paying).unwrap() - i64::try_from(state.counts().paying).unwrap();
            assert_eq!(left, explained, "in {record:?}");
        }
    }
}

/// Calls of every kind fail, and of `on` happen all the same.
fn down(gateway: &FakeGateway, on: Option<Call>) {
    if let Some(call) = on {
        gateway.script(Script::failing(call, 503, fake_gateway::Effect::Happens));
    }
    gateway.script(Script { status: Some(503), ..Script::default() });
}
