// How does the seat map look from somewhere?
//
// Far away it shows blocks, tinted by zone and by how much is free; near enough it shows seats, and
// only those in view. Colour is never the only sign: what is taken is a small square, and a block
// with nothing free is hatched. What is chosen or pointed at lies over this (overlay.js).
//
// Drawing a stadium takes longer than a frame, so it is done in a worker (map-worker.js).

import { count } from "./format.js";
import { pathOf } from "./geometry.js";
import { freeBetween, inkOn } from "./seats.js";

const SEATS_FROM_PX = 4.5; // between neighbours; below this a seat would be a speck
const ROUND_FROM_PX = 8; // smaller ones are squares, which are quicker to fill
const NUMBERS_FROM_PX = 22;
const SIGNS_FROM_PX = 13; // who looks for a space for a wheelchair sees them sooner than numbers
const ROW_LABELS_FROM_PX = 15;
const SIGNS = { accessible: "♿", companion: "+1", restricted: "!" };

/// Draws on `canvas` what it is told of: `draw(scene)`, and then `redraw(seats)` for seats of the same
/// scene that have become free or taken.
export function createScene(canvas, geometry, zones) {
  const context = canvas.getContext("2d");
  const zoneOf = new Map(zones.map((zone) => [zone.id, zone]));
  const parts = [...geometry.blocks, ...geometry.areas].map((part) => ({
    ...part,
    isArea: part.rowFirst === undefined,
    zone: zoneOf.get(part.zone),
    path: pathOf(part.outline),
    free: 0,
  }));
  const marks = new Map(geometry.marks);
  const { x: seatX, y: seatY, pitch } = geometry;
  let plane = new Uint8Array(Math.ceil(geometry.places / 8));
  let theme = null;
  let view, size, ratio, zonesShown; // of the scene that is drawn

  function setPlane(next) {
    plane = next;
    for (const part of parts) part.free = freeBetween(plane, part.first, part.end);
  }

  /// Returns the parts whose seats these are.
  function change(seats, areTaken) {
    const changed = new Set();
    seats.forEach((seat, at) => {
      if (areTaken[at]) plane[seat >> 3] |= 1 << (seat & 7);
      else plane[seat >> 3] &= ~(1 << (seat & 7));
    });
    for (const part of parts) {
      const had = part.free;
      if (!seats.some((seat) => seat >= part.first && seat < part.end)) continue;
      part.free = freeBetween(plane, part.first, part.end);
      changed.add(part);
      part.wasSoldOut = had === 0;
    }
    return changed;
  }

  const isTaken = (seat) => ((plane[seat >> 3] >> (seat & 7)) & 1) === 1;
  const pitchPx = () => pitch * view.scale;
  const onScreen = () => context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const onMap = () => context.setTransform(ratio * view.scale, 0, 0, ratio * view.scale, ratio * view.x, ratio * view.y);
  const showsSeats = () => pitchPx() >= SEATS_FROM_PX;

  /// `view` is where the map lies on a sheet of this `size`; `zonesShown` those in full colour, or null for all.
  function draw(scene) {
    ({ view, size, ratio, zonesShown } = scene);
    const [width, height] = [Math.round(size.width * ratio), Math.round(size.height * ratio)];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    onScreen();
    context.fillStyle = theme.ground;
    context.fillRect(0, 0, size.width, size.height);
    onMap();
    drawField();
    const inView = parts.filter(isInView);
    for (const part of inView) drawPart(part);
    if (showsSeats()) for (const part of inView) if (!part.isArea) drawSeats(part);
    onScreen();
    for (const part of inView) drawLabel(part);
    if (pitchPx() >= ROW_LABELS_FROM_PX) for (const part of inView) if (!part.isArea) drawRowLabels(part);
  }

  /// Draws these seats over, or their blocks where seats are too small to be seen. Draws everything
  /// where that would leave traces.
  function redraw(seats, changed) {
    if (!view) return;
    const isOther = [...changed].some((part) => part.wasSoldOut !== (part.free === 0));
    if (isOther || zonesShown !== null) return draw({ view, size, ratio, zonesShown });
    onMap();
    if (!showsSeats()) {
      const inView = [...changed].filter(isInView);
      for (const part of inView) drawPart(part);
      onScreen();
      for (const part of inView) drawLabel(part);
      return;
    }
    for (const part of changed) {
      if (part.isArea) drawPart(part);
      else drawSeatsOver(part, seats.filter((seat) => seat >= part.first && seat < part.end));
    }
    onScreen();
    for (const part of changed) if (part.isArea) drawLabel(part);
  }

  function drawSeatsOver(block, seats) {
    const half = pitch * 0.41; // between what a seat takes up and where its neighbours begin
    const inView = seats.filter(isSeatInView());
    context.fillStyle = fillOf(block, true);
    context.beginPath();
    for (const seat of inView) {
      if (pitchPx() < ROUND_FROM_PX) {
        context.rect(seatX[seat] - half, seatY[seat] - half, 2 * half, 2 * half);
        continue;
      }
      context.moveTo(seatX[seat] + half, seatY[seat]);
      context.arc(seatX[seat], seatY[seat], half, 0, 2 * Math.PI);
    }
    context.fill();
    fillSeats(block, inView);
    if (pitchPx() < NUMBERS_FROM_PX) return;
    for (const seat of inView) drawNumber(block, seat, seat - block.rowFirst.findLast((first) => first <= seat) + 1);
  }

  const isInView = ({ box }) =>
    box.right * view.scale + view.x > 0 && box.left * view.scale + view.x < size.width &&
    box.bottom * view.scale + view.y > 0 && box.top * view.scale + view.y < size.height;

  function isSeatInView() {
    const [left, top] = [(-10 - view.x) / view.scale, (-10 - view.y) / view.scale];
    const [right, bottom] = [(size.width + 10 - view.x) / view.scale, (size.height + 10 - view.y) / view.scale];
    return (seat) => seatX[seat] >= left && seatX[seat] <= right && seatY[seat] >= top && seatY[seat] <= bottom;
  }

  function drawField() {
    const { x, y, w, h } = geometry.field;
    const line = Math.min(w, h);
    context.fillStyle = theme.field;
    context.fillRect(x, y, w, h);
    context.strokeStyle = theme.fieldLine;
    context.lineWidth = Math.max(line * 0.006, 1 / view.scale);
    const inset = line * 0.05;
    const [left, top, right, bottom] = [x + inset, y + inset, x + w - inset, y + h - inset];
    const isWide = w >= h;
    context.beginPath();
    context.rect(left, top, right - left, bottom - top);
    if (geometry.areas.length === 0) { // a pitch; a house with standing room has a stage
      context.moveTo(isWide ? x + w / 2 : left, isWide ? top : y + h / 2);
      context.lineTo(isWide ? x + w / 2 : right, isWide ? bottom : y + h / 2);
      const deep = Math.max(w, h) * 0.13;
      const broad = line * 0.27;
      if (isWide) {
        context.rect(left, y + h / 2 - broad, deep, 2 * broad);
        context.rect(right - deep, y + h / 2 - broad, deep, 2 * broad);
      } else {
        context.rect(x + w / 2 - broad, top, 2 * broad, deep);
        context.rect(x + w / 2 - broad, bottom - deep, 2 * broad, deep);
      }
      context.moveTo(x + w / 2 + line * 0.13, y + h / 2);
      context.arc(x + w / 2, y + h / 2, line * 0.13, 0, 2 * Math.PI);
    }
    context.stroke();
  }

  const isFaded = (part) => zonesShown !== null && !zonesShown.includes(part.zone.id);

  function fillOf(part, withSeats) {
    if (part.free === 0) return theme.soldOut;
    if (withSeats) return mix(part.zone.color, theme.ground, 0.12);
    return mix(part.zone.color, theme.ground, 0.35 + 0.65 * (part.free / (part.end - part.first)) ** 0.6);
  }

  function drawPart(part) {
    const withSeats = showsSeats() && !part.isArea;
    context.globalAlpha = isFaded(part) ? 0.22 : 1;
    context.fillStyle = fillOf(part, withSeats);
    context.fill(part.path);
    if (part.free === 0 && !withSeats) {
      const hatch = context.createPattern(theme.hatch, "repeat");
      hatch.setTransform(new DOMMatrix().scale(0.5 / view.scale));
      context.fillStyle = hatch;
      context.fill(part.path);
    }
    context.lineWidth = 1 / view.scale;
    context.strokeStyle = part.free === 0 ? theme.soldOutLine : mix(part.zone.color, theme.ink, 0.75);
    context.stroke(part.path);
    context.globalAlpha = 1;
  }

  function drawSeats(block) {
    const inView = isSeatInView();
    const shown = [];
    for (let seat = block.first; seat < block.end; seat += 1) if (inView(seat)) shown.push(seat);
    context.globalAlpha = isFaded(block) ? 0.3 : 1;
    fillSeats(block, shown);
    context.globalAlpha = 1;
    if (pitchPx() < SIGNS_FROM_PX) return;
    const isSaid = pitchPx() < NUMBERS_FROM_PX ? (seat) => marks.has(seat) : () => true;
    block.rowFirst.forEach((first, row) => {
      const end = block.rowFirst[row + 1] ?? block.end;
      for (let seat = first; seat < end; seat += 1) if (inView(seat) && isSaid(seat)) drawNumber(block, seat, seat - first + 1);
    });
  }

  function fillSeats(block, shown) {
    const radius = pitch * 0.38;
    const speck = pitch * 0.11;
    const space = pitch * 0.45; // of a wheelchair: square among round ones
    const free = new Path2D();
    const taken = new Path2D();
    for (const seat of shown) {
      const x = seatX[seat];
      const y = seatY[seat];
      if (isTaken(seat)) taken.rect(x - speck, y - speck, 2 * speck, 2 * speck);
      else if (pitchPx() < ROUND_FROM_PX) free.rect(x - radius, y - radius, 2 * radius, 2 * radius);
      else if (marks.get(seat) === "accessible") free.rect(x - space, y - space, 2 * space, 2 * space);
      else {
        free.moveTo(x + radius, y);
        free.arc(x, y, radius, 0, 2 * Math.PI);
      }
    }
    context.fillStyle = theme.taken;
    context.fill(taken);
    context.fillStyle = block.zone.color;
    context.fill(free);
  }

  function drawNumber(block, seat, number) {
    if (isTaken(seat)) return;
    const sign = SIGNS[marks.get(seat)];
    context.font = `600 ${pitch * (sign === SIGNS.accessible ? 0.72 : sign ? 0.5 : 0.36)}px ${theme.font}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillStyle = block.zone.ink;
    context.fillText(sign ?? number, seatX[seat], seatY[seat] + pitch * 0.02);
  }

  function drawLabel(part) {
    if (showsSeats() && !part.isArea) return;
    const roomPx = part.room * view.scale;
    if (roomPx < 16 || isFaded(part)) return;
    const fill = fillOf(part, false);
    const [x, y] = [part.middle[0] * view.scale + view.x, part.middle[1] * view.scale + view.y];
    const isRoomy = roomPx >= 52;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillStyle = part.free === 0 ? theme.soft : inkOn(fill);
    context.font = `700 ${isRoomy ? 14 : Math.min(Math.max(roomPx * 0.5, 9), 13)}px ${theme.font}`;
    context.fillText(part.label, x, isRoomy ? y - 8 : y);
    if (!isRoomy) return;
    context.font = `500 11.5px ${theme.font}`;
    context.fillText(part.free === 0 ? "none free" : `${count(part.free)} free`, x, y + 9);
  }

  function drawRowLabels(block) {
    context.font = `600 11px ${theme.font}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillStyle = theme.soft;
    block.rowFirst.forEach((first, row) => {
      if ((block.rowFirst[row + 1] ?? block.end) - first < 2) return;
      const besideX = (seatX[first] + (seatX[first] - seatX[first + 1]) * 0.9) * view.scale + view.x;
      const besideY = (seatY[first] + (seatY[first] - seatY[first + 1]) * 0.9) * view.scale + view.y;
      context.fillText(block.rowLabels[row], besideX, besideY);
    });
  }

  return {
    setPlane,
    change,
    draw,
    redraw,
    setTheme: (next) => (theme = { ...next, hatch: hatchOf(next.soldOutLine) }),
  };
}

function hatchOf(color) {
  const tile = new OffscreenCanvas(12, 12);
  const context = tile.getContext("2d");
  context.strokeStyle = color;
  context.lineWidth = 1.5;
  context.beginPath();
  for (const shift of [-12, 0, 12]) {
    context.moveTo(shift, 12);
    context.lineTo(shift + 12, 0);
  }
  context.stroke();
  return tile;
}

const channels = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
const hex = (channel) => Math.round(channel).toString(16).padStart(2, "0");

/// `share` of a colour on a ground.
function mix(color, ground, share) {
  const under = channels(ground);
  return `#${channels(color).map((channel, at) => hex(channel * share + under[at] * (1 - share))).join("")}`;
}
