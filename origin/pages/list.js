// How does the list follow what is typed and chosen? The page is whole without this: here it is only
// fetched earlier, and its results are put where the old ones are.
//
// The search lives in the page's address, so that a reload or a shared link shows the same list.

import { announce, byId } from "./dom.js";

const TYPING_MILLIS = 250; // after the last letter
const ANSWER_SECS_MAX = 25;

const form = byId("filter");
let asking = null; // the search under way
let timer = null;

form.addEventListener("submit", (submit) => {
  submit.preventDefault();
  search();
});
form.addEventListener("input", (input) => {
  clearTimeout(timer);
  timer = setTimeout(search, input.target.type === "search" ? TYPING_MILLIS : 0);
});
byId("results").addEventListener("click", (click) => {
  if (click.target.id !== "more" || click.ctrlKey || click.metaKey || click.shiftKey) return;
  click.preventDefault();
  more(click.target);
});

async function search() {
  clearTimeout(timer);
  const values = [...new FormData(form)].filter(([, value]) => value.trim() !== "");
  const address = values.length > 0 ? `/?${new URLSearchParams(values)}` : "/";
  const page = await load(address);
  if (!page) return;
  history.replaceState(null, "", address);
  byId("results").replaceChildren(...page.getElementById("results").childNodes);
  for (const select of form.querySelectorAll("select")) {
    if (select === document.activeElement) continue;
    const chosen = select.value;
    select.replaceChildren(...page.getElementById(select.id).childNodes);
    select.value = chosen;
  }
  announce(byId("found")?.textContent ?? "Nothing found.");
}

/// Puts the next page below this one, and goes to its first event.
async function more(link) {
  link.classList.add("is-busy");
  const page = await load(link.href);
  link.classList.remove("is-busy");
  if (!page) return;
  const days = [...page.getElementById("days").childNodes];
  byId("days").append(...days);
  const next = page.getElementById("more");
  if (next) link.href = next.getAttribute("href");
  else link.closest("p").remove();
  days[0]?.querySelector("a")?.focus();
}

/// The page at an address, or null if another one was asked for meanwhile, or none came.
async function load(address) {
  asking?.abort();
  const mine = new AbortController();
  asking = mine;
  const results = byId("results");
  results.setAttribute("aria-busy", "true");
  try {
    const signal = AbortSignal.any ? AbortSignal.any([mine.signal, AbortSignal.timeout(ANSWER_SECS_MAX * 1000)]) : mine.signal;
    const answer = await fetch(address, { headers: { Accept: "text/html" }, signal });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!page.getElementById("results")) throw new Error(`no results in the answer of ${address}`);
    byId("connection").hidden = true;
    return page;
  } catch (error) {
    if (!mine.signal.aborted) byId("connection").hidden = false;
    return null;
  } finally {
    if (asking === mine) results.removeAttribute("aria-busy");
  }
}
