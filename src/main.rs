//! `waiting-room`: `up` runs everything in one process; `edge`, `controller` and `origin` run one
//! service each from its configuration file; `import` brings events to an origin; `verify-draw`
//! checks a draw.

use std::path::PathBuf;
use std::process::ExitCode;

use admission_controller::{ControllerConfig, ControllerParts, TokenRole};
use clap::{Parser, Subcommand};
use edge_proxy::{EdgeConfig, EdgeParts};
use keys::{Beacon, Keyring, Lane};
use origin::{OriginConfig, OriginParts};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use waiting_room::{Checked, Demo, Listed, Stack, bind, bring, token_of, verify_draw};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A fair line in front of a sale.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs edge, controller and origin with embedded stores, and opens a sample sale.
    Up {
        /// Folder for configuration, keys and data; made if it is missing.
        #[arg(long, default_value = "demo-data")]
        data: PathBuf,
        /// First of five ports; 0 takes any free ones. Counts when the folder is made.
        #[arg(long, default_value_t = 7000)]
        base_port: u16,
    },
    /// Runs one edge.
    Edge {
        /// Its configuration.
        #[arg(long)]
        config: PathBuf,
    },
    /// Runs one controller.
    Controller {
        /// Its configuration.
        #[arg(long)]
        config: PathBuf,
    },
    /// Runs one origin.
    Origin {
        /// Its configuration.
        #[arg(long)]
        config: PathBuf,
    },
    /// Brings a list of events to a running origin; doing it again is safe.
    Import {
        /// The origin's internal listener, like http://127.0.0.1:7003.
        #[arg(long)]
        origin: String,
        /// A file with an organiser's token and nothing else; `-` reads it from the standard input.
        #[arg(long)]
        token_file: PathBuf,
        /// Events as openfootball lists them: the fixtures of leagues, or with `--stadiums` the
        /// matches of a World Cup.
        #[arg(long, required_unless_present = "synthetic")]
        events: Option<PathBuf>,
        /// The stadiums of those matches.
        #[arg(long, requires = "events")]
        stadiums: Option<PathBuf>,
        /// So many made-up events instead, for trying things out.
        #[arg(long, conflicts_with = "events")]
        synthetic: Option<u32>,
        /// The same seed makes the same events.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Computes a place's position in a draw from published values only.
    VerifyDraw {
        /// The front as the edge serves it, `/api/v1/queue/{event}/front`; `-` reads it from the
        /// standard input.
        #[arg(long)]
        document: PathBuf,
        /// The place's number.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        num: u64,
        /// The place's lane: priority, standard or suspect.
        #[arg(long, default_value = "standard")]
        lane: Lane,
        /// Public keys as the edge serves them, `/.well-known/waiting-room/jwks.json`; with them,
        /// the signature is checked too.
        #[arg(long)]
        keys: Option<PathBuf>,
    },
}

/// Exit code when the configuration or an address cannot be used: nothing was started.
const NOT_STARTED: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        // Pingora logs a line for each failed handshake, read and upstream: that is for metrics.
        EnvFilter::new("info,pingora_core=off,pingora_proxy=off,pingora=off")
    });
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal)
        .init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("waiting-room: no runtime: {error}");
            return ExitCode::from(NOT_STARTED);
        }
    };
    let result = runtime.block_on(run(args.command));
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("waiting-room: {}", with_causes(&*error));
            ExitCode::from(NOT_STARTED)
        }
    }
}

