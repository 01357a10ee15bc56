// The stage on which one picture is shown large: the wheel, two fingers and + and − zoom, a click shows the picture's own
// pixels, and a drag moves it.

import { $, crisp } from "./dom.js";
import { isWhole, moved, toggled, whole, zoomed } from "./zoom.js";

const stage = $("#stage");
const STEP = 1.25;
const STILL = 5; // px that a click may move
let image = null;
let view = null;
let dragged = 0;
const fingers = new Map(); // pointer: where it is

// Puts an image element that is loaded on the stage, or null for none.
export function putOnStage(loaded) {
  const before = image;
  image = loaded;
  stage.replaceChildren(...(image ? [image] : []));
  if (!image) return;
  image.id = "enlarged-picture";
  image.draggable = false;
  crisp(image);
  // The original of what was shown small meanwhile.
  const same = before?.dataset.picture === image.dataset.picture && view;
  const scale = same && (view.scale * before.naturalWidth) / image.naturalWidth;
  view = same ? moved({ ...view, scale }, [0, 0], sizeOf(image), size()) : whole(sizeOf(image), size());
  lay();
}

const size = () => ({ width: stage.clientWidth, height: stage.clientHeight });
const sizeOf = (picture) => ({ width: picture.naturalWidth, height: picture.naturalHeight });

function lay() {
  image.style.width = `${image.naturalWidth * view.scale}px`;
  image.style.height = `${image.naturalHeight * view.scale}px`;
  image.style.transform = `translate(${view.x}px, ${view.y}px)`;
  stage.classList.toggle("zoomed", !isWhole(view, sizeOf(image), size()));
}

function change(next) {
  if (!image || !size().width) return;
  view = next(sizeOf(image), size());
  lay();
}

const zoomBy = (factor, spot) => change((picture, room) => zoomed(view, view.scale * factor, spot, picture, room));

function spotOf(event) {
  const box = stage.getBoundingClientRect();
  return [event.clientX - box.left - stage.clientLeft, event.clientY - box.top - stage.clientTop];
}

// Returns whether it was a key that zooms.
export function zoomKey(key) {
  const factor = { "+": STEP, "=": STEP, "-": 1 / STEP }[key];
  const middle = [stage.clientWidth / 2, stage.clientHeight / 2];
  if (factor) zoomBy(factor, middle);
  else if (key === "0") change(whole);
  else return false;
  return true;
}

function drag(event) {
  const before = fingers.get(event.pointerId);
  if (!before) return;
  const spot = spotOf(event);
  const other = [...fingers].find(([pointer]) => pointer !== event.pointerId)?.[1];
  fingers.set(event.pointerId, spot);
  dragged += Math.hypot(spot[0] - before[0], spot[1] - before[1]);
  if (other) zoomBy(apart(spot, other) / Math.max(1, apart(before, other)), other);
  else change((picture, room) => moved(view, [spot[0] - before[0], spot[1] - before[1]], picture, room));
}

const apart = (one, other) => Math.hypot(one[0] - other[0], one[1] - other[1]);

stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoomBy(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), spotOf(event));
}, { passive: false });
stage.addEventListener("pointerdown", (event) => {
  if (!fingers.size) dragged = 0;
  fingers.set(event.pointerId, spotOf(event));
  stage.setPointerCapture(event.pointerId);
});
stage.addEventListener("pointermove", drag);
for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, ({ pointerId }) => fingers.delete(pointerId));
stage.addEventListener("click", (event) => {
  if (dragged < STILL) change((picture, room) => toggled(view, spotOf(event), picture, room, devicePixelRatio || 1));
});
// What is zoomed stays so when a title or a note beside the stage takes more room.
const fitted = (picture, room) => stage.classList.contains("zoomed") ? moved(view, [0, 0], picture, room) : whole(picture, room);
new ResizeObserver(() => change(fitted)).observe(stage);
