//! Which events are there, where and when, who performs, and which of them are on sale?
//!
//! What is known is what the log adds up to ([`state`](State)), what may change is decided by a
//! plain function ([`decide`]), and one thread here carries it to the log ([`clerk`]). Everybody
//! else reads the state, and waits on [`Catalogue::changes`] to follow it: the shops, the search.

mod clerk;
mod decide;
mod facts;
mod import;
mod prices;
mod state;
mod synthetic;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use keys::EventId;
use tokio::sync::watch;

pub use clerk::{
    AskError, Audited, CatalogueError, Clerk, ClerkSetup, ITEMS_PER_RECORD, PARTITION, StartError,
    imports,
};
pub use decide::{Command, Expect, Imported, Item, KnownMap, Refusal, Reply, decide};
pub use facts::{
    EventDraft, EventFacts, Invalid, PerformerDraft, PerformerFacts, Seating, VenueDraft,
    VenueFacts, ZonePrice,
};
pub use import::{ImportError, List, Sources, built_in_leagues, items, leagues, world_cup};
pub use state::{
    Change, Entry, Event, Misfit, Origin, PerformerRecord, State, Status, VenueRecord,
};
pub use synthetic::synthetic;

/// The catalogue as everybody reads it.
#[derive(Debug)]
pub struct Catalogue {
    state: RwLock<State>,
    changes: watch::Sender<u64>,
}

impl Catalogue {
    /// A catalogue that nobody keeps.
    #[must_use]
    pub fn new(state: State) -> Self {
        let changes = watch::Sender::new(state.seq());
        Self { state: RwLock::new(state), changes }
    }

    /// The state; whoever holds it keeps changes waiting.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// An event.
    #[must_use]
    pub fn event(&self, id: &EventId) -> Option<Arc<Event>> {
        self.read().event(id).cloned()
    }

    /// The log sequence of the next change, and when it grows.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Changes the state, and tells who follows it.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut state);
        let seq = state.seq();
        drop(state);
        self.changes.send_if_modified(|known| std::mem::replace(known, seq) != seq);
        changed
    }
}
