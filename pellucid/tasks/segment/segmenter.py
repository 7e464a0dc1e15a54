"""Segmentation of pictures of any size, the files of the results, and the evaluation of segmentation models."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from pellucid.base.errors import PellucidError
from pellucid.base.files import write_atomically
from pellucid.data import MaskFolder
from pellucid.data.detection import has_objects
from pellucid.data.files import resized_size
from pellucid.data.image_formats import ColourMode
from pellucid.data.images import pillow_warnings_as_errors, resized
from pellucid.data.mask_layouts import MASK_SUFFIX
from pellucid.data.mask_settings import MaskSettings, mask_settings, reading_masks
from pellucid.data.masks import has_masks, mask_parts, mask_split
from pellucid.data.object_masks import BACKGROUND, ObjectMasks
from pellucid.data.skipping import note_skipped
from pellucid.fuse.inference import inference
from pellucid.metrics import BoundaryF1, MeanIoU
from pellucid.model import Model
from pellucid.objective import Supervised
from pellucid.recipe.model_data import reading_as_in_training, run_folder_of
from pellucid.recipe.recipe import load_recipe
from pellucid.tasks.annotated import check_image, data_path, held_out, images_held_out, mode_of
from pellucid.tasks.keypoints.finder import is_keypoint_model
from pellucid.tasks.outputs import check_outputs, png
from pellucid.tasks.segment.crf import dense_crf, kernels_for
from pellucid.training.distributed import ALONE, Processes

CHUNK_SIZE = 8  # pictures whose metrics are added up at a time


@dataclass(frozen=True, eq=False)
class PixelClasses:
    """The class of each pixel (H, W) uint8, the probability of each class (C, H, W), and the names of the classes."""

    mask: Tensor
    probabilities: Tensor
    classes: tuple[str, ...]

    def areas(self) -> dict[str, float]:
        """Return the fraction of the picture that each class covers."""
        counts = torch.bincount(self.mask.flatten().long(), minlength=len(self.classes))
        return {name: count / self.mask.numel() for name, count in zip(self.classes, counts.tolist(), strict=True)}


def is_segmenter(model: Model) -> bool:
    """Return whether a model outputs a score for each of several classes at each pixel of a picture."""
    may_segment = isinstance(model.objective, Supervised) and not is_keypoint_model(model)
    if not may_segment or len(model.input_shape) != 3 or len(model.output_shape) != 3:
        return False
    n_classes = model.output_shape[0]
    if not isinstance(n_classes, int) or n_classes < 2:  # a single map, such as a density, or three separate outputs
        return False
    if None not in model.input_shape:
        return True
    # Maps smaller than the image are features, such as those of a backbone for images of any size.
    return tuple(model.outputs_for(model.nominal_shape)[1:]) == tuple(model.nominal_shape[1:])


def classes_of(model: Model) -> tuple[str, ...]:
    """Return the names of a segmentation model's classes, or their indices as text."""
    return tuple(model.classes or map(str, range(model.output_shape[0])))


