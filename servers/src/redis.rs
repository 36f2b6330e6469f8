//! A Redis server that a test may stop, freeze and start again. It keeps nothing on disk, so a
//! restart is also a flush.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::{Process, free_port, run};

/// How long one answer to PING is waited for.
const PING_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a replica may take to have everything.
const COPY_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks at it.
const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// A certificate that stands for itself.
const CERTIFICATE: &str = "[req]\ndistinguished_name = name\nx509_extensions = more\n\
    prompt = no\n[name]\nCN = redis\n[more]\nsubjectAltName = IP:127.0.0.1\n\
    basicConstraints = critical, CA:FALSE\n";

/// A server, running until it is dropped.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    port: u16,
    /// Its certificate, if it speaks TLS only.
    certificate: Option<PathBuf>,
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
        Self::start_as(false, settings)
    }

    /// Starts a server that speaks TLS only, with a [`Redis::certificate`] of its own making.
    ///
    /// # Panics
    /// If Redis or openssl is not installed or does not start.
    #[must_use]
    pub fn start_tls() -> Self {
        Self::start_as(true, &[])
    }

    fn start_as(is_tls: bool, settings: &[(&str, &str)]) -> Self {
        let port = free_port();
        let folder = tempfile::Builder::new().prefix("redis-").tempdir();
        let folder = folder.expect("there is room for a temporary folder");
        let certificate = is_tls.then(|| make_certificate(folder.path()));
        let (port_text, dir) = (port.to_string(), folder.path().display().to_string());
        let listens: &[(&str, &str)] = if is_tls {
            &[
                ("port", "0"),
                ("tls-port", &port_text),
                ("tls-cert-file", "cert.pem"),
                ("tls-key-file", "key.pem"),
                ("tls-ca-cert-file", "cert.pem"),
                ("tls-auth-clients", "no"),
            ]
        } else {
            &[("port", &port_text)]
        };
        let basic = [("bind", "127.0.0.1"), ("dir", &*dir), ("save", "")];
        // A replica is served at once, and not with those that come within five seconds.
        let copies = [("repl-diskless-sync-delay", "0")];
        let settings = listens.iter().chain(&basic).chain(&copies).chain(settings);
        let args: Vec<_> =
            settings.flat_map(|(name, value)| [format!("--{name}"), (*value).to_owned()]).collect();
        let process = Process::new(folder, Path::new("redis-server"), &args, "KILL");
        let mut server = Self { process, port, certificate };
        server.restart();
        server
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}/", self.port)
    }

    /// Its certificate in PEM, if it speaks TLS.
    #[must_use]
    pub fn certificate(&self) -> Option<&Path> {
        self.certificate.as_deref()
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
        cli.args(["-e", "-p", &self.port.to_string()]);
        if self.certificate.is_some() {
            cli.args(["--tls", "--insecure"]);
        }
        cli.args(words);
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
        let is_tls = self.certificate.is_some();
        self.process.start(|_| {
            let answers = if is_tls { takes_connections(port) } else { answers_ping(port) };
            answers.unwrap_or(false)
        });
    }

    /// Becomes a replica of the server behind this port of loopback, and waits until it has
    /// everything.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn follow(&self, port: u16) {
        self.command(&["replicaof", "127.0.0.1", &port.to_string()]);
        let since = Instant::now();
        while !self.command(&["info", "replication"]).contains("master_link_status:up") {
            assert!(since.elapsed() < COPY_TIMEOUT, "the replica does not get everything");
            std::thread::sleep(LOOK_PAUSE);
        }
    }

    /// Waits until a replica has confirmed all that was written here. One that says that it has
    /// everything hears nothing new before its first confirmation, up to a second later.
    ///
    /// # Panics
    /// If none does.
    pub fn until_followed(&self) {
        let since = Instant::now();
        // Confirmations count bytes, and without this there would be none for some seconds.
        self.command(&["set", "servers:followed", "1"]);
        let number = |info: &str, name: &str| -> Option<u64> {
            let rest = &info[info.find(name)? + name.len()..];
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        loop {
            let info = self.command(&["info", "replication"]);
            let confirmed = info.lines().find(|line| line.contains("state=online"));
            let confirmed = confirmed.and_then(|line| number(line, "offset="));
            let written = number(&info, "master_repl_offset:");
            if confirmed.is_some_and(|offset| offset > 0) && confirmed >= written {
                return;
            }
            assert!(since.elapsed() < COPY_TIMEOUT, "no replica confirms: {info}");
            std::thread::sleep(LOOK_PAUSE);
        }
    }

    /// Is a replica no more.
    ///
    /// # Panics
    /// If the server does not answer.
    pub fn promote(&self) {
        self.command(&["replicaof", "no", "one"]);
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

fn make_certificate(folder: &Path) -> PathBuf {
    let certificate = folder.join("cert.pem");
    std::fs::write(folder.join("openssl.conf"), CERTIFICATE).expect("the folder can be written");
    let mut openssl = Command::new("openssl");
    openssl.current_dir(folder).args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]);
    openssl.args(["-pkeyopt", "ec_paramgen_curve:P-256", "-config", "openssl.conf"]);
    run(openssl.args(["-keyout", "key.pem", "-out", "cert.pem"]));
    certificate
}

fn takes_connections(port: u16) -> std::io::Result<bool> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map(|_| true)
}

fn answers_ping(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PING_TIMEOUT))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG\r\n")
}
