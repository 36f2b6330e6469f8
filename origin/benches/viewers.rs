//! How late is a live map, and what does a viewer cost, when ten thousand follow it?
//!
//! The origin runs in a process of its own, so that its memory is told apart from that of the
//! crowd; both share this machine's processors. Latency counts from the moment at which a buyer
//! has the answer to a hold until a viewer has the frame that shows it.
//!
//! `VIEWERS=10000 SECS=20 HOLDS_PER_SEC=20 WIRE=events|websocket cargo bench -p origin --bench
//! viewers`. Ten thousand viewers need `ulimit -n 16384`.

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use keys::{Id128, Key, Keyring, Lane, Pass, Risk, Role, Timestamp, Validity};
use origin::live::frame::{Frame, decode};
use origin::{OriginConfig, OriginParts, start};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

type Failure = Box<dyn Error + Send + Sync>;

const EVENT: &str = "wc2026-final";
const SEATS: u32 = 82_500;
const TOKEN: &str = "internal-token-of-benches";
/// Viewers who connect at the same time.
const AT_ONCE: usize = 64;

/// What one viewer received: up to which sequence number, and when.
type Received = Vec<(u64, Instant)>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().collect();
    // Cargo's test runner asks benches for nothing but whether they start.
    if args.iter().any(|arg| arg == "--test") {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match args.iter().position(|arg| arg == "--serve").and_then(|at| args.get(at + 1)) {
        Some(folder) => runtime.block_on(serve(Path::new(folder))),
        None => runtime.block_on(measure()),
    }
}

/// The origin, until the standard input ends.
async fn serve(folder: &Path) -> Result<(), Failure> {
    let text = format!(
        "listen = \"127.0.0.1:0\"\ninternal_listen = \"127.0.0.1:0\"\ndata_dir = \"{0}/data\"
         name = \"origin-1\"\nkeyring = \"{0}/keys.json\"\ninternal_token = \"{TOKEN}\"
         sale.seats_per_visitor_max = 10000\nlive.stream_secs_max = 3600\n
         live.pinned_mode = \"map\"",
        folder.display()
    );
    let config = OriginConfig::from_toml(&text, "bench")?;
    let bind = || std::net::TcpListener::bind("127.0.0.1:0");
    let (stop, shutdown) = watch::channel(false);
    let parts = OriginParts { listener: bind()?, internal_listener: bind()?, shutdown };
    let origin = start(config, parts).await?;
    println!("{}", origin.public_addr());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    let _ = stop.send(true);
    origin.stopped().await;
    Ok(())
}

