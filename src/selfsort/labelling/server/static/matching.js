// Which of the names given a person may be typing. No page is needed here.

const plain = (text) => text.normalize("NFD").replace(/\p{Diacritic}/gu, "").toLowerCase();

// Returns those of `entries`, [{name, …}] with the most used first, that what is typed may become: first the names that
// begin with it, then those with a word that does, then those that hold it. Accents and case do not matter.
export function matches(entries, typed) {
  const wanted = plain(typed.trim());
  const ranked = entries.map((entry) => ({ entry, rank: rank(plain(entry.name), wanted) }));
  const found = ranked.filter(({ rank: place }) => place < 3);
  return found.toSorted((one, other) => one.rank - other.rank).map(({ entry }) => entry);
}

function rank(name, wanted) {
  if (name.startsWith(wanted)) return 0;
  if (name.includes(` ${wanted}`)) return 1;
  // One letter in the middle of a word says little.
  return wanted.length > 1 && name.includes(wanted) ? 2 : 3;
}
