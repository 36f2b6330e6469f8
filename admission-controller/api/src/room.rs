//! A waiting room as the operator describes it, checked.

use keys::{Beacon, EventId, Timestamp};
use serde::{Deserialize, Serialize};

/// When a line forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomMode {
    /// Never: passes are given silently.
    Off,
    /// When the origin has no room.
    Auto,
    /// Always: everybody sees the waiting page first.
    On,
}

/// Which requests a room guards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    /// Host names (lower case, no port); empty means any.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Path prefixes that are guarded. A prefix matches whole segments: `/a` matches `/a` and
    /// `/a/b`, not `/ab`.
    pub paths: Vec<String>,
    /// Path prefixes below those that pass through without a place.
    #[serde(default)]
    pub bypass: Vec<String>,
}

/// Bounds and targets of the pace.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaceLimits {
    /// The pace never falls below this while the room is open, in positions a second.
    pub per_sec_min: f64,
    /// The pace never rises above this, in positions a second.
    pub per_sec_max: f64,
    /// The pace of the first second.
    pub per_sec_start: f64,
    /// The origin's p95 latency that is to be kept, in milliseconds.
    pub latency_p95_ms: f64,
    /// The share of the database's processor that is to be kept, 0 to 1.
    pub db_cpu: f64,
    /// Most visitors inside at once; absent means no such bound.
    #[serde(default)]
    pub inside_max: Option<u64>,
    /// Not all who are called come: the front moves up to so many times as fast, that the others
    /// come at the pace. 1 means that it does not.
    #[serde(default = "default_noshow_factor_max")]
    pub noshow_factor_max: f64,
}

/// How the lanes share the pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaneWeights {
    /// Weight of `priority`.
    pub priority: u32,
    /// Weight of `standard`.
    pub standard: u32,
    /// Weight of `suspect`.
    pub suspect: u32,
    /// Most places that are given in `priority`; absent means that codes and tickets alone decide.
    #[serde(default)]
    pub priority_max: Option<u64>,
    /// Most of the pace that `priority` gets while somebody waits in `standard`, in percent.
    #[serde(default)]
    pub priority_percent_max: Option<u32>,
    /// Most of the pace that `suspect` gets while somebody waits in another lane, in percent.
    #[serde(default)]
    pub suspect_percent_max: Option<u32>,
}

/// How long places and passes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassRules {
    /// A place keeps its number for this long, in seconds.
    pub place_secs: u64,
    /// A pass ends after this long without use, in seconds.
    pub idle_secs: u64,
    /// A pass ends after this long in any case, in seconds.
    pub max_secs: u64,
    /// Who was called may claim for this long, in seconds; time in which the room was not open does
    /// not count.
    #[serde(default = "default_claim_secs")]
    pub claim_secs: u64,
    /// Who did not claim in time, or whose pass ended for want of use, may come back near the front
    /// once, for this long, in seconds. 0 means that nobody may.
    #[serde(default = "default_return_secs")]
    pub return_secs: u64,
    /// What becomes of a pass, or of a turn, that another browser shows.
    #[serde(default)]
    pub binding: Binding,
}

/// What becomes of a pass, or of a turn, that another browser shows than the one that joined.
///
/// Another network alone is no other browser: a telephone goes from one to the next all day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Binding {
    /// Nothing.
    Off,
    /// The security team is told.
    #[default]
    Report,
    /// It is refused, and the security team is told.
    Refuse,
}

/// What a request may do once it is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// Longest request body, in bytes.
    pub body_bytes_max: u64,
}

/// A room as the operator writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoomSpec {
    /// The event.
    pub event: EventId,
    /// What visitors read on the waiting page.
    pub title: String,
    /// When a line forms.
    #[serde(default = "default_mode")]
    pub mode: RoomMode,
    /// Which requests are guarded.
    pub guard: Guard,
    /// When the front starts to move, in milliseconds since the epoch; absent means at once.
    #[serde(default)]
    pub opens_at: Option<Timestamp>,
    /// Who comes before the opening stands in a random order, drawn with this beacon. Announced
    /// with the first front, and what was announced stays.
    #[serde(default)]
    pub draw: Option<Beacon>,
    /// Whether the operator has stopped the front.
    #[serde(default)]
    pub is_paused: bool,
    /// Bounds of the pace.
    #[serde(default)]
    pub pace: PaceLimits,
    /// How the lanes share it.
    #[serde(default)]
    pub lanes: LaneWeights,
    /// How long places and passes hold.
    #[serde(default)]
    pub passes: PassRules,
    /// Limits of requests that are let through.
    #[serde(default)]
    pub forward: Forward,
    /// Who has a ticket of one of these events that still holds may stand in `priority`.
    #[serde(default)]
    pub priority_for: Vec<EventId>,
    /// The operator's message to visitors.
    #[serde(default)]
    pub message: Option<String>,
}

