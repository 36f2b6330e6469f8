//! How does the gateway misbehave, and when? A list of scripts; the first that fits a call counts.

use serde::{Deserialize, Serialize};

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Making an intent.
    Create,
    /// Confirming one.
    Confirm,
    /// Looking at one.
    Retrieve,
    /// Taking the money.
    Capture,
    /// Giving it back before.
    Cancel,
    /// Paying it back after.
    Refund,
    /// Listing or searching.
    List,
}

/// Whether the call does what it says, although it is answered otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing happens.
    #[default]
    None,
    /// It happens all the same.
    Happens,
}

/// One misbehaviour.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    /// For calls of this kind only.
    pub on: Option<Call>,
    /// For this payment method only.
    pub token: Option<String>,
    /// For every nth of these only.
    pub every: Option<u64>,
    /// How often; `None` is for ever.
    pub times: Option<u64>,
    /// Wait this long before anything else.
    pub delay_ms: u64,
    /// Never answer.
    pub is_silent: bool,
    /// Answer with this status instead. All but 429 are kept for the idempotency key.
    pub status: Option<u16>,
    /// What happens although it is silent, or answers with that status.
    pub effect: Effect,
    /// Refuse the card with this code.
    pub decline: Option<String>,
    /// Ask the buyer for a challenge first.
    pub asks_challenge: bool,
    /// Calls that fitted so far.
    #[serde(skip)]
    pub seen: u64,
}

impl Script {
    /// Calls of that kind never get an answer.
    #[must_use]
    pub fn silent(on: Call, effect: Effect) -> Self {
        Self { on: Some(on), is_silent: true, effect, ..Self::default() }
    }

    /// Calls of that kind are answered with that status.
    #[must_use]
    pub fn failing(on: Call, status: u16, effect: Effect) -> Self {
        Self { on: Some(on), status: Some(status), effect, ..Self::default() }
    }

    /// The same, `times` times.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self { times: Some(times), ..self }
    }

    /// The same, for every `nth` call.
    #[must_use]
    pub fn every(self, nth: u64) -> Self {
        Self { every: Some(nth), ..self }
    }

    /// Whether it is this call's turn; counts the call if it is of the kind.
    pub(crate) fn fits(&mut self, call: Call, token: Option<&str>) -> bool {
        let is_kind = self.on.is_none_or(|on| on == call);
        let is_token = self.token.is_none() || self.token.as_deref() == token;
        if !is_kind || !is_token || self.times == Some(0) {
            return false;
        }
        self.seen += 1;
        let is_turn = self.every.is_none_or(|every| self.seen.is_multiple_of(every.max(1)));
        if is_turn && let Some(times) = &mut self.times {
            *times -= 1;
        }
        is_turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_fits_its_kind_its_token_its_turn_and_so_often() {
        let fits = |script: Script, calls: &[(Call, &str)]| -> String {
            let mut script = script;
            calls
                .iter()
                .map(|(call, token)| if script.fits(*call, Some(token)) { 'x' } else { '.' })
                .collect()
        };
        let create = (Call::Create, "pm_a");
        let calls = [create, (Call::Capture, "pm_a"), create, (Call::Create, "pm_b"), create];
        assert_eq!(fits(Script::default(), &calls), "xxxxx");
        assert_eq!(fits(Script::silent(Call::Create, Effect::None), &calls), "x.xxx");
        assert_eq!(fits(Script::silent(Call::Create, Effect::None).every(2), &calls), "..x.x");
        assert_eq!(
            fits(Script::failing(Call::Create, 500, Effect::None).times(2), &calls),
            "x.x.."
        );
        let token = Script { token: Some("pm_b".to_owned()), ..Script::default() };
        assert_eq!(fits(token, &calls), "...x.");
    }
}
