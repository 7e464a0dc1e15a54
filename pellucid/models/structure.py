"""The common structure of the networks of the zoo: features, a head, and its layer `scores` for the classes."""

import dataclasses
import difflib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import torch

from pellucid.base.errors import PellucidError
from pellucid.combine.base import Combinator, walk
from pellucid.combine.sequential import Sequential
from pellucid.layers.base import Layer, Params
from pellucid.layers.conv2d import Conv2d
from pellucid.layers.dense import Dense
from pellucid.nested import flatten

SCORES_NAME = "scores"
# Layers that can output one score for each class, and their hyperparameter for the number of classes.
COUNT_FIELDS: dict[type[Layer], str] = {Dense: "units", Conv2d: "filters"}


def features(net: Layer) -> Layer:
    """Return the part of a network that maps images to feature maps; its parameters are `params["features"]`.

    Raises PellucidError if the network has no such part.
    """
    return _part(net, "features")


def head(net: Layer) -> Layer:
    """Return the part of a network that maps its features to logits; its parameters are `params["head"]`.

    Raises PellucidError if the network has no such part.
    """
    return _part(net, "head")


def replace_head(net: Layer, params: Params, classes: int, rng: torch.Generator) -> tuple[Layer, Params]:
    """Return the network for other classes: a new layer `scores` is drawn from `rng`, all other layers are kept.

    In a Sequential without `features` and `head`, the last layer with parameters is replaced. The kept tensors are
    shared with `params`, not copied. The layers `scores` of auxiliary classifiers are also replaced.
    Raises PellucidError if no layer can be replaced: the head has no `scores`, or the last layer is neither Dense nor
    Conv2d.
    """
    last_path = _last_layer_path(net, params)
    if last_path is not None and not (isinstance(net, Sequential) and {"features", "head"} <= net.children.keys()):
        return _replace_scores(net, params, last_path, classes, rng)
    paths = [
        path for path, layer in walk(head(net)) if path.split(".")[-1] == SCORES_NAME and type(layer) in COUNT_FIELDS
    ]
    if not paths:
        raise PellucidError(
            f"replace_head: the network's head has no layer {SCORES_NAME!r} with an output for each class; "
            "give a network of the zoo, or give its output layer this name"
        )
    for path in paths:
        net, params = _replace_scores(net, params, ["head", *path.split(".")], classes, rng)
    return net, params


def match(params: Params, pattern: str) -> set[str]:
    """Return the paths of the parameters and buffers that match a pattern such as `features.*` or `*.stage?.*.bias`.

    `*` matches any characters including dots, `?` any one character, `[ab]` a or b; the whole path must match.
    Raises PellucidError, which names the nearest path, if no path matches.
    """
    if not isinstance(pattern, str):
        raise PellucidError(f"a path pattern must be a string such as 'features.*', not {pattern!r:.80}; give a string")
    paths = list(flatten(params))
    matching_paths = {path for path in paths if fnmatchcase(path, pattern)}
    if not matching_paths:
        candidates = list(dict.fromkeys(name for path in paths for name in (path, *_parent_patterns(path))))
        nearest_paths = difflib.get_close_matches(pattern, candidates, n=1, cutoff=0.0)
        hint = f"the nearest is {nearest_paths[0]!r}" if nearest_paths else "there are none"
        raise PellucidError(f"no parameter's path matches {pattern!r}; {hint}")
    return matching_paths


def _part(net: Layer, name: str) -> Layer:
    parts = net.layers if isinstance(net, Combinator) else {}
    if not {"features", "head"} <= parts.keys():
        part_names = ", ".join(list(parts)[:4]) + (", ..." if len(parts) > 4 else "")
        raise PellucidError(
            "the network is not made of 'features' and 'head', but "
            f"{f'of {part_names}' if part_names else 'is a single layer'}; give a network of the zoo, such as resnet18"
        )
    return parts[name]


def _last_layer_path(layer: Layer, params: Params) -> list[str] | None:
    """Return the path of the last layer with parameters in nested Sequentials; None unless it is Dense or Conv2d."""
    if type(layer) in COUNT_FIELDS:
        return []
    for name, child in reversed(layer.children.items()) if isinstance(layer, Sequential) else ():
        if params.get(name):
            child_path = _last_layer_path(child, params[name])
            return None if child_path is None else [name, *child_path]
    return None


def _replace_scores(
    layer: Layer, params: Params, path: list[str], classes: int, rng: torch.Generator
) -> tuple[Layer, Params]:
    if not path:
        weight = params["weight"]
        new_count: dict[str, Any] = {COUNT_FIELDS[type(layer)]: classes}
        new_layer = dataclasses.replace(layer, **new_count)
        groups = layer.groups if isinstance(layer, Conv2d) else 1
        new_params, _ = new_layer.init((weight.shape[1] * groups, *weight.shape[2:]), rng)
        return new_layer, {name: leaf.to(weight.device, weight.dtype) for name, leaf in new_params.items()}
    assert isinstance(layer, Combinator)
    name = path[0]
    child, child_params = _replace_scores(layer.layers[name], params[name], path[1:], classes, rng)
    return layer.rebuild({**layer.layers, name: child}), {**params, name: child_params}


def _parent_patterns(path: str) -> Iterator[str]:
    names = path.split(".")[:-1]
    for depth in range(1, len(names) + 1):
        yield f"{'.'.join(names[:depth])}.*"
