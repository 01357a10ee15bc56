// A text field with a list of names under it, after WAI-ARIA's editable combobox with list autocomplete.
// The list never takes the field over by itself: an option counts once an arrow key, a click, or Tab chose it.

import { element, show } from "./dom.js";
import { markerSvg } from "./markers.js";
import { matches } from "./matching.js";
import { pictures } from "./words.js";

const MOST = 7;

export class Combobox {
  // `names()` returns [{name, count, colour}], most used first; `suggestion()` a name or null; `onChoice(name)` takes
  // an option.
  constructor(input, list, { names, suggestion = () => null, onChoice, onChange = () => {} }) {
    Object.assign(this, { input, list, names, suggestion, onChoice, onChange, options: [], active: -1 });
    input.setAttribute("role", "combobox");
    input.setAttribute("aria-autocomplete", "list");
    input.setAttribute("aria-controls", list.id);
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", "Names given");
    input.addEventListener("keydown", (event) => this.#key(event));
    input.addEventListener("input", () => this.#typed());
    input.addEventListener("click", () => this.input.value || this.#open());
    input.addEventListener("blur", () => this.close());
    // The field keeps the focus while the list is clicked.
    list.addEventListener("pointerdown", (event) => event.preventDefault());
    list.addEventListener("click", (event) => this.#clicked(event));
    this.close();
  }

  get isOpen() {
    return !this.list.hidden;
  }

  get value() {
    return this.input.value.trim();
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
    return this.#suggestedFirst(matches(this.names(), this.value)).slice(0, MOST);
  }

  #suggestedFirst(found) {
    const wanted = this.suggestion();
    if (wanted === null || this.value) return found;
    const known = found.find((entry) => entry.name === wanted);
    return [{ ...(known ?? { name: wanted }), suggested: true }, ...found.filter((entry) => entry !== known)];
  }

  #row({ name, count, colour, suggested }, place) {
    const note = [suggested && "suggested", count !== undefined && pictures(count)].filter(Boolean).join(", ");
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
    return true;
  }

  #dismiss() {
    if (!this.isOpen) return false;
    this.close();
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
    const { name } = this.options[place];
    this.value = name;
    this.onChoice(name);
  }
}
