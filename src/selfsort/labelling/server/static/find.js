// Pictures found by their file names or the names that they have, to be looked at, and named together.

import { Refused, get, post } from "./api.js";
import { Combobox } from "./combobox.js";
import { $, byTouch, complain, element, show, thumbnail } from "./dom.js";
import { enlarge } from "./enlarge.js";
import { rubberBand } from "./rubber.js";
import { settleNear } from "./similar.js";
import { t } from "./text.js";
import { called, pictures } from "./words.js";

const PAUSE = 250; // ms without a letter before it is looked for

export class Find {
  constructor(app) {
    Object.assign(this, { app, found: [], chosen: new Set(), asked: null, timer: 0 });
    this.field = new Combobox($("#find-name"), $("#find-list"), {
      names: () => this.app.state.names,
      onChoice: (name, isNew) => this.say(name, isNew),
    });
    $("#wanted").addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.look(), PAUSE);
    });
    $("#find-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.say(this.field.pending.name);
    });
    $("#find-all").addEventListener("click", () => this.#choose(this.found.map(({ index }) => index)));
    $("#found").addEventListener("click", (event) => this.#click(event));
    rubberBand($("#found"), "button", {
      onTaken: (buttons) => this.#choose(buttons.map(pictureOf)),
      onDropped: (button, name) => this.#drop(pictureOf(button), name),
      held: (button) => (this.chosen.has(pictureOf(button)) ? this.chosen.size : 1),
    });
  }

  async start() {
    this.focus();
    await this.look();
  }

  async look() {
    const wanted = $("#wanted").value.trim();
    this.asked = wanted;
    const reply = wanted ? await get(`/api/find?${new URLSearchParams({ wanted })}`) : { pictures: [], total: 0 };
    if (wanted !== this.asked) return; // another one was typed meanwhile
    this.found = reply.pictures;
    this.chosen.clear();
    const some = { n: reply.total, shown: this.found.length };
    const counted = some.n > some.shown ? t("find.more", some) : pictures(some.n);
    $("#find-count").textContent = wanted ? counted : "";
    $("#found").replaceChildren(...this.found.map(cell));
    this.#tell();
  }

  async say(name, isNew = false) {
    if (!this.chosen.size || !name) return;
    const known = this.app.state.names.map((each) => each.name);
    const meant = await settleNear(name, known, isNew);
    if (meant === null) return;
    complain($("#find-error"), null);
    try {
      const body = { pictures: [...this.chosen], name: meant, distinct: isNew || meant !== name };
      this.app.take((await post("/api/assign", body)).state);
      this.field.value = "";
      await this.look();
    } catch (refusal) {
      if (!(refusal instanceof Refused)) throw refusal;
      complain($("#find-error"), refusal.message);
    }
  }

  async turnBack(path) {
    this.app.take((await post(path, {})).state);
    await this.look();
  }

  // Names what was carried to a name: the chosen, if it is one of them.
  #drop(picture, name) {
    if (!this.chosen.has(picture)) this.chosen = new Set([picture]);
    this.say(name, true);
  }

  #click(event) {
    const button = event.target.closest("button");
    if (!button) return;
    const picture = pictureOf(button);
    if (event.detail === 2 || event.shiftKey) return this.#enlarge(picture);
    if (this.chosen.has(picture)) this.chosen.delete(picture);
    else this.chosen.add(picture);
    this.#tell();
  }

  #enlarge(picture) {
    const all = this.found.map(({ index }) => index);
    const marking = {
      isOn: (each) => this.chosen.has(each),
      switch: (each) => this.#choose([each]),
      words: [t("select"), t("unselect")],
      crosses: false,
    };
    enlarge(all, all.indexOf(picture), marking);
  }

  #choose(some) {
    const all = some.every((picture) => this.chosen.has(picture));
    for (const picture of some) {
      if (all) this.chosen.delete(picture);
      else this.chosen.add(picture);
    }
    this.#tell();
  }

  #tell() {
    for (const button of $("#found").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(this.chosen.has(pictureOf(button))));
    }
    show($("#find-form"), this.found.length > 0);
    $("#find-chosen").textContent = this.chosen.size ? t("find.selected", { n: this.chosen.size }) : t("none-selected");
    $("#find-accept").disabled = !this.chosen.size;
  }

  focus() {
    if (document.querySelector("dialog[open]") || $("#find-view").hidden || byTouch()) return;
    $("#wanted").focus();
  }
}

const pictureOf = (button) => Number(button.dataset.picture);

function cell({ index, id, name }) {
  const words = [element("img", { src: thumbnail(index), alt: "", draggable: false }), element("span", {}, id), element("small", {}, name === null ? t("no-name") : called(name))];
  return element("li", {}, element("button", { type: "button", "data-picture": index, title: id }, ...words));
}
