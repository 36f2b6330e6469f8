//! Who follows the seats hears of them; who may not is told what they may.

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

use super::*;
use crate::live::frame::{Applied, Frame, Known, Plane, decode};

const SEATS: u32 = 82_500;
const SOON: Duration = Duration::from_secs(10);

/// A server-sent event, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    id: Option<u64>,
    kind: String,
    data: String,
}

impl Told {
    fn frame(&self) -> Frame {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.decode(&self.data).unwrap();
        decode(&bytes, SEATS).unwrap()
    }
}

/// Somebody who reads a stream.
struct Listening {
    answer: reqwest::Response,
    unread: String,
}

impl Listening {
    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some((event, rest)) = self.unread.split_once("\n\n") {
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines.find_map(|line| line.strip_prefix(name)).map(str::to_owned)
                };
                let told = field("event: ").map(|kind| Told {
                    id: field("id: ").map(|id| id.parse().unwrap()),
                    kind,
                    data: field("data: ").unwrap(),
                });
                self.unread = rest.to_owned();
                match told {
                    Some(told) => return Some(told),
                    None => continue, // a heartbeat
                }
            }
            let chunk = tokio::time::timeout(SOON, self.answer.chunk()).await;
            let chunk: Option<Bytes> = chunk.expect("something within seconds").unwrap_or(None);
            self.unread.push_str(std::str::from_utf8(&chunk?).unwrap());
        }
    }

    async fn next_frame(&mut self) -> (Told, Frame) {
        loop {
            let told = self.next().await.expect("the stream goes on");
            if told.kind != "mode" {
                let frame = told.frame();
                return (told, frame);
            }
        }
    }

    async fn next_mode(&mut self) -> String {
        loop {
            let told = self.next().await.expect("the stream goes on");
            if told.kind == "mode" {
                return told.data;
            }
        }
    }
}

impl Visitor<'_> {
    async fn listen(&self, rest: &str, last: Option<u64>) -> Listening {
        let mut request = self.request(Method::GET, &format!("/stream{rest}"));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        Listening { answer, unread: String::new() }
    }

    async fn get(&self, path: &str) -> Seen {
        self.house.send(self.request(Method::GET, path)).await
    }

    async fn known(&self) -> Known {
        let request = self.request(Method::GET, "/availability");
        let request = request.header("Accept", "application/vnd.waiting-room.seats");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/vnd.waiting-room.seats");
        assert_eq!(answer.headers()["vary"], "accept, accept-encoding");
        let frame = decode(&answer.bytes().await.unwrap(), SEATS).unwrap();
        let Frame::Snapshot { seq, plane } = frame else { panic!("expected a snapshot") };
        Known { seq, plane }
    }
}

impl House {
    async fn pin(&self, body: Value) -> Seen {
        let request = self.client.put(format!("{}/internal/v1/mode", self.internal));
        self.send(request.bearer_auth(TOKEN).json(&body)).await
    }
}

#[tokio::test]
async fn who_follows_hears_of_a_hold_and_of_its_release() {
    let mut house = House::open().await;
    let (ana, ben) = (house.visitor(), house.visitor());
    let mut known = ben.known().await;
    let mut stream = ben.listen(&format!("?since={}", known.seq), None).await;
    let hold = ana.hold(&[10, 11, 12, 500]).await;
    let (told, frame) = stream.next_frame().await;
    assert_eq!((told.kind.as_str(), told.data.len()), ("changes", 12), "{told:?}");
    assert_eq!(known.apply(frame), Applied::Yes);
    assert_eq!(told.id, Some(known.seq));
    assert!([10, 11, 12, 500].iter().all(|seat| known.plane.is_taken(*seat)));
    house.send(ana.request(Method::DELETE, &format!("/holds/{hold}"))).await.succeeds(204);
    let (_, frame) = stream.next_frame().await;
    assert_eq!(known.apply(frame), Applied::Yes);
    assert_eq!(known, ben.known().await);
    house.stop().await;
}

