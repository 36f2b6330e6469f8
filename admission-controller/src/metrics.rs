//! The controller's metrics. Labels are ours: lanes, outcomes, limits, and events that have a room.

use keys::Lane;
use prometheus::{
    CounterVec, Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Every metric of the controller.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    pub(crate) pace_per_second: GaugeVec,
    pub(crate) front: IntGaugeVec,
    pub(crate) issued: IntGaugeVec,
    pub(crate) waiting: IntGaugeVec,
    pub(crate) inside: IntGaugeVec,
    pub(crate) called: IntGaugeVec,
    pub(crate) noshow_share: GaugeVec,
    pub(crate) claims_total: IntCounterVec,
    pub(crate) priority_total: IntCounterVec,
    pub(crate) renewals_total: IntCounterVec,
    pub(crate) ends_total: IntCounterVec,
    pub(crate) leases_total: IntCounterVec,
    pub(crate) joined_total: IntCounterVec,
    pub(crate) bypassed_total: IntCounterVec,
    pub(crate) suspicions_total: IntCounterVec,
    pub(crate) suspicions_dropped_total: IntCounterVec,
    pub(crate) decisions_total: IntCounterVec,
    pub(crate) signal_age_seconds: GaugeVec,
    pub(crate) over_target_seconds_total: CounterVec,
    pub(crate) publish_failures_total: IntCounterVec,
    pub(crate) epoch: Gauge,
    pub(crate) is_leader: IntGauge,
    pub(crate) takeovers_total: IntCounter,
    pub(crate) store_settled_total: IntCounter,
    pub(crate) store_commit_seconds: Histogram,
}

impl Metrics {
    /// Registers all of them.
    ///
    /// # Errors
    /// If two have the same name, which no configuration can bring about.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let numbers = |name: &str, help: &str, labels: &[&str]| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let gauges = GaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let over_target_seconds_total = CounterVec::new(
            Opts::new(
                "admission_over_target_seconds_total",
                "Time with the origin's latency, errors or database above target.",
            ),
            &["event"],
        )?;
        registry.register(Box::new(over_target_seconds_total.clone()))?;
        let epoch = Gauge::new(
            "admission_epoch",
            "Epoch of our last lead; fronts of an older epoch are refused everywhere.",
        )?;
        registry.register(Box::new(epoch.clone()))?;
        let is_leader = IntGauge::new(
            "admission_is_leader",
            "1 while this controller moves the fronts; over all controllers there is one.",
        )?;
        registry.register(Box::new(is_leader.clone()))?;
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let takeovers_total =
            counter("admission_takeovers_total", "How often this controller took the lead.")?;
        let store_settled_total = counter(
            "admission_store_settled_total",
            "How often a store that may have lost writes was given back what others remembered.",
        )?;
        let store_commit_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "admission_store_commit_seconds",
                "Time of a transaction of the embedded store up to the disk, or of a call of Redis.",
            )
            .buckets(vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0]),
        )?;
        registry.register(Box::new(store_commit_seconds.clone()))?;
        Ok(Self {
            pace_per_second: gauges(
                "admission_pace_per_second",
                "Visitors a second who are to come in; 0 while the front stands.",
                &["event"],
            )?,
            front: numbers(
                "admission_front",
                "Highest position that may enter, as published.",
                &["event", "lane"],
            )?,
            issued: numbers(
                "admission_issued",
                "Numbers handed out to edges.",
                &["event", "lane"],
            )?,
            waiting: numbers(
                "admission_waiting",
                "Numbers above the front that were not given back.",
                &["event", "lane"],
            )?,
            inside: numbers("admission_inside", "Passes that have not ended.", &["event"])?,
            called: numbers(
                "admission_called",
                "Visitors whose turn came within the last minute and who have not come in.",
                &["event"],
            )?,
            noshow_share: gauges(
                "admission_noshow_share",
                "Share of those called that does not come, as learned; the front moves faster for it.",
                &["event"],
            )?,
            claims_total: counters(
                "admission_claims_total",
                "Claims by outcome; `admitted` counts each visitor once.",
                &["outcome"],
            )?,
            priority_total: counters(
                "admission_priority_total",
                "Codes and tickets shown for the priority lane, by what became of them; many \
                 unknown ones mean that somebody guesses.",
                &["outcome"],
            )?,
            renewals_total: counters(
                "admission_renewals_total",
                "Renewals of passes by outcome.",
                &["outcome"],
            )?,
            ends_total: counters(
                "admission_ends_total",
                "Passes ended before their time, by reason.",
                &["reason"],
            )?,
            leases_total: counters(
                "admission_leases_total",
                "Blocks of numbers leased to edges, by lane.",
                &["lane"],
            )?,
            joined_total: counters(
                "admission_joined_total",
                "Places issued, as edges report them.",
                &["event"],
            )?,
            bypassed_total: counters(
                "admission_bypassed_total",
                "Requests let through on exempt paths, as edges report them.",
                &["event"],
            )?,
            suspicions_total: counters(
                "admission_suspicions_total",
                "Visitors judged likely bots, as edges report them.",
                &["event"],
            )?,
            suspicions_dropped_total: counters(
                "admission_suspicions_dropped_total",
                "Suspicions that were not kept, for the line has as many as we keep.",
                &["event"],
            )?,
            decisions_total: counters(
                "admission_decisions_total",
                "Decisions about the pace, by the limit that bound.",
                &["binding"],
            )?,
            signal_age_seconds: gauges(
                "admission_signal_age_seconds",
                "Age of what was last heard of the origin; absent before the first news.",
                &["signal"],
            )?,
            publish_failures_total: counters(
                "admission_publish_failures_total",
                "Fronts that could not be published, by what failed.",
                &["part"],
            )?,
            over_target_seconds_total,
            epoch,
            is_leader,
            takeovers_total,
            store_settled_total,
            store_commit_seconds,
            registry,
        })
    }

    /// The text that Prometheus scrapes.
    #[must_use]
    pub(crate) fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "metrics: cannot be written as text"
            );
        }
        text
    }

    /// Forgets the gauges of an event whose room is gone.
    pub(crate) fn forget(&self, event: &str) {
        // An error means that there was no such gauge, which is what we want.
        let _ = self.pace_per_second.remove_label_values(&[event]);
        let _ = self.inside.remove_label_values(&[event]);
        let _ = self.called.remove_label_values(&[event]);
        let _ = self.noshow_share.remove_label_values(&[event]);
        for lane in Lane::ALL {
            for gauge in [&self.front, &self.issued, &self.waiting] {
                let _ = gauge.remove_label_values(&[event, lane.label()]);
            }
        }
    }
}
