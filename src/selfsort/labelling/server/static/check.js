// Checking for the certificate: one picture, the name that the model gave it; right, or another name.

import { Refused, get, post } from "./api.js";
import { Combobox } from "./combobox.js";
import { $, announce, byTouch, complain, element, fill, hasKeyboard, original, show } from "./dom.js";
import { enlarge } from "./enlarge.js";
import { settleNear } from "./similar.js";
import { t } from "./text.js";
import { bound, called, count, decimal, interval, percent, quoted } from "./words.js";

const STEP = 25; // pictures that are asked for at once beyond the budget

export class Check {
  constructor(app) {
    Object.assign(this, { app, asked: null, last: null, busy: false, sent: null });
    this.field = new Combobox($("#right-name"), $("#right-list"), {
      names: () => this.#names(),
      onChoice: (name) => this.judge(name),
      onChange: () => this.#hint(),
    });
    $("#check-larger").addEventListener("click", () => this.enlarge());
    $("#check-picture").addEventListener("click", () => this.enlarge());
    $("#check-doubt").addEventListener("click", () => this.#tellDoubt());
    $("#check-more").addEventListener("click", () => this.more());
    $("#judge").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#settle();
    });
  }

  // A slip of the finger would count as a wrong name.
  async #settle() {
    const { name: typed, isNew } = this.field.pending;
    const name = typed ? await settleNear(typed, this.asked.names, isNew) : this.asked.name;
    if (name !== null) await this.judge(name);
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
    const { picture, name: given } = this.asked;
    await this.#send(async () => {
      const reply = await post("/api/checks", { picture, name });
      this.last = { name: given, sure: reply.was_sure };
      return reply;
    });
  }

  // The picture in its own pixels; what the model thinks of it is not shown before the answer.
  enlarge() {
    if (this.asked?.picture !== null) enlarge([this.asked.picture], 0, { blind: true }, () => this.focus());
  }

  #tellDoubt() {
    $("#check-doubt-said").textContent = t("check.doubt.said", { name: quoted(this.last.name), share: percent(this.last.sure) });
    this.focus();
  }

  more() {
    return this.#send(() => post("/api/checks/more", { more: Math.min(STEP, this.asked.left) }));
  }

  // Also while the next picture is still coming, which need not be seen for that.
  async turnBack(path) {
    if (path !== "/api/undo") return;
    while (this.busy) await this.sent;
    this.last = null;
    await this.#send(() => post("/api/checks/undo", {}));
  }

  #send(sending) {
    if (!this.busy) this.sent = this.#sendNow(sending);
    return this.sent;
  }

  async #sendNow(sending) {
    this.busy = true;
    complain($("#check-error"), null);
    try {
      await this.put(await sending());
    } catch (refusal) {
      if (!(refusal instanceof Refused)) throw refusal;
      complain($("#check-error"), refusal.message);
    } finally {
      this.busy = false;
    }
    this.focus();
  }

  async put(asked) {
    this.asked = asked;
    const { picture, name, done, budget, left, second, certificate } = asked;
    this.field.value = "";
    $("#check-title").textContent = t(picture === null ? "check.certificate" : "check.title");
    show($("#check-second"), second);
    $("#check-progress").textContent = t("check.progress", { done, n: budget });
    fill($("#check-bar"), done / budget, t("check.progress", { done, n: budget }));
    show($("#checking"), picture !== null);
    show($("#certificate"), picture === null);
    show($("#check-more"), left > 0);
    $("#check-more").textContent = t("check.more", { n: Math.min(STEP, left) });
    show($("#so-far"), picture !== null && certificate !== null);
    $("#so-far").textContent = certificate ? t("check.so-far", { range: interval(certificate.accuracy) }) : "";
    $("#check-undo").disabled = done === 0;
    show($("#check-last"), this.last !== null && picture !== null);
    $("#check-doubt-said").textContent = "";
    if (picture === null && certificate) this.#certify(certificate);
    if (picture !== null) await this.#ask(picture, name);
  }

  // Nothing is judged before it is seen.
  async #ask(picture, name) {
    this.#nameFile(picture);
    const image = $("#check-picture");
    image.style.visibility = "hidden";
    image.src = original(picture);
    await image.decode().catch(() => {});
    image.style.visibility = "";
    $("#question strong").textContent = called(name);
    announce(t("check.ask", { place: this.asked.done + 1, n: this.asked.budget, name: called(name) }));
  }

  async #nameFile(picture) {
    $("#check-file").textContent = "\u00a0";
    const { id } = await get(`/api/images/${picture}`);
    if (this.asked.picture === picture) $("#check-file").textContent = id;
  }

  #hint() {
    const { name: value } = this.field.pending;
    const known = this.asked?.names.includes(value) ? "check.hint.corrects" : "check.hint.unknown";
    const said = value === this.asked?.name ? t("check.hint.same") : t(known, { name: quoted(value) });
    $("#check-hint").textContent = value ? said : t(hasKeyboard ? "check.hint" : "check.hint.touch");
  }

  #certify(certificate) {
    const { rejection, second, per_class: rows, junk, pictures } = certificate;
    $("#sentence").textContent = sentenceOf(certificate);
    $("#second").textContent = second ? disagreement(second) : "";
    $("#rejection").textContent = rejection ? rejected(rejection, pictures) : "";
    const last = junk ? [certified({ ...junk, name: t("check.junk") })] : [];
    $("#per-class").replaceChildren(...rows.map(certified), ...last);
    announce($("#sentence").textContent);
  }

  focus() {
    if (document.querySelector("dialog[open]") || $("#check-view").hidden || byTouch()) return;
    if (this.asked?.picture !== null) $("#right-name").focus();
  }
}

const number = (text) => element("td", { className: "number" }, text);

// What `Certificate.sentence` says, in the words of the page.
function sentenceOf({ accuracy: { estimate, low, high }, pictures: n, checked, known, right }) {
  if (checked === n) return t("check.sentence.all", { n, share: percent(estimate, 1) });
  const drawn = { low: bound(low, "down"), high: bound(high, "up"), n, checked: checked - known, right };
  return [t("check.sentence", drawn), known ? t("check.sentence.known", { n: known }) : ""].filter(Boolean).join(" ");
}

function rejected({ target, threshold, kept }, all) {
  if (threshold === null) return t("check.rejection.none", { target: percent(target, 1) });
  const n = Math.round(kept * all);
  return t("check.rejection", { n, kept: percent(kept, 1), threshold: decimal(threshold, 4), target: percent(target, 1) });
}

const disagreement = ({ checked: n, disagreed, accuracy }) => t("check.disagreed", { n, disagreed, range: interval(accuracy) });

function certified({ name, estimate, low, high, n, pictures: given, recall }) {
  const right = n ? [percent(estimate), interval({ low, high })] : ["–", "–"];
  const found = recall?.n ? interval(recall) : "–";
  return element("tr", {}, element("th", { scope: "row" }, name), ...[...right, found, count(n), count(given)].map(number));
}
