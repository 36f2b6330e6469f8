// The operator's console: what each room does, why, and the few things an operator changes.
// Reads once a second while visible. Forms keep what is being typed; only untouched fields follow.
import { age, byId, el, number, run, setText, time } from '/assets/common.js';

const HISTORY_SECS = 600;
const DECISIONS_MAX = 200;
const rooms = new Map(); // event -> RoomView

const PHASE_BADGE = { open: 'good', scheduled: 'warn', paused: 'warn', sold_out: 'bad', closed: 'bad' };
const BINDING_WORDS = {
  rising: 'rising', near_target: 'near its target', latency: 'held by latency', errors: 'held by errors',
  database: 'held by the database', maximum: 'at its most', minimum: 'at its least', demand: 'nobody waits',
  inside: 'inside is full', stock: 'held by stock', stale: 'signals are stale', scheduled: 'not open yet',
  paused: 'paused', sold_out: 'sold out', off: 'mode off',
};
const BINDING_BAD = ['latency', 'errors', 'database', 'stale'];
const TERM_BINDING = { latency: 'latency', errors: 'errors', database: 'database', inside: 'inside' };
const words = (label) => label.replace(/_/g, ' ');
const percent = (share) => share === null || share === undefined ? '–' : `${number(share * 100)} %`;
const millis = (value) => value === null || value === undefined ? '–' : `${number(value)} ms`;
const measure = (value, unit) => unit === 'share' ? percent(value) : unit === 'ms' ? millis(value) : number(value);

class RoomView {
  constructor(event) {
    this.event = event;
    this.root = byId('room').content.firstElementChild.cloneNode(true);
    this.at = Object.fromEntries([...this.root.querySelectorAll('[data-at]')].map((one) => [one.dataset.at, one]));
    this.root.dataset.event = event;
    this.root.setAttribute('aria-label', event);
    for (const part of ['lanes', 'signals', 'decisions']) this.at[`${part}-region`].setAttribute('aria-label', `${part} of ${event}`);
    this.pace = []; // [millis, value]
    this.p95 = [];
    this.lastId = null;
    this.touched = new Map(); // field -> version of the room when it was touched
    for (const field of ['pace-min', 'pace-max', 'message']) {
      this.at[field].addEventListener('input', () => { if (!this.touched.has(field)) this.touched.set(field, this.room.version); });
    }
    this.at.pause.addEventListener('click', () => this.act(
      ['POST', `/${this.room.spec.is_paused ? 'resume' : 'pause'}`], this.room.spec.is_paused ? 'The front moves again.' : 'The front stands. Everybody keeps their place.'));
    this.at['pace-form'].addEventListener('submit', (submit) => {
      submit.preventDefault();
      const [min, max] = [Number(this.at['pace-min'].value), Number(this.at['pace-max'].value)];
      if (min > max) return this.say('The least pace is above the most.', 'bad');
      this.act(['POST', '/pace', { per_sec_min: min, per_sec_max: max }], `The pace stays between ${number(min)} and ${number(max)} a second.`, ['pace-min', 'pace-max']);
    });
    this.at['message-form'].addEventListener('submit', (submit) => {
      submit.preventDefault();
      const message = this.at.message.value.trim() || null;
      const version = this.touched.get('message') ?? this.room.version;
      this.act(['PUT', '', { ...this.room.spec, message }, { 'if-match': String(version) }],
        message ? 'Visitors read the message within seconds.' : 'The message is taken away.', ['message']);
    });
  }

  get path() { return `/api/v1/rooms/${encodeURIComponent(this.event)}`; }

  say(text, kind) {
    this.at.result.className = `notice ${kind}`;
    setText(this.at.result, text);
    this.at.result.hidden = false;
    clearTimeout(this.fading);
    if (kind === 'good') this.fading = setTimeout(() => { this.at.result.hidden = true; }, 8000);
  }

  async act([method, path, body, headers], done, fields = []) {
    const buttons = this.root.querySelectorAll('.actions button');
    buttons.forEach((button) => { button.disabled = true; });
    try {
      const before = this.room.version;
      const room = await page.ask(method, this.path + path, body, headers);
      fields.forEach((field) => this.touched.delete(field));
      // Our own change is no surprise to what else is being typed here.
      if (room?.version === before + 1) this.touched.forEach((version, field) => { if (version === before) this.touched.set(field, room.version); });
      this.say(done, 'good');
      if (room?.event) this.showRoom(room);
    } catch (refusal) {
      const { status, problem } = refusal;
      if (status === 412) {
        fields.forEach((field) => this.touched.set(field, problem.version ?? this.room.version));
        this.say(`Somebody else changed this room in the meantime (now version ${problem.version ?? '?'}). Look at it again; what you typed is still there, and the next press publishes it.`, 'bad');
      } else if (problem?.key) this.say(`Refused: ${problem.key} must be ${problem.expected}.`, 'bad');
      else this.say(refusal.message, 'bad');
    } finally {
      buttons.forEach((button) => { button.disabled = false; });
    }
  }

