//! What is one room to do in one period, and what becomes of it once that is durable?

use std::time::Duration;

use admission_api::{Room, RoomMode, Stock};
use keys::{
    Beacon, Front, Keyring, Lane, Order, Owner, Phase, PollHint, Sealed, SignError, Timestamp,
};

use super::{HeardNow, RoomView, band};
use crate::front::{self, Called, Drive, FrontState};
use crate::metrics::Metrics;
use crate::noshow::{self, NoShows};
use crate::pace::{self, Binding, Decision, Inputs, Left, Signals};
use crate::store::{DrawRecord, Law, Published, RoomStatus, Told};
use crate::turns::{Over, Turns};

/// A front that stands is published again after this long, so that its line does not run out.
const STANDING_PERIOD: Duration = Duration::from_secs(2);
/// A front may be shown for this long, though its line in time ends much sooner.
const FRONT_SECS: u64 = 60;
/// A lane in which nobody arrived for this long keeps no spaces free.
const ARRIVED_LATELY: Duration = Duration::from_secs(60);
/// Shortest and longest distance between two fetches of the front by a page.
const POLL: PollHint = PollHint { near_secs: 2, far_secs: 15 };

/// One room while we lead.
#[derive(Debug)]
pub(super) struct Runtime {
    pub(super) line: u64,
    pub(super) draw: Option<DrawRecord>,
    /// As the draw gives them, by [`Lane::index`].
    pub(super) orders: [Order; 3],
    pub(super) front: FrontState,
    pub(super) pace: pace::State,
    pub(super) called: Called,
    pub(super) noshows: NoShows,
    pub(super) turns: Turns,
    pub(super) over: Over,
    /// Claims that had counted when we last looked, by [`Lane::index`].
    pub(super) admitted_total: [u64; 3],
    /// Visitors who came in under a number that was open ahead, not counted as called yet.
    pub(super) early: u64,
    pub(super) signed: Vec<Front>,
    pub(super) sealed: Option<Sealed<Front>>,
    pub(super) decision: Option<Decision>,
    /// The published pace that the log of decisions last told.
    pub(super) told: Option<(f64, Binding)>,
    pub(super) changed_at: Timestamp,
    /// When numbers were handed out last, by [`Lane::index`].
    pub(super) arrived_at: [Option<Timestamp>; 3],
}

/// What one period has computed for a room, not yet durable.
pub(super) struct Planned {
    pub(super) front: FrontState,
    pub(super) pace: pace::State,
    pub(super) decision: Decision,
    /// By [`Lane::index`].
    pub(super) called: [u64; 3],
    /// Whose turn is over.
    pub(super) over: Over,
    pub(super) claims: Front,
    /// `None` if what is published holds on. Made before it is durable, so that nothing that
    /// cannot be signed ever moves; shown to others only afterwards.
    pub(super) sealed: Option<Result<Sealed<Front>, SignError>>,
}

/// Who publishes.
pub(super) struct Stamp<'a> {
    pub(super) iss: &'a Owner,
    pub(super) epoch: u64,
    pub(super) seq: u64,
}

