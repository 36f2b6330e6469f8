//! A Redis server that a test may stop, freeze and start again. It keeps nothing on disk, so a
//! restart is also a flush.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process::{Process, free_port, run};

/// How long one answer to PING is waited for.
const PING_TIMEOUT: Duration = Duration::from_millis(500);

/// A server, running until it is dropped.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    port: u16,
}

impl Redis {
    /// Starts a server.
    ///
    /// # Panics
    /// If Redis is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more settings, such as `("appendonly", "yes")`.
    ///
    /// # Panics
    /// If Redis is not installed or does not start.
    #[must_use]
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let port = free_port();
        let folder = tempfile::Builder::new().prefix("redis-").tempdir();
        let folder = folder.expect("there is room for a temporary folder");
        let (port_text, dir) = (port.to_string(), folder.path().display().to_string());
        let basic = [("port", &*port_text), ("bind", "127.0.0.1"), ("dir", &dir), ("save", "")];
        let settings = basic.iter().chain(settings);
        let args: Vec<_> =
            settings.flat_map(|(name, value)| [format!("--{name}"), (*value).to_owned()]).collect();
        let process = Process::new(folder, Path::new("redis-server"), &args, "KILL");
        let mut server = Self { process, port };
        server.restart();
        server
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The port on which it listens, before and after a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs one command with `redis-cli` and returns what it printed.
    ///
    /// # Panics
    /// If it fails.
    pub fn command(&self, words: &[&str]) -> String {
        let mut cli = Command::new("redis-cli");
        cli.args(["-e", "-p", &self.port.to_string()]).args(words);
        run(&mut cli).trim_end().to_owned()
    }

    /// Kills it.
    pub fn stop_immediate(&mut self) {
        self.process.stop();
    }

    /// Starts it again on the same port; stops it first if need be.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        self.process.stop();
        let port = self.port;
        self.process.start(|_| answers_ping(port).unwrap_or(false));
    }

    /// Freezes it: connections stay open and nobody answers.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.resume();
    }
}

fn answers_ping(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PING_TIMEOUT))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG\r\n")
}
