// Names that leave the page as files, and names that come in from a table.

import { Refused, post } from "./api.js";
import { $, announce, closable, complain, show } from "./dom.js";
import { tableOf } from "./folders.js";
import { t } from "./text.js";
import { quoted } from "./words.js";

export function offerExchange(app) {
  $("#export").addEventListener("click", open);
  $("#table").addEventListener("change", ({ target }) => take(app, target, ([file]) => file.text()));
  $("#class-folder").addEventListener("change", ({ target }) => take(app, target, (files) => tableOf(paths(files))));
  $("#to-review a").addEventListener("click", () => $("#exchange").close());
  closable($("#exchange"));
}

function open() {
  complain($("#import-error"), null);
  $("#imported").textContent = "";
  show($("#to-review"), false);
  $("#exchange").showModal();
}

const paths = (files) => files.map((file) => file.webkitRelativePath);

async function take(app, chooser, read) {
  const files = [...chooser.files];
  if (!files.length) return;
  complain($("#import-error"), null);
  $("#imported").textContent = t("reading");
  try {
    const { state, imported } = await post("/api/import", { table: await read(files) });
    app.take(state);
    $("#imported").textContent = inWords(imported);
    show($("#to-review"), imported.named + imported.already > 0);
    announce(inWords(imported));
  } catch (refusal) {
    if (!(refusal instanceof Refused)) throw refusal;
    $("#imported").textContent = "";
    complain($("#import-error"), refusal.message);
  } finally {
    chooser.value = ""; // the same file may be chosen again
  }
}

function inWords({ named, already, unknown, by_file_name: byName }) {
  const parts = [t("exchange.named", { n: named })];
  if (already) parts.push(t("exchange.already", { n: already }));
  if (byName) parts.push(t("exchange.by-file", { n: byName }));
  if (unknown.length) parts.push(t("exchange.unknown", { n: unknown.length, example: quoted(unknown[0]) }));
  if (named) parts.push(t("exchange.undo"));
  return parts.join(" ");
}
