"""Folders of Hugging Face: config.json and model.safetensors of a network of transformers or of timm."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.config import LIMITS_HINT, raised
from pellucid.errors import PellucidError, nearest
from pellucid.nested import entries
from pellucid.opening.configured import (
    CONFIG,
    MAX_INTEGER,
    WEIGHTS,
    ConfiguredNetwork,
    build,
    import_library,
    unique_names,
)
from pellucid.opening.timmnetworks import timm_folder
from pellucid.run.described import MAX_SIZE
from pellucid.text import note, plural
from pellucid.weights import safetensorsfile
from pellucid.weights.fault import FileFault, file_errors, quoted
from pellucid.weights.match import Mismatch, MismatchError

PREPARATION = "preprocessor_config.json"
OTHERS = ("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "model.safetensors.index.json")  # weights
MAX_CONFIG = 16 << 20  # bytes
SIDE = 224  # pixels of an input, where nothing says its size
# What says how transformers computes, not what, and may name code to download.
DROPPED = {
    "attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation",
    "fusion_config", "dtype", "torch_dtype", "transformers_weights", "_name_or_path", "name_or_path",
}  # fmt: skip
REFUSED = {
    "auto_map": "names code of its own, which is not run; open the module that you made yourself, with an example",
    "checkpoint_path": "names another file of weights; remove it",
    "quantization_config": "has quantized weights; save the network with floating-point ones",
}
# Classes of transformers that choose a network by its configuration, for images.
TASKS = (
    "AutoModelForImageClassification", "AutoModelForSemanticSegmentation", "AutoModelForDepthEstimation",
    "AutoModelForObjectDetection", "AutoModelForUniversalSegmentation", "AutoBackbone", "AutoModel",
)  # fmt: skip
NAMED = ("ForImageClassification", "ForSemanticSegmentation")  # ends of classes with one output for each label


def folder_network(folder: Path) -> ConfiguredNetwork:
    """Return the network of a folder with config.json and model.safetensors, of which no code is run.

    Raises PellucidError for a folder that names code of its own, without one of the files or with weights in another
    format, for networks that timm or transformers do not have, and if the library is not installed.
    """
    config = _json(folder / CONFIG)
    _check(folder / CONFIG, config)
    weights = folder / WEIGHTS
    if not weights.is_file():
        other = next((name for name in OTHERS if (folder / name).is_file()), "")
        has = f" (it has {other}, which is not read)" if other else ""
        raise PellucidError(f"{folder} has no {WEIGHTS}{has}; save the network again, as one safetensors file")
    tensors = safetensorsfile.read(weights)
    if "model_type" not in config and "architecture" in config:
        return timm_folder(folder, config, tensors)
    return _of_transformers(folder, config, tensors)


def _json(path: Path) -> dict[str, Any]:
    with file_errors(path, "JSON file", (ValueError, RecursionError)):
        if not path.is_file():
            raise FileFault("is missing", f"give a folder with {CONFIG} and {WEIGHTS}")
        if path.stat().st_size > MAX_CONFIG:
            raise FileFault(f"has {path.stat().st_size} bytes, above the limit of {MAX_CONFIG}")
        found = json.loads(path.read_text(encoding="utf-8"))
        if type(found) is not dict:
            raise FileFault("is not a JSON object")
        return found


def _check(path: Path, config: Mapping[str, Any]) -> None:
    """Raise PellucidError for a configuration that names code, has quantized weights, or a number beyond bounds."""
    for name, value in entries(config):
        if name in REFUSED and value:
            raise PellucidError(f"{path}: {name} {REFUSED[name]}")
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and number > raised(MAX_INTEGER):
                raise PellucidError(f"{path}: {name} is {number:,}, above {raised(MAX_INTEGER):,}; {LIMITS_HINT}")


def _of_transformers(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> ConfiguredNetwork:
    """Return the network of a configuration of transformers."""
    transformers = import_library("transformers")
    kind, known = config.get("model_type"), list(transformers.CONFIG_MAPPING.keys())
    if kind not in known:
        raise PellucidError(
            f"{folder / CONFIG}: transformers {transformers.__version__} has no model_type {kind!r:.80}"
            f"{nearest(str(kind), known)}"
        )
    with _quiet(transformers):
        network = build(str(folder), "transformers", lambda: _loaded(transformers, folder, _cleaned(config), tensors))
    preprocess, side = _preparation(folder, network.config)
    options: dict[str, Any] = {"preprocess": preprocess} if preprocess else {}
    if type(network).__name__.endswith(NAMED) and "id2label" in config:
        given = config["id2label"]  # from "0", "1", ...
        labels = [given.get(str(index)) for index in range(len(given))] if isinstance(given, dict) else given
        options["classes"] = unique_names(f"{folder / CONFIG}: id2label", labels)
    return ConfiguredNetwork(network, (getattr(network.config, "num_channels", 3), *side), options)


def _cleaned(value: Any) -> Any:
    """Return a configuration without the entries in DROPPED, at any depth."""
    if isinstance(value, dict):
        return {name: _cleaned(part) for name, part in value.items() if name not in DROPPED}
    return [_cleaned(part) for part in value] if isinstance(value, list) else value


def _loaded(transformers: Any, folder: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> nn.Module:
    """Return the network of transformers with these weights, in float32; transformers reads no file."""
    given = transformers.CONFIG_MAPPING[config["model_type"]].from_dict(config)
    found = _class(transformers, type(given), config.get("architectures"))
    if found is None:
        names = quoted(str(config.get("architectures")))
        raise PellucidError(f"{folder / CONFIG}: architectures {names} have no network for images in transformers")
    with torch.device("meta"):
        needed = sum(one.numel() for one in found(given).parameters())
    available = sum(one.numel() for one in tensors.values())
    if needed > available:  # before memory is taken for them
        raise PellucidError(
            f"{folder / WEIGHTS} has {available:,} numbers, but the network of {CONFIG} has {needed:,} parameters; "
            "give the files of one network"
        )
    network, info = found.from_pretrained(
        None, config=given, state_dict=tensors, dtype=torch.float32, output_loading_info=True,
        ignore_mismatched_sizes=True,
    )  # fmt: skip
    shapes = [Mismatch(key, str(tuple(ours)), str(tuple(theirs))) for key, theirs, ours in info["mismatched_keys"]]
    differing = [*(Mismatch(key, "", None) for key in sorted(info["missing_keys"])), *sorted(shapes, key=str)]
    if differing:
        raise MismatchError(folder / WEIGHTS, tuple(differing))
    if surplus := sorted(info["unexpected_keys"]):
        note(f"open: {plural(len(surplus), 'tensor')} of {folder / WEIGHTS} are not in the network, first {surplus[0]}")
    return network


def _class(transformers: Any, config: type, names: Any) -> Any:
    """Return the first class for images that takes the configuration and has one of the names; None if none has."""
    for task in TASKS:
        choices = getattr(transformers, task)._model_mapping.get(config, ())
        for one in choices if isinstance(choices, (list, tuple)) else (choices,):
            if isinstance(names, list) and one.__name__ in names:
                return one
    return None


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Switch off messages of transformers below errors, and its progress bars; restore both at the end."""
    logging = transformers.utils.logging
    before, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    try:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        yield
    finally:
        logging.set_verbosity(before)
        if has_bars:
            logging.enable_progress_bar()


