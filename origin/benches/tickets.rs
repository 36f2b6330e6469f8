//! How many tickets can be printed in a second, on one thread, beside reportlab and qrcode?
//!
//! `cargo bench -p waiting-room -p origin --bench tickets -- PYTHON`, where PYTHON has reportlab
//! 4.4.4, qrcode 8.2 and pillow; with `waiting-room`, for what ships compresses by zlib-ng, which
//! `origin` alone does not. Both draw one page a ticket, each a file of its own with a fresh code of
//! the same length, in turns; told are the medians of five turns and their ratio.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use origin::ticket::{Accent, Booklet, Language, Letters, Occasion, Sheet};

const TURNS: usize = 5;
const TICKETS: usize = 400;
const PEER_TICKETS: usize = 40;

fn barcode(nth: usize) -> String {
    format!("{}{nth:08}", "eyJhbGciOiJFZERTQSIsInR5cCI6IndyLXRpY2tldCtqd3QifQ.".repeat(6))
}

fn ours(letters: &Letters) -> f64 {
    let began = Instant::now();
    let mut bytes = 0;
    for nth in 0..TICKETS {
        let sheet = Sheet {
            gate: None,
            block: "104".into(),
            row: "C".into(),
            seat: nth.to_string(),
            category: ("Category 1".into(), "#0072b2".into()),
            price: 673_000,
            number: format!("JMDV-QG48-{nth:04}"),
            barcode: barcode(nth),
        };
        let occasion = Occasion {
            title: "Spain – Argentina",
            stage: "2026 World Cup, Final",
            starts_at_local: "2026-07-19T15:00:00-04:00",
            venue: "New York New Jersey Stadium",
            city: "East Rutherford",
            accent: Accent::of("wc2026-final"),
        };
        let booklet = Booklet {
            occasion,
            language: Language::English,
            order: "7K3M-9QXD-20VH",
            buyer: "Łukasz Żółć-Świątek",
            currency: "USD",
            sheets: vec![sheet],
        };
        bytes += booklet.pdf(letters).expect("it is drawn").len();
    }
    assert!(bytes > TICKETS * 1000, "the files are empty");
    per_sec(TICKETS, began)
}

fn theirs(python: &str) -> f64 {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/tickets_peer.py");
    let arguments = [PEER_TICKETS.to_string(), barcode(0)];
    let done = Command::new(python).arg(script).args(arguments).output().expect("python runs");
    let told = String::from_utf8_lossy(&done.stdout);
    told.trim().parse().unwrap_or_else(|_| {
        panic!("the peer says {told} {}", String::from_utf8_lossy(&done.stderr))
    })
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred tickets")]
fn per_sec(count: usize, began: Instant) -> f64 {
    count as f64 / began.elapsed().as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn main() {
    // Cargo adds --bench.
    let Some(python) = std::env::args().skip(1).find(|word| !word.starts_with("--")) else {
        println!("usage: cargo bench -p origin --bench tickets -- PYTHON");
        return;
    };
    let letters = Letters::load::<&Path>(&[]).expect("our own fonts are fonts");
    let (mut us, mut them) = (Vec::new(), Vec::new());
    for turn in 1..=TURNS {
        let rates = (ours(&letters), theirs(&python));
        println!("turn {turn}: {:.0} tickets/s, reportlab {:.1}/s", rates.0, rates.1);
        us.push(rates.0);
        them.push(rates.1);
    }
    let (us, them) = (median(us), median(them));
    println!("median: {us:.0} tickets/s, reportlab {them:.1}/s, ratio {:.0}", us / them);
}
