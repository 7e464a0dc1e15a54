"""Explanations of the predicted colour of a pixel, and of a discriminator's score for a patch; their files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.files import make_folder
from pellucid.combine import Sequential
from pellucid.data import load_image
from pellucid.data.images import read_full_size
from pellucid.explain import explain
from pellucid.explain.methods import MAGNITUDES
from pellucid.explain.receptive_field import receptive_fields
from pellucid.explain.sweeps import forward_to
from pellucid.generators import Pix2Pix, Translator, Zhang
from pellucid.generators.translation import CHROMA_SCALE
from pellucid.generators.zhang import colour_table
from pellucid.layers.base import Mode
from pellucid.model import Model
from pellucid.ops.colour import recolour, rgb_to_lab
from pellucid.report.figures.heat import heat
from pellucid.report.write import write_picture
from pellucid.task import Explained, Request
from pellucid.task.score_to_explain import Area, ScoreToExplain, index_of
from pellucid.tasks.colorize.colorizer import Colorizer, is_colorizer

Channel = Literal["a", "b"]


@dataclass(frozen=True, eq=False)
class PixelColour:
    """The predicted colour of a pixel, and its attribution map.

    row, column: of the pixel. a, b: in the units of Lab. target: the explained output of the generator, as a path. of:
    the description of this output. map: (H, W), the attribution of the L of each pixel.
    """

    row: int
    column: int
    a: float
    b: float
    target: str
    of: str
    map: Tensor


@dataclass(frozen=True, eq=False)
class JudgedPatches:
    """The scores of a discriminator for the patches of an image in predicted colours.

    scores: (H', W') logits, high for patches classified as real. lowest: row and column of the lowest score. patch: the
    pixels that this score depends on: top, left, bottom and right; bottom and right are excluded. map: (H, W), the
    magnitude of the score's gradient with respect to the L, a and b of each pixel.
    """

    scores: Tensor
    lowest: tuple[int, int]
    patch: tuple[int, int, int, int]
    map: Tensor


def explain_pixel(
    model: Model, image: Tensor, row: int, column: int, channel: Channel = "a", method: str = "lrp"
) -> PixelColour:
    """Explain the predicted a or b of one pixel of an image (3 or 1, H, W), 0 to 1, by a method of pellucid.explain.

    For a model that classifies colours, the explained output is the logit of the bin nearest to the predicted colour,
    in the cell of the pixel. Raises PellucidError for other models, and for a pixel outside the image.
    """
    (a, b), target, of = _pixel_target(model, image, row, column, channel)
    objective, (height, width) = _translator(model), image.shape[1:]
    x = objective.pad(objective.read(model.scaled(image[None])))
    attributions = explain(objective.generator, model.params["generator"], x, method, target)[0, :1, :height, :width]
    return PixelColour(row=row, column=column, a=a, b=b, target=target, of=of, map=attributions[0].cpu())


def pixel_to_explain(
    model: Model, x: Tensor, choice: str | None, area: Area | None, hints: Tensor | None = None
) -> ScoreToExplain:
    """Return the output that `explain_pixel` explains, for the pixel at the centre of an area.

    See `Task.score_to_explain`. hints: see `Translator.read`.
    """
    top, left, bottom, right = area or (0, 0, *x.shape[1:])
    row, column, channels = (top + bottom) // 2, (left + right) // 2, get_args(Channel)
    axis = 0 if choice is None else index_of(choice, channels)
    ab, target, description = _pixel_target(model, x, row, column, channels[axis], hints)
    objective = _translator(model)
    return ScoreToExplain(
        label=f"{channels[axis]} = {ab[axis]:.1f} ({description})",
        net=objective.generator,
        params=model.params["generator"],
        x=objective.pad(objective.read(model.scaled(x[None]), hints)),
        target=target,
        choices=channels,
        scores=torch.tensor(ab),
        chosen=axis,
        area=(row, column, row + 1, column + 1),
        options={"occlusion": {"fill": 0.0}},
        is_of_pixels=True,
    )


def _pixel_target(
    model: Model, image: Tensor, row: int, column: int, channel: Channel, hints: Tensor | None = None
) -> tuple[list[float], str, str]:
    """Return a and b of a pixel, the output of the generator to explain as a path, and its description."""
    objective = _translator(model)
    height, width = image.shape[1:]
    if not (0 <= row < height and 0 <= column < width):
        raise PellucidError(f"the pixel {row}, {column} is outside the image of {height}x{width}; count from 0")
    images = model.scaled(image[None])
    with torch.inference_mode():
        a, b = objective.predict(model.params, images, hints)[0, :, row, column].tolist()
    last_layer = list(_generator_layers(objective).children)[-1]
    if not isinstance(objective, Zhang):
        return (
            [a, b],
            f"{last_layer}[{get_args(Channel).index(channel)}, {row}, {column}]",
            f"{channel} / {CHROMA_SCALE:g}",
        )
    nearest_bin = int((colour_table().centres - torch.tensor([a, b])).norm(dim=1).argmin())
    return [a, b], f"{last_layer}[{nearest_bin}, {row // 2}, {column // 2}]", "the logit of its bin"


def judge_patches(model: Model, image: Tensor) -> JudgedPatches:
    """Return a discriminator's scores for an image in predicted colours, and the map of the lowest score.

    image: (3 or 1, H, W), 0 to 1. Raises PellucidError for a model without a discriminator.
    """
    objective = _translator(model)
    if not isinstance(objective, Pix2Pix):
        raise PellucidError(f"{type(objective).__name__} has no discriminator; give a run of pix2pix")
    images, params = model.scaled(image[None]), model.params["discriminator"]
    with torch.inference_mode():
        x = objective.pad(objective.read(images))
        pair = torch.cat([x, objective.pad(objective.predict(model.params, images) / CHROMA_SCALE)], 1)
        scores = objective.discriminator.forward(params, pair, Mode(keep=False))[0][0, 0]
        row, column = divmod(int(scores.argmin()), scores.shape[1])
        target = f"scores[0, {row}, {column}]"
        fields = receptive_fields(forward_to(objective.discriminator, params, pair, target))
        top, left, bottom, right = fields[0].tolist()
    gradient = explain(objective.discriminator, params, pair, "saliency", target)[0].abs().amax(0)
    height, width = image.shape[1:]
    return JudgedPatches(
        scores=scores.clone().cpu(),
        lowest=(row, column),
        patch=(top, left, min(bottom, height), min(right, width)),
        map=gradient[:height, :width].cpu(),
    )


def _translator(model: Model) -> Translator:
    """Return the objective of a model that predicts a and b; raises PellucidError for any other model."""
    if not is_colorizer(model) or not isinstance(model.objective, Translator):
        raise PellucidError("the model predicts no colours; give a run of cifar-colorize or one like it")
    if model.objective.to != "colour":
        raise PellucidError("the generator outputs RGB, not a and b of a pixel; give a run with objective.to=colour")
    return model.objective


def _generator_layers(objective: Translator) -> Sequential:
    if not isinstance(objective.generator, Sequential):
        raise PellucidError(
            f"the generator is a {type(objective.generator).__name__}; give one whose last layer has a name"
        )
    return objective.generator


METHODS = ("lrp", "saliency")


def area_of_pixel(model: Model, image: Tensor, pixel: str) -> Area:
    """Return the area, one pixel large, of the network's input at the position of a pixel "ROW,COLUMN" of an image."""
    row, column = _parse_pixel(pixel, image.shape[1:])
    height, width = Colorizer(model).as_input(image).shape[1:]
    row, column = row * height // image.shape[1], column * width // image.shape[2]
    return row, column, row + 1, column + 1


