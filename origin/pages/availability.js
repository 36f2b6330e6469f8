// When do we ask again which seats are free?
//
// Every five seconds, but only while somebody looks: a hidden or forgotten page asks nothing,
// because each request tells the edge that this visitor still uses their pass.

import { ask, eventPath, Refusal } from "./api.js";

const EVERY_SECS = 5;
const EVERY_SECS_MAX = 60; // after failures the wait doubles up to this
const UNTOUCHED_SECS_MAX = 180; // a page nobody touched for so long is a forgotten one

export const askAvailability = (event) => ask(eventPath(event, "/availability"));

/// Calls `onNews(availability)` and, when an answer fails, `onFailure(error)`; for the first time
/// after one wait. Returns the functions to `refresh` at once and to `stop`.
export function watchAvailability(event, { onNews, onFailure }) {
  let timer = null;
  let failures = 0;
  let touchedAt = Date.now();
  let isStopped = false;
  let isAsking = false;

  async function refresh() {
    clearTimeout(timer);
    if (isAsking || isStopped) return;
    isAsking = true;
    let waitSecs = EVERY_SECS;
    try {
      const availability = await askAvailability(event);
      failures = 0;
      if (!isStopped) onNews(availability);
    } catch (error) {
      failures += 1;
      waitSecs = Math.min(EVERY_SECS * 2 ** failures, EVERY_SECS_MAX);
      if (error instanceof Refusal && error.retryAfterSecs) waitSecs = Math.max(waitSecs, error.retryAfterSecs);
      if (!isStopped) onFailure(error);
    }
    isAsking = false;
    waitFor(waitSecs);
  }

  function waitFor(secs) {
    const jitter = 0.8 + 0.4 * Math.random(); // pages opened at the same moment should not stay in step
    if (!isStopped) timer = setTimeout(askIfWatched, secs * jitter * 1000);
  }

  function askIfWatched() {
    timer = null;
    const isForgotten = Date.now() - touchedAt > UNTOUCHED_SECS_MAX * 1000;
    if (!document.hidden && !isForgotten) refresh();
  }

  /// Somebody is back: ask at once if the last round was skipped.
  function touched() {
    touchedAt = Date.now();
    if (timer === null && !isAsking && !document.hidden) refresh();
  }

  const signs = ["pointerdown", "pointermove", "keydown", "scroll", "focus"];
  const listening = new AbortController();
  for (const sign of signs) window.addEventListener(sign, touched, { passive: true, signal: listening.signal });
  document.addEventListener("visibilitychange", touched, { signal: listening.signal });
  window.addEventListener("online", refresh, { signal: listening.signal });

  function stop() {
    isStopped = true;
    clearTimeout(timer);
    listening.abort();
  }

  waitFor(EVERY_SECS);
  return { refresh, stop };
}
