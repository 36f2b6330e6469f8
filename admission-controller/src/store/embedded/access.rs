//! Access codes, and the numbers of the priority lane that were given for them.

use admission_api::{CodeBatch, NoPriority};
use keys::{EventId, Id128, Lane, Timestamp};
use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::super::{
    Added, CODES_MAX, Deed, EntryKind, GRANTS_MAX, Grant, LineId, NewBatch, StoreError,
};
use super::Embedded;
use super::review::note;
use super::rows::{execute, failed, int, lane_number, number_at};

/// A code's rules, and what is left of it.
struct CodeRow {
    batch: u64,
    left: u64,
    is_revoked: bool,
    valid_from: Option<u64>,
    valid_until: Option<u64>,
}

impl CodeRow {
    fn check(&self, now: Timestamp) -> Result<(), NoPriority> {
        let now = now.as_millis();
        if self.is_revoked {
            Err(NoPriority::CodeRevoked)
        } else if self.valid_from.is_some_and(|from| now < from) {
            Err(NoPriority::CodeNotYet)
        } else if self.valid_until.is_some_and(|until| now >= until) {
            Err(NoPriority::CodeOver)
        } else if self.left == 0 {
            Err(NoPriority::CodeUsed)
        } else {
            Ok(())
        }
    }
}

impl Embedded {
    pub(in crate::store) async fn add_codes(
        &self,
        line: LineId,
        batch: NewBatch,
        hashes: Vec<[u8; 32]>,
        deed: Deed,
    ) -> Result<Option<Added>, StoreError> {
        self.run(move |memory, tx| {
            if memory.line(&line).is_none() {
                return Ok(None);
            }
            let event = line.event.as_str();
            let at = |at: Option<Timestamp>| at.map(|at| int(at.as_millis()));
            let next = "SELECT coalesce(max(batch), 0) + 1 FROM batches WHERE event = ?";
            let id = count(tx, next, event)?;
            let values = params![
                event,
                int(id),
                batch.label,
                batch.uses,
                at(batch.valid_from),
                at(batch.valid_until)
            ];
            execute(
                tx,
                "INSERT INTO batches (event, batch, label, uses, valid_from, valid_until, is_revoked)
                 VALUES (?, ?, ?, ?, ?, ?, 0)",
                values,
            )?;
            let mut room =
                CODES_MAX.saturating_sub(count(tx, "SELECT count(*) FROM codes WHERE event = ?", event)?);
            let mut added = 0;
            for hash in hashes {
                if room == 0 {
                    break;
                }
                // One that is known stays what it is.
                let insert = "INSERT OR IGNORE INTO codes (event, hash, batch, uses_left, is_revoked)
                              VALUES (?, ?, ?, ?, 0)";
                let fresh = execute(tx, insert, params![event, hash, int(id), batch.uses])?;
                let fresh = u64::try_from(fresh).unwrap_or(u64::MAX);
                (added, room) = (added + fresh, room - fresh);
            }
            note(tx, &line.event, EntryKind::Operator, deed)?;
            Ok(Some(Added { batch: id, added }))
        })
        .await
    }

    pub(in crate::store) async fn code_batches(
        &self,
        line: LineId,
    ) -> Result<Vec<CodeBatch>, StoreError> {
        self.run(move |_, tx| {
            let mut query = tx
                .prepare_cached(
                    "SELECT batch, label, uses, valid_from, valid_until, is_revoked,
                            (SELECT count(*) FROM codes
                             WHERE codes.event = batches.event AND codes.batch = batches.batch),
                            (SELECT count(*) FROM grants
                             WHERE grants.event = batches.event AND grants.batch = batches.batch)
                     FROM batches WHERE event = ? ORDER BY batch",
                )
                .map_err(failed)?;
            let rows = query.query_map([line.event.as_str()], |row| batch_row(&line.event, row));
            rows.and_then(Iterator::collect).map_err(failed)
        })
        .await
    }

    pub(in crate::store) async fn revoke_batch(
        &self,
        line: LineId,
        batch: u64,
        deed: Deed,
    ) -> Result<bool, StoreError> {
        self.run(move |_, tx| {
            let sql = "UPDATE batches SET is_revoked = 1 WHERE event = ? AND batch = ?";
            let is_known = execute(tx, sql, params![line.event.as_str(), int(batch)])? > 0;
            if is_known {
                note(tx, &line.event, EntryKind::Operator, deed)?;
            }
            Ok(is_known)
        })
        .await
    }

    pub(in crate::store) async fn revoke_code(
        &self,
        line: LineId,
        hash: [u8; 32],
        deed: Deed,
    ) -> Result<bool, StoreError> {
        self.run(move |_, tx| {
            let sql = "UPDATE codes SET is_revoked = 1 WHERE event = ? AND hash = ?";
            let is_known = execute(tx, sql, params![line.event.as_str(), hash])? > 0;
            if is_known {
                note(tx, &line.event, EntryKind::Operator, deed)?;
            }
            Ok(is_known)
        })
        .await
    }

