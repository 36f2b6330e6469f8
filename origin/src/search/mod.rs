//! Which events does somebody look for?
//!
//! Fed from the catalogue's log and from nothing else: [`Search::follow`] takes over what was
//! touched since the index was last written, and an index that is gone, or followed another log,
//! is made anew. Words are found in the [`index`], filters and counts are a pass over a [`table`]
//! in memory, and how much is left comes from the counts that the shelves publish: the search asks
//! no writer anything.

mod index;
mod query;
mod table;
mod words;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::catalogue::{Catalogue, Event};
use index::{Shown, Words};
use table::Table;

pub use index::IndexError;
pub use query::{
    BadQuery, Band, Key, LIMIT_MAX, Query, QueryText, Sort, TEXT_BYTES_MAX, WORDS_MAX,
};
pub use table::{Counted, Facets};

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// A page of events, best first, and how much is left of those on sale.
    pub events: Vec<(Arc<Event>, Option<Band>)>,
    /// How many there are in all.
    pub total: u64,
    /// Where the next page begins.
    pub next: Option<String>,
    /// How many there are of each kind.
    pub facets: Facets,
    /// How each word that no event has was read.
    pub read_as: Vec<(String, Vec<String>)>,
}

/// The search.
#[derive(Debug)]
pub struct Search {
    words: Mutex<Words>,
    view: ArcSwap<View>,
    bands: ArcSwap<BTreeMap<u32, Band>>,
}

/// What readers search: words and rows of one place in the log.
#[derive(Debug)]
struct View {
    shown: Shown,
    table: Table,
}

impl Search {
    /// Opens the index in a folder, and brings it up to the catalogue.
    ///
    /// # Errors
    /// If the index can be neither opened nor made.
    pub fn open(path: &Path, catalogue: &Catalogue) -> Result<Self, IndexError> {
        let words = Words::open(path, &catalogue.read())?;
        let mut table = Table::default();
        catalogue.read().touched_since(0).for_each(|event| table.put(event));
        let view = ArcSwap::from_pointee(View { shown: words.shown()?, table });
        let search = Self { words: Mutex::new(words), view, bands: ArcSwap::default() };
        search.follow(catalogue)?;
        Ok(search)
    }

    /// Takes over what changed in the catalogue since.
    ///
    /// # Errors
    /// If the disk fails; following again is safe.
    pub fn follow(&self, catalogue: &Catalogue) -> Result<(), IndexError> {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let (events, seq, link) = {
            let state = catalogue.read();
            let events: Vec<_> = state.touched_since(words.cursor()).cloned().collect();
            (events, state.seq(), state.link())
        };
        if seq == words.cursor() {
            return Ok(());
        }
        words.follow(&events, seq, &link)?;
        let mut table = self.view.load().table.clone();
        events.iter().for_each(|event| table.put(event));
        self.view.store(Arc::new(View { shown: words.shown()?, table }));
        Ok(())
    }

    /// Tells how much is left, by the ordinals of events.
    pub fn set_bands(&self, bands: BTreeMap<u32, Band>) {
        if **self.bands.load() != bands {
            self.bands.store(Arc::new(bands));
        }
    }

    /// Finds events.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn find(&self, query: &Query) -> Result<Found, tantivy::TantivyError> {
        let view = self.view.load_full();
        let bands = self.bands.load_full();
        let matched = match query.words.is_empty() {
            true => None,
            false => Some(view.shown.find(&query.words, view.table.len())?),
        };
        let band_of = |event: &Event| bands.get(&event.ordinal).copied();
        let scores = matched.as_ref().map(|matched| matched.scores.as_slice());
        let selected = view.table.select(query, scores, band_of);
        let last = selected.page.last().filter(|_| selected.has_more);
        let next = last.map(|(key, _)| query.cursor(*key));
        let events = selected.page.into_iter().map(|(_, event)| {
            let band = band_of(&event);
            (event, band)
        });
        Ok(Found {
            events: events.collect(),
            total: selected.total,
            next,
            facets: selected.facets,
            read_as: matched.map(|matched| matched.read_as).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests;
