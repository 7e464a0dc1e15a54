"""Colorization by classification: a distribution over quantized a and b for each pixel."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.settings.checks import check_above_zero, check_choice
from pellucid.combine import Sequential
from pellucid.constant import with_gradient_of
from pellucid.data.source import Batch
from pellucid.fuse import BatchParts, fuse
from pellucid.generators.translation import CHROMA_SCALE, TranslationPair, Translator
from pellucid.layers import Conv2d, ReLU
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.losses.base import upcast_half
from pellucid.models.pix2pix import INITIALIZER, NormName, unet_levels
from pellucid.objective import Gradients, Losses
from pellucid.ops.colour import rgb_to_lab
from pellucid.sweep import backward

SPACING = 10  # distance of neighbours in the grid of bins
MAX_AB = 110  # largest a and b in the grid of bins
N_SHADES = 52  # levels each of red, green and blue; bins that contain none of these colours are left out
N_NEIGHBOURS = 5  # number of bins of the soft encoding
SIGMA = 5.0  # standard deviation of the soft encoding, in units of a and b
CELL_SIZE = 2  # each distribution is predicted for a cell of 2 x 2 pixels
MIN_UPDATE = 0.01  # smallest weight of a batch in the running mean of the frequencies


class EncodedColours(NamedTuple):
    """Colours as distributions over bins: the indices of the 5 nearest bins, nearest first, and their probabilities.

    Both are (N, 5, H, W).
    """

    bins: Tensor
    probabilities: Tensor


class ColourTable(NamedTuple):
    """The centres (Q, 2) of the bins, and the nearest bins and probabilities (221, 221, 5) for all integers a and b."""

    centres: Tensor
    nearest: Tensor
    probabilities: Tensor


@lru_cache(maxsize=1)
def colour_table() -> ColourTable:
    """Return the table of bins: points of a grid of spacing 10 in a and b.

    A point is a bin if it is the nearest point of at least one sRGB colour, among all combinations of 52 levels of red,
    green and blue. A colour is encoded as a Gaussian over its 5 nearest bins, with a standard deviation of 5. Source:
    Zhang, Isola and Efros 2016, section 2.2, where the bins are chosen differently.
    """
    with torch.inference_mode(False), torch.device("cpu"):  # weights files are read inside torch.device("meta")
        shade = torch.linspace(0, 1, N_SHADES, dtype=torch.float64)
        rgb = torch.cartesian_prod(shade, shade, shade).T[:, None]  # an image (3, 1, colours)
        grid_points = (rgb_to_lab(rgb)[1:, 0].T / SPACING).round() + 0.0  # turns -0 into 0
        centres = grid_points.unique(dim=0) * SPACING  # (Q, 2)
        integers = torch.arange(-MAX_AB, MAX_AB + 1, dtype=torch.float64)
        distance = torch.cdist(torch.cartesian_prod(integers, integers), centres)  # (221 * 221, Q)
        nearest_distances, nearest = distance.topk(N_NEIGHBOURS, largest=False)
        probabilities = (nearest_distances.square() / (-2 * SIGMA**2)).softmax(1)
        n_values = len(integers)
        shape = (n_values, n_values, N_NEIGHBOURS)
        return ColourTable(centres.float(), nearest.view(shape), probabilities.view(shape))


@lru_cache(maxsize=8)
def colour_table_on(device: torch.device, dtype: torch.dtype) -> ColourTable:
    """Return the table of bins on a device, cached because a copy in each step would synchronize with the host."""
    table = colour_table()
    with torch.inference_mode(False):
        return ColourTable(
            table.centres.to(device, dtype), table.nearest.to(device), table.probabilities.to(device, dtype)
        )


def encode(ab: Tensor) -> EncodedColours:
    """Encode colours ab (N, 2, H, W), rounded to integers, as distributions over bins."""
    table = colour_table_on(ab.device, ab.dtype)
    a, b = (ab.round().long() + MAX_AB).clamp(0, 2 * MAX_AB).unbind(1)  # (N, H, W) each
    return EncodedColours(*(values[a, b].permute(0, 3, 1, 2) for values in (table.nearest, table.probabilities)))


def annealed_mean(logits: Tensor, temperature: float) -> Tensor:
    """Return the mean a and b (N, 2, H, W) of distributions (N, Q, H, W) sharpened by a temperature below 1.

    Source: Zhang, Isola and Efros 2016, equation 5.
    """
    centres = colour_table_on(logits.device, logits.dtype).centres
    return torch.einsum("nqhw,qc->nchw", (logits / temperature).softmax(1), centres)


@dataclass(frozen=True)
class BinFrequencies(Layer):
    """A layer whose buffer is the running mean of the frequency of each of `bins` in the training images."""

    buffers: ClassVar[tuple[str, ...]] = ("frequency", "batches")

    bins: int

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Return equal frequencies and a batch count of 0."""
        return {"frequency": torch.full((self.bins,), 1 / self.bins), "batches": torch.zeros(())}, shape

    def forward(self, params: Params, x: EncodedColours, mode: Mode) -> tuple[Tensor, Cache]:
        """Return the frequencies (Q,); in training mode, first update them with those of the encoded colours x.

        Batch n has the weight 1/n, or MIN_UPDATE if this is larger.
        """
        frequency, batches = params["frequency"], params["batches"]
        if mode.train:
            batch_counts = self.counts(torch.zeros_like(frequency), x)
            batches += 1
            frequency += (batch_counts / batch_counts.sum() - frequency) * (1 / batches).clamp_min(MIN_UPDATE)
        return frequency, ()

    def backward(self, params: Params, cache: Cache, dy: Tensor) -> tuple[Any, Params]:
        """Return no gradients, since the frequencies are constants in the loss."""
        return None, {}

    def counts(self, zeros: Tensor, x: EncodedColours) -> Tensor:
        """Return `zeros` (Q,) plus the sum of the probabilities of each bin in the encoded colours of a batch."""
        return zeros.scatter_add(0, x.bins.flatten(), x.probabilities.flatten().to(zeros))