async fn measure() -> Result<(), Failure> {
    let number = |name: &str, default: usize| -> usize {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (viewers, secs) = (number("VIEWERS", 10_000), number("SECS", 20));
    let holds_per_sec = number("HOLDS_PER_SEC", 20);
    let is_websocket = std::env::var("WIRE").is_ok_and(|wire| wire == "websocket");
    let _ = rustls::crypto::ring::default_provider().install_default();

    let folder = std::env::temp_dir().join(format!("origin-viewers-{}", Id128::random()));
    std::fs::create_dir_all(&folder)?;
    let keyring = keyring();
    keyring.save(&folder.join("keys.json"))?;
    let house = House::open(folder)?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let buyer = pass(&keyring)?;
    for _ in 0..50 {
        hold(&client, &house.addr, &buyer).await?; // warm: what a first hold allocates is no viewer's
    }
    let before_kib = house.rss_kib()?;
    let cpu_before = house.cpu_secs()?;

    let (stop, stopping) = watch::channel(false);
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut crowd: JoinSet<Result<Received, Failure>> = JoinSet::new();
    let connecting = Instant::now();
    for _ in 0..viewers {
        let place = Arc::clone(&room).acquire_owned().await?;
        let (addr, pass, stopping) = (house.addr.clone(), pass(&keyring)?, stopping.clone());
        crowd.spawn(async move {
            match is_websocket {
                true => watch_socket(&addr, &pass, place, stopping).await,
                false => watch_events(&addr, &pass, place, stopping).await,
            }
        });
    }
    let _all_in = room.acquire_many(u32::try_from(AT_ONCE)?).await?;
    println!("{viewers} viewers after {:.1} s", connecting.elapsed().as_secs_f64());
    let idle_kib = house.rss_kib()?;

    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(holds_per_sec)?);
    let mut holds = Vec::new();
    for _ in 0..secs * holds_per_sec {
        ticks.tick().await;
        holds.push((hold(&client, &house.addr, &buyer).await?, Instant::now()));
    }
    tokio::time::sleep(Duration::from_secs(3)).await; // the last frames
    let busy_kib = house.rss_kib()?;
    let cpu_secs = house.cpu_secs()? - cpu_before;
    stop.send(true)?;
    let mut received = Vec::new();
    while let Some(ended) = crowd.join_next().await {
        received.push(ended??);
    }
    let mut late_ms: Vec<f64> = Vec::new();
    let mut missed = 0_usize;
    for viewer in &received {
        for (seq, accepted_at) in &holds {
            let at = viewer.partition_point(|(known, _)| known < seq);
            match viewer.get(at) {
                Some((_, at)) => {
                    late_ms.push(at.saturating_duration_since(*accepted_at).as_secs_f64() * 1000.0);
                }
                None => missed += 1,
            }
        }
    }
    late_ms.sort_by(f64::total_cmp);
    let quantile = |share: f64| {
        let at = (late_ms.len() as f64 * share) as usize;
        late_ms.get(at.min(late_ms.len() - 1)).copied().unwrap_or(f64::NAN)
    };
    let frames: usize = received.iter().map(Vec::len).sum();
    let each_kib = |kib: u64| (kib.saturating_sub(before_kib)) as f64 / viewers as f64;
    println!("wire {}", if is_websocket { "websocket" } else { "events" });
    println!(
        "holds {} at {holds_per_sec}/s, frames received {frames}, missed {missed}",
        holds.len()
    );
    println!(
        "late, ms: p50 {:.0}  p90 {:.0}  p99 {:.0}  p99.9 {:.0}  max {:.0}",
        quantile(0.5),
        quantile(0.9),
        quantile(0.99),
        quantile(0.999),
        quantile(1.0)
    );
    println!(
        "memory a viewer, KiB: {:.2} idle, {:.2} after the run (origin {} KiB before, {} KiB after)",
        each_kib(idle_kib),
        each_kib(busy_kib),
        before_kib,
        busy_kib
    );
    println!("processor of the origin: {cpu_secs:.1} s");
    house.close()?;
    Ok(())
}

/// The origin in a process of its own.
struct House {
    child: Child,
    addr: String,
    folder: PathBuf,
}

impl House {
    fn open(folder: PathBuf) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--serve").arg(&folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let said = child.stdout.take().ok_or("the child has no output")?;
        let mut addr = String::new();
        BufReader::new(said).read_line(&mut addr)?;
        Ok(Self { child, addr: addr.trim().to_owned(), folder })
    }

    fn rss_kib(&self) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?;
        Ok(kib.parse()?)
    }

    fn cpu_secs(&self) -> Result<f64, Failure> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, rest) = stat.rsplit_once(')').ok_or("no stat")?;
        let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
        Ok(ticks.collect::<Result<Vec<_>, _>>()?.into_iter().sum::<f64>() / 100.0)
    }

    fn close(mut self) -> Result<(), Failure> {
        drop(self.child.stdin.take());
        self.child.wait()?;
        std::fs::remove_dir_all(&self.folder)?;
        std::io::stdout().flush()?;
        Ok(())
    }
}

