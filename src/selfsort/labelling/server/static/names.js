// Everything that has one name, as a grid: only the rows in view exist, their pictures come page by page.

import { Refused, picturesNamed, post } from "./api.js";
import { Combobox } from "./combobox.js";
import { $, announce, closable, complain, element, hasPhotographs, show, thumbnail } from "./dom.js";
import { enlarge } from "./enlarge.js";
import { chooseSimilar } from "./similar.js";
import { count, percent, pictures as ofPictures } from "./words.js";

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
    this.target = this.#combobox("move", { onChoice: (name) => this.#move(name), onChange: () => this.#tell() });
    this.newName = this.#combobox("new", { onChoice: () => {}, onChange: () => this.#hint() });
    this.#listen();
  }

  #combobox(id, actions) {
    const names = () => this.app.state.names.filter((entry) => entry.name !== this.name);
    return new Combobox($(`#${id}-name`), $(`#${id}-list`), { names, ...actions });
  }

  // ---- what is shown

  async open(name) {
    const { names } = this.app.state;
    const known = names.find((entry) => entry.name === name) ?? names[0];
    show($("#names-empty"), !known);
    for (const part of ["#grid", "#move", "#names-legend", "#rename"]) show($(part), Boolean(known));
    if (known?.name !== this.name) this.#begin(known?.name ?? null);
    if (known) await this.refresh();
    else $("#names-title").textContent = "Names";
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

  // Fetches again what is in view if anything changed since.
  async refresh() {
    if (this.name === null || this.generation === this.app.state.generation) return this.draw();
    if (!this.app.state.names.some((entry) => entry.name === this.name)) return this.open(null);
    this.generation = this.app.state.generation;
    const first = Math.floor(this.#firstInView() / PAGE);
    const pages = await this.#fetch([first, first + 1]);
    if (!pages) return;
    this.#forget();
    for (const [number, rows] of pages) this.pages.set(number, rows);
    this.active = Math.min(this.active, Math.max(0, this.total - 1));
    this.#tell();
    this.draw();
  }

  async #fetch(numbers) {
    const { name } = this;
    try {
      const order = $("#order").value;
      const replies = await Promise.all(numbers.map((number) => picturesNamed(name, number * PAGE, PAGE, order)));
      if (name !== this.name) return null;
      this.total = replies[0].total;
      return replies.map((reply, place) => [numbers[place], reply.pictures]);
    } catch (refusal) {
      this.#refused(refusal);
      return null;
    }
  }

  async #load(number) {
    if (this.pages.has(number)) return this.pages.get(number);
    this.pages.set(number, []); // on its way
    const generation = this.generation;
    const found = await this.#fetch([number]);
    if (!found || generation !== this.generation) return [];
    this.pages.set(number, found[0][1]);
    this.draw();
    return found[0][1];
  }

  // ---- the rows in view

  #measure() {
    const width = this.plane.clientWidth;
    const least = hasPhotographs() ? (width < 420 ? 100 : 148) : width < 420 ? 64 : 84;
    this.columns = Math.max(1, Math.floor((width + GAP) / (least + GAP)));
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
    cell.setAttribute("aria-label", "loading");
    cell.dataset.place = place;
    this.cells.set(place, cell);
    this.plane.append(cell);
    return cell;
  }

  #fill(cell, { index, confidence, given }) {
    const sure = percent(confidence);
    cell.dataset.picture = index;
    cell.setAttribute("aria-label", `Picture ${index}, ${given ? "by an answer" : "by the model"}, ${sure}`);
    const image = element("img", { alt: "", draggable: false });
    cell.replaceChildren(image, element("small", {}, given ? sure : `model ${sure}`));
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
    if (!picture) return;
    if (!this.chosen.delete(picture.index)) this.chosen.set(picture.index, place);
    [this.active, this.anchor] = [place, place];
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
    $("#names-title").textContent = this.name ?? "Names";
    $("#names-count").textContent = this.name === null ? "" : ofPictures(this.total);
    $("#chosen").textContent = some ? `${count(this.chosen.size)} selected` : "None selected";
    $("#pull").textContent = `Not ${this.name}`;
    $("#pull").append(" ", element("kbd", {}, "Delete"));
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

  async #move(to, distinct = false) {
    if (!this.chosen.size) return complain($("#names-error"), "Select the pictures first.");
    const pictures = [...this.chosen.keys()];
    const refusal = await this.#send("/api/pull", { name: this.name, pictures, to, distinct });
    if (refusal?.similar) {
      const meant = await chooseSimilar(to, refusal.similar);
      return meant && this.#move(meant.name, meant.distinct);
    }
    if (refusal) return;
    const many = ofPictures(pictures.length);
    this.chosen.clear();
    this.target.value = "";
    announce(to === null ? `${many} pulled out of ${this.name}.` : `${many} moved to ${to}.`);
    await this.refresh();
    this.grid.focus();
  }

  async #rename(into) {
    if (!into) return complain($("#rename-error"), "Type the new name.");
    const old = this.name;
    const refusal = await this.#send("/api/merge", { names: [old], into }, $("#rename-error"));
    if (refusal?.similar) {
      const meant = await chooseSimilar(into, refusal.similar, false);
      return meant && this.#rename(meant.name);
    }
    if (refusal) return;
    $("#renaming").close();
    announce(`${old} is now ${into}.`);
    location.hash = `#names/${encodeURIComponent(into)}`;
  }

  async undo() {
    const refusal = await this.#send("/api/undo", {});
    if (refusal) return;
    announce("Taken back.");
    await this.refresh();
  }

  // Returns the server's refusal, if any.
  async #send(path, body, where = $("#names-error")) {
    complain(where, null);
    try {
      this.app.take((await post(path, body)).state);
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
    const merging = other && `Merges both: “${value}” has ${ofPictures(other.count)} already.`;
    $("#new-hint").textContent = merging ?? "\u00a0";
    $("#rename-button").firstChild.textContent = other ? "Merge " : "Rename ";
  }

  startRenaming() {
    if (this.name === null) return;
    $("#renaming-title").textContent = `Rename “${this.name}”`;
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
    this.grid.addEventListener("keydown", (event) => this.#key(event));
    $("#order").addEventListener("change", () => this.#reorder());
    $("#pull").addEventListener("click", () => this.#move(null));
    $("#clear").addEventListener("click", () => this.#clear());
    $("#move").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.target.value) this.#move(this.target.value);
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
    this.generation = null;
    this.grid.scrollTop = 0;
    this.refresh();
  }

  #clear() {
    this.chosen.clear();
    this.#changed();
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
      switch: (picture) => this.#switch(page * PAGE + all.indexOf(picture)),
      words: ["Select", "Do not select"],
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