async fn run(command: Command) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        Command::Up { data, base_port } => up(&data, base_port).await,
        Command::Edge { config } => {
            let config = EdgeConfig::load(&config)?;
            let (listener, _) = bind("edge", config.listen)?;
            let (admin_listener, _) = bind("edge's metrics", config.admin_listen)?;
            let (stop, shutdown) = watch::channel(false);
            let signals = Signals::new()?;
            let edge = edge_proxy::start(config, EdgeParts { listener, admin_listener, shutdown })?;
            signals.stop(&stop).await;
            edge.stopped().await;
            Ok(())
        }
        Command::Controller { config } => {
            let config = ControllerConfig::load(&config)?;
            let (listener, _) = bind("controller", config.listen)?;
            let (stop, shutdown) = watch::channel(false);
            let parts = ControllerParts { listener, shutdown };
            let signals = Signals::new()?;
            let controller = admission_controller::start(config, parts).await?;
            signals.stop(&stop).await;
            controller.stopped().await;
            Ok(())
        }
        Command::Origin { config } => {
            let config = OriginConfig::load(&config)?;
            let (listener, _) = bind("origin", config.listen)?;
            let (internal_listener, _) = bind("origin's load report", config.internal_listen)?;
            let (stop, shutdown) = watch::channel(false);
            let parts = OriginParts { listener, internal_listener, shutdown };
            let signals = Signals::new()?;
            let origin = origin::start(config, parts).await?;
            signals.stop(&stop).await;
            origin.stopped().await;
            Ok(())
        }
        Command::Import { origin, token_file, events, stadiums, synthetic, seed } => {
            let listed = match (events, stadiums, synthetic) {
                (Some(matches), Some(stadiums), _) => Listed::WorldCup { matches, stadiums },
                (Some(fixtures), None, _) => Listed::Leagues(fixtures),
                (None, _, count) => Listed::Synthetic { count: count.unwrap_or(0), seed },
            };
            let imported = bring(&listed, &origin, read(&token_file)?.trim()).await?;
            println!(
                "{} added, {} changed, {} were there, {} kept as an organiser changed them",
                imported.added, imported.changed, imported.unchanged, imported.kept
            );
            Ok(())
        }
        Command::VerifyDraw { document, num, lane, keys } => {
            let document = read(&document)?;
            let keyring = keys.as_deref().map(Keyring::load).transpose()?;
            let checked = verify_draw(&document, keyring.as_ref(), lane, num)?;
            let Checked { count, position, is_signed, commitment, beacon } = checked;
            let signature = if is_signed { "the signature holds" } else { "signature not checked" };
            let drawn = if num <= count { "drawn among" } else { "came after the" };
            let mixed_in = match beacon {
                Beacon::None => "no beacon: who knew the secret knew the order".to_owned(),
                Beacon::Operator { of } => format!("the operator's value: {of}"),
                Beacon::Drand { chain, round } => format!("drand {chain}, round {round}"),
            };
            println!("position {position}: number {num}, {drawn} {count}; {signature}");
            println!("announced {commitment}: compare it with what you noted before the opening");
            println!("mixed in: {mixed_in}");
            Ok(())
        }
    }
}

/// Longest document that is read; a front has a few thousand bytes.
const DOCUMENT_BYTES_MAX: u64 = 1 << 20;

fn read(path: &std::path::Path) -> Result<String, String> {
    use std::io::Read as _;
    let mut text = String::new();
    let done = if path == std::path::Path::new("-") {
        std::io::stdin().take(DOCUMENT_BYTES_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(DOCUMENT_BYTES_MAX).read_to_string(&mut text))
    };
    done.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    Ok(text)
}

async fn up(data: &std::path::Path, base_port: u16) -> Result<(), Box<dyn std::error::Error>> {
    let config = Demo::open(data, base_port)?.config()?;
    let controller = config.controller.clone();
    let token = |role| token_of(&controller, role).unwrap_or_default().to_owned();
    let signals = Signals::new()?;
    let stack = Stack::start(config).await?;
    let (edge, people) = (stack.edge_addr, stack.controller_addr);
    println!();
    println!("  the shop            http://{edge}/");
    println!("  the waiting room    http://{edge}/events/wc2026-final");
    println!("  operator's console  http://{people}/console#token={}", token(TokenRole::Operator));
    println!("  security team       http://{people}/security#token={}", token(TokenRole::Security));
    println!();
    println!("  Data is kept in {}. Ctrl-C stops.", data.display());
    println!();
    let (stop, _) = watch::channel(false);
    signals.stop(&stop).await;
    stack.stop().await;
    println!("stopped");
    Ok(())
}

/// Ctrl-C and SIGTERM, heard from when this is made: a service that is told to stop while it starts
/// stops as cleanly as any.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, std::io::Error> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for either, then says so to whoever watches `stop`.
    async fn stop(mut self, stop: &watch::Sender<bool>) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        // Nobody watches only if the service has ended by itself.
        let _ = stop.send(true);
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
