// How do we put words on the page? Always as text, never as markup, so that a name or a title
// from outside cannot become script.

export const byId = (id) => document.getElementById(id);

/// Makes an element. `on…` members become listeners, the rest attributes; `null` and `false` are
/// left out.
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/// Says something to those who listen to the page. The region is emptied first, because a
/// repeated text would not be read again.
export function announce(text) {
  const region = byId("announcer");
  region.textContent = "";
  setTimeout(() => (region.textContent = text), 50);
}

/// A mark for a zone: its colour and, because colour is never the only sign, its number.
export function zoneMark(zone) {
  const mark = el("span", { class: "zone-mark", "aria-hidden": "true" }, String(zone.number));
  mark.style.setProperty("--zone", zone.color); // by script: the page's policy forbids style attributes
  mark.style.setProperty("--on-zone", zone.ink);
  return mark;
}

/// Shows the one full-width message of a page: what happened and the way out. Its heading is the
/// page's own where the page has none to show. `focus()` takes the reader there.
export function showPanel({ title, text, actions = [], mark = null }) {
  const panel = byId("panel");
  const isAlone = ![...document.querySelectorAll("h1")].some((heading) => !panel.contains(heading) && heading.getClientRects().length > 0);
  const heading = el(isAlone ? "h1" : "h2", { tabindex: "-1" }, title);
  panel.replaceChildren(
    heading,
    el("p", {}, text),
    el("div", { class: "actions" }, ...actions),
  );
  if (mark) panel.dataset.test = mark;
  else delete panel.dataset.test;
  panel.hidden = false;
  return heading;
}

/// Lets a finger, a key or a frame come in between two pieces of work.
export const breathe = () => (globalThis.scheduler?.yield ? scheduler.yield() : new Promise((done) => setTimeout(done)));
