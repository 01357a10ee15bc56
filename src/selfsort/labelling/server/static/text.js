// The page's words, in the language that the person chose, else that of the browser. Each language is one catalogue,
// text/*.json, with the same keys; an entry with forms has one for each plural that the language knows.

export const LANGUAGES = { en: "English", de: "Deutsch", fr: "Français", es: "Español", zh: "中文" };
const KEPT = "selfsort-language";
const ATTRIBUTES = ["alt", "aria-label", "aria-roledescription", "placeholder", "title"];

// The first of the languages `wanted`, such as "de-AT", that there is; English where there is none.
export function languageOf(wanted) {
  return wanted.map((tag) => tag.split("-")[0].toLowerCase()).find((tag) => tag in LANGUAGES) ?? "en";
}

export const language = languageOf([kept(), ...navigator.languages]);
const catalogue = await (await fetch(new URL(`text/${language}.json`, import.meta.url))).json();
const plural = new Intl.PluralRules(language);
const numbers = new Intl.NumberFormat(language);

// A page that keeps nothing, as in a frame without storage, has a language all the same.
function kept() {
  try {
    return localStorage.getItem(KEPT) ?? "";
  } catch {
    return "";
  }
}

// The words of a key, with values in the places of their names. Numbers are written as the language does; `n` decides
// the plural.
export function t(key, values = {}) {
  const entry = catalogue[key];
  const words = typeof entry === "string" ? entry : (entry[plural.select(values.n)] ?? entry.other);
  return words.replaceAll(/\{(\w+)\}/g, (place, name) => (name in values ? written(values[name]) : place));
}

const written = (value) => (typeof value === "number" ? numbers.format(value) : value);

// Whether there are words for a key.
export const hasText = (key) => key in catalogue;

// Gives every element below `root` the words that it names; its children take their places in them.
export function translate(root) {
  document.documentElement.lang = language;
  for (const node of root.querySelectorAll("[data-text]")) node.replaceChildren(...parts(t(node.dataset.text), [...node.children]));
  for (const name of ATTRIBUTES) {
    for (const node of root.querySelectorAll(`[data-text-${name}]`)) node.setAttribute(name, t(node.getAttribute(`data-text-${name}`)));
  }
}

function parts(words, children) {
  const found = words.split(/\{(\d)\}/).map((part, place) => (place % 2 ? children[Number(part)] : part));
  const rest = children.filter((child) => !found.includes(child));
  return [...found, ...rest.flatMap((child) => [" ", child])];
}

// Lets the person choose a language, which is remembered; the page is loaded again in it.
export function offerLanguages(select) {
  const options = Object.entries(LANGUAGES).map(([tag, name]) => new Option(`${tag.toUpperCase()}\u2003${name}`, tag));
  for (const option of options) option.lang = option.value;
  select.replaceChildren(...options);
  select.value = language;
  select.addEventListener("change", () => {
    localStorage.setItem(KEPT, select.value);
    location.reload();
  });
}
