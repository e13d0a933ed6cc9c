// The charts, drawn on canvases in the colours of the style sheet.
import { plain } from "./text.js";

const colour = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();

// resolve gives a colour as the canvas understands it, also where the style sheet says light-dark().
function resolve(canvas, name) {
  canvas.style.color = "var(" + name + ")";
  return getComputedStyle(canvas).color || colour(name);
}

function begin(canvas) {
  const scale = devicePixelRatio || 1, box = canvas.getBoundingClientRect();
  canvas.width = Math.round(box.width * scale);
  canvas.height = Math.round(box.height * scale);
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.font = "11px system-ui, sans-serif";
  return { pen, width: box.width, height: box.height - 16 };
}

function label(canvas, c, text, x, y, align) {
  c.pen.fillStyle = resolve(canvas, "--quiet");
  c.pen.textAlign = align;
  c.pen.fillText(text, x, y);
}

// clear leaves a canvas empty.
export function clear(canvas) {
  begin(canvas);
}

// drawDepth draws how much rests on each side up to a price.
export function drawDepth(canvas, book) {
  const c = begin(canvas);
  const bids = stairs(book.bids), asks = stairs(book.asks);
  if (!bids.length && !asks.length) return;
  const low = (bids.at(-1) ?? asks[0]).price, high = (asks.at(-1) ?? bids[0]).price;
  const top = Math.max(bids.at(-1)?.sum ?? 0, asks.at(-1)?.sum ?? 0);
  const x = (price) => ((price - low) / (high - low || 1)) * c.width;
  const y = (sum) => c.height - (sum / (top || 1)) * (c.height - 14);
  drawStairs(canvas, c, bids, x, y, "--bid");
  drawStairs(canvas, c, asks, x, y, "--ask");
  label(canvas, c, plain(low), 2, c.height + 13, "left");
  label(canvas, c, plain(high), c.width - 2, c.height + 13, "right");
  label(canvas, c, plain(top), 2, 10, "left");
}

function stairs(levels) {
  let sum = 0;
  return levels.map(([price, quantity]) => ({ price: Number(price), sum: (sum += Number(quantity)) }));
}

function drawStairs(canvas, c, steps, x, y, name) {
  if (!steps.length) return;
  const { pen } = c;
  pen.beginPath();
  pen.moveTo(x(steps[0].price), c.height);
  let last = c.height;
  for (const s of steps) {
    pen.lineTo(x(s.price), last);
    last = y(s.sum);
    pen.lineTo(x(s.price), last);
  }
  pen.strokeStyle = pen.fillStyle = resolve(canvas, name);
  pen.lineWidth = 1.5;
  pen.stroke();
  pen.lineTo(x(steps.at(-1).price), c.height);
  pen.globalAlpha = 0.15;
  pen.fill();
  pen.globalAlpha = 1;
}

// drawLine draws one field of points over time, with a hole where it is null.
export function drawLine(canvas, points, field, name) {
  const c = begin(canvas);
  const known = points.filter((p) => p[field] !== null);
  if (!known.length) return;
  const values = known.map((p) => p[field]);
  const low = Math.min(...values), high = Math.max(...values);
  const from = points[0].t, to = points.at(-1).t;
  const x = (t) => ((t - from) / (to - from || 1)) * c.width;
  const y = (v) => 12 + (1 - (v - low) / (high - low || 1)) * (c.height - 16);
  c.pen.beginPath();
  let down = false;
  for (const p of points) {
    if (p[field] === null) { down = false; continue; }
    c.pen[down ? "lineTo" : "moveTo"](x(p.t), y(p[field]));
    down = true;
  }
  c.pen.strokeStyle = resolve(canvas, name);
  c.pen.lineWidth = 1.5;
  c.pen.stroke();
  label(canvas, c, plain(high), 2, 10, "left");
  label(canvas, c, plain(low), 2, c.height, "left");
  label(canvas, c, new Date(from).toLocaleTimeString("en-GB"), 2, c.height + 13, "left");
  label(canvas, c, new Date(to).toLocaleTimeString("en-GB"), c.width - 2, c.height + 13, "right");
}
