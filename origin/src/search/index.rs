//! Which events have these words, or nearly?
//!
//! Tantivy keeps the words: its term dictionaries answer "which words begin like this, or are one
//! letter away", its postings which events have them. What a match is worth we say ourselves, by
//! where the word stands and how well it fits, for two reasons: the lengths and frequencies that
//! text search weighs mean nothing in a title, and a score must not depend on how the index came to
//! be, lest a rebuilt one answers otherwise.
//!
//! A word that some event has is taken as it is. Only one that none has is read with typing errors,
//! one from four letters on and two from eight on; a swap of neighbours is one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tantivy::index::SegmentReader;
use tantivy::query::FuzzyTermQuery;
use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, Schema, TextFieldIndexing, TextOptions,
};
use tantivy::{
    DocSet as _, Index, IndexReader, IndexWriter, ReloadPolicy, TERMINATED, TantivyDocument, Term,
};

use super::words::words;
use crate::catalogue::{Event, State};
use crate::venue::hex;

/// Grows when the same events would be written otherwise; an index of another format is made anew.
const FORMAT: u32 = 1;
/// Memory of the writer: the least that tantivy takes is 15 MB.
const WRITER_BYTES: usize = 32 << 20;
/// Readings of a word with errors whose neighbours are looked at.
const NEIGHBOURS_MAX: usize = 8;

/// Letters from which on a word is read with one error, and with two.
const ONE_ERROR_FROM: usize = 4;
const TWO_ERRORS_FROM: usize = 8;

/// What a word is worth, by field: who performs, where, and as part of what.
const NAME: u32 = 10;
const PLACE: u32 = 8;
const SERIES: u32 = 6;
/// What its fit is worth.
const EXACT: u32 = 10;
const BEGINS: u32 = 8;
const ONE_ERROR: u32 = 5;
const TWO_ERRORS: u32 = 3;
/// What two words next to each other are worth, as in the query: *Manchester United* is no match
/// of Manchester City and Newcastle United.
const NEIGHBOURS: u32 = 50;
/// What a whole name is worth: *final* is the final before it is any semi-final.
const WHOLE: u32 = 25;
/// Longest whole name that is looked for, in words.
const WHOLE_WORDS_MAX: usize = 6;

/// No event: one that was removed from the index since.
const NONE: u32 = u32::MAX;

