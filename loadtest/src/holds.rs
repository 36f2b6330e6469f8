//! How many holds does an origin bear? A number of visitors, each on one connection, take four seats
//! and give them back, as fast as they are answered. What is measured is the time of a hold that is
//! durable; giving back is asked as well and counted apart.
//!
//! Passes are signed here with a controller's key, because the line is not what is measured. The
//! client writes HTTP by hand: on two cores it must leave as much as it can to the server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use keys::{EventId, Id128, Keyring, Lane, Owner, Pass, Risk, Timestamp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest answer to a hold, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Passes last longer than any run.
const PASS_SECS: u64 = 3600;

/// What to do.
#[derive(Debug, Clone)]
pub struct HoldsOptions {
    /// The origin's address for visitors.
    pub origin: SocketAddr,
    /// The event.
    pub event: EventId,
    /// Key file with a controller's signing key that the origin trusts.
    pub keyring: PathBuf,
    /// Whose key.
    pub controller: Owner,
    /// Visitors at once, each with seats of their own.
    pub visitors: u32,
    /// Seats in a hold.
    pub seats: u32,
    /// For how long.
    pub over: Duration,
}

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum HoldsError {
    /// The key file.
    #[error("key file")]
    Keys(#[from] keys::KeyFileError),
    /// It cannot sign.
    #[error("key file has no key of a controller of that name that may sign now")]
    Sign(#[source] keys::SignError),
    /// The connection.
    #[error("connection to the origin")]
    Connection(#[from] std::io::Error),
    /// Another answer than was expected.
    #[error("the origin answered: {0}")]
    Refused(String),
}

/// What was seen.
#[derive(Debug)]
pub struct Held {
    /// For how long.
    pub over: Duration,
    /// Time of a hold, in microseconds.
    pub micros: Histogram<u64>,
    /// Holds given back.
    pub released: u64,
}

impl Held {
    /// Holds a second.
    #[must_use]
    pub fn per_sec(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let holds = self.micros.len() as f64;
        holds / self.over.as_secs_f64()
    }
}

/// Runs it.
///
/// # Errors
/// If a visitor is refused, or a connection breaks.
pub async fn holds(options: HoldsOptions) -> Result<Held, HoldsError> {
    let keyring = Keyring::load(&options.keyring)?;
    let began = Instant::now();
    let until = began + options.over;
    let mut visitors = Vec::new();
    for number in 0..options.visitors {
        let pass = pass(&keyring, &options)?;
        let stream = TcpStream::connect(options.origin).await?;
        stream.set_nodelay(true)?;
        let visitor = Visitor { stream, options: options.clone(), pass, number };
        visitors.push(tokio::spawn(visitor.run(until)));
    }
    let mut micros = empty();
    let mut released = 0;
    for visitor in visitors {
        let (seen, given_back) = visitor.await.map_err(std::io::Error::other)??;
        // Both have the same bounds.
        let _ = micros.add(seen);
        released += given_back;
    }
    Ok(Held { over: began.elapsed(), micros, released })
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds of the histogram are in order")
}

fn pass(keyring: &Keyring, options: &HoldsOptions) -> Result<String, HoldsError> {
    let now = Timestamp::now().floor_to_secs();
    let pass = Pass {
        iss: options.controller.clone(),
        aud: options.event.clone(),
        sub: Id128::random(),
        jti: Id128::random(),
        iat: now,
        nbf: now,
        exp: now.plus_secs(PASS_SECS),
        lane: Lane::Standard,
        risk: Risk::Low,
        generation: 1,
        fpr: String::new(),
    };
    let sealed = keyring.seal(&pass, now).map_err(HoldsError::Sign)?;
    Ok(sealed.as_str().to_owned())
}

struct Visitor {
    stream: TcpStream,
    options: HoldsOptions,
    pass: String,
    number: u32,
}

impl Visitor {
    async fn run(mut self, until: Instant) -> Result<(Histogram<u64>, u64), HoldsError> {
        let HoldsOptions { event, seats, .. } = &self.options;
        let first = self.number * seats;
        let seats: Vec<String> = (first..first + seats).map(|seat| seat.to_string()).collect();
        let body = format!("{{\"seats\":[{}]}}", seats.join(","));
        let holds = format!("/api/v1/events/{event}/holds");
        let hold = self.request("POST", &holds, &body);
        let mut micros = empty();
        let mut released = 0;
        while Instant::now() < until {
            let asked = Instant::now();
            let (status, answer) = self.ask(&hold).await?;
            let took = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
            let id = answer.split("\"hold\":\"").nth(1).and_then(|rest| rest.split('"').next());
            let (201, Some(id)) = (status, id) else { return Err(refused(status, &answer)) };
            micros.saturating_record(took);
            let release = self.request("DELETE", &format!("{holds}/{id}"), "");
            let (status, answer) = self.ask(&release).await?;
            if status != 204 {
                return Err(refused(status, &answer));
            }
            released += 1;
        }
        Ok((micros, released))
    }

    fn request(&self, method: &str, path: &str, body: &str) -> String {
        format!(
            "{method} {path} HTTP/1.1\r\nhost: origin\r\naccept: application/json\r\n\
             content-type: application/json\r\nwaiting-room-pass: {}\r\n\
             content-length: {}\r\n\r\n{body}",
            self.pass,
            body.len()
        )
    }

    /// Sends a request and reads its answer: status and body.
    async fn ask(&mut self, request: &str) -> Result<(u16, String), HoldsError> {
        self.stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::with_capacity(2048);
        loop {
            if self.stream.read_buf(&mut bytes).await? == 0 || bytes.len() > ANSWER_BYTES_MAX {
                return Err(refused(0, "nothing more"));
            }
            let Some(head) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
            let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
            let length = text.split("content-length: ").nth(1).and_then(|r| r.lines().next());
            let length = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
            if bytes.len() < head + 4 + length {
                continue;
            }
            let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
            let body = String::from_utf8_lossy(&bytes[head + 4..]).into_owned();
            return Ok((status.unwrap_or(0), body));
        }
    }
}

fn refused(status: u16, answer: &str) -> HoldsError {
    HoldsError::Refused(format!("{status} {}", answer.chars().take(300).collect::<String>()))
}
