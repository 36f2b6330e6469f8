//! Faults that a history checker must find, in tests and in builds with the feature `planted-bugs`
//! only. One is chosen by `ORIGIN_PLANTED_BUG`, or by a simulation for its own thread.

use std::cell::Cell;
use std::collections::BTreeMap;

use keys::{EventId, Id128, Timestamp};

use super::writer::Decided;
use crate::log::{Log, PartitionId};
use crate::record::{self, Entry, FIRST_LINK, Record};
use crate::sale::{Change, Command, Reply, State};

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// A record that is fenced off is written all the same.
    SkipEpochCheck,
    /// Every command of a batch is decided on what was before the batch.
    ReadBeforeLock,
    /// Time frees seats that are being paid.
    ExpirePaying,
    /// An idempotency key is forgotten at once.
    DropDedupe,
    /// Answers go out before the record is durable.
    AnswerBeforeSync,
}

thread_local! {
    static BUG: Cell<Option<Bug>> = Cell::new(chosen());
}

fn chosen() -> Option<Bug> {
    let chosen = std::env::var("ORIGIN_PLANTED_BUG").ok()?;
    Some(match chosen.as_str() {
        "skip-epoch-check" => Bug::SkipEpochCheck,
        "read-before-lock" => Bug::ReadBeforeLock,
        "expire-paying" => Bug::ExpirePaying,
        "drop-dedupe" => Bug::DropDedupe,
        "answer-before-sync" => Bug::AnswerBeforeSync,
        other => panic!("there is no planted bug {other:?}"),
    })
}

fn is_planted(bug: Bug) -> bool {
    BUG.get() == Some(bug)
}

/// Chooses for this thread.
#[cfg(test)]
pub(super) fn plant(bug: Option<Bug>) {
    BUG.set(bug);
}

/// Long enough for an answer to be on its way.
#[cfg(not(test))]
const HEAD_START: std::time::Duration = std::time::Duration::from_millis(200);

/// What the states were before the batch, if commands are to be decided on that.
pub(super) fn before(states: &BTreeMap<EventId, State>) -> Option<BTreeMap<EventId, State>> {
    is_planted(Bug::ReadBeforeLock).then(|| states.clone())
}

/// Decides on the old state if there is one, and carries out on the new one what fits.
pub(super) fn apply(
    old: Option<&State>,
    state: &mut State,
    command: &Command,
    now: Timestamp,
) -> (Vec<Change>, Reply) {
    let Some(old) = old else { return state.apply(command, now) };
    let (changes, reply) = old.clone().apply(command, now);
    for change in &changes {
        // That it does not fit is the bug.
        let _ = state.evolve(change, now);
    }
    (changes, reply)
}

/// The command with another idempotency key.
pub(super) fn forgetful(mut command: Command) -> Command {
    if is_planted(Bug::DropDedupe)
        && let Command::BeginPayment(begin) = &mut command
    {
        begin.key = Id128::random().to_string();
    }
    command
}

/// Sends the answers now and returns what is left to send.
pub(super) fn answered_early(decided: Vec<Decided>) -> Vec<Decided> {
    if !is_planted(Bug::AnswerBeforeSync) {
        return decided;
    }
    super::writer::answer(decided);
    #[cfg(not(test))]
    std::thread::sleep(HEAD_START);
    Vec::new()
}

/// Frees seats whose hold is over although they are being paid.
pub(super) fn expire_paying(
    event: &EventId,
    state: &mut State,
    now: Timestamp,
    entries: &mut Vec<Entry>,
) {
    if !is_planted(Bug::ExpirePaying) {
        return;
    }
    let due = |(hold, order, _, until): (Id128, Option<Id128>, u32, Timestamp)| {
        order.filter(|_| until <= now).map(|order| (hold, order))
    };
    for (hold, order) in state.open_holds().filter_map(due).collect::<Vec<_>>() {
        let declined =
            Change::PaymentDeclined { order, until: now, code: None, is_void_owed: false };
        let freed = [declined, Change::Released { hold }];
        let changes = freed.into_iter().filter(|change| state.evolve(change, now).is_ok());
        entries.extend(changes.map(|change| Entry { event: event.clone(), change }));
    }
}

/// Writes a record that was fenced off at the end of what the new owner has written.
pub(super) fn append_anyway(log: &mut Log, partition: PartitionId, record: &Record) -> bool {
    if !is_planted(Bug::SkipEpochCheck) {
        return false;
    }
    let written = || {
        let epoch = log.holder(partition).ok()??.epoch;
        let (mut seq, mut link) = (0, FIRST_LINK);
        for stored in log.read(partition, 0, u32::MAX).ok()? {
            let (record, its) = record::decode::<Entry>(stored.seq, &stored.bytes, &link).ok()?;
            (seq, link) = (stored.seq + record.entries.len() as u64, its);
        }
        let late = Record { seq, epoch, at: record.at, entries: record.entries.clone() };
        let (bytes, _) = record::encode(&late, &link).ok()?;
        log.append(partition, epoch, seq, &bytes).ok()
    };
    let mut written = written;
    written().is_some()
}
