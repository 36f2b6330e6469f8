//! Makes a server trusted again that may have lost writes: after a restart, a failover, a flush, or
//! the return of an old copy.
//!
//! What was lost is known elsewhere. Every controller remembers the rooms, the draws, the fronts
//! that were published and the highest number that it has handed out or heard of, and edges show
//! the fronts that they hold and the numbers that they have. The leader waits until all of
//! them could speak, and puts back the highest of each. Numbers of which nobody who lives knows are
//! passed over: numbering goes on above a margin, and the margin is a gap.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use admission_api::Room;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keys::{EventId, Front, Lane, Timestamp};
use serde::{Deserialize, Serialize};

use super::super::{DrawRecord, LineId, Published, RoomStatus, StoreError};
use super::calls::{Call, json, parse};
use super::{Redis, lock, millis};

/// Every edge and controller that lives has spoken by then: edges sync once a second, and hear with
/// one sync that they are asked and answer with the next.
const SPOKEN_WITHIN: Duration = Duration::from_millis(2500);
/// The word of a controller that is gone counts for this long.
pub(super) const WORD_FOR: Duration = Duration::from_secs(30);
/// Over this time the numbers are counted that a margin is made from.
const GROWTH_OVER: Duration = Duration::from_secs(10);
/// Bounds of the margin. The lower one costs hardly anything; the upper one is more than a second's
/// worth of the fastest joins.
const MARGIN_MIN: u64 = 100;
const MARGIN_MAX: u64 = 100_000;
/// Edges hold numbers at most this far above those that we know of: a few of the largest leases.
const HELD_ABOVE_MAX: u64 = 200_000;
/// Most fronts that are remembered of a line: those of ten seconds, twice a second.
const FRONTS_MAX: usize = 32;

/// What one room was, as far as we have seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KnownRoom {
    room: Room,
    issued: [u64; 3],
    /// The newest last.
    fronts: Vec<Published>,
    draw: Option<DrawRecord>,
    /// How many numbers were handed out lately.
    growth: u64,
    #[serde(skip)]
    counted: Option<(Instant, u64)>,
}

/// What we have seen, of all rooms.
#[derive(Debug, Default)]
pub(super) struct Known {
    rooms: BTreeMap<EventId, KnownRoom>,
    /// Up to where ends of passes were taken in.
    ends: BTreeMap<EventId, u64>,
    distrusted: BTreeSet<EventId>,
    since: Option<Instant>,
}

