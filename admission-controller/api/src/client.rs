//! Talks to an edge for apps in Rust: join, look, claim, leave. The feature `client`; without it this
//! crate is types only.
//!
//! ```no_run
//! # async fn enter() -> Result<(), Box<dyn std::error::Error>> {
//! use admission_api::client::{Line, State};
//! let mut line = Line::new("https://shop.example", "wc2026-final".parse()?)?;
//! line.join().await?;
//! while line.status().await?.state != State::YourTurn {
//!     tokio::time::sleep(line.next_look()).await;
//! }
//! let pass = line.claim().await?.pass;
//! # Ok(()) }
//! ```

use std::time::Duration;

use keys::{EventId, Front, Lane, Pass, Phase, Place, Sealed};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Problem, headers};

/// Longest wait for an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest answer that is read, in bytes: a front with its signature has about 3,000.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Where a place stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its turn has not come.
    Waiting,
    /// It may claim.
    YourTurn,
    /// It has entered.
    Admitted,
}

/// What an edge says of a place.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// Where it stands.
    pub state: State,
    /// What the room is doing.
    pub phase: Phase,
    /// Its lane.
    pub lane: Lane,
    /// Its number.
    pub num: u64,
    /// Its position; `None` before a draw is opened.
    pub position: Option<u64>,
    /// The front of its lane.
    pub front: u64,
    /// How many are ahead.
    pub ahead: Option<u64>,
    /// When it ends, in seconds since the epoch.
    pub expires_at: u64,
    /// The place, to be kept and shown again.
    pub place: String,
    /// When to look again, in seconds.
    pub poll_secs: u32,
}

/// The answer to a claim.
#[derive(Debug, Clone, Deserialize)]
pub struct Admitted {
    /// Lets through until it ends; sent with each request as `Waiting-Room-Pass`.
    pub pass: Sealed<Pass>,
    /// When that is, in seconds since the epoch.
    pub until: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The edge refused, and says why and perhaps when to ask again.
    #[error("{} ({}): {}", problem.code, problem.status, problem.detail.as_deref().unwrap_or(&problem.title))]
    Refused {
        /// Why.
        problem: Box<Problem>,
        /// After this long it may be asked again.
        retry_after: Option<Duration>,
    },
    /// No answer came.
    #[error("the edge did not answer")]
    Unreachable(#[from] reqwest::Error),
    /// Not what an edge answers.
    #[error("status {status}, and the answer is not one of an edge")]
    Foreign {
        /// The status.
        status: u16,
    },
}

/// A code that moves a place to another device, once.
#[derive(Debug, Clone, Deserialize)]
pub struct TransferCode {
    /// As people type it.
    pub code: String,
    /// It is good until here, in seconds since the epoch.
    pub expires_at: u64,
}

#[derive(Serialize)]
struct Body<'a> {
    event_id: &'a EventId,
    #[serde(flatten)]
    extra: Extra<'a>,
}

/// What some requests say beside the event.
#[derive(Default, Serialize)]
struct Extra<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_code: Option<&'a str>,
}

#[derive(Deserialize)]
struct FrontBody {
    front: Front,
}

/// One visitor's way through the line of one event.
#[derive(Debug)]
pub struct Line {
    http: reqwest::Client,
    base: String,
    event: EventId,
    place: Option<Sealed<Place>>,
    poll_secs: u32,
}

