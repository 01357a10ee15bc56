// Colours of the report (reporting/figures.py), those of them that nobody takes for one another, and its markers. The
// marker changes with every name, too, so that colour is never the only difference; no two of 49 names share both.

const COLOURS = ["#3f90da", "#ffa90e", "#bd1f01", "#832db6", "#92dadd", "#717581", "#b9ac70"];
const SHAPES = [
  "M6 1a5 5 0 1 0 0 10a5 5 0 1 0 0-10z",
  "M1.5 1.5h9v9h-9z",
  "M6 1l5.2 9.6H.8z",
  "M6 .5L11.5 6 6 11.5.5 6z",
  "M6 11L.8 1.4h10.4z",
  "M4.2 1h3.6v3.2H11v3.6H7.8V11H4.2V7.8H1V4.2h3.2z",
  "M3.5 1L6 3.5 8.5 1 11 3.5 8.5 6 11 8.5 8.5 11 6 8.5 3.5 11 1 8.5 3.5 6 1 3.5z",
];
const PATHS = SHAPES.map((shape) => new Path2D(shape));
const SVG = "http://www.w3.org/2000/svg";

const own = new Map(); // colours that people chose, by the number of the name

// Takes over the colours chosen for names, as the state lists them.
export function putColours(names) {
  own.clear();
  for (const { colour, about } of names) if (about.colour) own.set(colour, about.colour);
}

const shapeOf = (index) => (index + Math.floor(index / COLOURS.length)) % SHAPES.length;
export const colourOf = (index) => own.get(index) ?? COLOURS[index % COLOURS.length];
export const looksOf = (index) => [colourOf(index), SHAPES[shapeOf(index)]];
export const pathOf = (index) => PATHS[shapeOf(index)];
export const MARKER_SIZE = 12; // the side of the square that the paths fill

export function markerSvg(index) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  svg.setAttribute("class", "marker");
  svg.setAttribute("viewBox", `0 0 ${MARKER_SIZE} ${MARKER_SIZE}`);
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", SHAPES[shapeOf(index)]);
  path.setAttribute("fill", colourOf(index));
  svg.append(path);
  return svg;
}
