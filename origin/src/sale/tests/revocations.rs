//! Ends of passes in the order in which we heard of them, for edges that ask what is new.

use std::collections::VecDeque;

use admission_api::Revoked;
use keys::Timestamp;

/// The order is this controller's own; edges that come from another one ask for all.
#[derive(Debug, Default)]
pub(super) struct Revocations {
    /// Each with its place in the order.
    ends: VecDeque<(u64, Revoked)>,
    /// The last place given. It begins with the time of opening in microseconds, so that an edge
    /// that knows the order of an earlier start hears everything again.
    upto: u64,
}

impl Revocations {
    /// None yet.
    pub fn starting(now: Timestamp) -> Self {
        Self { ends: VecDeque::new(), upto: now.as_millis().saturating_mul(1000) }
    }

    /// None yet, and above all places that were given before.
    pub fn starting_above(upto: u64, now: Timestamp) -> Self {
        let starting = Self::starting(now);
        Self { upto: starting.upto.max(upto), ..starting }
    }

    /// The last place given.
    pub fn upto(&self) -> u64 {
        self.upto
    }

    /// A pass has ended.
    pub fn add(&mut self, revoked: Revoked) {
        self.upto += 1;
        self.ends.push_back((self.upto, revoked));
    }

    /// Those behind the place `after` that would still verify at `now`, and the last place.
    pub fn after(&self, after: u64, now: Timestamp) -> (Vec<Revoked>, u64) {
        let from = self.ends.partition_point(|(at, _)| *at <= after);
        let newer = self.ends.range(from..).map(|(_, revoked)| revoked);
        (newer.filter(|revoked| revoked.until > now).cloned().collect(), self.upto)
    }

    /// Forgets passes that would have ended by themselves.
    pub fn forget(&mut self, now: Timestamp) {
        self.ends.retain(|(_, revoked)| revoked.until > now);
    }
}
