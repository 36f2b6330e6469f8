// What became of an order? The address of this page is all it takes to see it, so the page needs no
// pass and nothing of the tab it was bought in.
//
// An order is first a payment that nobody knows the end of, perhaps with a question of the buyer's
// bank, and then tickets. An order that was declined is no more: only whoever saw it before learns
// that it was declined.

import { ask, askListing, Refusal } from "./api.js";
import { actionOf } from "./bank-action.js";
import { announce, byId, el, showPanel } from "./dom.js";
import { moment, money, plural, venueTime } from "./format.js";
import { billOf } from "./bill.js";
import { forgetAttempt } from "./payment.js";
import { reasonFor } from "./reasons.js";
import { numbered } from "./seats.js";
import { ticketOf } from "./ticket.js";

const ASK_AGAIN_SECS = [1, 2, 3, 5, 5, 10]; // while a payment is settled; then the last of them

const orderId = decodeURIComponent(location.pathname.split("/")[2]);
const path = `/api/v1/orders/${encodeURIComponent(orderId)}`;
const storageKey = `bank:${orderId}`; // whether we sent the visitor to their bank
/// Where the visitor came from, if it was this tab: `{sale, back}`.
const from = JSON.parse(sessionStorage.getItem(`from:${location.pathname}`));

let asked = 0;
let shown = null; // the state on the page
let timer = null;

byId("print").addEventListener("click", () => window.print());
byId("send").addEventListener("click", sendAgain);
byId("pdf").href = `${path}/tickets.pdf`;
byId("calendar").href = `${path}/event.ics`;
// Back from the bank's app, or from its tab: what we show may be old.
document.addEventListener("visibilitychange", () => !document.hidden && shown !== "confirmed" && timer !== null && look());
window.addEventListener("pageshow", (shown) => shown.persisted && look());
look();

async function look() {
  clearTimeout(timer);
  timer = null;
  byId("loading").hidden = shown !== null;
  try {
    let order = await ask(path);
    if (order.state === "action-required" && sessionStorage.getItem(storageKey)) order = await ask(`${path}/resume`, { method: "POST" });
    await showOrder(order);
  } catch (error) {
    showFailure(error);
  } finally {
    byId("loading").hidden = true;
  }
}

function lookAgain() {
  const secs = ASK_AGAIN_SECS[Math.min(asked, ASK_AGAIN_SECS.length - 1)];
  asked += 1;
  timer = setTimeout(look, secs * 1000);
}

async function showOrder(order) {
  if (order.state === "paying") return showPaying();
  if (order.state === "action-required") return showAction(order);
  sessionStorage.removeItem(storageKey);
  if (from) forgetAttempt(from.sale);
  // The tickets are valid without these facts, so a failure here must not hide them.
  const event = await askListing(order.event).catch(() => null);
  showTickets(order, event);
  if (order.deliveries.some((delivery) => delivery.state === "due")) lookAgain();
}

// --- paying -----------------------------------------------------------------------------------------

/// Shows a panel once: it would take the focus away again every time.
function showState(state, content) {
  if (shown === state) return;
  shown = state;
  byId("order").hidden = true;
  showPanel({ ...content, mark: `order-${state}` }).focus();
}

function showPaying() {
  showState("paying", {
    title: "Your payment is being settled",
    text: "The bank has not answered yet. Your seats are safe meanwhile and you will not be charged twice. This page asks again by itself, and you may close it: its address is all you need.",
  });
  lookAgain();
}

function showAction(order) {
  const action = actionOf(order.payment);
  const wasThere = sessionStorage.getItem(storageKey) !== null;
  const again = el("button", { type: "button", "data-test": "resume", onclick: resume }, "I have confirmed it");
  const go = action.url
    ? el("a", { class: "button primary", href: action.url, "data-test": "to-bank", onclick: () => sessionStorage.setItem(storageKey, "1") }, wasThere ? "Back to your bank" : "Confirm with your bank")
    : null;
  showState(wasThere ? "action-open" : "action-required", {
    title: wasThere ? "Your bank is still waiting for you" : "Your bank wants to make sure it is you",
    text: `${action.text} Your seats wait meanwhile, and nothing is charged before you say yes.`,
    actions: [go, again].filter(Boolean),
  });
  lookAgain();
}

async function resume(click) {
  sessionStorage.setItem(storageKey, "1");
  click.currentTarget.classList.add("is-busy");
  await look();
  for (const button of document.querySelectorAll(".panel .is-busy")) button.classList.remove("is-busy");
  if (shown === "action-required" || shown === "action-open") announce("Your bank has not heard from you yet.");
}

/// Nothing is known of the order: it was declined, if there ever was one.
function showDeclined() {
  if (from) forgetAttempt(from.sale);
  sessionStorage.removeItem(storageKey);
  const back = from ? el("a", { class: "button primary", href: from.back, "data-test": "back-to-checkout" }, "Back to your seats") : null;
  showState("declined", {
    title: "The payment was declined",
    text: `Nothing was charged.${from ? " Your seats are still held while your time lasts, and what you wrote is still there: pay with another card." : ""}`,
    actions: [back, el("a", { class: "button", href: "/" }, "All events")].filter(Boolean),
  });
}

