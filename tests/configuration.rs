//! A configuration that does not fit is refused with file, key and what was expected; nothing is
//! started.

use std::process::Command;

use waiting_room::Demo;

#[test]
#[rustfmt::skip] // reads in columns
fn what_does_not_fit_is_refused_before_anything_starts() {
    //    command       file                         replace                      by                            named
    check("edge",       "edge-proxy.toml",           "[origin]",                  "[orig]",                     &["orig"]);
    check("edge",       "edge-proxy.toml",           "name = \"edge-1\"",         "name = \"\"",                &["name", "1 to 64"]);
    check("edge",       "edge-proxy.toml",           "edge-1.keys.json",          "none.json",                  &["none.json", "cannot be read"]);
    check("edge",       "edge-proxy.toml",           "edge-1.keys.json",          "origin-1.keys.json",         &["signing key", "edge"]);
    check("controller", "admission-controller.toml", "per_sec_min = 5.0",         "per_sec_min = 500.0",        &["pace.per_sec_min"]);
    check("controller", "admission-controller.toml", "role = \"edge\"",           "role = \"king\"",            &["king", "edge"]);
    check("controller", "admission-controller.toml", "mode = \"on\"",             "mode = \"maybe\"",           &["maybe", "auto"]);
    check("origin",     "origin.toml",               "[catalogue]",               "[catalog]",                  &["catalog"]);
    check("origin",     "origin.toml",               "wc2026-final",              "wc1966-final",               &["wc1966-final"]);
    check("origin",     "origin.toml",               "listen = \"127.0.0.1:0\"",  "listen = \"here\"",          &["listen"]);
}

#[track_caller]
fn check(command: &str, file: &str, from: &str, to: &str, named: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    Demo::open(dir.path(), 0).unwrap();
    let path = dir.path().join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is not in {file}:\n{text}");
    std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_waiting-room"))
        .args([command, "--config"])
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    for word in named {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_taken_port_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let dir = tempfile::tempdir().unwrap();
    Demo::open(dir.path(), 0).unwrap();
    let path = dir.path().join("origin.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_waiting-room"))
        .args(["origin", "--config"])
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&port.to_string()), "{said}");
}

/// An alert on a metric that nobody exports would never fire.
#[test]
fn every_alert_is_on_a_metric_that_exists() {
    let exported = [
        include_str!("../edge-proxy/src/metrics.rs"),
        include_str!("../admission-controller/src/metrics.rs"),
        include_str!("../origin/src/metrics.rs"),
    ];
    let rules = include_str!("../config/prometheus-rules.yml");
    let mut seen = 0;
    for line in rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")) {
        let names = line.split(|c: char| !c.is_ascii_lowercase() && c != '_');
        for name in names.filter(|name| {
            ["edge_", "admission_", "origin_"].iter().any(|prefix| name.starts_with(prefix))
        }) {
            seen += 1;
            // A histogram is exported as several series.
            let name = name.strip_suffix("_bucket").unwrap_or(name);
            let quoted = format!("\"{name}\"");
            assert!(exported.iter().any(|source| source.contains(&quoted)), "{name}");
        }
    }
    assert!(seen >= 9, "only {seen} metrics were found in the rules");
}

/// Prometheus itself reads the rules, and tries each on series made up for it.
#[test]
fn every_alert_fires_when_it_should() {
    promtool(&["check", "rules", "config/prometheus-rules.yml"]);
    promtool(&["test", "rules", "tests/alerts.yml"]);

    let rules = include_str!("../config/prometheus-rules.yml");
    let cases: Vec<_> = include_str!("alerts.yml").lines().map(str::trim).collect();
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let fires = [format!("alertname: {alert}"), "exp_alerts:".to_owned()];
        assert!(cases.windows(2).any(|lines| lines == fires), "{alert} fires in no case");
        let rests = format!("alertname: {alert}}}");
        assert!(cases.iter().any(|line| line.contains(&rests)), "{alert} rests in no case");
    }
}

#[track_caller]
fn promtool(args: &[&str]) {
    let output = Command::new("promtool")
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap_or_else(|error| {
            panic!("promtool cannot be started, it is in Debian's package prometheus: {error}")
        });
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said));
}
