// One signal: its aligned channels, and the fused value with its band.

import { clock, each, make, measured, number, put, putName, set, spaced } from "./texts.js";

const DASHES = [[], [7, 3], [2, 3], [10, 3, 2, 3]];
const COLOURS = 6;
const LEFT = 46, RIGHT = 12, TOP = 10, BOTTOM = 22;
const MAX_POINTS = 1300; // points kept: twice those of the server
const still = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");
let colours = null, seen = false;
dark.addEventListener("change", () => { colours = null; });

function palette() {
  if (colours) return colours;
  const style = getComputedStyle(document.documentElement);
  const of = name => style.getPropertyValue(name).trim();
  colours = { ink: of("--ink"), soft: of("--soft"), line: of("--line"), paper: of("--card"),
    channels: Array.from({ length: COLOURS }, (_, i) => of(`--c${i}`)) };
  return colours;
}

export class Chart {
  constructor(name) {
    this.name = name;
    this.node = make("section", "card signal");
    this.node.setAttribute("aria-label", `Signal ${name}`);
    const title = make("h2", "", spaced(name));
    this.value = make("span", "value");
    title.append(this.value);
    this.legend = make("div", "legend");
    const fused = make("p", "", "");
    this.fused = make("span");
    fused.append(make("i", "swatch"), this.fused);
    this.canvas = make("canvas");
    this.canvas.setAttribute("role", "img");
    this.keys = make("div", "legend");
    this.legend.append(fused, this.keys);
    this.node.append(title, this.legend, this.canvas);
    this.hidden = new Set();
    this.left = LEFT;
    this.clear();
    // A new size needs a new picture.
    new ResizeObserver(() => this.fit()).observe(this.canvas);
  }

  clear() {
    this.ts = [];
    this.lines = new Map();
    this.channels = [];
    this.low = this.high = this.edge = this.from = null;
    this.drawn = NaN;
  }

  // Add newer points; the right edge then moves to the newest one within one interval.
  add(history, interval) {
    const signal = history.signals[this.name];
    this.window = history.window_s;
    this.channels = Object.keys(signal.channels);
    const parts = [["value", signal.value], ["sd", signal.sd], ...Object.entries(signal.channels).map(([c, v]) => ["=" + c, v])];
    this.ts.push(...history.ts);
    for (const [name, values] of parts) {
      if (!this.lines.has(name)) this.lines.set(name, []);
      this.lines.get(name).push(...values);
    }
    if (this.ts.length > MAX_POINTS) {
      const surplus = this.ts.length - MAX_POINTS / 2;
      for (const values of [this.ts, ...this.lines.values()]) values.splice(0, surplus);
    }
    this.from = this.edge ?? this.ts.at(-1);
    this.began = performance.now();
    this.interval = interval;
  }

  // Update the legend, its numbers, and the text alternative of the picture.
  describe(signal, channels) {
    put(this.value, measured(signal.value, signal.sd, signal.unit ?? ""));
    put(this.fused, `fused ±2 sd${signal.unit ? `, ${signal.unit}` : ""}`);
    const known = new Map(channels.map(c => [c.channel, c]));
    this.weight = new Map(this.channels.map(name => [name, known.get(name)?.weight ?? 0]));
    each(this.keys, this.channels, name => name, name => this.key(name), (node, name, i) => {
      const weight = this.weight.get(name);
      put(node.lastChild, `${number(weight * 100, 0)}\u00a0%`);
      set(node, "aria-pressed", !this.hidden.has(name));
      set(node, "data-idle", !weight);
      set(node, "data-colour", i % COLOURS);
      set(node, "data-dash", i % DASHES.length);
    });
    set(this.canvas, "aria-label", `The last ${number(this.window, 0)} seconds of ${spaced(this.name)}: ${this.channels.length} aligned channels and the fused value${signal.unit ? ` in ${signal.unit}` : ""}; the numbers are above and below.`);
  }

  key(name) {
    const node = make("button");
    node.type = "button";
    node.title = "Show or hide this line";
    node.append(make("i", "swatch"), make("span"), make("span", "weight"));
    putName(node.children[1], name);
    node.addEventListener("click", () => {
      if (!this.hidden.delete(name)) this.hidden.add(name);
      set(node, "aria-pressed", !this.hidden.has(name));
      this.drawn = NaN;
    });
    return node;
  }

  fit() {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    this.pen = this.canvas.getContext("2d");
    this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.drawn = NaN;
    this.frame(performance.now()); // a canvas of another size is blank
  }

  // Called for each frame; draws only where a line would move by a pixel.
  frame(now) {
    if (!this.ts.length || !this.pen || !this.width) return;
    const newest = this.ts.at(-1);
    const share = still.matches ? 1 : Math.min((now - this.began) / this.interval, 1);
    this.edge = this.from + (newest - this.from) * share;
    const pixel = this.window / (this.width - this.left - RIGHT);
    if (Math.abs(this.edge - this.drawn) < pixel && colours) return;
    this.drawn = this.edge;
    this.draw();
  }

