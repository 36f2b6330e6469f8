//! What becomes of a request on its way to the origin, and of the answer on its way back, whoever
//! carries them: Pingora's proxy (`proxy`), or the edge itself (`relay`).

use std::borrow::Cow;
use std::time::Instant;

use admission_api::{EndReason, headers};
use http::HeaderValue;
use http::header::{ACCEPT, ACCEPT_LANGUAGE, CACHE_CONTROL, COOKIE, HOST, HeaderName, SET_COOKIE};
use keys::Timestamp;
use pingora_core::{Error, ErrorSource, ErrorType, OrErr as _, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use prometheus::IntGauge;

use crate::accept;
use crate::answer::Answer;
use crate::cookies::{self, Kind};
use crate::desk::{Desk, Forward};
use crate::fields;
use crate::visit::Visit;
use crate::words::Language;

/// One request that goes to the origin.
pub struct Passage {
    /// What was decided of it.
    pub forward: Box<Forward>,
    is_secure: bool,
    is_from_proxy: bool,
    client: String,
    asked: Option<Asked>,
    is_answered: bool,
}

/// The origin has been asked.
struct Asked {
    at: Instant,
    _in_flight: InFlight,
}

/// Is counted as long as it is there.
struct InFlight(IntGauge);

impl InFlight {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Passage {
    /// The way of a request that is let through.
    #[must_use]
    pub fn new(visit: &Visit<'_>, forward: Box<Forward>) -> Self {
        Self {
            forward,
            is_secure: visit.is_secure,
            is_from_proxy: visit.is_from_proxy,
            client: visit.addr.to_string(),
            asked: None,
            is_answered: false,
        }
    }

    /// The origin is asked now; again, if a connection to it broke.
    pub fn ask(&mut self, desk: &Desk) {
        let in_flight = || InFlight::new(&desk.metrics.origin_in_flight);
        self.asked.get_or_insert_with(|| Asked { at: Instant::now(), _in_flight: in_flight() });
    }

    /// Makes the request what the origin is to see: nothing that only we may say, none of our
    /// cookies, and the pass's facts.
    ///
    /// # Errors
    /// If a field cannot be written, which none of ours is.
    pub fn make_request(&self, request: &mut RequestHeader) -> Result<()> {
        // The origin is asked for what was judged, also if a whole URL came.
        if !request.raw_path().starts_with(b"/") && request.raw_path() != b"*" {
            let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
            let target = target.to_owned();
            request.set_raw_path(target.as_bytes())?;
        }
        let names = request.headers.keys();
        let dropped = names.filter(|name| !fields::goes_on(name.as_str(), self.is_from_proxy));
        for name in dropped.cloned().collect::<Vec<_>>() {
            request.remove_header(&name);
        }
        let kept: Vec<Vec<u8>> = request
            .headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|field| cookies::without_ours(field.as_bytes()))
            .collect();
        request.remove_header(&COOKIE);
        if !kept.is_empty() {
            let kept = HeaderValue::from_bytes(&kept.join(&b"; "[..]))
                .or_err(ErrorType::InvalidHTTPHeader, "cookie")?;
            request.insert_header(COOKIE, kept)?;
        }
        request.insert_header(fields::FORWARDED_FOR, &self.client)?;
        let scheme = HeaderValue::from_static(if self.is_secure { "https" } else { "http" });
        request.insert_header(fields::FORWARDED_PROTO, scheme)?;
        if let Some(pass) = &self.forward.pass {
            let claims = &pass.claims;
            request.insert_header(fields::PASS, pass.sealed.as_str())?;
            request.insert_header(fields::EVENT, claims.aud.as_str())?;
            request.insert_header(fields::VISITOR, claims.sub.to_string())?;
            request.insert_header(fields::LANE, HeaderValue::from_static(claims.lane.label()))?;
            request.insert_header(fields::RISK, HeaderValue::from_static(claims.risk.label()))?;
            request.insert_header(fields::UNTIL, HeaderValue::from(claims.exp.as_secs()))?;
        }
        Ok(())
    }

    /// The origin has answered: takes what it says to us out of the answer, and makes it one that
    /// no shared cache keeps.
    ///
    /// # Errors
    /// If a field cannot be written.
    pub fn take_answer(&mut self, desk: &Desk, response: &mut ResponseHeader) -> Result<()> {
        let command = response.remove_header(&fields::COMMAND);
        if let Some(Asked { at, .. }) = &self.asked {
            let elapsed = at.elapsed();
            desk.metrics.origin_seconds.observe(elapsed.as_secs_f64());
            self.is_answered = true;
            if response.status.is_server_error() {
                desk.metrics.origin_errors_total.inc();
                desk.outbox.origin_failed();
            } else {
                desk.outbox.origin_answered(elapsed.as_secs_f64() * 1000.0);
            }
        }
        let forward = &self.forward;
        response.insert_header(fields::VERDICT, HeaderValue::from_static(forward.verdict))?;
        let Some((room, pass)) = forward.room.as_ref().zip(forward.pass.as_ref()) else {
            return Ok(());
        };
        // What somebody inside sees is not for a shared cache: those in line would get it.
        let cache = response.headers.get_all(CACHE_CONTROL).iter();
        let private = fields::only_private(cache.map(|value| value.to_str().unwrap_or("no-store")));
        let private = match private {
            Cow::Borrowed(text) => HeaderValue::from_static(text),
            Cow::Owned(text) => {
                HeaderValue::try_from(text).or_err(ErrorType::InvalidHTTPHeader, "cache-control")?
            }
        };
        response.insert_header(CACHE_CONTROL, private)?;
        for name in fields::TARGETED {
            response.remove_header(&name);
        }
        let reason = match command.as_ref().and_then(|value| value.to_str().ok()) {
            Some(headers::COMMAND_REVOKE) => Some(EndReason::Revoked),
            Some(headers::COMMAND_FINISH) => Some(EndReason::Finished),
            _ => None,
        };
        if let Some(reason) = reason {
            desk.end(pass, reason, Timestamp::now());
        }
        if reason == Some(EndReason::Revoked) {
            for kind in [Kind::Pass, Kind::Place] {
                let cookie = cookies::clear(kind, room.event(), self.is_secure);
                response.append_header(SET_COOKIE, cookie)?;
            }
        } else {
            for cookie in &forward.cookies {
                response.append_header(SET_COOKIE, cookie)?;
            }
        }
        Ok(())
    }

    /// Counts a failure, if it is the origin's and came before its answer.
    pub fn count_failure(&self, desk: &Desk, error: &Error) {
        if self.asked.is_some() && is_upstream(error) && !self.is_answered {
            desk.metrics.origin_errors_total.inc();
            desk.outbox.origin_failed();
        }
    }
}

/// What the client is told when the origin's answer did not come; `None` if the client itself has
/// gone.
#[must_use]
pub fn failure(desk: &Desk, asked: &RequestHeader, error: &Error) -> Option<Answer> {
    let status = match error.etype() {
        ErrorType::HTTPStatus(status) => *status,
        ErrorType::ConnectTimedout | ErrorType::ReadTimedout if is_upstream(error) => 504,
        _ if is_upstream(error) => 502,
        // Nobody would read an answer.
        _ => return None,
    };
    Some(told(desk, asked, status))
}

/// What the client is told when its body is longer than what is let through.
#[must_use]
pub fn too_long(desk: &Desk, asked: &RequestHeader) -> Answer {
    told(desk, asked, 413)
}

fn is_upstream(error: &Error) -> bool {
    *error.esource() == ErrorSource::Upstream
}

fn told(desk: &Desk, asked: &RequestHeader, status: u16) -> Answer {
    let field = |name: HeaderName| asked.headers.get(name).and_then(|value| value.to_str().ok());
    let language = Language::wanted(field(ACCEPT_LANGUAGE));
    let wants = accept::wants(field(ACCEPT));
    desk.origin_failed(wants, language, field(HOST).unwrap_or_default(), status)
}
