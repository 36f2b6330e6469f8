//! Does a buyer hear from us, once, whatever the mail server thinks of it?

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::http::HeaderMap;
use axum::routing::post;

use super::after::eventually;
use super::*;

/// A real mail server in another process, which takes or refuses messages by a script.
pub(super) struct Sink {
    process: Child,
    port: u16,
    messages: Arc<Mutex<Vec<Value>>>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Sink {
    pub(super) fn open(script: &[&str]) -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let python = root.join(".tools/python/bin/python");
        let process = Command::new(&python)
            .arg(root.join("tests/support/smtp_sink.py"))
            .args(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut process = process
            .unwrap_or_else(|error| panic!("{}: {error}; scripts/install test", python.display()));
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        let messages: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = Arc::clone(&messages);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { process, port, messages }
    }

    pub(super) fn config(&self) -> String {
        format!(
            "shop_url = \"https://tickets.example.org/\"\nmail.host = \"127.0.0.1\"\n\
             mail.port = {}\nmail.security = \"none\"\n\
             mail.from = \"Tickets <tickets@example.org>\"\n",
            self.port
        )
    }

    pub(super) async fn messages(&self, count: usize) -> Vec<Value> {
        let look = || async {
            let messages = self.messages.lock().unwrap();
            (messages.len() >= count).then(|| messages.clone())
        };
        eventually(look, "the messages").await
    }
}

pub(super) fn header<'a>(message: &'a Value, name: &str) -> &'a str {
    let data = text(&message["data"]);
    let line = data.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no {name}: {data}")).split_once(':').unwrap().1.trim()
}

