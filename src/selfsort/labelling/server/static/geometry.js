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

export const clamp = (value, least, most) => Math.min(most, Math.max(least, value));