  async refresh(ask) {
    const since = this.lastId === null ? '' : `?since=${this.lastId}`;
    const [state, log] = await Promise.all([ask('GET', `${this.path}/state`), ask('GET', `${this.path}/decisions${since}`)]);
    this.addDecisions(log);
    this.showRoom(state.room);
    this.showState(state);
  }

  showRoom(room) {
    if (this.room && this.room.phase !== room.phase) setText(byId('live'), `${room.title}: ${words(room.phase)}`);
    this.room = room;
    const { at } = this;
    setText(at.title, room.title);
    setText(at.event, room.event);
    setText(at.phase, words(room.phase));
    at.phase.className = `badge ${PHASE_BADGE[room.phase] || ''}`;
    setText(at.mode, `mode ${room.mode}`);
    setText(at.binding, BINDING_WORDS[room.binding] || words(room.binding));
    at.binding.className = `badge ${BINDING_BAD.includes(room.binding) ? 'bad' : room.binding === 'rising' || room.binding === 'demand' ? 'good' : 'warn'}`;
    setText(at.pace, `${number(room.pace_per_sec)} /s`);
    setText(at.reason, room.reason);
    const tiles = {
      Waiting: room.waiting, 'Called, not in yet': room.called, Inside: room.inside,
      Joined: room.joined_total, Admitted: room.admitted_total, Bypassed: room.bypassed_total,
    };
    at.tiles.replaceChildren(...Object.entries(tiles).map(([name, value]) => el('div', {}, el('dt', { className: 'label' }, name), el('dd', {}, number(value)))));
    at.lanes.replaceChildren(...room.lanes.map((lane) => el('tr', { data: { lane: lane.lane } }, el('th', { scope: 'row' }, lane.lane),
      ...[lane.front, lane.issued, lane.waiting, lane.pace_per_sec, room.spec.lanes[lane.lane]].map((value) => el('td', { className: 'n' }, number(value))),
      el('td', { className: 'n', title: 'of the pace, while somebody waits in a lane that it bounds' }, most(room.spec.lanes[`${lane.lane}_percent_max`])))));
    at['stock-part'].hidden = !room.stock;
    if (room.stock) this.showStock(room.stock, room.stock_band);
    const isPaused = room.spec.is_paused;
    setText(at.pause, isPaused ? 'Resume' : 'Pause');
    at.pause.classList.toggle('main', isPaused);
    setText(at['pause-hint'], isPaused ? 'It stands; nobody is called.' : 'Pausing calls nobody and keeps every place.');
    const follow = (field, value) => { if (!this.touched.has(field) && at[field] !== document.activeElement) at[field].value = value; };
    follow('pace-min', room.spec.pace.per_sec_min);
    follow('pace-max', room.spec.pace.per_sec_max);
    follow('message', room.spec.message ?? '');
  }

  showStock(stock, band) {
    const parts = ['sold', 'paying', 'held'];
    for (const part of parts) {
      const { style } = this.root.querySelector(`.stock-bar .${part}`);
      style.width = `${100 * stock[part] / Math.max(1, stock.capacity)}%`;
      style.minWidth = stock[part] ? '2px' : '0'; // a few of many are seen, too
    }
    this.at.stock.replaceChildren(
      ...parts.map((part) => el('li', { className: part }, `${part} ${number(stock[part])}`)),
      el('li', {}, `free ${number(stock.free)} of ${number(stock.capacity)}`),
      band ? el('li', { className: 'told' }, `told to visitors: ${words(band)}`) : null);
  }

  showState(state) {
    const { at } = this;
    const { pace, signals } = state;
    at.terms.replaceChildren(...pace.terms.map((term) => {
      const isBinding = TERM_BINDING[term.name] === pace.binding;
      const fill = el('span');
      if (term.value !== null && term.target) fill.style.width = `${Math.min(100, 100 * term.value / term.target)}%`;
      return el('div', { className: 'term' },
        el('span', { className: isBinding ? 'binding' : '' }, `${term.name}${isBinding ? ' ●' : ''}`),
        el('div', { className: `bar ${term.is_over ? 'over' : ''}`, ariaHidden: 'true' }, fill),
        el('p', {}, `${measure(term.value, term.unit)} of ${term.target === null ? 'no bound' : measure(term.target, term.unit)}`));
    }), el('p', { className: 'soft' }, `Allowed ${number(pace.per_sec)} /s, published ${number(pace.published_per_sec)} /s, bounds ${number(pace.per_sec_min)} to ${number(pace.per_sec_max)} /s.`));
    at.signals.replaceChildren(
      ...signals.map((signal) => el('tr', {}, el('th', { scope: 'row' }, signal.name),
        el('td', {}, el('span', { className: `badge ${signal.is_fresh ? 'good' : 'bad'}` }, age(signal.age_ms))),
        el('td', { className: 'n' }, millis(signal.p95_ms)), el('td', { className: 'n' }, percent(signal.error_share)),
        el('td', { className: 'n' }, number(signal.requests_total)),
        el('td', { className: 'n', title: signal.db_cpu_source || '' }, percent(signal.db_cpu)))),
      ...(state.edges || []).map((edge) => el('tr', {}, el('th', { scope: 'row' }, edge.edge),
        el('td', {}, age(edge.age_ms)), el('td', { className: 'n', colSpan: 4 }, `${number(edge.in_flight)} requests in flight`))));
    const origin = signals.find((signal) => signal.name === 'origin');
    this.add(this.pace, state.now, pace.published_per_sec);
    this.add(this.p95, state.now, origin?.is_fresh ? origin.p95_ms : null);
    const target = pace.terms.find((term) => term.name === 'latency')?.target ?? null;
    drawChart(at['pace-chart'], at['pace-range'], steps(this.pace), state.now, null, (value) => `${number(value)} /s`);
    drawChart(at['p95-chart'], at['p95-range'], this.p95, state.now, target, millis);
  }

