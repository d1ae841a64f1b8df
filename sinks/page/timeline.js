// Up to ten minutes in three lanes: the mode, what came and went, what the rules found.

import { clock, each, make, number, put, set, words } from "./words.js";

const SPAN_S = 600, LEAST_S = 60;
const LANES = [["mode", "Mode"], ["change", "Changes"], ["evidence", "Evidence"]];
// Of channels and streams only what comes and goes; what is in between stands in the list.
const SIGNS = { clock: "◆", lost: "✕", stale: "○", down: "✕", live: "●" };

// Modes as spells; the last of them lasts until now.
export function spells(rig) {
  const turns = rig.changes.filter(change => change.what === "mode");
  if (!turns.length && rig.mode) turns.push({ ts: rig.mode_since, now: rig.mode });
  return turns.map((turn, i) => ({ from: turn.ts, to: turns[i + 1]?.ts ?? rig.ts, name: turn.now, kind: turn.now }));
}

// Findings as spells; what still fires lasts until now.
export function findings(rig, evidence) {
  const found = new Map();
  for (const record of evidence) {
    const from = record.since, key = `${record.rule} ${from}`;
    const firing = record.state === "firing";
    found.set(key, { from, to: firing ? rig.ts : record.ts, name: record.rule, kind: firing ? record.severity ?? "firing" : "resolved" });
  }
  return [...found.values()];
}

export function describe(change) {
  const step = change.step_s === null ? "" : ` by ${number(change.step_s, 3, "always")}\u00a0s`;
  if (change.what === "mode") return ["mode", words(change.now)];
  if (change.what === "clock") return [`clock of ${change.name}`, `stepped${step}`];
  return [change.name, change.now];
}

function lane(parent, items, begin, end, text) {
  const long = end - begin;
  each(parent, items, item => item.key, () => make("span"), (node, item) => {
    const from = Math.max(item.from, begin);
    node.style.setProperty("--from", `${100 * (from - begin) / long}%`);
    node.style.setProperty("--long", `${100 * (item.to - from) / long}%`);
    set(node, "data-kind", item.kind);
    set(node, "title", item.title);
    put(node, text(item, (item.to - from) / long));
  });
}

export function timeline(title, parent, rig, evidence) {
  if (rig.ts === null) return;
  each(parent, LANES, ([kind]) => kind, ([kind, title]) => {
    const row = make("div", `lane ${kind}`);
    row.append(make("b", "", title), make("div"));
    return row;
  }, () => {});
  // What was before the first change that is known would be made up.
  const first = Math.min(rig.changes[0]?.ts ?? rig.ts, rig.ts - LEAST_S), begin = Math.max(first, rig.ts - SPAN_S);
  put(title, begin > first ? "The last ten minutes" : `Since ${clock(begin)}`);
  const seen = item => item.to >= begin;
  const label = (item, share) => share > 0.02 + item.name.length * 0.009 ? words(item.name) : "";
  const spell = item => ({ ...item, key: `${item.name} ${item.from}`, title: `${words(item.name)} from ${clock(item.from)}` });
  const [modes, changes, rules] = [...parent.children].map(row => row.lastChild);
  const shown = spells(rig).filter(seen);
  const sign = change => SIGNS[change.what] ?? SIGNS[change.now];
  const marks = rig.changes.filter(change => change.what !== "mode" && sign(change) && change.ts >= begin);
  const fires = findings(rig, evidence).filter(seen);
  lane(modes, shown.map(spell), begin, rig.ts, label);
  lane(changes, marks.map(change => ({ from: change.ts, to: change.ts, kind: change.what === "clock" ? "clock" : change.now,
    key: `${change.what} ${change.name} ${change.ts}`, title: `${describe(change).join(" ")} at ${clock(change.ts)}` })), begin, rig.ts, item => SIGNS[item.kind]);
  lane(rules, fires.map(spell), begin, rig.ts, label);
  set(parent, "aria-label", `Mode now ${words(rig.mode)} since ${clock(rig.mode_since)}; ${shown.length - 1} changes of mode, `
    + `${marks.length} of channels, streams and clocks, ${fires.length} findings since ${clock(begin)}. The newest are listed below.`);
}
