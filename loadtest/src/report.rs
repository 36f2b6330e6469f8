//! What came of a run? For people as text, for programs as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::checker::{Finding, Verdict};
use crate::crowd::Kind;
use crate::drive::DriveOptions;
use crate::history::History;
use crate::stats::{Outcome, Quantiles, Stats, Step};

/// One point of the series: what had happened by then.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Second {
    /// Seconds since the start.
    pub at_secs: f64,
    /// Visitors who have come.
    pub arrived: u64,
    /// Places.
    pub joined: u64,
    /// Passes.
    pub admitted: u64,
    /// In the line now.
    pub waiting: u64,
    /// Inside now.
    pub inside: u64,
    /// Orders.
    pub orders: u64,
    /// Numbers issued in the `standard` lane, as published.
    pub issued: u64,
    /// The front of the `standard` lane.
    pub front: u64,
    /// The published pace of all lanes, in positions a second.
    pub pace: f64,
    /// The room's phase.
    pub phase: &'static str,
    /// Passes since the point before.
    pub admitted_in_second: u64,
    /// Arrivals since the point before.
    pub arrived_in_second: u64,
}

impl Second {
    /// The live line.
    #[must_use]
    pub fn line(&self, stats: &Stats) -> String {
        let Self { at_secs, arrived, waiting, inside, orders, front, issued, pace, phase, .. } =
            self;
        let (joined, holds) = (stats.joined.get(), stats.holds.get());
        let (conflicts, errors) = (stats.conflicts.get(), stats.errors.get());
        format!(
            "{at_secs:5.0} s  arrived {arrived}  joined {joined}  waiting {waiting}  \
             inside {inside}  holds {holds}  orders {orders}  conflicts {conflicts}  \
             errors {errors}  front {front}/{issued}  pace {pace:.1}/s  {phase}"
        )
    }
}

/// Visits of one kind by how they ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KindReport {
    /// The kind.
    pub kind: Kind,
    /// How many of them the crowd had.
    pub visitors: u64,
    /// How their visits ended; outcomes that did not occur are left out.
    pub outcomes: Vec<(Outcome, u64)>,
}

/// Answers of one kind that were no success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusalReport {
    /// What was asked.
    pub step: Step,
    /// The status; 0 if there was no answer.
    pub status: u16,
    /// The problem's code, or why there was no answer.
    pub code: String,
    /// How many.
    pub count: u64,
}

/// One step's latency from when it was due, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepReport {
    /// The step.
    pub step: Step,
    /// Its latency.
    #[serde(flatten)]
    pub millis: Quantiles,
}

/// Everything that came of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The event.
    pub event: String,
    /// The crowd's seed.
    pub seed: u64,
    /// Visitors asked for.
    pub visitors: u64,
    /// Time within which they came, in seconds.
    pub over_secs: f64,
    /// Time until the last one had gone, in seconds.
    pub driven_secs: f64,
    /// Whether all had gone before the run's time was over.
    pub is_complete: bool,
    /// The crowd by kind.
    pub kinds: Vec<KindReport>,
    /// Visitors who got a place.
    pub places_issued: u64,
    /// Places in the `suspect` lane.
    pub suspects: u64,
    /// Passes.
    pub admitted: u64,
    /// Of these, without a waiting page.
    pub admitted_at_once: u64,
    /// Time in the line of those who were admitted, in seconds.
    pub time_in_line_secs: Quantiles,
    /// Passes a second while people waited, on average.
    pub admitted_per_sec: f64,
    /// The published pace over the same time, on average.
    pub pace_per_sec: f64,
    /// Requests answered.
    pub requests: u64,
    /// Holds.
    pub holds: u64,
    /// Seats that were gone when asked for.
    pub conflicts: u64,
    /// Orders.
    pub orders: u64,
    /// Orders whose outcome never became known.
    pub orders_unresolved: u64,
    /// What was charged for them, in minor units.
    pub sold_total: u64,
    /// Payments that were declined.
    pub declined: u64,
    /// Payments whose outcome was unknown at first.
    pub payments_unknown: u64,
    /// Tickets.
    pub tickets: u64,
    /// Requests that were told to come back later.
    pub put_off: u64,
    /// Requests without an answer, and answers that make no sense.
    pub errors: u64,
    /// All answers that were no success, by kind.
    pub refusals: Vec<RefusalReport>,
    /// Latencies.
    pub steps: Vec<StepReport>,
    /// Second by second.
    pub series: Vec<Second>,
    /// What the history checker says.
    pub verdict: Verdict,
}

