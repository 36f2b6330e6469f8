use std::path::PathBuf;
use std::sync::Weak;

use super::*;
use crate::catalogue::{Command, Item, Sources, State, decide, imports, items};
use crate::record::FIRST_LINK;
use keys::Timestamp;

/// A folder that is gone when the test is.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("origin-search-{}", keys::Id128::random())))
    }
}
impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The search over the real catalogue, made once for the tests that only read it.
struct Real {
    search: Search,
    _folder: Folder,
}

fn real_search() -> Arc<Real> {
    static KNOWN: Mutex<Weak<Real>> = Mutex::new(Weak::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(real) = known.upgrade() {
        return real;
    }
    let folder = Folder::new();
    let search = Search::open(&folder.0, &catalogue_of(imports(real()))).unwrap();
    let real = Arc::new(Real { search, _folder: folder });
    *known = Arc::downgrade(&real);
    real
}

/// What the log of these commands adds up to.
fn catalogue_of(commands: impl IntoIterator<Item = Command>) -> Catalogue {
    let mut state = State::default();
    for command in commands {
        change(&mut state, &command);
    }
    Catalogue::new(state)
}

fn change(state: &mut State, command: &Command) {
    let (changes, _) = decide(state, command, Timestamp::from_secs(1)).unwrap();
    changes.iter().for_each(|change| state.evolve(change).unwrap());
    // Any digest that differs from record to record will do.
    let mut link = FIRST_LINK;
    link[..8].copy_from_slice(&state.seq().to_be_bytes());
    state.close_record(Timestamp::from_secs(1), link);
}

fn real() -> Vec<Item> {
    items(&Sources { with_leagues: true, ..Sources::default() }).unwrap()
}

fn ask(search: &Search, parts: &[(&str, &str)]) -> Found {
    let object = parts.iter().map(|(name, value)| ((*name).to_owned(), (*value).into()));
    let text: QueryText =
        serde_json::from_value(serde_json::Value::Object(object.collect())).unwrap();
    search.find(&text.check("USD").unwrap()).unwrap()
}

fn titles(found: &Found) -> Vec<&str> {
    found.events.iter().map(|(event, _)| event.facts.title.as_str()).collect()
}

#[test]
#[rustfmt::skip] // reads in columns
fn the_real_catalogue_is_found_as_people_type() {
    let real = real_search();
    let search = &real.search;
    let mut wrong = Vec::new();
    let mut check = |parts: &[(&str, &str)], total: u64, first: &str| {
        let found = ask(search, parts);
        let seen = (found.total, titles(&found).first().copied().unwrap_or("nothing"));
        if seen != (total, first) {
            wrong.push(format!("{parts:?}: {seen:?}, expected {:?}", (total, first)));
        }
    };
    //     words                              how many  first
    check(&[("q", "")],                         6_888, "Doncaster Rovers – Bolton");
    check(&[("q", "spain argentina")],              1, "Spain – Argentina");
    check(&[("q", "ARGENTINA spain")],              1, "Spain – Argentina");
    check(&[("q", "spian argentina")],              1, "Spain – Argentina");      // swapped letters
    check(&[("q", "argentna spain")],               1, "Spain – Argentina");      // one left out
    check(&[("q", "metlife")],                      8, "Brazil – Morocco");
    check(&[("q", "estadio azteca")],               5, "Mexico – South Africa");
    check(&[("q", "curacao")],                      3, "Germany – Curaçao");      // no cedilla
    check(&[("q", "Curaçao")],                      3, "Germany – Curaçao");
    check(&[("q", "beşiktaş")],                    34, "Beşiktaş – Eyüpspor");
    check(&[("q", "besiktas")],                    34, "Beşiktaş – Eyüpspor");
    check(&[("q", "besiktsa")],                    34, "Beşiktaş – Eyüpspor");
    check(&[("q", "koln")],                        34, "1. FSV Mainz 05 – 1. FC Köln");
    check(&[("q", "manch")],                       74, "Wolverhampton Wanderers FC – Manchester City FC");
    check(&[("q", "manchester united")],           44, "Manchester United FC – Arsenal FC");
    check(&[("q", "manchester uni")],              44, "Manchester United FC – Arsenal FC");
    check(&[("q", "mancehster untied fc")],        44, "Manchester United FC – Arsenal FC");
    check(&[("q", "levis stadium")],                6, "Qatar – Switzerland");
    check(&[("q", "levi's")],                       6, "Qatar – Switzerland");
    check(&[("q", "world cup final")],              7, "Spain – Argentina");
    check(&[("q", "xyzzy")],                        0, "nothing");
    check(&[("q", "a")],                        2_898, "Leyton Orient – AFC");
    //     filters
    check(&[("city", "Toronto")],                   6, "Canada – Bosnia & Herzegovina");
    check(&[("city", "toronto"), ("q", "croatia")], 2, "Panama – Croatia");
    check(&[("from", "2026-07-19")],                1, "Spain – Argentina");
    check(&[("from", "2026-07-01"), ("to", "2026-07-02"), ("city", "Toronto")], 1, "Portugal – Croatia");
    check(&[("category", "football")],          6_888, "Doncaster Rovers – Bolton");
    check(&[("category", "opera")],                 0, "nothing");
    check(&[("price_max", "10000")],               72, "Mexico – South Africa");
    check(&[("price_min", "200000")],               1, "Spain – Argentina");
    check(&[("price_max", "10000"), ("currency", "EUR")], 0, "nothing");
    check(&[("competition", "Scottish Premiership 2025/26")], 198, "Kilmarnock FC – Livingston FC");
    check(&[("competition", "turkish super lig 2025/26"), ("q", "galatasaray")], 34, "Gaziantep FK – Galatasaray");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_fits_best_comes_first_and_then_what_comes_first_in_time() {
    let real = real_search();
    let search = &real.search;
    let found = ask(search, &[("q", "manchester united"), ("limit", "50")]);
    let is_theirs: Vec<bool> =
        titles(&found).iter().map(|title| title.contains("Manchester United")).collect();
    assert_eq!(is_theirs.iter().filter(|is| **is).count(), 38);
    assert!(is_theirs[..38].iter().all(|is| *is), "their own matches come first");
    let by_date = ask(search, &[("q", "manchester united"), ("sort", "date"), ("limit", "50")]);
    let starts: Vec<_> = by_date.events.iter().map(|(event, _)| event.facts.starts_at).collect();
    assert_eq!(by_date.total, found.total);
    assert!(starts.is_sorted());
}

#[test]
fn a_word_that_nothing_has_is_read_with_its_errors_and_said_so() {
    let real = real_search();
    let search = &real.search;
    let found = ask(search, &[("q", "barcelonna")]);
    assert_eq!(found.read_as, [("barcelonna".to_owned(), vec!["barcelona".to_owned()])]);
    assert_eq!(ask(search, &[("q", "barcelona")]).read_as, []);
    // Three letters are too few to guess by.
    assert_eq!(ask(search, &[("q", "xfc")]).total, 0);
}

#[test]
fn pages_follow_each_other_without_a_gap_or_a_repetition() {
    let real = real_search();
    let search = &real.search;
    for asked in [vec![("q", "fc")], vec![("q", "fc"), ("sort", "date")], vec![("city", "Toronto")]]
    {
        let mut seen = Vec::new();
        let mut cursor = String::new();
        loop {
            let mut asked = asked.clone();
            asked.push(("limit", "199"));
            if !cursor.is_empty() {
                asked.push(("cursor", &cursor));
            }
            let found = ask(search, &asked);
            seen.extend(found.events.iter().map(|(event, _)| event.ordinal));
            match found.next {
                Some(next) => cursor = next,
                None => {
                    assert_eq!(seen.len() as u64, found.total, "{asked:?}");
                    break;
                }
            }
        }
        let all: std::collections::BTreeSet<_> = seen.iter().collect();
        assert_eq!(all.len(), seen.len(), "{asked:?}");
    }
}

#[test]
fn facets_count_what_else_could_be_chosen() {
    let real = real_search();
    let search = &real.search;
    let count = |counted: &[Counted], value: &str| {
        counted.iter().find(|counted| counted.value == value).map_or(0, |counted| counted.count)
    };
    let found = ask(search, &[("q", "world cup"), ("city", "Toronto")]);
    assert_eq!(found.total, 6);
    assert_eq!(count(&found.facets.city, "Toronto"), 6);
    assert_eq!(count(&found.facets.city, "Vancouver"), 7, "cities are those of the whole cup");
    assert_eq!(found.facets.city.iter().map(|city| city.count).sum::<u32>(), 104);
    assert_eq!(count(&found.facets.category, "football"), 6);
    let months: u32 = found.facets.month.iter().map(|month| month.count).sum();
    assert_eq!(months, 6);
    let prices: u32 = found.facets.price.iter().map(|price| price.count).sum();
    assert_eq!(prices, 6);
}

#[test]
fn how_much_is_left_is_told_by_the_shelves_and_only_of_what_is_on_sale() {
    let folder = Folder::new();
    let on_sale = ["wc2026-final", "wc2026-third-place"].map(|id| id.parse().unwrap());
    let commands = imports(real()).chain([Command::Begin(on_sale.to_vec())]);
    let catalogue = catalogue_of(commands);
    let search = Search::open(&folder.0, &catalogue).unwrap();
    let ordinal = |id: &str| catalogue.event(&id.parse().unwrap()).unwrap().ordinal;
    let announced = ordinal("wc2026-m001-mexico-south-africa");
    search.set_bands(BTreeMap::from([
        (ordinal("wc2026-final"), Band::FewLeft),
        (ordinal("wc2026-third-place"), Band::SoldOut),
        (announced, Band::Available),
    ]));
    assert_eq!(titles(&ask(&search, &[("availability", "few_left")])), ["Spain – Argentina"]);
    assert_eq!(ask(&search, &[("availability", "sold_out")]).total, 1);
    assert_eq!(ask(&search, &[("availability", "available")]).total, 0);
    let found = ask(&search, &[("sort", "relevance")]);
    assert_eq!(found.facets.availability.len(), 2);
    assert_eq!(found.events[1].1, Some(Band::FewLeft), "what can be bought comes first");
    assert_eq!(found.events[2].1, None);
    assert_eq!(ask(&search, &[("status", "on_sale")]).total, 2);
}

/// Everything that a few questions are answered with.
fn answers(search: &Search) -> Vec<(u64, Vec<u32>)> {
    let questions = ["", "final", "manchester united", "besiktsa", "a", "toronto fc"];
    let answer = |words: &&str| {
        let found = ask(search, &[("q", words), ("limit", "200")]);
        (found.total, found.events.iter().map(|(event, _)| event.ordinal).collect())
    };
    questions.iter().map(answer).collect()
}

#[test]
fn an_index_that_is_gone_or_of_another_log_is_made_anew_and_answers_alike() {
    let folder = Folder::new();
    let mut state = State::default();
    imports(real()).for_each(|command| change(&mut state, &command));
    let catalogue = Catalogue::new(state);
    let search = Search::open(&folder.0, &catalogue).unwrap();
    // Changes come one by one, so that the index has deleted documents and many segments.
    for (at, item) in real().into_iter().enumerate().step_by(900) {
        let Item::Event { id, mut facts } = item else { continue };
        facts.title = format!("Replay {at}");
        let imported = Command::Import(vec![Item::Event { id, facts }]);
        catalogue.change(|state| change(state, &imported));
        search.follow(&catalogue).unwrap();
    }
    assert_eq!(ask(&search, &[("q", "replay")]).total, 7);
    let before = answers(&search);
    drop(search);
    let again = Search::open(&folder.0, &catalogue).unwrap();
    assert_eq!(answers(&again), before, "it is there after a restart");
    drop(again);
    std::fs::remove_dir_all(&folder.0).unwrap();
    let rebuilt = Search::open(&folder.0, &catalogue).unwrap();
    assert_eq!(answers(&rebuilt), before);
    drop(rebuilt);
    let other = catalogue_of(imports(real()).take(3));
    let smaller = Search::open(&folder.0, &other).unwrap();
    assert_eq!(ask(&smaller, &[]).total, other.read().len() as u64);
    drop(smaller);
    std::fs::write(folder.0.join("meta.json"), "damaged").unwrap();
    let repaired = Search::open(&folder.0, &catalogue).unwrap();
    assert_eq!(answers(&repaired), before);
}
