// The page: reads server-sent states and shows them. What is shown is always one whole state.
import { clear, drawDepth, drawLine } from "./charts.js";
import { clearBook, showBook, showSide } from "./ladder.js";
import { age, filled, panels } from "./panels.js";
import { Past } from "./past.js";
import { byId, seconds, setText } from "./text.js";

const historyEvery = 1000; // milliseconds between two questions for the points of the charts
const lostAfter = 3000; // without a state the program counts as lost
const tryEvery = 2000; // of a stream that was refused

// lost: there is no word from the program. past: the moment of the book that is shown from the archive, null while it is awaited.
const view = { symbol: "", symbols: [], source: null, lastState: 0, book: null, live: null, lost: true, past: null, tryAt: 0, link: ["wait", "connecting"] };
const past = new Past(() => view.symbol, awaitPast, showPast, showLive);

function connect(symbol) {
  view.source?.close();
  const source = view.source = new EventSource("api/live?symbol=" + encodeURIComponent(symbol));
  source.onmessage = (event) => show(JSON.parse(event.data));
  source.onerror = () => { if (source === view.source) lose("no word from the program"); };
}

function select(symbol) {
  if (symbol === view.symbol) return;
  view.symbol = symbol;
  location.hash = encodeURIComponent(symbol);
  view.live = null;
  past.leave();
  empty();
  connect(symbol);
  refreshHistory();
  showSymbols();
}

// empty removes what is of another symbol.
function empty() {
  setText("symbol", view.symbol || "\u00a0");
  setPill("state", "wait", "waiting");
  setText("lastid", "–");
  setText("age", "–");
  showTrades([]);
  for (const chart of ["midchart", "spreadchart"]) clear(byId(chart));
  for (const panel of ["tradepane", "historypane"]) filled(panel, null);
  setBook(null);
}

function show(state) {
  view.lastState = Date.now();
  view.lost = false;
  showSource(state.source);
  if (state.waiting) return wait(state.waiting);
  const time = Date.parse(state.time);
  const cut = state.health && state.health.connections === 0;
  view.link = cut ? ["bad", "no word from the exchange"] : ["good", "live"];
  if (state.symbols) {
    view.symbols = state.symbols;
    past.clock(state.time);
    showSymbols();
    filled("symbolpane", time);
  }
  if (!view.symbol) {
    view.symbol = state.symbol.symbol;
    refreshHistory();
  }
  showHealth(state.health);
  showTrades(state.trades);
  filled("health", time);
  filled("tradepane", time);
  view.live = state;
  past.active ? refreshAges() : showLive();
}

// showSource says that the data is not the exchange's own, if so.
function showSource(source) {
  byId("source").hidden = !source;
  setText("source", source ?? "");
  document.title = (source ? source + " · " : "") + "MarketPrism";
}

// wait shows what a program that has just started waits for.
function wait(what) {
  view.link = ["wait", "starting"];
  notice("The program has started and waits for " + what + ".");
  refreshAges();
}

// lose shows that there is no word from the program: what was on the page is old, and no state of it is known.
function lose(why) {
  view.link = ["bad", why];
  if (!view.lost) {
    view.lost = true;
    view.symbols = view.symbols.map((s) => ({ ...s, state: "unknown", ageMs: -1, lastGap: "" }));
    showSymbols();
    if (view.live?.health) showHealth(view.live.health);
    view.live = null;
    if (!past.active) setPill("state", "bad", "unknown");
    setText("age", "–");
    notice("");
  }
  refreshAges();
}

// refreshAges greys the panels whose content is not of the moment that the page speaks of: now, or one of the past.
function refreshAges() {
  const book = view.book ? ["bookpane", "depthpane"] : [];
  if (view.lost) age([]);
  else if (past.active) age(view.past === null ? [] : book);
  else if (!view.live) age([]);
  else age(view.live.book ? panels : panels.filter((panel) => panel !== "bookpane" && panel !== "depthpane"));
  document.body.dataset.stale = byId("bookpane").dataset.old;
  past.active && view.link[0] === "good" ? setLink("past", "connected") : setLink(...view.link);
}

function showLive() {
  view.past = null;
  const state = view.live;
  if (!state) {
    setPill("state", "wait", view.lost ? "unknown" : "waiting");
    return refreshAges();
  }
  setText("symbol", state.symbol.symbol);
  setPill("state", state.symbol.state === "synced" ? "good" : "bad", state.symbol.state);
  setText("lastid", state.symbol.lastId);
  setText("age", state.symbol.ageMs < 0 ? "–" : seconds(state.symbol.ageMs));
  const gap = state.symbol.lastGap ? " Last gap: " + state.symbol.lastGap + "." : "";
  notice(state.book ? "" : "The book is not synced." + gap + " It resyncs by itself.");
  setBook(state.book, Date.parse(state.time), true);
}

function awaitPast() {
  view.past = null;
  setPill("state", "wait", "reading");
  setText("age", "–");
  notice("");
  refreshAges();
}

function showPast(answer, at) {
  view.past = at;
  setText("symbol", view.symbol);
  setPill("state", "past", "archive");
  setText("lastid", answer.book ? answer.book.lastId : "–");
  setText("age", "–");
  notice(answer.error ? answer.error + "." : "", [["Go to the last good moment", answer.from], ["Go to the next good moment", answer.to]]);
  setBook(answer.book ?? null, at);
}

// setBook shows the book of a moment. Without one the page keeps the last one, grey, where keep says so.
function setBook(book, time, keep = false) {
  document.body.dataset.source = past.active ? "archive" : "live";
  if (book) {
    view.book = book;
    showBook(book);
    drawDepth(byId("depth"), book);
  } else if (!keep) {
    view.book = null;
    clearBook();
    clear(byId("depth"));
  }
  if (book || !keep) for (const panel of ["bookpane", "depthpane"]) filled(panel, book ? time : null);
  refreshAges();
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
  setText("synced", (view.lost ? "unknown" : synced) + " of " + view.symbols.length + " synced" + (shown.length === 200 ? ", first 200 shown" : ""));
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
    line.lastChild.textContent = view.lost ? "unknown" : value;
    line.lastChild.dataset.bad = String(bad && !view.lost);
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
    if (points.length) filled("historypane", points.at(-1).t);
  } catch { /* the server is away, which the link says */ }
}

// watchLink notices a program that has hung, tries again what was refused, and counts ages.
function watchLink() {
  if (view.source.readyState === EventSource.CLOSED) {
    if (Date.now() >= view.tryAt) refused();
  } else if (Date.now() - view.lastState >= lostAfter) {
    lose("no word from the program");
  }
  refreshAges();
}

// refused asks why there is no stream of states, which an EventSource does not tell, and tries again.
async function refused() {
  const symbol = view.symbol, stop = new AbortController();
  view.tryAt = Date.now() + tryEvery;
  try {
    const answer = await fetch("api/live?symbol=" + encodeURIComponent(symbol), { signal: stop.signal });
    lose(answer.ok ? "connecting again" : (await answer.text()).trim().slice(0, 200));
  } catch {
    lose("no word from the program");
  }
  stop.abort();
  if (symbol === view.symbol && view.source.readyState === EventSource.CLOSED) connect(symbol);
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

addEventListener("visibilitychange", () => document.hidden || watchLink()); // timers of a hidden page are slow

view.symbol = decodeURIComponent(location.hash.slice(1));
view.lastState = Date.now();
connect(view.symbol);
setInterval(refreshHistory, historyEvery);
setInterval(watchLink, 500);