/// A room as it runs: the operator's words and what the controller counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Room {
    /// What the operator wrote.
    pub spec: RoomSpec,
    /// Generation of the line: re-creating the event makes old places void.
    pub line: u64,
    /// Generation of passes: bumping it revokes all.
    pub pass_generation: u64,
    /// Counts changes, for `If-Match`.
    pub version: u64,
}

impl Default for PaceLimits {
    fn default() -> Self {
        Self {
            per_sec_min: 1.0,
            per_sec_max: 500.0,
            per_sec_start: 10.0,
            latency_p95_ms: 250.0,
            db_cpu: 0.8,
            inside_max: None,
            noshow_factor_max: default_noshow_factor_max(),
        }
    }
}
impl Default for LaneWeights {
    fn default() -> Self {
        Self {
            priority: 30,
            standard: 65,
            suspect: 5,
            priority_max: None,
            priority_percent_max: None,
            suspect_percent_max: None,
        }
    }
}
impl Default for PassRules {
    fn default() -> Self {
        Self {
            place_secs: 12 * 3600,
            idle_secs: 10 * 60,
            max_secs: 40 * 60,
            claim_secs: default_claim_secs(),
            return_secs: default_return_secs(),
            binding: Binding::default(),
        }
    }
}
fn default_claim_secs() -> u64 {
    10 * 60
}
fn default_return_secs() -> u64 {
    30 * 60
}
impl Default for Forward {
    fn default() -> Self {
        Self { body_bytes_max: 1 << 20 }
    }
}
fn default_noshow_factor_max() -> f64 {
    5.0 // makes up for four absent of five
}
fn default_mode() -> RoomMode {
    RoomMode::Auto
}

/// Why a room was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomError {
    /// The key, dotted.
    pub key: &'static str,
    /// What was expected.
    pub expected: &'static str,
}

impl std::fmt::Display for RoomError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is not {}", self.key, self.expected)
    }
}
impl std::error::Error for RoomError {}

impl RoomSpec {
    /// Checks what types alone do not say.
    ///
    /// # Errors
    /// The first key that does not fit, and what was expected there.
    pub fn check(&self) -> Result<(), RoomError> {
        let refuse = |key, expected| Err(RoomError { key, expected });
        if self.title.is_empty() || self.title.len() > 200 {
            return refuse("title", "1 to 200 bytes long");
        }
        if self.title.chars().any(char::is_control) {
            return refuse("title", "free of control characters");
        }
        if let Some(message) = &self.message {
            if message.len() > 1000 {
                return refuse("message", "at most 1000 bytes long");
            }
            // Each would take six bytes in the front document, which has a limit: a room whose
            // front cannot be signed stands for ever.
            if message.chars().any(|c| c.is_control() && c != '\n') {
                return refuse("message", "free of control characters except line breaks");
            }
        }
        if let Some(beacon) = &self.draw {
            if self.opens_at.is_none() {
                return refuse("draw", "set only together with opens_at");
            }
            check_beacon(beacon)?;
        }
        if self.priority_for.len() > 64 {
            return refuse("priority_for", "at most 64 events");
        }
        let guard = &self.guard;
        if guard.paths.is_empty() || guard.paths.len() + guard.bypass.len() > 64 {
            return refuse("guard.paths", "1 to 64 path prefixes, bypass included");
        }
        if guard.paths.iter().chain(&guard.bypass).any(|path| !path.starts_with('/')) {
            return refuse("guard.paths", "a list of prefixes that start with /");
        }
        if guard.hosts.iter().any(|host| host.contains([':', '/']) || *host != host.to_lowercase())
        {
            return refuse("guard.hosts", "a list of lower-case host names without port");
        }
        let pace = &self.pace;
        let is_rate = |value: f64| value.is_finite() && (0.0..=100_000.0).contains(&value);
        if !is_rate(pace.per_sec_max) || pace.per_sec_max <= 0.0 {
            return refuse("pace.per_sec_max", "above 0 and at most 100000");
        }
        if !is_rate(pace.per_sec_min) || pace.per_sec_min > pace.per_sec_max {
            return refuse("pace.per_sec_min", "between 0 and pace.per_sec_max");
        }
        if !(pace.per_sec_min..=pace.per_sec_max).contains(&pace.per_sec_start) {
            return refuse("pace.per_sec_start", "between pace.per_sec_min and pace.per_sec_max");
        }
        if !(1.0..=60_000.0).contains(&pace.latency_p95_ms) {
            return refuse("pace.latency_p95_ms", "between 1 and 60000");
        }
        if !(0.05..=1.0).contains(&pace.db_cpu) {
            return refuse("pace.db_cpu", "between 0.05 and 1");
        }
        if !(1.0..=5.0).contains(&pace.noshow_factor_max) {
            return refuse("pace.noshow_factor_max", "between 1 and 5");
        }
        if self.lanes.standard == 0 {
            return refuse("lanes.standard", "above 0");
        }
        if self.lanes.suspect == 0 {
            // Nobody stays out for ever because an edge took them for a bot.
            return refuse("lanes.suspect", "above 0");
        }
        let LaneWeights { priority, standard, suspect, .. } = self.lanes;
        if [priority, standard, suspect].iter().any(|weight| *weight > 1000) {
            return refuse("lanes", "a weight of at most 1000 a lane");
        }
        let is_cap = |percent: Option<u32>| percent.is_none_or(|most| (1..=100).contains(&most));
        if !is_cap(self.lanes.priority_percent_max) {
            return refuse("lanes.priority_percent_max", "between 1 and 100");
        }
        if !is_cap(self.lanes.suspect_percent_max) {
            return refuse("lanes.suspect_percent_max", "between 1 and 100");
        }
        let PassRules { place_secs, idle_secs, max_secs, claim_secs, return_secs, binding: _ } =
            self.passes;
        if !(60..=7 * 86_400).contains(&place_secs) {
            return refuse("passes.place_secs", "between 60 and 604800");
        }
        if idle_secs == 0 || idle_secs > max_secs || max_secs > 86_400 {
            return refuse(
                "passes.idle_secs",
                "above 0, at most passes.max_secs, that at most 86400",
            );
        }
        if !(1..=86_400).contains(&claim_secs) {
            return refuse("passes.claim_secs", "between 1 and 86400");
        }
        if return_secs > 86_400 {
            return refuse("passes.return_secs", "at most 86400");
        }
        Ok(())
    }
}

