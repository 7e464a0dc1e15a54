// Frames of a camera, of a video or of pictures, as tensors for the server.

const VIDEO_STEP = 0.2; // seconds between two frames of a video file
const MOST_FILES = 1000;
/** The types of pictures, by the bytes at their beginning; a name may be of another type. */
const TYPES = {
  "image/gif": /^GIF8/, "image/webp": /^RIFF....WEBP/s, "image/png": /^\x89PNG/,
  "image/jpeg": /^\xff\xd8\xff/, "image/bmp": /^BM......\0\0/s, "image/tiff": /^II\*\0|^MM\0\*/,
};
const ANIMATED = ["image/gif", "image/webp", "image/png"]; // types of pictures that can have several frames
const MOST_NAMES = 20; // of files that are left out for one reason
const canvas = new OffscreenCanvas(1, 1);
const context = canvas.getContext("2d", { willReadFrequently: true });

/** A picture or the present frame of a video as a tensor (3, H, W), its shorter side scaled to `short`, the longer one to at most `long`. */
export function grab(source, short, long) {
  const width = source.videoWidth ?? source.width, height = source.videoHeight ?? source.height;
  const scale = Math.min(short / Math.min(width, height), long / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  const size = canvas.width * canvas.height, rgba = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const data = new Uint8Array(3 * size);
  for (let k = 0; k < size; k++) for (let c = 0; c < 3; c++) data[c * size + k] = rgba[4 * k + c];
  return { dtype: "uint8", shape: [3, canvas.height, canvas.width], data };
}

/** The files of a drop, also those in its folders, by name. */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  if (!entries.length) return inOrder(transfer.files); // of a drop that a script made
  const files = [];
  while (entries.length && files.length < MOST_FILES) {
    const entry = entries.shift();
    if (entry.isFile) files.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
    else {
      const reader = entry.createReader();
      /** @type {() => Promise<any[]>} Some of the entries of a folder; after the last, none. */
      const next = () => new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      for (let some = await next(); some.length; some = await next()) entries.push(...some);
    }
  }
  return inOrder(files);
}
export const inOrder = (files) => [...files].sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));

const isVideo = (file) => file.type.startsWith("video/");
const event = (target, name) => new Promise((resolve, reject) => {
  target.addEventListener(name, resolve, { once: true });
  target.addEventListener("error", () => reject(new Error("no video that this browser can play")), { once: true });
});

/** The type of a picture, by its first bytes; undefined for other files. */
async function typeOf(file) {
  const start = String.fromCharCode(...new Uint8Array(await file.slice(0, 12).arrayBuffer()));
  return Object.keys(TYPES).find((type) => TYPES[type].test(start));
}

/** The frames of an animated picture, at most five a second; none if there is one only, or no decoder in this browser. */
async function* framesOfAnimation(file, short, long) {
  if (!("ImageDecoder" in window)) return;
  const type = await typeOf(file);
  if (!ANIMATED.includes(type)) return;
  const decoder = new ImageDecoder({ data: await file.arrayBuffer(), type });
  try {
    await decoder.tracks.ready;
    const { frameCount } = decoder.tracks.selectedTrack;
    for (let k = 0, next = 0; frameCount > 1 && k < frameCount; k++) {
      const { image } = await decoder.decode({ frameIndex: k });
      if (image.timestamp >= next) {
        const bitmap = await createImageBitmap(image);
        yield grab(bitmap, short, long);
        bitmap.close();
        next = image.timestamp + 1e6 * VIDEO_STEP; // microseconds
      }
      image.close();
    }
  } finally {
    decoder.close();
  }
}

/** The files that are left out, by reason, of `total`; errors: pairs of a file's name and its error. */
export function leftOut(errors, total) {
  const names = {};
  for (const [name, { message }] of errors) (names[message] ??= []).push(name);
  const reasons = Object.entries(names).map(([reason, all]) => {
    const further = all.length > MOST_NAMES ? ` and ${all.length - MOST_NAMES} more` : "";
    return `${all.slice(0, MOST_NAMES).join(", ")}${further} (${reason})`;
  });
  return `${errors.length} of ${total} ${total === 1 ? "file" : "files"} left out: ${reasons.join("; ")}`;
}

/** The frames of a file, one after another: of a picture one, of a video or an animation five a second. short, long: see `grab`. */
export async function* framesOf(file, short, long) {
  if (!file.size) throw new Error("an empty file");
  try {
    yield* decodedFrames(file, short, long);
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    const type = await typeOf(file); // the browser's own errors say little
    if (type === "image/tiff") throw new Error("a TIFF, which browsers do not read; save it as PNG");
    throw new Error(type ? "a damaged picture" : "no picture");
  }
}

async function* decodedFrames(file, short, long) {
  if (!isVideo(file)) {
    let count = 0;
    for await (const frame of framesOfAnimation(file, short, long)) {
      count += 1;
      yield frame;
    }
    if (count) return;
    const bitmap = await createImageBitmap(file);
    yield grab(bitmap, short, long);
    bitmap.close();
    return;
  }
  const video = document.createElement("video");
  video.muted = true;
  video.src = URL.createObjectURL(file);
  try {
    await event(video, "loadeddata");
    if (!Number.isFinite(video.duration)) throw new Error("no video of a known length; save it in another format");
    for (let time = 0; time === 0 || time < video.duration; time += VIDEO_STEP) {
      video.currentTime = time;
      await event(video, "seeked");
      yield grab(video, short, long);
    }
  } finally {
    URL.revokeObjectURL(video.src);
  }
}

/** Show what a camera or a video file shows in an element; ends what was shown before. file: null for the camera. */
export async function play(video, file) {
  stop(video);
  if (file) {
    video.src = URL.createObjectURL(file);
    video.loop = true;
  } else video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 } } });
  await video.play();
}

export function stop(video) {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  if (video.src) URL.revokeObjectURL(video.src);
  video.srcObject = null;
  video.removeAttribute("src");
  video.load();
}
export const isPlaying = (video) => video.readyState >= 2 && !video.paused;
