// What does a finger, a wheel or a key on the seat map mean?
//
// It moves the view, or it means a block or a seat. The map decides nothing about them: it tells
// what was meant. Everything it offers can be done with the list of blocks as well (rows.js).

import { CHOOSE_FROM_PX, createPainter, shapeOf } from "./paint.js";

const COME_NEAR_PX = 23;
const NEAREST_PX = 46;
const STEP_PX = 80; // of an arrow key
const DRAG_FROM_PX = 6; // a finger that moves less has tapped
const MARGIN_PX = 14;
const REPAINT_SEATS_MAX = 2000; // more at once are painted with everything else

/// Draws `seats` on `canvas`. `on.seat(seat)` and `on.block(block)` tell what was chosen,
/// `on.point({block, seat} | null)` what is pointed at.
export function createMap(canvas, seats, choice, on) {
  const bounds = boundsOf(seats);
  const shapes = seats.blocks.map(shapeOf);
  const painter = createPainter(canvas, seats, shapes, choice);
  const calmly = matchMedia("(prefers-reduced-motion: reduce)");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let size = { width: 0, height: 0 };
  let view = { scale: 1, x: 0, y: 0 }; // screen = map × scale + (x, y)
  let isWhole = true;
  let zoneShown = null; // the only zone in full colour, or all
  let pointed = null;
  let frame = 0;
  let repaint = 0;
  let changed = []; // seats that are not painted yet
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
    const at = shapes.findIndex(({ box, path }) =>
      mapX >= box.left && mapX <= box.right && mapY >= box.top && mapY <= box.bottom && painter.isInside(path, mapX, mapY));
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
    changed = [];
    painter.paint({ view, size, pointed, zoneShown });
  }

  /// Seats that are other now. Only they are painted, once a frame, unless all is painted anyway.
  function seatsChanged(seats) {
    if (size.width === 0) return;
    if (seats.length > REPAINT_SEATS_MAX) return draw();
    changed.push(...seats);
    if (repaint === 0) repaint = requestAnimationFrame(repaintNow);
  }

  function repaintNow() {
    repaint = 0;
    if (changed.length > 0 && frame === 0 && !painter.repaint(changed)) draw();
    changed = [];
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
    painter.readTheme();
    draw();
  });
  choice.addEventListener("change", draw);

  return {
    seatsChanged,
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