@dataclass(frozen=True)
class SyncedFrequencies(BinFrequencies):
    """BinFrequencies in one of several processes, each of which has a part of every batch."""

    parts: BatchParts

    def counts(self, zeros: Tensor, x: EncodedColours) -> Tensor:
        """Return the counts summed over all parts of the batch."""
        return self.parts.gather(super().counts(zeros, x)).sum(0)


@dataclass(frozen=True)
class Zhang(Translator):
    """A generator of logits over the bins of `colour_table` for cells of 2 x 2 pixels, trained by cross-entropy.

    For class rebalancing, the gradient of a cell (but not the loss) is multiplied by the weight of its nearest bin:
    ((1 - g) p + g / Q)^-1, scaled to a mean of 1, where p is the bin's frequency in the training images so far and g is
    `uniform`. Predictions are annealed means, interpolated to the pixels.
    uniform: 1 for no rebalancing.
    temperature: of the annealed mean, see `annealed_mean`.
    Source: Zhang, Isola and Efros 2016, equations 2 to 5.
    """

    _: KW_ONLY
    uniform: float = 0.5
    temperature: float = 0.38

    def __post_init__(self) -> None:
        """Raise PellucidError unless `uniform` and `temperature` are in (0, 1] and `to` is "colour"."""
        super().__post_init__()
        check_above_zero(self, 1, uniform=self.uniform, temperature=self.temperature)
        check_choice(self, ("colour",), to=self.to)

    @property
    def nets(self) -> Mapping[str, Layer]:
        """The generator, and as "balance" the layer with the frequencies of the bins."""
        return {"generator": self.generator, "balance": self.frequencies()}

    def frequencies(self) -> BinFrequencies:
        """Return the layer that keeps the frequencies of the bins."""
        return BinFrequencies(len(colour_table().centres))

    def with_nets(self, nets: Mapping[str, Layer]) -> Self:
        """Return the same objective with another generator."""
        return replace(self, generator=nets["generator"])

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw the parameters of the generator; return the parameters, and (2, H, W) as the shape of predictions."""
        params, _ = super().init(shape, rng)
        params["balance"], _ = self.nets["balance"].init((), rng)
        return params, (2, *shape[1:])

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Gradients:
        """Return {"loss": cross-entropy}, and the rebalanced gradients of the generator."""
        x, target = self.pair(batch, mode)
        logits, cache = self.generator.forward(params["generator"], x, mode)  # (N, Q, H / 2, W / 2)
        log_p = upcast_half(logits).log_softmax(1)
        encoded = self.encode_cells(target)
        costs = -(encoded.probabilities * log_p.gather(1, encoded.bins)).sum(1)  # (N, H / 2, W / 2)
        weights = self.cell_weights(params, encoded, mode) / encoded.bins[:, 0].numel()
        value = with_gradient_of(costs.mean(), (weights * costs).sum())
        dlogits = log_p.exp().scatter_add(1, encoded.bins, -encoded.probabilities) * weights[:, None]
        _, dparams = backward(self.generator, params["generator"], cache, dlogits.to(logits.dtype), consume=True)
        return {"loss": value}, {"generator": dparams}

    def encode_cells(self, targets: Tensor) -> EncodedColours:
        """Return the encoded mean colour of each cell of targets (N, 2, H, W), which are a / 110 and b / 110."""
        return encode(F.avg_pool2d(upcast_half(targets) * CHROMA_SCALE, CELL_SIZE))

    def cell_weights(self, params: Params, encoded: EncodedColours, mode: Mode) -> Tensor:
        """Return the rebalancing weight (N, H / 2, W / 2) of each cell, from its nearest bin."""
        frequency, _ = self.nets["balance"].forward(params["balance"], encoded, mode)
        weights = 1 / ((1 - self.uniform) * frequency + self.uniform / len(frequency))
        return (weights / (weights * frequency).sum())[encoded.bins[:, 0]].to(encoded.probabilities.dtype)

    def result(self, y: Tensor, images: Tensor) -> Tensor:
        """Return the annealed means of the logits y, interpolated to the pixels and cropped to the size of `images`."""
        ab = annealed_mean(upcast_half(y), self.temperature)
        size = [CELL_SIZE * side for side in ab.shape[2:]]
        return super().result(F.interpolate(ab / CHROMA_SCALE, size, mode="bilinear"), images)

    def losses(self, params: Params, pair: TranslationPair, y: Tensor) -> Losses:
        """Return {"loss": cross-entropy} of the logits y."""
        encoded = self.encode_cells(pair.target)
        log_p = y.log_softmax(1)
        return {"loss": -(encoded.probabilities * log_p.gather(1, encoded.bins)).sum(1).mean()}

    def fused(self) -> "Zhang":
        """Return the objective with the fused form of the generator."""
        return replace(self, generator=fuse(self.generator))

    def synced(self, parts: BatchParts) -> "SyncedZhang":
        """Return the objective that counts the colours of all parts of a batch."""
        synced_objective = super().synced(parts)
        values = {entry.name: getattr(synced_objective, entry.name) for entry in fields(synced_objective)}
        return SyncedZhang(**values, parts=parts)


@dataclass(frozen=True)
class SyncedZhang(Zhang):
    """The objective Zhang in one of several processes, each of which has a part of every batch."""

    parts: BatchParts = field(kw_only=True)

    def frequencies(self) -> BinFrequencies:
        """Return the layer that keeps the frequencies of the bins in all parts of the batches."""
        return SyncedFrequencies(super().frequencies().bins, self.parts)


def zhang(
    width: int = 32,
    levels: int = 4,
    norm: NormName = "batch",
    dropout: float = 0.0,
    hints: bool = False,
    uniform: float = 0.5,
    temperature: float = 0.38,
) -> Zhang:
    """Return the classification of quantized a and b with pix2pix's U-Net, without its last upsampling.

    width, levels, norm, dropout: see `unet_generator`. hints: whether the generator receives colour hints. uniform: the
    fraction of the uniform distribution in the frequencies that determine the weights of the bins, 1 for equal weights.
    temperature: of the annealed mean, see `annealed_mean`.
    """
    scores = Conv2d(len(colour_table().centres), 1, init_weight=INITIALIZER)
    net = Sequential(**unet_levels(width, levels, norm, dropout), relu=ReLU(), scores=scores)
    return Zhang(net, hints=hints, multiple=2**levels, uniform=uniform, temperature=temperature)
