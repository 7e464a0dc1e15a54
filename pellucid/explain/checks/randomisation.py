"""The sanity check by randomisation: an explanation of a network must change when its weights are lost."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.combine.base import Combinator, walk
from pellucid.explain.checks.ranks import rank_correlation
from pellucid.explain.checks.single import single
from pellucid.layers.base import Layer, Params
from pellucid.tree import flatten, nest

Explain = Callable[[Params], Tensor]  # parameters, to the explanation (N, C, H, W) of the network that has them


class Randomised(NamedTuple):
    """The explanation once the layer at `path`, and all above it, have lost their weights.

    likeness: (N,), the rank correlation of its magnitudes with those of the true network's, over the pixels where one
    of the two is not 0: an image's empty ground, of which neither says anything, is no agreement.
    """

    path: str
    likeness: Tensor


def randomisation(
    net: Layer, params: Params, explain: Explain, seed: int = 0, most: int | None = None
) -> list[Randomised]:
    """Shuffle the weights of one layer after the other, from the last to the first, and explain each time.

    The numbers of each tensor change places, so that their sizes stay what they were; running statistics stay. An
    explanation whose likeness stays near 1 shows the image, not what the network makes of it. Magnitudes are compared,
    since a shuffled network may well turn signs. explain: the same method, target and options, for other parameters.
    most: how often to explain, evenly over the layers, the topmost and the lowest included; None for each.
    Source: Adebayo et al. 2018, section 3.1, cascading randomization.
    """
    whole = single(explain(params)).abs()
    steps = len(list(cascade(net, params, seed)))
    count = steps if most is None else min(most, steps)
    chosen = {round(k * (steps - 1) / max(count - 1, 1)) for k in range(count)}
    return [
        Randomised(path, _likeness(whole, single(explain(shuffled)).abs()))
        for k, (path, shuffled) in enumerate(cascade(net, params, seed))
        if k in chosen
    ]


def cascade(net: Layer, params: Params, seed: int = 0) -> Iterator[tuple[str, Params]]:
    """Yield the path of each layer with weights, from the last, and parameters shuffled from there to the top."""
    rng = torch.Generator().manual_seed(seed)
    flat = flatten(params)
    for path, layer in reversed(list(walk(net))):
        prefix = f"{path}." if path else ""
        own = [
            name for name in flat if name.rpartition(".")[0] == path and name.removeprefix(prefix) not in layer.buffers
        ]
        if isinstance(layer, Combinator) or not own:
            continue
        for name in own:
            flat[name] = _shuffled(flat[name], rng)
        yield path, nest(params, flat)


def _likeness(a: Tensor, b: Tensor) -> Tensor:
    pairs = [(one[told], other[told]) for one, other in zip(a, b, strict=True) for told in [(one != 0) | (other != 0)]]
    return torch.cat([rank_correlation(one[None], other[None]) for one, other in pairs])


def _shuffled(values: Tensor, rng: torch.Generator) -> Tensor:
    order = torch.randperm(values.numel(), generator=rng).to(values.device)
    return values.flatten()[order].view(values.shape)
