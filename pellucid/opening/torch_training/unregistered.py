"""Layers in a list, tuple or dict of a network, which PyTorch does not register, so that no optimizer has them."""

from collections.abc import Collection
from itertools import starmap
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from pellucid.opening.exported import evaluating

OWN_ATTRIBUTES = {*vars(nn.Module())}  # such as _modules


def with_registered_layers(network: nn.Module, inputs: Tensor) -> tuple[nn.Module, set[str]]:
    """Return a copy of a network with all layers registered, of the same tensors, and the names of these parameters.

    The network itself if all are registered, or if it does not compute the same with nn.ModuleList instead of a list.
    """
    known_ids = {id(parameter) for parameter in network.parameters()}
    registered = _registered(network, known_ids)
    names = {name for name, parameter in registered.named_parameters() if id(parameter) not in known_ids}
    if not names:
        return network, set()
    try:
        with evaluating(registered), evaluating(network), torch.no_grad():
            outputs, registered_outputs = tree_leaves(network(inputs)), tree_leaves(registered(inputs))
    except Exception:  # the network's own code may use its list in a way that nn.ModuleList does not have
        return network, set()
    is_same = all(starmap(torch.equal, zip(outputs, registered_outputs, strict=True)))
    return (registered, names) if is_same else (network, set())


def _registered(module: nn.Module, known_ids: Collection[int]) -> nn.Module:
    """Return a module, copied if lists or dicts of layers with other parameters are made modules in it."""
    children = {name: child and _registered(child, known_ids) for name, child in module._modules.items()}
    containers: dict[str, nn.Module] = {}
    for name, value in vars(module).items():
        container = None if name in OWN_ATTRIBUTES else _container(value)
        if container is not None and any(id(one) not in known_ids for one in container.parameters()):
            containers[name] = container
    if not containers and all(children[name] is child for name, child in module._modules.items()):
        return module
    changed = object.__new__(type(module))  # PyTorch forbids copy.copy for some modules
    vars(changed).update({name: value for name, value in vars(module).items() if name not in containers})
    changed._modules = {**children, **containers}
    return changed


def _container(value: Any) -> nn.Module | None:
    """Return a module, or a list, tuple or dict of modules, as a module; None for others."""
    if isinstance(value, nn.Module):
        return value
    if not isinstance(value, list | tuple | dict) or not value:
        return None
    parts: list[nn.Module] = []
    for part in map(_container, value.values() if isinstance(value, dict) else value):
        if part is None:
            return None
        parts.append(part)
    if not isinstance(value, dict):
        return nn.ModuleList(parts)
    try:
        return nn.ModuleDict(dict(zip(value, parts, strict=True)))
    except (KeyError, TypeError):  # of keys that are no names of modules, such as numbers
        return None
