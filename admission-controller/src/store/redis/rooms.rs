//! Rooms, the numbers handed out in them, and the numbers given back.

use admission_api::{Gap, Room, RoomMode, RoomSpec};
use keys::{EventId, Lane, Owner, Timestamp};

use super::super::leases::{LEASE_REMEMBERED, LEASES_MAX, NEW_GAPS_MAX};
use super::super::{
    Deed, EntryKind, LineId, Put, RoomStatus, Statuses, StoreError, configuration_deed,
};
use super::calls::{Call, Reply, failed_text, json, number, parse};
use super::review::{DEEDS_MAX, deed_entry, id_floor};
use super::{Redis, lock};

/// Attempts at a change while others change the same room.
const ATTEMPTS_MAX: usize = 5;
/// Gaps in one call, so that no other waits long.
const GAPS_AT_ONCE: usize = 500;

/// What became of the question after one room.
pub(super) enum Asked {
    Here(Box<RoomStatus>),
    Deleted,
    /// Lost, or not written yet.
    Missing,
}

impl Redis {
    pub(in crate::store) async fn status(&self, now: Timestamp) -> Result<Statuses, StoreError> {
        let (mut events, is_index_trusted) = match self.index().await {
            Ok(events) => (events, true),
            // All rooms that we know go on to be; none is taken for deleted.
            Err(StoreError::Distrusted) => (Vec::new(), false),
            Err(error) => return Err(error),
        };
        events.extend(lock(&self.shared.known).events());
        events.sort();
        events.dedup();
        let mut asking = tokio::task::JoinSet::new();
        for event in events {
            let redis = self.clone();
            asking.spawn(async move { (redis.status_of(&event, now).await, event) });
        }
        let mut statuses = Statuses::default();
        while let Some(asked) = asking.join_next().await {
            let (asked, event) = asked.map_err(|_| StoreError::Closed)?;
            let mut known = lock(&self.shared.known);
            match asked {
                Ok(Asked::Here(status)) => {
                    known.see_status(&status);
                    statuses.rooms.push(*status);
                }
                Ok(Asked::Deleted) => known.forget(&event),
                Ok(Asked::Missing) if known.knows(&event) => {
                    known.distrust(&event);
                    statuses.silent.push(event);
                }
                Ok(Asked::Missing) => {}
                Err(StoreError::Distrusted) => {
                    known.distrust(&event);
                    statuses.silent.push(event);
                }
                Err(error) => {
                    tracing::warn!(
                        event = event.as_str(),
                        error = &error as &dyn std::error::Error,
                        "store: no answer about a room"
                    );
                    statuses.silent.push(event);
                }
            }
        }
        statuses.rooms.sort_by(|a, b| a.room.spec.event.cmp(&b.room.spec.event));
        lock(&self.shared.known).looked(is_index_trusted);
        lock(&self.shared.revocations).forget(now);
        Ok(statuses)
    }

    /// Asks after one room, and takes in which of its passes have ended.
    pub(super) async fn status_of(
        &self,
        event: &EventId,
        now: Timestamp,
    ) -> Result<Asked, StoreError> {
        let heard_upto = lock(&self.shared.known).ends_upto(event);
        let call = Call::new("status").arg(now.as_millis()).arg(heard_upto);
        let mut reply = self.event(event, call).await?;
        match reply.word() {
            "ok" => {}
            "deleted" => return Ok(Asked::Deleted),
            _ => return Ok(Asked::Missing),
        }
        let (line, pass_generation, version) = (reply.number()?, reply.number()?, reply.number()?);
        let spec = parse("a room", &reply.text()?)?;
        let issued = [reply.number()?, reply.number()?, reply.number()?];
        let admitted_total = [reply.number()?, reply.number()?, reply.number()?];
        let inside = reply.number()?;
        self.take_in_ends(event, reply)?;
        let room = Room { spec, line, pass_generation, version };
        Ok(Asked::Here(Box::new(RoomStatus { room, inside, issued, admitted_total })))
    }

    fn take_in_ends(&self, event: &EventId, reply: Reply) -> Result<(), StoreError> {
        let ends = reply.texts()?;
        let mut known = lock(&self.shared.known);
        for pair in ends.chunks_exact(2) {
            let parts: Vec<&str> = pair[0].split(':').collect();
            let [jti, from, until] = parts[..] else {
                return Err(failed_text("an end of a pass that is none"));
            };
            // A score is printed as a float once it is large.
            let at: f64 = pair[1].parse().map_err(|_| failed_text("an end without a place"))?;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // below 2^53
            let at = at as u64;
            if !known.hear_end(event, at) {
                continue;
            }
            lock(&self.shared.revocations).add(admission_api::Revoked {
                jti: jti.parse().map_err(|_| failed_text("an end of no pass"))?,
                from: Timestamp::from_millis(number(from)?),
                until: Timestamp::from_millis(number(until)?),
            });
        }
        Ok(())
    }

