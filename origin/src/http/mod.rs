//! How the outside reaches the sale: two listeners, and what every request goes through.

mod admin;
mod after;
mod body;
mod catalogue;
mod contact;
mod documents;
mod guard;
mod holds;
mod internal;
mod list_page;
mod listener;
mod live;
mod orders;
mod pages;
mod pass_on;
mod payments;
mod problem;
mod public;
mod shopper;
mod views;
mod waitlist;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use keys::{EventId, Owner, Secret};
use tokio::sync::Semaphore;

use crate::board::Board;
use crate::catalogue::{Catalogue, Clerk, Event};
use crate::checkout::Checkout;
use crate::config::{Organiser, PricingConfig};
use crate::live::Hub;
use crate::load::Window;
use crate::metrics::Metrics;
use crate::ownership::Place;
use crate::partition::OpenError;
use crate::passes::Passes;
use crate::printer::Printer;
use crate::sale::{Rules, Terms};
use crate::sales::Sales;
use crate::search::Search;
use crate::shelf::Shelf;
use crate::stand::{Halls, Stand};
use crate::store::Stores;
use crate::venue::{MapDocument, Venue};

pub use listener::Doors;
pub use pages::Pages;
pub use pass_on::PassOn;
pub use waitlist::{PASSLESS_MAX, page_url};

/// Longest request body, in bytes: an order is a few hundred.
pub const BODY_BYTES_MAX: usize = 64 << 10;

/// An event that is on sale, with all that belongs to it.
#[derive(Debug)]
pub struct Shop {
    /// The event.
    pub event: Arc<Event>,
    /// Its seats.
    pub venue: Arc<Venue>,
    /// Address of its map.
    pub map_url: String,
    /// Its published stock.
    pub shelf: Arc<Shelf>,
    /// Its fees, taxes and currency.
    pub terms: Terms,
}

/// What the handlers work with.
#[derive(Debug)]
pub struct App {
    /// Who we are; issuer of tickets.
    pub name: Owner,
    /// The rules of the sale.
    pub rules: Rules,
    /// What is added to prices, by event.
    pub pricing: PricingConfig,
    /// All events.
    pub catalogue: Arc<Catalogue>,
    /// The way to change them.
    pub clerk: Clerk,
    /// The way to find them.
    pub search: Arc<Search>,
    /// Room for searches: each keeps a processor busy.
    pub searches: Arc<Semaphore>,
    /// Houses that are laid out.
    pub halls: Halls,
    /// How far the shops have followed the catalogue.
    pub followed: tokio::sync::Mutex<u64>,
    /// Those that are or were on sale.
    pub shops: Board<EventId, Shop>,
    /// Maps by hash.
    pub maps: Board<String, MapDocument>,
    /// Files of the shop's pages.
    pub pages: Pages,
    /// The way to the seats.
    pub sales: Arc<Sales>,
    /// The way to the money.
    pub checkout: Arc<Checkout>,
    /// Who may shop.
    pub passes: Arc<Passes>,
    /// Prints tickets.
    pub printer: Printer,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The last seconds.
    pub window: Arc<Window>,
    /// Who follows the seats.
    pub hub: Arc<Hub>,
    /// What is kept beside the log.
    pub stores: Stores,
    /// Writers that should be up if nobody else has any.
    pub partitions: u32,
    /// The way to the other processes, if there are any.
    pub others: Option<PassOn>,
    /// Room for requests.
    pub in_flight: Semaphore,
    /// Room for commands of people without a pass.
    pub passless: Semaphore,
    /// Bearer token of the internal listener.
    pub internal_token: Secret,
    /// Bearer tokens of scanners.
    pub scanner_tokens: Vec<Secret>,
    /// Who may change the catalogue.
    pub organisers: Vec<Organiser>,
}

impl App {
    /// The rules of one event.
    #[must_use]
    pub fn rules_of(&self, event: &EventId) -> Rules {
        self.pricing.rules_of(event, self.rules)
    }

    /// Whether the event is ours to serve: nobody else has its partition.
    pub(crate) fn is_ours(&self, event: &EventId) -> bool {
        let partition = self.sales.partition_of(event);
        let place = self.others.as_ref().map(|others| others.places().of(partition));
        !matches!(place, Some(Place::There(_)))
    }

    /// How many writers should be up here.
    fn partitions_ours(&self) -> u32 {
        self.others.as_ref().map_or(self.partitions, |others| others.places().ours())
    }

    /// Puts an event on sale while we run; asking again is safe. The next start must find it in
    /// the catalogue, so note it there first. To end a sale, put the shop back with another status:
    /// its writer stays, for the orders that are under way.
    ///
    /// # Errors
    /// If its writer cannot be asked, or has sold other seats under that id.
    pub async fn open(&self, stand: Stand) -> Result<(), OpenError> {
        let Stand { shop, setup, map } = stand;
        self.sales.open(setup).await?;
        self.maps.put(map.hash.clone(), map);
        self.shops.put(shop.event.id.clone(), shop);
        Ok(())
    }
}

/// What visitors reach.
pub fn public(app: Arc<App>) -> Router {
    sale(&app).with_state(app)
}

fn sale(app: &Arc<App>) -> Router<Arc<App>> {
    let routes =
        public::routes().merge(holds::routes()).merge(live::routes()).merge(waitlist::routes());
    // The guard limits bodies as well: each layer costs a hold a twentieth of its time.
    passing_on(app, routes).layer(from_fn_with_state(Arc::clone(app), guard::guard))
}

/// Who is alone has nobody to pass anything on to.
fn passing_on(app: &Arc<App>, routes: Router<Arc<App>>) -> Router<Arc<App>> {
    match app.others {
        Some(_) => routes.layer(from_fn_with_state(Arc::clone(app), pass_on::pass_on)),
        None => routes,
    }
}

/// What controller and operators reach, and the other processes.
pub fn internal(app: Arc<App>) -> Router {
    let received = sale(&app).merge(operation(&app));
    let received = received.layer(from_fn_with_state(Arc::clone(&app), pass_on::received));
    operation(&app).nest(pass_on::PREFIX, received).with_state(app)
}

fn operation(app: &Arc<App>) -> Router<Arc<App>> {
    let routes = internal::routes()
        .merge(after::routes())
        .merge(admin::routes())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    passing_on(app, routes).layer(from_fn(guard::internal))
}

#[cfg(test)]
mod tests;