impl Report {
    #[allow(clippy::too_many_arguments)] // the one place where the run's parts come together
    pub(crate) fn new(
        options: &DriveOptions,
        stats: &Stats,
        kinds: Vec<(Kind, u64)>,
        driven: Duration,
        is_complete: bool,
        series: Vec<Second>,
        history: &History,
        verdict: Verdict,
    ) -> Self {
        let outcomes = stats.outcomes();
        let kind_report = |(kind, visitors)| KindReport {
            kind,
            visitors,
            outcomes: Outcome::ALL
                .into_iter()
                .filter_map(|outcome| Some((outcome, *outcomes.get(&(kind, outcome))?)))
                .collect(),
        };
        let (admitted_per_sec, pace_per_sec) = while_waiting(&series);
        let refusals = stats.refusals().into_iter();
        let steps = stats.latencies().into_iter();
        Self {
            event: options.event.to_string(),
            seed: options.seed,
            visitors: options.visitors as u64,
            over_secs: options.over.as_secs_f64(),
            driven_secs: driven.as_secs_f64(),
            is_complete,
            kinds: kinds.into_iter().map(kind_report).collect(),
            places_issued: stats.joined.get(),
            suspects: stats.suspects.get(),
            admitted: stats.admitted.get(),
            admitted_at_once: stats.admitted_at_once.get(),
            time_in_line_secs: stats.time_in_line(),
            admitted_per_sec,
            pace_per_sec,
            requests: stats.answered.get(),
            holds: stats.holds.get(),
            conflicts: stats.conflicts.get(),
            orders: stats.orders.get(),
            orders_unresolved: history.unresolved_total,
            sold_total: history.orders.iter().map(|sold| sold.total).sum(),
            declined: stats.declined.get(),
            payments_unknown: stats.unknown.get(),
            tickets: stats.tickets.get(),
            put_off: stats.put_off.get(),
            errors: stats.errors.get(),
            refusals: refusals
                .map(|((step, status, code), count)| RefusalReport { step, status, code, count })
                .collect(),
            steps: steps.map(|(step, millis)| StepReport { step, millis }).collect(),
            series,
            verdict,
        }
    }

