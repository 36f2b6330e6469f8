//! The processes that share one store, and what time it is: everything that can break.
//!
//! A process is a [`Writer`] without its thread. Ending one without a word is a crash; what the
//! store has is what remains. Each process has a clock that may be set, and all share the time
//! that really passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keys::{EventId, Timestamp};
use tokio::sync::oneshot;

use super::super::Unavailable;
use super::super::book::Book;
use super::super::snapshots::Snapshots;
use super::super::writer::{Next, Writer};
use super::super::{Answer, Ask, EventSetup, Job, PartitionError, PartitionSetup, Tenure};
use crate::load::Window;
use crate::log::{Fault, Log, MemoryLog};
use crate::metrics::Metrics;
use crate::sale::{Command, PaymentRules, Plan, PlanRow, Rules, State, Zone};
use crate::shelf::Shelf;
use crate::steady::Reading;

/// Processes at most.
pub(super) const NODES: usize = 3;
/// Seats, in two rows: few enough that everybody wants the same.
pub(super) const SEATS: u32 = 16;
/// How long somebody's word counts who has a lease.
const LEASE: Duration = Duration::from_secs(3);
/// What the clocks showed when the time began, in milliseconds: later than any clock is set back.
const BEGAN_MS: u64 = 1_000_000_000;

/// The store, the processes and the time.
pub(super) struct House {
    pub(super) event: EventId,
    pub(super) log: MemoryLog,
    passed_ms: Arc<AtomicU64>,
    nodes: [Option<Node>; NODES],
    tenure: fn(usize) -> Tenure,
    plan: Arc<Plan>,
    metrics: Arc<Metrics>,
    window: Arc<Window>,
    /// What was asked and answered.
    pub(super) answers: Vec<(Command, Answer)>,
}

struct Node {
    writer: Writer,
    /// By how much its clock is wrong.
    set_ms: Arc<AtomicI64>,
}

impl House {
    /// A house whose processes take over from each other by force, or wait for leases.
    pub(super) fn new(is_leased: bool, metrics: &Arc<Metrics>) -> Self {
        let passed_ms = Arc::new(AtomicU64::new(0));
        let leased = |node: usize| Tenure::Leased { addr: format!("node-{node}"), ttl: LEASE };
        Self {
            event: "wc2026-final".parse().unwrap(),
            log: MemoryLog::timed(Arc::clone(&passed_ms)),
            passed_ms,
            nodes: [const { None }; NODES],
            tenure: if is_leased { leased } else { |_| Tenure::Sole },
            plan: plan(),
            metrics: Arc::clone(metrics),
            window: Arc::new(Window::new(1, Instant::now())),
            answers: Vec::new(),
        }
    }

