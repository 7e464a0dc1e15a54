// Sends a picture to the model, and shows what it predicts: the line of text, boxes and points over the picture, or the
// picture that the model made of it.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const at = (id) => document.getElementById(id);

const about = await (await fetch("/about")).json();
at("model").textContent = about.model;
at("about").textContent = about.task + (about.classes.length ? `: ${about.classes.join(", ")}` : "");

async function predict(file) {
  at("line").className = "";
  at("line").textContent = "…";
  const response = await fetch("/predict", { method: "POST", body: file });
  const found = await response.json();
  at("line").textContent = response.ok ? found.line : found.error;
  at("line").className = response.ok ? "" : "fault";
  at("json").hidden = at("drawing").hidden = !response.ok;
  if (!response.ok) return;
  const { picture, ...shown } = found;
  at("json").textContent = JSON.stringify(shown, null, 1);
  await draw(picture ?? URL.createObjectURL(file), found);
}

async function draw(address, found) {
  const image = new Image();
  image.src = address;
  await image.decode();
  const canvas = at("drawing"), pen = canvas.getContext("2d");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  pen.drawImage(image, 0, 0);
  const names = [...new Set(found.labels ?? [])];
  pen.lineWidth = Math.max(2, canvas.width / 300);
  pen.font = `${Math.max(12, canvas.width / 40)}px system-ui, sans-serif`;
  (found.boxes ?? []).forEach(([x0, y0, x1, y1], k) => {
    const name = found.labels?.[k] ?? "";
    pen.strokeStyle = pen.fillStyle = COLOURS[names.indexOf(name) % COLOURS.length] ?? COLOURS[0];
    pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
    pen.fillText(`${name} ${found.scores?.[k]?.toFixed(2) ?? ""}`, x0 + 3, Math.max(y0 - 4, 14));
  });
  pen.fillStyle = COLOURS[1];
  for (const [x, y] of (found.points ?? []).flat(found.points?.[0]?.[0]?.length ? 1 : 0)) {
    pen.beginPath();
    pen.arc(x, y, pen.lineWidth, 0, 2 * Math.PI);
    pen.fill();
  }
}

at("file").addEventListener("change", (event) => event.target.files.length && predict(event.target.files[0]));
for (const kind of ["dragover", "drop", "dragleave"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.toggle("dropping", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) predict(event.dataTransfer.files[0]);
  });
}
