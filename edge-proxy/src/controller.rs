//! Speaks to the controllers: one call a method, each with a deadline.
//!
//! Any of them will do. We stay with the one that answers, and ask the next when it does not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use admission_api::{
    Claim, ClaimOutcome, EndRequest, Lease, LeaseRequest, PriorityOutcome, PriorityRequest,
    RedeemOutcome, RedeemRequest, Renewal, RenewalOutcome, Sync, SyncReply, TransferOutcome,
    TransferRequest,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::ControllerConfig;

/// A visitor waits for these calls, so they give up early and the page says "hold on".
const CALL_TIME_MAX: Duration = Duration::from_secs(2);
/// The same for each controller, if there are several: time is left to ask the next.
const ATTEMPT_TIME_MAX: Duration = Duration::from_millis(900);
/// Longest answer that is read, in bytes: a few hundred rooms.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Why the controller gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// It could not be reached, or not in time.
    #[error("controller cannot be reached")]
    Http(#[from] reqwest::Error),
    /// It refused.
    #[error("controller answered {status} to {call}")]
    Status {
        /// Which call.
        call: &'static str,
        /// The status.
        status: u16,
    },
    /// Its answer is not what was expected.
    #[error("controller's answer to {call} is not understood")]
    Answer {
        /// Which call.
        call: &'static str,
        /// The cause.
        source: serde_json::Error,
    },
    /// It did not answer somebody else just now, and is not asked again yet.
    #[error("controller gave no answer to {call} just now")]
    Lately {
        /// Which call.
        call: &'static str,
    },
    /// Its answer is longer than any answer of a controller.
    #[error("controller's answer to {call} is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong {
        /// Which call.
        call: &'static str,
    },
}

impl ControllerError {
    /// Whether the same request would be refused again, however often it is sent. Who we are and
    /// how often we may ask is no fault of the request.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Status { status, .. } => {
                (400..500).contains(status) && !matches!(status, 401 | 403 | 408 | 429)
            }
            Self::Http(_) | Self::Answer { .. } | Self::Lately { .. } | Self::TooLong { .. } => {
                false
            }
        }
    }
}

/// A client of all controllers.
#[derive(Debug)]
pub struct Controller {
    http: reqwest::Client,
    bases: Vec<String>,
    bearer: String,
    /// Which of them answers.
    current: AtomicUsize,
    /// With which of them we synced last.
    synced_with: AtomicUsize,
}

