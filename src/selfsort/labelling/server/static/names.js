// Everything that has one name, as a grid: only the rows in view exist, their pictures come page by page.

import { Refused, picturesNamed, post } from "./api.js";
import { Combobox } from "./combobox.js";
import { $, announce, byTouch, closable, complain, element, hasPhotographs, show, thumbnail } from "./dom.js";
import { enlarge } from "./enlarge.js";
import { rubberBand } from "./rubber.js";
import { chooseSimilar, settleNear } from "./similar.js";
import { chosenSize } from "./sizes.js";
import { listTaken, takenChosen } from "./taken.js";
import { t } from "./text.js";
import { listed, meant, pictures as ofPictures, quoted, sources } from "./words.js";

const JUNK = "junk";
const PAGE = 200;
const GAP = 6;
const BEYOND = 3; // rows kept ready above and below those in view
const PASSING = 120; // ms: pictures that come and go faster while one scrolls are not asked for

export class Names {
  constructor(app) {
    Object.assign(this, { app, name: null, total: 0, active: 0, anchor: 0, generation: null, scrolled: -PASSING });
    this.pages = new Map(); // number of a page: what the server said of its pictures
    this.cells = new Map(); // place in the grid: its element
    this.chosen = new Map(); // picture: its place
    [this.grid, this.plane] = [$("#grid"), $("#cells")];
    this.target = this.#combobox("move", { onChoice: (name, isNew) => this.#settle(name, isNew), onChange: () => this.#tell() });
    this.newName = this.#combobox("new", { onChoice: () => {}, onChange: () => this.#hint(), chooses: false });
    this.#listen();
  }

