// What do the bytes of a frame say about the seats?
//
// The format is described in origin/LIVE.md. A frame says what seats are, not that they flip, so
// one may be applied twice, or on top of something newer than it began with.

const CHANGES = 1;
const SNAPSHOT = 2;

/// Bytes that are no frame: whoever gets this asks for all seats again.
export class NoFrame extends Error {}

/// Nothing known yet about the seats of a house.
export const knowNothing = (seats) => ({ seq: null, seats, plane: new Uint8Array(Math.ceil(seats / 8)) });

/// Applies a frame to what is `known`. Returns the seats that are other now, `[]` if there was
/// nothing new, or `null` if frames before it are missing.
export function applyFrame(known, bytes) {
  const read = reader(bytes);
  const kind = read.byte();
  if (kind === SNAPSHOT) return applySnapshot(known, read);
  if (kind !== CHANGES) throw new NoFrame(`a frame begins with ${kind}, expected 1 or 2`);
  const base = read.varint();
  const seq = base + read.varint();
  if (known.seq === null || base > known.seq) return null;
  const runs = [];
  let next = 0;
  while (!read.isAtEnd()) {
    const first = next + read.varint();
    const run = read.varint();
    const len = Math.floor(run / 2);
    next = first + len;
    if (len === 0 || next > known.seats) throw new NoFrame(`a frame speaks of seats ${first} to ${next - 1} of ${known.seats}`);
    runs.push([first, next, run % 2 === 1]);
  }
  if (seq <= known.seq) return [];
  const changed = [];
  for (const [first, end, isTaken] of runs) {
    for (let seat = first; seat < end; seat += 1) if (setSeat(known.plane, seat, isTaken)) changed.push(seat);
  }
  known.seq = seq;
  return changed;
}

function applySnapshot(known, read) {
  const seq = read.varint();
  const seats = read.varint();
  const plane = read.rest();
  if (seats !== known.seats || plane.length !== known.plane.length) {
    throw new NoFrame(`a snapshot has ${seats} seats in ${plane.length} bytes, expected ${known.seats}`);
  }
  const changed = [];
  plane.forEach((byte, at) => {
    const differs = byte ^ known.plane[at];
    for (let bit = 0; differs >> bit !== 0; bit += 1) if ((differs >> bit) & 1) changed.push(at * 8 + bit);
  });
  known.plane.set(plane);
  known.seq = seq;
  return changed;
}

/// Marks a seat; true if it was otherwise before.
export function setSeat(plane, seat, isTaken) {
  const bit = 1 << (seat & 7);
  if (((plane[seat >> 3] & bit) !== 0) === isTaken) return false;
  plane[seat >> 3] ^= bit;
  return true;
}

/// The bytes of a base64 text.
export const bytesOf = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

function reader(bytes) {
  let at = 0;
  const byte = () => {
    if (at >= bytes.length) throw new NoFrame(`a frame of ${bytes.length} bytes ends within a number`);
    return bytes[at++];
  };
  return {
    byte,
    isAtEnd: () => at >= bytes.length,
    rest: () => bytes.subarray(at),
    /// Numbers of a log stay below 2^53, up to which they are exact here.
    varint() {
      let number = 0;
      for (let scale = 1; ; scale *= 128) {
        const next = byte();
        number += (next & 127) * scale;
        if (number > Number.MAX_SAFE_INTEGER) throw new NoFrame("a number of the frame is too long");
        if (next < 128) return number;
      }
    },
  };
}
