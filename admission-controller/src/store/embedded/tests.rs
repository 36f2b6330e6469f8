//! The promises on a real file, and what only an embedded store can get wrong.

use std::path::PathBuf;
use std::process::Command;

use keys::{Id128, Lane};
use prometheus::HistogramOpts;

use super::super::{Entry, EntryKind, Store, suite};
use super::review::DECISIONS_MAX;
use super::*;

/// Tells the test below that it is the process that is to die.
const DYING_IN: &str = "ADMISSION_STORE_DYING_IN";

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn edge() -> keys::Owner {
    "edge-1".parse().unwrap()
}

fn directory() -> PathBuf {
    std::env::temp_dir().join(format!("admission-store-{}", Id128::random()))
}

fn open(directory: &Path) -> Store {
    let commits = Histogram::with_opts(HistogramOpts::new("commits", "Commits.")).unwrap();
    Store::embedded(directory, commits, Timestamp::from_secs(1_800_000_000)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_keeps_its_promises() {
    let directory = directory();
    suite::keeps_its_promises(async || open(&directory)).await;
    std::fs::remove_dir_all(directory).unwrap();
}

/// Runs itself as a process of its own, which is killed between two operations.
#[tokio::test]
async fn what_was_answered_survives_a_killed_process() {
    if let Some(directory) = std::env::var_os(DYING_IN) {
        let store = open(Path::new(&directory));
        let line = suite::room(&store, "killed").await;
        store.lease(line.clone(), Lane::Standard, 42, edge(), NOW).await.unwrap();
        store.lease(line.clone(), Lane::Standard, 8, edge(), NOW).await.unwrap();
        for visitor in 1..=50 {
            let record = suite::record(visitor);
            store.claim(line.clone(), record, Timestamp::from_secs(1_800_000_000)).await.unwrap();
        }
        std::process::abort();
    }
    let directory = directory();
    let killed = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::embedded::tests::what_was_answered_survives_a_killed_process"])
        .env(DYING_IN, &directory)
        .output()
        .unwrap();
    assert!(!killed.status.success(), "it was to be killed");
    let store = open(&directory);
    let status = store.status(NOW).await.unwrap().rooms;
    assert_eq!((status[0].inside, status[0].issued), (50, [0, 50, 0]));
    store.close().await;
    std::fs::remove_dir_all(directory).unwrap();
}

/// A store whose thread waits, so that what is asked meanwhile comes into one transaction.
async fn busy(store: &Store) -> std::sync::mpsc::Sender<()> {
    let Store::Embedded(embedded) = store.clone() else { panic!() };
    let (go, wait) = std::sync::mpsc::channel();
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        let job = embedded.run(move |_, _| {
            let _ = tell.send(());
            let _ = wait.recv();
            Ok(())
        });
        job.await.unwrap();
    });
    told.await.unwrap();
    go
}

/// Waits until so many messages lie before the store's thread.
async fn until_queued(store: &Embedded, count: usize) {
    let queued = async {
        while store.jobs.max_capacity() - store.jobs.capacity() < count {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), queued).await;
    assert!(waited.is_ok(), "{count} messages were never queued");
}

#[tokio::test]
async fn one_failed_operation_fails_no_other_and_leaves_nothing_behind() {
    let directory = directory();
    let store = open(&directory);
    let line = suite::room(&store, "failing").await;
    let Store::Embedded(embedded) = store.clone() else { panic!() };
    let go = busy(&store).await;
    let id = line.clone();
    let failing = embedded.run::<()>(move |memory, tx| {
        execute(tx, "UPDATE lanes SET issued = 999", [])?;
        memory.line(&id).unwrap().issued = [999; 3];
        Err(failed("no"))
    });
    let waiting = async {
        until_queued(&embedded, 2).await;
        go.send(()).unwrap();
    };
    let (first, failing, second, ()) = tokio::join!(
        store.lease(line.clone(), Lane::Standard, 10, edge(), NOW),
        failing,
        store.lease(line.clone(), Lane::Standard, 10, edge(), NOW),
        waiting
    );
    assert_eq!((first.unwrap(), second.unwrap()), (Some(1), Some(11)));
    assert!(matches!(failing, Err(StoreError::Failed(_))));
    store.close().await;
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn nothing_is_answered_when_the_database_takes_the_transaction_back() {
    let directory = directory();
    let store = open(&directory);
    let line = suite::room(&store, "taken-back").await;
    let Store::Embedded(embedded) = store.clone() else { panic!() };
    let go = busy(&store).await;
    // As a full disk does it, in the middle of an operation.
    let full = embedded.run(|_, tx| tx.execute_batch("ROLLBACK").map_err(failed));
    let waiting = async {
        until_queued(&embedded, 2).await;
        go.send(()).unwrap();
    };
    let (first, full, second, ()) = tokio::join!(
        store.lease(line.clone(), Lane::Standard, 10, edge(), NOW),
        full,
        store.lease(line.clone(), Lane::Standard, 10, edge(), NOW),
        waiting
    );
    assert!(first.is_err() && full.is_err() && second.is_err(), "{first:?} {full:?} {second:?}");
    assert_eq!(
        store.lease(line, Lane::Standard, 10, edge(), NOW).await.unwrap(),
        Some(1),
        "all is as before"
    );
    store.close().await;
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn what_people_did_outlives_a_flood_of_decisions() {
    let directory = directory();
    let store = open(&directory);
    let line = suite::room(&store, "log").await;
    let at = Timestamp::from_secs(1_800_000_000);
    let decision = Entry {
        at,
        event: line.event.clone(),
        kind: EntryKind::Pace,
        who: None,
        old_per_sec: None,
        new_per_sec: Some(1.0),
        binding: None,
        reason: "1 a second".into(),
        inputs: None,
    };
    let most = usize::try_from(DECISIONS_MAX).unwrap();
    store.append(vec![decision; most + 50]).await.unwrap();
    store.sweep(at).await.unwrap();
    let kept = store.entries(line.event.clone(), Some(0), u64::MAX).await.unwrap();
    assert_eq!(kept.len(), most + 1);
    assert_eq!(kept[0].entry.kind, EntryKind::Operator, "the room was created by somebody");
    store.close().await;
    std::fs::remove_dir_all(directory).unwrap();
}
