// The list of models: their cards, read one at a time on a connection of their own as they come into sight, and a search.
import { $, $$, fill, html } from "/core/dom.js";
import { paintPicture } from "/core/paint.js";
import { LostError, Server } from "/core/server.js";

const PAUSE = 300; // milliseconds after a key of the search, before models are read for it
const CALM = 2000; // milliseconds between two looks for new models
const CLASSES = 2, MAX_NAMED = 10; // of each model, and of all, that are named as what can be searched

/** The words of a text, without the end of "people's". */
const wordsOf = (text) => text.toLowerCase().replace(/['’]s\b/g, "").split(/[\s,;!?]+/).filter(Boolean);

export class Picker {
  /** element: of the cards; search: the field; count and hint: of what it finds. */
  constructor(element, search, count, hint) {
    this.element = element;
    this.search = search;
    this.count = count;
    this.hint = hint;
    this.models = [];
    this.cards = new Map();
    this.chosen = null;
    this.seen = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) if (isIntersecting) this.read([/** @type {HTMLElement} */ (target).dataset.model]);
    });
    this.queue = new Set();
    this.server = null;
    let timer = 0;
    search.addEventListener("input", () => {
      this.filter();
      clearTimeout(timer);
      timer = setTimeout(() => search.value.trim() && this.read(this.unread()), PAUSE); // so that tasks and figures are searched too
    });
    search.addEventListener("keydown", ({ key }) => {
      if (key === "Enter") this.read(this.unread()); // again, if the connection was lost
    });
  }

  /** Show the models that are trained or saved from now on, while `isSeen`. */
  async watch(list, isSeen) {
    while (this.element.isConnected) {
      await new Promise((resolve) => setTimeout(resolve, CALM));
      if (!isSeen()) continue;
      const models = await list().catch(() => this.models); // a lost connection is shown elsewhere
      if (JSON.stringify(models) !== JSON.stringify(this.models)) this.show(models, this.chosen);
    }
  }

  show(models, chosen) {
    const known = new Map(this.models.map(({ name, stamp }) => [name, stamp])), stamps = new Map(models.map(({ name, stamp }) => [name, stamp]));
    for (const name of this.cards.keys()) if (stamps.get(name) !== known.get(name)) this.cards.delete(name); // removed, or trained to its end
    Object.assign(this, { models, chosen });
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

  /** Show the models that have all words of the search, or else most of them. */
  filter() {
    const words = wordsOf(this.search.value), cards = $$(".look-card", this.element);
    const counts = cards.map((card) => {
      const known = this.cards.get(card.dataset.model), text = [card.textContent, known?.words, ...(known?.classes ?? [])].join(" ").toLowerCase();
      return words.filter((word) => text.includes(word) || (word.length > 3 && text.includes(word.replace(/s$/, "")))).length; // also a plural
    });
    const most = Math.max(...counts, 0);
    for (const [k, card] of cards.entries()) card.hidden = words.length > 0 && (!most || counts[k] < most);
    const shown = cards.filter((card) => !card.hidden).length, unread = words.length ? this.unread().length : 0;
    const waiting = !unread ? "" : `, ${unread} still to read${this.server ? "" : ": press Enter"}`;
    this.count.textContent = `${shown || "none"} of ${this.models.length}${shown && most < words.length ? " with some of the words" : ""}${waiting}`;
    this.hint.textContent = shown || unread ? "" : this.searched();
  }

  /** What can be searched, as a sentence. */
  searched() {
    const cards = [...this.cards.values()], list = (words) => [...new Set(words)].filter(Boolean).join(", ");
    const named = cards.flatMap((one) => one.classes?.slice(0, CLASSES) ?? []).filter((name) => name.length > 1); // no digits
    const classes = list(named.slice(0, MAX_NAMED));
    return `No model has these words. Search for a part of a name, a task (${list(cards.map((one) => one.task))}), a class (such as ${classes}), or what a model was made for.`;
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
