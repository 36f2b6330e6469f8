//! Does the `keys` command do what an operator asks, and never print a secret?

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keys::{Front, Key, Keyring, Pass, Place, Role, Statement, Ticket, Timestamp, Validity};
use serde_json::Value;

use crate::support::{Kind, folder, owner};

/// What the command printed, and how it ended.
struct Answer {
    code: i32,
    out: String,
    err: String,
}

impl Answer {
    /// What it printed; it must have gone well.
    #[track_caller]
    fn done(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out.trim_end().to_owned()
    }

    /// Why it failed; it must have, and have printed nothing else.
    #[track_caller]
    fn failed(self) -> String {
        assert_eq!((self.code, self.out.as_str()), (2, ""), "{}", self.err);
        self.err.trim_end().to_owned()
    }
}

/// Runs `keys` with these words in `folder`.
fn keys(folder: &Path, line: &str, stdin: &str) -> Answer {
    let mut child = Command::new(env!("CARGO_BIN_EXE_keys"))
        .args(line.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have ended without reading.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Answer {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn secrets(path: &Path) -> Vec<String> {
    let file: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let keys = file["keys"].as_array().unwrap();
    keys.iter().filter_map(|key| key["d"].as_str()).map(str::to_owned).collect()
}

/// The sample of a kind, issued now.
fn sealed_now<T: Kind>(path: &Path) -> String {
    let now = Timestamp::now();
    let mut claims = serde_json::to_value(T::sample()).unwrap();
    for begins in ["iat", T::BEGINS] {
        claims[begins] = now.as_secs().into();
    }
    let claims: T = serde_json::from_value(claims).unwrap();
    Keyring::load(path).unwrap().seal(&claims, now).unwrap().as_str().to_owned()
}

/// A key file whose one key has been in use for an hour.
fn file_in_use(folder: &Path, role: Role) -> PathBuf {
    let now = Timestamp::now().floor_to_secs();
    let validity = Validity {
        use_from: now.minus_secs(3600),
        use_until: now.plus_secs(3600),
        valid_until: now.plus_secs(7200),
        revoked_at: None,
    };
    let path = folder.join("edge.json");
    Keyring::new([Key::generate(role, owner(role), validity)]).save(&path).unwrap();
    path
}

#[test]
fn make_adds_a_key_to_a_file_that_only_its_owner_reads() {
    let folder = folder("command_make");
    let path = folder.join("edge.json");
    let before = Timestamp::now().floor_to_secs();
    let kid = keys(&folder, "make --role edge --owner edge-1 --file edge.json", "").done();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let ring = Keyring::load(&path).unwrap();
    let key = ring.keys().next().unwrap();
    assert_eq!(key.kid, kid);
    assert_eq!((key.role, key.owner.as_str(), key.can_sign()), (Role::Edge, "edge-1", true));
    let Validity { use_from, use_until, valid_until, revoked_at } = key.validity;
    assert!(before <= use_from && use_from <= Timestamp::now());
    assert_eq!(use_until, use_from.plus_secs(90 * 86_400));
    assert_eq!(valid_until, use_until.plus_secs(86_400));
    assert_eq!(revoked_at, None);

    let line = "make --role origin --owner shop --file edge.json --days 1 --overlap-hours 0";
    let second = keys(&folder, line, "").done();
    let ring = Keyring::load(&path).unwrap();
    let key = ring.keys().find(|key| key.kid == second).unwrap();
    assert_eq!(ring.keys().count(), 2);
    assert_eq!(key.validity.valid_until, key.validity.use_from.plus_secs(86_400));
}

#[test]
fn no_output_of_any_command_holds_a_secret() {
    let folder = folder("command_secrets");
    let path = file_in_use(&folder, Role::Edge);
    let text = sealed_now::<Place>(&path);
    let mut printed = String::new();
    for line in [
        "make --role edge --owner edge-1 --file edge.json",
        "show --file edge.json",
        "roll --file edge.json",
        "trust --file other.json --from edge.json",
        "verify --file edge.json",
        "show --file other.json",
        "revoke --kid nobody --file edge.json",
    ] {
        let answer = keys(&folder, line, &text);
        printed += &answer.out;
        printed += &answer.err;
    }
    let secrets = secrets(&path);
    assert_eq!(secrets.len(), 4, "two keys and their successors");
    assert!(secrets.iter().all(|secret| !printed.contains(secret)));
    assert!(printed.contains(r#""x""#) && !printed.contains(r#""d""#), "{printed}");
}

#[test]
fn who_trusts_a_file_verifies_its_statements_and_cannot_sign() {
    let folder = folder("command_trust");
    keys(&folder, "make --role edge --owner edge-1 --file edge.json", "").done();
    let public = keys(&folder, "show --file edge.json", "").done();
    fs::write(folder.join("public.json"), public).unwrap();
    let text = sealed_now::<Place>(&folder.join("edge.json"));

    keys(&folder, "make --role controller --owner controller --file controller.json", "").done();
    let refused = keys(&folder, "verify --file controller.json", &text).failed();
    assert!(refused.starts_with("keys: statement is refused: key "), "{refused}");
    assert!(refused.ends_with(" is unknown"), "{refused}");

    for from in ["edge.json", "public.json"] {
        keys(&folder, &format!("trust --file controller.json --from {from}"), "").done();
        let claims = keys(&folder, "verify --file controller.json", &text).done();
        let claims: Value = serde_json::from_str(&claims).unwrap();
        assert_eq!(claims["num"], 1_234);
        let ring = Keyring::load(&folder.join("controller.json")).unwrap();
        assert_eq!(ring.keys().filter(|key| key.can_sign()).count(), 1, "no secret was taken over");
    }
}

#[test]
fn after_a_roll_old_statements_verify_and_new_ones_have_the_new_key() {
    let folder = folder("command_roll");
    let path = file_in_use(&folder, Role::Edge);
    let old_kid = Keyring::load(&path).unwrap().keys().next().unwrap().kid.clone();
    let old = sealed_now::<Place>(&path);

    let roll = "roll --file edge.json --lead-minutes 0 --days 7 --overlap-hours 2";
    let new_kid = keys(&folder, roll, "").done();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let new = sealed_now::<Place>(&path);
    assert_ne!(old.split('.').next(), new.split('.').next());
    keys(&folder, "verify --file edge.json", &old).done();
    keys(&folder, "verify --file edge.json", &new).done();

    let ring = Keyring::load(&path).unwrap();
    let of = |kid: &str| ring.keys().find(|key| key.kid == kid).unwrap().validity;
    let (old, new) = (of(&old_kid), of(&new_kid));
    assert_eq!(old.use_until, new.use_from, "one stops as the other starts");
    assert_eq!(old.valid_until, old.use_until.plus_secs(2 * 3600));
    assert_eq!(new.use_until, new.use_from.plus_secs(7 * 86_400));
}

#[test]
fn a_successor_begins_after_the_lead_and_the_old_key_signs_until_then() {
    let folder = folder("command_roll_lead");
    let path = file_in_use(&folder, Role::Edge);
    let old_kid = Keyring::load(&path).unwrap().keys().next().unwrap().kid.clone();
    let before = Timestamp::now();
    let new_kid = keys(&folder, "roll --file edge.json", "").done();
    let ring = Keyring::load(&path).unwrap();
    let of = |kid: &str| ring.keys().find(|key| key.kid == kid).unwrap().validity;
    let (old, new) = (of(&old_kid), of(&new_kid));
    assert!(new.use_from >= before.plus_secs(599), "ten minutes to tell the others");
    assert_eq!(old.use_until, new.use_from);
    let text = sealed_now::<Place>(&path);
    keys(&folder, "verify --file edge.json", &text).done();
}

#[test]
fn a_roll_without_a_key_in_use_is_an_error_and_changes_nothing() {
    let folder = folder("command_roll_nothing");
    let path = file_in_use(&folder, Role::Edge);
    let kid = Keyring::load(&path).unwrap().keys().next().unwrap().kid.clone();
    keys(&folder, &format!("revoke --file edge.json --kid {kid}"), "").done();
    let before = fs::read_to_string(&path).unwrap();
    let refused = keys(&folder, "roll --file edge.json", "").failed();
    assert!(refused.contains("nothing was rolled"), "{refused}");
    assert_eq!(fs::read_to_string(&path).unwrap(), before);
}

#[test]
fn what_a_revoked_key_signed_is_refused_and_trust_does_not_bring_it_back() {
    let folder = folder("command_revoke");
    let path = file_in_use(&folder, Role::Edge);
    let kid = Keyring::load(&path).unwrap().keys().next().unwrap().kid.clone();
    fs::copy(&path, folder.join("old-copy.json")).unwrap();
    let text = sealed_now::<Place>(&path);
    keys(&folder, "verify --file edge.json", &text).done();

    keys(&folder, &format!("revoke --file edge.json --kid {kid}"), "").done();
    let refused = keys(&folder, "verify --file edge.json", &text).failed();
    assert!(refused.ends_with("is revoked or outside its time"), "{refused}");

    keys(&folder, "trust --file edge.json --from old-copy.json", "").done();
    keys(&folder, "verify --file edge.json", &text).failed();
    // And whoever learns the keys from this file learns that it is revoked.
    keys(&folder, "trust --file old-copy.json --from edge.json", "").done();
    keys(&folder, "verify --file old-copy.json", &text).failed();
}

#[test]
fn verify_reads_every_kind() {
    fn check<T: Kind>(folder: &Path) {
        let text = sealed_now::<T>(&folder.join("all.json"));
        let printed = keys(folder, "verify --file all.json", &format!("{text}\n")).done();
        let claims: T = serde_json::from_str(&printed).unwrap();
        assert_eq!(claims.audience(), T::sample().audience());
    }
    let folder = folder("command_verify");
    for (role, owner) in [("edge", "edge-1"), ("controller", "controller"), ("origin", "origin")] {
        let line = format!("make --role {role} --owner {owner} --file all.json");
        keys(&folder, &line, "").done();
    }
    check::<Place>(&folder);
    check::<Pass>(&folder);
    check::<Front>(&folder);
    check::<Ticket>(&folder);
    // A front is read up to its own length, beyond that of the others.
    assert!(sealed_now::<Front>(&folder.join("all.json")).len() > Place::BYTES_MAX);
}

#[test]
fn whatever_fails_says_why_in_one_line_and_ends_with_2() {
    let folder = folder("command_errors");
    let path = file_in_use(&folder, Role::Edge);
    let good = sealed_now::<Place>(&path);
    let changed = good.replacen("ey", "eY", 1);
    let too_long = "x".repeat(9_000);
    fs::write(folder.join("broken.json"), "{}").unwrap();

    #[rustfmt::skip] // reads in columns
    let cases = [
        // command                                          standard input  what it says
        ("show --file none.json",                           "",             "keys: key file none.json cannot be read or written: No such file"),
        ("show --file broken.json",                         "",             "keys: key file broken.json is not a key set as `keys make` writes it: missing field"),
        ("roll --file none.json",                           "",             "keys: key file none.json cannot"),
        ("trust --file new.json --from none.json",          "",             "keys: key file none.json cannot"),
        ("make --role edge --owner e --file broken.json",   "",             "keys: key file broken.json is not"),
        ("make --role edge --owner e --file no/where.json", "",             "keys: key file no/where.json cannot"),
        ("revoke --file edge.json --kid nobody",            "",             "keys: no key \"nobody\" in the file"),
        ("revoke --file edge.json --kid -nobody",           "",             "keys: no key \"-nobody\" in the file"),
        ("verify --file edge.json",                         "",             "keys: statement is refused: statement is not three parts"),
        ("verify --file edge.json",                         &changed,       "keys: statement is refused: header is not"),
        ("verify --file edge.json",                         &too_long,      "keys: statement is of no kind we know, or longer"),
        ("verify --file none.json",                         &good,          "keys: key file none.json cannot"),
    ];
    for (line, stdin, expected) in cases {
        let said = keys(&folder, line, stdin).failed();
        assert!(said.starts_with(expected) && said.lines().count() == 1, "{line}: {said}");
    }
    assert!(!folder.join("new.json").exists());

    // Asked for in a way that makes no sense.
    for line in [
        "",
        "forge",
        "make --role edge --owner e",
        "make --role visitor --owner e --file x.json",
        "make --role edge --owner Edge_1 --file x.json",
        "make --role edge --owner e --file x.json --days 0",
        "make --role edge --owner e --file x.json --days 18446744073709551615",
        "make --role edge --owner e --file x.json --overlap-hours 18446744073709551615",
        "roll --file edge.json --days 0",
        "roll --file edge.json --days 99999999999999999",
    ] {
        keys(&folder, line, "").failed();
    }
    assert!(!folder.join("x.json").exists());
    assert_eq!(Keyring::load(&path).unwrap().keys().count(), 1);
}
