//! Moves the fronts: twice a second, for each room, look, decide, make durable, sign, publish.
//!
//! What is published is an immutable snapshot that requests read without a lock. A front gets into
//! it only after the store has made it durable, so a crash never takes a published front back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use admission_api::{Restored, Room, RoomMode, Stock};
use keys::{
    Beacon, Draw, EventId, Front, Keyring, Lane, Order, Owner, Phase, PollHint, Sealed, SignError,
    StockBand, Timestamp,
};

use crate::claims::RoomFacts;
use crate::front::{self, Called, Drive, FrontState};
use crate::gaps;
use crate::metrics::Metrics;
use crate::noshow::{self, NoShows};
use crate::pace::{self, Binding, Decision, Inputs, Left, Signals};
use crate::signals::Heard;
use crate::store::{
    DrawRecord, Entry, EntryKind, Law, LineId, Published, RoomStatus, Statuses, Store, StoreError,
    Told,
};
use crate::turns::{Over, Turns};

/// How often fronts are computed.
pub const CONTROL_PERIOD: Duration = Duration::from_millis(500);
/// A front that stands is published again after this long, so that its line does not run out.
const STANDING_PERIOD: Duration = Duration::from_secs(2);
/// A front may be shown for this long, though its line in time ends much sooner.
const FRONT_SECS: u64 = 60;
/// A change of the pace by less than this share is no decision of its own.
const DECISION_SHARE: f64 = 0.05;
/// A commitment is published for this long at least before its draw is opened: every edge that can
/// hear us has it then.
const ANNOUNCED_FOR: Duration = Duration::from_secs(2);
/// How often what is of no use any more is deleted.
const SWEEP_PERIOD: Duration = Duration::from_secs(60);
/// A lane in which nobody arrived for this long keeps no spaces free.
const ARRIVED_LATELY: Duration = Duration::from_secs(60);
/// Shortest and longest distance between two fetches of the front by a page.
const POLL: PollHint = PollHint { near_secs: 2, far_secs: 15 };

/// Everything requests need to know, as of one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// By event.
    pub rooms: BTreeMap<EventId, Arc<RoomView>>,
    /// Judgements taken back.
    pub restored: Vec<Restored>,
    /// There may be rooms that are not among these: nothing is to be concluded from their absence.
    pub is_partial: bool,
}

/// One room in a [`Snapshot`].
#[derive(Debug)]
pub struct RoomView {
    /// What the operator wrote.
    pub room: Room,
    /// Every front that was signed and may still be followed, the newest last.
    pub signed: Vec<Front>,
    /// The newest as text; `None` until a key could sign one.
    pub sealed: Option<Sealed<Front>>,
    /// The draw as everybody may know it.
    pub draw: Option<Draw>,
    /// In which order each lane's numbers stand, by [`Lane::index`].
    pub orders: [Order; 3],
    /// What the room is doing.
    pub phase: Phase,
    /// The last decision.
    pub decision: Decision,
    /// What the control law allows, also while the front stands.
    pub law_per_sec: f64,
    /// When the pace last changed.
    pub changed_at: Timestamp,
    /// Waiting visitors, by [`Lane::index`].
    pub waiting: [u64; 3],
    /// Passes that have not ended.
    pub inside: u64,
    /// Called and not come.
    pub called: u64,
    /// Whose turn is over.
    pub over: Over,
    /// Stock as last heard.
    pub stock: Option<Stock>,
}

impl RoomView {
    /// The newest front.
    #[must_use]
    pub fn front(&self) -> Option<&Front> {
        self.signed.last()
    }

    /// The line's id.
    #[must_use]
    pub fn line(&self) -> LineId {
        LineId { event: self.room.spec.event.clone(), line: self.room.line }
    }

    /// What a claim is judged by.
    #[must_use]
    pub fn facts(&self) -> RoomFacts<'_> {
        let is_off = self.room.spec.mode == RoomMode::Off;
        RoomFacts {
            phase: self.phase,
            is_off,
            signed: &self.signed,
            orders: self.orders,
            over: self.over,
            rules: self.room.spec.passes,
        }
    }
}

