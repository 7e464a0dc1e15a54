"""What a model learns from or is measured on: inputs and targets, from a data set or from arrays."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.data.dataset import Dataset, named_labels
from pellucid.data.seeds import generator
from pellucid.data.source import Arrays
from pellucid.errors import PellucidError

Examples = Arrays


def examples(
    x: Any, y: Any = None, what: str = "x", classes: Sequence[str] | None = None, infer_classes: bool = False
) -> Examples:
    """Return a Dataset, or arrays x and y (numpy, tensors or lists), as Examples.

    y may hold names of `classes`, whose numbers they get; infer_classes: see `named_labels`, for training alone.
    Raises PellucidError, which calls them `what`, for other types, different lengths or no examples.
    """
    if isinstance(x, Dataset):
        if y is not None:
            raise PellucidError(f"{what} is a Dataset, which has its own labels; leave y out")
        return x
    if y is None:
        raise PellucidError(f"{what} has no targets; give a Dataset, or x and y")
    inputs, named = as_inputs(x, what), named_labels(y, classes, f"the targets of {what}", infer_classes)
    targets, names = named or (_tensor(y, f"the targets of {what}"), None)
    if targets.is_floating_point():
        targets = targets.to(torch.float32)
    count = len(targets) if targets.dim() else 1
    if len(inputs) != count or not targets.dim() or not count:
        hint = f"; a single image needs the batch axis, {what}[None]" if count == 1 and inputs.dim() in (2, 3) else ""
        raise PellucidError(
            f"{what} has {len(inputs)} inputs and {count} targets; give a list of one target for each input{hint}"
        )
    return Examples(inputs, targets, names, _checksum(inputs, targets))


def as_inputs(x: Any, what: str = "x") -> Tensor:
    """Return inputs (N, ...) as a tensor of uint8 or float32; PellucidError, which names the example, for NaN."""
    tensor = x.x if isinstance(x, Dataset) else _tensor(x, what)
    if not tensor.dim():
        raise PellucidError(f"{what} is one number; give an array of inputs (N, ...)")
    if tensor.dtype is torch.uint8:
        return tensor
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise PellucidError(f"{what} is {kind}; give inputs as uint8 (0..255) or floats (0..1)")
    inputs = tensor.to(torch.float32)
    place = first_not_finite(inputs)
    if place is not None:
        kind = "NaN" if bool(torch.isnan(inputs[place]).any()) else "infinity"
        raise PellucidError(f"{what}: example {place} holds {kind}; the data must be finite, clean them first")
    return inputs


def first_not_finite(x: Tensor) -> int | None:
    """Return the place of the first example in x (N, ...) that holds NaN or infinity, or None."""
    total = x.sum().item()  # faster than to ask for each value; finite only if they all are
    if total - total == 0.0:
        return None
    wrong = (~torch.isfinite(x)).reshape(len(x), -1).any(1).nonzero()
    return int(wrong[0]) if len(wrong) else None


def split(whole: Examples, fraction: float, seed: int) -> tuple[Examples, Examples]:
    """Hold a part of the examples out, drawn with `seed`: (the rest, the part), both in their original order."""
    count = round(len(whole) * fraction)
    if not 0 < fraction < 1 or not 0 < count < len(whole):
        raise PellucidError(f"validation={fraction} of {len(whole)} examples leaves a part empty; give 0.1, say")
    order = torch.randperm(len(whole), generator=generator(seed))
    parts = (order[count:].sort().values, order[:count].sort().values)
    rest, part = (Examples(x, y, whole.classes, _checksum(x, y)) for x, y in ((whole.x[i], whole.y[i]) for i in parts))
    return rest, part


def _tensor(values: Any, what: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach()
    try:
        return torch.as_tensor(np.asarray(values))
    except (TypeError, ValueError) as error:
        raise PellucidError(f"{what} is not an array of numbers: {' '.join(str(error).split())}") from error


def _checksum(x: Tensor, y: Tensor) -> str:
    digest = hashlib.sha256()
    for array in (x, y):
        digest.update(f"{array.dtype}{tuple(array.shape)}".encode())
        digest.update(array.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def train_and_held(
    x: Any, y: Any, validation: Any, classes: Sequence[str] | None, seed: int
) -> tuple[Examples, Examples | None]:
    """Return the examples of `fit`: those to train on, and those of `validation`, None without any.

    validation: data as (x, y) or a Dataset, or the fraction of the examples to hold out, drawn from `seed`. classes:
    the model's, None where the labels decide.
    """
    if isinstance(validation, float) and isinstance(x, Dataset):
        parts = x.split(validation, seed)
        return examples(parts.train, y), examples(parts.test)
    data = examples(x, y, classes=classes, infer_classes=True)
    if isinstance(validation, float):
        return split(data, validation, seed)
    if validation is None:
        return data, None
    pair = validation if isinstance(validation, tuple) else (validation,)
    if not 1 <= len(pair) <= 2:
        raise PellucidError(f"fit: validation takes (x, y), a Dataset or a fraction, not {len(pair)} values")
    return data, examples(*pair, what="validation", classes=classes or data.classes)