impl Runtime {
    pub(super) fn plan(
        &mut self,
        status: &RoomStatus,
        heard: &HeardNow,
        stamp: &Stamp<'_>,
        now: Timestamp,
    ) -> Planned {
        let spec = &status.room.spec;
        let stock = heard.stock(&spec.event);
        let phase = phase(&status.room, self.is_drawing(), stock, now);
        let signals = Signals {
            waiting: self.front.waiting(),
            inside: status.inside,
            called: self.called.expected(now),
            noshow_share: self.noshows.shares()[self.noshows.busiest().index()],
            left: stock.map(left),
            ..heard.signals
        };
        let is_off = spec.mode == RoomMode::Off;
        let (pace, mut decision) = match phase {
            Phase::Open if is_off => {
                let reason = "everybody is let in: the room's mode is off".to_owned();
                let pace = spec.pace.per_sec_max;
                (self.idle(now), fixed(pace, Binding::Off, reason, &signals))
            }
            Phase::Open => pace::step(&self.pace, &signals, &spec.pace, now),
            Phase::Scheduled => {
                let reason = match self.awaited(spec.opens_at, now) {
                    Some(awaited) => format!("standing: the draw waits for {awaited}"),
                    None => "standing: the sale has not opened".to_owned(),
                };
                (self.idle(now), fixed(0.0, Binding::Scheduled, reason, &signals))
            }
            Phase::Paused => {
                let reason = "standing: paused by the operator".to_owned();
                (self.idle(now), fixed(0.0, Binding::Paused, reason, &signals))
            }
            Phase::SoldOut | Phase::Closed => {
                let reason = "sold out: nothing is left and nothing can come back".to_owned();
                (self.idle(now), fixed(0.0, Binding::SoldOut, reason, &signals))
            }
        };
        // Numbers opened ahead of anybody count as called, but they never block those who wait.
        for lane in 0..3 {
            if status.issued[lane] > self.front.lanes[lane].issued {
                self.arrived_at[lane] = Some(now);
            }
        }
        let ahead = self.front.open_ahead(counting_ahead(self.arrived_at, signals.waiting, now));
        let least = |headroom: u64| if signals.waiting > 0 { headroom.min(1) } else { 0 };
        let headroom =
            decision.headroom.map(|headroom| headroom.saturating_sub(ahead).max(least(headroom)));
        // Mode off lets everybody in without the front; were it moved by number now, whoever is
        // drawn below it would enter at once when the mode changes.
        let is_drawing = self.orders.contains(&Order::Unknown);
        let haste = self.noshows.haste(spec.pace.noshow_factor_max);
        if !is_off && decision.pace_per_sec > 0.0 && signals.waiting > 0 {
            let busiest = self.noshows.busiest().index();
            let also = noshow::reason(signals.noshow_share, haste[busiest]);
            decision.reason.extend(also.map(|also| format!("; {also}")));
        }
        let drive = Drive {
            pace_per_sec: if is_drawing { 0.0 } else { decision.pace_per_sec },
            weights: spec.lanes,
            headroom,
            issued: status.issued,
            is_off: is_off && phase == Phase::Open && !is_drawing,
            followed: Lane::ALL.map(|lane| front::followed(&self.signed, lane, now)),
            haste,
        };
        let front::Advance { state, called } = front::advance(&self.front, &drive, now);
        // What is published counts, not what is planned: nobody's time runs before they can know.
        let fronts = Lane::ALL.map(|lane| front::effective(&self.signed, lane, now));
        self.turns.look(fronts, phase == Phase::Open, &spec.passes, now);
        let claims = Front {
            iss: stamp.iss.clone(),
            aud: spec.event.clone(),
            iat: now.floor_to_secs(),
            exp: now.plus_secs(FRONT_SECS).floor_to_secs(),
            line: status.room.line,
            epoch: stamp.epoch,
            seq: stamp.seq,
            phase,
            opens_at: spec.opens_at,
            t0: state.t0,
            until: state.until,
            lanes: Lane::ALL.map(|lane| state.lanes[lane.index()].published(lane)).to_vec(),
            reason: decision.reason.clone(),
            draw: self.draw.as_ref().map(DrawRecord::published),
            stock: stock.map(band),
            poll: POLL,
            message: spec.message.clone(),
        };
        let over = self.turns.over(&spec.passes, now);
        Planned { front: state, pace, decision, called, over, claims, sealed: None }
    }

    /// A draw was announced and has not been opened.
    fn is_drawing(&self) -> bool {
        self.draw.as_ref().is_some_and(|draw| draw.counts.is_none())
    }

    /// What an overdue draw waits for.
    fn awaited(&self, opens_at: Option<Timestamp>, now: Timestamp) -> Option<String> {
        let draw = self.draw.as_ref().filter(|draw| draw.counts.is_none())?;
        if opens_at.is_some_and(|opens_at| now < opens_at) {
            return None;
        }
        Some(match &draw.beacon {
            Beacon::None => "its opening".to_owned(),
            Beacon::Operator { of } => of.clone(),
            Beacon::Drand { round, .. } => format!("round {round} of drand"),
        })
    }

    /// The front with all that other controllers need.
    pub(super) fn published(&mut self, plan: &Planned, now: Timestamp) -> Published {
        let waiting = std::array::from_fn(|lane| plan.front.lanes[lane].waiting());
        Published {
            front: plan.claims.clone(),
            sealed: plan.sealed.as_ref().and_then(|sealed| sealed.as_ref().ok()).cloned(),
            told: Some(Told {
                decision: plan.decision.clone(),
                law_per_sec: plan.pace.per_sec,
                changed_at: self.changed_at,
                waiting,
                called: self.called.expected(now).saturating_add(plan.called.iter().sum()),
                over: plan.over,
            }),
        }
    }

    /// What is to be remembered of the law and of those called, should we crash.
    pub(super) fn law(&mut self, plan: &Planned, now: Timestamp) -> Law {
        Law {
            event: plan.claims.aud.clone(),
            line: self.line,
            per_sec: plan.pace.per_sec,
            called: self.called.expected(now).saturating_add(plan.called.iter().sum()),
            noshow_shares: self.noshows.shares(),
            marks: self.turns.marks(),
            at: now,
        }
    }

    /// The law does not run; its pace is kept for when it does.
    fn idle(&self, now: Timestamp) -> pace::State {
        pace::State { stepped_at: now, ..self.pace }
    }

    /// Whether the new front says anything new, or the old one is about to run out. Without a
    /// signature the old one is as good as none.
    pub(super) fn is_due(&self, next: &Front, now: Timestamp) -> bool {
        let (Some(last), Some(_)) = (self.signed.last(), &self.sealed) else { return true };
        let same = Front {
            iat: last.iat,
            exp: last.exp,
            seq: last.seq,
            t0: last.t0,
            until: last.until,
            ..next.clone()
        };
        // A line that starts in the future is from before a clock was set back.
        same != *last || last.t0 > now || now.since(last.t0) >= STANDING_PERIOD
    }