/// Why the index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Tantivy said no.
    #[error("search index in {path}")]
    Tantivy {
        /// Where.
        path: PathBuf,
        /// The cause.
        source: tantivy::TantivyError,
    },
    /// Its folder cannot be made anew.
    #[error("search index in {path}")]
    Folder {
        /// Where.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

#[derive(Debug, Clone, Copy)]
struct Fields {
    id: Field,
    ordinal: Field,
    name: Field,
    place: Field,
    series: Field,
    pairs: Field,
}

impl Fields {
    fn new() -> (Schema, Self) {
        let mut schema = Schema::builder();
        // Every word is a value of its own, folded by us: nothing is left to take apart.
        let indexing = TextFieldIndexing::default()
            .set_tokenizer("raw")
            .set_fieldnorms(false)
            .set_index_option(IndexRecordOption::Basic);
        let word = TextOptions::default().set_indexing_options(indexing);
        let fields = Self {
            id: schema.add_u64_field("id", INDEXED),
            ordinal: schema.add_u64_field("ordinal", FAST),
            name: schema.add_text_field("name", word.clone()),
            place: schema.add_text_field("place", word.clone()),
            series: schema.add_text_field("series", word.clone()),
            pairs: schema.add_text_field("pairs", word),
        };
        (schema.build(), fields)
    }
}

/// The index on the disk, and its writer.
pub struct Words {
    path: PathBuf,
    fields: Fields,
    writer: IndexWriter,
    reader: IndexReader,
    /// Log sequence up to which it was followed.
    cursor: u64,
}

impl Words {
    /// Opens the index if it followed the log that the state was read from, else makes it anew.
    ///
    /// # Errors
    /// If it can be neither opened nor made.
    pub fn open(path: &Path, state: &State) -> Result<Self, IndexError> {
        match Self::opened(path, state) {
            Ok(Some(words)) => return Ok(words),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "the search index cannot be opened and is made anew");
            }
        }
        let folder = |source| IndexError::Folder { path: path.to_owned(), source };
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(folder(error));
            }
            _ => std::fs::create_dir_all(path).map_err(folder)?,
        }
        let (schema, fields) = Fields::new();
        let made = Index::create_in_dir(path, schema);
        made.and_then(|index| Self::with(path, &index, fields, 0))
            .map_err(|source| failed(path, source))
    }

    fn opened(path: &Path, state: &State) -> Result<Option<Self>, IndexError> {
        if !path.join("meta.json").exists() {
            return Ok(None);
        }
        let failed = |source| failed(path, source);
        let index = Index::open_in_dir(path).map_err(failed)?;
        let (schema, fields) = Fields::new();
        let payload = index.load_metas().map_err(failed)?.payload;
        let cursor = payload.as_deref().and_then(|payload| followed(payload, state));
        match cursor {
            Some(cursor) if index.schema() == schema => {
                Self::with(path, &index, fields, cursor).map(Some).map_err(failed)
            }
            Some(_) | None => {
                tracing::info!("the search index is of another log or format and is made anew");
                Ok(None)
            }
        }
    }

    fn with(
        path: &Path,
        index: &Index,
        fields: Fields,
        cursor: u64,
    ) -> Result<Self, tantivy::TantivyError> {
        let writer = index.writer_with_num_threads(1, WRITER_BYTES)?;
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        Ok(Self { path: path.to_owned(), fields, writer, reader, cursor })
    }

    /// Log sequence up to which it was followed.
    #[must_use]
    pub const fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Takes over events as they are at a place in the log, and keeps them.
    ///
    /// # Errors
    /// If the disk fails; following again is safe.
    pub fn follow(
        &mut self,
        events: &[Arc<Event>],
        seq: u64,
        link: &crate::record::Link,
    ) -> Result<(), IndexError> {
        let written = self.write(events, seq, link);
        written.map_err(|source| {
            // What was not committed must not come with the next commit twice.
            if let Err(error) = self.writer.rollback() {
                tracing::error!(%error, "the search index cannot go back to its last commit");
            }
            failed(&self.path, source)
        })
    }

    fn write(
        &mut self,
        events: &[Arc<Event>],
        seq: u64,
        link: &crate::record::Link,
    ) -> Result<(), tantivy::TantivyError> {
        for event in events {
            let id = u64::from(event.ordinal);
            self.writer.delete_term(Term::from_field_u64(self.fields.id, id));
            self.writer.add_document(document(&self.fields, event))?;
        }
        let mut commit = self.writer.prepare_commit()?;
        commit.set_payload(&format!("{FORMAT} {seq} {}", hex(link)));
        commit.commit()?;
        self.reader.reload()?;
        self.cursor = seq;
        Ok(())
    }

    /// What was committed last, for searching.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn shown(&self) -> Result<Shown, IndexError> {
        let searcher = self.reader.searcher();
        let segments = searcher.segment_readers().iter().map(Segment::new);
        let segments = segments.collect::<Result<_, _>>();
        let segments = segments.map_err(|source| failed(&self.path, source))?;
        Ok(Shown { fields: self.fields, segments, _searcher: searcher })
    }
}

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Words({} up to {})", self.path.display(), self.cursor)
    }
}

fn failed(path: &Path, source: tantivy::TantivyError) -> IndexError {
    IndexError::Tantivy { path: path.to_owned(), source }
}

/// How far the index followed the state's log; `None` if it followed another one.
fn followed(payload: &str, state: &State) -> Option<u64> {
    let mut parts = payload.split(' ');
    let format: u32 = parts.next()?.parse().ok()?;
    let seq: u64 = parts.next()?.parse().ok()?;
    let link = parts.next()?;
    let is_ours = format == FORMAT && state.link_at(seq).is_some_and(|known| hex(&known) == link);
    is_ours.then_some(seq)
}

fn document(fields: &Fields, event: &Event) -> TantivyDocument {
    let mut document = TantivyDocument::default();
    document.add_u64(fields.id, u64::from(event.ordinal));
    document.add_u64(fields.ordinal, u64::from(event.ordinal));
    let facts = &event.facts;
    let mut pairs = BTreeSet::new();
    let mut add = |field: Field, texts: &[&str]| {
        let mut seen = BTreeSet::new();
        for text in texts {
            let words: Vec<String> = words(text).collect();
            pairs.extend(words.windows(2).map(|two| two.join(" ")));
            pairs.insert(whole(&words));
            seen.extend(words);
        }
        for word in seen {
            document.add_text(field, word);
        }
    };
    let mut names = vec![facts.title.as_str()];
    names.extend(event.performers.iter().map(|performer| performer.facts.name.as_str()));
    add(fields.name, &names);
    if let Some(venue) = &event.venue {
        add(fields.place, &[&venue.facts.name, &venue.facts.city]);
    }
    let series = [facts.competition.as_deref(), facts.stage.as_deref()];
    let series = series.into_iter().flatten().chain([facts.category.as_str()]);
    add(fields.series, &series.collect::<Vec<_>>());
    for pair in pairs {
        document.add_text(fields.pairs, pair);
    }
    document
}

