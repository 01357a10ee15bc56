// Points and lines in the plane, as pairs [x, y]. No page is needed here.

export function length(line) {
  return line.slice(1).reduce((sum, [x, y], k) => sum + Math.hypot(x - line[k][0], y - line[k][1]), 0);
}

// Whether a point is inside a closed line: a ray from it crosses the line an odd number of times.
export function contains(line, [x, y]) {
  let inside = false;
  for (let k = 0, last = line.length - 1; k < line.length; last = k++) {
    const [[ax, ay], [bx, by]] = [line[k], line[last]];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}

// The point nearest to the median along both axes: strays do not move it, and a name in two groups is written in one.
export function middle(points) {
  const half = Math.floor(points.length / 2);
  const [x, y] = [0, 1].map((axis) => points.map((point) => point[axis]).toSorted((one, other) => one - other)[half]);
  const away = (point) => Math.hypot(point[0] - x, point[1] - y);
  return points.reduce((best, point) => (away(point) < away(best) ? point : best));
}

// Of points [picture, x, y, count], each of which stands for so many pictures, those around their middle that stand for
// `most` at most, but one at least.
export function inTheMiddle(points, most) {
  if (!points.length) return [];
  const [x, y] = middle(points.map((point) => point.slice(1, 3)));
  const away = (point) => Math.hypot(point[1] - x, point[2] - y);
  let sum = 0;
  const nearest = points.toSorted((one, other) => away(one) - away(other));
  return nearest.filter(([, , , count], place) => (sum += count) <= most || place === 0);
}

// Whether two boxes {left, right, top, bottom} have a point in common.
export const touches = (one, other) =>
  one.left <= other.right && one.right >= other.left && one.top <= other.bottom && one.bottom >= other.top;

// The side of the largest squares of which `rows` of `each` fit into a room {width, height} without the last being cut:
// in as few lines a row as that needs, but of `least` at least, where one has to scroll.
export function fittingSide({ width, height }, rows, each, gap, least) {
  const sides = [...Array(each)].map((_, k) => {
    const columns = k + 1;
    const lines = rows * Math.ceil(each / columns);
    return Math.min((width - gap * (columns - 1)) / columns, (height - gap * (lines - rows)) / lines);
  });
  return Math.floor(Math.max(Math.min(least, width), ...sides));
}

export const clamp = (value, least, most) => Math.min(most, Math.max(least, value));
