//! The list of events as a page: what a search finds, written where anybody can read it.
//!
//! It is whole without script: a form asks, and links lead on. With script (`list.js`) the same page
//! is fetched and its results are put in place, so an event in a list is drawn here and nowhere else.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use keys::Timestamp;
use sha2::{Digest as _, Sha256};

use super::App;
use super::catalogue::find;
use super::pages::{is_known, squeezed};
use super::problem::Refused;
use crate::catalogue::{Event, Status};
use crate::search::{Band, Counted, Found, QueryText};
use crate::squeeze::gzip;
use crate::ticket::{Language, local};
use crate::venue::hex;

/// The page around the list.
const PAGE: &str = include_str!("../../pages/index.html");
/// Where the form and the results go in it.
const FORM: &str = "<!-- form -->";
const RESULTS: &str = "<!-- results -->";
/// Events in one page.
const LISTED: &str = "40";
/// Events on sale that come first, and large, when nothing is asked for.
const HEROES_MAX: usize = 3;
/// Values of a filter that are offered.
const OFFERED_MAX: usize = 100;

/// `GET /`
pub async fn index(
    State(app): State<Arc<App>>,
    asked: HeaderMap,
    query: Result<Query<QueryText>, QueryRejection>,
) -> Response {
    let text = query.map(|Query(text)| as_filled_in(text)).unwrap_or_default();
    let (status, results, found) = match find(&app, &text).await {
        Ok(found) => (StatusCode::OK, results(&text, &found, Timestamp::now()), Some(found)),
        Err(refused) => (refused.status(), refusal(&refused), None),
    };
    let html = PAGE.replacen(FORM, &form(&text, found.as_ref()), 1);
    let html = Bytes::from(html.replacen(RESULTS, &results, 1));
    let etag = format!("\"{}\"", hex(&Sha256::digest(&html)[..12]));
    let etag = HeaderValue::try_from(etag).unwrap_or(HeaderValue::from_static("\"\""));
    let mut response = match is_known(&asked, &etag) && status == StatusCode::OK {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => (status, squeezed(&asked, &html, &gzip(&html))).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::ETAG, etag);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// A form sends its empty fields, too.
fn as_filled_in(text: QueryText) -> QueryText {
    let filled = |field: Option<String>| field.filter(|value| !value.is_empty());
    QueryText {
        city: filled(text.city),
        category: filled(text.category),
        competition: filled(text.competition),
        from: filled(text.from),
        to: filled(text.to),
        price_min: None,
        price_max: None,
        currency: None,
        availability: None,
        status: filled(text.status),
        // What is on sale comes first until somebody wants it by date.
        sort: Some(filled(text.sort).unwrap_or_else(|| "relevance".to_owned())),
        cursor: filled(text.cursor),
        limit: Some(LISTED.to_owned()),
        q: text.q,
    }
}

/// Whether all events are meant, from the first on.
fn is_everything(text: &QueryText) -> bool {
    text.q.trim().is_empty() && text.cursor.is_none() && !is_filtered(text)
}

fn is_filtered(text: &QueryText) -> bool {
    let QueryText { city, category, competition, from, to, status, .. } = text;
    [city, category, competition, from, to, status].into_iter().any(Option::is_some)
}

fn form(text: &QueryText, found: Option<&Found>) -> String {
    let mut html = String::new();
    let q = escaped(&text.q);
    let _ = write!(
        html,
        "<label class=\"wide\">Search<input id=\"filter-text\" name=\"q\" type=\"search\" value=\"{q}\" \
         maxlength=\"200\" placeholder=\"Team, artist, city or venue\" autocomplete=\"off\" \
         data-test=\"filter-text\"></label><button class=\"primary\">Search</button>\
         <details class=\"wide\"{open}><summary>Filters</summary><div class=\"filters\">",
        open = if is_filtered(text) { " open" } else { "" },
    );
    let none = Vec::new();
    let facets = found.map(|found| &found.facets);
    let cities = facets.map_or(&none, |facets| &facets.city);
    let categories = facets.map_or(&none, |facets| &facets.category);
    let competitions = facets.map_or(&none, |facets| &facets.competition);
    select(&mut html, ("city", "City", "Every city"), text.city.as_deref(), cities);
    select(&mut html, ("category", "Kind", "Every kind"), text.category.as_deref(), categories);
    let competition = text.competition.as_deref();
    select(&mut html, ("competition", "Series", "Every series"), competition, competitions);
    for (name, label, value) in [("from", "From", &text.from), ("to", "To", &text.to)] {
        let value = escaped(value.as_deref().unwrap_or_default());
        let _ = write!(
            html,
            "<label>{label}<input id=\"filter-{name}\" name=\"{name}\" type=\"date\" value=\"{value}\"></label>"
        );
    }
    let is_on_sale = text.status.as_deref() == Some("on_sale");
    let checked = if is_on_sale { " checked" } else { "" };
    let by_date = if text.sort.as_deref() == Some("date") { " selected" } else { "" };
    let _ = write!(
        html,
        "<label>Order<select id=\"filter-sort\" name=\"sort\"><option value=\"\">Best match</option>\
         <option value=\"date\"{by_date}>By date</option></select></label>\
         <label class=\"check\"><input id=\"filter-status\" type=\"checkbox\" name=\"status\" \
         value=\"on_sale\"{checked}>Only what is on sale</label></div></details>"
    );
    html
}

/// A filter by one value, each with how many it would leave. The chosen one stays even if that is none.
fn select(
    html: &mut String,
    (name, label, all): (&str, &str, &str),
    chosen: Option<&str>,
    counted: &[Counted],
) {
    let _ = write!(
        html,
        "<label>{label}<select id=\"filter-{name}\" name=\"{name}\" data-test=\"filter-{name}\">\
         <option value=\"\">{all}</option>"
    );
    if let Some(chosen) = chosen
        && !counted.iter().any(|one| one.value == chosen)
    {
        let chosen = escaped(chosen);
        let _ = write!(html, "<option value=\"{chosen}\" selected>{chosen}</option>");
    }
    for Counted { value, count } in counted.iter().take(OFFERED_MAX) {
        let selected = if chosen == Some(value.as_str()) { " selected" } else { "" };
        let shown = escaped(&capitalised(value));
        let value = escaped(value);
        let _ = write!(html, "<option value=\"{value}\"{selected}>{shown} ({count})</option>");
    }
    html.push_str("</select></label>");
}

fn results(text: &QueryText, found: &Found, now: Timestamp) -> String {
    let mut html = String::new();
    if is_everything(text) {
        let on_sale = found.events.iter().filter(|(event, _)| event.status == Status::OnSale);
        for (event, band) in on_sale.take(HEROES_MAX) {
            hero(&mut html, event, *band, now);
        }
    }
    let total = grouped(found.total);
    let noun = if found.total == 1 { "event" } else { "events" };
    let _ = write!(
        html,
        "<div class=\"catalogue-head\"><h2 id=\"catalogue-title\">{}</h2>\
         <p id=\"found\" role=\"status\" data-test=\"found\">{total} {noun}</p></div>",
        if is_everything(text) { "All events" } else { "Found" }
    );
    for (word, read_as) in &found.read_as {
        let (word, read_as) = (escaped(word), escaped(&read_as.join(", ")));
        let _ = write!(
            html,
            "<p class=\"notice is-calm\" data-test=\"read-as\">Nothing has the word <q>{word}</q>. \
             Shown is what has <q>{read_as}</q>.</p>"
        );
    }
    if found.events.is_empty() {
        html.push_str(
            "<p class=\"card\" data-test=\"none-found\">No event fits. Try fewer words, or take away \
             a filter. <a href=\"/\">Show all events</a></p>",
        );
    }
    html.push_str("<div id=\"days\">");
    let mut day = "";
    for (event, band) in &found.events {
        let date = event.facts.starts_at_local.get(..10).unwrap_or_default();
        if date != day {
            if !day.is_empty() {
                html.push_str("</ul></section>");
            }
            day = date;
            day_head(&mut html, event);
        }
        card(&mut html, event, *band, now);
    }
    if !day.is_empty() {
        html.push_str("</ul></section>");
    }
    html.push_str("</div>");
    if let Some(next) = &found.next {
        let address = escaped(&address_of(text, next));
        let _ = write!(
            html,
            "<p class=\"more-events\"><a id=\"more\" class=\"button\" rel=\"next\" href=\"{address}\" \
             data-test=\"more\">More events</a></p>"
        );
    }
    html
}

fn hero(html: &mut String, event: &Event, band: Option<Band>, now: Timestamp) {
    let (link, title, stage) = (link(event), escaped(&event.facts.title), stage(event));
    let (when, place) = (when(event), place(event));
    let price = price(event).map_or_else(String::new, |price| {
        format!("<p>From<strong>{}</strong></p>", escaped(&price))
    });
    let _ = write!(
        html,
        "<article class=\"hero\" data-test=\"hero\"><div class=\"hero-words\">\
         <p class=\"kicker\">{chip}{stage}</p><h2>{title}</h2><p class=\"hero-when\">{when}</p>\
         <p class=\"hero-where\">{place}</p></div><div class=\"hero-stub\">{price}\
         <a class=\"button lime\" href=\"{link}\" data-test=\"hero-link\">{call}</a></div></article>",
        chip = chip(event, band, now),
        call = if band == Some(Band::SoldOut) { "To the waitlist" } else { "Choose seats" },
    );
}

fn day_head(html: &mut String, event: &Event) {
    let Some(at) = local(&event.facts.starts_at_local) else {
        html.push_str("<section class=\"day\"><h3>Some day</h3><ul>");
        return;
    };
    let day = Language::English.day(at);
    let (weekday, date) = day.split_once(", ").unwrap_or(("", &day));
    let (number, month) = date.split_once(' ').unwrap_or((date, ""));
    let _ = write!(
        html,
        "<section class=\"day\"><h3><span class=\"day-number\">{number}</span> \
         <span class=\"day-words\"><span>{month}</span> <span class=\"weekday\">{weekday}</span></span></h3><ul>"
    );
}

fn card(html: &mut String, event: &Event, band: Option<Band>, now: Timestamp) {
    let facts = &event.facts;
    let hour = local(&facts.starts_at_local)
        .filter(|_| facts.is_hour_known)
        .map_or_else(|| "Hour not known yet".to_owned(), |at| Language::English.clock(at));
    let price = price(event).filter(|_| event.status == Status::OnSale);
    let price = price.map_or_else(String::new, |price| {
        format!(" <span class=\"match-price\">from {}</span>", escaped(&price))
    });
    let _ = write!(
        html,
        "<li class=\"match\" data-test=\"event-card\" data-event=\"{id}\" data-status=\"{status}\">\
         <p class=\"match-time\">{hour}</p><div class=\"match-words\"><a href=\"{link}\">{title}</a>\
         <p>{stage}</p><p class=\"match-where\">{place}</p></div>\
         <div class=\"match-state\">{chip}{price}</div></li>",
        id = event.id,
        status = event.status.label(),
        link = link(event),
        title = escaped(&facts.title),
        stage = stage(event),
        place = place(event),
        chip = chip(event, band, now),
    );
}

fn chip(event: &Event, band: Option<Band>, now: Timestamp) -> &'static str {
    match (event.status, band) {
        (Status::OnSale, Some(Band::SoldOut)) => "<span class=\"chip\">Sold out: waitlist</span>",
        (Status::OnSale, Some(Band::FewLeft)) => {
            "<span class=\"chip is-on-sale\">On sale, few left</span>"
        }
        (Status::OnSale, _) => "<span class=\"chip is-on-sale\">On sale</span>",
        (Status::Announced | Status::Scheduled { .. }, _) if event.facts.starts_at > now => {
            "<span class=\"chip\">Coming soon</span>"
        }
        (Status::Announced | Status::Scheduled { .. } | Status::OffSale, _) => {
            "<span class=\"chip\">Not on sale</span>"
        }
        (Status::Cancelled, _) => "<span class=\"chip is-bad\">Cancelled</span>",
    }
}

