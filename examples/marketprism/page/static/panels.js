// The panels of the page: each knows the moment that its content is of. One whose content is not of the moment that the
// page speaks of is grey, and says its own moment and age.
import { byId, seconds } from "./text.js";

export const panels = ["health", "symbolpane", "bookpane", "depthpane", "historypane", "tradepane"];
const content = new Map(); // panel → the moment of its content, in milliseconds since 1970 by the clock of the program
let ahead = Infinity; // of this page's clock, the least that was seen: states take a while to come

// filled notes the moment that the content of a panel is of; null empties it.
export function filled(panel, time) {
  if (time === null) return content.delete(panel);
  content.set(panel, time);
  ahead = Math.min(ahead, Date.now() - time);
}

// age greys every panel but the current ones.
export function age(current) {
  for (const panel of panels) {
    const element = byId(panel), of = content.get(panel);
    let text = "";
    if (!current.includes(panel)) text = of ? "as of " + clock(of) + ", " + seconds(Date.now() - ahead - of) + " old" : "nothing to show";
    element.dataset.old = String(text !== "");
    const note = byId(panel + "-old");
    note.hidden = !text;
    if (note.textContent !== text) note.textContent = text;
  }
}

const clock = (time) => new Date(time).toLocaleTimeString("en-GB");
