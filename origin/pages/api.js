// How do we ask the origin, and what can come back? An answer, a refusal that says why, or
// nothing; callers handle the last two by class.

/// The origin, or the edge before it, said no.
export class Refusal extends Error {
  constructor(response, problem) {
    super(`${response.status} ${problem.code ?? problem.title ?? ""}`);
    this.status = response.status;
    this.code = problem.code ?? String(problem.type ?? "").split(":").pop();
    this.problem = problem;
    const retryAfter = Number(response.headers.get("Retry-After"));
    this.retryAfterSecs = retryAfter > 0 ? Math.min(retryAfter, 60) : null;
  }

  /// The origin says `pass-required`; an edge that guards the route says `waiting` before the
  /// request gets that far.
  get isPassEnded() {
    return this.code === "pass-required" || this.code === "waiting";
  }
}

/// No answer came: the network, or a server that takes too long. Whether a request had an effect
/// is then unknown.
export class Unreachable extends Error {}

const ANSWER_SECS_MAX = 25; // a little more than the origin takes before it gives up by itself

/// How much of the seats the origin can show right now, as it said last; `null` before it did. It
/// tells `change` when that is something else.
class SeatModes extends EventTarget {
  current = null;

  tell(mode) {
    if (!mode || mode === this.current) return;
    this.current = mode;
    this.dispatchEvent(new Event("change"));
  }
}

export const seatModes = new SeatModes();

/// Asks for JSON and returns it; `null` for an answer without a body.
export async function ask(path, options = {}) {
  const response = await send(path, { accept: "application/json", ...options });
  if (response.status === 204) return null;
  return read(path, response.json());
}

/// Asks for bytes of some media type.
export async function askBytes(path, accept) {
  const response = await send(path, { accept });
  return new Uint8Array(await read(path, response.arrayBuffer()));
}

const read = (path, content) =>
  content.catch((cause) => {
    throw new Unreachable(`the answer of ${path} broke off`, { cause });
  });

async function send(path, { method = "GET", accept, body, headers = {} }) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: { Accept: accept, ...(body ? { "Content-Type": "application/json" } : {}), ...headers },
      body: body ? JSON.stringify(body) : undefined,
      signal: AbortSignal.timeout(ANSWER_SECS_MAX * 1000),
    });
  } catch (cause) {
    throw new Unreachable(`no answer to ${method} ${path}`, { cause });
  }
  seatModes.tell(response.headers.get("Seat-Mode"));
  if (!response.ok) throw new Refusal(response, await response.json().catch(() => ({})));
  if (response.headers.get("Cache-Control")?.includes("no-store")) learnClock(response); // its date is now
  return response;
}

export const eventPath = (event, rest = "") => `/api/v1/events/${encodeURIComponent(event)}${rest}`;

/// What is known of an event, for who has a ticket or an offer: they may have no pass, and need none.
export const askListing = (event) => ask(`/api/v1/listings/${encodeURIComponent(event)}`);

let clockOffsetMillis = 0;

/// The server's time. A visitor's clock may be minutes off, and a hold ends by the server's.
export const serverNow = () => Date.now() + clockOffsetMillis;

function learnClock(response) {
  const date = Date.parse(response.headers.get("Date"));
  // The header counts whole seconds. Rounding down shows a visitor less time than they have.
  if (!Number.isNaN(date)) clockOffsetMillis = date + 999 - Date.now();
}
