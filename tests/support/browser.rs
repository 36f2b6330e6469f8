//! A real browser: a headless Chromium that tests drive and look at.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use reqwest::{Method, Url};
use serde_json::{Value, json};
use servers::Process;

use super::{PATIENCE, eventually};

/// A headless Chromium with its driver; dropping it stops both.
pub struct Browser {
    /// Drives it.
    pub client: Client,
    _driver: Process,
}

impl Browser {
    /// Starts one with a window of a laptop.
    pub async fn start() -> Self {
        let port = servers::free_port();
        let args = [format!("--port={port}")];
        let folder = tempfile::tempdir().unwrap();
        let profile = folder.path().join("profile");
        let driver = Process::new(folder, Path::new("chromedriver"), &args, "KILL");
        let driver = tokio::task::spawn_blocking(move || {
            let mut driver = driver;
            driver.start(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
            driver
        })
        .await
        .unwrap();
        let url = format!("http://127.0.0.1:{port}");
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
            // Ends with its driver, however that ends.
            "--remote-debugging-pipe",
            // A person's browser: the driver's own mark would put it into the suspect lane.
            "--disable-blink-features=AutomationControlled",
            "--user-agent=Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
            &format!("--user-data-dir={}", profile.display()),
        ]
        .map(str::to_owned);
        let capabilities = json!({"goog:chromeOptions": {"args": arguments}});
        let capabilities = capabilities.as_object().unwrap().clone();
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities)
            .connect(&url)
            .await
            .unwrap();
        Self { client, _driver: driver }
    }

    /// Opens a page of the edge.
    pub async fn open(&self, edge: SocketAddr, path: &str) {
        self.client.goto(&format!("http://{edge}{path}")).await.unwrap();
    }

    /// Waits for an element by its `data-test` name, and clicks it.
    pub async fn click(&self, name: &str) {
        let selector = selector(name);
        self.wait_for(&selector).await;
        // Scrolled into the middle, so that nothing that sticks to an edge covers it.
        let script = "arguments[0].scrollIntoView({block: 'center'})";
        eventually(&format!("{name} can be clicked"), || async {
            let Ok(element) = self.client.find(Locator::Css(&selector)).await else { return false };
            let scrolled = self.client.execute(script, vec![json!(element)]).await;
            scrolled.is_ok() && element.click().await.is_ok()
        })
        .await;
    }

    /// Waits for an element. A page that is just left answers with an error, and is asked again.
    pub async fn wait_for(&self, selector: &str) -> fantoccini::elements::Element {
        let since = Instant::now();
        loop {
            match self.client.find(Locator::Css(selector)).await {
                Ok(element) => return element,
                Err(error) if since.elapsed() > PATIENCE => {
                    let page = self.client.source().await.unwrap_or_default();
                    panic!("{selector} never appeared: {error}\n{page}");
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Writes into a field, in place of what it has.
    pub async fn writes(&self, name: &str, text: &str) {
        let field = self.wait_for(&selector(name)).await;
        let script = "arguments[0].focus(); arguments[0].select()";
        self.client.execute(script, vec![json!(field)]).await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Waits until an element says this.
    pub async fn until_says(&self, name: &str, words: &str) {
        let selector = selector(name);
        eventually(&format!("{name} says {words}"), || async {
            match self.client.find(Locator::Css(&selector)).await {
                Ok(element) => element.text().await.is_ok_and(|text| text.contains(words)),
                Err(_) => false,
            }
        })
        .await;
    }

    /// What a script returns, null if it fails.
    pub async fn tells(&self, script: &str) -> Value {
        self.client.execute(script, vec![]).await.unwrap_or(Value::Null)
    }

    /// Waits until a script returns `true`.
    pub async fn until(&self, what: &str, script: &str) {
        eventually(what, || async { self.tells(script).await == json!(true) }).await;
    }

    /// What a person has asked of their system: a light or a dark page, moving or still.
    pub async fn prefers(&self, scheme: &str, motion: &str) {
        let features = json!([
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": motion},
        ]);
        self.devtools("Emulation.setEmulatedMedia", json!({"features": features})).await;
    }

    /// A screen of this many CSS pixels. A page that is zoomed in has fewer of them: 1280 wide at
    /// 400 % is 320.
    pub async fn screen(&self, width: u32, height: u32) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Whether pages run their scripts; ours from outside still do.
    pub async fn runs_script(&self, does: bool) {
        self.devtools("Emulation.setScriptExecutionDisabled", json!({"value": !does})).await;
    }

    /// Comes from this address, as a proxy before the edge would say: people who sit together look
    /// like one who is in a hurry.
    pub async fn comes_from(&self, addr: &str) {
        self.devtools("Network.enable", json!({})).await;
        let fields = json!({"headers": {"X-Forwarded-For": addr}});
        self.devtools("Network.setExtraHTTPHeaders", fields).await;
    }

    /// Asks Chromium itself, by the protocol of its developer tools.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let command = DevTools(json!({"cmd": command, "params": parameters}));
        self.client.issue_cmd(command).await.unwrap()
    }

    /// Keeps a picture, for people, where the build keeps its output.
    pub async fn picture(&self, name: &str) {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("journey");
        std::fs::create_dir_all(&folder).unwrap();
        let png = self.client.screenshot().await.unwrap();
        std::fs::write(folder.join(format!("{name}.png")), png).unwrap();
    }
}

/// Finds an element by its `data-test` name.
pub fn selector(name: &str) -> String {
    format!("[data-test=\"{name}\"]")
}

/// A command that only Chromium's driver knows.
#[derive(Debug)]
struct DevTools(Value);

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(
        &self,
        base_url: &Url,
        session_id: Option<&str>,
    ) -> Result<Url, <Url as std::str::FromStr>::Err> {
        let session = session_id.unwrap_or_default();
        base_url.join(&format!("session/{session}/goog/cdp/execute"))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.0.to_string()))
    }
}
