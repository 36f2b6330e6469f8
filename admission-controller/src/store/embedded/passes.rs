//! Claims, the passes that came of them, and their ends.

use admission_api::{EndReason, Revoked, RoomMode};
use keys::{EventId, Id128, Lane, Place, Timestamp};
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::super::{
    ComeBack, Counted, Deed, EntryKind, LineId, MOVED_MAX, PassId, Put, Redeem, Redeemed, RenewTo,
    Revocation, StoreError, TRANSFERS_MAX, Transfer, USED_FOR_SECS,
};
use super::Embedded;
use super::access::is_granted;
use super::memory::Slot;
use super::review::{DECISIONS_MAX, DEEDS_MAX, note};
use super::rows::{
    event_at, execute, failed, int, json, lane_number, number_at, parse, risk_number,
};
use crate::claims::{Back, Claimed, Known, Lapsed, PassRecord};

impl Embedded {
    pub(in crate::store) async fn known(
        &self,
        line: LineId,
        sub: Id128,
        now: Timestamp,
    ) -> Result<Known, StoreError> {
        self.run(move |memory, _| {
            let Some(room) = memory.line(&line) else { return Ok(Known::default()) };
            let claimed = room.claimed(sub, now);
            let moves = room.moves.get(&sub).map_or(0, |(count, _)| *count);
            Ok(Known { claimed, suspicion: room.flags.get(&sub).copied(), moves })
        })
        .await
    }

    pub(in crate::store) async fn claim(
        &self,
        line: LineId,
        record: PassRecord,
        now: Timestamp,
    ) -> Result<Counted, StoreError> {
        self.run(move |memory, tx| {
            let Some(room) = memory.line(&line) else { return Ok(Counted::NoLine) };
            match room.claimed(record.sub, now) {
                Some(Claimed::Inside(record)) => return Ok(Counted::Repeat(record)),
                Some(Claimed::Ended(_)) => return Ok(Counted::Ended),
                Some(Claimed::Back(_)) | None => {}
            }
            // A number of the priority lane is somebody's by name, whoever signed the place.
            let is_named = record.lane == Lane::Priority && room.room.spec.mode != RoomMode::Off;
            let is_theirs = room.may_enter(record.sub, record.lane, record.num)
                && (!is_named || is_granted(tx, &line.event, record.num, record.sub)?);
            if !is_theirs {
                return Ok(Counted::NotTheirs);
            }
            insert(tx, &line, &record, None)?;
            if record.has_returned {
                execute(
                    tx,
                    "UPDATE returns SET is_in = 1 WHERE event = ? AND sub = ?",
                    params![line.event.as_str(), record.sub.as_bytes()],
                )?;
            }
            room.admitted_total[record.lane.index()] += 1;
            room.enter(record);
            Ok(Counted::First)
        })
        .await
    }

    pub(in crate::store) async fn renew(
        &self,
        line: LineId,
        shown: PassRecord,
        to: RenewTo,
        now: Timestamp,
    ) -> Result<Option<PassRecord>, StoreError> {
        self.run(move |memory, tx| {
            let Some(room) = memory.line(&line) else { return Ok(None) };
            let is_forgotten = !room.passes.contains_key(&shown.sub);
            if is_forgotten && shown.generation == to.generation && shown.exp > now {
                insert(tx, &line, &shown, None)?;
                room.enter(shown.clone());
            }
            let Some(Claimed::Inside(mut record)) = room.claimed(shown.sub, now) else {
                return Ok(None);
            };
            if record.jti != shown.jti || record.generation < to.generation {
                return Ok(None);
            }
            let latest = record.first_at.plus_secs(to.max_secs);
            let exp = now.plus_secs(to.idle_secs).min(latest).floor_to_secs();
            if exp > record.exp {
                (record.exp, record.renewed_at) = (exp, now);
                execute(
                    tx,
                    "UPDATE passes SET exp = ?, renewed_at = ? WHERE event = ? AND sub = ?",
                    params![
                        int(exp.as_millis()),
                        int(now.as_millis()),
                        line.event.as_str(),
                        shown.sub.as_bytes()
                    ],
                )?;
                room.passes.insert(shown.sub, Slot::Inside(Box::new(record.clone())));
            }
            Ok(Some(record))
        })
        .await
    }

