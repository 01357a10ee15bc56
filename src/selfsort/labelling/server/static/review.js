// Pictures whose own name the others speak against, those that are probably wrong first: one key for each.

import { Refused, get, post } from "./api.js";
import { Combobox } from "./combobox.js";
import { $, announce, byTouch, complain, element, hasKeyboard, original, show } from "./dom.js";
import { settleNear } from "./similar.js";
import { t } from "./text.js";
import { percent, quoted } from "./words.js";

export class Review {
  constructor(app) {
    Object.assign(this, { app, suspects: null, place: 0, busy: false });
    this.field = new Combobox($("#review-name"), $("#review-list"), {
      names: () => this.app.state.names,
      onChoice: (name, isNew) => this.say(name, isNew),
      onChange: () => this.#hint(),
    });
    $("#reviewed").addEventListener("submit", (event) => {
      event.preventDefault();
      this.say(this.field.pending.name || this.now.name);
    });
    $("#review-other").addEventListener("click", () => this.say(this.now.other));
    $("#review-again").addEventListener("click", () => this.load());
    $("#review-name").addEventListener("keydown", (event) => {
      if (event.key !== " " || this.field.value || event.repeat || !this.now) return;
      event.preventDefault();
      this.say(this.now.other);
    });
  }

  get now() {
    return this.suspects?.[this.place] ?? null;
  }

  async start() {
    if (this.suspects === null) await this.load();
    this.focus();
  }

  async load() {
    $("#review-progress").textContent = t("review.comparing");
    this.place = 0;
    this.suspects = (await get("/api/suspects")).suspects;
    this.#put();
  }

  // Says what the picture is, the name that it has or another, and goes on to the next.
  async say(name, isNew = false) {
    if (this.busy || !this.now) return;
    const { picture } = this.now;
    const known = this.app.state.names.map((each) => each.name);
    const meant = await settleNear(name, known, isNew);
    if (meant === null) return;
    await this.#send("/api/assign", { pictures: [picture], name: meant, distinct: isNew || meant !== name }, 1);
  }

  async turnBack(path) {
    const step = path === "/api/undo" ? -1 : 1;
    await this.#send(path, {}, this.place + step < 0 ? 0 : step);
  }

  async #send(path, body, step) {
    if (this.busy) return;
    this.busy = true;
    complain($("#review-error"), null);
    try {
      const { state, act } = await post(path, body);
      this.app.take(state);
      if (act) this.app.tell(act);
      this.place += step;
    } catch (refusal) {
      if (!(refusal instanceof Refused)) throw refusal;
      complain($("#review-error"), refusal.message);
    } finally {
      this.busy = false;
    }
    this.#put();
    this.focus();
  }

  #put() {
    const { now, suspects, place } = this;
    this.field.value = "";
    show($("#reviewing"), now !== null);
    show($("#review-done"), now === null);
    $("#review-progress").textContent = now ? t("review.progress", { place: place + 1, n: suspects.length }) : "";
    if (!now) return;
    const words = { name: quoted(now.name), other: quoted(now.other) };
    $("#review-picture").src = original(now.picture);
    $("#review-question strong").textContent = now.name;
    $("#review-note").textContent = t("review.note", { ...words, chance: percent(now.chance), own: percent(now.own_chance) });
    $("#review-keep").replaceChildren(t("review.keep", words), " ", element("kbd", {}, t("key.enter")));
    $("#review-other").replaceChildren(t("review.is", { name: words.other }), " ", element("kbd", {}, t("key.space")));
    const next = suspects[place + 1];
    if (next) new Image().src = original(next.picture);
    announce(t("review.ask", { place: place + 1, n: suspects.length, ...words }));
  }

  #hint() {
    const name = this.field.pending.name;
    const keys = t(hasKeyboard ? "review.hint" : "review.hint.touch");
    $("#review-hint").textContent = name ? t("review.hint.names", { name: quoted(name) }) : keys;
  }

  focus() {
    if (document.querySelector("dialog[open]") || $("#review-view").hidden || byTouch()) return;
    if (this.now) $("#review-name").focus();
  }
}
