// How is a small number chosen with a thumb, a keyboard or a screen reader? Minus, the number, plus.

import { el } from "./dom.js";

/// Makes one. `onChange(value)` is told of every new value, already within bounds.
export function createStepper({ id, label, fewer, more, min, max, value, mark }, onChange) {
  const input = el("input", { id, type: "number", inputmode: "numeric", min, max, value, "data-test": mark });
  const minus = el("button", { type: "button", "aria-label": fewer, onclick: () => set(read() - 1) }, "−");
  const plus = el("button", { type: "button", "aria-label": more, onclick: () => set(read() + 1) }, "+");
  input.addEventListener("change", () => set(read()));

  const bounded = (number) => Math.min(Math.max(Math.round(number) || 0, Number(input.min)), Number(input.max));
  const read = () => bounded(Number(input.value));

  function set(next) {
    show(bounded(next));
    onChange(read());
  }

  function show(next) {
    input.value = next;
    minus.setAttribute("aria-disabled", String(next <= Number(input.min)));
    plus.setAttribute("aria-disabled", String(next >= Number(input.max)));
  }

  show(value);
  return {
    element: el("div", { class: "stepper-field" }, el("label", { for: id }, label), el("div", { class: "stepper" }, minus, input, plus)),
    get value() {
      return read();
    },
    show,
    setMax(next) {
      input.max = next;
      show(read());
    },
  };
}
