//! What the origin counts. Labels come from enums in the code, never from a request.

use std::time::Duration;

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::pay::{Asked, BreakerPhase, Called};
use crate::sale::{Counts, GatewayName};

/// How a write to the log failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFailure {
    /// Another owner.
    Fenced,
    /// The place was taken.
    Conflict,
    /// It could not be begun, and was tried again.
    NotWritten,
    /// The store did not tell.
    Unknown,
    /// A damaged last record was put aside at start.
    Cut,
    /// A snapshot was damaged, did not fit the log, or was not kept.
    Snapshot,
    /// The rows of the tables did not fit: a seat was about to be sold twice, or somebody else
    /// wrote to them.
    Guard,
    /// The embedded store's journal was torn.
    Torn,
}

impl LogFailure {
    const fn label(self) -> &'static str {
        match self {
            Self::Fenced => "fenced",
            Self::Conflict => "conflict",
            Self::NotWritten => "not_written",
            Self::Unknown => "unknown",
            Self::Cut => "cut",
            Self::Snapshot => "snapshot",
            Self::Guard => "guard",
            Self::Torn => "torn",
        }
    }
}

/// How a call to the payment provider ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paid {
    /// Reserved.
    Authorised,
    /// Refused.
    Declined,
    /// The buyer has to do something first.
    ActionRequired,
    /// No answer in time.
    Unknown,
    /// Taken.
    Captured,
    /// Given back before it was taken.
    Voided,
    /// Paid back after it was taken.
    Repaid,
}

impl Paid {
    const fn label(self) -> &'static str {
        match self {
            Self::Authorised => "authorised",
            Self::Declined => "declined",
            Self::ActionRequired => "action_required",
            Self::Unknown => "unknown",
            Self::Captured => "captured",
            Self::Voided => "voided",
            Self::Repaid => "repaid",
        }
    }
}

/// What came of a request for an event that another process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassedOn {
    /// The owner answered.
    Answered,
    /// It was not reached, and nothing was done.
    NotDone,
    /// It did not answer, and may have done it.
    Unknown,
}

impl PassedOn {
    const fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::NotDone => "not_done",
            Self::Unknown => "unknown",
        }
    }
}

/// A writer that is up.
#[derive(Debug)]
pub struct Up(IntGauge);

impl Drop for Up {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Everything the origin counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Requests answered, by route and class of status.
    pub requests_total: IntCounterVec,
    /// Time to answer, without what the payment provider took.
    pub request_seconds: HistogramVec,
    /// Requests refused because too many were under way.
    pub in_flight_full_total: IntCounter,
    /// Commands that found the writer's channel full.
    pub channel_full_total: IntCounter,
    /// Sale requests without a verified pass.
    pub pass_refused_total: IntCounter,
    /// Commands decided, by command and outcome.
    pub commands_total: IntCounterVec,
    /// Changes written to the log.
    pub changes_total: IntCounter,
    /// Holds whose time was over.
    pub expired_total: IntCounter,
    /// Time to make one record durable.
    pub append_seconds: Histogram,
    /// Holds that nobody waited for any more.
    pub abandoned_total: IntCounter,
    /// What the marks on seats said, asked before the writer.
    pub hot_marks_total: IntCounterVec,
    clock_held_total: IntCounterVec,
    log_failures_total: IntCounterVec,
    payments_total: IntCounterVec,
    passed_on_total: IntCounterVec,
    partitions_up: IntGauge,
    /// Payments that nobody knows the outcome of.
    pub payments_unsettled: IntGauge,
    /// Authorisations to be voided.
    pub voids_due: IntGauge,
    /// Refunds that are not paid back.
    pub refunds_due: IntGauge,
    /// Messages that are to be sent.
    pub post_due: IntGauge,
    /// For how long the oldest of them.
    pub post_age_seconds: IntGauge,
    /// Messages that were refused for ever.
    pub post_undeliverable: IntGauge,
    /// Messages tried, by channel and outcome.
    pub post_total: IntCounterVec,
    /// Orders that are sold and not captured.
    pub uncaptured: IntGauge,
    /// Age of the oldest of these, in seconds.
    pub uncaptured_age_seconds: IntGauge,
    /// Payments that need a person.
    pub payments_attention: IntGauge,
    /// Rounds in which every event here was asked what is to be done at the gateways.
    pub payment_rounds_total: IntCounter,
    /// Comparisons with a gateway's whole list.
    pub reconciled_total: IntCounter,
    /// Webhooks about nothing of ours.
    pub webhooks_parked_total: IntCounter,
    /// Webhooks that were not believed.
    pub webhooks_refused_total: IntCounter,
    gateway_calls_total: IntCounterVec,
    gateway_seconds: HistogramVec,
    gateway_breaker: IntGaugeVec,
    seats: IntGaugeVec,
    /// Streams of live maps that are open.
    pub live_streams: IntGauge,
    /// Frames that were cut.
    pub live_frames_total: IntCounter,
    /// Readers who got a snapshot, because they came new or had missed too much.
    pub live_snapshots_total: IntCounter,
    /// Streams refused, by reason.
    pub live_refused_total: IntCounterVec,
    /// The level of the seat map that the load asks for, 0 to 4.
    pub seat_mode: IntGauge,
}

