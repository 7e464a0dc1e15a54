"""Reading of the weights in a file for a model's parameters; all tensors are checked before any is used."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.layers.base import Params
from pellucid.nested import flatten, map_tree, nest
from pellucid.run.described import float16_to_float32
from pellucid.run.weights import is_pellucid_file, read_weights
from pellucid.weights import open_weights, require_match
from pellucid.weights.names import check_values, source_of, take_scaling, take_weights


def params_of_file(model: Any, path: Path, part: str | None) -> tuple[Params, Mapping[str, Any]]:
    """Return a Model's parameters with the tensors of a file, and the "mean" and "std" of its inputs, if known.

    path: a file of pellucid or a published one. part: the part whose tensors are replaced, such as "features"; None for
    all. Raises PellucidError, without any change, for a file that cannot be read or does not fit.
    """
    # Files contain float32 tensors.
    params = map_tree(lambda tensor: tensor.float() if tensor.dtype is torch.float64 else tensor, model.params)
    if is_pellucid_file(path):
        return _params_of_pellucid_file(params, path, part)
    published_tensors = open_weights(path)
    new_params = take_weights(model.net, params, published_tensors, path, part)
    if part not in (None, "features"):
        return new_params, {}
    mean, std = take_scaling(source_of(model.net, published_tensors, path), new_params)
    return new_params, {"mean": list(mean), "std": list(std)} if mean else {}


def _params_of_pellucid_file(params: Params, path: Path, part: str | None) -> tuple[Params, Mapping[str, Any]]:
    if part is not None and part not in params:
        raise PellucidError(f"load_weights: no part {part!r:.40}; the parts are {', '.join(params)}")
    tensors, about = read_weights(path)
    old_params = params if part is None else {part: params[part]}
    prefix = "" if part is None else f"{part}."
    # Names that begin with "[" are not weights of the network.
    new_tensors: dict[str, Tensor] = {
        name: float16_to_float32(tensor)
        for name, tensor in tensors.items()
        if name.startswith(prefix) and not name.startswith("[")
    }
    require_match(path, flatten(old_params), new_tensors)
    for name, tensor in new_tensors.items():
        check_values(path, name, tensor)
    preprocess = about.get("preprocess")
    scaling = preprocess if isinstance(preprocess, dict) and part in (None, "features") else {}
    statistics = {name: scaling[name] for name in ("mean", "std") if name in scaling}
    return {**params, **nest(old_params, new_tensors)}, statistics