/// What requests have brought since the last control period.
#[derive(Debug, Default)]
pub struct Inbox {
    /// Values of beacons, as far as they were asked for.
    pub beacons: Vec<(LineId, Vec<u8>)>,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The running state of all rooms; owned by whoever ticks.
#[derive(Debug)]
pub struct Control {
    name: Owner,
    rooms: BTreeMap<EventId, Runtime>,
    /// What was shown last: a room of which there is no answer goes on to be shown.
    shown: BTreeMap<EventId, Arc<RoomView>>,
    /// Our turn as leader.
    epoch: u64,
    /// Counts publications in this epoch.
    seq: u64,
    swept_at: Timestamp,
}

#[derive(Debug)]
struct Runtime {
    line: u64,
    draw: Option<DrawRecord>,
    /// As the draw gives them, by [`Lane::index`].
    orders: [Order; 3],
    front: FrontState,
    pace: pace::State,
    called: Called,
    noshows: NoShows,
    turns: Turns,
    over: Over,
    /// Claims that had counted when we last looked, by [`Lane::index`].
    admitted_total: [u64; 3],
    /// Visitors who came in under a number that was open ahead, not counted as called yet.
    early: u64,
    signed: Vec<Front>,
    sealed: Option<Sealed<Front>>,
    decision: Option<Decision>,
    /// The published pace that the log of decisions last told.
    told: Option<(f64, Binding)>,
    changed_at: Timestamp,
    /// When numbers were handed out last, by [`Lane::index`].
    arrived_at: [Option<Timestamp>; 3],
}

/// What one period has computed for a room, not yet durable.
struct Planned {
    front: FrontState,
    pace: pace::State,
    decision: Decision,
    /// By [`Lane::index`].
    called: [u64; 3],
    /// Whose turn is over.
    over: Over,
    claims: Front,
    /// `None` if what is published holds on. Made before it is durable, so that nothing that
    /// cannot be signed ever moves; shown to others only afterwards.
    sealed: Option<Result<Sealed<Front>, SignError>>,
}

impl Control {
    /// Nothing yet; the first tick reads the rooms from the store.
    #[must_use]
    pub fn new(name: Owner) -> Self {
        let (rooms, shown) = (BTreeMap::new(), BTreeMap::new());
        Self { name, rooms, shown, epoch: 0, seq: 0, swept_at: Timestamp::default() }
    }

    /// We lead, in this epoch. A new one begins with what the store says, whatever we knew.
    pub fn lead(&mut self, epoch: u64) {
        if self.epoch != epoch {
            (self.epoch, self.seq) = (epoch, 0);
            self.rooms.clear();
        }
    }

    /// One control period. Returns what is to be published.
    ///
    /// # Errors
    /// If the store fails: then nothing is published, and what was published before goes on to
    /// hold until its time is over.
    pub async fn tick(
        &mut self,
        store: &Store,
        keyring: &Keyring,
        heard: &HeardNow,
        inbox: Inbox,
        metrics: &Metrics,
        now: Timestamp,
    ) -> Result<Snapshot, ControlError> {
        if self.swept_at > now || now.since(self.swept_at) >= SWEEP_PERIOD {
            store.sweep(now).await?;
            self.swept_at = now;
        }
        let Statuses { mut rooms, silent } = store.status(now).await?;
        self.meet(store, &rooms, now).await?;
        self.take_in(store, &rooms, now).await?;
        self.draw(store, &mut rooms, &inbox.beacons, now).await?;

        let mut planned = Vec::new();
        let (mut durable, mut laws) = (Vec::new(), Vec::new());
        for status in &rooms {
            let event = &status.room.spec.event;
            let Some(runtime) = self.rooms.get_mut(event) else { continue };
            self.seq += 1;
            let stamp = Stamp { iss: &self.name, epoch: self.epoch, seq: self.seq };
            let mut plan = runtime.plan(status, heard, &stamp, now);
            if runtime.is_due(&plan.claims, now) {
                plan.seal(keyring, now);
                durable.push(runtime.published(&plan, now));
                laws.push(runtime.law(&plan, now));
            }
            planned.push((status, plan));
        }
        let entries = self.entries(&planned, metrics, now);
        let (put, kept, appended) =
            tokio::join!(store.put_fronts(durable), store.keep_laws(laws), async {
                if entries.is_empty() { Ok(()) } else { store.append(entries).await }
            });
        if let Err(error) = put.and(kept).and(appended) {
            match error {
                StoreError::Failed(_)
                | StoreError::Unreadable { .. }
                | StoreError::Demoted
                | StoreError::Closed => {}
                // Fronts may be out that we know nothing of: the store tells where we are.
                StoreError::Unanswered
                | StoreError::Unreplicated
                | StoreError::Distrusted
                | StoreError::Superseded { .. } => self.rooms.clear(),
            }
            return Err(error.into());
        }
        let mut snapshot = Snapshot { restored: store.restored().await?, ..Snapshot::default() };
        for (status, plan) in planned {
            let event = status.room.spec.event.clone();
            let Some(runtime) = self.rooms.get_mut(&event) else { continue };
            runtime.accept(plan, metrics, now);
            if let Some(view) = runtime.view(status, heard, now) {
                measure(&view, metrics);
                snapshot.rooms.insert(event, Arc::new(view));
            }
        }
        heard.measure(metrics);
        self.keep_showing(&mut snapshot, &silent, metrics);
        Ok(snapshot)
    }

