"""The names that torchvision, timm, Keras Applications and others give to tensors of the zoo's networks."""

from pellucid.weights.names.loading import Source, form, load_weights, source_of, take_weights

__all__ = ["Source", "form", "load_weights", "source_of", "take_weights"]
