// What was done so far: the list, and what Undo and Redo are about now.

import { client, get } from "./api.js";
import { actInWords } from "./acts.js";
import { $, closable, element, show } from "./dom.js";
import { language, t } from "./text.js";
import { listed } from "./words.js";

const dialog = $("#history");
const commandButtons = (command) => document.querySelectorAll(`[data-command=${command}]:not(#check-view *)`);
let seen = null;

// Fetches the list again when something has changed since.
export async function followHistory(generation) {
  if (seen === generation) return;
  seen = generation;
  const { acts, undo, redo } = await get(`/api/history?client=${client}`).catch(() => ({ acts: [], undo: null, redo: null }));
  offer("undo", acts.find((act) => act.seq === undo));
  offer("redo", acts.find((act) => act.seq === redo));
  $("#acts").replaceChildren(...acts.map(row));
  show($("#no-acts"), acts.length === 0);
}

function offer(command, act) {
  for (const button of commandButtons(command)) {
    button.disabled = !act;
    button.title = act ? t(`history.${command}`, { act: actInWords(act) }) : "";
  }
}

function row(act) {
  const words = element(act.taken_back ? "s" : "span", {}, actInWords(act));
  const notes = [act.mine ? "" : t("someone"), act.taken_back ? t("history.taken-back") : ""].filter(Boolean);
  const time = element("time", { dateTime: act.at }, new Date(act.at).toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit" }));
  return element("li", {}, time, words, element("small", {}, notes.length ? listed(notes) : ""));
}

export function openHistory() {
  if (!dialog.open) dialog.showModal();
}

closable(dialog);