    /// One look of a controller that does not lead: what the leader has published is shown.
    ///
    /// # Errors
    /// If the store fails: then what was shown before goes on to hold until its time is over.
    pub async fn follow(
        &mut self,
        store: &Store,
        heard: &HeardNow,
        metrics: &Metrics,
        now: Timestamp,
    ) -> Result<Snapshot, ControlError> {
        self.rooms.clear();
        let Statuses { rooms, silent } = store.status(now).await?;
        let mut snapshot = Snapshot { restored: store.restored().await?, ..Snapshot::default() };
        for status in rooms {
            let event = status.room.spec.event.clone();
            let line = LineId { event: event.clone(), line: status.room.line };
            let fronts = store.fronts(line.clone()).await?;
            let draw = store.draw(line).await?;
            let stock = heard.stock(&event).cloned();
            // Without a front it is not open yet, which the leader changes at once.
            if let Some(view) = followed(status, fronts, draw.as_ref(), stock) {
                measure(&view, metrics);
                snapshot.rooms.insert(event, Arc::new(view));
            }
        }
        heard.measure(metrics);
        self.keep_showing(&mut snapshot, &silent, metrics);
        Ok(snapshot)
    }

    /// A room without an answer is shown as it was; it would else be taken for deleted, and
    /// everybody would walk in.
    fn keep_showing(&mut self, snapshot: &mut Snapshot, silent: &[EventId], metrics: &Metrics) {
        for event in silent {
            if let Some(view) = self.shown.get(event) {
                snapshot.rooms.entry(event.clone()).or_insert_with(|| Arc::clone(view));
            }
        }
        snapshot.is_partial = silent.iter().any(|event| !snapshot.rooms.contains_key(event));
        for event in self.shown.keys().filter(|event| !snapshot.rooms.contains_key(*event)) {
            metrics.forget(event.as_str());
        }
        self.shown.clone_from(&snapshot.rooms);
    }

    /// Takes in what requests have brought, at this controller and at the others.
    async fn take_in(
        &mut self,
        store: &Store,
        rooms: &[RoomStatus],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for status in rooms {
            let event = &status.room.spec.event;
            let Some(runtime) = self.rooms.get_mut(event) else { continue };
            let line = LineId { event: event.clone(), line: runtime.line };
            let (gaps, orders) = (store.new_gaps(line, self.epoch).await?, runtime.orders);
            if !gaps.is_empty() {
                for at in aside(move || gaps::scattered(&gaps, &orders)).await? {
                    let passed = runtime.front.give_back(at.lane, at.first, at.count);
                    runtime.called.were_gaps(passed);
                    runtime.noshows.were_gaps(at.lane, passed);
                }
            }
            let came: [u64; 3] = std::array::from_fn(|lane| {
                status.admitted_total[lane].saturating_sub(runtime.admitted_total[lane])
            });
            runtime.admitted_total = status.admitted_total;
            runtime.early += runtime.called.came(came.iter().sum());
            runtime.noshows.came(came, runtime.pace.per_sec, now);
        }
        Ok(())
    }

