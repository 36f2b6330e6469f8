//! What is kept for people: who was judged, and the log of decisions and deeds.

use admission_api::{Restored, Suspicion};
use keys::{EventId, Id128};
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::super::{
    Deed, Entry, EntryKind, Judged, JudgedState, LineId, Numbered, Restore, Restorer,
    SUSPICIONS_MAX, StoreError, Suspected,
};
use super::Embedded;
use super::memory::flag;
use super::rows::{JudgedRow, execute, failed, int, json, judged_row, number_at, parse};

/// Decisions about the pace that are kept: a change a second for almost three hours.
pub(super) const DECISIONS_MAX: i64 = 10_000;
/// What people did is kept apart from those, so that no busy sale pushes it out.
pub(super) const DEEDS_MAX: i64 = 50_000;
impl Embedded {
    pub(in crate::store) async fn suspect(
        &self,
        suspicions: Vec<Suspicion>,
    ) -> Result<Suspected, StoreError> {
        self.run(move |memory, tx| {
            let mut counts = Suspected::default();
            for suspicion in suspicions {
                let line = LineId { event: suspicion.event.clone(), line: suspicion.line };
                let Some(room) = memory.line(&line) else { continue };
                if room.flags.contains_key(&suspicion.sub) {
                    continue;
                }
                if room.suspicions >= SUSPICIONS_MAX {
                    *counts.dropped.entry(suspicion.event).or_default() += 1;
                    continue;
                }
                // Without a number in the suspect lane it is of somebody who was seen inside.
                let is_inside = suspicion.suspect_num == 0;
                let state = if is_inside || room.passes.contains_key(&suspicion.sub) {
                    JudgedState::AdmittedBefore
                } else {
                    JudgedState::Moved
                };
                let until = suspicion.at.plus_secs(room.room.spec.passes.place_secs);
                let added = execute(
                    tx,
                    "INSERT OR IGNORE INTO suspicions (event, sub, state, until_ms, suspicion)
                     VALUES (?, ?, ?, ?, ?)",
                    params![
                        suspicion.event.as_str(),
                        suspicion.sub.as_bytes(),
                        state.label(),
                        int(until.as_millis()),
                        json(&suspicion)?
                    ],
                )?;
                counts.added += u64::from(added > 0);
                room.suspicions += u64::from(added > 0);
                if added > 0 && state == JudgedState::Moved {
                    room.flags.insert(suspicion.sub, flag(&suspicion, false));
                }
            }
            Ok(counts)
        })
        .await
    }

    pub(in crate::store) async fn suspicions(
        &self,
        event: Option<EventId>,
        before: Option<u64>,
        limit: u64,
    ) -> Result<Vec<Judged>, StoreError> {
        self.run(move |_, tx| {
            let mut query = tx
                .prepare_cached(
                    "SELECT id, state, restored_at, restored_by, why, suspicion FROM suspicions
                     WHERE (?1 IS NULL OR event = ?1) AND id < ?2 ORDER BY id DESC LIMIT ?3",
                )
                .map_err(failed)?;
            let event = event.as_ref().map(EventId::as_str);
            let before = before.map_or(i64::MAX, int);
            let rows =
                query.query_map(params![event, before, int(limit)], judged_row).map_err(failed)?;
            rows.map(|row| row.map_err(failed)?.parsed()).collect()
        })
        .await
    }

