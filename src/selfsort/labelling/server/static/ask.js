// Asking: one group at a time.

import { Refused, get, post, postKept, client } from "./api.js";
import { Combobox } from "./combobox.js";
import { $, announce, byTouch, complain, element, hasKeyboard, show, thumbnail } from "./dom.js";
import { enlarge } from "./enlarge.js";
import { chooseSimilar } from "./similar.js";
import { pictures as ofPictures } from "./words.js";

const ROWS = [["typical", "Most typical"], ["random", "At random"], ["borderline", "Borderline"]];
const SURE = ["a guess", "doubtful", "likely", "quite sure", "sure"];
const HOW = hasKeyboard
  ? { suggested: "Tab takes it over", listed: "Enter accepts, the arrow down lists the names given." }
  : { suggested: "tap the field to choose it", listed: "Tap the field for the names given." };
const SEEN = 400; // groups whose pictures are kept decoded

export class Ask {
  // `app` has state, take(state), and say(text); `onGroup(group)` is told what is asked about.
  constructor(app, onGroup) {
    Object.assign(this, { app, onGroup, group: null, out: new Set(), busy: false, ready: new Map(), started: false });
    this.given = new Map(); // what was answered, to be put back by undo
    this.field = new Combobox($("#name"), $("#name-list"), {
      names: () => app.state.names,
      suggestion: () => this.group?.suggestion ?? null,
      onChoice: (name) => this.answer("name", name),
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
    const elsewhere = open === 1 ? "The last group is" : `The last ${open} groups are`;
    const asked = `${elsewhere} being asked in another window; it comes here when that one is closed or waits too long.`;
    $("#nothing-left").textContent = open ? asked : "Every group has an answer.";
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
    $("#ask-title").textContent = group ? title(group) : "Nothing left to ask";
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
    this.field.input.placeholder = this.group?.suggestion ? `${this.group.suggestion}?` : "Type a name";
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
    const rows = ROWS.filter(([key]) => group[key].length > 0).map((row) => this.#row(group, row));
    $("#rows").replaceChildren(...rows);
    this.#rove(this.#cells()[0], false);
  }

  #row(group, [key, heading]) {
    const label = (place) => `${heading} ${place + 1} of ${group[key].length}`;
    const cells = group[key].map((picture, place) => this.#cell(picture, label(place)));
    return element(
      "section",
      { className: "row" },
      element("h3", { id: `row-${key}` }, heading),
      element("div", { className: "pictures", role: "group", "aria-labelledby": `row-${key}` }, ...cells),
    );
  }

  #cell(picture, label) {
    const image = element("img", { src: thumbnail(picture), alt: "", decoding: "sync", draggable: false });
    const cell = element("button", { type: "button", className: "picture" }, image);
    cell.setAttribute("aria-label", `${label}, picture ${picture}: throw out`);
    cell.dataset.picture = picture;
    cell.tabIndex = -1;
    cell.setAttribute("aria-pressed", "false");
    return cell;
  }

  #cells() {
    return [...$("#rows").querySelectorAll(".picture")];
  }

  #rove(cell, focus = true) {
    if (!cell) return;
    for (const other of this.#cells()) other.tabIndex = other === cell ? 0 : -1;
    if (focus) cell.focus();
  }

  #hint() {
    const { value } = this.field;
    const known = this.app.state?.names.find((entry) => entry.name === value);
    const suggested = this.group?.suggestion;
    const said = known ? `${ofPictures(known.count)} have this name.` : value ? `“${value}” is a new name.` : null;
    const offered = suggested ? `Suggested: “${suggested}”; ${HOW.suggested}.` : HOW.listed;
    const thrown = this.out.size ? ` ${ofPictures(this.out.size)} thrown out.` : "";
    $("#name-hint").textContent = (said ?? offered) + thrown;
  }

  #buildConfidence() {
    const choices = SURE.map((words, place) => {
      const level = String(place + 1);
      const input = element("input", { type: "radio", name: "confidence", value: level });
      input.setAttribute("aria-label", `${level}: ${words}`);
      return element("label", { title: words }, input, element("span", {}, level));
    });
    const meaning = element("output", { id: "sure" }, SURE[4]);
    $("#confidence").append(element("div", { className: "segments" }, ...choices), meaning);
    $("#confidence").addEventListener("change", () => this.#setConfidence(this.confidence));
  }

