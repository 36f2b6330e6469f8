//! Who sends what is due? The postman asks each event for its messages, sends them, and tells the
//! log what became of them.
//!
//! A message that was sent and not yet told is sent again after a crash, under the same
//! `Message-ID`: mailboxes and people can tell. What the next server cannot take now is tried later,
//! less and less often; what it refuses for ever is told as undeliverable and shown to operators.
//! Only the owner of a partition can be asked, so in a fleet nobody sends twice by design. The
//! postman also carries on the refunds of cancelled events.

mod letter;
mod mail;
mod sms;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use keys::{EventId, Id128, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use mail::{MailConfig, MailError, Mailer, Security};
pub use sms::{Sms, SmsConfig};

use crate::catalogue::Status;
use crate::http::App;
use crate::sale::{
    AfterCommand, AfterReply, Channel, Command, Delivered, DeliveryDue, DeliveryKey, Message,
    PostCommand, Reply, WordDue,
};
use crate::ticket::Language;
use letter::{Facts, letter};

/// How often the log is asked for what is due.
const ROUND_EVERY: Duration = Duration::from_millis(500);
/// Messages of one event that are looked at in one go.
const PAGE: usize = 256;
/// Messages under way at once: mail servers count connections.
const AT_ONCE: usize = 8;
/// First pause after a try that failed; each next one is twice as long.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(900);
/// A message that nobody took for so long is given up, as mail servers do.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5 * 24 * 3600);
/// Longest reason that is kept of a refusal, in characters.
const WHY_CHARS_MAX: usize = 200;

/// Why a message was not taken.
#[derive(Debug)]
pub(crate) enum NotSent {
    /// It may be taken later.
    Later(String),
    /// It never will be.
    Refused(String),
}

/// When a message is tried again.
#[derive(Debug, Clone, Copy)]
struct Pace {
    tries: u32,
    not_before: Instant,
}

/// Sends messages.
#[derive(Debug)]
pub struct Postman {
    app: Arc<App>,
    mailer: Option<Mailer>,
    sms: Option<Sms>,
    shop_url: String,
    paces: Mutex<BTreeMap<(EventId, DeliveryKey), Pace>>,
}

impl Postman {
    /// A postman with these ways to send; links in messages begin with `shop_url`.
    #[must_use]
    pub fn new(app: Arc<App>, mailer: Option<Mailer>, sms: Option<Sms>, shop_url: String) -> Self {
        Self { app, mailer, sms, shop_url, paces: Mutex::default() }
    }

