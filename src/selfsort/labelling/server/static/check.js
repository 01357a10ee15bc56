// Checking for the certificate: one picture, the name that the model gave it; right, or another name.

import { Refused, get, post } from "./api.js";
import { Combobox } from "./combobox.js";
import { $, announce, byTouch, complain, element, fill, hasKeyboard, original, show } from "./dom.js";
import { count, interval, percent } from "./words.js";

export class Check {
  constructor(app) {
    Object.assign(this, { app, asked: null, busy: false });
    this.field = new Combobox($("#right-name"), $("#right-list"), {
      names: () => this.#names(),
      onChoice: (name) => this.judge(name),
      onChange: () => this.#hint(),
    });
    $("#judge").addEventListener("submit", (event) => {
      event.preventDefault();
      this.judge(this.field.value || this.asked.name);
    });
  }

  #names() {
    const given = new Map(this.app.state.names.map((entry) => [entry.name, entry]));
    return (this.asked?.names ?? []).map((name) => given.get(name) ?? { name });
  }

  async start() {
    if (this.asked === null) await this.#send(() => get("/api/check"));
    this.focus();
  }

  confirm() {
    if (this.asked?.picture !== null) this.judge(this.asked.name);
  }

  async judge(name) {
    if (this.busy || this.asked.picture === null) return;
    const { picture } = this.asked;
    await this.#send(() => post("/api/checks", { picture, name }));
  }

  undo() {
    return this.#send(() => post("/api/checks/undo", {}));
  }

  async #send(sending) {
    if (this.busy) return;
    this.busy = true;
    complain($("#check-error"), null);
    try {
      this.put(await sending());
    } catch (refusal) {
      if (!(refusal instanceof Refused)) throw refusal;
      complain($("#check-error"), refusal.message);
    } finally {
      this.busy = false;
    }
    this.focus();
  }

  put(asked) {
    this.asked = asked;
    const { picture, name, done, budget, certificate } = asked;
    this.field.value = "";
    $("#check-title").textContent = certificate ? "Certificate" : "Is this right?";
    $("#check-progress").textContent = `${count(done)} of ${count(budget)} checked`;
    fill($("#check-bar"), done / budget, `${done} of ${budget}`);
    show($("#checking"), picture !== null);
    show($("#certificate"), certificate !== null);
    $("#check-undo").disabled = done === 0;
    if (picture !== null) this.#ask(picture, name);
    if (certificate) this.#certify(certificate);
  }

  #ask(picture, name) {
    $("#check-picture").src = original(picture);
    $("#question").replaceChildren("The model says ", element("strong", {}, name));
    announce(`Picture ${this.asked.done + 1} of ${this.asked.budget}: is it ${name}?`);
  }

  #hint() {
    const { value } = this.field;
    const known = this.asked?.names.includes(value) ? "" : "; the model does not know this name";
    const said = value === this.asked?.name ? "That is the name the model gave." : `Enter corrects it${known}.`;
    $("#check-hint").textContent = value ? said : `${hasKeyboard ? "Enter" : "Yes"} confirms; type the right name to correct it.`;
  }

  #certify({ sentence, rejection, per_class: rows }) {
    $("#sentence").textContent = sentence;
    $("#rejection").textContent = rejection?.sentence ?? "";
    $("#per-class").replaceChildren(...rows.map(certified));
    announce(sentence);
  }

  focus() {
    if (document.querySelector("dialog[open]") || $("#check-view").hidden || byTouch()) return;
    if (this.asked?.picture !== null) $("#right-name").focus();
  }
}

const number = (text) => element("td", { className: "number" }, text);

function certified({ name, estimate, low, high, n, pictures }) {
  const right = n ? [percent(estimate), interval({ low, high })] : ["–", "–"];
  return element("tr", {}, element("th", { scope: "row" }, name), ...[...right, count(n), count(pictures)].map(number));
}
