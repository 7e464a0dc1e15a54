"""Files that explain the colour of a pixel, and for pix2pix the patch with the discriminator's lowest score."""

from pathlib import Path

import torch

from pellucid.base.errors import PellucidError
from pellucid.base.files import make_folder
from pellucid.data import load_image
from pellucid.data.images import read_full_size
from pellucid.explain.methods import MAGNITUDES
from pellucid.generators import Pix2Pix
from pellucid.model import Model
from pellucid.ops.colour import recolour, rgb_to_lab
from pellucid.report.figures.heat import heat
from pellucid.report.write import write_picture
from pellucid.task import Explained, Request
from pellucid.tasks.colorize import why
from pellucid.tasks.colorize.colorizer import Colorizer

METHODS = ("lrp", "saliency")


def explain_file(model: Model, request: Request, pixel: str) -> Explained:
    """Write a map of each channel and method; return the colour and, for pix2pix, the discriminator's lowest score.

    pixel: "ROW,COLUMN" in the image file. Raises PellucidError for a pixel outside the image.
    """
    out = request.folder(f"pixel{pixel.replace(',', '-')}")
    methods = METHODS if request.method is None else (request.method,)
    image = load_image(read_full_size(request.source, request.image), request.image)
    row, column = _parse_pixel(pixel, image.shape[1:])
    resized = Colorizer(model).as_input(image)
    size = resized.shape[1:]
    # The same position in the network's input.
    row, column = row * size[0] // image.shape[1], column * size[1] // image.shape[2]
    with torch.inference_mode():
        ab = model.objective.predict(model.params, model.scaled(resized[None]))[0].float().cpu()
    colours = recolour(rgb_to_lab(resized)[:1], ab)
    mark = torch.zeros(size, dtype=torch.bool)
    mark[row, column] = True
    make_folder(out)
    files: list[Path] = []
    explanations = {(channel, method): why.explain_pixel(model, resized, row, column, channel, method)
             for channel in ("a", "b") for method in methods}  # fmt: skip
    for (channel, method), explanation in explanations.items():
        title = f"{method} of {channel} = {getattr(explanation, channel):.1f} ({explanation.of})"
        figure = heat(colours, explanation.map, title, signed=method not in MAGNITUDES, outline=mark)
        files += write_picture(out, f"{channel}-{method}", figure, {"map": explanation.map, "image": colours})
    first_explanation = next(iter(explanations.values()))
    results = {"row": row, "column": column, "size": [*size], "a": first_explanation.a, "b": first_explanation.b}
    lines = [
        f"pixel {row}, {column} of {size[0]}x{size[1]}: a = {first_explanation.a:.1f}, b = {first_explanation.b:.1f}"
    ]
    if isinstance(model.objective, Pix2Pix):
        patches = why.judge_patches(model, resized)
        top, left, bottom, right = patches.patch
        mark[:] = False
        mark[top:bottom, left:right] = True
        score = float(patches.scores[patches.lowest])
        lines.append(f"the discriminator's lowest score is {score:.2f}, of rows {top} to {bottom - 1} and columns "
                     f"{left} to {right - 1}; the mean is {float(patches.scores.mean()):.2f}")  # fmt: skip
        figure = heat(colours, patches.map, f"gradient of the lowest score, {score:.2f}", outline=mark)
        files += write_picture(out, "patch", figure, {"map": patches.map, "scores": patches.scores, "image": colours})
        results |= {"patch": [*patches.patch], "score": score, "mean_score": float(patches.scores.mean())}
    return Explained(results, lines, out, files)


def _parse_pixel(text: str, size: tuple[int, ...]) -> tuple[int, int]:
    """Return row and column of a text such as "12,30"; raises PellucidError unless it is a pixel of the image."""
    words = [word.strip() for word in text.split(",")]
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        raise PellucidError(f"--pixel takes ROW,COLUMN counted from 0, such as 12,30, not {text!r}")
    row, column = map(int, words)
    if row >= size[0] or column >= size[1]:
        raise PellucidError(f"--pixel {row},{column} is outside the image of {size[0]}x{size[1]}; count from 0")
    return row, column
