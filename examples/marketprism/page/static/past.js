// The time slider: the book at a past moment, from the archive.
import { byId, setText } from "./text.js";

const span = 900; // seconds that the slider reaches back

export class Past {
  active = false;
  #symbol; #onAsk; #onBook; #onLive; #now = Date.now(); #asked = 0;

  constructor(symbol, onAsk, onBook, onLive) {
    this.#symbol = symbol;
    this.#onAsk = onAsk;
    this.#onBook = onBook;
    this.#onLive = onLive;
    byId("past").addEventListener("input", (event) => {
      const back = span - Number(event.target.value);
      back === 0 ? this.leave() : this.show(this.#now - back * 1000, true);
    });
    byId("exact").addEventListener("change", (event) => {
      const at = new Date(event.target.value).getTime();
      if (!Number.isNaN(at)) this.show(at);
    });
    byId("live").addEventListener("click", () => this.leave());
  }

  // clock says what time it is for the program; while a past moment is shown the slider stands still.
  clock(time) {
    if (!this.active) this.#now = Date.parse(time);
  }

  leave() {
    this.#asked++;
    this.active = false;
    byId("past").value = span;
    byId("live").disabled = true;
    byId("exact").value = "";
    setText("pasttime", "now");
    this.#onLive();
  }

  // show asks for the book at a moment, in milliseconds since 1970. Of several answers on their way the
  // one asked for last counts.
  async show(at, bySlider = false) {
    const asked = ++this.#asked;
    this.active = true;
    byId("live").disabled = false;
    if (!bySlider) byId("past").value = Math.max(0, span - (this.#now - at) / 1000);
    setText("pasttime", new Date(at).toLocaleString("en-GB"));
    this.#onAsk();
    const answer = await this.#ask(at);
    if (asked === this.#asked) this.#onBook(answer, at);
  }

  async #ask(at) {
    try {
      const query = new URLSearchParams({ symbol: this.#symbol(), at: Math.round(at) });
      return await (await fetch("api/book?" + query)).json();
    } catch {
      return { error: "the program did not answer" };
    }
  }
}