impl Known {
    pub(super) fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }

    pub(super) fn knows(&self, event: &EventId) -> bool {
        self.rooms.contains_key(event)
    }

    pub(super) fn events(&self) -> Vec<EventId> {
        self.rooms.keys().cloned().collect()
    }

    pub(super) fn lines(&self) -> Vec<LineId> {
        let line = |(event, known): (&EventId, &KnownRoom)| LineId {
            event: event.clone(),
            line: known.room.line,
        };
        self.rooms.iter().map(line).collect()
    }

    pub(super) fn place_secs(&self, event: &EventId) -> Option<u64> {
        self.rooms.get(event).map(|known| known.room.spec.passes.place_secs)
    }

    pub(super) fn epoch_max(&self) -> u64 {
        let fronts = self.rooms.values().flat_map(|known| &known.fronts);
        fronts.map(|published| published.front.epoch).max().unwrap_or(0)
    }

    pub(super) fn forget(&mut self, event: &EventId) {
        self.rooms.remove(event);
        self.distrusted.remove(event);
    }

    pub(super) fn distrust(&mut self, event: &EventId) {
        self.distrusted.insert(event.clone());
        self.since.get_or_insert_with(Instant::now);
    }

    pub(super) fn distrust_index(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// A look is over: without anything distrusted, all is well.
    pub(super) fn looked(&mut self, is_index_trusted: bool) {
        if is_index_trusted && self.distrusted.is_empty() {
            self.since = None;
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.since.is_none()
    }

    pub(super) fn ends_upto(&self, event: &EventId) -> u64 {
        self.ends.get(event).copied().unwrap_or(0)
    }

    /// Whether this end is new.
    pub(super) fn hear_end(&mut self, event: &EventId, at: u64) -> bool {
        let upto = self.ends.entry(event.clone()).or_default();
        let is_new = at > *upto;
        *upto = at.max(*upto);
        is_new
    }

    /// The room as it is, or a new line of it.
    pub(super) fn see_room(&mut self, room: &Room) -> &mut KnownRoom {
        let fresh = || KnownRoom {
            room: room.clone(),
            issued: [0; 3],
            fronts: Vec::new(),
            draw: None,
            growth: 0,
            counted: None,
        };
        let known = self.rooms.entry(room.spec.event.clone()).or_insert_with(fresh);
        if known.room.line < room.line {
            *known = fresh();
        }
        if known.room.line == room.line && known.room.version < room.version {
            known.room = room.clone();
        }
        known
    }

    pub(super) fn see_status(&mut self, status: &RoomStatus) {
        self.distrusted.remove(&status.room.spec.event);
        let known = self.see_room(&status.room);
        if known.room.line != status.room.line {
            return;
        }
        for (highest, issued) in known.issued.iter_mut().zip(status.issued) {
            *highest = (*highest).max(issued);
        }
        let total: u64 = known.issued.iter().sum();
        match known.counted {
            Some((since, _)) if since.elapsed() < GROWTH_OVER => {}
            Some((_, before)) => {
                known.growth = total - before;
                known.counted = Some((Instant::now(), total));
            }
            None => known.counted = Some((Instant::now(), total)),
        }
    }

    fn line(&mut self, line: &LineId) -> Option<&mut KnownRoom> {
        self.rooms.get_mut(&line.event).filter(|known| known.room.line == line.line)
    }

    pub(super) fn see_number(&mut self, line: &LineId, lane: Lane, num: u64) {
        if let Some(known) = self.line(line) {
            let highest = &mut known.issued[lane.index()];
            *highest = num.max(*highest);
        }
    }

    pub(super) fn see_draw(&mut self, line: &LineId, draw: &DrawRecord) {
        if let Some(known) = self.line(line) {
            known.draw = Some(draw.clone());
        }
    }

    pub(super) fn see_front(&mut self, line: &LineId, published: Published) {
        let Some(known) = self.line(line) else { return };
        let age = |front: &Front| (front.epoch, front.seq);
        for entry in &published.front.lanes {
            let highest = &mut known.issued[entry.lane.index()];
            *highest = entry.issued.max(*highest);
        }
        let fronts = &mut known.fronts;
        match fronts.binary_search_by_key(&age(&published.front), |known| age(&known.front)) {
            // Edges know the front, and not what the leader says about it.
            Ok(at) if fronts[at].told.is_none() => fronts[at] = published,
            Ok(_) => {}
            Err(at) => fronts.insert(at, published),
        }
        let over = fronts.last().map_or(Timestamp::default(), |newest| newest.front.t0);
        let newest = fronts.len().saturating_sub(1);
        let mut at = 0;
        fronts.retain(|published| {
            at += 1;
            at > newest || published.front.until >= over
        });
        let too_many = fronts.len().saturating_sub(FRONTS_MAX);
        fronts.drain(..too_many);
    }

    pub(super) fn fronts(&self, line: &LineId) -> Vec<Published> {
        let known = self.rooms.get(&line.event).filter(|known| known.room.line == line.line);
        known.map(|known| known.fronts.clone()).unwrap_or_default()
    }

    /// Takes in what another controller remembers: the higher of everything counts.
    fn hear(&mut self, others: BTreeMap<EventId, KnownRoom>) {
        for (event, other) in others {
            match self.rooms.get_mut(&event) {
                Some(known) if known.room.line > other.room.line => {}
                Some(known) if known.room.line == other.room.line => {
                    if known.room.version < other.room.version {
                        known.room = other.room.clone();
                    }
                    known.growth = known.growth.max(other.growth);
                    let is_opened = |draw: &DrawRecord| draw.counts.is_some();
                    if !known.draw.as_ref().is_some_and(is_opened) && other.draw.is_some() {
                        known.draw = other.draw;
                    }
                    for (highest, issued) in known.issued.iter_mut().zip(other.issued) {
                        *highest = (*highest).max(issued);
                    }
                    let line = LineId { event, line: other.room.line };
                    for published in other.fronts {
                        self.see_front(&line, published);
                    }
                }
                Some(_) | None => {
                    self.rooms.insert(event, other);
                }
            }
        }
    }

    fn margin(known: &KnownRoom) -> u64 {
        let total: u64 = known.issued.iter().sum();
        let since = known.counted.map_or(0, |(_, before)| total.saturating_sub(before));
        (2 * known.growth.max(since)).clamp(MARGIN_MIN, MARGIN_MAX)
    }
}

impl Redis {
    /// Whether this server, or a node of the cluster, waits to be trusted.
    pub(in crate::store) fn is_settling(&self) -> bool {
        !lock(&self.shared.known).is_settled()
    }

    /// An edge shows a front that it has verified, or a number that it has.
    pub(in crate::store) fn see_front(&self, published: Published) {
        let line = LineId { event: published.front.aud.clone(), line: published.front.line };
        lock(&self.shared.known).see_front(&line, published);
    }

    pub(in crate::store) fn see_number(&self, line: &LineId, lane: Lane, num: u64) {
        let mut known = lock(&self.shared.known);
        let issued = known.line(line).map_or(0, |known| known.issued[lane.index()]);
        // An edge that is not what it seems must not use up all numbers.
        if num <= issued.saturating_add(HELD_ABOVE_MAX) {
            known.see_number(line, lane, num);
        }
    }

    /// One step: tells the others what we remember, and as the leader, when all could speak, brings
    /// everything back. Whether it is done.
    pub(in crate::store) async fn settle(&self, epoch: Option<u64>) -> Result<bool, StoreError> {
        self.recall().await?;
        let (word, since) = {
            let known = lock(&self.shared.known);
            (json(&known.rooms)?, known.since)
        };
        let Some(since) = since else { return Ok(true) };
        let call = Call::new("meet").arg("known").arg(self.shared.name.as_str()).arg(word);
        let words = self.house(call.arg(millis(WORD_FOR))).await?.texts()?;
        for pair in words.chunks_exact(2) {
            if pair[0] != self.shared.name.as_str()
                && let Ok(rooms) = serde_json::from_str(&pair[1])
            {
                lock(&self.shared.known).hear(rooms);
            }
        }
        let Some(epoch) = epoch.filter(|_| since.elapsed() >= SPOKEN_WITHIN) else {
            // Whether the leader has done it is seen at the next look.
            return Ok(false);
        };
        if lock(&self.shared.known).epoch_max() > epoch {
            // Somebody has led in an epoch that this server has forgotten: we lead above it.
            self.house(Call::new("resign").arg(self.shared.session.to_string())).await?;
            return Ok(false);
        }
        let mut events = lock(&self.shared.known).events();
        events.extend(self.events().await?);
        events.sort();
        events.dedup();
        for event in &events {
            self.recover(event, epoch).await?;
        }
        let mut call = Call::kept("trust");
        for event in &events {
            call = call.arg(event.as_str());
        }
        self.house(call).await?;
        tracing::warn!(
            rooms = events.len(),
            "store: writes may have been lost; what edges and controllers remember is back"
        );
        self.look_again();
        Ok(true)
    }

    /// A controller that has just started remembers nothing: what the server holds is a beginning.
    async fn recall(&self) -> Result<(), StoreError> {
        for event in self.events().await? {
            if lock(&self.shared.known).knows(&event) {
                continue;
            }
            let mut reply = self.event(&event, Call::new("recall")).await?;
            if !reply.is("ok") {
                continue;
            }
            let (line, pass_generation) = (reply.number()?, reply.number()?);
            let version = reply.number()?;
            let spec = parse("a room", &reply.text()?)?;
            let issued = [reply.number()?, reply.number()?, reply.number()?];
            let room = Room { spec, line, pass_generation, version };
            lock(&self.shared.known).see_room(&room).issued = issued;
        }
        Ok(())
    }

    /// Should something still be distrusted, the next look finds out.
    fn look_again(&self) {
        let mut known = lock(&self.shared.known);
        known.distrusted.clear();
        known.since = None;
    }

    async fn recover(&self, event: &EventId, epoch: u64) -> Result<(), StoreError> {
        // A room that is trusted loses nothing, and needs nothing.
        let is_trusted = match self.event(event, Call::new("restored")).await {
            Ok(reply) => reply.is("ok") || !lock(&self.shared.known).knows(event),
            Err(StoreError::Distrusted) => false,
            Err(error) => return Err(error),
        };
        if is_trusted {
            return Ok(());
        }
        let known = lock(&self.shared.known).rooms.get(event).cloned();
        let mut call = Call::kept("recover").arg(epoch);
        call = match &known {
            None => {
                for _ in 0..10 {
                    call = call.arg("");
                }
                call.arg(MARGIN_MIN).arg(0).arg(0).arg(0)
            }
            Some(known) => {
                let Room { spec, line, pass_generation, version } = &known.room;
                let is_off = spec.mode == admission_api::RoomMode::Off;
                call = call.arg(line).arg(pass_generation).arg(version).arg(json(spec)?);
                call = call.arg(if is_off { "1" } else { "0" });
                call = match &known.draw {
                    None => call.arg("").arg("").arg("").arg("").arg(""),
                    Some(draw) => call
                        .arg(URL_SAFE_NO_PAD.encode(draw.secret))
                        .arg(json(&draw.beacon)?)
                        .arg(if draw.value.is_some() { "1" } else { "" })
                        .arg(draw.value.clone().unwrap_or_default())
                        .arg(draw.counts.map_or(Ok(String::new()), |counts| json(&counts))?),
                };
                call.arg(Known::margin(known)).arg(&known.issued[..])
            }
        };
        for published in known.iter().flat_map(|known| &known.fronts) {
            let Front { epoch, seq, until, .. } = published.front;
            call = call.arg(epoch).arg(seq).arg(until.as_millis()).arg(json(published)?);
        }
        let reply = self.event(event, call).await?;
        if reply.is("superseded") {
            return Err(StoreError::Superseded { event: event.clone(), epoch, seq: 0 });
        }
        Ok(())
    }
}
