"""A model of any objective as one network with one loss, for tracing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.combine import Parallel, Sequential
from pellucid.data.augment.standardise import scaled
from pellucid.data.source import Batch
from pellucid.detectors import Anchors, Detector, OneStage
from pellucid.detectors.base import join_maps, split_maps
from pellucid.errors import PellucidError
from pellucid.generators import Pix2Pix, Regression, Translator
from pellucid.layers import Concat, Identity
from pellucid.layers.base import Layer, Mode, Params
from pellucid.losses.adversarial import ADVERSARIAL
from pellucid.losses.base import Loss
from pellucid.objects import Objects
from pellucid.training.examples import as_inputs, examples
from pellucid.training.model import BaseModel


class Traced(NamedTuple):
    """A model as one network with one loss: its parameters, and the inputs and targets of a pass."""

    net: Layer
    params: Params
    loss: Loss
    x: Tensor
    target: Tensor


def as_network(model: BaseModel, x: Any, target: Any) -> Traced:
    """Return a model as one network with one loss; raises PellucidError for data that do not fit it."""
    if isinstance(model.objective, Detector):
        return of_detector(model, x, target)
    if isinstance(model.objective, Translator):
        return of_translator(model, x, target)
    data = examples(x, target, classes=model.classes)
    model.fitting(data, "trace: x")
    return Traced(model.net, model.params, model.loss, scaled(data.x, model.stats), data.y)


@dataclass(frozen=True, repr=False)
class Comparison:
    """A detector, the number of images in the batch, and their size (H, W) in pixels."""

    detector: OneStage
    images: int
    size: tuple[int, int]

    def __repr__(self) -> str:
        """Return the name of the detector."""
        return type(self.detector).__name__


@dataclass(frozen=True)
class DetectionLoss(Loss):
    """The weighted sum of a detector's losses, computed from the output maps of its last network.

    Targets are (objects, 7): index of the image, label, x0, y0, x1, y1, and 1 for a crowd, else 0.
    """

    of: Comparison

    def compute(self, y: Any, target: Tensor) -> tuple[Tensor, Any]:
        """Return the sum and its gradient with respect to the maps, a tensor or a tuple of tensors."""
        maps: Sequence[Tensor] = y if isinstance(y, tuple) else (y,)
        detector, size = self.of.detector, self.of.size
        sizes = [(each.shape[2], each.shape[3]) for each in maps]
        anchors = Anchors(detector.anchors(sizes, size).to(maps[0]), sizes, size)
        losses, dy = detector.compare(
            join_maps(maps, detector.outputs_per_anchor), anchors, _objects(target, self.of.images)
        )
        value = torch.stack([detector.weight(name) * loss for name, loss in losses.items()]).sum()
        dmaps = split_maps(dy, maps)
        return value, dmaps if isinstance(y, tuple) else dmaps[0]


def of_detector(model: BaseModel, x: Any, target: Any) -> Traced:
    """Return a detector's network, loss and data for images (N, C, H, W) and a list with the Objects of each.

    Raises PellucidError for two-stage detectors, whose second stage receives regions that no layer outputs.
    """
    detector = model.objective
    if not isinstance(detector, OneStage):
        raise PellucidError(
            f"trace: {type(detector).__name__} computes regions between its networks, outside of any layer; trace a "
            "single-stage detector"
        )
    images, objects = as_inputs(x, "trace: x"), [target] if isinstance(target, Objects) else target
    detector.check(None, objects)
    if images.dim() != 4 or len(images) != len(objects) or not len(images):
        raise PellucidError(
            f"trace: images of shape {tuple(images.shape)} and the Objects of {len(objects)}; give (N, C, H, W) and a "
            "list of N"
        )
    # One row for each object, with the columns of DetectionLoss.
    rows = [
        torch.cat([
            one.boxes.new_full((len(one), 1), k), one.labels[:, None].to(one.boxes), one.boxes,
            (torch.zeros_like(one.labels) if one.crowd is None else one.crowd)[:, None].to(one.boxes),
        ], 1)
        for k, one in enumerate(objects)
    ]  # fmt: skip
    loss = DetectionLoss(Comparison(detector, len(images), (images.shape[2], images.shape[3])))
    x = scaled(images, model.stats)
    return Traced(Sequential(**detector.nets), model.params, loss, x, torch.cat(rows))


def _objects(target: Tensor, images: int) -> list[Objects]:
    parts = [target[target[:, 0] == k] for k in range(images)]
    return [Objects(one[:, 2:6], one[:, 1].long(), crowd=one[:, 6] > 0) for one in parts]


@dataclass(frozen=True)
class GeneratorLoss(Loss):
    """The adversarial loss of a generator, computed from its discriminator's scores; targets are ignored."""

    gan: str

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and its gradient with respect to the scores."""
        return ADVERSARIAL[self.gan].generator(y)


def of_translator(model: BaseModel, x: Any, target: Any) -> Traced:
    """Return the network, loss and data of a colorizer or translator for images (N, C, H, W) and its targets.

    For pix2pix this is the generator's adversarial loss, without the absolute error: the generator's input "pair.x" and
    its output "pair.generator" are concatenated and passed through the discriminator. Raises PellucidError for
    objectives other than pix2pix and regression.
    """
    objective = model.objective
    assert isinstance(objective, Translator)
    images = scaled(as_inputs(x, "trace: x"), model.stats)
    inputs, targets = objective.pair(Batch(images, target), Mode())
    if isinstance(objective, Regression):
        return Traced(Sequential(generator=objective.generator), model.params, objective.loss, inputs, targets)
    if not isinstance(objective, Pix2Pix):
        raise PellucidError(f"trace: {type(objective).__name__} has a loss on encoded colours; use l1, mse or pix2pix")
    pair = Parallel({"x": Identity(), "generator": objective.generator}, Concat())
    params = {
        "pair": {"x": {}, "generator": model.params["generator"], "merge": {}},
        "discriminator": model.params["discriminator"],
    }
    net = Sequential(pair=pair, discriminator=objective.discriminator)
    return Traced(net, params, GeneratorLoss(objective.gan), inputs, torch.zeros(len(inputs)))
