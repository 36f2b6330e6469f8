//! The process is killed at a named place, and started again.

use servers::Postgres;

use crate::support::{Memory, World, eventually};

/// Kills at a place when it is reached the n-th time, while visitors shop.
async fn killed_at(world: &World, place: &str, count: u32) {
    let memory = Memory::default();
    let mut node = world.node();
    node.start(world).await;
    memory.rush(world, &node, 1, 3).await;
    node.kill();
    node.start_with(world, &format!("ORIGIN_FAILPOINTS={place}:{count}:kill")).await;
    memory.rush(world, &node, 4, 100).await;
    eventually(&format!("it dies at {place}"), async || node.has_ended()).await;
    assert!(node.log().contains(&format!("failpoint {place}")), "{}", node.log());
    node.start(world).await;
    let told = memory.check(&node).await;
    assert!(told >= 3, "{place}: {told} were told something");
    // And the sale goes on.
    assert_eq!(memory.shop(world, &node, 3).await, 3);
    memory.check(&node).await;
}

const PLACES: [(&str, u32); 8] = [
    ("append-begun", 1),
    ("append-begun", 15),
    ("append-done", 1),
    ("append-done", 15),
    ("reply-begun", 15),
    ("snapshot-begun", 1),
    ("snapshot-encoded", 2),
    ("snapshot-done", 1),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_on_sqlite() {
    for (place, count) in PLACES {
        println!("{place} {count}");
        killed_at(&World::sqlite(), place, count).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_on_postgres() {
    for (place, count) in PLACES {
        println!("{place} {count}");
        killed_at(&World::postgres(Postgres::shared().database()), place, count).await;
    }
}
