//! Which process takes which partition, and where is the one that a request is for?
//!
//! Everybody who is alive sees the same members and holders and computes the same plan from them,
//! so nobody has to be asked. Views may differ for a moment: then two want the same partition, and
//! the store gives it to one. What is held stays where it is until somebody has too little.

mod keeper;
mod members;

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::log::PartitionId;

pub use keeper::{Keeper, KeeperParts, Nudge, OpenLog};
pub use members::Members;

/// Where a partition is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In this process.
    Here,
    /// In the process that is reached there.
    There(String),
    /// Nobody has it at the moment.
    Nowhere,
}

/// Where all partitions are, as far as we know.
#[derive(Debug)]
pub struct Places(watch::Sender<Vec<Place>>);

impl Places {
    /// None of that many anywhere yet.
    #[must_use]
    pub fn unknown(partitions: u32) -> Self {
        Self(watch::Sender::new(vec![Place::Nowhere; partitions as usize]))
    }

    /// Where one is.
    #[must_use]
    pub fn of(&self, partition: PartitionId) -> Place {
        self.0.borrow().get(partition as usize).cloned().unwrap_or(Place::Nowhere)
    }

    /// Waits until one is elsewhere than `known`; forever if it stays.
    pub async fn moved(&self, partition: PartitionId, known: &Place) {
        let mut places = self.0.subscribe();
        let is_moved = |all: &Vec<Place>| all.get(partition as usize) != Some(known);
        // It fails only when the sender is gone, and that is ourselves.
        let _ = places.wait_for(is_moved).await;
    }

    /// The other processes that have partitions.
    #[must_use]
    pub fn others(&self) -> BTreeSet<String> {
        let all = self.0.borrow();
        let others = all.iter().filter_map(|place| match place {
            Place::There(addr) => Some(addr.clone()),
            Place::Here | Place::Nowhere => None,
        });
        others.collect()
    }

    /// How many are not somebody else's: so many writers should be up here.
    #[must_use]
    pub fn ours(&self) -> u32 {
        let all = self.0.borrow();
        let ours = all.iter().filter(|place| !matches!(place, Place::There(_))).count();
        u32::try_from(ours).unwrap_or(u32::MAX)
    }

    fn set(&self, places: Vec<Place>) {
        self.0.send_if_modified(|known| {
            let is_new = *known != places;
            *known = places;
            is_new
        });
    }
}

/// What one process does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Claim a partition that nobody has.
    Take(PartitionId),
    /// Give one back, because somebody else has too little.
    Give(PartitionId),
}

/// The steps of `me`, given who is alive and who holds each partition; whoever holds one is alive.
#[must_use]
pub fn steps(me: &str, alive: &BTreeSet<String>, holders: &[Option<String>]) -> Vec<Step> {
    let mut load: BTreeMap<&str, usize> = alive.iter().map(|addr| (addr.as_str(), 0)).collect();
    load.entry(me).or_default();
    for holder in holders.iter().flatten() {
        *load.entry(holder).or_default() += 1;
    }
    let least = holders.len() / load.len();
    let most = holders.len().div_ceil(load.len());
    let free: Vec<PartitionId> =
        (0..).zip(holders).filter(|(_, holder)| holder.is_none()).map(|(p, _)| p).collect();
    if free.is_empty() {
        return give(me, &load, holders, least).into_iter().collect();
    }
    let mut mine = Vec::new();
    for partition in free {
        let below = |limit: usize| {
            let those = load.iter().filter(move |(_, count)| **count < limit);
            those.map(|(addr, _)| *addr).max_by_key(|addr| rank(addr, partition))
        };
        let Some(taker) = below(least).or_else(|| below(most)) else { continue };
        *load.entry(taker).or_default() += 1;
        if taker == me {
            mine.push(Step::Take(partition));
        }
    }
    mine
}

