//! An nginx with the configuration of the test: a stranger's site, or a shared cache.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::process::{Process, free_port};

/// How long one connection is waited for.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// A server, running until it is dropped.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    port: u16,
}

impl Nginx {
    /// Starts a server. `http` is what stands in the `http` block: `{port}` is where to listen,
    /// `{folder}` an own folder, in which `files` are laid down first (path and content).
    ///
    /// # Panics
    /// If nginx is not installed or does not start.
    #[must_use]
    pub fn start(http: &str, files: &[(&str, &str)]) -> Self {
        let port = free_port();
        let folder = tempfile::Builder::new().prefix("nginx-").tempdir();
        let folder = folder.expect("there is room for a temporary folder");
        let dir = folder.path().display().to_string();
        for (path, content) in files {
            let path = folder.path().join(path);
            let parent = path.parent().expect("a file is in a folder");
            std::fs::create_dir_all(parent).expect("a folder can be made in our own");
            std::fs::write(&path, content).expect("a file can be written to our own folder");
        }
        let http = http.replace("{port}", &port.to_string()).replace("{folder}", &dir);
        let temp = ["client_body", "proxy", "fastcgi", "scgi", "uwsgi"];
        let temp: String =
            temp.iter().map(|name| format!("{name}_temp_path {dir}/temp-{name};\n")).collect();
        // One process without a master needs no user to change to.
        let conf = format!(
            "daemon off;\nmaster_process off;\npid {dir}/nginx.pid;\nerror_log stderr warn;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\naccess_log off;\n{temp}{http}\n}}\n"
        );
        let conf_path = folder.path().join("nginx.conf");
        std::fs::write(&conf_path, conf).expect("a file can be written to our own folder");
        let args = ["-c", &conf_path.display().to_string()].map(ToOwned::to_owned);
        let mut process = Process::new(folder, Path::new("nginx"), &args, "KILL");
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        process.start(|_| TcpStream::connect_timeout(&addr, CONNECT_TIMEOUT).is_ok());
        Self { process, port }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// What it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn it_serves_what_the_test_laid_down() {
        let site = "server { listen 127.0.0.1:{port}; root {folder}/site; }";
        let nginx = Nginx::start(site, &[("site/a.txt", "laid down")]);
        let mut stream = TcpStream::connect(nginx.addr()).unwrap();
        stream.write_all(b"GET /a.txt HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("laid down"), "{answer}\n{}", nginx.log());
    }
}
