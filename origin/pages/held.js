// How do held seats read in a list? One line a seat, and one for all places of an area.

import { el, zoneMark } from "./dom.js";
import { money } from "./format.js";
import { MARKS, seatName } from "./seats.js";

/// Items for a list of `hold`'s seats.
export function heldItems(hold, zones) {
  const lines = [];
  const areas = new Map();
  for (const seat of hold.seats) {
    const known = seat.row === "" ? areas.get(seat.block) : null;
    if (known) {
      known.count += 1;
      known.price += seat.price;
      continue;
    }
    const line = { seat, count: 1, price: seat.price };
    if (seat.row === "") areas.set(seat.block, line);
    lines.push(line);
  }
  return lines.map(({ seat, count, price }) => {
    const zone = zones.find((zone) => zone.id === seat.zone);
    return el("li", {},
      zone ? zoneMark(zone) : null,
      el("span", { class: "seat-words" }, el("strong", {}, count > 1 ? `${seat.block}, ${count} places` : seatName(seat)), el("span", {}, [zone?.name, MARKS[seat.attribute]].filter(Boolean).join(", "))),
      el("span", { class: "price" }, money(price, hold.currency, { isExact: true })));
  });
}
