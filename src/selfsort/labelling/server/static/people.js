// Who answered what, how fast, how far people agree, and what this person is called.

import { Refused, client, get, post } from "./api.js";
import { $, closable, complain, element, show } from "./dom.js";
import { t } from "./text.js";
import { count, decimal, duration, percent } from "./words.js";

export function offerPeople() {
  $("#people-open").addEventListener("click", open);
  $("#person-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    complain($("#person-error"), null);
    try {
      put(await post("/api/people", { name: $("#person").value }));
    } catch (refusal) {
      if (!(refusal instanceof Refused)) throw refusal;
      complain($("#person-error"), refusal.message);
    }
  });
  $("#to-second").addEventListener("click", () => $("#people").close());
  closable($("#people"));
}

async function open() {
  complain($("#person-error"), null);
  put(await get(`/api/people?client=${client}`));
  $("#people").showModal();
}

function put({ people, agreement, waiting }) {
  $("#person").value = people.find(({ me }) => me).name;
  $("#people-rows").replaceChildren(...people.map(row));
  const called = new Map(people.map((each) => [each.number, nameOf(each)]));
  $("#agreement").replaceChildren(...agreement.map((pair) => element("li", {}, inWords(pair, called))));
  show($("#agreement-none"), agreement.length === 0);
  show($("#to-second"), waiting > 0);
  $("#to-second").textContent = t("people.second", { n: waiting });
}

const cell = (text) => element("td", { className: "number" }, text);

// Who has not said it has a number.
const nameOf = ({ name, number }) => name || t("people.number", { number });

function row(person) {
  const { me, answers, pictures: named, seconds, left } = person;
  const name = me ? t("people.you", { name: nameOf(person) }) : nameOf(person);
  const pace = seconds === null ? "–" : t("people.seconds", { seconds: decimal(seconds, 1) });
  const rest = left ? duration(left) : t("people.done");
  const cells = [count(answers), count(named), pace, left === null ? "–" : rest].map(cell);
  return element("tr", {}, element("th", { scope: "row" }, name), ...cells);
}

function inWords({ one, other, groups: n, same, kappa }, called) {
  const values = { one: called.get(one), other: called.get(other), n, same, share: percent(same / n) };
  return kappa === null ? t("people.same", values) : t("people.same.kappa", { ...values, kappa: decimal(kappa, 2) });
}
