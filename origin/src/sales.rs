//! Which writer has the seats of an event?
//!
//! Events may be added while we sell: the new one is served by the writer that its id falls to,
//! and by the same one after every restart that begins with the same events.

use keys::EventId;

use crate::board::Board;
use crate::partition::{Answer, EventSetup, OpenError, Partition, Unavailable, partition_of};
use crate::sale::Command;

/// The way to the seats, whatever partition they are in.
#[derive(Debug)]
pub struct Sales {
    partitions: Vec<Partition>,
    events: Board<EventId, EventSetup>,
}

impl Sales {
    /// The partitions, in order, and the events that they began with.
    #[must_use]
    pub fn new(partitions: Vec<Partition>, events: impl IntoIterator<Item = EventSetup>) -> Self {
        let events = events.into_iter().map(|setup| (setup.event.clone(), setup)).collect();
        Self { partitions, events }
    }

    /// Asks one thing of one event.
    ///
    /// # Errors
    /// If there is no answer now.
    pub async fn ask(&self, event: &EventId, command: Command) -> Result<Answer, Unavailable> {
        self.partition(event)?.ask(event, command).await
    }

    /// Sells an event from now on; asking again is safe. A restart must begin with it as well:
    /// note it down first.
    ///
    /// # Errors
    /// If its writer cannot be asked, or has sold other seats under that id.
    pub async fn open(&self, setup: EventSetup) -> Result<(), OpenError> {
        self.partition(&setup.event)?.open(setup.clone()).await?;
        self.events.put(setup.event.clone(), setup);
        Ok(())
    }

    /// The events that have seats here.
    #[must_use]
    pub fn events(&self) -> Vec<EventId> {
        self.events.all().keys().cloned().collect()
    }

    /// Tells all writers to end.
    pub fn stop(&self) {
        self.partitions.iter().for_each(Partition::stop);
    }

    fn partition(&self, event: &EventId) -> Result<&Partition, Unavailable> {
        let count = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
        let partition = self.partitions.get(partition_of(event, count) as usize);
        partition.ok_or(Unavailable::Down)
    }
}