#[tokio::test]
async fn a_reader_who_was_away_gets_what_they_missed_or_one_snapshot() {
    let mut house = House::open().await;
    let ana = house.visitor();
    let mut stream = ana.listen("", None).await;
    let (first, snapshot) = stream.next_frame().await;
    assert_eq!(first.kind, "snapshot", "who knows nothing gets everything");
    let Frame::Snapshot { seq, plane } = snapshot else { panic!("expected a snapshot") };
    let mut known = Known { seq, plane };
    ana.hold(&[1]).await;
    let (told, frame) = stream.next_frame().await;
    known.apply(frame);
    drop(stream);
    ana.hold(&[3]).await;
    ana.hold(&[5]).await;
    let mut back = ana.listen("?since=0", told.id).await;
    while !known.plane.is_taken(5) {
        let (told, frame) = back.next_frame().await;
        assert_eq!((told.kind.as_str(), known.apply(frame)), ("changes", Applied::Yes));
    }
    assert!(known.plane.is_taken(3));
    let mut other = ana.listen("", Some(u64::MAX)).await;
    assert_eq!(other.next_frame().await.0.kind, "snapshot", "that number is from elsewhere");
    drop((back, other));
    house.stop().await;
}

#[tokio::test]
async fn a_websocket_carries_the_same_frames() {
    let mut house = House::open().await;
    let ana = house.visitor();
    let mut events = ana.listen("?since=0", None).await;
    let url = format!("{}/api/v1/events/{FINAL}/ws?since=0", house.base.replace("http", "ws"));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("Waiting-Room-Pass", ana.pass.parse().unwrap());
    let (mut socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(response.headers()["seat-mode"], "map");
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("map"));
    ana.hold(&[7]).await;
    let (_, expected) = events.next_frame().await;
    let Message::Binary(frame) = socket.next().await.unwrap().unwrap() else { panic!("no frame") };
    assert_eq!(decode(&frame, SEATS).unwrap(), expected);
    house.pin(json!({ "mode": "polled" })).await.succeeds(200);
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("polled"));
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));
    ana.get("/ws").await.is(426, "upgrade-required");
    drop(socket);
    house.stop().await;
}

/// A reader who came to a process that has not the event hears what the owner's readers hear.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_and_websockets_come_through_a_process_that_has_not_the_event() {
    let (mut owner, mut other) = fleet::owner_and_other("").await;
    for house in [&owner, &other] {
        // Whatever the load of this machine.
        house.pin(json!({ "mode": "map" })).await.succeeds(200);
    }
    let ana = owner.visitor();
    let elsewhere = other.same(&ana);
    let mut stream = elsewhere.listen("?since=0", None).await;
    let url = format!("{}/api/v1/events/{FINAL}/ws?since=0", other.base.replace("http", "ws"));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("Waiting-Room-Pass", ana.pass.parse().unwrap());
    let (mut socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(response.headers()["seat-mode"], "map");
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("map"));
    ana.hold(&[7]).await;
    let (told, frame) = stream.next_frame().await;
    assert_eq!(told.kind, "changes");
    let mut known = Known { seq: 0, plane: Plane::empty(SEATS) };
    known.apply(frame);
    assert!(known.plane.is_taken(7));
    let Message::Binary(bytes) = socket.next().await.unwrap().unwrap() else { panic!("no frame") };
    assert_eq!(decode(&bytes, SEATS).unwrap(), told.frame());
    // Whoever passes on can stop while somebody listens.
    other.stop().await;
    assert!(!matches!(socket.next().await, Some(Ok(Message::Binary(_)))), "it ends");
    owner.stop().await;
}

