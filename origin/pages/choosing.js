// How does a visitor come from a stadium full of seats to a few that are held?
//
// Three ways lead to the same choice: best available, the map, the list of blocks. The basket
// shows the choice, and holding it is the only thing here that the origin hears of.

import { ask, eventPath, Refusal, seatModes } from "./api.js";
import { watchSeats } from "./availability.js";
import { Choice } from "./choice.js";
import { announce, byId, el, zoneMark } from "./dom.js";
import { count, money, plural } from "./format.js";
import { createMap } from "./map.js";
import { createRows } from "./rows.js";
import { Seats, seatName } from "./seats.js";

/// What is shown at each level of the seat map (origin/LIVE.md), and what is said about it.
const SHOWN = {
  "map": { shows: "seats", note: "" },
  "slow-map": { shows: "seats", note: "Many people are choosing right now, so the map follows every two seconds." },
  "polled": { shows: "seats", note: "Many people are choosing right now, so the map is brought up to date every few seconds." },
  "list": {
    shows: "zones",
    note: "So many people are choosing that the seat map takes a break. Say where and how many, and we find the best seats together. The map comes back by itself.",
  },
  "best-only": {
    shows: "best",
    note: "The box office is very busy. Best available still works, and it is the quickest way to seats.",
  },
  "paused": {
    shows: "nothing",
    note: "The sale is paused for the moment. Seats that somebody holds stay theirs, and this page goes on by itself when the sale does.",
  },
};

