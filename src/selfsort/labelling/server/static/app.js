// The page: the figures that are always in view, the views, and the keys that work everywhere.

import { actInWords, changedInWords } from "./acts.js";
import { Refused, get, onOutage, post, sendKept } from "./api.js";
import { Ask } from "./ask.js";
import { Check } from "./check.js";
import { $, announce, closable, complain, crisp, element, fill, hasPhotographs, show } from "./dom.js";
import { offerAbout } from "./about.js";
import { offerExchange } from "./exchange.js";
import { followHistory, openHistory } from "./history.js";
import { Find } from "./find.js";
import { commandOf } from "./keys.js";
import { PictureMap } from "./map.js";
import { markerSvg, putColours } from "./markers.js";
import { Names } from "./names.js";
import { offerPeople } from "./people.js";
import { Review } from "./review.js";
import { Second } from "./second.js";
import { followSize } from "./sizes.js";
import { takenChosen } from "./taken.js";
import { offerLanguages, t, translate } from "./text.js";
import { treeOf } from "./tree.js";
import { count, decimal, duration, interval, percent, quoted } from "./words.js";

const POLL = { busy: 1000, idle: 3000 }; // ms
const BRIEF = 6000; // ms
const VIEWS = ["ask", "names", "find", "review", "second", "check"];
const isMac = /Mac|iPhone|iPad/.test(navigator.platform);

translate(document);

const app = {
  state: null,
  take(state) {
    const before = this.state;
    this.state = state;
    showState(state, before);
  },
  // `brief` news go away by themselves; some can be `taken` back at once.
  say(text, { brief = false, taken = false } = {}) {
    clearTimeout(this.leaving);
    $("#notice-text").textContent = text;
    show($("#notice"), Boolean(text));
    show($("#notice-undo"), taken);
    if (brief) this.leaving = setTimeout(() => show($("#notice"), false), BRIEF);
  },
  // What was taken back, or done again.
  tell(act) {
    this.say(t(act.taken_back ? "notice.taken-back" : "notice.done-again", { act: actInWords(act) }), { brief: true });
  },
};
const shownOf = (group) => (group ? [...group.typical, ...group.random, ...group.borderline] : []);
const map = new PictureMap(app, (circled, onlyUnnamed) => {
  location.hash = "#ask";
  ask.lasso(circled, onlyUnnamed);
});
const ask = new Ask(app, (group) => map.point(shownOf(group)));
const names = new Names(app);
const check = new Check(app);
const review = new Review(app);
const second = new Second(app);
const find = new Find(app);
offerExchange(app);
offerPeople();
offerAbout(() => app.state.names.find(({ name }) => name === names.name), (state) => app.take(state));

// ---- the figures

function showState(state, before) {
  document.title = `${state.run} – selfsort`;
  $("#run").textContent = state.run;
  showCovered(state.covered, state.pictures);
  showEstimate(state.estimate);
  showRefinement(state, before);
  showBetterGroups(state, before);
  show($("#no-fit"), !state.groups_fit);
  for (const button of document.querySelectorAll("[data-command=back]")) show(button, state.skipped > 0);
  show($("#judged"), state.judged !== null);
  $("#judged").textContent = state.judged && t("judged", { verdict: judgedInWords(state.judged) });
  tellDamage(state, before);
  showPurpose(state);
  followHistory(state.generation);
  if (state.generation !== before?.generation) namesChanged(state);
  else ask.follow(state.generation);
  map.update(state);
}

// The figures above have changed with the names already; the rest follows them.
function namesChanged(state) {
  showNames(state.names);
  ask.follow(state.generation);
  if (view() === "names") names.open(chosenName());
}

// Who certifies checks the model as it is; without groups there is nothing else to do.
function showPurpose({ certify, names: given, open_groups: open }) {
  const checking = certify !== null;
  show($("nav [data-view=check]"), checking);
  show($("nav [data-view=find]"), !checking);
  show($("nav [data-view=review]"), !checking && app.state.named_alone > 0);
  const naming = !checking || given.length > 0 || open > 0;
  for (const part of ["nav [data-view=ask]", "nav [data-view=names]", ".figures", "#export"]) show($(part), naming);
  for (const part of document.querySelectorAll(".refines")) show(part, !checking);
}

function showCovered(covered, all) {
  const share = percent(covered / all);
  $("#covered").textContent = t("figures.covered.of", { covered, n: all, share });
  fill($("#covered-bar"), covered / all, share);
}

