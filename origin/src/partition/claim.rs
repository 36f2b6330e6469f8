//! Is the partition still ours, and until when may we believe so?
//!
//! A lease is about who should write, so that others know whom to wait for. Whoever stops too late
//! does no harm: the epoch refuses its records. Time is counted from before the store was asked,
//! so that ours runs out first, however long the answer took.

use std::time::Duration;

use keys::Id128;

use super::{Clock, PartitionError, PartitionSetup};
use crate::log::{Claimant, Claimed, Log, LogError, PartitionId};

/// How a partition is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenure {
    /// Nobody else is there: whoever starts last writes.
    Sole,
    /// Several processes share the store; the partition is ours while we say so in time.
    Leased {
        /// Where the others reach us.
        addr: String,
        /// How long our word counts.
        ttl: Duration,
    },
}

/// What asking for more time came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is ours for now.
    Yes,
    /// We could not make sure in time and must not decide anything.
    Unsure,
    /// It is somebody else's.
    Lost,
}

/// A partition that we have, or had.
pub(super) struct Claim {
    pub(super) partition: PartitionId,
    claimant: Claimant,
    ttl: Option<Duration>,
    pub(super) epoch: u64,
    clock: Clock,
    /// When we last asked and were heard, by the clock that only runs.
    asked: Duration,
    /// When we ask next.
    next: Duration,
}

impl Claim {
    /// Takes the partition in a new epoch.
    ///
    /// # Errors
    /// If the store fails, or somebody else's lease stands.
    pub(super) fn take(setup: &mut PartitionSetup) -> Result<Self, PartitionError> {
        let PartitionSetup { partition, owner: name, tenure, log, clock, .. } = setup;
        let (partition, clock) = (*partition, clock.clone());
        let failed = |source| PartitionError::Log { partition, source };
        // Names this writer and no other, so that it knows its own epochs.
        let owner = format!("{name} {}", Id128::random());
        let (addr, ttl) = match tenure {
            Tenure::Sole => (String::new(), None),
            Tenure::Leased { addr, ttl } => (addr.clone(), Some(*ttl)),
        };
        let claimant = Claimant { owner, addr };
        let asked = clock().elapsed;
        let mut claim = Self { partition, claimant, ttl, epoch: 0, clock, asked, next: asked };
        if claim.ask(log, true).map_err(failed)? {
            Ok(claim)
        } else {
            Err(PartitionError::Held { partition })
        }
    }

    /// Takes it once more, in an epoch that fences off what we may have sent before. `false` if it
    /// is somebody else's by now.
    pub(super) fn retake(&mut self, log: &mut Log) -> Result<bool, LogError> {
        match self.ttl {
            Some(_) => self.ask(log, false),
            None => {
                let renewed = log.renew(self.partition, &self.claimant.owner)?;
                Ok(renewed.map(|lease| self.epoch = lease.epoch).is_some())
            }
        }
    }

    fn ask(&mut self, log: &mut Log, is_start: bool) -> Result<bool, LogError> {
        let asked = (self.clock)().elapsed;
        let Some(ttl) = self.ttl else {
            self.epoch = log.acquire(self.partition, &self.claimant.owner)?.epoch;
            return Ok(true);
        };
        let mut claimed = log.claim(self.partition, &self.claimant, ttl)?;
        if is_start
            && let Claimed::Theirs(holder) = &claimed
            && holder.addr == self.claimant.addr
        {
            // Our own former life: the address is ours now, so whoever it was is dead.
            log.acquire(self.partition, &self.claimant.owner)?;
            claimed = log.claim(self.partition, &self.claimant, ttl)?;
        }
        match claimed {
            Claimed::Ours(lease) => {
                self.epoch = lease.epoch;
                self.heard(asked, ttl);
                Ok(true)
            }
            Claimed::Theirs(_) => Ok(false),
        }
    }

    /// Asks for more time if it is due.
    pub(super) fn keep(&mut self, log: &mut Log) -> Kept {
        let (Some(ttl), now) = (self.ttl, (self.clock)().elapsed) else { return Kept::Yes };
        if now >= self.next {
            self.next = now + ttl / 6;
            match log.extend(self.partition, self.epoch, ttl) {
                Ok(true) => self.heard(now, ttl),
                Ok(false) => return Kept::Lost,
                Err(error) => {
                    let partition = self.partition;
                    tracing::warn!(partition, %error, "the lease could not be extended");
                }
            }
        }
        if (self.clock)().elapsed.saturating_sub(self.asked) < ttl {
            Kept::Yes
        } else {
            Kept::Unsure
        }
    }

    fn heard(&mut self, asked: Duration, ttl: Duration) {
        self.asked = asked;
        self.next = asked + ttl / 3;
    }

    /// Lets others have it at once. What fails here lapses by itself.
    pub(super) fn release(&self, log: &mut Log) {
        if self.ttl.is_some()
            && let Err(error) = log.release(self.partition, self.epoch)
        {
            let partition = self.partition;
            tracing::warn!(partition, %error, "the lease was not given back and will lapse");
        }
    }
}