/// Sets the page up for choosing, with the map and what is known of its seats. `onHold(hold)` gets
/// the seats that were held, `onPassEnded()` is called when the visitor may no longer shop.
export function createChoosing(event, map, known, { onHold, onPassEnded }) {
  const seats = new Seats(map, event.zones, known);
  const choice = new Choice(event.seats_per_order_max);
  const zones = seats.zones.filter((zone) => seats.blocks.some((block) => block.zone === zone));
  const price = (minor) => money(minor, event.currency);
  let watch = null;

  const seatMap = createMap(byId("map"), seats, choice, {
    seat: toggle,
    block: (block) => rows.showBlock(block),
    point: showPointed,
  });
  const rows = createRows(seats, choice, event.currency, { onSeat: toggle, onBlock: seatMap.showBlock });

  // --- availability -----------------------------------------------------------------------------

  function start() {
    byId("choosing").hidden = false;
    showMode();
    watch = watchSeats(event.id, known, { seats: onSeats, zones: showZones, mode: showMode, failure: onFailure });
  }

  function stop() {
    byId("choosing").hidden = true;
    byId("mode-note").hidden = true;
    watch?.stop();
    choice.clear();
  }

  function onSeats(changed) {
    byId("connection").hidden = true;
    if (changed.length > 0) showSeats(changed);
  }

  function onFailure(error) {
    if (error instanceof Refusal && error.isPassEnded) return onPassEnded();
    byId("connection").hidden = false;
  }

  function showSeats(changed) {
    const blocks = seats.follow(changed);
    const lost = choice.drop(changed.filter((seat) => seats.isTaken(seat)));
    if (lost.length > 0) tellLost(lost);
    rows.refresh(blocks);
    seatMap.seatsChanged(changed);
    showCounts();
  }

  function showCounts() {
    showFree(seats.blocks.reduce((sum, block) => sum + block.free, 0), (zone) => seats.freeInZone(zone));
  }

  function showZones(told) {
    byId("connection").hidden = true;
    const free = new Map(told.zones.map((zone) => [zone.id, zone.free]));
    showFree(told.free, (zone) => free.get(zone.id) ?? 0);
  }

  function showFree(free, freeIn) {
    byId("free-count").textContent = `${plural(free, "seat")} free`;
    for (const zone of zones) {
      const zoneFree = freeIn(zone);
      byId(`zone-free-${zone.number}`).textContent = zoneFree === 0 ? "none free" : `${count(zoneFree)} free`;
      byId(`zone-option-${zone.number}`).disabled = zoneFree === 0;
    }
  }

  /// Shows as much as the box office can afford. What was chosen stays chosen meanwhile.
  function showMode() {
    const { shows, note: words } = SHOWN[seatModes.current] ?? SHOWN.map;
    byId("choosing").dataset.shows = shows;
    byId("map-title").textContent = shows === "zones" ? "Free seats by zone" : "Choose on the map";
    byId("best-hold").disabled = shows === "nothing";
    note(byId("mode-note"), words);
    if (shows === "seats") showCounts();
  }

  // --- zones and best available -----------------------------------------------------------------

  const bestZone = byId("best-zone");
  const quantity = byId("best-quantity");
  quantity.max = event.seats_per_order_max;
  for (const zone of zones) {
    bestZone.append(el("option", { value: zone.id, id: `zone-option-${zone.number}` }, `${zone.name}, ${price(zone.price)}`));
    byId("legend").append(el("li", {},
      el("button", { type: "button", "aria-pressed": "false", onclick: (click) => highlight(zone, click.currentTarget) },
        zoneMark(zone),
        el("span", { class: "zone-name" }, zone.name),
        el("span", { class: "zone-price" }, price(zone.price)),
        el("span", { class: "zone-free", id: `zone-free-${zone.number}` }, "…"))));
  }

  function highlight(zone, button) {
    const isOn = button.getAttribute("aria-pressed") !== "true";
    for (const other of byId("legend").querySelectorAll("button")) other.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-pressed", String(isOn));
    seatMap.showZone(isOn ? zone : null);
    if (byId("choosing").dataset.shows === "zones") bestZone.value = isOn ? zone.id : ""; // the map rests
  }

  const quantityWanted = () => Math.min(Math.max(Math.round(Number(quantity.value)) || 1, 1), event.seats_per_order_max);
  function showQuantity(wanted) {
    quantity.value = wanted;
    byId("fewer").setAttribute("aria-disabled", String(wanted <= 1));
    byId("more").setAttribute("aria-disabled", String(wanted >= event.seats_per_order_max));
    byId("best-hold").textContent = wanted === 1 ? "Hold the best seat" : `Hold the best ${wanted} together`;
  }
  const step = (by) => {
    quantity.value = quantityWanted() + by;
    showQuantity(quantityWanted());
  };
  byId("fewer").addEventListener("click", () => step(-1));
  byId("more").addEventListener("click", () => step(1));
  quantity.addEventListener("change", () => step(0));
  showQuantity(quantityWanted());

  byId("best").addEventListener("submit", (submit) => {
    submit.preventDefault();
    showQuantity(quantityWanted());
    const best = { quantity: quantityWanted(), ...(bestZone.value ? { zone: bestZone.value } : {}) };
    hold({ best }, byId("best-hold"), byId("best-note"));
  });

  // --- map --------------------------------------------------------------------------------------

  byId("zoom-in").addEventListener("click", seatMap.zoomIn);
  byId("zoom-out").addEventListener("click", seatMap.zoomOut);
  byId("zoom-whole").addEventListener("click", seatMap.showWhole);

  const pointedHint = byId("pointed").textContent;
  let pointed = null;
  function showPointed(found) {
    pointed = found;
    byId("pointed").replaceChildren(...(found ? pointedWords(found) : [pointedHint]));
  }

  function pointedWords({ block, seat }) {
    if (seat === null) {
      const free = block.free === 0 ? "none free" : `${count(block.free)} of ${count(block.seats)} free`;
      return [zoneMark(block.zone), el("strong", {}, `Block ${block.label}`), ` ${price(block.zone.price)}, ${free}`];
    }
    const state = choice.has(seat) ? "chosen by you" : seats.isTaken(seat) ? "taken" : price(block.zone.price);
    return [zoneMark(block.zone), el("strong", {}, seatName(seats.describe(seat))), ` ${state}`];
  }

  // --- basket -----------------------------------------------------------------------------------

  function toggle(seat) {
    const name = seatName(seats.describe(seat));
    if (!choice.has(seat) && seats.isTaken(seat)) return announce(`${name} is taken.`);
    const outcome = choice.toggle(seat);
    if (outcome === "full") {
      return note(byId("basket-note"), `An order has at most ${plural(choice.seatsMax, "seat")}. Take one away to choose another.`);
    }
    note(byId("basket-note"), "");
    announce(`${name} ${outcome}. ${plural(choice.size, "seat")} chosen, ${price(total())}.`);
  }

  const total = () => choice.seats.reduce((sum, seat) => sum + seats.describe(seat).zone.price, 0);

  function showBasket() {
    const basket = byId("basket");
    basket.dataset.count = choice.size;
    document.body.classList.toggle("has-basket", choice.size > 0);
    byId("basket-count").textContent = choice.size === 0 ? "" : `${choice.size} of ${choice.seatsMax}`;
    byId("basket-total").textContent = price(total());
    byId("basket-seats").replaceChildren(...choice.seats.map((seat) => {
      const described = seats.describe(seat);
      return el("li", {},
        zoneMark(described.zone),
        el("span", { class: "seat-words" },
          el("strong", {}, seatName(described)),
          el("span", {}, `${described.zone.name}, ${price(described.zone.price)}`)),
        el("button", { type: "button", class: "icon", "aria-label": `Take away ${seatName(described)}`, onclick: () => takeAway(seat) }, "×"));
    }));
  }

  function takeAway(seat) {
    toggle(seat);
    byId("basket-title").focus(); // the button that had the focus is gone
  }

  function tellLost(lost) {
    const names = lost.map((seat) => seatName(seats.describe(seat))).join("; ");
    const rest = choice.size > 0 ? " Your other seats are still chosen." : "";
    note(byId("basket-note"), `Somebody was faster: ${names} ${lost.length === 1 ? "is" : "are"} taken.${rest}`);
  }

  choice.addEventListener("change", () => {
    showBasket();
    showPointed(pointed);
  });
  showBasket();

  byId("basket-toggle").addEventListener("click", () => {
    const isOpen = byId("basket").classList.toggle("is-open");
    byId("basket-toggle").setAttribute("aria-expanded", String(isOpen));
  });
  byId("hold-seats").addEventListener("click", () => {
    if (choice.size === 0) return note(byId("basket-note"), "Choose a seat first: on the map, or from the list of blocks.");
    hold({ seats: choice.seats }, byId("hold-seats"), byId("basket-note"));
  });

  // --- hold -------------------------------------------------------------------------------------

  let isHolding = false;

  async function hold(wanted, button, noteElement) {
    if (isHolding) return;
    isHolding = true;
    button.classList.add("is-busy");
    note(noteElement, "");
    try {
      onHold(await ask(eventPath(event.id, "/holds"), { method: "POST", body: wanted }));
    } catch (error) {
      refused(error, noteElement);
    } finally {
      isHolding = false;
      button.classList.remove("is-busy");
    }
  }

  function refused(error, noteElement) {
    if (!(error instanceof Refusal)) {
      return note(noteElement, "No answer came. Check your connection, then try again. If the seats were held after all, they come back by themselves.");
    }
    if (error.isPassEnded) return onPassEnded();
    if (error.code === "seat-taken") {
      const lost = error.problem.seats ?? [];
      choice.drop(lost);
      rows.refresh(seats.markTaken(lost));
      seatMap.seatsChanged(lost);
      showCounts();
      return tellLost(lost);
    }
    if (error.code === "mode") return; // the note on the level says it
    watch.refresh();
    if (error.code === "too-many-seats") return note(noteElement, tooMany(error.problem));
    const words = {
      "not-enough-together": "That many seats together are not left there. Try another zone, or fewer seats.",
      "no-seats": "Choose a seat first.",
    };
    note(noteElement, words[error.code] ?? "The box office is very busy. Please try again in a moment.");
  }

  return { start, stop };
}

function tooMany({ max, have }) {
  const already = have > 0 ? `, and you have ${count(have)} already` : "";
  return `One visitor may have at most ${plural(max, "seat")}${already}.`;
}

/// Words beside a control, read out because the element is a live region.
function note(element, text) {
  element.textContent = text;
  element.hidden = text === "";
}
