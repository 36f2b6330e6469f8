// What the console and the security page share: the token, requests, and building elements.

/** An element; text goes in as text, never as markup. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === 'data') Object.assign(element.dataset, value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}
export const byId = (id) => document.getElementById(id);
export function setText(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const fine = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 2 });
/** A number for people; what is not known is a dash. */
export function number(value) {
  if (value === null || value === undefined) return '–';
  return Math.abs(value) >= 100 || Number.isInteger(value) ? whole.format(value)
    : Math.abs(value) < 1 ? fine.format(value) : short.format(value);
}
export function age(millis) {
  if (millis === null || millis === undefined) return 'never heard';
  if (millis < 10000) return `${short.format(millis / 1000)} s ago`;
  if (millis < 120000) return `${whole.format(millis / 1000)} s ago`;
  return millis < 7200000 ? `${whole.format(millis / 60000)} min ago` : `${whole.format(millis / 3600000)} h ago`;
}
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
/** A time that says its day only if that is not today, and everything to a machine. */
export function time(millis) {
  const isToday = new Date(millis).toDateString() === new Date().toDateString();
  return el('time', { dateTime: new Date(millis).toISOString(), title: full.format(millis) }, (isToday ? clock : full).format(millis));
}

/** A refusal or a missing answer, in words for the person at the screen. */
export class Refusal extends Error {
  constructor(status, problem) {
    super(status === 0 ? 'The controller does not answer.' : problem?.detail || problem?.title || `The controller answered ${status}.`);
    this.status = status;
    this.problem = problem || {};
  }
}

/**
 * Runs `page.refresh(ask)` every `everySecs` while the page is visible and a token is at hand.
 * The token comes from `#token=` (and is taken out of the address at once) or from the form, and is
 * kept for this tab only.
 */
export function run(page) {
  const key = `wr-token-${page.role}`;
  const fromAddress = new URLSearchParams(location.hash.slice(1)).get('token');
  if (fromAddress) {
    sessionStorage.setItem(key, fromAddress);
    history.replaceState(null, '', location.pathname + location.search);
  }
  let token = sessionStorage.getItem(key);
  let timer = 0, isBusy = false, heardAt = 0;

  async function ask(method, path, body, headers = {}) {
    let answer, said = null;
    try {
      answer = await fetch(path, {
        method,
        headers: { accept: 'application/json', authorization: `Bearer ${token}`, ...(body ? { 'content-type': 'application/json' } : {}), ...headers },
        body: body && JSON.stringify(body),
        cache: 'no-store',
        credentials: 'omit',
        signal: AbortSignal.timeout(8000),
      });
      const text = await answer.text();
      said = text ? JSON.parse(text) : null;
    } catch {
      throw new Refusal(answer ? answer.status : 0, null);
    }
    if (!answer.ok) throw new Refusal(answer.status, said);
    return said;
  }

  function askForToken(why) {
    clearTimeout(timer);
    sessionStorage.removeItem(key);
    token = null;
    byId('content').hidden = true;
    byId('forget').hidden = true;
    byId('token-form').hidden = false;
    byId('token-why').hidden = !why;
    setText(byId('token-why'), why);
    setText(byId('status'), '');
    byId('token').focus();
  }

  async function refresh() {
    clearTimeout(timer);
    if (!token || document.hidden || isBusy) return;
    isBusy = true;
    try {
      await page.refresh(ask);
      heardAt = Date.now();
      byId('content').hidden = false;
      byId('token-form').hidden = true;
      byId('forget').hidden = false;
      byId('silent').hidden = true;
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal;
      if (refusal.status === 401) return askForToken('This token is not known here.');
      if (refusal.status === 403) return askForToken(`This token is not one of the role "${page.role}".`);
      byId('silent').hidden = false;
      setText(byId('silent'), `${refusal.message} ${heardAt ? `What you see is from ${clock.format(heardAt)}.` : 'Trying again.'}`);
    } finally {
      isBusy = false;
    }
    timer = setTimeout(refresh, page.everySecs * 1000);
  }

  byId('token-form').addEventListener('submit', (event) => {
    event.preventDefault();
    token = byId('token').value.trim();
    byId('token').value = '';
    if (token) sessionStorage.setItem(key, token);
    refresh();
  });
  byId('forget').addEventListener('click', () => { askForToken(''); page.forget?.(); });
  document.addEventListener('visibilitychange', refresh);
  // Another token's address, opened in this tab, would load nothing by itself.
  addEventListener('hashchange', () => { if (location.hash.startsWith('#token=')) location.reload(); });
  if (token) refresh();
  else askForToken('');
  return { ask, refresh };
}
