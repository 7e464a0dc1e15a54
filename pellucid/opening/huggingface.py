"""Networks of transformers and timm from Hugging Face folders with config.json and model.safetensors."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.limits import (
    LIMITS_HINT,
    MAX_FOLDER_CONFIG_BYTES,
    MAX_FOLDER_NUMBER,
    MAX_RESIZED_PIXELS,
    scaled_limit,
)
from pellucid.base.text import note, plural
from pellucid.nested import entries
from pellucid.opening.configured import CONFIG, WEIGHTS, ConfiguredNetwork, build, import_library, unique_class_names
from pellucid.opening.timmnetworks import timm_folder
from pellucid.weights import safetensorsfile
from pellucid.weights.fault import FileFault, file_errors, quoted
from pellucid.weights.match import Mismatch, MismatchError

PREPROCESSOR_CONFIG = "preprocessor_config.json"
OTHER_FORMATS = ("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "model.safetensors.index.json")  # not read
DEFAULT_SIDE = 224  # height and width of an input, in pixels, if the files do not contain them
# Entries that select how transformers computes, without an effect on the outputs; some name code to download.
DROPPED_ENTRIES = {
    "attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation",
    "fusion_config", "dtype", "torch_dtype", "transformers_weights", "_name_or_path", "name_or_path",
}  # fmt: skip
REFUSED_ENTRIES = {
    "auto_map": "names code of its own, which is not run; open the module that you made yourself, with an example",
    "checkpoint_path": "names another file of weights; remove it",
    "quantization_config": "has quantized weights; save the network with floating-point ones",
}
# Classes of transformers that choose a network by its configuration, for images.
AUTO_CLASSES = (
    "AutoModelForImageClassification", "AutoModelForSemanticSegmentation", "AutoModelForDepthEstimation",
    "AutoModelForObjectDetection", "AutoModelForUniversalSegmentation", "AutoBackbone", "AutoModel",
)  # fmt: skip
LABELLED_SUFFIXES = ("ForImageClassification", "ForSemanticSegmentation")  # of network classes with an output per label


def folder_network(folder: Path) -> ConfiguredNetwork:
    """Return the network of a folder with config.json and model.safetensors, without running code of the folder.

    Raises PellucidError if the folder names code of its own, lacks one of the files or has weights in another format,
    if timm or transformers do not have the network, and if the library is not installed.
    """
    config = _read_json(folder / CONFIG)
    _check_config(folder / CONFIG, config)
    weights = folder / WEIGHTS
    if not weights.is_file():
        other_file = next((name for name in OTHER_FORMATS if (folder / name).is_file()), "")
        hint = f" (it has {other_file}, which is not read)" if other_file else ""
        raise PellucidError(f"{folder} has no {WEIGHTS}{hint}; save the network again, as one safetensors file")
    tensors = safetensorsfile.read(weights)
    if "model_type" not in config and "architecture" in config:
        return timm_folder(folder, config, tensors)
    return _transformers_network(folder, config, tensors)


def _read_json(path: Path) -> dict[str, Any]:
    with file_errors(path, "JSON file", (ValueError, RecursionError)):
        if not path.is_file():
            raise FileFault("is missing", f"give a folder with {CONFIG} and {WEIGHTS}")
        if path.stat().st_size > MAX_FOLDER_CONFIG_BYTES:
            raise FileFault(f"has {path.stat().st_size} bytes, above the limit of {MAX_FOLDER_CONFIG_BYTES}")
        content = json.loads(path.read_text(encoding="utf-8"))
        if type(content) is not dict:
            raise FileFault("is not a JSON object")
        return content


def _check_config(path: Path, config: Mapping[str, Any]) -> None:
    """Raise PellucidError for a configuration that names code or quantized weights, or has a number above the limit."""
    for name, value in entries(config):
        if name in REFUSED_ENTRIES and value:
            raise PellucidError(f"{path}: {name} {REFUSED_ENTRIES[name]}")
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and number > scaled_limit(MAX_FOLDER_NUMBER):
                raise PellucidError(
                    f"{path}: {name} is {number:,}, above {scaled_limit(MAX_FOLDER_NUMBER):,}; {LIMITS_HINT}"
                )


def _transformers_network(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> ConfiguredNetwork:
    transformers = import_library("transformers")
    model_type = config.get("model_type")
    model_types = list(transformers.CONFIG_MAPPING.keys())
    if model_type not in model_types:
        raise PellucidError(
            f"{folder / CONFIG}: transformers {transformers.__version__} has no model_type {model_type!r:.80}"
            f"{nearest(str(model_type), model_types)}"
        )
    with _quiet_logging(transformers):
        network = build(
            str(folder), "transformers", lambda: _load_network(transformers, folder, _filtered(config), tensors)
        )
    preprocess, size = _preprocessing(folder, network.config)
    options: dict[str, Any] = {"preprocess": preprocess} if preprocess else {}
    if type(network).__name__.endswith(LABELLED_SUFFIXES) and "id2label" in config:
        id2label = config["id2label"]  # from "0", "1", ...
        labels = (
            [id2label.get(str(index)) for index in range(len(id2label))] if isinstance(id2label, dict) else id2label
        )
        options["classes"] = unique_class_names(f"{folder / CONFIG}: id2label", labels)
    return ConfiguredNetwork(network, (getattr(network.config, "num_channels", 3), *size), options)


def _filtered(value: Any) -> Any:
    """Return a configuration without the entries in DROPPED_ENTRIES, at any depth."""
    if isinstance(value, dict):
        return {name: _filtered(entry) for name, entry in value.items() if name not in DROPPED_ENTRIES}
    return [_filtered(entry) for entry in value] if isinstance(value, list) else value


def _load_network(transformers: Any, folder: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> nn.Module:
    """Return the network of transformers with the weights `tensors`, in float32; transformers reads no file."""
    built_config = transformers.CONFIG_MAPPING[config["model_type"]].from_dict(config)
    network_class = _network_class(transformers, type(built_config), config.get("architectures"))
    if network_class is None:
        architectures = quoted(str(config.get("architectures")))
        raise PellucidError(
            f"{folder / CONFIG}: architectures {architectures} have no network for images in transformers"
        )
    with torch.device("meta"):
        n_parameters = sum(tensor.numel() for tensor in network_class(built_config).parameters())
    n_values = sum(tensor.numel() for tensor in tensors.values())
    if n_parameters > n_values:  # before memory is allocated for the parameters
        raise PellucidError(
            f"{folder / WEIGHTS} has {n_values:,} numbers, but the network of {CONFIG} has {n_parameters:,} "
            "parameters; give the files of one network"
        )
    # tensors instead of a path: given the folder, transformers may load an adapter, a pickle, a kernel or code from it
    network, info = network_class.from_pretrained(
        None, config=built_config, state_dict=tensors, dtype=torch.float32, output_loading_info=True,
        ignore_mismatched_sizes=True,
    )  # fmt: skip
    shape_mismatches = [
        Mismatch(key, str(tuple(expected)), str(tuple(found))) for key, found, expected in info["mismatched_keys"]
    ]
    missing = (Mismatch(key, "", None) for key in sorted(info["missing_keys"]))
    mismatches = [*missing, *sorted(shape_mismatches, key=str)]
    if mismatches:
        raise MismatchError(folder / WEIGHTS, tuple(mismatches))
    if surplus := sorted(info["unexpected_keys"]):
        note(f"open: {plural(len(surplus), 'tensor')} of {folder / WEIGHTS} are not in the network, first {surplus[0]}")
    return network


def _network_class(transformers: Any, config: type, class_names: Any) -> Any:
    """Return the first network class for images, of this configuration class, that is in `class_names`, or None."""
    for auto_class in AUTO_CLASSES:
        choices = getattr(transformers, auto_class)._model_mapping.get(config, ())
        for network_class in choices if isinstance(choices, (list, tuple)) else (choices,):
            if isinstance(class_names, list) and network_class.__name__ in class_names:
                return network_class
    return None


@contextmanager
def _quiet_logging(transformers: Any) -> Iterator[None]:
    """Switch off messages of transformers below errors, and its progress bars; restore both at the end."""
    logging = transformers.utils.logging
    verbosity = logging.get_verbosity()
    has_bars = logging.is_progress_bar_enabled()
    try:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()


def _preprocessing(folder: Path, config: Any) -> tuple[dict[str, Any], tuple[int, int]]:
    """Return the argument `preprocess` of Model, with mean, standard deviation and size of images, and (height, width).

    transformers multiplies an image of 0 to 255 by `rescale_factor` before it subtracts the mean; Pellucid's images are
    from 0 to 1, so both statistics are divided by 255 `rescale_factor`.
    """
    path = folder / PREPROCESSOR_CONFIG
    settings = _read_json(path) if path.is_file() else {}
    crop = _image_size(settings.get("crop_size")) if settings.get("do_center_crop", True) else None
    input_size = crop or _image_size(settings.get("size"))
    config_size = _image_size(getattr(config, "image_size", None))
    size = input_size or config_size or (DEFAULT_SIDE, DEFAULT_SIDE)
    if input_size and config_size and input_size != config_size:
        note(
            f"open: {path} resizes images to {size[0]}x{size[1]}, "
            f"but {CONFIG} has an image_size of {config_size[0]}x{config_size[1]}"
        )
    if size[0] * size[1] > scaled_limit(MAX_RESIZED_PIXELS):
        raise PellucidError(f"{folder}: images of {size[0]}x{size[1]} pixels are too large; {LIMITS_HINT}")
    if not settings:
        note(f"open: {folder} has no {PREPROCESSOR_CONFIG}, so that images of 0 to 1 are not standardized")
        return {}, size
    if settings.get("do_flip_channel_order"):
        note(f"open: {folder} takes images with the channels blue, green, red; exchange them before")
    with file_errors(path, "configuration of the preprocessing", (KeyError, TypeError, ValueError, ArithmeticError)):
        is_normalized = settings.get("do_normalize", True)
        mean, std = (settings["image_mean"], settings["image_std"]) if is_normalized else ([0.0], [1.0])
        factor = 255 * float(settings.get("rescale_factor", 1 / 255)) if settings.get("do_rescale", True) else 255.0
        statistics = {
            "mean": [float(value) / factor for value in mean],
            "std": [float(value) / factor for value in std],
        }
    channels = getattr(config, "num_channels", 3)
    statistics = {name: values * channels if len(values) == 1 else values for name, values in statistics.items()}
    return {**statistics, "size": list(size)}, size


def _image_size(size: Any) -> tuple[int, int] | None:
    """Return (height, width) of a size in one of the formats of transformers; None for any other value."""
    if isinstance(size, dict):
        size = size.get("shortest_edge") or [size.get("height"), size.get("width")]
    pair = [size, size] if isinstance(size, int) else size
    is_pair = isinstance(pair, (list, tuple)) and len(pair) == 2
    return (pair[0], pair[1]) if is_pair and all(type(side) is int and side > 0 for side in pair) else None
