"""Tensor names of torchvision, timm, Keras Applications and others for the networks of `pellucid.models`."""

from pellucid.weights.names.loading import Source, form, load_weights, origin_of, source_of, take_weights

__all__ = ["Source", "form", "load_weights", "origin_of", "source_of", "take_weights"]
