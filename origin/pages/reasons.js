// What do we say when the box office says no, and what helps then?
//
// Every code of the API is here (a test compares them with openapi.json). `then` names the way out:
// `again` the same may be asked again, `wait` we ask again by ourselves, `choose` other seats, `fix`
// what was written, `reload` the page is out of date, `line` the pass is over, `order` it is bought.

import { plural } from "./format.js";
import { Refusal } from "./api.js";

const OURS = ["Something in this page went wrong. Reload it, then try again.", "reload"];
const BUSY = ["The box office is very busy. Nothing is lost; please try again in a moment.", "again"];
const GONE = ["There is nothing at this address any more.", "reload"];

const REASONS = {
  "busy": BUSY,
  "timeout": ["The box office took too long to answer. Please try again.", "again"],
  "unavailable": ["Sales are interrupted for a moment. Nothing is lost; please try again.", "again"],
  "streams-full": BUSY,
  "too-many-streams": ["This event is open in many tabs. Close some of them to follow the seats live.", "again"],
  "not-found": GONE,
  "unknown-event": GONE,
  "unknown-map": GONE,
  "unknown-venue": GONE,
  "unknown-performer": GONE,
  "unknown-order": ["There is no such order. Compare the address with the one you kept.", "reload"],
  "unknown-ticket": GONE,
  "unknown-gateway": OURS,
  "method-not-allowed": OURS,
  "unsupported-media-type": OURS,
  "too-large": OURS,
  "malformed": OURS,
  "idempotency-key-required": OURS,
  "invalid-query": ["The box office does not understand this search. Try other words.", "fix"],
  "invalid-webhook": OURS,
  "upgrade-required": OURS,
  "invalid-request": ["Something you wrote does not fit. Please check it.", "fix"],
  "pass-required": ["Your pass has ended. Join the line again to go on.", "line"],
  "waiting": ["Your pass has ended. Join the line again to go on.", "line"],
  "not-on-sale": ["This event is not on sale right now.", "reload"],
  "mode": ["The box office is too busy to show this now. The line at the top of the page says what works.", "choose"],
  "event-cancelled": ["This event was cancelled. Whoever has tickets gets the money back.", "reload"],

  "seat-taken": ["Somebody was faster: a seat is taken. Your other seats are still chosen.", "choose"],
  "area-full": ["There are not that many places left in that area.", "choose"],
  "not-enough-together": ["That many seats together are not left there. Try another zone, fewer seats, or seats apart.", "choose"],
  "best-available-only": ["Seats cannot be picked one by one yet. Best available works.", "choose"],
  "no-seats": ["Choose a seat first.", "choose"],
  "too-many-seats": ["That is more than one visitor may have.", "choose"],
  "unknown-seat": OURS,
  "unknown-area": OURS,
  "unknown-zone": OURS,
  "duplicate-seat": OURS,
  "seat-not-held": OURS,

  "unknown-hold": ["These seats are not held any more. Choose again.", "choose"],
  "foreign-hold": ["These seats were held with an earlier pass, so this one cannot pay for them. Choose again.", "choose"],
  "hold-expired": ["Your time ran out and the seats went back on sale. Nothing was charged.", "choose"],
  "hold-bought": ["These seats are paid for already.", "order"],
  "no-extension-left": ["The seats cannot be kept any longer than this.", "fix"],
  "payment-in-progress": ["A payment for these seats is under way.", "wait"],
  "payment-unknown": ["We do not know yet whether your payment went through. You will not be charged twice.", "wait"],
  "payment-unavailable": ["No payment can be taken right now, and nothing was charged. Your seats are still held; please try again.", "again"],
  "payment-declined": ["The payment was declined and nothing was charged.", "fix"],
  "idempotency-mismatch": ["This payment did not match an earlier one. Please pay again.", "again"],
  "too-many-attempts": ["Too many payments for these seats were declined. Give the seats back, then choose again.", "choose"],

  "offer-open": ["Take the offer first.", "reload"],
  "unknown-entry": ["You are not on this waitlist any more.", "reload"],
  "no-offer": ["There is no offer at the moment. It may have lapsed; your place tells.", "reload"],
  "waitlist-full": ["The waitlist is full. Seats may still come back: look in again from time to time.", "again"],
  "already-waiting": ["You are on the waitlist already.", "order"],
  "seats-available": ["There is no need to wait: that many seats can be had right now.", "choose"],

  "ticket-void": ["These tickets are not valid any more, so there is nothing to send.", "reload"],
  "no-address": ["This order has no e-mail address and no phone number. Keep the address of this page instead.", "fix"],
  "send-too-soon": ["The tickets were sent a moment ago. Please wait a little before you send them again.", "again"],
};

/// The words for a refusal, or for no answer at all, and what helps.
export function reasonFor(error) {
  if (!(error instanceof Refusal)) {
    return { text: "No answer came. Check your connection, then try again.", then: "again" };
  }
  if (error.code === "too-many-seats") return { text: tooMany(error.problem), then: "choose" };
  const [text, then] = REASONS[error.code] ?? BUSY;
  return { text, then };
}

function tooMany({ max, have }) {
  if (!max) return REASONS["too-many-seats"][0];
  const already = have > 0 ? `, and you have ${plural(have, "seat")} already` : "";
  return `One visitor may have at most ${plural(max, "seat")}${already}.`;
}
