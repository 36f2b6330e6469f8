// What is on sale, and what is coming? The catalogue by day, narrowed by words, city and stage.
//
// The filter lives in the page's address, so that a reload or a shared link shows the same list.

import { ask } from "./api.js";
import { byId, el, showPanel } from "./dom.js";
import { count, money, plural, venueTime } from "./format.js";

const SLOW_SECS = 4;
const filters = { text: byId("filter-text"), city: byId("filter-city"), stage: byId("filter-stage") };
let events = [];

byId("filter").addEventListener("submit", (submit) => submit.preventDefault());
byId("filter").addEventListener("input", filterChanged);
load();

async function load() {
  byId("panel").hidden = true;
  byId("loading").hidden = false;
  const slowly = setTimeout(sayItIsSlow, SLOW_SECS * 1000);
  try {
    events = (await ask("/api/v1/events?sort=relevance&limit=200")).events;
    events.sort((a, b) => (a.starts_at < b.starts_at ? -1 : a.starts_at > b.starts_at ? 1 : 0));
    show();
  } catch {
    showPanel({
      title: "The list did not load",
      text: "The box office could not be reached. Check your connection, then try again.",
      actions: [el("button", { type: "button", class: "primary", onclick: load }, "Try again")],
      mark: "load-failed",
    });
  } finally {
    clearTimeout(slowly);
    byId("loading").hidden = true;
  }
}

function sayItIsSlow() {
  byId("loading-text").textContent = "Still loading. Your connection seems slow.";
}

function show() {
  if (events.length === 0) {
    showPanel({ title: "Nothing is announced yet", text: "As soon as there is, it will be listed here.", mark: "no-events" });
    return;
  }
  showHeroes(events.filter((event) => event.status === "on_sale"));
  fillOptions(filters.city, [...new Set(events.map((event) => event.city))].sort());
  fillOptions(filters.stage, [...new Set(events.map((event) => event.stage))]);
  const asked = new URLSearchParams(location.search);
  for (const [name, field] of Object.entries(filters)) field.value = asked.get(name) ?? "";
  for (const field of [filters.city, filters.stage]) if (field.selectedIndex < 0) field.value = "";
  byId("catalogue").hidden = false;
  showDays();
}

function fillOptions(select, values) {
  select.append(...values.map((value) => el("option", { value }, value)));
}

// --- on sale ----------------------------------------------------------------------------------------

function showHeroes(onSale) {
  byId("heroes").replaceChildren(...onSale.map(heroOf));
  byId("nothing-on-sale").hidden = onSale.length > 0;
}

function heroOf(event) {
  const start = venueTime(event);
  return el("article", { class: "hero", "data-test": "hero" },
    el("div", { class: "hero-words" },
      el("p", { class: "kicker" }, chipOf(event), event.stage),
      el("h2", {}, event.title),
      el("p", { class: "hero-when" }, `${start.long}, ${start.time} local time`),
      el("p", { class: "hero-where" }, `${event.venue}, ${event.city}`)),
    el("div", { class: "hero-stub" },
      el("p", {}, "Seats", el("strong", {}, count(event.capacity))),
      event.price_from ? el("p", {}, "From", el("strong", {}, money(event.price_from, event.currency))) : null,
      el("a", { class: "button lime", href: linkTo(event), "data-test": "hero-link" }, "Choose seats")));
}

// --- by day -----------------------------------------------------------------------------------------

function filterChanged() {
  const values = Object.entries(filters).map(([name, field]) => [name, field.value.trim()]);
  const asked = new URLSearchParams(values.filter(([, value]) => value));
  history.replaceState(null, "", asked.size > 0 ? `?${asked}` : location.pathname);
  showDays();
}

function showDays() {
  const words = filters.text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = events.filter((event) => {
    const text = `${event.title} ${event.stage} ${event.venue} ${event.city} ${event.country}`.toLowerCase();
    return words.every((word) => text.includes(word)) &&
      (!filters.city.value || event.city === filters.city.value) &&
      (!filters.stage.value || event.stage === filters.stage.value);
  });
  const all = plural(events.length, "match", "matches");
  byId("found").textContent = found.length === events.length ? all : `${count(found.length)} of ${all}`;
  byId("none-found").hidden = found.length > 0;
  const days = new Map();
  for (const event of found) {
    const { date } = venueTime(event);
    days.set(date, [...(days.get(date) ?? []), event]);
  }
  byId("days").replaceChildren(...[...days.values()].map(dayOf));
}

function dayOf(events) {
  const start = venueTime(events[0]);
  return el("section", { class: "day" },
    el("h3", {},
      el("span", { class: "day-number" }, start.dayOfMonth),
      el("span", { class: "day-words" }, el("span", {}, start.month), el("span", { class: "weekday" }, start.weekday))),
    el("ul", {}, ...events.map(cardOf)));
}

function cardOf(event) {
  const isOnSale = event.status === "on_sale";
  return el("li", { class: "match", "data-test": "event-card", "data-event": event.id, "data-status": event.status },
    el("p", { class: "match-time" }, venueTime(event).time),
    el("div", { class: "match-words" },
      el("a", { href: linkTo(event) }, event.title),
      el("p", {}, event.stage),
      el("p", { class: "match-where" }, `${event.venue}, ${event.city}`)),
    el("div", { class: "match-state" },
      chipOf(event),
      isOnSale && event.price_from ? el("span", { class: "match-price" }, `from ${money(event.price_from, event.currency)}`) : null));
}

function chipOf(event) {
  return event.status === "on_sale"
    ? el("span", { class: "chip is-on-sale" }, "On sale")
    : el("span", { class: "chip" }, "Coming soon");
}

const linkTo = (event) => `/events/${encodeURIComponent(event.id)}`;
