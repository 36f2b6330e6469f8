//! Speaks to the controller: one call a method, each with a deadline.

use std::time::Duration;

use admission_api::{
    Claim, ClaimOutcome, EndRequest, Lease, LeaseRequest, Renewal, RenewalOutcome, Sync, SyncReply,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::ControllerConfig;

/// A visitor waits for these calls, so they give up early and the page says "hold on".
const CALL_TIME_MAX: Duration = Duration::from_secs(2);
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

/// A client of one controller.
#[derive(Debug)]
pub struct Controller {
    http: reqwest::Client,
    base: String,
    bearer: String,
}

impl Controller {
    /// A client with its own connection pool.
    ///
    /// # Errors
    /// If the HTTP client cannot be set up.
    pub fn new(config: &ControllerConfig) -> Result<Self, ControllerError> {
        let http = reqwest::Client::builder()
            .timeout(CALL_TIME_MAX)
            .pool_idle_timeout(Duration::from_secs(20))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let base = config.url.trim_end_matches('/').to_owned();
        Ok(Self { http, base, bearer: format!("Bearer {}", config.token.expose()) })
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
        self.call("sync", request).await
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
        self.post("end", request).await.map(|_| ())
    }

    async fn call<T: DeserializeOwned>(
        &self,
        call: &'static str,
        body: &impl Serialize,
    ) -> Result<T, ControllerError> {
        let bytes = self.post(call, body).await?;
        serde_json::from_slice(&bytes).map_err(|source| ControllerError::Answer { call, source })
    }

    async fn post(
        &self,
        call: &'static str,
        body: &impl Serialize,
    ) -> Result<Vec<u8>, ControllerError> {
        let url = format!("{}/edge/v1/{call}", self.base);
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
}
