//! When does each visitor arrive? Real crowds, scaled.
//!
//! The shape is requests a minute of a real day; `N` visitors over a time `D` arrive like `N`
//! independent draws from it. Drawing (instead of spacing evenly) keeps the bursts below a minute
//! that an arrival process has and a rate does not show.

use std::time::Duration;

use crate::rng::Rng;

/// The sample that is built in: the 1998 World Cup site on its busiest day.
pub const WORLDCUP98: &str = include_str!("../../config/samples/worldcup98-06-30.csv");

/// Most rows that are read: ten days of minutes.
const ROWS_MAX: usize = 14_400;

/// Why a profile was refused.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// A row is not a time and a count.
    #[error("row {row} is not `HH:MM,count`")]
    Row {
        /// Which, from 1 after the header.
        row: usize,
    },
    /// More rows than [`ROWS_MAX`].
    #[error("profile has more than {ROWS_MAX} rows")]
    TooLong,
    /// Nobody arrives in it.
    #[error("nobody arrives in {0}")]
    Empty(String),
    /// Not a window.
    #[error("window {0:?} is not day, rise or HH:MM-HH:MM")]
    Window(String),
}

/// Which part of the day is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// All of it.
    Day,
    /// From the last minute with a quarter of the peak's arrivals up to the peak.
    Rise,
    /// These minutes of the day, the second one excluded.
    Minutes {
        /// The first.
        from: usize,
        /// The one after the last.
        until: usize,
    },
}

impl std::str::FromStr for Window {
    type Err = ProfileError;
    fn from_str(text: &str) -> Result<Self, ProfileError> {
        let refused = || ProfileError::Window(text.chars().take(32).collect());
        match text {
            "day" => Ok(Self::Day),
            "rise" => Ok(Self::Rise),
            _ => {
                let (from, until) = text.split_once('-').ok_or_else(refused)?;
                let from = minute_of_day(from).ok_or_else(refused)?;
                let until = minute_of_day(until).ok_or_else(refused)?;
                if from < until { Ok(Self::Minutes { from, until }) } else { Err(refused()) }
            }
        }
    }
}

fn minute_of_day(text: &str) -> Option<usize> {
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute): (usize, usize) = (hour.parse().ok()?, minute.parse().ok()?);
    (hour <= 24 && minute < 60).then_some(hour * 60 + minute)
}

/// Arrivals a minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    per_minute: Vec<u64>,
}

impl Profile {
    /// Reads `minute_utc,requests` with a header line.
    ///
    /// # Errors
    /// If a row is not a time and a count, or nobody arrives.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        let mut rows = csv::Reader::from_reader(text.as_bytes());
        let mut per_minute = Vec::new();
        for (index, record) in rows.records().enumerate() {
            if index >= ROWS_MAX {
                return Err(ProfileError::TooLong);
            }
            let refused = || ProfileError::Row { row: index + 1 };
            let record = record.map_err(|_| refused())?;
            let count = record.get(1).and_then(|count| count.trim().parse().ok());
            per_minute.push(count.ok_or_else(refused)?);
        }
        Self::checked(per_minute, "the profile")
    }

    /// The part of it that `window` names.
    ///
    /// # Errors
    /// If nobody arrives in it.
    pub fn window(&self, window: Window) -> Result<Self, ProfileError> {
        let (from, until) = match window {
            Window::Day => (0, self.per_minute.len()),
            Window::Rise => self.rise(),
            Window::Minutes { from, until } => {
                (from.min(self.per_minute.len()), until.min(self.per_minute.len()))
            }
        };
        Self::checked(self.per_minute[from..until].to_vec(), "the window")
    }

    /// The arrival times of `visitors` within `over`, ascending. The same arguments give the same
    /// times.
    #[must_use]
    pub fn arrivals(&self, visitors: usize, over: Duration, seed: u64) -> Vec<Duration> {
        let mut rng = Rng::nth(seed, u64::MAX);
        let mut shares: Vec<f64> = (0..visitors).map(|_| rng.unit()).collect();
        shares.sort_by(f64::total_cmp);

        let total = to_f64(self.per_minute.iter().sum());
        let minute = over.as_secs_f64() / to_f64(self.per_minute.len() as u64);
        let mut index = 0;
        let mut before = 0.0; // share of the crowd that came before minute `index`
        let mut arrivals = Vec::with_capacity(visitors);
        for share in shares {
            let mut within = to_f64(self.per_minute[index]) / total;
            while share >= before + within && index + 1 < self.per_minute.len() {
                before += within;
                index += 1;
                within = to_f64(self.per_minute[index]) / total;
            }
            let part = if within > 0.0 { ((share - before) / within).clamp(0.0, 1.0) } else { 0.0 };
            let at_secs = (to_f64(index as u64) + part) * minute;
            arrivals.push(Duration::from_secs_f64(at_secs).min(over));
        }
        arrivals
    }

    fn rise(&self) -> (usize, usize) {
        let mut peak = 0;
        for (index, count) in self.per_minute.iter().enumerate() {
            if *count > self.per_minute[peak] {
                peak = index;
            }
        }
        let quarter = self.per_minute[peak] / 4;
        let from = self.per_minute[..peak].iter().rposition(|count| *count <= quarter);
        (from.unwrap_or(0), peak + 1)
    }

    fn checked(per_minute: Vec<u64>, what: &str) -> Result<Self, ProfileError> {
        if per_minute.iter().all(|count| *count == 0) {
            return Err(ProfileError::Empty(what.to_owned()));
        }
        Ok(Self { per_minute })
    }
}

