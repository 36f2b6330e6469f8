//! The store breaks: PostgreSQL dies in the middle of commits, the disk is full, a file is torn.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::process::Command;
use std::time::Instant;

use servers::Postgres;

use crate::support::{Memory, World, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_dies_in_the_middle_of_commits_loses_nothing_acknowledged() {
    let mut postgres = Postgres::start();
    let world = World::postgres(postgres.database());
    let mut node = world.node();
    node.start(&world).await;
    let memory = Memory::default();
    for _ in 0..3 {
        memory.shop(&world, &node, 2).await;
        let shopping = memory.rush(&world, &node, 4, 200);
        let dying = tokio::task::spawn_blocking(move || {
            // Somewhere in the middle of it.
            std::thread::sleep(std::time::Duration::from_millis(150));
            postgres.stop_immediate();
            postgres
        });
        let ((), stopped) = tokio::join!(shopping, dying);
        postgres = stopped.unwrap();
        let visitor = world.visitor();
        let seat = world.fresh_seat();
        let heard = visitor.hold(&node, &[seat]).await;
        assert!(heard.is_open(), "without a log nothing is sold: {heard:?}");
        postgres.restart();
        eventually("it serves again", async || visitor.availability(&node).await.is_done()).await;
        memory.check(&node).await;
    }
    assert!(memory.check(&node).await > 6);
}

/// The primary dies in the middle of commits, its synchronous standby is promoted, and the origin finds
/// it under the other host of its address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_to_a_synchronous_standby_loses_nothing_acknowledged() {
    let mut primary = Postgres::start();
    let direct = primary.database();
    let standby = primary.standby();
    let (port, other) = (primary.port(), standby.port());
    let both = format!(":{port},127.0.0.1:{other}/");
    let url = direct.replace(&format!(":{port}/"), &both) + "?target_session_attrs=read-write";
    let world = World::postgres(url);
    let mut node = world.node();
    node.start(&world).await;
    let memory = Memory::default();
    memory.shop(&world, &node, 2).await;
    let shopping = memory.rush(&world, &node, 4, 200);
    let dying = tokio::task::spawn_blocking(move || {
        // Somewhere in the middle of it.
        std::thread::sleep(std::time::Duration::from_millis(150));
        primary.stop_immediate();
        primary
    });
    let ((), stopped) = tokio::join!(shopping, dying);
    let _primary = stopped.unwrap();
    let visitor = world.visitor();
    let heard = visitor.hold(&node, &[world.fresh_seat()]).await;
    assert!(heard.is_open(), "a standby that only follows sells nothing: {heard:?}");
    let promoted = tokio::task::spawn_blocking(move || {
        standby.promote();
        standby
    });
    let _standby = promoted.await.unwrap();
    let since = Instant::now();
    eventually("it serves again", async || visitor.availability(&node).await.is_done()).await;
    println!("served {:?} after the standby was promoted", since.elapsed());
    assert!(since.elapsed() < std::time::Duration::from_secs(10));
    assert!(memory.check(&node).await > 2);
    assert_eq!(memory.shop(&world, &node, 3).await, 3);
}

/// SQLite cannot grow its files any more: what a full disk and a failed write look like.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_sells_nothing_and_one_with_room_goes_on() {
    let world = World::sqlite();
    let mut node = world.node();
    node.start(&world).await;
    let memory = Memory::default();
    assert_eq!(memory.shop(&world, &node, 2).await, 2);
    node.kill();
    // The signal that a limit sends is left out, so that a write fails as on a full disk.
    node.start_with(&world, "--ignore-signal=XFSZ").await;
    limit_files(node.pid(), "200000");
    let sold = memory.shop(&world, &node, 500).await;
    assert!(sold < 500, "the disk was never full");
    let visitor = world.visitor();
    for _ in 0..3 {
        let seat = world.fresh_seat();
        let heard = visitor.hold(&node, &[seat]).await;
        assert!(!heard.is_done(), "nothing can be written: {heard:?}");
    }
    limit_files(node.pid(), "unlimited");
    eventually("it sells again", async || memory.shop(&world, &node, 1).await == 1).await;
    memory.check(&node).await;
    node.kill();
    node.start(&world).await;
    memory.check(&node).await;
}

fn limit_files(pid: u32, bytes: &str) {
    let args = ["--pid".to_owned(), pid.to_string(), format!("--fsize={bytes}:unlimited")];
    let limited = Command::new("prlimit").args(args).output().unwrap();
    assert!(limited.status.success(), "{limited:?}");
}

/// A write that the power interrupted: the last frames of the journal are cut or wrong. SQLite goes
/// back to its last whole commit, and we start there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_journal_comes_up_at_the_last_whole_record() {
    for is_cut in [true, false] {
        let world = World::sqlite();
        let mut node = world.node();
        node.start(&world).await;
        let memory = Memory::default();
        assert_eq!(memory.shop(&world, &node, 6).await, 6);
        node.kill();
        let wal = world.data().join("sale.sqlite-wal");
        let mut file = std::fs::OpenOptions::new().write(true).open(&wal).unwrap();
        let len = file.metadata().unwrap().len();
        assert!(len > 8192, "there is a journal: {len}");
        if is_cut {
            file.set_len(len - 1000).unwrap();
        } else {
            file.seek(SeekFrom::Start(len - 1000)).unwrap();
            file.write_all(&[0xff; 64]).unwrap();
        }
        drop(file);
        node.start(&world).await;
        // What the torn part held was never acknowledged unless the disk lied about its sync: then
        // it is gone, and this is what we say. All before it is there.
        assert!(node.log().contains("journal"), "{}", node.log());
        let torn = node.metric(&world, "origin_log_failures_total{kind=\"torn\"}").await;
        assert_eq!(torn, Some(1.0));
        assert_eq!(memory.shop(&world, &node, 2).await, 2);
    }
}
