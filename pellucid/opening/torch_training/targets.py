"""Targets in dicts, tuples and lists, as one tensor."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from pellucid.base.errors import PellucidError
from pellucid.explain.inputs import SplitInputs, join
from pellucid.layers.base import Mode

MAX_EXACT = 2**24  # the largest whole number up to which float32 contains all


@dataclass(frozen=True)
class NestedTargets:
    """The structure of targets, whose tensors are joined to one, (N, D), and split again for a criterion.

    Targets None, of a loss of the outputs alone, are (N, 0).
    """

    structure: Any  # with the class Tensor in place of each tensor
    shapes: tuple[tuple[int, ...], ...]  # of the tensors, without the batch axis
    dtypes: tuple[torch.dtype, ...]

    @classmethod
    def of(cls, targets: Any, n_examples: int) -> "NestedTargets":
        """Return the structure of targets of `n_examples`; raises PellucidError for other values than tensors."""
        leaves = [leaf for leaf in tree_leaves(targets) if leaf is not None]
        for leaf in leaves:
            if not isinstance(leaf, Tensor) or not leaf.dim() or len(leaf) != n_examples:
                raise PellucidError(
                    f"from_torch: targets are {kind_of(targets)}, with {kind_of(leaf)} among them; give tensors with a "
                    f"row for each of the {n_examples} inputs, as by batch=lambda item: (item['image'], item['label'])"
                )
        return cls(
            structure_of(targets), tuple(tuple(leaf.shape[1:]) for leaf in leaves), tuple(leaf.dtype for leaf in leaves)
        )

    def join(self, targets: Any, n_examples: int) -> Tensor:
        """Return targets of `n_examples` as one tensor; raises PellucidError for those of another structure."""
        if NestedTargets.of(targets, n_examples) != self:
            raise PellucidError(f"from_torch: targets are {kind_of(targets)}, not as those of the first batch")
        leaves = [leaf for leaf in tree_leaves(targets) if leaf is not None]
        for leaf in leaves:
            if not leaf.is_floating_point() and leaf.numel() and int(leaf.long().abs().max()) > MAX_EXACT:
                raise PellucidError(f"from_torch: targets among several are whole numbers up to {MAX_EXACT}")
        return join(tuple(leaf.to(torch.float64) for leaf in leaves)) if leaves else torch.zeros(n_examples, 0)

    def split(self, joined: Tensor) -> Any:
        """Return the targets as the loader gave them."""
        parts = SplitInputs(self.shapes).forward({}, joined, Mode())[0]
        remaining = iter(part.to(dtype) for part, dtype in zip(parts, self.dtypes, strict=True))
        return tree_map(lambda leaf: next(remaining) if leaf is Tensor else leaf, self.structure)

    def __str__(self) -> str:
        """Return what the targets are, in words."""
        return kind_of(self.structure)


def structure_of(values: Any) -> Any:
    """Return nested values with the class Tensor in place of each tensor."""
    return tree_map(lambda leaf: Tensor if isinstance(leaf, Tensor) else leaf, values)


def kind_of(value: Any) -> str:
    """Return what an item of a loader is, in words, without its numbers."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(map(str, value))}"
    if isinstance(value, tuple | list):
        parts = ", ".join(
            "Tensor" if isinstance(item, Tensor) or item is Tensor else type(item).__name__ for item in value
        )
        return f"a {type(value).__name__} of {len(value)} ({parts})"
    return "None" if value is None else f"a {type(value).__name__}"
