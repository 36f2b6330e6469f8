//! Asks a drand network for the rounds that draws wait for.
//!
//! A draw is opened by what the network says, once its round has taken place. We check the network's
//! signature of that very round against its public key, and take the SHA-256 of the signature, which
//! is how drand defines a round's randomness: whoever answers for the network can be late, not lie.

use std::sync::Arc;
use std::time::Duration;

use drand_verify::{G2PubkeyRfc, Pubkey as _};
use keys::{Beacon, Timestamp};
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

/// Rounds later than this take place then: far enough for every calendar, and milliseconds still fit.
const FAR_SECS: u64 = 1 << 40;

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
    #[error("the signature is not that of the network for this round")]
    Signature,
}

/// A drand network of the scheme `bls-unchained-g1-rfc9380`: each round signs its number alone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "ChainFile")]
pub struct Chain {
    /// Its hash, by which rooms and drand's addresses name it.
    pub hash: String,
    public_key: [u8; 96],
    genesis_secs: u64,
    period_secs: u64,
}

/// The same keys, unchecked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChainFile {
    hash: String,
    public_key: String,
    genesis_secs: u64,
    period_secs: u64,
}

/// Why a network is none.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The hash.
    #[error("drand.chains.hash is not 64 hexadecimal digits in lower case")]
    Hash,
    /// The public key.
    #[error("drand.chains.public_key is no key of the scheme bls-unchained-g1-rfc9380")]
    PublicKey,
    /// The period.
    #[error("drand.chains.period_secs is not between 1 and 3600")]
    Period,
}

impl TryFrom<ChainFile> for Chain {
    type Error = ChainError;

    fn try_from(file: ChainFile) -> Result<Self, ChainError> {
        let ChainFile { hash, public_key, genesis_secs, period_secs } = file;
        let is_hash = from_hex(&hash).is_some_and(|bytes| bytes.len() == 32);
        if !is_hash || hash != hash.to_lowercase() {
            return Err(ChainError::Hash);
        }
        let public_key = from_hex(&public_key).and_then(|bytes| bytes.try_into().ok());
        let public_key: [u8; 96] = public_key.ok_or(ChainError::PublicKey)?;
        if G2PubkeyRfc::from_fixed(public_key).is_err() {
            return Err(ChainError::PublicKey);
        }
        if !(1..=3600).contains(&period_secs) {
            return Err(ChainError::Period);
        }
        Ok(Self { hash, public_key, genesis_secs, period_secs })
    }
}

impl Chain {
    /// The League of Entropy's network of three seconds.
    #[must_use]
    pub fn quicknet() -> Self {
        let file = ChainFile {
            hash: "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971".to_owned(),
            public_key: "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c\
                         8c4b450b6a0a6c3ac6a5776a2d1064510d1fec758c921cc22b0e17e63aaf4bcb\
                         5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a"
                .to_owned(),
            genesis_secs: 1_692_803_367,
            period_secs: 3,
        };
        Self::try_from(file).expect("a test reads these values")
    }

    /// When a round takes place: the first one at the genesis.
    #[must_use]
    pub fn takes_place_at(&self, round: u64) -> Timestamp {
        let after_secs = round.saturating_sub(1).saturating_mul(self.period_secs);
        Timestamp::from_secs(self.genesis_secs.saturating_add(after_secs).min(FAR_SECS))
    }

