//! What every store promises, told once. An implementation passes by handing over a way to open
//! it again, as a controller would after a crash: without closing it first.

mod codes;
mod draw;
mod line;
mod passes;
mod review;
mod rooms;

use admission_api::{EndReason, Gap, Guard, NoPriority, Reason, RoomSpec, Suspicion};
use keys::{
    Beacon, EventId, Front, Id128, Lane, LaneFront, Owner, Phase, PollHint, Risk, Timestamp,
};

use super::{
    ComeBack, Counted, Deed, DrawRecord, Entry, EntryKind, Given, Grant, JudgedState, Law, LineId,
    NewBatch, PassId, Published, Put, Redeem, RenewTo, Restore, Restorer, Revocation, RoomStatus,
    Store, StoreError, Transfer, Turn,
};
use crate::claims::{Back, Claimed, Lapsed, PassRecord};
use crate::turns::{Mark, Turns};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// Runs all promises; each has an event of its own.
pub(super) async fn keeps_its_promises(open: impl AsyncFn() -> Store) {
    rooms::keeps(&open).await;
    line::keeps(&open).await;
    passes::keeps(&open).await;
    codes::keeps(&open).await;
    review::keeps(&open).await;
    draw::keeps(&open).await;
}

fn deed() -> Deed {
    Deed { who: "olga".into(), at: NOW, what: "done".into() }
}

fn edge() -> Owner {
    "edge-1".parse().unwrap()
}

fn is_of(status: &RoomStatus, line: &LineId) -> bool {
    status.room.spec.event == line.event && status.room.line == line.line
}

fn published(front: Front) -> Published {
    Published { front, sealed: None, told: None }
}

async fn epoch(store: &Store) -> u64 {
    match store.lead(NOW).await.unwrap() {
        Turn::Leads { epoch } => epoch,
        Turn::Follows { leader } => panic!("{leader} leads"),
    }
}

fn event(name: &str) -> EventId {
    name.parse().unwrap()
}

fn spec(name: &str) -> RoomSpec {
    RoomSpec {
        event: event(name),
        title: name.to_owned(),
        mode: admission_api::RoomMode::Auto,
        guard: Guard { hosts: vec![], paths: vec!["/".into()], bypass: vec![] },
        opens_at: None,
        draw: None,
        is_paused: false,
        pace: admission_api::PaceLimits::default(),
        lanes: admission_api::LaneWeights::default(),
        passes: admission_api::PassRules::default(),
        forward: admission_api::Forward::default(),
        priority_for: vec![],
        message: None,
    }
}

pub(super) async fn room(store: &Store, name: &str) -> LineId {
    match store.create(spec(name), deed()).await.unwrap() {
        Put::Done(room) => LineId { event: room.spec.event, line: room.line },
        other => panic!("{other:?}"),
    }
}

/// With the first hundred numbers handed out.
async fn busy_room(store: &Store, name: &str) -> LineId {
    let line = room(store, name).await;
    store.lease(line.clone(), Lane::Standard, 100, edge(), NOW).await.unwrap();
    line
}

pub(super) fn record(visitor: u8) -> PassRecord {
    PassRecord {
        sub: Id128::from_bytes([visitor; 16]),
        jti: Id128::from_bytes([visitor + 100; 16]),
        lane: Lane::Standard,
        num: u64::from(visitor),
        risk: Risk::Medium,
        generation: 1,
        first_at: NOW,
        renewed_at: NOW,
        exp: NOW.plus_secs(600),
        place_exp: NOW.plus_secs(3600),
        has_returned: false,
    }
}

fn pass(visitor: u8) -> PassId {
    PassId { sub: record(visitor).sub, jti: record(visitor).jti }
}

/// A front that stands at 10 in the standard lane and starts at `t0`.
fn front(line: &LineId, epoch: u64, seq: u64, t0: Timestamp) -> Front {
    let entry = |lane| LaneFront { lane, f0: 10, pace_milli: 0, limit: 10, issued: 50 };
    Front {
        iss: "controller-1".parse().unwrap(),
        aud: line.event.clone(),
        iat: t0,
        exp: t0.plus_secs(60),
        line: line.line,
        epoch,
        seq,
        phase: Phase::Open,
        opens_at: None,
        t0,
        until: t0.plus_secs(10),
        lanes: vec![entry(Lane::Standard)],
        reason: String::new(),
        draw: None,
        stock: None,
        poll: PollHint { near_secs: 1, far_secs: 15 },
        message: None,
    }
}

async fn inside(store: &Store, line: &LineId) -> u64 {
    let status = store.status(NOW).await.unwrap().rooms;
    status.iter().find(|status| is_of(status, line)).unwrap().inside
}

async fn issued(store: &Store, line: &LineId) -> [u64; 3] {
    let status = store.status(NOW).await.unwrap().rooms;
    status.iter().find(|status| is_of(status, line)).unwrap().issued
}
