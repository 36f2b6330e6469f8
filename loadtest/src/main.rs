//! `loadtest`: the command line of the crowds.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use keys::EventId;
use loadtest::arrivals::Window;
use loadtest::client::{Target, Targets};
use loadtest::crowd::Shares;
use loadtest::holds::{Held, HoldsOptions, holds};
use loadtest::{DriveOptions, LedgerSource, Report, drive, plot};

/// Crowds for a waiting room.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sends visitors over HTTP who do what the pages do, and checks everything they were told.
    ///
    /// Ends with 0 if the history checker found nothing, 1 if it did or could not prove that
    /// there is nothing, 2 if the run could not begin.
    Drive(DriveArgs),
    /// Takes seats and gives them back as fast as an origin answers, on many connections; tells
    /// holds a second and how long they took, as JSON.
    Holds(HoldsArgs),
}

#[derive(Debug, Args)]
struct HoldsArgs {
    /// The origin's address for visitors; loopback only.
    #[arg(long)]
    origin: std::net::SocketAddr,
    /// The event.
    #[arg(long)]
    event: EventId,
    /// Key file with a controller's signing key that the origin trusts.
    #[arg(long)]
    keyring: PathBuf,
    /// Whose key.
    #[arg(long)]
    controller: keys::Owner,
    /// Visitors at once, each on one connection.
    #[arg(long, default_value_t = 64)]
    visitors: u32,
    /// Seats in a hold.
    #[arg(long, default_value_t = 4)]
    seats: u32,
    /// For how long.
    #[arg(long, default_value = "5s", value_parser = duration)]
    over: Duration,
}

#[derive(Debug, Args)]
struct DriveArgs {
    /// Address of the edge; given several times, the edges of one line, asked by turns.
    #[arg(long, default_value = "http://127.0.0.1:7000")]
    edge: Vec<String>,
    /// The event.
    #[arg(long)]
    event: EventId,
    /// How many visitors come.
    #[arg(long, default_value_t = 2_000)]
    visitors: usize,
    /// Within what time they come: 60s, 5m, 500ms.
    #[arg(long, default_value = "60s", value_parser = duration)]
    over: Duration,
    /// Which part of 30 June 1998 gives the shape: day, rise (to the peak) or HH:MM-HH:MM.
    #[arg(long, default_value = "day")]
    window: Window,
    /// The same seed makes the same crowd.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Share of fans who buy. Who is left over only looks.
    #[arg(long, default_value_t = 0.8)]
    buyers: f64,
    /// Share of scripts.
    #[arg(long, default_value_t = 0.05)]
    bots: f64,
    /// Share of fans who take seats and give up.
    #[arg(long, default_value_t = 0.1)]
    give_up: f64,
    /// Share of fans who are not there when their turn comes.
    #[arg(long, default_value_t = 0.05)]
    no_show: f64,
    /// Mean time to think before choosing and before paying.
    #[arg(long, default_value = "2s", value_parser = duration)]
    think: Duration,
    /// Gives each visitor an address of its own in X-Forwarded-For.
    #[arg(long)]
    forwarded: bool,
    /// Lets each visitor fetch the front, instead of all sharing one copy a second like behind a
    /// CDN.
    #[arg(long)]
    no_cdn: bool,
    /// Path of the event's page; /events/{event} if absent.
    #[arg(long)]
    page: Option<String>,
    /// Most requests under way at once; waiting for a turn counts as latency.
    #[arg(long, default_value_t = 256)]
    in_flight: usize,
    /// The run ends after this in any case.
    #[arg(long, default_value = "600s", value_parser = duration)]
    max: Duration,
    /// Fails if two joins that stand in the wrong order are further apart than this.
    #[arg(long, value_parser = duration)]
    swap_max: Option<Duration>,
    /// The origin's internal address, whose payment ledger is compared with the sales.
    #[arg(long, requires = "ledger_token")]
    ledger: Option<String>,
    /// Bearer token of the ledger.
    #[arg(long)]
    ledger_token: Option<String>,
    /// Writes the report as JSON.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Writes a picture of the run as SVG.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// No live line.
    #[arg(long)]
    quiet: bool,
    /// Allows an address that is not this machine.
    #[arg(long)]
    i_own_this_target: bool,
}