class Segmenter:
    """Segments pictures of any size; the model's weights must not change afterwards.

    crf: whether to refine each mask by `dense_crf`. mode: the mode in which to read pictures, "L" for a network with
    one input channel. Raises PellucidError for a model with other outputs.
    """

    def __init__(self, model: Model, crf: bool = False) -> None:
        if not is_segmenter(model):
            raise PellucidError(
                f"the model outputs {model.output_shape}, not a class for each pixel; give one for segmentation, such "
                "as a run of camvid-fcn8"
            )
        self.classes = classes_of(model)
        self.model, self.crf = model, crf
        self.mode: ColourMode = mode_of(model)
        self._forward = inference(model.net, model.params)

    def __call__(self, image: Tensor) -> PixelClasses:
        """Return the class of each pixel, on the CPU.

        image: uint8, (3, H, W), or (1, H, W) for a network with one input channel. Raises PellucidError for other
        images, and for an image that is too small or too large for the network.
        """
        model = self.model
        check_image(model, image)
        size = (image.shape[1], image.shape[2])
        input_size = self.input_size(size)
        output_shape = model.outputs_for_picture((image.shape[0], *input_size))
        if tuple(output_shape[1:]) != input_size:
            raise PellucidError(
                f"the model outputs maps of {output_shape[1]}x{output_shape[2]} for a picture of "
                f"{input_size[0]}x{input_size[1]}; give a model that outputs a class for each pixel"
            )
        with torch.inference_mode():
            x = model.scaled(resized(image, input_size)[None])
            probabilities = model.interpret(x, self._forward(x)).cpu()
            if input_size != size:
                probabilities = interpolate(probabilities, size, mode="bilinear", align_corners=False)
            probabilities = probabilities[0]  # (C, H, W)
            return self.refined(image, probabilities) if self.crf else self._classified(probabilities)

    def refined(self, image: Tensor, probabilities: Tensor) -> PixelClasses:
        """Return the classes after `dense_crf`, given the probabilities (C, H, W) for an image."""
        return self._classified(dense_crf(probabilities, image.expand(3, -1, -1), kernels_for(image)))

    def _classified(self, probabilities: Tensor) -> PixelClasses:
        most_likely = probabilities.max(0).indices  # as argmax, which takes 4 times as long over the first axis
        return PixelClasses(most_likely.to(torch.uint8), probabilities, self.classes)

    def input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size (H, W) of the network's input for a picture: resized as in training, otherwise unchanged."""
        longest_side = self.model.preprocess.get("size")
        return resized_size(size, longest_side) if isinstance(longest_side, int) else size


def file_names(stem: str) -> dict[str, str]:
    """Return the names of the files that `write_segmentation` writes, by kind."""
    return {"overlay": f"{stem}-overlay.png", "mask": f"{stem}.png", "areas": f"{stem}.json"}


def check_files(folder: Path, stems: Sequence[str], sources: Sequence[Path] = ()) -> None:
    """Raise PellucidError if `write_segmentation` would overwrite a file that it did not write.

    Such a file is one of the `sources`, or a file for which the two other files of `write_segmentation` do not exist.
    Also raises PellucidError if two pictures have output files of the same name.
    """
    outputs = [[folder / name for name in file_names(stem).values()] for stem in stems]
    check_outputs(outputs, sources, lambda existing_files: len(existing_files) == len(file_names("")))


def write_segmentation(folder: Path, stem: str, image: Tensor, pixel_classes: PixelClasses) -> dict[str, str]:
    """Write STEM-overlay.png, STEM.png with the class of each pixel, and STEM.json; return their paths by kind.

    The values of STEM.png are class indices, and its palette has their colours. STEM.json has the areas of the classes.
    Each file is written completely or not at all. Raises the errors of `check_files`.
    """
    from pellucid.report.figures.pictures import mask_overlay, palette

    check_files(folder, [stem])
    indexed_image = Image.fromarray(pixel_classes.mask.numpy())
    indexed_image.putpalette(palette(len(pixel_classes.classes)).flatten().tolist())
    overlay = mask_overlay(
        image.expand(3, -1, -1).permute(1, 2, 0).numpy(), pixel_classes.mask, len(pixel_classes.classes)
    )
    height, width = pixel_classes.mask.shape
    summary = {"height": height, "width": width, "areas": pixel_classes.areas(), "classes": list(pixel_classes.classes)}
    files = file_names(stem)
    contents = (png(Image.fromarray(overlay)), png(indexed_image), json.dumps(summary, indent=2).encode())
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in zip(files.values(), contents, strict=True):
        write_atomically(folder / name, data)
    return {kind: str(folder / name) for kind, name in files.items()}


