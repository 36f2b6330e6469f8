// What does the visitor tell us when the choice is ours: how many, where, for how much, and whether
// apart would do? Wheelchair spaces are asked for here too, with whoever comes along.

import { byId, el } from "./dom.js";
import { money } from "./format.js";
import { createStepper } from "./stepper.js";

/// Fills the form. `onAsk(best)` gets what the API takes; `onLimit(zoneIds | null)` which zones the
/// price allows.
export function createBest(zones, seatsMax, currency, hasAccessible, { onAsk, onLimit }) {
  const price = (minor) => money(minor, currency);
  const zoneSelect = byId("best-zone");
  const priceSelect = byId("best-price");
  const together = byId("best-together");
  const button = byId("best-hold");
  for (const zone of zones) zoneSelect.append(el("option", { value: zone.id, id: `zone-option-${zone.number}` }, `${zone.name}, ${price(zone.price)}`));
  const prices = [...new Set(zones.map((zone) => zone.price))].sort((a, b) => a - b);
  for (const amount of prices.slice(0, -1)) priceSelect.append(el("option", { value: amount }, `Up to ${price(amount)}`));
  byId("best-price-field").hidden = prices.length < 2;

  const quantity = createStepper({ id: "best-quantity", label: "How many", fewer: "One seat fewer", more: "One seat more", min: 1, max: seatsMax, value: 2, mark: "best-quantity" }, show);
  const accessible = createStepper({ id: "best-accessible", label: "Wheelchair spaces", fewer: "One space fewer", more: "One space more", min: 0, max: Math.min(seatsMax, 4), value: 0, mark: "best-accessible" }, show);
  const companions = createStepper({ id: "best-companions", label: "Companions beside them", fewer: "One companion fewer", more: "One companion more", min: 0, max: 0, value: 0, mark: "best-companions" }, show);
  byId("best-quantity-field").replaceChildren(quantity.element);
  byId("best-accessible-fields").replaceChildren(accessible.element, companions.element);
  byId("best-accessible-group").hidden = !hasAccessible;

  zoneSelect.addEventListener("change", show);
  together.addEventListener("change", show);
  priceSelect.addEventListener("change", () => {
    const most = Number(priceSelect.value);
    for (const zone of zones) byId(`zone-option-${zone.number}`).hidden = most > 0 && zone.price > most;
    const chosen = zones.find((zone) => zone.id === zoneSelect.value);
    if (chosen && most > 0 && chosen.price > most) zoneSelect.value = "";
    onLimit(most > 0 ? zones.filter((zone) => zone.price <= most).map((zone) => zone.id) : null);
  });
  byId("best").addEventListener("submit", (submit) => {
    submit.preventDefault();
    onAsk(wanted());
  });

  function wanted() {
    const where = zoneSelect.value ? { zone: zoneSelect.value } : {};
    const most = priceSelect.value ? { price_max: Number(priceSelect.value) } : {};
    if (accessible.value > 0) return { accessible: accessible.value, companions: companions.value, ...where, ...most };
    return { quantity: quantity.value, ...(together.checked ? {} : { together: false }), ...where, ...most };
  }

  function show() {
    companions.setMax(Math.min(accessible.value, seatsMax - accessible.value));
    const isAccessible = accessible.value > 0;
    byId("best-quantity-field").hidden = isAccessible;
    byId("best-together-field").hidden = isAccessible || quantity.value === 1;
    const words = { many: `Hold the best ${quantity.value}${together.checked ? " together" : ""}`, one: "Hold the best seat", wheels: `Hold ${accessible.value === 1 ? "a wheelchair space" : `${accessible.value} wheelchair spaces`}${companions.value > 0 ? " with company" : ""}` };
    button.textContent = isAccessible ? words.wheels : quantity.value === 1 ? words.one : words.many;
  }
  show();

  return {
    get quantity() {
      return accessible.value > 0 ? accessible.value + companions.value : quantity.value;
    },
    get zone() {
      return zoneSelect.value || null;
    },
    setZone: (id) => (zoneSelect.value = id ?? ""),
    /// How many are free in a zone, or null if nobody tells.
    showFree(zone, free) {
      byId(`zone-option-${zone.number}`).disabled = free === 0;
    },
    /// Only seats apart would do: offer just that.
    offerApart() {
      byId("best-more").open = true;
      together.checked = false;
      show();
      together.focus();
    },
  };
}
