"""Tests of explanations: conservation, completeness, weight randomization, deletion and insertion."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import integer
from pellucid.base.settings.tensors import as_tensor
from pellucid.combine.base import Combinator, prefix_of, walk
from pellucid.explain.layout import has_channels_last, with_channels_first
from pellucid.explain.occlusion import FillValue, OutputFunction
from pellucid.explain.sweeps import fix_target, relevance_to_distribute, scores
from pellucid.explain.target import Aim, Target, aim
from pellucid.layers.base import Layer, Mode, Params
from pellucid.nested import flatten, nest
from pellucid.sweep import forward


def channel_sum(map_: Tensor) -> Tensor:
    """Return the sum of an explanation (N, C, H, W) over its channels, (N, H, W).

    Raises PellucidError for another shape.
    """
    if map_.dim() != 4:
        raise PellucidError(f"an explanation of shape {tuple(map_.shape)} is not an image; give (N, C, H, W)")
    return map_.sum(1)


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return (N,): Spearman's rank correlation of two maps (N, ...) for each example; equal values share a rank.

    1 is the same order, 0 is no correlation, -1 the reverse order; NaN for a constant map.
    Raises PellucidError for maps of different shapes.
    """
    if a.shape != b.shape:
        raise PellucidError(f"maps of shapes {tuple(a.shape)} and {tuple(b.shape)} cannot be compared pixel by pixel")
    pairs = [
        (ranks(first), ranks(second)) for first, second in zip(a.cpu().flatten(1), b.cpu().flatten(1), strict=True)
    ]
    return torch.stack([_correlation(first, second) for first, second in pairs])


