// Which of its faces does an event's page show: loading, choosing, checkout, or a panel that says
// why there is nothing to do?

import { ask, eventPath, Refusal } from "./api.js";
import { askSeats } from "./availability.js";
import { mapTill, resumeHold, showCheckout } from "./checkout.js";
import { createChoosing } from "./choosing.js";
import { byId, el, showPanel } from "./dom.js";
import { count, moment, money, venueTime, visitorTime } from "./format.js";
import { applyFrame, knowNothing } from "./frames.js";
import { openMap } from "./map-host.js";
import { numbered } from "./seats.js";

const SLOW_SECS = 4; // after this, a page that still loads says so

const eventId = decodeURIComponent(location.pathname.split("/")[2]);
let choosing = null;

window.addEventListener("pageshow", (shown) => {
  if (shown.persisted) location.reload(); // back from the order: what was held here is paid
});
load();

async function load() {
  byId("panel").hidden = true;
  byId("loading").hidden = false;
  const slowly = setTimeout(sayItIsSlow, SLOW_SECS * 1000);
  try {
    const event = await ask(eventPath(eventId));
    showFacts(event);
    if (event.status !== "on_sale") return showNotOnSale(event);
    const [map, frame, hold] = await Promise.all([
      choosing ? null : openMap(event.map_url, numbered(event.zones)),
      choosing ? null : askSeats(event.id),
      resumeHold(event.id),
    ]);
    if (map) {
      const known = knowNothing(map.geometry.places);
      if (frame !== null) applyFrame(known, frame);
      choosing = await createChoosing(event, map, known, {
        onHold: (hold) => toCheckout(event, hold),
        onPassEnded: showPassEnded,
      });
    }
    if (hold) toCheckout(event, hold);
    else choosing.start();
  } catch (error) {
    showFailure(error);
  } finally {
    clearTimeout(slowly);
    byId("loading").hidden = true;
  }
}

function sayItIsSlow() {
  byId("loading-text").textContent = "Still loading. Your connection seems slow; please stay on this page.";
}

function showFacts(event) {
  const start = venueTime(event);
  const here = visitorTime(event);
  document.title = `${event.title} – Box office`;
  byId("stage").textContent = event.stage;
  byId("title").textContent = event.title;
  byId("fact-date").textContent = start.long;
  byId("fact-time").textContent = `${start.time} at the venue${here ? `, ${here} where you are` : ""}`;
  byId("fact-venue").textContent = event.venue ?? "To be announced";
  byId("fact-city").textContent = [event.city, event.capacity ? `${count(event.capacity)} seats` : null].filter(Boolean).join(", ");
  byId("description").textContent = event.description;
  byId("facts").hidden = false;
}

function toCheckout(event, hold) {
  byId("panel").hidden = true;
  choosing.stop();
  showCheckout(event, hold, numbered(event.zones), mapTill(event.id, hold.hold), { onOver: afterHold, onPassEnded: showPassEnded });
  window.scrollTo(0, 0);
}

function afterHold(reason) {
  if (reason === "released") {
    choosing.start();
    byId("title").focus();
    return;
  }
  const again = el("button", { type: "button", class: "primary", "data-test": "choose-again", onclick: chooseAgain }, "Choose seats again");
  present({
    title: "Your time ran out",
    text: "The seats went back on sale and nothing was charged. While your pass lasts you can choose again.",
    actions: [again],
    mark: "hold-expired",
  });
}

function chooseAgain() {
  byId("panel").hidden = true;
  choosing.start();
  byId("title").focus();
}

/// Why there is nothing to choose, by the event's status.
function showNotOnSale(event) {
  const from = event.price_from ? ` Prices start at ${money(event.price_from, event.currency)}.` : "";
  const words = {
    announced: ["Not on sale yet", `Tickets for this event will be sold here.${from} There is nothing to do before that: being here early gives no advantage.`],
    scheduled: ["Not on sale yet", `The sale opens on ${moment(event.opens_at)} by your clock.${from} Whoever is here by then has the same chance, however early they came.`],
    off_sale: ["Not on sale any more", "The sale of this event is over, or has been stopped. Tickets that were bought stay valid."],
    cancelled: ["This event was cancelled", "It does not take place. Whoever has tickets gets the money back and need do nothing for it."],
  };
  const [title, text] = words[event.status] ?? words.off_sale;
  present({ title, text, actions: [el("a", { class: "button", href: "/" }, "See all events")], mark: event.status === "announced" ? "coming-soon" : "not-on-sale" });
}

function showPassEnded() {
  choosing?.stop();
  byId("checkout").hidden = true;
  present({
    title: "Your pass has ended",
    text: "A pass is for a limited time, so that everybody in line gets a turn. Join the line again to go on shopping.",
    actions: [el("a", { class: "button primary", href: `/events/${encodeURIComponent(eventId)}` }, "Join the line again")],
    mark: "pass-ended",
  });
}

function showFailure(error) {
  if (error instanceof Refusal && error.isPassEnded) return showPassEnded();
  if (error instanceof Refusal && error.status === 404) {
    return present({
      title: "No such event",
      text: "There is nothing at this address. It may have been mistyped.",
      actions: [el("a", { class: "button primary", href: "/" }, "See what is on")],
      mark: "unknown-event",
    });
  }
  present({
    title: "This page did not load",
    text: "The box office could not be reached. Check your connection; nothing is lost by trying again.",
    actions: [el("button", { type: "button", class: "primary", onclick: load }, "Try again")],
    mark: "load-failed",
  });
}

/// Shows a panel and takes the reader there.
function present(content) {
  showPanel(content).focus();
}
