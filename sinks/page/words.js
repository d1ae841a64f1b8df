// How numbers, times and elements are made: the same everywhere on the page.

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

// Three digits that say something, whatever the size.
export const short = x => !known(x) ? NONE : Number(x.toPrecision(3)).toString().replace("-", "−");

// Seconds in the unit that a reader would choose.
export function span(x, digits = 2) {
  if (!known(x)) return NONE;
  return Math.abs(x) < 1 ? number(x * 1e3, digits) + "\u00a0ms" : number(x, 3) + "\u00a0s";
}

export const within = (x, sd, unit) => !known(x) ? NONE : unit(x) + (known(sd) ? ` ±${unit(sd)}` : "");
export const clock = ts => known(ts) ? clockFormat.format(ts * 1e3) : NONE;
export const words = name => name.replaceAll("_", " ");

export function make(tag, kind = "", text = "") {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  if (text) made.textContent = text;
  return made;
}

// Only what differs is written: an unchanged page costs nothing, and no selection is lost.
export function put(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

export function set(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

// Make the children of a node one for each item, by key; those that stay are kept and filled anew.
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