impl Controller {
    /// A client with its own connection pool.
    ///
    /// # Errors
    /// If the HTTP client cannot be set up.
    pub fn new(config: &ControllerConfig) -> Result<Self, ControllerError> {
        let bases = std::iter::once(&config.url).chain(&config.other_urls);
        let bases: Vec<String> = bases.map(|url| url.trim_end_matches('/').to_owned()).collect();
        let time_max = if bases.len() == 1 { CALL_TIME_MAX } else { ATTEMPT_TIME_MAX };
        let http = reqwest::Client::builder()
            .timeout(time_max)
            .pool_idle_timeout(Duration::from_secs(20))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            http,
            bases,
            bearer: format!("Bearer {}", config.token.expose()),
            current: AtomicUsize::new(0),
            synced_with: AtomicUsize::new(0),
        })
    }

    /// Numbers to hand out.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn lease(&self, request: &LeaseRequest) -> Result<Lease, ControllerError> {
        self.call("lease", request).await
    }

    /// Reports, and hears what is new.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn sync(&self, request: &Sync) -> Result<SyncReply, ControllerError> {
        // Each controller has an order of its own for the ends of passes.
        let anew = Sync { revoked_after: 0, ..request.clone() };
        let synced_with = self.synced_with.load(Ordering::Relaxed);
        let body = |at| if at == synced_with { request } else { &anew };
        let (at, bytes) = self.post("sync", body).await?;
        self.synced_with.store(at, Ordering::Relaxed);
        serde_json::from_slice(&bytes)
            .map_err(|source| ControllerError::Answer { call: "sync", source })
    }

    /// Claims a turn.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn claim(&self, request: &Claim) -> Result<ClaimOutcome, ControllerError> {
        self.call("claim", request).await
    }

    /// Renews a pass.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn renew(&self, request: &Renewal) -> Result<RenewalOutcome, ControllerError> {
        self.call("renew", request).await
    }

    /// Ends a pass.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn end(&self, request: &EndRequest) -> Result<(), ControllerError> {
        self.post("end", |_| request).await.map(|_| ())
    }

    /// Shows why a place should be a priority one.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn priority(
        &self,
        request: &PriorityRequest,
    ) -> Result<PriorityOutcome, ControllerError> {
        self.call("priority", request).await
    }

    /// Asks for a code that moves a place to another device.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn transfer(
        &self,
        request: &TransferRequest,
    ) -> Result<TransferOutcome, ControllerError> {
        self.call("transfer", request).await
    }

    /// Uses such a code.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn redeem(&self, request: &RedeemRequest) -> Result<RedeemOutcome, ControllerError> {
        self.call("redeem", request).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        call: &'static str,
        body: &impl Serialize,
    ) -> Result<T, ControllerError> {
        let (_, bytes) = self.post(call, |_| body).await?;
        serde_json::from_slice(&bytes).map_err(|source| ControllerError::Answer { call, source })
    }

    /// Asks the one that answered last, then the others, until one answers or the time is over.
    async fn post<'a, T: Serialize + 'a>(
        &self,
        call: &'static str,
        body: impl Fn(usize) -> &'a T,
    ) -> Result<(usize, Vec<u8>), ControllerError> {
        let first = self.current.load(Ordering::Relaxed);
        let deadline = Instant::now() + CALL_TIME_MAX;
        let mut at = first;
        loop {
            let error = match self.post_to(&self.bases[at], call, body(at)).await {
                Ok(bytes) => {
                    if at != first {
                        let to = self.bases[at].as_str();
                        tracing::warn!(to, call, "another controller answers, we stay with it");
                        self.current.store(at, Ordering::Relaxed);
                    }
                    return Ok((at, bytes));
                }
                // The others would say the same.
                Err(error) if error.is_final() => return Err(error),
                Err(error) => error,
            };
            at = (at + 1) % self.bases.len();
            if at == first || Instant::now() >= deadline {
                // The next call begins with another one, so that none is skipped for ever.
                self.current.store(at, Ordering::Relaxed);
                return Err(error);
            }
        }
    }

    async fn post_to(
        &self,
        base: &str,
        call: &'static str,
        body: &impl Serialize,
    ) -> Result<Vec<u8>, ControllerError> {
        let url = format!("{base}/edge/v1/{call}");
        let request = self.http.post(url).header("authorization", &self.bearer).json(body);
        let mut response = request.send().await?;
        let status = response.status();
        if !status.is_success() {
            return Err(ControllerError::Status { call, status: status.as_u16() });
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(ControllerError::TooLong { call });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU16;
    use std::sync::{Arc, Mutex};

    use axum::Json;
    use axum::http::StatusCode;

    use super::*;

    #[test]
    fn only_what_is_wrong_with_the_request_itself_is_final() {
        for (status, is_final) in [
            (400, true),
            (404, true),
            (422, true),
            (401, false),
            (403, false),
            (408, false),
            (429, false),
            (500, false),
            (503, false),
        ] {
            let error = ControllerError::Status { call: "end", status };
            assert_eq!(error.is_final(), is_final, "{status}");
        }
        assert!(!ControllerError::Lately { call: "lease" }.is_final());
    }

    /// A controller that answers every sync after what it is told, or none, and counts.
    struct Stage {
        url: String,
        asked: Arc<AtomicUsize>,
        revoked_after: Arc<Mutex<Vec<u64>>>,
        status: Arc<AtomicU16>,
    }

    impl Stage {
        async fn start() -> Self {
            let asked = Arc::new(AtomicUsize::new(0));
            let revoked_after = Arc::new(Mutex::new(Vec::new()));
            let status = Arc::new(AtomicU16::new(200));
            let (count, seen, answer) = (asked.clone(), revoked_after.clone(), status.clone());
            let sync = move |Json(sync): Json<Sync>| async move {
                count.fetch_add(1, Ordering::Relaxed);
                seen.lock().unwrap().push(sync.revoked_after);
                let reply = SyncReply {
                    rooms: vec![],
                    fronts: vec![],
                    revoked: vec![],
                    revoked_upto: 7,
                    restored: vec![],
                    wants_held: false,
                };
                let status = StatusCode::from_u16(answer.load(Ordering::Relaxed)).unwrap();
                (status, Json(reply))
            };
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let app = axum::Router::new().route("/edge/v1/sync", axum::routing::post(sync));
            tokio::spawn(async move { axum::serve(listener, app).await });
            Self { url, asked, revoked_after, status }
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }

        fn answers(&self, status: u16) {
            self.status.store(status, Ordering::Relaxed);
        }
    }

    fn sync(revoked_after: u64) -> Sync {
        Sync {
            edge: "edge-1".parse().unwrap(),
            seq: 1,
            session: keys::Id128::from_bytes([1; 16]),
            gaps: vec![],
            suspicions: vec![],
            origin: admission_api::OriginSeen::default(),
            rooms: vec![],
            revoked_after,
            held: None,
        }
    }

    #[tokio::test]
    async fn we_stay_with_the_controller_that_answers() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (a, b) = (Stage::start().await, Stage::start().await);
        let token = keys::Secret::try_from("0123456789abcdef".to_owned()).unwrap();
        let nobody = "http://127.0.0.1:9".to_owned();
        let other_urls = vec![a.url.clone(), b.url.clone()];
        let config = ControllerConfig { url: nobody, other_urls, token };
        let controllers = Controller::new(&config).unwrap();
        let asked = || (a.asked(), b.asked());
        controllers.sync(&sync(5)).await.unwrap();
        controllers.sync(&sync(7)).await.unwrap();
        assert_eq!(asked(), (2, 0));
        a.answers(503);
        controllers.sync(&sync(7)).await.unwrap();
        controllers.sync(&sync(7)).await.unwrap();
        assert_eq!(asked(), (3, 2), "asked once in vain, and then left alone");
        // Each has an order of its own.
        assert_eq!(*a.revoked_after.lock().unwrap(), [0, 7, 7]);
        assert_eq!(*b.revoked_after.lock().unwrap(), [0, 7]);
        b.answers(422);
        let refused = controllers.sync(&sync(7)).await.unwrap_err();
        assert!(refused.is_final(), "{refused}");
        assert_eq!(asked(), (3, 3), "the other would say the same");
        b.answers(500);
        controllers.sync(&sync(7)).await.unwrap_err();
        a.answers(200);
        let replied = [controllers.sync(&sync(7)).await, controllers.sync(&sync(7)).await];
        assert!(replied.iter().any(Result::is_ok), "{replied:?}");
    }
}
