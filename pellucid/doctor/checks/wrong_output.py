"""Networks with a last layer that does not fit the loss, or cannot output the targets."""

from math import inf

import torch
from torch import Tensor

from pellucid.combine import Graph, join, walk
from pellucid.combine.base import replace_layer
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding, Remedy
from pellucid.doctor.remedies import rebuilt
from pellucid.layers import ELU, GELU, Dropout, Identity, LeakyReLU, LogSoftmax, ReLU, ReLU6, Sigmoid, Softmax, Tanh
from pellucid.layers.base import Layer
from pellucid.losses import AuxiliaryCrossEntropy, BinaryCrossEntropy, SoftmaxCrossEntropy
from pellucid.network.ending import last_layers, only_reshapes

# The smallest and largest output of each layer type.
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
# Layers that limit the logits of a loss that contains a softmax or sigmoid. LogSoftmax may precede a
# softmax, which returns the same probabilities, but not a sigmoid, whose outputs would be at most 1/2.
LIMITING = tuple(kind for kind in RANGES if kind is not LogSoftmax)
LOGIT_LOSSES = (SoftmaxCrossEntropy, AuxiliaryCrossEntropy, BinaryCrossEntropy)
MAX_OUTSIDE = 0.01  # of all targets; fewer are outliers
ROUNDING = 1e-3  # relative to the targets' standard deviation


def look(case: Case) -> list[Finding]:
    """Compare the last layers with the loss and the targets; types that are not in RANGES are skipped."""
    net, found = case.model.net, list[Finding]()
    for path, last in last_layers(net, _is_identity).items():
        if isinstance(last, Dropout):
            evidence: Evidence = {"last_layer": "Dropout", "loss": type(case.model.loss).__name__}
            cause = "dropout follows the last layer with weights, and sets outputs of the network to 0"
            fix = "remove that layer; dropout belongs between layers"
            found.append(Finding(NAME, path, evidence, cause, fix, _without(net, path)))
    for path, last in (
        last_layers(net, lambda layer: only_reshapes(layer) or isinstance(layer, Dropout)) or {"": net}
    ).items():
        if (finding := _ill_suited(case, path, last)) is not None:
            found.append(finding)
    return found


def _is_identity(layer: Layer) -> bool:
    """Return whether a layer changes at most the shape of its input."""
    return only_reshapes(layer) or (isinstance(layer, Dropout) and not layer.rate)


def _ill_suited(case: Case, path: str, last: Layer) -> Finding | None:
    """Compare one end of the network with the loss and the targets."""
    loss, kind = case.model.loss, type(last).__name__
    evidence: Evidence = {"last_layer": kind, "loss": type(loss).__name__}
    if case.model.output_shape[:1] == (1,) and (isinstance(last, Softmax) or isinstance(loss, SoftmaxCrossEntropy)):
        cause = "a softmax over a single output is always 1, so the gradient is always 0"
        fix = "give the network one output for each class, or use one output with binary cross-entropy"
        return Finding(NAME, path or "training", evidence | {"outputs": 1}, cause, fix)
    limits = isinstance(last, LIMITING) or (isinstance(last, LogSoftmax) and isinstance(loss, BinaryCrossEntropy))
    if isinstance(loss, LOGIT_LOSSES) and limits:
        low, high = RANGES[type(last)]
        evidence |= {"lowest_output": low, "highest_output": high}
        cause = f"{kind} limits the logits that {type(loss).__name__} converts to probabilities"
        return Finding(
            NAME, path, evidence, cause, "end the network in the layer before it", _without(case.model.net, path)
        )
    return _unreachable(case, path, last, evidence) if case.compares and type(last) in RANGES else None


def _unreachable(case: Case, path: str, last: Layer, evidence: Evidence) -> Finding | None:
    """Compare the targets with the range of the last layer."""
    low, high = RANGES[type(last)]
    targets = _target_values(case)
    margin = ROUNDING * (float(targets.std(correction=0)) + 1e-6)
    outside = float(((targets < low - margin) | (targets > high + margin)).double().mean())
    if outside <= MAX_OUTSIDE:
        return None
    evidence |= {
        "lowest_output": low,
        "highest_output": high,
        "lowest_target": float(targets.min()),
        "highest_target": float(targets.max()),
        "share_of_targets_outside": outside,
    }
    cause = f"{type(last).__name__} cannot output values in the range of the targets"
    fix = "end the network without an activation, or scale the targets into its range"
    return Finding(NAME, path, evidence, cause, fix, _without(case.model.net, path))


def _target_values(case: Case) -> Tensor:
    """Return the targets as floats; for class indices that the loss compares as one-hot vectors, the values 0 and 1."""
    y, outputs = case.train.y, case.model.output_shape
    classes = not y.is_floating_point() and len(outputs) == y.dim() and outputs[0] != 1
    return torch.tensor([0.0, 1.0]) if classes and y.shape[1:] == outputs[1:] else y.float()


def _without(net: Layer, path: str) -> Remedy | None:
    """Return a remedy that removes the layer; None if a graph uses it several times."""
    repeated = {
        join(prefix, node[0])
        for prefix, graph in walk(net)
        if isinstance(graph, Graph)
        for node in graph.nodes.values()
        if isinstance(node[0], str)
    }
    if not path or any(f"{path}.".startswith(f"{owner}.") for owner in repeated):
        return None

    def without(case: Case) -> Case:
        return rebuilt(case, net=replace_layer(case.model.net, path, lambda layer: Identity()))

    return Remedy(f"the network without {path}", without)


NAME = "wrong-output"
CHECK = Check(
    NAME, look, direct=True,
    explains=("underfitting", "dead-units", "saturated-units", "vanishing-gradients", "collapsed-predictions",
              "learning-rate-too-low", "learning-rate-too-high", "miscalibration", "update-ratio"),
)  # fmt: skip