#[allow(clippy::cast_precision_loss)] // a day's requests are far below 2^52
fn to_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worldcup() -> Profile {
        Profile::parse(WORLDCUP98).unwrap()
    }

    #[test]
    fn the_sample_is_the_day_it_says() {
        let day = worldcup();
        assert_eq!(day.per_minute.len(), 1440);
        assert_eq!(day.per_minute.iter().sum::<u64>() / 100_000, 752);
    }

    #[test]
    fn the_crowd_follows_the_shape() {
        let over = Duration::from_secs(24 * 60);
        let arrivals = worldcup().arrivals(50_000, over, 1);
        assert_eq!(arrivals.len(), 50_000);
        assert!(arrivals.is_sorted() && arrivals.iter().all(|at| *at <= over));
        // One hour of the day takes one minute of the run: hour 21 had 11.10 of 75.19 million.
        let hour_21 = arrivals.iter().filter(|at| at.as_secs() / 60 == 21).count();
        assert!((7_100..7_700).contains(&hour_21), "{hour_21} of 50000 came in hour 21");
    }

    #[test]
    fn the_same_seed_gives_the_same_crowd() {
        let over = Duration::from_secs(60);
        let arrive = |seed| worldcup().arrivals(1_000, over, seed);
        assert_eq!(arrive(4), arrive(4));
        assert_ne!(arrive(4), arrive(5));
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn a_window_is_day_rise_or_two_times() {
        check("day",         Some(Window::Day));
        check("rise",        Some(Window::Rise));
        check("19:00-22:00", Some(Window::Minutes { from: 1140, until: 1320 }));
        check("22:00-19:00", None);
        check("19:60-20:00", None);
        check("noon",        None);
        check("",            None);
    }

    #[track_caller]
    fn check(text: &str, expected: Option<Window>) {
        assert_eq!(text.parse::<Window>().ok(), expected, "{text:?}");
    }

    #[test]
    fn the_rise_ends_at_the_peak() {
        let profile = Profile { per_minute: vec![1, 90, 20, 50, 100, 60] };
        let rise = profile.window(Window::Rise).unwrap();
        assert_eq!(rise.per_minute, [20, 50, 100]);
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn a_bad_profile_is_refused() {
        for text in ["", "minute_utc,requests\n", "minute_utc,requests\n00:00,0\n",
                     "minute_utc,requests\n00:00,many\n", "minute_utc,requests\n00:00\n"] {
            assert!(Profile::parse(text).is_err(), "{text:?}");
        }
    }
}
