//! What is kept for people: who was judged, and the log of decisions and deeds.

use admission_api::{Restored, Suspicion};
use keys::{EventId, Id128, Timestamp};
use serde::{Deserialize, Serialize};

use super::super::{
    Deed, Entry, EntryKind, Judged, JudgedState, LineId, Numbered, Restore, Restorer,
    SUSPICIONS_MAX, StoreError, Suspected,
};
use super::calls::{Call, json, number, parse};
use super::{Redis, lock};

/// Decisions about the pace that are kept of an event.
const DECISIONS_MAX: u64 = 10_000;
/// What people did is kept apart from those, so that no busy sale pushes it out.
pub(super) const DEEDS_MAX: u64 = 10_000;
/// Most entries in one answer.
const ENTRIES_MAX: u64 = 100_000;
/// Attempts at taking a judgement back while others do the same.
const ATTEMPTS_MAX: usize = 5;

/// A judgement as it is kept; its number stands beside it.
#[derive(Serialize, Deserialize)]
struct JudgedText {
    state: JudgedState,
    restored_at: Option<Timestamp>,
    restored_by: Option<String>,
    why: Option<String>,
    suspicion: Suspicion,
}

impl JudgedText {
    fn numbered(self, id: u64) -> Judged {
        let Self { state, restored_at, restored_by, why, suspicion } = self;
        Judged { id, state, restored_at, restored_by, why, suspicion }
    }
}

/// Numbers of entries and judgements grow with time, so that they also do when the store was lost.
/// Of two events they are seldom the same, for pages of all events go on below a number.
pub(super) fn id_floor(event: &EventId, at: Timestamp) -> u64 {
    let residue: u64 = event.as_str().bytes().map(u64::from).sum();
    at.as_millis().saturating_mul(1000) + residue % 1000
}

pub(super) fn deed_entry(event: &EventId, kind: EntryKind, deed: Deed) -> Entry {
    Entry {
        at: deed.at,
        event: event.clone(),
        kind,
        who: Some(deed.who),
        old_per_sec: None,
        new_per_sec: None,
        binding: None,
        reason: deed.what,
        inputs: None,
    }
}

impl Redis {
    pub(in crate::store) async fn suspect(
        &self,
        suspicions: Vec<Suspicion>,
    ) -> Result<Suspected, StoreError> {
        let mut counts = Suspected::default();
        for suspicion in suspicions {
            let event = suspicion.event.clone();
            let place_secs = lock(&self.shared.known).place_secs(&event);
            let Some(place_secs) = place_secs else { continue };
            let text = |state| {
                json(&JudgedText {
                    state,
                    restored_at: None,
                    restored_by: None,
                    why: None,
                    suspicion: suspicion.clone(),
                })
            };
            let call = Call::kept("suspect")
                .arg(suspicion.line)
                .arg(suspicion.sub.to_string())
                .arg(id_floor(&event, suspicion.at))
                .arg(suspicion.at.plus_secs(place_secs).as_millis())
                .arg(format!("{}:{}", suspicion.standard_num, suspicion.suspect_num))
                .arg(text(JudgedState::Moved)?)
                .arg(text(JudgedState::AdmittedBefore)?)
                .arg(SUSPICIONS_MAX);
            match self.event(&event, call).await?.word() {
                "added" => counts.added += 1,
                "dropped" => *counts.dropped.entry(event).or_default() += 1,
                _ => {}
            }
        }
        Ok(counts)
    }