    /// Begins with rooms that are new here and forgets those that are gone.
    async fn meet(
        &mut self,
        store: &Store,
        rooms: &[RoomStatus],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        // One without an answer begins again with what the store then says.
        self.rooms.retain(|event, runtime| {
            let is_it = |status: &RoomStatus| {
                status.room.spec.event == *event && status.room.line == runtime.line
            };
            rooms.iter().any(is_it)
        });
        for status in rooms {
            let spec = &status.room.spec;
            if self.rooms.contains_key(&spec.event) {
                continue;
            }
            let line = LineId { event: spec.event.clone(), line: status.room.line };
            let signed = store.resume(line.clone(), self.epoch).await?;
            let signed: Vec<Front> = signed.into_iter().map(|published| published.front).collect();
            let mut front = FrontState::resumed(&signed, status.issued, now);
            let draw = store.draw(line.clone()).await?;
            let orders = orders(draw.as_ref(), &line);
            let numbers = store.gaps(line.clone()).await?;
            let gaps = aside(move || gaps::scattered(&numbers, &orders)).await?;
            for gap in &gaps {
                front.give_back(gap.lane, gap.first, gap.count);
            }
            if spec.draw.is_some() && draw.is_none() && front.lanes.iter().any(|lane| lane.f0 > 0) {
                let event = spec.event.as_str();
                tracing::warn!(
                    event,
                    "control: no draw, for somebody was called before it was set"
                );
            }
            // The law goes on where it was, and whoever was called is still on the way in.
            let law = store.law(line).await?;
            let per_sec = law.as_ref().map_or(spec.pace.per_sec_start, |law| law.per_sec);
            let noshow_shares = law.as_ref().map_or([0.0; 3], |law| law.noshow_shares);
            let mut called = Called::default();
            let mut turns = Turns::resumed(Vec::new(), now);
            if let Some(law) = law {
                called.add(law.called, law.at.min(now));
                turns = Turns::resumed(law.marks, law.at.min(now));
            }
            if let Some(last) = signed.last() {
                called.add(FrontState::called_since(last, status.issued, &gaps, now), now);
            }
            let noshows = NoShows::resumed(noshow_shares, called.expected(now), now);
            let runtime = Runtime {
                line: status.room.line,
                draw,
                orders,
                front,
                pace: pace::State::starting(per_sec, now),
                called,
                noshows,
                turns,
                over: Over::default(),
                admitted_total: status.admitted_total,
                early: 0,
                signed,
                sealed: None,
                decision: None,
                told: None,
                changed_at: now,
                arrived_at: [None; 3],
            };
            self.rooms.insert(spec.event.clone(), runtime);
        }
        Ok(())
    }

