// The page: reads server-sent states and shows them. What is shown is always one whole state.
import { drawDepth, drawLine } from "./charts.js";
import { showBook, showSide } from "./ladder.js";
import { Past } from "./past.js";
import { byId, seconds, setText } from "./text.js";

const historyEvery = 1000; // milliseconds between two questions for the points of the charts
const lostAfter = 3000; // without a state the server counts as lost

const view = { symbol: "", symbols: [], source: null, lastState: 0, book: null };
const past = new Past(() => view.symbol, showPast, showLive);

function connect(symbol) {
  view.source?.close();
  view.source = new EventSource("api/live?symbol=" + encodeURIComponent(symbol));
  view.source.onmessage = (event) => show(JSON.parse(event.data));
}

function select(symbol) {
  if (symbol === view.symbol) return;
  view.symbol = symbol;
  location.hash = encodeURIComponent(symbol);
  past.leave();
  connect(symbol);
  refreshHistory();
  showSymbols();
}

function show(state) {
  view.lastState = Date.now();
  const cut = state.health && state.health.connections === 0;
  setLink(cut ? "bad" : "good", cut ? "no word from the exchange" : "live");
  if (state.symbols) {
    view.symbols = state.symbols;
    past.clock(state.time);
    showSymbols();
  }
  if (!view.symbol) view.symbol = state.symbol.symbol;
  showHealth(state.health);
  showTrades(state.trades);
  view.live = state;
  if (!past.active) showLive();
}

function showLive() {
  const state = view.live;
  if (!state) return;
  setText("symbol", state.symbol.symbol);
  setPill("state", state.symbol.state === "synced" ? "good" : "bad", state.symbol.state);
  setText("lastid", state.symbol.lastId);
  setText("age", state.symbol.ageMs < 0 ? "–" : seconds(state.symbol.ageMs));
  const gap = state.symbol.lastGap ? " Last gap: " + state.symbol.lastGap + "." : "";
  notice(state.book ? "" : "The book is not synced." + gap + " It resyncs by itself.");
  setBook(state.book);
}

function showPast(answer) {
  setText("symbol", view.symbol);
  setPill("state", "past", "archive");
  setText("lastid", answer.book ? answer.book.lastId : "–");
  setText("age", "–");
  notice(answer.error ? answer.error + "." : "", [["Go to the last good moment", answer.from], ["Go to the next good moment", answer.to]]);
  setBook(answer.book ?? null);
}

function setBook(book) {
  document.body.dataset.stale = String(!book);
  document.body.dataset.source = past.active ? "archive" : "live";
  if (!book) return;
  view.book = book;
  showBook(book);
  drawDepth(byId("depth"), book);
}

function notice(text, moments = []) {
  const box = byId("notice");
  box.replaceChildren(text);
  box.hidden = !text;
  for (const [label, at] of moments) {
    if (!at || !text) continue;
    const button = document.createElement("button");
    button.textContent = label;
    button.onclick = () => past.show(Date.parse(at));
    box.append(document.createElement("br"), button);
  }
}

function setPill(id, state, text) {
  byId(id).dataset.state = state;
  setText(id, text);
}

function setLink(state, text) { setPill("link", state, text); }

// showSymbols keeps the rows that are there, so that focus and scrolling stay where they are.
function showSymbols() {
  const wanted = byId("filter").value.trim().toUpperCase();
  const shown = view.symbols.filter((s) => s.symbol.toUpperCase().includes(wanted)).slice(0, 200);
  const list = byId("symbols");
  while (list.children.length > shown.length) list.lastChild.remove();
  shown.forEach((s, i) => {
    const row = list.children[i] ?? list.appendChild(newRow());
    row.id = "symbol-" + i;
    row.dataset.symbol = s.symbol;
    row.dataset.state = s.state;
    row.firstChild.textContent = s.symbol;
    row.lastChild.textContent = s.ageMs < 0 ? s.state : seconds(s.ageMs);
    row.title = s.state + (s.listing ? ", " + s.listing : "") + (s.lastGap ? ", last gap: " + s.lastGap : "");
    row.setAttribute("aria-selected", String(s.symbol === view.symbol));
    if (s.symbol === view.symbol) list.setAttribute("aria-activedescendant", row.id);
  });
  const synced = view.symbols.filter((s) => s.state === "synced").length;
  setText("synced", synced + " of " + view.symbols.length + " synced" + (shown.length === 200 ? ", first 200 shown" : ""));
}

