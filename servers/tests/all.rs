//! Do the servers start, freeze, stop and start again, and leave nothing behind?

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use servers::{Postgres, Process, Redis};

#[test]
fn postgres_survives_a_crash_with_what_was_committed() {
    let mut server = Postgres::start();
    let (a, b) = (server.database(), server.database());
    assert_ne!(a, b);
    assert_eq!(server.sql(&a, "SHOW fsync; SHOW synchronous_commit"), "on\non");
    server.sql(&a, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)");
    server.stop_immediate();
    server.restart();
    assert_eq!(server.sql(&a, "SELECT n FROM kept"), "7");
    assert_eq!(server.sql(&b, "SELECT to_regclass('kept') IS NULL"), "t");
}

#[test]
fn settings_are_the_callers() {
    let server = Postgres::start_with(&[("fsync", "off")]);
    assert_eq!(server.sql(&server.database(), "SHOW fsync"), "off");
}

#[test]
fn a_frozen_postgres_answers_again_once_it_goes_on() {
    let server = Postgres::start();
    let url = server.database();
    server.pause();
    let asked = Command::new("psql")
        .args(["-qXAt", "-d", &url, "-c", "SELECT 1"])
        .env("PGCONNECT_TIMEOUT", "2")
        .stderr(Stdio::null())
        .status();
    assert!(!asked.unwrap().success(), "a frozen server answered");
    server.resume();
    assert_eq!(server.sql(&url, "SELECT 1"), "1");
}

#[test]
fn redis_forgets_at_a_restart() {
    let mut server = Redis::start();
    assert_eq!(server.command(&["SET", "a", "1"]), "OK");
    assert_eq!(server.command(&["GET", "a"]), "1");
    server.restart();
    assert_eq!(server.command(&["GET", "a"]), "");
}

#[test]
fn a_frozen_redis_is_ended_like_any_other() {
    let server = Redis::start();
    server.pause();
    drop(server);
}

#[test]
fn nothing_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let mut process = Process::new(folder, Path::new("sleep"), &["600".into()], "TERM");
    process.start(|_| true);
    let pid = process.pid();
    drop(process);
    assert!(!path.exists());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

/// The test runs itself once more as the process that is killed.
#[test]
fn nothing_is_left_behind_by_a_killed_test_either() {
    const CHILD: &str = "SERVERS_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let server = Redis::start();
        println!("\nfolder {}", server.command(&["CONFIG", "GET", "dir"]).replace('\n', " "));
        std::thread::park_timeout(Duration::from_secs(60));
        return;
    }
    let name = "nothing_is_left_behind_by_a_killed_test_either";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut lines = std::io::BufRead::lines(said);
    let folder =
        lines.find_map(|line| line.unwrap().strip_prefix("folder dir ").map(str::to_owned));
    let folder = folder.unwrap();
    assert!(Path::new(&folder).exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let since = Instant::now();
    while Path::new(&folder).exists() {
        assert!(since.elapsed() < Duration::from_secs(20), "{folder} is still there");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
