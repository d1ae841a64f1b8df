// The beat clock: its state, rate and phase error, and the conditions that are unmet.

import { clock, each, make, number, put, putText, set } from "./texts.js";

const LEVELS = { E2: "good", E3: "warn", E4: "crit" };
const known = x => x !== null;

// A phase error in cycles of a tick is shown as time, which is heard.
function error({ phase_error, tick_s }) {
  if (!known(phase_error) || !known(tick_s)) return number(null);
  return `${number(1e3 * phase_error * tick_s, 1, "exceptZero")}\u00a0ms`;
}

function rate({ tick_s }) {
  return known(tick_s) ? `${number(1 / tick_s, 2)}\u00a0Hz` : number(null);
}

function sound({ safety_gain, hard_stop }) {
  if (hard_stop) return "hard stop";
  return safety_gain === 0 ? "silent" : `gain ${number(safety_gain, 2)}`;
}

function rows(shown) {
  return [
    ["State", `${shown.state} ${shown.name}${known(shown.since) ? ` since ${clock(shown.since)}` : ""}`, LEVELS[shown.state] ?? "wait"],
    ["Rate", rate(shown), "none"],
    ["Phase error", error(shown), "none"],
    ["Lock", shown.lock, "none"],
    ["Sync quality", number(shown.sync_quality, 3), "none"],
    ["Sound", sound(shown), shown.hard_stop ? "crit" : "none"],
  ];
}

function create() {
  const node = make("div");
  node.append(make("dt"), make("dd"));
  return node;
}

function fill(node, [title, text, level]) {
  put(node.children[0], title);
  put(node.children[1], text);
  set(node.children[1], "data-level", level);
}

export function bridge(card, shown) {
  card.hidden = shown === null;
  if (shown === null) return;
  const [, list, unmet] = card.children;
  each(list, rows(shown), ([title]) => title, create, fill);
  const sentences = shown.unmet.length ? shown.unmet : ["Nothing is unmet."];
  each(unmet, sentences.map((text, i) => [i, text]), ([i]) => i, () => make("li"), (node, [, text]) => putText(node, text));
}