    /// Takes over what has become durable.
    pub(super) fn accept(&mut self, plan: Planned, metrics: &Metrics, now: Timestamp) {
        if plan.decision.is_over_target {
            let event = plan.claims.aud.as_str();
            let secs = now.since(self.pace.stepped_at).as_secs_f64();
            metrics.over_target_seconds_total.with_label_values(&[event]).inc_by(secs);
        }
        self.pace = plan.pace;
        self.decision = Some(plan.decision);
        self.over = plan.over;
        let Some(sealed) = plan.sealed else { return };
        let early = std::mem::take(&mut self.early);
        self.front = plan.front;
        self.called.add(plan.called.iter().sum(), now);
        self.noshows.called(plan.called);
        self.called.came(early);
        match sealed {
            Ok(sealed) => {
                self.sealed = Some(sealed);
                self.signed.retain(|front| front.until > now);
                self.signed.push(plan.claims);
            }
            Err(error) => {
                metrics.publish_failures_total.with_label_values(&["keyring"]).inc();
                if self.sealed.take().is_some() || self.signed.is_empty() {
                    tracing::error!(
                        event = plan.claims.aud.as_str(),
                        error = &error as &dyn std::error::Error,
                        "control: a front could not be signed"
                    );
                }
                // Kept unsigned, so that claims under older fronts are judged as before.
                if self.signed.is_empty() {
                    self.signed.push(plan.claims);
                }
            }
        }
    }

    pub(super) fn view(
        &mut self,
        status: &RoomStatus,
        heard: &HeardNow,
        now: Timestamp,
    ) -> Option<RoomView> {
        let stock = heard.stock(&status.room.spec.event).cloned();
        Some(RoomView {
            draw: self.draw.as_ref().map(DrawRecord::published),
            orders: self.orders,
            phase: phase(&status.room, self.is_drawing(), stock.as_ref(), now),
            room: status.room.clone(),
            signed: self.signed.clone(),
            sealed: self.sealed.clone(),
            decision: self.decision.clone()?,
            law_per_sec: self.pace.per_sec,
            changed_at: self.changed_at,
            waiting: std::array::from_fn(|lane| self.front.lanes[lane].waiting()),
            inside: status.inside,
            called: self.called.expected(now),
            over: self.over,
            stock,
        })
    }
}

impl Planned {
    /// Signs the claims. What cannot be signed does not move either: nobody is told of it, and the
    /// time without a signature would come out all at once when a key is there again.
    pub(super) fn seal(&mut self, keyring: &Keyring, now: Timestamp) {
        let sealed = keyring.seal(&self.claims, now);
        if sealed.is_err() {
            self.front.stand();
            for entry in &mut self.claims.lanes {
                (entry.pace_milli, entry.limit) = (0, entry.f0);
            }
        }
        self.sealed = Some(sealed);
    }
}

/// The lanes in which numbers opened ahead keep spaces free: those where somebody may come any
/// moment. Numbers that an older configuration opened in a lane where nobody comes would else keep
/// everybody else out for ever. Without anybody waiting, the standard lane is the one that opens.
pub(super) fn counting_ahead(
    arrived_at: [Option<Timestamp>; 3],
    waiting: u64,
    now: Timestamp,
) -> [bool; 3] {
    Lane::ALL.map(|lane| {
        let lately = arrived_at[lane.index()].is_some_and(|at| now.since(at) <= ARRIVED_LATELY);
        lately || (waiting == 0 && lane == Lane::Standard)
    })
}

/// What the room is doing at `now`.
fn phase(room: &Room, is_drawing: bool, stock: Option<&Stock>, now: Timestamp) -> Phase {
    let spec = &room.spec;
    let is_gone = stock.is_some_and(|stock| stock.free + stock.held + stock.paying == 0);
    if is_gone {
        Phase::SoldOut
    } else if spec.mode == RoomMode::Off {
        Phase::Open
    } else if is_drawing || spec.opens_at.is_some_and(|opens_at| now < opens_at) {
        Phase::Scheduled
    } else if spec.is_paused {
        Phase::Paused
    } else {
        Phase::Open
    }
}

fn left(stock: &Stock) -> Left {
    Left { free: stock.free, in_hands: stock.held + stock.paying }
}

/// A decision that the law has no part in.
fn fixed(pace_per_sec: f64, binding: Binding, reason: String, signals: &Signals) -> Decision {
    let Signals { waiting, inside, called, noshow_share, .. } = *signals;
    let inputs = Inputs { inside, called, waiting, noshow_share, ..Inputs::default() };
    Decision { pace_per_sec, headroom: None, binding, reason, is_over_target: false, inputs }
}