/// Of those who have most, the last by name gives one, as long as somebody has too little: one at
/// a time, so that a plan is never overtaken by another.
fn give(
    me: &str,
    load: &BTreeMap<&str, usize>,
    holders: &[Option<String>],
    least: usize,
) -> Option<Step> {
    let richest = load.iter().max_by_key(|(addr, count)| (**count, **addr))?;
    let is_needed = load.values().any(|count| *count < least);
    if *richest.0 != me || !is_needed {
        return None;
    }
    let mine = (0..).zip(holders).filter(|(_, holder)| holder.as_deref() == Some(me));
    mine.map(|(partition, _)| partition).min_by_key(|p| rank(me, *p)).map(Step::Give)
}

/// Rendezvous hash: a process that comes or goes changes nobody else's rank.
fn rank(addr: &str, partition: PartitionId) -> [u8; 32] {
    Sha256::new().chain_update(partition.to_be_bytes()).chain_update(addr).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets everybody carry out their steps until nobody has any: how many steps there were.
    fn settle(alive: &[&str], holders: &mut [Option<String>]) -> usize {
        let alive: BTreeSet<String> = alive.iter().map(|addr| (*addr).to_owned()).collect();
        let mut taken = 0;
        for round in 0.. {
            assert!(round < 1000, "they never agree: {holders:?}");
            let seen = holders.to_vec();
            let before = taken;
            for me in &alive {
                for step in steps(me, &alive, &seen) {
                    taken += 1;
                    match step {
                        Step::Take(p) => {
                            let holder = &mut holders[p as usize];
                            assert_eq!(*holder, None, "two want {p} with the same view");
                            *holder = Some(me.clone());
                        }
                        Step::Give(p) => holders[p as usize] = None,
                    }
                }
            }
            if taken == before {
                return taken;
            }
        }
        unreachable!()
    }

    fn loads(holders: &[Option<String>]) -> Vec<usize> {
        let mut loads: BTreeMap<&str, usize> = BTreeMap::new();
        for holder in holders.iter().flatten() {
            *loads.entry(holder).or_default() += 1;
        }
        loads.into_values().collect()
    }

    #[test]
    fn everybody_gets_a_fair_share_and_keeps_it() {
        for partitions in 1..=17_usize {
            for count in 1..=5_usize {
                let all = ["a", "b", "c", "d", "e"];
                let mut holders = vec![None; partitions];
                // They come one after the other.
                for alive in 1..=count {
                    settle(&all[..alive], &mut holders);
                    assert!(holders.iter().all(Option::is_some), "{holders:?}");
                    let loads = loads(&holders);
                    let (least, most) = (loads.iter().min(), loads.iter().max());
                    let (least, most) = (least.copied().unwrap(), most.copied().unwrap());
                    let is_fair = most - least <= 1 && loads.len() == alive.min(partitions);
                    assert!(is_fair, "{partitions} among {alive}: {loads:?}");
                }
                assert_eq!(settle(&all[..count], &mut holders), 0, "nothing moves without need");
            }
        }
    }

    #[test]
    fn what_a_dead_process_held_is_taken_and_nothing_else_moves() {
        let all = ["a", "b", "c"];
        let mut holders = vec![None; 12];
        settle(&all, &mut holders);
        let before = holders.clone();
        for holder in holders.iter_mut().filter(|holder| holder.as_deref() == Some("b")) {
            *holder = None;
        }
        settle(&["a", "c"], &mut holders);
        assert_eq!(loads(&holders), [6, 6]);
        for (was, is) in before.iter().zip(&holders).filter(|(was, _)| was.as_deref() != Some("b"))
        {
            assert_eq!(was, is, "what was held stays");
        }
    }

    #[test]
    fn a_newcomer_gets_its_share_one_at_a_time() {
        let mut holders = vec![Some("a".to_owned()); 4];
        let alive = ["a", "b"].map(str::to_owned).into();
        assert_eq!(steps("b", &alive, &holders), []);
        let given = steps("a", &alive, &holders);
        assert!(matches!(given[..], [Step::Give(_)]), "{given:?}");
        settle(&["a", "b"], &mut holders);
        assert_eq!(loads(&holders), [2, 2]);
    }
}
