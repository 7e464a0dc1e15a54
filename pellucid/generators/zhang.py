"""Colorization by classification: a distribution over quantized a and b for each pixel."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.combine import Sequential
from pellucid.data.source import Batch
from pellucid.errors import PellucidError
from pellucid.fuse import fuse
from pellucid.generators.translation import CHROMA, Pair, Translator
from pellucid.layers import Conv2d, ReLU
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.losses.base import HALF
from pellucid.models.pix2pix import DRAWN, Norm, unet_levels
from pellucid.objective import Gradients, Losses
from pellucid.ops.colour import rgb_to_lab
from pellucid.sweep import backward

SPACING, REACH = 10, 110  # of the grid of bins, in a and b
SHADES = 52  # of red, green and blue from 0 to 1, whose colours say which bins there are
NEIGHBOURS, SIGMA = 5, 5.0  # of the soft encoding
HALVED = 2  # the distribution is of cells of 2 x 2 pixels
FORGET = 0.01  # the least share of a batch in the mean of the frequencies


class Encoded(NamedTuple):
    """Colours as distributions over their nearest bins: bins (N, 5, H, W) int64, the nearest first, and shares."""

    bins: Tensor
    shares: Tensor


class ColourTable(NamedTuple):
    """The bins' centres (Q, 2), and for each whole a and b the nearest bins and their shares (221, 221, 5)."""

    centres: Tensor
    nearest: Tensor
    shares: Tensor


@lru_cache(maxsize=1)
def colour_table() -> ColourTable:
    """Return the bins: the points of the grid of spacing 10 that are the nearest one to a colour of sRGB.

    The colours are 52 shades each of red, green and blue. A colour is encoded as a Gaussian over its 5 nearest bins,
    with a standard deviation of 5. Source: Zhang, Isola and Efros 2016, section 2.2; the rule for the bins is ours.
    """
    with torch.inference_mode(False), torch.device("cpu"):  # also where a file is read, on "meta"
        shade = torch.linspace(0, 1, SHADES, dtype=torch.float64)
        rgb = torch.cartesian_prod(shade, shade, shade).T[:, None]  # an image (3, 1, colours)
        cells = (rgb_to_lab(rgb)[1:, 0].T / SPACING).round() + 0.0  # -0 is 0
        centres = cells.unique(dim=0) * SPACING  # (Q, 2)
        whole = torch.arange(-REACH, REACH + 1, dtype=torch.float64)
        distance = torch.cdist(torch.cartesian_prod(whole, whole), centres)  # (221 * 221, Q)
        near, nearest = distance.topk(NEIGHBOURS, largest=False)
        shares = (near.square() / (-2 * SIGMA**2)).softmax(1)
        side = len(whole)
        tables = nearest.view(side, side, NEIGHBOURS), shares.float().view(side, side, NEIGHBOURS)
        return ColourTable(centres.float(), *tables)


def encode(ab: Tensor) -> Encoded:
    """Return colours ab (N, 2, H, W), rounded to whole units of Lab, as distributions over bins."""
    table = colour_table()
    a, b = (ab.round().long() + REACH).clamp(0, 2 * REACH).unbind(1)  # (N, H, W) each
    nearest, shares = (one.to(ab.device)[a, b].permute(0, 3, 1, 2) for one in (table.nearest, table.shares))
    return Encoded(nearest, shares.to(ab.dtype))


def annealed_mean(logits: Tensor, temperature: float) -> Tensor:
    """Return the mean a and b (N, 2, H, W) of distributions (N, Q, H, W) sharpened by a temperature below 1.

    Source: Zhang, Isola and Efros 2016, equation 5.
    """
    centres = colour_table().centres.to(logits)
    return torch.einsum("nqhw,qc->nchw", (logits / temperature).softmax(1), centres)


