//! Runs a crowd against an edge, from the first arrival to the verdict.
//!
//! Arrivals are an open model: they come when they are due, however slow the server is. The run
//! ends when everybody has gone, or at `max`; then orders are read again and the history is checked.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::AUTHORIZATION;
use http_body_util::Full;
use keys::{EventId, Lane, Timestamp};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::answers::{self, OrderAnswer};
use crate::arrivals::{Profile, ProfileError, WORLDCUP98, Window};
use crate::checker::{self, Bounds};
use crate::client::{Edges, Http, Target};
use crate::crowd::{Kind, Person, Shares};
use crate::history::{Charge, History, Ledger, Reread, Sold};
use crate::report::{Report, Second};
use crate::stats::{Step, lock};
use crate::visitor::Visitor;
use crate::world::{World, WorldParts};

/// Most visitors of one run: each costs about five kilobytes while present.
pub const VISITORS_MAX: usize = 1_000_000;
/// Most orders that are read again at the end: enough to meet every batch of a large sale.
const REREAD_MAX: usize = 2_000;
/// Most of these at once.
const REREAD_AT_ONCE: usize = 16;
/// How long reading them again may take: limits by network may slow it down.
const REREAD_WAIT: Duration = Duration::from_secs(120);
/// Rows of one page of the ledger.
const LEDGER_PAGE: u32 = 1_000;
/// Most pages that are read: a million charges.
const LEDGER_PAGES_MAX: usize = 1_000;
/// How long the last front is waited for, that bounds the last admission.
const LAST_FRONT_WAIT: Duration = Duration::from_secs(8);
/// How long visitors have to end their requests when the run is over.
const CLOSING_GRACE: Duration = Duration::from_secs(3);
/// Distance between two looks at the front and two points of the series.
const TICK: Duration = Duration::from_secs(1);

/// Where the payment sandbox's books are.
#[derive(Clone)]
pub struct LedgerSource {
    /// The address of `GET /internal/v1/sandbox/ledger`.
    pub target: Target,
    /// The bearer token.
    pub token: String,
}

impl std::fmt::Debug for LedgerSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LedgerSource({} token: ***)", self.target.authority())
    }
}

/// What to drive. Start from [`DriveOptions::new`] and change what is different.
#[derive(Debug, Clone)]
pub struct DriveOptions {
    /// Where the edges of one line are; requests go to them by turns.
    pub edges: Vec<Target>,
    /// What is on sale.
    pub event: EventId,
    /// How many come.
    pub visitors: usize,
    /// Within what time.
    pub over: Duration,
    /// Which part of the day gives the shape.
    pub window: Window,
    /// The same seed makes the same crowd.
    pub seed: u64,
    /// Who they are.
    pub shares: Shares,
    /// Mean time to think, before choosing seats and before paying.
    pub think: Duration,
    /// Whether each visitor has an address of its own, in `X-Forwarded-For`.
    pub is_forwarded: bool,
    /// Whether all read one copy of the front, as behind a CDN.
    pub has_cdn: bool,
    /// The path of the event's page; absent means `/events/{event}`.
    pub page: Option<String>,
    /// Most requests under way at once.
    pub in_flight_max: usize,
    /// The run ends after this in any case.
    pub max: Duration,
    /// Two joins further apart than this must not be swapped; absent means that it is measured.
    pub swap_max: Option<Duration>,
    /// The payment sandbox's books, if they are to be checked.
    pub ledger: Option<LedgerSource>,
    /// Whether to write a line a second to standard error.
    pub shows_progress: bool,
}

impl DriveOptions {
    /// A crowd of this size within this time, and the defaults.
    #[must_use]
    pub fn new(edges: Vec<Target>, event: EventId, visitors: usize, over: Duration) -> Self {
        Self {
            edges,
            event,
            visitors,
            over,
            window: Window::Day,
            seed: 1,
            shares: Shares::default(),
            think: Duration::from_secs(2),
            is_forwarded: false,
            has_cdn: true,
            page: None,
            in_flight_max: 256,
            max: Duration::from_secs(600),
            swap_max: None,
            ledger: None,
            shows_progress: false,
        }
    }
}

