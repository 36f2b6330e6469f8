//! What do we write to a buyer, or to somebody whose seats have come free? Subject, text, the same as HTML, and a line for a telephone.

use crate::http::{Shop, page_url};
use crate::sale::{Message, OrderView, Seat, WordDue};
use crate::ticket::{Language, local, number};

/// What a letter is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) shop: &'a Shop,
    pub(super) order: &'a OrderView,
    pub(super) shop_url: &'a str,
}

/// A letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
    pub(crate) short: String,
}

struct Words {
    hello: &'static str,
    subject: &'static str,
    body: &'static str,
    link: &'static str,
    order: &'static str,
    keep: &'static str,
}

fn words(message: Message, language: Language) -> Words {
    let (subject, body) = match (message, language) {
        (Message::Tickets, Language::English) => {
            ("Your tickets: {}", "Your tickets are attached. Show each code at the entrance.")
        }
        (Message::Tickets, Language::German) => {
            ("Ihre Tickets: {}", "Ihre Tickets sind angehängt. Zeigen Sie jeden Code am Eingang.")
        }
        (Message::Tickets, Language::Spanish) => {
            ("Sus entradas: {}", "Adjuntamos sus entradas. Muestre cada código en el acceso.")
        }
        (Message::Tickets, Language::French) => {
            ("Vos billets : {}", "Vos billets sont joints. Présentez chaque code à l’entrée.")
        }
        (Message::Refund, Language::English) => (
            "Refunded: {}",
            "Tickets of your order were refunded and are void. Your money is on its way.",
        ),
        (Message::Refund, Language::German) => (
            "Erstattet: {}",
            "Tickets Ihrer Bestellung wurden erstattet und sind ungültig. Ihr Geld ist unterwegs.",
        ),
        (Message::Refund, Language::Spanish) => (
            "Reembolso: {}",
            "Hemos reembolsado entradas de su pedido, que ya no son válidas. Su dinero está en camino.",
        ),
        (Message::Refund, Language::French) => (
            "Remboursement : {}",
            "Des billets de votre commande sont remboursés et annulés. Votre argent est en route.",
        ),
        (Message::Cancelled, Language::English) => (
            "Cancelled: {}",
            "We are sorry: the event was cancelled. Your tickets are void and your money is on its way.",
        ),
        (Message::Cancelled, Language::German) => (
            "Abgesagt: {}",
            "Es tut uns leid: Die Veranstaltung wurde abgesagt. Ihre Tickets sind ungültig, Ihr Geld \
             ist unterwegs.",
        ),
        (Message::Cancelled, Language::Spanish) => (
            "Cancelado: {}",
            "Lo sentimos: el evento se ha cancelado. Sus entradas no son válidas y su dinero está en \
             camino.",
        ),
        (Message::Cancelled, Language::French) => (
            "Annulé : {}",
            "Nous sommes désolés : l’événement est annulé. Vos billets ne sont plus valables et votre \
             argent est en route.",
        ),
    };
    let (hello, link, order, keep) = match language {
        Language::English => (
            "Hello {},",
            "Your order",
            "Order",
            "Keep this message to yourself: the link opens your order, and each code lets one person in.",
        ),
        Language::German => (
            "Guten Tag {},",
            "Ihre Bestellung",
            "Bestellung",
            "Behalten Sie diese Nachricht für sich: Der Link öffnet Ihre Bestellung, und jeder Code \
             lässt eine Person ein.",
        ),
        Language::Spanish => (
            "Hola, {}:",
            "Su pedido",
            "Pedido",
            "No comparta este mensaje: el enlace abre su pedido y cada código deja entrar a una persona.",
        ),
        Language::French => (
            "Bonjour {},",
            "Votre commande",
            "Commande",
            "Gardez ce message pour vous : le lien ouvre votre commande et chaque code fait entrer une \
             personne.",
        ),
    };
    Words { hello, subject, body, link, order, keep }
}

/// The letter of a message.
pub(super) fn letter(message: Message, language: Language, facts: &Facts<'_>) -> Letter {
    let Facts { shop, order, shop_url } = facts;
    let words = words(message, language);
    let seats = order.seats.iter().filter(|(_, ticket)| !order.after.voids.contains_key(ticket));
    let number = format!("{} {}", words.order, number(order.order));
    Draft {
        language,
        shop,
        subject: words.subject,
        hello: words.hello.replace("{}", &order.name),
        body: words.body.to_owned(),
        seats: seats.map(|(seat, _)| *seat).collect(),
        number,
        url: address(shop_url, &format!("/orders/{}", order.order)),
        link: words.link,
        keep: words.keep,
    }
    .letter()
}