    async fn index(&self) -> Result<Vec<EventId>, StoreError> {
        let reply = self.house(Call::new("index")).await;
        let reply = match reply {
            Err(StoreError::Distrusted) => {
                lock(&self.shared.known).distrust_index();
                return Err(StoreError::Distrusted);
            }
            reply => reply?,
        };
        if reply.is("empty") {
            if !lock(&self.shared.known).is_empty() {
                lock(&self.shared.known).distrust_index();
                return Err(StoreError::Distrusted);
            }
            // A store that nobody has used yet.
            self.house(Call::kept("trust")).await?;
        }
        parsed(reply.texts()?)
    }

    /// All events, deleted ones of lately included.
    pub(super) async fn events(&self) -> Result<Vec<EventId>, StoreError> {
        parsed(self.house(Call::new("events")).await?.texts()?)
    }

    pub(in crate::store) async fn configure(
        &self,
        spec: RoomSpec,
        now: Timestamp,
    ) -> Result<Option<Room>, StoreError> {
        let event = spec.event.clone();
        for _ in 0..ATTEMPTS_MAX {
            let mut reply = self.event(&event, Call::new("configured")).await?;
            let (last, version) = (reply.text()?, reply.text()?);
            // A spec that an older version wrote differently counts as another one.
            if serde_json::from_str::<RoomSpec>(&last).is_ok_and(|last| last == spec) {
                return Ok(None);
            }
            let put = if version.is_empty() {
                self.create_as(spec.clone(), configuration_deed(1, now), EntryKind::Config).await?
            } else {
                let version = number(&version)?;
                let deed = configuration_deed(version + 1, now);
                self.change_as(spec.clone(), version, deed, EntryKind::Config).await?
            };
            if let Put::Done(room) = put {
                return Ok(Some(*room));
            }
        }
        Err(StoreError::Unanswered)
    }

    pub(in crate::store) async fn create(
        &self,
        spec: RoomSpec,
        deed: Deed,
    ) -> Result<Put, StoreError> {
        self.create_as(spec, deed, EntryKind::Operator).await
    }

    async fn create_as(
        &self,
        spec: RoomSpec,
        deed: Deed,
        kind: EntryKind,
    ) -> Result<Put, StoreError> {
        let event = spec.event.clone();
        self.house(Call::kept("add").arg(event.as_str())).await?;
        for _ in 0..ATTEMPTS_MAX {
            let last = self.event(&event, Call::new("generation")).await?.text()?;
            let last = if last.is_empty() { 0 } else { number(&last)? };
            // From the clock, so that places of before do not fit when the store was lost. Passes
            // of an event of this name that was deleted must not fit either.
            let line = deed.at.as_secs().max(last + 1);
            let what = match kind {
                EntryKind::Operator => format!("{}, line {line}", deed.what),
                EntryKind::Pace | EntryKind::Security | EntryKind::Config => deed.what.clone(),
            };
            let noted = Deed { what, ..deed.clone() };
            let call = Call::kept("create")
                .arg(line)
                .arg(line)
                .arg(json(&spec)?)
                .arg(is_off(&spec))
                .arg(json(&deed_entry(&event, kind, noted))?)
                .arg(id_floor(&event, deed.at))
                .arg(DEEDS_MAX)
                .arg(if kind == EntryKind::Config { json(&spec)? } else { String::new() });
            let mut reply = self.event(&event, call).await?;
            match reply.word() {
                "ok" => {
                    let room = Room { spec, line, pass_generation: line, version: 1 };
                    lock(&self.shared.known).see_room(&room);
                    return Ok(Put::Done(Box::new(room)));
                }
                "conflict" => return Ok(Put::Conflict { version: reply.number()? }),
                _ => {}
            }
        }
        Err(StoreError::Unanswered)
    }

    pub(in crate::store) async fn change(
        &self,
        spec: RoomSpec,
        version: u64,
        deed: Deed,
    ) -> Result<Put, StoreError> {
        self.change_as(spec, version, deed, EntryKind::Operator).await
    }

    async fn change_as(
        &self,
        spec: RoomSpec,
        version: u64,
        deed: Deed,
        kind: EntryKind,
    ) -> Result<Put, StoreError> {
        let event = spec.event.clone();
        let floor = id_floor(&event, deed.at);
        let call = Call::kept("change")
            .arg(version)
            .arg(json(&spec)?)
            .arg(is_off(&spec))
            .arg(json(&deed_entry(&event, kind, deed))?)
            .arg(floor)
            .arg(DEEDS_MAX)
            .arg(if kind == EntryKind::Config { json(&spec)? } else { String::new() });
        let mut reply = self.event(&event, call).await?;
        match reply.word() {
            "ok" => {
                let line = reply.number()?;
                let pass_generation = reply.number()?;
                let room = Room { spec, line, pass_generation, version: version + 1 };
                lock(&self.shared.known).see_room(&room);
                Ok(Put::Done(Box::new(room)))
            }
            "conflict" => Ok(Put::Conflict { version: reply.number()? }),
            _ => Ok(Put::Missing),
        }
    }

