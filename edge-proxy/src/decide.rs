//! Decides what becomes of one request: let it through, keep it waiting, or give it a place.
//!
//! Everything a decision needs is an argument, so the whole policy can be read, tested and
//! simulated without opening a socket.
//!
//! A pass is honoured while the controller is silent: we would rather serve a visitor we have
//! already promised to serve than send them back to the end of the line.

use admission_api::RoomMode;
use keys::Phase;

use crate::accept::Wants;

/// What the visitor showed, verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visitor {
    /// A pass that holds.
    Admitted,
    /// A place with this position.
    InLine {
        /// The position; `None` while nobody knows, for it has not been drawn yet.
        position: Option<u64>,
    },
    /// Nothing that counts.
    New,
}

/// What the request wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// `GET` for a page: a person navigates.
    Navigate,
    /// `HEAD`, or a browser's speculative `GET`: like a navigation, but it must change nothing.
    Look,
    /// `OPTIONS`.
    Ask,
    /// Everything else: data, or a method that may have an effect.
    Act,
}

impl Intent {
    /// From method, wish and whether the browser only prefetches.
    #[must_use]
    pub fn of(method: &str, wants: Wants, is_prefetch: bool) -> Self {
        match (method, wants) {
            ("OPTIONS", _) => Self::Ask,
            ("HEAD", _) => Self::Look,
            ("GET", Wants::Page) if is_prefetch => Self::Look,
            ("GET", Wants::Page) => Self::Navigate,
            _ => Self::Act,
        }
    }
}

/// The room as the edge knows it at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomNow {
    /// When a line forms.
    pub mode: RoomMode,
    /// What the room is doing.
    pub phase: Phase,
    /// The front of the visitor's lane: positions up to and including it may enter.
    pub front: u64,
}

/// What becomes of a guarded request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// To the origin with the pass's facts.
    Forward,
    /// Its turn has come: claim, then to the origin.
    Claim,
    /// The waiting page; it has a place.
    Wait,
    /// It needs a place; if that place's turn is now and `may_enter`, claim it at once.
    Join {
        /// Whether a place that has reached the front enters without seeing the waiting page.
        may_enter: bool,
    },
    /// The waiting page, without a place being given: there is none to give, or nobody looks.
    Show,
    /// The answer to `OPTIONS`.
    Options,
    /// Data cannot wait on a page: `503` with where to join.
    Refuse,
}

impl Verdict {
    /// The name used in metrics and the verdict header.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Claim => "claim",
            Self::Wait => "wait",
            Self::Join { .. } => "join",
            Self::Show => "show",
            Self::Options => "options",
            Self::Refuse => "refuse",
        }
    }
}

/// The whole policy for guarded requests.
#[must_use]
pub fn decide(visitor: Visitor, intent: Intent, room: RoomNow) -> Verdict {
    match (visitor, intent) {
        (Visitor::Admitted, _) => Verdict::Forward,
        (_, Intent::Ask) => Verdict::Options,
        (_, Intent::Look) => Verdict::Show,
        (_, Intent::Act) => Verdict::Refuse,
        (Visitor::InLine { position }, Intent::Navigate) => {
            if is_shut(room.phase) {
                return Verdict::Wait;
            }
            match room.mode {
                RoomMode::Off => Verdict::Claim,
                RoomMode::Auto | RoomMode::On if position.is_some_and(|at| at <= room.front) => {
                    Verdict::Claim
                }
                RoomMode::Auto | RoomMode::On => Verdict::Wait,
            }
        }
        // A line that is over takes nobody in; the page says so.
        (Visitor::New, Intent::Navigate) if is_over(room.phase) => Verdict::Show,
        (Visitor::New, Intent::Navigate) => {
            Verdict::Join { may_enter: room.phase == Phase::Open && room.mode != RoomMode::On }
        }
    }
}

/// Nobody joins any more.
#[must_use]
pub fn is_over(phase: Phase) -> bool {
    match phase {
        Phase::SoldOut | Phase::Closed => true,
        Phase::Scheduled | Phase::Open | Phase::Paused => false,
    }
}

