// A text field with a list of names under it, after WAI-ARIA's editable combobox with list autocomplete.
// The only name that what is typed begins is chosen by itself; what is typed stands below it, to be named so all the same.

import { element, show } from "./dom.js";
import { markerSvg } from "./markers.js";
import { matches, onlyMatch } from "./matching.js";
import { t } from "./text.js";
import { isJunk, listed, pictures } from "./words.js";

const MOST = 7;

export class Combobox {
  // `names()` returns [{name, count, colour}], most used first; `suggestion()` a name or null; `onChoice(name, isNew)`
  // takes an option, and is told whether it was chosen as a new name; `onChange()` is called whenever what Enter does
  // has changed. With `chooses` false, no name is chosen by itself.
  constructor(input, list, { names, suggestion = () => null, onChoice, onChange = () => {}, chooses = true }) {
    Object.assign(this, { input, list, names, suggestion, onChoice, onChange, chooses, options: [], active: -1 });
    input.setAttribute("role", "combobox");
    input.setAttribute("aria-autocomplete", "list");
    input.setAttribute("aria-controls", list.id);
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", t("names-given"));
    input.addEventListener("keydown", (event) => this.#key(event));
    input.addEventListener("input", () => this.#typed());
    input.addEventListener("click", () => this.input.value || this.#open());
    input.addEventListener("blur", () => this.#dismiss());
    // The field keeps the focus, and what is highlighted, while the list or the button of the form is clicked.
    for (const part of [list, input.form?.querySelector("[type=submit]")]) {
      part?.addEventListener("mousedown", (event) => event.preventDefault());
    }
    list.addEventListener("click", (event) => this.#clicked(event));
    this.close();
  }

  get isOpen() {
    return !this.list.hidden;
  }

  get value() {
    return this.input.value.trim();
  }

  // What Enter takes: the option that is highlighted, else what is typed.
  get pending() {
    return this.options[this.active] ?? { name: this.value };
  }

  set value(text) {
    this.input.value = text;
    this.close();
    this.onChange();
  }

  close() {
    this.#activate(-1);
    show(this.list, false);
    this.input.setAttribute("aria-expanded", "false");
  }

  #typed() {
    if (this.value) this.#open();
    else this.close();
    const meant = this.chooses && !isJunk(this.value) ? onlyMatch(this.names(), this.value) : null;
    if (meant) this.#activate(this.options.findIndex(({ name }) => name === meant.name));
    this.onChange();
  }

  #open() {
    this.options = this.#matches();
    this.list.replaceChildren(...this.options.map((option, place) => this.#row(option, place)));
    this.#activate(-1);
    show(this.list, this.options.length > 0);
    this.input.setAttribute("aria-expanded", String(this.isOpen));
  }

  #matches() {
    const found = this.#suggestedFirst(matches(this.names(), this.value)).slice(0, MOST);
    const isNew = this.value && !isJunk(this.value) && !this.names().some(({ name }) => name === this.value);
    return found.length && isNew ? [...found, { name: this.value, isNew: true }] : found;
  }

  #suggestedFirst(found) {
    const wanted = this.suggestion();
    if (wanted === null || this.value) return found;
    const known = found.find((entry) => entry.name === wanted);
    return [{ ...(known ?? { name: wanted }), suggested: true }, ...found.filter((entry) => entry !== known)];
  }

  #row({ name, count, colour, suggested, isNew, about }, place) {
    const notes = [about?.description, suggested && t("option.suggested"), isNew && t("option.new"), count !== undefined && pictures(count)];
    const told = notes.filter(Boolean);
    const note = told.length ? listed(told) : "";
    return element(
      "li",
      { id: `${this.list.id}-${place}`, role: "option", "aria-selected": "false" },
      ...(colour === undefined ? [] : [markerSvg(colour)]),
      element("span", { className: "option-name" }, name),
      element("small", {}, note),
    );
  }

  #activate(place) {
    this.list.children[this.active]?.setAttribute("aria-selected", "false");
    this.active = place;
    const row = this.list.children[place];
    row?.setAttribute("aria-selected", "true");
    row?.scrollIntoView({ block: "nearest" });
    if (row) this.input.setAttribute("aria-activedescendant", row.id);
    else this.input.removeAttribute("aria-activedescendant");
  }

  #key(event) {
    if (event.isComposing || event.altKey || event.ctrlKey || event.metaKey) return;
    const actions = {
      ArrowDown: () => this.#move(1),
      ArrowUp: () => this.#move(-1),
      Escape: () => this.#dismiss(),
      Enter: () => this.#enter(event),
      Tab: () => this.#tab(event),
    };
    if (!actions[event.key]?.()) return;
    event.preventDefault();
    event.stopPropagation();
  }

  #move(step) {
    if (!this.isOpen) this.#open();
    const places = this.options.length + 1; // one of them is the field itself
    if (this.isOpen) this.#activate(((this.active + 1 + step + places) % places) - 1);
    this.onChange();
    return true;
  }

  #dismiss() {
    if (!this.isOpen) return false;
    this.close();
    this.onChange();
    return true;
  }

  #enter(event) {
    if (this.active < 0 || event.repeat) return event.repeat;
    this.#choose(this.active);
    return true;
  }

  // Tab takes over what is highlighted, or in the empty field the suggestion; otherwise it moves on as everywhere.
  #tab(event) {
    const name = this.active >= 0 ? this.options[this.active].name : this.input.value ? null : this.suggestion();
    if (event.shiftKey || name === null) return false;
    this.value = name;
    return true;
  }

  #clicked(event) {
    const row = event.target.closest("[role=option]");
    if (row) this.#choose([...this.list.children].indexOf(row));
  }

  #choose(place) {
    const { name, isNew } = this.options[place];
    this.value = name;
    this.onChoice(name, Boolean(isNew));
  }
}
