//! Rooms, the numbers handed out in them, and the numbers given back.

use admission_api::{Gap, Room, RoomSpec};
use keys::{EventId, Lane, Owner, Timestamp};
use rusqlite::{OptionalExtension as _, params};

use super::super::leases::NEW_GAPS_MAX;
use super::super::{
    Deed, EntryKind, LineId, Put, RoomStatus, Statuses, StoreError, configuration_deed,
};
use super::review::note;
use super::rows::{execute, failed, int, json, lane_at, lane_number, number_at};
use super::{Embedded, lock};

/// Numbers stay exact in every language up to here.
const NUMBER_MAX: u64 = 1 << 53;

impl Embedded {
    pub(in crate::store) async fn status(&self, now: Timestamp) -> Result<Statuses, StoreError> {
        self.run(move |memory, _| {
            memory.revocations.forget(now);
            let rooms = memory.rooms.values_mut().map(|room| {
                room.end_expired(now);
                RoomStatus {
                    room: room.room.clone(),
                    inside: room.inside,
                    issued: room.issued,
                    admitted_total: room.admitted_total,
                }
            });
            Ok(Statuses { rooms: rooms.collect(), silent: Vec::new() })
        })
        .await
    }

    pub(in crate::store) async fn configure(
        &self,
        spec: RoomSpec,
        now: Timestamp,
    ) -> Result<Option<Room>, StoreError> {
        self.run(move |memory, tx| {
            let event = spec.event.clone();
            let last: Option<String> = tx
                .prepare_cached("SELECT spec FROM configured WHERE event = ?")
                .and_then(|mut q| q.query_row([event.as_str()], |row| row.get(0)).optional())
                .map_err(failed)?;
            // A spec that an older version wrote differently counts as another one.
            let is_known = last.is_some_and(|last| {
                serde_json::from_str::<RoomSpec>(&last).is_ok_and(|last| last == spec)
            });
            if is_known {
                return Ok(None);
            }
            execute(
                tx,
                "INSERT OR REPLACE INTO configured (event, spec) VALUES (?, ?)",
                params![event.as_str(), json(&spec)?],
            )?;
            let room = match memory.rooms.get(&event).map(|room| room.room.version) {
                None => memory.create(tx, spec, now)?,
                Some(_) => memory.change(tx, spec)?,
            };
            let deed = configuration_deed(room.version, now);
            note(tx, &event, EntryKind::Config, deed)?;
            Ok(Some(room))
        })
        .await
    }

    pub(in crate::store) async fn create(
        &self,
        spec: RoomSpec,
        deed: Deed,
    ) -> Result<Put, StoreError> {
        self.run(move |memory, tx| match memory.rooms.get(&spec.event) {
            Some(room) => Ok(Put::Conflict { version: room.room.version }),
            None => {
                let room = memory.create(tx, spec, deed.at)?;
                let what = format!("{}, line {}", deed.what, room.line);
                note(tx, &room.spec.event, EntryKind::Operator, Deed { what, ..deed })?;
                Ok(Put::Done(Box::new(room)))
            }
        })
        .await
    }

    pub(in crate::store) async fn change(
        &self,
        spec: RoomSpec,
        version: u64,
        deed: Deed,
    ) -> Result<Put, StoreError> {
        self.run(move |memory, tx| match memory.rooms.get(&spec.event) {
            None => Ok(Put::Missing),
            Some(room) if room.room.version != version => {
                Ok(Put::Conflict { version: room.room.version })
            }
            Some(_) => {
                let room = memory.change(tx, spec)?;
                note(tx, &room.spec.event, EntryKind::Operator, deed)?;
                Ok(Put::Done(Box::new(room)))
            }
        })
        .await
    }

