//! Serves the console and the security page, which are part of the binary.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use crate::app::App;

/// Scripts and styles come from here and nowhere else, and nobody frames the pages.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'; object-src 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// Path, media type and text.
const PAGES: [(&str, &str, &str); 6] = [
    ("/console", HTML, include_str!("../../pages/console.html")),
    ("/security", HTML, include_str!("../../pages/security.html")),
    ("/assets/pages.css", CSS, include_str!("../../pages/pages.css")),
    ("/assets/common.js", JS, include_str!("../../pages/common.js")),
    ("/assets/console.js", JS, include_str!("../../pages/console.js")),
    ("/assets/security.js", JS, include_str!("../../pages/security.js")),
];

pub(super) fn routes() -> Router<Arc<App>> {
    PAGES.into_iter().fold(Router::new(), |router, (path, kind, text)| {
        router.route(path, get(move || async move { page(kind, text) }))
    })
}

fn page(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, text).into_response()
}
