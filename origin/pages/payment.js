// What may we do when nobody knows whether a payment went through? Ask again with the same
// Idempotency-Key, and never with another one.
//
// An attempt is its content and its key, kept for this tab until a definite answer came. A network
// failure, a 503 or a reload in between finds the attempt again, so nobody pays twice. An origin that
// does not know yet tells the order's id: it can be looked at without a pass, so a visitor whose pass
// ended meanwhile still learns what became of their money.

import { ask, eventPath, Refusal } from "./api.js";

const storageKey = (event) => `attempt:${event}`;

/// The attempt whose outcome is not known yet: `{key, body, order?}`, or null.
export function openAttempt(event) {
  return JSON.parse(sessionStorage.getItem(storageKey(event)));
}

/// Pays, or asks again. The outcome is one of
/// `{is: "paid", orderUrl}`, `{is: "declined" | "expired" | "pass-ended"}`,
/// `{is: "refused", code}` and `{is: "unknown", retryAfterSecs}`.
export async function pay(event, body) {
  const open = openAttempt(event);
  const isSame = open && JSON.stringify(open.body) === JSON.stringify(body);
  const attempt = isSame ? open : { key: newKey(), body };
  sessionStorage.setItem(storageKey(event), JSON.stringify(attempt));

  let outcome;
  try {
    const order = await ask(eventPath(event, "/orders"), {
      method: "POST",
      body: attempt.body,
      headers: { "Idempotency-Key": attempt.key },
    });
    outcome = { is: "paid", orderUrl: order.order_url };
  } catch (error) {
    const order = error instanceof Refusal && error.code !== "hold-bought" && error.problem.order;
    if (order) {
      attempt.order = order;
      sessionStorage.setItem(storageKey(event), JSON.stringify(attempt));
    }
    outcome = outcomeOf(error);
    const isTurnedAway = ["pass-ended", "refused", "expired"].includes(outcome.is);
    if (isTurnedAway && attempt.order) outcome = (await fateOf(attempt.order)) ?? outcome;
  }
  const isDefinite = outcome.is !== "unknown" && outcome.is !== "pass-ended";
  if (isDefinite) sessionStorage.removeItem(storageKey(event));
  return outcome;
}

/// What became of an order, or null if it is no more: it was declined then.
async function fateOf(order) {
  try {
    const found = await ask(`/api/v1/orders/${encodeURIComponent(order)}`);
    if (found.state === "confirmed") return { is: "paid", orderUrl: found.order_url };
    return { is: "unknown", retryAfterSecs: 3 };
  } catch (error) {
    if (error instanceof Refusal && error.status === 404) return null;
    return { is: "unknown", retryAfterSecs: 3 };
  }
}

function outcomeOf(error) {
  if (!(error instanceof Refusal)) return { is: "unknown", retryAfterSecs: 3 };
  if (error.isPassEnded) return { is: "pass-ended" };
  if (error.code === "hold-bought") return { is: "paid", orderUrl: error.problem.order_url };
  if (error.status === 402) return { is: "declined" };
  if (error.status === 410) return { is: "expired" };
  const mayHavePaid = error.status >= 500 || error.status === 429 || error.code === "payment-in-progress";
  if (mayHavePaid) return { is: "unknown", retryAfterSecs: error.retryAfterSecs ?? 3 };
  return { is: "refused", code: error.code };
}

/// `randomUUID` is there only on TLS and on localhost; a trial on a local network has neither.
function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
