// Small helpers: elements, and what a screen reader is told. Names are the user's text: they only ever become
// text nodes.

export const $ = (selector) => document.querySelector(selector);

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function show(node, visible) {
  node.hidden = !visible;
}

export function fill(bar, share, text) {
  const part = Math.max(0, Math.min(1, share || 0));
  bar.firstElementChild.style.transform = `scaleX(${part})`;
  bar.setAttribute("aria-valuemax", "100");
  bar.setAttribute("aria-valuenow", String(Math.round(100 * part)));
  bar.setAttribute("aria-valuetext", text);
}

export function announce(text) {
  const live = $("#live");
  // A sentence said twice is read twice only if the text changes.
  live.textContent = live.textContent === text ? `${text}\u00a0` : text;
}

export function complain(node, text) {
  node.textContent = text ?? "";
  show(node, Boolean(text));
}

export const hasKeyboard = !matchMedia("(hover: none) and (pointer: coarse)").matches;

// A finger that taps a button should not bring up the keyboard of the screen.
let touching = !hasKeyboard;
addEventListener("pointerdown", (event) => (touching = event.pointerType === "touch"), true);
addEventListener("keydown", () => (touching = false), true);
export const byTouch = () => touching;

export function closable(dialog) {
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}

// A picture much smaller than it is shown keeps its pixels apart.
const SMALL = 128;
export function crisp(image) {
  const isSmall = Math.max(image.naturalWidth, image.naturalHeight) <= SMALL;
  image.classList.toggle("pixels", isSmall);
  if (!isSmall) document.body.classList.add("photographs");
}

// Photographs are shown larger where there is a choice.
export const hasPhotographs = () => document.body.classList.contains("photographs");

export const thumbnail = (picture) => `/api/images/${picture}/thumbnail`;
export const original = (picture) => `/api/images/${picture}/original`;