    pub(in crate::store) async fn end(
        &self,
        line: LineId,
        pass: PassId,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.run(move |memory, tx| {
            let Some(room) = memory.line(&line) else { return Ok(false) };
            let Some(Claimed::Inside(record)) = room.claimed(pass.sub, now) else {
                return Ok(false);
            };
            if record.jti != pass.jti {
                return Ok(false);
            }
            set_ended(tx, &line.event, pass.sub, reason)?;
            room.leave(&record);
            memory.revoke(&record, now.plus_secs(reason.grace_secs()));
            Ok(true)
        })
        .await
    }

    pub(in crate::store) async fn come_back(
        &self,
        line: LineId,
        to: ComeBack,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        self.run(move |memory, tx| {
            let ComeBack { sub, lane, num, at_least, at_most, place_exp } = to;
            let Some(room) = memory.line(&line) else { return Ok(None) };
            let had_pass = match room.claimed(sub, now) {
                Some(Claimed::Back(back)) => return Ok(Some(back.position)),
                Some(Claimed::Inside(_)) => return Ok(Some(0)),
                Some(Claimed::Ended(Some(lapsed))) if (lapsed.lane, lapsed.num) == (lane, num) => {
                    true
                }
                None if room.may_use(lane, num) => false,
                Some(Claimed::Ended(_)) | None => return Ok(None),
            };
            room.end_expired(now);
            let last = &mut room.back_upto[lane.index()];
            let position = at_least.max(*last + 1).min(at_most);
            *last = position.max(*last);
            let until = place_exp.plus_secs(USED_FOR_SECS);
            let values = params![
                line.event.as_str(),
                sub.as_bytes(),
                lane_number(lane),
                int(num),
                int(position),
                had_pass,
                int(until.as_millis()),
            ];
            execute(
                tx,
                "INSERT OR REPLACE INTO returns
                     (event, sub, lane, num, position, had_pass, is_in, until_ms)
                 VALUES (?, ?, ?, ?, ?, ?, 0, ?)",
                values,
            )?;
            let back = Back { lane, num, position, had_pass };
            room.passes.insert(sub, Slot::Back { until, back });
            Ok(Some(position))
        })
        .await
    }

    pub(in crate::store) async fn open_transfer(
        &self,
        line: LineId,
        transfer: Transfer,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.run(move |memory, tx| {
            let Some(room) = memory.line(&line) else { return Ok(false) };
            let (event, sub) = (line.event.as_str(), transfer.place.sub);
            let over = params![event, int(now.as_millis()), sub.as_bytes()];
            let forget = "DELETE FROM transfers WHERE event = ? AND (until_ms <= ? OR sub = ?)";
            execute(tx, forget, over)?;
            let open: u64 = tx
                .query_row(
                    "SELECT count(*) FROM transfers WHERE event = ? AND asker IS NULL",
                    [event],
                    |row| number_at(row, 0),
                )
                .map_err(failed)?;
            if open >= TRANSFERS_MAX || to_u64(room.moves.len()) >= MOVED_MAX {
                return Ok(false);
            }
            let values = params![
                event,
                transfer.hash,
                sub.as_bytes(),
                int(transfer.until.as_millis()),
                json(&transfer.place)?,
            ];
            execute(
                tx,
                "INSERT INTO transfers (event, hash, sub, until_ms, place) VALUES (?, ?, ?, ?, ?)",
                values,
            )?;
            Ok(true)
        })
        .await
    }

