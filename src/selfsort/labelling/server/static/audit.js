// The page of an audit, where a server saves what a person decides: every picture enlarges, and a click keeps it or
// leaves it out.

import { $, closable, crisp, element, show } from "./dom.js";

const figures = [...document.querySelectorAll("[data-picture]")];
const order = [...new Set(figures.map((figure) => Number(figure.dataset.picture)))]; // as they first stand on the page
const leftOut = new Set();
const dialog = element("dialog", { id: "large", "aria-labelledby": "large-title" });
const trouble = element("p", { className: "warning", id: "trouble", role: "alert", hidden: true });
let seen = 0; // the place in the order of the one that is large

const firstOf = (picture) => figures.find((figure) => Number(figure.dataset.picture) === picture);
const nameOf = (picture) => firstOf(picture).querySelector("img").title;

async function request(path, options = {}) {
  const answer = await fetch(path, options).catch(() => null);
  if (answer === null) throw new Error("the server is gone; start selfsort review again.");
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(body?.detail ?? `the server answered ${answer.status}.`);
  return body;
}

function take(state) {
  leftOut.clear();
  for (const picture of state.left_out) leftOut.add(picture);
  $("#n-kept").textContent = state.kept.toLocaleString("en");
  $("#n-left-out").textContent = state.left_out.length.toLocaleString("en");
  for (const figure of figures) mark(figure, Number(figure.dataset.picture));
  if (dialog.open) mark(dialog, order[seen]);
}

function mark(place, picture) {
  const out = leftOut.has(picture);
  place.classList.toggle("out", out);
  for (const state of place.querySelectorAll(".state")) show(state, out);
  for (const button of place.querySelectorAll(".choice")) {
    button.firstChild.data = out ? "Keep" : "Leave out";
  }
}

// One change after the other, so that what is shown in the end is what was saved last.
let saving = Promise.resolve();
function choose(picture) {
  saving = saving.then(() => save(picture));
}

async function save(picture) {
  const body = JSON.stringify({ picture, kept: leftOut.has(picture) });
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body };
  try {
    take(await request("/api/choices", options));
    show(trouble, false);
  } catch (error) {
    trouble.textContent = `Not saved: ${error.message}`;
    show(trouble, true);
    (dialog.open ? dialog : $(".masthead")).append(trouble);
  }
}

function choice(picture) {
  const button = command("Leave out", () => choose(picture), { className: "choice" });
  button.append(element("span", { className: "unseen" }, ` ${nameOf(picture)}`));
  return button;
}

const state = () => element("p", { className: "state", hidden: true }, "✕ left out");

// What was a picture becomes a button that shows it large.
function prepare(figure) {
  const picture = Number(figure.dataset.picture);
  const frame = figure.querySelector(".frame, .two-up");
  const button = command("", () => enlarge(picture), { className: `${frame.className} enlarge` });
  button.append(...frame.childNodes);
  frame.replaceWith(button);
  figure.append(state(), choice(picture));
}

function enlarge(picture) {
  seen = order.indexOf(picture);
  if (!dialog.open) dialog.showModal();
  const image = element("img", { src: `/api/images/${picture}/original`, alt: nameOf(picture) });
  // What cannot be shown large is shown as on the page.
  image.addEventListener("error", () => (image.src = firstOf(picture).querySelector("img").src), { once: true });
  image.addEventListener("load", () => crisp(image));
  image.addEventListener("click", () => $("#large-stage").classList.toggle("own-size"));
  $("#large-stage").classList.remove("own-size");
  $("#large-stage").replaceChildren(image);
  $("#large-title").textContent = nameOf(picture);
  $("#large-note").textContent = `${seen + 1} of ${order.length}`;
  mark(dialog, picture);
}

const turn = (step) => enlarge(order[(seen + step + order.length) % order.length]);

function command(text, action, more = {}) {
  const button = element("button", { type: "button", ...more }, text);
  button.addEventListener("click", action);
  return button;
}

function build() {
  const toggle = command("Leave out", () => choose(order[seen]), { className: "choice", autofocus: true });
  toggle.append(" ", element("kbd", {}, "Space"));
  const title = element("h2", { id: "large-title" });
  const header = element("header", {}, title, element("button", { type: "button", "data-close": "" }, "Close"));
  const buttons = element("div", {}, command("← Previous", () => turn(-1)), command("Next →", () => turn(1)), toggle);
  const footer = element("footer", {}, element("p", { id: "large-note" }), state(), buttons);
  dialog.append(header, element("div", { id: "large-stage" }), footer);
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step === undefined) return;
    turn(step);
    event.preventDefault();
  });
  document.body.append(dialog);
  closable(dialog);
}

build();
for (const figure of figures) prepare(figure);
$("#how-to-choose").textContent =
  "Click a picture to see it large; keep it or leave it out by the button below it. That is saved in pictures.csv at once.";
$(".foot p").textContent = "The server of this page ends with Ctrl-C in its terminal.";
take(await request("/api/choices"));
document.body.dataset.ready = "yes";
