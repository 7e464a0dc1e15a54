"""The weights of a file for the parameters of a model, all checked before any is used."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.layers.base import Params
from pellucid.nested import flatten, map_tree, nest
from pellucid.run.described import widened
from pellucid.run.weights import is_ours, read_weights
from pellucid.weights import open_weights, require_match
from pellucid.weights.names import check_values, source_of, take_scaling, take_weights


def loaded(model: Any, path: Path, part: str | None) -> tuple[Params, Mapping[str, Any]]:
    """Return the parameters of a Model with the tensors of a file, and the "mean" and "std" of its inputs, if known.

    path: a file of pellucid or a published one. part: "features" for this part only. Raises PellucidError, without any
    change, for a file that cannot be read or does not fit.
    """
    params = map_tree(lambda one: one.float() if one.dtype is torch.float64 else one, model.params)  # as in files
    if is_ours(path):
        return _of_pellucid(params, path, part)
    tensors = open_weights(path)
    found = take_weights(model.net, params, tensors, path, part)
    if part not in (None, "features"):
        return found, {}
    mean, std = take_scaling(source_of(model.net, tensors, path), found)
    return found, {"mean": list(mean), "std": list(std)} if mean else {}


def _of_pellucid(params: Params, path: Path, part: str | None) -> tuple[Params, Mapping[str, Any]]:
    if part is not None and part not in params:
        raise PellucidError(f"load_weights: no part {part!r:.40}; the parts are {', '.join(params)}")
    tensors, about = read_weights(path)
    old = params if part is None else {part: params[part]}
    first = "" if part is None else f"{part}."
    # Names that begin with "[" are not weights of the network.
    found: dict[str, Tensor] = {
        name: widened(tensor) for name, tensor in tensors.items() if name.startswith(first) and not name.startswith("[")
    }
    require_match(path, flatten(old), found)
    for name, tensor in found.items():
        check_values(path, name, tensor)
    known = about.get("preprocess")
    scaling = known if isinstance(known, dict) and part in (None, "features") else {}
    return {**params, **nest(old, found)}, {name: scaling[name] for name in ("mean", "std") if name in scaling}
