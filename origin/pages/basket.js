// What has the visitor chosen so far, what does it cost, and how does one thing of it go away again?

import { byId, el, zoneMark } from "./dom.js";
import { money } from "./format.js";
import { seatName } from "./seats.js";

/// Shows the choice. `onHold()` is called when it is to be held, `onTakeAway(seat)` when a seat is to go.
export function createBasket(seats, choice, currency, { onHold, onTakeAway }) {
  const price = (minor) => money(minor, currency);
  const basket = byId("basket");
  const areaOf = (id) => seats.areas.find((area) => area.id === id);
  const total = () =>
    choice.seats.reduce((sum, seat) => sum + seats.describe(seat).zone.price, 0) +
    choice.areas.reduce((sum, [id, quantity]) => sum + quantity * areaOf(id).zone.price, 0);

  function show() {
    basket.dataset.count = choice.size;
    document.body.classList.toggle("has-basket", choice.size > 0);
    byId("basket-count").textContent = choice.size === 0 ? "" : `${choice.size} of ${choice.seatsMax}`;
    byId("basket-total").textContent = price(total());
    byId("basket-seats").replaceChildren(...choice.seats.map(seatItem), ...choice.areas.map(areaItem));
  }

  function seatItem(seat) {
    const described = seats.describe(seat);
    return item(described.zone, seatName(described), `${described.zone.name}, ${price(described.zone.price)}`, () => onTakeAway(seat));
  }

  function areaItem([id, quantity]) {
    const { label, zone } = areaOf(id);
    return item(zone, `${label}, ${quantity} ×`, `${zone.name}, ${price(quantity * zone.price)}`, () => choice.setQuantity(id, 0));
  }

  const item = (zone, name, words, takeAway) => el("li", {},
    zoneMark(zone),
    el("span", { class: "seat-words" }, el("strong", {}, name), el("span", {}, words)),
    el("button", {
      type: "button", class: "icon", "aria-label": `Take away ${name}`, onclick: () => {
        takeAway();
        byId("basket-title").focus(); // the button that had the focus is gone
      },
    }, "×"));

  choice.addEventListener("change", show);
  byId("basket-toggle").addEventListener("click", () => {
    const isOpen = basket.classList.toggle("is-open");
    byId("basket-toggle").setAttribute("aria-expanded", String(isOpen));
  });
  byId("hold-seats").addEventListener("click", onHold);
  show();
  return { total: () => price(total()) };
}