  #combobox(id, actions) {
    const names = () => this.app.state.names.filter((entry) => entry.name !== this.name);
    return new Combobox($(`#${id}-name`), $(`#${id}-list`), { names, ...actions });
  }

  // ---- what is shown

  async open(name) {
    listTaken();
    const known = this.#all().find((entry) => entry.name === name) ?? this.#all()[0];
    show($("#names-empty"), !known);
    for (const part of ["#grid", "#move", "#names-legend", "#rename", "#about", "#drop", "#next-name"]) show($(part), Boolean(known));
    if (known?.name !== this.name) this.#begin(known?.name ?? null);
    if (known) await this.refresh();
    else $("#names-title").textContent = t("names.title");
  }

  // Every name, and at the end what was called junk.
  #all() {
    const { names, junk } = this.app.state;
    return junk ? [...names, { name: JUNK, count: junk }] : names;
  }

  #title() {
    if (this.name === JUNK) return t("junk");
    return this.name ?? t("names.title");
  }

  // Goes on to the next name of the list, or back.
  turn(by) {
    const names = this.#all().map((entry) => entry.name);
    const place = names.indexOf(this.name);
    if (names.length) location.hash = `#names/${encodeURIComponent(names[(place + by + names.length) % names.length])}`;
  }

  focus() {
    if (!document.querySelector("dialog[open]") && !byTouch() && !this.grid.hidden) this.grid.focus({ preventScroll: true });
  }

  #begin(name) {
    Object.assign(this, { name, total: 0, active: 0, anchor: 0, generation: null });
    this.chosen.clear();
    this.target.value = "";
    complain($("#names-error"), null);
    this.grid.scrollTop = 0;
    this.#forget();
  }

  #forget() {
    this.pages.clear();
    for (const cell of this.cells.values()) discard(cell);
    this.cells.clear();
  }

  // Fetches again what is in view if anything changed since; what is selected stays where it is seen until it is used.
  async refresh() {
    if (this.name === null || this.chosen.size || this.generation === this.app.state.generation) return this.draw();
    if (!this.#all().some((entry) => entry.name === this.name)) return this.open(null);
    const { total } = this;
    this.generation = this.app.state.generation;
    const first = Math.floor(this.#firstInView() / PAGE);
    const pages = await this.#fetch([first, first + 1]);
    if (!pages) return;
    if (this.chosen.size) { // selected while the answer was on its way
      Object.assign(this, { total, generation: null });
      return;
    }
    if (this.total <= first * PAGE && first > 0) pages.splice(0); // there are fewer than before: drawn where they end
    this.#forget();
    for (const [number, rows] of pages) this.pages.set(number, rows);
    this.active = Math.min(this.active, Math.max(0, this.total - 1));
    this.#tell();
    this.draw();
  }

  async #fetch(numbers) {
    const { name } = this;
    try {
      const [order, taken] = [$("#order").value, takenChosen()];
      const ask = (number) => picturesNamed(name, number * PAGE, PAGE, order, taken);
      const replies = await Promise.all(numbers.map(ask));
      if (name !== this.name) return null;
      this.total = replies[0].total;
      return replies.map((reply, place) => [numbers[place], reply.pictures]);
    } catch (refusal) {
      if (name === this.name) this.#refused(refusal); // another name may be shown by now, as this one ended
      return null;
    }
  }

  async #load(number) {
    if (this.pages.has(number)) return this.pages.get(number);
    this.pages.set(number, []); // on its way
    const generation = this.generation;
    const found = await this.#fetch([number]);
    if (!found && this.pages.get(number)?.length === 0) this.pages.delete(number); // it can be asked for again
    if (!found || generation !== this.generation) return [];
    this.pages.set(number, found[0][1]);
    this.draw();
    return found[0][1];
  }

  // ---- the rows in view

  #measure() {
    const width = this.plane.clientWidth;
    const least = hasPhotographs() ? (width < 420 ? 100 : 148) : width < 420 ? 64 : 84;
    const wanted = Math.min(width, Math.round(least * chosenSize()));
    this.columns = Math.max(1, Math.floor((width + GAP) / (wanted + GAP)));
    this.side = (width + GAP) / this.columns - GAP;
    this.step = this.side + 18 + GAP;
  }

  #firstInView() {
    return this.step ? Math.floor(this.grid.scrollTop / this.step) * this.columns : 0;
  }

  draw() {
    if ($("#names-view").hidden || this.name === null) return;
    this.#measure();
    this.plane.style.height = `${Math.ceil(this.total / this.columns) * this.step}px`;
    const first = Math.max(0, this.#firstInView() - BEYOND * this.columns);
    const rows = Math.ceil(this.grid.clientHeight / this.step) + 2 * BEYOND + 1;
    const last = Math.min(this.total, first + rows * this.columns);
    this.#keepOnly(first, last);
    for (let place = first; place < last; place++) this.#put(place);
    this.#showActive();
  }

  #keepOnly(first, last) {
    for (const [place, cell] of this.cells) {
      if (place >= first && place < last) continue;
      discard(cell);
      this.cells.delete(place);
    }
  }

  #at(place) {
    return this.pages.get(Math.floor(place / PAGE))?.[place % PAGE];
  }

  #put(place) {
    const cell = this.cells.get(place) ?? this.#make(place);
    const picture = this.#at(place);
    if (picture === undefined) this.#load(Math.floor(place / PAGE));
    else if (!cell.dataset.picture) this.#fill(cell, picture);
    cell.setAttribute("aria-selected", String(picture !== undefined && this.chosen.has(picture.index)));
    const [column, row] = [place % this.columns, Math.floor(place / this.columns)];
    cell.style.width = `${this.side}px`;
    cell.style.transform = `translate(${column * (this.side + GAP)}px, ${row * this.step}px)`;
  }

  #make(place) {
    const counted = { "aria-setsize": this.total, "aria-posinset": place + 1 };
    const cell = element("div", { id: `cell-${place}`, className: "cell", role: "option", ...counted });
    cell.setAttribute("aria-label", t("names.loading"));
    cell.dataset.place = place;
    this.cells.set(place, cell);
    this.plane.append(cell);
    return cell;
  }

  #fill(cell, { index, id, said, model }) {
    const [words, short, disputed] = sources(said, model);
    cell.dataset.picture = index;
    cell.classList.toggle("disputed", disputed);
    cell.title = id;
    // What is seen is a part of it, for whoever speaks to the page.
    cell.setAttribute("aria-label", listed([id, words, short]));
    const image = element("img", { alt: "", draggable: false });
    cell.replaceChildren(image, element("small", { title: words }, short));
    const scrolling = performance.now() - this.scrolled < PASSING;
    setTimeout(() => cell.isConnected && (image.src = thumbnail(index)), scrolling ? PASSING : 0);
  }

  #showActive() {
    for (const [place, cell] of this.cells) cell.classList.toggle("active", place === this.active);
    if (this.cells.has(this.active)) this.grid.setAttribute("aria-activedescendant", `cell-${this.active}`);
    else this.grid.removeAttribute("aria-activedescendant");
  }

  // ---- choosing

  #switch(place) {
    const picture = this.#at(place);
    if (picture) this.#mark(picture.index, place);
  }

  #mark(index, place) {
    if (!this.chosen.delete(index)) this.chosen.set(index, place);
    [this.active, this.anchor] = [place, place];
    this.#changed();
    this.refresh();
  }

  #choose(places) {
    for (const place of places) if (this.#at(place)) this.chosen.set(this.#at(place).index, place);
    if (places.length) [this.active, this.anchor] = [places.at(-1), places[0]];
    this.#changed();
  }

  async #extend(place) {
    const [from, to] = [Math.min(this.anchor, place), Math.max(this.anchor, place)];
    this.active = place;
    for (let number = Math.floor(from / PAGE); number <= Math.floor(to / PAGE); number++) await this.#load(number);
    for (let at = from; at <= to; at++) if (this.#at(at)) this.chosen.set(this.#at(at).index, at);
    this.#changed();
  }

  #changed() {
    this.#tell();
    this.draw();
    this.#reveal();
  }

  #tell() {
    const some = this.chosen.size > 0;
    $("#names-title").textContent = this.#title();
    const { description, note } = this.app.state.names.find(({ name }) => name === this.name)?.about ?? {};
    complain($("#names-description"), [description, note].filter(Boolean).join("\n"));
    $("#names-count").textContent = this.name === null ? "" : ofPictures(this.total);
    $("#chosen").textContent = some ? t("selected", { n: this.chosen.size }) : t("none-selected");
    $("#pull").replaceChildren(t("names.not", { name: this.#title() }), " ", element("kbd", {}, t("key.delete")));
    for (const button of [$("#pull"), $("#clear")]) button.disabled = !some;
    $("#move-button").disabled = !some || !this.target.value;
  }

  #walk(place, extending) {
    const to = Math.max(0, Math.min(this.total - 1, place));
    if (extending) return this.#extend(to);
    [this.active, this.anchor] = [to, to];
    this.draw();
    this.#reveal();
  }

  #reveal() {
    const top = Math.floor(this.active / this.columns) * this.step;
    const { scrollTop, clientHeight } = this.grid;
    if (top < scrollTop) this.grid.scrollTop = top;
    else if (top + this.step > scrollTop + clientHeight) this.grid.scrollTop = top + this.step - clientHeight;
  }

  // ---- changing names

  async #settle(typed, isMeant = false) {
    const to = await settleNear(typed, this.app.state.names.map((entry) => entry.name), isMeant);
    if (to !== null) await this.#move(to);
  }

  async #move(to, distinct = false) {
    if (!this.chosen.size) return complain($("#names-error"), t("names.select-first"));
    const pictures = [...this.chosen.keys()];
    const refusal = await this.#send("/api/pull", { name: this.name, pictures, to, distinct });
    if (refusal?.similar) {
      const chosen = await chooseSimilar(to, refusal.similar);
      return chosen && this.#move(chosen.name, chosen.distinct);
    }
    if (refusal) return;
    const words = { n: pictures.length, name: quoted(to ?? this.name) };
    this.chosen.clear();
    this.target.value = "";
    announce(t(to === null ? "names.pulled" : "names.moved", words));
    await this.refresh();
    this.grid.focus();
  }

  // Moves what was carried to another name: the chosen, if it is one of them.
  #drop({ dataset: { picture, place } }, name) {
    if (picture === undefined || name === this.name) return;
    if (!this.chosen.has(Number(picture))) {
      this.chosen.clear();
      this.#choose([Number(place)]);
    }
    this.#move(name, true);
  }

  // Lets a name be as if it had never been given, and goes on to the next.
  async drop() {
    const { name } = this;
    const next = this.#all().find((entry) => entry.name !== name)?.name;
    if (await this.#send("/api/drop", { name })) return;
    this.app.say(t("names.dropped", { name: quoted(name) }), { brief: true, taken: true });
    location.hash = next === undefined ? "#names" : `#names/${encodeURIComponent(next)}`;
  }

  async #rename(typed) {
    if (!typed) return complain($("#rename-error"), t("rename.type"));
    const into = meant(typed);
    const old = this.name;
    const refusal = await this.#send("/api/merge", { names: [old], into }, $("#rename-error"));
    if (refusal?.similar) {
      const chosen = await chooseSimilar(into, refusal.similar, false);
      return chosen && this.#rename(chosen.name);
    }
    if (refusal) return;
    $("#renaming").close();
    announce(t("names.renamed", { old: quoted(old), name: quoted(into) }));
    location.hash = `#names/${encodeURIComponent(into)}`;
  }

  // Takes back, or does again, what is `path`; one stays where one was, also where that had another name since.
  async turnBack(path) {
    const { name } = this;
    const refusal = await this.#send(path, {});
    if (refusal) return;
    const { act } = this.reply;
    this.chosen.clear();
    this.app.tell(act);
    const isThere = (one) => this.#all().some((entry) => entry.name === one);
    const before = act.kind === "merge" && [...act.names, act.name].find((one) => one !== name && isThere(one));
    if (!isThere(name) && before) location.hash = `#names/${encodeURIComponent(before)}`;
    else await this.refresh();
  }

  // Returns the server's refusal, if any.
  async #send(path, body, where = $("#names-error")) {
    complain(where, null);
    try {
      this.reply = await post(path, body);
      this.app.take(this.reply.state);
      return null;
    } catch (refusal) {
      this.#refused(refusal, where);
      return refusal;
    }
  }

  #refused(refusal, where = $("#names-error")) {
    if (!(refusal instanceof Refused)) throw refusal;
    if (!refusal.similar) complain(where, refusal.message);
  }

  #hint() {
    const { value } = this.newName;
    const other = this.app.state.names.find((entry) => entry.name === value);
    const renaming = value && value !== this.name ? t("rename.renames", { name: quoted(value) }) : "\u00a0";
    $("#new-hint").textContent = other ? t("rename.merges", { name: quoted(value), n: other.count }) : renaming;
    $("#rename-verb").textContent = t(other ? "rename.merge" : "rename.title");
  }

  startRenaming() {
    if (this.name === null) return;
    $("#renaming-title").textContent = t("rename.title.of", { name: quoted(this.name) });
    complain($("#rename-error"), null);
    this.newName.value = this.name;
    $("#renaming").showModal();
    $("#new-name").focus();
    $("#new-name").select();
  }

  // ---- what the person does

  #listen() {
    new ResizeObserver(() => this.draw()).observe(this.grid);
    this.grid.addEventListener("scroll", () => this.#scroll(), { passive: true });
    this.grid.addEventListener("click", (event) => this.#click(event));
    this.grid.addEventListener("dblclick", (event) => event.target.closest(".cell") && this.#enlarge());
    rubberBand(this.grid, ".cell", {
      onTaken: (cells) => this.#choose(cells.map((cell) => Number(cell.dataset.place))),
      onDropped: (cell, name) => this.#drop(cell, name),
      held: (cell) => (this.chosen.has(Number(cell.dataset.picture)) ? this.chosen.size : 1),
    });
    this.grid.addEventListener("keydown", (event) => this.#key(event));
    $("#order").addEventListener("change", () => this.#reorder());
    $("#taken").addEventListener("change", () => this.#reorder());
    $("#pull").addEventListener("click", () => this.#move(null));
    $("#clear").addEventListener("click", () => this.#clear());
    $("#move").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.target.value) this.#settle(this.target.pending.name, this.target.pending.isNew);
    });
    $("#rename-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#rename(this.newName.value);
    });
    $("#move-name").addEventListener("keydown", (event) => event.key === "Escape" && this.grid.focus());
    closable($("#renaming"));
  }

  #scroll() {
    this.scrolled = performance.now();
    requestAnimationFrame(() => this.draw());
  }

  #reorder() {
    show($("#gather"), Boolean(takenChosen().fact));
    this.chosen.clear();
    this.generation = null;
    this.grid.scrollTop = 0;
    this.refresh();
  }

  #clear() {
    this.chosen.clear();
    this.#changed();
    this.refresh();
    this.grid.focus();
  }

  #click(event) {
    const cell = event.target.closest(".cell");
    if (!cell) return;
    const place = Number(cell.dataset.place);
    if (event.shiftKey) this.#extend(place);
    else this.#switch(place);
  }

  #key(event) {
    if (event.altKey) return;
    const { active, columns } = this;
    const page = Math.max(1, Math.floor(this.grid.clientHeight / this.step)) * columns;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    const moves = { ...steps, PageUp: -page, PageDown: page, Home: -this.total, End: this.total };
    const acts = { " ": () => this.#switch(active), Enter: () => this.#enlarge(), Delete: () => this.#move(null) };
    const all = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "a";
    if (all) this.#chooseAll();
    else if (event.ctrlKey || event.metaKey) return;
    else if (event.key in moves) this.#walk(active + moves[event.key], event.shiftKey);
    else if (event.key in acts) acts[event.key]();
    else return event.key.length === 1 && $("#move-name").focus(); // the browser writes the letter there
    event.preventDefault();
  }

  async #chooseAll() {
    this.anchor = 0;
    const here = this.active;
    await this.#extend(this.total - 1);
    this.active = here;
    this.#changed();
  }

  #enlarge() {
    const page = Math.floor(this.active / PAGE);
    const all = (this.pages.get(page) ?? []).map((picture) => picture.index);
    if (!all.length) return;
    const marking = {
      isOn: (picture) => this.chosen.has(picture),
      switch: (picture) => this.#mark(picture, page * PAGE + all.indexOf(picture)), // the list may have changed below
      words: [t("select"), t("unselect")],
      crosses: false,
    };
    enlarge(all, this.active - page * PAGE, marking, (place) => {
      this.#walk(page * PAGE + place, false);
      this.grid.focus();
    });
  }
}

// Takes a cell away, and back the request for its picture: those in view come first.
function discard(cell) {
  cell.remove();
  cell.querySelector("img")?.removeAttribute("src");
}
