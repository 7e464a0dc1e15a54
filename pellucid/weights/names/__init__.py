"""Tensor names of torchvision, timm, Keras Applications and others for the networks of `pellucid.models`."""

from pellucid.weights.names.loading import (
    WeightsOrigin,
    check_values,
    layer_settings,
    load_weights,
    origin_of,
    source_of,
    take_scaling,
    take_weights,
)

__all__ = [
    "WeightsOrigin",
    "check_values",
    "layer_settings",
    "load_weights",
    "origin_of",
    "source_of",
    "take_scaling",
    "take_weights",
]
