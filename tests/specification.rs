//! Is each behaviour that the origin promises shown by a test that exists, or said why not?

use std::collections::BTreeSet;
use std::path::Path;

/// Where tests are looked for.
const FOLDERS: [&str; 4] = ["origin", "tests", "loadtest", "fake-gateway"];
/// The numbers of the specification: some were never given.
const NUMBERS: [u32; 28] = [
    1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 14, 15, 16, 17, 19, 21, 23, 25, 26, 27, 28, 30, 31, 32, 33,
    34, 36,
];

#[test]
fn every_behaviour_names_tests_that_exist_or_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = BTreeSet::new();
    FOLDERS.iter().for_each(|folder| collect(&root.join(folder), &mut tests));
    let table = include_str!("../origin/tests/README.md");
    let mut numbers = Vec::new();
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" |").map(str::trim).collect();
        let [number, _, shown, reason] = cells[..] else { panic!("four cells: {row}") };
        let Ok(number) = number.parse::<u32>() else { continue };
        numbers.push(number);
        let named: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty() || !reason.is_empty(), "{number} has neither test nor reason");
        for name in named {
            assert!(tests.contains(name), "{number}: there is no test {name}");
        }
    }
    assert_eq!(numbers, NUMBERS);
}

/// The names of all tests in the sources below a folder.
fn collect(folder: &Path, tests: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, tests);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
                let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
                if let Some((name, _)) = name.and_then(|name| name.split_once('('))
                    && std::mem::take(&mut is_test)
                {
                    tests.insert(name.to_owned());
                }
            }
        }
    }
}
