//! What of an order can be held in the hand? Its barcodes, its tickets as PDF, its calendar entry.
//!
//! Tickets are printed when somebody asks, from the order as it stands: nothing is kept that could
//! tell of a seat that has been given back.

use keys::{Id128, Owner, Timestamp};

use crate::http::Shop;
use crate::passes::Passes;
use crate::sale::{OrderView, Seat};
use crate::ticket::{
    Accent, Booklet, Entry, Language, Letters, Occasion, Sheet, TicketError, TicketFacts, barcode,
    number,
};

/// Prints tickets in the name of their issuer.
#[derive(Debug)]
pub struct Printer {
    issuer: Owner,
    letters: Letters,
}

impl Printer {
    /// A printer with these letters.
    #[must_use]
    pub fn new(issuer: Owner, letters: Letters) -> Self {
        Self { issuer, letters }
    }

    /// The barcode of one ticket.
    ///
    /// # Errors
    /// If no key of ours may sign now.
    pub fn barcode(
        &self,
        passes: &Passes,
        shop: &Shop,
        order: &OrderView,
        (seat, ticket): (Seat, Id128),
    ) -> Result<String, TicketError> {
        let facts = TicketFacts {
            issuer: &self.issuer,
            event: &shop.event.id,
            starts_at: shop.event.facts.starts_at,
            ticket,
            seat: shop.venue.name_of(seat).map(|name| name.to_string()).unwrap_or_default(),
            sold_at: order.at,
        };
        let sealed = passes.with_keyring(|keys| barcode(keys, &facts, Timestamp::now()))?;
        Ok(sealed.as_str().to_owned())
    }

    /// All valid tickets of an order as one PDF, or one of them.
    ///
    /// # Errors
    /// If they cannot be signed or drawn.
    pub fn pdf(
        &self,
        passes: &Passes,
        shop: &Shop,
        order: &OrderView,
        only: Option<Id128>,
        language: Language,
    ) -> Result<Vec<u8>, TicketError> {
        let event = &shop.event;
        let mut sheets = Vec::with_capacity(order.seats.len());
        for ((seat, ticket), price) in order.seats.iter().zip(&order.prices) {
            let is_void = order.after.voids.contains_key(ticket);
            if is_void || only.is_some_and(|only| only != *ticket) {
                continue;
            }
            let Some(name) = shop.venue.name_of(*seat) else { continue };
            sheets.push(Sheet {
                gate: None,
                block: name.block.to_owned(),
                row: name.row.to_owned(),
                seat: name.number.to_string(),
                category: shop.venue.zone(name.zone).map_or_else(
                    || (name.zone.to_owned(), String::new()),
                    |zone| (zone.name.clone(), zone.color.clone()),
                ),
                price: *price,
                number: number(*ticket),
                barcode: self.barcode(passes, shop, order, (*seat, *ticket))?,
            });
        }
        let booklet = Booklet {
            occasion: Occasion {
                title: &event.facts.title,
                stage: event.facts.stage.as_deref().unwrap_or_default(),
                starts_at_local: &event.facts.starts_at_local,
                venue: event.venue_name(),
                city: event.city(),
                accent: Accent::of(event.id.as_str()),
            },
            language,
            order: &number(order.order),
            buyer: &order.name,
            currency: order.bill.currency.code(),
            sheets,
        };
        booklet.pdf(&self.letters)
    }

    /// The event as an entry for the buyer's calendar.
    #[must_use]
    pub fn ics(&self, shop: &Shop, order: &OrderView) -> String {
        let event = &shop.event;
        let valid = order.seats.iter().filter(|(_, t)| !order.after.voids.contains_key(t));
        let names = valid.filter_map(|(seat, _)| shop.venue.name_of(*seat));
        let seats: Vec<String> = names.map(|name| name.to_string()).collect();
        let entry = Entry {
            order: order.order,
            title: &event.facts.title,
            starts_at: event.facts.starts_at,
            sold_at: order.at,
            place: format!("{}, {}", event.venue_name(), event.city()),
            seats: seats.join("\n"),
        };
        entry.ics()
    }
}
