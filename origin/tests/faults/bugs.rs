//! Do the planted bugs do what they say? A history checker is proved by finding them.

use servers::Postgres;

use crate::support::{Heard, World, eventually};

/// Of those who want one seat at once, how many got it.
async fn winners(world: &World, node: &crate::support::Node, seat: u32, visitors: usize) -> usize {
    let wanting = (0..visitors).map(|_| async {
        let visitor = world.visitor();
        visitor.hold(node, &[seat]).await.is_done()
    });
    let won = futures_util::future::join_all(wanting).await;
    won.into_iter().filter(|has_it| *has_it).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_before_lock_sells_a_seat_twice() {
    let world = World::sqlite();
    let mut node = world.node();
    node.start_with(&world, "ORIGIN_PLANTED_BUG=read-before-lock").await;
    let mut most = 0;
    for _ in 0..20 {
        most = most.max(winners(&world, &node, world.fresh_seat(), 20).await);
    }
    assert!(most > 1, "every seat had one owner");
    // And without it, never.
    let world = World::sqlite();
    let mut node = world.node();
    node.start(&world).await;
    for _ in 0..5 {
        assert_eq!(winners(&world, &node, world.fresh_seat(), 20).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answer_before_sync_acknowledges_what_a_kill_forgets() {
    let world = World::sqlite();
    let mut node = world.node();
    let env = "ORIGIN_PLANTED_BUG=answer-before-sync ORIGIN_FAILPOINTS=append-begun:1:kill";
    node.start_with(&world, env).await;
    let (ana, seat) = (world.visitor(), world.fresh_seat());
    let hold = ana.hold(&node, &[seat]).await.done();
    eventually("it dies", async || node.has_ended()).await;
    node.start(&world).await;
    let seen = ana.view(&node, hold["hold"].as_str().unwrap()).await;
    assert_eq!(seen, Heard::No(404, "unknown-hold".into()), "it was told, and it is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_dedupe_gives_another_answer_to_the_same_key() {
    let world = World::sqlite();
    let mut node = world.node();
    node.start_with(&world, "ORIGIN_PLANTED_BUG=drop-dedupe").await;
    let ana = world.visitor();
    let hold = ana.hold(&node, &[world.fresh_seat()]).await.done();
    let id = hold["hold"].as_str().unwrap();
    let first = ana.buy(&node, id, "key", "tok_ok").await.done();
    let again = ana.buy(&node, id, "key", "tok_ok").await;
    assert_ne!(again, Heard::Done(first));
}

/// What a frozen owner answers for a seat that somebody else has sold meanwhile.
async fn late_answer(rows: &str) -> Heard {
    let world = World::postgres(Postgres::shared().database());
    let more = format!("postgres.rows = \"{rows}\"");
    let mut owner = world.member_with(&more);
    let env = "ORIGIN_PLANTED_BUG=skip-epoch-check ORIGIN_FAILPOINTS=append-begun:1:stop";
    owner.start_with(&world, env).await;
    let visitor = world.visitor();
    eventually("it serves", async || visitor.availability(&owner).await.is_done()).await;
    let mut other = world.member_with(&more);
    other.start(&world).await;
    let (ana, ben, seats) = (world.visitor(), world.visitor(), [world.fresh_seat()]);
    let meanwhile = async {
        eventually("the owner freezes", async || owner.is_frozen()).await;
        eventually("the other sells it", async || ben.hold(&other, &seats).await.is_done()).await;
        owner.resume();
    };
    let (heard, ()) = tokio::join!(ana.hold(&owner, &seats), meanwhile);
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_skipped_epoch_check_sells_what_is_sold_unless_the_rows_forbid_it() {
    let heard = late_answer("fast").await;
    assert!(heard.is_done(), "both were told that it is theirs: {heard:?}");
    let heard = late_answer("strict").await;
    assert_eq!(heard, Heard::No(503, "unavailable".into()), "the rows are a guard of their own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_paying_frees_seats_that_are_being_paid() {
    let world = World::sqlite();
    let mut node = world.node_with("sale.hold_secs = 1\nsandbox.slow_ms = 4000");
    node.start_with(&world, "ORIGIN_PLANTED_BUG=expire-paying").await;
    let (ana, ben, seat) = (world.visitor(), world.visitor(), world.fresh_seat());
    let hold = ana.hold(&node, &[seat]).await.done();
    let id = hold["hold"].as_str().unwrap();
    let paying = ana.buy(&node, id, "key", "tok_slow");
    let meanwhile = async {
        eventually("somebody else gets it", async || ben.hold(&node, &[seat]).await.is_done())
            .await;
    };
    let (heard, ()) = tokio::join!(paying, meanwhile);
    assert!(!heard.is_done(), "it is Ben's: {heard:?}");
}
