//! What the thread knows without asking the file: rooms, who is inside, which numbers are used.
//!
//! Rebuilt from the file at the opening and after a failed transaction; it never says more than
//! the file does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

use admission_api::{Revoked, Room, RoomMode, RoomSpec, Suspicion};
use keys::{EventId, Id128, Lane, Timestamp};
use rusqlite::{Connection, Transaction, params};

use super::super::revocations::Revocations;
use super::super::{Judged, JudgedState, LineId, StoreError, USED_FOR_SECS};
use super::rows::{
    count_up, event_at, execute, failed, json, judged_row, lane_at, number_at, parse, pass_row,
};
use crate::claims::{Back, Claimed, Flag, Lapsed, PassRecord};

/// What the thread knows without asking the file.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) rooms: BTreeMap<EventId, RoomMemory>,
    pub(super) revocations: Revocations,
}

impl Memory {
    pub(super) fn revoke(&mut self, record: &PassRecord, from: Timestamp) {
        self.revocations.add(Revoked { jti: record.jti, from, until: record.exp });
    }
}

pub(super) struct RoomMemory {
    pub(super) room: Room,
    pub(super) issued: [u64; 3],
    pub(super) inside: u64,
    /// Claims that have counted since this was read, by [`Lane::index`].
    pub(super) admitted_total: [u64; 3],
    pub(super) passes: HashMap<Id128, Slot>,
    /// The numbers of `passes`, 0 excepted: each lets in one visitor.
    pub(super) used: HashSet<(Lane, u64)>,
    /// When passes end, earliest first; entries of renewed passes are put back when met.
    pub(super) ends: BinaryHeap<Reverse<(Timestamp, Id128)>>,
    pub(super) flags: HashMap<Id128, Flag>,
    /// The last position, by [`Lane::index`], at which somebody stands who came back.
    pub(super) back_upto: [u64; 3],
    /// How often places were moved to another device, and until when that matters.
    pub(super) moves: HashMap<Id128, (u64, Timestamp)>,
    /// Rows, those of visitors who had entered before included.
    pub(super) suspicions: u64,
}

pub(super) enum Slot {
    Inside(Box<PassRecord>),
    /// Who may come back has a pass that lapsed.
    Used {
        until: Timestamp,
        lane: Lane,
        num: u64,
        lapsed: Option<Lapsed>,
    },
    /// Who has come back.
    Back {
        until: Timestamp,
        back: Back,
    },
}

impl Memory {
    pub(super) fn line(&mut self, line: &LineId) -> Option<&mut RoomMemory> {
        self.rooms.get_mut(&line.event).filter(|room| room.room.line == line.line)
    }

    pub(super) fn create(
        &mut self,
        tx: &Transaction<'_>,
        spec: RoomSpec,
        now: Timestamp,
    ) -> Result<Room, StoreError> {
        let event = spec.event.clone();
        // From the clock, so that places of before do not fit when the file was lost. Passes of an
        // event of this name that was deleted must not fit either, so theirs starts there as well.
        let line = count_up(tx, "line", now.as_secs())?;
        let room = Room { spec, line, pass_generation: line, version: 1 };
        execute(
            tx,
            "INSERT INTO rooms (event, room) VALUES (?, ?)",
            params![event.as_str(), json(&room)?],
        )?;
        self.rooms.insert(event, RoomMemory::new(room.clone()));
        Ok(room)
    }

    pub(super) fn change(
        &mut self,
        tx: &Transaction<'_>,
        spec: RoomSpec,
    ) -> Result<Room, StoreError> {
        let event = spec.event.clone();
        let Some(memory) = self.rooms.get(&event) else {
            return Err(StoreError::Closed);
        };
        let room = Room { spec, version: memory.room.version + 1, ..memory.room.clone() };
        self.put(tx, room)
    }

    /// Writes a room that is there already.
    pub(super) fn put(&mut self, tx: &Transaction<'_>, room: Room) -> Result<Room, StoreError> {
        let event = &room.spec.event;
        let Some(memory) = self.rooms.get_mut(event) else {
            return Err(StoreError::Closed);
        };
        execute(
            tx,
            "UPDATE rooms SET room = ? WHERE event = ?",
            params![json(&room)?, event.as_str()],
        )?;
        memory.room = room.clone();
        Ok(room)
    }

