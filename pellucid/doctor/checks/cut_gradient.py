"""A layer of the user's own that hands no gradient back, so that what stands before it never learns."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import Combinator, replace_layer, walk
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.measure.backward import rms
from pellucid.doctor.measure.learners import learners
from pellucid.doctor.measure.own import own
from pellucid.doctor.measure.room import room
from pellucid.doctor.mending import rebuilt
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.sweep import backward, forward
from pellucid.tree import map_tree


@dataclass(frozen=True)
class StraightThrough(Layer):
    """A layer with the backward pass of the identity (Bengio, Leonard and Courville 2013, section 4)."""

    layer: Layer

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw what the layer draws."""
        return self.layer.init(shape, rng)

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        """Return what the layer returns."""
        return self.layer.forward(params, x, mode)

    def backward(self, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        """Hand the gradient on as it is."""
        return dy, {}


def look(case: Case) -> list[Finding]:
    """Run a batch forward and backward before the first step, and look where a gradient that came in does not go on."""
    net, model = case.model.net, case.first
    kinds = {path: layer for path, layer in walk(net) if not isinstance(layer, Combinator) and own(layer)}
    if not kinds:
        return []
    cut: dict[str, tuple[float, bool]] = {}
    reached: set[str] = set()
    varies: set[str] = set()

    def seen(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        if path in kinds and isinstance(y, Tensor) and bool((y != y[:1]).any()):
            varies.add(path)  # what is the same for all examples is a dead layer

    def watch(path: str, layer: Layer, dy: Any, dx: Any, dparams: Params) -> None:
        if not isinstance(layer, Combinator) and isinstance(dy, Tensor):
            if rms(dy) > 0:
                reached.add(path)
            if path in varies and rms(dy) > 0 and isinstance(dx, Tensor) and rms(dx) == 0:
                cut[path] = rms(dy), dx.shape == dy.shape and not dparams

    x, y = case.inputs(case.probe), case.probe.y
    most = room(model, x)
    with torch.inference_mode():
        params = map_tree(torch.clone, model.params)
        mode = Mode(True, torch.Generator().manual_seed(model.seed))
        said, cache = forward(model.net, params, x[:most], mode, seen)
        backward(model.net, params, cache, model.loss(said, y[:most])[1], watch=watch)
    lost = [path for path, _ in learners(model) if path not in reached]
    if not cut or not lost:
        return []
    path = next(iter(cut))  # the last of the network, from which on nothing comes back
    size, same = cut[path]
    kind = type(kinds[path]).__name__
    evidence = {"layer": kind, "gradient_that_it_gets": size, "gradient_that_it_returns": 0.0}
    evidence |= {"layers_that_never_learn": len(lost), "for_example": lost[0]}
    return [
        Finding(
            NAME,
            path,
            evidence,
            f"{kind} has a derivative of zero everywhere, as rounding, thresholds and argmax do, so that no gradient "
            "reaches the layers before it",
            "take a smooth function in its place, or let its backward pass return the gradient as it came "
            "(straight-through)",
            Remedy("its gradient handed on as it is", lambda case: _through(case, tuple(cut))) if same else None,
        )
    ]


def _through(case: Case, paths: tuple[str, ...]) -> Case:
    net = case.model.net
    for path in paths:
        net = replace_layer(net, path, StraightThrough)
    return rebuilt(case, keep=True, net=net)


NAME = "cut-gradient"
CHECK = Check(
    NAME,
    "A layer hands no gradient back, so that the layers before it never learn.",
    look,
    explains=("vanishing-gradients", "update-ratio", "learning-rate-too-low", "learning-rate-too-high", "dead-units",
              "useless-maps", "collapsed-predictions", "underfitting", "overfitting", "miscalibration"),
    proven=True,
)  # fmt: skip