    /// Announces draws, and opens those whose time and whose beacon have come.
    async fn draw(
        &mut self,
        store: &Store,
        rooms: &mut [RoomStatus],
        beacons: &[(LineId, Vec<u8>)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for status in rooms {
            let spec = &status.room.spec;
            let line = LineId { event: spec.event.clone(), line: status.room.line };
            let Some(runtime) = self.rooms.get_mut(&spec.event) else { continue };
            let Some(known) = &runtime.draw else {
                // Whoever was called by number cannot be told another position afterwards.
                let is_untouched = runtime.front.lanes.iter().all(|lane| lane.f0 == 0);
                if let Some(beacon) = spec.draw.clone().filter(|_| is_untouched) {
                    let secret = fresh_secret()?;
                    runtime.draw = store.announce_draw(line.clone(), beacon, secret).await?;
                    runtime.orders = orders(runtime.draw.as_ref(), &line);
                }
                // Opened in a later period, when everybody has heard the commitment.
                continue;
            };
            let is_time = spec.opens_at.is_none_or(|opens_at| now >= opens_at);
            let is_out = runtime.sealed.is_some()
                && runtime
                    .signed
                    .iter()
                    .any(|front| front.draw.is_some() && now.since(front.t0) >= ANNOUNCED_FOR);
            if known.counts.is_some() || !is_time || !is_out {
                continue;
            }
            let value = match &known.beacon {
                Beacon::None => Some(Vec::new()),
                Beacon::Operator { .. } => store.draw(line.clone()).await?.and_then(|d| d.value),
                Beacon::Drand { .. } => {
                    beacons.iter().find(|(of, _)| *of == line).map(|(_, value)| value.clone())
                }
            };
            let Some(value) = value else { continue };
            let Some(opened) = store.open_draw(line.clone(), value).await? else { continue };
            let Some(counts) = opened.counts else { continue };
            let orders = orders(Some(&opened), &line);
            let mut front = runtime.front.clone();
            let draw = move || {
                front.draw(&orders, counts);
                front
            };
            runtime.front = aside(draw).await?;
            (runtime.draw, runtime.orders) = (Some(opened), orders);
            for (issued, count) in status.issued.iter_mut().zip(counts) {
                *issued = count.max(*issued);
            }
            tracing::info!(event = line.event.as_str(), ?counts, "control: the draw was opened");
        }
        Ok(())
    }

    /// What the log of decisions is to tell of this period.
    fn entries(
        &mut self,
        planned: &[(&RoomStatus, Planned)],
        metrics: &Metrics,
        now: Timestamp,
    ) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (status, plan) in planned {
            let event = &status.room.spec.event;
            let Some(runtime) = self.rooms.get_mut(event) else { continue };
            let Decision { pace_per_sec, binding, reason, inputs, .. } = &plan.decision;
            let is_told = runtime.told.is_some_and(|(told, by)| {
                by == *binding && (pace_per_sec - told).abs() <= told * DECISION_SHARE
            });
            if is_told {
                continue;
            }
            entries.push(Entry {
                at: now,
                event: event.clone(),
                kind: EntryKind::Pace,
                who: None,
                old_per_sec: runtime.told.map(|(told, _)| told),
                new_per_sec: Some(*pace_per_sec),
                binding: Some(*binding),
                reason: reason.clone(),
                inputs: Some(*inputs),
            });
            if runtime.told.is_none_or(|(told, _)| told != *pace_per_sec) {
                runtime.changed_at = now;
            }
            runtime.told = Some((*pace_per_sec, *binding));
            metrics.decisions_total.with_label_values(&[binding.label()]).inc();
        }
        entries
    }
}

/// What was heard of the origin, as of one control period.
#[derive(Debug, Default)]
pub struct HeardNow {
    signals: Signals,
    stock: Vec<Stock>,
}

impl HeardNow {
    /// Takes it from what was gathered.
    #[must_use]
    pub fn of(heard: &Heard, now: Timestamp) -> Self {
        let signals = Signals {
            origin: heard.origin(now),
            is_origin_asked: heard.is_origin_asked(),
            edges: heard.edges(now),
            in_flight: heard.in_flight(now),
            ..Signals::default()
        };
        let stock = heard.report().map(|report| report.stock.clone()).unwrap_or_default();
        Self { signals, stock }
    }

    /// Seats do not come back by silence: the last stock counts, however old.
    fn stock(&self, event: &EventId) -> Option<&Stock> {
        self.stock.iter().find(|stock| stock.event == *event && stock.capacity > 0)
    }

    fn measure(&self, metrics: &Metrics) {
        for (signal, source) in [("origin", self.signals.origin), ("edges", self.signals.edges)] {
            if let Some(source) = source {
                let age = metrics.signal_age_seconds.with_label_values(&[signal]);
                age.set(source.age.as_secs_f64());
            }
        }
    }
}

/// Who publishes.
struct Stamp<'a> {
    iss: &'a Owner,
    epoch: u64,
    seq: u64,
}

