//! A controller without HTTP, whose clock is an argument.

use admission_api::{Forward, Gap, Guard, LaneWeights, PaceLimits, PassRules, RoomSpec};
use keys::{Id128, Key, Role, Validity};
use prometheus::{Histogram, HistogramOpts};

use super::*;
use crate::store::{Deed, Turn};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn key_from(use_from: Timestamp) -> Keyring {
    let validity = Validity {
        use_from,
        use_until: use_from.plus_secs(86_400),
        valid_until: use_from.plus_secs(86_400),
        revoked_at: None,
    };
    Keyring::new([Key::generate(Role::Controller, "c".parse().unwrap(), validity)])
}

fn spec() -> RoomSpec {
    RoomSpec {
        event: "e".parse().unwrap(),
        title: "E".to_owned(),
        mode: RoomMode::Auto,
        guard: Guard { hosts: vec![], paths: vec!["/".to_owned()], bypass: vec![] },
        opens_at: None,
        draw: None,
        is_paused: false,
        pace: PaceLimits { per_sec_min: 1.0, per_sec_start: 10.0, ..PaceLimits::default() },
        lanes: LaneWeights::default(),
        passes: PassRules::default(),
        forward: Forward::default(),
        priority_for: vec![],
        message: Some("\"".repeat(1000)),
    }
}

/// A controller without HTTP, whose clock is an argument.
struct Stage {
    directory: std::path::PathBuf,
    store: Store,
    control: Control,
    metrics: Metrics,
}

impl Stage {
    fn open(directory: std::path::PathBuf, now: Timestamp) -> Self {
        let commits = Histogram::with_opts(HistogramOpts::new("commits", "Commits.")).unwrap();
        let store = Store::embedded(&directory, commits, now).unwrap();
        let control = Control::new("c".parse().unwrap());
        Self { directory, store, control, metrics: Metrics::new().unwrap() }
    }

    /// With a room and a hundred thousand visitors in front of it.
    async fn with_room(spec: RoomSpec) -> Self {
        let directory = std::env::temp_dir().join(format!("admission-{}", Id128::random()));
        let stage = Self::open(directory, NOW);
        let deed = Deed { who: "olga".into(), at: NOW, what: "room created".into() };
        let crate::store::Put::Done(room) = stage.store.create(spec, deed).await.unwrap() else {
            panic!("the store is empty");
        };
        let line = LineId { event: room.spec.event, line: room.line };
        stage
            .store
            .lease(line, Lane::Standard, 100_000, "edge-1".parse().unwrap(), NOW)
            .await
            .unwrap();
        stage
    }

    async fn tick(&mut self, keyring: &Keyring, now: Timestamp) -> Arc<RoomView> {
        let (heard, inbox) = (HeardNow::default(), Inbox::default());
        let Self { store, metrics, control, .. } = self;
        if let Turn::Leads { epoch } = store.lead(now).await.unwrap() {
            control.lead(epoch);
        }
        let snapshot = control.tick(store, keyring, &heard, inbox, metrics, now).await.unwrap();
        Arc::clone(snapshot.rooms.values().next().unwrap())
    }

    async fn restarted(self, now: Timestamp) -> Self {
        self.store.close().await;
        Self::open(self.directory, now)
    }

    async fn end(self) {
        self.store.close().await;
        std::fs::remove_dir_all(self.directory).unwrap();
    }
}

#[tokio::test]
async fn time_without_a_signing_key_lets_in_nobody_afterwards() {
    let mut stage = Stage::with_room(spec()).await;
    let keyring = key_from(NOW.plus_secs(60));
    for half_secs in 0..120 {
        let view = stage.tick(&keyring, NOW.plus(CONTROL_PERIOD * half_secs)).await;
        assert!(view.sealed.is_none());
    }
    let view = stage.tick(&keyring, NOW.plus_secs(60)).await;
    assert!(view.sealed.is_some(), "the longest message that is allowed can be signed");
    assert_eq!(view.front().unwrap().at(Lane::Standard, NOW.plus_secs(60)), 0);
    let view = stage.tick(&keyring, NOW.plus_secs(61)).await;
    // A minute without news of the origin has slowed it down, too.
    let reached = view.front().unwrap().at(Lane::Standard, NOW.plus_secs(61));
    assert!((1..=10).contains(&reached), "{reached}");
    stage.end().await;
}

