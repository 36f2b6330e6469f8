//! What does a gateway's answer mean for an order?

use crate::metrics::Paid;
use crate::pay::{GatewayError, Seen, Standing};
use crate::sale::Outcome;

/// What to do about an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answered {
    /// It is known: tell the state.
    Known(Outcome),
    /// The gateway is sure that nothing happened, and is of no use to this order.
    Refused {
        /// Its code.
        code: String,
    },
    /// This key will never tell: look the authorisation up.
    UsedUp,
    /// It may or may not have happened.
    Open,
}

/// Reads an answer.
pub(super) fn answered(answer: &Result<Seen, GatewayError>) -> Answered {
    match answer {
        Ok(seen) => outcome(&seen.standing).map_or(Answered::Open, Answered::Known),
        Err(GatewayError::Rejected { code, .. }) => Answered::Refused { code: code.clone() },
        Err(GatewayError::Failed { is_final: true, .. }) => Answered::UsedUp,
        Err(_) => Answered::Open,
    }
}

/// What an authorisation's standing means; `None` if it tells nothing yet.
pub(super) fn outcome(standing: &Standing) -> Option<Outcome> {
    match standing {
        Standing::Authorised { amount } => Some(Outcome::Authorised { amount: *amount }),
        Standing::Captured { amount } => Some(Outcome::Captured { amount: *amount }),
        Standing::ActionRequired(action) => Some(Outcome::ActionRequired(action.clone())),
        Standing::NotCharged { code } => Some(Outcome::Declined { code: code.clone() }),
        Standing::Absent | Standing::Pending => None,
    }
}

/// How it is counted.
pub(super) const fn paid(answered: &Answered) -> Paid {
    match answered {
        Answered::Known(Outcome::Authorised { .. } | Outcome::Captured { .. }) => Paid::Authorised,
        Answered::Known(Outcome::ActionRequired(_)) => Paid::ActionRequired,
        Answered::Known(Outcome::Declined { .. }) | Answered::Refused { .. } => Paid::Declined,
        Answered::Known(Outcome::Unknown | Outcome::GivenUp)
        | Answered::UsedUp
        | Answered::Open => Paid::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_happened_is_never_called_declined() {
        let failed = |is_final| Err(GatewayError::Failed { status: 500, is_final });
        let rejected = GatewayError::Rejected { status: 401, code: "no".to_owned() };
        assert_eq!(answered(&Err(GatewayError::NoAnswer)), Answered::Open);
        assert_eq!(answered(&Err(GatewayError::LeftAlone)), Answered::Open);
        assert_eq!(answered(&failed(false)), Answered::Open);
        assert_eq!(answered(&failed(true)), Answered::UsedUp);
        assert_eq!(answered(&Ok(Seen::ABSENT)), Answered::Open);
        assert_eq!(answered(&Err(rejected)), Answered::Refused { code: "no".to_owned() });
    }
}