    /// Whether every promise was kept, and none is unproven.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.verdict.is_clean()
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Self { event, visitors, over_secs, driven_secs, seed, .. } = self;
        writeln!(out, "{visitors} visitors to {event} over {over_secs:.0} s (seed {seed}), ")?;
        let end = if self.is_complete { "all had gone" } else { "the time was over" };
        writeln!(out, "{end} after {driven_secs:.1} s\n")?;
        self.write_crowd(out)?;
        self.write_line(out)?;
        self.write_shop(out)?;
        self.write_steps(out)?;
        self.write_verdict(out)
    }

    fn write_crowd(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "crowd        visitors  how it ended")?;
        for KindReport { kind, visitors, outcomes } in &self.kinds {
            let outcomes: Vec<String> = outcomes
                .iter()
                .map(|(outcome, count)| format!("{} {count}", outcome.label()))
                .collect();
            writeln!(out, "  {:<9}  {visitors:>8}  {}", kind.label(), outcomes.join(", "))?;
        }
        writeln!(out)
    }

    fn write_line(&self, out: &mut String) -> std::fmt::Result {
        let Self { places_issued, suspects, admitted, admitted_at_once, .. } = self;
        let Quantiles { p50, p95, p99, max, .. } = self.time_in_line_secs;
        writeln!(out, "line")?;
        writeln!(out, "  places issued        {places_issued} (suspect lane {suspects})")?;
        writeln!(out, "  admitted             {admitted} (at once {admitted_at_once})")?;
        writeln!(
            out,
            "  time in line         p50 {p50:.1} s, p95 {p95:.1} s, p99 {p99:.1} s, max {max:.1} s"
        )?;
        let (admitted, pace) = (self.admitted_per_sec, self.pace_per_sec);
        writeln!(out, "  admitted a second    {admitted:.1} against a pace of {pace:.1}\n")
    }

    fn write_shop(&self, out: &mut String) -> std::fmt::Result {
        let Self { holds, conflicts, orders, orders_unresolved, declined, .. } = self;
        let Self { payments_unknown, tickets, requests, put_off, errors, sold_total, .. } = self;
        writeln!(out, "shop")?;
        writeln!(out, "  holds                {holds}, conflicts {conflicts}")?;
        writeln!(out, "  orders               {orders} (unresolved {orders_unresolved})")?;
        writeln!(out, "  tickets              {tickets}, sold for {sold_total} minor units")?;
        writeln!(out, "  payments             declined {declined}, unknown {payments_unknown}")?;
        writeln!(out, "  requests             {requests}, put off {put_off}, errors {errors}")?;
        for RefusalReport { step, status, code, count } in &self.refusals {
            let code = if code.is_empty() { "-" } else { code };
            writeln!(out, "    {:<12} {status:>3} {code:<24} {count}", step.label())?;
        }
        writeln!(out)
    }

    fn write_steps(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "latency from when due, ms     count      p50      p95      p99      max")?;
        for StepReport { step, millis } in &self.steps {
            let Quantiles { count, p50, p95, p99, max } = millis;
            let label = step.label();
            writeln!(out, "  {label:<24}  {count:>8} {p50:>8.1} {p95:>8.1} {p99:>8.1} {max:>8.1}")?;
        }
        writeln!(out)
    }

    fn write_verdict(&self, out: &mut String) -> std::fmt::Result {
        let is_clean = if self.is_clean() { "clean" } else { "NOT CLEAN" };
        writeln!(out, "verdict of the history checker: {is_clean}")?;
        for check in &self.verdict.checks {
            let (label, checked) = (check.promise.label(), check.checked_total);
            let word = match &check.finding {
                Finding::Kept => "kept",
                Finding::Broken { .. } => "BROKEN",
                Finding::Unproven { .. } => "UNPROVEN",
            };
            let note = check.note.as_deref().unwrap_or_default();
            writeln!(out, "  {word:<8}  {label:<36} {checked:>8} checked  {note}")?;
            match &check.finding {
                Finding::Kept => {}
                Finding::Unproven { why } => writeln!(out, "              {why}")?,
                Finding::Broken { faults_total, examples } => {
                    writeln!(out, "              {faults_total} faults, the first:")?;
                    for example in examples {
                        writeln!(out, "              {example}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Passes a second and the published pace, over the seconds in which somebody waited: only then
/// does the pace decide who enters.
#[allow(clippy::cast_precision_loss)] // a crowd is far below 2^52
fn while_waiting(series: &[Second]) -> (f64, f64) {
    let (mut secs, mut admitted, mut positions) = (0.0, 0, 0.0);
    for pair in series.windows(2) {
        let [before, after] = pair else { continue };
        if before.waiting > 0 && after.waiting > 0 {
            let step = after.at_secs - before.at_secs;
            secs += step;
            admitted += after.admitted_in_second;
            positions += before.pace * step;
        }
    }
    if secs > 0.0 { (admitted as f64 / secs, positions / secs) } else { (0.0, 0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(at_secs: f64, waiting: u64, pace: f64, admitted_in_second: u64) -> Second {
        Second {
            at_secs,
            arrived: 0,
            joined: 0,
            admitted: 0,
            waiting,
            inside: 0,
            orders: 0,
            issued: 0,
            front: 0,
            pace,
            phase: "open",
            admitted_in_second,
            arrived_in_second: 0,
        }
    }

    #[test]
    fn admissions_are_held_against_the_pace_while_somebody_waits() {
        let series = [
            second(1.0, 0, 500.0, 400), // nobody waits: the pace decides nothing
            second(2.0, 9, 10.0, 300),
            second(3.0, 9, 20.0, 10),
            second(5.0, 9, 20.0, 38),
            second(6.0, 0, 20.0, 99),
        ];
        let (admitted, pace) = while_waiting(&series);
        assert!((admitted - 16.0).abs() < 1e-9, "{admitted}");
        assert!((pace - 50.0 / 3.0).abs() < 1e-9, "{pace}");
        assert_eq!(while_waiting(&[]), (0.0, 0.0));
    }
}
