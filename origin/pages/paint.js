// How does the seat map look from where the visitor stands?
//
// Far away it shows blocks, tinted by zone and by how much is free; near enough it shows seats,
// and only those in view. Colour is never the only sign: what is taken is a small square, what is
// chosen has a tick, and a block with nothing free is hatched.

import { count } from "./format.js";
import { inkOn } from "./seats.js";

const SEATS_FROM_PX = 4.5; // between neighbours; below this a seat would be a speck
const ROUND_FROM_PX = 8; // smaller ones are squares, which are quicker to fill
const NUMBERS_FROM_PX = 22;

/// From this distance between neighbours on, a tap chooses a seat, and rows have their names;
/// below it a tap comes nearer instead, because it could only choose the wrong seat.
export const CHOOSE_FROM_PX = 15;

/// Draws what it is given: `paint({view, size, pointed, zoneShown})`, and then `repaint(seats)` for
/// seats of the same scene that have become free or taken.
export function createPainter(canvas, seats, shapes, choice) {
  const context = canvas.getContext("2d");
  let theme = themeOf(canvas);
  let view, size, pointed, zoneShown; // of the scene being painted
  let soldOutBlocks = new Set(); // as painted

  function paint(scene) {
    ({ view, size, pointed, zoneShown } = scene);
    onScreen();
    context.fillStyle = theme.ground;
    context.fillRect(0, 0, size.width, size.height);
    onMap();
    drawField();
    soldOutBlocks = new Set(seats.blocks.filter((block) => block.free === 0));
    const inView = shapes.filter(isInView);
    const showsSeats = pitchPx() >= SEATS_FROM_PX;
    for (const shape of inView) drawBlock(shape, showsSeats);
    if (showsSeats) for (const shape of inView) drawSeats(shape.block);
    drawChosen(showsSeats);
    onScreen();
    for (const shape of inView) drawLabel(shape, showsSeats);
    if (showsSeats) for (const shape of inView) drawRowLabels(shape.block);
  }

  /// Paints these seats over, or their blocks where seats are too small to be seen. False if that
  /// would leave traces, and everything must be painted.
  function repaint(changed) {
    if (!view || zoneShown !== null) return false;
    const blocks = new Set(changed.map((seat) => seats.blocks[seats.blockOf[seat]]));
    const isOther = (block) => (block.free === 0) !== soldOutBlocks.has(block);
    if ([...blocks].some(isOther)) return false;
    onMap();
    if (pitchPx() < SEATS_FROM_PX) {
      const inView = shapes.filter((shape) => blocks.has(shape.block) && isInView(shape));
      for (const shape of inView) drawBlock(shape, false);
      drawChosen(false);
      onScreen();
      for (const shape of inView) drawLabel(shape, false);
      return true;
    }
    if (changed.some((seat) => choice.has(seat) || seat === pointed?.seat)) return false;
    for (const block of blocks) drawSeatsOver(block, changed.filter((seat) => seats.blocks[seats.blockOf[seat]] === block));
    return true;
  }

  function drawSeatsOver(block, changed) {
    const half = seats.pitch * 0.41; // between what a seat takes up and where its neighbours begin
    const inView = changed.filter(isSeatInView());
    context.fillStyle = fillOf(block, true);
    context.beginPath();
    for (const seat of inView) {
      if (pitchPx() < ROUND_FROM_PX) {
        context.rect(seats.x[seat] - half, seats.y[seat] - half, 2 * half, 2 * half);
        continue;
      }
      context.moveTo(seats.x[seat] + half, seats.y[seat]);
      context.arc(seats.x[seat], seats.y[seat], half, 0, 2 * Math.PI);
    }
    context.fill();
    fillSeats(block, inView);
    if (pitchPx() >= NUMBERS_FROM_PX) for (const seat of inView) drawNumber(block, seat, seats.describe(seat).number);
  }

  const ratio = () => canvas.width / Math.max(size.width, 1);
  const onScreen = () => context.setTransform(ratio(), 0, 0, ratio(), 0, 0);
  const onMap = () => context.setTransform(ratio() * view.scale, 0, 0, ratio() * view.scale, ratio() * view.x, ratio() * view.y);

  const isInView = ({ box }) =>
    box.right * view.scale + view.x > 0 && box.left * view.scale + view.x < size.width &&
    box.bottom * view.scale + view.y > 0 && box.top * view.scale + view.y < size.height;

  function isSeatInView() {
    const [left, top] = toMap(-10, -10);
    const [right, bottom] = toMap(size.width + 10, size.height + 10);
    return (seat) => seats.x[seat] >= left && seats.x[seat] <= right && seats.y[seat] >= top && seats.y[seat] <= bottom;
  }

  function drawField() {
    const { x, y, w, h } = seats.map.field;
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
    context.stroke();
  }

  const isFaded = (block) => zoneShown !== null && block.zone !== zoneShown;

  function fillOf(block, showsSeats) {
    if (block.free === 0) return theme.soldOut;
    if (showsSeats) return mix(block.zone.color, theme.ground, 0.12);
    return mix(block.zone.color, theme.ground, 0.35 + 0.65 * (block.free / block.seats) ** 0.6);
  }

  function drawBlock({ block, path }, showsSeats) {
    context.globalAlpha = isFaded(block) ? 0.22 : 1;
    context.fillStyle = fillOf(block, showsSeats);
    context.fill(path);
    if (block.free === 0 && !showsSeats) {
      const hatch = context.createPattern(theme.hatch, "repeat");
      hatch.setTransform(new DOMMatrix().scale(0.5 / view.scale));
      context.fillStyle = hatch;
      context.fill(path);
    }
    const isPointed = pointed?.block === block;
    context.lineWidth = (isPointed ? 2.5 : 1) / view.scale;
    context.strokeStyle = isPointed ? theme.ink : block.free === 0 ? theme.soldOutLine : mix(block.zone.color, theme.ink, 0.75);
    context.stroke(path);
    context.globalAlpha = 1;
  }

  function drawSeats(block) {
    const inView = isSeatInView();
    const shown = [];
    for (const row of block.rows) {
      for (let seat = row.first; seat < row.first + row.seats.length; seat += 1) {
        if (inView(seat) && !choice.has(seat)) shown.push(seat);
      }
    }
    context.globalAlpha = isFaded(block) ? 0.3 : 1;
    fillSeats(block, shown);
    if (pointed?.block === block && pointed.seat !== null) {
      context.lineWidth = 2.5 / view.scale;
      context.strokeStyle = theme.ink;
      context.beginPath();
      context.arc(seats.x[pointed.seat], seats.y[pointed.seat], seats.pitch * 0.38 + 2 / view.scale, 0, 2 * Math.PI);
      context.stroke();
    }
    context.globalAlpha = 1;
    if (pitchPx() < NUMBERS_FROM_PX) return;
    for (const row of block.rows) {
      row.seats.forEach((_, position) => {
        const seat = row.first + position;
        if (inView(seat) && !choice.has(seat)) drawNumber(block, seat, position + 1);
      });
    }
  }

  function fillSeats(block, shown) {
    const radius = seats.pitch * 0.38;
    const speck = seats.pitch * 0.11;
    const free = new Path2D();
    const taken = new Path2D();
    for (const seat of shown) {
      const x = seats.x[seat];
      const y = seats.y[seat];
      if (seats.isTaken(seat)) taken.rect(x - speck, y - speck, 2 * speck, 2 * speck);
      else if (pitchPx() < ROUND_FROM_PX) free.rect(x - radius, y - radius, 2 * radius, 2 * radius);
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
    if (seats.isTaken(seat)) return;
    context.font = `600 ${seats.pitch * 0.36}px ${theme.font}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillStyle = block.zone.ink;
    context.fillText(number, seats.x[seat], seats.y[seat] + seats.pitch * 0.02);
  }

  /// Chosen seats are seen from everywhere: a ring and a tick near, a pin far away.
  function drawChosen(showsSeats) {
    const radius = showsSeats ? Math.max(seats.pitch * 0.46, 4 / view.scale) : 6 / view.scale;
    for (const seat of choice.seats) {
      const [x, y] = [seats.x[seat], seats.y[seat]];
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fillStyle = theme.ink;
      context.fill();
      context.strokeStyle = theme.ground;
      context.lineWidth = radius * 0.22;
      context.stroke();
      context.beginPath();
      context.moveTo(x - radius * 0.42, y + radius * 0.02);
      context.lineTo(x - radius * 0.1, y + radius * 0.36);
      context.lineTo(x + radius * 0.45, y - radius * 0.34);
      context.lineWidth = radius * 0.24;
      context.stroke();
    }
  }

  function drawLabel({ block, middle, room }, showsSeats) {
    if (showsSeats) return;
    const roomPx = room * view.scale;
    if (roomPx < 16 || isFaded(block)) return;
    const fill = fillOf(block, false);
    const [x, y] = [middle[0] * view.scale + view.x, middle[1] * view.scale + view.y];
    const isRoomy = roomPx >= 52;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillStyle = block.free === 0 ? theme.soft : inkOn(fill);
    context.font = `700 ${isRoomy ? 14 : clamp(roomPx * 0.5, 9, 13)}px ${theme.font}`;
    context.fillText(block.label, x, isRoomy ? y - 8 : y);
    if (!isRoomy) return;
    context.font = `500 11.5px ${theme.font}`;
    context.fillText(block.free === 0 ? "none free" : `${count(block.free)} free`, x, y + 9);
  }

  function drawRowLabels(block) {
    if (pitchPx() < CHOOSE_FROM_PX) return;
    context.font = `600 11px ${theme.font}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillStyle = theme.soft;
    for (const row of block.rows) {
      if (row.seats.length < 2) continue;
      const [[x, y], [nextX, nextY]] = row.seats;
      const besideX = (x + (x - nextX) * 0.9) * view.scale + view.x;
      const besideY = (y + (y - nextY) * 0.9) * view.scale + view.y;
      context.fillText(row.label, besideX, besideY);
    }
  }

  const pitchPx = () => seats.pitch * view.scale;
  const toMap = (x, y) => [(x - view.x) / view.scale, (y - view.y) / view.scale];

  return {
    paint,
    repaint,
    readTheme: () => (theme = themeOf(canvas)),
    isInside(path, mapX, mapY) {
      context.setTransform(1, 0, 0, 1, 0, 0);
      return context.isPointInPath(path, mapX, mapY);
    },
  };
}

/// A block as something to draw and to point at.
export function shapeOf(block) {
  const path = new Path2D();
  block.outline.forEach(([x, y], at) => (at === 0 ? path.moveTo(x, y) : path.lineTo(x, y)));
  path.closePath();
  const xs = block.outline.map(([x]) => x);
  const ys = block.outline.map(([, y]) => y);
  const box = { left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
  const middle = middleOf(block.outline);
  return { block, path, box, middle, room: roomAround(middle, block.outline) };
}

/// The width of the widest circle around a point inside an outline: what a label may take up.
function roomAround([x, y], outline) {
  const distances = outline.map(([fromX, fromY], at) => {
    const [toX, toY] = outline[(at + 1) % outline.length];
    const [alongX, alongY] = [toX - fromX, toY - fromY];
    const lengthSquared = alongX ** 2 + alongY ** 2 || 1;
    const part = clamp(((x - fromX) * alongX + (y - fromY) * alongY) / lengthSquared, 0, 1);
    return Math.hypot(x - fromX - part * alongX, y - fromY - part * alongY);
  });
  return 2 * Math.min(...distances);
}

/// The centre of a polygon's area: where a curved block's label looks centred.
function middleOf(outline) {
  let [area, sumX, sumY] = [0, 0, 0];
  outline.forEach(([x, y], at) => {
    const [nextX, nextY] = outline[(at + 1) % outline.length];
    const cross = x * nextY - nextX * y;
    area += cross;
    sumX += (x + nextX) * cross;
    sumY += (y + nextY) * cross;
  });
  return area === 0 ? outline[0] : [sumX / (3 * area), sumY / (3 * area)];
}

/// Colours come from the style sheet, so that light and dark are decided in one place.
function themeOf(canvas) {
  const style = getComputedStyle(canvas);
  const color = (name) => style.getPropertyValue(name).trim();
  const theme = {
    ground: color("--map-ground"),
    ink: color("--ink"),
    soft: color("--soft-ink"),
    taken: color("--map-taken"),
    soldOut: color("--map-sold-out"),
    soldOutLine: color("--map-taken"),
    field: color("--map-field"),
    fieldLine: color("--map-field-line"),
    font: style.fontFamily,
  };
  return { ...theme, hatch: hatchOf(theme.soldOutLine) };
}

function hatchOf(color) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 12;
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

const clamp = (value, min, max) => Math.min(Math.max(value, min), max);

const channels = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
const hex = (channel) => Math.round(channel).toString(16).padStart(2, "0");

/// `share` of a colour on a ground.
function mix(color, ground, share) {
  const under = channels(ground);
  return `#${channels(color).map((channel, at) => hex(channel * share + under[at] * (1 - share))).join("")}`;
}
