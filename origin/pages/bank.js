// What does the buyer answer the bank that the sandbox plays?

import { ask } from "./api.js";
import { byId } from "./dom.js";
import { reasonFor } from "./reasons.js";

const asked = new URLSearchParams(location.search);
const orderUrl = `/orders/${encodeURIComponent(asked.get("order") ?? "")}`;
byId("leave").href = orderUrl;
byId("approve").addEventListener("click", (click) => answer(click.currentTarget, true));
byId("decline").addEventListener("click", (click) => answer(click.currentTarget, false));

async function answer(button, isApproved) {
  button.classList.add("is-busy");
  try {
    const body = { client_secret: asked.get("secret") ?? "", is_approved: isApproved };
    await ask("/api/v1/payments/sandbox/challenge", { method: "POST", body });
    location.assign(orderUrl);
  } catch (error) {
    byId("bank-note").textContent = ["invalid-request", "unknown-order"].includes(error.code) ? "This bank has no question for you. Go back to your order." : reasonFor(error).text;
    button.classList.remove("is-busy");
  }
}
