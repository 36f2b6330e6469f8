//! What do we write to a buyer? Subject, text, the same as HTML, and a line for a telephone.

use crate::http::Shop;
use crate::sale::{Message, OrderView};
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
    let (event, words) = (&shop.event, words(message, language));
    let subject = words.subject.replace("{}", &event.facts.title);
    let hello = words.hello.replace("{}", &order.name);
    let when = match local(&event.facts.starts_at_local) {
        Some(at) => format!("{}, {}", language.day(at), language.clock(at)),
        None => event.facts.starts_at_local.clone(),
    };
    let place = format!("{}, {}", event.venue_name(), event.city());
    let seats = order.seats.iter().filter(|(_, ticket)| !order.after.voids.contains_key(ticket));
    let seats = seats.filter_map(|(seat, _)| Some(shop.venue.name_of(*seat)?.to_string()));
    let seats = seats.collect::<Vec<_>>().join(", ");
    let url = format!("{}/orders/{}", shop_url.trim_end_matches('/'), order.order);
    let number = format!("{} {}", words.order, number(order.order));
    let about = [
        event.facts.title.as_str(),
        when.as_str(),
        place.as_str(),
        seats.as_str(),
        number.as_str(),
    ];
    let about: Vec<&str> = about.into_iter().filter(|line| !line.is_empty()).collect();
    let text = format!(
        "{hello}\n\n{}\n\n{}\n\n{}: {url}\n\n{}\n",
        words.body,
        about.join("\n"),
        words.link,
        words.keep
    );
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
        escaped(words.body),
        escaped(&url),
        escaped(words.link),
        escaped(words.keep)
    );
    let short = format!("{subject}. {when}. {url}");
    Letter { subject, text, html, short }
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
