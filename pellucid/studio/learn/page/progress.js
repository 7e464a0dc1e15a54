// What the reader has read, guessed and solved, and where they were: kept by this browser.
const KEY = "lessons";

function stored() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {}; // a browser without storage, or something else's value
  }
}

/** The reader's marks of one kind, `read`, `guesses`, `solved` or `places` (and there `last`, a lesson), by name. */
export const marks = (kind) => stored()[kind] ?? {};

/** Keep a mark; null removes it. */
export function mark(kind, name, value) {
  const all = stored();
  all[kind] = { ...all[kind], [name]: value };
  if (value === null) delete all[kind][name];
  try {
    localStorage.setItem(KEY, JSON.stringify(all));
  } catch {
    // A browser without storage forgets it.
  }
}
