// One picture large, with its neighbours a key away.

import { get } from "./api.js";
import { $, closable, element, original } from "./dom.js";
import { percent } from "./words.js";

const dialog = $("#enlarged");
const image = $("#enlarged-picture");
const toggle = $("#enlarged-toggle");
let pictures = [];
let place = 0;
let marking = null; // {isOn(picture), switch(picture), words: [off, on]}
let closed = () => {};

// `onClose(place)` is told which picture was looked at last.
export function enlarge(all, start, itsMarking, onClose = () => {}) {
  [pictures, place, marking, closed] = [all, start, itsMarking, onClose];
  turn(0);
  dialog.showModal();
}

function turn(step) {
  place = (place + step + pictures.length) % pictures.length;
  const picture = pictures[place];
  image.src = original(picture);
  $("#enlarged-title").textContent = `Picture ${picture}`;
  $("#enlarged-note").textContent = "\u00a0";
  describe(picture);
  label();
}

async function describe(picture) {
  const about = await get(`/api/images/${picture}`).catch(() => null);
  if (about === null || pictures[place] !== picture) return;
  const source = about.given ? "by an answer" : `by the model, ${percent(about.confidence)}`;
  const name = about.name === null ? "no name yet" : `${about.name}, ${source}`;
  $("#enlarged-title").textContent = about.id;
  $("#enlarged-note").textContent = `${place + 1} of ${pictures.length}: ${name}`;
  image.alt = `${about.id}, ${name}`;
}

function label() {
  const on = marking.isOn(pictures[place]);
  toggle.replaceChildren(marking.words[Number(on)], " ", element("kbd", {}, "Space"));
  toggle.setAttribute("aria-pressed", String(on));
  image.classList.toggle("out", on && marking.crosses);
}

function mark() {
  marking.switch(pictures[place]);
  label();
}

toggle.addEventListener("click", mark);
$("#previous").addEventListener("click", () => turn(-1));
$("#next").addEventListener("click", () => turn(1));
dialog.addEventListener("close", () => closed(place));
dialog.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
  const onButton = event.target.closest("button") && event.target !== toggle;
  if (event.key in steps) turn(steps[event.key]);
  else if (event.key === " " && !onButton) mark();
  else return;
  event.preventDefault();
});
closable(dialog);
