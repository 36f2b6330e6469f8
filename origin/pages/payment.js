// What may we do when nobody knows whether a payment went through? Ask again with the same
// Idempotency-Key, and never with another one.
//
// An attempt is its content and its key, kept for this tab until a definite answer came. A network
// failure, a 503 or a reload in between finds the attempt again, so nobody pays twice. An origin that
// does not know yet tells the order's id: it can be looked at without a pass, so a visitor whose pass
// ended meanwhile still learns what became of their money.

import { ask, Refusal } from "./api.js";

const ASK_AGAIN_SECS = 3;
const storageKey = (sale) => `attempt:${sale}`;

/// The attempt whose outcome is not known yet: `{key, body, order?}`, or null. A `sale` is an event,
/// or an entry of the waitlist.
export function openAttempt(sale) {
  return JSON.parse(sessionStorage.getItem(storageKey(sale)));
}

/// Ends an attempt from elsewhere: the order's page learnt what became of it.
export function forgetAttempt(sale) {
  sessionStorage.removeItem(storageKey(sale));
}

/// Pays at `path`, or asks again. The outcome is one of
/// `{is: "paid" | "action", orderUrl}`, `{is: "declined" | "pass-ended"}`,
/// `{is: "refused", error}` and `{is: "unknown", retryAfterSecs, orderUrl?}`.
export async function pay(sale, path, body) {
  const open = openAttempt(sale);
  const isSame = open && JSON.stringify(open.body) === JSON.stringify(body);
  const attempt = isSame ? open : { key: newKey(), body };
  sessionStorage.setItem(storageKey(sale), JSON.stringify(attempt));

  let outcome;
  try {
    const order = await ask(path, { method: "POST", body: attempt.body, headers: { "Idempotency-Key": attempt.key } });
    outcome = { is: order.state === "action-required" ? "action" : "paid", orderUrl: order.order_url };
  } catch (error) {
    const order = error instanceof Refusal && error.code !== "hold-bought" && error.problem.order;
    if (order) {
      attempt.order = order;
      sessionStorage.setItem(storageKey(sale), JSON.stringify(attempt));
    }
    outcome = outcomeOf(error);
    if (["pass-ended", "refused"].includes(outcome.is) && attempt.order) outcome = (await fateOf(attempt.order)) ?? outcome;
  }
  const isOpen = ["unknown", "pass-ended", "action"].includes(outcome.is);
  if (!isOpen) forgetAttempt(sale);
  return outcome;
}

/// What became of an order, or null if it is no more: it was declined then.
async function fateOf(order) {
  try {
    const found = await ask(`/api/v1/orders/${encodeURIComponent(order)}`);
    if (found.state === "paying") return { is: "unknown", retryAfterSecs: ASK_AGAIN_SECS, orderUrl: found.order_url };
    return { is: found.state === "action-required" ? "action" : "paid", orderUrl: found.order_url };
  } catch (error) {
    if (error instanceof Refusal && error.status === 404) return null;
    return { is: "unknown", retryAfterSecs: ASK_AGAIN_SECS };
  }
}

function outcomeOf(error) {
  if (!(error instanceof Refusal)) return { is: "unknown", retryAfterSecs: ASK_AGAIN_SECS };
  if (error.isPassEnded) return { is: "pass-ended" };
  if (error.code === "hold-bought") return { is: "paid", orderUrl: error.problem.order_url };
  if (error.status === 402) return { is: "declined", code: error.problem.decline_code };
  // A gateway that was not reached took nothing, and the box office says so.
  if (error.code === "payment-unavailable") return { is: "refused", error };
  const mayHavePaid = error.status >= 500 || error.status === 429 || error.code === "payment-in-progress";
  if (mayHavePaid) {
    return { is: "unknown", retryAfterSecs: error.retryAfterSecs ?? ASK_AGAIN_SECS, orderUrl: error.problem.order_url };
  }
  return { is: "refused", error };
}

/// `randomUUID` is there only on TLS and on localhost; a trial on a local network has neither.
function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
