//! Which writer has the seats of an event?
//!
//! Events may be added while we sell: the new one is served by the writer that its id falls to,
//! and by the same one after every restart that begins with the same events. Writers may come and
//! go: where several processes share a store, some partitions are somewhere else.

use arc_swap::ArcSwapOption;
use keys::EventId;

use crate::board::Board;
use crate::log::PartitionId;
use crate::partition::{Answer, EventSetup, OpenError, Partition, Unavailable, partition_of};
use crate::sale::{Command, Rules};

/// The way to the seats, whatever partition they are in.
#[derive(Debug)]
pub struct Sales {
    /// The writers that are in this process.
    writers: Vec<ArcSwapOption<Partition>>,
    events: Board<EventId, EventSetup>,
}

impl Sales {
    /// So many partitions, without writers yet, and the events that there are.
    #[must_use]
    pub fn new(partitions: u32, events: impl IntoIterator<Item = EventSetup>) -> Self {
        let events = events.into_iter().map(|setup| (setup.event.clone(), setup)).collect();
        Self { writers: (0..partitions).map(|_| ArcSwapOption::empty()).collect(), events }
    }

    /// Asks one thing of one event.
    ///
    /// # Errors
    /// If there is no answer now, or not here.
    pub async fn ask(&self, event: &EventId, command: Command) -> Result<Answer, Unavailable> {
        self.writer(event).ok_or(Unavailable::Down)?.ask(event, command).await
    }

    /// Sells an event from now on, here or wherever its writer is; asking again is safe. A restart
    /// must begin with it as well: note it down first.
    ///
    /// # Errors
    /// If its writer cannot be asked, or has sold other seats under that id.
    pub async fn open(&self, setup: EventSetup) -> Result<(), OpenError> {
        let (event, opened) = (setup.event.clone(), setup.clone());
        // Before its writer is looked for: one that starts meanwhile begins with it.
        let before = self.events.get(&event);
        self.events.put(event.clone(), setup);
        let Some(writer) = self.writer(&event) else { return Ok(()) };
        let asked = writer.open(opened).await;
        if asked.is_err()
            && let Some(before) = before
        {
            self.events.put(event, before);
        }
        asked
    }

    /// Changes the rules of an event, here or wherever its writer is. Rules that stay as they are
    /// cost nothing.
    ///
    /// # Errors
    /// If its writer cannot be asked.
    pub async fn set_rules(
        &self,
        event: &EventId,
        change: impl FnOnce(Rules) -> Rules,
    ) -> Result<(), OpenError> {
        let Some(setup) = self.events.get(event) else { return Ok(()) };
        let rules = change(setup.rules);
        if setup.rules == rules {
            return Ok(());
        }
        self.open(EventSetup { rules, ..EventSetup::clone(&setup) }).await
    }

    /// Whether we sell this event, wherever its writer is and whether or not it has one now.
    #[must_use]
    pub fn sells(&self, event: &EventId) -> bool {
        self.events.get(event).is_some()
    }

    /// The events whose seats are kept here.
    #[must_use]
    pub fn events(&self) -> Vec<EventId> {
        let all = self.events.all();
        all.keys().filter(|event| self.writer(event).is_some()).cloned().collect()
    }

    /// What a partition begins with.
    #[must_use]
    pub fn events_of(&self, partition: PartitionId) -> Vec<EventSetup> {
        let all = self.events.all();
        let here = all.values().filter(|setup| self.partition_of(&setup.event) == partition);
        here.map(|setup| EventSetup::clone(setup)).collect()
    }

    /// Sends those who ask for a partition to this writer.
    pub fn put_writer(&self, partition: PartitionId, writer: Partition) {
        if let Some(place) = self.writers.get(partition as usize) {
            place.store(Some(writer.into()));
        }
    }

    /// Sends nobody to a partition's writer any more.
    pub fn take_writer(&self, partition: PartitionId) {
        if let Some(place) = self.writers.get(partition as usize) {
            place.store(None);
        }
    }

    /// Tells all writers to end.
    pub fn stop(&self) {
        self.writers.iter().filter_map(|place| place.load_full()).for_each(|w| w.stop());
    }

    /// Which partition an event falls to.
    #[must_use]
    pub fn partition_of(&self, event: &EventId) -> PartitionId {
        partition_of(event, u32::try_from(self.writers.len()).unwrap_or(u32::MAX))
    }

    fn writer(&self, event: &EventId) -> Option<std::sync::Arc<Partition>> {
        self.writers.get(self.partition_of(event) as usize)?.load_full()
    }
}