#[tokio::test]
async fn a_restart_remembers_the_pace_and_who_was_called() {
    let mut stage = Stage::with_room(spec()).await;
    let keyring = key_from(NOW);
    // Nothing is heard of the origin, so the law falls towards its floor.
    let mut now = NOW;
    for _ in 0..120 {
        stage.tick(&keyring, now).await;
        now = now.plus(CONTROL_PERIOD);
    }
    let before = stage.tick(&keyring, now).await;
    assert!(before.law_per_sec < 6.0, "{}", before.law_per_sec);
    assert!(before.called > 100, "{}", before.called);
    let mut stage = stage.restarted(now.plus_secs(1)).await;
    let after = stage.tick(&keyring, now.plus_secs(1)).await;
    assert!((after.law_per_sec - before.law_per_sec).abs() < 0.5, "{}", after.law_per_sec);
    let called = before.called..=before.called + 10;
    assert!(called.contains(&after.called), "{} after {}", after.called, before.called);
    stage.end().await;
}

#[tokio::test]
async fn the_absent_make_the_front_faster_also_after_a_restart() {
    let mut stage = Stage::with_room(spec()).await;
    let keyring = key_from(NOW);
    stage.tick(&keyring, NOW).await;
    for runtime in stage.control.rooms.values_mut() {
        runtime.noshows = NoShows::resumed([0.6; 3], 0, NOW);
    }
    let before = stage.tick(&keyring, NOW.plus_secs(1)).await;
    check_haste(&before);
    let mut stage = stage.restarted(NOW.plus_secs(2)).await;
    let after = stage.tick(&keyring, NOW.plus_secs(2)).await;
    check_haste(&after);
    stage.end().await;
}

#[track_caller]
fn check_haste(view: &RoomView) {
    let Decision { pace_per_sec, inputs, reason, .. } = &view.decision;
    assert!((inputs.noshow_share - 0.6).abs() < 0.02, "{}", inputs.noshow_share);
    assert!(
        reason.ends_with("60 % of those called do not come: the front moves 2.5 times as fast"),
        "{reason}"
    );
    let standard = view.front().unwrap().lane(Lane::Standard).unwrap();
    let per_sec = f64::from(u32::try_from(standard.pace_milli).unwrap()) / 1000.0;
    assert!((per_sec / pace_per_sec - 2.5).abs() < 0.1, "{per_sec} of {pace_per_sec}");
}

#[tokio::test]
async fn the_gaps_of_a_draw_stand_where_their_numbers_do() {
    let opens_at = NOW.plus_secs(10);
    let spec = RoomSpec { draw: Some(Beacon::None), opens_at: Some(opens_at), ..spec() };
    let mut stage = Stage::with_room(spec).await;
    let keyring = key_from(NOW);
    let view = stage.tick(&keyring, NOW).await;
    assert_eq!((view.phase, view.orders), (Phase::Scheduled, [Order::Unknown; 3]));
    assert!(view.front().unwrap().draw.as_ref().is_some_and(|draw| draw.opened.is_none()));
    let gap = Gap {
        event: view.line().event,
        line: view.line().line,
        lane: Lane::Standard,
        first: 11,
        count: 500,
    };
    stage.store.give_back("edge-1".parse().unwrap(), vec![gap]).await.unwrap();
    let view = stage.tick(&keyring, NOW.plus_secs(9)).await;
    assert_eq!((view.phase, view.waiting), (Phase::Scheduled, [0, 99_500, 0]));
    let view = stage.tick(&keyring, opens_at).await;
    let draw = view.front().unwrap().draw.clone().unwrap();
    assert_eq!(draw.opened.as_ref().unwrap().counts, [0, 100_000, 0]);
    assert_eq!((view.phase, view.waiting), (Phase::Open, [0, 99_500, 0]));
    assert!(matches!(view.orders[1], Order::Drawn { count: 100_000, .. }));
    // Found again after a restart, the order and the gaps.
    let mut stage = stage.restarted(opens_at).await;
    let again = stage.tick(&keyring, opens_at).await;
    assert_eq!(again.orders, view.orders);
    assert_eq!((again.waiting, again.draw.as_ref()), ([0, 99_500, 0], Some(&draw)));
    stage.end().await;
}