function newRow() {
  const row = document.createElement("li");
  row.setAttribute("role", "option");
  row.append(document.createElement("b"), document.createElement("span"));
  row.onclick = () => select(row.dataset.symbol);
  return row;
}

function step(by) {
  const rows = [...byId("symbols").children];
  const at = rows.findIndex((row) => row.dataset.symbol === view.symbol);
  const next = rows[Math.min(rows.length - 1, Math.max(0, at + by))];
  if (!next) return;
  select(next.dataset.symbol);
  next.scrollIntoView({ block: "nearest" });
}

function showHealth(h) {
  const list = byId("health");
  if (!h) return list.replaceChildren();
  const blocked = h.blockedUntil && Date.parse(h.blockedUntil) > Date.now();
  const lines = [
    ["exchange", h.connections + " of " + h.connectionsWant, h.connections < h.connectionsWant],
    ["weight", blocked ? "blocked" : h.weightLimit ? h.weightUsed + " of " + h.weightLimit : h.weightUsed, blocked],
    ["bus", h.busConnected ? "up" : "down", !h.busConnected],
    ["published", h.published.toLocaleString("en"), false],
  ];
  if (!h.noStore) lines.push(
    ["store", h.storeConnected ? "up" : "down", !h.storeConnected],
    ["lag", h.lagSeconds.toFixed(2) + " s", h.lagSeconds > 10],
    ["waiting", h.pending, false],
    ["stored", h.stored.toLocaleString("en"), false],
    ["dead letters", h.deadLetters, h.deadLetters > 0],
  );
  while (list.children.length > lines.length) list.lastChild.remove();
  lines.forEach(([name, value, bad], i) => {
    let line = list.children[i];
    if (!line) {
      line = list.appendChild(document.createElement("div"));
      line.append(document.createElement("dt"), document.createElement("dd"));
    }
    line.firstChild.textContent = name;
    line.lastChild.textContent = value;
    line.lastChild.dataset.bad = String(bad);
    line.lastChild.id = "health-" + name.replace(" ", "");
  });
}

function showTrades(trades) {
  showSide(byId("trades").tBodies[0], trades.slice(0, 30), (row, trade) => {
    row.dataset.side = trade.side;
    return [new Date(trade.time).toLocaleTimeString("en-GB"), trade.price, trade.quantity];
  });
}

async function refreshHistory() {
  const symbol = view.symbol;
  if (!symbol) return;
  try {
    const answer = await fetch("api/history?symbol=" + encodeURIComponent(symbol));
    const { points } = await answer.json();
    if (symbol !== view.symbol) return;
    drawLine(byId("midchart"), points, "mid", "--mark");
    drawLine(byId("spreadchart"), points, "spread", "--warn");
  } catch { /* the server is away, which the link says */ }
}

function watchLink() {
  if (Date.now() - view.lastState < lostAfter) return;
  setLink("bad", "no word from the program");
  document.body.dataset.stale = "true";
  if (view.source?.readyState === EventSource.CLOSED) connect(view.symbol); // refused, which is not tried again by itself
}

document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement;
  if (event.key === "/" && !typing) {
    event.preventDefault();
    byId("filter").focus();
  } else if (event.key === "Escape") {
    if (event.target === byId("filter")) byId("filter").value = "", showSymbols();
    past.leave();
  } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && (!typing || event.target === byId("filter"))) {
    event.preventDefault();
    step(event.key === "ArrowDown" ? 1 : -1);
  }
});
byId("filter").addEventListener("input", showSymbols);
addEventListener("hashchange", () => select(decodeURIComponent(location.hash.slice(1))));
addEventListener("resize", () => view.book && drawDepth(byId("depth"), view.book));

view.symbol = decodeURIComponent(location.hash.slice(1));
connect(view.symbol);
setInterval(refreshHistory, historyEvery);
setInterval(watchLink, 1000);
