// How is a stadium drawn, and what does a finger, wheel or key on it mean?
//
// Far away it shows blocks, tinted by zone and by how much is free; near enough it shows seats,
// and only those of blocks in view. The map decides nothing: it tells which seat or block was
// meant. Everything it offers can be done with the list of blocks as well (rows.js).

import { count } from "./format.js";
import { inkOn } from "./seats.js";

const SEATS_FROM_PX = 4.5; // between neighbours; below this a seat would be a speck
const CHOOSE_FROM_PX = 15; // below this a tap comes nearer instead of choosing the wrong seat
const COME_NEAR_PX = 23;
const NEAREST_PX = 46;
const STEP_PX = 80; // of an arrow key
const DRAG_FROM_PX = 6; // a finger that moves less has tapped
const MARGIN_PX = 14;

/// Draws `seats` on `canvas`. `on.seat(seat)` and `on.block(block)` tell what was chosen,
/// `on.point({block, seat} | null)` what is pointed at.
export function createMap(canvas, seats, choice, on) {
  const context = canvas.getContext("2d");
  const bounds = boundsOf(seats);
  const shapes = seats.blocks.map(shapeOf);
  const calmly = matchMedia("(prefers-reduced-motion: reduce)");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let size = { width: 0, height: 0 };
  let view = { scale: 1, x: 0, y: 0 }; // screen = map × scale + (x, y)
  let isWhole = true;
  let theme = readTheme(canvas);
  let zoneShown = null; // the only zone in full colour, or all
  let pointed = null;
  let frame = 0;
  let flight = 0;

  // --- view ---------------------------------------------------------------------------------

  function wholeView() {
    const scale = Math.min((size.width - 2 * MARGIN_PX) / bounds.width, (size.height - 2 * MARGIN_PX) / bounds.height);
    return centred(bounds.x + bounds.width / 2, bounds.y + bounds.height / 2, Math.max(scale, 1e-6));
  }

  const centred = (x, y, scale) => ({ scale, x: size.width / 2 - x * scale, y: size.height / 2 - y * scale });
  const toMap = (x, y) => [(x - view.x) / view.scale, (y - view.y) / view.scale];
  const pitchPx = () => seats.pitch * view.scale;

  /// Keeps the scale within reason and some of the stadium in view.
  function bounded(next) {
    const whole = wholeView();
    if (next.scale <= whole.scale) return whole;
    const scale = Math.min(next.scale, NEAREST_PX / seats.pitch);
    const x = clamp((size.width / 2 - next.x) / next.scale, bounds.x, bounds.x + bounds.width);
    const y = clamp((size.height / 2 - next.y) / next.scale, bounds.y, bounds.y + bounds.height);
    return centred(x, y, scale);
  }

  function moveTo(next) {
    view = bounded(next);
    isWhole = view.scale <= wholeView().scale * 1.001;
    canvas.style.touchAction = isWhole ? "pan-y" : "none"; // the whole map lets the page scroll
    draw();
  }

  function flyTo(target) {
    cancelAnimationFrame(flight);
    const from = view;
    const to = bounded(target);
    const startedAt = performance.now();
    if (calmly.matches) return moveTo(to);
    const step = (now) => {
      const part = Math.min((now - startedAt) / 260, 1);
      const eased = 1 - (1 - part) ** 3;
      const scale = from.scale * (to.scale / from.scale) ** eased;
      // Shifting in step with the scale keeps one point still: nothing swings about.
      const share = from.scale === to.scale ? eased : (scale - from.scale) / (to.scale - from.scale);
      moveTo({ scale, x: from.x + (to.x - from.x) * share, y: from.y + (to.y - from.y) * share });
      if (part < 1) flight = requestAnimationFrame(step);
    };
    flight = requestAnimationFrame(step);
  }

  function zoomBy(factor, atX = size.width / 2, atY = size.height / 2, move = flyTo) {
    const scale = clamp(view.scale * factor, wholeView().scale, NEAREST_PX / seats.pitch);
    const [mapX, mapY] = toMap(atX, atY);
    move({ scale, x: atX - mapX * scale, y: atY - mapY * scale });
  }

  function showBlock(block, near = null) {
    const { box } = shapes[block.index];
    const fit = Math.min((size.width - 40) / (box.right - box.left), (size.height - 40) / (box.bottom - box.top));
    const scale = Math.max(fit, COME_NEAR_PX / seats.pitch);
    const isTooBig = near && scale > fit;
    flyTo(isTooBig ? centred(...near, scale) : centred((box.left + box.right) / 2, (box.top + box.bottom) / 2, scale));
  }

  // --- what is under a point ------------------------------------------------------------------

  function blockAt(mapX, mapY) {
    context.setTransform(1, 0, 0, 1, 0, 0);
    const at = shapes.findIndex(({ box, path }) =>
      mapX >= box.left && mapX <= box.right && mapY >= box.top && mapY <= box.bottom && context.isPointInPath(path, mapX, mapY));
    return at < 0 ? null : seats.blocks[at];
  }

  function seatAt(block, mapX, mapY) {
    let nearest = null;
    let nearestDistance = seats.pitch * 0.75;
    for (const row of block.rows) {
      for (let seat = row.first; seat < row.first + row.seats.length; seat += 1) {
        const distance = Math.hypot(seats.x[seat] - mapX, seats.y[seat] - mapY);
        if (distance < nearestDistance) [nearest, nearestDistance] = [seat, distance];
      }
    }
    return nearest;
  }

  function under(x, y) {
    const [mapX, mapY] = toMap(x, y);
    const block = blockAt(mapX, mapY);
    if (!block) return null;
    return { block, seat: pitchPx() >= CHOOSE_FROM_PX ? seatAt(block, mapX, mapY) : null };
  }

  function tap(x, y) {
    const found = under(x, y);
    point(found);
    if (!found) return;
    on.block(found.block);
    if (found.seat !== null) on.seat(found.seat);
    else if (pitchPx() < CHOOSE_FROM_PX) showBlock(found.block, toMap(x, y));
  }

  function point(found) {
    const isSame = found?.block === pointed?.block && found?.seat === pointed?.seat;
    pointed = found;
    if (isSame) return;
    on.point(found);
    draw();
  }

  // --- pointers, wheel and keys ---------------------------------------------------------------

  const fingers = new Map();
  let dragged = false;

  const place = (event) => {
    const rect = canvas.getBoundingClientRect();
    return { x: event.clientX - rect.left, y: event.clientY - rect.top };
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    cancelAnimationFrame(flight);
    canvas.setPointerCapture(event.pointerId);
    if (fingers.size === 0) dragged = false;
    fingers.set(event.pointerId, { ...place(event), from: place(event) });
  });

  canvas.addEventListener("pointermove", (event) => {
    const now = place(event);
    const finger = fingers.get(event.pointerId);
    if (!finger) {
      if (event.pointerType === "mouse") point(under(now.x, now.y));
      return;
    }
    const before = { x: finger.x, y: finger.y };
    if (Math.hypot(now.x - finger.from.x, now.y - finger.from.y) > DRAG_FROM_PX) dragged = true;
    const other = [...fingers.entries()].find(([id]) => id !== event.pointerId)?.[1];
    finger.x = now.x;
    finger.y = now.y;
    if (other) {
      dragged = true;
      const apart = (a) => Math.max(Math.hypot(a.x - other.x, a.y - other.y), 1);
      zoomBy(apart(now) / apart(before), (now.x + other.x) / 2, (now.y + other.y) / 2, moveTo);
      moveTo({ ...view, x: view.x + (now.x - before.x) / 2, y: view.y + (now.y - before.y) / 2 });
    } else if (dragged && !isWhole) {
      moveTo({ ...view, x: view.x + now.x - before.x, y: view.y + now.y - before.y });
    }
  });

  canvas.addEventListener("pointerup", (event) => {
    if (!fingers.delete(event.pointerId) || dragged) return;
    const { x, y } = place(event);
    tap(x, y);
  });
  canvas.addEventListener("pointercancel", (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") point(null); // a finger leaves with every tap
  });

  canvas.addEventListener("wheel", (event) => {
    const isOut = event.deltaY > 0;
    if (isOut && isWhole && !event.ctrlKey) return; // nothing further out: the page scrolls on
    event.preventDefault();
    const { x, y } = place(event);
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 18 : 1;
    zoomBy(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0022)), x, y, moveTo);
  }, { passive: false });

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const pan = (x, y) => moveTo({ ...view, x: view.x + x, y: view.y + y });
    const keys = {
      ArrowLeft: () => pan(STEP_PX, 0),
      ArrowRight: () => pan(-STEP_PX, 0),
      ArrowUp: () => pan(0, STEP_PX),
      ArrowDown: () => pan(0, -STEP_PX),
      "+": () => zoomBy(1.6),
      "=": () => zoomBy(1.6),
      "-": () => zoomBy(1 / 1.6),
      0: () => flyTo(wholeView()),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });

  // --- drawing --------------------------------------------------------------------------------

  function draw() {
    if (frame === 0) frame = requestAnimationFrame(drawNow);
  }

  function drawNow() {
    frame = 0;
    const ratio = canvas.width / Math.max(size.width, 1);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = theme.ground;
    context.fillRect(0, 0, size.width, size.height);
    context.setTransform(ratio * view.scale, 0, 0, ratio * view.scale, ratio * view.x, ratio * view.y);
    drawField();
    const inView = shapes.filter(({ box }) =>
      box.right * view.scale + view.x > 0 && box.left * view.scale + view.x < size.width &&
      box.bottom * view.scale + view.y > 0 && box.top * view.scale + view.y < size.height);
    const showsSeats = pitchPx() >= SEATS_FROM_PX;
    for (const shape of inView) drawBlock(shape, showsSeats);
    if (showsSeats) for (const shape of inView) drawSeats(shape.block);
    drawChosen(showsSeats);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    for (const shape of inView) drawLabel(shape, showsSeats);
    if (showsSeats) for (const shape of inView) drawRowLabels(shape.block);
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
    const radius = seats.pitch * 0.38;
    const speck = seats.pitch * 0.11;
    const [left, top] = toMap(-10, -10);
    const [right, bottom] = toMap(size.width + 10, size.height + 10);
    const free = new Path2D();
    const taken = new Path2D();
    for (const row of block.rows) {
      for (let seat = row.first; seat < row.first + row.seats.length; seat += 1) {
        const x = seats.x[seat];
        const y = seats.y[seat];
        if (x < left || x > right || y < top || y > bottom || choice.has(seat)) continue;
        if (seats.isTaken(seat)) taken.rect(x - speck, y - speck, 2 * speck, 2 * speck);
        else if (pitchPx() < 8) free.rect(x - radius, y - radius, 2 * radius, 2 * radius);
        else {
          free.moveTo(x + radius, y);
          free.arc(x, y, radius, 0, 2 * Math.PI);
        }
      }
    }
    context.globalAlpha = isFaded(block) ? 0.3 : 1;
    context.fillStyle = theme.taken;
    context.fill(taken);
    context.fillStyle = block.zone.color;
    context.fill(free);
    if (pointed?.block === block && pointed.seat !== null) {
      context.lineWidth = 2.5 / view.scale;
      context.strokeStyle = theme.ink;
      context.beginPath();
      context.arc(seats.x[pointed.seat], seats.y[pointed.seat], radius + 2 / view.scale, 0, 2 * Math.PI);
      context.stroke();
    }
    context.globalAlpha = 1;
    if (pitchPx() >= 22) drawNumbers(block, left, top, right, bottom);
  }

  function drawNumbers(block, left, top, right, bottom) {
    context.font = `600 ${seats.pitch * 0.36}px ${theme.font}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillStyle = block.zone.ink;
    for (const row of block.rows) {
      row.seats.forEach(([x, y], position) => {
        const seat = row.first + position;
        if (x < left || x > right || y < top || y > bottom || choice.has(seat) || seats.isTaken(seat)) return;
        context.fillText(position + 1, x, y + seats.pitch * 0.02);
      });
    }
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

  // --- surroundings ---------------------------------------------------------------------------

  function resized() {
    const [mapX, mapY] = toMap(size.width / 2, size.height / 2);
    size = { width: canvas.clientWidth, height: canvas.clientHeight };
    if (size.width === 0) return;
    const ratio = Math.min(window.devicePixelRatio || 1, 2); // beyond two the cost shows, not the gain
    canvas.width = Math.round(size.width * ratio);
    canvas.height = Math.round(size.height * ratio);
    moveTo(isWhole ? wholeView() : centred(mapX, mapY, view.scale));
  }

  new ResizeObserver(resized).observe(canvas);
  dark.addEventListener("change", () => {
    theme = readTheme(canvas);
    draw();
  });
  choice.addEventListener("change", draw);

  return {
    draw,
    showBlock,
    showWhole: () => flyTo(wholeView()),
    zoomIn: () => zoomBy(1.7),
    zoomOut: () => zoomBy(1 / 1.7),
    showZone(zone) {
      zoneShown = zone;
      draw();
    },
  };
}

const clamp = (value, min, max) => Math.min(Math.max(value, min), max);

function shapeOf(block) {
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

/// What there is to see, which may be less than the sheet it is drawn on.
function boundsOf(seats) {
  const { x, y, w, h } = seats.map.field;
  const box = { left: x, right: x + w, top: y, bottom: y + h };
  for (const { outline } of seats.blocks) {
    for (const [pointX, pointY] of outline) {
      box.left = Math.min(box.left, pointX);
      box.right = Math.max(box.right, pointX);
      box.top = Math.min(box.top, pointY);
      box.bottom = Math.max(box.bottom, pointY);
    }
  }
  return { x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top };
}

/// Colours come from the style sheet, so that light and dark are decided in one place.
function readTheme(canvas) {
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

const channels = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
const hex = (channel) => Math.round(channel).toString(16).padStart(2, "0");

/// `share` of a colour on a ground.
function mix(color, ground, share) {
  const under = channels(ground);
  return `#${channels(color).map((channel, at) => hex(channel * share + under[at] * (1 - share))).join("")}`;
}
