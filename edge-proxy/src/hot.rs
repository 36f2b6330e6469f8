//! Answers the two documents that everybody asks for, from bytes made beforehand: the front, and the
//! waiting page of whoever has a place that this edge has verified before.
//!
//! It is a short cut and never another policy: [`decide`] says what becomes of the request, budgets
//! are charged as always, and whatever is not plainly one of the two is left to
//! [`Desk::deal`], which would have answered the same.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use keys::{EventId, Lane, Timestamp};
use pingora_http::ResponseHeader;

use crate::accept::{self, Wants};
use crate::answer::Answer;
use crate::client::{self, Cidr, Network};
use crate::decide::{self, Intent, Verdict, Visitor};
use crate::desk::Desk;
use crate::guard::Match;
use crate::head::Head;
use crate::limits::Budget;
use crate::live::RoomNow;
use crate::pages::accepts_gzip;
use crate::visit::{is_prefetch, without_port};
use crate::wire::Prebuilt;

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

    /// The network at the other end, if it is not a proxy that carries the requests of others.
    #[must_use]
    pub fn own_network(&self) -> Option<Network> {
        (!self.is_trusted).then(|| Network::of(self.addr))
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

/// A document ready to be sent, over HTTP/1.1 and HTTP/2.
#[derive(Debug)]
pub struct Document {
    /// Its bytes for HTTP/1.1.
    pub wire: Prebuilt,
    /// Its head for HTTP/2.
    pub response: ResponseHeader,
}

impl Document {
    /// An answer in both forms.
    ///
    /// # Errors
    /// If a field is not one.
    pub fn new(answer: &Answer) -> pingora_core::Result<Self> {
        let wire = Prebuilt::new(answer);
        let mut response =
            ResponseHeader::build_no_case(answer.status, Some(answer.fields.len() + 3))?;
        let (name, verdict) = answer.verdict_field();
        response.insert_header(name, verdict)?;
        for (name, value) in &answer.fields {
            match value {
                // Such a value is copied without counting who has it.
                Cow::Borrowed(value) => {
                    response.append_header(*name, HeaderValue::from_static(value))?
                }
                Cow::Owned(value) => response.append_header(*name, value)?,
            };
        }
        if wire.has_length {
            response.insert_header("content-length", wire.body.len())?;
        }
        Ok(Self { wire, response })
    }

    /// Its body.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.wire.body
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wire.body.is_empty()
    }
}

/// A hot document by what the client can read.
#[derive(Debug, Clone)]
pub struct Encodings {
    plain: Arc<Document>,
    gzip: Arc<Document>,
}

impl Encodings {
    /// The answers for a client that takes no encoding, and for one that takes gzip.
    ///
    /// # Errors
    /// If a field is not one.
    pub fn new(answer: impl Fn(Option<&'static str>) -> Answer) -> pingora_core::Result<Self> {
        let document = |encoding| Document::new(&answer(encoding)).map(Arc::new);
        Ok(Self { plain: document(None)?, gzip: document(Some("gzip"))? })
    }

    fn for_client(&self, head: &Head<'_>) -> Arc<Document> {
        let takes_gzip = head.field("accept-encoding").is_some_and(accepts_gzip);
        Arc::clone(if takes_gzip { &self.gzip } else { &self.plain })
    }
}

impl Desk {
    /// The answer, if the request is for a hot document; it is counted and charged then.
    #[must_use]
    pub fn hot(
        &self,
        head: &Head<'_>,
        peer: &Peer,
        trusted: &[Cidr],
        now: Timestamp,
    ) -> Option<Arc<Document>> {
        let document = self.find_hot(head, peer, trusted, now)?;
        self.metrics.decided(document.wire.verdict);
        Some(document)
    }

    fn find_hot(
        &self,
        head: &Head<'_>,
        peer: &Peer,
        trusted: &[Cidr],
        now: Timestamp,
    ) -> Option<Arc<Document>> {
        if !matches!(head.method, "GET" | "HEAD") {
            return None;
        }
        let rooms = self.live.rooms();
        if let Some(event) = front_of(head.target) {
            let front = rooms.get(&event)?.front.as_ref().filter(|front| now < front.claims.exp)?;
            self.limits.charge(Budget::Open(peer.network(head, trusted))).ok()?;
            let has_it = head.field("if-none-match").is_some_and(|tags| tags.contains(&front.etag));
            return Some(match has_it {
                true => Arc::clone(&front.not_modified),
                false => front.encodings.for_client(head),
            });
        }
        // Our other addresses are all under these two, and never guarded by a room.
        let is_ours = ["/api/v1/queue/", "/.w"].iter().any(|ours| head.target.starts_with(ours));
        if head.method != "GET" || is_ours {
            return None;
        }
        let (found, room) = rooms.find(without_port(head.host)?, head.path())?;
        let is_guarded = matches!(found, Match::Guarded(_));
        let waits = is_guarded && self.has_to_wait(head, room, now);
        waits.then(|| room.waiting_encodings.for_client(head))
    }

    /// Whether the request is a navigation with one place, verified before, whose turn has not
    /// come, and nothing else that could count.
    fn has_to_wait(&self, head: &Head<'_>, room: &RoomNow, now: Timestamp) -> bool {
        // First what tells those inside, who ask more than anybody else.
        let Some(text) = lone_place(head, room) else { return false };
        let is_navigation = accept::wants(head.field("accept")) == Wants::Page
            && !is_prefetch(|name| head.field(name))
            && !head.has(admission_api::headers::PLACE)
            && !head.has(admission_api::headers::PASS);
        if !is_navigation {
            return false;
        }
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
