//! Do frozen draws come out as they did, and does another implementation agree?

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keys::{Beacon, Draw, EventId, Lane, Opened};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Vectors {
    about: String,
    vectors: Vec<Vector>,
}

#[derive(Serialize, Deserialize)]
struct Vector {
    secret: String,
    commitment: String,
    beacon: String,
    event: EventId,
    line: u64,
    lane: Lane,
    count: u64,
    /// Number and position.
    positions: Vec<(u64, u64)>,
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/draw_vectors.json")
}

fn vector(secret: &[u8], beacon: &[u8], lane: Lane, count: u64) -> Vector {
    let event: EventId = "opening-night".parse().unwrap();
    let announced = if beacon.is_empty() {
        Beacon::None
    } else {
        Beacon::Operator { of: "a value for this test".into() }
    };
    let mut draw = Draw::announced(secret, announced);
    let (secret, beacon) = (URL_SAFE_NO_PAD.encode(secret), URL_SAFE_NO_PAD.encode(beacon));
    let mut counts = [0; 3];
    counts[lane.index()] = count;
    draw.opened = Some(Opened { secret: secret.clone(), beacon: beacon.clone(), counts });
    let order = draw.order(&event, 7, lane).unwrap();
    // Ends, middles, and the first of those who came later.
    let nums = (1..=count.min(16)).chain([count / 2, count, count + 1, count + 1000]);
    let positions =
        nums.filter(|num| *num > 0).map(|num| (num, order.position(num).unwrap())).collect();
    Vector { secret, commitment: draw.commitment, beacon, event, line: 7, lane, count, positions }
}

#[test]
fn draws_come_out_as_they_did_when_they_were_frozen() {
    let today = Vectors {
        about: "Frozen: a change here changes everybody's position. keys/tests/all/draw.rs".into(),
        vectors: vec![
            vector(b"secret", b"", Lane::Standard, 0),
            vector(b"secret", b"", Lane::Standard, 1),
            vector(b"secret", b"", Lane::Standard, 2),
            vector(b"secret", b"beacon", Lane::Standard, 17),
            vector(b"secret", b"beacon", Lane::Suspect, 17),
            vector(&[0; 32], &[255; 48], Lane::Priority, 1000),
            vector(&[7; 32], &[9; 32], Lane::Standard, 10_000_000),
        ],
    };
    let today = serde_json::to_string_pretty(&today).unwrap() + "\n";
    if fs::read_to_string(path()).unwrap_or_default() != today {
        let beside = Path::new(env!("CARGO_TARGET_TMPDIR")).join("draw_vectors.json");
        fs::write(&beside, today).unwrap();
        panic!("the draw is not the frozen one; compare {:?} with {beside:?}", path());
    }
}

#[test]
fn another_implementation_computes_the_same_positions() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let checked = Command::new("python3")
        .arg(root.join("tests/draw_check.py"))
        .arg(path())
        .output()
        .expect("python3 is there: `make tools` installs it");
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
}
