// Asking: one group at a time.

import { Refused, get, post, postKept, client } from "./api.js";
import { Combobox } from "./combobox.js";
import { $, announce, byTouch, complain, element, hasKeyboard, original, show, thumbnail } from "./dom.js";
import { enlarge } from "./enlarge.js";
import { rubberBand } from "./rubber.js";
import { chooseSimilar, settleNear } from "./similar.js";
import { askSide } from "./sizes.js";
import { nextSlots } from "./slots.js";
import { t } from "./text.js";
import { called, isJunk, percent, quoted } from "./words.js";

const ROWS = ["typical", "random", "borderline"];
const SURE = [1, 2, 3, 4, 5];
const hint = (key, values) => t(`ask.hint.${key}${hasKeyboard ? "" : ".touch"}`, values);
const SHARP = 300; // pixels of the screen from which on a thumbnail is too coarse
const SEEN = 400; // groups whose pictures are kept decoded

export class Ask {
  // `app` has state, take(state), and say(text); `onGroup(group)` is told what is asked about.
  constructor(app, onGroup) {
    Object.assign(this, { app, onGroup, group: null, out: new Set(), busy: false, ready: new Map(), started: false });
    this.given = new Map(); // what was answered, to be put back by undo
    this.field = new Combobox($("#name"), $("#name-list"), {
      names: () => app.state.names,
      suggestion: () => this.group?.suggestion ?? null,
      onChoice: (name, isNew) => this.name(name, isNew),
      onChange: () => this.#hint(),
    });
    this.#buildConfidence();
    this.#listen();
  }

  // ---- which group

  // The group of `key` (one drawn on the map), or the next one.
  async start() {
    if (this.started) return;
    this.started = true;
    await this.next();
  }

  async next(typedAhead = "") {
    const { group, state } = await get(`/api/group?client=${client}`);
    this.generation = state.generation;
    this.app.take(state);
    this.put(group, typedAhead);
  }

  // Names that changed elsewhere change what is asked: another suggestion, another gain, or groups where there were
  // none. What a person has begun to answer stays; an own answer brings its own next group.
  async follow(generation) {
    const open = this.app.state.open_groups;
    const waits = this.group === null && open > 0; // for what another window has
    if (!this.started || this.busy || (this.generation === generation && !waits)) return;
    this.generation = generation;
    this.#explainNothing(open);
    const { group } = await get(`/api/group?client=${client}`);
    if (!this.busy && (group?.id === this.group?.id || this.#untouched())) this.put(group, this.field.value);
  }

  #explainNothing(open) {
    $("#nothing-left").textContent = open ? t("ask.nothing.elsewhere", { n: open }) : t("ask.nothing.all");
  }

  #untouched() {
    return !this.field.input.value && this.out.size === 0;
  }

  // What is typed while an answer is on its way belongs to the next group, and stays.
  put(group, typedAhead = "") {
    const same = group !== null && group.id === this.group?.id;
    this.group = group;
    if (!same) this.#clear(typedAhead);
    else this.#suggest();
    show($("#asking"), group !== null);
    show($("#nothing"), group === null);
    $("#ask-title").textContent = group ? title(group) : t("ask.nothing");
    this.#explainNothing(this.app.state.open_groups);
    $("#gain").textContent = group ? gain(group) : "";
    if (group && !same) this.#draw(group);
    this.onGroup(group);
    if (group) this.#prefetch();
  }