fn link(event: &Event) -> String {
    format!("/events/{}", event.id)
}

fn stage(event: &Event) -> String {
    let facts = &event.facts;
    escaped(facts.stage.as_deref().or(facts.competition.as_deref()).unwrap_or_default())
}

fn when(event: &Event) -> String {
    let Some(at) = local(&event.facts.starts_at_local) else { return String::new() };
    let day = Language::English.day(at);
    match event.facts.is_hour_known {
        true => format!("{day}, {} local time", Language::English.clock(at)),
        false => day,
    }
}

fn place(event: &Event) -> String {
    let venue = event.venue.as_ref().map(|venue| &venue.facts);
    let parts = venue.map(|venue| format!("{}, {}", venue.name, venue.city));
    escaped(&parts.unwrap_or_default())
}

fn price(event: &Event) -> Option<String> {
    let amount = event.facts.price_from()?;
    Some(shortened(&Language::English.money(amount, &event.facts.currency)))
}

/// A price as lists have it: `USD 60.00` is $60.
fn shortened(price: &str) -> String {
    let price = price.strip_suffix(".00").unwrap_or(price);
    let (code, amount) = price.split_once(' ').unwrap_or(("", price));
    match code {
        "USD" => format!("${amount}"),
        "EUR" => format!("€{amount}"),
        "GBP" => format!("£{amount}"),
        _ => price.to_owned(),
    }
}

