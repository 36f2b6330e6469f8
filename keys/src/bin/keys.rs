//! `keys`: make, roll, show, revoke and verify, on key files.

use std::error::Error as _;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::RangedU64ValueParser;
use clap::{Parser, Subcommand, ValueEnum};
use keys::{
    Front, Key, KeyFileError, Keyring, Owner, Pass, Place, Refusal, Role, Sealed, Statement,
    Ticket, Timestamp, Validity,
};

/// Keys that sign places, passes, fronts and tickets.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a key and adds it to the file (which is created if need be).
    Make {
        /// What the key may sign.
        #[arg(long)]
        role: RoleArg,
        /// Whose key it is: the `iss` of all it signs.
        #[arg(long)]
        owner: Owner,
        /// The key file.
        #[arg(long)]
        file: PathBuf,
        /// For how long it signs.
        #[arg(long, default_value_t = 90, value_parser = days())]
        days: u64,
        /// For how long it verifies after that.
        #[arg(long, default_value_t = 24, value_parser = overlap_hours())]
        overlap_hours: u64,
    },
    /// Makes a successor for each signing key; the old ones verify through the overlap. Let the
    /// others `trust` the file before the successor begins.
    Roll {
        /// The key file.
        #[arg(long)]
        file: PathBuf,
        /// The successor begins after this time, so that everybody can learn of it first.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=10_080))]
        lead_minutes: u64,
        /// For how long the successor signs.
        #[arg(long, default_value_t = 90, value_parser = days())]
        days: u64,
        /// For how long the old key goes on verifying.
        #[arg(long, default_value_t = 24, value_parser = overlap_hours())]
        overlap_hours: u64,
    },
    /// Prints the public halves as a JWK Set.
    Show {
        /// The key file.
        #[arg(long)]
        file: PathBuf,
    },
    /// Adds the public halves of another file or JWK Set.
    Trust {
        /// The key file that learns them.
        #[arg(long)]
        file: PathBuf,
        /// Where they are read from; secrets in it are not taken over.
        #[arg(long)]
        from: PathBuf,
    },
    /// Marks a key revoked from now on.
    Revoke {
        /// The key file.
        #[arg(long)]
        file: PathBuf,
        /// The key's id, which may well begin with a hyphen.
        #[arg(long, allow_hyphen_values = true)]
        kid: String,
    },
    /// Reads a statement of any kind from standard input and prints its claims if it holds.
    Verify {
        /// The key file or JWK Set.
        #[arg(long)]
        file: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum RoleArg {
    Edge,
    Controller,
    Origin,
}

/// A day at least, for a key without time is none; ten years at most.
fn days() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(1..=3650)
}

/// A year at most.
fn overlap_hours() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(0..=8784)
}

#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    File(#[from] KeyFileError),
    #[error("statement is refused")]
    Refused(#[from] Refusal),
    #[error("statement is of no kind we know, or longer than its kind may be")]
    NoKind,
    #[error("no key in {0:?} signs now and has done so for a second; nothing was rolled")]
    NothingToRoll(PathBuf),
    #[error("standard input cannot be read")]
    Input(#[source] std::io::Error),
    #[error("cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

fn main() -> ExitCode {
    match run(Args::parse().command, Timestamp::now().floor_to_secs()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("keys: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::from(2)
        }
    }
}

fn run(command: Command, now: Timestamp) -> Result<(), CommandError> {
    const DAY_SECS: u64 = 86_400;
    match command {
        Command::Make { role, owner, file, days, overlap_hours } => {
            let mut keyring =
                if file.exists() { Keyring::load(&file)? } else { Keyring::default() };
            let use_until = now.plus_secs(days * DAY_SECS);
            let validity = Validity {
                use_from: now,
                use_until,
                valid_until: use_until.plus_secs(overlap_hours * 3600),
                revoked_at: None,
            };
            let role = match role {
                RoleArg::Edge => Role::Edge,
                RoleArg::Controller => Role::Controller,
                RoleArg::Origin => Role::Origin,
            };
            let key = Key::generate(role, owner, validity);
            let kid = key.kid.clone();
            keyring.add(key);
            keyring.save(&file)?;
            println!("{kid}");
        }
        Command::Roll { file, lead_minutes, days, overlap_hours } => {
            let mut keyring = Keyring::load(&file)?;
            let kids = keyring.roll(
                now.plus_secs(lead_minutes * 60),
                days * DAY_SECS,
                overlap_hours * 3600,
            );
            if kids.is_empty() {
                return Err(CommandError::NothingToRoll(file));
            }
            keyring.save(&file)?;
            for kid in kids {
                println!("{kid}");
            }
        }
        Command::Show { file } => {
            let jwks = Keyring::load(&file)?.public_jwks();
            println!("{}", serde_json::to_string_pretty(&jwks)?);
        }
        Command::Trust { file, from } => {
            let mut keyring =
                if file.exists() { Keyring::load(&file)? } else { Keyring::default() };
            let theirs = Keyring::from_jwks(Keyring::load(&from)?.public_jwks())?;
            for key in theirs.keys() {
                keyring.add(key.clone());
            }
            keyring.save(&file)?;
        }
        Command::Revoke { file, kid } => {
            let mut keyring = Keyring::load(&file)?;
            keyring.revoke(&kid, now)?;
            keyring.save(&file)?;
        }
        Command::Verify { file } => {
            let keyring = Keyring::load(&file)?;
            let mut text = String::new();
            let mut stdin = std::io::stdin().take(16 * 1024); // twice the longest kind
            stdin.read_to_string(&mut text).map_err(CommandError::Input)?;
            println!("{}", verify_any(&keyring, text.trim(), now)?);
        }
    }
    Ok(())
}

/// Tries the kinds in turn; what counts is the answer of the kind that the text says it is. Each
/// kind has a length of its own, so "too long" for one says nothing about the next.
fn verify_any(keyring: &Keyring, text: &str, now: Timestamp) -> Result<String, CommandError> {
    fn verify<T: Statement>(
        keyring: &Keyring,
        text: &str,
        now: Timestamp,
    ) -> Result<String, CommandError> {
        let claims = keyring.open_for_any_event(&Sealed::<T>::new(text), now)?.into_inner();
        Ok(serde_json::to_string_pretty(&claims)?)
    }
    let kinds = [verify::<Place>, verify::<Pass>, verify::<Front>, verify::<Ticket>];
    for kind in kinds {
        match kind(keyring, text, now) {
            Err(CommandError::Refused(Refusal::Type { .. } | Refusal::TooLong { .. })) => {}
            answer => return answer,
        }
    }
    Err(CommandError::NoKind)
}
