//! Which levels of the seat map have operators set, for every process?
//!
//! One document beside the log says so, and all processes follow it: whoever is asked pauses the
//! sale everywhere, and a restart does not go on with it. The configuration counts for as long as
//! nobody has set anything.

use std::collections::BTreeMap;

use keys::EventId;
use serde::{Deserialize, Serialize};

use super::mode::Mode;
use crate::store::{Docs, NewDoc, Put, StoreError};

const COLLECTION: &str = "settings";
const ID: &str = "seat-mode";
/// How often a change is tried anew because somebody else was faster: operators are few.
const TRIES: u32 = 5;

/// What operators have set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    /// For all events.
    pub pinned: Option<Mode>,
    /// For one event; it stands above the other.
    pub pinned_events: BTreeMap<EventId, Mode>,
}

/// Why they cannot be read or set.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// The store fails.
    #[error("the levels of the seat map cannot be read or kept")]
    Store(#[from] StoreError),
    /// What is kept there is not ours.
    #[error("the levels of the seat map are kept as something else")]
    Unreadable(#[from] serde_json::Error),
    /// Others change them all the time.
    #[error("the levels of the seat map were changed by others {TRIES} times")]
    Contended,
}

impl Pins {
    /// What was set, and how often it was; `None` if it never was.
    ///
    /// # Errors
    /// If the store fails.
    async fn kept(docs: &Docs) -> Result<(Option<Self>, u64), PinsError> {
        let Some(doc) = docs.get(COLLECTION, ID).await? else { return Ok((None, 0)) };
        Ok((Some(serde_json::from_slice(&doc.body)?), doc.version))
    }

    /// What was set; `None` if nothing ever was.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn read(docs: &Docs) -> Result<Option<Self>, PinsError> {
        Self::kept(docs).await.map(|(pins, _)| pins)
    }

    /// Changes what is set, for all processes. `now` is what counts as long as nothing is kept.
    ///
    /// # Errors
    /// If the store fails; then it may have been changed all the same.
    pub async fn change(
        docs: &Docs,
        now: Self,
        change: impl Fn(&mut Self),
    ) -> Result<Self, PinsError> {
        for _ in 0..TRIES {
            let (kept, version) = Self::kept(docs).await?;
            let mut pins = kept.unwrap_or_else(|| now.clone());
            change(&mut pins);
            let body = serde_json::to_vec(&pins)?;
            let new = NewDoc { id: ID, sort: "", body: &body };
            match docs.put_if_version(COLLECTION, version, new).await? {
                Put::Kept { .. } => return Ok(pins),
                Put::Changed => {}
            }
        }
        Err(PinsError::Contended)
    }

    /// What is set for an event.
    #[must_use]
    pub fn of_event(&self, event: &EventId) -> Option<Mode> {
        self.pinned_events.get(event).copied().or(self.pinned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_many_who_set_levels_at_once_none_is_forgotten() {
        let docs = Docs::memory();
        assert_eq!(Pins::read(&docs).await.unwrap(), None);
        let configured = Pins { pinned: Some(Mode::List), ..Pins::default() };
        let events: Vec<EventId> = (0..4).map(|n| format!("event-{n}").parse().unwrap()).collect();
        let pinning = events.iter().map(|event| {
            Pins::change(&docs, configured.clone(), |pins| {
                pins.pinned_events.insert(event.clone(), Mode::Paused);
            })
        });
        for pinned in futures_util::future::join_all(pinning).await {
            pinned.unwrap();
        }
        let kept = Pins::read(&docs).await.unwrap().unwrap();
        assert_eq!(kept.pinned, Some(Mode::List), "what the configuration says goes on");
        assert!(kept.pinned_events.keys().eq(&events), "{kept:?}");
        let free = Pins::change(&docs, configured, |pins| pins.pinned = None).await.unwrap();
        assert_eq!(free.pinned, None, "what was set stands above the configuration");
    }
}
