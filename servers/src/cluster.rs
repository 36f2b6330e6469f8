//! A Redis Cluster of a few masters that share all slots.

use std::time::{Duration, Instant};

use crate::process::free_port;
use crate::redis::Redis;

/// Slots of every Redis Cluster.
const SLOTS: usize = 16_384;
/// How long the nodes may take to agree.
const AGREE_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Masters without replicas, running until it is dropped.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts it and waits until every node says that all slots are served.
    ///
    /// # Panics
    /// If Redis is not installed, or the nodes do not agree.
    #[must_use]
    pub fn start(masters: usize) -> Self {
        let bus_ports: Vec<String> = (0..masters).map(|_| free_port().to_string()).collect();
        let node = |bus_port: &String| {
            let settings = [
                ("cluster-enabled", "yes"),
                ("cluster-node-timeout", "2000"),
                ("cluster-require-full-coverage", "no"),
                ("cluster-port", bus_port),
            ];
            Redis::start_with(&settings)
        };
        let nodes: Vec<Redis> = bus_ports.iter().map(node).collect();
        let (first, first_port) = (&nodes[0], nodes[0].port().to_string());
        for (at, node) in nodes.iter().enumerate() {
            let from = (SLOTS * at / masters).to_string();
            let to = (SLOTS * (at + 1) / masters - 1).to_string();
            node.command(&["cluster", "addslotsrange", &from, &to]);
            // Each node has an epoch of its own, or they would have to settle that first.
            node.command(&["cluster", "set-config-epoch", &(at + 1).to_string()]);
            if node.port() != first.port() {
                node.command(&["cluster", "meet", "127.0.0.1", &first_port, &bus_ports[0]]);
            }
        }
        let cluster = Self { nodes };
        cluster.until_all_agree();
        cluster
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// The node that serves the slot of this key, to be stopped and started.
    ///
    /// # Panics
    /// If the nodes do not say which slot it is.
    pub fn node_of(&mut self, key: &str) -> &mut Redis {
        let slot = self.nodes[0].command(&["cluster", "keyslot", key]);
        let slot: usize = slot.parse().expect("a slot is a number");
        let masters = self.nodes.len();
        let at = (0..masters).find(|at| slot < SLOTS * (at + 1) / masters);
        &mut self.nodes[at.expect("all slots are served")]
    }

    /// Waits until every node says that all slots are served by nodes that it can reach.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn until_all_agree(&self) {
        let deadline = Instant::now() + AGREE_TIMEOUT;
        let agrees = |node: &Redis| {
            let info = node.command(&["cluster", "info"]);
            let has = |line: &str| info.lines().any(|said| said.trim() == line);
            has("cluster_state:ok")
                && has(&format!("cluster_slots_ok:{SLOTS}"))
                && has(&format!("cluster_known_nodes:{}", self.nodes.len()))
        };
        while !self.nodes.iter().all(agrees) {
            assert!(Instant::now() < deadline, "the nodes of the cluster do not agree");
            std::thread::sleep(LOOK_PAUSE);
        }
    }
}
