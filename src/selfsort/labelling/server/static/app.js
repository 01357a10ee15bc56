// The page: the figures that are always in view, the views, and the keys that work everywhere.

import { Refused, get, onOutage, post, sendKept } from "./api.js";
import { Ask } from "./ask.js";
import { Check } from "./check.js";
import { $, announce, closable, complain, crisp, element, fill, hasPhotographs, show } from "./dom.js";
import { commandOf } from "./keys.js";
import { PictureMap } from "./map.js";
import { markerSvg } from "./markers.js";
import { Names } from "./names.js";
import { count, duration, interval, percent, pictures } from "./words.js";

const POLL = { busy: 1000, idle: 3000 }; // ms
const VIEWS = ["ask", "names", "check"];
const isMac = /Mac|iPhone|iPad/.test(navigator.platform);

const app = {
  state: null,
  take(state) {
    const before = this.state;
    this.state = state;
    showState(state, before);
  },
  say(text) {
    $("#notice-text").textContent = text;
    show($("#notice"), Boolean(text));
  },
};
const shownOf = (group) => (group ? [...group.typical, ...group.random, ...group.borderline] : []);
const map = new PictureMap(app, (circled) => {
  location.hash = "#ask";
  ask.lasso(circled);
});
const ask = new Ask(app, (group) => map.point(shownOf(group)));
const names = new Names(app);
const check = new Check(app);

// ---- the figures

function showState(state, before) {
  document.title = `${state.run} – selfsort`;
  $("#run").textContent = state.run;
  showCovered(state.covered, state.pictures);
  showEstimate(state.estimate);
  showRefinement(state, before);
  showBetterGroups(state, before);
  show($("#no-fit"), !state.groups_fit);
  show($("#judged"), state.judged !== null);
  $("#judged").textContent = `Do the groups mean anything? ${state.judged}`;
  showPurpose(state);
  for (const button of document.querySelectorAll("[data-command=undo]")) {
    if (!button.closest("#check-view")) button.disabled = !state.can_undo;
  }
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
  const naming = !checking || given.length > 0 || open > 0;
  for (const part of ["nav [data-view=ask]", "nav [data-view=names]", ".figures", "#labels"]) show($(part), naming);
  for (const part of document.querySelectorAll(".refines")) show(part, !checking);
}

function showCovered(covered, all) {
  const share = percent(covered / all);
  $("#covered").textContent = `${count(covered)} of ${count(all)} (${share})`;
  fill($("#covered-bar"), covered / all, share);
}

function showEstimate(estimate) {
  $("#accuracy").textContent = estimate ? percent(estimate.accuracy) : "–";
  $("#interval").textContent = estimate ? groundsOf(estimate) : "after the first name";
}

function groundsOf({ accuracy, looked_at: seen, ...bounds }) {
  const [range, from] = [interval(bounds), `from ${pictures(seen)}`];
  return range === percent(accuracy) ? from : `${range}, ${from}`;
}

function showRefinement({ refinement, open_groups: open }, before) {
  const { state, epoch, epochs, loss, message } = refinement;
  const running = state === "running";
  show($("#refining"), running);
  $("#refine").disabled = running;
  const lossNow = typeof loss === "number" ? `, loss ${loss.toPrecision(3)}` : "";
  $("#epoch").textContent = epoch ? `Epoch ${epoch} of ${epochs}${lossNow}` : "Starting";
  fill($("#epoch-bar"), epochs ? epoch / epochs : 0, `epoch ${epoch} of ${epochs}`);
  if (!before || before.refinement.state !== "running" || running) return;
  const groups = open === 1 ? "is 1 new group" : `are ${count(open)} new groups`;
  app.say(state === "failed" ? `The refinement failed. ${message}` : `Refined: there ${groups} to ask about. ${message}`);
}

// The first groups are rough ones, made in seconds; better ones are looked for meanwhile.
function showBetterGroups({ better_groups: better }, before) {
  show($("#better"), better !== null);
  if (better === null) {
    if (before?.better_groups) announce("There are better groups now.");
    return;
  }
  const { share, seconds } = better;
  $("#better-when").textContent = `Better groups ${seconds === null ? "soon" : `in ${duration(seconds)}`}`;
  fill($("#better-bar"), share, percent(share));
}

function showNames(given) {
  show($("#no-names"), given.length === 0);
  $("#legend-count").textContent = given.length ? count(given.length) : "";
  $("#legend").replaceChildren(...given.map(legendRow));
}

