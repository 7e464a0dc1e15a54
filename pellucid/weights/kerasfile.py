"""Keras' HDF5 files: Keras Applications, `model.save("x.h5")` and Keras 3's `.weights.h5`.

The HDF5 library allocates the declared length of a text before it checks that the file contains it, so a few changed
bytes can cause an allocation of 4 GB. The required texts are therefore read without the library, following the HDF5
File Format Specification (version 3.0, sections III.E, IV.A.1.a, IV.A.2.d, IV.A.2.m and IV.A.2.q).
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.limits import (
    MAX_KERAS_HEADER_BLOCKS,
    MAX_KERAS_HEADER_BYTES,
    MAX_KERAS_LEVELS,
    MAX_KERAS_OBJECTS,
    MAX_KERAS_TEXT_BYTES,
)
from pellucid.weights.fault import FileFault, file_errors, quoted

if TYPE_CHECKING:
    import h5py


_ATTRIBUTE, _CONTINUATION = 0x0C, 0x10  # types of messages in a header
# Classes of data types: string of fixed length; variable length, stored in a heap.
_FIXED_LENGTH, _VARIABLE_LENGTH = 3, 9


def text_attribute(file: BinaryIO, address: int, name: str) -> str | None:
    """Return the text attribute `name` of the object whose header is at `address`, or None if it has none.

    Only headers of version 1, which h5py writes by default, and single texts of at most MAX_KERAS_TEXT_BYTES bytes are
    supported; otherwise the result is None.
    """
    for kind, body in _header_messages(file, address):
        if kind == _ATTRIBUTE:
            text = _attribute_text(file, body, name.encode())
            if text is not None:
                return text
    return None


def _header_messages(file: BinaryIO, address: int) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the bytes of each message in an object's header."""
    header = _read_bytes(file, address, 16)
    if header[:1] != b"\x01" or len(header) < 16:
        return
    blocks = [(address + 16, struct.unpack_from("<I", header, 8)[0])]
    for _ in range(MAX_KERAS_HEADER_BLOCKS):
        if not blocks:
            return
        block = _read_bytes(file, *blocks.pop(0))
        position = 0
        while position + 8 <= len(block):
            kind, size = struct.unpack_from("<HH", block, position)
            body = block[position + 8 : position + 8 + size]
            position += 8 + size
            if kind == _CONTINUATION and len(body) >= 16:
                blocks.append(struct.unpack_from("<QQ", body))
            yield kind, body


