"""Networks whose last layer does not fit the loss, or cannot output the targets."""

from math import exp, inf, isfinite

import torch
from torch import Tensor

from pellucid.base.text import plural
from pellucid.combine import Graph, join, walk
from pellucid.doctor.case import Case
from pellucid.doctor.finding import UNREACHABLE, Check, Evidence, Finding, Remedy
from pellucid.doctor.remedies import with_layers_at
from pellucid.layers import (
    ELU,
    GELU,
    AdaptiveAvgPool2d,
    AvgPool2d,
    Dropout,
    HardSigmoid,
    HardSwish,
    Identity,
    Layer,
    LeakyReLU,
    LogSoftmax,
    MaxPool2d,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
    Upsample,
)
from pellucid.losses import AuxiliaryCrossEntropy, BinaryCrossEntropy, SoftmaxCrossEntropy
from pellucid.network.ending import last_layers, only_moves, only_reshapes
from pellucid.operators import AdaptiveMaxPool, Largest, LargestOne, Mean, Select, Slice

# The smallest and largest output of each layer type.
OUTPUT_RANGES: dict[type[Layer], tuple[float, float]] = {
    Sigmoid: (0.0, 1.0),
    HardSigmoid: (0.0, 1.0),
    Softmax: (0.0, 1.0),
    Tanh: (-1.0, 1.0),
    ReLU: (0.0, inf),
    ReLU6: (0.0, 6.0),
    GELU: (-0.17, inf),
    SiLU: (-0.28, inf),
    HardSwish: (-0.375, inf),
    ELU: (-1.0, inf),
    LogSoftmax: (-inf, 0.0),
    LeakyReLU: (-inf, inf),
}
# Layers that limit the logits of a loss that contains a softmax or sigmoid. LogSoftmax may precede a softmax, which
# returns the same probabilities, but not a sigmoid, whose outputs would be at most 1/2.
LOGIT_LIMITING = tuple(kind for kind in OUTPUT_RANGES if kind is not LogSoftmax)
# Layers that return inputs, and means of inputs or zeros, which are within the range of an activation before them.
RANGE_KEEPING = (
    AdaptiveAvgPool2d, AdaptiveMaxPool, AvgPool2d, Dropout, Largest, LargestOne, MaxPool2d, Mean, Select, Slice,
)  # fmt: skip
LOGIT_LOSSES = (SoftmaxCrossEntropy, AuxiliaryCrossEntropy, BinaryCrossEntropy)
MAX_OUTSIDE = 0.01  # fraction of the targets outside of the output range; up to this fraction, they are outliers
MAX_MULTI_LABEL = 0.05  # fraction of the examples that may have several labels, as if annotators disagreed
MIN_OWN = 5  # examples or pixels of a class whose output is always 0
RANGE_TOLERANCE = 1e-3  # relative to the targets' standard deviation


def find(case: Case) -> list[Finding]:
    """Compare the last layers with the loss and the targets; layer types that are not in OUTPUT_RANGES are skipped."""
    net, findings = case.model.net, list[Finding]()
    for path, last_layer in last_layers(
        net, lambda layer: only_reshapes(layer) or (isinstance(layer, Dropout) and not layer.rate)
    ).items():
        if isinstance(last_layer, Dropout):
            findings.append(
                Finding(
                    NAME,
                    path,
                    evidence={"last_layer": "Dropout", "loss": type(case.model.loss).__name__},
                    cause="dropout follows the last layer with weights, and sets outputs of the network to 0",
                    fix="remove that layer; dropout belongs between layers",
                    remedy=removal(net, path),
                )
            )
    multi_label = _multi_label_fraction(case.train.y) if isinstance(case.model.loss, SoftmaxCrossEntropy) else 0.0
    if multi_label > MAX_MULTI_LABEL:
        findings.append(
            Finding(
                NAME,
                "loss",
                evidence={"loss": type(case.model.loss).__name__, "share_with_several_labels": multi_label},
                cause="the probabilities of a softmax sum to 1, so that several labels of one example compete",
                fix="use binary_cross_entropy with targets of 0 and 1 for each label",
            )
        )
    ends = last_layers(net, lambda layer: only_reshapes(layer) or isinstance(layer, Dropout)) or {"": net}
    end_findings = [_unsuitable_end(case, path, last_layer) for path, last_layer in ends.items()]
    for path, last_layer in last_layers(net, keeps_range).items():
        if path not in ends and type(last_layer) in OUTPUT_RANGES:
            end_findings.append(_limited_before_pooling(case, path, last_layer))
    return findings + [finding for finding in end_findings if finding is not None]


def keeps_range(layer: Layer) -> bool:
    """Return whether a layer, such as a pooling, leaves outputs in the range of an activation before it."""
    if isinstance(layer, Upsample):
        return layer.kind != "bicubic"
    return only_moves(layer) or type(layer) in RANGE_KEEPING


def _unsuitable_end(case: Case, path: str, last_layer: Layer) -> Finding | None:
    """Compare one of the network's last layers with the loss and the targets."""
    loss, type_name = case.model.loss, type(last_layer).__name__
    evidence: Evidence = {"last_layer": type_name, "loss": type(loss).__name__}
    has_softmax = isinstance(last_layer, Softmax) or isinstance(loss, SoftmaxCrossEntropy)
    if case.model.output_shape[:1] == (1,) and has_softmax:
        return Finding(
            NAME,
            path or "training",
            evidence | {"outputs": 1},
            cause="a softmax over a single output is always 1, so the gradient is always 0",
            fix="give the network one output for each class, or use one output with binary cross-entropy",
        )
    limits_logits = isinstance(last_layer, LOGIT_LIMITING) or (
        isinstance(last_layer, LogSoftmax) and isinstance(loss, BinaryCrossEntropy)
    )
    if isinstance(loss, LOGIT_LOSSES) and limits_logits:
        low, high = OUTPUT_RANGES[type(last_layer)]
        return Finding(
            NAME,
            path,
            evidence | {"lowest_output": low, "highest_output": high},
            cause=f"{type_name} limits the logits that {type(loss).__name__} converts to probabilities",
            fix="end the network in the layer before it",
            remedy=removal(case.model.net, path),
            kind=UNREACHABLE if isinstance(loss, BinaryCrossEntropy) else "",
        )
    if case.compares and type(last_layer) in OUTPUT_RANGES:
        return _unreachable_targets(case, path, last_layer, evidence)
    return None


