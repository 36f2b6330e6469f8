//! Several processes share a PostgreSQL: one owns the event, the other passes on and takes over.

use std::time::Instant;

use reqwest::Method;
use servers::Postgres;

use crate::support::{Heard, LEASE, Memory, Node, Wire, World, eventually};

/// The process that has the event and the one that has not.
async fn owner_and_other(world: &World) -> (Node, Node) {
    let (mut owner, mut other) = (world.member(), world.member());
    owner.start(world).await;
    other.start(world).await;
    assert_eq!(owner.metric(world, "origin_partitions_up").await, Some(1.0));
    assert_eq!(other.metric(world, "origin_partitions_up").await, Some(0.0));
    (owner, other)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_asked_the_sale_is_the_same() {
    let world = World::postgres(Postgres::shared().database());
    let (owner, other) = owner_and_other(&world).await;
    let memory = Memory::default();
    assert_eq!(memory.shop(&world, &other, 3).await, 3);
    assert_eq!(memory.shop(&world, &owner, 3).await, 3);
    assert_eq!(memory.check(&owner).await, 6);
    assert_eq!(memory.check(&other).await, 6, "holds and orders can be seen at either");
    let (ana, ben) = (world.visitor(), world.visitor());
    let seat = world.fresh_seat();
    let hold = ana.hold(&other, &[seat]).await.done();
    let taken = ben.hold(&owner, &[seat]).await;
    assert_eq!(taken, Heard::No(409, "seat-taken".into()));
    assert_eq!(ben.hold(&other, &[seat]).await, taken, "refusals are passed on as they are");
    assert!(ana.release(&other, hold["hold"].as_str().unwrap()).await.is_done());
    assert!(ben.hold(&owner, &[seat]).await.is_done());
    let same = ana.availability(&owner).await.done();
    assert_eq!(ana.availability(&other).await.done(), same);
    let passed_on = other.metric(&world, "origin_passed_on_total{outcome=\"answered\"}").await;
    assert!(passed_on.is_some_and(|count| count > 10.0), "{passed_on:?}");
}

/// The controller may ask any process for the load of all; one that is frozen is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_load_of_all_is_told_by_any_and_names_who_does_not_answer() {
    let world = World::postgres(Postgres::shared().database());
    let (owner, other) = owner_and_other(&world).await;
    let memory = Memory::default();
    assert_eq!(memory.shop(&world, &other, 3).await, 3);
    let load = async |node: &Node| {
        node.operator(&world, Method::GET, "/internal/v1/load", None).await.done()
    };
    for node in [&owner, &other] {
        let load = load(node).await;
        assert_eq!(load["stock"].as_array().unwrap().len(), 1, "{load}");
        assert!(load.get("missing").is_none(), "{load}");
    }
    // Asked before its lease is over: nobody knows more then.
    owner.freeze();
    let of_other = load(&other).await;
    assert_eq!(of_other["missing"].as_array().unwrap().len(), 1, "{of_other}");
    assert_eq!(of_other["stock"], serde_json::json!([]), "nobody guesses");
    owner.resume();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_owner_had_acknowledged_the_next_one_has() {
    let world = World::postgres(Postgres::shared().database());
    let (mut owner, other) = owner_and_other(&world).await;
    let memory = Memory::default();
    memory.rush(&world, &owner, 3, 4).await;
    owner.kill();
    let since = Instant::now();
    let visitor = world.visitor();
    let seat = world.fresh_seat();
    eventually("the other takes over", async || {
        match visitor.hold(&other, &[seat]).await {
            Heard::Done(_) => true,
            // It may have happened unheard.
            Heard::No(409, _) => true,
            open => {
                assert!(open.is_open(), "{open:?}");
                false
            }
        }
    })
    .await;
    println!("taken over after {:?}, with a lease of {LEASE:?}", since.elapsed());
    assert_eq!(memory.check(&other).await, 12);
    // It comes back, under its address, to a partition that is the other's now.
    owner.start(&world).await;
    assert_eq!(memory.check(&owner).await, 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_dies_taking_over_leaves_it_to_the_next() {
    for place in ["takeover-begun", "takeover-claimed"] {
        let world = World::postgres(Postgres::shared().database());
        let mut owner = world.member();
        owner.start(&world).await;
        let memory = Memory::default();
        memory.rush(&world, &owner, 2, 3).await;
        let mut heir = world.member();
        heir.start_with(&world, &format!("ORIGIN_FAILPOINTS={place}:1:kill")).await;
        owner.kill();
        eventually("the heir dies", async || heir.has_ended()).await;
        heir.start(&world).await;
        assert_eq!(memory.check(&heir).await, 6, "{place}");
    }
}

/// The owner freezes in the middle of a batch for longer than its lease, the other takes over and
/// sells the seats, and the owner wakes up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_owner_confirms_nothing_when_it_wakes() {
    let world = World::postgres(Postgres::shared().database());
    let mut owner = world.member();
    let seats: Vec<u32> = (0..4).map(|_| world.fresh_seat()).collect();
    owner.start_with(&world, "ORIGIN_FAILPOINTS=append-begun:3:stop").await;
    let visitor = world.visitor();
    eventually("it serves", async || visitor.availability(&owner).await.is_done()).await;
    let mut other = world.member();
    other.start(&world).await;
    let early = [world.visitor(), world.visitor()];
    for visitor in &early {
        assert!(visitor.hold(&owner, &[world.fresh_seat()]).await.is_done());
    }
    let ana = world.visitor();
    let waiting = ana.hold(&owner, &seats);
    let meanwhile = async {
        eventually("the owner freezes", async || owner.is_frozen()).await;
        let ben = world.visitor();
        eventually("the other sells them", async || {
            let heard = ben.hold(&other, &seats).await;
            assert!(heard.is_done() || heard.is_open(), "{heard:?}");
            heard.is_done()
        })
        .await;
        owner.resume();
    };
    let (heard, ()) = tokio::join!(waiting, meanwhile);
    assert_eq!(heard, Heard::No(503, "unavailable".into()), "never 201: they are Ben's");
    eventually("it notices", async || owner.log().contains("was taken over")).await;
    // It passes on from now on, and gives the same answer as the new owner.
    let visitor = world.visitor();
    let taken = Heard::No(409, "seat-taken".into());
    eventually("the old owner passes on", async || visitor.hold(&owner, &seats).await == taken)
        .await;
    assert_eq!(visitor.hold(&other, &seats).await, taken);
}

/// The owner lives, and visitors reach it, but not a word goes between it and the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_is_cut_off_from_its_database_confirms_nothing_and_another_takes_over() {
    let url = Postgres::shared().database();
    let wire = Wire::to(&url).await;
    let world = World::postgres(url);
    let mut owner = world.member_behind(&wire);
    owner.start(&world).await;
    let memory = Memory::default();
    memory.rush(&world, &owner, 2, 3).await;
    let mut other = world.member();
    other.start(&world).await;
    wire.cut();
    let seats = [world.fresh_seat(), world.fresh_seat()];
    let (ana, ben) = (world.visitor(), world.visitor());
    let waiting = ana.hold(&owner, &seats);
    let meanwhile = async {
        eventually("the other sells them", async || {
            let heard = ben.hold(&other, &seats).await;
            assert!(heard.is_done() || heard.is_open(), "{heard:?}");
            heard.is_done()
        })
        .await;
        // The lease is over, and who lost it knows without being told.
        let late = world.visitor().hold(&owner, &[world.fresh_seat()]).await;
        assert!(late.is_open(), "it serves nobody: {late:?}");
    };
    let (heard, ()) = tokio::join!(waiting, meanwhile);
    assert!(heard.is_open(), "never a success: they are Ben's: {heard:?}");
    assert_eq!(memory.check(&other).await, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_is_told_to_stop_hands_over_before_its_lease_ends() {
    let world = World::postgres(Postgres::shared().database());
    let (mut owner, other) = owner_and_other(&world).await;
    let memory = Memory::default();
    memory.rush(&world, &owner, 2, 3).await;
    let sent = std::process::Command::new("kill").arg(owner.pid().to_string()).status();
    assert!(sent.unwrap().success());
    eventually("it ends", async || owner.has_ended()).await;
    owner.kill();
    let visitor = world.visitor();
    eventually("the other serves", async || visitor.availability(&other).await.is_done()).await;
    assert_eq!(memory.check(&other).await, 6);
}
