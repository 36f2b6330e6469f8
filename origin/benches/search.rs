//! How long does a search take over 200,000 events, next to SQLite's FTS5 on the same events?
//!
//! In process and one at a time: no HTTP, no JSON. Ours filters, counts facets and sorts over all
//! matches as a visitor's request does; FTS5 gives its first fifty by rank and nothing else. The
//! words are the commonest of the catalogue, two at a time, the last as a beginning.
//!
//! `EVENTS=200000 cargo bench -p origin --bench search`

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

use keys::Timestamp;
use origin::catalogue::{Catalogue, State, decide, imports, synthetic};
use origin::search::{QueryText, Search};
use rusqlite::Connection;

const SEED: u64 = 20_261_126;
/// Commonest words that are asked for, each with each.
const COMMON: usize = 20;
const LIMIT: usize = 50;

fn main() -> Result<(), Box<dyn Error>> {
    let count = std::env::var("EVENTS").ok().and_then(|count| count.parse().ok());
    let count = count.unwrap_or(200_000);
    let began = Instant::now();
    let mut state = State::default();
    for command in imports(synthetic(count, SEED)?) {
        let at = Timestamp::from_secs(1);
        let (changes, _) = decide(&state, &command, at)?;
        for change in &changes {
            state.evolve(change)?;
        }
        let mut link = [0; 32];
        link[..8].copy_from_slice(&state.seq().to_be_bytes());
        state.close_record(at, link);
    }
    println!("{} events made in {:.1} s", state.len(), began.elapsed().as_secs_f64());
    let catalogue = Catalogue::new(state);
    let folder = tempfile::tempdir()?;
    let began = Instant::now();
    let search = Search::open(&folder.path().join("search"), &catalogue)?;
    println!("indexed in {:.1} s", began.elapsed().as_secs_f64());
    let peer = fts5(&catalogue, &folder.path().join("fts5.sqlite"))?;

    let common = common_words(&catalogue);
    println!("commonest words: {}", common.join(" "));
    let pairs: Vec<String> = common
        .iter()
        .flat_map(|a| common.iter().filter(move |b| *b != a).map(move |b| format!("{a} {b}")))
        .collect();
    let single: Vec<String> = common.clone();
    let typos = ["arsnal", "barcelonna", "manchster untied", "livrpool", "velvt foxes", "edinburh"];
    let typos: Vec<String> = typos.iter().map(|&words| words.to_owned()).collect();
    let browse = vec![String::new(); 100];
    report("two common words", &pairs, |q| ours(&search, q))?;
    report("two common words, FTS5 ORDER BY rank", &pairs, |q| theirs(&peer, q))?;
    report("one common word", &single, |q| ours(&search, q))?;
    report("one common word, FTS5 ORDER BY rank", &single, |q| theirs(&peer, q))?;
    report("with typing errors", &typos, |q| ours(&search, q))?;
    report("no words, all facets", &browse, |q| ours(&search, q))?;
    Ok(())
}

fn ours(search: &Search, words: &str) -> Result<u64, Box<dyn Error>> {
    let asked =
        QueryText { q: words.to_owned(), limit: Some(LIMIT.to_string()), ..QueryText::default() };
    Ok(search.find(&asked.check("USD")?)?.total)
}

fn theirs(peer: &Connection, words: &str) -> Result<u64, Box<dyn Error>> {
    let mut select = peer
        .prepare_cached("SELECT rowid FROM events WHERE events MATCH ?1 ORDER BY rank LIMIT ?2")?;
    let asked: Vec<String> = words.split(' ').map(|word| format!("\"{word}\"")).collect();
    let asked = format!("{}*", asked.join(" "));
    let limit = i64::try_from(LIMIT)?;
    let rows = select.query_map((asked, limit), |row| row.get::<_, i64>(0))?;
    Ok(rows.count() as u64)
}

fn fts5(catalogue: &Catalogue, path: &std::path::Path) -> Result<Connection, Box<dyn Error>> {
    let mut connection = Connection::open(path)?;
    connection.execute_batch(
        "CREATE VIRTUAL TABLE events USING fts5(
            name, place, series, tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3');",
    )?;
    let transaction = connection.transaction()?;
    {
        let mut insert = transaction.prepare("INSERT INTO events VALUES (?1, ?2, ?3)")?;
        let state = catalogue.read();
        for event in state.events_after(None) {
            let names = event.performers.iter().map(|performer| performer.facts.name.as_str());
            let names = std::iter::once(event.facts.title.as_str()).chain(names);
            let name = names.collect::<Vec<_>>().join(" ");
            let place = format!("{} {}", event.venue_name(), event.city());
            let competition = event.facts.competition.as_deref().unwrap_or_default();
            let series = format!("{competition} {}", event.facts.category);
            insert.execute((name, place, series))?;
        }
    }
    transaction.commit()?;
    connection.execute("INSERT INTO events(events) VALUES ('optimize')", [])?;
    Ok(connection)
}

fn common_words(catalogue: &Catalogue) -> Vec<String> {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let state = catalogue.read();
    for event in state.events_after(None) {
        let title = event.facts.title.to_lowercase();
        let words = title.split(|c: char| !c.is_ascii_alphabetic());
        for word in words.filter(|word| word.len() > 1) {
            *counts.entry(word.to_owned()).or_default() += 1;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(word, count)| (std::cmp::Reverse(*count), word.clone()));
    counts.into_iter().take(COMMON).map(|(word, _)| word).collect()
}

/// Asks everything three times, so that each has been asked before.
fn report(
    what: &str,
    questions: &[String],
    ask: impl Fn(&str) -> Result<u64, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let mut took: Vec<Duration> = Vec::with_capacity(questions.len() * 3);
    let mut found = 0;
    for _ in 0..3 {
        for question in questions {
            let began = Instant::now();
            found += ask(question)?;
            took.push(began.elapsed());
        }
    }
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    println!(
        "{what:40} {:5} asked, {:8.0} found each, p50 {:7.2} ms, p99 {:7.2} ms, most {:7.2} ms",
        took.len(),
        found as f64 / took.len() as f64,
        ms(at(50)),
        ms(at(99)),
        ms(at(100)),
    );
    Ok(())
}
