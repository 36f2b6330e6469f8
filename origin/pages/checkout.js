// What can a visitor do with seats they hold, while the time runs? Pay, or give them back.

import { ask, eventPath, Refusal, serverNow } from "./api.js";
import { announce, byId, el, zoneMark } from "./dom.js";
import { clock, money, plural } from "./format.js";
import { openAttempt, pay } from "./payment.js";
import { seatName } from "./seats.js";

const MILESTONES_SECS = [300, 60]; // read out; the clock itself would talk without end
const ASKS_MAX = 4; // by itself, while an outcome is unknown; then the visitor decides when

const REFUSED = {
  "idempotency-mismatch": "This payment did not match an earlier one. Please pay again.",
  "too-many-attempts": "Too many payments for these seats were declined. Give the seats back, then choose again.",
  "foreign-hold": "These seats were held with an earlier pass, so this one cannot pay for them. Reload the page to choose again.",
};

const storageKey = (event) => `hold:${event}`;

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
export function showCheckout(event, hold, zones, { onOver, onPassEnded }) {
  const form = byId("pay-form");
  const listening = new AbortController();
  const listen = (target, type, act) => target.addEventListener(type, act, { signal: listening.signal });
  const startedSecs = Math.max(secsLeft(), 1);
  let isPaying = false;
  let announcedSecs = Math.min(...MILESTONES_SECS.filter((secs) => secs >= startedSecs), Infinity);

  sessionStorage.setItem(storageKey(event.id), JSON.stringify(hold));
  showSeats();
  byId("checkout").hidden = false;
  byId("checkout-title").focus();
  announce(`You have ${spoken(startedSecs)} to pay.`);
  const ticking = setInterval(tick, 250);
  tick();

  listen(form, "submit", (submit) => {
    submit.preventDefault();
    if (!isPaying && isFilledIn()) settle(contentOfForm());
  });
  listen(byId("release"), "click", release);

  const open = openAttempt(event.id);
  if (open?.body.hold === hold.hold) {
    fillForm(open.body);
    settle(open.body);
  }

  // --- time ---------------------------------------------------------------------------------------

  function secsLeft() {
    return Math.max(Math.ceil((hold.expires_at - serverNow()) / 1000), 0);
  }

  function tick() {
    const secs = secsLeft();
    byId("countdown").textContent = clock(secs);
    byId("time-bar").value = secs / Math.max(event.hold_secs, startedSecs);
    byId("clock").classList.toggle("is-short", secs <= 60);
    const milestone = MILESTONES_SECS.findLast((mark) => secs <= mark && secs > 0);
    if (milestone < announcedSecs) {
      announcedSecs = milestone;
      announce(`${spoken(secs)} left to pay.`);
    }
    if (secs === 0 && !isPaying) finish("expired"); // a payment under way gets its answer
  }

  function finish(reason) {
    close();
    sessionStorage.removeItem(storageKey(event.id));
    onOver(reason);
  }

  function toOrder(url) {
    close();
    sessionStorage.removeItem(storageKey(event.id));
    location.assign(url);
  }

  function close() {
    clearInterval(ticking);
    listening.abort();
    byId("checkout").hidden = true;
  }

  // --- seats --------------------------------------------------------------------------------------

  function showSeats() {
    byId("held-seats").replaceChildren(...hold.seats.map((seat) => {
      const zone = zones.find((zone) => zone.id === seat.zone);
      return el("li", {},
        zone ? zoneMark(zone) : null,
        el("span", { class: "seat-words" }, el("strong", {}, seatName(seat)), el("span", {}, zone?.name ?? "")),
        el("span", { class: "price" }, money(seat.price, hold.currency)));
    }));
    byId("held-total").textContent = money(hold.total, hold.currency);
    byId("pay").textContent = `Pay ${money(hold.total, hold.currency)}`;
  }

  async function release() {
    if (isPaying) return;
    byId("release").classList.add("is-busy");
    try {
      await ask(eventPath(event.id, `/holds/${hold.hold}`), { method: "DELETE" });
      finish("released");
    } catch (error) {
      if (!(error instanceof Refusal)) return tell("No answer came, so the seats may still be yours. Please try again.");
      if (error.isPassEnded) return onPassEnded();
      if (error.code === "hold-bought") return toOrder(error.problem.order_url);
      if (error.status === 410 || error.status === 404) return finish("expired");
      tell("The seats could not be given back just now. Please try again.");
    } finally {
      byId("release").classList.remove("is-busy");
    }
  }

  // --- payment ------------------------------------------------------------------------------------

  function isFilledIn() {
    const name = byId("checkout-name");
    const email = byId("checkout-email");
    showFieldError(name, name.value.trim() === "" ? "Please write the name for the tickets." : "");
    const isAddress = !email.validity.typeMismatch;
    showFieldError(email, isAddress ? "" : "This does not look like an e-mail address. An example: ana@example.org");
    const wrong = [name, email].find((field) => field.getAttribute("aria-invalid") === "true");
    wrong?.focus();
    return !wrong;
  }

  function contentOfForm() {
    const email = byId("checkout-email").value.trim();
    return {
      hold: hold.hold,
      payment_token: form.elements.card.value,
      name: byId("checkout-name").value.trim(),
      ...(email ? { email } : {}),
    };
  }

  function fillForm(body) {
    byId("checkout-name").value = body.name;
    byId("checkout-email").value = body.email ?? "";
    form.elements.card.value = body.payment_token;
  }

  /// Pays and, while the outcome is unknown, asks again. The fields are locked meanwhile: other
  /// content would be another payment.
  async function settle(body) {
    isPaying = true;
    tell("");
    byId("pay-fields").disabled = true;
    byId("pay").classList.add("is-busy");
    announce("Paying. Please wait.");
    let outcome;
    for (let asked = 1; asked <= ASKS_MAX; asked += 1) {
      outcome = await pay(event.id, body);
      if (outcome.is !== "unknown") break;
      tell("We do not know yet whether your payment went through. Asking again… You will not be charged twice.");
      if (asked < ASKS_MAX) await new Promise((done) => setTimeout(done, outcome.retryAfterSecs * 1000));
    }
    byId("pay").classList.remove("is-busy");
    if (outcome.is === "unknown") return letAskAgain(body);
    byId("pay-fields").disabled = false;
    isPaying = false;
    settled(outcome);
  }

  function letAskAgain(body) {
    tell(
      "We still do not know whether your payment went through. Your seats stay with it. Ask again when your connection is back: you will not be charged twice.",
      el("button", { type: "button", onclick: () => settle(body) }, "Ask again"),
    );
  }

  function settled(outcome) {
    switch (outcome.is) {
      case "paid":
        return toOrder(outcome.orderUrl);
      case "declined":
        tell("The card was declined and nothing was charged. Your seats are still held: choose another card and pay again.");
        return form.elements.card[0].focus();
      case "expired":
        return finish("expired");
      case "pass-ended":
        return onPassEnded();
      case "refused":
        return tell(REFUSED[outcome.code] ?? "The payment was refused. Check what you wrote, then pay again.");
    }
  }

  function tell(text, ...actions) {
    byId("pay-note").replaceChildren(...(text ? [el("p", {}, text), ...actions] : []));
  }
}

const spoken = (secs) => (secs < 60 ? plural(secs, "second") : plural(Math.ceil(secs / 60), "minute"));

function showFieldError(field, text) {
  field.setAttribute("aria-invalid", String(text !== ""));
  byId(`${field.id}-error`).textContent = text;
}