    /// Goes round until `stopping` says so.
    pub async fn walk_until(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = self.round() => {}
                _ = stopping.wait_for(|is_stopping| *is_stopping) => return,
            }
            tokio::select! {
                () = tokio::time::sleep(ROUND_EVERY) => {}
                _ = stopping.wait_for(|is_stopping| *is_stopping) => return,
            }
        }
    }

    async fn round(self: &Arc<Self>) {
        let (mut due_total, mut undeliverable, mut oldest) = (0, 0, None::<Timestamp>);
        let mut tasks = JoinSet::new();
        for event in self.app.sales.events() {
            let mut after = None;
            loop {
                let list = Command::Post(PostCommand::List { after, limit: PAGE });
                let Ok(answer) = self.app.sales.ask(&event, list).await else { break };
                let Reply::Post(work) = answer.reply else { break };
                if after.is_none() {
                    due_total += work.due_total;
                    undeliverable += work.undeliverable_total;
                    oldest = [oldest, work.oldest].into_iter().flatten().min();
                    let found = self.app.catalogue.event(&event);
                    let is_off = found.is_some_and(|event| event.status == Status::Cancelled);
                    if is_off && !work.is_cancelled {
                        // Whoever had its seats then went away before it was done.
                        let cancel = Command::After(AfterCommand::CancelEvent);
                        if self.app.sales.ask(&event, cancel).await.is_ok() {
                            self.carry_on_cancelling(&event).await;
                        }
                    } else if work.is_cancelling {
                        self.carry_on_cancelling(&event).await;
                    }
                }
                due_total += work.words.len() as u64;
                for due in work.words {
                    if self.is_paced(&event, due.key) {
                        continue;
                    }
                    if tasks.len() >= AT_ONCE {
                        tasks.join_next().await;
                    }
                    let (postman, event) = (Arc::clone(self), event.clone());
                    tasks.spawn(async move { postman.tell_of_offer(&event, due).await });
                }
                let is_last = work.due.len() < PAGE;
                after = work.due.last().map(|due| due.key);
                for due in work.due {
                    if self.is_paced(&event, due.key) {
                        continue;
                    }
                    if tasks.len() >= AT_ONCE {
                        tasks.join_next().await;
                    }
                    let (postman, event) = (Arc::clone(self), event.clone());
                    tasks.spawn(async move { postman.deliver(&event, due).await });
                }
                if is_last {
                    break;
                }
            }
        }
        let metrics = &self.app.metrics;
        let clamped = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        metrics.post_due.set(clamped(due_total));
        metrics.post_undeliverable.set(clamped(undeliverable));
        let age = oldest.map_or(0, |since| Timestamp::now().since(since).as_secs());
        metrics.post_age_seconds.set(clamped(age));
        while tasks.join_next().await.is_some() {}
        self.forget_paces();
    }

    /// A few orders at a time, so that others are served in between.
    async fn carry_on_cancelling(&self, event: &EventId) {
        loop {
            let next = Command::After(AfterCommand::CancelNext);
            match self.app.sales.ask(event, next).await.map(|answer| answer.reply) {
                Ok(Reply::After(AfterReply::Cancelling { left })) if left > 0 => {
                    tracing::info!(%event, left, "orders of a cancelled event are refunded");
                }
                _ => return,
            }
        }
    }

    async fn deliver(&self, event: &EventId, due: DeliveryDue) {
        let (_, order, number) = due.key;
        let channel = match due.delivery.channel {
            Channel::Mail => "mail",
            Channel::Sms => "sms",
        };
        let sent = self.send(event, &due).await;
        let Some(outcome) = self.outcome(channel, order, due.delivery.since, sent) else { return };
        self.tell(event, order, PostCommand::Delivered { order, number, outcome }).await;
    }

    async fn tell_of_offer(&self, event: &EventId, due: WordDue) {
        let hold = due.offer.hold;
        let sent = self.send_offer(event, &due).await;
        let Some(outcome) = self.outcome("mail", hold, due.since, sent) else { return };
        self.tell(event, hold, PostCommand::Told { hold, outcome }).await;
    }

    /// What became of a message about an order or offer; nothing, if it is tried again.
    fn outcome(
        &self,
        channel: &'static str,
        about: Id128,
        since: Timestamp,
        sent: Result<(), NotSent>,
    ) -> Option<Delivered> {
        let counted = |outcome| {
            self.app.metrics.post_total.with_label_values(&[channel, outcome]).inc();
        };
        match sent {
            Ok(()) => {
                counted("sent");
                Some(Delivered::Sent)
            }
            Err(NotSent::Later(why)) if Timestamp::now().since(since) < GIVE_UP_AFTER => {
                counted("later");
                tracing::warn!(%about, channel, why, "a message is sent later");
                None
            }
            Err(NotSent::Refused(why) | NotSent::Later(why)) => {
                counted("refused");
                tracing::warn!(%about, channel, why, "a message cannot be delivered");
                Some(Delivered::Undeliverable { why: why.chars().take(WHY_CHARS_MAX).collect() })
            }
        }
    }

    /// If it is not written down, the next round sends the same once more.
    async fn tell(&self, event: &EventId, about: Id128, told: PostCommand) {
        if let Err(error) = self.app.sales.ask(event, Command::Post(told)).await {
            tracing::warn!(%about, %error, "a sent message is not written down yet");
        }
    }

    async fn send_offer(&self, event: &EventId, due: &WordDue) -> Result<(), NotSent> {
        let later = |why: &str| NotSent::Later(why.to_owned());
        let shop = self.app.shops.get(event).ok_or_else(|| later("the event is not open"))?;
        let mailer = self.mailer.as_ref().ok_or_else(|| later("mail is not configured"))?;
        let language = due.contact.locale.as_deref().map_or_else(Language::default, Language::of);
        let letter = letter::offer(language, &shop, due, &self.shop_url);
        let to = (None, due.contact.email.as_str());
        mailer.send(&message_id(due.key), due.since, to, letter, None).await
    }

    async fn send(&self, event: &EventId, due: &DeliveryDue) -> Result<(), NotSent> {
        let later = |why: &str| NotSent::Later(why.to_owned());
        let shop = self.app.shops.get(event).ok_or_else(|| later("the event is not open"))?;
        let order = due.key.1;
        let view = Command::ViewOrder { order };
        let answer = self.app.sales.ask(event, view).await;
        let Ok(Reply::Order(view)) = answer.map(|answer| answer.reply) else {
            return Err(later("the order cannot be read now"));
        };
        let language = due.locale.as_deref().map_or_else(Language::default, Language::of);
        let facts = Facts { shop: &shop, order: &view, shop_url: &self.shop_url };
        let letter = letter(due.delivery.message, language, &facts);
        let id = message_id(due.key);
        match due.delivery.channel {
            Channel::Sms => {
                let sms = self.sms.as_ref().ok_or_else(|| later("sms is not configured"))?;
                let phone = due.phone.as_deref().unwrap_or_default();
                sms.send(&id, phone, &letter.short).await
            }
            Channel::Mail => {
                let mailer = self.mailer.as_ref().ok_or_else(|| later("mail is not configured"))?;
                let has_tickets = view.seats.iter().any(|(_, t)| !view.after.voids.contains_key(t));
                let wants_tickets = due.delivery.message == Message::Tickets && has_tickets;
                let pdf = if wants_tickets {
                    let (app, shop) = (Arc::clone(&self.app), Arc::clone(&shop));
                    let (view, drawn_in) = (view.clone(), language);
                    let drawn = tokio::task::spawn_blocking(move || {
                        app.printer.pdf(&app.passes, &shop, &view, None, drawn_in)
                    });
                    let drawn = drawn.await.map_err(|_| later("the tickets were not drawn"))?;
                    Some(drawn.map_err(|error| NotSent::Later(error.to_string()))?)
                } else {
                    None
                };
                let address = due.email.as_deref().unwrap_or_default();
                let to = (Some(view.name.as_str()), address);
                mailer.send(&id, due.delivery.since, to, letter, pdf).await
            }
        }
    }

    /// Whether it is too early to try a message; if not, when the next time is.
    fn is_paced(&self, event: &EventId, key: DeliveryKey) -> bool {
        let now = Instant::now();
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let pace = paces.entry((event.clone(), key)).or_insert(Pace { tries: 0, not_before: now });
        if pace.not_before > now {
            return true;
        }
        let pause = (PAUSE * 2_u32.pow(pace.tries.min(11))).min(PAUSE_MAX);
        *pace = Pace { tries: pace.tries + 1, not_before: now + pause };
        false
    }

    /// Forgets what is not tried any more.
    fn forget_paces(&self) {
        let now = Instant::now();
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        paces.retain(|_, pace| pace.not_before + 2 * PAUSE_MAX > now);
    }
}

/// The name of a message: the same however often it is sent, and nothing of the order's id.
fn message_id((seq, order, number): DeliveryKey) -> String {
    use sha2::{Digest as _, Sha256};
    let named = format!("message {order} {number} {seq}");
    crate::venue::hex(&Sha256::digest(named)[..16])
}
