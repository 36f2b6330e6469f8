// How do we keep knowing which seats are free?
//
// As well as the box office can afford right now, which it says with every answer (`Seat-Mode`,
// origin/LIVE.md): by a stream, by asking for all seats, or by asking how many are free in each
// zone. A stream that breaks is taken up where it broke; while there is none we ask. A hidden or
// forgotten page does neither, because that would tell the edge that its visitor still shops.

import { ask, askBytes, eventPath, Refusal, seatModes } from "./api.js";
import { applyFrame, bytesOf, NoFrame } from "./frames.js";

const FRAME = "application/vnd.waiting-room.seats";
const SECS_BETWEEN = { stream: 5, seats: 5, zones: 8, mode: 20 }; // two questions, by what is looked at
const SECS_MAX = 60; // after failures the wait doubles up to this
const UNHEARD_MAX = 2; // so many streams that say nothing: something on the way keeps them back
const ASKED_BETWEEN = 12; // questions, before a stream is tried again after that
const UNTOUCHED_SECS_MAX = 180; // a page nobody touched for so long is a forgotten one

/// Levels, and what is looked at in each.
const LOOKS = {
  "map": "stream",
  "slow-map": "stream",
  "polled": "seats",
  "list": "zones",
  "best-only": "mode",
  "paused": "mode",
};

/// All seats as they are now, as a frame; `null` if the level does not show seats.
export async function askSeats(event) {
  try {
    return await askBytes(eventPath(event, "/availability"), FRAME);
  } catch (error) {
    if (error instanceof Refusal && error.code === "mode") return null;
    throw error;
  }
}

export const askZones = (event) => ask(eventPath(event, "/zones"));

/// Keeps `known` up to date. Calls `on.seats(changed)`, `on.zones({free, zones})`, `on.mode(mode)`,
/// and, when we lose touch, `on.failure(error)`. Returns the functions to `refresh` at once and to
/// `stop`.
export function watchSeats(event, known, on) {
  let touchedAt = Date.now();
  let isStopped = false;
  let wake = () => {}; // ends a pause
  let leave = () => {}; // ends a stream
  const look = () => LOOKS[seatModes.current] ?? "seats";
  const isWatched = () => !document.hidden && Date.now() - touchedAt <= UNTOUCHED_SECS_MAX * 1000;

  keepUp();

  async function keepUp() {
    let unheard = 0; // streams in a row that said nothing
    let asked = 0; // since the last stream
    let failures = 0;
    while (!isStopped) {
      if (!isWatched()) {
        await pause(SECS_MAX);
        continue;
      }
      const isWorthTrying = unheard < UNHEARD_MAX || asked >= ASKED_BETWEEN;
      if (look() === "stream" && known.seq !== null && isWorthTrying) {
        unheard = (await follow()) ? 0 : unheard + 1;
        asked = 0;
        // Streams end for everybody at once when the level changes or a server stops. Asking then
        // tells us why, and shows the edge that this visitor is still there.
        await pause(1);
        if (isStopped || !isWatched()) continue;
      }
      let secs = SECS_BETWEEN[look()];
      try {
        await askOnce();
        asked += 1;
        failures = 0;
      } catch (error) {
        failures += 1;
        secs = Math.max(Math.min(secs * 2 ** failures, SECS_MAX), error.retryAfterSecs ?? 0);
        if (!isStopped) on.failure(error);
      }
      const streamsAgain = look() === "stream" && unheard < UNHEARD_MAX && failures === 0;
      if (!streamsAgain) await pause(secs);
    }
  }

  async function askOnce() {
    if (look() === "stream" || look() === "seats") {
      const frame = await askSeats(event);
      if (frame !== null && !isStopped) on.seats(applyFrame(known, frame));
      return;
    }
    const told = await askZones(event);
    if (look() === "zones" && !isStopped) on.zones(told);
  }

  /// Reads a stream until it ends, or nobody looks. Returns whether it said anything.
  function follow() {
    return new Promise((resolve) => {
      const stream = new EventSource(eventPath(event, `/stream?since=${known.seq}`));
      let heardAny = false;
      leave = () => {
        stream.close();
        leave = () => {};
        resolve(heardAny);
      };
      const heard = (message) => {
        heardAny = true;
        try {
          const changed = applyFrame(known, bytesOf(message.data));
          if (changed === null) return leave(); // frames are missing: asking brings all seats
          on.seats(changed);
        } catch (error) {
          leave();
          if (!(error instanceof NoFrame)) throw error;
        }
      };
      stream.addEventListener("changes", heard);
      stream.addEventListener("snapshot", heard);
      stream.addEventListener("mode", (message) => {
        heardAny = true;
        seatModes.tell(message.data);
      });
      // The browser would connect again by itself, with all others and from a fixed place.
      stream.addEventListener("error", () => leave());
    });
  }

  /// Waits about so long, or until there is a reason not to.
  function pause(secs) {
    const jitter = 0.5 + Math.random(); // what happens to all pages at once should not keep them in step
    return new Promise((resolve) => {
      const timer = setTimeout(() => wake(), secs * jitter * 1000);
      wake = () => {
        clearTimeout(timer);
        wake = () => {};
        resolve();
      };
    });
  }

  // --- who looks --------------------------------------------------------------------------------

  const listening = new AbortController();
  const listen = (target, type, act) => target.addEventListener(type, act, { passive: true, signal: listening.signal });

  /// Somebody is back: ask at once if they were away.
  function touched() {
    const wasAway = !isWatched();
    touchedAt = Date.now();
    if (wasAway && isWatched()) wake();
  }

  for (const sign of ["pointerdown", "pointermove", "keydown", "scroll", "focus"]) listen(window, sign, touched);
  listen(document, "visibilitychange", () => (document.hidden ? leave() : wake()));
  listen(window, "online", () => wake());
  listen(seatModes, "change", () => {
    on.mode(seatModes.current);
    if (look() !== "stream") leave();
  });
  const looking = setInterval(() => isWatched() || leave(), 10_000);

  function stop() {
    isStopped = true;
    clearInterval(looking);
    listening.abort();
    leave();
    wake();
  }

  return { refresh: () => wake(), stop };
}