/// A whole name among the pairs; no word of ours begins like this.
fn whole(words: &[String]) -> String {
    format!("={}", words.join(" "))
}

/// One committed state of the index.
pub struct Shown {
    fields: Fields,
    segments: Vec<Segment>,
    /// Keeps the files of the segments.
    _searcher: tantivy::Searcher,
}

struct Segment {
    reader: SegmentReader,
    /// The event of each document; [`NONE`] where it was replaced.
    ordinals: Vec<u32>,
}

impl Segment {
    fn new(reader: &SegmentReader) -> Result<Self, tantivy::TantivyError> {
        let column = reader.fast_fields().u64("ordinal")?;
        let alive = reader.alive_bitset();
        let ordinal = |document: u32| {
            let is_alive = alive.is_none_or(|alive| alive.is_alive(document));
            let ordinal = column.first(document).filter(|_| is_alive);
            ordinal.and_then(|ordinal| u32::try_from(ordinal).ok()).unwrap_or(NONE)
        };
        let ordinals = (0..reader.max_doc()).map(ordinal).collect();
        Ok(Self { reader: reader.clone(), ordinals })
    }
}

/// What the words of a query came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matched {
    /// What each event is worth, by ordinal; 0 does not match.
    pub scores: Vec<u32>,
    /// How each word that no event has was read.
    pub read_as: Vec<(String, Vec<String>)>,
}

/// How a word is read.
#[derive(Clone, Copy)]
enum Reading {
    Exact,
    Begins,
    Errors { count: u8, is_beginning: bool },
}

impl Reading {
    const fn worth(self, is_equal: bool) -> u32 {
        match self {
            _ if is_equal => EXACT,
            Self::Exact => EXACT,
            Self::Begins => BEGINS,
            Self::Errors { count: 1, .. } => ONE_ERROR,
            Self::Errors { .. } => TWO_ERRORS,
        }
    }
}

impl Shown {
    /// Finds the events that have all of the words; the last may be the beginning of one.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn find(&self, asked: &[String], events: usize) -> Result<Matched, tantivy::TantivyError> {
        let mut matched = Matched { scores: vec![1; events], read_as: Vec::new() };
        let mut readings: Vec<BTreeSet<String>> = Vec::with_capacity(asked.len());
        for (at, word) in asked.iter().enumerate() {
            let is_last = at + 1 == asked.len();
            let mut best = vec![0; events];
            let mut texts = BTreeSet::new();
            for reading in readings_of(word, is_last) {
                self.read(word, reading, &mut best, &mut texts)?;
                if !texts.is_empty() {
                    if matches!(reading, Reading::Errors { .. }) {
                        let some = texts.iter().take(NEIGHBOURS_MAX).cloned().collect();
                        matched.read_as.push((word.clone(), some));
                    }
                    break;
                }
            }
            for (sum, worth) in matched.scores.iter_mut().zip(best) {
                *sum = if worth == 0 || *sum == 0 { 0 } else { *sum + worth };
            }
            readings.push(texts);
        }
        self.reward_neighbours(asked, &readings, &mut matched.scores)?;
        self.reward_whole_names(asked, &mut matched.scores)?;
        Ok(matched)
    }

    /// Notes what each event is worth that has a word like this, and which words these are.
    fn read(
        &self,
        word: &str,
        reading: Reading,
        best: &mut [u32],
        texts: &mut BTreeSet<String>,
    ) -> Result<(), tantivy::TantivyError> {
        let Fields { name, place, series, .. } = self.fields;
        for (field, weight) in [(name, NAME), (place, PLACE), (series, SERIES)] {
            for segment in &self.segments {
                segment.terms(field, word, reading, |term, ordinals| {
                    let worth = weight * reading.worth(term == word);
                    let mut is_alive = false;
                    for ordinal in ordinals {
                        if let Some(best) = best.get_mut(ordinal as usize) {
                            *best = worth.max(*best);
                            is_alive = true;
                        }
                    }
                    if is_alive && !texts.contains(term) {
                        texts.insert(term.to_owned());
                    }
                })?;
            }
        }
        Ok(())
    }

    fn reward_neighbours(
        &self,
        asked: &[String],
        readings: &[BTreeSet<String>],
        scores: &mut [u32],
    ) -> Result<(), tantivy::TantivyError> {
        for (at, two) in readings.windows(2).enumerate() {
            let [left, right] = two else { continue };
            let is_last = at + 2 == readings.len();
            let mut pairs: Vec<(String, Reading)> = Vec::new();
            for left in left.iter().take(NEIGHBOURS_MAX) {
                // The beginning of a word is looked up as such, however many words begin so.
                let begins = &asked[at + 1];
                let is_beginning = is_last && right.iter().any(|word| word.starts_with(begins));
                if is_beginning {
                    pairs.push((format!("{left} {begins}"), Reading::Begins));
                } else {
                    let right = right.iter().take(NEIGHBOURS_MAX);
                    pairs.extend(right.map(|right| (format!("{left} {right}"), Reading::Exact)));
                }
            }
            self.reward(&pairs, NEIGHBOURS, scores)?;
        }
        Ok(())
    }

    fn reward_whole_names(
        &self,
        asked: &[String],
        scores: &mut [u32],
    ) -> Result<(), tantivy::TantivyError> {
        for words in 1..=asked.len().min(WHOLE_WORDS_MAX) {
            for name in asked.windows(words) {
                self.reward(&[(whole(name), Reading::Exact)], WHOLE, scores)?;
            }
        }
        Ok(())
    }

    /// Rewards what matches already and has one of the pairs, once.
    fn reward(
        &self,
        pairs: &[(String, Reading)],
        reward: u32,
        scores: &mut [u32],
    ) -> Result<(), tantivy::TantivyError> {
        let mut rewarded = vec![false; scores.len()];
        for (pair, reading) in pairs {
            for segment in &self.segments {
                segment.terms(self.fields.pairs, pair, *reading, |_, ordinals| {
                    for ordinal in ordinals {
                        if let Some(rewarded) = rewarded.get_mut(ordinal as usize) {
                            *rewarded = true;
                        }
                    }
                })?;
            }
        }
        let rewarded = scores.iter_mut().zip(rewarded).filter(|(_, is_rewarded)| *is_rewarded);
        rewarded.filter(|(score, _)| **score > 0).for_each(|(score, _)| *score += reward);
        Ok(())
    }
}