async fn buys(house: &House, more: Value) -> Value {
    let ana = house.visitor();
    let hold = ana.hold(&[3]).await;
    let mut body = json!({ "hold": hold, "payment_token": "tok_ok", "name": "Zoë <b>" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ana.order(body, "key").await.succeeds(201)
}

async fn delivery_is(house: &House, order: &Value, state: &str) -> Value {
    let look = || async {
        let delivery = house.view_order(order).await["deliveries"][0].clone();
        (delivery["state"] == state).then_some(delivery)
    };
    eventually(look, state).await
}

#[tokio::test]
async fn tickets_arrive_in_the_buyers_language_once_the_mail_server_takes_them() {
    let sink = Sink::open(&["451", "451", "ok"]);
    let house = House::open_with(&sink.config()).await;
    let order = buys(&house, json!({ "email": "zoe@example.net", "locale": "de-AT" })).await;
    let delivery = delivery_is(&house, &order, "sent").await;
    assert_eq!(
        (&delivery["message"], &delivery["to"]),
        (&json!("tickets"), &json!("z…@example.net"))
    );
    let messages = sink.messages(1).await;
    assert_eq!((messages.len(), &messages[0]["to"]), (1, &json!(["zoe@example.net"])));
    let data = text(&messages[0]["data"]);
    for part in ["text/plain", "text/html", "application/pdf", "tickets.pdf", "Ihre Tickets"] {
        assert!(data.contains(part), "{part} is not in {data}");
    }
    let html = data.split("text/html").nth(1).unwrap().replace("=\r\n", "").replace("=\n", "");
    assert!(html.contains("&lt;b&gt;") && !html.contains("<b>"), "a name is no markup: {html}");
    assert!(!header(&messages[0], "message-id").contains(text(&order["order"])));
    let metrics = house.get_internal_text("/metrics").await;
    assert!(
        metrics.contains("origin_post_total{channel=\"mail\",outcome=\"later\"} 2"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_is_sent_again_under_the_same_name() {
    let sink = Sink::open(&["cut", "ok"]);
    let mut house = House::open_with(&sink.config()).await;
    let order = buys(&house, json!({ "email": "zoe@example.net" })).await;
    sink.messages(1).await;
    // The log does not know that it arrived: a crash now, and it is sent once more.
    house.stop().await;
    house.start(&sink.config()).await;
    let messages = sink.messages(2).await;
    assert_eq!(header(&messages[0], "message-id"), header(&messages[1], "message-id"));
    delivery_is(&house, &order, "sent").await;
}

#[tokio::test]
async fn what_is_refused_for_ever_is_shown_and_not_tried_again() {
    let sink = Sink::open(&["550"]);
    let house = House::open_with(&sink.config()).await;
    let order = buys(&house, json!({ "email": "nobody@example.net" })).await;
    let delivery = delivery_is(&house, &order, "undeliverable").await;
    assert!(text(&delivery["why"]).contains("as I was told"), "{delivery}");
    let listed = house.internal("/internal/v1/undeliverable").await;
    assert_eq!(listed["messages"][0]["order"], order["order"]);
    assert_eq!(listed["messages"][0]["to"], "n…@example.net");
}

#[tokio::test]
async fn tickets_are_sent_again_when_asked_but_not_at_once() {
    let sink = Sink::open(&["ok"]);
    let house = House::open_with(&sink.config()).await;
    let order = buys(&house, json!({ "email": "zoe@example.net" })).await;
    delivery_is(&house, &order, "sent").await;
    let path = format!("/api/v1/orders/{}/send", text(&order["order"]));
    let url = format!("{}{path}", house.base);
    house.send(house.client.post(url)).await.is(429, "send-too-soon");
    let without = House::open().await;
    let order = buys(&without, json!({ "email": "zoe@example.net" })).await;
    let url = format!("{}/api/v1/orders/{}/send", without.base, text(&order["order"]));
    without.send(without.client.post(url)).await.is(409, "no-address");
}

#[tokio::test]
async fn a_telephone_gets_a_line_with_the_link_once_its_service_answers() {
    type Heard = Arc<Mutex<Vec<(String, Value)>>>;
    let heard: Heard = Arc::default();
    let kept = Arc::clone(&heard);
    let answer = move |headers: HeaderMap, body: axum::Json<Value>| async move {
        let key = headers["idempotency-key"].to_str().unwrap().to_owned();
        assert_eq!(headers["authorization"], "Bearer token-of-the-service");
        let mut heard = kept.lock().unwrap();
        heard.push((key, body.0));
        if heard.len() == 1 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/messages", listener.local_addr().unwrap());
    let service = axum::Router::new().route("/messages", post(answer));
    let service = tokio::spawn(async { axum::serve(listener, service).await });
    let config = format!(
        "shop_url = \"https://tickets.example.org\"\nsms.url = \"{url}\"\n\
         sms.token = \"token-of-the-service\"\n"
    );
    let house = House::open_with(&config).await;
    let order = buys(&house, json!({ "phone": "+15550100100", "locale": "fr" })).await;
    let delivery = delivery_is(&house, &order, "sent").await;
    assert_eq!((&delivery["channel"], &delivery["to"]), (&json!("sms"), &json!("…00")));
    let heard = heard.lock().unwrap().clone();
    assert_eq!((heard.len(), &heard[0]), (2, &heard[1]));
    assert_eq!(heard[0].1["to"], "+15550100100");
    let link = format!("https://tickets.example.org/orders/{}", text(&order["order"]));
    assert!(text(&heard[0].1["text"]).ends_with(&link));
    assert!(text(&heard[0].1["text"]).starts_with("Vos billets"));
    service.abort();
}

/// A certificate for localhost that nobody but its own file vouches for.
fn certificate() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let done = Command::new(root.join(".tools/python/bin/python"))
        .arg(root.join("tests/support/make_certificate.py"))
        .arg(folder.path())
        .status();
    assert!(done.unwrap().success());
    folder
}

#[tokio::test]
async fn mail_goes_by_tls_from_the_first_byte_or_after_a_word_and_only_to_who_is_vouched_for() {
    let folder = certificate();
    let path = folder.path().to_str().unwrap();
    for security in ["starttls", "tls"] {
        let sink = Sink::open(&[security, path, "ok"]);
        let config = |ca_file: &str| {
            let config = sink.config().replace("\"none\"", &format!("\"{security}\""));
            config.replace("127.0.0.1", "localhost") + ca_file
        };
        let house =
            House::open_with(&config(&format!("mail.ca_file = \"{path}/cert.pem\"\n"))).await;
        let order = buys(&house, json!({ "email": "zoe@example.net" })).await;
        delivery_is(&house, &order, "sent").await;
        let messages = sink.messages(1).await;
        let version = text(&messages[0]["tls"]);
        assert!(["TLSv1.2", "TLSv1.3"].contains(&version), "{security}: {version}");
        // Nobody vouches for it: nothing is sent, and nothing is given up either.
        let stranger = House::open_with(&config("")).await;
        let order = buys(&stranger, json!({ "email": "zoe@example.net" })).await;
        let later = "origin_post_total{channel=\"mail\",outcome=\"later\"}";
        let look =
            async || stranger.get_internal_text("/metrics").await.contains(later).then_some(());
        eventually(look, "that it is tried later").await;
        assert_eq!(stranger.view_order(&order).await["deliveries"][0]["state"], "due");
        assert_eq!(sink.messages(1).await.len(), 1);
    }
}
