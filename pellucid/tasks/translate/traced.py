"""Colorizers and translators as one network with one loss, for traces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine import Parallel, Sequential
from pellucid.data.augment.standardise import scaled
from pellucid.data.source import Batch
from pellucid.generators import Pix2Pix, Regression, Translator
from pellucid.layers import Concat, Identity
from pellucid.layers.base import Mode
from pellucid.losses.adversarial import ADVERSARIAL
from pellucid.losses.base import Loss
from pellucid.task import Traced
from pellucid.training.examples import as_inputs

if TYPE_CHECKING:
    from pellucid.model import Model


@dataclass(frozen=True)
class GeneratorLoss(Loss):
    """The adversarial loss of a generator, computed from its discriminator's scores; targets are ignored."""

    gan: str

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and its gradient with respect to the scores."""
        return ADVERSARIAL[self.gan].generator(y)


def translator_network(model: Model, x: Any, target: Any) -> Traced:
    """Return a colorizer or translator as one network with one loss, and its input and targets.

    x: images (N, C, H, W). target: their targets in training. For a regression, these are the generator and its loss.
    For pix2pix, the generator's input "pair.x" and its output "pair.generator" are concatenated and passed through the
    discriminator, and the loss is the generator's adversarial loss, without the absolute error. Raises PellucidError
    for other objectives.
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
