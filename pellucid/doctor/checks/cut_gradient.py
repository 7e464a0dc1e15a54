"""A layer that returns a gradient of 0, user-defined or a detach, so the layers before it never learn."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.passes import gradients, is_user_defined, leaves, rms, trainable_layers
from pellucid.doctor.remedies import with_layers
from pellucid.layers import Cache, Identity, Layer, Params
from pellucid.operators import Detach


def find(case: Case) -> list[Finding]:
    """Look for user-defined layers that return a gradient of 0."""
    return cuts(case, is_user_defined)


def cuts(case: Case, is_suspected: Callable[[Layer], bool]) -> list[Finding]:
    """Run a batch forward and backward before the first step, and look for layers with dx = 0 although dy is not 0.

    is_suspected: whether a layer may be at fault.
    """
    net, model = case.model.net, case.initial
    suspected_layers = {path: layer for path, layer in leaves(net) if is_suspected(layer)}
    if not suspected_layers:
        return []
    cut_layers: dict[str, float] = {}
    reached_paths: set[str] = set()
    varying_paths: set[str] = set()

    def after_forward(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        if path in suspected_layers and isinstance(y, Tensor) and bool((y != y[:1]).any()):
            varying_paths.add(path)  # constant outputs come from dead units, for which a gradient of 0 is correct

    def after_backward(path: str, layer: Layer, dy: Any, dx: Any, dparams: Params) -> None:
        if isinstance(dy, Tensor) and rms(dy) > 0:
            reached_paths.add(path)
            if path in varying_paths and isinstance(dx, Tensor) and rms(dx) == 0:
                cut_layers[path] = rms(dy)

    gradients(model, case.inputs(case.probe), case.probe.y, after_forward, after_backward)
    untrained_paths = [path for path, _ in trainable_layers(model) if path not in reached_paths]
    if not cut_layers or not untrained_paths:
        return []
    path = next(iter(cut_layers))  # the last such layer of the network, since backward reaches it first
    type_name = type(suspected_layers[path]).__name__
    kinds = {type(suspected_layers[path]) for path in cut_layers}
    if kinds == {Detach}:
        cause = "the values are detached there (detach, .data or no_grad), so no gradient reaches the layers before it"
        fix = "leave out detach, .data and no_grad between layers that are to learn; the optimizer can leave out others"
    else:
        cause = (
            f"{type_name} has a derivative of 0 everywhere, like rounding, thresholds and argmax, so no gradient "
            "reaches the layers before it"
        )
        fix = (
            "use a smooth function instead, or let its backward pass return the gradient unchanged (straight-through "
            "estimator)"
        )
    return [
        Finding(
            NAME,
            path,
            evidence={
                "layer": type_name,
                "gradient_that_it_gets": cut_layers[path],
                "gradient_that_it_returns": 0.0,
                "layers_that_never_learn": len(untrained_paths),
                "for_example": untrained_paths[0],
            },
            cause=cause,
            fix=fix,
            remedy=Remedy(
                f"the network without {type_name}",
                lambda case: with_layers(
                    case, lambda layer: Identity() if type(layer) in kinds else layer, keep_weights=True
                ),
                "without-cut-layers",
            ),
        )
    ]


NAME = "cut-gradient"
CHECK = Check(
    NAME, find, finds_faults=True,
    explains=("underfitting", "overfitting"),
)  # fmt: skip
