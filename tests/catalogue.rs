//! What an organiser adds is sold at once, and is there whatever is killed.

use std::time::Duration;

use keys::{Id128, Keyring, Lane, Pass, Risk, Timestamp};
use origin::OriginConfig;
use reqwest::Client;
use serde_json::{Value, json};

use super::support::processes::{Service, Services};

const EVENT: &str = "recital";

/// The box office of running processes.
struct BoxOffice {
    client: Client,
    config: OriginConfig,
    keys: Keyring,
}

impl BoxOffice {
    fn of(services: &Services) -> Self {
        let config = OriginConfig::load(&services.dir().join("origin.toml")).unwrap();
        let keys = Keyring::load(&services.dir().join("controller-1.keys.json")).unwrap();
        let client = Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
        Self { client, config, keys }
    }

    async fn put(&self, path: &str, body: Value) -> Value {
        let url = format!("http://{}/admin/v1{path}", self.config.internal_listen);
        let token = self.config.organisers[0].token.expose();
        let answer = self.client.put(url).bearer_auth(token).json(&body).send().await.unwrap();
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        assert!(status.is_success(), "{path} answers {status}: {body}");
        body
    }

    /// Somebody whom the controller let in holds seats; the status and the answer.
    async fn hold(&self, seats: &[u32]) -> (u16, Value) {
        let now = Timestamp::now();
        let pass = Pass {
            iss: "controller-1".parse().unwrap(),
            aud: EVENT.parse().unwrap(),
            sub: Id128::random(),
            jti: Id128::random(),
            iat: now,
            nbf: now,
            exp: now.plus_secs(600),
            lane: Lane::Standard,
            risk: Risk::Low,
            generation: 1,
            fpr: String::new(),
        };
        let pass = self.keys.seal(&pass, now).unwrap();
        let url = format!("http://{}/api/v1/events/{EVENT}/holds", self.config.listen);
        let request = self.client.post(url).header("waiting-room-pass", pass.as_str());
        let answer = request.json(&json!({ "seats": seats })).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn search(&self, words: &str) -> Value {
        let url = format!("http://{}/api/v1/events?q={words}", self.config.listen);
        self.client.get(url).send().await.unwrap().json().await.unwrap()
    }
}

#[tokio::test]
async fn an_event_that_was_just_made_is_sold_and_outlives_a_killed_origin() {
    let mut services = Services::start("off").await;
    let office = BoxOffice::of(&services);
    office.put("/venues/dome", json!({ "name": "Dome", "city": "Rome", "country": "it" })).await;
    let prices =
        ["cat1", "cat2", "cat3", "cat4"].map(|zone| json!({ "zone": zone, "amount": 500 }));
    let event = json!({
        "title": "Žofia plays Dvořák", "category": "concert", "venue": "dome", "currency": "EUR",
        "starts_at_local": "2027-03-01T19:30", "time_zone": "Europe/Rome",
        "prices": prices, "seating": { "bowl": 2000 },
    });
    office.put(&format!("/events/{EVENT}"), event).await;
    office.put(&format!("/events/{EVENT}/status"), json!({ "status": "on_sale" })).await;
    assert_eq!(office.hold(&[0, 1]).await.0, 201);

    services.kill(Service::Origin);
    services.start_again(Service::Origin).await;
    let (status, taken) = office.hold(&[1, 2]).await;
    assert_eq!((status, &taken["seats"]), (409, &json!([1])), "{taken}");
    assert_eq!(office.hold(&[2, 3]).await.0, 201);
    let found = office.search("dvorak").await;
    assert_eq!((&found["total"], &found["events"][0]["status"]), (&json!(1), &json!("on_sale")));

    // A list comes by command, once and again.
    let token = services.dir().join("token");
    std::fs::write(&token, office.config.organisers[0].token.expose()).unwrap();
    let fixtures =
        concat!(env!("CARGO_MANIFEST_DIR"), "/config/samples/league-fixtures-2025-26.csv");
    for expected in ["added", "were there"] {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_waiting-room"));
        command.arg("import").arg("--token-file").arg(&token).args(["--events", fixtures]);
        let origin = format!("http://{}", office.config.internal_listen);
        let done = command.args(["--origin", &origin]).output().await.unwrap();
        let said = String::from_utf8(done.stdout).unwrap();
        let failed = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.success(), "{failed}");
        let count = said.split(", ").find(|part| part.ends_with(expected)).unwrap().to_owned();
        let count: u32 = count.split(' ').next().unwrap().parse().unwrap();
        assert!(count > 6_784, "{said}");
    }
    assert!(office.search("galatasaray").await["total"].as_u64().unwrap() >= 34);
    services.stop().await;
}
