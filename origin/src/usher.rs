//! How do changes of the catalogue reach those who sell and those who search?
//!
//! The catalogue is the truth; shops and search follow it. Following is idempotent: it happens at
//! every change, by whichever process made it, and once more whenever an organiser waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::catalogue::{Event, Status};
use crate::http::{App, Shop};
use crate::live::{Mode, Pins};
use crate::partition::{OpenError, Unavailable};
use crate::sale::{AfterCommand, Command, Rules};
use crate::search::{Band, IndexError};
use crate::stand::{Stand, StandError};

/// How often the search hears how much is left.
const BANDS_EVERY: Duration = Duration::from_secs(1);

/// Why an event that should be on sale is not.
#[derive(Debug, thiserror::Error)]
pub enum UsherError {
    /// It has no seats.
    #[error(transparent)]
    Stand(#[from] StandError),
    /// Its writer does not take it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its writer does not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The search cannot write.
    #[error(transparent)]
    Search(#[from] IndexError),
    /// We are stopping.
    #[error("the origin is stopping")]
    Stopping,
}

/// Brings shops and search up to the catalogue as it is now.
///
/// # Errors
/// The first that cannot follow. The others do, and the next call tries all of them again.
pub async fn follow(app: &Arc<App>) -> Result<(), UsherError> {
    let mut followed = app.followed.lock().await;
    let (events, seq) = {
        let state = app.catalogue.read();
        let touched = state.touched_since(*followed).filter(|event| event.has_begun);
        (touched.cloned().collect::<Vec<_>>(), state.seq())
    };
    let mut failed = None;
    for event in events {
        if let Err(error) = bring(app, event).await {
            failed.get_or_insert(error);
        }
    }
    let house = Arc::clone(app);
    let searched = tokio::task::spawn_blocking(move || house.search.follow(&house.catalogue));
    if let Err(error) = searched.await.map_err(|_| UsherError::Stopping)? {
        failed.get_or_insert(error.into());
    }
    match failed {
        Some(error) => Err(error),
        None => {
            *followed = seq;
            Ok(())
        }
    }
}

/// Opens an event's shop, or tells it what changed.
async fn bring(app: &Arc<App>, event: Arc<Event>) -> Result<(), UsherError> {
    if let Some(known) = app.shops.get(&event.id) {
        let Shop { venue, map_url, shelf, terms, .. } = &*known;
        let (venue, map_url, shelf) = (Arc::clone(venue), map_url.clone(), Arc::clone(shelf));
        let terms = *terms;
        let (best_only_until, is_offering) = (event.facts.best_only_until, offers(app, &event));
        let changed = |rules| Rules { best_only_until, is_offering, ..rules };
        app.sales.set_rules(&event.id, changed).await?;
        if event.status == Status::Cancelled {
            // Who does not have the seats leaves it to the postman of whoever has them.
            let cancel = Command::After(AfterCommand::CancelEvent);
            match app.sales.ask(&event.id, cancel).await {
                Ok(_) => {}
                Err(_) if !app.is_ours(&event.id) => {}
                Err(unavailable) => return Err(unavailable.into()),
            }
        }
        app.shops.put(event.id.clone(), Shop { event, venue, map_url, shelf, terms });
        return Ok(());
    }
    let hall = app.halls.of(&event).await?;
    let rules = Rules { is_offering: offers(app, &event), ..app.rules_of(&event.id) };
    let stand = tokio::task::spawn_blocking(move || Stand::new(event, hall, rules));
    let stand = stand.await.map_err(|_| UsherError::Stopping)??;
    app.open(stand).await?;
    Ok(())
}

/// Whether what comes free is offered to those who wait: the sale goes on, for everybody.
fn offers(app: &App, event: &Event) -> bool {
    event.status == Status::OnSale && app.hub.mode(&event.id) != Mode::Paused
}

/// Tells the writers whether their sales rest.
///
/// # Errors
/// The first that cannot be told. The others are.
pub async fn tell_offering(app: &App) -> Result<(), UsherError> {
    let mut told = Ok(());
    for (id, shop) in &*app.shops.all() {
        let is_offering = offers(app, &shop.event);
        let changed = app.sales.set_rules(id, |rules| Rules { is_offering, ..rules }).await;
        told = told.and(changed.map_err(UsherError::from));
    }
    told
}

/// Takes over what an operator has told another process about the seat map. What cannot be read
/// stays as it is: nobody should get a map, or lose one, because a store is slow.
async fn follow_pins(app: &App) {
    if app.others.is_none() {
        return;
    }
    match Pins::read(&app.stores.docs).await {
        Ok(Some(pins)) => {
            if app.hub.set_levels(|levels| levels.pins = pins) {
                tracing::warn!("the seat map follows what an operator has told another process");
            }
        }
        Ok(None) => {}
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(%error, cause, "the level of the seat map stays as it is");
        }
    }
}

/// Follows until `stopping` says so.
pub async fn follow_until(app: Arc<App>, mut stopping: watch::Receiver<bool>) {
    let mut changes = app.catalogue.changes();
    let mut bands = tokio::time::interval(BANDS_EVERY);
    loop {
        let is_behind = tokio::select! {
            changed = changes.changed() => changed.is_ok(),
            _ = bands.tick() => {
                app.search.set_bands(bands_of(&app));
                follow_pins(&app).await;
                if let Err(error) = tell_offering(&app).await {
                    tracing::warn!(%error, "a writer does not hear whether its sale rests");
                }
                // What could not follow before is tried again.
                let followed = *app.followed.lock().await;
                followed < app.catalogue.read().seq()
            }
            () = stopped(&mut stopping) => return,
        };
        if is_behind && let Err(error) = follow(&app).await {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, cause, "shops or search cannot follow the catalogue");
        }
    }
}

/// A sender that is gone means the same: nobody could stop us any more.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|is_stopping| *is_stopping).await;
}

fn bands_of(app: &App) -> BTreeMap<u32, Band> {
    let shops = app.shops.all();
    let on_sale = shops.values().filter(|shop| shop.event.status == Status::OnSale);
    let bands = on_sale.map(|shop| {
        let band = Band::of(shop.shelf.counts().free, u64::from(shop.venue.capacity()));
        (shop.event.ordinal, band)
    });
    bands.collect()
}