impl Line {
    /// A visitor without a place. `base` is the address of the site, for example
    /// `https://shop.example`.
    ///
    /// # Errors
    /// If no client can be set up.
    pub fn new(base: &str, event: EventId) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder().timeout(ANSWER_TIME_MAX).build()?;
        let base = base.trim_end_matches('/').to_owned();
        Ok(Self { http, base, event, place: None, poll_secs: 1 })
    }

    /// Goes on with a place that was kept.
    #[must_use]
    pub fn with_place(mut self, place: Sealed<Place>) -> Self {
        self.place = Some(place);
        self
    }

    /// The place, to be kept.
    #[must_use]
    pub fn place(&self) -> Option<&Sealed<Place>> {
        self.place.as_ref()
    }

    /// How long to wait before looking again.
    #[must_use]
    pub fn next_look(&self) -> Duration {
        Duration::from_secs(u64::from(self.poll_secs.max(1)))
    }

    /// Takes a place at the end of the line, or gives the one that is held.
    ///
    /// # Errors
    /// If the edge refuses or does not answer.
    pub async fn join(&mut self) -> Result<Status, ClientError> {
        let answer = self.post("join", Extra::default()).await?;
        Ok(self.keep(answer))
    }

    /// Moves the place to the priority lane.
    ///
    /// # Errors
    /// If the edge refuses or does not answer; a place that is held is kept.
    pub async fn join_with_code(&mut self, access_code: &str) -> Result<Status, ClientError> {
        let extra = Extra { access_code: Some(access_code), ..Extra::default() };
        let answer = self.post("join", extra).await?;
        Ok(self.keep(answer))
    }

    /// Where the place stands.
    ///
    /// # Errors
    /// If the edge refuses or does not answer; `no-place` if there is none.
    pub async fn status(&mut self) -> Result<Status, ClientError> {
        let url = format!("{}/api/v1/queue/status?event_id={}", self.base, self.event);
        let answer = self.read(self.http.get(url)).await?;
        Ok(self.keep(answer))
    }

    /// The front that everybody shares.
    ///
    /// # Errors
    /// If the edge refuses or does not answer.
    pub async fn front(&self) -> Result<Front, ClientError> {
        let url = format!("{}/api/v1/queue/{}/front", self.base, self.event);
        Ok(self.read::<FrontBody>(self.http.get(url)).await?.front)
    }

    /// Enters.
    ///
    /// # Errors
    /// If the edge refuses or does not answer; `not-yet` if it is not the turn.
    pub async fn claim(&self) -> Result<Admitted, ClientError> {
        self.post("claim", Extra::default()).await
    }

    /// A code that moves the place to another device.
    ///
    /// # Errors
    /// If the edge refuses or does not answer.
    pub async fn transfer(&self) -> Result<TransferCode, ClientError> {
        self.post("transfer", Extra::default()).await
    }

    /// Takes over the place of the device that shows this code; there it is void from now on.
    ///
    /// # Errors
    /// If the edge refuses or does not answer; `unknown-code` if the code is good for nothing.
    pub async fn redeem(&mut self, code: &str) -> Result<Status, ClientError> {
        let answer =
            self.post("transfer/redeem", Extra { code: Some(code), ..Extra::default() }).await?;
        Ok(self.keep(answer))
    }

    async fn post<T: DeserializeOwned>(
        &self,
        name: &str,
        extra: Extra<'_>,
    ) -> Result<T, ClientError> {
        let url = format!("{}/api/v1/queue/{name}", self.base);
        self.read(self.http.post(url).json(&Body { event_id: &self.event, extra })).await
    }

    async fn read<T: DeserializeOwned>(
        &self,
        mut request: reqwest::RequestBuilder,
    ) -> Result<T, ClientError> {
        request = request.header("accept", "application/json");
        if let Some(place) = &self.place {
            request = request.header(headers::PLACE, place.as_str());
        }
        let mut answer = request.send().await?;
        let status = answer.status();
        let retry_after = answer.headers().get("retry-after");
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let foreign = ClientError::Foreign { status: status.as_u16() };
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(foreign);
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|_| foreign);
        }
        let problem = serde_json::from_slice(&body).map_err(|_| foreign)?;
        Err(ClientError::Refused { problem, retry_after: retry_after.map(Duration::from_secs) })
    }

    fn keep(&mut self, status: Status) -> Status {
        self.place = Some(Sealed::new(status.place.as_str()));
        self.poll_secs = status.poll_secs;
        status
    }
}
