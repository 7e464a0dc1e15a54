// The form of a recipe: its keys as numbers, switches, choices and texts, and the settings in which it differs.
import { $, fill, html } from "/core/dom.js";

const MAIN = /^(train\.(epochs|batch_size)|optimizer\.(name|lr|momentum)|schedule\.name|regularizer\.lam|network\.dropout|recipe\.seed)$/;
const ABOUT = /^(network|objective|loss|optimizer|schedule|regularizer|data)\./; // tables that the description names

const keyOf = (setting) => setting.slice(0, setting.indexOf("="));
const order = ({ key }) => (key.startsWith("train.") ? 0 : key.startsWith("optimizer.") ? 1 : 2);

function control({ key, value, choices }) {
  if (choices) return html`<select name="${key}" data-k="${key}">${choices.map((one) => html`<option ${one === value && html`selected`}>${one}</option>`)}</select>`;
  if (typeof value === "boolean") return html`<input type="checkbox" name="${key}" data-k="${key}" ${value && html`checked`}>`;
  return html`<input type="${typeof value === "number" ? "number" : "text"}" step="any" name="${key}" data-k="${key}" value="${value}" autocomplete="off" spellcheck="false">`;
}

export class RecipeForm {
  /** about, main, rest: the elements of the description, of the first fields and of all others. */
  constructor(server, about, main, rest) {
    this.server = server;
    this.about = about;
    this.main = main;
    this.rest = rest;
    this.recipe = "";
    this.fields = [];
    this.applied = new Map();
  }

  /** Show a recipe with settings such as "optimizer.lr=0.5". Rejects with the recipe reader's message. */
  async read(recipe, settings = []) {
    const found = await this.server.ask("train.recipe", { recipe, settings });
    this.recipe = recipe;
    this.applied = new Map(settings.map((one) => [keyOf(one), one.slice(one.indexOf("=") + 1)]));
    this.fields = found.fields;
    const parts = found.fields.filter(({ key, value, is_part: isPart }) => (isPart || key === "data.name") && ABOUT.test(key) && value !== "none");
    fill(this.about, html`${found.about} <br>${parts.map(({ key, value }) => `${key.split(".")[0]} ${value}`).join(", ")}`);
    const line = (one) => html`<label class="field inline"><span>${one.key.replace(".", " ")}</span>${control(one)}</label>`;
    fill(this.main, html`${found.fields.filter((one) => MAIN.test(one.key)).sort((a, b) => order(a) - order(b)).map(line)}`);
    fill(this.rest, html`${found.fields.filter((one) => !MAIN.test(one.key)).map(line)}`);
  }

  /** The settings in which the form differs from the recipe. */
  settings() {
    const found = new Map(this.applied);
    for (const { key, value } of this.fields) {
      const input = this.input(key);
      if (!input) continue; // while the form is being filled, as replacing a field with the focus changes it
      const text = input.type === "checkbox" ? String(input.checked) : input.value;
      if (text !== String(value)) found.set(key, text);
    }
    return [...found].map(([key, text]) => `${key}=${text}`);
  }

  /** Show the fields of settings: mark them, and put the focus on the first. */
  show(settings) {
    const inputs = settings.map((one) => this.input(keyOf(one))).filter(Boolean);
    for (const input of inputs) {
      input.closest(".field").classList.add("applied");
      if (input.closest("details")) input.closest("details").open = true;
    }
    inputs[0]?.focus();
  }

  input(key) {
    return [this.main, this.rest].map((root) => $(`[name="${CSS.escape(key)}"]`, root)).find(Boolean);
  }

  /** Set fields by settings such as "optimizer.lr=0.5"; a table with another part loses the settings of the part before. */
  async apply(settings) {
    const keys = settings.map(keyOf), tables = keys.filter((key) => this.isPart(key)).map((key) => key.split(".")[0]);
    const isKept = (key) => !keys.includes(key) && !tables.includes(key.split(".")[0]);
    await this.read(this.recipe, [...this.settings().filter((one) => isKept(keyOf(one))), ...settings]);
  }

  /** Show the keys of another part, such as another optimizer. */
  async choosePart(input) {
    const field = this.fields.find((one) => one.key === input.name);
    try {
      await this.apply([`${input.name}=${input.value}`]);
    } catch (error) {
      input.value = field.value;
      throw error;
    }
  }

  isPart(name) {
    return this.fields.some((one) => one.key === name && one.is_part);
  }
}
