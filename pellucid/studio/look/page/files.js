// Files that are dropped, pasted or chosen in the view Look, taken one after another.
import { LostError, uploaded } from "/core/server.js";

const MODEL_FILE = /\.(safetensors|onnx|pt2)$/i;
const MODEL_KINDS = ".safetensors, .onnx or .pt2";
const PICKLE = /\.(pt|pth|pkl|pickle|ckpt|bin|joblib)$/i; // formats of Python that may contain code
const MAX_FILES = 24; // that are taken at once, as many as the studio keeps

export const isModel = (file) => MODEL_FILE.test(file.name);

/** Upload a picture; the error of a file that is not taken names it, and what may be given. */
export async function uploadedPicture(file) {
  if (PICKLE.test(file.name)) throw new Error(`${file.name} is not opened, since such a file may run code; save its model as ${MODEL_KINDS}`);
  try {
    return await uploaded(file);
  } catch (error) {
    const others = file.type.startsWith("image/") ? "" : `, a video, or a model as ${MODEL_KINDS}`;
    throw new Error(`${file.name}: ${error.message}${others}`);
  }
}

/** A function that takes files, after those that it was given before. `take` takes one, and may return a line about it; all lines are shown at the end. */
export function filesTaker(take, attempt, problem) {
  const waiting = [], lines = [];
  let isBusy = false;
  const takeAll = attempt(async () => {
    isBusy = true;
    try {
      while (waiting.length) {
        const file = waiting.shift();
        const line = !file.size ? `${file.name} is empty; give it again` : await take(file).catch((error) => {
          if (error instanceof LostError) throw error;
          return error.message;
        });
        if (line) lines.push(line);
      }
    } finally {
      isBusy = false;
      waiting.length = 0;
    }
    if (lines.length) throw new Error(lines.splice(0).join("\n"));
  });
  return (files) => {
    if (!files.length) return problem(new Error("there is no file in it"));
    if (files.length > MAX_FILES) lines.push(`The first ${MAX_FILES} of ${files.length} files were taken`);
    waiting.push(...files.slice(0, MAX_FILES));
    if (!isBusy) takeAll();
  };
}
