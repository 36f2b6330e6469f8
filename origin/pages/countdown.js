// How long are these seats still ours, and can it be longer?
//
// The clock would talk without end, so only its milestones are read out. More time is offered from
// the beginning and again, more plainly, when little is left (WCAG 2.2, 2.2.1).

import { serverNow } from "./api.js";
import { announce, el } from "./dom.js";
import { clock, plural } from "./format.js";

const MILESTONES_SECS = [300, 120, 60, 30];
const SHORT_SECS = 120;

/// Shows how long until `until()`. `onMore()` asks for more time, and is absent where there is none
/// to be had; `onOver()` is called once.
export function createCountdown(root, { title, fullSecs, until, onMore, onOver }) {
  const number = el("strong", { role: "timer", "aria-live": "off", "data-test": "hold-countdown" });
  const bar = el("progress", { max: 1, value: 1, "aria-hidden": "true" });
  const more = onMore ? el("button", { type: "button", class: "quiet-button", "data-test": "more-time", onclick: askMore }, "I need more time") : null;
  const note = el("p", { class: "clock-note", role: "status" });
  root.replaceChildren(el("p", { class: "clock-line" }, el("span", {}, title), number), bar, ...(more ? [more] : []), note);

  const secsLeft = () => Math.max(Math.ceil((until() - serverNow()) / 1000), 0);
  let announcedSecs = reached(secsLeft());
  const ticking = setInterval(tick, 250);
  announce(`${spoken(secsLeft())} left.`);
  tick();

  function reached(secs) {
    return MILESTONES_SECS.findLast((mark) => secs <= mark) ?? Infinity;
  }

  function tick() {
    const secs = secsLeft();
    number.textContent = clock(secs);
    bar.value = secs / Math.max(fullSecs, 1);
    root.classList.toggle("is-short", secs <= SHORT_SECS);
    if (secs > 0 && reached(secs) < announcedSecs) {
      announcedSecs = reached(secs);
      announce(`${spoken(secs)} left.${more && !more.hidden ? " You can ask for more time." : ""}`);
    }
    if (secs === 0) onOver();
  }

  async function askMore() {
    more.classList.add("is-busy");
    const { text, isLast } = await onMore();
    more.classList.remove("is-busy");
    more.hidden = isLast;
    note.textContent = text;
    announcedSecs = reached(secsLeft());
    tick();
  }

  return {
    secsLeft,
    stop: () => clearInterval(ticking),
    allowMore: (isAllowed) => more && (more.hidden = !isAllowed),
  };
}

const spoken = (secs) => (secs < 60 ? plural(secs, "second") : plural(Math.floor(secs / 60), "minute"));
