//! Learns which share of those called does not come, and how much faster the front moves for it.
//!
//! Each lane is learned by itself: who holds a code comes more surely than who was taken for a bot.
//! Only counts are known: how many were called and how many came, not who of whom. So whoever was
//! called is expected to come within a while, evenly; of several such whiles the one that has
//! foretold the claims best is believed, and what is due by it and has not come is the share. In
//! a steady line all of them agree; they differ after a pause, a burst or a change of the pace.
//!
//! The invariant: haste multiplies the slope of a waiting lane's line and nothing else. The line
//! still ends where it would (the numbers handed out and one second of the plain pace), starts
//! where the last one has got to, and nobody enters whom a signed front has not reached. Haste is
//! bounded, idle time banks none, and when more come than the pace allows, it falls to nothing.

use std::collections::VecDeque;

use keys::{Lane, Timestamp};

/// The share is that of about this long.
const MEMORY_SECS: f64 = 90.0;
/// Within how long those called may come, in seconds. The slowest first: it is believed until
/// another one foretells better, for whoever is slow is not absent.
const SPREADS_SECS: [f64; 5] = [120.0, 60.0, 30.0, 12.0, 3.0];
/// With fewer visitors due than this, only a part of the share is believed.
const EVIDENCE: f64 = 50.0;
/// A larger share is never believed: some always come.
const SHARE_MAX: f64 = 0.95;
/// If fewer of those due come than this, claims do not reach us: nothing is known of who is absent.
const COMING_MIN: f64 = 0.02;
/// A share that a controller has left to the next one counts as much as so many visitors.
const REMEMBERED: f64 = 500.0;
/// Those on their way when a controller takes over were called within this time, in seconds.
const CALLED_FOR_SECS: u32 = 60;
/// Waves called within this time are one, which bounds how many there are.
const WAVE_SECS: f64 = 0.4;
/// Arrivals are held against the pace over about this long.
const RECENT_SECS: f64 = 10.0;
/// Arrivals may exceed the pace by this factor, the spread of chance and a handful.
const RECENT_MORE: f64 = 1.25;
const RECENT_HANDFUL: f64 = 20.0;
/// What came beyond this many times the pace is forgotten: the front would stand for minutes.
const RECENT_MAX: f64 = 3.0;

/// What is learned of one line.
#[derive(Debug, Clone, PartialEq)]
pub struct NoShows {
    /// By [`Lane::index`].
    lanes: [Learned; 3],
    /// Claims of all lanes and what the pace allowed, fading soon.
    recent: Recent,
    at: Timestamp,
}

/// What is learned of one lane.
#[derive(Debug, Clone, PartialEq)]
struct Learned {
    /// Called lately, the oldest first.
    waves: VecDeque<Wave>,
    /// Claims, fading.
    came: f64,
    spreads: [Spread; SPREADS_SECS.len()],
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Wave {
    age_secs: f64,
    count: f64,
}

/// The assumption that whoever comes does so within `over_secs`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    over_secs: f64,
    /// Called, and by this assumption to have come if at all; fading.
    due: f64,
    /// How wrong it was: squared, fading.
    misfit: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Recent {
    came: f64,
    allowed: f64,
}

impl NoShows {
    /// Begins with the shares that were learned before, 0 if none, and with whoever was called and
    /// had not come. In which lane they stand is not kept: they are taken for standard ones.
    #[must_use]
    pub fn resumed(shares: [f64; 3], called: u64, now: Timestamp) -> Self {
        let lane = |lane: Lane| {
            let called = if lane == Lane::Standard { called } else { 0 };
            Learned::resumed(shares[lane.index()], called)
        };
        Self { lanes: Lane::ALL.map(lane), recent: Recent::default(), at: now }
    }

    /// Their turn came, by [`Lane::index`].
    pub fn called(&mut self, counts: [u64; 3]) {
        for (lane, count) in self.lanes.iter_mut().zip(counts) {
            lane.called(count);
        }
    }

    /// Of those called, so many never existed: their numbers were given back late.
    pub fn were_gaps(&mut self, lane: Lane, count: u64) {
        self.lanes[lane.index()].were_gaps(count);
    }

    /// So many came since the last call of this, by [`Lane::index`], while so many a second were to
    /// come over all lanes.
    pub fn came(&mut self, counts: [u64; 3], target_per_sec: f64, now: Timestamp) {
        // A clock that was set back costs nothing; one that was set on makes us forget.
        let elapsed_secs = now.since(self.at).as_secs_f64();
        self.at = now;
        for (lane, count) in self.lanes.iter_mut().zip(counts) {
            lane.came(to_f64(count), elapsed_secs);
        }
        self.recent.came(to_f64(counts.iter().sum()), target_per_sec, elapsed_secs);
    }

    /// The share of those called that does not come, 0 to 1, by [`Lane::index`].
    #[must_use]
    pub fn shares(&self) -> [f64; 3] {
        std::array::from_fn(|lane| self.lanes[lane].share())
    }

    /// By what the pace of a waiting lane is multiplied, so that as many come as are to: `factor_max`
    /// at most, and less than 1 while more come than are to. By [`Lane::index`].
    #[must_use]
    pub fn haste(&self, factor_max: f64) -> [f64; 3] {
        let ease = self.recent.ease();
        self.shares().map(|share| (1.0 / (1.0 - share)).min(factor_max.max(1.0)) * ease)
    }

