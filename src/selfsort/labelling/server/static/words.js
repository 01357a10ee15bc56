// Numbers, names and times as people read them. No page is needed here.

import { isSame } from "./matching.js";
import { language, t } from "./text.js";

const whole = new Intl.NumberFormat(language);
export const count = (number) => whole.format(number);
export const decimal = (number, digits) => number.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
export const pictures = (number) => t("pictures", { n: number });
// What was thrown away has no name of its own.
const JUNK = "junk";
export const called = (name) => (name === JUNK ? t("junk") : name);
// What somebody means who types a name: the word for what is thrown away, in any of the page's languages, is none.
const JUNK_WORDS = [JUNK, "Ausschuss", "rebut", "descarte", "废片"]; // as in selfsort.spelling
export const isJunk = (typed) => JUNK_WORDS.some((word) => isSame(word, typed));
export const meant = (typed) => (isJunk(typed) ? JUNK : typed);
export const quoted = (name) => t("quoted", { name: called(name) });
export const listed = (words) => words.reduce((one, other) => t("list.comma", { one, other }));

// Never rounded to nothing or to all, as in the report.
export function percent(share, digits = 0) {
  const least = 10 ** (-digits - 2);
  const written = (part) => decimal(100 * part, digits);
  if (share > 0 && share < least / 2) return t("percent.below", { n: written(least) });
  if (share < 1 && share > 1 - least / 2) return t("percent.above", { n: written(1 - least) });
  return t("percent", { n: written(share) });
}

// A bound that is not to be promised too tightly: rounded "down" or "up" to a tenth.
export function bound(share, way) {
  const tenths = Number((1000 * share).toFixed(9));
  return t("percent", { n: decimal((way === "down" ? Math.floor(tenths) : Math.ceil(tenths)) / 10, 1) });
}

export function interval({ low, high }) {
  const [from, to] = [percent(low), percent(high)];
  if (from === to) return to;
  return t("range", { low: from.replace(/[\s\u00a0\u202f]*%/, ""), high: to });
}

// Who says what a picture is: at length, in short, and whether a person and the model say different names.
export function sources(said, model) {
  const disputed = said !== null && model !== null && said.name !== model.name;
  const person = said && t(said.single ? "said.single" : "said.group", { ...said, name: called(said.name) });
  const machine = model && t("said.model", { name: called(model.name), share: percent(model.probability) });
  const share = model && percent(model.probability);
  const inShort = [said && `${said.sure}/5`, model && (said ? share : t("said.model.short", { share }))];
  const short = disputed ? t("said.disputed.short", { name: called(said.name), other: called(model.name) }) : inShort.filter(Boolean).join(" · ");
  const long = said && model ? t("said.both", { person, model: machine }) : (person ?? machine ?? "");
  return [long, short, disputed];
}

// A time to wait, never more exact than it is known.
export function duration(seconds) {
  if (seconds >= 90) return t("duration.minutes", { n: Math.round(seconds / 60) });
  return seconds < 10 ? t("duration.few") : t("duration.seconds", { n: 5 * Math.round(seconds / 5) });
}
