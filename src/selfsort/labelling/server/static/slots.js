// Which names the keys 1 to 9 give. No page is needed here.

const MOST = 9;

// Returns the names of the keys: the most frequent of `names`, the first of which has most pictures. One that had a key
// keeps it, for fingers remember.
export function nextSlots(slots, names) {
  const frequent = names.slice(0, MOST);
  const kept = slots.map((name) => (frequent.includes(name) ? name : null));
  const waiting = frequent.filter((name) => !kept.includes(name));
  return [...Array(frequent.length)].map((_, place) => kept[place] ?? waiting.shift() ?? null).filter((name) => name !== null);
}