    /// Reads everything that is kept in memory.
    ///
    /// Ends of passes get new places, above `revoked_upto`: everybody hears of them again.
    pub(super) fn read(
        db: &Connection,
        now: Timestamp,
        revoked_upto: u64,
    ) -> Result<Self, StoreError> {
        let revocations = Revocations::starting_above(revoked_upto, now);
        let mut memory = Self { revocations, ..Self::default() };
        let mut query = db.prepare("SELECT room FROM rooms").map_err(failed)?;
        let rows = query.query_map([], |row| row.get::<_, String>(0)).map_err(failed)?;
        for text in rows {
            let room: Room = parse("a room", &text.map_err(failed)?)?;
            memory.rooms.insert(room.spec.event.clone(), RoomMemory::new(room));
        }
        let mut query = db.prepare("SELECT event, lane, issued FROM lanes").map_err(failed)?;
        let rows = query
            .query_map([], |row| Ok((event_at(row, 0)?, lane_at(row, 1)?, number_at(row, 2)?)))
            .map_err(failed)?;
        for row in rows {
            let (event, lane, issued) = row.map_err(failed)?;
            if let Some(room) = memory.rooms.get_mut(&event) {
                room.issued[lane.index()] = issued;
            }
        }
        let mut query = db
            .prepare(
                "SELECT event, sub, jti, lane, num, risk, generation, first_at, renewed_at, exp,
                        place_exp, ended IS NOT NULL FROM passes",
            )
            .map_err(failed)?;
        let rows = query.query_map([], pass_row).map_err(failed)?;
        let mut ended = Vec::new();
        for row in rows {
            let (event, record, has_ended) = row.map_err(failed)?;
            let Some(room) = memory.rooms.get_mut(&event) else { continue };
            if has_ended && record.exp > now {
                ended.push(record.clone());
            }
            if has_ended {
                room.use_up(&record);
            } else if record.exp <= now {
                room.lapse(&record);
            } else {
                room.enter(record);
            }
        }
        for record in ended {
            memory.revoke(&record, now);
        }
        memory.read_returns(db)?;
        memory.read_moves(db)?;
        let mut query =
            db.prepare("SELECT event, count(*) FROM suspicions GROUP BY event").map_err(failed)?;
        let rows = query
            .query_map([], |row| Ok((event_at(row, 0)?, number_at(row, 1)?)))
            .map_err(failed)?;
        for row in rows {
            let (event, count) = row.map_err(failed)?;
            if let Some(room) = memory.rooms.get_mut(&event) {
                room.suspicions = count;
            }
        }
        let mut query = db
            .prepare(
                "SELECT id, state, restored_at, restored_by, why, suspicion FROM suspicions
                 WHERE state <> 'admitted_before'",
            )
            .map_err(failed)?;
        let rows = query.query_map([], judged_row).map_err(failed)?;
        for row in rows {
            let Judged { state, suspicion, .. } = row.map_err(failed)?.parsed()?;
            if let Some(room) = memory.rooms.get_mut(&suspicion.event) {
                let is_restored = state == JudgedState::Restored;
                room.flags.insert(suspicion.sub, flag(&suspicion, is_restored));
            }
        }
        Ok(memory)
    }
}

impl Memory {
    /// Who has come back; read after the passes, which it overrules.
    fn read_returns(&mut self, db: &Connection) -> Result<(), StoreError> {
        let mut query = db
            .prepare(
                "SELECT event, sub, lane, num, position, had_pass, is_in, until_ms FROM returns",
            )
            .map_err(failed)?;
        let mut rows = query.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let read = || -> rusqlite::Result<(EventId, Id128, Back, bool, Timestamp)> {
                let back = Back {
                    lane: lane_at(row, 2)?,
                    num: number_at(row, 3)?,
                    position: number_at(row, 4)?,
                    had_pass: row.get(5)?,
                };
                let sub = Id128::from_bytes(row.get(1)?);
                let until = Timestamp::from_millis(number_at(row, 7)?);
                Ok((event_at(row, 0)?, sub, back, row.get(6)?, until))
            };
            let (event, sub, back, is_in, until) = read().map_err(failed)?;
            let Some(room) = self.rooms.get_mut(&event) else { continue };
            let upto = &mut room.back_upto[back.lane.index()];
            *upto = back.position.max(*upto);
            match room.passes.get_mut(&sub) {
                Some(Slot::Inside(record)) if is_in => record.has_returned = true,
                Some(Slot::Used { lapsed, .. }) if is_in => *lapsed = None,
                _ if is_in => {}
                _ => {
                    let before = room.passes.insert(sub, Slot::Back { until, back });
                    if matches!(before, Some(Slot::Inside(_))) {
                        room.inside = room.inside.saturating_sub(1);
                    }
                }
            }
        }
        Ok(())
    }

    fn read_moves(&mut self, db: &Connection) -> Result<(), StoreError> {
        let mut query =
            db.prepare("SELECT event, sub, count, until_ms FROM moves").map_err(failed)?;
        let mut rows = query.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let read = || -> rusqlite::Result<(EventId, Id128, u64, Timestamp)> {
                let until = Timestamp::from_millis(number_at(row, 3)?);
                Ok((event_at(row, 0)?, Id128::from_bytes(row.get(1)?), number_at(row, 2)?, until))
            };
            let (event, sub, count, until) = read().map_err(failed)?;
            if let Some(room) = self.rooms.get_mut(&event) {
                room.moves.insert(sub, (count, until));
            }
        }
        Ok(())
    }
}

