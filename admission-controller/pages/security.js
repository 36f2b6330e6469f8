// The security team's page: who was judged a likely bot, why, and the way back.
// Whatever a visitor sent (user agent, details of reasons) is shown as text and exported as text.
import { byId, el, number, run, setText, time } from '/assets/common.js';

const SCORE_FROM = 99; // nothing speaks for a bot
const STATE_WORDS = { moved: 'suspect lane', restored: 'given back', admitted_before: 'entered before' };
const STATE_BADGE = { moved: 'warn', restored: 'good', admitted_before: '' };
const REASON_WORDS = {
  ua_missing: 'no user agent', ua_headless: 'headless user agent', ua_library: 'program, not a browser',
  ua_crawler: 'says it is a crawler', language_missing: 'no language', encoding_missing: 'no encodings',
  ch_headless: 'headless client hints', ch_vs_ua: 'hints contradict user agent', ch_missing: 'no client hints',
  mobile_vs_ua: 'mobile contradicts user agent', fetch_mode: 'not fetched as a page', rhythm: 'machine-like rhythm',
  place_shared: 'place used by two browsers', webdriver: 'driven by automation', automation_globals: 'traces of automation',
  headless_js: 'script says headless', untrusted_events: 'made-up input events', languages_empty: 'browser without languages',
  software_gl: 'software graphics', no_window_frame: 'window without frame',
};
const reasonWords = (code) => REASON_WORDS[code] || code.replace(/_/g, ' ');

const entries = new Map(); // id -> entry
let oldest = null;         // `next` of the oldest page read; null when there is no more
let reasonFilter = '';
let chosen = null;         // id

const searchText = ({ suspicion: s }) => [s.sub, s.event, s.network, s.country, s.asn, s.user_agent, s.edge,
  ...s.reasons.flatMap((reason) => [reason.code, reasonWords(reason.code), reason.detail])].join('\n').toLowerCase();

/** The entries that pass the filters, newest first. */
function filtered(isByReason = true) {
  const text = byId('text').value.trim().toLowerCase();
  const [state, event] = [byId('state').value, byId('event').value];
  return [...entries.values()].sort((a, b) => b.id - a.id).filter((entry) => (!state || entry.state === state)
    && (!event || entry.suspicion.event === event)
    && (!text || searchText(entry).includes(text))
    && (!isByReason || !reasonFilter || entry.suspicion.reasons.some(({ code }) => code === reasonFilter)));
}

function paint() {
  const list = filtered();
  paintCounts();
  const rows = byId('rows');
  const kept = new Map([...rows.rows].map((row) => [row.dataset.key, row]));
  const wanted = list.map((entry) => {
    const key = `${entry.id} ${entry.state}`;
    return kept.get(key) || rowOf(entry, key);
  });
  if (wanted.length !== rows.rows.length || wanted.some((row, at) => rows.rows[at] !== row)) {
    // Rows that stay are not touched, so that focus stays too.
    const keep = new Set(wanted);
    [...rows.rows].filter((row) => !keep.has(row)).forEach((row) => row.remove());
    wanted.forEach((row, at) => { if (rows.rows[at] !== row) rows.insertBefore(row, rows.rows[at] || null); });
  }
  for (const row of rows.rows) row.classList.toggle('is-chosen', row.dataset.id === String(chosen));
  byId('nothing').hidden = list.length > 0;
  setText(byId('nothing'), entries.size ? 'Nobody passes these filters.' : 'Nobody has been judged a likely bot.');
  byId('older').hidden = oldest === null;
  setText(byId('status'), `${number(list.length)} of ${number(entries.size)} read${oldest === null ? '' : ', there are older ones'}`);
}

function paintCounts() {
  const counts = new Map();
  for (const { suspicion } of filtered(false)) for (const { code } of suspicion.reasons) counts.set(code, (counts.get(code) || 0) + 1);
  const sorted = [...counts].sort((a, b) => b[1] - a[1]);
  const key = JSON.stringify([sorted, reasonFilter]);
  if (byId('counts').dataset.key === key) return;
  const hadFocus = document.activeElement?.dataset?.code;
  byId('counts').dataset.key = key;
  byId('counts').replaceChildren(...sorted.map(([code, count]) => el('li', {}, el('button', {
    type: 'button', ariaPressed: String(code === reasonFilter), title: code, data: { code },
    onclick: () => { reasonFilter = reasonFilter === code ? '' : code; paint(); },
  }, `${reasonWords(code)} ${number(count)}`))));
  if (hadFocus) byId('counts').querySelector(`[data-code="${CSS.escape(hadFocus)}"]`)?.focus();
}

