// The tables: streams with their channels, and what happened.

import { clock, each, make, number, put, set, short, span, within } from "./words.js";
import { describe } from "./timeline.js";

const SIGNS = { live: "●", acquiring: "◐", rejoining: "◐", stale: "○", lost: "✕", down: "✕", waiting: "◌" };
const HEADS = ["Channel", "State", "Weight", "Offset", "Skew", "Lag", "Confidence", "Rate", "Jitter", "Lost"];
const NEWEST = 16;
const SVG = document.querySelector("svg").namespaceURI;
const lost = x => x.late + x.duplicate + x.outliers + x.rejected + (x.dropped ?? 0);
const losses = x => ["late", "duplicate", "outliers", "rejected", "dropped"].filter(end => x[end]).map(end => `${number(x[end], 0)} ${end}`).join(", ");

// On a narrow screen rows are laid out as cards; the roles keep it a table for who listens to it.
function table(frame, caption, heads, kind) {
  if (frame.firstChild) return frame.firstChild;
  const made = make("table", kind), head = made.createTHead(), row = head.insertRow();
  made.createCaption().textContent = caption;
  made.setAttribute("role", "table");
  head.setAttribute("role", "rowgroup");
  row.setAttribute("role", "row");
  for (const text of heads) {
    const cell = make("th", "", text);
    cell.scope = "col";
    cell.setAttribute("role", "columnheader");
    row.append(cell);
  }
  frame.append(made);
  return made;
}

function row(kind, heads, scope) {
  const made = make("tr", kind);
  made.setAttribute("role", "row");
  heads.forEach((head, i) => {
    const cell = make(i ? "td" : "th");
    cell.setAttribute("role", i ? "cell" : "rowheader");
    if (i) cell.dataset.head = head; else cell.scope = scope;
    cell.append(make("span"));
    made.append(cell);
  });
  return made;
}

function cells(node, texts) {
  texts.forEach((text, i) => put(node.children[i].firstChild, text));
}

function state(cell, text) {
  put(cell.firstChild, `${SIGNS[text] ?? ""} ${text}`);
  set(cell.firstChild, "class", `state ${text}`);
}

// What a number did over the newest lines, without a scale: whether it is calm is what is seen.
function spark(cell, values, floor) {
  const known = values.filter(v => v !== null);
  let picture = cell.querySelector("svg");
  if (known.length < 2) { picture?.remove(); return; }
  if (!picture) {
    picture = document.createElementNS(SVG, "svg");
    picture.setAttribute("viewBox", "0 0 60 16");
    picture.setAttribute("preserveAspectRatio", "none");
    picture.setAttribute("class", "spark");
    picture.setAttribute("aria-hidden", "true");
    picture.append(document.createElementNS(SVG, "polyline"));
    cell.append(picture);
  }
  const low = Math.min(...known), high = Math.max(...known), middle = (low + high) / 2;
  const half = Math.max((high - low) / 2, floor);
  const points = known.map((v, i) => `${(60 * i / (known.length - 1)).toFixed(1)},${(8 - 7 * (v - middle) / half).toFixed(1)}`);
  set(picture.firstChild, "points", points.join(" "));
}

function channel(node, c, track) {
  cells(node, [c.channel.slice(c.channel.indexOf(":") + 1), "", c.weight === null ? "–" : `${number(c.weight * 100, 0)} %`,
    within(c.offset_s, c.offset_sd_s, span), c.skew_ppm === null ? "–" : `${within(c.skew_ppm, c.skew_sd_ppm, x => number(x, 1))} ppm`,
    within(c.lag_s, c.lag_sd_s, x => span(x, 1)), number(c.confidence, 2), c.rate_hz === null ? "–" : `${short(c.rate_hz)} Hz`,
    span(c.jitter_p95_s), lost(c) ? losses(c) : "none"]);
  state(node.children[1], c.state);
  // A millisecond of lag or offset, a thousandth of a rate: less than that is calm.
  spark(node.children[3], track.map(m => m[1]), 1e-3);
  spark(node.children[5], track.map(m => m[2]), 1e-3);
  spark(node.children[7], track.map(m => m[3]), (c.rate_hz ?? 1) * 1e-3);
}

export function streams(frame, rig, tracks) {
  const made = table(frame, "Each stream, and the clock, lag and losses of each of its channels", HEADS, "streams");
  const of = name => rig.channels.filter(c => c.channel.slice(0, c.channel.indexOf(":")) === name);
  each({ get children() { return made.tBodies; }, insertBefore: (a, b) => made.insertBefore(a, b) }, rig.streams, s => s.stream, () => {
    const body = make("tbody");
    body.setAttribute("role", "rowgroup");
    return body;
  }, (body, s) => {
    each(body, [s, ...of(s.stream)], item => item.channel ?? "", item => item.channel ? row("channel", HEADS, "row") : row("stream", ["Stream", "State", "Last heard", "Events", "Lost"], "rowgroup"),
      (node, item) => {
        if (item.channel) return channel(node, item, tracks.get(item.channel) ?? []);
        cells(node, [s.stream, "", s.spoken ? `${number(s.age_s, 1)} s ago` : "never", `${number(s.received, 0)} received, ${number(s.used, 0)} used`, s.refused ?? (lost(s) ? losses(s) : "none")]);
        node.children[3].colSpan = 6;
        state(node.children[1], s.state);
      });
  });
}

export function events(frame, rig, evidence) {
  const made = table(frame, "The newest changes and findings, newest first", ["Time", "What", "Became"], "events");
  const body = made.tBodies[0] ?? made.appendChild(make("tbody"));
  body.setAttribute("role", "rowgroup");
  const all = [
    ...rig.changes.map(c => [c.ts, ...describe(c)]),
    ...evidence.map(r => [r.ts, r.rule, [r.state, r.risk ?? r.quote].filter(Boolean).join(": ")]),
  ].sort((a, b) => b[0] - a[0]).slice(0, NEWEST);
  each(body, all, item => item.join(" "), () => row("", ["Time", "What", "Became"], "row"), (node, [ts, what, now]) => cells(node, [clock(ts), what, now]));
}
