//! What do edge and origin answer? Only the members that a client acts on; the rest is ignored.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keys::{Front, Lane, Phase, Sealed};
use serde::Deserialize;
use serde_json::Value;

use crate::history::{Charge, Held, Reread, Sold, TicketSeen};

/// `GET /api/v1/queue/status` and the answer to a join.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Status {
    /// `waiting`, `your_turn` or `admitted`.
    #[serde(default)]
    pub state: String,
    /// The lane.
    pub lane: Option<Lane>,
    /// The number.
    pub num: Option<u64>,
    /// Where it stands.
    pub position: Option<u64>,
    /// The place, for clients without cookies.
    pub place: Option<String>,
    /// The pass, if the answer gives one.
    pub pass: Option<String>,
}

/// `GET /api/v1/queue/{event_id}/front`.
#[derive(Debug, Clone, Deserialize)]
pub struct FrontAnswer {
    /// The claims, for those who do not check signatures, like the page.
    pub front: Front,
    /// The signed document.
    pub signed: Sealed<Front>,
}

/// `POST /api/v1/queue/claim`.
#[derive(Debug, Clone, Deserialize)]
pub struct ClaimAnswer {
    /// The pass.
    pub pass: Option<String>,
}

/// The problem `sale-over`: nobody enters, now or ever.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct SaleOver {
    /// What the room is doing.
    pub phase: Option<Phase>,
}

/// `GET /api/v1/events/{event}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct EventAnswer {
    /// Most seats in one order.
    #[serde(default = "seats_per_order_max")]
    pub seats_per_order_max: u32,
    /// Where the map's geometry is.
    pub map_url: Option<String>,
}

const fn seats_per_order_max() -> u32 {
    4
}

/// `GET /api/v1/events/{event}/availability`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Availability {
    /// Number of seats.
    pub seats: u32,
    /// How many are free.
    pub free: u32,
    /// One bit a seat, base64.
    pub taken: String,
}

/// Which seats are taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taken(Vec<u8>);

impl Availability {
    /// The bit plane; `None` if it is not base64 or too short.
    #[must_use]
    pub fn taken(&self) -> Option<Taken> {
        let bits = STANDARD.decode(&self.taken).ok()?;
        (bits.len() >= self.seats.div_ceil(8) as usize).then_some(Taken(bits))
    }
}

impl Taken {
    /// Whether the map shows the seat as free; beyond the map, no seat is.
    #[must_use]
    pub fn is_free(&self, seat: u32) -> bool {
        self.0.get((seat / 8) as usize).is_some_and(|byte| byte & (1 << (seat % 8)) == 0)
    }
}

/// A seat in a hold or an order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SeatAnswer {
    /// Its index.
    pub seat: u32,
    /// Its price in minor units.
    #[serde(default)]
    pub price: u64,
}

/// A hold.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HoldAnswer {
    /// Its id.
    pub hold: String,
    /// Its seats.
    pub seats: Vec<SeatAnswer>,
    /// What it costs.
    pub total: u64,
    /// Until when, in milliseconds since the epoch.
    pub expires_at: keys::Timestamp,
}

impl HoldAnswer {
    /// As the history keeps it.
    #[must_use]
    pub fn held(&self, at: keys::Timestamp) -> Held {
        Held {
            hold: self.hold.clone(),
            seats: self.seats.iter().map(|seat| seat.seat).collect(),
            from: at,
            until: self.expires_at,
            total: self.total,
        }
    }
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct OrderAnswer {
    /// Its id.
    pub order: String,
    /// `confirmed`.
    #[serde(default)]
    pub state: String,
    /// Its seats.
    pub seats: Vec<SeatAnswer>,
    /// What was charged.
    pub total: u64,
    /// Its tickets.
    #[serde(default)]
    pub tickets: Vec<Value>,
}

impl OrderAnswer {
    /// As the history keeps it.
    #[must_use]
    pub fn sold(&self, hold: &str, at: keys::Timestamp) -> Sold {
        Sold {
            order: self.order.clone(),
            hold: hold.to_owned(),
            seats: self.seats.iter().map(|seat| seat.seat).collect(),
            prices: self.seats.iter().map(|seat| seat.price).collect(),
            total: self.total,
            tickets: self.tickets.len(),
            at,
            reread: Reread::NotAsked,
        }
    }