    pub(in crate::store) async fn restore(
        &self,
        event: EventId,
        sub: Id128,
        by: Restorer,
    ) -> Result<Restore, StoreError> {
        self.run(move |memory, tx| {
            let Some(judged) = read_judged(tx, &event, sub)? else { return Ok(Restore::Missing) };
            match judged.state {
                JudgedState::AdmittedBefore => return Ok(Restore::AdmittedBefore),
                JudgedState::Restored => return Ok(Restore::Done(Box::new(judged))),
                JudgedState::Moved => {}
            }
            execute(
                tx,
                "UPDATE suspicions SET state = ?, restored_at = ?, restored_by = ?, why = ?
                 WHERE event = ? AND sub = ?",
                params![
                    JudgedState::Restored.label(),
                    int(by.at.as_millis()),
                    by.who,
                    by.why,
                    event.as_str(),
                    sub.as_bytes()
                ],
            )?;
            let what = format!("restored {sub}: {}", by.why);
            let deed = Deed { who: by.who.clone(), at: by.at, what };
            note(tx, &event, EntryKind::Security, deed)?;
            if let Some(room) = memory.rooms.get_mut(&event) {
                room.flags.insert(sub, flag(&judged.suspicion, true));
            }
            Ok(Restore::Done(Box::new(Judged {
                state: JudgedState::Restored,
                restored_at: Some(by.at),
                restored_by: Some(by.who),
                why: Some(by.why),
                ..judged
            })))
        })
        .await
    }

    pub(in crate::store) async fn restored(&self) -> Result<Vec<Restored>, StoreError> {
        self.run(|memory, _| {
            let restored = memory.rooms.values().flat_map(|room| {
                let (event, line) = (&room.room.spec.event, room.room.line);
                room.flags.iter().filter(|(_, flag)| flag.is_restored).map(move |(sub, flag)| {
                    let standard_num = flag.standard_num;
                    Restored { event: event.clone(), line, sub: *sub, standard_num }
                })
            });
            Ok(restored.collect())
        })
        .await
    }

    pub(in crate::store) async fn append(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        self.run(move |_, tx| {
            for entry in entries {
                append_one(tx, &entry)?;
            }
            Ok(())
        })
        .await
    }

    pub(in crate::store) async fn entries(
        &self,
        event: EventId,
        since: Option<u64>,
        limit: u64,
    ) -> Result<Vec<Numbered>, StoreError> {
        self.run(move |_, tx| {
            let sql = match since {
                Some(_) => {
                    "SELECT id, entry FROM entries WHERE event = ?1 AND id > ?2
                     ORDER BY id LIMIT ?3"
                }
                None => {
                    "SELECT id, entry FROM (SELECT id, entry FROM entries
                     WHERE event = ?1 AND id > ?2 ORDER BY id DESC LIMIT ?3) ORDER BY id"
                }
            };
            let mut query = tx.prepare_cached(sql).map_err(failed)?;
            let after = since.map_or(0, int);
            let rows = query
                .query_map(params![event.as_str(), after, int(limit)], |row| {
                    Ok((number_at(row, 0)?, row.get::<_, String>(1)?))
                })
                .map_err(failed)?;
            rows.map(|row| {
                let (id, text) = row.map_err(failed)?;
                Ok(Numbered { id, entry: parse("a decision", &text)? })
            })
            .collect()
        })
        .await
    }
}

/// Notes a deed in the log, in the transaction that does it.
pub(super) fn note(
    tx: &Transaction<'_>,
    event: &EventId,
    kind: EntryKind,
    deed: Deed,
) -> Result<(), StoreError> {
    let entry = Entry {
        at: deed.at,
        event: event.clone(),
        kind,
        who: Some(deed.who),
        old_per_sec: None,
        new_per_sec: None,
        binding: None,
        reason: deed.what,
        inputs: None,
    };
    append_one(tx, &entry)
}

pub(super) fn append_one(tx: &Transaction<'_>, entry: &Entry) -> Result<(), StoreError> {
    execute(
        tx,
        "INSERT INTO entries (event, entry) VALUES (?, ?)",
        params![entry.event.as_str(), json(entry)?],
    )?;
    Ok(())
}

fn read_judged(
    tx: &Transaction<'_>,
    event: &EventId,
    sub: Id128,
) -> Result<Option<Judged>, StoreError> {
    let row = tx
        .prepare_cached(
            "SELECT id, state, restored_at, restored_by, why, suspicion FROM suspicions
             WHERE event = ? AND sub = ?",
        )
        .and_then(|mut query| {
            query.query_row(params![event.as_str(), sub.as_bytes()], judged_row).optional()
        })
        .map_err(failed)?;
    row.map(JudgedRow::parsed).transpose()
}