impl Segment {
    /// Visits the terms of a field that a word may be read as, each with the events that have it.
    fn terms(
        &self,
        field: Field,
        word: &str,
        reading: Reading,
        mut visit: impl FnMut(&str, &mut dyn Iterator<Item = u32>),
    ) -> Result<(), tantivy::TantivyError> {
        let index = self.reader.inverted_index(field)?;
        let mut visit = |term: &[u8], info: &tantivy::postings::TermInfo| {
            let postings = index.read_postings_from_terminfo(info, IndexRecordOption::Basic)?;
            let mut postings = Some(postings);
            let mut ordinals = std::iter::from_fn(|| {
                let postings = postings.as_mut()?;
                let document = postings.doc();
                if document == TERMINATED {
                    return None;
                }
                postings.advance();
                Some(self.ordinals.get(document as usize).copied().unwrap_or(NONE))
            });
            visit(std::str::from_utf8(term).unwrap_or_default(), &mut ordinals);
            Ok::<_, std::io::Error>(())
        };
        match reading {
            Reading::Exact => {
                if let Some(info) = index.terms().get(word)? {
                    visit(word.as_bytes(), &info)?;
                }
            }
            Reading::Begins => {
                let mut terms = index.terms().range().ge(word).into_stream()?;
                while terms.advance() && terms.key().starts_with(word.as_bytes()) {
                    visit(terms.key(), terms.value())?;
                }
            }
            Reading::Errors { count, is_beginning } => {
                let term = Term::from_field_text(field, word);
                let query = match is_beginning {
                    true => FuzzyTermQuery::new_prefix(term, count, true),
                    false => FuzzyTermQuery::new(term, count, true),
                };
                let mut terms = index.terms().search(query.automaton()?).into_stream()?;
                while terms.advance() {
                    visit(terms.key(), terms.value())?;
                }
            }
        }
        Ok(())
    }
}

/// In which ways a word is read, the first that gives something counting.
fn readings_of(word: &str, is_last: bool) -> Vec<Reading> {
    let letters = word.chars().count();
    let mut readings = vec![if is_last { Reading::Begins } else { Reading::Exact }];
    let mut errors = |count| {
        readings.push(Reading::Errors { count, is_beginning: false });
        if is_last {
            readings.push(Reading::Errors { count, is_beginning: true });
        }
    };
    if letters >= ONE_ERROR_FROM {
        errors(1);
    }
    if letters >= TWO_ERRORS_FROM {
        errors(2);
    }
    readings
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shown({} segments)", self.segments.len())
    }
}