    pub(in crate::store) async fn delete(
        &self,
        event: EventId,
        version: Option<u64>,
        deed: Deed,
    ) -> Result<Put, StoreError> {
        let (at, floor) = (deed.at, id_floor(&event, deed.at));
        let call = Call::kept("delete")
            .arg(version.map(|version| version.to_string()).unwrap_or_default())
            .arg(at.as_millis())
            .arg(json(&deed_entry(&event, EntryKind::Operator, deed))?)
            .arg(floor)
            .arg(DEEDS_MAX);
        let mut reply = self.event(&event, call).await?;
        match reply.word() {
            "ok" => {
                let (line, pass_generation) = (reply.number()?, reply.number()?);
                let version = reply.number()?;
                let spec = parse("a room", &reply.text()?)?;
                lock(&self.shared.known).forget(&event);
                Ok(Put::Done(Box::new(Room { spec, line, pass_generation, version })))
            }
            "conflict" => Ok(Put::Conflict { version: reply.number()? }),
            _ => Ok(Put::Missing),
        }
    }

    pub(in crate::store) async fn lease(
        &self,
        line: LineId,
        lane: Lane,
        count: u64,
        edge: Owner,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        let forget_before = now.as_millis().saturating_sub(super::millis(LEASE_REMEMBERED));
        let call = Call::kept("lease")
            .arg(line.line)
            .arg(lane.index())
            .arg(count)
            .arg(edge.as_str())
            .arg(now.as_millis())
            .arg(forget_before)
            .arg(LEASES_MAX);
        let mut reply = self.event(&line.event, call).await?;
        if !reply.is("ok") {
            return Ok(None);
        }
        let first = reply.number()?;
        lock(&self.shared.known).see_number(&line, lane, first + count - 1);
        Ok(Some(first))
    }

    pub(in crate::store) async fn give_back(
        &self,
        edge: Owner,
        gaps: Vec<Gap>,
    ) -> Result<(), StoreError> {
        let mut left = gaps;
        while let Some(Gap { event, line, .. }) = left.first().cloned() {
            let is_same = |gap: &Gap| gap.event == event && gap.line == line;
            let (ours, others): (Vec<Gap>, Vec<Gap>) = left.into_iter().partition(is_same);
            left = others;
            for some in ours.chunks(GAPS_AT_ONCE) {
                let mut call =
                    Call::new("give_back").arg(line).arg(edge.as_str()).arg(NEW_GAPS_MAX);
                for gap in some {
                    call = call.arg(gap.lane.index()).arg(gap.first).arg(gap.count);
                }
                self.event(&event, call).await?;
            }
        }
        Ok(())
    }

    pub(in crate::store) async fn gaps(&self, line: LineId) -> Result<Vec<Gap>, StoreError> {
        let reply = self.event(&line.event, Call::new("gaps").arg(line.line)).await?;
        gaps_of(&line, reply)
    }

    pub(in crate::store) async fn new_gaps(
        &self,
        line: LineId,
        epoch: u64,
    ) -> Result<Vec<Gap>, StoreError> {
        let call = Call::new("new_gaps").arg(line.line).arg(epoch);
        let reply = self.event(&line.event, call).await?;
        if reply.is("superseded") {
            return Err(StoreError::Superseded { event: line.event, epoch, seq: 0 });
        }
        gaps_of(&line, reply)
    }
}

fn is_off(spec: &RoomSpec) -> &'static str {
    if spec.mode == RoomMode::Off { "1" } else { "0" }
}

fn parsed(events: Vec<String>) -> Result<Vec<EventId>, StoreError> {
    let events = events.iter().map(|event| event.parse());
    events.collect::<Result<_, _>>().map_err(|_| failed_text("the name of no event"))
}

/// Texts `lane:first:count`.
fn gaps_of(line: &LineId, reply: Reply) -> Result<Vec<Gap>, StoreError> {
    let gap = |text: &String| {
        let parts: Vec<&str> = text.split(':').collect();
        let [lane, first, count] = parts[..] else {
            return Err(failed_text("a gap that is none"));
        };
        let lane = Lane::ALL.into_iter().find(|known| known.index().to_string() == lane);
        Ok(Gap {
            event: line.event.clone(),
            line: line.line,
            lane: lane.ok_or_else(|| failed_text("a gap of no lane"))?,
            first: number(first)?,
            count: number(count)?,
        })
    };
    reply.texts()?.iter().map(gap).collect()
}
