"""A generator and its discriminator as one network and one loss, whose passes are traced."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.combine import Parallel, Sequential
from pellucid.data.augment.standardise import scaled
from pellucid.data.source import Batch
from pellucid.errors import PellucidError
from pellucid.generators import Pix2Pix, Regression, Translator
from pellucid.layers import Concat, Identity
from pellucid.layers.base import Mode
from pellucid.losses.adversarial import ADVERSARIAL
from pellucid.losses.base import Loss
from pellucid.trace.passes import Traced
from pellucid.training.examples import as_inputs
from pellucid.training.model import BaseModel


@dataclass(frozen=True)
class GeneratorLoss(Loss):
    """The adversarial loss of a generator, of its discriminator's scores; targets are not read."""

    gan: str

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and its gradient with respect to the scores."""
        return ADVERSARIAL[self.gan].generator(y)


def of_translator(model: BaseModel, x: Any, target: Any) -> Traced:
    """Return what is traced of a colorizer or a translator for images (N, C, H, W), and the images of its targets.

    Of pix2pix it is the generator's turn: what the generator reads, "pair.x", beside what it makes,
    "pair.generator", through the discriminator, without the absolute error. Raises PellucidError for others than
    pix2pix and regression.
    """
    it = model.objective
    assert isinstance(it, Translator)
    images = scaled(as_inputs(x, "trace: x"), model.stats)
    read, wanted = it.pair(Batch(images, target), Mode())
    if isinstance(it, Regression):
        return Traced(Sequential(generator=it.generator), model.params, it.loss, read, wanted)
    if not isinstance(it, Pix2Pix):
        raise PellucidError(f"trace: the loss of {type(it).__name__} is of encoded colours; trace l1, mse or pix2pix")
    pair = Parallel({"x": Identity(), "generator": it.generator}, Concat())
    params = {
        "pair": {"x": {}, "generator": model.params["generator"], "merge": {}},
        "discriminator": model.params["discriminator"],
    }
    net = Sequential(pair=pair, discriminator=it.discriminator)
    return Traced(net, params, GeneratorLoss(it.gan), read, torch.zeros(len(read)))