function showEstimate(estimate) {
  $("#accuracy").textContent = estimate ? percent(estimate.accuracy) : "–";
  show($("#grounds"), Boolean(estimate));
  const waits = app.state.names.length ? "figures.second-group" : "figures.first-name";
  $("#interval").textContent = estimate ? groundsOf(estimate) : t(waits);
}

function groundsOf({ accuracy, looked_at: seen, ...bounds }) {
  const [range, from] = [interval(bounds), t("figures.from", { n: seen })];
  return range === percent(accuracy) ? from : t("list.comma", { one: range, other: from });
}

function showRefinement({ refinement, open_groups: open }, before) {
  const { state, epoch, epochs } = refinement;
  const running = state === "running";
  show($("#refining"), running);
  $("#refine").disabled = running;
  $("#epoch").textContent = epochInWords(refinement);
  fill($("#epoch-bar"), epochs ? epoch / epochs : 0, t("figures.improving.epoch", { epoch, n: epochs }));
  if (before?.refinement.state === "running" && !running) tellRefined(refinement, open);
}

function epochInWords({ epoch, epochs: n, seconds }) {
  if (!epoch) return t("figures.improving.start");
  if (seconds === null) return t("figures.improving.epoch", { epoch, n });
  return t("figures.improving.left", { epoch, n, time: duration(seconds) });
}

// What made it fail comes from the machine, in its words.
function tellRefined({ state, message, changed, held_out: held }, open) {
  if (state === "failed") return app.say(t("notice.failed", { message }));
  if (state === "cancelled") return app.say(t("notice.cancelled"), { brief: true });
  const [groups, judged] = [t("notice.new-groups", { n: open }), held ? heldOutInWords(held) : ""];
  app.say(t("notice.improved", { changed: changedInWords(changed), groups, judged }).trim(), { taken: true });
}

function heldOutInWords({ answers: n, before, after }) {
  return t(after >= before ? "notice.kept" : "notice.not-kept", { n, before: percent(before), after: percent(after) });
}

function judgedInWords({ verdict, features, nothing, dead, swollen }) {
  const figures = { features: decimal(features, 2), nothing: decimal(nothing, 2) };
  const more = [dead ? t("judged.dead", { n: dead }) : "", swollen ? t("judged.swollen") : ""];
  return [t(`judged.${verdict}`, figures), ...more].filter(Boolean).join(" ");
}

// Answers that are damaged on the disk are told once, and again when there are more.
function tellDamage({ set_aside: now, repairs }, before) {
  const told = repairs.map(({ what, answers, kept }) => t(`notice.damaged.${what}`, { n: answers, file: kept }));
  if (now) told.push(t("notice.set-aside", { n: now }));
  if (now > (before?.set_aside ?? 0) || repairs.length > (before?.repairs.length ?? 0)) app.say(told.join(" "));
}

// The first groups are rough ones, made in seconds; better ones are looked for meanwhile.
function showBetterGroups({ better_groups: better }, before) {
  show($("#better"), better !== null);
  if (better === null) {
    if (before?.better_groups) announce(t("figures.better.here"));
    return;
  }
  const { share, seconds } = better;
  $("#better-when").textContent = seconds === null ? t("figures.better.soon") : t("figures.better.in", { time: duration(seconds) });
  fill($("#better-bar"), share, percent(share));
}

