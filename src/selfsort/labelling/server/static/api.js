// Requests to the server. One that gets no answer is sent again until it does, under the same key: the server applies
// a key once.

import { hasText, t } from "./text.js";

const UNSENT = "selfsort-unsent";
const PATIENCE = 20_000; // ms before a request that hangs is given up and sent again
let outage = () => {};

export class Refused extends Error {
  constructor(status, body) {
    super(sentence(body) ?? t("error.answered", { status: String(status) }));
    this.status = status;
    this.taken = Boolean(body?.taken);
    this.similar = body?.similar ?? null;
  }
}

// What a person can mend has a code, for which the page has words; what the machine complains about is told as it says.
function sentence(body) {
  if (body?.taken) return t("error.taken");
  if (body?.code && hasText(`error.${body.code}`)) return t(`error.${body.code}`, body.values);
  if (typeof body?.detail === "string") return body.detail;
  return Array.isArray(body?.detail) ? body.detail.map((one) => one.msg).join("; ") : null;
}

// `report(trouble, sentence)` is called when the server stops ("gone", or "locked" with what it says) or starts (null)
// answering.
export function onOutage(report) {
  outage = report;
}

// crypto.randomUUID only exists on https and localhost, but the page may be served to a trusted network.
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export const client = await ownClient();

// All windows of a browser are one person's, who may go on in one with what was done in another.
function person() {
  const kept = localStorage.getItem("selfsort-person") ?? newKey().slice(0, 16);
  localStorage.setItem("selfsort-person", kept);
  return kept;
}

// A tab keeps its client over a reload and a restart of the server; a duplicated tab, which copies the storage, gets
// its own.
async function ownClient() {
  const kept = sessionStorage.getItem("selfsort-client");
  const mine = kept && (await claim(kept)) ? kept : `${person()}-${newKey()}`;
  if (mine !== kept) await claim(mine);
  sessionStorage.setItem("selfsort-client", mine);
  return mine;
}

function claim(name) {
  if (!navigator.locks) return true;
  return new Promise((resolve) => {
    // The page before a reload may hold the lock for a moment longer.
    const waiting = AbortSignal.timeout(500);
    const held = () => (resolve(true), new Promise(() => {}));
    navigator.locks.request(`selfsort-${name}`, { signal: waiting }, held).catch(() => resolve(false));
  });
}

const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));

async function persist(path, options) {
  for (let wait = 250; ; wait = Math.min(2 * wait, 2000)) {
    const reply = await attempt(path, options);
    if (reply.trouble === null) return reply;
    outage(reply.trouble, reply.sentence);
    await pause(wait);
  }
}

async function attempt(path, options) {
  try {
    const response = await fetch(path, { ...options, signal: AbortSignal.timeout(PATIENCE) });
    if ([502, 503, 504].includes(response.status)) return { trouble: "gone" };
    const body = parsed(await response.text()); // one that breaks off is no answer, either
    if (response.status === 401) return { trouble: "locked", sentence: sentence(body) ?? "" };
    return { trouble: null, response, body };
  } catch {
    return { trouble: "gone" };
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

async function request(path, options) {
  const { response, body } = await persist(path, options);
  outage(null);
  if (response.ok) return body;
  throw new Refused(response.status, body);
}

export const get = (path) => request(path, {});

export function post(path, body) {
  return sendRaw(path, JSON.stringify({ key: newKey(), client, ...body }));
}

function sendRaw(path, text) {
  return request(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: text });
}

// An answer is kept until the server has it, also over a reload of the page.
export async function postKept(path, body, run) {
  const text = JSON.stringify({ key: newKey(), client, ...body });
  sessionStorage.setItem(UNSENT, JSON.stringify({ path, text, run }));
  try {
    return await sendRaw(path, text);
  } finally {
    sessionStorage.removeItem(UNSENT);
  }
}

// Sends what an earlier page of this tab left unsent; returns the server's refusal, if any.
export async function sendKept(run) {
  const kept = JSON.parse(sessionStorage.getItem(UNSENT) ?? "null");
  if (kept === null) return null;
  try {
    if (kept.run === run) await sendRaw(kept.path, kept.text);
    return null;
  } catch (refusal) {
    return refusal;
  } finally {
    sessionStorage.removeItem(UNSENT);
  }
}

// Others may be asked what this page was asked, once it is closed.
addEventListener("pagehide", () => {
  const text = JSON.stringify({ key: newKey(), client });
  navigator.sendBeacon("/api/leave", new Blob([text], { type: "application/json" }));
});

// `taken`, {fact, value}, leaves only pictures of a day, place or camera.
export const picturesNamed = (name, offset, limit, order, taken = {}) =>
  get(`/api/names/pictures?${new URLSearchParams({ name, offset, limit, order, ...taken })}`);
