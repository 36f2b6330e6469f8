//! Claims, the passes that came of them, and their ends.

use admission_api::{EndReason, Revoked};
use keys::{EventId, Id128, Timestamp};
use rusqlite::{Transaction, params};

use super::super::{
    Counted, Deed, EntryKind, LineId, PassId, Put, RenewTo, Revocation, StoreError, USED_FOR_SECS,
};
use super::Embedded;
use super::memory::Slot;
use super::review::{DECISIONS_MAX, DEEDS_MAX, note};
use super::rows::{event_at, execute, failed, int, lane_number, risk_number};
use crate::claims::{Claimed, Known, PassRecord};

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
            Ok(Known { claimed, suspicion: room.flags.get(&sub).copied() })
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
                Some(Claimed::Ended) => return Ok(Counted::Ended),
                None => {}
            }
            if !room.may_use(record.lane, record.num) {
                return Ok(Counted::NotTheirs);
            }
            insert(tx, &line, &record, None)?;
            room.enter(record);
            room.admitted_total += 1;
            Ok(Counted::First)
        })
        .await
    }

    pub(in crate::store) async fn renew(
        &self,
        line: LineId,
        pass: PassId,
        to: RenewTo,
        now: Timestamp,
    ) -> Result<Option<PassRecord>, StoreError> {
        self.run(move |memory, tx| {
            let Some(room) = memory.line(&line) else { return Ok(None) };
            let Some(Claimed::Inside(mut record)) = room.claimed(pass.sub, now) else {
                return Ok(None);
            };
            if record.jti != pass.jti || record.generation < to.generation {
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
                        pass.sub.as_bytes()
                    ],
                )?;
                room.passes.insert(pass.sub, Slot::Inside(Box::new(record.clone())));
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
                Some(Claimed::Ended) => return Ok(Revocation::EndedBefore),
                Some(Claimed::Inside(record)) => {
                    set_ended(tx, &line.event, sub, EndReason::Revoked)?;
                    room.leave(&record);
                    memory.revoke(&record, now);
                    Revocation::Ended
                }
                None => {
                    let place_exp = now.plus_secs(room.room.spec.passes.place_secs);
                    let record = PassRecord::void(sub, now, place_exp);
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
                let used = &mut room.used;
                room.passes.retain(|_, slot| match slot {
                    Slot::Inside(_) => true,
                    Slot::Used { until, lane, num } => {
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
        "INSERT INTO passes (event, sub, line, jti, lane, num, risk, generation, first_at,
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

/// Deletes suspicions of places that have ended, and tells whose they were.
fn swept_suspicions(tx: &Transaction<'_>, at: i64) -> Result<Vec<(EventId, Id128)>, StoreError> {
    let mut query = tx
        .prepare_cached("DELETE FROM suspicions WHERE until_ms <= ? RETURNING event, sub")
        .map_err(failed)?;
    let rows = query.query_map([at], |row| Ok((event_at(row, 0)?, Id128::from_bytes(row.get(1)?))));
    rows.and_then(Iterator::collect).map_err(failed)
}
