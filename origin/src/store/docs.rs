//! Small documents with a version each: whoever changes one says which version they saw.
//!
//! A document is in a collection under its id, and is listed by a *sort* key that its keeper
//! chooses, such as a date. A change that answers with an error may have been made all the same;
//! reading the version tells.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{OptionalExtension as _, params};
use tokio_postgres::types::ToSql;

use super::sqlite::File;
use super::{Database, StoreError};

/// Most bytes of a document: what is larger is a blob.
pub const DOC_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a name: collection, id or sort key.
pub const NAME_BYTES_MAX: usize = 256;
/// Most documents in one answer.
pub const LIST_MAX: usize = 1000;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS docs (
        collection TEXT NOT NULL, id TEXT NOT NULL, sort TEXT NOT NULL,
        version INTEGER NOT NULL, body BLOB NOT NULL,
        PRIMARY KEY (collection, id)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS docs_by_sort ON docs (collection, sort, id);";

/// A document as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doc {
    /// Its name within the collection.
    pub id: String,
    /// By what it is listed.
    pub sort: String,
    /// How often it was put; 1 is the first.
    pub version: u64,
    /// The document.
    pub body: Vec<u8>,
}

/// What is to be kept.
#[derive(Debug, Clone, Copy)]
pub struct NewDoc<'a> {
    /// Its name within the collection.
    pub id: &'a str,
    /// By what it is listed.
    pub sort: &'a str,
    /// The document.
    pub body: &'a [u8],
}

/// What became of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is kept with this version.
    Kept {
        /// One more than the one before.
        version: u64,
    },
    /// Its version is not the expected one. Nothing was changed.
    Changed,
}

/// Where a list went up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    sort: String,
    id: String,
}

impl Doc {
    /// For listing what comes after this one.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { sort: self.sort.clone(), id: self.id.clone() }
    }
}

type Shelf = BTreeMap<(String, String), Doc>;

/// One of the stores. Clones share it.
#[derive(Debug, Clone)]
pub enum Docs {
    /// Embedded, one file.
    Sqlite(File),
    /// A server that several processes share.
    Postgres(Arc<Database>),
    /// For tests: forgets everything with its last clone.
    Memory(Arc<Mutex<Shelf>>),
}