def ranks(values: Tensor) -> Tensor:
    """Return the ranks of values (n,), from 0, in float64; equal values share the mean of their ranks."""
    _, inverse, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last_ranks = counts.cumsum(0).double()
    return (last_ranks - (counts + 1) / 2)[inverse]


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    a, b = a - a.mean(), b - b.mean()
    return (a @ b) / (a.norm() * b.norm())


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Return (N,): 1 minus the rank correlation of two explanations (N, C or 1, H, W), summed over their channels.

    0 is the same order of pixels, 1 no correlation, 2 the reverse order; NaN if one of the explanations is constant.
    """
    return (1 - rank_correlation(channel_sum(a), channel_sum(b))).clamp(0, 2)  # rounding may exceed the bounds


class SumCheck(NamedTuple):
    """The sum of an explanation, the expected sum, and the gap between them; (N,) each."""

    map_sum: Tensor  # the sum of the explanation
    expected: Tensor  # the sum that it should equal

    @property
    def gap(self) -> Tensor:
        """|map_sum - expected| / |expected|; infinite if only `expected` is 0, NaN if one of the sums is NaN."""
        difference = (self.map_sum - self.expected).abs()
        return (difference / self.expected.abs()).where(difference != 0, 0.0)  # the gap of a NaN difference is NaN


def conservation(net: Layer, params: Params, x: Any, target: Target, relevance: Tensor) -> SumCheck:
    """Return the sum of the relevance and the target's score, which it should equal.

    Biases and stabilizers absorb relevance, so a gap is not an error in networks or rules that have them.
    Source: Bach et al. 2015, equation 2.
    """
    return SumCheck(_sums(relevance), relevance_to_distribute(net, params, x, target))


def completeness(
    net: Layer, params: Params, x: Tensor, target: Target, attribution: Tensor, baseline: float | Tensor = 0.0
) -> SumCheck:
    """Return the sum of an attribution, and the score of x minus the score of the baseline, which it should equal.

    target: None is the class of x with the largest score. Source: Sundararajan, Taly and Yan 2017, proposition 1.
    """
    target = fix_target(net, params, x, target)
    baseline_x = x.new_zeros(()).add(baseline).expand(x.shape)
    expected = scores(net, params, x, target) - scores(net, params, baseline_x, target)
    return SumCheck(_sums(attribution), expected)


def _sums(map_: Any) -> Tensor:
    """Return the sum of the map of each example, (N,), over all inputs."""
    parts = cast("tuple[Tensor, ...]", map_) if isinstance(map_, tuple) else (map_,)
    return torch.stack([part.flatten(1).sum(1) for part in parts]).sum(0)


# methods whose maps have a known sum
SUM_CHECKS = {"lrp": conservation, "integrated_gradients": completeness, "deeplift": completeness}


class Agreement(NamedTuple):
    """The agreement of an explanation with an object whose position is known; (N,) each."""

    inside: Tensor  # the fraction of the sum of the map's positive values that lies on the object
    area: Tensor  # the fraction of the image that the object covers, the expected `inside` of a random map
    # whether the map's largest value lies on the object (the pointing game of Zhang et al. 2016)
    hit: Tensor


def object_agreement(map_: Tensor, mask: Tensor) -> Agreement:
    """Return the agreement of an explanation (N, C, H, W) with an object; mask (N, H, W) is True on the object.

    A map without positive values has 0 inside. Raises PellucidError for shapes that differ.
    """
    summed_map = channel_sum(map_)
    if summed_map.shape != mask.shape:
        raise PellucidError(
            f"a map of shape {tuple(map_.shape)} needs a mask {tuple(summed_map.shape)}, not {tuple(mask.shape)}"
        )
    positive = summed_map.clamp_min(0).flatten(1)
    on_object = mask.flatten(1).bool()
    total = positive.sum(1)
    inside = torch.where(total > 0, (positive * on_object).sum(1) / total, 0.0)
    largest = summed_map.flatten(1).argmax(1, keepdim=True)
    return Agreement(inside, on_object.to(summed_map).mean(1), on_object.gather(1, largest)[:, 0])


ExplainFunction = Callable[[Params], Tensor]  # function of parameters that returns the explanation (N, C, H, W)


class Randomization(NamedTuple):
    """The explanation after shuffling the weights of the layer at `path` and of all layers after it."""

    path: str
    # (N,), the rank correlation of its magnitudes with the magnitudes for the unchanged network. Pixels that are 0 in
    # both are left out, so an empty background does not count as agreement.
    correlation: Tensor


def randomize_weights(
    net: Layer, params: Params, explain: ExplainFunction, seed: int = 0, max_explanations: int | None = None
) -> list[Randomization]:
    """Shuffle the weights of the layers in turn, from the last to the first, and explain after each layer.

    The values of each tensor are permuted, so their distribution is unchanged; running statistics are not shuffled.
    An explanation whose correlation stays near 1 depends on the image, not on the network. Magnitudes are compared: a
    shuffled network may change signs. explain: a function that explains with the given parameters. max_explanations:
    the maximum number of explanations, evenly spread over the layers from the last to the first; None for all layers.
    Source: Adebayo et al. 2018, section 3.1, cascading randomization.
    """
    original = channel_sum(explain(params)).abs()
    steps = list(cascading_randomization(net, params, seed))
    n_steps = len(steps)
    n_explanations = n_steps if max_explanations is None else min(max_explanations, n_steps)
    selected_steps = {round(k * (n_steps - 1) / max(n_explanations - 1, 1)) for k in range(n_explanations)}
    return [
        Randomization(path, _magnitude_correlations(original, channel_sum(explain(shuffled)).abs()))
        for k, (path, shuffled) in enumerate(steps)
        if k in selected_steps
    ]


def cascading_randomization(net: Layer, params: Params, seed: int = 0) -> Iterator[tuple[str, Params]]:
    """Yield each layer's path, from the last to the first, and the parameters shuffled from this layer to the last."""
    rng = torch.Generator().manual_seed(seed)
    flat = flatten(params)
    for path, layer in reversed(list(walk(net))):
        prefix = prefix_of(path)
        param_names = [
            param_name
            for param_name in flat
            if param_name.rpartition(".")[0] == path and param_name.removeprefix(prefix) not in layer.buffers
        ]
        if isinstance(layer, Combinator) or not param_names:
            continue
        for param_name in param_names:
            flat[param_name] = _shuffle(flat[param_name], rng)
        yield path, nest(params, flat)


def _magnitude_correlations(a: Tensor, b: Tensor) -> Tensor:
    masks = [(first != 0) | (second != 0) for first, second in zip(a, b, strict=True)]
    pairs = [(first[mask], second[mask]) for first, second, mask in zip(a, b, masks, strict=True)]
    return torch.cat([rank_correlation(first[None], second[None]) for first, second in pairs])


def _shuffle(values: Tensor, rng: torch.Generator) -> Tensor:
    order = torch.randperm(values.numel(), generator=rng).to(values.device)
    return values.flatten()[order].view(values.shape)


BLUR_DEVIATION = 0.1  # standard deviation of the blur at the start of an insertion, as a fraction of the shorter side


class Curve(NamedTuple):
    """Scores (N, steps + 1) after `fractions` (steps + 1,) of the pixels are changed, the most important first."""

    fractions: Tensor
    scores: Tensor

    @property
    def area(self) -> Tensor:
        """The area under each curve divided by its width, (N,): the mean score."""
        return torch.trapezoid(self.scores, self.fractions, dim=1) / (self.fractions[-1] - self.fractions[0])


