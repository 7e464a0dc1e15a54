"""Keras' HDF5 files: Keras Applications, `model.save("x.h5")` and Keras 3's `.weights.h5`."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.weights.fault import Fault, quoted, refusing
from pellucid.weights.hdf5text import text_attribute

if TYPE_CHECKING:
    import h5py

_OBJECTS = 100_000
_DEPTH = 32
_NOT_THE_MODEL = ("optimizer", "optimizer_weights")  # in the root: what training needs to continue
_HARD_LINK = 0  # HDF5's number of a name for an object of the same file
_RESAVE = "load it in Keras and save its weights again"
_KINDS = {"f": (2, 4, 8), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8)}  # NumPy's letters of number types, sizes in bytes

# Keras 3's `.weights.h5` numbers the variables of a layer, and counts layers by their kind. What the variables of each
# kind are called, in the order of their numbers:
_VARIABLES = {
    "conv2d": ("kernel", "bias"),
    "depthwise_conv2d": ("kernel", "bias"),
    "dense": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}
# Norms without gamma or without beta, by their number of variables. The file does not contain which of both remains.
_NORMS = {3: ("gamma_or_beta", "moving_mean", "moving_variance"), 2: ("moving_mean", "moving_variance")}
_COUNTED = re.compile(rf"(?:.*/)?({'|'.join(_VARIABLES)})(?:_\d+)?/vars/(\d)")


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a Keras file by their paths in it, such as "Conv1/Conv1/kernel:0".

    Of a whole model's file they are those under "model_weights". Of Keras 3's `.weights.h5`, which count their layers
    by kind, the names are those of the other files, see `name_of`. Shapes are Keras' own: kernels are
    (H, W, in, out). Raises PellucidError without the h5py library, and for all that Keras does not write: links to
    other files, filters, chunks, references, and bytes that are not in the file.
    """
    try:
        import h5py
    except ImportError as error:
        raise PellucidError(f"{path} needs the h5py library; pip install 'pellucid[weights]'") from error
    damage = (RuntimeError, ValueError, KeyError, TypeError, AttributeError, OverflowError, MemoryError)
    size = path.stat().st_size
    with refusing(path, "HDF5 file", damage), path.open("rb") as raw, h5py.File(path, "r") as file:
        root = _child(file, "model_weights") if "model_weights" in map(str, file) else file
        if not isinstance(root, h5py.Group):
            raise Fault("has no group of weights", _RESAVE)
        datasets: dict[str, h5py.Dataset] = {}
        for place, group, dataset in _walk(root, size, raw):
            counted = _COUNTED.fullmatch(place) is not None
            name = name_of(place, text_attribute(raw, _address(group), "name"), len(group)) if counted else place
            if name in datasets:
                raise Fault(f"holds two tensors called {quoted(name)}", "give the layers of the model different names")
            datasets[name] = dataset
        if not datasets:
            raise Fault("holds no weights", "give a file of Keras weights")
        return {name: _tensor(dataset) for name, dataset in datasets.items()}


def name_of(path: str, layer: str | None, count: int) -> str:
    """Return the name of a tensor in Keras' other files: "Conv1/Conv1/kernel" for "layers/conv2d/vars/0".

    `layer` is the name that the file gives to its group, `count` how many tensors that has. Without a
    name of the layer, as in files of the first versions of Keras 3, and for numbers that its kind lacks, the path is
    returned.
    The first tensor of a norm of three is "gamma_or_beta": a network whose norms do not scale, as those of
    Inception-v3, reads it as its beta, and every other one misses its gamma.
    """
    found = _COUNTED.fullmatch(path)
    assert found is not None
    if not layer or not layer.isprintable():
        return path
    names = _VARIABLES[found[1]]
    if names[0] == "gamma" and count != len(names):
        names = _NORMS.get(count, ())
    number = int(found[2])
    return f"{layer}/{layer}/{names[number]}" if number < len(names) else path


def _walk(root: "h5py.Group", size: int, raw: BinaryIO) -> Iterator[tuple[str, "h5py.Group", "h5py.Dataset"]]:
    """Yield each dataset with its path and its group, after checking that it is plain and inside the file."""
    import h5py

    seen: set[int] = set()
    total = 0
    waiting: list[tuple[str, h5py.Group]] = [("", root)]
    while waiting:
        prefix, group = waiting.pop()
        inner: list[tuple[str, h5py.Group]] = []
        for name in map(str, group):
            path = prefix + name
            if not prefix and name in _NOT_THE_MODEL:
                continue
            child = _child(group, name)
            address = _address(child)
            if address in seen or len(seen) == _OBJECTS or path.count("/") == _DEPTH:
                raise Fault(f"leads back into itself, or too deep, at {quoted(path)}", _RESAVE)
            seen.add(address)
            if isinstance(child, h5py.Group):
                inner.append((f"{path}/", child))
                continue
            _check_plain(path, child, size, raw)
            total += child.nbytes
            if total > size:
                raise Fault(f"promises more than its {size} bytes")
            yield path, group, child
        waiting += reversed(inner)


def _child(group: "h5py.Group", name: str) -> "h5py.Group | h5py.Dataset":
    import h5py

    if group.id.links.get_info(name.encode("utf-8", "surrogateescape")).type != _HARD_LINK:  # before following it
        raise Fault(f"has a link at {quoted(name)}, maybe to another file", _RESAVE)
    child = group[name]
    if not isinstance(child, (h5py.Group, h5py.Dataset)):
        raise Fault(f"has something else than weights at {quoted(name)}", _RESAVE)
    return child


def _check_plain(path: str, dataset: "h5py.Dataset", size: int, raw: BinaryIO) -> None:
    """Raise Fault unless the dataset is a contiguous, uncompressed array of numbers in this file."""
    import h5py

    plan = dataset.id.get_create_plist()
    if plan.get_layout() != h5py.h5d.CONTIGUOUS or dataset.external or plan.get_nfilters():
        raise Fault(f"stores {quoted(path)} in chunks, filtered or in another file, which Keras does not do", _RESAVE)
    dtype = dataset.dtype
    if dtype.itemsize not in _KINDS.get(dtype.kind, ()) and not _is_bfloat16(dataset, raw):
        raise Fault(f"holds {quoted(str(dtype))} at {quoted(path)}, which is not a number type of weights", _RESAVE)
    if dataset.shape is None or len(dataset.shape) > 32:
        raise Fault(f"holds no array at {quoted(path)}", _RESAVE)
    place, held = dataset.id.get_offset(), dataset.id.get_storage_size()
    if dataset.nbytes and (place is None or place + dataset.nbytes > size or dataset.nbytes > held):
        raise Fault(f"promises {dataset.nbytes} bytes at {quoted(path)} that it does not have")


def _is_bfloat16(dataset: "h5py.Dataset", raw: BinaryIO) -> bool:
    """Return whether a dataset is bfloat16, which HDF5 lacks and Keras 3 stores as two marked opaque bytes."""
    return dataset.dtype.str == "|V2" and text_attribute(raw, _address(dataset), "dtype") == "bfloat16"


def _address(it: "h5py.Group | h5py.Dataset") -> int:
    """Return the address of an object's header in the file."""
    import h5py

    low, high = h5py.h5g.get_objinfo(it.id).objno
    return low | high << 32


def _tensor(dataset: "h5py.Dataset") -> Tensor:
    import numpy as np

    array = np.ascontiguousarray(dataset[()])
    if array.dtype.kind == "V":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).reshape(dataset.shape)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(native).reshape(dataset.shape)  # from_numpy makes (1,) of a scalar