fn main() -> ExitCode {
    let args = match Cli::parse().command {
        Command::Drive(args) => args,
        Command::Holds(args) => return measure(args),
    };
    match run(&args) {
        Ok(report) if report.is_clean() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("loadtest: {}", with_causes(error.as_ref()));
            ExitCode::from(2)
        }
    }
}

fn measure(args: HoldsArgs) -> ExitCode {
    let measured = || -> Result<Held, Box<dyn std::error::Error>> {
        if !args.origin.ip().is_loopback() {
            return Err(format!("{} is not a loopback address", args.origin).into());
        }
        let options = HoldsOptions {
            origin: args.origin,
            event: args.event,
            keyring: args.keyring,
            controller: args.controller,
            visitors: args.visitors,
            seats: args.seats,
            over: args.over,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(holds(options))?)
    };
    match measured() {
        Ok(held) => {
            let quantile = |q| held.micros.value_at_quantile(q) as f64 / 1000.0;
            let report = serde_json::json!({
                "holds": held.micros.len(),
                "released": held.released,
                "per_sec": held.per_sec(),
                "p50_ms": quantile(0.5),
                "p99_ms": quantile(0.99),
                "max_ms": quantile(1.0),
            });
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("loadtest: {}", with_causes(error.as_ref()));
            ExitCode::from(2)
        }
    }
}

fn run(args: &DriveArgs) -> Result<Report, Box<dyn std::error::Error>> {
    let options = options(args)?;
    // One thread: the client must leave the machine to the server that it measures.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(drive(options))?;
    println!("{}", report.text());
    if let Some(path) = &args.report {
        write(path, &serde_json::to_string_pretty(&report)?)?;
    }
    if let Some(path) = &args.plot {
        write(path, &plot::svg(&report))?;
    }
    Ok(report)
}

fn options(args: &DriveArgs) -> Result<DriveOptions, Box<dyn std::error::Error>> {
    let targets = if args.i_own_this_target { Targets::Owned } else { Targets::Loopback };
    let edges = args.edge.iter().map(|edge| Target::parse(edge, targets));
    let edges = edges.collect::<Result<Vec<_>, _>>()?;
    let ledger = match (&args.ledger, &args.ledger_token) {
        (Some(address), Some(token)) => {
            let address = format!("{}/internal/v1/sandbox/ledger", address.trim_end_matches('/'));
            Some(LedgerSource { target: Target::parse(&address, targets)?, token: token.clone() })
        }
        (Some(_) | None, _) => None,
    };
    Ok(DriveOptions {
        window: args.window,
        seed: args.seed,
        shares: Shares::new(args.buyers, args.give_up, args.no_show, args.bots)?,
        think: args.think,
        is_forwarded: args.forwarded,
        has_cdn: !args.no_cdn,
        page: args.page.clone(),
        in_flight_max: args.in_flight,
        max: args.max,
        swap_max: args.swap_max,
        ledger,
        shows_progress: !args.quiet,
        ..DriveOptions::new(edges, args.event.clone(), args.visitors, args.over)
    })
}

fn write(path: &Path, text: &str) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::write(path, text).map_err(|e| format!("{} cannot be written: {e}", path.display()))?;
    Ok(())
}

/// A number and `ms`, `s`, `m` or `h`.
fn duration(text: &str) -> Result<Duration, String> {
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is not a time like 60s"))?;
    let millis = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => None,
    };
    millis.map(Duration::from_millis).ok_or_else(|| format!("{text:?} is not a time like 60s"))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn a_time_is_a_number_and_a_unit() {
        check("60s",   Some(60_000));
        check("500ms", Some(500));
        check("5m",    Some(300_000));
        check("1h",    Some(3_600_000));
        check("60",    None);
        check("s",     None);
        check("-1s",   None);
        check("1 s",   None);
        check("99999999999999999999h", None);
        check("18446744073709551615h", None);
    }

    #[track_caller]
    fn check(text: &str, expected_ms: Option<u64>) {
        assert_eq!(duration(text).ok(), expected_ms.map(Duration::from_millis), "{text:?}");
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