def evaluate(model: Model, data: str | None = None, crf: bool = False, processes: Processes = ALONE) -> dict[str, Any]:
    """Evaluate a model on pictures of any size with masks, or with annotated objects; data: see `mask_folder`.

    crf: see Segmenter. processes: each evaluates a part of the pictures. Returns miou, pixel_accuracy, boundary_f1, n,
    the path of the data, and for each class its name and iou, None if the class neither occurs nor is predicted. Pixels
    that the loss ignores do not count.
    """
    segmenter = Segmenter(model, crf)
    ignored = getattr(model.loss, "ignore", None)
    with reading_masks(_mask_settings(model)):
        source = _mask_source(model, data, ignored)
    mean_iou, boundary_f1 = MeanIoU(ignored), BoundaryF1(ignored)

    def measure_chunk(start: int) -> tuple[MeanIoU, BoundaryF1]:
        metrics = MeanIoU(ignored), BoundaryF1(ignored)
        for k in range(start, min(start + CHUNK_SIZE, len(source))):
            image, mask = source.example(k)
            probabilities = segmenter(image).probabilities
            for metric in metrics:
                metric.update(probabilities[None], mask[None])
        return metrics

    with pillow_warnings_as_errors():
        for chunk in processes.shared(range(0, len(source), CHUNK_SIZE), measure_chunk):
            for metric, chunk_metric in zip((mean_iou, boundary_f1), chunk, strict=True):
                metric.merge(chunk_metric)
    results = {**mean_iou.compute(), **boundary_f1.compute()}
    class_ious = results.pop("class_iou")
    rows = [{"class": name, "iou": value} for name, value in zip(segmenter.classes, class_ious, strict=True)]
    return {**results, "n": len(source), "data": str(data_path(model, data)), "classes": rows}


def _mask_source(model: Model, data: str | None, ignored: int | None) -> MaskFolder | ObjectMasks:
    """Return the pictures of `mask_folder`, or the held-out pictures of a folder with annotated objects."""
    path = data_path(model, data)
    if not has_objects(path) or (mask_settings().targets != "objects" and has_masks(path)):
        return mask_folder(model, data, ignored)
    if classes_of(model)[0] != BACKGROUND:
        raise PellucidError(
            f"the model has no class {BACKGROUND!r} for pixels without an object; give masks of classes"
        )
    return ObjectMasks(held_out(model, data, model.classes)[0], ignored)


def _mask_settings(model: Model) -> MaskSettings:
    """Return how the recipe of a model's run reads masks; by default everything is recognized, also beside images."""
    run = None if model.source is None else run_folder_of(model.source.resolve())
    settings = mask_settings()
    if run is not None and (run / "recipe.toml").is_file():
        settings = load_recipe(run / "recipe.toml").data
    return replace(settings, targets="masks") if settings.targets == "auto" else settings


def mask_folder(model: Model, data: str | None, ignored: int | None) -> MaskFolder:
    """Return the pictures with masks of a part NAME of a folder or zip.

    If there are several parts, NAME is test, otherwise val, in any spelling, otherwise the first name other than
    train. Of the folder of the model's training, only the images that training held out are returned. data: the folder
    or zip, or the root of the model's own data set; None for the model's own data set. ignored: the label that the loss
    ignores, or None. Raises PellucidError if there are no masks.
    """
    path = data_path(model, data)
    names, parts = mask_parts(path), mask_split(path)
    if not names:
        raise PellucidError(f"{path} has no masks beside images, such as val/NAME.jpg and val{MASK_SUFFIX}/NAME.png")
    other_names = (name for name in names if name != parts.train)
    part = parts.held_out or next(other_names, parts.train) or names[0]
    with reading_as_in_training(model, path):
        source = MaskFolder(path, part, mode=mode_of(model), classes=model.classes, ignored=ignored)
        note_skipped(path, source)
        source = images_held_out(model, source) if part == parts.train else source
        source.refuse_unreadable()
        source.check_values(training=False)
    parts.note_used_parts(path)
    return source
