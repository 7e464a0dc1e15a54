"""A user-defined layer that returns a gradient of 0, so the layers before it never learn."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import replace_layer
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding, Remedy
from pellucid.doctor.passes import gradients, is_user_defined, leaves, rms, trainable_layers, watch_leaves
from pellucid.doctor.remedies import rebuilt
from pellucid.layers.base import Cache, Layer, Mode, Params


@dataclass(frozen=True)
class StraightThrough(Layer):
    """A wrapper that replaces a layer's backward pass by the identity (Bengio, Leonard, Courville 2013, section 4)."""

    layer: Layer

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialize the wrapped layer."""
        return self.layer.init(shape, rng)

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        """Run the wrapped layer."""
        return self.layer.forward(params, x, mode)

    def backward(self, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        """Return the output gradient unchanged, and no gradients of parameters."""
        return dy, {}


def find(case: Case) -> list[Finding]:
    """Run a batch forward and backward before the first step, and look for layers with dx = 0 although dy is not 0."""
    net, model = case.model.net, case.initial
    user_layers = {path: layer for path, layer in leaves(net) if is_user_defined(layer)}
    if not user_layers:
        return []
    cut_layers: dict[str, tuple[float, bool]] = {}
    reached_paths: set[str] = set()
    varying_paths: set[str] = set()

    def record(path: str, layer: Layer, y: Tensor) -> None:
        if path in user_layers and bool((y != y[:1]).any()):
            varying_paths.add(path)  # constant outputs come from dead units, for which a gradient of 0 is correct

    def watch(path: str, layer: Layer, dy: Any, dx: Any, dparams: Params) -> None:
        if rms(dy) > 0:
            reached_paths.add(path)
            if path in varying_paths and isinstance(dx, Tensor) and rms(dx) == 0:
                cut_layers[path] = rms(dy), dx.shape == dy.shape and not dparams

    gradients(model, case.inputs(case.probe), case.probe.y, watch_leaves(record), watch)
    untrained_paths = [path for path, _ in trainable_layers(model) if path not in reached_paths]
    if not cut_layers or not untrained_paths:
        return []
    path = next(iter(cut_layers))  # the last such layer of the network, since backward reaches it first
    dy_rms, is_straight = cut_layers[path]
    type_name = type(user_layers[path]).__name__
    evidence: Evidence = {"layer": type_name, "gradient_that_it_gets": dy_rms, "gradient_that_it_returns": 0.0}
    evidence |= {"layers_that_never_learn": len(untrained_paths), "for_example": untrained_paths[0]}
    cause = (
        f"{type_name} has a derivative of 0 everywhere, like rounding, thresholds and argmax, so no gradient "
        "reaches the layers before it"
    )
    fix = (
        "use a smooth function instead, or let its backward pass return the gradient unchanged (straight-through "
        "estimator)"
    )

    def with_straight_through(case: Case) -> Case:
        net = case.model.net
        for path in cut_layers:
            net = replace_layer(net, path, StraightThrough)
        return rebuilt(case, keep_weights=True, net=net)

    remedy = (
        Remedy("its gradient passed on unchanged", with_straight_through, "straight-through") if is_straight else None
    )
    return [Finding(NAME, path, evidence, cause, fix, remedy)]


NAME = "cut-gradient"
CHECK = Check(
    NAME, find, finds_faults=True,
    explains=("collapsed-predictions", "underfitting", "overfitting"),
)  # fmt: skip
