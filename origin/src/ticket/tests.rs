//! Is what we print what others read? Pages are drawn by poppler and the code is read by zbar.

use std::path::Path;
use std::process::Command;

use keys::{Key, Role, Validity};

use super::*;

fn letters() -> Letters {
    Letters::load::<&Path>(&[]).unwrap()
}

fn signed() -> (Keyring, EventId, String) {
    let now = Timestamp::now();
    let (use_from, use_until) = (now.minus_secs(60), now.plus_secs(3600));
    let validity =
        Validity { use_from, use_until, valid_until: now.plus_secs(7200), revoked_at: None };
    let issuer: Owner = "origin-1".parse().unwrap();
    let keyring = Keyring::new([Key::generate(Role::Origin, issuer.clone(), validity)]);
    let event: EventId = "wc2026-final".parse().unwrap();
    let facts = TicketFacts {
        issuer: &issuer,
        event: &event,
        starts_at: now.plus_secs(1000),
        ticket: Id128::from_bytes([9; 16]),
        seat: "104-C-12".into(),
        sold_at: now,
    };
    let sealed = barcode(&keyring, &facts, now).unwrap();
    (keyring, event, sealed.as_str().to_owned())
}

fn sheet(barcode: &str, seat: &str) -> Sheet {
    Sheet {
        gate: None,
        block: "104".into(),
        row: "C".into(),
        seat: seat.into(),
        category: ("Category 1".into(), "#0072b2".into()),
        price: 673_000,
        number: number(Id128::from_bytes([9; 16])),
        barcode: barcode.into(),
    }
}

fn booklet<'a>(buyer: &'a str, language: Language, sheets: Vec<Sheet>) -> Booklet<'a> {
    let occasion = Occasion {
        title: "Spain – Argentina",
        stage: "2026 World Cup, Final",
        starts_at_local: "2026-07-19T15:00:00-04:00",
        venue: "New York New Jersey Stadium",
        city: "East Rutherford",
        accent: Accent::of("wc2026-final"),
    };
    Booklet { occasion, language, order: "7K3M-9QXD-20VH", buyer, currency: "USD", sheets }
}

/// What a program of the machine prints.
fn run(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).output();
    let done = done.unwrap_or_else(|error| panic!("{program}: {error}; scripts/install test"));
    assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn the_code_on_the_printed_page_is_read_by_a_stranger_and_verified() {
    let (keyring, event, barcode) = signed();
    let sheets = vec![sheet(&barcode, "12"), sheet(&barcode, "13")];
    let pdf = booklet("Zoë Núñez", Language::English, sheets).pdf(&letters()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tickets.pdf");
    std::fs::write(&file, pdf).unwrap();
    let (file, page) = (file.to_str().unwrap(), folder.path().join("page"));
    run("pdftoppm", &["-r", "150", "-png", file, page.to_str().unwrap()]);
    for number in [1, 2] {
        let page = folder.path().join(format!("page-{number}.png"));
        let read = run("zbarimg", &["--quiet", "--raw", page.to_str().unwrap()]);
        assert_eq!(read.trim(), barcode, "page {number}");
        let ticket = keyring.open(&Sealed::<Ticket>::new(read.trim()), &event, Timestamp::now());
        assert_eq!(ticket.unwrap().seat, "104-C-12");
    }
}

#[test]
fn the_picture_of_a_code_is_read_by_a_stranger() {
    let (_, _, barcode) = signed();
    let code = Code::new(&barcode).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("code.png");
    std::fs::write(&file, code.png().unwrap()).unwrap();
    let read = run("zbarimg", &["--quiet", "--raw", file.to_str().unwrap()]);
    assert_eq!(read.trim(), barcode);
}

#[test]
fn whatever_the_buyer_is_called_the_file_is_whole_and_the_name_can_be_found_in_it() {
    let (_, _, barcode) = signed();
    let (letters, folder) = (letters(), tempfile::tempdir().unwrap());
    let long = "Ω".repeat(100);
    #[rustfmt::skip] // reads in columns
    let names = [
        // name                           printed
        ("Zoë Núñez",                     "Zoë Núñez"),
        ("Łukasz Żółć-Świątek",           "Łukasz Żółć-Świątek"),
        ("Ελένη Παππά",                   "Ελένη Παππά"),
        ("王小明",                         "Wang Xiao Ming"),
        ("🦊 Fox",                         "fox face Fox"),
        ("a\u{301}\u{302}\u{303}\u{304}", "a"),
        (long.as_str(),                   "ΩΩΩΩ"),
    ];
    for (at, (name, printed)) in names.iter().enumerate() {
        for language in Language::ALL {
            let pdf = booklet(name, language, vec![sheet(&barcode, "12")]).pdf(&letters).unwrap();
            let file = folder.path().join(format!("{at}.pdf"));
            std::fs::write(&file, pdf).unwrap();
            let text = run("pdftotext", &["-layout", file.to_str().unwrap(), "-"]);
            assert!(text.contains(printed), "{name}: {text}");
        }
    }
}

#[test]
fn the_same_tickets_are_the_same_file() {
    let draw = || booklet("Ana", Language::German, vec![sheet("x", "1")]).pdf(&letters()).unwrap();
    assert_eq!(draw(), draw());
}