  range(first) {
    let low = Infinity, high = -Infinity;
    const reach = (values, by) => {
      for (let i = first; i < values.length; i++) {
        if (values[i] === null) continue;
        low = Math.min(low, values[i] - by(i));
        high = Math.max(high, values[i] + by(i));
      }
    };
    const sd = this.lines.get("sd");
    reach(this.lines.get("value"), i => 2 * (sd[i] ?? 0));
    for (const name of this.channels) if (!this.hidden.has(name)) reach(this.lines.get("=" + name), () => 0);
    if (low > high) return [0, 1];
    const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    return [low - room, high + room];
  }

  draw() {
    const { pen, width, height, ts, window: seconds } = this, c = palette();
    const begin = this.edge - seconds;
    let first = ts.findIndex(t => t >= begin);
    first = Math.max(0, first < 0 ? ts.length - 1 : first - 1);
    const [low, high] = this.range(first);
    // The scale follows slowly, except after a clear.
    const ease = this.low === null || still.matches ? 1 : 0.12;
    this.low = ease === 1 ? low : this.low + (low - this.low) * ease;
    this.high = ease === 1 ? high : this.high + (high - this.high) * ease;
    const marks = this.marks(pen), left = this.left;
    const x = t => left + (width - left - RIGHT) * (t - begin) / seconds;
    const y = v => TOP + (height - TOP - BOTTOM) * (this.high - v) / (this.high - this.low);

    pen.clearRect(0, 0, width, height);
    this.grid(pen, c, y, seconds, marks);
    pen.save();
    pen.beginPath();
    pen.rect(left, 0, width - left - RIGHT + 6, height - BOTTOM);
    pen.clip();
    pen.lineJoin = "round";
    const value = this.lines.get("value"), sd = this.lines.get("sd");
    this.band(pen, c, x, y, first, value, sd);
    this.line(pen, x, y, first, value, c.ink, 4);
    this.channels.forEach((name, i) => {
      if (this.hidden.has(name)) return;
      pen.setLineDash(DASHES[i % DASHES.length]);
      pen.globalAlpha = this.weight?.get(name) ? 0.95 : 0.45;
      this.line(pen, x, y, first, this.lines.get("=" + name), c.channels[i % COLOURS], 1.5);
    });
    pen.globalAlpha = 1;
    pen.setLineDash([]);
    const last = ts.findLastIndex(t => t <= this.edge + 1e-9);
    if (last >= 0 && value[last] !== null) {
      pen.fillStyle = c.ink;
      pen.beginPath();
      pen.arc(x(ts[last]), y(value[last]), 4, 0, 7);
      pen.fill();
    }
    pen.restore();
    if (!seen) seen = performance.mark("drawn"); // benches measure the time to the first picture
  }

  line(pen, x, y, first, values, colour, thick) {
    pen.strokeStyle = colour;
    pen.lineWidth = thick;
    pen.beginPath();
    let open = false;
    for (let i = first; i < values.length && this.ts[i] <= this.edge + 1e-9; i++) {
      if (values[i] === null) { open = false; continue; }
      if (open) pen.lineTo(x(this.ts[i]), y(values[i])); else pen.moveTo(x(this.ts[i]), y(values[i]));
      open = true;
    }
    pen.stroke();
  }

  band(pen, c, x, y, first, value, sd) {
    pen.fillStyle = c.ink;
    pen.globalAlpha = 0.14;
    let from = first;
    for (let i = first; i <= value.length; i++) {
      const gone = i === value.length || this.ts[i] > this.edge + 1e-9;
      if (!gone && value[i] !== null && sd[i] !== null) continue;
      pen.beginPath();
      for (let k = from; k < i; k++) pen.lineTo(x(this.ts[k]), y(value[k] + 2 * sd[k]));
      for (let k = i - 1; k >= from; k--) pen.lineTo(x(this.ts[k]), y(value[k] - 2 * sd[k]));
      pen.fill();
      from = i + 1;
      if (gone) break;
    }
    pen.globalAlpha = 1;
  }

  // The marks of the value axis, as [value, text]; the left margin fits the widest one.
  marks(pen) {
    const span = this.high - this.low, rough = 10 ** Math.floor(Math.log10(span / 4));
    const step = [1, 2, 5, 10].map(n => n * rough).find(s => span / s <= 5);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const first = Math.ceil(this.low / step), count = Math.floor(this.high / step) - first + 1;
    const marks = Array.from({ length: count }, (_, i) => [(first + i) * step, number((first + i) * step + 0, digits)]);
    pen.font = "11px system-ui, sans-serif";
    this.left = Math.max(LEFT, ...marks.map(([, text]) => pen.measureText(text).width + 14));
    return marks;
  }

  grid(pen, c, y, seconds, marks) {
    pen.fillStyle = c.soft;
    pen.strokeStyle = c.line;
    pen.lineWidth = 1;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    pen.beginPath();
    for (const [v, text] of marks) {
      const at = Math.round(y(v)) + 0.5;
      pen.moveTo(this.left, at);
      pen.lineTo(this.width - RIGHT, at);
      pen.fillText(text, this.left - 8, at);
    }
    pen.stroke();
    pen.textBaseline = "alphabetic";
    for (let part = 0; part <= 3; part++) {
      const at = this.left + (this.width - this.left - RIGHT) * part / 3;
      pen.textAlign = ["left", "center", "center", "right"][part];
      // The right edge is the newest tick, which is not now in a replay or a late run.
      pen.fillText(part === 3 ? clock(this.edge) : `−${number(seconds * (1 - part / 3), 0)} s`, at, this.height - 6);
    }
  }
}
