"""Nested dicts of tensors as flat lists and dicts: paths, leaves and their order."""

from collections.abc import Callable, Mapping

from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.layers.base import Params


def flatten(params: Params) -> dict[str, Tensor]:
    """Return the leaves of `params` by dotted path (`block1.conv.weight`), in order of insertion."""
    flat: dict[str, Tensor] = {}
    for name, value in params.items():
        if isinstance(value, dict):
            flat.update({f"{name}.{path}": leaf for path, leaf in flatten(value).items()})
        else:
            flat[name] = value
    return flat


def unflatten(flat: Mapping[str, Tensor]) -> Params:
    """Return the nested dict whose leaves have the dotted paths of `flat`.

    Empty dicts (layers without parameters) have no path, so they do not come back: fill a tree that the network's
    `init` made where they matter. Raises PellucidError where one path is the beginning of another.
    """
    params: Params = {}
    for path, leaf in flat.items():
        *parents, name = path.split(".")
        node = params
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise PellucidError(f"parameters: {path!r} lies below another tensor; rename one of the two")
        if name in node:
            raise PellucidError(f"parameters: {path!r} names a tensor and a group of tensors; rename one of the two")
        node[name] = leaf
    return params


def map_tree(f: Callable[[Tensor], Tensor], params: Params) -> Params:
    """Return a tree of the same nesting whose leaves are `f` of the leaves of `params`."""
    return {name: map_tree(f, value) if isinstance(value, dict) else f(value) for name, value in params.items()}


def leaves(tree: Params, found: list[Tensor] | None = None) -> list[Tensor]:
    """Return the tensors of a nested dict in its own order, behind those in `found`."""
    found = [] if found is None else found
    for value in tree.values():
        if type(value) is dict:
            leaves(value, found)
        else:
            found.append(value)
    return found