impl Docs {
    /// Opens the file, and makes it if it is new.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn sqlite(path: &Path) -> Result<Self, StoreError> {
        File::open(path, SCHEMA).map(Self::Sqlite)
    }

    /// An empty store.
    #[must_use]
    pub fn memory() -> Self {
        Self::Memory(Arc::default())
    }

    /// Reads one document.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn get(&self, collection: &str, id: &str) -> Result<Option<Doc>, StoreError> {
        check_name("collection", collection)?;
        check_name("id", id)?;
        match self {
            Self::Sqlite(file) => {
                let (collection, id) = (collection.to_owned(), id.to_owned());
                file.run(move |connection| {
                    let sql = "SELECT id, sort, version, body FROM docs
                               WHERE collection = ?1 AND id = ?2";
                    connection.query_row(sql, [collection, id], from_sqlite).optional()
                })
                .await
            }
            Self::Postgres(database) => {
                let sql = "SELECT id, sort, version, body FROM docs
                           WHERE collection = $1 AND id = $2";
                let rows = database.query(sql, &[&collection, &id]).await?;
                Ok(rows.first().map(from_postgres))
            }
            Self::Memory(shelf) => {
                let shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(shelf.get(&(collection.to_owned(), id.to_owned())).cloned())
            }
        }
    }

    /// Keeps a document if its version is `expected`; 0 says that there is none yet.
    ///
    /// # Errors
    /// If it is too large, or the store fails.
    pub async fn put_if_version(
        &self,
        collection: &str,
        expected: u64,
        doc: NewDoc<'_>,
    ) -> Result<Put, StoreError> {
        let NewDoc { id, sort, body } = doc;
        check_name("collection", collection)?;
        check_name("id", id)?;
        check_name("sort", sort)?;
        super::check_size("document", body.len(), DOC_BYTES_MAX)?;
        let version = expected + 1;
        let is_kept = match self {
            Self::Sqlite(file) => {
                let (collection, id, sort, body) =
                    (collection.to_owned(), id.to_owned(), sort.to_owned(), body.to_owned());
                let put = file.run(move |connection| {
                    let sql = if expected == 0 {
                        "INSERT INTO docs (collection, id, sort, version, body)
                         VALUES (?1, ?2, ?3, ?4 + 1, ?5) ON CONFLICT DO NOTHING"
                    } else {
                        "UPDATE docs SET sort = ?3, version = ?4 + 1, body = ?5
                         WHERE collection = ?1 AND id = ?2 AND version = ?4"
                    };
                    connection.execute(sql, params![collection, id, sort, expected, body])
                });
                put.await? > 0
            }
            Self::Postgres(database) => {
                let sql = if expected == 0 {
                    "INSERT INTO docs (collection, id, sort, version, body)
                     VALUES ($1, $2, $3, $4::bigint + 1, $5) ON CONFLICT DO NOTHING"
                } else {
                    "UPDATE docs SET sort = $3, version = $4::bigint + 1, body = $5
                     WHERE collection = $1 AND id = $2 AND version = $4"
                };
                let expected = i64::try_from(expected).unwrap_or(i64::MAX);
                database.execute(sql, &[&collection, &id, &sort, &expected, &body]).await? > 0
            }
            Self::Memory(shelf) => {
                let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
                let name = (collection.to_owned(), id.to_owned());
                let found = shelf.get(&name).map_or(0, |doc| doc.version);
                if found == expected {
                    let (id, sort) = (id.to_owned(), sort.to_owned());
                    shelf.insert(name, Doc { id, sort, version, body: body.to_owned() });
                }
                found == expected
            }
        };
        Ok(if is_kept { Put::Kept { version } } else { Put::Changed })
    }

    /// Up to `limit` documents whose sort key begins with `prefix`, by sort key and id, after a
    /// cursor or from the beginning.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn list_by(
        &self,
        collection: &str,
        prefix: &str,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Vec<Doc>, StoreError> {
        check_name("collection", collection)?;
        check_name("prefix", prefix)?;
        super::check_size("list", limit, LIST_MAX)?;
        let Cursor { sort, id } = after.cloned().unwrap_or_default();
        // No name has this character, and no character comes after it.
        let end = format!("{prefix}\u{10ffff}");
        match self {
            Self::Sqlite(file) => {
                let (collection, prefix) = (collection.to_owned(), prefix.to_owned());
                file.run(move |connection| {
                    let sql = "SELECT id, sort, version, body FROM docs
                               WHERE collection = ?1 AND sort >= ?2 AND sort < ?3
                                 AND (sort, id) > (?4, ?5)
                               ORDER BY sort, id LIMIT ?6";
                    let mut select = connection.prepare_cached(sql)?;
                    let row = params![collection, prefix, end, sort, id, limit];
                    select.query_map(row, from_sqlite)?.collect()
                })
                .await
            }
            Self::Postgres(database) => {
                let sql = "SELECT id, sort, version, body FROM docs
                           WHERE collection = $1 AND sort >= $2 AND sort < $3
                             AND (sort, id) > ($4, $5)
                           ORDER BY sort, id LIMIT $6";
                let limit = i64::try_from(limit).unwrap_or(i64::MAX);
                let values: [&(dyn ToSql + Sync); 6] =
                    [&collection, &prefix, &end, &sort, &id, &limit];
                let rows = database.query(sql, &values).await?;
                Ok(rows.iter().map(from_postgres).collect())
            }
            Self::Memory(shelf) => {
                let shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
                let ours = shelf.iter().filter(|((of, _), _)| of == collection);
                let after = |doc: &&Doc| (&doc.sort, &doc.id) > (&sort, &id);
                let mut docs: Vec<_> = ours
                    .map(|(_, doc)| doc)
                    .filter(|doc| doc.sort.starts_with(prefix))
                    .filter(after)
                    .collect();
                docs.sort_by_key(|doc| doc.cursor().key());
                Ok(docs.into_iter().take(limit).cloned().collect())
            }
        }
    }
}

impl Cursor {
    fn key(self) -> (String, String) {
        (self.sort, self.id)
    }
}

/// Names are text without control characters, so that each store can keep them.
fn check_name(what: &'static str, name: &str) -> Result<(), StoreError> {
    super::check_size(what, name.len(), NAME_BYTES_MAX)?;
    if name.chars().any(|c| c.is_control() || c == '\u{10ffff}') {
        return Err(StoreError::Name { what });
    }
    Ok(())
}

