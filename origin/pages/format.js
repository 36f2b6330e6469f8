// How do money, dates and counts read? The words of the shop are English, so numbers follow the
// visitor's English if they have one.

const locale = navigator.languages.find((language) => language.startsWith("en")) ?? "en-GB";

/// Money from minor units, with as many digits as the currency has. In lists of prices whole
/// amounts are shorter: $60, not $60.00.
export function money(minor, currency, { isExact = false } = {}) {
  const { exact, short, unit } = formatsOf(currency);
  const amount = minor / unit;
  return (isExact || !Number.isInteger(amount) ? exact : short).format(amount);
}

const formats = new Map();

/// Made once: a browser takes a while over the first one.
function formatsOf(currency) {
  if (!formats.has(currency)) {
    const exact = new Intl.NumberFormat(locale, { style: "currency", currency });
    const short = new Intl.NumberFormat(locale, { style: "currency", currency, minimumFractionDigits: 0, maximumFractionDigits: 0 });
    formats.set(currency, { exact, short, unit: 10 ** exact.resolvedOptions().maximumFractionDigits });
  }
  return formats.get(currency);
}

/// A count as English writes it: 82,500.
export const count = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ",");

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/// When an event starts, as the clock at the venue shows it. The time zone of a venue is not part
/// of the catalogue, so the local text is read as if it were UTC and shown as UTC.
export function venueTime(event) {
  const parts = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)/.exec(event.starts_at_local);
  if (!parts) throw new TypeError(`starts_at_local is ${event.starts_at_local}, expected 2026-07-19T15:00`);
  const moment = new Date(`${parts[1]}T${parts[2]}:00Z`);
  const as = (options) => new Intl.DateTimeFormat(locale, { timeZone: "UTC", ...options }).format(moment);
  return {
    date: parts[1],
    time: as({ hour: "numeric", minute: "2-digit" }),
    weekday: as({ weekday: "long" }),
    dayOfMonth: as({ day: "numeric" }),
    month: as({ month: "long" }),
    long: as({ weekday: "long", day: "numeric", month: "long", year: "numeric" }),
  };
}

/// The same moment on the visitor's own clock, or nothing if it reads the same.
export function visitorTime(event) {
  const moment = new Date(event.starts_at);
  const options = { weekday: "short", hour: "numeric", minute: "2-digit" };
  const here = new Intl.DateTimeFormat(locale, options).format(moment);
  const there = venueTime(event);
  return here.includes(there.time) ? null : here;
}

/// Seconds as minutes and seconds: 9:05.
export const clock = (secs) => `${Math.floor(secs / 60)}:${String(secs % 60).padStart(2, "0")}`;

/// When something happened, on the visitor's own clock.
export const moment = (millis) =>
  new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", hour: "numeric", minute: "2-digit" }).format(new Date(millis));
