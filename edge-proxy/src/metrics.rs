//! The edge's metrics: one struct, labels only from our enums.

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

/// All of them.
pub struct Metrics {
    registry: Registry,
    /// Requests decided, by verdict.
    decisions_total: IntCounterVec,
    /// Of these, waiting pages.
    waits_total: IntCounter,
    /// Of these, shared documents.
    documents_total: IntCounter,
    /// Of these, requests that a pass let through.
    forwards_total: IntCounter,
    /// Requests refused by a rate limit, by budget.
    pub limited_total: IntCounterVec,
    /// Statements refused, by reason.
    pub refusals_total: IntCounterVec,
    /// Places issued, by lane.
    pub places_total: IntCounterVec,
    /// Claims, by outcome.
    pub claims_total: IntCounterVec,
    /// Calls to the controller that failed, by call.
    pub controller_failures_total: IntCounterVec,
    /// Requests to the origin under way.
    pub origin_in_flight: IntGauge,
    /// Time to the origin's first byte, in seconds.
    pub origin_seconds: Histogram,
    /// Requests to the origin that failed or were answered 5xx.
    pub origin_errors_total: IntCounter,
    /// Connections open now.
    pub connections: IntGauge,
    /// Connections ended without an answer from the desk, by why.
    pub connections_refused_total: IntCounterVec,
    /// Places shown by another browser than they were issued to.
    pub shared_places_total: IntCounter,
    /// Passes shown by another browser than joined; each is counted once.
    pub shared_passes_total: IntCounter,
    /// Reports that were dropped: the controller was silent for too long, or refused them.
    pub dropped_reports_total: IntCounter,
}

impl Metrics {
    /// Registers all of them.
    ///
    /// # Errors
    /// If two have the same name, which is a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, label: &str| {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let origin_in_flight = IntGauge::new(
            "edge_origin_in_flight",
            "Requests to the origin under way; rises first when the origin slows down.",
        )?;
        registry.register(Box::new(origin_in_flight.clone()))?;
        let connections = IntGauge::new(
            "edge_connections",
            "Connections of visitors that are open; near `connections_max` new ones are refused.",
        )?;
        registry.register(Box::new(connections.clone()))?;
        let buckets = prometheus::exponential_buckets(0.001, 2.0, 15)?;
        let origin_seconds = Histogram::with_opts(
            HistogramOpts::new("edge_origin_seconds", "Time to the origin's first byte.")
                .buckets(buckets),
        )?;
        registry.register(Box::new(origin_seconds.clone()))?;
        let decisions_total = counters(
            "edge_decisions_total",
            "Requests decided, by verdict; one per request.",
            "verdict",
        )?;
        Ok(Self {
            waits_total: decisions_total.with_label_values(&["wait"]),
            documents_total: decisions_total.with_label_values(&["document"]),
            forwards_total: decisions_total.with_label_values(&["forward"]),
            decisions_total,
            limited_total: counters(
                "edge_limited_total",
                "Requests answered 429, by the budget that was used up; `new` rising alone is a flood.",
                "budget",
            )?,
            refusals_total: counters(
                "edge_refusals_total",
                "Places, passes and fronts that did not verify, by reason; `signature` is forgery.",
                "reason",
            )?,
            places_total: counters("edge_places_total", "Places issued, by lane.", "lane")?,
            claims_total: counters("edge_claims_total", "Claims, by outcome.", "outcome")?,
            controller_failures_total: counters(
                "edge_controller_failures_total",
                "Calls to the controller without an answer, by call; visitors are told to hold on.",
                "call",
            )?,
            connections_refused_total: counters(
                "edge_connections_refused_total",
                "Connections ended early, by why: slow, large or malformed heads, too many at once \
                 (`full`), or too many of one network.",
                "why",
            )?,
            origin_errors_total: counter(
                "edge_origin_errors_total",
                "Requests to the origin without an answer or answered 5xx.",
            )?,
            shared_passes_total: counter(
                "edge_shared_passes_total",
                "Passes shown by another browser than the one that joined, each once; many mean \
                 that passes are handed on.",
            )?,
            shared_places_total: counter(
                "edge_shared_places_total",
                "Places shown by another browser than they were issued to.",
            )?,
            dropped_reports_total: counter(
                "edge_dropped_reports_total",
                "Reports to the controller dropped because it was silent for too long, or refused them.",
            )?,
            connections,
            origin_in_flight,
            origin_seconds,
            registry,
        })
    }

    /// Counts one decided request.
    pub fn decided(&self, verdict: &'static str) {
        match verdict {
            // Told apart beforehand: these are counted more often than all others together.
            "wait" => self.waits_total.inc(),
            "document" => self.documents_total.inc(),
            "forward" => self.forwards_total.inc(),
            _ => self.decisions_total.with_label_values(&[verdict]).inc(),
        }
    }

    /// The text that Prometheus reads.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        // Encoding into memory fails only on a metric without samples, which is then left out.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}
