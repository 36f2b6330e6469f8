// What can a visitor do with seats they hold, while the time runs? Pay, ask for more time, or give
// them back.
//
// The seats come from the map or from the waitlist; what differs is in the `till`:
// `{sale, ordersPath, named, release(), extend(reason)}`, where `named` is what an order says of the
// hold.

import { ask, eventPath, Refusal } from "./api.js";
import { billOf } from "./bill.js";
import { createBuyer } from "./buyer.js";
import { createCountdown } from "./countdown.js";
import { announce, byId, el } from "./dom.js";
import { clock, money } from "./format.js";
import { heldItems } from "./held.js";
import { openAttempt, pay } from "./payment.js";
import { reasonFor } from "./reasons.js";

const ASKS_MAX = 4; // by itself, while an outcome is unknown; then the order's page goes on asking

const CARDS = [
  ["tok_ok", "pay-ok", "Test card that works", "Pays at once."],
  ["tok_action", "pay-action", "Test card whose bank asks back", "Sends you to a test bank first, as 3-D Secure does."],
  ["tok_declined", "pay-declined", "Test card that is declined", "The bank says no."],
  ["tok_slow", "pay-slow", "Test card that is slow", "Pays after two seconds."],
  ["tok_timeout", "pay-timeout", "Test card that times out", "No answer at first; we ask again."],
  ["tok_lost", "pay-lost", "Test card whose payment gets lost", "Never reaches the bank; we ask again."],
];

const storageKey = (sale) => `hold:${sale}`;

/// Where seats chosen on the map are paid.
export const mapTill = (event, hold) => {
  const holdPath = eventPath(event, `/holds/${hold}`);
  return {
    sale: event,
    ordersPath: eventPath(event, "/orders"),
    named: { hold },
    release: () => ask(holdPath, { method: "DELETE" }),
    extend: (reason) => ask(`${holdPath}/extend`, { method: "POST", body: { reason } }),
  };
};

/// The hold this tab left off with, as the origin sees it now; null if there is none. A payment
/// with an unknown outcome keeps its hold, even one that is over: only asking again tells.
export async function resumeHold(event) {
  const remembered = JSON.parse(sessionStorage.getItem(storageKey(event)));
  if (!remembered) return null;
  try {
    return await ask(eventPath(event, `/holds/${remembered.hold}`));
  } catch (error) {
    if (error.code === "hold-bought") {
      sessionStorage.removeItem(storageKey(event));
      location.assign(error.problem.order_url);
      return new Promise(() => {}); // this page is on its way out
    }
    const isOver = error instanceof Refusal && ["hold-expired", "unknown-hold", "foreign-hold"].includes(error.code);
    if (!isOver) throw error;
    if (openAttempt(event)) return remembered;
    sessionStorage.removeItem(storageKey(event));
    return null;
  }
}

