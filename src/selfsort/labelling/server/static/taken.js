// When, where and with what pictures were taken, to filter the names by, and to ask about those without an answer.

import { get } from "./api.js";
import { $, element, show } from "./dom.js";
import { t } from "./text.js";

let known = 0; // facts listed so far

// Lists what is known by now; the metadata of many pictures take a while to read.
export async function listTaken() {
  const { facts } = await get("/api/facts");
  const groups = Object.entries(facts).map(([fact, counts]) => [fact, Object.entries(counts)]);
  const found = groups.reduce((sum, [, counts]) => sum + counts.length, 0);
  show($("#taken-label"), found > 0);
  if (found === known) return;
  known = found;
  const chosen = $("#taken").value;
  $("#taken").replaceChildren($("#taken").firstElementChild, ...groups.filter(([, counts]) => counts.length).map(optionsOf));
  $("#taken").value = chosen;
}

function optionsOf([fact, counts]) {
  const options = counts.map(([value, count]) =>
    element("option", { value: JSON.stringify({ fact, value }) }, t("names.taken.value", { value, n: count })),
  );
  return element("optgroup", { label: t(`names.taken.${fact}`) }, ...options);
}

// The day, place or camera that is chosen, {fact, value}; nothing, {}, when none is.
export const takenChosen = () => JSON.parse($("#taken").value || "{}");
