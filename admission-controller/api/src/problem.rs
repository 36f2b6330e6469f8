//! One shape for every refusal over HTTP: `application/problem+json` (RFC 9457).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A refusal that a client can act on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:waiting-room:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// What is wrong, in a few words that do not vary.
    pub title: String,
    /// The HTTP status, repeated.
    pub status: u16,
    /// Stable code, for programs: kebab-case.
    pub code: String,
    /// What is wrong with this request, and what was expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Further members.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Problem {
    /// The media type.
    pub const MEDIA_TYPE: &'static str = "application/problem+json";

    /// A problem with its code and title.
    #[must_use]
    pub fn new(status: u16, code: &str, title: &str) -> Self {
        Self {
            kind: format!("urn:waiting-room:{code}"),
            title: title.to_owned(),
            status,
            code: code.to_owned(),
            detail: None,
            more: Map::new(),
        }
    }

    /// Adds what is wrong with this request.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }
}