def _limited_before_pooling(case: Case, path: str, last_layer: Layer) -> Finding | None:
    """Compare a last activation, behind which are layers that keep its range, with the loss and the targets."""
    loss, type_name = case.model.loss, type(last_layer).__name__
    low, high = OUTPUT_RANGES[type(last_layer)]
    evidence: Evidence = {"last_layer": type_name, "loss": type(loss).__name__}
    if case.compares:
        return _unreachable_targets(case, path, last_layer, evidence)
    if not isinstance(loss, LOGIT_LOSSES):
        return None
    n_silent, limit = 0, ""
    if isinstance(loss, BinaryCrossEntropy):
        is_limited = isfinite(low) or isfinite(high)
        limit = f", of which none is below {1 / (1 + exp(-low)):.2g}" if isfinite(low) else ""
    elif low < 0 or isfinite(high):
        is_limited = isfinite(low) and isfinite(high)
    else:  # a softmax can still be certain of a class: SqueezeNet ends in a ReLU and a pooling
        n_silent = _silent_classes(case)
        is_limited = n_silent > 0
        limit = f"; those of {plural(n_silent, 'class', 'classes')} are 0 for all inputs, and get no gradient there"
    if not is_limited:
        return None
    return Finding(
        NAME,
        path,
        evidence | {"lowest_output": low, "highest_output": high, "silent_classes": n_silent},
        cause=f"{type_name} limits the logits that {type(loss).__name__} converts to probabilities{limit}",
        fix=f"remove {type_name} after the last layer with weights",
        remedy=removal(case.model.net, path),
        kind=UNREACHABLE if isinstance(loss, BinaryCrossEntropy) else "",
    )


def _silent_classes(case: Case) -> int:
    """Return how many classes of the probe have outputs that are 0 for all of its examples, after a training."""
    y, outputs = case.probe.y, case.model(case.probe.x) if case.trained else None
    if not isinstance(outputs, Tensor) or y.is_floating_point():
        return 0
    is_silent = (outputs.movedim(1, 0).flatten(1) == 0).all(1)
    return sum(int((y == label).sum()) >= MIN_OWN for label in is_silent.nonzero().flatten().tolist())


def _multi_label_fraction(y: Tensor) -> float:
    """Return the fraction of targets (N, classes) that have several labels of equal weight; 0 for unequal weights."""
    if not y.is_floating_point() or y.dim() != 2 or y.shape[1] < 3:
        return 0.0
    is_label = y > 0
    if not bool(((y == y.amax(1, keepdim=True)) == is_label).all()):
        return 0.0  # as by label smoothing or mixup
    return float((is_label.sum(1) > 1).double().mean())


def _unreachable_targets(case: Case, path: str, last_layer: Layer, evidence: Evidence) -> Finding | None:
    """Compare the targets with the output range of the last layer."""
    low, high = OUTPUT_RANGES[type(last_layer)]
    targets = _target_values(case)
    margin = RANGE_TOLERANCE * (float(targets.std(correction=0)) + 1e-6)
    outside_fraction = float(((targets < low - margin) | (targets > high + margin)).double().mean())
    if outside_fraction <= MAX_OUTSIDE:
        return None
    value_ranges: Evidence = {
        "lowest_output": low,
        "highest_output": high,
        "lowest_target": float(targets.min()),
        "highest_target": float(targets.max()),
        "share_of_targets_outside": outside_fraction,
    }
    return Finding(
        NAME,
        path,
        evidence | value_ranges,
        cause=f"{type(last_layer).__name__} cannot output values in the range of the targets",
        fix="end the network without an activation, or scale the targets into its range",
        remedy=removal(case.model.net, path),
        kind=UNREACHABLE,
    )


def _target_values(case: Case) -> Tensor:
    """Return the targets as floats; for class indices that the loss compares as one-hot vectors, the values 0 and 1."""
    y, outputs = case.train.y, case.model.output_shape
    are_classes = not y.is_floating_point() and len(outputs) == y.dim() and outputs[0] != 1
    return torch.tensor([0.0, 1.0]) if are_classes and y.shape[1:] == outputs[1:] else y.float()


def removal(net: Layer, path: str) -> Remedy | None:
    """Return a remedy that removes the layer; None if it is the whole network or a graph uses it more than once."""
    graphs = ((prefix, graph) for prefix, graph in walk(net) if isinstance(graph, Graph))
    nodes = ((prefix, node[0]) for prefix, graph in graphs for node in graph.nodes.values())
    shared_paths = {join(prefix, layer) for prefix, layer in nodes if isinstance(layer, str)}
    if not path or any(f"{path}.".startswith(f"{shared_path}.") for shared_path in shared_paths):
        return None

    return Remedy(
        f"the network without {path}",
        lambda case: with_layers_at(case, [path], lambda layer: Identity()),
        f"without-{path}",
    )


NAME = "wrong-output"
CHECK = Check(
    NAME, find, finds_faults=True,
    explains=("underfitting",),
)  # fmt: skip