impl Runtime {
    fn plan(
        &mut self,
        status: &RoomStatus,
        heard: &HeardNow,
        stamp: &Stamp<'_>,
        now: Timestamp,
    ) -> Planned {
        let spec = &status.room.spec;
        let stock = heard.stock(&spec.event);
        let phase = phase(&status.room, self.is_drawing(), stock, now);
        let signals = Signals {
            waiting: self.front.waiting(),
            inside: status.inside,
            called: self.called.expected(now),
            noshow_share: self.noshows.shares()[self.noshows.busiest().index()],
            left: stock.map(left),
            ..heard.signals
        };
        let is_off = spec.mode == RoomMode::Off;
        let (pace, mut decision) = match phase {
            Phase::Open if is_off => {
                let reason = "everybody is let in: the room's mode is off".to_owned();
                let pace = spec.pace.per_sec_max;
                (self.idle(now), fixed(pace, Binding::Off, reason, &signals))
            }
            Phase::Open => pace::step(&self.pace, &signals, &spec.pace, now),
            Phase::Scheduled => {
                let reason = match self.awaited(spec.opens_at, now) {
                    Some(awaited) => format!("standing: the draw waits for {awaited}"),
                    None => "standing: the sale has not opened".to_owned(),
                };
                (self.idle(now), fixed(0.0, Binding::Scheduled, reason, &signals))
            }
            Phase::Paused => {
                let reason = "standing: paused by the operator".to_owned();
                (self.idle(now), fixed(0.0, Binding::Paused, reason, &signals))
            }
            Phase::SoldOut | Phase::Closed => {
                let reason = "sold out: nothing is left and nothing can come back".to_owned();
                (self.idle(now), fixed(0.0, Binding::SoldOut, reason, &signals))
            }
        };
        // Numbers opened ahead of anybody count as called, but they never block those who wait.
        for lane in 0..3 {
            if status.issued[lane] > self.front.lanes[lane].issued {
                self.arrived_at[lane] = Some(now);
            }
        }
        let ahead = self.front.open_ahead(counting_ahead(self.arrived_at, signals.waiting, now));
        let least = |headroom: u64| if signals.waiting > 0 { headroom.min(1) } else { 0 };
        let headroom =
            decision.headroom.map(|headroom| headroom.saturating_sub(ahead).max(least(headroom)));
        // Mode off lets everybody in without the front; were it moved by number now, whoever is
        // drawn below it would enter at once when the mode changes.
        let is_drawing = self.orders.contains(&Order::Unknown);
        let haste = self.noshows.haste(spec.pace.noshow_factor_max);
        if !is_off && decision.pace_per_sec > 0.0 && signals.waiting > 0 {
            let busiest = self.noshows.busiest().index();
            let also = noshow::reason(signals.noshow_share, haste[busiest]);
            decision.reason.extend(also.map(|also| format!("; {also}")));
        }
        let drive = Drive {
            pace_per_sec: if is_drawing { 0.0 } else { decision.pace_per_sec },
            weights: spec.lanes,
            headroom,
            issued: status.issued,
            is_off: is_off && phase == Phase::Open && !is_drawing,
            followed: Lane::ALL.map(|lane| front::followed(&self.signed, lane, now)),
            haste,
        };
        let front::Advance { state, called } = front::advance(&self.front, &drive, now);
        // What is published counts, not what is planned: nobody's time runs before they can know.
        let fronts = Lane::ALL.map(|lane| front::effective(&self.signed, lane, now));
        self.turns.look(fronts, phase == Phase::Open, &spec.passes, now);
        let claims = Front {
            iss: stamp.iss.clone(),
            aud: spec.event.clone(),
            iat: now.floor_to_secs(),
            exp: now.plus_secs(FRONT_SECS).floor_to_secs(),
            line: status.room.line,
            epoch: stamp.epoch,
            seq: stamp.seq,
            phase,
            opens_at: spec.opens_at,
            t0: state.t0,
            until: state.until,
            lanes: Lane::ALL.map(|lane| state.lanes[lane.index()].published(lane)).to_vec(),
            reason: decision.reason.clone(),
            draw: self.draw.as_ref().map(DrawRecord::published),
            stock: stock.map(band),
            poll: POLL,
            message: spec.message.clone(),
        };
        let over = self.turns.over(&spec.passes, now);
        Planned { front: state, pace, decision, called, over, claims, sealed: None }
    }

    /// A draw was announced and has not been opened.
    fn is_drawing(&self) -> bool {
        self.draw.as_ref().is_some_and(|draw| draw.counts.is_none())
    }

    /// What an overdue draw waits for.
    fn awaited(&self, opens_at: Option<Timestamp>, now: Timestamp) -> Option<String> {
        let draw = self.draw.as_ref().filter(|draw| draw.counts.is_none())?;
        if opens_at.is_some_and(|opens_at| now < opens_at) {
            return None;
        }
        Some(match &draw.beacon {
            Beacon::None => "its opening".to_owned(),
            Beacon::Operator { of } => of.clone(),
            Beacon::Drand { round, .. } => format!("round {round} of drand"),
        })
    }

    /// The front with all that other controllers need.
    fn published(&mut self, plan: &Planned, now: Timestamp) -> Published {
        let waiting = std::array::from_fn(|lane| plan.front.lanes[lane].waiting());
        Published {
            front: plan.claims.clone(),
            sealed: plan.sealed.as_ref().and_then(|sealed| sealed.as_ref().ok()).cloned(),
            told: Some(Told {
                decision: plan.decision.clone(),
                law_per_sec: plan.pace.per_sec,
                changed_at: self.changed_at,
                waiting,
                called: self.called.expected(now).saturating_add(plan.called.iter().sum()),
                over: plan.over,
            }),
        }
    }