function showNames(given) {
  ask.showQuick();
  const { junk } = app.state;
  show($("#no-names"), given.length === 0 && !junk);
  $("#legend-count").textContent = given.length ? count(given.length) : "";
  putColours(given);
  const list = $("#legend");
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.name : null;
  list.replaceChildren(...treeOf(given).map(legendRow), ...(junk ? [junkRow(junk)] : []));
  if (focused !== null) list.querySelector(`[data-name="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  markName();
  tellMoreNames();
}

// Marks the name whose pictures are shown; other views show those of many.
function markName() {
  const list = $("#legend");
  for (const link of list.querySelectorAll("a")) {
    if (view() !== "names" || link.dataset.name !== names.name) {
      link.removeAttribute("aria-current");
      continue;
    }
    link.setAttribute("aria-current", "true");
    list.scrollTop = link.offsetTop - list.offsetTop - list.clientHeight / 2; // scrollIntoView would move the page, too
  }
}

// Says how many names there are below those in view.
function tellMoreNames() {
  const list = $("#legend");
  const end = list.getBoundingClientRect().bottom;
  const below = [...list.children].filter((item) => item.getBoundingClientRect().top > end - 8).length;
  $("#more-names").textContent = below ? t("legend.more", { n: below }) : "";
}

function legendRow({ label, depth, count: number, entry }) {
  const heading = () => element("p", {}, element("span", {}, label), element("b", {}, count(number)));
  const row = element("li", {}, entry ? legendLink(entry, label) : heading());
  row.dataset.depth = Math.min(depth, 4);
  return row;
}

function junkRow(number) {
  const name = t("junk");
  const link = element("a", { href: "#names/junk", "aria-label": t("legend.name", { name, n: number }) });
  link.append(element("i", { className: "marker" }, "✕"), element("span", {}, name), " ", element("b", {}, count(number)));
  link.dataset.name = "junk";
  return element("li", {}, link);
}

function legendLink({ name, count: number, colour, about }, label) {
  const link = element("a", { href: `#names/${encodeURIComponent(name)}`, "aria-label": t("legend.name", { name, n: number }) });
  link.append(markerSvg(colour), element("span", {}, label), " ", element("b", {}, count(number)));
  link.title = about.description ?? "";
  link.dataset.name = name;
  return link;
}

// ---- the views

function view() {
  const wanted = location.hash.slice(1).split("/")[0];
  if (wanted === "check" && !app.state?.certify) return "ask";
  if (["find", "review", "second"].includes(wanted) && app.state?.certify) return "check";
  return VIEWS.includes(wanted) ? wanted : app.state?.certify ? "check" : "ask";
}

// The name after "#names/"; an address typed by hand may hold what cannot be decoded.
function chosenName() {
  try {
    return decodeURIComponent(location.hash.split("/").slice(1).join("/"));
  } catch {
    return "";
  }
}

// At once, not in a later turn as `hashchange` would: what is typed next belongs to the view that was asked for.
function go(hash) {
  if (location.hash !== hash) history.pushState(null, "", hash);
  openView();
}

async function openView() {
  const now = view();
  for (const name of VIEWS) {
    show($(`#${name}-view`), name === now);
    const link = $(`nav [data-view=${name}]`);
    if (!link) continue; // second opinions are come to from People
    if (name === now) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  show($("#aside"), !["check", "second"].includes(now)); // who gives a second opinion sees no names of others
  document.body.dataset.view = now;
  map.draw();
  markName();
  if (now === "check") await check.start();
  else if (now === "review") await review.start();
  else if (now === "second") await second.start();
  else if (now === "find") await find.start();
  else if (now === "names") await names.open(chosenName());
  else await ask.start();
  markName();
  if (now === "ask") ask.focus();
  ask.fit();
  if (now === "names") names.focus();
}

// ---- commands and their keys

const commands = {
  undo: () => ({ ask, names, find, review, second, check })[view()]?.turnBack("/api/undo"),
  redo: () => ({ ask, names, find, review, second, check })[view()]?.turnBack("/api/redo"),
  history: openHistory,
  refine,
  cancel: () => change("/api/refine/cancel", {}),
  help: () => $("#helping").open || $("#helping").showModal(),
  next: () => view() === "names" && names.turn(1),
  previous: () => view() === "names" && names.turn(-1),
  drop: () => view() === "names" && names.drop(),
  rename: () => view() === "names" && names.startRenaming(),
  confirm: () => view() === "check" && check.confirm(),
  enlarge: () => view() === "check" && check.enlarge(),
  ask: () => go("#ask"),
  names: () => go("#names"),
  find: () => go("#find"),
  back: () => view() === "ask" && ask.back(),
};

function run(command) {
  if (command in commands) commands[command]();
  else if (view() === "ask") ask.command(command);
}

async function refine() {
  if (!(await change("/api/refine", { epochs: null }))) return;
  announce(t("notice.improving"));
  poll();
}

// Returns whether the server took it.
async function change(path, body) {
  try {
    app.take((await post(path, body)).state);
    return true;
  } catch (refusal) {
    if (!(refusal instanceof Refused)) throw refusal;
    app.say(refusal.message);
    return false;
  }
}

addEventListener("keydown", (event) => {
  if (event.isComposing || event.repeat) return;
  const other = event.ctrlKey || event.metaKey;
  const command = event.altKey && !other ? commandOf(event) : null;
  if (command) {
    event.preventDefault();
    if (!document.querySelector("dialog[open]") || $("#history").open) run(command);
  } else if (event.target === document.body && event.key.length === 1 && !event.altKey && !other) {
    if (event.key === "?") commands.help();
    else writeName(event);
  }
});

// Whoever just types means the name: the browser writes the letter where the focus is now.
function writeName(event) {
  if (event.key !== " ") nameField().focus();
}

const nameField = () => $({ ask: "#name", names: "#move-name", review: "#review-name", second: "#second-name", find: "#wanted", check: "#right-name" }[view()]);

// The first picture to arrive tells whether they are photographs, for which the grid has larger cells.
function arrived(image) {
  const before = hasPhotographs();
  crisp(image);
  if (hasPhotographs() === before) return;
  names.draw();
  ask.fit();
}

// The colours: as the system has them, then the other ones, then those of the system as a choice of their own.
function turnColours() {
  const { dataset } = document.documentElement;
  const next = { undefined: "dark", dark: "light", light: "" }[dataset.theme];
  localStorage.setItem("selfsort-theme", next);
  if (next) dataset.theme = next;
  else delete dataset.theme;
  nameColours();
  map.draw();
}

function nameColours() {
  const words = t("tools.colours", { now: t(`colours.${document.documentElement.dataset.theme ?? "system"}`) });
  $("#theme").title = words;
  $("#theme").setAttribute("aria-label", words);
}

// What one should know first, until it was read once.
function greet() {
  show($("#first-use"), !localStorage.getItem("selfsort-read"));
  $("#understood").addEventListener("click", () => {
    localStorage.setItem("selfsort-read", "yes");
    show($("#first-use"), false);
    ask.fit();
    ask.focus();
  });
}

async function gather() {
  const refusal = await ask.gather(takenChosen());
  if (refusal) app.say(refusal.message);
  else location.hash = "#ask";
}

// Writes the keys of the commands as this keyboard has them.
function writeKeys() {
  for (const key of document.querySelectorAll("[data-key]")) {
    const letters = key.dataset.key.replace(/\b[a-z]$/, (letter) => letter.toUpperCase());
    key.textContent = `${isMac ? "⌥" : "Alt"} ${letters.replace("Shift", t("key.shift"))}`.trim();
    key.closest("button")?.setAttribute("aria-keyshortcuts", `Alt+${letters.replace(" ", "+")}`);
  }
}

function listen() {
  $("#gather").addEventListener("click", gather);
  greet();
  nameColours();
  writeKeys();
  offerLanguages($("#language"));
  $("#theme").addEventListener("click", turnColours);
  followSize(() => (view() === "names" ? names.draw() : ask.fit()));
  const above = new ResizeObserver(() => ask.fit()); // what grows above the rows takes their room
  for (const part of document.querySelectorAll("body > header, #notice, #first-use, .asked, .answering")) above.observe(part);
  addEventListener("hashchange", openView);
  $("#legend").addEventListener("scroll", tellMoreNames, { passive: true });
  new ResizeObserver(tellMoreNames).observe($("#legend"));
  document.addEventListener("load", ({ target }) => target instanceof HTMLImageElement && arrived(target), true);
  addEventListener("click", (event) => {
    const button = event.target.closest("[data-command]");
    if (button) run(button.dataset.command);
  });
  $("#notice-undo").addEventListener("click", () => commands.undo());
  $("#notice-close").addEventListener("click", () => {
    app.say("");
    nameField().focus(); // the hidden button keeps the focus for a moment, in which a letter would be lost
  });
  for (const dialog of ["#helping", "#people", "#exchange"]) $(dialog).addEventListener("close", () => openView());
  closable($("#helping"));
}

// ---- the server

function outageInWords(trouble, how) {
  if (trouble === "locked") return t("outage.locked", { how });
  return t("outage.gone", { command: quoted(app.state?.command || "selfsort label RUN") });
}

function showOutage(trouble, how) {
  const text = trouble ? outageInWords(trouble, how) : "";
  if ($("#banner").textContent !== text) complain($("#banner"), text);
}

let timer = 0;

async function poll() {
  clearTimeout(timer);
  const before = app.state;
  const state = document.hidden ? before : await get("/api/state");
  if (app.state === before && state !== before) app.take(state); // else an answer has brought a newer one
  clearTimeout(timer);
  const busy = app.state.refinement.state === "running" || app.state.better_groups !== null || app.state.map_drawing !== null;
  timer = setTimeout(poll, busy ? POLL.busy : POLL.idle);
}

async function begin() {
  onOutage(showOutage);
  listen();
  const state = await get("/api/state");
  const refusal = await sendKept(state.run);
  if (refusal) app.say(refusal.message);
  app.take(state);
  await openView();
  poll();
}

begin();
