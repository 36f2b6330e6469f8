//! A latency histogram that can be added up across machines.

use serde::{Deserialize, Serialize};

/// Counts of durations in fixed buckets, each a quarter wider than the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u64>", into = "Vec<u64>")]
pub struct Latency {
    counts: Vec<u64>,
}

impl Latency {
    /// Number of buckets: from 0.25 ms to about a minute; the last one holds all that is longer.
    pub const BUCKETS: usize = 56;

    /// Upper bound of a bucket in milliseconds: `0.25 · 1.25^bucket`.
    #[must_use]
    pub fn bound_ms(bucket: usize) -> f64 {
        let exponent = i32::try_from(bucket).unwrap_or(i32::MAX);
        0.25 * 1.25_f64.powi(exponent)
    }

    /// Counts one duration in milliseconds.
    pub fn record_ms(&mut self, millis: f64) {
        let bucket = (0..Self::BUCKETS - 1).find(|&b| millis <= Self::bound_ms(b));
        self.counts[bucket.unwrap_or(Self::BUCKETS - 1)] += 1;
    }

    /// Adds another histogram's counts.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The duration in milliseconds that a share `quantile` (0 to 1) does not exceed, as the upper
    /// bound of its bucket; `None` if nothing was counted.
    #[must_use]
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = ((total as f64 * quantile.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0_u64;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen = seen.saturating_add(*count);
            if seen >= rank {
                return Some(Self::bound_ms(bucket));
            }
        }
        None
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self { counts: vec![0; Self::BUCKETS] }
    }
}

impl TryFrom<Vec<u64>> for Latency {
    type Error = String;
    fn try_from(counts: Vec<u64>) -> Result<Self, String> {
        if counts.len() == Self::BUCKETS {
            Ok(Self { counts })
        } else {
            Err(format!("{} buckets, expected {}", counts.len(), Self::BUCKETS))
        }
    }
}

impl From<Latency> for Vec<u64> {
    fn from(latency: Latency) -> Self {
        latency.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_bound_of_its_bucket() {
        let mut latency = Latency::default();
        assert_eq!(latency.quantile_ms(0.95), None);
        for _ in 0..95 {
            latency.record_ms(1.0);
        }
        for _ in 0..5 {
            latency.record_ms(100.0);
        }
        let (p95, p96) = (latency.quantile_ms(0.95), latency.quantile_ms(0.96));
        assert!(p95.is_some_and(|p| (1.0..1.25).contains(&p)), "{p95:?}");
        assert!(p96.is_some_and(|p| (100.0..125.0).contains(&p)), "{p96:?}");
    }
}
