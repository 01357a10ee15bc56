// A new name that is nearly one given before: which one is meant?

import { $, show } from "./dom.js";
import { nearName } from "./matching.js";
import { t } from "./text.js";
import { meant, quoted } from "./words.js";

const dialog = $("#similar");
const settled = new Set(); // pairs that a person keeps apart

// Asks where a new name is near one of the names given, unless it `isMeant`. Resolves to the name that is meant, null
// when neither is.
export async function settleNear(typed, names, isMeant = false) {
  if (isMeant || meant(typed) !== typed) return meant(typed);
  const near = names.includes(typed) ? null : nearName(names, typed);
  if (near === null || settled.has(`${typed}\n${near}`)) return typed;
  const chosen = await choose(typed, near, t("similar.near", { name: quoted(typed) }), true);
  if (chosen?.distinct) settled.add(`${typed}\n${near}`);
  return chosen && chosen.name;
}

// Asks about two names that differ in case or spaces only. Resolves to {name, distinct}, or to null when the person
// wants neither.
export function chooseSimilar(typed, existing, mayKeepBoth = true) {
  return choose(typed, existing, t("similar.case", { name: quoted(typed) }), mayKeepBoth);
}

function choose(typed, existing, sentence, mayKeepBoth) {
  $("#similar-title").textContent = t("similar.exists", { name: quoted(existing) });
  $("#similar-typed").textContent = sentence;
  $("#use-similar").textContent = t("similar.use", { name: quoted(existing) });
  show($("#keep-both"), mayKeepBoth);
  dialog.returnValue = "";
  dialog.showModal();
  const choices = { use: { name: existing, distinct: false }, both: { name: typed, distinct: true } };
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(choices[dialog.returnValue] ?? null), { once: true });
  });
}