  get confidence() {
    return Number($("#confidence input:checked").value);
  }

  #setConfidence(level) {
    $(`#confidence input[value="${level}"]`).checked = true;
    $("#sure").textContent = SURE[level - 1];
  }

  // ---- answering

  async answer(kind, name = null, distinct = false) {
    if (!this.group || this.busy) return;
    if (kind === "name" && !name) return this.#refuse("Type a name first, or skip the group.");
    const body = { group: this.group.id, kind, name, confidence: this.confidence, excluded: [...this.out], distinct };
    this.given.set(body.group, body);
    const refusal = await this.#send(() => postKept("/api/answers", body, this.app.state.run), kind);
    if (!refusal?.similar) return;
    const meant = await chooseSimilar(name, refusal.similar);
    if (meant) await this.answer("name", meant.name, meant.distinct);
    else this.focus();
  }

  undo() {
    return this.#send(() => post("/api/undo", {}), "undo");
  }

  lasso(pictures) {
    return this.#send(() => post("/api/lasso", { pictures, nearby: true }), "lasso");
  }

  async #send(sending, what) {
    if (this.busy) return;
    const sent = this.field.value;
    this.#wait(true);
    try {
      const { state, group } = await sending();
      this.generation = state.generation;
      this.app.take(state);
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
    // What is asked about next may be worked out just now.
    if (what === "mixed" && !group) return this.next(typedAhead);
    // After taking back a pull or a merge there is no group to ask again.
    if (what !== "undo" || group) this.put(group, typedAhead);
    if (what === "undo" && group) this.#putBack(this.given.get(group.id));
    const said = { undo: "Taken back.", mixed: "Its parts come later, each by itself.", lasso: "A group from the map." }[what] ?? "Saved.";
    announce(group ? `${said} ${title(group)}.${group.suggestion ? ` Suggested: ${group.suggestion}.` : ""}` : said);
  }

  #putBack(answer) {
    if (!answer) return;
    this.field.value = answer.name ?? "";
    this.#setConfidence(answer.confidence);
    answer.excluded.filter((picture) => !this.out.has(picture)).forEach((picture) => this.toggle(picture));
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
    this.app.say(`${refusal.message}${typed ? ` You had typed “${typed}”.` : ""}`);
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
      this.answer("name", this.field.value);
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
      if (event.shiftKey) this.#enlarge(cell);
      else this.toggle(Number(cell.dataset.picture));
    });
    rows.addEventListener("dblclick", (event) => {
      const cell = event.target.closest(".picture");
      if (cell) this.#enlarge(cell);
    });
    rows.addEventListener("keydown", (event) => this.#keyInPictures(event));
  }

  #keyInField(event) {
    if (event.key !== "Escape" || event.isComposing) return;
    event.preventDefault();
    this.#rove(this.#cells().find((cell) => cell.tabIndex === 0));
  }

  #keyInPictures(event) {
    const cell = event.target.closest(".picture");
    if (!cell || event.altKey || event.ctrlKey || event.metaKey) return;
    const action = this.#pictureKeys(cell)[event.key];
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

  #enlarge(cell) {
    const cells = this.#cells();
    const marking = {
      isOn: (picture) => this.out.has(picture),
      switch: (picture) => this.toggle(picture),
      words: ["Throw out", "Take back in"],
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
    else if (/^[1-5]$/.test(name)) this.#setConfidence(Number(name));
  }
}

const shownOf = (group) => ROWS.flatMap(([key]) => group[key]);

// The nearest picture in the line above or below.
function across(cell, cells, direction) {
  const here = cell.getBoundingClientRect();
  const beyond = (box) => (direction > 0 ? box.top >= here.bottom - 1 : box.bottom <= here.top + 1);
  const away = (box) => 1000 * Math.abs(box.top - here.top) + Math.abs(box.left - here.left);
  const boxes = cells.map((other) => [other, other.getBoundingClientRect()]).filter(([, box]) => beyond(box));
  return boxes.toSorted(([, one], [, other]) => away(one) - away(other))[0]?.[0];
}

function title(group) {
  const origin = { lasso: " from the map", split: " from a mixed group" }[group.kind] ?? "";
  return `Group of ${ofPictures(group.size)}${origin}`;
}

function gain(group) {
  const right = Math.round(group.gain);
  if (right < 1) return "An answer is expected to change little.";
  return `An answer is expected to put about ${ofPictures(right)} right.`;
}