// --- tickets ----------------------------------------------------------------------------------------

function showTickets(order, event) {
  const isFirst = shown !== "confirmed";
  shown = "confirmed";
  byId("panel").hidden = true;
  const isCancelled = event?.status === "cancelled";
  const isOver = order.state === "refunded" || isCancelled;
  const start = event && venueTime(event);
  const zones = numbered(event?.zones ?? []);
  document.title = `${plural(order.tickets.length, "ticket")} for ${order.title} – Box office`;
  byId("state").textContent = isCancelled ? "This event was cancelled" : isOver ? "Your order was refunded" : "Your order is confirmed";
  byId("state").classList.toggle("is-good", !isOver);
  byId("title").textContent = order.title;
  byId("order-when").textContent = start ? `${start.long}, ${start.time} local time. ${[event.venue, event.city].filter(Boolean).join(", ")}.` : "";
  byId("order-news").textContent = isCancelled ? "There will be no show. You need do nothing: what you paid goes back to you by the way it came." : "";
  byId("order-news").hidden = !isCancelled;
  byId("order-name").textContent = order.name;
  byId("order-id").textContent = order.order;
  byId("bill").replaceChildren(billOf(order, "Paid"));
  byId("tickets").replaceChildren(...order.tickets.map((ticket, at) => ticketOf(order, event, zones, ticket, at)));
  for (const id of ["pdf", "calendar", "print", "send"]) byId(id).hidden = isOver;
  document.querySelector(".order-actions").hidden = isOver;
  showSent(order.deliveries, isOver);
  showRefunds(order);
  byId("order").hidden = false;
  if (isFirst) announce(`${byId("state").textContent}. ${plural(order.tickets.length, "ticket")}.`);
}

const MESSAGES = { tickets: "Tickets", refund: "Word of the refund", cancelled: "Word of the cancellation" };

function showSent(deliveries, isOver) {
  byId("sent").hidden = deliveries.length === 0 && isOver;
  byId("send").hidden = isOver || deliveries.length === 0;
  byId("deliveries").replaceChildren(...(deliveries.length > 0 ? deliveries.map(deliveryOf) : [
    el("li", {}, "Nothing: you gave no address to send to, or this box office sends no mail. The page you are on has everything."),
  ]));
}

function deliveryOf({ message, channel, to, state, at, why }) {
  const what = `${MESSAGES[message]} by ${channel === "mail" ? "e-mail" : "text message"}`;
  const whom = to ? ` to ${to}` : "";
  const words = {
    due: `${what}${whom}: on the way.`,
    sent: `${what}: sent${whom} on ${moment(at)}.`,
    undeliverable: `${what}: could not be delivered${whom}${why ? ` (${why})` : ""}.`,
  };
  return el("li", { class: state === "undeliverable" ? "is-bad" : null, "data-state": state }, words[state]);
}

function showRefunds({ refunds, tickets, currency }) {
  byId("refunded").hidden = refunds.length === 0;
  byId("refunds").replaceChildren(...refunds.map(({ amount, at, money: stage }) => {
    const labels = tickets.filter((ticket) => ticket.void_since === at).map((ticket) => ticket.label);
    const where = stage === "returned" ? "It was returned to you" : "It is on its way to you";
    return el("li", {}, el("strong", {}, money(amount, currency)), ` on ${moment(at)}`,
      labels.length > 0 ? ` for ${labels.join(", ")}` : "", `. ${where}.`);
  }));
}

async function sendAgain() {
  const button = byId("send");
  button.classList.add("is-busy");
  byId("send-note").textContent = "";
  try {
    const order = await ask(`${path}/send`, { method: "POST" });
    showSent(order.deliveries, false);
    byId("send-note").textContent = "They are on the way once more.";
    asked = 0;
    lookAgain();
  } catch (error) {
    byId("send-note").textContent = reasonFor(error).text;
  } finally {
    button.classList.remove("is-busy");
  }
}

// --- failures ---------------------------------------------------------------------------------------

function showFailure(error) {
  if (error instanceof Refusal && error.status === 402) return showDeclined();
  if (error instanceof Refusal && error.status === 404) {
    const wasThere = from !== null || ["paying", "action-required", "action-open"].includes(shown);
    if (wasThere) return showDeclined();
    return showState("unknown", {
      title: "No such order",
      text: "There is no order at this address. Please compare it with the one you kept: every character counts. An order whose payment was declined is not kept.",
      actions: [el("a", { class: "button", href: "/" }, "To the box office")],
    });
  }
  const isSettling = error instanceof Refusal && error.code === "payment-unknown";
  if (isSettling) return showPaying();
  if (shown === null || shown === "failed") {
    showState("failed", {
      title: "Your order did not load",
      text: "Your tickets are safe. The box office could not be reached; this page keeps trying by itself.",
      actions: [el("button", { type: "button", class: "primary", onclick: look }, "Try again")],
    });
  }
  if (shown !== "confirmed") lookAgain();
}
