//! What do the rules know of payment gateways? A name, and what a buyer may have to do there.

use std::fmt;

use keys::{FieldError, Owner};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The name that a gateway has in our configuration. The log remembers it, so it must not change
/// while payments of that gateway are open.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GatewayName(String);

impl GatewayName {
    /// The name as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for GatewayName {
    /// The built-in one; it took all payments before there were others.
    fn default() -> Self {
        Self("sandbox".to_owned())
    }
}

impl TryFrom<String> for GatewayName {
    type Error = FieldError;
    fn try_from(text: String) -> Result<Self, FieldError> {
        // The same rule: a slug.
        text.parse::<Owner>().map(|_| Self(text))
    }
}

impl From<GatewayName> for String {
    fn from(name: GatewayName) -> Self {
        name.0
    }
}

impl fmt::Display for GatewayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GatewayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a buyer has to do before the money can be reserved, such as 3-D Secure.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// With it the buyer's page goes on at the gateway, with this payment and no other.
    pub client_secret: String,
    /// What the gateway says is to be done.
    pub next_action: Value,
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Action(***)")
    }
}
