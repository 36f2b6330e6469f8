//! The three services as processes of their own, to be killed and started again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::process::{Child, Command};
use waiting_room::Demo;

use super::visitor::Visitor;
use super::{EVENT, PATIENCE, eventually};

/// One of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The edge proxy.
    Edge,
    /// The admission controller.
    Controller,
    /// The origin.
    Origin,
}

impl Service {
    /// In the order in which they are stopped.
    pub const ALL: [Self; 3] = [Self::Edge, Self::Controller, Self::Origin];

    fn command(self) -> (&'static str, &'static str) {
        match self {
            Self::Edge => ("edge", "edge-proxy.toml"),
            Self::Controller => ("controller", "admission-controller.toml"),
            Self::Origin => ("origin", "origin.toml"),
        }
    }
}

/// Running processes; dropping them kills them.
pub struct Services {
    dir: TempDir,
    children: [Option<Child>; 3],
    edge: SocketAddr,
}

impl Services {
    /// Starts all three on free ports; the room has this mode and a quick pace.
    pub async fn start(mode: &str) -> Self {
        Self::start_with(mode, "").await
    }

    /// The same with more lines about the room.
    pub async fn start_with(mode: &str, room: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        Demo::open(dir.path(), 0).unwrap();
        let ports: Vec<u16> = free_ports(5);
        // In the files every port is 0; each gets the one of its meaning.
        let meanings = [
            ("edge-proxy.toml", &["listen", "admin_listen", "addr", "url"][..], [0, 4, 2, 1]),
            ("admission-controller.toml", &["listen", "load_url", "", ""], [1, 3, 0, 0]),
            ("origin.toml", &["listen", "internal_listen", "", ""], [2, 3, 0, 0]),
        ];
        for (file, keys, indexes) in meanings {
            let path = dir.path().join(file);
            let text = std::fs::read_to_string(&path).unwrap();
            let lines = text.lines().map(|line| {
                let key = line.split_whitespace().next().unwrap_or_default();
                let meaning = keys.iter().position(|known| *known == key && line.contains(":0\""));
                match meaning {
                    Some(at) => line.replace(":0\"", &format!(":{}\"", ports[indexes[at]])),
                    None if key == "mode" => format!("mode = \"{mode}\"\n{room}"),
                    None if key == "pace" => "pace = { per_sec_min = 100.0, per_sec_max = 2000.0, per_sec_start = 1000.0, latency_p95_ms = 20000.0, db_cpu = 1.0 }".into(),
                    // Thousands of fixtures at each start tell no test anything.
                    None if key == "league_fixtures" => "league_fixtures = false".into(),
                    None => line.into(),
                }
            });
            let text: Vec<String> = lines.collect();
            std::fs::write(&path, text.join("\n")).unwrap();
        }
        let edge = SocketAddr::from(([127, 0, 0, 1], ports[0]));
        let mut services = Self { dir, children: [None, None, None], edge };
        for service in Service::ALL.into_iter().rev() {
            services.spawn(service);
        }
        services.until_the_edge_serves().await;
        services
    }

    /// Folder of configurations, keys and data.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// A visitor from a network of their own.
    pub fn visitor(&self) -> Visitor {
        Visitor::at(self.edge)
    }

    /// Kills it on the spot, as a power cut would.
    pub fn kill(&mut self, service: Service) {
        let child = self.children[service as usize].as_mut().unwrap();
        let pid = child.id().unwrap();
        let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
        assert!(killed.unwrap().success());
    }

    /// Starts it again and waits until it serves.
    pub async fn start_again(&mut self, service: Service) {
        let mut dead = self.children[service as usize].take().unwrap();
        dead.wait().await.unwrap();
        self.spawn(service);
        self.until_the_edge_serves().await;
    }

    /// Asks it to stop, as Ctrl-C does; returns how long that took.
    pub async fn terminate(&mut self, service: Service) -> Duration {
        let mut child = self.children[service as usize].take().unwrap();
        let since = Instant::now();
        let pid = child.id().unwrap().to_string();
        let asked = std::process::Command::new("kill").args(["-TERM", &pid]).status();
        assert!(asked.unwrap().success());
        let status = tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
        assert!(status.success(), "{service:?} ended with {status}");
        since.elapsed()
    }

    /// The front of the standard lane at this moment.
    pub async fn front(&self) -> u64 {
        let url = format!("http://{}/api/v1/queue/{EVENT}/front", self.edge);
        let body: serde_json::Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        let front: keys::Front = serde_json::from_value(body["front"].clone()).unwrap();
        front.at(keys::Lane::Standard, keys::Timestamp::now())
    }

    /// Stops all that still run.
    pub async fn stop(mut self) {
        for service in Service::ALL {
            if self.children[service as usize].is_some() {
                self.terminate(service).await;
            }
        }
    }

    fn spawn(&mut self, service: Service) {
        let (command, file) = service.command();
        let config: PathBuf = self.dir.path().join(file);
        let child = Command::new(env!("CARGO_BIN_EXE_waiting-room"))
            .arg(command)
            .arg("--config")
            .arg(config)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.children[service as usize] = Some(child);
    }

    async fn until_the_edge_serves(&self) {
        let front = format!("http://{}/api/v1/queue/{EVENT}/front", self.edge);
        let events = format!("http://{}/api/v1/events", self.edge);
        eventually("all services serve", || async {
            let ok = async |url: &str| reqwest::get(url).await.is_ok_and(|a| a.status() == 200);
            ok(&front).await && ok(&events).await
        })
        .await;
    }
}

/// Ports that were free a moment ago.
pub fn free_ports(count: usize) -> Vec<u16> {
    (0..count).map(|_| servers::free_port()).collect()
}
