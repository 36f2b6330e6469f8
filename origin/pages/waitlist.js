// Where does somebody stand who waits for seats to come back, and what were they offered?
//
// The entry's id in the page's address is enough for everything here, the payment included: whoever
// is offered seats must not stand in line again to take them.

import { ask, askListing, Refusal } from "./api.js";
import { billOf } from "./bill.js";
import { showCheckout } from "./checkout.js";
import { createCountdown } from "./countdown.js";
import { announce, byId, el, showPanel } from "./dom.js";
import { rememberEntry } from "./entries.js";
import { count, venueTime } from "./format.js";
import { heldItems } from "./held.js";
import { reasonFor } from "./reasons.js";
import { numbered } from "./seats.js";

const ASK_SECS = 10; // and about
const ASK_SECS_MAX = 60; // after failures, and while nobody looks

const [eventId, entryId] = location.pathname.split("/").slice(2).map(decodeURIComponent);
const path = `/api/v1/offers/${encodeURIComponent(eventId)}/${encodeURIComponent(entryId)}`;

let event = null;
let stage = null; // what is on the page
let countdown = null;
let timer = null;
let failures = 0;

byId("leave").addEventListener("click", (click) => leave(click.currentTarget, byId("waiting-note"), "left"));
byId("decline").addEventListener("click", (click) => leave(click.currentTarget, byId("offer-note"), "declined"));
byId("accept").addEventListener("click", accept);
document.addEventListener("visibilitychange", () => !document.hidden && timer !== null && look());
window.addEventListener("pageshow", (shown) => shown.persisted && location.reload());
look();

async function look() {
  clearTimeout(timer);
  timer = null;
  try {
    event ??= await askListing(eventId);
    showEvent();
    show(await ask(path));
    failures = 0;
    byId("connection").hidden = true;
  } catch (error) {
    if (error instanceof Refusal && [404, 410].includes(error.status)) return showGone();
    failures += 1;
    byId("connection").hidden = false;
    lookAgain(error.retryAfterSecs);
  } finally {
    byId("loading").hidden = true;
  }
}

function lookAgain(atLeastSecs = 0) {
  const secs = Math.min((document.hidden ? ASK_SECS_MAX : ASK_SECS) * 2 ** Math.min(failures, 3), ASK_SECS_MAX);
  const jitter = 0.75 + Math.random() / 2;
  timer = setTimeout(look, Math.max(secs * jitter, atLeastSecs ?? 0) * 1000);
}

function showEvent() {
  const start = venueTime(event);
  document.title = `Waitlist for ${event.title} – Box office`;
  byId("title").textContent = event.title;
  byId("when").textContent = `${start.long}, ${start.time} at the venue. ${[event.venue, event.city].filter(Boolean).join(", ")}.`;
}

function show({ state, ahead, hold, order_url: orderUrl, email }) {
  if (orderUrl) return location.replace(orderUrl); // it was bought, perhaps elsewhere
  if (state === "waiting") showWaiting(ahead, email);
  if (state === "offered") showOffer(hold);
  if (state === "accepted") showAccepted(hold);
  if (state !== "accepted") lookAgain();
}

/// Shows one section and hides the others; true if it is another one than before.
function turnTo(next) {
  if (stage === next) return false;
  stage = next;
  countdown?.stop();
  countdown = null;
  for (const id of ["waiting", "offer", "checkout", "panel"]) byId(id).hidden = id !== next;
  return true;
}

function showWaiting(ahead, email) {
  const isNew = turnTo("waiting");
  rememberEntry(eventId, entryId);
  byId("ahead").textContent = ahead === 0 ? "Next" : count(ahead);
  byId("ahead-words").textContent = ahead === 0 ? "You are first in turn." : ahead === 1 ? "person is ahead of you." : "people are ahead of you.";
  byId("told").textContent = email ? `We also write to ${email} when there are seats for you.` : "";
  if (isNew) announce(`You are on the waitlist. ${ahead === 0 ? "You are first in turn." : `${count(ahead)} ahead of you.`}`);
}

function showOffer(hold) {
  if (!turnTo("offer")) return;
  document.title = `Seats for you: ${event.title}`;
  byId("offer-seats").replaceChildren(...heldItems(hold, numbered(event.zones)));
  byId("offer-bill").replaceChildren(billOf(hold));
  countdown = createCountdown(byId("offer-clock"), {
    title: "Time to decide",
    fullSecs: event.hold_secs,
    until: () => hold.expires_at,
    onMore: null,
    onOver: () => {
      countdown?.stop();
      look();
    },
  });
  byId("offer-title").focus();
}

function showAccepted(hold) {
  if (!turnTo("checkout")) return;
  const till = {
    sale: `offer:${entryId}`,
    ordersPath: `${path}/orders`,
    named: {},
    release: () => ask(path, { method: "DELETE" }),
    extend: async (reason) => (await ask(`${path}/extend`, { method: "POST", body: { reason } })).hold,
  };
  showCheckout(event, hold, numbered(event.zones), till, {
    onOver: (reason) => (reason === "released" ? showLeft("declined") : showGone()),
    onPassEnded: showGone, // no pass is asked for here
  });
}

async function accept(click) {
  const button = click.currentTarget;
  button.classList.add("is-busy");
  byId("offer-note").textContent = "";
  try {
    clearTimeout(timer);
    show(await ask(`${path}/accept`, { method: "POST" }));
  } catch (error) {
    if (error instanceof Refusal && [404, 410].includes(error.status)) return showGone();
    byId("offer-note").textContent = reasonFor(error).text;
    if (error.code === "no-offer") look();
  } finally {
    button.classList.remove("is-busy");
  }
}

async function leave(button, note, how) {
  button.classList.add("is-busy");
  try {
    await ask(path, { method: "DELETE" });
    showLeft(how);
  } catch (error) {
    if (error instanceof Refusal && [404, 410].includes(error.status)) return showGone();
    note.textContent = reasonFor(error).text;
  } finally {
    button.classList.remove("is-busy");
  }
}

// --- the end ----------------------------------------------------------------------------------------

const toEvent = () => el("a", { class: "button primary", href: `/events/${encodeURIComponent(eventId)}` }, "To the event");

function end(title, text) {
  clearTimeout(timer);
  timer = null;
  rememberEntry(eventId, null);
  turnTo("panel");
  showPanel({ title, text, actions: [toEvent()], mark: "entry-over" }).focus();
}

function showLeft(how) {
  const words = how === "declined" ? "The seats go to the next in turn." : "Your place goes to those behind you.";
  end("You are not on the waitlist any more", `${words} Nothing was charged.`);
}

function showGone() {
  if (stage === "offer") {
    return end("The offer has lapsed", "It was not taken in time, so the seats went to the next in turn. Nothing was charged. You may join the waitlist again.");
  }
  if (stage === "checkout") {
    return end("Your time ran out", "The seats went to the next in turn, and nothing was charged. You may join the waitlist again.");
  }
  end("You are not on this waitlist", "There is no such place any more: it was given up, its offer lapsed, or it was used.");
}
