"""Frozen layers that are as newly drawn, or without their statistics, since these were not loaded."""

from collections.abc import Set
from copy import copy

from pellucid.combine.base import join
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.passes import is_pretrained, leaves, trainable_layers
from pellucid.doctor.remedies import with_initial_model, without_frozen
from pellucid.layers import BatchNorm
from pellucid.nested import flatten
from pellucid.training.model import BaseModel

MIN_FROZEN = 3  # layers with weights; signs of a training in fewer may be too weak
MIN_FROZEN_FRACTION = 0.5  # of the layers with weights
MAX_ACCURACY = 0.9  # on validation data; above it, features that were drawn at random suffice


def find(case: Case) -> list[Finding]:
    """Look for signs of a training in the frozen layers of a classifier, and in the running statistics of its norms.

    Layers that PyTorch does not register are frozen, too: no optimizer of network.parameters() has them.
    """
    unregistered: Set[str] = getattr(case.model, "unregistered", frozenset())
    if unregistered and not _are_pretrained(case.initial, unregistered):
        return [_unregistered_layers(unregistered)]
    predictions = case.class_predictions
    if predictions is None or (predictions[1] or predictions[0]).accuracy > MAX_ACCURACY:
        return []
    model, layers = case.initial, dict(leaves(case.initial.net))
    n_layers = sum("weight" in layer.decayed for layer in layers.values())
    n_frozen = n_layers - len(trainable_layers(model))
    norms = {path: layer for path, layer in layers.items() if isinstance(layer, BatchNorm)}
    # a training changes the statistics of normalization for certain, and other weights perhaps by little
    has_signs = is_pretrained(model, is_frozen=True) or is_pretrained(model, is_frozen=False)
    if norms and not has_signs and n_frozen >= max(MIN_FROZEN, MIN_FROZEN_FRACTION * n_layers):
        return [
            Finding(
                NAME,
                "training",
                {"frozen_layers": n_frozen, "layers": n_layers},
                cause="the frozen layers are as newly drawn, so their features are random, as if no pretrained weights "
                "had been loaded",
                fix="load the pretrained weights (load_state_dict with strict=False leaves out all keys that differ, "
                "such as those that begin with module.), or train these layers too",
                remedy=Remedy("no frozen parameters", without_frozen, "frozen-too-much"),
            )
        ]
    params = flatten(case.model.params)
    for path, layer in norms.items() if has_signs else ():
        mean, variance = (params[join(path, name)] for name in layer.buffers[:2])
        if join(path, "weight") in model.frozen and not bool(mean.any()) and bool((variance == 1).all()):
            return [
                Finding(
                    NAME,
                    path,
                    {},
                    cause="the frozen layer has the initial running statistics, mean 0 and variance 1: those that "
                    "belong to its weights were not saved or not loaded",
                    fix="load the running statistics together with the weights, or unfreeze the batch normalization",
                    remedy=Remedy(
                        "batch normalization unfrozen",
                        lambda case: with_initial_model(case, _unfreeze_norms),
                        "unfrozen-norms",
                    ),
                )
            ]
    return []


def _are_pretrained(model: BaseModel, paths: Set[str]) -> bool:
    """Return whether a training has left its signs in the layers of these parameters."""
    only_these_frozen = copy(model)
    only_these_frozen.frozen = set(paths)
    return is_pretrained(only_these_frozen, is_frozen=True)


def _unregistered_layers(paths: Set[str]) -> Finding:
    """Return the finding for parameters that network.parameters() does not list."""

    def unfreeze(model: BaseModel) -> None:
        model.frozen -= paths

    return Finding(
        NAME,
        min(paths).rpartition(".")[0],
        {"parameters_not_in_the_network": len(paths)},
        cause="layers in a Python list, tuple or dict are not registered in the network, so that network.parameters() "
        "lacks them and the optimizer never trains them",
        fix="put these layers into nn.ModuleList, nn.ModuleDict or nn.Sequential, before the optimizer is made",
        remedy=Remedy("these layers trained", lambda case: with_initial_model(case, unfreeze), "frozen-too-much"),
    )


def _unfreeze_norms(model: BaseModel) -> None:
    norms = {path for path, layer in leaves(model.net) if isinstance(layer, BatchNorm)}
    model.frozen = {path for path in model.frozen if path.rpartition(".")[0] not in norms}


NAME = "untrained-frozen"
CHECK = Check(
    NAME, find, trained=True, finds_faults=True, explains=("overfitting", "underfitting"),
)  # fmt: skip
