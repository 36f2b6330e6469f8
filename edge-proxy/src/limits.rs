//! How often somebody may ask: token buckets by network, by place and by pass.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use keys::Id128;

use crate::client::Network;
use crate::config::LimitsConfig;

/// Too often; may ask again after this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Later(pub Duration);

/// Whose budget a request is charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// A visitor with nothing to show, by network.
    New(Network),
    /// A valid place.
    Place(Id128),
    /// A valid pass.
    Pass(Id128),
    /// Unguarded paths and shared documents, by network.
    Open(Network),
    /// A code that was typed, by network: right or wrong, so that guessing is slow.
    Code(Network),
    /// The same by the place that is to get better.
    CodeOf(Id128),
}

impl Budget {
    /// The name used in metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::New(_) => "new",
            Self::Place(_) => "place",
            Self::Pass(_) => "pass",
            Self::Open(_) => "open",
            Self::Code(_) | Self::CodeOf(_) => "code",
        }
    }
}

/// The kinds of budget.
pub struct Limits {
    new: Buckets<Network>,
    place: Buckets<Id128>,
    pass: Buckets<Id128>,
    open: Buckets<Network>,
    code: Buckets<Network>,
    code_of: Buckets<Id128>,
}

struct Buckets<K: Hash + Eq + Clone>(DefaultKeyedRateLimiter<K>);

impl<K: Hash + Eq + Clone> Buckets<K> {
    fn per_minute(count: NonZeroU32) -> Self {
        let burst = NonZeroU32::new(count.get() / 4).unwrap_or(NonZeroU32::MIN);
        Self(RateLimiter::keyed(Quota::per_minute(count).allow_burst(burst)))
    }

    fn check(&self, key: &K) -> Result<(), Later> {
        self.0
            .check_key(key)
            .map_err(|until| Later(until.wait_time_from(DefaultClock::default().now())))
    }

    fn forget_idle(&self) {
        self.0.retain_recent();
        self.0.shrink_to_fit();
    }
}

impl Limits {
    /// Buckets of these sizes.
    #[must_use]
    pub fn new(config: &LimitsConfig) -> Self {
        Self {
            new: Buckets::per_minute(config.new_per_minute),
            place: Buckets::per_minute(config.place_per_minute),
            pass: Buckets::per_minute(config.pass_per_minute),
            open: Buckets::per_minute(config.open_per_minute),
            code: Buckets::per_minute(config.codes_per_minute),
            code_of: Buckets::per_minute(config.codes_per_minute),
        }
    }

    /// Charges one request.
    ///
    /// # Errors
    /// If the budget is used up.
    pub fn charge(&self, budget: Budget) -> Result<(), Later> {
        match budget {
            Budget::New(network) => self.new.check(&network),
            Budget::Place(sub) => self.place.check(&sub),
            Budget::Pass(sub) => self.pass.check(&sub),
            Budget::Open(network) => self.open.check(&network),
            Budget::Code(network) => self.code.check(&network),
            Budget::CodeOf(sub) => self.code_of.check(&sub),
        }
    }

    /// Forgets whoever has not asked lately. Takes tens of milliseconds with a million keys, so it
    /// runs on a thread where it may block.
    pub fn forget_idle(&self) {
        self.new.forget_idle();
        self.place.forget_idle();
        self.pass.forget_idle();
        self.open.forget_idle();
        self.code.forget_idle();
        self.code_of.forget_idle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_does_not_use_up_anothers_budget() {
        let limits = Limits::new(&LimitsConfig::default());
        let network = |text: &str| Network::of(text.parse().unwrap());
        let (busy, calm) = (network("198.51.100.7"), network("198.51.100.8"));
        let allowed = (0..1000).take_while(|_| limits.charge(Budget::New(busy)).is_ok()).count();
        assert!((25..=30).contains(&allowed), "{allowed}");
        assert!(limits.charge(Budget::New(busy)).is_err_and(|later| later.0.as_secs() < 60));
        assert_eq!(limits.charge(Budget::New(calm)), Ok(()));
        assert_eq!(limits.charge(Budget::Open(busy)), Ok(()));
    }
}
