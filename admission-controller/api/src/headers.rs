//! Only the edge may set the request headers below: it removes every header that starts with
//! [`PREFIX`] from what a client sent before it adds its own.

/// What all our headers start with.
pub const PREFIX: &str = "waiting-room-";
/// To the origin: the pass itself, to be verified there again.
pub const PASS: &str = "waiting-room-pass";
/// To the origin: the event of the pass.
pub const EVENT: &str = "waiting-room-event";
/// To the origin: the visitor's id, `sub` of the pass.
pub const VISITOR: &str = "waiting-room-visitor";
/// To the origin: the lane that the visitor came through.
pub const LANE: &str = "waiting-room-lane";
/// To the origin: `low`, `medium` or `high`.
pub const RISK: &str = "waiting-room-risk";
/// To the origin: when the pass ends, in seconds since the epoch.
pub const UNTIL: &str = "waiting-room-until";
/// From the origin to the edge, never to the client: [`COMMAND_REVOKE`] or [`COMMAND_FINISH`].
pub const COMMAND: &str = "waiting-room-command";
/// Value of [`COMMAND`]: this visitor's pass ends now, against the visitor's will.
pub const COMMAND_REVOKE: &str = "revoke";
/// Value of [`COMMAND`]: the visitor has bought; the pass ends and its capacity is free again.
pub const COMMAND_FINISH: &str = "finish";
/// From the edge to the client: what the edge decided about this request.
pub const VERDICT: &str = "waiting-room-verdict";
/// From a client without cookies to the edge: its place.
pub const PLACE: &str = "waiting-room-place";
