// Up to ten minutes in three lanes: the mode, changes of channels and streams, findings.

import { clock, each, make, number, put, set, spaced } from "./texts.js";

const SPAN_S = 600, STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300];
const LANES = [["mode", "Mode"], ["change", "Changes"], ["evidence", "Evidence"]];
// Only ends and beginnings of presence are marked; the list has all changes.
const SIGNS = { clock: "◆", lost: "✕", stale: "○", down: "✕", live: "●" };

// Modes as intervals; the last one lasts until now.
export function intervals(rig) {
  const turns = rig.changes.filter(change => change.what === "mode");
  if (!turns.length && rig.mode) turns.push({ ts: rig.mode_since, now: rig.mode });
  return turns.map((turn, i) => ({ from: turn.ts, to: turns[i + 1]?.ts ?? rig.ts, name: turn.now, kind: turn.now }));
}

// Findings as intervals; a firing one lasts until now.
export function findings(rig, evidence) {
  const found = new Map();
  for (const record of evidence) {
    const from = record.since, key = `${record.rule} ${from}`;
    const firing = record.state === "firing";
    found.set(key, { from, to: firing ? rig.ts : record.ts, name: record.rule, kind: firing ? record.severity ?? "firing" : "resolved" });
  }
  return [...found.values()];
}

function describe(change) {
  const step = change.step_s === null ? "" : ` by ${number(change.step_s, 3, "always")}\u00a0s`;
  if (change.what === "mode") return ["mode", spaced(change.now)];
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
  each(parent, [...LANES, ["axis", ""]], ([kind]) => kind, ([kind, title]) => {
    const row = make("div", `lane ${kind}`);
    row.append(make("b", "", title), make("div"));
    return row;
  }, () => {});
  const begin = Math.max(rig.began, rig.ts - SPAN_S), long = Math.max(rig.ts - begin, 1), end = begin + long;
  put(title, begin > rig.began ? "The last ten minutes" : `Since the run began at ${clock(begin)}`);
  const seen = item => item.to >= begin;
  const interval = item => ({ ...item, key: `${item.name} ${item.from}`, title: `${spaced(item.name)} from ${clock(item.from)}` });
  const [modes, changes, rules, axis] = [...parent.children].map(row => row.lastChild);
  const shown = intervals(rig).filter(seen), wide = modes.clientWidth;
  const label = (item, share) => share * wide > 12 + item.name.length * 8 ? spaced(item.name) : "";
  const sign = change => SIGNS[change.what] ?? SIGNS[change.now];
  const marks = rig.changes.filter(change => change.what !== "mode" && sign(change) && change.ts >= begin);
  const fires = findings(rig, evidence).filter(seen);
  lane(modes, shown.map(interval), begin, end, label);
  lane(changes, marks.map(change => ({ from: change.ts, to: change.ts, kind: change.what === "clock" ? "clock" : change.now,
    key: `${change.what} ${change.name} ${change.ts}`, title: `${describe(change).join(" ")} at ${clock(change.ts)}` })), begin, end, item => SIGNS[item.kind]);
  lane(rules, fires.map(interval), begin, end, label);
  // A label of seconds is wide: fewer of them.
  const step = STEPS_S.find(s => long / s <= (s < 60 ? 4 : 5)), edge = (step < 60 ? 0.12 : 0.08) * long;
  const times = [];
  for (let t = Math.ceil((begin + edge) / step) * step; t <= end - edge; t += step) times.push(t);
  lane(axis, times.map(t => ({ from: t, to: t, key: String(t), kind: "tick", title: clock(t) })), begin, end, item => step < 60 ? item.title : item.title.slice(0, 5));
  set(parent, "aria-label", `Mode now ${spaced(rig.mode)} since ${clock(rig.mode_since)}; ${shown.length - 1} changes of mode, `
    + `${marks.length} of channels, streams and clocks, ${fires.length} findings since ${clock(begin)}. The newest are listed below.`);
}
