//! Asks a drand network for the rounds that draws wait for.
//!
//! A draw is opened by what the network says, once its round has taken place. We check that the
//! answer is of that round and that its randomness is the SHA-256 of its signature, as drand
//! defines it; the signature itself anybody can check against the chain's public key, for the
//! value is published with the draw.

use std::sync::Arc;
use std::time::Duration;

use keys::Beacon;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::app::{App, told_to_stop};
use crate::config::DrandConfig;
use crate::store::LineId;

/// How often a round is asked for while a draw waits for it.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// An answer that takes longer is asked for again.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest answer; they have a few hundred bytes.
const ROUND_BYTES_MAX: usize = 8 << 10;

/// Why a round is not known yet.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error("drand was not reached")]
    Http(#[from] reqwest::Error),
    #[error("drand answered with status {0}; before the round has taken place, that is no wonder")]
    Status(u16),
    #[error("the answer is longer than {ROUND_BYTES_MAX} bytes")]
    TooLong,
    #[error("the answer is no round")]
    Json(#[from] serde_json::Error),
    #[error("the answer is round {0}, not the one that was asked for")]
    OtherRound(u64),
    #[error("the randomness is not the SHA-256 of the signature")]
    Randomness,
}

/// A client for [`watch`].
pub(crate) fn client() -> Result<reqwest::Client, reqwest::Error> {
    // Unlike the origin, the network is outside: a proxy of the environment may lead there.
    crate::start::http_client().build()
}

/// Asks for what draws wait for, from their opening on, until told to stop.
pub(crate) async fn watch(
    app: Arc<App>,
    drand: DrandConfig,
    client: reqwest::Client,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut ticks = tokio::time::interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_failing = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = told_to_stop(&mut shutdown) => return,
        }
        for Wanted { line, chain, round } in wanted(&app) {
            let fetched = tokio::select! {
                fetched = fetch(&client, &drand.url, &chain, round) => fetched,
                () = told_to_stop(&mut shutdown) => return,
            };
            match fetched {
                Ok(value) => {
                    tracing::info!(event = line.event.as_str(), round, "drand: the round is known");
                    app.beacon_came(line, value);
                    was_failing = false;
                }
                Err(error) => {
                    if !was_failing {
                        let error = &error as &dyn std::error::Error;
                        let event = line.event.as_str();
                        tracing::warn!(event, round, error, "drand: a draw waits for its round");
                    }
                    was_failing = true;
                }
            }
        }
    }
}

struct Wanted {
    line: LineId,
    chain: String,
    round: u64,
}

fn wanted(app: &App) -> Vec<Wanted> {
    let now = app.clock.now();
    let snapshot = app.snapshot.load();
    let rooms = snapshot.rooms.values();
    let due = rooms.filter(|view| view.room.spec.opens_at.is_none_or(|opens_at| now >= opens_at));
    due.filter_map(|view| {
        let draw = view.draw.as_ref().filter(|draw| draw.opened.is_none())?;
        match &draw.beacon {
            Beacon::Drand { chain, round } => {
                Some(Wanted { line: view.line(), chain: chain.clone(), round: *round })
            }
            Beacon::None | Beacon::Operator { .. } => None,
        }
    })
    .collect()
}

#[derive(Deserialize)]
struct Round {
    round: u64,
    randomness: String,
    signature: String,
}

/// The randomness of a round.
async fn fetch(
    client: &reqwest::Client,
    url: &str,
    chain: &str,
    round: u64,
) -> Result<Vec<u8>, RoundError> {
    let url = format!("{}/{chain}/public/{round}", url.trim_end_matches('/'));
    let mut response = client.get(url).timeout(ASK_TIMEOUT).send().await?;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(RoundError::Status(status));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > ROUND_BYTES_MAX {
            return Err(RoundError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    let answer: Round = serde_json::from_slice(&body)?;
    if answer.round != round {
        return Err(RoundError::OtherRound(answer.round));
    }
    let signature = from_hex(&answer.signature).ok_or(RoundError::Randomness)?;
    let randomness = from_hex(&answer.randomness).ok_or(RoundError::Randomness)?;
    if Sha256::digest(&signature).as_slice() != randomness {
        return Err(RoundError::Randomness);
    }
    Ok(randomness)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit =
        |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes().chunks(2).map(|pair| Some(digit(&pair[0])? << 4 | digit(&pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::Router;
    use axum::extract::Path;
    use axum::http::StatusCode;
    use axum::routing::get;
    use serde_json::json;

    use super::*;

    /// Round 1 is right; the others are not, each in its way. The first answer to 9 is late.
    async fn fake() -> String {
        let tries = Arc::new(AtomicU32::new(0));
        let answer = move |Path((chain, round)): Path<(String, u64)>| async move {
            assert_eq!(chain, "c0");
            let signature = "00ff";
            let hash: String =
                Sha256::digest([0, 255]).iter().map(|byte| format!("{byte:02x}")).collect();
            let (said, randomness, signature) = match round {
                2 => (3, hash, signature),
                3 => (3, "00".repeat(32), signature),
                4 => (4, hash, "0"),
                5 => (5, hash, "zz"),
                6 => return Err(StatusCode::NOT_FOUND),
                7 => (7, "00".repeat(ROUND_BYTES_MAX), signature),
                9 if tries.fetch_add(1, Ordering::Relaxed) == 0 => {
                    tokio::time::sleep(2 * ASK_TIMEOUT).await;
                    return Err(StatusCode::GATEWAY_TIMEOUT);
                }
                round => (round, hash, signature),
            };
            let round = json!({"round": said, "randomness": randomness, "signature": signature});
            Ok(axum::Json(round))
        };
        let router = Router::new().route("/{chain}/public/{round}", get(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    #[tokio::test]
    async fn only_the_randomness_of_the_very_round_counts() {
        let (client, url) = (client().unwrap(), fake().await);
        let fetched = async |round| fetch(&client, &url, "c0", round).await;
        let value = Sha256::digest([0, 255]).to_vec();
        assert_eq!(fetched(1).await.unwrap(), value);
        assert!(matches!(fetched(2).await, Err(RoundError::OtherRound(3))));
        for round in [3, 4, 5] {
            assert!(matches!(fetched(round).await, Err(RoundError::Randomness)), "{round}");
        }
        assert!(matches!(fetched(6).await, Err(RoundError::Status(404))));
        assert!(matches!(fetched(7).await, Err(RoundError::TooLong)));
        assert!(matches!(fetched(9).await, Err(RoundError::Http(error)) if error.is_timeout()));
        assert_eq!(fetched(9).await.unwrap(), value, "an answer that was late once");
    }
}