#[tokio::test]
async fn each_level_takes_something_away_and_says_what_is_left() {
    let mut house = House::open().await;
    let ana = house.visitor();
    let hold = ana.hold(&[1]).await;
    let mut stream = ana.listen("?since=9", None).await;
    assert_eq!(stream.next_mode().await, "map");
    let best = json!({ "best": { "quantity": 1 } });
    let zones = format!("/api/v1/events/{FINAL}/zones");

    house.pin(json!({ "mode": "slow-map" })).await.succeeds(200);
    assert_eq!(stream.next_mode().await, "slow-map");
    house.pin(json!({ "mode": "polled" })).await.succeeds(200);
    assert_eq!(stream.next_mode().await, "polled");
    assert_eq!(stream.next().await, None, "the stream ends");
    let refused = ana.get("/stream").await.is(409, "mode");
    assert_eq!(refused.body["allowed"], format!("/api/v1/events/{FINAL}/availability"));
    let seen = ana.get("/availability").await;
    assert_eq!(seen.headers["cache-control"], "public, max-age=0, s-maxage=2");
    assert_eq!(seen.headers["seat-mode"], "polled");
    assert!(!seen.headers.contains_key("set-cookie"));

    house.pin(json!({ "mode": "list" })).await.succeeds(200);
    assert_eq!(ana.get("/availability").await.is(409, "mode").body["allowed"], zones);
    let told = ana.get("/zones").await.succeeds(200);
    let free = told["zones"].as_array().unwrap().iter().map(|zone| zone["free"].as_u64().unwrap());
    assert_eq!((told["free"].as_u64().unwrap(), free.sum()), (82_499, 82_499_u64));
    ana.holds(json!({ "seats": [3] })).await.succeeds(201);

    house.pin(json!({ "mode": "best-only" })).await.succeeds(200);
    let refused = ana.holds(json!({ "seats": [4] })).await.is(409, "mode");
    assert_eq!(refused.body["mode"], "best-only");
    assert_eq!(refused.body["allowed"], format!("/api/v1/events/{FINAL}/holds"));
    ana.holds(best.clone()).await.succeeds(201);

    house.pin(json!({ "mode": "paused" })).await.succeeds(200);
    ana.holds(best.clone()).await.is(409, "mode");
    ana.get(&format!("/holds/{hold}")).await.succeeds(200);
    let order = json!({ "hold": hold, "payment_token": "tok_ok", "name": "Ana" });
    let order = ana.request(Method::POST, "/orders").header("Idempotency-Key", "k").json(&order);
    let seen = house.send(order).await;
    assert_eq!(seen.headers["seat-mode"], "paused");
    seen.succeeds(201);

    house.pin(json!({ "mode": "map", "event": FINAL })).await.succeeds(200);
    ana.holds(best).await.succeeds(201);
    house.pin(json!({ "mode": "list", "event": "nothing" })).await.is(404, "unknown-event");
    house.pin(json!({ "mode": "fast" })).await.is(422, "invalid-request");
    let url = format!("{}/internal/v1/mode", house.internal);
    house.send(house.client.get(url)).await.is(401, "unauthorized");
    house.stop().await;
}

#[tokio::test]
async fn streams_are_bounded_and_end_with_the_pass() {
    let mut house = House::open_with(
        "live.streams_max = 2\nlive.streams_per_event_max = 2\nlive.streams_per_visitor_max = 1",
    )
    .await;
    let (ana, ben, cleo) = (house.visitor(), house.visitor(), house.visitor());
    let mut first = ana.listen("", None).await;
    let refused = ana.get("/stream").await.is(429, "too-many-streams");
    assert_eq!(
        (&refused.body["max"], refused.headers.contains_key("retry-after")),
        (&json!(1), true)
    );
    let second = ben.listen("", None).await;
    cleo.get("/stream").await.is(503, "streams-full");
    assert_eq!(first.next_mode().await, "map");
    drop(second);
    // Nobody tells us when a place is free again but the next one who asks.
    while cleo.request(Method::GET, "/stream").send().await.unwrap().status() != 200 {
        tokio::task::yield_now().await;
    }
    let short = house.pass(FINAL, 0, 2);
    let short = house.keyring.seal(&short, Timestamp::now()).unwrap().as_str().to_owned();
    drop(first);
    let dora = Visitor { house: &house, pass: short };
    let mut stream = loop {
        let answer = dora.request(Method::GET, "/stream").send().await.unwrap();
        if answer.status() == 200 {
            break Listening { answer, unread: String::new() };
        }
    };
    while stream.next().await.is_some() {}
    dora.get("/stream").await.is(403, "pass-required");
    house.stop().await;
}

#[tokio::test]
async fn the_load_report_tells_waits_level_and_what_comes_back() {
    let mut house = House::open().await;
    let ana = house.visitor();
    ana.hold(&[1, 2, 3, 4, 5, 6, 7]).await;
    let report = house.internal("/internal/v1/load").await;
    let sum = |name: &str| report[name].as_array().unwrap().iter().map(|n| n.as_u64().unwrap());
    let waited = sum("queue_delay").sum::<u64>();
    assert!(waited >= 1, "{report}");
    assert_eq!(sum("service").sum::<u64>(), waited);
    assert_eq!(report["seat_mode_level"], 0);
    let stock = &report["stock"][0];
    assert_eq!(
        (&stock["held"], &stock["holds"], &stock["blocked"]),
        (&json!(7), &json!(1), &json!(0))
    );
    let expected = [vec![0; 9], vec![2]].concat();
    assert_eq!(stock["expected_returns"], json!(expected), "0.3 of 7, in the tenth minute");
    house.stop().await;
}
