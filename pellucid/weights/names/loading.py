"""Loading of published weights of any supported library into a network of `pellucid.models`."""

import dataclasses
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine.base import Combinator, walk
from pellucid.layers.base import Layer, Params
from pellucid.models import MODELS, features
from pellucid.nested import flatten, nest
from pellucid.weights.fault import quoted
from pellucid.weights.match import require_match
from pellucid.weights.names.families import NAMINGS
from pellucid.weights.names.naming import Naming, fit_architecture, translate
from pellucid.weights.opening import open_weights

# Hyperparameters that do not change the output for given weights, such as widths and initialization.
_IGNORED_SETTINGS = ("filters", "units", "groups", "init_weight", "init_bias", "momentum", "rate")

LayerSettings = dict[str, tuple[str, Mapping[str, Any]]]  # each layer's class name and hyperparameters, by path


@dataclass(frozen=True)
class WeightsOrigin:
    """The origin of a weights file: the model's name in `MODELS`, and the library whose tensor names the file has."""

    model: str
    naming: Naming

    def __str__(self) -> str:
        """Return "MODEL of LIBRARY"."""
        return f"{self.model} of {self.naming.library}"


def load_weights(net: Layer, params: Params, path: str | os.PathLike[str], part: str | None = None) -> Params:
    """Return `params` with its tensors replaced by those of a published file; `params` is not modified.

    The file is read with open_weights, names and layouts are converted, and all tensors are checked before any is
    used. part: "features" to load only this part, for example from a file without the top layer, and keep the rest of
    `params`; other tensors in the file are ignored. Auxiliary classifiers are ignored if the network has none.
    Half-precision values become float32. Raises MismatchError with all differences by path, and PellucidError for an
    unreadable file, for unknown tensor names, for a network built with other options than the weights, and for invalid
    values: NaN, infinity, a negative variance.
    """
    return take_weights(net, params, open_weights(path), path, part)


def take_weights(
    net: Layer, params: Params, tensors: Mapping[str, Tensor], path: str | os.PathLike[str], part: str | None = None
) -> Params:
    """Do the same as `load_weights` for tensors returned by open_weights; path: the file's path, for messages."""
    source = source_of(net, tensors, path)
    translated, unknown = translate(source.naming, source.model, tensors)
    if part is None:
        replaced_params = params
        expected = flatten(params)
        translated |= unknown  # surplus, reported by the check
    elif part in params:
        replaced_params = {part: params[part]}
        expected = flatten({part: params[part]})
        translated = {name: tensor for name, tensor in translated.items() if name.startswith(f"{part}.")}
    else:
        raise PellucidError(f"load_weights: no part {part!r} in params; the parts are {', '.join(map(repr, params))}")
    fitted_tensors = fit_architecture(source.naming, expected, translated)
    weights = {name: _float32(tensor, expected.get(name)) for name, tensor in fitted_tensors.items()}
    require_match(path, expected, weights)
    for name in expected:
        check_values(path, name, weights[name])
    loaded = {name: weights[name].contiguous().to(tensor.device) for name, tensor in expected.items()}
    return {**params, **nest(replaced_params, loaded)}


def take_scaling(source: WeightsOrigin, params: Params) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation of each channel, RGB, for weights of this origin; empty if unknown.

    params: the weights. If they were trained on BGR images, the first convolution's channels are reversed in place.
    """
    inputs = source.naming.inputs
    if inputs is None:
        return (), ()
    if inputs.order == "BGR":
        first_convolution = next(tensor for tensor in flatten(params).values() if tensor.dim() == 4)
        first_convolution.copy_(first_convolution.flip(1))
    return inputs.mean, inputs.std


def _float32(tensor: Tensor, expected: Tensor | None) -> Tensor:
    """Return a half-precision tensor as float32 if the network expects that; any other tensor unchanged."""
    is_half = (
        expected is not None and expected.dtype is torch.float32 and tensor.dtype in (torch.float16, torch.bfloat16)
    )
    return tensor.float() if is_half else tensor


def check_values(path: str | os.PathLike[str], name: str, tensor: Tensor) -> None:
    """Raise PellucidError for NaN, infinity, or a negative variance; path: of the file, for messages."""
    fault = "NaN or infinity" if not bool(torch.isfinite(tensor).all()) else ""
    if not fault and name.endswith(".running_var") and bool((tensor < 0).any()):
        fault = "a negative variance"
    if fault:
        raise PellucidError(f"{os.fspath(path)} contains {fault} in {name}; use another file")


def source_of(net: Layer, tensors: Iterable[str], path: str | os.PathLike[str]) -> WeightsOrigin:
    """Return the origin of tensors with these names; path: the file's path, for messages.

    Raises PellucidError if no library uses these names for this network, or if the network was built with other options
    than the weights.
    """
    own_settings = layer_settings(net)
    models = {
        candidate.model for candidate in _candidates() if list(_published_settings(candidate)) == list(own_settings)
    }
    source = origin_of(models, tensors, path)
    if _published_settings(source) != own_settings:
        options = ", ".join(f"{name}={value!r}" for name, value in source.naming.model_arguments.items())
        raise PellucidError(
            f"{os.fspath(path)} contains the weights of {source}, which need this network with other options; "
            f"build it with {source.model}({options})"
        )
    return source


def origin_of(models: Collection[str], tensors: Iterable[str], path: str | os.PathLike[str]) -> WeightsOrigin:
    """Return the origin of tensors with these names, which are weights of one of `models`, names in `MODELS`.

    Raises PellucidError if no library uses these names for such a network.
    """
    names = dict.fromkeys(tensors, torch.empty(0))  # only the names matter
    translations = [  # known tensors, unknown tensors and their origin
        (*translate(candidate.naming, candidate.model, names), candidate)
        for candidate in _candidates()
        if candidate.model in models
    ]
    if not translations:
        raise PellucidError(
            f"{os.fspath(path)}: no published weights are known for this network; use one of pellucid.models"
        )
    known, unknown, source = max(translations, key=lambda translation: len(translation[0]))
    if len(known) <= len(unknown):
        examples = ", ".join(quoted(name, 40) for name in list(names)[:3])
        libraries = ", ".join(dict.fromkeys(source.naming.library for _, _, source in translations))
        raise PellucidError(
            f"{os.fspath(path)} has tensor names that no known file of {min(models)} has ({examples}, ...); "
            f"give a file of {libraries}"
        )
    return source


def _candidates() -> list[WeightsOrigin]:
    return [WeightsOrigin(model, naming) for naming in NAMINGS for model in naming.models]


def _published_settings(source: WeightsOrigin) -> LayerSettings:
    return layer_settings(MODELS[source.model](**source.naming.model_arguments))


def layer_settings(net: Layer) -> LayerSettings:
    """Return the hyperparameters in which two networks must agree to compute equal outputs from equal weights."""
    return {
        path: (type(layer).__name__, _relevant_settings(layer))
        for path, layer in walk(features(net))
        if not isinstance(layer, Combinator)
    }


def _relevant_settings(layer: Layer) -> Mapping[str, Any]:
    return {
        field.name: getattr(layer, field.name)
        for field in dataclasses.fields(layer)
        if field.name not in _IGNORED_SETTINGS
    }
