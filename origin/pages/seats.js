// Which seats are there, and which are free?
//
// A seat is its index in the map. What is known of them is a bit plane that frames.js keeps: seat 0
// is bit 0 of byte 0, and a set bit means taken.

import { knowNothing, setSeat } from "./frames.js";

/// The map's geometry and the latest availability, with nothing about how they are shown.
export class Seats {
  constructor(map, zones, known = knowNothing(map.seats)) {
    this.map = map;
    this.known = known;
    this.zones = numbered(zones);
    this.count = map.seats;
    this.x = new Float32Array(this.count);
    this.y = new Float32Array(this.count);
    this.blockOf = new Uint16Array(this.count);

    const zoneById = new Map(this.zones.map((zone) => [zone.id, zone]));
    this.blocks = map.blocks.map((block, index) => {
      for (const row of block.rows) {
        row.seats.forEach(([x, y], position) => {
          this.x[row.first + position] = x;
          this.y[row.first + position] = y;
          this.blockOf[row.first + position] = index;
        });
      }
      return {
        ...block,
        index,
        zone: zoneById.get(block.zone),
        seats: block.rows.reduce((sum, row) => sum + row.seats.length, 0),
        free: 0,
      };
    });
    this.pitch = pitchOf(this.blocks[0]);
    this.countFree();
  }

  /// Counts anew after these seats have become free or taken. Returns their blocks.
  follow(changed) {
    const blocks = new Set();
    for (const seat of changed) {
      const block = this.blocks[this.blockOf[seat]];
      block.free += this.isTaken(seat) ? -1 : 1;
      blocks.add(block);
    }
    return blocks;
  }

  /// Seats that a refusal named: we know better than the last frame. Returns their blocks.
  markTaken(seats) {
    return this.follow(seats.filter((seat) => setSeat(this.known.plane, seat, true)));
  }

  isTaken(seat) {
    return ((this.known.plane[seat >> 3] >> (seat & 7)) & 1) === 1;
  }

  freeInRow(row) {
    return row.seats.reduce((free, _, position) => free + (this.isTaken(row.first + position) ? 0 : 1), 0);
  }

  freeInZone(zone) {
    return this.blocks.reduce((free, block) => free + (block.zone === zone ? block.free : 0), 0);
  }

  /// What a seat is called and costs.
  describe(seat) {
    const block = this.blocks[this.blockOf[seat]];
    const row = block.rows.find((row) => seat >= row.first && seat < row.first + row.seats.length);
    return { seat, block, row: row.label, number: seat - row.first + 1, zone: block.zone };
  }

  countFree() {
    for (const block of this.blocks) {
      block.free = block.rows.reduce((free, row) => free + this.freeInRow(row), 0);
    }
  }
}

/// Zones with what marks them beside their colour: a number, and the ink that reads on it.
export const numbered = (zones) =>
  zones.map((zone, position) => ({ ...zone, number: position + 1, ink: inkOn(zone.color) }));

/// The name of a seat as people say it; the origin's seats have their block's label only.
export const seatName = ({ block, row, number }) =>
  `Block ${block.label ?? block}, row ${row}, seat ${number}`;

/// The smallest distance between neighbours, in the map's units.
function pitchOf(block) {
  const distance = ([ax, ay], [bx, by]) => Math.hypot(ax - bx, ay - by);
  const [first, second] = block.rows;
  const beside = first.seats.length > 1 ? distance(first.seats[0], first.seats[1]) : Infinity;
  const behind = second ? Math.min(...second.seats.map((seat) => distance(seat, first.seats[0]))) : Infinity;
  return Math.min(beside, behind, 1000);
}

/// Black or white, whichever is easier to read on the colour (WCAG's relative luminance).
export function inkOn(color) {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const share = parseInt(color.slice(at, at + 2), 16) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000000" : "#ffffff";
}
