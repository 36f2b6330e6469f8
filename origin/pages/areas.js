// How are places chosen where nobody has a seat of their own? By count, area by area.

import { byId, el, zoneMark } from "./dom.js";
import { count, money } from "./format.js";
import { createStepper } from "./stepper.js";

/// Fills the list of areas, if the house has any. `showLevel(hasCounts)` says whether we know how many
/// places are free.
export function createAreas(seats, choice, currency, { onFull }) {
  const steppers = seats.areas.map((area, at) => {
    const stepper = createStepper({
      id: `area-${at}`, label: `How many in ${area.label}`, fewer: `One place fewer in ${area.label}`, more: `One place more in ${area.label}`,
      min: 0, max: choice.seatsMax, value: 0, mark: "area-quantity",
    }, (wanted) => {
      const got = choice.setQuantity(area.id, wanted);
      if (got < wanted) onFull();
      stepper.show(got);
    });
    const free = el("span", { class: "quiet" });
    const item = el("li", { class: "area", id: `area-item-${at}`, "data-test": "area" },
      zoneMark(area.zone),
      el("span", { class: "seat-words" }, el("strong", {}, area.label), el("span", {}, `${area.zone.name}, ${money(area.zone.price, currency)} each`), free),
      stepper.element);
    return { area, stepper, free, item };
  });
  byId("areas").replaceChildren(...steppers.map(({ item }) => item));
  byId("by-area").hidden = steppers.length === 0;

  /// Brings counts up to date; without counts the box office has no time to tell them.
  function refresh(hasCounts = true) {
    for (const { area, stepper, free } of steppers) {
      free.textContent = hasCounts ? (area.free === 0 ? "none free" : `${count(area.free)} free`) : "";
      stepper.setMax(hasCounts ? Math.max(Math.min(area.free, choice.seatsMax), choice.quantityIn(area.id)) : choice.seatsMax);
    }
  }

  choice.addEventListener("change", () => {
    for (const { area, stepper } of steppers) stepper.show(choice.quantityIn(area.id));
  });

  return {
    refresh,
    /// Takes the visitor to an area that was pointed at on the map.
    show(area) {
      const { item } = steppers[area.index];
      item.scrollIntoView({ block: "center" });
      item.querySelector("input").focus({ preventScroll: true });
    },
  };
}
