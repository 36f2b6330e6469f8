// What does it cost, and of what is that made?

import { el } from "./dom.js";
import { money, plural } from "./format.js";

/// The lines of a bill. Tax that is in the prices is told below the total, other tax above it.
export function billOf({ bill, total, currency, seats }, totalWord = "Total") {
  const line = (name, amount, kind = null) => el("div", { class: kind }, el("dt", {}, name), el("dd", {}, money(amount, currency, { isExact: true })));
  return el("dl", { class: "bill", "data-test": "bill" },
    bill.fees > 0 || !bill.is_tax_included ? line(plural(seats.length, "ticket"), bill.tickets) : null,
    bill.fees > 0 ? line("Fees", bill.fees) : null,
    !bill.is_tax_included && bill.tax > 0 ? line("Tax", bill.tax) : null,
    line(totalWord, total, "is-total"),
    bill.is_tax_included && bill.tax > 0 ? line("of which tax", bill.tax, "is-part") : null);
}
