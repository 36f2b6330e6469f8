//! Which seats does the organiser keep out of sale, and what for?

use keys::{Id128, Timestamp};
use serde::{Deserialize, Serialize};

use super::Seat;
use super::best::Score;
use super::command::{Change, Pick, Want};
use super::refusal::Refusal;
use super::seats::{Run, SeatSet};
use super::state::{Decided, Misfit, State};

/// Most channels that keep seats at once: each costs a bit a seat.
pub const CHANNELS_MAX: u32 = 64;

/// What one channel keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// What for, for example `sponsor`.
    pub channel: String,
    /// Which seats and units.
    pub runs: Vec<Run>,
}

/// Decisions: they read the state and change nothing.
impl State {
    pub(super) fn decide_blocking(&self, pick: &Pick, channel: &str) -> Decided {
        match self.blocking(pick, channel) {
            Ok(seats) if seats.is_empty() => (Vec::new(), Ok(())),
            Ok(seats) => {
                let (channel, runs) = (channel.to_owned(), Run::of(&seats));
                (vec![Change::Blocked { channel, runs }], Ok(()))
            }
            Err(refusal) => (Vec::new(), Err(refusal)),
        }
    }

    fn blocking(&self, pick: &Pick, channel: &str) -> Result<Vec<Seat>, Refusal> {
        if pick.is_empty() {
            return Err(Refusal::NoSeats);
        }
        let mut understood = self.understand(pick)?;
        let kept = self.blocked.get(channel);
        let max = CHANNELS_MAX;
        if kept.is_none() && self.blocked.len() >= max as usize {
            return Err(Refusal::TooManyChannels { max });
        }
        // Asked again, it is done already.
        understood.seats.retain(|seat| !kept.is_some_and(|kept| kept.contains(*seat)));
        self.find(&understood, None)
    }

    pub(super) fn decide_unblocking(&self, pick: &Pick, channel: &str) -> Decided {
        match self.unblocking(pick, channel) {
            Ok(seats) => {
                let (channel, runs) = (channel.to_owned(), Run::of(&seats));
                (vec![Change::Unblocked { channel, runs }], Ok(()))
            }
            Err(refusal) => (Vec::new(), Err(refusal)),
        }
    }

    fn unblocking(&self, pick: &Pick, channel: &str) -> Result<Vec<Seat>, Refusal> {
        if pick.is_empty() {
            return Err(Refusal::NoSeats);
        }
        let understood = self.understand(pick)?;
        let none = SeatSet::empty(0);
        let kept = self.blocked.get(channel).unwrap_or(&none);
        let mut others = understood.seats.clone();
        others.retain(|seat| !kept.contains(*seat));
        if !others.is_empty() {
            return Err(Refusal::NotBlocked { seats: others });
        }
        let mut seats = understood.seats;
        for (area, quantity) in understood.areas {
            let before = seats.len();
            seats.extend(kept.seats(area.first, area.end()).take(quantity as usize));
            if seats.len() - before < quantity as usize {
                return Err(Refusal::NotBlocked { seats: Vec::new() });
            }
        }
        seats.sort_unstable();
        Ok(seats)
    }

    pub(super) fn decide_box_office(
        &self,
        hold: Id128,
        sub: Id128,
        want: &Want,
        channel: Option<&str>,
        now: Timestamp,
        score: &mut Option<Score>,
    ) -> Decided {
        if self.is_cancelled() {
            return (Vec::new(), Err(Refusal::EventCancelled));
        }
        let seats = match self.wanted_at_box_office(want, channel) {
            Ok((seats, found)) => {
                *score = found;
                seats
            }
            Err(refusal) => return (Vec::new(), Err(refusal)),
        };
        // What a channel kept is put on sale and sold in one step: nobody comes in between.
        let kept: Vec<Seat> =
            seats.iter().copied().filter(|seat| !self.free().contains(*seat)).collect();
        let unblocked = channel
            .filter(|_| !kept.is_empty())
            .map(|channel| Change::Unblocked { channel: channel.to_owned(), runs: Run::of(&kept) });
        let held = self.hold_of(hold, sub, seats, now.plus(self.rules.hold));
        (unblocked.into_iter().chain([held]).collect(), Ok(()))
    }

    pub(super) fn blocks(&self) -> Vec<Block> {
        let capacity = self.plan.capacity();
        let runs = |seats: &SeatSet| seats.runs(0, capacity).collect();
        let blocks = self.blocked.iter();
        blocks
            .map(|(channel, seats)| Block { channel: channel.clone(), runs: runs(seats) })
            .collect()
    }
}

/// Changes: each fits the state, or is an error.
impl State {
    pub(super) fn block(&mut self, channel: &str, runs: &[Run]) -> Result<(), Misfit> {
        let capacity = self.plan.capacity();
        let seats = self.seats_of(runs)?;
        self.stock.take(&seats).map_err(|seat| Misfit::SeatNotFree { seat })?;
        let kept = self.blocked.entry(channel.to_owned());
        let kept = kept.or_insert_with(|| SeatSet::empty(capacity));
        for seat in &seats {
            kept.insert(*seat);
        }
        self.counts.free -= seats.len() as u64;
        self.counts.blocked += seats.len() as u64;
        Ok(())
    }

    pub(super) fn unblock(&mut self, channel: &str, runs: &[Run]) -> Result<(), Misfit> {
        let seats = self.seats_of(runs)?;
        let mut none = SeatSet::empty(0);
        let kept = self.blocked.get_mut(channel).unwrap_or(&mut none);
        if let Some(seat) = seats.iter().find(|seat| !kept.remove(**seat)) {
            return Err(Misfit::SeatNotBlocked { seat: *seat });
        }
        if kept.count() == 0 {
            self.blocked.remove(channel);
        }
        self.stock.give(&seats);
        self.counts.free += seats.len() as u64;
        self.counts.blocked -= seats.len() as u64;
        Ok(())
    }

    fn seats_of(&self, runs: &[Run]) -> Result<Vec<Seat>, Misfit> {
        let beyond = runs.iter().find(|run| run.seats().end > self.plan.capacity());
        match beyond {
            Some(run) => Err(Misfit::SeatNotFree { seat: run.seats().end }),
            None => Ok(runs.iter().flat_map(|run| run.seats()).collect()),
        }
    }
}