@dataclass(frozen=True)
class BinFrequencies(Layer):
    """The mean frequency of each of `bins` in the training images, a buffer that the objective updates."""

    buffers: ClassVar[tuple[str, ...]] = ("frequency", "batches")

    bins: int

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Return equal frequencies, and 0 batches."""
        return {"frequency": torch.full((self.bins,), 1 / self.bins), "batches": torch.zeros(())}, shape

    def forward(self, params: Params, x: Encoded, mode: Mode) -> tuple[Tensor, Cache]:
        """Update the frequencies in training mode by those of encoded colours, and return them (Q,).

        The mean counts all batches alike at first, and later ones by FORGET.
        """
        frequency, batches = params["frequency"], params["batches"]
        if mode.train:
            batch = torch.zeros_like(frequency).scatter_add(0, x.bins.flatten(), x.shares.flatten().to(frequency))
            batches += 1
            frequency += (batch / batch.sum() - frequency) * (1 / batches).clamp_min(FORGET)
        return frequency, ()

    def backward(self, params: Params, cache: Cache, dy: Tensor) -> tuple[Any, Params]:
        """Return nothing: frequencies are constants."""
        return None, {}


@dataclass(frozen=True)
class Zhang(Translator):
    """A generator of logits over the bins of `colour_table`, for cells of 2 x 2 pixels, learned by cross-entropy.

    The gradient of a pixel is multiplied by the weight of its bin, ((1 - g) p + g / Q)^-1 scaled to a mean of 1, with
    the bin's frequency p in the training images so far and g = `uniform`; the loss is not. Predictions are annealed
    means, interpolated to the pixels. uniform: 1 for no rebalancing. temperature: of the annealed mean.
    Source: Zhang, Isola and Efros 2016, equations 2 to 5.
    """

    _: KW_ONLY
    uniform: float = 0.5
    temperature: float = 0.38

    def __post_init__(self) -> None:
        """Raise PellucidError for values outside of 0 to 1."""
        super().__post_init__()
        if not (0 < self.uniform <= 1 and 0 < self.temperature <= 1) or self.to != "colour":
            raise PellucidError("Zhang: uniform and temperature must be above 0 and at most 1, and to='colour'")

    @property
    def nets(self) -> Mapping[str, Layer]:
        """The generator, and the frequencies of the bins."""
        return {"generator": self.generator, "balance": BinFrequencies(len(colour_table().centres))}

    def with_nets(self, nets: Mapping[str, Layer]) -> Self:
        """Return the same objective over another generator."""
        return replace(self, generator=nets["generator"])

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw the parameters of the generator; predictions are a and b."""
        params, _ = super().init(shape, rng)
        params["balance"], _ = self.nets["balance"].init((), rng)
        return params, (2, *shape[1:])

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Gradients:
        """Return {"loss": cross-entropy} and the gradients: pair, generator, encoded colours, weights, and back."""
        x, wanted = self.pair(batch, mode)
        logits, cache = self.generator.forward(params["generator"], x, mode)  # (N, Q, H / 2, W / 2)
        said = (logits.float() if logits.dtype in HALF else logits).log_softmax(1)
        true = self.cells(wanted)
        value = -(true.shares * said.gather(1, true.bins)).sum(1).mean()
        weights = self.weights_of(params, true, mode) / true.bins[:, 0].numel()  # (N, H / 2, W / 2)
        dlogits = said.exp().scatter_add(1, true.bins, -true.shares) * weights[:, None]
        _, dparams = backward(self.generator, params["generator"], cache, dlogits.to(logits.dtype), consume=True)
        return {"loss": value}, {"generator": dparams}

    def cells(self, wanted: Tensor) -> Encoded:
        """Return the mean colour of each cell, encoded."""
        wanted = wanted.float() if wanted.dtype in HALF else wanted
        return encode(F.avg_pool2d(wanted * CHROMA, HALVED))

    def weights_of(self, params: Params, true: Encoded, mode: Mode) -> Tensor:
        """Return the weight of each cell, by its nearest bin."""
        frequency, _ = self.nets["balance"].forward(params["balance"], true, mode)
        weights = 1 / ((1 - self.uniform) * frequency + self.uniform / len(frequency))
        return (weights / (weights * frequency).sum())[true.bins[:, 0]].to(true.shares.dtype)

    def result(self, y: Tensor, images: Tensor) -> Tensor:
        """Return the annealed means of logits, interpolated to the pixels."""
        ab = annealed_mean(y.float() if y.dtype in HALF else y, self.temperature)
        size = [HALVED * side for side in ab.shape[2:]]
        return super().result(F.interpolate(ab / CHROMA, size, mode="bilinear"), images)

    def compare(self, params: Params, pair: Pair, y: Tensor) -> Losses:
        """Return the cross-entropy."""
        true = self.cells(pair.wanted)
        said = y.log_softmax(1)
        return {"loss": -(true.shares * said.gather(1, true.bins)).sum(1).mean()}

    def fused(self) -> "Zhang":
        """Return the objective over the fused form of the generator."""
        return replace(self, generator=fuse(self.generator))


def zhang(
    width: int = 32,
    levels: int = 4,
    norm: Norm = "batch",
    dropout: float = 0.0,
    hints: bool = False,
    uniform: float = 0.5,
    temperature: float = 0.38,
) -> Zhang:
    """Return the classification of quantized a and b, with pix2pix's U-Net without its last upsampling.

    width, levels, norm, dropout: see `unet_generator`. hints: whether it reads dots of colour. uniform: the part of the
    uniform distribution in the weights of the bins, 1 for equal weights. temperature: of the annealed mean.
    """
    scores = Conv2d(len(colour_table().centres), 1, init_weight=DRAWN)
    net = Sequential(**unet_levels(width, levels, norm, dropout), relu=ReLU(), scores=scores)
    return Zhang(net, hints=hints, multiple=2**levels, uniform=uniform, temperature=temperature)
