//! One fan's way in a real browser: from the shop's list through the waiting page to the QR code.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use admission_api::RoomMode;
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::json;
use tokio::process::{Child, Command};

use crate::support::{EVENT, PATIENCE, TestStack, eventually};

/// A headless Chromium with its driver; dropping it stops both.
pub struct Browser {
    pub client: Client,
    _driver: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub async fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver runs: `make tools` installs it");
        let url = format!("http://127.0.0.1:{port}");
        eventually("the driver answers", || async {
            reqwest::get(format!("{url}/status")).await.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
        let profile = tempfile::tempdir().unwrap();
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1280,900",
            // A person's browser: the driver's own mark would put it into the suspect lane.
            "--disable-blink-features=AutomationControlled",
            "--user-agent=Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
            &format!("--user-data-dir={}", profile.path().display()),
        ]
        .map(str::to_owned);
        let capabilities = json!({"goog:chromeOptions": {"args": arguments}});
        let capabilities = capabilities.as_object().unwrap().clone();
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities)
            .connect(&url)
            .await
            .unwrap();
        Self { client, _driver: driver, _profile: profile }
    }

    pub async fn open(&self, edge: SocketAddr, path: &str) {
        self.client.goto(&format!("http://{edge}{path}")).await.unwrap();
    }

    /// Waits for an element by its `data-test` name, and clicks it.
    pub async fn click(&self, name: &str) {
        let selector = selector(name);
        let element = self.wait_for(&selector).await;
        // Scrolled into the middle, so that nothing that sticks to an edge covers it.
        let arguments = vec![json!(element)];
        let script = "arguments[0].scrollIntoView({block: 'center'})";
        self.client.execute(script, arguments).await.unwrap();
        eventually(&format!("{name} can be clicked"), || async {
            match self.client.find(Locator::Css(&selector)).await {
                Ok(element) => element.click().await.is_ok(),
                Err(_) => false,
            }
        })
        .await;
    }

    pub async fn wait_for(&self, selector: &str) -> fantoccini::elements::Element {
        let wait = self.client.wait().at_most(PATIENCE).every(Duration::from_millis(50));
        match wait.for_element(Locator::Css(selector)).await {
            Ok(element) => element,
            Err(error) => {
                let page = self.client.source().await.unwrap_or_default();
                panic!("{selector} never appeared: {error}\n{page}");
            }
        }
    }

    /// Keeps a picture, for people, where the build keeps its output.
    pub async fn picture(&self, name: &str) {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("journey");
        std::fs::create_dir_all(&folder).unwrap();
        let png = self.client.screenshot().await.unwrap();
        std::fs::write(folder.join(format!("{name}.png")), png).unwrap();
    }
}

pub fn selector(name: &str) -> String {
    format!("[data-test=\"{name}\"]")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fan_comes_from_the_list_to_the_qr_code() {
    let stack =
        TestStack::start_with(|config| config.controller.rooms[0].mode = RoomMode::On).await;
    let browser = Browser::start().await;
    browser.open(stack.edge, "/").await;
    browser.picture("1-list").await;
    browser.wait_for(&format!("a[href=\"/events/{EVENT}\"]")).await.click().await.unwrap();

    browser.wait_for(&selector("enter")).await;
    browser.picture("2-waiting").await;
    browser.click("enter").await;

    browser.wait_for(&selector("best-hold")).await;
    browser.picture("3-seats").await;
    browser.click("best-hold").await;
    browser.wait_for(&selector("hold-countdown")).await;
    browser.wait_for(&selector("checkout-name")).await.send_keys("Ana Fan").await.unwrap();
    browser.picture("4-checkout").await;
    browser.click("pay").await;

    let qr = browser.wait_for(&selector("ticket-qr")).await;
    let source = qr.prop("src").await.unwrap().unwrap();
    eventually("the QR code is drawn", || async {
        let width = browser.client.execute(
            "return document.querySelector('[data-test=\"ticket-qr\"]').naturalWidth",
            vec![],
        );
        width.await.is_ok_and(|width| width.as_f64().is_some_and(|width| width > 0.0))
    })
    .await;
    browser.picture("5-tickets").await;
    let svg = reqwest::get(source).await.unwrap();
    assert_eq!(svg.headers()["content-type"], "image/svg+xml");
    let ledger = stack.ledger().await.to_string();
    assert!(ledger.contains("captured") || ledger.contains("authorised"), "{ledger}");
    browser.client.clone().close().await.unwrap();
    stack.stop().await;
}
