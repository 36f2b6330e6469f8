// How does a visitor come from a stadium full of seats to a few that are held?
//
// Best available, the map, the list of blocks and the areas lead to the same hold, and holding is the
// only thing here that the origin hears of. What is shown follows the level of the seat map.

import { ask, eventPath, Refusal, seatModes, serverNow } from "./api.js";
import { createAreas } from "./areas.js";
import { watchSeats } from "./availability.js";
import { createBasket } from "./basket.js";
import { createBest } from "./best.js";
import { Choice } from "./choice.js";
import { announce, breathe, byId, el, zoneMark } from "./dom.js";
import { count, money, moment, plural } from "./format.js";
import { createJoin } from "./join.js";
import { createMap } from "./map.js";
import { reasonFor } from "./reasons.js";
import { createRows } from "./rows.js";
import { Seats, seatName } from "./seats.js";

const ASKS_MAX = 4; // for a hold, while the box office is too busy to look

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
/// the seats that were held, `onPassEnded()` is called when the visitor may no longer shop. Made in
/// pieces, so that the page answers meanwhile.
export async function createChoosing(event, { geometry, worker }, known, { onHold, onPassEnded }) {
  const seats = new Seats(geometry, event.zones, known);
  await breathe();
  const choice = new Choice(event.seats_per_order_max);
  const zones = seats.zones.filter((zone) => seats.parts.some((part) => part.zone === zone));
  const seatZones = seats.zones.filter((zone) => seats.blocks.some((block) => block.zone === zone));
  const price = (minor) => money(minor, event.currency);
  const marks = new Set(geometry.marks.map(([, mark]) => mark));
  for (const mark of marks) byId(`sign-${mark}`).hidden = false;
  let watch = null;
  let bestOnlyUntil = 0; // an organiser's wish; a refusal tells when it has changed

  const full = () => note(byId("basket-note"), `An order has at most ${plural(choice.seatsMax, "seat")}. Take one away to choose another.`);
  const areas = createAreas(seats, choice, event.currency, { onFull: full });
  const seatMap = worker
    ? createMap(byId("map"), seats, choice, worker, { seat: toggle, block: (block) => rows.showBlock(block), area: areas.show, point: showPointed })
    : null;
  await breathe();
  byId("choosing").classList.toggle("has-no-map", seatMap === null);
  const rows = createRows(seats, choice, event.currency, { onSeat: toggle, onBlock: (block) => seatMap?.showPart(block) });
  await breathe();
  const best = createBest(seatZones, event.seats_per_order_max, event.currency, marks.has("accessible"), {
    onAsk: (best) => hold({ best }, byId("best-hold"), byId("best-note")),
    onLimit: (ids) => seatMap?.showZones(ids),
  });
  const join = createJoin(event, seatZones, { onPassEnded });
  await breathe();
  const basket = createBasket(seats, choice, event.currency, {
    onTakeAway: toggle,
    onHold: () => {
      if (choice.size === 0) return note(byId("basket-note"), "Choose a seat first: on the map, or from the list of blocks.");
      const picked = choice.areas.map(([area, quantity]) => ({ area, quantity }));
      hold({ ...(choice.seats.length > 0 ? { seats: choice.seats } : {}), ...(picked.length > 0 ? { areas: picked } : {}) }, byId("hold-seats"), byId("basket-note"));
    },
  });

  // --- availability -----------------------------------------------------------------------------

  function start() {
    byId("choosing").hidden = false;
    if (event.best_only_until) waitForPicking(event.best_only_until);
    else showMode();
    watch = watchSeats(event.id, known, { seats: onSeats, zones: showZones, mode: showMode, failure: onFailure });
  }

  function stop() {
    byId("choosing").hidden = true;
    byId("waitlist").hidden = true;
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
    const parts = seats.follow(changed);
    const lost = choice.drop(changed.filter((seat) => seats.isTaken(seat)));
    if (lost.length > 0) tellLost(lost);
    rows.refresh(parts);
    seatMap?.seatsChanged(changed);
    showCounts();
  }

  function showCounts() {
    areas.refresh();
    showFree(seats.free, (zone) => seats.freeInZone(zone));
  }

  function showZones(told) {
    byId("connection").hidden = true;
    areas.refresh(false);
    const free = new Map(told.zones.map((zone) => [zone.id, zone.free]));
    showFree(told.free, (zone) => free.get(zone.id) ?? null);
  }

  function showFree(free, freeIn) {
    byId("free-count").textContent = `${plural(free, "seat")} free`;
    for (const zone of zones) {
      const zoneFree = freeIn(zone);
      byId(`zone-free-${zone.number}`).textContent = zoneFree === null ? "" : zoneFree === 0 ? "none free" : `${count(zoneFree)} free`;
      if (seatZones.includes(zone)) best.showFree(zone, zoneFree);
    }
    const wanted = best.quantity;
    const isTooFew = seatZones.some((zone) => (freeIn(zone) ?? Infinity) < wanted);
    if (free === 0) join.show(true, {});
    else if (isTooFew) join.show(false, {});
    else join.hide();
  }

  /// Shows as much as the box office can afford, and the organiser wants. What was chosen stays
  /// chosen meanwhile.
  function showMode() {
    const level = SHOWN[seatModes.current] ?? SHOWN.map;
    const isBestOnly = level.shows === "seats" && serverNow() < bestOnlyUntil;
    const shows = isBestOnly ? "best" : level.shows;
    byId("choosing").dataset.shows = shows;
    byId("map-title").textContent = shows === "zones" ? "Free seats by zone" : "Choose on the map";
    byId("best-hold").disabled = shows === "nothing";
    const untilWords = `Until ${moment(bestOnlyUntil)} seats are given out as best available only, so that everybody gets some quickly. Picking them one by one opens by itself.`;
    note(byId("mode-note"), isBestOnly ? untilWords : level.note);
    if (level.shows === "seats") showCounts();
  }

  // --- zones ------------------------------------------------------------------------------------

  byId("legend").replaceChildren(...zones.map((zone) => el("li", {},
    el("button", { type: "button", "aria-pressed": "false", onclick: (click) => highlight(zone, click.currentTarget) },
      zoneMark(zone),
      el("span", { class: "zone-name" }, zone.name),
      el("span", { class: "zone-price" }, price(zone.price)),
      el("span", { class: "zone-free", id: `zone-free-${zone.number}` }, "…")))));

  function highlight(zone, button) {
    const isOn = button.getAttribute("aria-pressed") !== "true";
    for (const other of byId("legend").querySelectorAll("button")) other.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-pressed", String(isOn));
    seatMap?.showZones(isOn ? [zone.id] : null);
    if (byId("choosing").dataset.shows === "zones" && seatZones.includes(zone)) best.setZone(isOn ? zone.id : null); // the map rests
  }

  // --- map --------------------------------------------------------------------------------------

  byId("zoom-in").addEventListener("click", () => seatMap.zoomIn());
  byId("zoom-out").addEventListener("click", () => seatMap.zoomOut());
  byId("zoom-whole").addEventListener("click", () => seatMap.showWhole());

  const pointedHint = byId("pointed").textContent;
  let pointed = null;
  function showPointed(found) {
    pointed = found;
    byId("pointed").replaceChildren(...(found ? pointedWords(found) : [pointedHint]));
  }

  function pointedWords({ part, seat }) {
    if (seat === null) {
      const free = part.free === 0 ? "none free" : `${count(part.free)} of ${count(part.end - part.first)} free`;
      return [zoneMark(part.zone), el("strong", {}, part.isArea ? part.label : `Block ${part.label}`), ` ${price(part.zone.price)}, ${free}`];
    }
    const state = choice.has(seat) ? "chosen by you" : seats.isTaken(seat) ? "taken" : price(part.zone.price);
    return [zoneMark(part.zone), el("strong", {}, seatName(seats.describe(seat))), ` ${state}`];
  }

  choice.addEventListener("change", () => {
    showPointed(pointed);
    note(byId("basket-note"), "");
  });

  // --- choice -----------------------------------------------------------------------------------

  function toggle(seat) {
    const name = seatName(seats.describe(seat));
    if (!choice.has(seat) && seats.isTaken(seat)) return announce(`${name} is taken.`);
    const outcome = choice.toggle(seat);
    if (outcome === "full") return full();
    announce(`${name} ${outcome}. ${plural(choice.size, "seat")} chosen, ${basket.total()}.`);
  }

  function tellLost(lost) {
    const names = lost.map((seat) => seatName(seats.describe(seat))).join("; ");
    const rest = choice.size > 0 ? " Your other seats are still chosen." : "";
    note(byId("basket-note"), `Somebody was faster: ${names} ${lost.length === 1 ? "is" : "are"} taken.${rest}`);
  }

  // --- hold -------------------------------------------------------------------------------------

  let isHolding = false;

  async function hold(wanted, button, noteElement) {
    if (isHolding) return;
    isHolding = true;
    button.classList.add("is-busy");
    note(noteElement, "");
    try {
      onHold(await askPatiently(wanted, noteElement));
    } catch (error) {
      refused(error, wanted, noteElement);
    } finally {
      isHolding = false;
      button.classList.remove("is-busy");
    }
  }

  /// A box office that is too busy to look at a request says when to ask again; nothing has happened
  /// then, so it is asked again by itself.
  async function askPatiently(wanted, noteElement) {
    for (let asked = 1; ; asked += 1) {
      try {
        return await ask(eventPath(event.id, "/holds"), { method: "POST", body: wanted });
      } catch (error) {
        if (error.code !== "busy" || asked === ASKS_MAX) throw error;
        note(noteElement, "The box office is very busy. Asking again…");
        const jitter = 1 + Math.random();
        await new Promise((done) => setTimeout(done, (error.retryAfterSecs ?? 1) * jitter * 1000));
      }
    }
  }

  function refused(error, wanted, noteElement) {
    if (!(error instanceof Refusal)) {
      return note(noteElement, "No answer came. Check your connection, then try again. If the seats were held after all, they come back by themselves.");
    }
    if (error.isPassEnded) return onPassEnded();
    if (error.code === "mode") return; // the note on the level says it
    if (error.code === "seat-taken") return lose(error.problem.seats ?? []);
    if (error.code === "best-available-only") return waitForPicking(error.problem.until);
    if (error.code === "area-full") choice.setQuantity(error.problem.area, error.problem.left ?? 0);
    watch.refresh();
    note(noteElement, reasonFor(error).text);
    if (error.code === "not-enough-together") {
      join.show(false, { zone: best.zone, wanted: best.quantity });
      if (wanted.best?.together !== false && best.quantity > 1) best.offerApart();
    }
  }

  function lose(lost) {
    choice.drop(lost);
    const news = seats.markTaken(lost);
    rows.refresh(seats.follow(news));
    seatMap?.seatsChanged(news);
    showCounts();
    tellLost(lost);
  }

  function waitForPicking(until) {
    bestOnlyUntil = until;
    showMode();
    setTimeout(showMode, Math.min(Math.max(until - serverNow(), 0) + 500, 2 ** 31 - 1));
  }

  return { start, stop };
}

/// Words beside a control, read out because the element is a live region.
function note(element, text) {
  element.textContent = text;
  element.hidden = text === "";
}