    pub(in crate::store) async fn delete(
        &self,
        event: EventId,
        version: Option<u64>,
        deed: Deed,
    ) -> Result<Put, StoreError> {
        let of = event.clone();
        let deleted = self.run(move |memory, tx| {
            let Some(room) = memory.rooms.get(&event).map(|room| room.room.clone()) else {
                return Ok(Put::Missing);
            };
            if version.is_some_and(|version| version != room.version) {
                return Ok(Put::Conflict { version: room.version });
            }
            for sql in [
                "DELETE FROM rooms WHERE event = ?",
                "DELETE FROM lanes WHERE event = ?",
                "DELETE FROM gaps WHERE event = ?",
                "DELETE FROM fronts WHERE event = ?",
                "DELETE FROM passes WHERE event = ?",
                "DELETE FROM laws WHERE event = ?",
                "DELETE FROM absent WHERE event = ?",
                "DELETE FROM turns WHERE event = ?",
                "DELETE FROM returns WHERE event = ?",
                "DELETE FROM transfers WHERE event = ?",
                "DELETE FROM moves WHERE event = ?",
                "DELETE FROM batches WHERE event = ?",
                "DELETE FROM codes WHERE event = ?",
                "DELETE FROM grants WHERE event = ?",
                "DELETE FROM draws WHERE event = ?",
                "DELETE FROM suspicions WHERE event = ?",
            ] {
                execute(tx, sql, [event.as_str()])?;
            }
            note(tx, &event, EntryKind::Operator, deed)?;
            memory.rooms.remove(&event);
            Ok(Put::Done(Box::new(room)))
        });
        let deleted = deleted.await?;
        lock(&self.new_gaps).retain(|gap| gap.event != of);
        Ok(deleted)
    }

    pub(in crate::store) async fn lease(
        &self,
        line: LineId,
        lane: Lane,
        count: u64,
        edge: Owner,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        let leased = line.clone();
        let first = self.run(move |memory, tx| {
            let Some(room) = memory.line(&line) else { return Ok(None) };
            let issued = room.issued[lane.index()];
            let next = issued.saturating_add(count);
            if count == 0 || next > NUMBER_MAX {
                return Ok(None);
            }
            execute(
                tx,
                "INSERT OR REPLACE INTO lanes (event, lane, issued) VALUES (?, ?, ?)",
                params![line.event.as_str(), lane_number(lane), int(next)],
            )?;
            room.issued[lane.index()] = next;
            Ok(Some(issued + 1))
        });
        let Some(first) = first.await? else { return Ok(None) };
        lock(&self.leases).add(leased, lane, (first, first + count - 1), edge, now);
        Ok(Some(first))
    }

    pub(in crate::store) async fn give_back(
        &self,
        edge: Owner,
        mut gaps: Vec<Gap>,
    ) -> Result<(), StoreError> {
        {
            let leases = lock(&self.leases);
            gaps.retain(|gap| leases.covers(&edge, gap));
        }
        if gaps.is_empty() {
            return Ok(());
        }
        let kept = gaps.clone();
        let keeping = self.run(move |_, tx| {
            for gap in kept {
                execute(
                    tx,
                    "INSERT OR REPLACE INTO gaps (event, line, lane, first, count)
                     VALUES (?, ?, ?, ?, ?)",
                    params![
                        gap.event.as_str(),
                        int(gap.line),
                        lane_number(gap.lane),
                        int(gap.first),
                        int(gap.count)
                    ],
                )?;
            }
            Ok(())
        });
        keeping.await?;
        let new = {
            let mut leases = lock(&self.leases);
            gaps.iter().flat_map(|gap| leases.take_back(gap)).collect::<Vec<_>>()
        };
        let mut new_gaps = lock(&self.new_gaps);
        let room = NEW_GAPS_MAX.saturating_sub(new_gaps.len());
        new_gaps.extend(new.into_iter().take(room));
        Ok(())
    }

    pub(in crate::store) fn new_gaps(&self, line: &LineId) -> Vec<Gap> {
        let mut new_gaps = lock(&self.new_gaps);
        let is_ours = |gap: &mut Gap| gap.event == line.event && gap.line == line.line;
        new_gaps.extract_if(.., is_ours).collect()
    }

    pub(in crate::store) async fn gaps(&self, line: LineId) -> Result<Vec<Gap>, StoreError> {
        self.run(move |_, tx| {
            let mut query = tx
                .prepare_cached("SELECT lane, first, count FROM gaps WHERE event = ? AND line = ?")
                .map_err(failed)?;
            let rows = query.query_map(params![line.event.as_str(), int(line.line)], |row| {
                Ok(Gap {
                    event: line.event.clone(),
                    line: line.line,
                    lane: lane_at(row, 0)?,
                    first: number_at(row, 1)?,
                    count: number_at(row, 2)?,
                })
            });
            rows.and_then(Iterator::collect).map_err(failed)
        })
        .await
    }
}
