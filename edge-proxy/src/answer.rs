//! An answer that the edge gives itself.

use std::borrow::Cow;

use admission_api::{Problem, headers};
use bytes::Bytes;

use crate::accept::Wants;
use crate::pages::Html;

/// Status, fields and body of an answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Fields in order; `Content-Length` is added when it is written.
    pub fields: Vec<(&'static str, Cow<'static, str>)>,
    /// The body.
    pub body: Bytes,
    /// What the edge decided, for the verdict header and the metrics.
    pub verdict: &'static str,
}

/// Personal answers: never kept by anybody.
pub const NO_STORE: &str = "private, no-store";

impl Answer {
    /// An answer without body.
    #[must_use]
    pub fn empty(status: u16, verdict: &'static str) -> Self {
        let fields = vec![("cache-control", NO_STORE.into())];
        Self { status, fields, body: Bytes::new(), verdict }
    }

    /// A personal answer in JSON.
    #[must_use]
    pub fn json(status: u16, verdict: &'static str, body: &impl serde::Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(bytes) => Self::empty(status, verdict).body("application/json", bytes),
            Err(_) => Self::problem(&Problem::new(500, "internal", "Internal error"), verdict),
        }
    }

    /// A refusal for programs.
    #[must_use]
    pub fn problem(problem: &Problem, verdict: &'static str) -> Self {
        let bytes = serde_json::to_vec(problem).unwrap_or_default();
        Self::empty(problem.status, verdict).body(Problem::MEDIA_TYPE, bytes)
    }

    /// A refusal as `wants` asks for it: a problem, or `page` for a person.
    #[must_use]
    pub fn refusal(problem: &Problem, wants: Wants, page: Html<'_>, verdict: &'static str) -> Self {
        match wants {
            Wants::Data => Self::problem(problem, verdict),
            Wants::Page => Self::page(problem.status, verdict, page),
        }
    }

    /// A page made for one visitor.
    #[must_use]
    pub fn page(status: u16, verdict: &'static str, html: Html<'_>) -> Self {
        Self::empty(status, verdict).html(html.text, html.policy)
    }

    /// Sets a page as the body, with fields that keep it from being framed, sniffed, indexed or fed
    /// with foreign script.
    #[must_use]
    pub fn html(self, body: impl Into<Bytes>, policy: &str) -> Self {
        self.body("text/html; charset=utf-8", body)
            .with("content-security-policy", policy.to_owned())
            .with("x-content-type-options", "nosniff")
            .with("referrer-policy", "same-origin")
            .with("x-robots-tag", "noindex")
    }

    /// Sets body and media type.
    #[must_use]
    pub fn body(mut self, media_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.fields.push(("content-type", media_type.into()));
        self.body = body.into();
        self
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// Adds `Retry-After`.
    #[must_use]
    pub fn retry_after(self, secs: u64) -> Self {
        self.with("retry-after", secs.max(1).to_string())
    }

    /// Replaces `Cache-Control`.
    #[must_use]
    pub fn cached(self, value: impl Into<Cow<'static, str>>) -> Self {
        self.replacing("cache-control", value)
    }

    /// Replaces a field, or adds it.
    #[must_use]
    pub fn replacing(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.fields.retain(|(known, _)| *known != name);
        self.with(name, value)
    }

    /// The verdict as a field of the answer.
    #[must_use]
    pub fn verdict_field(&self) -> (&'static str, &'static str) {
        (headers::VERDICT, self.verdict)
    }
}

/// What a page of ours may load, and where it may be shown.
pub const PAGE_POLICY: &str = "default-src 'self'; img-src 'self' data:; base-uri 'none'; \
                           form-action 'self'; frame-ancestors 'none'";
