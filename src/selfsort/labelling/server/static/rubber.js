// What a mouse that is pressed on pictures draws: a rectangle takes all that it touches, and over a name in the list the
// picture itself is carried there.

import { element } from "./dom.js";
import { touches } from "./geometry.js";
import { t } from "./text.js";
import { quoted } from "./words.js";

const STILL = 6; // px that a click may move
const stop = (click) => click.stopPropagation();

// Of the elements of `selector` in a container, `onTaken(cells)` is called with those over which a rectangle was drawn,
// `onDropped(cell, name)` with the one that was carried to a name; `held(cell)` returns how many pictures go with it.
export function rubberBand(container, selector, { onTaken, onDropped, held }) {
  let from = null; // where the mouse was pressed, and on what: [x, y, cell]
  let drawn = null; // the rectangle, or what is carried
  let told = null; // the name that is told beside what is carried: the list may move under it before it is dropped
  container.addEventListener("pointerdown", (event) => {
    const isMouse = event.pointerType === "mouse" && event.button === 0;
    if (isMouse) from = [event.clientX, event.clientY, event.target.closest(selector)];
  });
  addEventListener("pointermove", (event) => {
    if (!from || (!drawn && Math.hypot(event.clientX - from[0], event.clientY - from[1]) < STILL)) return;
    drawn?.remove();
    const row = nameUnder(event, from[2]);
    mark(row);
    told = row ? row.dataset.name : null;
    drawn = row ? carried(event, held(from[2]), told) : rectangle(boxOf(from, event));
    document.body.append(drawn);
  });
  addEventListener("pointerup", (event) => {
    const [start, was, name] = [from, drawn, told];
    [from, drawn, told] = [null, null, null];
    was?.remove();
    mark(null);
    if (!was) return;
    // The click that ends it is none.
    addEventListener("click", stop, true);
    setTimeout(() => removeEventListener("click", stop, true), 0);
    if (name !== null) return onDropped(start[2], name);
    const box = boxOf(start, event);
    onTaken([...container.querySelectorAll(selector)].filter((cell) => touches(box, cell.getBoundingClientRect())));
  });
}

// The row of the list of names that a picture would be dropped on.
function nameUnder({ clientX, clientY }, cell) {
  return cell && document.elementFromPoint(clientX, clientY)?.closest("#legend [data-name]");
}

function mark(row) {
  for (const other of document.querySelectorAll("#legend .target")) other.classList.toggle("target", other === row);
  row?.classList.add("target");
}

function rectangle({ left, right, top, bottom }) {
  const drawn = element("div", { className: "rubber" });
  Object.assign(drawn.style, { left: `${left}px`, top: `${top}px`, width: `${right - left}px`, height: `${bottom - top}px` });
  return drawn;
}

function carried({ clientX, clientY }, n, name) {
  const drawn = element("p", { className: "carried" }, t("drag.drop", { n, name: quoted(name) }));
  Object.assign(drawn.style, { right: `${innerWidth - clientX + 8}px`, top: `${clientY + 8}px` });
  return drawn;
}

function boxOf([x, y], { clientX, clientY }) {
  return { left: Math.min(x, clientX), right: Math.max(x, clientX), top: Math.min(y, clientY), bottom: Math.max(y, clientY) };
}