  #clear(typedAhead) {
    this.out.clear();
    this.field.value = typedAhead;
    this.#setConfidence(5);
    complain($("#answer-error"), null);
    this.#suggest();
  }

  #suggest() {
    const name = this.group?.suggestion;
    this.field.input.placeholder = name ? t("ask.suggestion", { name }) : t("ask.type");
    this.#hint();
  }

  async #prefetch() {
    const { id } = this.group;
    const { group } = await get(`/api/group?client=${client}&after=${id}`).catch(() => ({ group: null }));
    if (group) this.#fetchPictures(group);
  }

  #fetchPictures(group) {
    const sources = shownOf(group).map(thumbnail).concat(group.centre ?? []);
    for (const source of sources) if (!this.ready.has(source)) this.ready.set(source, element("img", { src: source }));
    for (const source of this.ready.keys()) if (this.ready.size > SEEN) this.ready.delete(source);
  }

  // ---- drawing

  #draw(group) {
    show($("#centre"), group.centre !== null);
    if (group.centre) $("#centre-picture").src = group.centre;
    this.about = new Map(shownOf(group).map((picture, place) => [picture, group.about[place]]));
    const rows = ROWS.filter((key) => group[key].length > 0).map((row) => this.#row(group, row));
    $("#rows").replaceChildren(...rows);
    this.anchor = null;
    this.fit();
    this.#rove(this.#cells()[0], false);
  }

  // Makes the pictures as large as lets all of them be seen, or as the person chose.
  fit() {
    if (!this.group || $("#ask-view").hidden) return;
    const rows = ROWS.filter((key) => this.group[key].length > 0);
    const side = askSide(rows.length, Math.max(...rows.map((key) => this.group[key].length)));
    $("#rows").style.setProperty("--cell", `${side}px`);
    const source = side * (devicePixelRatio || 1) > SHARP ? original : thumbnail;
    for (const cell of this.#cells()) {
      const [image, wanted] = [cell.firstElementChild, source(cell.dataset.picture)];
      if (image.getAttribute("src") !== wanted) image.src = wanted;
    }
  }

  // The buttons of the most frequent names, which have the keys 1 to 9.
  showQuick() {
    this.slots = nextSlots(this.slots ?? [], this.app.state.names.map((entry) => entry.name));
    const buttons = this.slots.map((name, place) => {
      const button = element("button", { type: "button" }, element("kbd", {}, String(place + 1)), ` ${name}`);
      button.setAttribute("aria-keyshortcuts", `Alt+${place + 1}`);
      button.dataset.name = name;
      button.tabIndex = -1; // it has a key, and nine stops on the way to the pictures would be too many
      return element("li", {}, button);
    });
    $("#quick").replaceChildren(...buttons);
  }

  #row(group, key) {
    const heading = t(`ask.row.${key}`);
    const cells = group[key].map((picture, place) => this.#cell(picture, { row: heading, place: place + 1, n: group[key].length }));
    return element(
      "section",
      { className: "row" },
      element("h3", { id: `row-${key}` }, heading),
      element("div", { className: "pictures", role: "group", "aria-labelledby": `row-${key}` }, ...cells),
    );
  }

  #cell(picture, where) {
    const image = element("img", { src: thumbnail(picture), alt: "", decoding: "sync", draggable: false });
    const { id, model } = this.about.get(picture);
    const opinion = model ? t("ask.opinion", { name: called(model.name), share: percent(model.probability) }) : "";
    const told = opinion ? t("list.comma", { one: id, other: opinion }) : id;
    const cell = element("button", { type: "button", className: "picture", title: told }, image);
    if (opinion) {
      const parts = [element("span", {}, `${called(model.name)} `), percent(model.probability)]; // a long name is cut, the doubt is not
      cell.append(element("span", { className: `opinion${this.#isDoubted(model) ? " doubted" : ""}` }, ...parts));
    }
    cell.setAttribute("aria-label", t(opinion ? "ask.cell.model" : "ask.cell", { ...where, id, opinion }));
    cell.dataset.picture = picture;
    cell.tabIndex = -1;
    cell.setAttribute("aria-pressed", "false");
    return cell;
  }

  // The model doubts a picture that it calls otherwise than the rest of the group, or by a narrow margin.
  #isDoubted({ name, probability }) {
    return probability < 0.5 || (this.group.suggestion !== null && name !== this.group.suggestion);
  }

  #cells() {
    return [...$("#rows").querySelectorAll(".picture")];
  }

  #rove(cell, focus = true) {
    if (!cell) return;
    for (const other of this.#cells()) other.tabIndex = other === cell ? 0 : -1;
    if (focus) cell.focus();
  }

  // What Enter does now; it stands above the field, where the list does not cover it.
  #hint() {
    const thrown = this.out.size ? t("ask.thrown-out", { n: this.out.size }) : "";
    $("#name-hint").textContent = `${this.#whatEnterDoes()} ${thrown}`.trim();
  }

  #whatEnterDoes() {
    const { name } = this.field.pending;
    if (!name) return this.#whatOneMayDo();
    if (isJunk(name)) return hint("junk", { name: t("junk") });
    const known = this.app.state?.names.find((entry) => entry.name === name);
    return known ? hint("known", { name: quoted(name), n: known.count }) : hint("new", { name: quoted(name) });
  }

  // What can be done in the empty field.
  #whatOneMayDo() {
    const suggested = this.group?.suggestion;
    if (this.isSingle && this.slots?.length && hasKeyboard) return t("ask.hint.single", { n: this.slots.length });
    return suggested ? hint("suggested", { name: quoted(suggested) }) : hint("listed");
  }

  // Whether one picture is asked about by itself, with nothing to throw out.
  get isSingle() {
    return this.group?.size === 1 || (this.group?.kind === "query" && !this.app.state.groups_fit); // or its burst
  }

  #buildConfidence() {
    const choices = SURE.map((level) => {
      const words = t(`ask.sure.${level}`);
      const input = element("input", { type: "radio", name: "confidence", value: String(level) });
      input.setAttribute("aria-label", t("ask.sure.level", { level, words }));
      return element("label", { title: words }, input, element("span", {}, String(level)));
    });
    const meaning = element("output", { id: "sure" }, t("ask.sure.5"));
    $("#confidence").append(element("div", { className: "segments" }, ...choices), meaning);
    $("#confidence").addEventListener("change", () => this.#setConfidence(this.confidence));
  }

  get confidence() {
    return Number($("#confidence input:checked").value);
  }

  #setConfidence(level) {
    $(`#confidence input[value="${level}"]`).checked = true;
    $("#sure").textContent = t(`ask.sure.${level}`);
  }

  // ---- answering

  // Names the group, once it is settled that a new name is none of those given, misspelt.
  async name(typed, isMeant = false) {
    if (!this.group || this.busy) return;
    if (!typed) return this.#refuse(t("ask.type-first"));
    if (isJunk(typed)) return this.answer("junk");
    const name = await settleNear(typed, this.app.state.names.map((entry) => entry.name), isMeant);
    if (name === null) this.focus();
    else await this.answer("name", name);
  }

  async answer(kind, name = null, distinct = false) {
    if (!this.group || this.busy) return;
    const body = { group: this.group.id, kind, name, confidence: this.confidence, excluded: [...this.out], distinct };
    this.given.set(body.group, body);
    const refusal = await this.#send(() => postKept("/api/answers", body, this.app.state.run), kind);
    if (!refusal?.similar) return;
    const meant = await chooseSimilar(name, refusal.similar);
    if (meant) await this.answer("name", meant.name, meant.distinct);
    else this.focus();
  }

  // Takes back, or does again, what is `path`.
  turnBack(path) {
    return this.#send(() => post(path, {}), "undo");
  }

  // Asks again about the groups that were skipped.
  back() {
    return this.#send(() => post("/api/back", {}), "back");
  }

  // Asks about the pictures of a day, place or camera that no answer names.
  gather(taken) {
    return this.#send(() => post("/api/gather", taken), "gather");
  }

  lasso(pictures, onlyUnnamed) {
    return this.#send(() => post("/api/lasso", { pictures, nearby: true, only_unnamed: onlyUnnamed }), "lasso");
  }

  async #send(sending, what) {
    if (this.busy) return;
    const sent = this.field.value;
    this.#wait(true);
    try {
      const { state, group, act } = await sending();
      this.generation = state.generation;
      this.app.take(state);
      if (act) this.app.tell(act);
      const typed = this.field.value;
      await this.#arrive(group, what, typed.startsWith(sent) ? typed.slice(sent.length) : "");
    } catch (refusal) {
      await this.#refused(refusal);
      return refusal;
    } finally {
      this.#wait(false);
    }
    this.focus();
    return null;
  }

  async #arrive(group, what, typedAhead) {
    // What is asked about next may be worked out just now; only an answer or a circle comes back with its group.
    if ((what === "mixed" || what === "undo") && !group) return this.next(typedAhead);
    this.put(group, typedAhead);
    if (what === "undo") this.#putBack(this.given.get(group.id));
    const said = { undo: "", name: t("ask.saved"), junk: t("ask.saved"), skip: t("ask.saved") }[what] ?? t(`ask.said.${what}`);
    const { suggestion: name } = group ?? {};
    const next = group ? t(name ? "ask.next.suggested" : "ask.next", { title: title(group), name }) : "";
    announce(`${said} ${next}`.trim());
  }

  #putBack(answer) {
    if (!answer) return;
    this.field.value = answer.name ?? "";
    this.#setConfidence(answer.confidence);
    answer.excluded.filter((picture) => !this.out.has(picture) && shownOf(this.group).includes(picture)).forEach((picture) => this.toggle(picture));
    this.field.input.select();
  }

  #wait(busy) {
    this.busy = busy;
    $("#answer").setAttribute("aria-busy", String(busy));
  }

  async #refused(refusal) {
    if (!(refusal instanceof Refused)) throw refusal;
    if (refusal.similar) return;
    if (!refusal.taken) return this.#refuse(refusal.message);
    const typed = this.field.value;
    await this.next();
    this.app.say(typed ? `${refusal.message} ${t("ask.had-typed", { name: quoted(typed) })}` : refusal.message);
  }

  #refuse(text) {
    if (this.group) complain($("#answer-error"), text);
    else this.app.say(text);
    this.focus();
  }

  focus() {
    if (document.querySelector("dialog[open]") || $("#ask-view").hidden) return;
    if (!byTouch() && this.group) $("#name").focus();
  }

  // ---- what the person does

  #listen() {
    $("#answer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.name(this.field.pending.name, this.field.pending.isNew);
    });
    $("#quick").addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) this.name(button.dataset.name);
    });
    $("#name").addEventListener("input", () => complain($("#answer-error"), null));
    $("#name").addEventListener("keydown", (event) => this.#keyInField(event));
    this.#listenToPictures($("#rows"));
  }

  #listenToPictures(rows) {
    // With a mouse the name field keeps the focus, so that one can click and type on.
    rows.addEventListener("pointerdown", (event) => event.pointerType === "mouse" && event.preventDefault());
    rows.addEventListener("click", (event) => {
      const cell = event.target.closest(".picture");
      if (!cell) return;
      this.#rove(cell, false);
      if (event.shiftKey && this.anchor) this.#throwOutUpTo(cell);
      else this.toggle(Number(cell.dataset.picture));
      this.anchor = cell;
    });
    rubberBand(rows, ".picture", {
      onTaken: (cells) => this.#throwOut(cells),
      onDropped: (cell, name) => this.#drop(this.#heldWith(cell), name),
      held: (cell) => this.#heldWith(cell).length,
    });
    rows.addEventListener("dblclick", (event) => {
      const cell = event.target.closest(".picture");
      if (cell) this.#enlarge(cell);
    });
    rows.addEventListener("keydown", (event) => this.#keyInPictures(event));
  }

  #keyInField(event) {
    if (event.isComposing) return;
    if (this.#isSlot(event)) {
      event.preventDefault();
      this.command(event.key);
    }
    if (event.key !== "Escape") return;
    event.preventDefault();
    this.#rove(this.#cells().find((cell) => cell.tabIndex === 0));
  }

  // A single picture is named by one key, for there is nothing else to do with it.
  #isSlot({ key, altKey, ctrlKey, metaKey, repeat }) {
    const isFree = this.isSingle && !this.field.input.value && !altKey && !ctrlKey && !metaKey && !repeat;
    return isFree && /^[1-9]$/.test(key) && Number(key) <= (this.slots?.length ?? 0);
  }

  #keyInPictures(event) {
    const cell = event.target.closest(".picture");
    if (!cell || event.altKey || event.ctrlKey || event.metaKey) return;
    const action = /^[1-9]$/.test(event.key) ? () => this.command(event.key) : this.#pictureKeys(cell)[event.key];
    if (action) {
      event.preventDefault();
      action();
    } else if (event.key.length === 1) {
      // A letter begins the name; the browser writes it where the focus is now.
      $("#name").focus();
    }
  }

  #pictureKeys(cell) {
    const cells = this.#cells();
    const place = cells.indexOf(cell);
    return {
      " ": () => this.toggle(Number(cell.dataset.picture)),
      Delete: () => this.toggle(Number(cell.dataset.picture)),
      Enter: () => this.#enlarge(cell),
      Escape: () => $("#name").focus(),
      ArrowRight: () => this.#rove(cells[place + 1]),
      ArrowLeft: () => this.#rove(cells[place - 1]),
      ArrowDown: () => this.#rove(across(cell, cells, 1)),
      ArrowUp: () => this.#rove(across(cell, cells, -1)),
      Home: () => this.#rove(cells[0]),
      End: () => this.#rove(cells.at(-1)),
    };
  }

  toggle(picture) {
    if (!this.out.delete(picture)) this.out.add(picture);
    const cell = this.#cells().find((one) => Number(one.dataset.picture) === picture);
    cell.setAttribute("aria-pressed", String(this.out.has(picture)));
    this.#hint();
  }

  #throwOutUpTo(cell) {
    const cells = this.#cells();
    const [from, to] = [cells.indexOf(this.anchor), cells.indexOf(cell)].toSorted((one, other) => one - other);
    this.#throwOut(cells.slice(from, to + 1));
  }

  // Throws pictures out, or takes them back in where all of them are out already.
  #throwOut(cells) {
    const all = cells.map((cell) => Number(cell.dataset.picture));
    const inside = all.filter((picture) => !this.out.has(picture));
    for (const picture of inside.length ? inside : all) this.toggle(picture);
  }

  // What is carried to a name: all that were thrown out, if it is one of them, else the picture by itself.
  #heldWith(cell) {
    const picture = Number(cell.dataset.picture);
    return this.out.has(picture) ? [...this.out] : [picture];
  }

  // Gives single pictures of the group another name, which they keep whatever the group is called.
  async #drop(some, name) {
    try {
      const { state } = await post("/api/assign", { pictures: some, name, distinct: true });
      this.generation = state.generation;
      this.app.take(state);
      this.app.say(t("drag.done", { n: some.length, name: quoted(name) }), { brief: true, taken: true });
      for (const picture of some) this.#showNamed(picture, name);
    } catch (refusal) {
      await this.#refused(refusal);
    }
    this.focus();
  }

  #showNamed(picture, name) {
    if (this.out.has(picture)) this.toggle(picture);
    const cell = this.#cells().find((one) => Number(one.dataset.picture) === picture);
    cell.querySelector(".opinion")?.remove();
    cell.append(element("span", { className: "opinion", "aria-hidden": "true" }, `✓ ${called(name)}`));
    cell.setAttribute("aria-label", t("list.comma", { one: called(name), other: cell.getAttribute("aria-label") }));
  }

  #enlarge(cell) {
    const cells = this.#cells();
    const marking = {
      isOn: (picture) => this.out.has(picture),
      switch: (picture) => this.toggle(picture),
      words: [t("ask.throw-out"), t("ask.take-in")],
      crosses: true,
    };
    const back = document.activeElement;
    enlarge(shownOf(this.group), cells.indexOf(cell), marking, (place) => {
      const inPictures = back?.classList.contains("picture");
      this.#rove(this.#cells()[place], inPictures);
      if (!inPictures) this.focus();
    });
  }

  command(name) {
    if (["mixed", "junk", "skip"].includes(name)) this.answer(name);
    else if (/^[1-9]$/.test(name) && this.slots?.[name - 1]) this.name(this.slots[name - 1]);
    else if (name.startsWith("sure ")) this.#setConfidence(Number(name.at(-1)));
  }
}

const shownOf = (group) => ROWS.flatMap((key) => group[key]);

// The nearest picture in the line above or below.
function across(cell, cells, direction) {
  const here = cell.getBoundingClientRect();
  const beyond = (box) => (direction > 0 ? box.top >= here.bottom - 1 : box.bottom <= here.top + 1);
  const away = (box) => 1000 * Math.abs(box.top - here.top) + Math.abs(box.left - here.left);
  const boxes = cells.map((other) => [other, other.getBoundingClientRect()]).filter(([, box]) => beyond(box));
  return boxes.toSorted(([, one], [, other]) => away(one) - away(other))[0]?.[0];
}

function title(group) {
  if (group.size === 1) return t("ask.single");
  return t({ lasso: "ask.group.map", split: "ask.group.split" }[group.kind] ?? "ask.group", { n: group.size });
}

function gain(group) {
  const right = Math.round(group.gain);
  return right < 1 ? t("ask.gain.little") : t("ask.gain", { n: right });
}