impl RoomMemory {
    pub(super) fn new(room: Room) -> Self {
        Self {
            room,
            issued: [0; 3],
            inside: 0,
            admitted_total: [0; 3],
            passes: HashMap::new(),
            used: HashSet::new(),
            ends: BinaryHeap::new(),
            flags: HashMap::new(),
            back_upto: [0; 3],
            moves: HashMap::new(),
            suspicions: 0,
        }
    }

    /// Whether a visitor who has not come in may do so under this number. A room that lets in
    /// everybody does not ask where the number is from.
    pub(super) fn may_use(&self, lane: Lane, num: u64) -> bool {
        let is_off = self.room.spec.mode == RoomMode::Off;
        let is_handed_out = (1..=self.issued[lane.index()]).contains(&num);
        (is_handed_out || is_off) && !self.used.contains(&(lane, num))
    }

    pub(super) fn claimed(&self, sub: Id128, now: Timestamp) -> Option<Claimed> {
        self.passes.get(&sub).map(|slot| match slot {
            Slot::Inside(record) if record.exp > now => Claimed::Inside((**record).clone()),
            Slot::Inside(record) => Claimed::Ended(record.lapsed()),
            Slot::Used { lapsed, .. } => Claimed::Ended(*lapsed),
            Slot::Back { back, .. } => Claimed::Back(*back),
        })
    }

    /// Whether a visitor may come in under this number: it is free, or theirs since they came back.
    pub(super) fn may_enter(&self, sub: Id128, lane: Lane, num: u64) -> bool {
        match self.passes.get(&sub) {
            Some(Slot::Back { back, .. }) => {
                let is_theirs = (back.lane, back.num) == (lane, num);
                is_theirs && (back.had_pass || self.may_use(lane, num))
            }
            Some(Slot::Inside(_) | Slot::Used { .. }) => false,
            None => self.may_use(lane, num),
        }
    }

    pub(super) fn enter(&mut self, record: PassRecord) {
        self.inside += 1;
        self.take(record.lane, record.num);
        self.ends.push(Reverse((record.exp, record.sub)));
        self.passes.insert(record.sub, Slot::Inside(Box::new(record)));
    }

    pub(super) fn leave(&mut self, record: &PassRecord) {
        self.inside = self.inside.saturating_sub(1);
        self.use_up(record);
    }

    pub(super) fn use_up(&mut self, record: &PassRecord) {
        let PassRecord { lane, num, .. } = *record;
        self.take(lane, num);
        let until = record.place_exp.plus_secs(USED_FOR_SECS).max(record.exp);
        self.passes.insert(record.sub, Slot::Used { until, lane, num, lapsed: None });
    }

    /// A pass whose time is over: its visitor may come back, once.
    pub(super) fn lapse(&mut self, record: &PassRecord) {
        self.use_up(record);
        if let Some(Slot::Used { lapsed, .. }) = self.passes.get_mut(&record.sub) {
            *lapsed = record.lapsed();
        }
    }

    /// All who are inside are out at once.
    pub(super) fn end_all(&mut self) {
        let inside = self.passes.values().filter_map(|slot| match slot {
            Slot::Inside(record) => Some((**record).clone()),
            Slot::Used { .. } | Slot::Back { .. } => None,
        });
        for record in inside.collect::<Vec<_>>() {
            self.use_up(&record);
        }
        self.inside = 0;
        self.ends.clear();
    }

    pub(super) fn take(&mut self, lane: Lane, num: u64) {
        if num > 0 {
            self.used.insert((lane, num));
        }
    }

    pub(super) fn end_expired(&mut self, now: Timestamp) {
        while let Some(Reverse((exp, sub))) = self.ends.peek().copied() {
            if exp > now {
                break;
            }
            self.ends.pop();
            let Some(Slot::Inside(record)) = self.passes.get(&sub) else { continue };
            if record.exp > now {
                self.ends.push(Reverse((record.exp, sub)));
            } else {
                let record = record.clone();
                self.inside = self.inside.saturating_sub(1);
                self.lapse(&record);
            }
        }
    }
}

pub(super) fn flag(suspicion: &Suspicion, is_restored: bool) -> Flag {
    let Suspicion { standard_num, suspect_num, .. } = *suspicion;
    Flag { standard_num, suspect_num, is_restored }
}
