// Second opinions: a group that somebody else has answered, without a word of how.

import { Refused, client, get, post } from "./api.js";
import { Combobox } from "./combobox.js";
import { $, announce, byTouch, complain, element, show, thumbnail } from "./dom.js";
import { t } from "./text.js";
import { isJunk } from "./words.js";

export class Second {
  constructor(app) {
    Object.assign(this, { app, group: null, busy: false });
    this.field = new Combobox($("#second-name"), $("#second-list"), {
      names: () => this.app.state.names,
      onChoice: (name) => this.say("name", name),
    });
    $("#second-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.say("name", this.field.pending.name);
    });
    for (const button of document.querySelectorAll("#second-form [data-kind]")) {
      button.addEventListener("click", () => this.say(button.dataset.kind));
    }
  }

  async start() {
    this.put(await get(`/api/opinion?client=${client}`));
    this.focus();
  }

  async say(kind, name = null) {
    if (this.busy || !this.group) return;
    if (name !== null && isJunk(name)) return this.say("junk");
    this.busy = true;
    complain($("#second-error"), null);
    try {
      this.put(await post("/api/opinions", { group: this.group.id, kind, name }));
    } catch (refusal) {
      if (!(refusal instanceof Refused)) throw refusal;
      complain($("#second-error"), refusal.message);
    } finally {
      this.busy = false;
    }
    this.focus();
  }

  put({ group, waiting }) {
    // The same group comes again when its view is opened twice, as by a dialog that closes: a name may have been begun.
    if (group?.id !== this.group?.id) this.field.value = "";
    this.group = group;
    show($("#second-form"), group !== null);
    show($("#second-done"), group === null);
    $("#second-left").textContent = group ? t("second.left", { n: group.size, waiting }) : "";
    const shown = group ? [...group.typical, ...group.random, ...group.borderline] : [];
    $("#second-pictures").replaceChildren(...shown.map((picture, place) => element("img", { src: thumbnail(picture), alt: t("second.picture", { place: place + 1, n: shown.length }) })));
    announce(group ? t("second.group", { title: t("ask.group", { n: group.size }) }) : t("second.done.short"));
  }

  // Takes back, or does again, what is `path`; the group of an opinion that was taken back is asked about again.
  async turnBack(path) {
    complain($("#second-error"), null);
    try {
      const { state, act } = await post(path, {});
      this.app.take(state);
      this.app.tell(act);
    } catch (refusal) {
      if (!(refusal instanceof Refused)) throw refusal;
      complain($("#second-error"), refusal.message);
    }
    await this.start();
  }

  focus() {
    if (document.querySelector("dialog[open]") || $("#second-view").hidden || byTouch()) return;
    if (this.group) $("#second-name").focus();
  }
}
