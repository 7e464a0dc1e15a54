"""Regression: a generator trained only with the distance of its outputs from the true colours or images."""

from dataclasses import dataclass, replace

from torch import Tensor

from pellucid.data.source import Batch
from pellucid.fuse import fuse
from pellucid.generators.translation import To, TranslationPair, Translator
from pellucid.layers.base import Mode, Params
from pellucid.losses import L1, Quadratic
from pellucid.losses.base import Loss
from pellucid.models.pix2pix import NormName, unet_generator
from pellucid.objective import Gradients, Losses
from pellucid.sweep import backward


@dataclass(frozen=True)
class Regression(Translator):
    """A generator with a loss between its outputs and the targets, both in the units of the network's outputs.

    With L1 it learns the median of the possible targets, with the quadratic loss their mean. Where the true colours are
    uncertain, both are greyer than real colours. Source: the baselines of Isola et al. 2017, section 4.2, and of Zhang,
    Isola and Efros 2016, section 3.
    """

    loss: Loss

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Gradients:
        """Return {"loss": value} and the gradients of the generator."""
        x, target = self.pair(batch, mode)
        y, cache = self.generator.forward(params["generator"], x, mode)  # (N, 2 or 3, H, W)
        value, dy = self.loss(y, target)
        _, dparams = backward(self.generator, params["generator"], cache, dy, consume=True)
        return {"loss": value}, {"generator": dparams}

    @property
    def is_sum(self) -> bool:
        """Whether the loss is a sum over the images of a batch."""
        return self.loss.is_sum

    def losses(self, params: Params, pair: TranslationPair, y: Tensor) -> Losses:
        """Return the loss of the outputs."""
        return {"loss": self.loss(y, pair.target)[0]}

    def fused(self) -> "Regression":
        """Return the objective with the fused form of the generator."""
        return self.with_nets({"generator": fuse(self.generator)})


def l1(
    to: To = "colour",
    width: int = 32,
    levels: int = 4,
    norm: NormName = "batch",
    dropout: float = 0.0,
    hints: bool = False,
) -> Regression:
    """Return the regression of a and b, or of an image, with the mean absolute error and pix2pix's U-Net.

    width, levels, norm, dropout: see `unet_generator`; the defaults are for images of 32 to 128 pixels. hints: whether
    the generator receives colour hints.
    """
    net = unet_generator(2 if to == "colour" else 3, width, levels, norm, dropout)
    return Regression(net, L1("mean"), to=to, hints=hints, multiple=2**levels)


def mse(
    to: To = "colour",
    width: int = 32,
    levels: int = 4,
    norm: NormName = "batch",
    dropout: float = 0.0,
    hints: bool = False,
) -> Regression:
    """Return the regression `l1` with half the mean squared error as the loss; it has the same arguments."""
    return replace(l1(to, width, levels, norm, dropout, hints), loss=Quadratic("mean"))