    pub(in crate::store) async fn grant(
        &self,
        line: LineId,
        grant: Grant,
        now: Timestamp,
    ) -> Result<Result<u64, NoPriority>, StoreError> {
        self.run(move |memory, tx| {
            let Some(room) = memory.line(&line) else { return Ok(Err(NoPriority::PlaceRefused)) };
            let Grant { sub, hash, is_ticket, at_most } = grant;
            let event = line.event.as_str();
            let before = tx
                .query_row(
                    "SELECT num FROM grants WHERE event = ? AND hash = ? AND sub = ?",
                    params![event, hash, sub.as_bytes()],
                    |row| number_at(row, 0),
                )
                .optional()
                .map_err(failed)?;
            if let Some(num) = before {
                return Ok(Ok(num));
            }
            if room.passes.contains_key(&sub) {
                return Ok(Err(NoPriority::PlaceUsed));
            }
            let batch = if is_ticket {
                let uses = "SELECT count(*) FROM grants WHERE event = ? AND hash = ?";
                let is_used: u64 = tx
                    .query_row(uses, params![event, hash], |row| number_at(row, 0))
                    .map_err(failed)?;
                if is_used > 0 {
                    return Ok(Err(NoPriority::CodeUsed));
                }
                0
            } else {
                let Some(code) = code(tx, event, &hash)? else {
                    return Ok(Err(NoPriority::UnknownCode));
                };
                if let Err(why) = code.check(now) {
                    return Ok(Err(why));
                }
                code.batch
            };
            let granted = count(tx, "SELECT count(*) FROM grants WHERE event = ?", event)?;
            if granted >= at_most.unwrap_or(GRANTS_MAX).min(GRANTS_MAX) {
                return Ok(Err(NoPriority::LaneFull));
            }
            let num = room.issued[Lane::Priority.index()] + 1;
            room.issued[Lane::Priority.index()] = num;
            execute(
                tx,
                "INSERT OR REPLACE INTO lanes (event, lane, issued) VALUES (?, ?, ?)",
                params![event, lane_number(Lane::Priority), int(num)],
            )?;
            execute(
                tx,
                "INSERT INTO grants (event, hash, sub, num, batch) VALUES (?, ?, ?, ?, ?)",
                params![event, hash, sub.as_bytes(), int(num), int(batch)],
            )?;
            let used = "UPDATE codes SET uses_left = uses_left - 1 WHERE event = ? AND hash = ?";
            execute(tx, used, params![event, hash])?;
            Ok(Ok(num))
        })
        .await
    }
}

/// Whether this number of the priority lane was given to this visitor.
pub(super) fn is_granted(
    tx: &Transaction<'_>,
    event: &EventId,
    num: u64,
    sub: Id128,
) -> Result<bool, StoreError> {
    let sql = "SELECT count(*) FROM grants WHERE event = ? AND num = ? AND sub = ?";
    let found: u64 = tx
        .query_row(sql, params![event.as_str(), int(num), sub.as_bytes()], |row| number_at(row, 0))
        .map_err(failed)?;
    Ok(found > 0)
}

fn count(tx: &Transaction<'_>, sql: &str, event: &str) -> Result<u64, StoreError> {
    let mut query = tx.prepare_cached(sql).map_err(failed)?;
    query.query_row([event], |row| number_at(row, 0)).map_err(failed)
}

fn code(tx: &Transaction<'_>, event: &str, hash: &[u8; 32]) -> Result<Option<CodeRow>, StoreError> {
    let number = |row: &Row<'_>, column| {
        row.get::<_, Option<i64>>(column).map(|at| at.map(i64::unsigned_abs))
    };
    tx.query_row(
        "SELECT batch, uses_left, codes.is_revoked OR batches.is_revoked, valid_from, valid_until
         FROM codes JOIN batches USING (event, batch) WHERE event = ? AND hash = ?",
        params![event, hash],
        |row| {
            Ok(CodeRow {
                batch: number_at(row, 0)?,
                left: number_at(row, 1)?,
                is_revoked: row.get(2)?,
                valid_from: number(row, 3)?,
                valid_until: number(row, 4)?,
            })
        },
    )
    .optional()
    .map_err(failed)
}

fn batch_row(event: &EventId, row: &Row<'_>) -> rusqlite::Result<CodeBatch> {
    let at = |column| -> rusqlite::Result<Option<Timestamp>> {
        let at = row.get::<_, Option<i64>>(column)?;
        Ok(at.map(|at| Timestamp::from_millis(at.unsigned_abs())))
    };
    Ok(CodeBatch {
        batch: number_at(row, 0)?,
        event: event.clone(),
        label: row.get(1)?,
        uses: row.get(2)?,
        valid_from: at(3)?,
        valid_until: at(4)?,
        is_revoked: row.get(5)?,
        codes: number_at(row, 6)?,
        used: number_at(row, 7)?,
    })
}
