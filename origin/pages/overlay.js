// What lies over the map: the seats that are chosen, and what is pointed at. A few strokes, so they
// are drawn at once while the map beneath is drawn elsewhere.

import { pathOf } from "./geometry.js";

/// Draws on `canvas`. A tap chooses seats from this distance between them on (`isNear`).
export function createOverlay(canvas, seats, choice) {
  const context = canvas.getContext("2d");
  const { x: seatX, y: seatY, pitch } = seats.geometry;
  const paths = new Map();
  let isBlank = true;

  function draw({ view, size, ratio, pointed, isNear, theme }) {
    if (isBlank && choice.seats.length === 0 && !pointed) return;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, size.width * ratio, size.height * ratio);
    context.setTransform(ratio * view.scale, 0, 0, ratio * view.scale, ratio * view.x, ratio * view.y);
    if (pointed) drawPointed(pointed, view, theme);
    for (const seat of choice.seats) drawChosen(seat, view, isNear, theme);
    isBlank = choice.seats.length === 0 && !pointed;
  }

  function drawPointed({ part, seat }, view, theme) {
    context.lineWidth = 2.5 / view.scale;
    context.strokeStyle = theme.ink;
    if (seat === null) return context.stroke(pathTo(part));
    context.beginPath();
    context.arc(seatX[seat], seatY[seat], pitch * 0.38 + 2 / view.scale, 0, 2 * Math.PI);
    context.stroke();
  }

  /// Seen from everywhere: a ring and a tick near, a pin far away.
  function drawChosen(seat, view, isNear, theme) {
    const radius = isNear ? Math.max(pitch * 0.46, 4 / view.scale) : 6 / view.scale;
    const [x, y] = [seatX[seat], seatY[seat]];
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

  function pathTo(part) {
    if (!paths.has(part)) paths.set(part, pathOf(part.outline));
    return paths.get(part);
  }

  return {
    draw,
    isInside(part, mapX, mapY) {
      context.setTransform(1, 0, 0, 1, 0, 0);
      return context.isPointInPath(pathTo(part), mapX, mapY);
    },
  };
}
