// How does a ticket look: valid, used, given back, or for something that will not be?

import { el, zoneMark } from "./dom.js";
import { moment, money, venueTime } from "./format.js";
import { MARKS } from "./seats.js";

export function ticketOf(order, event, zones, ticket, at) {
  const start = event && venueTime(event);
  const seat = order.seats.find((seat) => seat.label === ticket.label);
  const zone = zones.find((zone) => zone.id === seat?.zone);
  const state = event?.status === "cancelled" ? "cancelled" : ticket.state;
  return el("li", { class: "ticket", "data-test": "ticket", "data-state": state },
    el("div", { class: "ticket-words" },
      el("p", { class: "kicker" }, `Ticket ${at + 1} of ${order.tickets.length}`, chipOf(state)),
      el("h3", {}, order.title),
      start ? el("p", { class: "ticket-when" }, `${start.long}, ${start.time}`) : null,
      event ? el("p", { class: "ticket-where" }, [event.venue, event.city].filter(Boolean).join(", ")) : null,
      placeOf(seat, ticket),
      el("p", { class: "ticket-foot" }, zone ? zoneMark(zone) : null,
        [zone?.name, MARKS[seat?.attribute], seat ? money(seat.price, order.currency) : null, order.name].filter(Boolean).join(" · "))),
    codeOf(ticket, state));
}

function placeOf(seat, ticket) {
  if (!seat) return el("p", { class: "place" }, ticket.label);
  const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value)));
  const facts = seat.row === ""
    ? [fact("Area", seat.block), fact("Place", seat.number)]
    : [fact("Block", seat.block), fact("Row", seat.row), fact("Seat", seat.number)];
  return el("dl", { class: "place" }, ...facts);
}

const CHIPS = {
  valid: ["Valid", "is-good"],
  used: ["Used", ""],
  void: ["Not valid any more", "is-bad"],
  cancelled: ["Event cancelled", "is-bad"],
};

function chipOf(state) {
  const [words, kind] = CHIPS[state];
  return el("span", { class: `chip ${kind}`, "data-test": "ticket-state" }, words);
}

function codeOf(ticket, state) {
  if (state === "void" || state === "cancelled") {
    const since = ticket.void_since ? ` since ${moment(ticket.void_since)}` : "";
    return el("div", { class: "ticket-code is-void" },
      el("p", {}, state === "void" ? `This ticket was given back and opens no door${since}.` : "This ticket opens no door any more."));
  }
  return el("div", { class: "ticket-code" },
    el("img", { src: ticket.qr_url, alt: `QR code of ticket ${ticket.label}`, width: 208, height: 208, "data-test": "ticket-qr" }),
    el("p", { class: "ticket-label" }, ticket.label),
    ticket.used_at ? el("p", { class: "ticket-used" }, `Let in on ${moment(ticket.used_at)}`) : null,
    el("a", { href: ticket.pdf_url, download: true }, "This one as PDF"));
}
