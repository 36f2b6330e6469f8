//! What did the client send? Bodies are JSON, short, and of a known shape.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;

use super::BODY_BYTES_MAX;
use super::problem::Refused;

/// A JSON body of a known shape. The route's own limit on bodies is `BYTES_MAX` as well.
#[derive(Debug)]
pub struct Json<T, const BYTES_MAX: usize = BODY_BYTES_MAX>(pub T);

impl<S, T, const BYTES_MAX: usize> FromRequest<S> for Json<T, BYTES_MAX>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or("");
        let is_json = kind
            .split(';')
            .next()
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
        if !is_json {
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Refused::new(status, "unsupported-media-type", "Send application/json"));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            let status = axum::response::IntoResponse::into_response(rejection).status();
            if status == StatusCode::PAYLOAD_TOO_LARGE {
                let expected = format!("at most {BYTES_MAX} bytes");
                Refused::new(status, "too-large", "The body is too large").detail(expected)
            } else {
                malformed("the body could not be read")
            }
        })?;
        serde_json::from_slice(&bytes).map(Json).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => Refused::invalid(error.to_string()),
            _ => malformed(&error.to_string()),
        })
    }
}

fn malformed(detail: &str) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, "malformed", "The body is not JSON").detail(detail)
}