    /// The randomness of a round that is signed thus; `None` if the network has not signed it.
    #[must_use]
    fn randomness(&self, round: u64, signature: &[u8]) -> Option<Vec<u8>> {
        let key = G2PubkeyRfc::from_fixed(self.public_key).ok()?;
        let is_signed = key.verify(round, &[], signature).unwrap_or(false);
        is_signed.then(|| Sha256::digest(signature).to_vec())
    }
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
            // A room names a chain of the configuration, or was refused.
            let Some(chain) = drand.chains.iter().find(|known| known.hash == chain) else {
                continue;
            };
            let fetched = tokio::select! {
                fetched = fetch(&client, &drand.url, chain, round) => fetched,
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
    signature: String,
}

/// The randomness of a round.
async fn fetch(
    client: &reqwest::Client,
    url: &str,
    chain: &Chain,
    round: u64,
) -> Result<Vec<u8>, RoundError> {
    let url = format!("{}/{}/public/{round}", url.trim_end_matches('/'), chain.hash);
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
    let signature = from_hex(&answer.signature).ok_or(RoundError::Signature)?;
    chain.randomness(round, &signature).ok_or(RoundError::Signature)
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

    /// What quicknet has signed: round 123, as drand's own libraries have it in their tests.
    const SIGNED: (u64, &str) = (
        123,
        "b75c69d0b72a5d906e854e808ba7e2accb1542ac355ae486d591aa9d43765482\
         e26cd02df835d3546d23c4b13e0dfc92",
    );

    /// Round 123 is right; the others are not, each in its way. The first answer to 9 is late.
    async fn fake() -> String {
        let tries = Arc::new(AtomicU32::new(0));
        let answer = move |Path((chain, round)): Path<(String, u64)>| async move {
            assert_eq!(chain, Chain::quicknet().hash);
            let (said, signature) = match round {
                2 => (3, SIGNED.1.to_owned()),
                3 => (3, SIGNED.1.to_owned()), // signed, but not this one
                4 => (4, "0".to_owned()),
                5 => (5, "zz".to_owned()),
                6 => return Err(StatusCode::NOT_FOUND),
                7 => (7, "00".repeat(ROUND_BYTES_MAX)),
                8 => (8, "00".repeat(48)),
                123 if tries.fetch_add(1, Ordering::Relaxed) == 0 => {
                    tokio::time::sleep(2 * ASK_TIMEOUT).await;
                    return Err(StatusCode::GATEWAY_TIMEOUT);
                }
                round => (round, SIGNED.1.to_owned()),
            };
            Ok(axum::Json(json!({"round": said, "signature": signature})))
        };
        let router = Router::new().route("/{chain}/public/{round}", get(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    #[tokio::test]
    async fn only_what_the_network_has_signed_of_the_very_round_counts() {
        let (client, url, chain) = (client().unwrap(), fake().await, Chain::quicknet());
        let fetched = async |round| fetch(&client, &url, &chain, round).await;
        assert!(matches!(fetched(2).await, Err(RoundError::OtherRound(3))));
        for round in [3, 4, 5, 8] {
            assert!(matches!(fetched(round).await, Err(RoundError::Signature)), "{round}");
        }
        assert!(matches!(fetched(6).await, Err(RoundError::Status(404))));
        assert!(matches!(fetched(7).await, Err(RoundError::TooLong)));
        assert!(matches!(fetched(123).await, Err(RoundError::Http(error)) if error.is_timeout()));
        let value = fetched(123).await.unwrap();
        assert_eq!(value, Sha256::digest(from_hex(SIGNED.1).unwrap()).as_slice(), "late once");
    }

    #[test]
    fn a_round_takes_place_when_its_network_says() {
        let chain = Chain::quicknet();
        assert_eq!(chain.takes_place_at(1), Timestamp::from_secs(1_692_803_367));
        assert_eq!(chain.takes_place_at(101), Timestamp::from_secs(1_692_803_667));
        assert!(chain.takes_place_at(u64::MAX) > Timestamp::from_secs(1 << 39));
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn a_network_that_cannot_be_checked_is_refused() {
        let key = "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d1064510d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a";
        let (hash, other) = ("a0".repeat(32), "00".repeat(96));
        //    hash     public key  period  refused for
        check(&hash,   key,        3,      None);
        check("a0",    key,        3,      Some("hash"));
        check(&hash,   &key[2..],  3,      Some("public_key"));
        check(&hash,   &other,     3,      Some("public_key"));
        check(&hash,   key,        0,      Some("period_secs"));
    }

    #[track_caller]
    fn check(hash: &str, public_key: &str, period_secs: u64, refused: Option<&str>) {
        let file = json!({ "hash": hash, "public_key": public_key, "genesis_secs": 1, "period_secs": period_secs });
        let error = serde_json::from_value::<Chain>(file).err().map(|error| error.to_string());
        match refused {
            None => assert_eq!(error, None),
            Some(key) => assert!(error.clone().unwrap_or_default().contains(key), "{error:?}"),
        }
    }
}