def _preparation(folder: Path, config: Any) -> tuple[dict[str, Any], tuple[int, int]]:
    """Return the mean, the standard deviation and the size of images, as Model's `preprocess`, and height and width.

    In transformers an image of 0 to 255 is multiplied by `rescale_factor` before the mean is subtracted; here the
    image is from 0 to 1.
    """
    path = folder / PREPARATION
    given = _json(path) if path.is_file() else {}
    crop = _side(given.get("crop_size")) if given.get("do_center_crop", True) else None
    prepared, built = crop or _side(given.get("size")), _side(getattr(config, "image_size", None))
    side = prepared or built or (SIDE, SIDE)
    if prepared and built and prepared != built:
        note(f"open: {path} makes images of {side[0]}x{side[1]}, which {CONFIG} says are {built[0]}x{built[1]}")
    if side[0] * side[1] > raised(MAX_SIZE):
        raise PellucidError(f"{folder}: images of {side[0]}x{side[1]} pixels are too large; {LIMITS_HINT}")
    if not given:
        note(f"open: {folder} has no {PREPARATION}, so that images of 0 to 1 are not standardized")
        return {}, side
    if given.get("do_flip_channel_order"):
        note(f"open: {folder} takes images with the channels blue, green, red; exchange them before")
    with file_errors(path, "preparation of images", (KeyError, TypeError, ValueError, ArithmeticError)):
        is_normalized = given.get("do_normalize", True)
        mean, std = (given["image_mean"], given["image_std"]) if is_normalized else ([0.0], [1.0])
        factor = 255 * float(given.get("rescale_factor", 1 / 255)) if given.get("do_rescale", True) else 255.0
        scaled = {"mean": [float(one) / factor for one in mean], "std": [float(one) / factor for one in std]}
    channels = getattr(config, "num_channels", 3)
    scaled = {name: values * channels if len(values) == 1 else values for name, values in scaled.items()}
    return {**scaled, "size": list(side)}, side


def _side(size: Any) -> tuple[int, int] | None:
    """Return height and width of a size in one of the forms of transformers; None if it has none."""
    if isinstance(size, dict):
        size = size.get("shortest_edge") or [size.get("height"), size.get("width")]
    pair = [size, size] if isinstance(size, int) else size
    is_pair = isinstance(pair, (list, tuple)) and len(pair) == 2
    return (pair[0], pair[1]) if is_pair and all(type(one) is int and one > 0 for one in pair) else None
