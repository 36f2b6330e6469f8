//! What may be changed while everybody reads it? A map that is replaced as a whole.
//!
//! Readers take no lock and see one state; changes are rare and copy the map of pointers.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// A map that is read often and changed now and then.
#[derive(Debug)]
pub struct Board<K, V>(ArcSwap<BTreeMap<K, Arc<V>>>);

impl<K: Ord + Clone, V> Board<K, V> {
    /// What is there under `key`.
    #[must_use]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
    {
        self.0.load().get(key).cloned()
    }

    /// Everything, as it is now.
    #[must_use]
    pub fn all(&self) -> Arc<BTreeMap<K, Arc<V>>> {
        self.0.load_full()
    }

    /// Puts something there, in place of what was.
    pub fn put(&self, key: K, value: impl Into<Arc<V>>) {
        let value = value.into();
        self.0.rcu(|map| {
            let mut map = BTreeMap::clone(map);
            map.insert(key.clone(), Arc::clone(&value));
            map
        });
    }
}

impl<K: Ord, V> Default for Board<K, V> {
    fn default() -> Self {
        Self(ArcSwap::default())
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Board<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let entries = entries.into_iter().map(|(key, value)| (key, Arc::new(value)));
        Self(ArcSwap::from_pointee(entries.collect()))
    }
}
