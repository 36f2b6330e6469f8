//! A real mail server that takes everything and tells what came.

use std::path::Path;
use std::process::Stdio;

use origin::OriginConfig;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::PATIENCE;

/// It runs as long as this value lives.
pub struct Mail {
    port: u16,
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Mail {
    /// Starts it on a free port.
    pub async fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut process = Command::new(root.join(".tools/python/bin/python"))
            .arg(root.join("tests/support/smtp_sink.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python runs: `make tools` installs it");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.next_line().await.unwrap().unwrap().parse().unwrap();
        Self { port, lines, _process: process }
    }

    /// Lets an origin send by it.
    pub fn serves(&self, config: &mut OriginConfig) {
        let text = format!(
            "listen = \"127.0.0.1:0\"\ninternal_listen = \"127.0.0.1:0\"\ndata_dir = \"nowhere\"
             name = \"origin-1\"\nkeyring = \"nowhere\"\ninternal_token = \"of-nobody-at-all\"
             shop_url = \"https://tickets.example.org/\"\nmail.host = \"127.0.0.1\"
             mail.port = {}\nmail.security = \"none\"\nmail.from = \"Tickets <tickets@example.org>\"",
            self.port
        );
        config.post = OriginConfig::from_toml(&text, "the mail server").unwrap().post;
        config.rules.post = config.post.rules();
    }

    /// The next message that comes.
    pub async fn next(&mut self) -> Value {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        serde_json::from_str(&line.expect("a message comes").unwrap().unwrap()).unwrap()
    }
}
