// Where is everything on a map? What is drawn and pointed at, made once from the map's document, in
// flat arrays that a worker can hand over at once.

/// The document of a map, made smaller. A block's seats follow each other, and so do a row's; the
/// places of areas come after all seats.
export function geometryOf(map) {
  const x = new Float32Array(map.seats);
  const y = new Float32Array(map.seats);
  const marks = []; // [seat, "accessible" | "companion" | "restricted"]
  const blocks = map.blocks.map(({ label, zone, outline, rows }) => {
    const first = rows[0]?.first ?? 0;
    for (const row of rows) {
      for (let at = 0; at < row.seats.length; at += 1) [x[row.first + at], y[row.first + at]] = row.seats[at];
      for (const [number, mark] of Object.entries(row.attributes ?? {})) marks.push([row.first + Number(number) - 1, mark]);
    }
    const end = rows.reduce((end, row) => Math.max(end, row.first + row.seats.length), first);
    return { label, zone, outline, ...frameOf(outline), first, end, rowLabels: rows.map((row) => row.label), rowFirst: rows.map((row) => row.first) };
  });
  let next = map.seats;
  const areas = (map.areas ?? []).map(({ id, label, zone, outline, capacity }) => {
    const first = next;
    next += capacity;
    return { id, label, zone, outline, ...frameOf(outline), first, end: next };
  });
  const shapes = [...blocks, ...areas];
  return { seats: map.seats, places: next, field: map.field, bounds: boundsOf(map.field, shapes), pitch: pitchOf(map.blocks), x, y, marks, blocks, areas };
}

/// An outline as something to fill and to point at.
export function pathOf(outline) {
  const path = new Path2D();
  outline.forEach(([x, y], at) => (at === 0 ? path.moveTo(x, y) : path.lineTo(x, y)));
  path.closePath();
  return path;
}

/// The box around an outline, where its label goes, and how much room the label has there.
function frameOf(outline) {
  const xs = outline.map(([x]) => x);
  const ys = outline.map(([, y]) => y);
  const box = { left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
  const middle = middleOf(outline);
  return { box, middle, room: roomAround(middle, outline) };
}

/// What there is to see, which may be less than the sheet it is drawn on.
function boundsOf({ x, y, w, h }, shapes) {
  const boxes = [{ left: x, right: x + w, top: y, bottom: y + h }, ...shapes.map(({ box }) => box)];
  const left = Math.min(...boxes.map((box) => box.left));
  const top = Math.min(...boxes.map((box) => box.top));
  const right = Math.max(...boxes.map((box) => box.right));
  const bottom = Math.max(...boxes.map((box) => box.bottom));
  return { x: left, y: top, width: right - left, height: bottom - top };
}

/// The smallest distance between neighbours of the first block, in the map's units.
function pitchOf(blocks) {
  const rows = blocks[0]?.rows ?? [];
  const distance = ([ax, ay], [bx, by]) => Math.hypot(ax - bx, ay - by);
  const [first, second] = rows;
  const beside = first?.seats.length > 1 ? distance(first.seats[0], first.seats[1]) : Infinity;
  const behind = second ? Math.min(...second.seats.map((seat) => distance(seat, first.seats[0]))) : Infinity;
  return Math.min(beside, behind, 1000);
}

/// The width of the widest circle around a point inside an outline: what a label may take up.
function roomAround([x, y], outline) {
  const distances = outline.map(([fromX, fromY], at) => {
    const [toX, toY] = outline[(at + 1) % outline.length];
    const [alongX, alongY] = [toX - fromX, toY - fromY];
    const lengthSquared = alongX ** 2 + alongY ** 2 || 1;
    const part = Math.min(Math.max(((x - fromX) * alongX + (y - fromY) * alongY) / lengthSquared, 0), 1);
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