function rowOf(entry, key) {
  const { suspicion: s } = entry;
  const top = s.reasons.slice(0, 3).map((reason) => el('li', {}, `${reasonWords(reason.code)} −${reason.points}`));
  return el('tr', { data: { key, id: entry.id, sub: s.sub }, onclick: () => choose(entry.id) },
    el('td', { className: 'narrow' }, el('button', { type: 'button', className: 'plain number', onclick: () => choose(entry.id, true) }, time(s.at), el('span', { className: 'sr' }, ', show detail'))),
    el('td', { className: 'narrow' }, score(s.score)),
    el('td', { className: 'narrow' }, badge(entry.state)),
    el('td', { className: 'wide' }, el('ul', { className: 'top' }, ...top, s.reasons.length > 3 ? el('li', { className: 'soft' }, `and ${s.reasons.length - 3} more`) : null)),
    el('td', { className: 'network' }, el('span', { className: 'mono' }, s.network), el('br'), el('span', { className: 'soft' }, [s.country, s.asn].filter(Boolean).join(' · ') || 'country not known')),
    el('td', { className: 'wide' }, s.user_agent || 'none'),
    el('td', { className: 'n', title: 'standard → suspect' }, `${number(s.standard_num)} → ${number(s.suspect_num)}`),
    el('td', { className: 'narrow' }, s.edge));
}
const score = (value) => el('span', { className: `score ${value <= 10 ? 'low' : ''}`, title: '1 is surely a bot, 99 is nobody suspicious' }, String(value));
const badge = (state) => el('span', { className: `badge ${STATE_BADGE[state] ?? ''}` }, STATE_WORDS[state] || state);

function choose(id, isByKey = false) {
  chosen = id;
  paintDetail();
  paint();
  if (isByKey || matchMedia('(max-width: 60rem)').matches) byId('detail').focus();
}

function close() {
  const row = byId('rows').querySelector(`[data-id="${chosen}"] button`);
  chosen = null;
  paintDetail();
  paint();
  row?.focus();
}

function paintDetail(note = null) {
  const entry = entries.get(chosen);
  byId('detail').hidden = !entry;
  byId('split').classList.toggle('is-open', Boolean(entry));
  if (!entry) return;
  const { suspicion: s } = entry;
  let left = SCORE_FROM;
  const reasons = s.reasons.map((reason) => {
    const fill = el('span');
    fill.style.width = `${100 * Math.min(reason.points, SCORE_FROM) / SCORE_FROM}%`;
    const from = left;
    left = Math.max(1, left - reason.points);
    return el('li', { className: 'reason' },
      el('strong', {}, reasonWords(reason.code)), ` −${reason.points} `, el('span', { className: 'soft number' }, `(${from} → ${left})`),
      el('div', { className: 'bar over', ariaHidden: 'true' }, fill),
      el('p', {}, reason.detail), el('code', { className: 'soft' }, reason.code));
  });
  const facts = [
    ['Place id', el('code', {}, s.sub)], ['Event', s.event], ['Judged', time(s.at)], ['By edge', s.edge],
    ['Network', s.network], ['Country', s.country || 'not known'], ['System', s.asn || 'not known'],
    ['User agent', s.user_agent || 'none'], ['Standard number', `${number(s.standard_num)}, kept`], ['Suspect number', number(s.suspect_num)],
    ...(entry.state === 'restored' ? [['Given back', time(entry.restored_at)], ['By', entry.restored_by || 'not known'], ['Why', entry.why || '']] : []),
  ];
  byId('detail').replaceChildren(
    el('div', { className: 'row' }, el('h2', {}, 'Score ', score(s.score)), badge(entry.state), el('button', { type: 'button', onclick: close }, 'Close')),
    el('dl', {}, ...facts.flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)])),
    el('h3', {}, `From ${SCORE_FROM}, each reason takes points`),
    el('ul', { className: 'top' }, ...reasons),
    entry.state === 'moved' ? restoreForm(entry) : el('p', { className: 'soft' },
      entry.state === 'restored' ? 'The place stands at its standard number again.' : 'This visitor had entered before the judgement; there is no place to give back.'),
    note ? el('p', { className: `notice ${note.kind}`, role: 'status', data: { test: 'result' } }, note.text) : '');
}

