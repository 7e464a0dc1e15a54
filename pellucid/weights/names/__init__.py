"""Tensor names of torchvision, timm, Keras Applications and others for the networks of `pellucid.models`."""

from pellucid.weights.names.loading import WeightsOrigin, form, load_weights, origin_of, source_of, take_weights

__all__ = ["WeightsOrigin", "form", "load_weights", "origin_of", "source_of", "take_weights"]