  add(series, at, value) {
    if (value !== null && value !== undefined && (!series.length || at > series.at(-1)[0])) series.push([at, value]);
    while (series.length && series[0][0] < at - HISTORY_SECS * 1000) series.shift();
  }

  addDecisions(log) {
    for (const entry of log.decisions) {
      if (this.lastId !== null && entry.id <= this.lastId) continue;
      // What was decided before this page opened starts the curves.
      if (entry.kind === 'pace') {
        this.add(this.pace, entry.at, entry.new_per_sec);
        this.add(this.p95, entry.at, entry.inputs?.p95_ms);
      }
      const change = entry.new_per_sec === null ? '' : `${number(entry.old_per_sec)} → ${number(entry.new_per_sec)}`;
      this.at.decisions.prepend(el('tr', { data: { kind: entry.kind } }, el('td', { className: 'number' }, time(entry.at)), el('td', { className: 'n' }, change),
        el('td', {}, entry.reason), el('td', {}, entry.who ?? (entry.kind === 'pace' ? 'controller' : entry.kind))));
    }
    this.lastId = log.last_id ?? this.lastId;
    this.at['decisions-region'].hidden = !this.at.decisions.rows.length;
    while (this.at.decisions.rows.length > DECISIONS_MAX) this.at.decisions.lastElementChild.remove();
  }
}

/** How much of the pace a lane gets, in words. */
function most(percentMax) {
  return percentMax ? `${percentMax} %` : 'no bound';
}

/** A pace holds until the next one. */
function steps(series) {
  return series.flatMap((point, at) => at ? [[point[0], series[at - 1][1]], point] : [point]);
}

/** A curve over the last minutes: area, line, and the target as a dashed line. */
function drawChart(svg, range, series, now, target, words) {
  if (!series.length) {
    setText(range, 'nothing heard yet');
    svg.setAttribute('aria-label', 'nothing heard yet');
    return;
  }
  const values = series.map(([, value]) => value);
  const secs = Math.max(60, (now - series[0][0]) / 1000);
  const top = Math.max(...values, target ?? 0, 1e-9) * 1.12;
  const x = (at) => (300 - (now - at) / 1000 / secs * 300).toFixed(1);
  const y = (value) => (86 - value / top * 84).toFixed(1);
  const points = series.map(([at, value]) => `${x(at)} ${y(value)}`);
  const shape = (name, attributes) => {
    const node = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const line = (at, kind) => shape('line', { class: kind, x1: 0, x2: 300, y1: at, y2: at });
  svg.replaceChildren(
    shape('path', { class: 'area', d: `M${x(series[0][0])} 86L${points.join('L')}L300 ${y(values.at(-1))}V86z` }),
    line(86, 'base'),
    ...(target === null ? [] : [line(y(target), 'target')]),
    shape('path', { class: 'curve', d: `M${points.join('L')}L300 ${y(values.at(-1))}` }));
  const text = `${words(Math.min(...values))} to ${words(Math.max(...values))}${target === null ? '' : `, target ${words(target)}`}, last ${number(secs / 60)} min`;
  setText(range, text);
  svg.setAttribute('aria-label', `Now ${words(values.at(-1))}; ${text}`);
}

const page = run({
  role: 'operator',
  everySecs: 1,
  async refresh(ask) {
    const all = await ask('GET', '/api/v1/rooms');
    const known = new Set(all.rooms.map((room) => room.event));
    for (const [event, view] of rooms) {
      if (known.has(event)) continue;
      view.root.remove();
      rooms.delete(event);
    }
    for (const { event } of all.rooms) {
      if (rooms.has(event)) continue;
      rooms.set(event, new RoomView(event));
      byId('content').append(rooms.get(event).root);
    }
    byId('content').querySelector('.nothing')?.remove();
    if (!rooms.size) byId('content').append(el('p', { className: 'card nothing' }, 'There is no room yet. PUT one to /api/v1/rooms/{event}.'));
    await Promise.all([...rooms.values()].map((view) => view.refresh(ask)));
    setText(byId('status'), `${all.controller}, ${all.epoch === null ? 'following' : `epoch ${all.epoch}`}, ${new Date(all.now).toLocaleTimeString()}`);
  },
  forget() {
    rooms.clear();
    byId('content').replaceChildren();
  },
});