def deletion(
    net: Layer, params: Params, x: Tensor, target: Target, map_: Tensor, fill: FillValue = 0.0, steps: int = 20,
    read: OutputFunction | None = None,
) -> Curve:  # fmt: skip
    """Remove the pixels, the most important first: for a good explanation the score falls quickly.

    map_: (N, C, H, W); its sum over channels ranks the pixels. fill: the value of removed pixels. read: see
    `occlude`. target: None is the class of x with the largest score. Source: Petsiuk, Das and Saenko 2018, section 4.1.
    """
    fill_image = as_tensor(fill, "deletion: fill").to(x).expand(x.shape)
    return _score_curve(net, params, x, fill_image, fix_target(net, params, x, target), map_, steps, read)


def insertion(
    net: Layer, params: Params, x: Tensor, target: Target, map_: Tensor, start: Tensor | None = None, steps: int = 20,
    read: OutputFunction | None = None,
) -> Curve:  # fmt: skip
    """Add the pixels, the most important first: for a good explanation the score rises quickly.

    start: the initial image, by default x strongly blurred, so it has no edges that the network could take for objects.
    The other arguments are the same as for `deletion`.
    """
    if start is None:
        images = with_channels_first(net, params, x)[2]
        blurred = gaussian_blur(images, BLUR_DEVIATION * min(images.shape[2:]))
        start = blurred.movedim(1, -1) if has_channels_last(net, x) else blurred
    baseline = start.expand(x.shape)
    return _score_curve(net, params, baseline, x, fix_target(net, params, x, target), map_, steps, read)


def gaussian_blur(x: Tensor, deviation: float) -> Tensor:
    """Return images (N, C, H, W) blurred by a Gaussian of this standard deviation in pixels, with replicate padding."""
    for axis in (2, 3):
        radius = min(max(1, round(3 * deviation)), x.shape[axis] - 1)
        offsets = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
        weights = torch.exp(-(offsets**2) / (2 * deviation**2))
        shape, pad = ((1, 1, -1, 1), (0, 0, radius, radius)) if axis == 2 else ((1, 1, 1, -1), (radius, radius, 0, 0))
        kernel = (weights / weights.sum()).view(shape).expand(x.shape[1], *shape[1:])
        x = F.conv2d(F.pad(x, pad, mode="replicate"), kernel, groups=x.shape[1])
    return x


def with_map_channels_first(
    net: Layer, params: Params, x: Tensor, map_: Tensor
) -> tuple[Layer, Params, Tensor, Tensor]:
    """Return a network for images (N, C, H, W), its parameters, x and a map of x, both with the channels in axis 1."""
    if has_channels_last(net, x):
        return *with_channels_first(net, params, x), map_.movedim(-1, 1)
    return net, params, x, map_


def pixel_ranks(map_: Tensor, x: Tensor) -> Tensor:
    """Return the rank of each pixel of x (N, C, H, W) by a map, (N, 1, H, W), 0 for the most important.

    Raises PellucidError for a map of another size.
    """
    importance = channel_sum(map_).flatten(1)  # (N, H W)
    if importance.shape[1] != x.shape[2] * x.shape[3] or len(importance) != len(x):
        raise PellucidError(f"a map of shape {tuple(map_.shape)} does not rank the pixels of {tuple(x.shape)}")
    rank = importance.argsort(dim=1, descending=True, stable=True).argsort(1)
    return rank.view(len(x), 1, *x.shape[2:])


@torch.no_grad()
def _score_curve(
    net: Layer, params: Params, before: Tensor, after: Tensor, target: Target, map_: Tensor, steps: int,
    read: OutputFunction | None,
) -> Curve:  # fmt: skip
    """Return the scores while pixels of `before` are replaced by pixels of `after`, the most important first."""
    integer(steps, "deletion and insertion: steps", 1)
    if has_channels_last(net, before):
        after = after.movedim(-1, 1)
    net, params, before, map_ = with_map_channels_first(net, params, before, map_)
    rank = pixel_ranks(map_, before)
    n_pixels = before.shape[2] * before.shape[3]
    replaced_counts = torch.linspace(0, n_pixels, steps + 1).round().long()
    images = (torch.where(rank < count, after, before) for count in replaced_counts.tolist())
    selection = aim(net, target, len(before), keep_probabilities=read is not None)
    return Curve(replaced_counts.to(before) / n_pixels, scores_of_variants(selection, params, images, read))


def scores_of_variants(
    selection: Aim, params: Params, variants: Iterable[Tensor], read: OutputFunction | None
) -> Tensor:
    """Return the score of each variant of a batch, (N, variants); read: see `occlude`."""
    variant_scores: list[Tensor] = []
    for x in variants:
        y, _ = forward(selection.net, params, x, Mode(keep=False))
        variant_scores.append(selection.score(selection.read(read, y)))
    return torch.stack(variant_scores, 1)