    pub(in crate::store) async fn suspicions(
        &self,
        event: Option<EventId>,
        before: Option<u64>,
        limit: u64,
    ) -> Result<Vec<Judged>, StoreError> {
        let events = match event {
            Some(event) => vec![event],
            None => self.events().await?,
        };
        let before = before.map_or("+inf".to_owned(), |before| before.to_string());
        let mut found = Vec::new();
        for event in events {
            let call = Call::new("suspicions").arg(&before).arg(limit);
            let texts = self.event(&event, call).await?.texts()?;
            for pair in texts.chunks_exact(2) {
                let judged: JudgedText = parse("a suspicion", &pair[1])?;
                found.push(judged.numbered(whole(&pair[0])?));
            }
        }
        found.sort_by_key(|judged| std::cmp::Reverse(judged.id));
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    pub(in crate::store) async fn restore(
        &self,
        event: EventId,
        sub: Id128,
        by: Restorer,
    ) -> Result<Restore, StoreError> {
        for _ in 0..ATTEMPTS_MAX {
            let call = Call::new("judged").arg(sub.to_string());
            let mut reply = self.event(&event, call).await?;
            if !reply.is("ok") {
                return Ok(Restore::Missing);
            }
            let (id, before) = (reply.number()?, reply.text()?);
            let judged: JudgedText = parse("a suspicion", &before)?;
            match judged.state {
                JudgedState::AdmittedBefore => return Ok(Restore::AdmittedBefore),
                JudgedState::Restored => return Ok(Restore::Done(Box::new(judged.numbered(id)))),
                JudgedState::Moved => {}
            }
            let Restorer { who, why, at } = by.clone();
            let deed = Deed { who: who.clone(), at, what: format!("restored {sub}: {why}") };
            let after = JudgedText {
                state: JudgedState::Restored,
                restored_at: Some(at),
                restored_by: Some(who),
                why: Some(why),
                ..judged
            };
            let call = Call::kept("restore")
                .arg(sub.to_string())
                .arg(before)
                .arg(json(&after)?)
                .arg(after.suspicion.standard_num)
                .arg(json(&deed_entry(&event, EntryKind::Security, deed))?)
                .arg(id_floor(&event, at))
                .arg(DEEDS_MAX);
            if self.event(&event, call).await?.is("ok") {
                return Ok(Restore::Done(Box::new(after.numbered(id))));
            }
        }
        Err(StoreError::Unanswered)
    }

    pub(in crate::store) async fn restored(&self) -> Result<Vec<Restored>, StoreError> {
        let mut restored = Vec::new();
        let lines: Vec<LineId> = lock(&self.shared.known).lines();
        for LineId { event, line } in lines {
            let mut reply = match self.event(&event, Call::new("restored")).await {
                Ok(reply) if reply.is("ok") => reply,
                Ok(_) | Err(StoreError::Distrusted) => continue,
                Err(error) => return Err(error),
            };
            if reply.number()? != line {
                continue;
            }
            for pair in reply.texts()?.chunks_exact(2) {
                let Ok(sub) = pair[0].parse() else { continue };
                let standard_num = number(&pair[1])?;
                restored.push(Restored { event: event.clone(), line, sub, standard_num });
            }
        }
        Ok(restored)
    }

    pub(in crate::store) async fn append(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        for entry in entries {
            let (kind, most) = match entry.kind {
                EntryKind::Pace => ("pace", DECISIONS_MAX),
                EntryKind::Operator | EntryKind::Security | EntryKind::Config => {
                    ("deeds", DEEDS_MAX)
                }
            };
            let floor = id_floor(&entry.event, entry.at);
            let call = Call::new("append").arg(kind).arg(json(&entry)?).arg(floor).arg(most);
            self.event(&entry.event, call).await?;
        }
        Ok(())
    }

    pub(in crate::store) async fn entries(
        &self,
        event: EventId,
        since: Option<u64>,
        limit: u64,
    ) -> Result<Vec<Numbered>, StoreError> {
        let limit = limit.min(ENTRIES_MAX);
        let call = Call::new("entries")
            .arg(since.map(|since| since.to_string()).unwrap_or_default())
            .arg(limit);
        let texts = self.event(&event, call).await?.texts()?;
        let entry = |text: &String| {
            let (id, entry) = text.split_once(' ').unwrap_or_default();
            Ok(Numbered { id: number(id)?, entry: parse("a decision", entry)? })
        };
        let mut entries = texts.iter().map(entry).collect::<Result<Vec<_>, StoreError>>()?;
        entries.sort_by_key(|entry| entry.id);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        match since {
            Some(_) => entries.truncate(limit),
            None => drop(entries.drain(..entries.len().saturating_sub(limit))),
        }
        Ok(entries)
    }
}

/// A score is printed as a float once it is large.
fn whole(score: &str) -> Result<u64, StoreError> {
    let score: f64 =
        score.parse().map_err(|_| super::calls::failed_text("something else than a number"))?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // below 2^53
    Ok(score as u64)
}