async fn hold(client: &reqwest::Client, addr: &str, pass: &str) -> Result<u64, Failure> {
    let url = format!("http://{addr}/api/v1/events/{EVENT}/holds");
    let body = serde_json::json!({ "best": { "quantity": 4 } });
    let request = client.post(url).header("Waiting-Room-Pass", pass).json(&body);
    let answer: serde_json::Value = request.send().await?.error_for_status()?.json().await?;
    answer["seq"].as_u64().ok_or_else(|| "a hold without seq".into())
}

async fn watch_events(
    addr: &str,
    pass: &str,
    place: tokio::sync::OwnedSemaphorePermit,
    mut stopping: watch::Receiver<bool>,
) -> Result<Received, Failure> {
    let mut stream = TcpStream::connect(addr).await?;
    let asked = format!(
        "GET /api/v1/events/{EVENT}/stream HTTP/1.1\r\nHost: {addr}\r\nWaiting-Room-Pass: {pass}\r\n\r\n"
    );
    stream.write_all(asked.as_bytes()).await?;
    let mut received = Received::new();
    let mut unread = Vec::new();
    let mut place = Some(place);
    let mut buffer = [0; 4096];
    loop {
        let read = tokio::select! {
            read = stream.read(&mut buffer) => read?,
            _ = stopping.wait_for(|is_stopping| *is_stopping) => return Ok(received),
        };
        let now = Instant::now();
        if read == 0 {
            return Err(format!("a stream ended: {}", String::from_utf8_lossy(&unread)).into());
        }
        unread.extend_from_slice(&buffer[..read]);
        while let Some(end) = unread.windows(2).position(|pair| pair == b"\n\n") {
            let event = std::str::from_utf8(&unread[..end])?;
            if let Some(id) = event.lines().find_map(|line| line.strip_prefix("id: ")) {
                received.push((id.parse()?, now));
                place = None;
            }
            unread.drain(..end + 2);
        }
        if place.is_none() {
            unread.shrink_to_fit();
        }
    }
}

async fn watch_socket(
    addr: &str,
    pass: &str,
    place: tokio::sync::OwnedSemaphorePermit,
    mut stopping: watch::Receiver<bool>,
) -> Result<Received, Failure> {
    let url = format!("ws://{addr}/api/v1/events/{EVENT}/ws");
    let mut request = url.into_client_request()?;
    request.headers_mut().insert("Waiting-Room-Pass", pass.parse()?);
    let stream = TcpStream::connect(addr).await?;
    let config = WebSocketConfig::default().read_buffer_size(4096);
    let connecting = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
    let (mut socket, _) = connecting.await?;
    let mut received = Received::new();
    let mut place = Some(place);
    loop {
        let message = tokio::select! {
            message = socket.next() => message.ok_or("a socket ended")??,
            _ = stopping.wait_for(|is_stopping| *is_stopping) => return Ok(received),
        };
        let now = Instant::now();
        if let Message::Binary(bytes) = message {
            let (Frame::Changes { seq, .. } | Frame::Snapshot { seq, .. }) = decode(&bytes, SEATS)?;
            received.push((seq, now));
            drop(place.take());
        }
    }
}

fn keyring() -> Keyring {
    let now = Timestamp::now();
    let validity = Validity {
        use_from: now.minus_secs(60),
        use_until: now.plus_secs(3600),
        valid_until: now.plus_secs(7200),
        revoked_at: None,
    };
    let key = |role, owner: &str| Some(Key::generate(role, owner.parse().ok()?, validity));
    let keys = [key(Role::Origin, "origin-1"), key(Role::Controller, "controller-1")];
    Keyring::new(keys.into_iter().flatten())
}

fn pass(keyring: &Keyring) -> Result<String, Failure> {
    let now = Timestamp::now();
    let pass = Pass {
        iss: "controller-1".parse()?,
        aud: EVENT.parse()?,
        sub: Id128::random(),
        jti: Id128::random(),
        iat: now,
        nbf: now,
        exp: now.plus_secs(3000),
        lane: Lane::Standard,
        risk: Risk::Low,
        generation: 1,
        fpr: String::new(),
    };
    Ok(keyring.seal(&pass, now)?.as_str().to_owned())
}