    /// The lane of which most were called lately: what is told of the room is what is learned of it.
    #[must_use]
    pub fn busiest(&self) -> Lane {
        let due = |lane: &Lane| self.lanes[lane.index()].best().due;
        let busiest = Lane::ALL.into_iter().max_by(|a, b| due(a).total_cmp(&due(b)));
        busiest.filter(|lane| due(lane) > 0.0).unwrap_or(Lane::Standard)
    }
}

impl Learned {
    fn resumed(share: f64, called: u64) -> Self {
        let share = if share.is_finite() { share.clamp(0.0, SHARE_MAX) } else { 0.0 };
        let weight = if share > 0.0 { REMEMBERED } else { 0.0 };
        let spread = |over_secs| Spread { over_secs, due: weight, misfit: 0.0 };
        let mut waves = VecDeque::new();
        if share > 0.0 {
            // Most of them are the absent ones, called evenly over the time in which they count.
            let count = to_f64(called) / f64::from(CALLED_FOR_SECS);
            let ages = (0..CALLED_FOR_SECS).rev().map(f64::from);
            waves.extend(ages.map(|age_secs| Wave { age_secs, count }));
        }
        Self { waves, came: weight * (1.0 - share), spreads: SPREADS_SECS.map(spread) }
    }

    fn called(&mut self, count: u64) {
        let count = to_f64(count);
        match self.waves.back_mut() {
            _ if count <= 0.0 => {}
            Some(wave) if wave.age_secs < WAVE_SECS => wave.count += count,
            _ => self.waves.push_back(Wave { age_secs: 0.0, count }),
        }
    }

    fn were_gaps(&mut self, count: u64) {
        let mut count = to_f64(count);
        for wave in self.waves.iter_mut().rev() {
            let taken = count.min(wave.count);
            wave.count -= taken;
            count -= taken;
        }
    }

    fn came(&mut self, count: f64, elapsed_secs: f64) {
        let keep = (-elapsed_secs / MEMORY_SECS).exp();
        for spread in &mut self.spreads {
            let part = |age_secs: f64| (age_secs / spread.over_secs).min(1.0);
            let ripe = |wave: &Wave| {
                wave.count * (part(wave.age_secs + elapsed_secs) - part(wave.age_secs))
            };
            let due: f64 = self.waves.iter().map(ripe).sum();
            let foretold = due * coming(self.came, spread.due);
            spread.misfit = (spread.misfit + (count - foretold).powi(2)) * keep;
            spread.due = (spread.due + due) * keep;
        }
        self.came = (self.came + count) * keep;
        for wave in &mut self.waves {
            wave.age_secs += elapsed_secs;
        }
        while self.waves.front().is_some_and(|wave| wave.age_secs >= SPREADS_SECS[0]) {
            self.waves.pop_front();
        }
    }

    /// The assumption that has foretold the claims best.
    fn best(&self) -> Spread {
        let [first, rest @ ..] = self.spreads;
        rest.into_iter().fold(
            first,
            |best, spread| {
                if spread.misfit < best.misfit { spread } else { best }
            },
        )
    }

    fn share(&self) -> f64 {
        let due = self.best().due;
        let coming = coming(self.came, due);
        if coming < COMING_MIN {
            return 0.0;
        }
        let believed = (due / EVIDENCE).min(1.0);
        ((1.0 - coming) * believed).clamp(0.0, SHARE_MAX)
    }
}

impl Recent {
    fn came(&mut self, count: f64, target_per_sec: f64, elapsed_secs: f64) {
        let keep = (-elapsed_secs / RECENT_SECS).exp();
        self.allowed = (self.allowed + target_per_sec * elapsed_secs) * keep;
        let most = RECENT_MAX * self.allowed + RECENT_HANDFUL;
        self.came = ((self.came + count) * keep).min(most);
    }

    /// 1 while no more come than chance explains; 0 if it is twice as many.
    fn ease(self) -> f64 {
        let Self { came, allowed } = self;
        let bound = RECENT_MORE * allowed + 3.0 * allowed.sqrt() + RECENT_HANDFUL;
        (1.0 - (came - bound) / allowed.max(1.0)).clamp(0.0, 1.0)
    }
}

/// The share that comes. One visitor who came is taken for granted: without any, all do.
fn coming(came: f64, due: f64) -> f64 {
    ((came + 1.0) / (due + 1.0)).min(1.0)
}

/// What the reason of a decision adds; `None` if the front moves at the pace as it is.
#[must_use]
pub fn reason(share: f64, haste: f64) -> Option<String> {
    let percent = share * 100.0;
    if haste >= 1.05 {
        Some(format!(
            "{percent:.0} % of those called do not come: the front moves {haste:.1} times as fast"
        ))
    } else if haste <= 0.95 {
        let slower = haste * 100.0;
        Some(format!("more come than are to: the front moves at {slower:.0} % of it"))
    } else {
        None
    }
}

#[allow(clippy::cast_precision_loss)] // counts far below 2^52
fn to_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
