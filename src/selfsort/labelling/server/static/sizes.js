// How large pictures are shown: as large as lets all rows be seen at once, times what the person chose.

import { $, byTouch, hasPhotographs } from "./dom.js";
import { fittingSide } from "./geometry.js";

const KEPT = "selfsort-size";
const GAP = 6;
const HEADING = 24; // px of a row that its heading takes
const LEAST = 64;
const LEAST_BELOW_HINT = 40; // until the hint for the first use is closed, rather than a row that is cut; not for fingers
const sliders = document.querySelectorAll(".size");

export const chosenSize = () => Number(localStorage.getItem(KEPT)) || 1;

// The side of a picture in Ask, where `rows` of up to `each` are shown.
export function askSide(rows, each) {
  const room = $("#rows").getBoundingClientRect();
  const height = innerHeight - (room.top + scrollY) - 16 - rows * HEADING;
  const largest = hasPhotographs() ? 512 : 160;
  const least = $("#first-use").hidden || byTouch() ? LEAST : LEAST_BELOW_HINT;
  const fitting = Math.min(largest, fittingSide({ width: room.width, height }, rows, each, GAP, least));
  return Math.min(room.width, Math.round(fitting * chosenSize()));
}

// `changed()` is called when the person, or the window, has changed what fits.
export function followSize(changed) {
  for (const slider of sliders) {
    slider.value = chosenSize();
    slider.addEventListener("input", () => {
      localStorage.setItem(KEPT, slider.value);
      for (const other of sliders) other.value = slider.value;
      changed();
    });
  }
  addEventListener("resize", changed);
}
