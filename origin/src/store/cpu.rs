//! How busy is the processor of the database?
//!
//! On this machine the kernel says so. Of another one SQL tells how many statements are being
//! worked on; with the number of its cores, which only the operator knows, that is a share. It is
//! an estimate of one moment: it sees demand and not the time that was used.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::{Database, PostgresError};

/// Where the kernel counts.
const STAT: &str = "/proc/stat";

/// Statements that use a processor: active, and waiting for nothing.
const WORKING: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE state = 'active' AND wait_event_type IS NULL AND pid <> pg_backend_pid()";

/// A share of the processor's time and where the number is from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CpuShare {
    /// 0 to 1.
    pub share: f64,
    /// For people.
    pub source: &'static str,
}

/// Asks again and again.
#[derive(Debug)]
pub struct DatabaseCpu {
    database: Arc<Database>,
    is_here: bool,
    cores: Option<u32>,
    before: Mutex<Option<Ticks>>,
}

/// Time since the machine started, in the kernel's ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
}

impl DatabaseCpu {
    /// Of a database; `cores` are its machine's, if that is another one.
    #[must_use]
    pub fn new(database: Arc<Database>, cores: Option<u32>) -> Self {
        let is_here = is_here(database.config());
        Self { database, is_here, cores, before: Mutex::new(read_ticks()) }
    }

    /// The share since the last call, or at this moment; `None` if it cannot be told.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn share(&self) -> Result<Option<CpuShare>, PostgresError> {
        if self.is_here {
            let Some(now) = read_ticks() else { return Ok(None) };
            let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
            let share = before.and_then(|before| busy_share(before, now));
            return Ok(share.map(|share| CpuShare { share, source: "host of postgres" }));
        }
        let Some(cores) = self.cores else { return Ok(None) };
        let rows = self.database.query(WORKING, &[]).await?;
        let working = rows.first().map_or(0, |row| row.get::<_, i64>(0));
        let share = (working as f64 / f64::from(cores)).clamp(0.0, 1.0);
        Ok(Some(CpuShare { share, source: "active statements of postgres by core" }))
    }
}

/// Whether all hosts of the URL are this machine.
fn is_here(config: &Config) -> bool {
    config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|addr: IpAddr| addr.is_loopback())
        }
        Host::Unix(_) => true,
    })
}

fn read_ticks() -> Option<Ticks> {
    parse_ticks(&std::fs::read_to_string(STAT).ok()?)
}

/// The first line is `cpu`, then user, nice, system, idle, iowait and others, of all processors.
/// Guests are in user already.
fn parse_ticks(stat: &str) -> Option<Ticks> {
    let mut words = stat.lines().next()?.split_whitespace();
    if words.next() != Some("cpu") {
        return None;
    }
    let ticks: Vec<u64> = words.take(8).map_while(|word| word.parse().ok()).collect();
    let idle = ticks.get(3)? + ticks.get(4).copied().unwrap_or(0);
    let all: u64 = ticks.iter().sum();
    Some(Ticks { busy: all.saturating_sub(idle), all })
}

fn busy_share(before: Ticks, after: Ticks) -> Option<f64> {
    let all = after.all.checked_sub(before.all).filter(|ticks| *ticks > 0)?;
    let busy = after.busy.saturating_sub(before.busy);
    Some((busy as f64 / all as f64).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use servers::Postgres;

    use super::*;
    use crate::log::suite::options;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn the_share_is_what_was_not_idle_in_between() {
        //     user nice sys idle iowait irq softirq steal guest
        check("cpu 0 0 0 0 0 0 0 0 0",    "cpu 10 0 10 70 10 0 0 0 5", Some(0.2));
        check("cpu 5 0 5 90 0 0 0 0 0",   "cpu 55 20 15 90 0 5 5 10 9", Some(1.0));
        check("cpu 5 0 5 90 0 0 0 0 0",   "cpu 5 0 5 190 0 0 0 0 0",   Some(0.0));
        check("cpu 5 0 5 90 0 0 0 0 0",   "cpu 5 0 5 90 0 0 0 0 0",    None); // asked at once
        check("cpu0 5 0 5 90 0 0 0 0 0",  "cpu 5 0 5 90 0 0 0 0 0",    None);
        check("",                         "cpu 5",                     None);
    }

    #[track_caller]
    fn check(before: &str, after: &str, expected: Option<f64>) {
        let share = parse_ticks(before).zip(parse_ticks(after));
        assert_eq!(share.and_then(|(before, after)| busy_share(before, after)), expected);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_database_elsewhere_is_asked_for_its_statements() {
        let opened = tokio::task::spawn_blocking(|| {
            Database::open(&options(&Postgres::shared().database())).unwrap()
        });
        let database = opened.await.unwrap();
        let here = DatabaseCpu::new(Arc::clone(&database), None);
        assert!(here.is_here);
        let elsewhere = |cores| DatabaseCpu {
            database: Arc::clone(&database),
            is_here: false,
            cores,
            before: Mutex::default(),
        };
        assert_eq!(elsewhere(None).share().await.unwrap(), None);
        let busy = CpuShare { share: 1.0, source: "active statements of postgres by core" };
        let burn = "SELECT count(*) FROM generate_series(1, 1000000000)";
        let burning = database.pooled().await.unwrap();
        let cancel = burning.cancel_token();
        let work = tokio::spawn(async move { burning.query(burn, &[]).await.map(|_| ()) });
        let one = elsewhere(Some(1));
        while one.share().await.unwrap() != Some(busy) {
            assert!(!work.is_finished(), "the statement ended before it was seen");
        }
        cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
        work.await.unwrap().unwrap_err();
    }
}
