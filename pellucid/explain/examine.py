"""One image explained by several methods, each with its checks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from pellucid.data.augment.standardise import scaled
from pellucid.errors import PellucidError, nearest
from pellucid.explain.checks import completeness, conservation, deletion, distance, insertion, randomisation
from pellucid.explain.methods import METHODS, explain
from pellucid.explain.occlusion import Fill
from pellucid.explain.sweeps import fixed, scores
from pellucid.explain.target import Target, aim
from pellucid.explain.verdicts import ORDERS, Verdict, adds_up, against_random, needs_weights
from pellucid.training.model import BaseModel

GREY = 0.5  # of the range black..white
SUMS = {"lrp": conservation, "integrated_gradients": completeness}  # methods whose maps have a known sum
PLACES = 4  # depths at which weights are randomised
AT_ONCE = 10  # random orders that are measured together
Areas = tuple[list[float], list[float]]  # under deletion and insertion curves, one for each map


@dataclass(frozen=True, eq=False)
class Examined:
    """What one method says of one image, (C, H, W) or (1, H, W), and the results of its checks.

    sum: of the map's values; wanted: the sum that the method guarantees, None for methods without one. likeness:
    the rank correlation of the magnitudes with those of a network whose layers have lost their weights, by the path
    of the lowest such layer, from the top: far below 1 if the explanation is of the network. deletion, insertion: the
    mean score while pixels go and come in the order of the map, the most important first: low and high, against
    `Examination.random`. None where a map is the same everywhere. verdicts: what each of these tests says, by its name.
    """

    method: str
    map: Tensor
    sum: float
    wanted: float | None
    likeness: dict[str, float | None]
    deletion: float
    insertion: float
    verdicts: dict[str, Verdict]

    @property
    def gap(self) -> float | None:
        """|sum - wanted| / |wanted|."""
        return None if self.wanted is None else _gap(self.sum, self.wanted)


@dataclass(frozen=True, eq=False)
class Examination:
    """All that was found for one image: `skipped` holds the reason for each method that does not apply.

    score: what is explained. random: the mean areas (deletion, insertion) of pixels in random orders. distances:
    1 less the rank correlation of each two methods, None where one is the same everywhere.
    """

    target: int | str
    score: float
    found: list[Examined]
    skipped: dict[str, str]
    random: tuple[float, float]
    distances: list[list[float | None]]


def examine(model: BaseModel, x: Tensor, methods: Sequence[str], target: int | str | None = None) -> Examination:
    """Explain one image x (C, H, W), as `read_picture` gives it, by several methods, and check each of them.

    target: a class, None for the predicted class, or a path such as "features.conv2[3]"; see `aim`. Curves measure
    the loss's predictions, as a rule probabilities. Occlusion hides by grey. Of several methods those that
    do not fit the network or the target are skipped; of one the reason is raised, as PellucidError.
    """
    for method in methods:
        if method not in METHODS:
            raise PellucidError(f"no method {method!r}{nearest(method, METHODS)}; known: {', '.join(METHODS)}")
    batch = inputs(model, x[None])
    chosen = target if isinstance(target, str) else int(_class(model, batch, target))
    found: list[Examined] = []
    skipped: dict[str, str] = {}
    score = float(scores(model.net, model.params, batch, chosen))
    random = _areas(model, batch, chosen, _random_orders(batch))
    for method in methods:
        try:
            found.append(_examined(model, batch, method, chosen, random))
        except PellucidError as error:
            if len(methods) == 1:
                raise
            skipped[method] = str(error)
    means = (fmean(random[0]), fmean(random[1]))
    distances = [[_distance(one, other) for other in found] for one in found]
    return Examination(chosen, score, found, skipped, means, distances)


def inputs(model: BaseModel, x: Tensor) -> Tensor:
    """Return images (N, C, H, W) scaled as the network's inputs."""
    return scaled(x, model.stats)


def grey(model: BaseModel) -> Fill:
    """Return a middle grey, scaled as the network's inputs: a number, or (C, 1, 1)."""
    return GREY if model.stats is None else (GREY - model.stats.mean) / model.stats.std


def _class(model: BaseModel, batch: Tensor, target: int | None) -> Any:
    best: Target = fixed(model.net, model.params, batch, None) if target is None else target
    return best


def _examined(model: BaseModel, batch: Tensor, method: str, target: int | str, random: Areas) -> Examined:
    options: dict[str, Any] = {"fill": grey(model)} if method == "occlusion" else {}
    run = partial(explain, model.net, x=batch, method=method, target=target, **options)
    map_ = run(params=model.params)
    if not bool(map_.isfinite().all()):
        raise PellucidError(f"{method} finds numbers that are not finite; look for NaN in the model's weights")
    sums = SUMS.get(method)
    wanted = None if sums is None else float(sums(model.net, model.params, batch, target, map_).wanted)
    below = aim(model.net, target, len(batch)).net  # a unit inside does not depend on the layers above it
    lost = randomisation(below, model.params, lambda params: run(params=params), most=PLACES)
    likeness = {one.path: _number(one.likeness) for one in lost}
    (gone,), (come,) = _areas(model, batch, target, map_)
    verdicts = {
        "deletion": against_random(gone, random[0], low_is_good=True),
        "insertion": against_random(come, random[1], low_is_good=False),
        "weights": needs_weights(likeness),
    }
    total = float(map_.sum())
    if wanted is not None:
        verdicts = {"sum": adds_up(total, wanted, _gap(total, wanted)), **verdicts}
    return Examined(method, map_[0], total, wanted, likeness, gone, come, verdicts)


def _areas(model: BaseModel, batch: Tensor, target: int | str, maps: Tensor) -> Areas:
    """Return the areas under the deletion and the insertion curve of one image, for each of several maps."""
    read = model.loss.predict
    gone: list[float] = []
    come: list[float] = []
    for part in maps.split(AT_ONCE):
        x = batch.expand(len(part), *batch.shape[1:])
        gone += deletion(model.net, model.params, x, target, part, read=read).area.tolist()
        come += insertion(model.net, model.params, x, target, part, read=read).area.tolist()
    return gone, come


def _random_orders(batch: Tensor) -> Tensor:
    """Return maps (ORDERS, 1, H, W) that order the pixels at random, always the same ones."""
    return torch.rand((ORDERS, 1, *batch.shape[2:]), generator=torch.Generator().manual_seed(0))


def _gap(found: float, wanted: float) -> float:
    off = abs(found - wanted)
    return 0.0 if off == 0 else off / abs(wanted) if wanted else float("inf")


def _distance(one: Examined, other: Examined) -> float | None:
    """Return how far apart two maps are: of a map to itself exactly 0, None where one is the same everywhere."""
    found = _number(distance(one.map[None], other.map[None]))
    return 0.0 if found is not None and one is other else found


def _number(value: Tensor) -> float | None:
    return None if bool(value.isnan()) else float(value)
