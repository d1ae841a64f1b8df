// Requests the state twice a second and shows it. Drawn points are kept here; only newer ones are requested.

import { bridge } from "./bridge.js";
import { Chart } from "./chart.js";
import { gauges } from "./gauges.js";
import { events, streams } from "./tables.js";
import { timeline } from "./timeline.js";
import { clock, each, make, put, putText, set, short, spaced } from "./texts.js";

const EVERY_MS = 500, PATIENCE_MS = 3000, MOMENTS = 60, NOTE_MS = 30_000;
const at = id => document.getElementById(id);
const charts = new Map(), tracks = new Map();
let version = 0, started = null, rig = "", answered = null, paused = false, interval = EVERY_MS, announced = "";

function clear() {
  version = 0;
  tracks.clear();
  for (const chart of charts.values()) chart.clear();
}

function note(text) {
  put(at("note"), text);
  at("note").hidden = !text;
}

// The sentence on top. A screen reader reads it when its text changes, not at each change of a number.
function verdict({ level, head, text, since }) {
  const when = since === null ? "" : /stepped/.test(head) ? ` at ${clock(since)}` : ` since ${clock(since)}`;
  set(at("verdict"), "data-level", level);
  putText(at("head"), head + when);
  putText(at("text"), text);
  const text_only = `${head}: ${text}`.replace(/[\d.]+/g, "");
  if (text_only !== announced) put(at("announcement"), `${head}${when}: ${text}`);
  announced = text_only;
  document.title = `${level === "good" ? "" : "! "}${head} – Lumen Fusion`;
}

function keep(history) {
  for (const name of Object.keys(history.signals)) {
    if (!charts.has(name)) charts.set(name, new Chart(name));
    if (history.ts.length) charts.get(name).add(history, interval);
  }
  for (const [channel, moments] of Object.entries(history.tracks)) {
    tracks.set(channel, [...(tracks.get(channel) ?? []), ...moments].slice(-MOMENTS));
  }
}

function show(state) {
  const [name, shown] = Object.entries(state.rigs)[0];
  const evidence = state.evidence.filter(record => record.rig === name);
  document.body.dataset.old = shown.stalled;
  at("choice").hidden = state.names.length < 2;
  each(at("rig"), state.names, n => n, n => make("option", "", n), (option, n) => { option.selected = n === name; });
  verdict(shown.verdict);
  put(at("bound"), shown.sync_bound_s !== null ? `${short(shown.sync_bound_s * 1e3)}\u00a0ms` : shown.ts === null ? "–" : "not compared");
  put(at("mode"), shown.mode ? spaced(shown.mode) : "–");
  put(at("live"), `${shown.live ?? 0} of ${new Set(Object.values(state.history.signals).flatMap(s => Object.keys(s.channels))).size}`);
  put(at("clock"), clock(state.now));
  each(at("signals"), Object.keys(shown.signals), n => n, n => charts.get(n).node, (_, n) => charts.get(n).describe(shown.signals[n], shown.channels));
  gauges(at("gauges"), shown.indicators);
  bridge(at("bridge"), shown.bridge);
  timeline(at("h-timeline"), at("timeline"), shown, evidence);
  streams(at("channels"), shown, tracks);
  events(at("events"), shown.happened);
}

async function ask() {
  const asked = rig, query = new URLSearchParams({ since: version, ...(rig && { rig }) });
  const answer = await fetch(`state?${query}`, { signal: AbortSignal.timeout(PATIENCE_MS) });
  if (answer.status === 404) { rig = ""; clear(); return; } // another run, without this rig
  if (!answer.ok) throw new Error(answer.status);
  const state = await answer.json();
  if (asked !== rig) return; // another rig was chosen meanwhile
  if (started !== null && state.started !== started) {
    // The response is relative to a version of the former run: the whole history is requested.
    clear();
    started = state.started;
    note(`The flow was started anew at ${clock(started)}; its former values are cleared.`);
    setTimeout(note, NOTE_MS, "");
    return ask();
  }
  started = state.started;
  version = state.version;
  const now = performance.now();
  if (answered !== null) interval += 0.3 * (Math.min(now - answered, PATIENCE_MS) - interval);
  answered = now;
  keep(state.history);
  show(state);
  document.body.dataset.link = "there";
}

async function look() {
  try {
    if (!paused) await ask();
  } catch (error) {
    if (document.body.dataset.link !== "gone") {
      document.body.dataset.link = "gone";
      document.body.dataset.old = true;
      console.error(error);
      verdict({ level: "crit", head: "No answer from the flow", text: "The page asks again each second. The values below are old.", since: Date.now() / 1e3 });
    }
  }
  setTimeout(look, document.body.dataset.link === "gone" ? 2 * EVERY_MS : EVERY_MS);
}

function frame(now) {
  for (const chart of charts.values()) chart.frame(now);
  requestAnimationFrame(frame);
}

at("rig").addEventListener("change", event => {
  rig = event.target.value;
  clear();
});
at("pause").addEventListener("click", event => {
  paused = !paused;
  set(event.target, "aria-pressed", paused);
  note(paused ? `Paused at ${clock(Date.now() / 1e3)}; the flow goes on.` : "");
});
look();
requestAnimationFrame(frame);
