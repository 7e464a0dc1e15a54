// Frames of a camera, of a video or of pictures, as tensors for the server.

const VIDEO_STEP = 0.2; // seconds between two frames of a video file
const MOST_FILES = 1000;
const MIN_SIDE = 48; // pixels of the shorter side of a file's frame, which the server accepts
const MIN_SOURCE = 16; // pixels of the shorter side of a picture, before it is scaled
/** The types of pictures, by the bytes at their beginning; a name may be of another type. */
const TYPES = {
  "image/gif": /^GIF8/, "image/webp": /^RIFF....WEBP/s, "image/png": /^\x89PNG/,
  "image/jpeg": /^\xff\xd8\xff/, "image/bmp": /^BM......\0\0/s, "image/tiff": /^II\*\0|^MM\0\*/,
};
const ANIMATED = ["image/gif", "image/webp", "image/png"]; // types of pictures that can have several frames
/** What the last bytes of pictures of a type contain. */
const ENDS = { "image/gif": /;/, "image/png": /IEND/, "image/jpeg": /\xff\xd9/ };
const SVG = /^(\s|\xef\xbb\xbf|<\?xml[^>]*>|<!--.*?-->|<!DOCTYPE[^>]*>)*<svg[\s>]/is;
const TEXT = /^[\t\n\r -~]+$/;
const canvas = new OffscreenCanvas(1, 1), whole = new OffscreenCanvas(1, 1);
const context = canvas.getContext("2d", { willReadFrequently: true });

/** A picture or the present frame of a video as a tensor (3, H, W), its shorter side, `source` pixels, scaled to `short`, the longer one to at most `long`. */
export function grab(source, short, long) {
  const width = source.videoWidth ?? source.width, height = source.videoHeight ?? source.height;
  const scale = Math.min(short / Math.min(width, height), long / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  context.imageSmoothingQuality = "high";
  if (source.videoWidth) { // browsers scale videos roughly, so that a frame would be noisier than the same picture in a file
    whole.width = width;
    whole.height = height;
    whole.getContext("2d", { willReadFrequently: true }).drawImage(source, 0, 0);
    source = whole;
  }
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  const size = canvas.width * canvas.height, rgba = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const data = new Uint8Array(3 * size);
  for (let k = 0; k < size; k++) for (let c = 0; c < 3; c++) data[c * size + k] = rgba[4 * k + c];
  return { dtype: "uint8", shape: [3, canvas.height, canvas.width], data, source: Math.min(width, height) };
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

/** Some bytes of a file, as characters from 0 to 255; see Blob.slice. */
const bytesOf = async (file, start, end = file.size) => String.fromCharCode(...new Uint8Array(await file.slice(start, end).arrayBuffer()));

/** The type of a picture, by its first bytes; undefined for other files. */
async function typeOf(file) {
  const start = await bytesOf(file, 0, 12);
  return Object.keys(TYPES).find((type) => TYPES[type].test(start));
}

/** Why the browser does not read a picture, whose own errors say little. */
async function faultOf(file) {
  const type = await typeOf(file);
  if (type === "image/tiff") return "a TIFF, which browsers do not read; save it as PNG";
  if (SVG.test(await bytesOf(file, 0, 4096))) return "an SVG, a drawing without pixels; save it as PNG";
  if (!type) return TEXT.test(await bytesOf(file, 0, 64)) ? "a text, no picture" : "no picture of a type that browsers read";
  const isCut = type in ENDS && !ENDS[type].test(await bytesOf(file, -64));
  return isCut ? "a picture that is cut off: its end is missing" : "a damaged picture";
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

/**
 * The frames of a file, one after another: of a picture one, of a video or an animation five a second; throws if they are
 * too small or too narrow. short, long: see `grab`.
 */
export async function* framesOf(file, short, long) {
  if (!file.size) throw new Error("an empty file");
  try {
    for await (const frame of decodedFrames(file, short, long)) {
      if (frame.source < MIN_SOURCE) throw new Error(`fewer than ${MIN_SOURCE} pixels high or wide`);
      if (Math.min(...frame.shape.slice(1)) < MIN_SIDE) throw new Error("more than 5 times as long as wide");
      yield frame;
    }
  } catch (error) {
    throw error instanceof DOMException ? new Error(await faultOf(file)) : error;
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