fn check_beacon(beacon: &Beacon) -> Result<(), RoomError> {
    let refuse = |key, expected| Err(RoomError { key, expected });
    match beacon {
        Beacon::None => {}
        Beacon::Operator { of } => {
            if !(1..=200).contains(&of.len()) || of.chars().any(char::is_control) {
                return refuse("draw.of", "1 to 200 bytes long and free of control characters");
            }
        }
        Beacon::Drand { chain, round } => {
            if chain.len() != 64 || !chain.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return refuse("draw.chain", "the chain's hash, 64 hexadecimal digits");
            }
            if *round == 0 {
                return refuse("draw.round", "above 0");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> RoomSpec {
        RoomSpec {
            event: "e".parse().unwrap(),
            title: "E".to_owned(),
            mode: RoomMode::Auto,
            guard: Guard { hosts: vec![], paths: vec!["/".to_owned()], bypass: vec![] },
            opens_at: None,
            draw: None,
            is_paused: false,
            pace: PaceLimits::default(),
            lanes: LaneWeights::default(),
            passes: PassRules::default(),
            forward: Forward::default(),
            priority_for: vec![],
            message: None,
        }
    }

    #[test]
    fn what_no_front_document_could_carry_is_refused() {
        let with = |message: String| RoomSpec { message: Some(message), ..spec() };
        check(&with("one\ntwo".to_owned()), None);
        check(&with("\"".repeat(1000)), None);
        check(&with("x".repeat(1001)), Some("message"));
        check(&with("\u{1}".to_owned()), Some("message"));
        check(&with("a\tb".to_owned()), Some("message"));
        check(&with("\u{85}".to_owned()), Some("message"));
        check(&RoomSpec { title: "a\nb".to_owned(), ..spec() }, Some("title"));
    }

    #[test]
    fn every_lane_but_priority_has_a_share() {
        let with = |lanes| RoomSpec { lanes, ..spec() };
        check(
            &with(LaneWeights { priority: 0, standard: 1, suspect: 1, ..LaneWeights::default() }),
            None,
        );
        check(
            &with(LaneWeights { priority: 1, standard: 0, suspect: 1, ..LaneWeights::default() }),
            Some("lanes.standard"),
        );
        check(
            &with(LaneWeights { priority: 1, standard: 1, suspect: 0, ..LaneWeights::default() }),
            Some("lanes.suspect"),
        );
    }

    #[test]
    fn a_draw_has_an_opening_and_a_beacon_that_can_be_published() {
        let opens_at = Some(Timestamp::from_secs(1_800_000_000));
        let with = |draw| RoomSpec { draw: Some(draw), opens_at, ..spec() };
        let drand = |chain: &str, round| Beacon::Drand { chain: chain.to_owned(), round };
        check(&with(Beacon::None), None);
        check(&RoomSpec { opens_at: None, ..with(Beacon::None) }, Some("draw"));
        check(&with(Beacon::Operator { of: "the lottery".to_owned() }), None);
        check(&with(Beacon::Operator { of: String::new() }), Some("draw.of"));
        check(&with(Beacon::Operator { of: "x".repeat(201) }), Some("draw.of"));
        check(&with(drand(&"a0".repeat(32), 1)), None);
        check(&with(drand(&"a0".repeat(32), 0)), Some("draw.round"));
        check(&with(drand(&"x0".repeat(32), 1)), Some("draw.chain"));
        check(&with(drand("../../x", 1)), Some("draw.chain"));
    }

    #[track_caller]
    fn check(spec: &RoomSpec, key: Option<&str>) {
        assert_eq!(spec.check().err().map(|error| error.key), key, "{spec:?}");
    }
}
