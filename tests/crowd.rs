//! A crowd joins, waits and buys while each edge, each controller, Redis and the origin are killed
//! in turn: the history checker finds every promise kept, and nobody lost their place.
//!
//! `CROWD_VISITORS` and `CROWD_PER_SEC` make it larger, for a measurement on a release build.

use std::str::FromStr;
use std::time::{Duration, Instant};

use keys::{Lane, Timestamp};
use loadtest::client::{Target, Targets};
use loadtest::crowd::Kind;
use loadtest::stats::Outcome;
use loadtest::{DriveOptions, LedgerSource, drive};

use crate::support::fleet::{Fleet, INTERNAL};
use crate::support::{EVENT, eventually};

/// In this order; each comes back before the next one goes.
const KILLED: [&str; 7] =
    ["edge 1", "the leader", "the origin", "edge 2", "the other controller", "Redis", "edge 3"];
fn from_env<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The furthest front that any edge shows.
async fn front(fleet: &Fleet) -> u64 {
    let mut furthest = 0;
    for edge in 0..3 {
        if let Some(front) = fleet.front(edge).await {
            furthest = furthest.max(front.at(Lane::Standard, Timestamp::now()));
        }
    }
    furthest
}

async fn kill_and_start(fleet: &mut Fleet, what: &str) {
    match what {
        "edge 1" | "edge 2" | "edge 3" => {
            let edge = usize::from(what.as_bytes()[5] - b'1');
            fleet.kill_edge(edge).await;
            fleet.start_edge(edge);
            let edge_serves = || async { fleet.front(edge).await.is_some() };
            eventually("the edge serves again", edge_serves).await;
        }
        "the leader" | "the other controller" => {
            let leader = fleet.until_somebody_leads().await;
            fleet.kill_controller(leader).await;
            let other_leads = || async { fleet.is_leader(1 - leader).await == Some(true) };
            eventually("the other leads", other_leads).await;
            fleet.start_controller(leader);
            let follows = || async { fleet.is_leader(leader).await == Some(false) };
            eventually("it follows", follows).await;
        }
        "the origin" => {
            fleet.kill_origin().await;
            fleet.start_origin().await;
        }
        "Redis" => {
            fleet.redis.stop_immediate();
            fleet.redis.restart();
            fleet.until_somebody_leads().await;
        }
        other => panic!("{other} is not in the fleet"),
    }
}

#[tokio::test]
async fn a_sale_outlives_the_death_of_each_part() {
    let visitors: usize = from_env("CROWD_VISITORS", 240);
    let per_sec: f64 = from_env("CROWD_PER_SEC", 12.0);
    let mut fleet = Fleet::start_selling(per_sec).await;
    fleet.until_somebody_leads().await;
    let target = |addr| Target::parse(&format!("http://{addr}"), Targets::Loopback).unwrap();
    let ledger = format!("http://{}/internal/v1/sandbox/ledger", fleet.internal_addr());
    let over = Duration::from_secs_f64(visitors as f64 / per_sec * 0.7);
    let edges = fleet.edge_addrs().map(target).to_vec();
    let options = DriveOptions {
        is_forwarded: true,
        think: Duration::from_millis(500),
        swap_max: Some(admission_api::LEASE_VALID),
        ledger: Some(LedgerSource {
            target: Target::parse(&ledger, Targets::Loopback).unwrap(),
            token: INTERNAL.to_owned(),
        }),
        ..DriveOptions::new(edges, EVENT.parse().unwrap(), visitors, over)
    };
    let crowd = tokio::spawn(drive(options));
    let watch = fleet.watch_fronts();

    for (index, what) in (1_u64..).zip(KILLED) {
        let mark = visitors as u64 * index / (KILLED.len() as u64 + 1);
        let is_there = || async { front(&fleet).await >= mark || crowd.is_finished() };
        eventually("the front has moved on", is_there).await;
        assert!(!crowd.is_finished(), "the crowd was gone before {what} was killed");
        let since = Instant::now();
        kill_and_start(&mut fleet, what).await;
        println!("{what} was killed at front {mark}, and all was well {:?} later", since.elapsed());
    }

    let report = crowd.await.unwrap().unwrap();
    println!("{}", report.text());
    watch.end().await;
    assert!(report.is_clean() && report.is_complete, "{}", report.text());
    assert_eq!((report.places_issued, report.orders_unresolved), (visitors as u64, 0));
    // Fans only: what bots may do is decided elsewhere.
    for kind in report.kinds.iter().filter(|of| of.kind != Kind::Bot) {
        let lost = [Outcome::TurnedAway, Outcome::Failed, Outcome::Unfinished];
        let is_lost = kind.outcomes.iter().any(|(outcome, _)| lost.contains(outcome));
        assert!(!is_lost, "{}", report.text());
    }
}
