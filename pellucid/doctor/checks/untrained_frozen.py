"""Frozen layers that are as newly drawn, since no pretrained weights were loaded into them."""

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.passes import is_pretrained, leaves, trainable_layers
from pellucid.doctor.remedies import without_frozen
from pellucid.layers import BatchNorm

MIN_FROZEN = 3  # layers with weights; signs of a training in fewer may be too weak
MIN_FROZEN_FRACTION = 0.5  # of the layers with weights
MAX_ACCURACY = 0.9  # on validation data; above it, features that were drawn at random suffice


def find(case: Case) -> list[Finding]:
    """Look for signs of a training in the first weights of a classifier whose layers are mostly frozen."""
    model = case.initial
    layers = dict(leaves(model.net))
    n_layers = sum("weight" in layer.decayed for layer in layers.values())
    n_frozen = n_layers - len(trainable_layers(model))
    if n_frozen < max(MIN_FROZEN, MIN_FROZEN_FRACTION * n_layers):
        return []
    # a training changes the statistics of normalization for certain, and other weights perhaps by little
    has_norm = any(isinstance(layer, BatchNorm) for layer in layers.values())
    if not has_norm or is_pretrained(model, is_frozen=True) or is_pretrained(model, is_frozen=False):
        return []
    predictions = case.class_predictions
    if predictions is None or (predictions[1] or predictions[0]).accuracy > MAX_ACCURACY:
        return []
    return [
        Finding(
            NAME,
            "training",
            {"frozen_layers": n_frozen, "layers": n_layers},
            cause="the frozen layers are as newly drawn, so their features are random, as if no pretrained weights had "
            "been loaded",
            fix="load the pretrained weights (load_state_dict with strict=False leaves out all keys that differ, such "
            "as those that begin with module.), or train these layers too",
            remedy=Remedy("no frozen parameters", without_frozen, "frozen-too-much"),
        )
    ]


NAME = "untrained-frozen"
CHECK = Check(
    NAME, find, trained=True, finds_faults=True, explains=("underfitting",),
)  # fmt: skip
