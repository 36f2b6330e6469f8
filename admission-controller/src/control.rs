//! Moves the fronts: twice a second, for each room, look, decide (`plan`), make durable, sign,
//! publish.
//!
//! What is published is an immutable snapshot that requests read without a lock. A front gets into
//! it only after the store has made it durable, so a crash never takes a published front back.

mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use admission_api::{Restored, Room, RoomMode, Stock};
use keys::{
    Beacon, Draw, EventId, Front, Keyring, Lane, Order, Owner, Phase, Sealed, StockBand, Timestamp,
};

use self::plan::{Planned, Runtime, Stamp};
use crate::claims::RoomFacts;
use crate::front::{Called, FrontState};
use crate::gaps;
use crate::metrics::Metrics;
use crate::noshow::NoShows;
use crate::pace::{self, Decision, Signals};
use crate::signals::Heard;
use crate::store::{
    DrawRecord, Entry, EntryKind, LineId, Published, RoomStatus, Statuses, Store, StoreError, Told,
};
use crate::turns::{Over, Turns};

/// How often fronts are computed.
pub const CONTROL_PERIOD: Duration = Duration::from_millis(500);
/// A change of the pace by less than this share is no decision of its own.
const DECISION_SHARE: f64 = 0.05;
/// A commitment is published for this long at least before its draw is opened: every edge that can
/// hear us has it then.
const ANNOUNCED_FOR: Duration = Duration::from_secs(2);
/// How often what is of no use any more is deleted.
const SWEEP_PERIOD: Duration = Duration::from_secs(60);

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