fn refusal(refused: &Refused) -> String {
    let words = match refused.status() {
        StatusCode::UNPROCESSABLE_ENTITY => "This search does not work like that. Try other words.",
        _ => "The search does not answer right now. Please try again in a moment.",
    };
    format!(
        "<section class=\"panel card\" data-test=\"load-failed\"><h2>Nothing to show</h2><p>{words}</p>\
         <div class=\"actions\"><a class=\"button\" href=\"/\">Show all events</a></div></section>"
    )
}

/// The address of the next page of the same search.
fn address_of(text: &QueryText, cursor: &str) -> String {
    let fields = [
        ("q", Some(text.q.as_str()).filter(|q| !q.is_empty())),
        ("city", text.city.as_deref()),
        ("category", text.category.as_deref()),
        ("competition", text.competition.as_deref()),
        ("from", text.from.as_deref()),
        ("to", text.to.as_deref()),
        ("status", text.status.as_deref()),
        ("sort", text.sort.as_deref().filter(|sort| *sort == "date")),
        ("cursor", Some(cursor)),
    ];
    let mut address = String::from("/?");
    for (name, value) in fields.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        let between = if address.ends_with('?') { "" } else { "&" };
        let _ = write!(address, "{between}{name}={}", percent(value));
    }
    address
}

