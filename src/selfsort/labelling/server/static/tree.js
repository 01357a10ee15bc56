// Names such as "bird/robin" as a tree. No page is needed here.

// Returns rows of `entries`, [{name, count, …}], in the order in which a tree is read: {label, depth, count, entry}, the
// most frequent first. The count of a row holds those below it; `entry` is null for what is no name itself.
export function treeOf(entries) {
  const root = { count: 0, below: new Map(), entry: null };
  for (const entry of entries) {
    let node = root;
    for (const label of entry.name.split("/")) {
      if (!node.below.has(label)) node.below.set(label, { label, count: 0, below: new Map(), entry: null });
      node = node.below.get(label);
      node.count += entry.count;
    }
    node.entry = entry;
  }
  return rowsOf(root, 0);
}

function rowsOf(node, depth) {
  const below = [...node.below.values()].toSorted((one, other) => other.count - one.count);
  return below.flatMap((each) => {
    const { label, count, entry } = each;
    return [{ label, depth, count, entry }].concat(rowsOf(each, depth + 1));
  });
}