/// Nobody enters now. A paused room still lets in whoever was called before the pause.
fn is_shut(phase: Phase) -> bool {
    match phase {
        Phase::Scheduled | Phase::SoldOut | Phase::Closed => true,
        Phase::Open | Phase::Paused => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTO: RoomNow = RoomNow { mode: RoomMode::Auto, phase: Phase::Open, front: 9 };
    const ON: RoomNow = RoomNow { mode: RoomMode::On, ..AUTO };
    const OFF: RoomNow = RoomNow { mode: RoomMode::Off, front: 0, ..AUTO };
    const SOON: RoomNow = RoomNow { phase: Phase::Scheduled, front: 0, ..AUTO };
    const PAUSED: RoomNow = RoomNow { phase: Phase::Paused, ..AUTO };
    const SOLD: RoomNow = RoomNow { phase: Phase::SoldOut, ..AUTO };
    const OVER: RoomNow = RoomNow { phase: Phase::Closed, ..OFF };

    #[test]
    #[rustfmt::skip] // reads in columns
    fn a_visitor_enters_when_the_front_reaches_them_and_not_before() {
        use {Intent::*, Visitor::*};
        //    visitor                        intent    room    verdict
        check(Admitted,                      Navigate, AUTO,   Verdict::Forward);
        check(Admitted,                      Act,      AUTO,   Verdict::Forward);
        check(Admitted,                      Act,      SOLD,   Verdict::Forward); // inside stays inside
        check(Admitted,                      Act,      PAUSED, Verdict::Forward);
        check(InLine { position: Some(9) },  Navigate, AUTO,   Verdict::Claim);
        check(InLine { position: Some(10) }, Navigate, AUTO,   Verdict::Wait);
        check(InLine { position: Some(9) },  Navigate, ON,     Verdict::Claim);
        check(InLine { position: Some(10) }, Navigate, ON,     Verdict::Wait);
        check(InLine { position: Some(10) }, Navigate, OFF,    Verdict::Claim);
        check(InLine { position: Some(9) },  Navigate, PAUSED, Verdict::Claim); // called before the pause
        check(InLine { position: Some(9) },  Navigate, SOLD,   Verdict::Wait);
        check(InLine { position: Some(1) },  Navigate, SOON,   Verdict::Wait);
        check(InLine { position: None },     Navigate, AUTO,   Verdict::Wait);
        check(InLine { position: None },     Navigate, OFF,    Verdict::Claim);
        check(InLine { position: Some(9) },  Act,      AUTO,   Verdict::Refuse); // never replayed silently
        check(InLine { position: Some(9) },  Look,     AUTO,   Verdict::Show);   // a prefetch spends no turn
        check(New,                           Navigate, AUTO,   Verdict::Join { may_enter: true });
        check(New,                           Navigate, ON,     Verdict::Join { may_enter: false });
        check(New,                           Navigate, OFF,    Verdict::Join { may_enter: true });
        check(New,                           Navigate, SOON,   Verdict::Join { may_enter: false });
        check(New,                           Navigate, PAUSED, Verdict::Join { may_enter: false });
        check(New,                           Navigate, SOLD,   Verdict::Show);   // no place to give
        check(New,                           Navigate, OVER,   Verdict::Show);
        check(New,                           Look,     AUTO,   Verdict::Show);
        check(New,                           Ask,      AUTO,   Verdict::Options);
        check(New,                           Act,      AUTO,   Verdict::Refuse);
    }

    #[track_caller]
    fn check(visitor: Visitor, intent: Intent, room: RoomNow, expected: Verdict) {
        assert_eq!(decide(visitor, intent, room), expected, "{visitor:?} {intent:?} {room:?}");
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn only_a_navigation_takes_a_place() {
        let of = |method, wants, is_prefetch| Intent::of(method, wants, is_prefetch);
        assert_eq!(of("GET",     Wants::Page, false), Intent::Navigate);
        assert_eq!(of("GET",     Wants::Page, true),  Intent::Look);
        assert_eq!(of("HEAD",    Wants::Page, false), Intent::Look);
        assert_eq!(of("OPTIONS", Wants::Data, false), Intent::Ask);
        assert_eq!(of("GET",     Wants::Data, false), Intent::Act);
        assert_eq!(of("POST",    Wants::Page, false), Intent::Act);
        assert_eq!(of("DELETE",  Wants::Page, false), Intent::Act);
    }
}