def explain_file(model: Model, request: Request, pixel: str) -> Explained:
    """Write a map of each channel and method; return the colour and, for pix2pix, the discriminator's lowest score.

    pixel: "ROW,COLUMN" in the image file. Raises PellucidError for a pixel outside the image.
    """
    out = request.folder(f"pixel{pixel.replace(',', '-')}")
    methods = METHODS if request.method is None else (request.method,)
    image = load_image(read_full_size(request.image_source, request.image), request.image)
    row, column, _, _ = area_of_pixel(model, image, pixel)
    resized = Colorizer(model).as_input(image)
    size = resized.shape[1:]
    with torch.inference_mode():
        ab = model.objective.predict(model.params, model.scaled(resized[None]))[0].float().cpu()
    colours = recolour(rgb_to_lab(resized)[:1], ab)
    outline_mask = torch.zeros(size, dtype=torch.bool)
    outline_mask[row, column] = True
    make_folder(out)
    files: list[Path] = []
    explanations = {(channel, method): explain_pixel(model, resized, row, column, channel, method)
             for channel in ("a", "b") for method in methods}  # fmt: skip
    for (channel, method), explanation in explanations.items():
        title = f"{method} of {channel} = {getattr(explanation, channel):.1f} ({explanation.of})"
        figure = heat(colours, explanation.map, title, signed=method not in MAGNITUDES, outline=outline_mask)
        files += write_picture(out, f"{channel}-{method}", figure, {"map": explanation.map, "image": colours})
    first_explanation = next(iter(explanations.values()))
    results = {"row": row, "column": column, "size": [*size], "a": first_explanation.a, "b": first_explanation.b}
    lines = [
        f"pixel {row}, {column} of {size[0]}x{size[1]}: a = {first_explanation.a:.1f}, b = {first_explanation.b:.1f}"
    ]
    if isinstance(model.objective, Pix2Pix):
        patches = judge_patches(model, resized)
        top, left, bottom, right = patches.patch
        outline_mask[:] = False
        outline_mask[top:bottom, left:right] = True
        score = float(patches.scores[patches.lowest])
        lines.append(f"the discriminator's lowest score is {score:.2f}, of rows {top} to {bottom - 1} and columns "
                     f"{left} to {right - 1}; the mean is {float(patches.scores.mean()):.2f}")  # fmt: skip
        figure = heat(colours, patches.map, f"gradient of the lowest score, {score:.2f}", outline=outline_mask)
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