/// What somebody is told to whom seats are offered.
pub(super) fn offer(language: Language, shop: &Shop, word: &WordDue, shop_url: &str) -> Letter {
    let minutes = word.offer.until.since(word.since).as_secs() / 60;
    let (subject, hello, body, link, keep) = match language {
        Language::English => (
            "Seats for you: {}",
            "Hello,",
            "Seats have come free and are kept for you for {} minutes from now. After that they go \
             to the next in turn.",
            "See and take them",
            "Keep this message to yourself: whoever has the link can take the seats.",
        ),
        Language::German => (
            "Plätze für Sie: {}",
            "Guten Tag,",
            "Plätze sind frei geworden und von jetzt an {} Minuten für Sie reserviert. Danach gehen \
             sie an die Nächsten in der Reihe.",
            "Ansehen und annehmen",
            "Behalten Sie diese Nachricht für sich: Wer den Link hat, kann die Plätze nehmen.",
        ),
        Language::Spanish => (
            "Asientos para usted: {}",
            "Hola:",
            "Han quedado libres asientos y se los guardamos durante {} minutos desde ahora. Después \
             pasan a los siguientes de la lista.",
            "Verlos y aceptarlos",
            "No comparta este mensaje: quien tenga el enlace puede quedarse con los asientos.",
        ),
        Language::French => (
            "Des places pour vous : {}",
            "Bonjour,",
            "Des places se sont libérées et vous sont gardées {} minutes à partir de maintenant. \
             Elles iront ensuite aux suivants de la liste.",
            "Les voir et les accepter",
            "Gardez ce message pour vous : qui a le lien peut prendre les places.",
        ),
    };
    Draft {
        language,
        shop,
        subject,
        hello: hello.to_owned(),
        body: body.replace("{}", &minutes.to_string()),
        seats: word.offer.seats.iter().map(|(seat, _)| *seat).collect(),
        number: String::new(),
        url: address(shop_url, &page_url(&shop.event.id, word.offer.hold)),
        link,
        keep,
    }
    .letter()
}

fn address(shop_url: &str, path: &str) -> String {
    format!("{}{path}", shop_url.trim_end_matches('/'))
}

/// A letter, in parts.
struct Draft<'a> {
    language: Language,
    shop: &'a Shop,
    /// With `{}` where the event's title goes.
    subject: &'static str,
    hello: String,
    body: String,
    seats: Vec<Seat>,
    /// Of the order; empty if there is none.
    number: String,
    url: String,
    link: &'static str,
    keep: &'static str,
}

impl Draft<'_> {
    fn letter(self) -> Letter {
        let Self { language, shop, subject, hello, body, seats, number, url, link, keep } = self;
        let event = &shop.event;
        let subject = subject.replace("{}", &event.facts.title);
        let when = match local(&event.facts.starts_at_local) {
            Some(at) => format!("{}, {}", language.day(at), language.clock(at)),
            None => event.facts.starts_at_local.clone(),
        };
        let place = format!("{}, {}", event.venue_name(), event.city());
        let seats = seats.iter().filter_map(|seat| Some(shop.venue.name_of(*seat)?.to_string()));
        let seats = seats.collect::<Vec<_>>().join(", ");
        let about = [event.facts.title.as_str(), &when, &place, &seats, &number];
        let about: Vec<&str> = about.into_iter().filter(|line| !line.is_empty()).collect();
        let lines = about.join("\n");
        let text = format!("{hello}\n\n{body}\n\n{lines}\n\n{link}: {url}\n\n{keep}\n");
        let lines: String = about.iter().map(|line| format!("{}<br>", escaped(line))).collect();
        let html = format!(
            "<!doctype html><html lang=\"{}\"><meta charset=\"utf-8\"><title>{}</title>\
             <body style=\"margin:0;background:#f2f4f7\"><div style=\"max-width:34em;margin:0 auto;\
             padding:2em;background:#fff;color:#14171f;font:16px/1.5 system-ui,sans-serif\">\
             <p>{}</p><p>{}</p><p style=\"padding:1em;background:#f2f4f7;border-radius:8px\">{lines}</p>\
             <p><a href=\"{}\" style=\"display:inline-block;padding:.7em 1.4em;background:#12245c;\
             color:#fff;border-radius:6px;text-decoration:none\">{}</a></p>\
             <p style=\"color:#666d7a;font-size:14px\">{}</p></div></body></html>",
            language.tag(),
            escaped(&subject),
            escaped(&hello),
            escaped(&body),
            escaped(&url),
            escaped(link),
            escaped(keep)
        );
        let short = format!("{subject}. {when}. {url}");
        Letter { subject, text, html, short }
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}