impl Metrics {
    /// All at zero.
    ///
    /// # Errors
    /// If two metrics had the same name, which a test would find.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let metrics = Self {
            requests_total: counters(
                &registry,
                "origin_requests_total",
                "Requests answered; 5xx above a few a minute means that sales are failing.",
                &["route", "class"],
            )?,
            request_seconds: seconds_vec(
                &registry,
                "origin_request_seconds",
                "Time to answer, without what the payment provider took.",
                &["route"],
            )?,
            in_flight_full_total: counter(
                &registry,
                "origin_in_flight_full_total",
                "Requests answered 503 because too many were under way: lower the pace.",
            )?,
            channel_full_total: counter(
                &registry,
                "origin_channel_full_total",
                "Commands answered 503 because the writer could not keep up: lower the pace.",
            )?,
            pass_refused_total: counter(
                &registry,
                "origin_pass_refused_total",
                "Sale requests without a verified pass: a way around the line, or keys differ.",
            )?,
            commands_total: counters(
                &registry,
                "origin_commands_total",
                "Commands decided by the writer, with the refusal's code or done.",
                &["command", "outcome"],
            )?,
            changes_total: counter(
                &registry,
                "origin_log_changes_total",
                "Changes written to the log.",
            )?,
            expired_total: counter(
                &registry,
                "origin_holds_expired_total",
                "Holds that nobody paid for in time.",
            )?,
            append_seconds: seconds(
                &registry,
                "origin_log_append_seconds",
                "Time to make one record durable: the disk's pulse.",
            )?,
            abandoned_total: counter(
                &registry,
                "origin_holds_abandoned_total",
                "Holds not made because whoever asked had gone: visitors lose patience.",
            )?,
            hot_marks_total: counters(
                &registry,
                "origin_hot_marks_total",
                "Holds by what Redis said first; unavailable: it is slow or gone, refusals come later.",
                &["outcome"],
            )?,
            clock_held_total: counters(
                &registry,
                "origin_clock_held_total",
                "Batches decided at another time than the clock's, which was set: check NTP.",
                &["clock"],
            )?,
            log_failures_total: counters(
                &registry,
                "origin_log_failures_total",
                "Failed writes to the log: look at the disk; fenced means a second origin.",
                &["kind"],
            )?,
            payments_total: counters(
                &registry,
                "origin_payments_total",
                "Calls to the payment provider by how they ended.",
                &["outcome"],
            )?,
            passed_on_total: counters(
                &registry,
                "origin_passed_on_total",
                "Requests for events of other processes; other than answered: an owner is away.",
                &["outcome"],
            )?,
            partitions_up: gauge(
                &registry,
                "origin_partitions_up",
                "Writers here that have a working log; over all processes, fewer than configured are lost sales.",
            )?,
            payments_unsettled: gauge(
                &registry,
                "origin_payments_unsettled",
                "Payments without a known outcome that nobody is at; for minutes: the gateway is away.",
            )?,
            refunds_due: gauge(
                &registry,
                "origin_refunds_due",
                "Refunds not paid back yet, captured or not; for hours: look at the gateway.",
            )?,
            post_due: gauge(
                &registry,
                "origin_post_due",
                "Messages to buyers that are to be sent.",
            )?,
            post_age_seconds: gauge(
                &registry,
                "origin_post_age_seconds",
                "For how long the oldest message waits; for minutes: the mail server is away.",
            )?,
            post_undeliverable: gauge(
                &registry,
                "origin_post_undeliverable",
                "Messages refused for ever: GET /internal/v1/undeliverable lists them.",
            )?,
            post_total: counters(
                &registry,
                "origin_post_total",
                "Messages tried, by channel and outcome: sent, later or refused.",
                &["channel", "outcome"],
            )?,
            voids_due: gauge(
                &registry,
                "origin_payments_voids_due",
                "Authorisations to be voided; for hours: their gateway is away, buyers' money is reserved.",
            )?,
            uncaptured: gauge(
                &registry,
                "origin_payments_uncaptured",
                "Orders that are sold and whose money is not captured yet.",
            )?,
            uncaptured_age_seconds: gauge(
                &registry,
                "origin_payments_uncaptured_age_seconds",
                "Age of the oldest sold order that is not captured; reservations lapse after days.",
            )?,
            payments_attention: gauge(
                &registry,
                "origin_payments_attention",
                "Payments that need a person: see /internal/v1/payments/attention.",
            )?,
            payment_rounds_total: counter(
                &registry,
                "origin_payment_rounds_total",
                "Rounds in which every event here was asked what is to be done at the gateways, once a second; standing still, nothing is captured or voided.",
            )?,
            reconciled_total: counter(
                &registry,
                "origin_payments_reconciled_total",
                "Comparisons of our orders with a gateway's whole list.",
            )?,
            webhooks_parked_total: counter(
                &registry,
                "origin_webhooks_parked_total",
                "Webhooks about nothing of ours: another shop uses the same account.",
            )?,
            webhooks_refused_total: counter(
                &registry,
                "origin_webhooks_refused_total",
                "Webhooks that were not believed: forged, or the signing secret was changed.",
            )?,
            gateway_calls_total: counters(
                &registry,
                "origin_gateway_calls_total",
                "Calls to a payment gateway; failed are time-outs, lost connections, 5xx and 429, refused \
                 is what it does not take from us; a declined card is answered.",
                &["gateway", "call", "outcome"],
            )?,
            gateway_seconds: seconds_vec(
                &registry,
                "origin_gateway_seconds",
                "Time that a payment gateway took to answer.",
                &["gateway"],
            )?,
            gateway_breaker: {
                let help = "0: the gateway is asked; 1: a few calls try it; 2: it is left alone.";
                let gauges =
                    IntGaugeVec::new(Opts::new("origin_gateway_breaker", help), &["gateway"])?;
                registry.register(Box::new(gauges.clone()))?;
                gauges
            },
            seats: {
                let opts = Opts::new("origin_seats", "Seats of all events on sale, by state.");
                let gauges = IntGaugeVec::new(opts, &["state"])?;
                registry.register(Box::new(gauges.clone()))?;
                gauges
            },
            live_streams: gauge(
                &registry,
                "origin_live_streams",
                "Streams of live seat maps that are open.",
            )?,
            live_frames_total: counter(
                &registry,
                "origin_live_frames_total",
                "Frames of changed seats, each sent to all who follow the event.",
            )?,
            live_snapshots_total: counter(
                &registry,
                "origin_live_snapshots_total",
                "Readers who got all seats: they came new, or had missed too much.",
            )?,
            live_refused_total: counters(
                &registry,
                "origin_live_refused_total",
                "Streams refused; full means that live.streams_max is too low for the crowd.",
                &["why"],
            )?,
            seat_mode: gauge(
                &registry,
                "origin_seat_mode_level",
                "Level of the seat map by load: 0 is the live map, 4 the best available only.",
            )?,
            registry,
        };
        Ok(metrics)
    }

    /// Counts a writer as up until the value is dropped, by whatever.
    #[must_use]
    pub fn up(&self) -> Up {
        self.partitions_up.inc();
        Up(self.partitions_up.clone())
    }

    /// How many writers are up.
    #[must_use]
    pub fn partitions_up(&self) -> i64 {
        self.partitions_up.get()
    }

    /// Counts a failed write.
    pub fn log_failed(&self, kind: LogFailure) {
        self.log_failures_total.with_label_values(&[kind.label()]).inc();
    }

    /// Counts a batch for which the clock was not followed: it was `behind` or `ahead`.
    pub fn clock_held(&self, clock: &'static str) {
        self.clock_held_total.with_label_values(&[clock]).inc();
    }

    /// Counts a call to the provider.
    pub fn paid(&self, paid: Paid) {
        self.payments_total.with_label_values(&[paid.label()]).inc();
    }

    /// Counts a request for an event of another process.
    pub fn passed_on(&self, outcome: PassedOn) {
        self.passed_on_total.with_label_values(&[outcome.label()]).inc();
    }

    /// Counts a call to a gateway.
    pub fn asked_gateway(&self, name: &GatewayName, asked: Asked, called: Called, took: Duration) {
        let (name, outcome) = (name.as_str(), called.label());
        self.gateway_calls_total.with_label_values(&[name, asked.label(), outcome]).inc();
        self.gateway_seconds.with_label_values(&[name]).observe(took.as_secs_f64());
    }

    /// Tells where the breakers are.
    pub fn breakers<'a>(&self, phases: impl Iterator<Item = (&'a GatewayName, BreakerPhase)>) {
        for (name, phase) in phases {
            let phase = match phase {
                BreakerPhase::Closed => 0,
                BreakerPhase::HalfOpen => 1,
                BreakerPhase::Open => 2,
            };
            self.gateway_breaker.with_label_values(&[name.as_str()]).set(phase);
        }
    }

    /// Tells the stock.
    pub fn stock(&self, counts: Counts) {
        let Counts { free, held, paying, sold, blocked } = counts;
        let states = [
            ("free", free),
            ("held", held),
            ("paying", paying),
            ("sold", sold),
            ("blocked", blocked),
        ];
        for (state, seats) in states {
            let seats = i64::try_from(seats).unwrap_or(i64::MAX);
            self.seats.with_label_values(&[state]).set(seats);
        }
    }

    /// All of it, as Prometheus reads it.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// From a tenth of a millisecond to half a minute.
const SECONDS_BUCKETS: [f64; 14] =
    [0.0001, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let counter = IntCounter::new(name, help)?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let gauge = IntGauge::new(name, help)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn seconds(registry: &Registry, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
    let opts = HistogramOpts::new(name, help).buckets(SECONDS_BUCKETS.to_vec());
    let histogram = Histogram::with_opts(opts)?;
    registry.register(Box::new(histogram.clone()))?;
    Ok(histogram)
}

fn seconds_vec(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<HistogramVec, prometheus::Error> {
    let opts = HistogramOpts::new(name, help).buckets(SECONDS_BUCKETS.to_vec());
    let histograms = HistogramVec::new(opts, labels)?;
    registry.register(Box::new(histograms.clone()))?;
    Ok(histograms)
}
