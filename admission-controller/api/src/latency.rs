//! A latency histogram that can be added up across machines.

use std::cmp::Ordering;
use std::sync::LazyLock;

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
        static BOUNDS: LazyLock<Vec<f64>> =
            LazyLock::new(|| (0..Latency::BUCKETS - 1).map(Latency::bound_ms).collect());
        // What is no number is below no bound.
        let is_above = |bound: &f64| millis.partial_cmp(bound).is_none_or(Ordering::is_gt);
        self.counts[BOUNDS.partition_point(is_above)] += 1;
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

    /// The duration in milliseconds that a share `quantile` (0 to 1) does not exceed, as if the
    /// durations of a bucket were spread evenly over it; `None` if nothing was counted.
    ///
    /// The upper bound of the bucket would do for one reader, but a pace that is steered by it sees
    /// jumps of a quarter where the origin slows down by a little.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // counts of a few seconds, far below 2^52
    pub fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        let rank = self.count() as f64 * quantile.clamp(0.0, 1.0);
        let mut seen = 0.0;
        let mut reached = None;
        for (bucket, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = *count as f64;
            let below = bucket.checked_sub(1).map_or(0.0, Self::bound_ms);
            let share = ((rank - seen) / count).clamp(0.0, 1.0);
            reached = Some(below + (Self::bound_ms(bucket) - below) * share);
            seen += count;
            if seen >= rank {
                break;
            }
        }
        reached
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
    fn a_quantile_lies_within_its_bucket_as_far_up_as_its_rank() {
        let mut latency = Latency::default();
        assert_eq!(latency.quantile_ms(0.95), None);
        for _ in 0..90 {
            latency.record_ms(1.0);
        }
        for _ in 0..10 {
            latency.record_ms(100.0); // between 82.7 and 103.4
        }
        let at = |quantile| latency.quantile_ms(quantile).unwrap();
        let (below, above) = (Latency::bound_ms(26), Latency::bound_ms(27));
        assert!((at(0.95) - f64::midpoint(below, above)).abs() < 0.01, "{}", at(0.95));
        assert!((at(1.0) - above).abs() < 0.01, "{}", at(1.0));
        assert!((0.95..1.2).contains(&at(0.9)), "{}", at(0.9));
        assert!(at(0.0) < 1.0, "{}", at(0.0));
    }
}
