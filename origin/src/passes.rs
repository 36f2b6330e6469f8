//! Who may shop? Checks passes, remembers those it has checked, and follows the key file.
//!
//! A pass that was checked is believed for a few seconds without looking at its signature again:
//! a shopper sends the same one with every click. Its times are looked at on every use.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use keys::{
    EventId, KeyFileError, Keyring, Pass, Refusal, Sealed, Statement as _, Timestamp, Verified,
};
use quick_cache::sync::Cache;
use tokio::sync::watch;

/// Passes that are remembered: those inside at once, and a kilobyte each.
const REMEMBERED_MAX: usize = 16_384;
/// A remembered pass is checked again after this long, should its key have been revoked.
const REMEMBERED_SECS: u64 = 10;
/// How often the key file is looked at.
const POLL_EVERY: Duration = Duration::from_secs(5);

/// The keyring in use, and the passes checked with it.
#[derive(Debug)]
pub struct Passes {
    path: PathBuf,
    current: ArcSwap<Current>,
}

struct Current {
    keyring: Keyring,
    changed_at: Option<SystemTime>,
    checked: Cache<String, (Timestamp, Arc<Verified<Pass>>)>,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Current({} passes remembered)", self.checked.len())
    }
}

impl Current {
    fn load(path: &std::path::Path) -> Result<Self, KeyFileError> {
        // Read before the file: a change in between is then noticed at the next look.
        let changed_at = changed_at(path);
        Ok(Self { keyring: Keyring::load(path)?, changed_at, checked: Cache::new(REMEMBERED_MAX) })
    }
}

fn changed_at(path: &std::path::Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

impl Passes {
    /// Reads the key file.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn load(path: PathBuf) -> Result<Self, KeyFileError> {
        let current = Current::load(&path)?;
        Ok(Self { path, current: ArcSwap::from_pointee(current) })
    }

    /// Checks a pass for an event.
    ///
    /// # Errors
    /// The first reason to refuse it.
    pub fn open(
        &self,
        sealed: &Sealed<Pass>,
        event: &EventId,
        now: Timestamp,
    ) -> Result<Arc<Verified<Pass>>, Refusal> {
        let current = self.current.load();
        if let Some((checked_at, pass)) = current.checked.get(sealed.as_str()) {
            let (begins, ended) = pass.times();
            let is_fresh = now < checked_at.plus_secs(REMEMBERED_SECS) && checked_at <= now;
            if is_fresh && pass.audience() == event && begins <= now && now < ended {
                return Ok(pass);
            }
        }
        let pass = Arc::new(current.keyring.open(sealed, event, now)?);
        current.checked.insert(sealed.as_str().to_owned(), (now, Arc::clone(&pass)));
        Ok(pass)
    }

    /// Works with the keyring in use.
    pub fn with_keyring<T>(&self, work: impl FnOnce(&Keyring) -> T) -> T {
        work(&self.current.load().keyring)
    }

    /// Reads the key file again if it has changed; a file that cannot be used changes nothing.
    pub fn follow(&self) {
        if changed_at(&self.path) == self.current.load().changed_at {
            return;
        }
        match Current::load(&self.path) {
            Ok(fresh) => {
                tracing::info!(path = %self.path.display(), "the key file was read again");
                self.current.store(Arc::new(fresh));
            }
            Err(error) => {
                tracing::error!(%error, "the key file cannot be used, keeping the old keys");
                // Complain once a change, not once a look.
                let old = self.current.load_full();
                self.current.store(Arc::new(Current {
                    keyring: old.keyring.clone(),
                    changed_at: changed_at(&self.path),
                    checked: Cache::new(REMEMBERED_MAX),
                }));
            }
        }
    }

    /// Follows the key file until `stopping` says so.
    pub async fn follow_until(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(POLL_EVERY) => {}
                _ = stopping.wait_for(|is_stopping| *is_stopping) => return,
            }
            let passes = Arc::clone(&self);
            // A look at a file is a blocking call, and may take long on a network drive.
            if tokio::task::spawn_blocking(move || passes.follow()).await.is_err() {
                return;
            }
        }
    }
}