function restoreForm(entry) {
  const why = el('textarea', { rows: 2, maxLength: 500, required: true, id: 'why' });
  why.dataset.test = 'why';
  const button = el('button', { className: 'main', data: { test: 'restore' } }, 'Give the place back');
  const result = el('p', { className: 'notice bad', role: 'alert', hidden: true });
  const form = el('form', {}, el('label', { htmlFor: 'why' }, 'Why this visitor is no bot'), why, el('p', { className: 'row' }, button), result);
  form.addEventListener('submit', async (submit) => {
    submit.preventDefault();
    if (!why.value.trim()) return why.focus();
    button.disabled = true;
    const { event, sub, standard_num: num } = entry.suspicion;
    try {
      const now = await page.ask('POST', `/api/v1/suspicions/${encodeURIComponent(event)}/${encodeURIComponent(sub)}/restore`, { why: why.value.trim() });
      entries.set(now.id, now);
      paint();
      if (chosen === now.id) {
        paintDetail({ kind: 'good', text: `The place is back at number ${number(num)} of the standard lane.` });
        byId('detail').focus();
      }
      setText(byId('live'), `The place is back at number ${number(num)}.`);
    } catch (refusal) {
      button.disabled = false;
      result.hidden = false;
      setText(result, refusal.problem?.code === 'admitted-before' ? 'This visitor has entered in the meantime; there is no place to give back.' : refusal.message);
    }
  });
  return form;
}

const COLUMNS = ['id', 'at', 'event', 'sub', 'score', 'state', 'reasons', 'network', 'country', 'asn', 'user_agent', 'edge', 'standard_num', 'suspect_num', 'restored_at', 'restored_by', 'why'];
const iso = (millis) => millis ? new Date(millis).toISOString() : '';
/** A cell that no spreadsheet takes for a formula: visitors choose their user agent. */
function cell(value) {
  const text = String(value ?? '');
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return `"${safe.replace(/"/g, '""')}"`;
}
function csv(list) {
  const lines = list.map((entry) => {
    const { suspicion: s } = entry;
    const row = { ...s, ...entry, at: iso(s.at), restored_at: iso(entry.restored_at), reasons: s.reasons.map(({ code, points, detail }) => `${code} -${points}: ${detail}`).join('; ') };
    return COLUMNS.map((name) => cell(row[name])).join(',');
  });
  return `${[COLUMNS.join(','), ...lines].join('\r\n')}\r\n`;
}
function save(name, type, text) {
  const link = el('a', { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  setText(byId('live'), `${name} is being saved.`);
}
const fileName = (ending) => `suspicions-${new Date().toISOString().slice(0, 19).replace(/:/g, '')}.${ending}`;
byId('as-json').addEventListener('click', () => save(fileName('json'), 'application/json', JSON.stringify(filtered(), null, 2)));
byId('as-csv').addEventListener('click', () => save(fileName('csv'), 'text/csv', csv(filtered())));
for (const id of ['text', 'state', 'event']) byId(id).addEventListener('input', paint);
byId('detail').addEventListener('keydown', (event) => { if (event.key === 'Escape') close(); });

function take(answer, isFirstPage) {
  const hadNone = entries.size === 0;
  for (const entry of answer.suspicions) {
    const old = entries.get(entry.id);
    entries.set(entry.id, entry);
    if (entry.id === chosen && old && old.state !== entry.state) paintDetail();
  }
  if (!isFirstPage || hadNone) oldest = answer.next;
  const select = byId('event');
  const known = [...select.options].map((option) => option.value);
  for (const event of answer.events) if (!known.includes(event)) select.append(new Option(event, event));
}
byId('older').addEventListener('click', async () => {
  byId('older').disabled = true;
  try {
    take(await page.ask('GET', `/api/v1/suspicions?limit=500&after=${oldest}`), false);
    paint();
  } catch (refusal) {
    setText(byId('live'), refusal.message);
  } finally {
    byId('older').disabled = false;
  }
});

const page = run({
  role: 'security',
  everySecs: 3,
  async refresh(ask) {
    take(await ask('GET', `/api/v1/suspicions?limit=${entries.size ? 100 : 500}`), true);
    paint();
  },
  forget() {
    entries.clear();
    chosen = null;
    oldest = null;
    paintDetail();
    byId('rows').replaceChildren();
  },
});
