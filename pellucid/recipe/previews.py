"""Pictures of held-out images with the model's predictions, written into the run folder during training."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.files import make_folder, write_atomically
from pellucid.base.text import percent
from pellucid.data import Source, float_images
from pellucid.data.seeds import generator
from pellucid.model import Model
from pellucid.predictor import Picture, Predicted
from pellucid.run.folder import RunFolder
from pellucid.run.history import Row
from pellucid.task import task_of
from pellucid.training.callbacks import Callback, Training
from pellucid.training.examples import first_batch

MAX_PICTURES = 4  # in one file


class Previews(Callback):
    """Write pictures/epoch-N.png after the epochs 1, 2, 4, 8, ... and the last: four held-out images with predictions.

    held_out: the source of the images, which are at evenly spaced indices. No file is written if the model's task has
    no predictions for images.
    """

    def __init__(self, run: RunFolder, model: Model, held_out: Source) -> None:
        self.run, self.model, self.held_out = run, model, held_out

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Predict with the weights that this epoch was evaluated with, and write the file."""
        epoch = training.epoch
        if epoch & (epoch - 1) and epoch < training.epochs:  # neither a power of 2 nor the last
            return
        if first_batch(self.held_out).images.shape[1] not in (1, 3):  # such as points of the plane
            return
        try:
            predictor = task_of(self.model).predictor(self.model)
        except PellucidError:  # a generator, for example, has no input images; its report shows samples
            return
        images: list[tuple[NDArray[Any], str]] = []
        with torch.inference_mode():
            n_images = len(self.held_out)
            for k in sorted({n_images * part // MAX_PICTURES for part in range(MAX_PICTURES)}):
                image = picture_of(self.held_out, k)
                picture = Picture(str(k), str(k), partial(predictor.prepared, image))
                (predicted,) = predictor.predict([(picture, picture.read())])
                if isinstance(predicted, Predicted):
                    images.append(with_prediction(image, predicted, self.model.classes or ()))
        if images:
            from pellucid.report.figures.pictures import titled_pictures
            from pellucid.report.figures.style import png

            make_folder(self.run.pictures)
            write_atomically(self.run.preview(epoch), png(titled_pictures(*zip(*images, strict=True))), durable=False)


def picture_of(source: Source, index: int) -> Tensor:
    """Return an image of a source, (3, H, W) uint8."""
    image = float_images(source.batch([index], generator(0)).images)[0]
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).expand(3, -1, -1)


def with_prediction(image: Tensor, prediction: Predicted, classes: Sequence[str]) -> tuple[NDArray[Any], str]:
    """Return an image (3, H, W) uint8 with its prediction drawn over it, (H, W, 3) uint8, and a title."""
    from pellucid.report.figures.overlay import keypoint_overlay, object_overlay
    from pellucid.report.figures.pictures import mask_overlay

    pixels = image.permute(1, 2, 0).contiguous().numpy()
    title = "" if prediction.confidence is None else percent(prediction.confidence)
    if prediction.boxes is not None:
        names = prediction.labels or ()
        indices = [classes.index(name) for name in names]
        return object_overlay(
            pixels, prediction.boxes, indices, names, len(classes), prediction.masks, prediction.points
        ), ""
    if prediction.points is not None:
        return keypoint_overlay(pixels, prediction.points[:, :2]), title
    if prediction.mask is not None:
        return mask_overlay(pixels, prediction.mask, len(prediction.labels or ())), title
    if prediction.image is not None:
        return prediction.image.expand(3, -1, -1).permute(1, 2, 0).numpy(), title
    return pixels, f"{prediction.label or ''} {title}".strip()
