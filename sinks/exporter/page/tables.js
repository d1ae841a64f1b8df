// The tables: streams with their channels, and the list of changes.

import { clock, each, make, measured, number, put, putName, putText, set, span, spaced } from "./texts.js";

const SIGNS = { live: "●", acquiring: "◐", rejoining: "◐", stale: "○", lost: "✕", down: "✕", waiting: "◌" };
const HEADS = ["Channel", "State", "Weight", "Offset", "Skew", "Lag", "Confidence", "Rate", "Jitter", "Lost"];
const SVG = document.querySelector("svg").namespaceURI;
const lost = x => x.late + x.duplicate + x.outliers + x.rejected + (x.dropped ?? 0);
const losses = x => ["late", "duplicate", "outliers", "rejected", "dropped"].filter(end => x[end]).map(end => `${number(x[end], 0)}\u00a0${end}`).join(", ");

// On a narrow screen rows are laid out as cards; the roles keep it a table for screen readers.
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
    if (!i) cell.append(make("small"));
    made.append(cell);
  });
  return made;
}

function cells(node, texts) {
  texts.forEach((text, i) => (i ? put : putName)(node.children[i].firstChild, text));
}

function state(cell, text) {
  put(cell.firstChild, `${SIGNS[text] ?? ""} ${text}`);
  set(cell.firstChild, "class", `state ${text}`);
}

// The course of a number over the newest lines, without a scale: it shows whether it is steady.
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
  const [own, at] = [c.channel.indexOf(":"), c.channel.indexOf("@")];
  cells(node, [c.channel.slice(at >= 0 && at < own ? at : own + 1), "", c.weight === null ? "–" : `${number(c.weight * 100, 0)}\u00a0%`,
    span(c.offset_s, c.offset_sd_s), measured(c.skew_ppm, c.skew_sd_ppm, "ppm"), span(c.lag_s, c.lag_sd_s),
    number(c.confidence, 2), measured(c.rate_hz, null, "Hz"), span(c.jitter_p95_s), lost(c) ? losses(c) : "none"]);
  put(node.children[0].lastChild, c.unit ?? "");
  set(node.lastChild, "data-long", lost(c) > 0);
  state(node.children[1], c.state);
  // Changes below 1 ms of lag or offset, or 0.1 % of a rate, are shown as flat.
  spark(node.children[3], track.map(m => m[1]), 1e-3);
  spark(node.children[5], track.map(m => m[2]), 1e-3);
  spark(node.children[7], track.map(m => m[3]), (c.rate_hz ?? 1) * 1e-3);
}

export function streams(frame, rig, tracks) {
  const made = table(frame, "Each stream, and the clock, lag and losses of each of its channels", HEADS, "streams");
  const source = c => c.channel.slice(0, c.channel.indexOf(":")), of = name => rig.channels.filter(c => (source(c) === name || source(c).startsWith(`${name}@`)));
  each({ get children() { return made.tBodies; }, insertBefore: (a, b) => made.insertBefore(a, b) }, rig.streams, s => s.stream, () => {
    const body = make("tbody");
    body.setAttribute("role", "rowgroup");
    return body;
  }, (body, s) => {
    each(body, [s, ...of(s.stream)], item => item.channel ?? "", item => item.channel ? row("channel", HEADS, "row") : row("stream", ["Stream", "State", "Last event", "Events", "Lost"], "rowgroup"),
      (node, item) => {
        if (item.channel) return channel(node, item, tracks.get(item.channel) ?? []);
        cells(node, [s.stream, "", s.spoken ? `${number(s.age_s, 1)}\u00a0s\u00a0ago` : "never", `${number(s.received, 0)}\u00a0received, ${number(s.used, 0)}\u00a0used`, s.refused ?? (lost(s) ? losses(s) : "none")]);
        node.children[3].colSpan = 3;
        node.children[4].colSpan = 4;
        set(node.lastChild, "data-long", s.refused !== null || lost(s) > 0);
        state(node.children[1], s.state);
      });
  });
}

export function events(frame, happened) {
  const made = table(frame, "The newest changes and findings, newest first", ["Time", "What", "Became"], "events");
  const body = made.tBodies[0] ?? made.appendChild(make("tbody"));
  body.setAttribute("role", "rowgroup");
  each(body, happened, e => `${e.kind} ${e.name} ${e.since}`, () => row("", ["Time", "What", "Became"], "row"), (node, { ts, kind, name, text, since, before }) => {
    put(node.children[0].firstChild, clock(ts));
    putName(node.children[1].firstChild, kind === "mode" ? "mode" : kind === "clock" ? `clock of ${name}` : name);
    putText(node.children[2].firstChild, (kind === "mode" ? spaced : String)(before ? `${text}; ${before} since ${clock(since)}` : text));
  });
}
