// How a picture lies on the stage on which it is shown large: {scale, x, y}, in pixels of the page for each of its own,
// and where its corner is. Picture and stage are {width, height}. No page is needed here.

import { clamp } from "./geometry.js";

const CLOSEST = 8; // times the whole picture, for one that is smaller than the stage
const ENOUGH = 4; // times its own pixels

const fit = (picture, stage) => Math.min(stage.width / picture.width, stage.height / picture.height);

export const whole = (picture, stage) => laid({ scale: 0, x: 0, y: 0 }, picture, stage);

export const isWhole = (view, picture, stage) => view.scale <= fit(picture, stage) * 1.001;

// Brings a picture to another scale, so that what is at a spot [x, y] of the stage stays there.
export function zoomed(view, scale, [x, y], picture, stage) {
  const now = within(scale, picture, stage);
  const ratio = now / view.scale;
  return laid({ scale: now, x: x - (x - view.x) * ratio, y: y - (y - view.y) * ratio }, picture, stage);
}

// Between the whole picture and its own pixels, of which each is one of the screen's; of a small picture, a part.
export function toggled(view, spot, picture, stage, density = 1) {
  if (!isWhole(view, picture, stage)) return whole(picture, stage);
  const own = 1 / density;
  return zoomed(view, own > 1.2 * view.scale ? own : 3 * view.scale, spot, picture, stage);
}

export const moved = (view, [x, y], picture, stage) =>
  laid({ ...view, x: view.x + x, y: view.y + y }, picture, stage);

const within = (scale, picture, stage) =>
  clamp(scale, fit(picture, stage), Math.max(CLOSEST * fit(picture, stage), ENOUGH));

// No edge comes away from the stage's; what is smaller than the stage is in its middle.
function laid({ scale, x, y }, picture, stage) {
  const now = within(scale, picture, stage);
  const along = (place, side) => {
    const rest = stage[side] - now * picture[side];
    return rest >= 0 ? rest / 2 : clamp(place, rest, 0);
  };
  return { scale: now, x: along(x, "width"), y: along(y, "height") };
}
