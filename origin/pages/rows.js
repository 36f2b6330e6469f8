// How are seats chosen without the map? Block, then row, then a line of seat buttons.
//
// The buttons are one stop for the tab key: arrows walk along the row and, up and down, to the
// rows in front and behind.

import { byId, el } from "./dom.js";
import { money, plural } from "./format.js";
import { MARKS } from "./seats.js";

/// Fills the list of blocks. `onSeat(seat)` tells which seat was chosen, `onBlock(block)` which
/// block is looked at.
export function createRows(seats, choice, currency, { onSeat, onBlock }) {
  const blockSelect = byId("block-select");
  const rowSelect = byId("row-select");
  const buttons = byId("seat-buttons");
  const spaces = seats.geometry.marks.filter(([, mark]) => mark === "accessible").map(([seat]) => seat);
  let block = null;
  let row = null;

  const blockOptions = new Map();
  for (const zone of seats.zones) {
    const ofZone = seats.blocks.filter((block) => block.zone === zone);
    if (ofZone.length === 0) continue;
    const options = ofZone.map((block) => {
      const option = el("option", { value: block.index });
      blockOptions.set(block, option);
      return option;
    });
    blockSelect.append(el("optgroup", { label: `${zone.name}, ${money(zone.price, currency)}` }, ...options));
  }

  blockSelect.addEventListener("change", () => {
    showBlock(seats.blocks[Number(blockSelect.value)]);
    onBlock(block);
  });
  rowSelect.addEventListener("change", () => showRow(block.rows[Number(rowSelect.value)]));

  function showBlock(next) {
    if (next === block) return;
    block = next;
    blockSelect.value = String(block.index);
    rowSelect.replaceChildren(...block.rows.map((_, at) => el("option", { value: at })));
    byId("rows").hidden = false;
    refresh(new Set([block]));
    showRow(block.rows.find((row) => seats.freeInRow(row) > 0) ?? block.rows[0]);
  }

  function showRow(next) {
    row = next;
    rowSelect.value = String(block.rows.indexOf(row));
    buttons.setAttribute("aria-label", `Seats in block ${block.label}, row ${row.label}`);
    buttons.replaceChildren(...Array.from({ length: row.end - row.first }, (_, position) =>
      el("button", {
        type: "button",
        class: "seat",
        tabindex: position === 0 ? 0 : -1,
        "data-test": "seat-button",
        "data-seat": row.first + position,
        onclick: () => onSeat(row.first + position),
        onfocus: (event) => makeStop(event.currentTarget),
      }, String(position + 1))));
    refreshButtons();
    const firstFree = [...buttons.children].find((button) => button.getAttribute("aria-disabled") !== "true");
    if (firstFree) makeStop(firstFree);
  }

  function makeStop(button) {
    for (const other of buttons.children) other.tabIndex = other === button ? 0 : -1;
  }

  buttons.addEventListener("keydown", (event) => {
    const position = [...buttons.children].indexOf(document.activeElement);
    if (position < 0) return;
    const rowAt = block.rows.indexOf(row);
    const moves = {
      ArrowLeft: () => [rowAt, position - 1],
      ArrowRight: () => [rowAt, position + 1],
      ArrowUp: () => [rowAt - 1, position],
      ArrowDown: () => [rowAt + 1, position],
      Home: () => [rowAt, 0],
      End: () => [rowAt, buttons.children.length - 1],
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    const [toRow, toPosition] = moves[event.key]();
    if (!block.rows[toRow]) return;
    if (toRow !== rowAt) showRow(block.rows[toRow]);
    buttons.children[Math.min(Math.max(toPosition, 0), buttons.children.length - 1)].focus();
  });

  /// Brings counts and buttons of these blocks up to date, leaving the focus where it is.
  function refresh(changed) {
    for (const other of changed) {
      if (other.isArea) continue;
      blockOptions.get(other).textContent = `Block ${other.label}: ${other.free === 0 ? "none free" : `${other.free} free`}`;
    }
    if (!block || !changed.has(block)) return;
    block.rows.forEach((row, at) => {
      const free = seats.freeInRow(row);
      const wheels = freeSpaces(row.first, row.end) ? ", with wheelchair spaces" : "";
      rowSelect.options[at].textContent = `Row ${row.label}: ${free === 0 ? "none free" : `${free} free`}${wheels}`;
    });
    byId("block-facts").textContent =
      `${block.zone.name}, ${money(block.zone.price, currency)} a seat, ${plural(block.free, "seat")} free in this block.${marksIn(block)}`;
    refreshButtons();
  }

  /// Whether somebody in a wheelchair finds a space among these.
  function freeSpaces(first, end) {
    return spaces.some((seat) => seat >= first && seat < end && !seats.isTaken(seat));
  }

  function marksIn(block) {
    const has = (mark) => seats.geometry.marks.some(([seat, of]) => of === mark && seat >= block.first && seat < block.end && !seats.isTaken(seat));
    return `${has("accessible") ? ` Wheelchair spaces are marked ♿${has("companion") ? " and have a companion's seat, marked +1, beside them" : ""}.` : ""}${has("restricted") ? " Seats marked ! have a restricted view." : ""}`;
  }

  function refreshButtons() {
    for (const button of buttons.children) {
      const seat = Number(button.dataset.seat);
      const isChosen = choice.has(seat);
      const isTaken = !isChosen && seats.isTaken(seat);
      button.setAttribute("aria-pressed", String(isChosen));
      button.setAttribute("aria-disabled", String(isTaken));
      const mark = MARKS[seats.marks.get(seat)];
      button.setAttribute("aria-label", `Seat ${button.textContent}${mark ? `, ${mark}` : ""}${isTaken ? ", taken" : ""}`);
      button.title = mark ?? "";
      if (mark) button.dataset.mark = seats.marks.get(seat);
    }
  }

  choice.addEventListener("change", refreshButtons);
  refresh(new Set(blockOptions.keys()));
  return { refresh, showBlock };
}
