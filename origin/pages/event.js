// Which of its faces does an event's page show: loading, choosing, checkout, or a panel that says
// why there is nothing to do?

import { ask, eventPath, Refusal } from "./api.js";
import { askSeats } from "./availability.js";
import { resumeHold, showCheckout } from "./checkout.js";
import { createChoosing } from "./choosing.js";
import { byId, el, showPanel } from "./dom.js";
import { count, money, venueTime, visitorTime } from "./format.js";
import { applyFrame, knowNothing } from "./frames.js";
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
    if (event.status !== "on_sale") return showComingSoon(event);
    const [map, frame, hold] = await Promise.all([ask(event.map_url), askSeats(event.id), resumeHold(event.id)]);
    const known = knowNothing(map.seats);
    if (frame !== null) applyFrame(known, frame);
    choosing ??= createChoosing(event, map, known, {
      onHold: (hold) => toCheckout(event, hold),
      onPassEnded: showPassEnded,
    });
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
  byId("fact-venue").textContent = event.venue;
  byId("fact-city").textContent = `${event.city}, ${count(event.capacity)} seats`;
  byId("description").textContent = event.description;
  byId("facts").hidden = false;
}

function toCheckout(event, hold) {
  byId("panel").hidden = true;
  choosing.stop();
  showCheckout(event, hold, numbered(event.zones), { onOver: afterHold, onPassEnded: showPassEnded });
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

function showComingSoon(event) {
  const from = event.price_from ? ` Prices start at ${money(event.price_from, event.currency)}.` : "";
  present({
    title: "Not on sale yet",
    text: `Tickets for this match will be sold here.${from} There is nothing to do before that: being here early gives no advantage.`,
    actions: [el("a", { class: "button", href: "/" }, "See all matches")],
    mark: "coming-soon",
  });
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
  showPanel(content).querySelector("h2").focus();
}