    /// What is to be remembered of the law and of those called, should we crash.
    fn law(&mut self, plan: &Planned, now: Timestamp) -> Law {
        Law {
            event: plan.claims.aud.clone(),
            line: self.line,
            per_sec: plan.pace.per_sec,
            called: self.called.expected(now).saturating_add(plan.called.iter().sum()),
            noshow_shares: self.noshows.shares(),
            marks: self.turns.marks(),
            at: now,
        }
    }

    /// The law does not run; its pace is kept for when it does.
    fn idle(&self, now: Timestamp) -> pace::State {
        pace::State { stepped_at: now, ..self.pace }
    }

    /// Whether the new front says anything new, or the old one is about to run out. Without a
    /// signature the old one is as good as none.
    fn is_due(&self, next: &Front, now: Timestamp) -> bool {
        let (Some(last), Some(_)) = (self.signed.last(), &self.sealed) else { return true };
        let same = Front {
            iat: last.iat,
            exp: last.exp,
            seq: last.seq,
            t0: last.t0,
            until: last.until,
            ..next.clone()
        };
        // A line that starts in the future is from before a clock was set back.
        same != *last || last.t0 > now || now.since(last.t0) >= STANDING_PERIOD
    }

    /// Takes over what has become durable.
    fn accept(&mut self, plan: Planned, metrics: &Metrics, now: Timestamp) {
        if plan.decision.is_over_target {
            let event = plan.claims.aud.as_str();
            let secs = now.since(self.pace.stepped_at).as_secs_f64();
            metrics.over_target_seconds_total.with_label_values(&[event]).inc_by(secs);
        }
        self.pace = plan.pace;
        self.decision = Some(plan.decision);
        self.over = plan.over;
        let Some(sealed) = plan.sealed else { return };
        let early = std::mem::take(&mut self.early);
        self.front = plan.front;
        self.called.add(plan.called.iter().sum(), now);
        self.noshows.called(plan.called);
        self.called.came(early);
        match sealed {
            Ok(sealed) => {
                self.sealed = Some(sealed);
                self.signed.retain(|front| front.until > now);
                self.signed.push(plan.claims);
            }
            Err(error) => {
                metrics.publish_failures_total.with_label_values(&["keyring"]).inc();
                if self.sealed.take().is_some() || self.signed.is_empty() {
                    tracing::error!(
                        event = plan.claims.aud.as_str(),
                        error = &error as &dyn std::error::Error,
                        "control: a front could not be signed"
                    );
                }
                // Kept unsigned, so that claims under older fronts are judged as before.
                if self.signed.is_empty() {
                    self.signed.push(plan.claims);
                }
            }
        }
    }

    fn view(&mut self, status: &RoomStatus, heard: &HeardNow, now: Timestamp) -> Option<RoomView> {
        let stock = heard.stock(&status.room.spec.event).cloned();
        Some(RoomView {
            draw: self.draw.as_ref().map(DrawRecord::published),
            orders: self.orders,
            phase: phase(&status.room, self.is_drawing(), stock.as_ref(), now),
            room: status.room.clone(),
            signed: self.signed.clone(),
            sealed: self.sealed.clone(),
            decision: self.decision.clone()?,
            law_per_sec: self.pace.per_sec,
            changed_at: self.changed_at,
            waiting: std::array::from_fn(|lane| self.front.lanes[lane].waiting()),
            inside: status.inside,
            called: self.called.expected(now),
            over: self.over,
            stock,
        })
    }
}

impl Planned {
    /// Signs the claims. What cannot be signed does not move either: nobody is told of it, and the
    /// time without a signature would come out all at once when a key is there again.
    fn seal(&mut self, keyring: &Keyring, now: Timestamp) {
        let sealed = keyring.seal(&self.claims, now);
        if sealed.is_err() {
            self.front.stand();
            for entry in &mut self.claims.lanes {
                (entry.pace_milli, entry.limit) = (0, entry.f0);
            }
        }
        self.sealed = Some(sealed);
    }
}

