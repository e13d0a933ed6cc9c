// The two ladders. Prices and quantities are shown as they came, to the last digit; sums are for the eye.
import { byId, plain, setText } from "./text.js";

const rows = 15;

export function showBook(book) {
  const asks = withSums(book.asks.slice(0, rows)), bids = withSums(book.bids.slice(0, rows));
  const deepest = Math.max(asks.at(-1)?.sum ?? 0, bids.at(-1)?.sum ?? 0);
  const cells = (row, level) => {
    row.style.setProperty("--share", (deepest ? (100 * level.sum) / deepest : 0) + "%");
    return [level.price, level.quantity, plain(level.sum)];
  };
  showSide(byId("asks").tBodies[0], asks.reverse(), cells);
  showSide(byId("bids").tBodies[0], bids, cells);
  if (book.asks.length && book.bids.length) {
    const ask = Number(book.asks[0][0]), bid = Number(book.bids[0][0]);
    setText("mid", plain((ask + bid) / 2));
    setText("spread", plain(ask - bid));
  } else {
    setText("mid", "–");
    setText("spread", "–");
  }
}

// clearBook leaves the ladders empty.
export function clearBook() {
  showBook({ bids: [], asks: [] });
}

function withSums(levels) {
  let sum = 0;
  return levels.map(([price, quantity]) => ({ price, quantity, sum: (sum += Number(quantity)) }));
}

// showSide makes the rows of a table equal to items; cells returns the texts of one row.
export function showSide(body, items, cells) {
  while (body.rows.length > items.length) body.deleteRow(-1);
  items.forEach((item, i) => {
    const row = body.rows[i] ?? body.insertRow();
    cells(row, item).forEach((text, j) => {
      const cell = row.cells[j] ?? row.insertCell();
      if (cell.textContent !== String(text)) cell.textContent = text;
    });
  });
}
