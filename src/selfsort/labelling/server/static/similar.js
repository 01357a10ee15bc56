// Two names that differ in case or spaces only: which one is meant?

import { $, show } from "./dom.js";

const dialog = $("#similar");

// Resolves to {name, distinct}, or to null when the person wants neither.
export function chooseSimilar(typed, existing, mayKeepBoth = true) {
  $("#similar-title").textContent = `There is the name “${existing}” already`;
  $("#similar-typed").textContent = `“${typed}” differs from it in case or spaces only.`;
  $("#use-similar").textContent = `Use “${existing}”`;
  show($("#keep-both"), mayKeepBoth);
  dialog.returnValue = "";
  dialog.showModal();
  const choices = { use: { name: existing, distinct: false }, both: { name: typed, distinct: true } };
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(choices[dialog.returnValue] ?? null), { once: true });
  });
}
