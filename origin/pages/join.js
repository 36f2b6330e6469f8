// How does a visitor get into the waitlist? By zone and number, when what they want is not to be had.

import { ask, eventPath, Refusal } from "./api.js";
import { byId, el } from "./dom.js";
import { entryUrl, rememberedEntry, rememberEntry } from "./entries.js";
import { reasonFor } from "./reasons.js";
import { createStepper } from "./stepper.js";

/// Fills the form. `onPassEnded()` is called when the visitor may no longer shop.
export function createJoin(event, zones, { onPassEnded }) {
  const zoneSelect = byId("join-zone");
  zoneSelect.append(...zones.map((zone) => el("option", { value: zone.id }, zone.name)));
  const quantity = createStepper({ id: "join-quantity", label: "How many", fewer: "One seat fewer", more: "One seat more", min: 1, max: event.seats_per_order_max, value: 2, mark: "join-quantity" }, () => {});
  byId("join-quantity-field").replaceChildren(quantity.element);
  byId("join-form").addEventListener("submit", join);

  const remembered = rememberedEntry(event.id);
  byId("join-known").hidden = remembered === null;
  if (remembered !== null) byId("join-link").href = entryUrl(event.id, remembered);

  async function join(submit) {
    submit.preventDefault();
    const email = byId("join-email");
    const isAddress = !email.validity.typeMismatch;
    email.setAttribute("aria-invalid", String(!isAddress));
    byId("join-email-error").textContent = isAddress ? "" : "This does not look like an e-mail address. An example: ana@example.org";
    if (!isAddress) return email.focus();
    const button = byId("join");
    button.classList.add("is-busy");
    byId("join-note").replaceChildren();
    try {
      const zone = zoneSelect.value ? { zone: zoneSelect.value } : {};
      const address = email.value.trim() ? { email: email.value.trim(), locale: navigator.language } : {};
      const { entry } = await ask(eventPath(event.id, "/waitlist"), { method: "POST", body: { quantity: quantity.value, ...zone, ...address } });
      rememberEntry(event.id, entry);
      location.assign(entryUrl(event.id, entry));
    } catch (error) {
      if (error instanceof Refusal && error.isPassEnded) return onPassEnded();
      const known = error.code === "already-waiting" && error.problem.entry;
      if (known) rememberEntry(event.id, known);
      byId("join-note").replaceChildren(reasonFor(error).text, ...(known ? [" ", el("a", { href: entryUrl(event.id, known) }, "See your place")] : []));
    } finally {
      button.classList.remove("is-busy");
    }
  }

  return {
    /// Shows the form; `isOut` if nothing is left at all.
    show(isOut, { zone, wanted }) {
      byId("waitlist").hidden = false;
      byId("choosing").classList.toggle("is-out", isOut);
      byId("join").classList.toggle("primary", isOut);
      byId("join-title").textContent = isOut ? "Sold out for now" : "Nothing that fits?";
      if (zone !== undefined) zoneSelect.value = zone ?? "";
      if (wanted) quantity.show(wanted);
    },
    hide() {
      byId("waitlist").hidden = remembered === null;
      byId("choosing").classList.remove("is-out");
    },
  };
}
