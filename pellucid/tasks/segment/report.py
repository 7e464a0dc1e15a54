"""The sections of a segmentation's report: classes, and the images with the lowest IoU."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data import Source, float_images
from pellucid.data.files import padded
from pellucid.data.seeds import generator
from pellucid.metrics import MeanIoU
from pellucid.model import Model
from pellucid.report.figures.pictures import worst_masks
from pellucid.report.sections import FigurePart, Section
from pellucid.run_report.classes import CONFUSION, class_sections
from pellucid.task import Reported
from pellucid.tasks.segment.segmenter import classes_of

MAX_MASKS = 6  # images


@dataclass(frozen=True)
class Masks:
    """The images with the lowest mean IoU, worst first.

    images: (n, H, W, 3), uint8. true, predicted: (n, H, W), class indices. scores: the mean IoU of each image. names:
    file names, if known.
    """

    images: NDArray[np.uint8]
    true: NDArray[np.uint8]
    predicted: NDArray[np.uint8]
    scores: Sequence[float]
    names: Sequence[str] = ()


def report(model: Model, test: Source) -> Reported:
    """Return the sections of a segmentation."""
    classes = classes_of(model)
    counts, masks = compare_masks(model, test)
    plot = worst_masks(masks.images, masks.true, masks.predicted, masks.scores, classes)
    names = ", ".join(masks.names) or "in the order of that number"
    caption = (
        f"The {len(masks.scores)} images with the lowest mean IoU, which is written above the prediction: {names}."
    )
    figure = FigurePart("masks", plot, "The images with the lowest mean IoU", caption)
    sections = [*class_sections(counts, classes, "pixels"), Section("mistakes", "Worst mistakes", [figure], wide=True)]
    return Reported(sections, {CONFUSION: {"classes": list(classes), "counts": counts.tolist()}})


def compare_masks(model: Model, test: Source, most: int = MAX_MASKS) -> tuple[NDArray[np.int64], Masks]:
    """Return the confusion matrix of pixels, true (rows) by predicted, and the `most` images with the lowest IoU."""
    ignored = getattr(model.loss, "ignore", None)
    overall, masks, scores = MeanIoU(ignored), list[Tensor](), list[float]()
    for k in range(len(test)):
        x, y = test.batch([k], generator(0))
        outputs, of_image = model.predict(x), MeanIoU(ignored)
        overall.update(outputs, y)
        masks.append(outputs.argmax(1)[0].to(torch.uint8))
        of_image.update(outputs, y)
        labelled = of_image.matrix is not None and int(of_image.matrix.sum()) > 0
        scores.append(of_image.compute()["miou"] if labelled else 1.0)
    order = sorted(range(len(test)), key=lambda k: scores[k])[:most]
    shown, expected = test.batch(order, generator(0))
    images = (float_images(shown) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    # The file names of masks in memory are `files`, those of streamed masks `names`.
    files = getattr(test, "files", None) or getattr(test, "names", ())
    chosen = Masks(
        images.expand(-1, -1, -1, 3).numpy(),
        expected.numpy(),
        padded([masks[k] for k in order], 0 if ignored is None else ignored).numpy(),
        [scores[k] for k in order],
        [files[k] for k in order] if files else (),
    )
    assert overall.matrix is not None
    return overall.matrix.numpy(), chosen
