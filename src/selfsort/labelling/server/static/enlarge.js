// One picture large, with its neighbours a key away. What is said and done is always about the picture that is seen:
// until the next one is there, nothing is.

import { get } from "./api.js";
import { $, closable, element, original, show, thumbnail } from "./dom.js";
import { putOnStage, zoomKey } from "./stage.js";
import { t } from "./text.js";
import { called, sources } from "./words.js";

const dialog = $("#enlarged");
const toggle = $("#enlarged-toggle");
const AHEAD = [1, -1, 2]; // neighbours fetched while one looks
const KEPT = 8;
const loaded = new Map(); // source: its image element
let pictures = [];
let place = 0;
let shown = null; // the picture that is seen, once one is
let marking = null; // {isOn(picture), switch(picture), words: [off, on]}, or {blind}: nothing to mark, no opinion shown
let closed = () => {};

// `onClose(place)` is told which picture was looked at last.
export function enlarge(all, start, itsMarking, onClose = () => {}) {
  [pictures, place, marking, closed] = [all, start, itsMarking, onClose];
  dialog.showModal();
  turn(0);
}

function turn(step) {
  place = (place + step + pictures.length) % pictures.length;
  const picture = pictures[place];
  shown = null;
  const image = load(picture, original(picture));
  if (image.dataset.loaded) put(picture, image);
  else wait(picture, image);
  for (const ahead of AHEAD) {
    const neighbour = pictures[(place + ahead + pictures.length) % pictures.length];
    load(neighbour, original(neighbour));
  }
}

const where = () => ({ place: place + 1, n: pictures.length });

// A picture is seen small, and blurred, until its original is there.
async function wait(picture, image) {
  putOnStage(null);
  $("#enlarged-title").textContent = "\u00a0";
  $("#enlarged-note").textContent = t("enlarged.loading", where());
  label();
  const arriving = [load(picture, thumbnail(picture)), image].map((each) => arrival(picture, each));
  const arrived = await Promise.all(arriving);
  if (pictures[place] === picture && !arrived.some(Boolean)) {
    $("#enlarged-note").textContent = t("enlarged.failed", where());
  }
}

async function arrival(picture, image) {
  try {
    await image.decode();
  } catch {
    loaded.delete(image.src);
    return false;
  }
  if (dialog.open && pictures[place] === picture && !isOriginal(picture)) put(picture, image);
  return true;
}

const isOriginal = (picture) => shown === picture && loaded.get(original(picture))?.isConnected;

// Loads an image, unless it is there already; the latest are kept.
function load(picture, source) {
  const image = loaded.get(source) ?? element("img", { src: source, alt: "" });
  if (!loaded.has(source)) {
    image.dataset.picture = picture;
    image.decode().then(() => (image.dataset.loaded = "yes"), () => loaded.delete(source));
  }
  loaded.delete(source);
  loaded.set(source, image);
  for (const old of loaded.keys()) if (loaded.size > KEPT) loaded.delete(old);
  return image;
}

function put(picture, image) {
  putOnStage(image);
  if (shown === picture) return;
  shown = picture;
  $("#enlarged-title").textContent = t("enlarged.picture", { index: picture });
  $("#enlarged-note").textContent = t("enlarged.place", where());
  label();
  describe(picture);
}

async function describe(picture) {
  const about = await get(`/api/images/${picture}`).catch(() => null);
  if (about === null || shown !== picture) return;
  if (marking.blind) {
    $("#enlarged-title").textContent = about.id;
    return;
  }
  const name = about.name === null ? t("enlarged.unnamed") : t("enlarged.named", { name: called(about.name), why: sources(about.said, about.model)[0] });
  $("#enlarged-title").textContent = about.id;
  $("#enlarged-note").textContent = t("enlarged.about", { ...where(), name });
  for (const image of $("#stage").children) image.alt = t("list.comma", { one: about.id, other: name });
}

function label() {
  show(toggle, !marking.blind);
  if (marking.blind) return;
  const isSeen = shown !== null;
  const on = marking.isOn(pictures[place]);
  toggle.replaceChildren(marking.words[Number(on)], " ", element("kbd", {}, t("key.space")));
  toggle.setAttribute("aria-pressed", String(on));
  toggle.setAttribute("aria-disabled", String(!isSeen)); // not disabled, which would take the focus from it
  $("#stage").classList.toggle("out", on && marking.crosses && isSeen);
}

function mark() {
  if (shown === null || marking.blind) return;
  marking.switch(shown);
  label();
}

toggle.addEventListener("click", mark);
$("#previous").addEventListener("click", () => turn(-1));
$("#next").addEventListener("click", () => turn(1));
dialog.addEventListener("close", () => {
  putOnStage(null);
  closed(place);
});
dialog.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
  const onButton = event.target.closest("button") && event.target !== toggle;
  if (event.key in steps) turn(steps[event.key]);
  else if (event.key === " " && !onButton) mark();
  else if (event.ctrlKey || event.metaKey || !zoomKey(event.key)) return;
  event.preventDefault();
});
closable(dialog);
