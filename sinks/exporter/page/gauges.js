// Indicators against their thresholds: a value on a scale of zones with different patterns.

import { each, make, number, put, set, spaced } from "./texts.js";

const SIGNS = { good: "✓ good", warn: "! watch", crit: "✕ beyond" };

function create() {
  const node = make("div", "gauge");
  const track = make("div", "track");
  track.append(make("i", "zone crit"), make("i", "zone warn"), make("i", "zone good"), make("i", "needle"));
  const top = make("p");
  top.append(make("span", "name"), make("span", "level"), make("span", "value"));
  node.append(top, track, make("p", "budget"));
  track.setAttribute("role", "meter");
  track.setAttribute("aria-valuemin", 0);
  return node;
}

function fill(node, [name, indicator]) {
  const { value, why, budget, crit, least, level } = indicator;
  const [top, track, below] = node.children, [title, verdict, shown] = top.children;
  const most = budget === null || least ? 1 : crit * 1.6;
  const place = x => `${100 * Math.min(Math.max(x / most, 0), 1)}%`;
  const digits = most < 0.1 ? 4 : 3;
  put(title, spaced(name));
  put(verdict, SIGNS[level] ?? "");
  put(shown, number(value, digits));
  set(node, "data-level", level ?? "none");
  set(node, "data-least", least ?? "none");
  put(below, why !== null ? `empty: ${why}` : budget === null ? "no budget" : `${least ? "at least" : "at most"} ${budget}; critical ${least ? "below" : "above"} ${crit}`);
  const style = track.style;
  style.setProperty("--good", place(budget ?? 0));
  style.setProperty("--crit", place(crit ?? 0));
  style.setProperty("--at", place(value ?? 0));
  set(track, "data-known", value !== null);
  set(track, "aria-label", spaced(name));
  set(track, "aria-valuemax", number(most, 3));
  set(track, "aria-valuenow", number(Math.min(value ?? 0, most), digits));
  set(track, "aria-valuetext", value === null ? why : `${number(value, digits)} ${SIGNS[level]?.slice(2) ?? ""}`.trim());
}

export function gauges(parent, indicators) {
  each(parent, Object.entries(indicators), ([name]) => name, create, fill);
}
