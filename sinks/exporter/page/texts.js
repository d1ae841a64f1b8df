// Numbers, times and elements: one format for the whole page.

const NONE = "–";
const known = x => x !== null && x !== undefined;
const clockFormat = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const formats = new Map();

export function number(x, digits = 2, sign = "negative") {
  if (!known(x)) return NONE;
  const key = digits + sign;
  if (!formats.has(key)) {
    formats.set(key, new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits, signDisplay: sign }));
  }
  return formats.get(key).format(x).replace("-", "−");
}

// Three significant digits at any size.
export const short = x => !known(x) ? NONE : Number(x.toPrecision(3)).toString().replace("-", "−");

// A value and its sd to the same decimal place: that of the sd's second digit.
export function measured(x, sd, unit = "") {
  const end = unit && `\u00a0${unit}`;
  if (!known(x)) return NONE;
  if (!known(sd) || sd < 1e-9) return `${short(x)}${known(sd) ? " ±0" : ""}${end}`;
  const digits = Math.min(Math.max(1 - Math.floor(Math.log10(sd)), 0), 9);
  return `${number(x, digits)} ±${number(sd, digits)}${end}`;
}

// Seconds as ms or s, by size.
export function span(x, sd) {
  const small = Math.abs(x) < 1, scale = small ? 1e3 : 1;
  return measured(known(x) ? x * scale : x, known(sd) ? sd * scale : sd, small ? "ms" : "s");
}
export const clock = ts => known(ts) ? clockFormat.format(ts * 1e3) : NONE;
export const spaced = name => name.replaceAll("_", " ");

export function make(tag, kind = "", text = "") {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  if (text) made.textContent = text;
  return made;
}

// Only differences are written: an unchanged page costs nothing, and a selection stays.
export function put(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

// Names may break at their separators, also within a sentence; numbers and times may not.
export const putName = (node, text) => broken(node, text, /(?<=[:/_@.,-])|(?=\[)/);
export const putText = (node, text) => broken(node, text, /(?<=[/_@]|[:.,-](?=[^\d\s]))|(?=\[)/);

function broken(node, text, at) {
  if (node.textContent === text) return;
  node.replaceChildren(...text.split(at).flatMap(part => [document.createElement("wbr"), part]).slice(1));
}

export function set(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

// Give a node one child for each item, by key; existing children are kept and refilled.
export function each(parent, items, key, create, fill) {
  const old = new Map([...parent.children].map(child => [child.dataset.key, child]));
  items.forEach((item, i) => {
    const name = key(item);
    const child = old.get(name) ?? create(item);
    child.dataset.key = name;
    old.delete(name);
    if (parent.children[i] !== child) parent.insertBefore(child, parent.children[i] ?? null);
    fill(child, item, i);
  });
  for (const child of old.values()) child.remove();
}
