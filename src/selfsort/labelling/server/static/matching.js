// Which of the names given a person may be typing. No page is needed here.

const plain = (text) => text.normalize("NFD").replace(/\p{Diacritic}/gu, "").toLowerCase();

// Returns those of `entries`, [{name, …}] with the most used first, that what is typed may become: first the names that
// begin with it, then those with a word that does, then those that hold it. Accents and case do not matter.
export function matches(entries, typed) {
  return ranked(entries, typed).map(({ entry }) => entry);
}

// Returns the only entry that is meant where what is typed is the beginning of one name, or of a word of one; else null.
export function onlyMatch(entries, typed) {
  if (!typed.trim() || entries.some(({ name }) => name === typed.trim())) return null;
  const found = ranked(entries, typed);
  const best = found.filter(({ place }) => place === found[0].place);
  return best.length === 1 && best[0].place < 2 ? best[0].entry : null;
}

function ranked(entries, typed) {
  const wanted = plain(typed.trim());
  const all = entries.map((entry) => ({ entry, place: rank(plain(entry.name), wanted) }));
  return all.filter(({ place }) => place < 3).toSorted((one, other) => one.place - other.place);
}

function rank(name, wanted) {
  if (name.startsWith(wanted)) return 0;
  if (name.includes(` ${wanted}`) || name.includes(`/${wanted}`)) return 1;
  // One letter in the middle of a word says little.
  return wanted.length > 1 && name.includes(wanted) ? 2 : 3;
}

// Returns whether two words differ in case, accents and outer spaces at most.
export const isSame = (one, other) => plain(one.trim()) === plain(other.trim());

// Returns the name given that a new one is probably a misspelling or another form of; null where there is none.
export function nearName(names, typed) {
  const wanted = plain(typed.trim());
  const others = names.filter((name) => name !== typed.trim()).map((name) => ({ name, away: away(plain(name), wanted) }));
  const near = others.filter(({ name, away: far }) => far <= slips(Math.min(name.length, wanted.length)));
  return near.toSorted((one, other) => one.away - other.away)[0]?.name ?? null;
}

// How many slips of the finger are likely in a word of so many letters: of "cat" and "car", "hen" and "ten" none.
const slips = (length) => (length < 4 ? 0 : length < 9 ? 1 : 2);

function away(one, other) {
  if (Math.abs(one.length - other.length) > 2) return Infinity;
  // "type 1" and "type 2" are two names that somebody means.
  if (one.replace(/\D/g, "") !== other.replace(/\D/g, "")) return Infinity;
  if (`${one}s` === other || `${other}s` === one) return 0;
  return edits(one, other);
}

// The number of letters put in, left out, exchanged, or swapped with the next (Damerau 1964, Levenshtein 1966).
export function edits(one, other) {
  const table = [...Array(one.length + 1)].map((_, i) => [...Array(other.length + 1)].map((__, j) => (i && j ? 0 : i + j)));
  for (let i = 1; i <= one.length; i++) {
    for (let j = 1; j <= other.length; j++) {
      const differs = Number(one[i - 1] !== other[j - 1]);
      table[i][j] = Math.min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + differs);
      const swapped = i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1];
      if (swapped) table[i][j] = Math.min(table[i][j], table[i - 2][j - 2] + 1);
    }
  }
  return table[one.length][other.length];
}