/// Why a run did not begin.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// A number is out of its range.
    #[error("{what} is not {expected}")]
    Option {
        /// Which.
        what: &'static str,
        /// What was expected.
        expected: &'static str,
    },
    /// The shape of the crowd could not be had.
    #[error("the crowd has no shape")]
    Profile(#[from] ProfileError),
    /// No edge answers.
    #[error("nothing at {0} gives the public keys of the line")]
    NoEdge(String),
    /// There is no line to stand in.
    #[error("nothing at {edges} gives a front of {event} that its keys verify")]
    NoFront {
        /// Where edges were looked for.
        edges: String,
        /// The event.
        event: EventId,
    },
}

/// Drives a crowd and says what it saw.
///
/// # Errors
/// If the options do not fit together, or there is no edge with such an event.
pub async fn drive(options: DriveOptions) -> Result<Report, DriveError> {
    check(&options)?;
    let profile = Profile::parse(WORLDCUP98)?.window(options.window)?;
    let arrivals = profile.arrivals(options.visitors, options.over, options.seed);
    let no_edges = DriveError::Option { what: "edges", expected: "at least one" };
    let world = Arc::new(World::new(WorldParts {
        edges: Edges::new(options.edges.clone()).ok_or(no_edges)?,
        event: options.event.clone(),
        page: options.page.clone(),
        seed: options.seed,
        shares: options.shares,
        think: options.think,
        is_forwarded: options.is_forwarded,
        has_cdn: options.has_cdn,
        in_flight_max: options.in_flight_max,
    }));
    let edges = || {
        let all = options.edges.iter().map(|edge| edge.authority().as_str());
        all.collect::<Vec<_>>().join(", ")
    };
    if !world.fetch_keys().await {
        return Err(DriveError::NoEdge(edges()));
    }
    if !world.fetch_front(Instant::now()).await {
        return Err(DriveError::NoFront { edges: edges(), event: options.event.clone() });
    }
    let earlier = match &options.ledger {
        Some(source) => read_ledger(&world.own, source).await,
        None => Ledger::NotAsked,
    };

    let started_at = Timestamp::now();
    let start = Instant::now();
    let stop = Arc::new(Notify::new());
    let observer =
        tokio::spawn(observe(Arc::clone(&world), start, Arc::clone(&stop), options.shows_progress));
    let is_complete = run_crowd(&world, &arrivals, start, start + options.max).await;
    let driven = start.elapsed();
    stop.notify_one();
    let series = observer.await.unwrap_or_default();

    bound_last_admission(&world).await;
    reread_orders(&world).await;
    if let Some(source) = &options.ledger {
        let ledger = read_ledger(&world.own, source).await;
        lock(&world.history).ledger = since(earlier, ledger);
    }
    let history = std::mem::take(&mut *lock(&world.history));
    let verdict = checker::check(&history, Bounds { swap_max: options.swap_max });
    let kinds = count_kinds(&options);
    let series = place_events(series, &history, started_at);
    Ok(Report::new(&options, &world.stats, kinds, driven, is_complete, series, &history, verdict))
}

fn check(options: &DriveOptions) -> Result<(), DriveError> {
    let refuse = |what, expected| Err(DriveError::Option { what, expected });
    if !(1..=VISITORS_MAX).contains(&options.visitors) {
        return refuse("visitors", "between 1 and 1000000");
    }
    if options.max > Duration::from_secs(86_400) || options.over > options.max {
        return refuse("over", "at most max, and that at most a day");
    }
    if !(1..=20_000).contains(&options.in_flight_max) {
        return refuse("in-flight", "between 1 and 20000");
    }
    if options.think > Duration::from_secs(3_600) {
        return refuse("think", "at most an hour");
    }
    if options.page.as_ref().is_some_and(|page| !page.starts_with('/')) {
        return refuse("page", "a path that starts with /");
    }
    Ok(())
}

