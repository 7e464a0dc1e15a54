"""Networks of timm, by name or from a folder that names an architecture of timm."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.limits import LIMITS_HINT, MAX_RESIZED_PIXELS, scaled_limit
from pellucid.base.text import note
from pellucid.opening.configured import (
    CONFIG,
    WEIGHTS,
    ConfiguredNetwork,
    build,
    import_library,
    load,
    unique_class_names,
)
from pellucid.weights.fault import file_errors
from pellucid.weights.opening import open_weights

PREFIX = "timm:"


def timm_network(name: str, weights: Path | None, classes: int | None, seed: int) -> ConfiguredNetwork:
    """Return timm's network of this name, such as `convnext_tiny`, with or without a tag of pretrained weights.

    weights: a file of its state_dict, of which only tensors are read; None for random weights, drawn with `seed`.
    Nothing is downloaded. classes: the number of outputs; None for timm's default. Raises PellucidError if timm is not
    installed, for an unknown name, and for weights of another network.
    """
    timm = import_library("timm")
    architecture = name.partition(".")[0]
    architectures = timm.list_models()
    if architecture not in architectures:
        hint = nearest(architecture, architectures) or "; timm.list_models() returns the names"
        raise PellucidError(f"open: timm {timm.__version__} has no network {name!r}{hint}")
    source = f"{PREFIX}{name}"
    options = {} if classes is None else {"num_classes": classes}
    network = build(source, "timm", lambda: timm.create_model(name, pretrained=False, **options), seed)
    if weights is None:
        note(f"open: {source} has random weights; give a file with weights= (--weights) for trained ones")
    else:
        load(network, open_weights(weights), weights)
    return _configured(network)


def timm_folder(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ConfiguredNetwork:
    """Return the network of a folder whose config.json names an architecture of timm.

    tensors: the tensors of its model.safetensors. Raises PellucidError for an invalid configuration.
    """
    timm = import_library("timm")
    architecture = config["architecture"]
    if architecture not in timm.list_models():
        raise PellucidError(f"{folder / CONFIG}: timm {timm.__version__} has no network {architecture!r}")

    def make_network() -> nn.Module:
        arguments = {**(config.get("model_args") or {}), "num_classes": config["num_classes"]}
        settings = {**(config.get("pretrained_cfg") or {}), "num_classes": config["num_classes"]}
        return timm.create_model(  # raises TypeError if the file has one of these arguments too
            architecture, pretrained=False, checkpoint_path="", pretrained_cfg=settings, **arguments
        )

    network = build(str(folder), "timm", make_network, file_values=sum(tensor.numel() for tensor in tensors.values()))
    load(network, tensors, folder / WEIGHTS)
    with file_errors(folder / CONFIG, "configuration of timm", (KeyError, TypeError, ValueError)):
        configured = _configured(network)
    size = configured.shape[1:]
    if len(size) != 2 or size[0] * size[1] > scaled_limit(MAX_RESIZED_PIXELS):
        raise PellucidError(f"{folder}: images of {'x'.join(map(str, size))} pixels are too large; {LIMITS_HINT}")
    labels = config.get("label_names")
    if labels is None:
        return configured
    names = unique_class_names(f"{folder / CONFIG}: label_names", labels)
    return configured._replace(options={**configured.options, "classes": names})


def _configured(network: nn.Module) -> ConfiguredNetwork:
    """Return a network of timm with the input size, mean and standard deviation of its data configuration."""
    settings = import_library("timm").data.resolve_model_data_config(network)
    preprocess = {name: [float(number) for number in settings[name]] for name in ("mean", "std")}
    shape = tuple(settings["input_size"])
    return ConfiguredNetwork(network, shape, {"preprocess": {**preprocess, "size": list(shape[1:])}})
