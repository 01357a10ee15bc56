// The map of the embedding: one point per picture, coloured and marked by its name; a line drawn around points asks about
// them.
// Two canvases lie on each other: the points, drawn when something changed, and what the hand does.

import { get, Refused } from "./api.js";
import { $, announce, closable, fill, show, thumbnail } from "./dom.js";
import { clamp, contains, inTheMiddle, length, middle } from "./geometry.js";
import { MARKER_SIZE, colourOf, pathOf } from "./markers.js";
import { t } from "./text.js";
import { percent, pictures as ofPictures } from "./words.js";
import { moved, whole, zoomed } from "./zoom.js";

const MARGIN = 12; // px around the points
const JUNK = -2; // in the place of a colour
const LABELS = 14; // names written on the map
const NEAR = 9; // px from the pointer to the point it means
const SMALL = 300; // pictures of a lasso, unless one wants all
const STEP = 1.5; // of a zoom
const SHORTEST = 12; // px of a drawn line that is more than a click

export class PictureMap {
  // `onLasso(pictures, onlyUnnamed)` is called with the pictures circled.
  constructor(app, onLasso) {
    Object.assign(this, { app, onLasso, points: [], names: [], drawn: null, seen: null, asked: new Set(), unnamed: new Set() });
    [this.base, this.hand] = [$("#map-points"), $("#map-hand")];
    this.line = [];
    this.view = null; // {scale, x, y}: how the map lies in its frame
    this.fingers = new Map(); // pointer: where it is
    this.circle = null; // {x, y, r} in the unit square, while the keyboard is used
    this.#listen();
  }

  // Fetches what changed: the names after any answer, the points when the map was drawn anew.
  async update({ generation, map }) {
    this.#tellDrawing();
    const seen = `${generation} ${map}`;
    if (seen === this.seen) return;
    this.seen = seen;
    try {
      await this.#fetchNames();
      this.draw();
    } catch (refusal) {
      if (!(refusal instanceof Refused)) throw refusal;
      this.seen = null; // there is no map yet: the next change asks again
    }
  }

