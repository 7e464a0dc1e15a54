"""Choose a composite for a network by its deletion curves, compared with those of random orders of the pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pellucid.base.brief import screen_repr
from pellucid.base.errors import PellucidError
from pellucid.base.text import aligned
from pellucid.explain.checks import deletion
from pellucid.explain.lrp import lrp
from pellucid.explain.occlusion import OutputFunction
from pellucid.explain.sweeps import fix_target
from pellucid.explain.target import Target
from pellucid.layers.base import Layer, Params

Candidate = tuple[str, Mapping[str, Any]]  # the name of a composite, and its options
CANDIDATES: tuple[Candidate, ...] = (
    ("epsilon", {}),
    ("epsilon_plus", {}),
    ("epsilon_plus_flat", {}),
    ("epsilon_alpha2_beta1", {}),
    ("excitation_backprop", {}),
    ("cp_lrp", {}),
    ("cp_lrp", {"gamma": 0.25}),
    ("attn_lrp", {}),
    ("attn_lrp", {"gamma": 0.25}),
)


@dataclass(frozen=True)
class MeasuredComposite:
    """A composite and its deletion curves.

    area: the mean area under the curves.
    better: for how many inputs the area is below those of all random orders.
    """

    name: str
    options: Mapping[str, Any]
    area: float
    better: int

    def __str__(self) -> str:
        """Return the name with the options."""
        return ", ".join([self.name, *(f"{key}={value}" for key, value in self.options.items())])


@dataclass(frozen=True)
class MeasuredComposites:
    """All measured composites, the best (smallest area) first.

    random: the mean area of random orders of the pixels.
    n: the number of inputs.
    skipped: the error message of each composite that has no rule for a layer of the network.
    """

    rows: tuple[MeasuredComposite, ...]
    random: float
    n: int
    skipped: dict[str, str] = field(default_factory=dict[str, str])
    __repr__ = screen_repr

    @property
    def best(self) -> MeasuredComposite:
        """The composite with the smallest area."""
        return self.rows[0]

    def __str__(self) -> str:
        """Return a table of areas, with a row for the random orders, and the skipped composites."""
        rows = [(row.area, str(row), f"{row.better} of {self.n}") for row in self.rows]
        rows = sorted([*rows, (self.random, "random order", "")], key=lambda row: row[0])
        head = ("composite", "deletion", "better than random")
        lines = [head, *((name, f"{area:.4g}", better) for area, name, better in rows)]
        return "\n".join([aligned(lines, right=(1,)), *(f"{name}: {reason}" for name, reason in self.skipped.items())])


@torch.no_grad()
def measure_composites(
    net: Layer, params: Params, x: Tensor, target: Target = None, candidates: Sequence[Candidate] = CANDIDATES,
    read: OutputFunction | None = None, orders: int = 5,
) -> MeasuredComposites:  # fmt: skip
    """Measure composites of `lrp` on inputs (N, C, H, W): the lower the deletion curve, the better the map.

    Each candidate explains the same inputs. Their pixels are removed in the order of relevance, and in `orders` random
    orders. target: None is the predicted class of each input. read: see `deletion`; the `predict` of the loss measures
    probabilities. Few inputs give an uncertain result. Measure on other inputs than those to be explained later.
    Raises PellucidError if no candidate has rules for the network.
    """
    target = fix_target(net, params, x, target)
    rng = torch.Generator().manual_seed(0)
    random_maps = (torch.rand((len(x), 1, *x.shape[2:]), generator=rng).to(x) for _ in range(orders))
    random_areas = torch.stack(
        [deletion(net, params, x, target, random_map, read=read).area for random_map in random_maps]
    )  # (orders, N)
    rows: list[MeasuredComposite] = []
    skipped: dict[str, str] = {}
    for name, options in candidates:
        try:
            map_ = lrp(net, params, x, target, name, **options)
        except PellucidError as error:
            skipped[name] = str(error)
            continue
        area = deletion(net, params, x, target, map_, read=read).area
        better = int((area < random_areas).all(0).sum())
        rows.append(MeasuredComposite(name, dict(options), float(area.mean()), better))
    if not rows:
        raise PellucidError(f"measure_composites: no candidate explains this network: {next(iter(skipped.values()))}")
    return MeasuredComposites(
        tuple(sorted(rows, key=lambda row: row.area)), float(random_areas.mean()), len(x), skipped
    )