#[tokio::test]
async fn who_joins_around_the_opening_is_in_one_cohort() {
    let opens_at = NOW.plus_secs(10);
    let spec = RoomSpec { draw: Some(Beacon::None), opens_at: Some(opens_at), ..spec() };
    let mut stage = Stage::with_room(spec).await;
    let keyring = key_from(NOW);
    let line = stage.tick(&keyring, NOW).await.line();
    let ms = Duration::from_millis;
    let just_before = NOW.plus(ms(9_999));
    // Three edges take blocks of different sizes, each at this moment.
    let lease = async |stage: &Stage, at: Timestamp| {
        let mut nums = Vec::new();
        for (edge, count) in [("edge-1", 3), ("edge-2", 1), ("edge-3", 20)] {
            let (line, edge) = (line.clone(), edge.parse().unwrap());
            let first = stage.store.lease(line, Lane::Standard, count, edge, at).await;
            let first = first.unwrap().unwrap();
            nums.extend(first..first + count);
        }
        nums
    };
    let at_last = lease(&stage, just_before).await;
    let view = stage.tick(&keyring, just_before).await;
    assert_eq!((view.phase, view.orders), (Phase::Scheduled, [Order::Unknown; 3]));
    // At the very moment, before anybody has heard of the opening, and twice by two leaders.
    let at_once = lease(&stage, opens_at).await;
    let view = stage.tick(&keyring, opens_at).await;
    let late = lease(&stage, opens_at.plus(ms(1))).await;
    let again = stage.tick(&keyring, opens_at.plus(ms(1))).await;
    let mut stage = stage.restarted(opens_at.plus(ms(2))).await;
    let other = stage.tick(&keyring, opens_at.plus(ms(2))).await;
    assert_eq!((again.orders, other.orders), (view.orders, view.orders));
    let Order::Drawn { count, .. } = view.orders[1] else { panic!("{:?}", view.orders) };
    // A number tells the cohort, whenever its edge hands it out within the lease.
    assert!(at_last.iter().chain(&at_once).all(|num| *num <= count), "{count}: {at_once:?}");
    assert!(late.iter().all(|num| *num > count), "{count}: {late:?}");
    for num in late {
        assert_eq!(view.orders[1].position(num), Some(num), "behind all who are drawn");
    }
    let drawn = at_last.iter().chain(&at_once).map(|num| view.orders[1].position(*num));
    let mut drawn: Vec<u64> = drawn.map(Option::unwrap).collect();
    assert!(drawn.iter().all(|position| (1..=count).contains(position)));
    drawn.sort_unstable();
    drawn.dedup();
    assert_eq!(drawn.len(), 48, "nobody shares a position");
    stage.end().await;
}

#[tokio::test]
async fn a_draw_waits_for_its_beacon_and_is_never_announced_too_late() {
    let of = "the lottery".to_owned();
    let with_draw = RoomSpec {
        draw: Some(Beacon::Operator { of }),
        opens_at: Some(NOW.minus_secs(10)),
        ..spec()
    };
    let mut stage = Stage::with_room(with_draw.clone()).await;
    let keyring = key_from(NOW);
    for secs in 0..3 {
        let view = stage.tick(&keyring, NOW.plus_secs(secs)).await;
        assert_eq!(view.phase, Phase::Scheduled);
        assert_eq!(view.decision.reason, "standing: the draw waits for the lottery");
    }
    let line = stage.tick(&keyring, NOW.plus_secs(3)).await.line();
    let deed = Deed { who: "olga".into(), at: NOW, what: "given".into() };
    stage.store.give_beacon(line, b"7 11".to_vec(), deed.clone()).await.unwrap();
    let view = stage.tick(&keyring, NOW.plus_secs(4)).await;
    assert_eq!(view.phase, Phase::Open);
    assert_eq!(view.draw.as_ref().unwrap().opened.as_ref().unwrap().beacon, "NyAxMQ");
    stage.end().await;

    let mut stage = Stage::with_room(spec()).await;
    stage.tick(&keyring, NOW).await;
    let view = stage.tick(&keyring, NOW.plus_secs(2)).await;
    assert!(view.front().unwrap().at(Lane::Standard, NOW.plus_secs(2)) > 0);
    stage.store.change(with_draw, 1, deed).await.unwrap();
    let view = stage.tick(&keyring, NOW.plus_secs(3)).await;
    assert_eq!((view.phase, view.draw.as_ref()), (Phase::Open, None));
    stage.end().await;
}

#[test]
fn a_lane_where_nobody_comes_keeps_no_spaces_free() {
    let (lately, long_ago) = (Some(NOW.minus_secs(10)), Some(NOW.minus_secs(61)));
    let counting = |arrived_at, waiting| plan::counting_ahead(arrived_at, waiting, NOW);
    assert_eq!(counting([None, lately, long_ago], 9), [false, true, false]);
    assert_eq!(counting([lately, long_ago, None], 9), [true, false, false]);
    assert_eq!(counting([None, long_ago, None], 0), [false, true, false]);
}
