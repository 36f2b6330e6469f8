//! Bytes that never change, by their SHA-256: seat maps, pictures, printed tickets.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};

use super::sqlite::File;
use super::{Database, StoreError};

/// Most bytes of a blob: a seat map of 100,000 seats has three million.
pub const BLOB_BYTES_MAX: usize = 16 << 20;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS blobs (hash BLOB PRIMARY KEY, bytes BLOB NOT NULL);";

/// Names bytes by what they are. It prints as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            write!(text, "{byte:02x}")?;
        }
        f.write_str(&text)
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Hash {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let mut hash = [0; 32];
        if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(StoreError::Name { what: "hash" });
        }
        for (byte, at) in hash.iter_mut().zip((0..).step_by(2)) {
            let digits = text.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
            *byte = digits.ok_or(StoreError::Name { what: "hash" })?;
        }
        Ok(Self(hash))
    }
}

type Shelf = BTreeMap<Hash, Vec<u8>>;

/// One of the stores. Clones share it.
#[derive(Debug, Clone)]
pub enum Blobs {
    /// Embedded, one file.
    Sqlite(File),
    /// A server that several processes share.
    Postgres(Arc<Database>),
    /// For tests: forgets everything with its last clone.
    Memory(Arc<Mutex<Shelf>>),
}

impl Blobs {
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

    /// Keeps bytes, unless they are kept already, and tells their name.
    ///
    /// # Errors
    /// If they are too many, or the store fails.
    pub async fn put_if_absent(&self, bytes: &[u8]) -> Result<Hash, StoreError> {
        super::check_size("blob", bytes.len(), BLOB_BYTES_MAX)?;
        let hash = Hash::of(bytes);
        match self {
            Self::Sqlite(file) => {
                let bytes = bytes.to_owned();
                file.run(move |connection| {
                    let sql = "INSERT INTO blobs VALUES (?1, ?2) ON CONFLICT DO NOTHING";
                    connection.execute(sql, params![hash.0, bytes])
                })
                .await?;
            }
            Self::Postgres(database) => {
                let sql = "INSERT INTO blobs (hash, bytes) VALUES ($1, $2) ON CONFLICT DO NOTHING";
                database.execute(sql, &[&hash.0.as_slice(), &bytes]).await?;
            }
            Self::Memory(shelf) => {
                let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
                shelf.entry(hash).or_insert_with(|| bytes.to_owned());
            }
        }
        Ok(hash)
    }

    /// Reads bytes back; they are what their name says.
    ///
    /// # Errors
    /// If they were damaged, or the store fails.
    pub async fn get(&self, hash: Hash) -> Result<Option<Vec<u8>>, StoreError> {
        let bytes = match self {
            Self::Sqlite(file) => {
                let read = file.run(move |connection| {
                    let sql = "SELECT bytes FROM blobs WHERE hash = ?1";
                    connection.query_row(sql, [hash.0], |row| row.get::<_, Vec<u8>>(0)).optional()
                });
                read.await?
            }
            Self::Postgres(database) => {
                let sql = "SELECT bytes FROM blobs WHERE hash = $1";
                let rows = database.query(sql, &[&hash.0.as_slice()]).await?;
                rows.first().map(|row| row.get(0))
            }
            Self::Memory(shelf) => {
                shelf.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).cloned()
            }
        };
        match bytes {
            Some(bytes) if Hash::of(&bytes) != hash => Err(StoreError::Damaged { hash }),
            bytes => Ok(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{Stores, each_store};

    #[tokio::test(flavor = "multi_thread")]
    async fn bytes_are_kept_once_under_their_hash() {
        each_store(async |Stores { blobs, .. }| {
            let hash = blobs.put_if_absent(b"a map").await.unwrap();
            assert_eq!(hash, Hash::of(b"a map"));
            assert_eq!(blobs.put_if_absent(b"a map").await.unwrap(), hash);
            assert_eq!(blobs.get(hash).await.unwrap().unwrap(), b"a map");
            assert_eq!(blobs.get(Hash::of(b"another")).await.unwrap(), None);
            let empty = blobs.put_if_absent(b"").await.unwrap();
            assert_eq!(blobs.get(empty).await.unwrap().unwrap(), b"");
            blobs.put_if_absent(&vec![0; BLOB_BYTES_MAX + 1]).await.unwrap_err();
        })
        .await;
    }

    #[tokio::test]
    async fn damaged_bytes_are_not_given_out() {
        let hash = Hash::of(b"good");
        let shelf = Arc::new(Mutex::new(BTreeMap::from([(hash, b"bad".to_vec())])));
        let error = Blobs::Memory(shelf).get(hash).await.unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }

    #[test]
    fn a_hash_is_read_as_it_prints() {
        let hash = Hash::of(b"");
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hash.to_string(), text);
        assert_eq!(text.parse::<Hash>().unwrap(), hash);
        for wrong in ["", &text[1..], &text.to_uppercase(), &text.replace('e', "é")] {
            wrong.parse::<Hash>().unwrap_err();
        }
    }
}