  async #fetchNames() {
    const { names, version, unnamed } = await get("/api/map/names");
    this.unnamed = new Set(unnamed);
    if (version !== this.drawn) await this.#fetchPoints();
    // Between the two requests the map may have been drawn anew; that is a change that asks again.
    this.names = names.length === this.points.length ? names : this.points.map(() => -1);
  }

  async #fetchPoints() {
    const { points, kind, version } = await get("/api/map");
    [this.points, this.drawn] = [points, version];
    this.view = null;
    this.#tellDrawing();
    const all = this.app.state.pictures;
    const words = { drawn: points.length, n: all, kind: kind === "tsne" ? "t-SNE" : "PCA" };
    $("#map-kind").textContent = t(points.length < all ? "map.kind.some" : "map.kind", words);
  }

  #tellDrawing() {
    const [first, share] = [!this.points.length, this.app.state.map_drawing];
    const bar = $("#map-wait .bar");
    show($("#map-wait"), first || share !== null);
    bar.classList.toggle("known", share > 0);
    if (share > 0) fill(bar, share, percent(share));
    else bar.removeAttribute("aria-valuenow");
    const better = share > 0 ? t("map.drawing.share", { share: percent(share) }) : t("map.drawing.better");
    $("#map-wait span").textContent = first ? t("map.drawing") : better;
  }

  // Shows where the pictures lie that are asked about.
  point(shown) {
    this.asked = new Set(shown);
    this.#drawHand();
  }

  // ---- geometry

  #fit() {
    const side = this.hand.clientWidth;
    const scale = devicePixelRatio || 1;
    for (const canvas of [this.base, this.hand]) {
      if (canvas.width !== Math.round(side * scale)) canvas.width = canvas.height = Math.round(side * scale);
    }
    this.side = side;
    this.inner = Math.max(1, side - 2 * MARGIN);
    if (this.view === null || this.fitted !== side) this.view = whole(this.#frame(), this.#frame());
    this.fitted = side;
    return scale;
  }

  #context(canvas, scale) {
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, this.side, this.side);
    return context;
  }

  // Where a point [picture, x, y] of the map, or {x, y}, lies on the canvas.
  #place(point) {
    const [x, y] = Array.isArray(point) ? point.slice(1) : [point.x, point.y];
    const { scale, x: left, y: top } = this.view;
    return [left + scale * (MARGIN + x * this.inner), top + scale * (MARGIN + y * this.inner)];
  }

  #frame() {
    return { width: this.side, height: this.side };
  }

  #zoom(factor, spot = [this.side / 2, this.side / 2]) {
    this.view = zoomed(this.view, this.view.scale * factor, spot, this.#frame(), this.#frame());
    this.#redraw();
  }

  #move(from, to) {
    this.view = moved(this.view, [to[0] - from[0], to[1] - from[1]], this.#frame(), this.#frame());
    this.#redraw();
  }

  #redraw() {
    cancelAnimationFrame(this.drawing);
    this.drawing = requestAnimationFrame(() => this.draw());
  }

  // The points that are shown, and can be circled.
  #visible() {
    return $("#only-unnamed").checked ? this.points.filter((_, k) => this.unnamed.has(k)) : this.points;
  }

  #colours() {
    // The variables hold both schemes' colours; as somebody's colour they are those of the one that is shown.
    const value = (name) => {
      this.hand.style.color = `var(--${name})`;
      return getComputedStyle(this.hand).color;
    };
    return Object.fromEntries(["ink", "card", "accent", "faint"].map((name) => [name, value(name)]));
  }

  // ---- drawing

  draw() {
    const scale = this.#fit();
    if (!this.side || !this.points.length) return;
    const context = this.#context(this.base, scale);
    const colours = this.#colours();
    const isDrawn = (k) => !$("#only-unnamed").checked || this.unnamed.has(k);
    const size = Math.max(4.5, Math.min(9, this.inner / 2.2 / Math.sqrt(this.points.length || 1))) * Math.sqrt(this.view.scale);
    this.points.forEach((point, k) => isDrawn(k) && this.names[k] < 0 && dot(context, this.#place(point), size / 4, colours.faint, this.names[k] === JUNK));
    this.points.forEach((point, k) => isDrawn(k) && this.names[k] >= 0 && marker(context, this.#place(point), size, this.names[k]));
    this.#drawLabels(context, colours);
    this.#drawHand();
  }

  #drawLabels(context, colours) {
    context.font = `600 ${this.side > 500 ? 15 : 12}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    const taken = [];
    for (const { name, colour } of this.app.state.names.slice(0, LABELS)) {
      const members = this.points.filter((_, k) => this.names[k] === colour).map((point) => this.#place(point));
      if (members.length) this.#label(context, name, middle(members), taken, colours);
    }
  }

  #label(context, name, [x, y], taken, colours) {
    const text = name.length > 18 ? `${name.slice(0, 17)}…` : name;
    const half = context.measureText(text).width / 2 + 3;
    const left = Math.min(Math.max(x, half), this.side - half);
    const box = [left - half, y - 8, left + half, y + 8];
    if (taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1])) return;
    taken.push(box);
    context.lineWidth = 4;
    context.lineJoin = "round";
    context.strokeStyle = colours.card;
    context.strokeText(text, left, y);
    context.fillStyle = colours.ink;
    context.fillText(text, left, y);
  }

  #drawHand() {
    const scale = this.#fit();
    if (!this.side) return;
    const context = this.#context(this.hand, scale);
    const colours = this.#colours();
    for (const point of this.points) if (this.asked.has(point[0])) ring(context, this.#place(point), colours);
    context.strokeStyle = colours.accent;
    context.lineWidth = 2.5;
    context.setLineDash([6, 4]);
    context.beginPath();
    if (this.circle) context.arc(...this.#place(this.circle), this.circle.r * this.inner * this.view.scale, 0, 2 * Math.PI);
    this.line.forEach(([x, y], k) => (k ? context.lineTo(x, y) : context.moveTo(x, y)));
    if (this.line.length) context.closePath();
    context.globalAlpha = 0.14;
    context.fillStyle = colours.accent;
    context.fill();
    context.globalAlpha = 1;
    context.stroke();
    context.setLineDash([]);
  }

  // ---- the hand

  #listen() {
    const hand = this.hand;
    hand.addEventListener("pointerdown", (event) => this.#begin(event));
    hand.addEventListener("pointermove", (event) => this.#pointed(event));
    hand.addEventListener("pointerup", (event) => this.#end(event));
    hand.addEventListener("pointercancel", (event) => this.#drop(event));
    hand.addEventListener("contextmenu", (event) => event.preventDefault());
    hand.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    $("#map-in").addEventListener("click", () => this.#zoom(STEP));
    $("#map-out").addEventListener("click", () => this.#zoom(1 / STEP));
    $("#only-unnamed").addEventListener("change", () => this.draw());
    hand.addEventListener("pointerleave", () => show($("#preview"), false));
    hand.addEventListener("keydown", (event) => this.#key(event));
    hand.addEventListener("blur", () => this.#putCircle(null));
    new ResizeObserver(() => this.draw()).observe($("#map"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    this.#listenToLarger();
  }

  #listenToLarger() {
    const dialog = $("#large-map");
    $("#map-larger").addEventListener("click", () => {
      $("#large-map-home").append($("#map"));
      dialog.showModal();
    });
    dialog.addEventListener("close", () => $("#map-home").append($("#map")));
    closable(dialog);
  }

  #spot(event) {
    const box = this.hand.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  // The left button draws a line; the right one, Shift, or a second finger moves the map.
  #begin(event) {
    event.preventDefault();
    this.hand.focus({ preventScroll: true });
    this.hand.setPointerCapture(event.pointerId);
    this.fingers.set(event.pointerId, this.#spot(event));
    this.moving = event.button !== 0 || event.shiftKey || this.fingers.size > 1;
    this.line = this.moving ? [] : [this.#spot(event)];
    this.circle = null;
    show($("#preview"), false);
  }

  #pointed(event) {
    const before = this.fingers.get(event.pointerId);
    if (!before) return this.#hover(event);
    const spot = this.#spot(event);
    const other = [...this.fingers].find(([pointer]) => pointer !== event.pointerId)?.[1];
    this.fingers.set(event.pointerId, spot);
    if (other) this.#zoom(apart(spot, other) / Math.max(1, apart(before, other)), other);
    else if (this.moving) this.#move(before, spot);
    else this.#extend(event);
  }

  #wheel(event) {
    event.preventDefault();
    this.#zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), this.#spot(event));
  }

  #extend(event) {
    const steps = event.getCoalescedEvents?.() ?? [];
    for (const step of steps.length ? steps : [event]) this.line.push(this.#spot(step));
    this.#drawHand();
    this.#tellChosen(this.#inLine(this.line));
  }

  #inLine(line) {
    return this.#visible().filter((point) => contains(line, this.#place(point)));
  }

  #end(event) {
    const { line, moving } = this;
    this.#drop(event);
    if (!moving && length(line) >= SHORTEST) this.#take(this.#inLine(line));
  }

  #drop({ pointerId }) {
    this.fingers.delete(pointerId);
    this.line = [];
    $("#map-chosen").textContent = "";
    this.#drawHand();
  }

  // A line that holds many takes those in its middle, unless one wants all.
  #wanted(points) {
    return $("#take-all").checked ? points : inTheMiddle(points, SMALL);
  }

  // Says how many pictures would be asked about, before one lets go.
  #tellChosen(points) {
    const [all, some] = [points, this.#wanted(points)].map((each) => each.reduce((sum, [, , , number]) => sum + number, 0));
    $("#map-chosen").textContent = some < all ? t("map.middle", { some, n: all }) : ofPictures(all);
  }

  #take(chosen) {
    if (!chosen.length) return announce(t("map.nothing"));
    if ($("#large-map").open) $("#large-map").close();
    this.onLasso(this.#wanted(chosen).map(([picture]) => picture), $("#only-unnamed").checked);
  }

  #hover(event) {
    if (event.pointerType === "touch") return;
    const spot = this.#spot(event);
    const [point, away] = this.#nearest(spot);
    if (!point || away > NEAR) return show($("#preview"), false);
    this.#preview(point);
  }

  #nearest([x, y]) {
    let best = [null, Infinity];
    for (const point of this.#visible()) {
      const [px, py] = this.#place(point);
      const away = Math.hypot(px - x, py - y);
      if (away < best[1]) best = [point, away];
    }
    return best;
  }

  #preview(point) {
    const figure = $("#preview");
    figure.firstElementChild.src = thumbnail(point[0]);
    figure.lastElementChild.textContent = this.#nameOf(point) ?? t("no-name");
    figure.classList.toggle("left", point[1] > 0.5);
    figure.classList.toggle("top", point[2] > 0.5);
    show(figure, true);
  }

  #nameOf(point) {
    const colour = this.names[this.points.indexOf(point)];
    return this.app.state.names.find((entry) => entry.colour === colour)?.name;
  }

  // ---- the keyboard: a circle that is moved and sized

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const { x, y, r } = this.circle ?? { x: 0.5, y: 0.5, r: 0.06 };
    const step = (event.shiftKey ? 0.1 : 0.025) / this.view.scale;
    const moves = {
      ArrowLeft: { x: x - step, y, r },
      ArrowRight: { x: x + step, y, r },
      ArrowUp: { x, y: y - step, r },
      ArrowDown: { x, y: y + step, r },
      "+": { x, y, r: r * 1.2 },
      "=": { x, y, r: r * 1.2 },
      "-": { x, y, r: r / 1.2 },
    };
    const zooms = { PageUp: STEP, PageDown: 1 / STEP };
    if (event.key in moves) this.#putCircle(moves[event.key]);
    else if (event.key in zooms) this.#zoom(zooms[event.key], this.circle ? this.#place(this.circle) : undefined);
    else if (event.key === "Enter" && this.circle && !event.repeat) this.#take(this.#inCircle());
    else return;
    event.preventDefault();
  }

  #putCircle(circle) {
    this.circle = circle && { x: clamp(circle.x, 0, 1), y: clamp(circle.y, 0, 1), r: clamp(circle.r, 0.02, 0.7) };
    this.#drawHand();
    show($("#preview"), false);
    $("#map-chosen").textContent = "";
    if (!circle) return;
    this.#tellChosen(this.#inCircle());
    const [point] = this.#nearest(this.#place(this.circle));
    if (point) this.#preview(point);
    clearTimeout(this.telling);
    this.telling = setTimeout(() => announce(this.#circleInWords()), 400);
  }

  #inCircle() {
    const { x, y, r } = this.circle;
    return this.#visible().filter((point) => Math.hypot(point[1] - x, point[2] - y) <= r);
  }

  #circleInWords() {
    if (!this.circle) return "";
    const inside = this.#inCircle();
    const tally = new Map();
    for (const point of inside) tally.set(this.#nameOf(point), (tally.get(this.#nameOf(point)) ?? 0) + 1);
    const [most] = [...tally].toSorted(([, one], [, other]) => other - one);
    const some = t("map.circle", { n: inside.length });
    return most ? t("map.circle.named", { some, name: most[0] ?? t("no-name") }) : some;
  }
}

const apart = (one, other) => Math.hypot(one[0] - other[0], one[1] - other[1]);

// A picture without a name is a small square, junk an even smaller one.
function dot(context, [x, y], size, colour, isJunk) {
  const radius = isJunk ? size / 2 : size;
  context.fillStyle = colour;
  context.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
}

function marker(context, [x, y], size, index) {
  context.save();
  context.translate(x - size / 2, y - size / 2);
  context.scale(size / MARKER_SIZE, size / MARKER_SIZE);
  context.fillStyle = colourOf(index);
  context.fill(pathOf(index));
  context.restore();
}

function ring(context, [x, y], colours) {
  for (const [radius, colour] of [[4.6, colours.card], [3.2, colours.ink]]) {
    context.fillStyle = colour;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fill();
  }
}