    /// Its tickets, each with its seat: the lists of both are in the same order.
    #[must_use]
    pub fn tickets_seen(&self) -> Vec<TicketSeen> {
        let text = |ticket: &Value, name: &str| {
            ticket.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let seen = self.seats.iter().zip(&self.tickets).map(|(seat, ticket)| TicketSeen {
            order: self.order.clone(),
            seat: seat.seat,
            ticket: text(ticket, "ticket"),
            is_live: text(ticket, "state") != "void",
        });
        seen.collect()
    }

    /// Whether an order that is read again is the one that was confirmed.
    #[must_use]
    pub fn compare(&self, sold: &Sold) -> Reread {
        let mut now: Vec<u32> = self.seats.iter().map(|seat| seat.seat).collect();
        let mut then = sold.seats.clone();
        now.sort_unstable();
        then.sort_unstable();
        let changed = |what: String| Reread::Changed(what);
        if self.order != sold.order {
            changed(format!("it is called {}", self.order))
        } else if self.state != "confirmed" {
            changed(format!("its state is {:?}", self.state))
        } else if now != then {
            changed(format!("its seats were {then:?} and are {now:?}"))
        } else if self.total != sold.total {
            changed(format!("its total was {} and is {}", sold.total, self.total))
        } else if self.tickets.len() != sold.tickets {
            changed(format!("it had {} tickets and has {}", sold.tickets, self.tickets.len()))
        } else {
            Reread::Same
        }
    }
}

/// The sandbox's books: an array, or an object that has one, of objects with an order, an amount
/// and a state.
///
/// # Errors
/// What was not as expected.
pub fn ledger(body: &Value) -> Result<Vec<Charge>, String> {
    let names = ["charges", "entries", "authorisations", "authorizations", "payments"];
    let rows = body
        .as_array()
        .or_else(|| names.iter().find_map(|name| body.get(name)?.as_array()))
        .ok_or_else(|| format!("ledger has none of the lists {names:?}"))?;
    rows.iter().enumerate().map(|(index, row)| charge(index, row)).collect()
}

fn charge(index: usize, row: &Value) -> Result<Charge, String> {
    let text = |names: &[&str]| names.iter().find_map(|name| row.get(*name)?.as_str());
    let number = |names: &[&str]| names.iter().find_map(|name| row.get(*name)?.as_u64());
    let missing = |what: &str| format!("ledger row {index} has no {what}");
    let state = text(&["state", "status"]).ok_or_else(|| missing("state"))?;
    let is_live = match state {
        "authorised" | "authorized" | "captured" | "paid" | "live" => true,
        "declined" | "voided" | "void" | "refused" | "refunded" | "failed" => false,
        other => return Err(format!("ledger row {index} has the state {other:?}")),
    };
    // What was declined may belong to no order.
    let order = match text(&["order", "order_id", "reference"]) {
        Some(order) => order.to_owned(),
        None if is_live => return Err(missing("order")),
        None => String::new(),
    };
    let amount = number(&["amount", "total"]).ok_or_else(|| missing("amount"))?;
    let refunded = number(&["refunded"]).unwrap_or(0);
    let at = number(&["at"]).map(keys::Timestamp::from_millis);
    Ok(Charge { order, amount, is_live, refunded, at })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn seat_zero_is_bit_zero_of_byte_zero() {
        let answer =
            json!({"seq": 1, "seats": 10, "free": 7, "taken": STANDARD.encode([0b101, 0b10])});
        let availability: Availability = serde_json::from_value(answer).unwrap();
        let taken = availability.taken().unwrap();
        let free: Vec<u32> = (0..20).filter(|seat| taken.is_free(*seat)).collect();
        assert_eq!(free, [1, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15]);
        let short = Availability { seats: 17, ..availability };
        assert_eq!(short.taken(), None);
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn an_order_read_again_is_the_same_or_says_what_changed() {
        reread("{}",                                       None);
        reread(r#"{"state": "refunded"}"#,                 Some("state"));
        reread(r#"{"seats": [{"seat": 2}, {"seat": 1}]}"#, None); // another order of the same seats
        reread(r#"{"seats": [{"seat": 1}]}"#,              Some("seats"));
        reread(r#"{"total": 1}"#,                          Some("total"));
        reread(r#"{"tickets": []}"#,                       Some("tickets"));
        reread(r#"{"order": "o2"}"#,                       Some("called"));
    }

    #[track_caller]
    fn reread(change: &str, expected: Option<&str>) {
        let mut body = json!({"order": "o1", "state": "confirmed", "total": 20,
            "seats": [{"seat": 1, "price": 10}, {"seat": 2, "price": 10}], "tickets": [{}, {}]});
        let order: OrderAnswer = serde_json::from_value(body.clone()).unwrap();
        let sold = order.sold("h1", keys::Timestamp::default());
        let change: Value = serde_json::from_str(change).unwrap();
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        let again: OrderAnswer = serde_json::from_value(body).unwrap();
        match (again.compare(&sold), expected) {
            (Reread::Same, None) => {}
            (Reread::Changed(how), Some(word)) => assert!(how.contains(word), "{how}"),
            (found, expected) => panic!("{found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_ledger_is_a_list_of_charges() {
        let row = json!({"order": "o1", "amount": 5, "state": "captured", "refunded": 2, "at": 9});
        let at = Some(keys::Timestamp::from_millis(9));
        let charge = Charge { order: "o1".into(), amount: 5, is_live: true, refunded: 2, at };
        for body in [json!([row]), json!({"entries": [row]}), json!({"charges": [row]})] {
            assert_eq!(ledger(&body), Ok(vec![charge.clone()]));
        }
        for body in [
            json!({}),
            json!([{"amount": 5, "state": "captured"}]),
            json!([{"order": "o1", "amount": 5, "state": "odd"}]),
        ] {
            assert!(ledger(&body).is_err(), "{body}");
        }
    }
}
