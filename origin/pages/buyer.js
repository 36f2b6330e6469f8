// Who are the tickets for, and where do we send them? The fields of the checkout, as the API takes
// them.
//
// What was written is kept for this tab, so a declined payment, a reload or a trip to the bank does
// not cost it.

import { el } from "./dom.js";

const KEPT = "buyer";
const LANGUAGES = [["en", "English"], ["de", "Deutsch"], ["es", "Español"], ["fr", "Français"]]; // tickets are written in

/// Makes the fields. `content()` gives what the API takes, or null after showing what is wrong;
/// `refused(detail)` shows the API's own objection beside its field, false if it is about none.
export function createBuyer() {
  const fields = {
    name: field("name", "Name", "For the tickets; the door may ask for it.", { autocomplete: "name", maxlength: 100, required: true }),
    email: field("email", "E-mail", "Where the tickets go. Without it, keep the address of the page you get.", { type: "email", autocomplete: "email", maxlength: 254, inputmode: "email" }),
    phone: field("phone", "Mobile phone", "For a text message with a link to your tickets, with the country's code: +44 7700 900123", { type: "tel", autocomplete: "tel", maxlength: 32, inputmode: "tel" }),
  };
  const locale = el("select", { id: "checkout-locale", name: "locale", autocomplete: "language", "data-test": "checkout-locale" },
    ...LANGUAGES.map(([tag, name]) => el("option", { value: tag, lang: tag }, name)));
  const spoken = navigator.languages.map((language) => language.slice(0, 2)).find((tag) => LANGUAGES.some(([known]) => known === tag));
  locale.value = spoken ?? "en";

  const element = el("div", { class: "buyer" },
    fields.name.element, fields.email.element, fields.phone.element,
    el("div", { class: "field" }, el("label", { for: locale.id }, "Language of the tickets"), locale));
  fill(JSON.parse(sessionStorage.getItem(KEPT)) ?? {});
  element.addEventListener("input", keep);
  element.addEventListener("change", (change) => {
    const changed = Object.entries(fields).find(([, { input }]) => input === change.target);
    if (changed && changed[1].input.getAttribute("aria-invalid") === "true") check(changed[0]); // told off once, it hears when it is right
  });

  function keep() {
    sessionStorage.setItem(KEPT, JSON.stringify(values()));
  }

  const values = () => ({
    name: fields.name.input.value.trim(),
    email: fields.email.input.value.trim(),
    phone: dialled(fields.phone.input.value),
    locale: locale.value,
  });

  function fill(from) {
    for (const name of Object.keys(fields)) if (from[name]) fields[name].input.value = from[name];
    if (from.locale) locale.value = from.locale;
  }

  function check(name) {
    const value = values()[name];
    const wrong = {
      name: () => (value === "" ? "Please write the name for the tickets." : ""),
      email: () => (fields.email.input.validity.typeMismatch ? "This does not look like an e-mail address. An example: ana@example.org" : ""),
      phone: () => (value === "" || /^\+\d{7,15}$/.test(value) ? "" : "Please begin with + and the country's code. An example: +44 7700 900123"),
    }[name]();
    fields[name].tell(wrong);
    return wrong === "";
  }

  function content() {
    const wrong = Object.keys(fields).filter((name) => !check(name));
    if (wrong.length > 0) {
      fields[wrong[0]].input.focus();
      return null;
    }
    return Object.fromEntries(Object.entries(values()).filter(([, value]) => value !== ""));
  }

  /// The API names the field first: "email is not an address like …".
  function refused(detail) {
    const name = String(detail ?? "").split(" ")[0];
    if (!fields[name]) return false;
    const words = { name: "The box office cannot take this name.", email: "The box office cannot take this address.", phone: "The box office cannot take this number." };
    fields[name].tell(words[name]);
    fields[name].input.focus();
    return true;
  }

  return { element, content, refused, fill };
}

function field(name, label, hint, attributes) {
  const id = `checkout-${name}`;
  const input = el("input", { id, name, "aria-describedby": `${id}-hint ${id}-error`, "data-test": id, ...attributes });
  const error = el("p", { id: `${id}-error`, class: "field-error" });
  const words = attributes.required ? label : el("span", {}, label, " ", el("span", { class: "quiet" }, "(if you like)"));
  return {
    input,
    element: el("div", { class: "field" }, el("label", { for: id }, words), input, el("p", { id: `${id}-hint`, class: "hint" }, hint), error),
    tell(text) {
      input.setAttribute("aria-invalid", String(text !== ""));
      error.textContent = text;
    },
  };
}

/// A number as it is dialled: people write spaces, brackets and 00.
const dialled = (written) => written.replace(/[\s().\/-]/g, "").replace(/^00/, "+");