def _attribute_text(file: BinaryIO, body: bytes, name: bytes) -> str | None:
    """Return the text in an attribute message, or None if it has another name or is not a single text."""
    if len(body) < 8:
        return None
    version, _, *sizes = struct.unpack_from("<BBHHH", body)
    position = 9 if version == 3 else 8
    fields = []
    for size in sizes:  # name, data type, shape; version 1 pads each to a multiple of eight bytes
        fields.append(body[position : position + size])
        position += -(-size // 8) * 8 if version == 1 else size
    found_name, datatype, shape = fields
    if found_name.rstrip(b"\0") != name or len(datatype) < 8 or len(shape) < 2 or shape[1] != 0:
        return None
    data = body[position:]
    # The lower four bits of the first byte are the class, those of the second the type of a variable length, 1: text.
    if datatype[0] & 15 == _FIXED_LENGTH:
        text = data[: min(struct.unpack_from("<I", datatype, 4)[0], MAX_KERAS_TEXT_BYTES + 1)]
    elif datatype[0] & 15 == _VARIABLE_LENGTH and datatype[1] & 15 == 1 and len(data) >= 16:
        text = _heap_object(file, *struct.unpack_from("<IQI", data))
    else:
        return None
    text = text.rstrip(b"\0")
    return text.decode("utf-8", "replace") if len(text) <= MAX_KERAS_TEXT_BYTES else None


def _heap_object(file: BinaryIO, length: int, address: int, index: int) -> bytes:
    """Return object `index` of the heap at `address`, or b"" unless it exists with this length."""
    heap = _read_bytes(file, address, MAX_KERAS_HEADER_BYTES)
    position = 16
    while heap[:4] == b"GCOL" and position + 16 <= len(heap):
        found_index, size = struct.unpack_from("<H6xQ", heap, position)
        if found_index == index:
            return heap[position + 16 : position + 16 + length] if size == length <= MAX_KERAS_TEXT_BYTES else b""
        if found_index == 0:  # free space up to the end
            break
        position += 16 + -(-size // 8) * 8
    return b""


def _read_bytes(file: BinaryIO, address: int, size: int) -> bytes:
    if address >= 1 << 62:  # beyond the maximum size of a file
        return b""
    file.seek(address)
    return file.read(min(size, MAX_KERAS_HEADER_BYTES))


_TRAINING_GROUPS = ("optimizer", "optimizer_weights")  # groups in the root for resuming training
_MAX_AXES = 32  # of an HDF5 dataset
_HARD_LINK = 0  # HDF5's link type for objects in the same file
_RESAVE_ADVICE = "load it in Keras and save its weights again"
_ITEM_SIZES = {"f": (2, 4, 8), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8)}  # NumPy's kinds of dtypes; item sizes in bytes

# Keras 3's `.weights.h5` numbers the layers of each kind and the variables of each layer. Names of the variables by
# kind, in this order:
_VARIABLES = {
    "conv2d": ("kernel", "bias"),
    "depthwise_conv2d": ("kernel", "bias"),
    "dense": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}
# Norms without gamma or without beta, by their number of variables. The file does not record which of them is missing.
_NORM_VARIABLES = {3: ("gamma_or_beta", "moving_mean", "moving_variance"), 2: ("moving_mean", "moving_variance")}
_NUMBERED_PATH = re.compile(rf"(?:.*/)?({'|'.join(_VARIABLES)})(?:_\d+)?/vars/(\d)")


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a Keras file by their paths in it, such as "Conv1/Conv1/kernel:0".

    For a file of a complete model, only the tensors under "model_weights" are returned. The numbered names in Keras 3's
    `.weights.h5` are converted to the names in other Keras files, see `keras_name`. Axes are in Keras' order: kernels
    are (H, W, in, out). Raises PellucidError if h5py is not installed, and for everything that Keras does not write:
    links, filters, chunks, references, and data that are not in the file.
    """
    try:
        import h5py
    except ImportError as error:
        raise PellucidError(f"{path} needs the h5py library; pip install 'pellucid[weights]'") from error
    damage_errors = (RuntimeError, ValueError, KeyError, TypeError, AttributeError, OverflowError, MemoryError)
    file_size = path.stat().st_size
    with file_errors(path, "HDF5 file", damage_errors), path.open("rb") as raw_file, h5py.File(path, "r") as file:
        root = _open_child(file, "model_weights") if "model_weights" in map(str, file) else file
        if not isinstance(root, h5py.Group):
            raise FileFault("has no group of weights", _RESAVE_ADVICE)
        datasets: dict[str, h5py.Dataset] = {}
        for path_in_file, group, dataset in _walk_datasets(root, file_size, raw_file):
            is_numbered = _NUMBERED_PATH.fullmatch(path_in_file) is not None
            layer = text_attribute(raw_file, _address(group), "name") if is_numbered else None
            name = keras_name(path_in_file, layer, len(group)) if is_numbered else path_in_file
            if name in datasets:
                raise FileFault(
                    f"contains two tensors called {quoted(name)}", "give the model's layers different names"
                )
            datasets[name] = dataset
        if not datasets:
            raise FileFault("contains no weights", "give a file of Keras weights")
        return {name: _tensor(dataset) for name, dataset in datasets.items()}


def keras_name(path: str, layer: str | None, count: int) -> str:
    """Return the name that other Keras files use for a tensor: "Conv1/Conv1/kernel" for "layers/conv2d/vars/0".

    layer: the layer's name, an attribute of its group. count: number of tensors in the group. Returns the path if the
    layer has no name, as in files of the first versions of Keras 3, or if its kind has fewer variables.
    The first tensor of a norm with three is "gamma_or_beta". Networks whose norms have no gamma, such as Inception-v3,
    load it as beta; for other networks, gamma is then missing.
    """
    match = _NUMBERED_PATH.fullmatch(path)
    assert match is not None
    if not layer or not layer.isprintable():
        return path
    names = _VARIABLES[match[1]]
    if names[0] == "gamma" and count != len(names):
        names = _NORM_VARIABLES.get(count, ())
    variable_index = int(match[2])
    return f"{layer}/{layer}/{names[variable_index]}" if variable_index < len(names) else path


def _walk_datasets(
    root: "h5py.Group", file_size: int, raw_file: BinaryIO
) -> Iterator[tuple[str, "h5py.Group", "h5py.Dataset"]]:
    """Yield each dataset with its path and group; raise FileFault if it is invalid, see `_check_plain`."""
    import h5py

    seen_addresses: set[int] = set()
    total_bytes = 0
    pending_groups: list[tuple[str, h5py.Group]] = [("", root)]
    while pending_groups:
        prefix, group = pending_groups.pop()
        child_groups: list[tuple[str, h5py.Group]] = []
        for name in map(str, group):
            path = prefix + name
            if not prefix and name in _TRAINING_GROUPS:
                continue
            child = _open_child(group, name)
            address = _address(child)
            if (
                address in seen_addresses
                or len(seen_addresses) == MAX_KERAS_OBJECTS
                or path.count("/") == MAX_KERAS_LEVELS
            ):
                raise FileFault(f"has a cycle, too many objects or too many levels at {quoted(path)}", _RESAVE_ADVICE)
            seen_addresses.add(address)
            if isinstance(child, h5py.Group):
                child_groups.append((f"{path}/", child))
                continue
            _check_plain(path, child, file_size, raw_file)
            total_bytes += child.nbytes
            if total_bytes > file_size:
                raise FileFault(f"declares more data than its {file_size} bytes")
            yield path, group, child
        pending_groups += reversed(child_groups)


def _open_child(group: "h5py.Group", name: str) -> "h5py.Group | h5py.Dataset":
    import h5py

    # Checked before the link is followed.
    if group.id.links.get_info(name.encode("utf-8", "surrogateescape")).type != _HARD_LINK:
        raise FileFault(f"has a link at {quoted(name)}, possibly to another file", _RESAVE_ADVICE)
    child = group[name]
    if not isinstance(child, (h5py.Group, h5py.Dataset)):
        raise FileFault(f"has an object that is not an array at {quoted(name)}", _RESAVE_ADVICE)
    return child


def _check_plain(path: str, dataset: "h5py.Dataset", file_size: int, raw_file: BinaryIO) -> None:
    """Raise FileFault unless the dataset is a contiguous, uncompressed, numeric array in this file."""
    import h5py

    creation_properties = dataset.id.get_create_plist()
    if (
        creation_properties.get_layout() != h5py.h5d.CONTIGUOUS
        or dataset.external
        or creation_properties.get_nfilters()
    ):
        raise FileFault(
            f"stores {quoted(path)} in chunks, with filters or in another file, unlike Keras", _RESAVE_ADVICE
        )
    dtype = dataset.dtype
    if dtype.itemsize not in _ITEM_SIZES.get(dtype.kind, ()) and not _is_bfloat16(dataset, raw_file):
        raise FileFault(
            f"has the dtype {quoted(str(dtype))} at {quoted(path)}, which weights cannot have", _RESAVE_ADVICE
        )
    if dataset.shape is None or len(dataset.shape) > _MAX_AXES:
        raise FileFault(f"has no array at {quoted(path)}", _RESAVE_ADVICE)
    offset = dataset.id.get_offset()
    stored_bytes = dataset.id.get_storage_size()
    if dataset.nbytes and (offset is None or offset + dataset.nbytes > file_size or dataset.nbytes > stored_bytes):
        raise FileFault(f"declares {dataset.nbytes} bytes at {quoted(path)} that it does not contain")


def _is_bfloat16(dataset: "h5py.Dataset", raw_file: BinaryIO) -> bool:
    """Return whether a dataset is bfloat16, which Keras 3 stores as two opaque bytes with an attribute "dtype"."""
    return dataset.dtype.str == "|V2" and text_attribute(raw_file, _address(dataset), "dtype") == "bfloat16"


def _address(node: "h5py.Group | h5py.Dataset") -> int:
    """Return the address of an object's header in the file."""
    import h5py

    low, high = h5py.h5g.get_objinfo(node.id).objno
    return low | high << 32


def _tensor(dataset: "h5py.Dataset") -> Tensor:
    import numpy as np

    array = np.ascontiguousarray(dataset[()])
    if array.dtype.kind == "V":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).reshape(dataset.shape)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(native).reshape(dataset.shape)  # ascontiguousarray turns a scalar into (1,)
