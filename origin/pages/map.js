// What does a finger, a wheel or a key on the seat map mean, and which picture is under it?
//
// It moves the view, or it means a block, an area or a seat. The map decides nothing about them: it
// tells what was meant. Everything it offers can be done with the lists as well (rows.js, areas.js).
//
// The picture is drawn by a worker, a little larger than what is seen. Until the next one comes, the
// last one is moved and stretched by the compositor, so a pan or a zoom costs the page one style.

import { createOverlay } from "./overlay.js";

const SEATS_FROM_PX = 4.5; // as scene.js
const CHOOSE_FROM_PX = 15; // between neighbours; below it a tap comes nearer, it could only choose the wrong seat
const COME_NEAR_PX = 23;
const NEAREST_PX = 46;
const STEP_PX = 80; // of an arrow key
const DRAG_FROM_PX = 6; // a finger that moves less has tapped
const MARGIN_PX = 14;
const WHOLE_PLANE_FROM = 2000; // so many changes at once are told as all seats
const AROUND_PX = 80; // what a picture has beyond what is seen
const QUIET_MS = 120; // after so long without a move, a coarse picture becomes a fine one

/// Draws `seats` on `canvas` by `worker`. `on.seat(seat)`, `on.block(block)` and `on.area(area)` tell
/// what was chosen, `on.point({part, seat} | null)` what is pointed at.
export function createMap(canvas, seats, choice, worker, on) {
  const { bounds, pitch, x: seatX, y: seatY } = seats.geometry;
  const overlay = createOverlay(canvas, seats, choice);
  const picture = pictureUnder(canvas);
  const calmly = matchMedia("(prefers-reduced-motion: reduce)");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let theme = themeOf(canvas);
  let size = { width: 0, height: 0 };
  let ratio = 1;
  let view = { scale: 1, x: 0, y: 0 }; // screen = map × scale + (x, y)
  let isWhole = true;
  let zonesShown = null; // the ids of those in full colour, or all
  let pointed = null;
  let frame = 0;
  let flight = 0;
  let pictured = null; // what the picture under us shows
  let asked = 0; // pictures
  let movedAt = -Infinity;
  let quiet = 0;
  let isDrawing = false; // the worker, and
  let isStale = true; // something is other than it was asked for

  worker.postMessage({ theme });
  worker.postMessage({ plane: seats.known.plane });
  worker.addEventListener("message", ({ data }) => data.picture && pictureCame(data));

  // --- view ---------------------------------------------------------------------------------

  function wholeView() {
    const scale = Math.min((size.width - 2 * MARGIN_PX) / bounds.width, (size.height - 2 * MARGIN_PX) / bounds.height);
    return centred(bounds.x + bounds.width / 2, bounds.y + bounds.height / 2, Math.max(scale, 1e-6));
  }

  const centred = (x, y, scale) => ({ scale, x: size.width / 2 - x * scale, y: size.height / 2 - y * scale });
  const toMap = (x, y) => [(x - view.x) / view.scale, (y - view.y) / view.scale];
  const pitchPx = () => pitch * view.scale;

  /// Keeps the scale within reason and some of the stadium in view.
  function bounded(next) {
    const whole = wholeView();
    if (next.scale <= whole.scale) return whole;
    const scale = Math.min(next.scale, NEAREST_PX / pitch);
    const x = clamp((size.width / 2 - next.x) / next.scale, bounds.x, bounds.x + bounds.width);
    const y = clamp((size.height / 2 - next.y) / next.scale, bounds.y, bounds.y + bounds.height);
    return centred(x, y, scale);
  }

  function moveTo(next) {
    const { scale } = view;
    view = bounded(next);
    if (view.scale !== scale) movedAt = performance.now();
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
    const scale = clamp(view.scale * factor, wholeView().scale, NEAREST_PX / pitch);
    const [mapX, mapY] = toMap(atX, atY);
    move({ scale, x: atX - mapX * scale, y: atY - mapY * scale });
  }

  function showPart({ box }, near = null) {
    const fit = Math.min((size.width - 40) / (box.right - box.left), (size.height - 40) / (box.bottom - box.top));
    const scale = Math.max(fit, COME_NEAR_PX / pitch);
    const isTooBig = near && scale > fit;
    flyTo(isTooBig ? centred(...near, scale) : centred((box.left + box.right) / 2, (box.top + box.bottom) / 2, scale));
  }

  // --- what is under a point ------------------------------------------------------------------

  function partAt(mapX, mapY) {
    return seats.parts.find((part) => {
      const { left, right, top, bottom } = part.box;
      return mapX >= left && mapX <= right && mapY >= top && mapY <= bottom && overlay.isInside(part, mapX, mapY);
    });
  }

  function seatAt(block, mapX, mapY) {
    let nearest = null;
    let nearestDistance = pitch * 0.75;
    for (let seat = block.first; seat < block.end; seat += 1) {
      const distance = Math.hypot(seatX[seat] - mapX, seatY[seat] - mapY);
      if (distance < nearestDistance) [nearest, nearestDistance] = [seat, distance];
    }
    return nearest;
  }

  function under(x, y) {
    const [mapX, mapY] = toMap(x, y);
    const part = partAt(mapX, mapY);
    if (!part) return null;
    return { part, seat: !part.isArea && pitchPx() >= CHOOSE_FROM_PX ? seatAt(part, mapX, mapY) : null };
  }

  function tap(x, y) {
    const found = under(x, y);
    point(found);
    if (!found) return;
    if (found.part.isArea) return on.area(found.part);
    on.block(found.part);
    if (found.seat !== null) on.seat(found.seat);
    else if (pitchPx() < CHOOSE_FROM_PX) showPart(found.part, toMap(x, y));
  }

  function point(found) {
    const isSame = found?.part === pointed?.part && found?.seat === pointed?.seat;
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
    overlay.draw({ view, size, ratio, pointed, isNear: pitchPx() >= SEATS_FROM_PX, theme });
    placePicture();
    if (isStale || !isCovered()) askPicture();
  }

  function redrawn() {
    isStale = true;
    draw();
  }

  /// Whether the picture is of this scale and goes beyond all that is seen.
  function isCovered() {
    if (!pictured || pictured.view.scale !== view.scale || pictured.ratio !== ratioNow()) return false;
    const [x, y] = [view.x - pictured.view.x, view.y - pictured.view.y];
    return Math.abs(x) < AROUND_PX / 2 && Math.abs(y) < AROUND_PX / 2;
  }

  /// Coarse while the scale changes, for the compositor's sake; pans only move what is there.
  function ratioNow() {
    clearTimeout(quiet);
    const isMoving = performance.now() - movedAt < QUIET_MS;
    if (isMoving) quiet = setTimeout(draw, QUIET_MS);
    return isMoving ? 1 : ratio;
  }

  function askPicture() {
    if (isDrawing || size.width === 0) return;
    isDrawing = true;
    isStale = false;
    asked += 1;
    const sheet = { scale: view.scale, x: view.x + AROUND_PX, y: view.y + AROUND_PX };
    const sheetSize = { width: size.width + 2 * AROUND_PX, height: size.height + 2 * AROUND_PX };
    const drawRatio = ratioNow();
    worker.postMessage({ draw: { view: sheet, size: sheetSize, ratio: drawRatio, zonesShown, number: asked, of: { view, ratio: drawRatio } } });
  }

  function pictureCame({ picture: bitmap, drawn }) {
    isDrawing &&= drawn.number !== asked; // changes of the last picture come while the next is drawn
    pictured = drawn.of;
    const { element, context } = picture;
    if (element.width !== bitmap.width || element.height !== bitmap.height) {
      [element.width, element.height] = [bitmap.width, bitmap.height];
      [element.style.width, element.style.height] = [`${drawn.size.width}px`, `${drawn.size.height}px`];
    }
    context.transferFromImageBitmap(bitmap);
    canvas.dataset.drawn = "";
    placePicture();
    if (isStale || !isCovered()) draw();
  }

  function placePicture() {
    if (!pictured) return;
    const scale = view.scale / pictured.view.scale;
    const [x, y] = [view.x - scale * (pictured.view.x + AROUND_PX), view.y - scale * (pictured.view.y + AROUND_PX)];
    picture.element.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
  }

  /// Seats that are other now: only they are drawn.
  function seatsChanged(changed) {
    if (changed.length === 0) return;
    const areTaken = Uint8Array.from(changed, (seat) => Number(seats.isTaken(seat)));
    if (changed.length > WHOLE_PLANE_FROM) worker.postMessage({ plane: seats.known.plane }), redrawn();
    else worker.postMessage({ changed: Array.from(changed), areTaken });
  }

  // --- surroundings ---------------------------------------------------------------------------

  function resized() {
    const [mapX, mapY] = toMap(size.width / 2, size.height / 2);
    size = { width: canvas.clientWidth, height: canvas.clientHeight };
    if (size.width === 0) return;
    ratio = Math.min(window.devicePixelRatio || 1, 2); // beyond two the cost shows, not the gain
    canvas.width = Math.round(size.width * ratio);
    canvas.height = Math.round(size.height * ratio);
    moveTo(isWhole ? wholeView() : centred(mapX, mapY, view.scale));
    redrawn();
  }

  new ResizeObserver(resized).observe(canvas);
  dark.addEventListener("change", () => {
    theme = themeOf(canvas);
    worker.postMessage({ theme });
    redrawn();
  });
  choice.addEventListener("change", draw);

  return {
    seatsChanged,
    showPart,
    showWhole: () => flyTo(wholeView()),
    zoomIn: () => zoomBy(1.7),
    zoomOut: () => zoomBy(1 / 1.7),
    showZones(ids) {
      zonesShown = ids;
      redrawn();
    },
  };
}

/// The element for the picture, beneath the canvas that fingers and keys reach.
function pictureUnder(canvas) {
  const element = document.createElement("canvas");
  element.className = "map-picture";
  element.setAttribute("aria-hidden", "true");
  canvas.before(element);
  return { element, context: element.getContext("bitmaprenderer") };
}

/// Colours come from the style sheet, so that light and dark are decided in one place.
function themeOf(canvas) {
  const style = getComputedStyle(canvas);
  const color = (name) => style.getPropertyValue(name).trim();
  return {
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
}

const clamp = (value, min, max) => Math.min(Math.max(value, min), max);
