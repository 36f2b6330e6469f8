// What did the visitor buy? The address of this page is all it takes to see it again, so the page
// needs no pass and nothing of the tab it was bought in.

import { ask, eventPath, Refusal } from "./api.js";
import { byId, el, showPanel } from "./dom.js";
import { money, plural, venueTime } from "./format.js";

const ASK_AGAIN_SECS = 3; // while a payment is being settled

const orderId = decodeURIComponent(location.pathname.split("/")[2]);

byId("print").addEventListener("click", () => window.print());
load();

async function load() {
  byId("loading").hidden = false;
  try {
    const order = await ask(`/api/v1/orders/${encodeURIComponent(orderId)}`);
    if (order.state !== "confirmed") return showPaying();
    // The tickets are valid without these facts, so a failure here must not hide them.
    const event = await ask(eventPath(order.event)).catch(() => null);
    show(order, event);
  } catch (error) {
    showFailure(error);
  } finally {
    byId("loading").hidden = true;
  }
}

function show(order, event) {
  byId("panel").hidden = true;
  const start = event && venueTime(event);
  document.title = `${plural(order.tickets.length, "ticket")} for ${order.title} – Box office`;
  byId("title").textContent = order.title;
  byId("order-when").textContent = start ? `${start.long}, ${start.time} local time. ${event.venue}, ${event.city}.` : "";
  byId("order-name").textContent = order.name;
  byId("order-count").textContent = plural(order.tickets.length, "ticket");
  byId("order-total").textContent = money(order.total, order.currency);
  byId("order-id").textContent = order.order;
  byId("tickets").replaceChildren(...order.tickets.map((ticket, at) => ticketOf(order, event, start, ticket, at)));
  byId("order").hidden = false;
}

function ticketOf(order, event, start, ticket, at) {
  const seat = order.seats.find((seat) => seat.label === ticket.label);
  const zone = event?.zones?.find((zone) => zone.id === seat?.zone);
  const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value)));
  return el("li", { class: "ticket", "data-test": "ticket" },
    el("div", { class: "ticket-words" },
      el("p", { class: "kicker" }, `Ticket ${at + 1} of ${order.tickets.length}`),
      el("h3", {}, order.title),
      start ? el("p", { class: "ticket-when" }, `${start.long}, ${start.time}`) : null,
      event ? el("p", { class: "ticket-where" }, `${event.venue}, ${event.city}`) : null,
      seat
        ? el("dl", { class: "place" }, fact("Block", seat.block), fact("Row", seat.row), fact("Seat", seat.number))
        : el("p", { class: "place" }, ticket.label),
      el("p", { class: "ticket-foot" }, [zone?.name, seat ? money(seat.price, order.currency) : null, order.name].filter(Boolean).join(" · "))),
    el("div", { class: "ticket-code" },
      el("img", { src: ticket.qr_url, alt: `QR code of ticket ${ticket.label}`, width: 208, height: 208, "data-test": "ticket-qr" }),
      el("p", { class: "ticket-label" }, ticket.label)));
}

function showPaying() {
  showPanel({
    title: "Your payment is being settled",
    text: "The bank has not answered yet. Your seats are safe meanwhile; this page asks again by itself.",
    mark: "order-paying",
  });
  setTimeout(load, ASK_AGAIN_SECS * 1000);
}

function showFailure(error) {
  const isUnknown = error instanceof Refusal && error.status === 404;
  showPanel(isUnknown
    ? {
        title: "No such order",
        text: "There is no order at this address. Please compare it with the one you kept: every character counts.",
        actions: [el("a", { class: "button", href: "/" }, "To the box office")],
        mark: "unknown-order",
      }
    : {
        title: "Your order did not load",
        text: "Your tickets are safe. The box office could not be reached; check your connection and try again.",
        actions: [el("button", { type: "button", class: "primary", onclick: load }, "Try again")],
        mark: "load-failed",
      }).querySelector("h2").focus();
}