fn percent(value: &str) -> String {
    let mut encoded = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                encoded.push(char::from(byte));
            }
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

/// Text as it may stand in an element or in a quoted attribute.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            char => html.push(char),
        }
    }
    html
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn what_comes_from_outside_stays_text() {
        assert_eq!(escaped("<b a='1' c=\"2\">&"), "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;");
        assert_eq!(percent("São Paulo&q=1"),       "S%C3%A3o%20Paulo%26q%3D1");
        let text = QueryText { q: "\"><script>".to_owned(), ..QueryText::default() };
        assert!(!form(&text, None).contains("<script>"));
    }

    #[test]
    fn a_price_in_a_list_is_short() {
        let prices = ["USD 6,730.00", "EUR 59.50", "CHF 20.00", "JPY 9,000"].map(shortened);
        assert_eq!(prices, ["$6,730", "€59.50", "CHF 20", "JPY 9,000"]);
    }

    #[test]
    fn a_form_that_was_left_empty_asks_for_everything() {
        let empty = QueryText {
            city: Some(String::new()),
            sort: Some(String::new()),
            ..QueryText::default()
        };
        let text = as_filled_in(empty);
        assert!(is_everything(&text), "{text:?}");
        assert_eq!(text.sort.as_deref(), Some("relevance"));
    }

    #[test]
    fn the_next_page_is_of_the_same_search() {
        let text = QueryText {
            q: "real madrid".to_owned(),
            status: Some("on_sale".to_owned()),
            ..QueryText::default()
        };
        assert_eq!(address_of(&text, "AB_-"), "/?q=real%20madrid&status=on_sale&cursor=AB_-");
        assert_eq!([grouped(7), grouped(1234), grouped(6_890_123)], ["7", "1,234", "6,890,123"]);
    }
}
