//! The store in Redis, shared by several controllers: one script call an operation and event.
//!
//! All keys of an event carry it in braces, so that a cluster keeps them in one slot, and a call is
//! atomic there; what concerns several events goes event by event. Numbers, fronts and claims are
//! decided in `event.lua`, the lead in `house.lua`.
//!
//! Redis may forget what it has acknowledged: a crash costs what was not on disk yet, a failover
//! what the replica had not heard. So every event carries the run id of the server that it was
//! last trusted on, and a server with another one answers no operation until [`settling`] has
//! brought back what controllers and edges remember. With `replicas_min`, what somebody outside
//! relies on counts only when so many replicas have it, and a server that was cut off from them
//! counts nothing.

mod access;
mod calls;
#[cfg(test)]
mod failover_tests;
mod fronts;
mod passes;
mod review;
mod rooms;
mod settling;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keys::{EventId, Id128, Owner, Timestamp};
use prometheus::Histogram;
use redis::TlsCertificates;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;

use self::calls::{Call, Reply, Script};
use self::settling::{Known, WORD_FOR};
use super::revocations::Revocations;
use super::{StoreError, Turn};

/// Longest wait for one answer. A visitor may be waiting for it, and the lead is kept for longer.
const CALL_TIME_MAX: Duration = Duration::from_millis(700);
/// Longest wait for a connection.
const CONNECT_TIME_MAX: Duration = Duration::from_millis(500);
/// Longest pause between two attempts to connect.
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(250);
/// A leader that is not heard for this long leads no more. Renewed twice a second, so that a slow
/// answer costs no lead; short, so that another takes over within three seconds.
const LEAD_FOR: Duration = Duration::from_millis(1800);

/// Where the servers are, and under which names we keep things there.
#[derive(Clone)]
pub struct RedisPlace {
    /// `redis://` or `rediss://` addresses; of a cluster, some of its nodes.
    pub urls: Vec<String>,
    /// Who must have signed the certificates of `rediss://`, in PEM; else those that this machine
    /// believes.
    pub ca: Option<Vec<u8>>,
    /// So many replicas must have what counts; 0 asks for none.
    pub replicas_min: u32,
    /// Whether they are a cluster.
    pub is_cluster: bool,
    /// What all keys begin with.
    pub prefix: String,
}

// Addresses may have passwords in them.
impl std::fmt::Debug for RedisPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { urls, ca, replicas_min, is_cluster, prefix } = self;
        f.debug_struct("RedisPlace")
            .field("urls", &format_args!("{} × ***", urls.len()))
            .field("has_ca", &ca.is_some())
            .field("replicas_min", replicas_min)
            .field("is_cluster", is_cluster)
            .field("prefix", prefix)
            .finish()
    }
}

/// A handle; clones share the connection and what is remembered.
#[derive(Debug, Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    link: Link,
    prefix: String,
    replicas_min: u32,
    name: Owner,
    /// Tells this start from every other.
    session: Id128,
    event_script: Script,
    house_script: Script,
    call_secs: Histogram,
    known: Mutex<Known>,
    revocations: Mutex<Revocations>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { prefix, name, session, .. } = self;
        f.debug_struct("Shared")
            .field("prefix", prefix)
            .field("name", name)
            .field("session", session)
            .finish_non_exhaustive()
    }
}

#[derive(Clone)]
enum Link {
    /// What waits for replicas has a connection of its own: nothing else stands behind it there.
    One {
        asks: ConnectionManager,
        keeps: ConnectionManager,
    },
    Cluster(ClusterConnection),
}

