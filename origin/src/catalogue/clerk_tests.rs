use std::time::Duration;

use keys::{EventId, Slug};

use super::*;
use crate::catalogue::facts::{PerformerDraft, VenueDraft};
use crate::catalogue::{Expect, Item, Sources, Status, items};
use crate::log::{Fault, MemoryLog};
use crate::steady::Reading;

fn clock() -> Clock {
    Arc::new(|| Reading { wall: Timestamp::now(), elapsed: Duration::ZERO })
}

fn setup(log: &MemoryLog) -> ClerkSetup {
    let log = Log::Memory(log.clone());
    ClerkSetup { owner: "origin-1".parse().unwrap(), log, clock: clock() }
}

struct Running {
    clerk: Clerk,
    catalogue: Arc<Catalogue>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(log: &MemoryLog, first: impl IntoIterator<Item = Command>) -> Self {
        let (clerk, catalogue, thread) = Clerk::start(setup(log), first).unwrap();
        Self { clerk, catalogue, thread: Some(thread) }
    }

    async fn add(&self, name: &str) -> Result<u64, AskError> {
        let facts = PerformerDraft { name: name.to_owned() }.check().unwrap();
        let id: Slug = name.to_lowercase().parse().unwrap();
        let command = Command::SetPerformer { id, facts, expect: Expect::Absent };
        self.clerk.ask("ana", command).await.map(|(_, seq)| seq)
    }

    fn knows(&self, name: &str) -> bool {
        self.catalogue.read().performer(&name.parse().unwrap()).is_some()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.clerk.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart_with_who_did_it() {
    let log = MemoryLog::default();
    let first = Running::start(&log, imports(items(&Sources::default()).unwrap()));
    let imported = first.catalogue.read().seq();
    assert_eq!(imported, 16 + 48 + 104);
    first.add("Ana").await.unwrap();
    drop(first);
    let again = Running::start(&log, imports(items(&Sources::default()).unwrap()));
    assert!(again.knows("ana"));
    assert_eq!(again.catalogue.read().seq(), imported + 1, "the same import changes nothing");
    let audited = again.clerk.audit(imported - 1, 10).await.unwrap();
    let by: Vec<_> = audited.iter().map(|a| (a.seq, a.entry.by.as_str())).collect();
    assert_eq!(by, [(imported - 1, "configuration"), (imported, "ana")]);
}

#[tokio::test]
async fn two_processes_write_in_turn_and_see_each_other() {
    let log = MemoryLog::default();
    let (one, two) = (Running::start(&log, []), Running::start(&log, []));
    for round in 0..5 {
        one.add(&format!("one{round}")).await.unwrap();
        two.add(&format!("two{round}")).await.unwrap();
    }
    let exists = one.add("two4").await.unwrap_err();
    assert!(matches!(exists, AskError::Refused(Refusal::Exists(_))), "{exists}");
    // Who does not write hears of it by itself.
    let mut changes = two.catalogue.changes();
    one.add("last").await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), async {
        while !two.knows("last") {
            changes.changed().await.unwrap();
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_append_of_unknown_outcome_is_looked_up_in_the_log() {
    for fault in [Fault::WrittenUnheard, Fault::Lost, Fault::Fenced] {
        let log = MemoryLog::default();
        let running = Running::start(&log, []);
        log.inject(fault);
        running.add("ana").await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert!(running.knows("ana"));
        let twice = running.add("ana").await.unwrap_err();
        assert!(matches!(twice, AskError::Refused(Refusal::Exists(_))), "{fault:?}: {twice}");
    }
}

#[tokio::test]
async fn an_event_goes_on_sale_by_itself_at_its_time() {
    let log = MemoryLog::default();
    let running = Running::start(&log, imports(items(&Sources::default()).unwrap()));
    let event: EventId = "wc2026-final".parse().unwrap();
    let status = Status::Scheduled { opens_at: Timestamp::now().plus(Duration::from_millis(300)) };
    let mut changes = running.catalogue.changes();
    let set = Command::SetStatus { id: event.clone(), status, expect: None };
    running.clerk.ask("ana", set).await.unwrap();
    let is_on_sale = || running.catalogue.event(&event).unwrap().status == Status::OnSale;
    assert!(!is_on_sale());
    tokio::time::timeout(Duration::from_secs(10), async {
        while !is_on_sale() {
            changes.changed().await.unwrap();
        }
    })
    .await
    .unwrap();
}

#[test]
fn a_damaged_log_is_not_started_from() {
    let facts = VenueDraft {
        name: "Dome".into(),
        city: "Rome".into(),
        country: "IT".into(),
        capacity: None,
    };
    let item = Item::Venue { id: "dome".parse().unwrap(), facts: facts.check().unwrap() };
    let log = MemoryLog::default();
    drop(Running::start(&log, imports(vec![item])));
    log.corrupt_last();
    let error = Clerk::start(setup(&log), []).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("catalogue"), "{error}");
}
