"""Networks that end in what does not suit their loss, or cannot reach their targets."""

from math import inf

import torch
from torch import Tensor

from pellucid.combine import Sequential
from pellucid.combine.base import join, replace_layer
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.mending import rebuilt
from pellucid.layers import (
    ELU,
    GELU,
    Dropout,
    Identity,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    ReLU6,
    Sigmoid,
    Softmax,
    Tanh,
)
from pellucid.layers.base import Layer
from pellucid.losses import AuxiliaryCrossEntropy, BinaryCrossEntropy, SoftmaxCrossEntropy
from pellucid.train.ending import SHAPING

# The lowest and the highest value that a layer puts out.
RANGES: dict[type[Layer], tuple[float, float]] = {
    Sigmoid: (0.0, 1.0),
    Softmax: (0.0, 1.0),
    Tanh: (-1.0, 1.0),
    ReLU: (0.0, inf),
    ReLU6: (0.0, 6.0),
    GELU: (-0.17, inf),
    ELU: (-1.0, inf),
    LogSoftmax: (-inf, 0.0),
    LeakyReLU: (-inf, inf),
}
# Any of these before a loss that makes probabilities itself takes from the values that it should get freely.
BENDING = (Sigmoid, Tanh, ReLU, ReLU6, GELU, ELU, LeakyReLU, Softmax)
OWN_PROBABILITIES = (SoftmaxCrossEntropy, AuxiliaryCrossEntropy, BinaryCrossEntropy)
OUTSIDE = 0.01  # of all targets; fewer are outliers
ROUNDING = 1e-3  # of the targets' spread


def look(case: Case) -> list[Finding]:
    """Look at the layers that the outputs come from, the loss and the targets; other ends than these are left alone."""
    found: list[Finding] = []
    net, loss = case.model.net, case.model.loss
    path, last, dropped = _ending(net)
    remedy = _dropping(path) if path else None
    if dropped:
        found.append(
            Finding(
                NAME,
                dropped,
                {"last_layer": "Dropout", "loss": type(loss).__name__},
                "dropout stands behind the last layer that learns, and puts out zeros in the place of answers",
                "drop that layer; dropout belongs between layers",
                _dropping(dropped),
            )
        )
    kind = type(last).__name__
    one = case.model.output_shape[:1] == (1,)
    if one and (isinstance(last, Softmax) or isinstance(loss, SoftmaxCrossEntropy)):
        found.append(
            Finding(
                NAME,
                path or "training",
                {"last_layer": kind, "loss": type(loss).__name__, "outputs": 1},
                "a softmax over a single output is always 1, so that nothing can be learned",
                "give the network one output for each class, or take one output with binary cross-entropy",
            )
        )
    elif isinstance(loss, OWN_PROBABILITIES) and isinstance(last, BENDING):
        low, high = RANGES[type(last)]
        found.append(
            Finding(
                NAME,
                path,
                {"last_layer": kind, "loss": type(loss).__name__, "lowest_output": low, "highest_output": high},
                f"{kind} limits or bends the outputs that {type(loss).__name__} makes probabilities of",
                "end the network in the layer before it",
                remedy,
            )
        )
    elif case.compares and type(last) in RANGES:
        found += _unreachable(case, path, last, remedy)
    return found


def _unreachable(case: Case, path: str, last: Layer, remedy: Remedy | None) -> list[Finding]:
    """Compare the targets with what the last layer can put out."""
    low, high = RANGES[type(last)]
    targets = _numbers(case)
    margin = ROUNDING * (float(targets.std(correction=0)) + 1e-6)
    outside = float(((targets < low - margin) | (targets > high + margin)).double().mean())
    if outside <= OUTSIDE:
        return []
    return [
        Finding(
            NAME,
            path,
            {
                "last_layer": type(last).__name__,
                "loss": type(case.model.loss).__name__,
                "lowest_output": low,
                "highest_output": high,
                "lowest_target": float(targets.min()),
                "highest_target": float(targets.max()),
                "share_of_targets_outside": outside,
            },
            f"{type(last).__name__} cannot put out numbers as the targets are",
            "end the network without an activation, or scale the targets into its range",
            remedy,
        )
    ]


def _numbers(case: Case) -> Tensor:
    """Return the targets as the loss compares them: of classes for several outputs, rows of 0 and 1."""
    y, outputs = case.train.y, case.model.output_shape
    classes = not y.is_floating_point() and len(outputs) == y.dim() and outputs[0] != 1
    return torch.tensor([0.0, 1.0]) if classes and y.shape[1:] == outputs[1:] else y.float()


def _ending(net: Layer) -> tuple[str, Layer, str]:
    """Return path and layer that the outputs come from, and the path of a dropout behind it, or ""."""
    path, last, dropped = "", net, ""
    while isinstance(last, Sequential):
        inner = [(name, child) for name, child in last.children.items() if not isinstance(child, SHAPING)]
        while len(inner) > 1 and isinstance(inner[-1][1], Dropout):
            dropped = dropped or join(path, inner[-1][0]) if inner[-1][1].rate else dropped
            inner.pop()
        if not inner:
            break
        path, last = join(path, inner[-1][0]), inner[-1][1]
    return path, last, dropped


def _dropping(path: str) -> Remedy:
    def without(case: Case) -> Case:
        return rebuilt(case, net=replace_layer(case.model.net, path, lambda layer: Identity()))

    return Remedy(f"the network without {path}", without)


NAME = "wrong-output"
CHECK = Check(
    NAME,
    "The network ends in an activation that does not suit its loss, or cannot reach its targets.",
    look,
    explains=(
        "underfitting", "dead-units", "saturated-units", "vanishing-gradients", "collapsed-predictions",
        "learning-rate-too-low", "learning-rate-too-high", "miscalibration", "update-ratio",
    ),
)  # fmt: skip