/// Locks that are held for a few instructions only; a panic in between leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Redis {
    /// Connects, or goes on trying in the background.
    ///
    /// # Errors
    /// If an address is none, or a cluster cannot be reached at all.
    pub async fn open(
        place: &RedisPlace,
        name: Owner,
        call_secs: Histogram,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        // An error means that the process has chosen a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let link = if place.is_cluster {
            let client = ClusterClient::builder(place.urls.clone())
                .connection_timeout(CONNECT_TIME_MAX)
                .response_timeout(CALL_TIME_MAX)
                .retries(2);
            let client = match certificates(place) {
                Some(certificates) => client.certs(certificates),
                None => client,
            };
            let client = client.build().map_err(calls::failed)?;
            Link::Cluster(client.get_async_connection().await.map_err(calls::failed)?)
        } else {
            let url = place.urls.first().map(String::as_str).unwrap_or_default();
            let client = match certificates(place) {
                Some(certificates) => redis::Client::build_with_tls(url, certificates),
                None => redis::Client::open(url),
            };
            let client = client.map_err(calls::failed)?;
            let config = ConnectionManagerConfig::new()
                .set_connection_timeout(Some(CONNECT_TIME_MAX))
                .set_response_timeout(Some(CALL_TIME_MAX))
                .set_max_delay(RETRY_PAUSE_MAX)
                .set_number_of_retries(1);
            let connection =
                || ConnectionManager::new_lazy_with_config(client.clone(), config.clone());
            let (asks, keeps) = (connection(), connection());
            Link::One { asks: asks.map_err(calls::failed)?, keeps: keeps.map_err(calls::failed)? }
        };
        let shared = Shared {
            link,
            prefix: place.prefix.clone(),
            replicas_min: place.replicas_min,
            name,
            session: Id128::random(),
            event_script: Script::new(concat!(
                include_str!("common.lua"),
                include_str!("event.lua")
            )),
            house_script: Script::new(concat!(
                include_str!("common.lua"),
                include_str!("house.lua")
            )),
            call_secs,
            known: Mutex::default(),
            revocations: Mutex::new(Revocations::starting(now)),
        };
        let redis = Self { shared: Arc::new(shared) };
        // Whoever starts wants to know now, and not with the first visitor.
        redis.house(Call::new("events")).await?;
        Ok(redis)
    }

    pub(in crate::store) async fn close(&self) {
        // An error means that the lead ends by its time.
        let _ = self.house(Call::new("resign").arg(self.shared.session.to_string())).await;
    }

    pub(in crate::store) async fn lead(&self, now: Timestamp) -> Result<Turn, StoreError> {
        // From the clock and from what was seen, so that epochs also grow when the store was lost.
        let floor = now.as_secs().max(lock(&self.shared.known).epoch_max() + 1);
        let ttl_ms = millis(LEAD_FOR);
        let Shared { name, session, .. } = &*self.shared;
        let call = Call::kept("lead").arg(name.as_str()).arg(session.to_string());
        let mut reply = self.house(call.arg(ttl_ms).arg(floor)).await?;
        match reply.word() {
            "leads" => Ok(Turn::Leads { epoch: reply.number()? }),
            _ => Ok(Turn::Follows { leader: reply.text()? }),
        }
    }

    pub(in crate::store) async fn meet(
        &self,
        word: String,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let call = Call::new("meet").arg("words").arg(self.shared.name.as_str()).arg(word);
        let words = self.house(call.arg(millis(WORD_FOR))).await?.texts()?;
        let pairs = words.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
        Ok(pairs.collect())
    }

    async fn event(&self, event: &EventId, call: Call) -> Result<Reply, StoreError> {
        let key = format!("{}:{{{event}}}", self.shared.prefix);
        self.call(&self.shared.event_script, &key, call).await
    }

    async fn house(&self, call: Call) -> Result<Reply, StoreError> {
        let key = format!("{}.house:{{house}}", self.shared.prefix);
        self.call(&self.shared.house_script, &key, call).await
    }

    async fn call(&self, script: &Script, key: &str, call: Call) -> Result<Reply, StoreError> {
        let started = std::time::Instant::now();
        let replicas_min = self.shared.replicas_min;
        let asked = async {
            match self.shared.link.clone() {
                Link::One { asks, keeps } => {
                    let mut link = if call.is_kept() { keeps } else { asks };
                    let reply = script.run(&mut link, key, &call, replicas_min).await;
                    if matches!(reply, Err(StoreError::Demoted)) {
                        // Perhaps the address leads to the new primary; only who connects again
                        // finds out. An error means that the connection is gone already.
                        let _ = redis::cmd("QUIT").query_async::<()>(&mut link).await;
                    }
                    reply
                }
                Link::Cluster(mut link) => script.run(&mut link, key, &call, 0).await,
            }
        };
        let answered = tokio::time::timeout(2 * CALL_TIME_MAX, asked).await;
        self.shared.call_secs.observe(started.elapsed().as_secs_f64());
        answered.map_err(|_| StoreError::Unanswered)?
    }
}

fn certificates(place: &RedisPlace) -> Option<TlsCertificates> {
    let root_cert = Some(place.ca.clone()?);
    Some(TlsCertificates { client_tls: None, root_cert })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
