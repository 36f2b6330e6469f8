//! Which of the edge's own addresses a request means.

use keys::EventId;

/// The edge's own addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `GET /api/v1/queue/{event}/front`
    Front(EventId),
    /// `POST /api/v1/queue/join`
    Join,
    /// `GET /api/v1/queue/status`
    Status,
    /// `POST /api/v1/queue/claim`
    Claim,
    /// `POST /api/v1/queue/evidence`
    Evidence,
    /// `POST /api/v1/queue/leave`
    Leave,
    /// `POST /api/v1/queue/transfer`
    Transfer,
    /// `POST /api/v1/queue/transfer/redeem`
    Redeem,
    /// `GET /.well-known/waiting-room/jwks.json`
    Jwks,
    /// `GET /.waiting-room/place`
    PlacePage,
    /// `GET /.waiting-room/draw`
    DrawPage,
    /// `GET /.well-known/waiting-room/openapi.json`
    Description,
    /// `GET /api/v1/queue/{event}/stream`
    Stream(EventId),
    /// `GET /.waiting-room/assets/{name}`
    Asset(String),
    /// Ours, but there is nothing.
    Nothing,
    /// Ours, but not with this method; these are allowed.
    WrongMethod(&'static str),
    /// Not ours.
    Foreign,
}

/// Finds the address. `path` is as it came: our own addresses have one spelling.
#[must_use]
pub fn route(method: &str, path: &str) -> Route {
    let get = |route: Route| match method {
        "GET" | "HEAD" => route,
        _ => Route::WrongMethod("GET, HEAD"),
    };
    let post = |route: Route| match method {
        "POST" => route,
        _ => Route::WrongMethod("POST"),
    };
    if let Some(name) = path.strip_prefix("/api/v1/queue/") {
        return match name {
            "join" => post(Route::Join),
            "status" => get(Route::Status),
            "claim" => post(Route::Claim),
            "evidence" => post(Route::Evidence),
            "leave" => post(Route::Leave),
            "transfer" => post(Route::Transfer),
            "transfer/redeem" => post(Route::Redeem),
            _ => match name.split_once('/').map(|(event, what)| (event.parse::<EventId>(), what)) {
                Some((Ok(event), "front")) => get(Route::Front(event)),
                Some((Ok(event), "stream")) => get(Route::Stream(event)),
                _ => Route::Nothing,
            },
        };
    }
    if let Some(name) = path.strip_prefix("/.waiting-room/") {
        return match name.strip_prefix("assets/") {
            Some(asset) => get(Route::Asset(asset.to_owned())),
            None if name == "place" => get(Route::PlacePage),
            None if name == "draw" => get(Route::DrawPage),
            None => Route::Nothing,
        };
    }
    match path {
        "/.well-known/waiting-room/jwks.json" => get(Route::Jwks),
        "/.well-known/waiting-room/openapi.json" => get(Route::Description),
        _ => Route::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn each_address_has_one_method_and_one_spelling() {
        let event: EventId = "final".parse().unwrap();
        check("GET",  "/api/v1/queue/final/front",            Route::Front(event.clone()));
        check("HEAD", "/api/v1/queue/final/front",            Route::Front(event));
        check("POST", "/api/v1/queue/final/front",            Route::WrongMethod("GET, HEAD"));
        check("GET",  "/api/v1/queue/final/stream",           Route::Stream("final".parse().unwrap()));
        check("GET",  "/api/v1/queue/final/x/front",          Route::Nothing);
        check("GET",  "/api/v1/queue/FINAL/front",            Route::Nothing);
        check("GET",  "/api/v1/queue//front",                 Route::Nothing);
        check("POST", "/api/v1/queue/join",                   Route::Join);
        check("GET",  "/api/v1/queue/join",                   Route::WrongMethod("POST"));
        check("GET",  "/api/v1/queue/status",                 Route::Status);
        check("POST", "/api/v1/queue/claim",                  Route::Claim);
        check("POST", "/api/v1/queue/evidence",               Route::Evidence);
        check("POST", "/api/v1/queue/leave",                  Route::Leave);
        check("POST", "/api/v1/queue/transfer",               Route::Transfer);
        check("POST", "/api/v1/queue/transfer/redeem",        Route::Redeem);
        check("GET",  "/api/v1/queue/transfer/redeem",        Route::WrongMethod("POST"));
        check("POST", "/api/v1/queue/transfer/x",             Route::Nothing);
        check("GET",  "/api/v1/queue/",                       Route::Nothing);
        check("GET",  "/.well-known/waiting-room/jwks.json",  Route::Jwks);
        check("GET",  "/.well-known/waiting-room/openapi.json", Route::Description);
        check("GET",  "/.waiting-room/place",                 Route::PlacePage);
        check("GET",  "/.waiting-room/draw",                  Route::DrawPage);
        check("POST", "/.waiting-room/draw",                  Route::WrongMethod("GET, HEAD"));
        check("GET",  "/.waiting-room/assets/waiting.js",     Route::Asset("waiting.js".into()));
        check("GET",  "/.waiting-room/x",                     Route::Nothing);
        check("GET",  "/events/final",                        Route::Foreign);
        check("GET",  "/api/v1/queues",                       Route::Foreign);
    }

    #[track_caller]
    fn check(method: &str, path: &str, expected: Route) {
        assert_eq!(route(method, path), expected, "{method} {path}");
    }
}
