// The list of models: their cards, read one at a time on a connection of their own as they come into sight, and a search.
import { $, $$, fill, html } from "/core/dom.js";
import { paintPicture } from "/core/paint.js";
import { LostError, Server } from "/core/server.js";

export class Picker {
  /** element: of the cards; search: the field. */
  constructor(element, search, count) {
    this.element = element;
    this.search = search;
    this.count = count;
    this.models = [];
    this.cards = new Map();
    this.chosen = null;
    this.seen = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) if (isIntersecting) this.read([/** @type {HTMLElement} */ (target).dataset.model]);
    });
    this.queue = new Set();
    this.server = null;
    search.addEventListener("input", () => this.filter());
    search.addEventListener("keydown", ({ key }) => {
      if (key === "Enter") this.read(this.unread()); // so that tasks and figures are searched too
    });
  }

  show(models, chosen) {
    Object.assign(this, { models, chosen });
    for (const name of this.cards.keys()) if (!models.some((one) => one.name === name)) this.cards.delete(name);
    this.seen.disconnect();
    fill(this.element, html`${models.map(({ name }) => html`<button class="look-card" type="button" data-model="${name}" data-k="model ${name}" aria-pressed="${name === chosen}"><canvas width="1" height="1" aria-hidden="true"></canvas><span><b>${name}</b><small></small></span></button>`)}`);
    for (const card of $$(".look-card", this.element)) {
      this.write(card);
      this.seen.observe(card);
    }
    this.filter();
    this.read([]); // what was waiting when the connection was lost
  }

  /** The names of models without a card, except files: opening each takes a process of its own. */
  unread() {
    return this.models.filter(({ name, kind }) => kind !== "file" && !this.cards.has(name)).map(({ name }) => name);
  }

  /** Write what is known of a model on its card. */
  write(card) {
    const name = card.dataset.model, found = this.cards.get(name), kind = this.models.find((one) => one.name === name).kind;
    const text = $("small", card);
    text.textContent = !found ? kind : found.fault || [found.task, found.figure, kind].filter(Boolean).join(" · ");
    text.classList.toggle("fault", Boolean(found?.fault));
    card.dataset.state = !found ? "" : found.fault ? "fault" : "ready";
    if (found?.tensors.picture) paintPicture($("canvas", card), found.tensors.picture);
  }

  filter() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const card of $$(".look-card", this.element)) {
      const text = `${card.textContent} ${this.cards.get(card.dataset.model)?.words ?? ""}`.toLowerCase();
      card.hidden = !words.every((word) => text.includes(word) || (word.length > 3 && text.includes(word.replace(/s$/, "")))); // also a plural
      if (!card.hidden) shown += 1;
    }
    const unread = words.length ? this.unread().length : 0;
    const waiting = !unread ? "" : `, ${unread} still to read${this.server ? "" : ": press Enter"}`;
    this.count.textContent = `${shown || "none"} of ${this.models.length}${waiting}`;
  }

  /** Read the cards of models that are not known. */
  read(names) {
    for (const name of names) if (!this.cards.has(name)) this.queue.add(name);
    if (!this.queue.size || this.server) return;
    this.server = new Server(() => {});
    this.filter();
    this.server.onopen = () => this.work();
  }

  async work() {
    const server = this.server;
    try {
      while (this.queue.size && this.element.isConnected) {
        const [name] = this.queue;
        const found = await server.ask("look.card", { model: name }).catch((error) => {
          if (error instanceof LostError) throw error;
          return { fault: error.message, tensors: {} };
        });
        this.queue.delete(name);
        this.cards.set(name, found);
        const card = $(`[data-model="${CSS.escape(name)}"]`, this.element);
        if (card) this.write(card);
        this.filter();
      }
    } catch (error) {
      if (!(error instanceof LostError)) throw error; // the queue is kept for `show`
    } finally {
      server.close();
      this.server = null;
      this.filter();
    }
  }
}
