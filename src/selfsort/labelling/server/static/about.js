// What is known of a name beside itself: a description that everybody sees while naming, a note, a colour.

import { Refused, post } from "./api.js";
import { $, closable, complain } from "./dom.js";
import { colourOf } from "./markers.js";
import { t } from "./text.js";
import { quoted } from "./words.js";

// `current()` returns the name that the page shows, as the state lists it; `took(state)` is told of the new state.
export function offerAbout(current, took) {
  $("#about").addEventListener("click", () => open(current()));
  $("#about-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      took((await post("/api/about", written())).state);
      $("#describing").close();
    } catch (refusal) {
      if (!(refusal instanceof Refused)) throw refusal;
      complain($("#about-error"), refusal.message);
    }
  });
  $("#about-own").addEventListener("change", enable);
  closable($("#describing"));
}

function open({ name, colour, about }) {
  $("#about-title").textContent = t("about.title.of", { name: quoted(name) });
  $("#about-title").dataset.name = name;
  $("#about-description").value = about.description ?? "";
  $("#about-note").value = about.note ?? "";
  $("#about-own").checked = Boolean(about.colour);
  $("#about-colour").value = about.colour ?? colourOf(colour);
  complain($("#about-error"), null);
  enable();
  $("#describing").showModal();
}

function enable() {
  $("#about-colour").disabled = !$("#about-own").checked;
}

const written = () => ({
  name: $("#about-title").dataset.name,
  description: $("#about-description").value,
  note: $("#about-note").value,
  colour: $("#about-own").checked ? $("#about-colour").value : "",
});
