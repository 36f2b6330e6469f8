// Shows a visitor the way through the line: takes a place, reads the shared front, and opens the
// door when the visitor says so. Never enters by itself, and never says "your turn" too early.
(() => {
'use strict';
const eventId = document.body.dataset.event;
const title = document.getElementById('event').textContent;
const api = '/api/v1/queue/';
const byId = (id) => document.getElementById(id);
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
};

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

/** Seconds until our turn as [least, most]; null if nobody can tell. */
function rangeOf(m) {
  const pace = paceOf(m);
  const secs = (aheadOf(m) + 1) / pace;
  return pace > 0 ? [secs * .75, secs * 1.25] : null;
}

/** Seconds to the next look at the front, before jitter: the nearer the turn, the sooner. */
function pollSecs(m, now) {
  const { near_secs: near, far_secs: far } = (m.front && m.front.poll) || { near_secs: 2, far_secs: 15 };
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
  const key = `${status.lane} ${status.num} ${status.issued_at}`;
  const known = store('wr-start-');
  const ahead = status.position === null ? 0 : aheadOf(model); // the draw gives it at the opening
  model.ahead0 = Math.max(ahead, known && known.key === key ? known.ahead0 : 0);
  store('wr-start-', { key, ahead0: model.ahead0 });
  if (heldPlace && status.place) store('wr-place-', heldPlace = status.place);
}

function end() {
  model.isEnded = true;
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
  else if (status === 410 || (status === 404 && (model.place || store('wr-start-')))) end();
  else if (status === 404) return join();
  return status !== 0 && status < 500;
}

async function readFront() {
  const path = (model.place && model.place.front_url) || `${api}${encodeURIComponent(eventId)}/front`;
  const { status, said, retrySecs } = await ask(path, null, true);
  const next = said && said.front;
  if (status !== 200 || !next || !Array.isArray(next.lanes)) return { isHeard: false, retrySecs };
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
  return { isHeard: true, retrySecs };
}

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
  } else {
    model.lostSince ||= model.heardAt || now();
  }
  failures = isHeard && isPlaced ? 0 : failures + 1;
  isPolling = false;
  tick();
  const backoff = failures ? Math.min(60, 2 ** failures) : 0;
  schedule(Math.max(pollSecs(model, now()), backoff, retrySecs, model.retrySecs));
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
    if (said?.place) takePlace(said); // moved to another lane
    else if (said?.lane !== lane) await readPlace();
    poll();
  } else if (said?.code === 'sale-over' && model.front) model.front.phase = said.phase;
  else if ([403, 404, 410].includes(status)) end();
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
function speak(wanted) {
  locale = tags.find((tag) => tag.startsWith(wanted)) || wanted;
  words = Object.fromEntries(keys.map((key, at) => [key, languages[wanted].split('|')[at]]));
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
    if (state === 'your_turn') tellTurn();
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
  for (const one of [document.documentElement, document.querySelector('main')]) one.dataset.state = state;

  setText(byId('heading'), words[state === 'lost' ? 'waiting' : state] || '');
  setText(byId('lead'), words[`${state}Text`] || '');

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
  show('draw', front && front.draw);
  show('tell-row', isInLine);
  show('foot', place && (isInLine || isTurn));
  if (place) {
    setText(byId('position'), number.format(positionOf(model)));
    setText(byId('front'), number.format(model.shown));
    byId('position').dataset.value = positionOf(model);
    byId('front').dataset.value = model.shown;
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
  announceProgress(state, ahead);
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
byId('rejoin').addEventListener('click', async () => { await join(); poll(); });
byId('copy').addEventListener('click', async () => {
  getSelection().selectAllChildren(byId('code'));
  try { await navigator.clipboard.writeText(byId('code').textContent); } catch { document.execCommand('copy'); }
  setText(byId('copy'), `${words.copy} ✓`);
  announce(byId('copy').textContent);
});
byId('language').addEventListener('change', (event) => {
  try { localStorage.setItem('wr-language', event.target.value); } catch { /* forbidden */ }
  speak(event.target.value);
  paint();
});
let hiddenAt = 0;
document.addEventListener('visibilitychange', async () => {
  if (document.hidden) {
    hiddenAt = performance.now();
    if (!isPolling) schedule(0);
    return;
  }
  if (model.place && performance.now() - hiddenAt > 60000) await readPlace();
  poll();
});
addEventListener('pageshow', (event) => { if (event.persisted) { model.isEntering = false; poll(); } });
addEventListener('online', poll);

// ---- Words: one line a language, in the order of `keys`

const keys = 'name language joining hold_on hold_onText scheduled scheduledText opensIn waiting ahead next wait soon unknown slowed position front why pace privacy paused pausedText lost your_turn your_turnText enter notYet busy suspect few inHolds sold_out sold_outText closed expired expiredText rejoin cookies tell kept code copy message'.split(' ');
const languages = {
en: 'English|Language|Taking your place…|Please hold on|No place can be given right now. We keep trying.|You are early, and in line|The line starts to move by itself at the opening.|Opens in|You are in line|Ahead of you|You are next|Estimated wait|less than a minute|not known at the moment|Longer than before:|Your number|May enter, up to|Why this pace?|Pace: {n} a minute|This page counts mouse, key and touch events and looks for automation, nothing else.|The line is paused|Nobody is called at the moment. You keep your place.|No news since {time}. Your place is safe.|It is your turn|Enter when you are ready.|Enter now|Not quite yet: the line has to move a little more.|Many are entering. Please try again in a moment.|Extra checks: this line moves more slowly. Is that a mistake? Tell the support your place id.|Few are left.|What is left is in the hands of others. Some may come back.|Sold out|Nothing can come back. Thank you for waiting.|The sale is over|Your place has ended|It was used, its time is over, or it does not fit this browser. You can join again at the end.|Join again|This browser keeps no cookies here. Leave this tab open, and allow them before you enter.|Tell me with a sound when it is my turn|You may reload or come back later: your place is kept until {time}.|Place id|Copy|Message from the organiser',
es: 'Español|Idioma|Reservando tu lugar…|Espera un momento|Ahora no se puede dar un lugar. Seguimos intentándolo.|Llegas pronto y ya estás en la fila|La fila empezará a avanzar sola a la hora de apertura.|Abre en|Estás en la fila|Delante de ti|Eres la siguiente persona|Espera estimada|menos de un minuto|no se sabe por ahora|Más que antes:|Tu número|Pueden entrar hasta|¿Por qué este ritmo?|Ritmo: {n} por minuto|Esta página cuenta eventos de ratón, teclado y toque y busca automatización, nada más.|La fila está en pausa|Por ahora no se llama a nadie. Conservas tu lugar.|Sin noticias desde las {time}. Tu lugar está a salvo.|Es tu turno|Entra cuando quieras.|Entrar ahora|Todavía no: la fila tiene que avanzar un poco más.|Mucha gente está entrando. Inténtalo de nuevo en un momento.|Comprobaciones adicionales: esta fila avanza más despacio. ¿Es un error? Indica tu código de lugar al servicio de ayuda.|Quedan pocas.|Lo que queda está en manos de otras personas. Algo puede volver.|Agotado|Nada puede volver. Gracias por esperar.|La venta ha terminado|Tu lugar ha terminado|Ya se usó, se acabó su tiempo o no es válido en este navegador. Puedes volver al final de la fila.|Unirme de nuevo|Este navegador no guarda cookies aquí. Deja esta pestaña abierta y permítelas antes de entrar.|Avísame con un sonido cuando sea mi turno|Puedes recargar o volver más tarde: tu lugar se guarda hasta: {time}.|Código de lugar|Copiar|Mensaje de la organización',
fr: 'Français|Langue|Nous prenons votre place…|Un instant|Aucune place ne peut être donnée. Nous réessayons.|Vous êtes en avance, et dans la file|La file avancera d’elle-même à l’ouverture.|Ouverture dans|Vous êtes dans la file|Devant vous|C’est bientôt à vous|Attente estimée|moins d’une minute|inconnue pour le moment|Plus long qu’avant :|Votre numéro|Entrée jusqu’au|Pourquoi ce rythme ?|Rythme : {n} par minute|Cette page compte les événements de souris, clavier et toucher et cherche l’automatisation, rien d’autre.|La file est en pause|Personne n’est appelé pour le moment. Vous gardez votre place.|Aucune nouvelle depuis {time}. Votre place est en sécurité.|C’est votre tour|Entrez quand vous voulez.|Entrer|Pas encore : la file doit avancer encore un peu.|Beaucoup entrent en ce moment. Réessayez dans un instant.|Vérifications supplémentaires : cette file avance plus lentement. Une erreur ? Donnez votre identifiant de place à l’assistance.|Il en reste peu.|Ce qui reste est entre d’autres mains. Une partie peut revenir.|Complet|Rien ne peut revenir. Merci d’avoir attendu.|La vente est terminée|Votre place a pris fin|Elle a déjà servi, son temps est écoulé ou elle ne convient pas à ce navigateur. Vous pouvez rejoindre la fin de la file.|Rejoindre la file|Ce navigateur ne garde pas de cookies ici. Laissez cet onglet ouvert et autorisez-les avant d’entrer.|Prévenez-moi par un son quand c’est mon tour|Vous pouvez recharger ou revenir plus tard : votre place est gardée jusqu’à : {time}.|Identifiant de place|Copier|Message de l’organisation',
de: 'Deutsch|Sprache|Ihr Platz wird eingenommen …|Einen Moment bitte|Gerade kann kein Platz vergeben werden. Wir versuchen es weiter.|Sie sind früh dran und stehen in der Schlange|Zur Öffnung setzt sich die Schlange von selbst in Bewegung.|Öffnet in|Sie stehen in der Schlange|Vor Ihnen|Sie sind als Nächstes dran|Geschätzte Wartezeit|weniger als eine Minute|derzeit nicht bekannt|Länger als zuvor:|Ihre Nummer|Eintritt bis Nummer|Warum dieses Tempo?|Tempo: {n} pro Minute|Diese Seite zählt Maus-, Tasten- und Berührungsereignisse und sucht nach Automatisierung, sonst nichts.|Die Schlange ist angehalten|Im Moment wird niemand aufgerufen. Sie behalten Ihren Platz.|Keine Nachricht seit {time}. Ihr Platz ist sicher.|Sie sind dran|Treten Sie ein, wenn Sie so weit sind.|Jetzt eintreten|Noch nicht ganz: Die Schlange muss noch etwas vorrücken.|Gerade treten viele ein. Versuchen Sie es gleich noch einmal.|Zusätzliche Prüfungen: Diese Schlange bewegt sich langsamer. Ein Irrtum? Nennen Sie dem Support Ihre Platz-ID.|Es sind nur noch wenige übrig.|Was übrig ist, haben gerade andere. Manches kann zurückkommen.|Ausverkauft|Nichts kann zurückkommen. Danke fürs Warten.|Der Verkauf ist beendet|Ihr Platz ist abgelaufen|Er wurde benutzt, seine Zeit ist um, oder er passt nicht zu diesem Browser. Sie können sich wieder hinten anstellen.|Wieder anstellen|Dieser Browser behält hier keine Cookies. Lassen Sie diesen Tab offen und erlauben Sie sie vor dem Eintreten.|Mit einem Ton melden, wenn ich dran bin|Sie können neu laden oder später wiederkommen: Ihr Platz bleibt erhalten bis: {time}.|Platz-ID|Kopieren|Nachricht des Veranstalters',
pt: 'Português|Idioma|A guardar o seu lugar…|Aguarde um momento|De momento não há lugar a dar. Continuamos a tentar.|Chegou cedo e já está na fila|A fila começa a avançar sozinha à hora de abertura.|Abre em|Está na fila|À sua frente|É a próxima pessoa|Espera estimada|menos de um minuto|desconhecida de momento|Mais do que antes:|O seu número|Podem entrar até|Porquê este ritmo?|Ritmo: {n} por minuto|Esta página conta eventos de rato, teclado e toque e procura automação, nada mais.|A fila está em pausa|De momento ninguém é chamado. Mantém o seu lugar.|Sem notícias desde as {time}. O seu lugar está seguro.|É a sua vez|Entre quando quiser.|Entrar agora|Ainda não: a fila tem de avançar mais um pouco.|Muitas pessoas estão a entrar. Tente de novo dentro de momentos.|Verificações adicionais: esta fila avança mais devagar. É um engano? Indique o seu código de lugar ao apoio.|Restam poucos.|O que resta está nas mãos de outros. Parte pode voltar.|Esgotado|Nada pode voltar. Obrigado por esperar.|A venda terminou|O seu lugar terminou|Já foi usado, o tempo acabou ou não serve neste navegador. Pode voltar ao fim da fila.|Entrar de novo na fila|Este navegador não guarda cookies aqui. Deixe este separador aberto e permita-os antes de entrar.|Avise-me com um som quando for a minha vez|Pode recarregar ou voltar mais tarde: o seu lugar fica guardado até: {time}.|Código de lugar|Copiar|Mensagem da organização',
it: 'Italiano|Lingua|Prendiamo il tuo posto…|Un momento|Al momento non si può dare un posto. Riproviamo.|Sei in anticipo, e sei in fila|La fila inizierà ad avanzare da sola all’apertura.|Apre tra|Sei in fila|Davanti a te|Tocca quasi a te|Attesa stimata|meno di un minuto|al momento non nota|Più di prima:|Il tuo numero|Si entra fino al|Perché questo ritmo?|Ritmo: {n} al minuto|Questa pagina conta gli eventi di mouse, tastiera e tocco e cerca automazione, nient’altro.|La fila è in pausa|Al momento non viene chiamato nessuno. Conservi il tuo posto.|Nessuna notizia dalle {time}. Il tuo posto è al sicuro.|È il tuo turno|Entra quando vuoi.|Entra ora|Non ancora: la fila deve avanzare ancora un po’.|Entrano in molti. Riprova tra poco.|Controlli aggiuntivi: questa fila avanza più lentamente. È un errore? Comunica il tuo codice del posto all’assistenza.|Ne restano pochi.|Ciò che resta è in mano ad altri. Una parte può tornare.|Esaurito|Nulla può tornare. Grazie per l’attesa.|La vendita è finita|Il tuo posto è scaduto|È già stato usato, il suo tempo è finito o non vale in questo browser. Puoi rimetterti in fondo alla fila.|Rimettiti in fila|Questo browser non conserva cookie qui. Tieni aperta questa scheda e consentili prima di entrare.|Avvisami con un suono quando è il mio turno|Puoi ricaricare o tornare più tardi: il tuo posto è conservato fino a: {time}.|Codice del posto|Copia|Messaggio dell’organizzazione',
ja: '日本語|言語|順番をお取りしています…|少々お待ちください|現在、順番をお渡しできません。再試行を続けます。|受付前から列にお並びいただいています|開始時刻になると、列は自動的に進みます。|開始まで|列にお並びいただいています|あなたの前の人数|次はあなたの番です|待ち時間の目安|1分未満|現在わかりません|前より長くなりました：|あなたの番号|入場できる番号|なぜこの速さなのですか？|速さ：1分あたり{n}人|このページはマウス・キー・タッチの回数と自動操作の有無だけを確認します。|列は一時停止中です|現在ご案内を止めています。順番はそのままです。|{time}から情報が届いていません。順番は保たれています。|あなたの番です|準備ができたらお入りください。|入場する|もう少しです。列がもう少し進むまでお待ちください。|入場が集中しています。少し待ってもう一度お試しください。|追加の確認中：この列はゆっくり進みます。誤りの場合は順番IDをサポートにお伝えください。|残りわずかです。|残りはほかの方が確保中です。一部は戻る可能性があります。|完売しました|戻る見込みはありません。お待ちいただきありがとうございました。|販売は終了しました|順番の期限が切れました|使用済みか、期限切れか、このブラウザーでは使えません。最後尾から並び直せます。|並び直す|Cookieが保存されません。タブを開いたまま、入場前にCookieを許可してください。|順番が来たら音で知らせる|再読み込みしても、後で戻っても大丈夫です。順番の有効期限：{time}|順番ID|コピー|主催者からのお知らせ',
ko: '한국어|언어|순번을 받는 중…|잠시만 기다려 주세요|지금은 순번을 드릴 수 없습니다. 계속 시도합니다.|일찍 오셔서 줄을 서셨습니다|시작 시각이 되면 줄이 저절로 움직입니다.|시작까지|줄을 서 계십니다|앞에 있는 인원|다음 차례입니다|예상 대기 시간|1분 미만|지금은 알 수 없음|이전보다 길어졌습니다:|내 번호|입장 가능한 번호|왜 이 속도인가요?|속도: 분당 {n}명|이 페이지는 마우스, 키, 터치 횟수와 자동화 여부만 확인합니다.|줄이 잠시 멈췄습니다|지금은 아무도 입장하지 않습니다. 순번은 그대로입니다.|{time}부터 소식이 없습니다. 순번은 안전합니다.|내 차례입니다|준비되면 입장하세요.|지금 입장|조금만 더 기다려 주세요. 줄이 조금 더 움직여야 합니다.|입장이 몰리고 있습니다. 잠시 뒤 다시 시도해 주세요.|추가 확인: 이 줄은 더 천천히 움직입니다. 잘못되었다면 순번 ID를 고객 지원에 알려 주세요.|얼마 남지 않았습니다.|남은 것은 다른 분들이 잡고 있습니다. 일부는 돌아올 수 있습니다.|매진|돌아올 것도 없습니다. 기다려 주셔서 감사합니다.|판매가 끝났습니다|순번이 만료되었습니다|사용되었거나, 시간이 지났거나, 이 브라우저에서는 쓸 수 없습니다. 줄 끝에서 다시 설 수 있습니다.|다시 줄 서기|쿠키가 저장되지 않습니다. 이 탭을 열어 두고, 입장 전에 쿠키를 허용해 주세요.|내 차례가 되면 소리로 알림|새로 고치거나 나중에 돌아와도 됩니다. 순번 유효 시각: {time}|순번 ID|복사|주최자의 안내',
zh: '中文|语言|正在为您取号…|请稍候|暂时无法发放排队号。我们会继续尝试。|您来得早，已在队列中|到开放时间，队列会自动开始前进。|距开放还有|您正在排队|您前面的人数|下一位就是您|预计等待|不到一分钟|暂时未知|比之前更久：|您的号码|可入场至|为什么是这个速度？|速度：每分钟 {n} 人|本页只统计鼠标、按键和触摸次数，并检查自动化。|队列已暂停|目前暂不放行。您的位置会保留。|自 {time} 起没有新消息。您的位置是安全的。|轮到您了|准备好后请入场。|立即入场|还差一点：队列需要再前进一些。|入场的人很多，请稍后再试。|额外核验：此队列前进较慢。如有误，请将位置编号告知客服。|所剩不多。|剩余的在其他人手中，其中一部分可能会释放。|已售罄|不会再有释放。感谢您的等候。|销售已结束|您的位置已失效|它已被使用、已过期，或不适用于此浏览器。您可以重新排到队尾。|重新排队|浏览器未保存 Cookie。请保持此标签页打开，并在入场前允许 Cookie。|轮到我时用声音提醒|您可以刷新或稍后再来：您的位置保留至 {time}。|位置编号|复制|主办方消息',
ar: 'العربية|اللغة|جارٍ حجز مكانك…|يرجى الانتظار|لا يمكن منح مكان الآن. نواصل المحاولة.|وصلت مبكرًا وأنت في الصف|سيبدأ الصف بالتحرك تلقائيًا عند الافتتاح.|يفتح بعد|أنت في الصف|عدد من أمامك|أنت التالي|الانتظار المتوقع|أقل من دقيقة|غير معروف حاليًا|أطول من قبل:|رقمك|الدخول حتى الرقم|لماذا هذه السرعة؟|السرعة: {n} في الدقيقة|تحسب هذه الصفحة أحداث الفأرة والمفاتيح واللمس وتبحث عن التشغيل الآلي، لا غير.|الصف متوقف مؤقتًا|لا يُستدعى أحد في الوقت الحالي. مكانك محفوظ.|لا أخبار منذ {time}. مكانك آمن.|حان دورك|ادخل عندما تكون مستعدًا.|ادخل الآن|ليس بعد: يجب أن يتقدم الصف قليلًا.|يدخل كثيرون الآن. حاول بعد لحظات.|عمليات تحقق إضافية: يتحرك هذا الصف ببطء أكبر. هل هذا خطأ؟ أخبر الدعم بمعرّف مكانك.|لم يتبقَّ سوى القليل.|ما تبقى في أيدي آخرين. قد يعود بعضه.|نفدت الكمية|لن يعود شيء. شكرًا لانتظارك.|انتهى البيع|انتهت صلاحية مكانك|استُخدم أو انتهى وقته أو لا يناسب هذا المتصفح. يمكنك الانضمام مجددًا في آخر الصف.|انضم مجددًا|لا يحفظ المتصفح ملفات تعريف الارتباط هنا. أبقِ الصفحة مفتوحة واسمح بها قبل الدخول.|نبّهني بصوت عندما يحين دوري|يمكنك إعادة التحميل أو العودة لاحقًا: مكانك محفوظ حتى {time}.|معرّف المكان|نسخ|رسالة من المنظّم',
};

document.documentElement.classList.add('script');
byId('choose').hidden = false;
for (const [code, list] of Object.entries(languages)) {
  const option = new Option(list.split('|')[0], code);
  option.lang = code;
  byId('language').append(option);
}
let chosen = null;
try { chosen = localStorage.getItem('wr-language'); } catch { /* forbidden */ }
speak(languages[chosen] ? chosen : tags.map((tag) => tag.slice(0, 2)).find((code) => languages[code]) || 'en');
paint();
poll();
setInterval(tick, 1000);
})();
