//! How many connections are open, in all and by network, and that there are not too many: idle ones
//! cost an attacker nothing, and us about 12 KB each.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::IntGauge;

use crate::client::Network;

/// Counts connections.
pub struct Connections {
    open: Mutex<Open>,
    total_max: usize,
    per_network_max: usize,
    gauge: IntGauge,
}

#[derive(Default)]
struct Open {
    total: usize,
    by_network: HashMap<Network, usize>,
}

/// Why a connection is one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooMany {
    /// There are as many as this edge bears.
    InAll,
    /// This network has as many as one may have.
    OfNetwork,
}

/// A connection that is counted as long as this is there.
pub struct Counted {
    connections: Arc<Connections>,
    network: Option<Network>,
}

impl Connections {
    /// At most so many.
    #[must_use]
    pub fn new(total_max: usize, per_network_max: usize, gauge: IntGauge) -> Self {
        Self { open: Mutex::default(), total_max, per_network_max, gauge }
    }

    /// Counts a connection; one of no network comes from a proxy that we believe, which carries
    /// those of many.
    ///
    /// # Errors
    /// If it is one too many.
    pub fn count(self: &Arc<Self>, network: Option<Network>) -> Result<Counted, TooMany> {
        let mut open = self.open.lock();
        if open.total >= self.total_max {
            return Err(TooMany::InAll);
        }
        if let Some(network) = network {
            let of_network = open.by_network.entry(network).or_default();
            if *of_network >= self.per_network_max {
                return Err(TooMany::OfNetwork);
            }
            *of_network += 1;
        }
        open.total += 1;
        self.gauge.inc();
        Ok(Counted { connections: Arc::clone(self), network })
    }
}

impl TooMany {
    /// For metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::InAll => "full",
            Self::OfNetwork => "network_full",
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        open.total -= 1;
        self.connections.gauge.dec();
        let Some(network) = self.network else { return };
        if let Some(of_network) = open.by_network.get_mut(&network) {
            *of_network -= 1;
            if *of_network == 0 {
                open.by_network.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_leaves_room_for_others_and_what_ends_makes_room() {
        let gauge = IntGauge::new("open", "Open.").unwrap();
        let connections = Arc::new(Connections::new(4, 2, gauge.clone()));
        let network = |text: &str| Some(Network::of(text.parse().unwrap()));
        let count = |network| connections.count(network);
        let busy = network("198.51.100.7");
        let first = count(busy).ok().unwrap();
        let second = count(busy).ok().unwrap();
        assert_eq!(count(busy).err(), Some(TooMany::OfNetwork));
        let calm = count(network("198.51.101.7")).ok().unwrap();
        let proxied = count(None).ok().unwrap();
        assert_eq!(count(None).err(), Some(TooMany::InAll));
        assert_eq!(gauge.get(), 4);
        drop(first);
        let third = count(busy).ok().unwrap();
        drop((second, third, calm, proxied));
        assert_eq!(gauge.get(), 0);
        assert!(connections.open.lock().by_network.is_empty());
    }
}