/// Shows a hold and its checkout. `onOver(reason)` is called when the seats are gone: `released`
/// or `expired`; `onPassEnded()` when the visitor may no longer shop.
export function showCheckout(event, hold, zones, till, { onOver, onPassEnded }) {
  const root = byId("checkout");
  const buyer = createBuyer();
  const parts = render();
  let isPaying = false;

  sessionStorage.setItem(storageKey(till.sale), JSON.stringify(hold));
  showHold();
  root.hidden = false;
  parts.title.focus();
  const canExtend = hold.extensions.length > 0;
  const countdown = createCountdown(parts.clock, {
    title: "Time left to pay",
    fullSecs: event.hold_secs,
    until: () => hold.expires_at,
    onMore: canExtend ? extend : null,
    onOver: () => isPaying || finish("expired"), // a payment under way gets its answer
  });

  const open = openAttempt(till.sale);
  if (open && open.body.hold === till.named.hold) {
    buyer.fill(open.body);
    parts.form.elements.card.value = open.body.payment_token;
    settle(open.body);
  }

  function render() {
    const title = el("h2", { id: "checkout-title", tabindex: "-1" }, "These seats are held for you");
    const clockCard = el("div", { class: "card clock" });
    const seats = el("ul", { class: "seat-list" });
    const bill = el("div", {});
    const release = el("button", { type: "button", "data-test": "release", onclick: giveBack }, "Give these seats back");
    const note = el("div", { class: "note", role: "alert", "data-test": "pay-note" });
    const payButton = el("button", { class: "primary", "data-test": "pay" }, "Pay");
    const cards = CARDS.map(([token, mark, name, words], at) => el("label", {},
      el("input", { type: "radio", name: "card", value: token, checked: at === 0, "data-test": mark }),
      el("span", {}, el("strong", {}, name), el("span", {}, words))));
    const fields = el("fieldset", { class: "plain" },
      el("legend", {}, "Who are the tickets for?"),
      buyer.element,
      el("fieldset", { class: "cards" }, el("legend", {}, "Pay with a test card"), ...cards));
    const form = el("form", { class: "card", novalidate: true, onsubmit: submitted }, fields, note, payButton);
    root.replaceChildren(title, clockCard,
      el("section", { class: "card held", "aria-labelledby": "held-title" }, el("h3", { id: "held-title" }, "Your order"), seats, bill, release), form);
    return { title, clock: clockCard, seats, bill, release, note, pay: payButton, fields, form };
  }

  function showHold() {
    parts.seats.replaceChildren(...heldItems(hold, zones));
    parts.bill.replaceChildren(billOf(hold));
    parts.pay.textContent = `Pay ${money(hold.total, hold.currency, { isExact: true })}`;
  }

  // --- time ---------------------------------------------------------------------------------------

  /// One extension is for the checkout, another for whoever needs more time.
  async function extend() {
    try {
      hold = { ...hold, ...(await till.extend(hold.extensions[0])) };
      sessionStorage.setItem(storageKey(till.sale), JSON.stringify(hold));
      const isLast = hold.extensions.length === 0;
      return { isLast, text: `Done. You have ${clock(countdown.secsLeft())} minutes now.${isLast ? " The seats cannot be kept longer than that." : ""}` };
    } catch (error) {
      if (error instanceof Refusal && error.isPassEnded) onPassEnded();
      const { text } = reasonFor(error);
      return { isLast: error.code === "no-extension-left", text };
    }
  }

  function finish(reason) {
    close();
    sessionStorage.removeItem(storageKey(till.sale));
    onOver(reason);
  }

  /// To the order; it leads back here as long as it is not paid.
  function toOrder(url, isPaid) {
    close();
    if (isPaid) sessionStorage.removeItem(storageKey(till.sale));
    sessionStorage.setItem(`from:${url}`, JSON.stringify({ sale: till.sale, back: location.pathname }));
    location.assign(url);
  }

  function close() {
    countdown.stop();
    root.hidden = true;
  }

  async function giveBack() {
    if (isPaying) return;
    parts.release.classList.add("is-busy");
    try {
      await till.release();
      finish("released");
    } catch (error) {
      if (!(error instanceof Refusal)) return tell("No answer came, so the seats may still be yours. Please try again.");
      if (error.isPassEnded) return onPassEnded();
      if (error.code === "hold-bought") return toOrder(error.problem.order_url, true);
      if (error.status === 410 || error.status === 404) return finish("expired");
      tell(reasonFor(error).text);
    } finally {
      parts.release.classList.remove("is-busy");
    }
  }

  // --- payment ------------------------------------------------------------------------------------

  function submitted(submit) {
    submit.preventDefault();
    if (isPaying) return;
    const content = buyer.content();
    if (content) settle({ ...till.named, payment_token: parts.form.elements.card.value, ...content });
  }

  /// Pays and, while the outcome is unknown, asks again. The fields are locked meanwhile: other
  /// content would be another payment.
  async function settle(body) {
    lock(true);
    tell("");
    announce("Paying. Please wait.");
    let outcome;
    for (let asked = 1; asked <= ASKS_MAX; asked += 1) {
      outcome = await pay(till.sale, till.ordersPath, body);
      if (outcome.is !== "unknown") break;
      tell("We do not know yet whether your payment went through. Asking again… You will not be charged twice.");
      if (asked < ASKS_MAX) await new Promise((done) => setTimeout(done, outcome.retryAfterSecs * 1000));
    }
    if (outcome.is === "unknown") return stayUnknown(body, outcome);
    lock(false);
    settled(outcome);
  }

  function lock(isLocked) {
    isPaying = isLocked;
    parts.fields.disabled = isLocked;
    parts.pay.classList.toggle("is-busy", isLocked);
  }

  /// The order's page keeps asking; without an order there is only this page to do so.
  function stayUnknown(body, { orderUrl }) {
    if (orderUrl) return toOrder(orderUrl, false);
    parts.pay.classList.remove("is-busy");
    tell(
      "We still do not know whether your payment went through. Your seats stay with it. Ask again when your connection is back: you will not be charged twice.",
      el("button", { type: "button", onclick: () => settle(body) }, "Ask again"),
    );
  }

  function settled(outcome) {
    switch (outcome.is) {
      case "paid":
        return toOrder(outcome.orderUrl, true);
      case "action":
        return toOrder(outcome.orderUrl, false);
      case "declined":
        tell("The card was declined and nothing was charged. Your seats are still held, and what you wrote is still here: choose another card and pay again.");
        return parts.form.elements.card[0].focus();
      case "pass-ended":
        return onPassEnded();
      case "refused":
        return refused(outcome.error);
    }
  }

  function refused(error) {
    if (error.status === 410 || error.code === "unknown-hold") return finish("expired");
    if (error.code === "invalid-request" && buyer.refused(error.problem.detail)) return;
    const { text, then } = reasonFor(error);
    const reload = el("button", { type: "button", onclick: () => location.reload() }, "Reload this page");
    tell(text, ...(then === "reload" ? [reload] : []));
    if (error.code === "foreign-hold") finish("expired");
  }

  function tell(text, ...actions) {
    parts.note.replaceChildren(...(text ? [el("p", {}, text), ...actions] : []));
  }
}