    pub(in crate::store) async fn redeem_transfer(
        &self,
        line: LineId,
        redeem: Redeem,
        now: Timestamp,
    ) -> Result<Option<Redeemed>, StoreError> {
        self.run(move |memory, tx| {
            let Some(room) = memory.line(&line) else { return Ok(None) };
            let (event, Redeem { hash, asker, fresh_jti }) = (line.event.as_str(), redeem);
            let Some(opened) = opened(tx, event, &hash)?.filter(|opened| now < opened.until) else {
                return Ok(None);
            };
            let place: Place = parse("a place to be moved", &opened.place)?;
            let sub = place.sub;
            let moves = room.moves.get(&sub).map_or(0, |(count, _)| *count);
            let inside = match room.claimed(sub, now) {
                Some(Claimed::Inside(record)) => Some(record),
                Some(Claimed::Ended(_) | Claimed::Back(_)) | None => None,
            };
            let is_inside = inside.is_some();
            if let Some(used) = opened.used {
                let is_asked_again = used == (asker, moves);
                let place = Place { moves, ..place };
                return Ok(is_asked_again.then_some(Redeemed { place, is_inside }));
            }
            let moves = moves + 1;
            let until = place.exp.plus_secs(USED_FOR_SECS);
            room.moves.insert(sub, (moves, until));
            execute(
                tx,
                "INSERT OR REPLACE INTO moves (event, sub, count, until_ms) VALUES (?, ?, ?, ?)",
                params![event, sub.as_bytes(), int(moves), int(until.as_millis())],
            )?;
            execute(
                tx,
                "UPDATE transfers SET asker = ?, moves = ? WHERE event = ? AND hash = ?",
                params![asker, int(moves), event, hash],
            )?;
            if let Some(record) = &inside {
                let moved = PassRecord { jti: fresh_jti, ..record.clone() };
                insert(tx, &line, &moved, None)?;
                room.passes.insert(sub, Slot::Inside(Box::new(moved)));
                memory.revoke(record, now);
            }
            Ok(Some(Redeemed { place: Place { moves, ..place }, is_inside }))
        })
        .await
    }

    pub(in crate::store) async fn revoke(
        &self,
        line: LineId,
        sub: Id128,
        kind: EntryKind,
        deed: Deed,
    ) -> Result<Revocation, StoreError> {
        self.run(move |memory, tx| {
            let now = deed.at;
            let Some(room) = memory.line(&line) else { return Ok(Revocation::NoLine) };
            let revocation = match room.claimed(sub, now) {
                Some(Claimed::Ended(None)) => return Ok(Revocation::EndedBefore),
                Some(Claimed::Inside(record)) => {
                    set_ended(tx, &line.event, sub, EndReason::Revoked)?;
                    room.leave(&record);
                    memory.revoke(&record, now);
                    Revocation::Ended
                }
                // Neither a claim nor a return is left.
                not_inside @ (None | Some(Claimed::Ended(Some(_)) | Claimed::Back(_))) => {
                    let (lane, num) = match not_inside {
                        Some(Claimed::Ended(Some(Lapsed { lane, num, .. }))) => (lane, num),
                        Some(Claimed::Back(Back { lane, num, had_pass: true, .. })) => (lane, num),
                        _ => (Lane::Standard, 0),
                    };
                    let place_exp = now.plus_secs(room.room.spec.passes.place_secs);
                    let record = PassRecord { lane, num, ..PassRecord::void(sub, now, place_exp) };
                    let key = params![line.event.as_str(), sub.as_bytes()];
                    execute(tx, "DELETE FROM returns WHERE event = ? AND sub = ?", key)?;
                    insert(tx, &line, &record, Some(EndReason::Revoked))?;
                    room.use_up(&record);
                    Revocation::Voided
                }
            };
            note(tx, &line.event, kind, deed)?;
            Ok(revocation)
        })
        .await
    }

    pub(in crate::store) async fn revoke_all(
        &self,
        event: EventId,
        kind: EntryKind,
        deed: Deed,
    ) -> Result<Put, StoreError> {
        self.run(move |memory, tx| {
            let Some(room) = memory.rooms.get_mut(&event) else { return Ok(Put::Missing) };
            execute(
                tx,
                "UPDATE passes SET ended = ? WHERE event = ? AND ended IS NULL",
                params![EndReason::Revoked.label(), event.as_str()],
            )?;
            room.end_all();
            let mut next = room.room.clone();
            (next.pass_generation, next.version) = (next.pass_generation + 1, next.version + 1);
            let room = memory.put(tx, next)?;
            note(tx, &event, kind, deed)?;
            Ok(Put::Done(Box::new(room)))
        })
        .await
    }

    pub(in crate::store) async fn revoked_after(
        &self,
        after: u64,
        now: Timestamp,
    ) -> Result<(Vec<Revoked>, u64), StoreError> {
        self.run(move |memory, _| Ok(memory.revocations.after(after, now))).await
    }

