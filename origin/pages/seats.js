// Which seats and places are there, and which are free?
//
// A seat is its index in the map; the places of areas, where people stand or sit where they like,
// are counted on from there. What is known of them is a bit plane that frames.js keeps: seat 0 is bit
// 0 of byte 0, and a set bit means taken.

import { knowNothing, setSeat } from "./frames.js";

/// What is special about a seat, in words.
export const MARKS = { accessible: "wheelchair space", companion: "companion seat", restricted: "restricted view" };

/// The map's geometry and the latest availability, with nothing about how they are shown.
export class Seats {
  constructor(geometry, zones, known = knowNothing(geometry.places)) {
    this.geometry = geometry;
    this.known = known;
    this.zones = numbered(zones);
    this.marks = new Map(geometry.marks);
    const zoneById = new Map(this.zones.map((zone) => [zone.id, zone]));
    this.blocks = geometry.blocks.map((block, index) => new Block(block, index, zoneById.get(block.zone)));
    this.areas = geometry.areas.map((area, index) => ({ ...area, isArea: true, index, zone: zoneById.get(area.zone), free: 0 }));
    this.parts = [...this.blocks, ...this.areas];
    this.countFree();
  }

  /// The block or area of a seat or place: they are in the order of their seats.
  partOf(seat) {
    let [from, to] = [0, this.parts.length - 1];
    while (from < to) {
      const middle = (from + to + 1) >> 1;
      if (this.parts[middle].first <= seat) from = middle;
      else to = middle - 1;
    }
    return this.parts[from];
  }

  /// Counts anew after these have become free or taken. Returns their blocks and areas.
  follow(changed) {
    const parts = new Set();
    for (const seat of changed) {
      const part = this.partOf(seat);
      part.free += this.isTaken(seat) ? -1 : 1;
      parts.add(part);
    }
    return parts;
  }

  /// Seats that a refusal named: we know better than the last frame. Returns those that are news.
  markTaken(seats) {
    return seats.filter((seat) => setSeat(this.known.plane, seat, true));
  }

  isTaken(seat) {
    return ((this.known.plane[seat >> 3] >> (seat & 7)) & 1) === 1;
  }

  freeInRow(row) {
    return freeBetween(this.known.plane, row.first, row.end);
  }

  get free() {
    return this.parts.reduce((sum, part) => sum + part.free, 0);
  }

  freeInZone(zone) {
    return this.parts.reduce((sum, part) => sum + (part.zone === zone ? part.free : 0), 0);
  }

  /// What a seat is called and costs.
  describe(seat) {
    const block = this.partOf(seat);
    const row = block.rows.findLast((row) => row.first <= seat);
    return { seat, block, row: row.label, number: seat - row.first + 1, zone: block.zone, mark: this.marks.get(seat) };
  }

  countFree() {
    for (const part of this.parts) part.free = freeBetween(this.known.plane, part.first, part.end);
  }
}

class Block {
  #rows = null;

  constructor(block, index, zone) {
    Object.assign(this, block, { index, zone, seats: block.end - block.first, free: 0 });
  }

  /// Made when somebody looks: a stadium has thousands.
  get rows() {
    this.#rows ??= this.rowFirst.map((first, at) => ({ label: this.rowLabels[at], first, end: this.rowFirst[at + 1] ?? this.end }));
    return this.#rows;
  }
}

/// How many of the seats from `first` to before `end` are free.
export function freeBetween(plane, first, end) {
  let taken = 0;
  let seat = first;
  while (seat < end) {
    if ((seat & 7) === 0 && seat + 8 <= end) {
      taken += ONES[plane[seat >> 3]];
      seat += 8;
    } else {
      taken += (plane[seat >> 3] >> (seat & 7)) & 1;
      seat += 1;
    }
  }
  return end - first - taken;
}

const ONES = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll("0", "").length);

/// Zones with what marks them beside their colour: a number, and the ink that reads on it.
export const numbered = (zones) =>
  zones.map((zone, position) => {
    const color = zone.color ?? "#5b6b64"; // a zone of no map
    return { ...zone, color, number: position + 1, ink: inkOn(color) };
  });

/// The name of a seat, or of a place in an area, as people say it; the origin's seats have their
/// block's label only.
export const seatName = ({ block, row, number }) =>
  row === "" ? `${block}, place ${number}` : `Block ${block.label ?? block}, row ${row}, seat ${number}`;

/// Black or white, whichever is easier to read on the colour (WCAG's relative luminance).
export function inkOn(color) {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const share = parseInt(color.slice(at, at + 2), 16) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000000" : "#ffffff";
}