    /// What a clock shows that nobody has set.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_millis(BEGAN_MS + self.passed_ms.load(Ordering::Relaxed))
    }

    /// Lets time pass.
    pub(super) fn pass(&self, ms: u64) {
        self.passed_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Sets the clock of a process, from now on.
    pub(super) fn set_clock(&self, node: usize, wrong_ms: i64) {
        if let Some(node) = &self.nodes[node] {
            node.set_ms.store(wrong_ms, Ordering::Relaxed);
        }
    }

    pub(super) fn is_up(&self, node: usize) -> bool {
        self.nodes[node].is_some()
    }

    pub(super) fn up(&self) -> Vec<usize> {
        (0..NODES).filter(|node| self.is_up(*node)).collect()
    }

    pub(super) fn crash(&mut self, node: usize) {
        self.nodes[node] = None;
    }

    /// Starts a process whose clock is wrong by so much; it stays down if somebody else's lease stands.
    pub(super) fn start(&mut self, node: usize, wrong_ms: i64, may_cut_damaged_tail: bool) {
        let set_ms = Arc::new(AtomicI64::new(wrong_ms));
        let shelf = Arc::new(Shelf::new(SEATS));
        let mut setup = self.setup(node, &set_ms, &shelf);
        setup.may_cut_damaged_tail = may_cut_damaged_tail;
        let store = Log::Memory(self.log.clone());
        let snapshots = Snapshots::at_once(0, store, Arc::clone(&self.metrics));
        match Writer::open(setup, snapshots) {
            Ok(writer) => self.nodes[node] = Some(Node { writer, set_ms }),
            // Somebody else's turn, or a torn record that an operator has to look at.
            Err(PartitionError::Held { .. } | PartitionError::DamagedTail { .. }) => {}
            Err(error) => panic!("process {node} does not start: {error:?}"),
        }
    }

    /// What a process is started with, or what reads the log.
    fn setup(&self, node: usize, set_ms: &Arc<AtomicI64>, shelf: &Arc<Shelf>) -> PartitionSetup {
        let (passed_ms, set_ms) = (Arc::clone(&self.passed_ms), Arc::clone(set_ms));
        PartitionSetup {
            partition: 0,
            owner: format!("node-{node}").parse().unwrap(),
            events: vec![EventSetup {
                event: self.event.clone(),
                plan: Arc::clone(&self.plan),
                rules: rules(),
                shelf: Arc::clone(shelf),
            }],
            tenure: (self.tenure)(node),
            log: Log::Memory(self.log.clone()),
            clock: Arc::new(move || {
                let passed = passed_ms.load(Ordering::Relaxed);
                let shown =
                    (BEGAN_MS + passed).saturating_add_signed(set_ms.load(Ordering::Relaxed));
                let elapsed = Duration::from_millis(passed);
                Reading { wall: Timestamp::from_millis(shown), elapsed }
            }),
            may_cut_damaged_tail: false,
            snapshot_changes: 25,
            window: Arc::clone(&self.window),
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// One turn of a process with these commands in its channel. What is answered is answered
    /// even if the process ends with it, unless nobody `is_listening`.
    pub(super) fn step(
        &mut self,
        node: usize,
        commands: &[Command],
        is_listening: bool,
    ) -> Vec<Result<Answer, Unavailable>> {
        if self.nodes[node].is_none() {
            return commands.iter().map(|_| Err(Unavailable::Down)).collect();
        }
        let (mut batch, mut waiting) = (Vec::new(), Vec::new());
        for command in commands {
            let (answer, answered) = oneshot::channel();
            let (event, command) = (self.event.clone(), command.clone());
            batch.push(Job::Ask(Ask { event, command, asked_at: Instant::now(), answer }));
            waiting.push(answered);
        }
        let is_zombie = self.is_zombie(node);
        let Some(running) = &mut self.nodes[node] else { return Vec::new() };
        let next = running.writer.step(&mut batch);
        assert!(batch.is_empty(), "everybody who asked is answered");
        if next == Next::End {
            running.writer.close();
            self.nodes[node] = None;
        }
        let answers = waiting.into_iter().zip(commands).map(|(mut answered, command)| {
            let answer = answered.try_recv().unwrap_or(Err(Unavailable::Down));
            // It decides nothing any more, and what it only looks up is old.
            if !is_listening || (is_zombie && !decides(command)) {
                return Err(Unavailable::Down);
            }
            if let Ok(answer) = &answer {
                self.answers.push((command.clone(), answer.clone()));
            }
            answer
        });
        answers.collect()
    }

    /// The next append fails in this way, whoever it is.
    pub(super) fn inject(&self, fault: Fault) {
        self.log.inject(fault);
    }

    /// What the log adds up to, read with the snapshot or without, in a new epoch.
    pub(super) fn load(&self, is_whole: bool) -> Result<Book, PartitionError> {
        let (set_ms, shelf) = (Arc::default(), Arc::new(Shelf::new(SEATS)));
        let mut setup = self.setup(NODES, &set_ms, &shelf);
        setup.tenure = Tenure::Sole;
        let mut claim = super::super::claim::Claim::take(&mut setup)?;
        if !is_whole {
            return Book::load(&mut setup, &mut claim).map(|(book, _)| book);
        }
        let mut book = Book::empty(&setup);
        book.follow(&mut setup, &mut claim)?;
        Ok(book)
    }

    /// The sale before anything was sold.
    pub(super) fn fresh(&self) -> State {
        State::new(Arc::clone(&self.plan), rules())
    }

    /// What time it is in a process, which may be ahead or behind.
    pub(super) fn core_now(&self, node: usize) -> Timestamp {
        let running = self.nodes[node].as_ref();
        running.map_or(self.now(), |node| node.writer.steady.told().max(node.writer.book.at))
    }

    /// Whether a process goes on that somebody else has taken the partition from. With a lease it
    /// knows that in time; who has the store for itself does not look.
    fn is_zombie(&self, node: usize) -> bool {
        let mut log = Log::Memory(self.log.clone());
        let newest = log.holder(0).unwrap().map_or(0, |holder| holder.epoch);
        let ours = self.nodes[node].as_ref().map_or(0, |node| node.writer.claim.epoch);
        (self.tenure)(node) == Tenure::Sole && ours < newest
    }

    /// What a running process believes.
    pub(super) fn book(&self, node: usize) -> Option<&Book> {
        self.nodes[node].as_ref().map(|node| &node.writer.book)
    }
}

/// Whether a process that answers yes to this has written something down.
fn decides(command: &Command) -> bool {
    matches!(command, Command::Hold { .. } | Command::BeginPayment(_) | Command::Settle(_))
}

pub(super) fn rules() -> Rules {
    let (give_up_after, capture_after) = (Duration::from_secs(400), Duration::from_secs(60));
    Rules {
        hold: Duration::from_secs(600),
        seats_per_order_max: 4,
        seats_per_visitor_max: 8,
        payment: PaymentRules { give_up_after, capture_after },
        ..Rules::default()
    }
}

fn plan() -> Arc<Plan> {
    let row = |first, zone| PlanRow { first, len: SEATS / 2, zone, block: 0 };
    let zones = [("near", 200), ("far", 100)];
    let zones = zones.map(|(id, price)| Zone { id: id.into(), price }).to_vec();
    let rows = vec![row(0, 0), row(SEATS / 2, 1)];
    Arc::new(Plan::new(rows, zones, (0..u64::from(SEATS)).collect(), "two rows".into()).unwrap())
}