    pub(in crate::store) async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        self.run(move |memory, tx| {
            let at = int(now.as_millis());
            // An ended pass stays until it would have ended by itself: edges are told of it.
            execute(
                tx,
                "DELETE FROM passes WHERE place_exp <= ? AND exp <= ?",
                [int(now.minus_secs(USED_FOR_SECS).as_millis()), at],
            )?;
            for sql in [
                "DELETE FROM returns WHERE until_ms <= ?",
                "DELETE FROM transfers WHERE until_ms <= ?",
                "DELETE FROM moves WHERE until_ms <= ?",
            ] {
                execute(tx, sql, [at])?;
            }
            for (event, sub) in swept_suspicions(tx, at)? {
                if let Some(room) = memory.rooms.get_mut(&event) {
                    room.flags.remove(&sub);
                    room.suspicions = room.suspicions.saturating_sub(1);
                }
            }
            for (is_pace, most) in [(1, DECISIONS_MAX), (0, DEEDS_MAX)] {
                execute(
                    tx,
                    "DELETE FROM entries WHERE (json_extract(entry, '$.kind') = 'pace') = ?1
                     AND id <= (SELECT id FROM entries
                                WHERE (json_extract(entry, '$.kind') = 'pace') = ?1
                                ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                    [is_pace, most],
                )?;
            }
            for room in memory.rooms.values_mut() {
                room.end_expired(now);
                room.moves.retain(|_, (_, until)| *until > now);
                let used = &mut room.used;
                room.passes.retain(|_, slot| match slot {
                    Slot::Inside(_) => true,
                    Slot::Back { until, back } => {
                        let is_kept = *until > now;
                        if !is_kept && back.had_pass {
                            used.remove(&(back.lane, back.num));
                        }
                        is_kept
                    }
                    Slot::Used { until, lane, num, .. } => {
                        let is_kept = *until > now;
                        if !is_kept {
                            used.remove(&(*lane, *num));
                        }
                        is_kept
                    }
                });
            }
            Ok(())
        })
        .await
    }
}

fn insert(
    tx: &Transaction<'_>,
    line: &LineId,
    record: &PassRecord,
    ended: Option<EndReason>,
) -> Result<(), StoreError> {
    let values = params![
        line.event.as_str(),
        record.sub.as_bytes(),
        int(line.line),
        record.jti.as_bytes(),
        lane_number(record.lane),
        int(record.num),
        risk_number(record.risk),
        int(record.generation),
        int(record.first_at.as_millis()),
        int(record.renewed_at.as_millis()),
        int(record.exp.as_millis()),
        int(record.place_exp.as_millis()),
        ended.map(EndReason::label),
    ];
    execute(
        tx,
        "INSERT OR REPLACE INTO passes (event, sub, line, jti, lane, num, risk, generation, first_at,
                             renewed_at, exp, place_exp, ended)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        values,
    )?;
    Ok(())
}

fn set_ended(
    tx: &Transaction<'_>,
    event: &EventId,
    sub: Id128,
    reason: EndReason,
) -> Result<(), StoreError> {
    let values = params![reason.label(), event.as_str(), sub.as_bytes()];
    execute(tx, "UPDATE passes SET ended = ? WHERE event = ? AND sub = ?", values)?;
    Ok(())
}

/// What a code is good for.
struct OpenedRow {
    until: Timestamp,
    place: String,
    /// Who has used it, and the count of moves since.
    used: Option<(String, u64)>,
}

fn opened(
    tx: &Transaction<'_>,
    event: &str,
    hash: &[u8; 32],
) -> Result<Option<OpenedRow>, StoreError> {
    tx.query_row(
        "SELECT until_ms, place, asker, moves FROM transfers WHERE event = ? AND hash = ?",
        params![event, hash],
        |row| {
            let asker: Option<String> = row.get(2)?;
            let used =
                asker.map(|asker| -> rusqlite::Result<_> { Ok((asker, number_at(row, 3)?)) });
            Ok(OpenedRow {
                until: Timestamp::from_millis(number_at(row, 0)?),
                place: row.get(1)?,
                used: used.transpose()?,
            })
        },
    )
    .optional()
    .map_err(failed)
}

/// Deletes suspicions of places that have ended, and tells whose they were.
fn swept_suspicions(tx: &Transaction<'_>, at: i64) -> Result<Vec<(EventId, Id128)>, StoreError> {
    let mut query = tx
        .prepare_cached("DELETE FROM suspicions WHERE until_ms <= ? RETURNING event, sub")
        .map_err(failed)?;
    let rows = query.query_map([at], |row| Ok((event_at(row, 0)?, Id128::from_bytes(row.get(1)?))));
    rows.and_then(Iterator::collect).map_err(failed)
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
