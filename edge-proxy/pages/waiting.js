// Shows a visitor the way through the line: takes a place, reads the shared front, and opens the
// door when the visitor says so. Never enters by itself, and never says "your turn" too early.
(() => {
'use strict';
const byId = (id) => document.getElementById(id);
const main = document.querySelector('main[data-event]');
const { event: eventId, title } = main.dataset;
const api = '/api/v1/queue/';
const tags = navigator.languages || ['en'];

const model = {
  place: null,        // the last status
  front: null,        // claims of the newest front document
  shown: 0,           // highest front shown in this lane: it never goes back
  ahead0: 0,          // people ahead at first
  isEnded: false,     // the place is of no use any more
  isHeld: false,      // no place can be given
  isEntering: false,
  retrySecs: 0,       // what the last refused join asked for
  lostSince: 0,       // 0 while the line is heard of
  heardAt: 0,
  notice: '',         // key of a passing word
  range: null,        // the wait as shown, [least, most] in seconds
  slowedUntil: 0,     // until then the reason for a longer wait is shown
  confirmAt: 0,       // not before this is the edge asked for our turn
  waitedAt: 0,        // when it last was not our turn yet: a turn is kept from then on, at least
  isLater: false,     // the visitor has asked for more time at their turn
  isMoved: false,     // the place is on another device
};

/** Who asked for more time is called again this long before the turn is over. */
const CALL_AGAIN_MS = 60000;

// ---- Decisions

/** The front of `lane` at a time, as keys/src/statement.rs computes it. */
function frontAt(front, lane, now) {
  const entry = front && front.lanes.find((one) => one.lane === lane);
  if (!entry) return 0;
  const elapsed = Math.max(0, Math.min(now, front.until) - front.t0);
  return Math.min(Math.max(entry.limit, entry.f0), entry.f0 + Math.floor(entry.pace_milli * elapsed / 1e6));
}

const paceOf = (m) => {
  const entry = m.front && m.place && m.front.lanes.find((one) => one.lane === m.place.lane);
  return entry ? entry.pace_milli / 1000 : 0;
};
const positionOf = (m) => m.place.position ?? m.place.num;
const aheadOf = (m) => Math.max(0, positionOf(m) - m.shown - 1);
const isStale = (m, now) => m.lostSince > 0 || (m.front && m.front.phase === 'open' && now > m.front.until + 3000);

function stateOf(m, now) {
  if (m.isEnded) return 'expired';
  const phase = m.front ? m.front.phase : 'open';
  if (m.place && m.place.state === 'admitted') return 'your_turn';
  if (phase === 'sold_out' || phase === 'closed') return phase;
  if (!m.place) return m.isHeld ? 'hold_on' : 'joining';
  if (phase === 'paused') return 'paused';
  if (m.place.state === 'your_turn') return 'your_turn';
  if (isStale(m, now)) return 'lost';
  return phase === 'scheduled' ? 'scheduled' : 'waiting';
}

/** Until when a turn is surely kept, in milliseconds; 0 if this page has not seen it come. */
const turnEndsAt = (m) => m.waitedAt ? Math.min(m.waitedAt + 1000 * m.place.claim_secs, 1000 * m.place.expires_at) : 0;
/** At their turn a visitor may ask for more time, until there is just enough to be called again. */
const mayBeLater = (m, now) => turnEndsAt(m) - now > CALL_AGAIN_MS;

/** Seconds until our turn as [least, most]; null if nobody can tell. */
function rangeOf(m) {
  const pace = paceOf(m);
  const secs = (aheadOf(m) + 1) / pace;
  return pace > 0 ? [secs * .75, secs * 1.25] : null;
}

const pollOf = (m) => (m.front && m.front.poll) || { near_secs: 2, far_secs: 15 };
/** Seconds to the next look at the front, before jitter: soon where news are near. */
function pollSecs(m, now) {
  // What is left may be sold at any moment, and everybody is told within five seconds.
  const isEnding = m.front && ['few', 'in_holds'].includes(m.front.stock);
  return isEnding ? Math.min(pollOf(m).near_secs, turnSecs(m, now)) : turnSecs(m, now);
}

/** The same as far as our turn goes: the nearer, the sooner. */
function turnSecs(m, now) {
  const { near_secs: near, far_secs: far } = pollOf(m);
  const state = stateOf(m, now);
  if (!m.front || state === 'joining') return near;
  let left = far * 8;
  // Overdue, an opening waits for its draw: no reason for all to ask at once.
  if (state === 'scheduled' && m.front.opens_at > now) left = (m.front.opens_at - now) / 1000;
  else if (state === 'waiting' && rangeOf(m)) left = rangeOf(m)[0];
  return Math.max(near, Math.min(far, left / 8));
}

// ---- The outside: clock, requests, storage

// The server's time minus this page's steady clock, from below: the visitor's clock has no say, and
// whatever is uncertain makes us late, never early.
let offset = null;
const now = () => offset === null ? Date.now() : performance.now() + offset;
function hearTime(headers) {
  const date = Date.parse(headers.get('date')) + 1000 * (Number(headers.get('age')) || 0);
  if (Number.isNaN(date)) return;
  const sample = date - performance.now();
  if (offset === null || sample > offset || sample < offset - 10000) offset = sample;
}

function store(key, value) {
  try {
    if (value === undefined) return JSON.parse(sessionStorage.getItem(key + eventId));
    if (value === null) sessionStorage.removeItem(key + eventId);
    else sessionStorage.setItem(key + eventId, JSON.stringify(value));
  } catch { /* forbidden */ }
  return null;
}

let heldPlace = store('wr-place-'); // only where cookies do not work
model.hasCookies = !heldPlace;
/** Never throws: no answer is status 0. */
async function ask(path, body, isShared) {
  const headers = { accept: 'application/json' };
  if (body) headers['content-type'] = 'application/json';
  if (heldPlace && !isShared) headers['waiting-room-place'] = heldPlace;
  const gone = new AbortController();
  const timer = setTimeout(() => gone.abort(), 10000);
  try {
    const answer = await fetch(path, {
      method: body ? 'POST' : 'GET', headers, body: body && JSON.stringify({ event_id: eventId, ...body }),
      cache: 'no-cache', credentials: isShared ? 'omit' : 'same-origin', signal: gone.signal,
    });
    hearTime(answer.headers);
    const text = await answer.text();
    let said = null;
    try { said = JSON.parse(text); } catch { /* not ours */ }
    const retrySecs = Number(answer.headers.get('retry-after')) || 0;
    return { status: said || answer.status === 204 || !answer.ok ? answer.status : 0, said, retrySecs };
  } catch {
    return { status: 0, said: null, retrySecs: 0 };
  } finally {
    clearTimeout(timer);
  }
}

function takePlace(status) {
  const old = model.place;
  model.place = status;
  model.isHeld = false;
  if (model.notice === 'notYet' && status.state !== 'waiting') model.notice = '';
  if (!old || old.lane !== status.lane || old.num !== status.num) {
    model.shown = 0;
    model.range = null;
  }
  model.shown = Math.max(model.shown, Number(status.front) || 0, frontAt(model.front, status.lane, now()));
  const key = `${status.lane} ${status.num} ${status.position}`;
  const known = store('wr-start-');
  const ahead = status.position === null ? 0 : aheadOf(model); // the draw gives it at the opening
  const before = known && known.key === key ? known : { ahead0: 0, waitedAt: 0 };
  model.ahead0 = Math.max(ahead, before.ahead0);
  model.waitedAt = status.state === 'waiting' ? now() : before.waitedAt;
  store('wr-start-', { key, ahead0: model.ahead0, waitedAt: model.waitedAt });
  if (heldPlace && status.place) store('wr-place-', heldPlace = status.place);
}

function end(code) {
  model.isEnded = true;
  model.isMoved = code === 'place-moved';
  model.place = null;
  store('wr-start-', null);
  store('wr-place-', heldPlace = null);
}

async function join() {
  model.isEnded = false;
  const { status, said, retrySecs } = await ask(`${api}join`, {});
  model.retrySecs = retrySecs;
  if (said?.code === 'sale-over') { // nothing to retry: the front says whether that changes
    model.isHeld = false;
    if (model.front) model.front.phase = said.phase;
    return true;
  }
  if (status !== 200 && status !== 201) {
    model.isHeld = true;
    return false;
  }
  takePlace(said);
  if (!heldPlace && said.place && (await ask(`${api}status?event_id=${encodeURIComponent(eventId)}`)).status === 404) {
    model.hasCookies = false;
    store('wr-place-', heldPlace = said.place);
  }
  return true;
}

async function readPlace() {
  const { status, said } = await ask(`${api}status?event_id=${encodeURIComponent(eventId)}`);
  if (status === 200) takePlace(said);
  else if (status === 410 || (status === 404 && (model.place || store('wr-start-')))) end(said?.code);
  else if (status === 404) return join();
  return status !== 0 && status < 500;
}

async function readFront() {
  const path = (model.place && model.place.front_url) || `${api}${encodeURIComponent(eventId)}/front`;
  const { status, said, retrySecs } = await ask(path, null, true);
  if (status !== 200) return { isHeard: false, retrySecs };
  return { isHeard: await takeFront(said), retrySecs };
}

/** Takes over a front document; `false` if it is none. */
async function takeFront(said) {
  const next = said && said.front;
  if (!next || !Array.isArray(next.lanes)) return false;
  const old = model.front;
  const isNewer = !old || next.line !== old.line || next.epoch > old.epoch || (next.epoch === old.epoch && next.seq >= old.seq);
  if (isNewer) model.front = next;
  // A new line makes places void; the opening may give us a position by draw.
  const isOther = isNewer && old && (next.line !== old.line || old.phase === 'scheduled' && next.phase !== old.phase);
  const isDrawn = next.draw && next.draw.opened && model.place && model.place.position === null;
  if (model.place && (isOther || isDrawn)) {
    if (old && next.line !== old.line) model.shown = 0;
    await readPlace();
  }
  return true;
}

// Near the turn each front is pushed, so that nobody has to ask; asking goes on, but seldom.
let stream = null;
function follow() {
  const state = stateOf(model, now());
  const isNear = model.hasCookies && state === 'waiting' && turnSecs(model, now()) <= pollOf(model).near_secs;
  if (document.hidden || !isNear || !window.EventSource) {
    if (stream) stream.close();
    stream = null;
    return;
  }
  if (stream) return;
  stream = new EventSource(`${api}${encodeURIComponent(eventId)}/stream`);
  stream.addEventListener('front', async (event) => {
    let said = null;
    try { said = JSON.parse(event.data); } catch { return; }
    if (!await takeFront(said)) return;
    model.heardAt = now();
    model.lostSince = 0;
    tick();
  });
  // Refused or cut off: asking is enough, and the next round may try again.
  stream.onerror = () => { if (stream) stream.close(); stream = null; };
}
const isFollowing = () => stream && stream.readyState === 1 && now() - model.heardAt < 5000;

let timer = 0, failures = 0, isPolling = false;
async function poll() {
  if (isPolling) return;
  isPolling = true;
  clearTimeout(timer);
  const isPlaced = model.isEnded || model.place || await readPlace();
  const { isHeard, retrySecs } = await readFront();
  if (isHeard) {
    model.heardAt = now();
    model.lostSince = 0;
    if (stateOf(model, now()) === 'waiting' && aheadOf(model)) {
      model.waitedAt = now();
      store('wr-start-', { ...store('wr-start-'), waitedAt: model.waitedAt });
    }
  } else {
    model.lostSince ||= model.heardAt || now();
  }
  failures = isHeard && isPlaced ? 0 : failures + 1;
  isPolling = false;
  tick();
  follow();
  const backoff = failures ? Math.min(60, 2 ** failures) : 0;
  const usual = isFollowing() ? 20 : pollSecs(model, now());
  schedule(Math.max(usual, backoff, retrySecs, model.retrySecs));
}

/** A hidden tab asks for nothing; one that promised a sound looks as often as the pace suggests. */
function schedule(secs) {
  clearTimeout(timer);
  if (document.hidden) {
    const left = rangeOf(model);
    if (!byId('tell').checked || !model.place || model.place.state !== 'waiting') return;
    secs = Math.max(secs, left ? left[0] / 2 : 60);
  }
  timer = setTimeout(poll, secs * 1000 * (.8 + .4 * Math.random()));
}

async function confirmTurn() {
  model.confirmAt = now() + 1000 * pollSecs(model, now());
  await readPlace();
  paint();
}

function tick() {
  if (document.hidden && !byId('tell').checked) return;
  const { place, front } = model;
  if (place && front) {
    model.shown = Math.max(model.shown, frontAt(front, place.lane, now()));
    const isReached = front.phase === 'open' && place.state === 'waiting' && !(front.draw && place.position === null) && positionOf(model) <= model.shown;
    if (isReached && now() >= model.confirmAt) confirmTurn();
  }
  paint();
}

async function enter() {
  if (model.isEntering) return;
  model.isEntering = true;
  model.notice = '';
  paint();
  const { status, said, retrySecs } = await ask(model.place.claim_url || `${api}claim`, { evidence: evidence() });
  if (status === 200 && (model.hasCookies || navigator.cookieEnabled)) {
    location.reload(); // of this very address: the page that was wanted
    setTimeout(() => { model.isEntering = false; paint(); }, 8000);
    return;
  }
  model.isEntering = false;
  if (status === 200) model.notice = 'cookies';
  else if (status === 409) {
    const { lane } = model.place;
    model.place.state = 'waiting';
    model.notice = 'notYet';
    model.confirmAt = now() + 1000 * Math.max(retrySecs, pollSecs(model, now()));
    if (said?.code === 'came-back') model.notice = 'cameBack';
    if (said?.place) takePlace(said); // near the front again, or in another lane
    else if (said?.lane !== lane) await readPlace();
    poll();
  } else if (said?.code === 'sale-over' && model.front) model.front.phase = said.phase;
  else if ([403, 404, 410].includes(status)) end(said?.code);
  else model.notice = 'busy';
  paint();
}

// What the page saw: counts and signs of automation, nothing that tells one visitor from another.
const seen = { pointer_events: 0, key_events: 0, touch_events: 0, untrusted_events: 0 };
for (const [name, kind] of [['pointermove', 'pointer'], ['pointerdown', 'pointer'], ['keydown', 'key'], ['touchstart', 'touch']]) {
  addEventListener(name, (event) => { seen[event.isTrusted ? `${kind}_events` : 'untrusted_events'] += 1; }, { passive: true, capture: true });
}
addEventListener('click', (event) => { if (!event.isTrusted) seen.untrusted_events += 1; }, true);

function evidence() {
  const found = {
    webdriver: navigator.webdriver === true,
    headless_ua: /headless/i.test(navigator.userAgent),
    automation_globals: Object.getOwnPropertyNames(window).concat(Object.getOwnPropertyNames(document))
      .some((name) => /^\$?[cw]dc_|^__(pw|playwright|puppeteer|selenium|webdriver|driver|nightmare)|^_?(call)?phantom$|^domAutomation/i.test(name)),
    languages: (navigator.languages || []).length,
    ...seen,
  };
  if (matchMedia('(pointer: fine)').matches && !matchMedia('(display-mode: fullscreen), (display-mode: standalone)').matches) {
    found.outer_equals_inner = outerWidth === innerWidth && outerHeight === innerHeight;
  }
  const renderer = glRenderer();
  if (renderer) found.software_gl = /swiftshader|llvmpipe|softpipe|software|basic render/i.test(renderer);
  return found;
}
let glName;
function glRenderer() {
  if (glName !== undefined) return glName;
  glName = '';
  try {
    const gl = document.createElement('canvas').getContext('webgl');
    const names = gl.getExtension('WEBGL_debug_renderer_info');
    glName = String(gl.getParameter(names ? names.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
    gl.getExtension('WEBGL_lose_context').loseContext();
  } catch { /* absent says nothing */ }
  return glName;
}
setTimeout(async () => {
  if (!model.place) return;
  const { status, said } = await ask(`${api}evidence`, { evidence: evidence() });
  if (status === 200 && said && model.place) takePlace(said);
  tick();
}, 3000);

// ---- Painting

let words, locale, number, clock; // `locale` keeps the visitor's region: en-GB writes 18:00
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
function show(id, isShown) {
  byId(id).hidden = !isShown;
}
/** The words of a language, or English if they cannot be had now. */
async function wordsOf(wanted) {
  if (wanted === 'en') return english;
  try {
    const answer = await fetch(`/.waiting-room/assets/words.${wanted}.txt?v={{asset_version}}`);
    return answer.ok ? (await answer.text()).trim() : '';
  } catch {
    return '';
  }
}
async function speak(wanted) {
  const text = await wordsOf(wanted);
  if (!text) wanted = 'en';
  locale = tags.find((tag) => tag.startsWith(wanted)) || wanted;
  const list = (text || english).split('|');
  words = Object.fromEntries(keys.map((key, at) => [key, list[at]]));
  number = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
  clock = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit' });
  Object.assign(document.documentElement, { lang: wanted, dir: wanted === 'ar' ? 'rtl' : 'ltr' });
  for (const element of document.querySelectorAll('[data-t]')) setText(element, words[element.dataset.t]);
  byId('language').value = wanted;
}
const fill = (key, value) => words[key].replace(/\{\w+\}/, value);
/** A moment, with its day if that is not today. */
function moment(millis) {
  const isToday = new Date(millis).toDateString() === new Date(now()).toDateString();
  return isToday ? clock.format(millis)
    : new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'short' }).format(millis);
}
function wait([least, most]) {
  if (most < 60) return words.soon;
  const isHours = most > 5400;
  const round = (secs) => isHours ? Math.round(secs / 1800) / 2 : Math.max(1, Math.round(secs / 60));
  const format = new Intl.NumberFormat(locale, { style: 'unit', unit: isHours ? 'hour' : 'minute', unitDisplay: 'long' });
  const [low, high] = [round(least), Math.max(round(least), round(most))];
  if (low === high) return `~ ${format.format(high)}`;
  return format.formatRange?.(low, high) ?? `${number.format(low)}–${format.format(high)}`;
}
function countdown(millis) {
  const secs = Math.max(0, Math.ceil(millis / 1000));
  const two = (value) => String(value).padStart(2, '0');
  const hours = Math.floor(secs / 3600);
  return `${hours ? `${hours}:` : ''}${two(Math.floor(secs / 60) % 60)}:${two(secs % 60)}`;
}

/** The wait to show: it shrinks freely, and grows only together with the reason. */
function heldRange() {
  const next = rangeOf(model), held = model.range;
  if (!next || !held || next[1] <= held[1]) {
    if (held && next && next[1] < held[1] * .8) model.slowedUntil = 0;
    model.range = next && held ? [Math.min(next[0], held[0]), next[1]] : next;
  } else if (next[1] > held[1] * 1.2 + 30) {
    model.range = next;
    model.slowedUntil = now() + 60000;
  }
  return model.range;
}

let painted = '', spoken = '', milestone = Infinity;
function announce(text) {
  if (text !== spoken) setText(byId('live'), spoken = text);
}
/** At your turn, at each quarter of the way, and at 100 and 10 ahead; nothing in between. */
function announceProgress(state, ahead) {
  if (state !== painted) {
    painted = state;
    milestone = Infinity;
    if (state === 'your_turn' || state === 'last_call') tellTurn();
    announce([byId('heading'), byId('lead')].map((one) => one.textContent).join('. '));
  }
  if (state !== 'waiting') return;
  const marks = [.75, .5, .25].map((part) => Math.floor(model.ahead0 * part)).concat(100, 10, 0);
  const passed = Math.min(...marks.filter((mark) => ahead <= mark), Infinity);
  if (passed < milestone && milestone !== Infinity) announce(`${words.ahead}: ${number.format(ahead)}. ${words.wait}: ${byId('wait').textContent}`);
  milestone = Math.min(milestone, passed === Infinity ? 1e15 : passed);
}

function paint() {
  const at = now();
  const state = stateOf(model, at);
  const { place, front } = model;
  const isTurn = state === 'your_turn';
  const isInLine = !!place && ['scheduled', 'waiting', 'paused', 'lost'].includes(state);
  const isOpening = state === 'scheduled';
  const isCounting = isOpening && !!front.opens_at;
  const isStill = isOpening || (state === 'lost' && front && front.phase === 'scheduled');
  const ahead = place ? aheadOf(model) : 0;
  if (!isTurn || !mayBeLater(model, at)) model.isLater = false;
  const isDrawing = isOpening && front.draw && !front.draw.opened;
  for (const one of [document.documentElement, main]) {
    one.dataset.state = state;
    one.toggleAttribute('data-later', model.isLater);
  }

  setText(byId('heading'), words[state === 'lost' ? 'waiting' : state] || '');
  const isMoved = state === 'expired' && model.isMoved;
  setText(byId('lead'), words[model.isLater ? 'laterText' : isDrawing ? 'drawText' : isMoved ? 'movedText' : `${state}Text`] || '');

  show('dial', isInLine && !(isStill && !isCounting));
  if (isInLine) {
    const value = isCounting ? countdown(front.opens_at - at) : number.format(ahead);
    setText(byId('ahead-label'), words[isCounting ? 'opensIn' : 'ahead']);
    setText(byId('ahead'), value);
    byId('ahead').dataset.value = isCounting ? '' : ahead;
    byId('ahead').style.setProperty('--chars', Math.max(5, value.length));
    drawArc(isCounting || !model.ahead0 ? 0 : Math.max(0, 1 - ahead / model.ahead0));
  }

  const range = state === 'waiting' ? heldRange() : null;
  show('wait-line', state === 'waiting');
  if (state === 'waiting') setText(byId('wait'), ahead === 0 ? words.next : range ? wait(range) : words.unknown);
  const isSlowed = state === 'waiting' && front && front.reason && (at < model.slowedUntil || (!range && ahead > 0));
  show('slowed', isSlowed);
  if (isSlowed) {
    setText(byId('slowed').firstElementChild, range ? words.slowed : '');
    setText(byId('slowed-reason'), front.reason);
  }

  show('next', isInLine && state !== 'paused');
  setText(byId('next'), words.nextText);
  const left = isTurn ? turnEndsAt(model) - at : 0;
  show('left-line', left > 0);
  setText(byId('left'), countdown(left));
  show('later', isTurn && !model.isLater && mayBeLater(model, at));
  show('enter', isTurn);
  setText(byId('enter'), model.isEntering ? '…' : words.enter);
  byId('enter').setAttribute('aria-disabled', model.isEntering);
  show('rejoin', model.isEnded);

  const stock = isInLine && front && { few: 'few', in_holds: 'inHolds' }[front.stock];
  let notice = model.notice && (isInLine || isTurn) ? words[model.notice] : '';
  if (isStale(model, at) && (isInLine || isTurn)) notice = fill('lost', clock.format(model.lostSince || front.until));
  else if (!notice && !model.hasCookies && place) notice = words.cookies;
  else if (!notice && stock) notice = words[stock];
  show('notice', notice);
  setText(byId('notice'), notice || '');
  const isSuspect = (isInLine || isTurn) && place.lane === 'suspect';
  show('lane', isSuspect);
  byId('lane').dataset.lane = place ? place.lane : '';
  setText(byId('lane'), isSuspect ? words.suspect : '');
  const message = front && front.message;
  show('message', message);
  setText(byId('message-text'), message || '');

  show('facts', isInLine && !isStill);
  show('why', isInLine && front && !isStill);
  show('draw', isInLine && front && front.draw);
  // Sold out, a place still counts: what comes back goes to those who wait.
  const isKept = place && (isInLine || state === 'sold_out');
  show('tell-row', isKept || model.isLater);
  show('foot', isKept || isTurn);
  show('access', isInLine && place.lane === 'standard');
  if (place) {
    setText(byId('position'), number.format(positionOf(model)));
    setText(byId('front'), number.format(model.shown));
    byId('position').dataset.value = positionOf(model);
    byId('front').dataset.value = model.shown;
    show('kept', !left); // one time is enough
    setText(byId('kept'), fill('kept', moment(place.expires_at * 1000)));
    const code = visitorOf(place);
    show('code-row', code);
    setText(byId('code'), code);
  }
  if (front) {
    setText(byId('pace'), fill('pace', number.format(paceOf(model) * 60)));
    setText(byId('reason'), front.reason || '');
  }
  setText(document.querySelector('title'), isTurn ? `★ ${words.your_turn} · ${title}`
    : isInLine && !isStill ? `${number.format(ahead)} · ${title}` : `${words[state === 'lost' ? 'waiting' : state]} · ${title}`);
  setIcon(isTurn ? '#0a7a4b' : '');
  const isLastCall = left > 0 && !mayBeLater(model, at);
  announceProgress(isLastCall ? 'last_call' : state, ahead);
}

function drawArc(part) {
  byId('done').style.strokeDasharray = `${part * 100} 200`;
  byId('you').style.transform = `rotate(${part * 180}deg)`;
  byId('arc').setAttribute('aria-valuenow', Math.round(part * 100));
}
let icon = '';
function setIcon(color) {
  if (color === icon) return;
  icon = color;
  document.querySelector('[rel=icon]').href = color
    ? `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="8" fill="${color}"/></svg>`)}` : 'data:,';
}
/** The visitor's id, as the place says it. */
function visitorOf(place) {
  try {
    return String(JSON.parse(atob(place.place.split('.')[1].replace(/-/g, '+').replace(/_/g, '/'))).sub);
  } catch {
    return '';
  }
}

/** Says a word beside a code, and aloud. */
function say(where, key) {
  setText(byId(where), words[key]);
  announce(words[key]);
}

let audio = null;
function tellTurn() {
  if (!byId('tell').checked) return;
  try {
    [660, 880].forEach((pitch, at) => {
      const tone = audio.createOscillator(), loud = audio.createGain(), start = audio.currentTime + at * .35;
      tone.frequency.value = pitch;
      loud.gain.setValueAtTime(.2, start);
      loud.gain.exponentialRampToValueAtTime(.001, start + .6);
      tone.connect(loud).connect(audio.destination);
      tone.start(start);
      tone.stop(start + .6);
    });
    if (window.Notification && Notification.permission === 'granted') new Notification(words.your_turn, { body: title });
  } catch { /* the title says it too */ }
}
byId('tell').addEventListener('change', (event) => {
  if (!event.target.checked) return;
  audio ||= window.AudioContext ? new AudioContext() : null;
  if (audio) audio.resume();
  if (window.Notification && Notification.permission === 'default') Notification.requestPermission();
});
byId('enter').addEventListener('click', enter);
byId('later').addEventListener('click', () => {
  model.isLater = true;
  paint();
  announce(words.laterText);
  byId('enter').focus(); // the button that had it is gone
});
byId('rejoin').addEventListener('click', async () => { await join(); poll(); });
byId('copy').addEventListener('click', async () => {
  getSelection().selectAllChildren(byId('code'));
  try { await navigator.clipboard.writeText(byId('code').textContent); } catch { document.execCommand('copy'); }
  setText(byId('copy'), `${words.copy} ✓`);
  announce(byId('copy').textContent);
});
byId('show-code').addEventListener('click', async () => {
  const { status, said } = await ask(`${api}transfer`, {});
  if (status !== 201) return say('move-said', 'busy');
  show('moving', true);
  setText(byId('moving-code'), said.code);
  announce(`${said.code}. ${words.moveText}`);
});
byId('use-access').addEventListener('submit', async (event) => {
  event.preventDefault();
  const { status, said } = await ask(`${api}join`, { access_code: byId('access-code').value });
  if (![200, 201].includes(status)) return say('access-said', [0, 429, 503].includes(status) ? 'busy' : 'accessWrong');
  takePlace(said);
  model.notice = 'accessCounts';
  announce(words.accessCounts);
  await poll();
});
byId('bring').addEventListener('submit', async (event) => {
  event.preventDefault();
  const { status, said } = await ask(`${api}transfer/redeem`, { code: byId('their-code').value });
  if (status !== 200) return say('move-said', [404, 422].includes(status) ? 'codeWrong' : 'busy');
  byId('their-code').value = '';
  byId('move').open = false;
  if (said.state === 'admitted' || said.pass) return location.reload();
  model.isEnded = false;
  takePlace(said);
  await poll();
});
byId('language').addEventListener('change', async (event) => {
  try { localStorage.setItem('wr-language', event.target.value); } catch { /* forbidden */ }
  await speak(event.target.value);
  paint();
});
let hiddenAt = 0;
document.addEventListener('visibilitychange', async () => {
  if (document.hidden) {
    hiddenAt = performance.now();
    follow();
    if (!isPolling) schedule(0);
    return;
  }
  if (model.place && performance.now() - hiddenAt > 60000) await readPlace();
  poll();
});
addEventListener('pageshow', (event) => { if (event.persisted) { model.isEntering = false; poll(); } });
addEventListener('online', poll);

// ---- Words: pages/words has a file for each language, in the order of `keys`

const keys = '{{keys}}'.split(' ');
const english = '{{english}}';
const languages = { en: 'English', es: 'Español', fr: 'Français', de: 'Deutsch', pt: 'Português', it: 'Italiano', ja: '日本語', ko: '한국어', zh: '中文', ar: 'العربية' };

document.documentElement.classList.add('script');
byId('choose').hidden = false;
for (const [code, name] of Object.entries(languages)) {
  const option = new Option(name, code);
  option.lang = code;
  byId('language').append(option);
}
let chosen = null;
try { chosen = localStorage.getItem('wr-language'); } catch { /* forbidden */ }
const spokenHere = tags.map((tag) => tag.slice(0, 2)).find((code) => languages[code]);
speak(languages[chosen] ? chosen : spokenHere || 'en').then(() => {
  paint();
  poll();
  setInterval(tick, 1000);
});
})();
