//! Brings lists of events to a running origin, over its admin API. Doing it again is safe.

use std::path::{Path, PathBuf};

use origin::catalogue::{
    EventDraft, ITEMS_PER_RECORD, ImportError, Imported, Item, List, leagues, synthetic, world_cup,
};
use serde_json::{Value, json};

/// What is to be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// The matches of a World Cup, and its stadiums.
    WorldCup {
        /// Matches.
        matches: PathBuf,
        /// Stadiums.
        stadiums: PathBuf,
    },
    /// The fixtures of leagues.
    Leagues(PathBuf),
    /// As many made-up events as wanted, for trying things out.
    Synthetic {
        /// How many.
        count: u32,
        /// The same seed gives the same events.
        seed: u64,
    },
}

/// Why nothing, or not everything, was imported.
#[derive(Debug, thiserror::Error)]
pub enum BringError {
    /// A list.
    #[error(transparent)]
    List(#[from] ImportError),
    /// The origin does not answer.
    #[error("{url} does not answer")]
    Http {
        /// Where.
        url: String,
        /// The cause.
        source: reqwest::Error,
    },
    /// The origin says no.
    #[error("{url} answers {status}: {detail}")]
    Refused {
        /// Where.
        url: String,
        /// The status.
        status: u16,
        /// What it says.
        detail: String,
    },
}

impl Listed {
    fn items(&self) -> Result<Vec<Item>, ImportError> {
        let load = |path: &Path| List::load(path);
        match self {
            Self::WorldCup { matches, stadiums } => world_cup(&load(matches)?, &load(stadiums)?),
            Self::Leagues(fixtures) => leagues(&load(fixtures)?),
            Self::Synthetic { count, seed } => synthetic(*count, *seed),
        }
    }
}

/// Sends a list to the origin whose internal listener is at `origin`, in parts.
///
/// # Errors
/// What cannot be read or sent, or what the origin refuses; parts before it stay imported.
pub async fn bring(listed: &Listed, origin: &str, token: &str) -> Result<Imported, BringError> {
    // An earlier call may have done so; either way one is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = format!("{}/admin/v1/import", origin.trim_end_matches('/'));
    let failed = |source| BringError::Http { url: url.clone(), source };
    let client = reqwest::Client::builder().no_proxy().build().map_err(failed)?;
    let mut sum = Imported::default();
    for items in listed.items()?.chunks(ITEMS_PER_RECORD) {
        let items: Value = items.iter().map(draft).collect();
        let request = client.post(&url).bearer_auth(token).json(&json!({ "items": items }));
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        if !status.is_success() {
            let problem: Value = answer.json().await.unwrap_or_default();
            let detail = problem["detail"].as_str().or(problem["title"].as_str());
            let detail = detail.unwrap_or("no reason given").to_owned();
            return Err(BringError::Refused { url, status: status.as_u16(), detail });
        }
        sum += answer.json().await.map_err(failed)?;
    }
    Ok(sum)
}

fn draft(item: &Item) -> Value {
    match item {
        Item::Venue { id, facts } => json!({ "kind": "venue", "id": id, "venue": facts }),
        Item::Performer { id, facts } => {
            json!({ "kind": "performer", "id": id, "performer": facts })
        }
        Item::Event { id, facts } => {
            json!({ "kind": "event", "id": id, "event": EventDraft::from(&**facts) })
        }
    }
}
