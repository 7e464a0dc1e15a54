"""The sections of a segmentation model's report: classes, and the images with the lowest IoU."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data import Source, float_images
from pellucid.data.files import pad_and_stack
from pellucid.data.seeds import generator
from pellucid.metrics import MeanIoU
from pellucid.model import Model
from pellucid.recipe.run_report.classes import CONFUSION_FILE, class_sections
from pellucid.report.figures.pictures import worst_masks
from pellucid.report.sections import FigurePart, Section
from pellucid.task import Reported
from pellucid.tasks.segment.segmenter import classes_of

MAX_IMAGES = 6  # number of images in a report


@dataclass(frozen=True)
class WorstMasks:
    """The images with the lowest mean IoU, worst first.

    images: (n, H, W, 3), uint8. true, predicted: (n, H, W), class indices. scores: the mean IoU of each image.
    file_names: of the images, () if unknown.
    """

    images: NDArray[np.uint8]
    true: NDArray[np.uint8]
    predicted: NDArray[np.uint8]
    scores: Sequence[float]
    file_names: Sequence[str] = ()


def report(model: Model, test: Source) -> Reported:
    """Return the sections of a segmentation model's report, and the confusion matrix of pixels as JSON values."""
    classes = classes_of(model)
    counts, worst_images = confusion_and_worst_images(model, test)
    plot = worst_masks(worst_images.images, worst_images.true, worst_images.predicted, worst_images.scores, classes)
    names_text = ", ".join(worst_images.file_names) or "in the order of that number"
    caption = (
        f"The {len(worst_images.scores)} images with the lowest mean IoU, which is written above the prediction: "
        f"{names_text}."
    )
    figure = FigurePart("masks", plot, "The images with the lowest mean IoU", caption)
    sections = [*class_sections(counts, classes, "pixels"), Section("mistakes", "Worst mistakes", [figure], wide=True)]
    return Reported(sections, {CONFUSION_FILE: {"classes": list(classes), "counts": counts.tolist()}})


def confusion_and_worst_images(
    model: Model, test: Source, max_images: int = MAX_IMAGES
) -> tuple[NDArray[np.int64], WorstMasks]:
    """Return the confusion matrix of pixels, true (rows) by predicted class, and the images with the lowest IoU."""
    ignored = getattr(model.loss, "ignore", None)
    overall_iou, predicted_masks, ious = MeanIoU(ignored), list[Tensor](), list[float]()
    for k in range(len(test)):
        x, y = test.batch([k], generator(0))
        outputs, image_iou = model.predict(x), MeanIoU(ignored)
        overall_iou.update(outputs, y)
        predicted_masks.append(outputs.max(1).indices[0].to(torch.uint8))
        image_iou.update(outputs, y)
        has_labels = image_iou.matrix is not None and int(image_iou.matrix.sum()) > 0
        ious.append(image_iou.compute()["miou"] if has_labels else 1.0)
    worst_indices = sorted(range(len(test)), key=lambda k: ious[k])[:max_images]
    inputs, targets = test.batch(worst_indices, generator(0))
    images = (float_images(inputs) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    # The file names of masks in memory are `files`, those of streamed masks `names`.
    file_names = getattr(test, "files", None) or getattr(test, "names", ())
    worst_images = WorstMasks(
        images.expand(-1, -1, -1, 3).numpy(),
        targets.numpy(),
        pad_and_stack([predicted_masks[k] for k in worst_indices], 0 if ignored is None else ignored).numpy(),
        [ious[k] for k in worst_indices],
        [file_names[k] for k in worst_indices] if file_names else (),
    )
    assert overall_iou.matrix is not None
    return overall_iou.matrix.numpy(), worst_images