fn from_sqlite(row: &rusqlite::Row<'_>) -> Result<Doc, rusqlite::Error> {
    Ok(Doc { id: row.get(0)?, sort: row.get(1)?, version: row.get(2)?, body: row.get(3)? })
}

fn from_postgres(row: &tokio_postgres::Row) -> Doc {
    let version = u64::try_from(row.get::<_, i64>(2)).unwrap_or(0);
    Doc { id: row.get(0), sort: row.get(1), version, body: row.get(3) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{Stores, each_store};

    const KEPT_FIRST: Put = Put::Kept { version: 1 };

    fn doc<'a>(id: &'a str, sort: &'a str, body: &'a str) -> NewDoc<'a> {
        NewDoc { id, sort, body: body.as_bytes() }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_version_is_put_once() {
        each_store(async |Stores { docs, .. }| {
            let put = async |expected, body| {
                docs.put_if_version("events", expected, doc("a", "s", body)).await.unwrap()
            };
            assert_eq!(docs.get("events", "a").await.unwrap(), None);
            assert_eq!(put(1, "early").await, Put::Changed);
            assert_eq!(put(0, "one").await, KEPT_FIRST);
            assert_eq!(put(0, "again").await, Put::Changed);
            assert_eq!(put(1, "two").await, Put::Kept { version: 2 });
            assert_eq!(put(1, "late").await, Put::Changed);
            let kept = docs.get("events", "a").await.unwrap().unwrap();
            assert_eq!((kept.version, kept.body.as_slice()), (2, &b"two"[..]));
            assert_eq!(docs.get("others", "a").await.unwrap(), None);
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_many_who_saw_the_same_version_one_wins() {
        each_store(async |Stores { docs, .. }| {
            docs.put_if_version("c", 0, doc("a", "", "0")).await.unwrap();
            let mut puts = tokio::task::JoinSet::new();
            for _ in 0..16 {
                let docs = docs.clone();
                puts.spawn(async move {
                    docs.put_if_version("c", 1, doc("a", "", "1")).await.unwrap() != Put::Changed
                });
            }
            let won = puts.join_all().await.into_iter().filter(|won| *won).count();
            assert_eq!(won, 1);
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_list_goes_by_sort_key_and_on_from_its_cursor() {
        each_store(async |Stores { docs, .. }| {
            let sorts =
                [("d", "06-11"), ("c", "06-1é"), ("b", "06-10"), ("a", "06-10"), ("e", "07")];
            for (id, sort) in sorts {
                let put = docs.put_if_version("c", 0, doc(id, sort, "")).await.unwrap();
                assert_eq!(put, KEPT_FIRST);
            }
            docs.put_if_version("other", 0, doc("z", "06-10", "")).await.unwrap();
            let list = async |prefix: &str, after: Option<Cursor>, limit| {
                let docs = docs.list_by("c", prefix, after.as_ref(), limit).await.unwrap();
                let ids: String = docs.iter().map(|doc| doc.id.as_str()).collect();
                (ids, docs.last().map(Doc::cursor))
            };
            assert_eq!(list("", None, 9).await.0, "abdce");
            assert_eq!(list("06-", None, 9).await.0, "abdc");
            assert_eq!(list("06-10", None, 9).await.0, "ab");
            let (first, cursor) = list("06-", None, 3).await;
            assert_eq!(first, "abd");
            let (second, cursor) = list("06-", cursor, 3).await;
            assert_eq!(second, "c");
            assert_eq!(list("06-", cursor, 3).await.0, "");
            // A changed sort key moves it.
            docs.put_if_version("c", 1, doc("a", "08", "")).await.unwrap();
            assert_eq!(list("", None, 9).await.0, "bdcea");
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_too_large_or_unprintable_is_refused() {
        each_store(async |Stores { docs, .. }| {
            let big = "x".repeat(DOC_BYTES_MAX);
            assert_eq!(docs.put_if_version("c", 0, doc("a", "", &big)).await.unwrap(), KEPT_FIRST);
            let name = "n".repeat(NAME_BYTES_MAX + 1);
            let too_big = format!("{big}x");
            for new in [doc("b", "", &too_big), doc(&name, "", ""), doc("b", "a\0b", "")] {
                docs.put_if_version("c", 0, new).await.unwrap_err();
            }
            docs.list_by("c", "", None, LIST_MAX + 1).await.unwrap_err();
            assert_eq!(docs.get("c", "b").await.unwrap(), None);
        })
        .await;
    }
}
