"""Training and evaluation data: conversion and checks of arrays, sources and streams, and their batches."""

import hashlib
import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import integer
from pellucid.base.settings.tensors import as_targets, as_tensor
from pellucid.base.text import note, plural, shown
from pellucid.data.dataset import Dataset, named_labels
from pellucid.data.loader import as_batch
from pellucid.data.seeds import generator
from pellucid.data.source import Arrays, Batch, Source, Subset, batch_of
from pellucid.data.stream import Stream, is_stream


def examples(
    x: Any,
    y: Any = None,
    data_name: str = "x",
    classes: Sequence[str] | None = None,
    infer_classes: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Arrays:
    """Return a Dataset, or arrays x and y (NumPy arrays, tensors or lists), as Arrays with floats as `dtype`.

    y may contain class names, which are converted to indices in `classes`. infer_classes: whether to take the classes
    from y, for training data, see `named_labels`. data_name: the name of the data in messages.
    Raises PellucidError for other types, different lengths, NaN or infinity in x, and data without examples.
    """
    if is_batchwise(x):
        raise PellucidError(
            f"{data_name} is {_type_text(x)}, which is read batch by batch; give arrays or a Dataset here"
        )
    if isinstance(x, Arrays):
        as_inputs(x.x, data_name)
        if y is not None:
            raise PellucidError(f"{data_name} is a Dataset, which has its own labels; leave y out")
        return x
    if y is None:
        raise _without_targets(x, data_name)
    is_single_target = isinstance(y, str | int | float)  # one target that is not in a list
    target_list: Any = [y] if is_single_target else y
    targets_name = f"the targets of {data_name}"
    inputs = as_inputs(x, data_name, dtype)
    labels = named_labels(target_list, classes, targets_name, infer_classes)
    targets, names = labels or (as_targets(target_list, targets_name, dtype), None)
    n_targets = len(targets) if targets.dim() else 1
    if not len(inputs) and not n_targets:
        raise PellucidError(f"{data_name} has no examples; give at least one")
    if len(inputs) != n_targets or not targets.dim() or is_single_target:
        counts = f"{plural(len(inputs), 'input')} and {plural(n_targets, 'target')}"
        example = f", such as [{y!r}]" if is_single_target else ""
        is_single_image = n_targets == 1 != len(inputs) and inputs.dim() in (2, 3)
        hint = f"; a single image needs the batch axis, {data_name}[None]" if is_single_image else ""
        raise PellucidError(f"{data_name} has {counts}; give a list of one target for each input{example}{hint}")
    return Arrays(inputs, targets, names, _checksum(inputs, targets))


def _without_targets(x: Any, data_name: str) -> PellucidError:
    """Return the error for x without y, with advice for paths, pairs, lists of batches, and other libraries' data."""
    if isinstance(x, str | os.PathLike):
        path = shown(str(cast(object, x)))
        return PellucidError(
            f"{data_name} is a path, {path}; read its data first: pellucid.load_folder({path}) for a folder with a "
            "folder of images for each class, or a class of pellucid.data"
        )
    if _is_pair(x):
        return PellucidError(f"{data_name} is a pair of arrays; give inputs and targets as two arguments, x, y")
    first_item: Any = cast(Sequence[Any], x)[0] if isinstance(x, list | tuple) and x else None
    pair = cast(Sequence[Any], first_item) if isinstance(first_item, tuple | list) else ()
    if len(pair) == 2 and all(isinstance(item, Tensor) for item in pair):
        return PellucidError(
            f"{data_name} is a list of batches; give a function that returns its iterator, lambda: batches"
        )
    inputs = cast(object, x)
    if (
        hasattr(inputs, "__getitem__")
        and not isinstance(inputs, list | tuple | str)
        and not hasattr(inputs, "__array__")
    ):
        return PellucidError(
            f"{data_name} is {_type_text(inputs)}; give a DataLoader of it, DataLoader({data_name}, batch_size=32)"
        )
    return PellucidError(
        f"{data_name} has no targets; give a Dataset, or x and y: for an autoencoder y is x, and for an objective "
        "without targets torch.zeros(len(x))"
    )


def _is_pair(x: Any) -> bool:
    """Return whether x is (inputs, targets): two arrays of the same length."""
    parts = cast(Sequence[Any], x) if isinstance(x, list | tuple) else ()
    shapes: list[tuple[int, ...]] = [tuple(getattr(part, "shape", ())) for part in parts]
    return len(shapes) == 2 and all(shapes) and shapes[0][0] == shapes[1][0]


def as_inputs(x: Any, data_name: str = "x", dtype: torch.dtype = torch.float32) -> Tensor:
    """Return inputs (N, ...) as a tensor of uint8 or `dtype`.

    Raises PellucidError for other types, and for NaN or infinity, with the index of the example.
    """
    tensor = x.x if isinstance(x, Arrays) else as_tensor(x, data_name)
    if not tensor.dim():
        raise PellucidError(f"{data_name} is one number; give an array of inputs (N, ...)")
    if tensor.dtype is torch.uint8:
        return tensor
    if not tensor.is_floating_point():
        dtype_name = str(tensor.dtype).removeprefix("torch.")
        advice = f"or indices as floats, {data_name}.float()" if tensor.dim() == 2 else "(0..1)"
        raise PellucidError(f"{data_name} is {dtype_name}; give inputs as uint8 (0..255) or floats {advice}")
    inputs = tensor.to(dtype)
    index = first_not_finite(inputs)
    if index is not None:
        value = "NaN" if bool(torch.isnan(inputs[index]).any()) else "infinity"
        raise PellucidError(f"{data_name}: example {index} contains {value}; the data must be finite, clean them first")
    return inputs


def first_not_finite(x: Tensor) -> int | None:
    """Return the index of the first example in x (N, ...) that contains NaN or infinity, or None."""
    total = x.sum().item()  # faster than checking each value; finite only if all values are
    if total - total == 0.0:
        return None
    not_finite_indices = (~torch.isfinite(x)).reshape(len(x), -1).any(1).nonzero()
    return int(not_finite_indices[0]) if len(not_finite_indices) else None


def split(source: Source, fraction: float, seed: int) -> tuple[Source, Source]:
    """Hold out a fraction of the examples, drawn with `seed`; return (the rest, the held-out part).

    Both are in their original order. Raises PellucidError for a stream, and for a fraction that leaves a part empty.
    """
    if isinstance(source, Stream):
        raise PellucidError("validation: a stream of batches cannot be split; give separate validation data")
    n_held_out = round(len(source) * fraction)
    if not 0 < fraction < 1 or not 0 < n_held_out < len(source):
        raise PellucidError(
            f"validation={fraction} of {plural(len(source), 'example')} leaves a part empty; give a fraction "
            "such as 0.1"
        )
    order = torch.randperm(len(source), generator=generator(seed))
    return subset(source, order[n_held_out:].sort().values), subset(source, order[:n_held_out].sort().values)


def subset(source: Source, indices: Tensor, checksum: bool = True) -> Source:
    """Return the examples at `indices`; arrays are copied, with a new checksum unless `checksum` is False."""
    if not isinstance(source, Arrays):
        return Subset(source, indices)
    x, y = source.x[indices], source.y[indices]
    return Arrays(x, y, source.classes, _checksum(x, y) if checksum else "")


def first_batch(source: Source) -> Batch:
    """Return the first example of a source as a batch; images in arrays keep their dtype, others become float32."""
    if isinstance(source, Arrays):
        return source.batch([0], generator(0))
    return as_batch(batch_of(source, [0], generator(0)), 1, type(source).__name__)


def checked_source(source: Source, data_name: str, check: Callable[[Arrays, str], Any]) -> Source:
    """Return the source, checked by `check(data, data_name)`: now if it is in memory, otherwise by batches when read.

    For a source that is not in memory, the first example is checked now, and its images are also checked for NaN and
    infinity, now and when they are read.
    """
    if isinstance(source, Arrays):
        check(source, data_name)
        return source

    def check_batch(batch: Batch) -> None:
        as_inputs(batch.images, data_name)
        check(Arrays(*batch), data_name)

    result = source.checked(check_batch) if isinstance(source, Stream) else CheckedSource(source, check_batch)
    check_batch(first_batch(result))
    return result


def inputs_of(x: Any, check: Callable[[Tensor], None], dtype: torch.dtype) -> Tensor | Source:
    """Return inputs (N, ...), or the inputs of a Dataset, as a tensor; data that are read batch by batch as a source.

    Both are checked by `check`: a tensor now, a source as in `checked_source`.
    """
    if is_batchwise(x):
        return checked_source(source_of(x, images_alone=True), "x", lambda batch, _: check(batch.x))
    inputs = as_inputs(x, dtype=dtype)
    check(inputs)
    return inputs


def note_resume(data: Source) -> None:
    """Write a note to stderr for a stream, whose batches may differ in a resumed training."""
    if isinstance(data, Stream):
        note("the data are a stream of batches: resuming this run is exact only if it yields the same batches again")


class CheckedSource:
    """A source that calls a check on each batch before it returns it."""

    def __init__(self, source: Source, check: Callable[[Batch], None]) -> None:
        self.source = source
        self._check = check
        self.classes = source.classes

    @property
    def checksum(self) -> str:
        """The checksum of the source."""
        return self.source.checksum

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.source)

    def batch(self, indices: Sequence[int], rng: torch.Generator) -> Batch:
        """Return a batch of the source; raises the errors of the check."""
        batch = as_batch(batch_of(self.source, indices, rng), len(indices), type(self.source).__name__)
        self._check(batch)
        return batch