/// True if everybody has come and gone before `deadline`.
async fn run_crowd(
    world: &Arc<World>,
    arrivals: &[Duration],
    start: Instant,
    deadline: Instant,
) -> bool {
    let mut visits = JoinSet::new();
    let everybody = async {
        for (index, arrival) in (0_u64..).zip(arrivals) {
            let due = start + *arrival;
            tokio::time::sleep_until(due).await;
            visits.spawn(Visitor::new(Arc::clone(world), index, due).visit());
            while visits.try_join_next().is_some() {}
        }
        while visits.join_next().await.is_some() {}
    };
    let is_complete = tokio::time::timeout_at(deadline, everybody).await.is_ok();
    world.is_closing.store(true, Ordering::Relaxed);
    // Who is in the middle of a request may hear its answer: less is left unresolved.
    let rest = async { while visits.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(CLOSING_GRACE, rest).await;
    visits.shutdown().await;
    is_complete
}

/// Once a second: fetches the front, as a CDN in front of the crowd would, and notes where
/// everything stands.
async fn observe(
    world: Arc<World>,
    start: Instant,
    stop: Arc<Notify>,
    shows_progress: bool,
) -> Vec<Second> {
    let mut ticks = tokio::time::interval_at(start + TICK, TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut series = Vec::new();
    loop {
        let due = tokio::select! {
            due = ticks.tick() => due,
            () = stop.notified() => break,
        };
        world.fetch_front(due).await;
        let second = look(&world, start);
        if shows_progress {
            // A terminal that is gone is no reason to stop the run.
            let _ = writeln!(std::io::stderr(), "{}", second.line(&world.stats));
        }
        series.push(second);
    }
    series.push(look(&world, start));
    if shows_progress {
        let _ = writeln!(std::io::stderr(), "everybody has gone; reading orders again");
    }
    series
}

#[allow(clippy::cast_precision_loss)] // a pace is far below 2^52
fn look(world: &World, start: Instant) -> Second {
    let stats = &world.stats;
    let front = world.front();
    let now = Timestamp::now();
    let lane = |of: &dyn Fn(&keys::LaneFront) -> u64| {
        front.as_ref().and_then(|front| front.lane(Lane::Standard)).map_or(0, of)
    };
    let pace_milli = front.as_ref().map_or(0, |front| {
        front.lanes.iter().map(|lane| lane.pace_milli).fold(0, u64::saturating_add)
    });
    Second {
        at_secs: start.elapsed().as_secs_f64(),
        arrived: stats.arrived.get(),
        joined: stats.joined.get(),
        admitted: stats.admitted.get(),
        waiting: stats.waiting.get(),
        inside: stats.inside.get(),
        orders: stats.orders.get(),
        issued: lane(&|entry| entry.issued),
        front: front.as_ref().map_or(0, |front| front.at(Lane::Standard, now)),
        pace: pace_milli as f64 / 1000.0,
        phase: front.as_ref().map_or("unknown", |front| front.phase.label()),
        admitted_in_second: 0,
        arrived_in_second: 0,
    }
}

/// Puts into each second who was admitted and who arrived in it.
fn place_events(mut series: Vec<Second>, history: &History, started_at: Timestamp) -> Vec<Second> {
    for admitted in &history.admitted {
        let at_secs = admitted.at.since(started_at).as_secs_f64();
        let index = series.partition_point(|second| second.at_secs < at_secs);
        if let Some(second) = series.get_mut(index) {
            second.admitted_in_second += 1;
        }
    }
    let mut before = 0;
    for second in &mut series {
        second.arrived_in_second = second.arrived - before;
        before = second.arrived;
    }
    series
}

/// Fetches fronts until one is from after the last admission: only such a one bounds it.
async fn bound_last_admission(world: &World) {
    let last = lock(&world.history).admitted.iter().map(|admitted| admitted.at).max();
    let Some(last) = last else { return };
    let deadline = Instant::now() + LAST_FRONT_WAIT;
    while world.front().is_none_or(|front| front.t0 <= last) && Instant::now() < deadline {
        world.fetch_front(Instant::now()).await;
        tokio::time::sleep(TICK / 4).await;
    }
}

async fn reread_orders(world: &Arc<World>) {
    let orders = lock(&world.history).orders.len();
    let stride = orders.div_ceil(REREAD_MAX).max(1);
    let deadline = Instant::now() + REREAD_WAIT;
    let mut reads = JoinSet::new();
    for index in (0..orders).step_by(stride) {
        while reads.len() >= REREAD_AT_ONCE {
            reads.join_next().await;
        }
        let world = Arc::clone(world);
        reads.spawn(async move {
            let sold = lock(&world.history).orders.get(index).cloned();
            let Some(sold) = sold else { return };
            let reread = reread_order(&world, index as u64, &sold, deadline).await;
            if let Some(sold) = lock(&world.history).orders.get_mut(index) {
                sold.reread = reread;
            }
        });
    }
    while reads.join_next().await.is_some() {}
}

/// Asks until there is an answer that says something, or the deadline.
async fn reread_order(world: &World, index: u64, sold: &Sold, deadline: Instant) -> Reread {
    let path = format!("/api/v1/orders/{}", sold.order);
    let mut pause = Duration::from_millis(300);
    loop {
        let answer = world.get_as(Some(index), Step::Reread, &path, Instant::now()).await;
        let (unread, again) = match answer {
            Ok(answer) if answer.status == 404 => return Reread::Gone,
            Ok(answer) if answer.status.is_success() => match answer.json::<OrderAnswer>() {
                Some(order) => {
                    lock(&world.history).tickets.extend(order.tickets_seen());
                    return order.compare(sold);
                }
                None => ("not an order".to_owned(), None),
            },
            Ok(answer) => (format!("status {}", answer.status), answer.retry_after()),
            Err(none) => (none.to_string(), None),
        };
        pause = (pause * 2).min(Duration::from_secs(5));
        let next = Instant::now() + again.unwrap_or(pause);
        if next > deadline {
            return Reread::Unread(unread);
        }
        tokio::time::sleep_until(next).await;
    }
}

/// Reads the books page by page: each begins after the last order of the one before it.
async fn read_ledger(http: &Http, source: &LedgerSource) -> Ledger {
    let mut charges: BTreeMap<String, Vec<Charge>> = BTreeMap::new();
    for _ in 0..LEDGER_PAGES_MAX {
        let after = charges.keys().next_back().cloned().unwrap_or_default();
        let page = match read_ledger_page(http, source, &after).await {
            Ok(page) => page,
            Err(why) => return Ledger::Unread(why),
        };
        let mut fresh: BTreeMap<String, Vec<Charge>> = BTreeMap::new();
        for charge in page.into_iter().filter(|charge| !charges.contains_key(&charge.order)) {
            fresh.entry(charge.order.clone()).or_default().push(charge);
        }
        if fresh.is_empty() {
            return Ledger::Charges(charges.into_values().flatten().collect());
        }
        charges.append(&mut fresh);
    }
    Ledger::Unread(format!("more than {LEDGER_PAGES_MAX} pages"))
}

async fn read_ledger_page(
    http: &Http,
    source: &LedgerSource,
    after: &str,
) -> Result<Vec<Charge>, String> {
    let uri = source.target.page(after, LEDGER_PAGE).ok_or("no such address")?;
    let request = Request::get(uri).header(AUTHORIZATION, format!("Bearer {}", source.token));
    let request = request.body(Full::new(Bytes::new())).map_err(|e| e.to_string())?;
    let answer = http.send(request).await.map_err(|none| none.to_string())?;
    if !answer.status.is_success() {
        return Err(format!("status {}", answer.status));
    }
    answers::ledger(&answer.json::<Value>().ok_or("not JSON")?)
}

/// What was charged since `earlier`: another run may have filled the books before this one.
fn since(earlier: Ledger, now: Ledger) -> Ledger {
    match (earlier, now) {
        (Ledger::Charges(before), Ledger::Charges(mut charges)) => {
            let known: BTreeSet<&str> = before.iter().map(|charge| charge.order.as_str()).collect();
            charges.retain(|charge| !known.contains(charge.order.as_str()));
            Ledger::Charges(charges)
        }
        (Ledger::NotAsked | Ledger::Unread(_) | Ledger::Charges(_), now) => now,
    }
}

fn count_kinds(options: &DriveOptions) -> Vec<(Kind, u64)> {
    let mut counts = Kind::ALL.map(|kind| (kind, 0));
    for index in 0..options.visitors as u64 {
        let kind = Person::nth(options.seed, index, &options.shares).kind;
        if let Some(entry) = counts.iter_mut().find(|(of, _)| *of == kind) {
            entry.1 += 1;
        }
    }
    counts.to_vec()
}