/// The view of a controller that does not lead; `None` before the first front.
fn followed(
    status: RoomStatus,
    fronts: Vec<Published>,
    draw: Option<&DrawRecord>,
    stock: Option<Stock>,
) -> Option<RoomView> {
    let line = LineId { event: status.room.spec.event.clone(), line: status.room.line };
    let newest = fronts.last()?;
    let (phase, sealed) = (newest.front.phase, newest.sealed.clone());
    let told = fronts.iter().rev().find_map(|published| published.told.clone())?;
    let Told { decision, law_per_sec, changed_at, waiting, called, over } = told;
    Some(RoomView {
        draw: draw.map(DrawRecord::published),
        orders: orders(draw, &line),
        phase,
        inside: status.inside,
        room: status.room,
        signed: fronts.into_iter().map(|published| published.front).collect(),
        sealed,
        decision,
        law_per_sec,
        changed_at,
        waiting,
        called,
        over,
        stock,
    })
}

/// The lanes in which numbers opened ahead keep spaces free: those where somebody may come any
/// moment. Numbers that an older configuration opened in a lane where nobody comes would else keep
/// everybody else out for ever. Without anybody waiting, the standard lane is the one that opens.
fn counting_ahead(arrived_at: [Option<Timestamp>; 3], waiting: u64, now: Timestamp) -> [bool; 3] {
    Lane::ALL.map(|lane| {
        let lately = arrived_at[lane.index()].is_some_and(|at| now.since(at) <= ARRIVED_LATELY);
        lately || (waiting == 0 && lane == Lane::Standard)
    })
}

/// What the room is doing at `now`.
fn phase(room: &Room, is_drawing: bool, stock: Option<&Stock>, now: Timestamp) -> Phase {
    let spec = &room.spec;
    let is_gone = stock.is_some_and(|stock| stock.free + stock.held + stock.paying == 0);
    if is_gone {
        Phase::SoldOut
    } else if spec.mode == RoomMode::Off {
        Phase::Open
    } else if is_drawing || spec.opens_at.is_some_and(|opens_at| now < opens_at) {
        Phase::Scheduled
    } else if spec.is_paused {
        Phase::Paused
    } else {
        Phase::Open
    }
}

/// The order of each lane. An opened record always fits itself; should it ever not, nobody enters.
fn orders(draw: Option<&DrawRecord>, line: &LineId) -> [Order; 3] {
    let Some(draw) = draw.map(DrawRecord::published) else { return [Order::ByNumber; 3] };
    Lane::ALL.map(|lane| draw.order(&line.event, line.line, lane).unwrap_or(Order::Unknown))
}

fn fresh_secret() -> Result<[u8; 32], StoreError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| StoreError::Failed(Arc::new(error)))?;
    Ok(secret)
}

/// Runs what takes long, up to a second for the gaps of a large draw, where nobody waits for it.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Closed)
}

fn left(stock: &Stock) -> Left {
    Left { free: stock.free, in_hands: stock.held + stock.paying }
}

/// How much is left, as visitors may know it.
pub(crate) fn band(stock: &Stock) -> StockBand {
    if stock.free > stock.capacity / 5 {
        StockBand::Plenty
    } else if stock.free > 0 {
        StockBand::Few
    } else if stock.held + stock.paying > 0 {
        StockBand::InHolds
    } else {
        StockBand::None
    }
}

/// A decision that the law has no part in.
fn fixed(pace_per_sec: f64, binding: Binding, reason: String, signals: &Signals) -> Decision {
    let Signals { waiting, inside, called, noshow_share, .. } = *signals;
    let inputs = Inputs { inside, called, waiting, noshow_share, ..Inputs::default() };
    Decision { pace_per_sec, headroom: None, binding, reason, is_over_target: false, inputs }
}

fn measure(view: &RoomView, metrics: &Metrics) {
    let event = view.room.spec.event.as_str();
    metrics.pace_per_second.with_label_values(&[event]).set(view.decision.pace_per_sec);
    metrics.inside.with_label_values(&[event]).set(int(view.inside));
    metrics.called.with_label_values(&[event]).set(int(view.called));
    let share = view.decision.inputs.noshow_share;
    metrics.noshow_share.with_label_values(&[event]).set(share);
    for entry in view.front().map(|front| front.lanes.as_slice()).unwrap_or_default() {
        let labels = [event, entry.lane.label()];
        metrics.front.with_label_values(&labels).set(int(entry.f0));
        metrics.issued.with_label_values(&labels).set(int(entry.issued));
        let waiting = view.waiting[entry.lane.index()];
        metrics.waiting.with_label_values(&labels).set(int(waiting));
    }
}

fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