def _checksum(x: Tensor, y: Tensor) -> str:
    digest = hashlib.sha256()
    for array in (x, y):
        digest.update(f"{array.dtype}{tuple(array.shape)}".encode())
        digest.update(array.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def source_of(
    x: Any,
    y: Any = None,
    data_name: str = "x",
    classes: Sequence[str] | None = None,
    infer_classes: bool = False,
    steps: int | None = None,
    images_alone: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Source:
    """Return data as a source: a source unchanged, batches that are yielded as a Stream, other data by `examples`.

    steps: batches per epoch of a stream. images_alone: whether x contains images without targets. The other arguments
    are those of `examples`. Raises the errors of `examples`, and PellucidError for targets `y` together with a
    source or stream.
    """
    steps = None if steps is None else integer(steps, "fit: steps_per_epoch", 1)
    if steps is not None and not is_stream(x):
        raise PellucidError("fit: steps_per_epoch is for a generator, a function or a DataLoader; leave it out")
    if not is_stream(x) and not is_source(x):
        return examples(x, y, data_name, classes, infer_classes, dtype)
    if y is not None:
        raise PellucidError(f"{data_name} is {_type_text(x)}, which has its own targets; leave y out")
    if is_stream(x):
        return Stream(x, steps, data_name, images_alone, dtype)
    missing_attribute = next(
        (name for name in ("classes", "checksum") if inspect.getattr_static(x, name, x) is x), None
    )
    if missing_attribute is not None:
        raise PellucidError(
            f"{data_name}: {_type_text(x)} has no {missing_attribute!r}; a source has classes, checksum, "
            "__len__ and batch"
        )
    if not len(x):
        raise PellucidError(f"{data_name}: {_type_text(x)} contains no examples; give at least one")
    source: Source = x
    names = source.classes
    if not isinstance(x, Arrays) and names is not None and classes is not None and tuple(names) != tuple(classes):
        raise PellucidError(
            f"{data_name} has the classes {shown(names)}, but the model has {shown(tuple(classes))}; "
            "give data of the same classes in the same order"
        )
    return source


def is_batchwise(x: Any) -> bool:
    """Return whether x is read batch by batch: a source that is not in memory, or a stream."""
    return not isinstance(x, Arrays) and (is_source(x) or is_stream(x))


def is_source(x: Any) -> bool:
    """Return whether x has the methods of a `Source`."""
    return callable(getattr(x, "batch", None)) and hasattr(x, "__len__")


def _type_text(x: Any) -> str:
    return f"a {type(x).__name__}"


def training_and_validation(
    x: Any,
    y: Any,
    validation: Any,
    classes: Sequence[str] | None,
    seed: int,
    steps: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[Source, Source | None]:
    """Return the training data for `fit`, and the validation data or None.

    validation: a source, batches or data as (x, y), or the fraction of the examples to hold out, drawn with `seed`.
    classes: the model's class names, or None to take them from the labels. steps: see `source_of`.
    """
    if isinstance(validation, float) and isinstance(x, Dataset):
        splits = x.split(validation, seed)
        return source_of(splits.train, y, steps=steps), splits.test
    data = source_of(x, y, "x", classes, infer_classes=True, steps=steps, dtype=dtype)
    if isinstance(validation, float):
        return split(data, validation, seed)
    if validation is None:
        return data, None
    if isinstance(validation, int | str):
        raise PellucidError(
            f"fit: validation must be a fraction between 0 and 1, data, or (x, y), not {shown(validation)}"
        )
    validation_arguments = cast(tuple[Any, ...], validation) if isinstance(validation, tuple) else (validation,)
    if not 1 <= len(validation_arguments) <= 2:
        raise PellucidError(
            f"fit: validation takes (x, y), a source or a fraction, not {len(validation_arguments)} values"
        )
    validation_data = source_of(
        *validation_arguments, data_name="validation", classes=classes or data.classes, dtype=dtype
    )
    if isinstance(validation_data, Stream) and validation_data.is_single_pass:
        raise PellucidError("validation is a generator, which can be read only once; give a function that returns one")
    return data, validation_data
