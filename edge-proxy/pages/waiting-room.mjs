// The line of an event for pages and apps that have a page of their own: an ES module without
// dependencies, served by every edge as /.waiting-room/assets/waiting-room.mjs. It runs in browsers,
// and wherever there is fetch.
//
//   import { WaitingRoom } from '/.waiting-room/assets/waiting-room.mjs';
//   const line = new WaitingRoom('wc2026-final');
//   for await (const { state, ahead, wait } of line.follow()) show(state, ahead, wait);
//   const { pass, until } = await line.enter();   // once the state is 'your_turn'

/** A refusal by the edge: `status`, `code`, `detail`, and `retrySecs` if it says when to ask again. */
export class Refused extends Error {
  constructor(status, problem, retrySecs) {
    super(problem?.detail || problem?.title || `status ${status}`);
    Object.assign(this, { status, code: problem?.code ?? '', problem, retrySecs });
  }
}

/** The front of a lane at a time in milliseconds since the epoch: positions up to it may enter. */
export function frontAt(front, lane, now) {
  const entry = front.lanes.find((one) => one.lane === lane);
  if (!entry) return 0;
  const elapsed = Math.max(0, Math.min(now, front.until) - front.t0);
  return Math.min(Math.max(entry.limit, entry.f0), entry.f0 + Math.floor(entry.pace_milli * elapsed / 1e6));
}

export class WaitingRoom {
  #offset = null;

  /**
   * `base` is the address of an edge, '' for this very site. Cookies carry the place where there are
   * any; elsewhere it is in `place`, for the app to keep and to give to the next start.
   */
  constructor(eventId, { base = '', place = null, fetch: fetcher = (...args) => fetch(...args) } = {}) {
    Object.assign(this, { eventId, base, place, fetcher });
  }

  /**
   * Takes a place at the end of the line, or gives the one that is held. An access code, or a ticket
   * that counts, moves it to the priority lane; if that is refused, the place is kept as it was.
   */
  async join({ accessCode, ticket } = {}) {
    const proof = { ...(accessCode && { access_code: accessCode }), ...(ticket && { ticket }) };
    return this.#keep(await this.#ask('join', proof));
  }

  /** Where the place stands. Throws `Refused` with the code `no-place` if there is none. */
  async status() {
    return this.#keep(await this.#ask(`status?event_id=${encodeURIComponent(this.eventId)}`));
  }

  /** The front that everybody shares. */
  async front() {
    return (await this.#ask(`${encodeURIComponent(this.eventId)}/front`)).front;
  }

  /** Enters: `{ pass, until }`. Throws `Refused` with the code `not-yet` if it is not the turn. */
  async enter(evidence) {
    return this.#ask('claim', evidence ? { evidence } : {});
  }

  /** A code that moves the place to another device, once: `{ code, expires_at }`. */
  async transfer() {
    return this.#ask('transfer', {});
  }

  /** Takes over the place of the device that shows this code; there it is void from now on. */
  async redeem(code) {
    return this.#keep(await this.#ask('transfer/redeem', { code }));
  }

  /** Leaves the line, and what is inside. */
  async leave() {
    await this.#ask('leave', {});
    this.place = null;
  }

  /**
   * What to show, whenever it changes: `{ state, ahead, position, front, wait, phase, message }`;
   * `wait` is `[least, most]` in seconds or null. Ends with the turn, or when the sale is over.
   * It polls only the shared front, and as often as the front asks for.
   */
  async *follow({ signal } = {}) {
    let place = await this.join();
    let shown = '';
    while (!signal?.aborted) {
      let pause = 5;
      try {
        const front = await this.front();
        if (place.position === null && front.draw?.opened) place = await this.status();
        const seen = this.#look(place, front);
        if (seen.state === 'your_turn') {
          place = await this.status(); // the edge has the last word
          seen.state = place.state;
        }
        pause = this.#pause(seen, front);
        const text = JSON.stringify(seen);
        if (text !== shown) yield seen;
        shown = text;
        if (['your_turn', 'admitted', 'sold_out', 'closed'].includes(seen.state)) return;
      } catch (error) {
        if (error instanceof Refused && error.status < 500 && error.status !== 429) throw error;
        pause = error.retrySecs || 5; // no answer is no reason to lose the place
      }
      await this.#sleep(pause * (.8 + .4 * Math.random()), signal);
    }
  }

  #look(place, front) {
    const now = this.#now();
    const reached = Math.max(place.front, frontAt(front, place.lane, now));
    const position = place.position;
    const ahead = position === null ? null : Math.max(0, position - reached - 1);
    const pace = (front.lanes.find((one) => one.lane === place.lane)?.pace_milli ?? 0) / 1000;
    const secs = ahead === null || pace === 0 ? null : (ahead + 1) / pace;
    const isTurn = position !== null && position <= reached && ['open', 'paused'].includes(front.phase);
    return {
      state: isTurn ? 'your_turn' : front.phase === 'open' ? 'waiting' : front.phase,
      phase: front.phase, position, ahead, front: reached,
      wait: secs === null ? null : [Math.round(secs * .75), Math.round(secs * 1.25)],
      message: front.message ?? null,
    };
  }

  #pause({ wait }, { poll }) {
    return Math.max(poll.near_secs, Math.min(poll.far_secs, wait ? wait[0] / 8 : poll.far_secs));
  }

  /** The server's time, from below: a fast clock of the device makes nobody early. */
  #now() {
    return this.#offset === null ? Date.now() : performance.now() + this.#offset;
  }

  #sleep(secs, signal) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, secs * 1000);
      signal?.addEventListener('abort', () => { clearTimeout(timer); resolve(); }, { once: true });
    });
  }

  #keep(status) {
    if (status.place) this.place = status.place;
    return status;
  }

  async #ask(path, body) {
    const headers = { accept: 'application/json' };
    if (body) headers['content-type'] = 'application/json';
    if (this.place && !path.endsWith('/front')) headers['waiting-room-place'] = this.place;
    const answer = await this.fetcher(`${this.base}/api/v1/queue/${path}`, {
      method: body ? 'POST' : 'GET', headers, cache: 'no-cache',
      body: body && JSON.stringify({ event_id: this.eventId, ...body }),
    });
    const date = Date.parse(answer.headers.get('date')) + 1000 * (Number(answer.headers.get('age')) || 0);
    if (!Number.isNaN(date)) this.#offset = Math.max(this.#offset ?? -Infinity, date - performance.now());
    if (answer.status === 204) return null;
    const said = await answer.json().catch(() => null);
    if (!answer.ok && said?.place) this.place = said.place;
    if (!answer.ok) throw new Refused(answer.status, said, Number(answer.headers.get('retry-after')) || 0);
    return said;
  }
}
