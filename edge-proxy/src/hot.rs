//! Answers the two documents that everybody asks for, from bytes made beforehand: the front, and the
//! waiting page of whoever has a place that this edge has verified before.
//!
//! It is a short cut and never another policy: [`decide`] says what becomes of the request, budgets
//! are charged as always, and whatever is not plainly one of the two is left to
//! [`Desk::deal`], which would have answered the same.

use std::net::IpAddr;

use keys::{EventId, Lane, Timestamp};

use crate::accept::{self, Wants};
use crate::client::{self, Cidr, Network};
use crate::decide::{self, Intent, Verdict, Visitor};
use crate::desk::Desk;
use crate::guard::Match;
use crate::head::Head;
use crate::limits::Budget;
use crate::live::RoomNow;
use crate::pages::accepts_gzip;
use crate::visit::{is_prefetch, without_port};
use crate::wire::{Date, Prebuilt};

/// Who is at the other end of a connection.
#[derive(Debug)]
pub struct Peer {
    /// Its address.
    pub addr: IpAddr,
    /// Whether it speaks TLS to us.
    pub is_tls: bool,
    /// Whether what it says of others' addresses counts.
    pub is_trusted: bool,
}

impl Peer {
    /// A peer, as far as `trusted` goes.
    #[must_use]
    pub fn new(addr: IpAddr, is_tls: bool, trusted: &[Cidr]) -> Self {
        let addr = addr.to_canonical();
        Self { addr, is_tls, is_trusted: trusted.iter().any(|range| range.contains(addr)) }
    }

    /// The network that the request's budget belongs to.
    fn network(&self, head: &Head<'_>, trusted: &[Cidr]) -> Network {
        if !self.is_trusted {
            return Network::of(self.addr);
        }
        let hops = head.all("x-forwarded-for").filter_map(|value| str::from_utf8(value).ok());
        Network::of(client::client_addr(self.addr, &hops.collect::<Vec<_>>(), trusted))
    }
}

/// The hot documents of a room, by what the client can read and already has.
#[derive(Debug, Clone)]
pub struct Wire {
    plain: Prebuilt,
    gzip: Prebuilt,
}

impl Wire {
    /// Both forms.
    #[must_use]
    pub fn new(plain: Prebuilt, gzip: Prebuilt) -> Self {
        Self { plain, gzip }
    }

    fn for_client(&self, head: &Head<'_>) -> &Prebuilt {
        if head.field("accept-encoding").is_some_and(accepts_gzip) {
            &self.gzip
        } else {
            &self.plain
        }
    }
}

impl Desk {
    /// Appends the answer to `out` if the request is for a hot document; else changes nothing.
    #[must_use]
    pub fn answer_hot(
        &self,
        head: &Head<'_>,
        peer: &Peer,
        trusted: &[Cidr],
        (now, date): (Timestamp, &Date),
        out: &mut Vec<u8>,
    ) -> bool {
        let is_head = head.method == "HEAD";
        if head.method != "GET" && !is_head {
            return false;
        }
        let mut write = |answer: &Prebuilt| {
            self.metrics.decided(answer.verdict);
            answer.write(out, date, is_head, head.is_last);
            true
        };
        if let Some(event) = front_of(head.target) {
            let rooms = self.live.rooms();
            let front = rooms.get(&event).and_then(|room| room.front.as_ref());
            let Some(front) = front.filter(|front| now < front.claims.exp) else { return false };
            if self.limits.charge(Budget::Open(peer.network(head, trusted))).is_err() {
                return false;
            }
            let known = head.field("if-none-match").filter(|tags| tags.contains(&front.etag));
            return write(
                known.map_or_else(|| front.wire.for_client(head), |_| &front.not_modified),
            );
        }
        // Our other addresses are all under these two, and never guarded by a room.
        if is_head || head.target.starts_with("/api/v1/queue/") || head.target.starts_with("/.w") {
            return false;
        }
        let rooms = self.live.rooms();
        let Some(host) = without_port(head.host) else { return false };
        let Some((Match::Guarded(_), room)) = rooms.find(host, head.path()) else { return false };
        self.has_to_wait(head, room, now) && write(room.waiting_wire.for_client(head))
    }

    /// Whether the request is a navigation with one place, verified before, whose turn has not
    /// come, and nothing else that could count.
    fn has_to_wait(&self, head: &Head<'_>, room: &RoomNow, now: Timestamp) -> bool {
        let is_navigation = accept::wants(head.field("accept")) == Wants::Page
            && !is_prefetch(|name| head.field(name))
            && !head.has(admission_api::headers::PLACE)
            && !head.has(admission_api::headers::PASS);
        if !is_navigation {
            return false;
        }
        let Some(text) = lone_place(head, room) else { return false };
        let Some(place) = self.memory.places.get(text) else { return false };
        let holds = now < place.exp
            && place.aud == *room.event()
            && place.line == room.room.line
            // A judgement may have been taken back meanwhile.
            && place.lane != Lane::Suspect;
        let visitor = Visitor::InLine { position: room.position(&place) };
        let here = decide::RoomNow {
            mode: room.room.spec.mode,
            phase: room.phase(),
            front: room.front_at(place.lane, now),
        };
        holds
            && decide::decide(visitor, Intent::Navigate, here) == Verdict::Wait
            && self.limits.charge(Budget::Place(place.sub)).is_ok()
    }
}

/// The event whose front is asked for.
fn front_of(target: &str) -> Option<EventId> {
    target.strip_prefix("/api/v1/queue/")?.strip_suffix("/front")?.parse().ok()
}

/// The text of the only place that is shown, without any pass.
fn lone_place<'b>(head: &Head<'b>, room: &RoomNow) -> Option<&'b str> {
    let mut place = None;
    for field in head.all("cookie") {
        for pair in str::from_utf8(field).ok()?.split(';') {
            let pair = pair.trim();
            if !pair.starts_with("wr_p") {
                continue;
            }
            let Some((name, value)) = pair.split_once('=') else { continue };
            let name = name.trim_end();
            if name == room.pass_cookie || (name == room.place_cookie && place.is_some()) {
                return None;
            }
            if name == room.place_cookie {
                place = Some(value.trim());
            }
        }
    }
    place
}
