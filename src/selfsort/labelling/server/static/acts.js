// What people did, in words. No page is needed here.

import { t } from "./text.js";
import { called, listed, quoted } from "./words.js";

const nameOr = (name) => (name === null ? t("no-name") : called(name));
const names = (all) => listed(all.map(quoted));

const WORDS = {
  name: ({ name, pictures: n, thrown_out: out }) => t(out ? "act.name.out" : "act.name", { n, name: quoted(name), out }),
  mixed: ({ pictures: n }) => t("act.mixed", { n }),
  junk: ({ pictures: n }) => t("act.junk", { n }),
  skip: ({ pictures: n }) => t("act.skip", { n }),
  lasso: ({ pictures: n }) => t("act.lasso", { n }),
  merge: ({ name, names: old }) => t("act.merge", { names: names(old), name: quoted(name) }),
  pull: ({ name, names: [old], pictures: n }) =>
    name === null ? t("act.pull.out", { n, old: quoted(old) }) : t("act.pull", { n, old: quoted(old), name: quoted(name) }),
  drop: ({ names: old }) => t("act.drop", { names: names(old) }),
  assign: ({ names: given, pictures: n }) =>
    given.length === 1 ? t("act.assign.one", { n, name: quoted(given[0]) }) : t("act.assign", { n }),
  refine: ({ names: learnt }) => t("act.refine", { n: learnt.length }),
  opinion: ({ pictures: n }) => t("act.opinion", { n }),
  about: ({ name }) => t("act.about", { name: quoted(name) }),
};

export const actInWords = (act) => WORDS[act.kind](act);

// What a refinement changed, {pictures, moves: [{from, to, count}]}.
export function changedInWords({ pictures: n, moves }) {
  if (!n) return t("changed.none");
  const each = moves.map(({ from, to, count }) => t("changed.move", { n: count, from: nameOr(from), to: nameOr(to) }));
  const rest = n - moves.reduce((sum, { count }) => sum + count, 0);
  return t("changed", { n, moves: listed(rest ? [...each, t("changed.more", { n: rest })] : each) });
}