function legendRow({ name, count: number, colour }) {
  const link = element("a", { href: `#names/${encodeURIComponent(name)}`, "aria-label": `${name}, ${pictures(number)}` });
  link.append(markerSvg(colour), element("span", {}, name), element("b", {}, count(number)));
  if (view() === "names" && names.name === name) link.setAttribute("aria-current", "true");
  return element("li", {}, link);
}

// ---- the views

function view() {
  const wanted = location.hash.slice(1).split("/")[0];
  if (wanted === "check" && !app.state?.certify) return "ask";
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

async function openView() {
  const now = view();
  for (const name of VIEWS) {
    show($(`#${name}-view`), name === now);
    const link = $(`nav [data-view=${name}]`);
    if (name === now) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  show($("#aside"), now !== "check");
  document.body.dataset.view = now;
  map.draw();
  if (now === "check") await check.start();
  else if (now === "names") await names.open(chosenName());
  else await ask.start();
  if (now === "names") showNames(app.state.names);
  if (now === "ask") ask.focus();
}

// ---- commands and their keys

const commands = {
  undo: () => ({ ask, names, check })[view()].undo(),
  refine,
  help: () => $("#helping").open || $("#helping").showModal(),
  rename: () => view() === "names" && names.startRenaming(),
  confirm: () => view() === "check" && check.confirm(),
  ask: () => (location.hash = "#ask"),
  names: () => (location.hash = "#names"),
};

function run(command) {
  if (command in commands) commands[command]();
  else if (view() === "ask") ask.command(command);
}

async function refine() {
  try {
    app.take((await post("/api/refine", { epochs: null })).state);
    announce("Refining; go on naming meanwhile.");
    poll();
  } catch (refusal) {
    if (!(refusal instanceof Refused)) throw refusal;
    app.say(refusal.message);
  }
}

addEventListener("keydown", (event) => {
  if (event.isComposing || event.repeat) return;
  const other = event.ctrlKey || event.metaKey;
  const command = event.altKey && !other ? commandOf(event) : null;
  if (command) {
    event.preventDefault();
    if (!document.querySelector("dialog[open]")) run(command);
  } else if (event.target === document.body && event.key.length === 1 && !event.altKey && !other) {
    if (event.key === "?") commands.help();
    else writeName(event);
  }
});

// Whoever just types means the name: the browser writes the letter where the focus is now.
function writeName(event) {
  if (event.key !== " ") nameField().focus();
}

const nameField = () => $({ ask: "#name", names: "#move-name", check: "#right-name" }[view()]);

// The first picture to arrive tells whether they are photographs, for which the grid has larger cells.
function arrived(image) {
  const before = hasPhotographs();
  crisp(image);
  if (hasPhotographs() !== before) names.draw();
}

function listen() {
  addEventListener("hashchange", openView);
  document.addEventListener("load", ({ target }) => target instanceof HTMLImageElement && arrived(target), true);
  addEventListener("click", (event) => {
    const button = event.target.closest("[data-command]");
    if (button) run(button.dataset.command);
  });
  for (const key of document.querySelectorAll("[data-key]")) {
    const letter = key.dataset.key.toUpperCase();
    key.textContent = `${isMac ? "⌥" : "Alt"} ${letter}`.trim();
    key.closest("button")?.setAttribute("aria-keyshortcuts", `Alt+${letter}`);
  }
  $("#notice-close").addEventListener("click", () => {
    app.say("");
    nameField().focus(); // the hidden button keeps the focus for a moment, in which a letter would be lost
  });
  $("#helping").addEventListener("close", () => openView());
  closable($("#helping"));
}

// ---- the server

function outageInWords(trouble, sentence) {
  const kept = "Nothing is lost, and what was on its way is sent again.";
  if (trouble === "locked") return `The server was started anew and does not know this page. ${sentence} ${kept}`;
  const command = `selfsort ${app.state?.certify ? "certify" : "label"} ${app.state?.run ?? "RUN"}`;
  return `The server does not answer: start it again with “${command}”. ${kept}`;
}

function showOutage(trouble, sentence) {
  const text = trouble ? outageInWords(trouble, sentence) : "";
  if ($("#banner").textContent !== text) complain($("#banner"), text);
}

let timer = 0;

async function poll() {
  clearTimeout(timer);
  const before = app.state;
  const state = document.hidden ? before : await get("/api/state");
  if (app.state === before && state !== before) app.take(state); // else an answer has brought a newer one
  clearTimeout(timer);
  const busy = app.state.refinement.state === "running" || app.state.better_groups !== null;
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
