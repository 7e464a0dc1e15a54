"""The idx format of MNIST: a magic number, big-endian dimensions, then the values; raw or gzipped."""

import gzip
import hashlib
import io
import math
import os
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.limits import MAX_IDX_AXES, MAX_IDX_BYTES

# The third byte of the magic number is the code of the dtype, the fourth the number of dimensions.
_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"}
_CODES = {torch.from_numpy(np.empty(0, dtype)).dtype: code for code, dtype in _DTYPES.items()}
_MAX_DEFLATE_RATIO = 1032  # maximum compression ratio of a deflate stream
_CHUNK_BYTES = 1 << 20  # bytes read at a time


def read_idx(path: str | os.PathLike[str], sha256: str = "") -> Tensor:
    """Read an idx file (gzipped or not, recognized by its content) into a tensor of its shape and dtype.

    The size declared by the header is compared with the file's size before memory is allocated, and it limits
    decompression. sha256: expected checksum of the uncompressed file, "" for no check.
    Raises PellucidError, naming the file, unless it is a complete idx file with the right checksum.
    Format: LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
    """
    path = Path(path)
    if not path.is_file():
        raise PellucidError(f"{path} is {'not a file' if path.exists() else 'missing'}; give an idx file")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            is_gzipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not is_gzipped:
                return _read(file, path, size, sha256)
            with gzip.GzipFile(fileobj=file) as stream:
                return _read(stream, path, size * _MAX_DEFLATE_RATIO, sha256)
    except (OSError, EOFError, zlib.error) as error:
        raise PellucidError(f"{path} cannot be read ({error}); download it again") from error


def _read(stream: io.BufferedIOBase, path: Path, max_size: int, sha256: str) -> Tensor:
    magic = _read_exactly(stream, 4, path)
    if magic[:2] != b"\0\0" or magic[2] not in _DTYPES or not 1 <= magic[3] <= MAX_IDX_AXES:
        raise PellucidError(f"{path} is not an idx file: its magic number is {magic.hex()}")
    header = _read_exactly(stream, 4 * magic[3], path)
    shape = [int(side) for side in np.frombuffer(header, ">u4")]
    dtype = np.dtype(_DTYPES[magic[2]])
    size = math.prod(shape) * dtype.itemsize
    if size > min(MAX_IDX_BYTES, max_size):
        raise PellucidError(
            f"{path} declares shape {tuple(shape)}, more than a file of its size can contain; download it again"
        )
    values = _read_exactly(stream, size, path)
    if stream.read(1):
        raise PellucidError(f"{path} continues after the {size} bytes that its header declares; download it again")
    digest = hashlib.sha256(magic + header)
    digest.update(values)
    if sha256 and digest.hexdigest() != sha256:
        raise PellucidError(f"{path} has the wrong checksum (it is not the published file); download it again")
    array = np.frombuffer(values, dtype.newbyteorder(">")).astype(dtype, copy=False).reshape(shape)
    return torch.from_numpy(array)


def _read_exactly(stream: io.BufferedIOBase, size: int, path: Path) -> bytearray:
    """Return the next `size` bytes; raise PellucidError if the file ends earlier."""
    buffer = bytearray(size)
    view, n_received = memoryview(buffer), 0
    while n_received < size:
        n_read = stream.readinto(view[n_received : n_received + _CHUNK_BYTES])
        if not n_read:
            raise PellucidError(f"{path} is truncated: {size - n_received} bytes are missing; download it again")
        n_received += n_read
    return buffer


def write_idx(path: str | os.PathLike[str], tensor: Tensor) -> None:
    """Write a tensor as an idx file, gzipped if the name ends in .gz; the file is replaced atomically.

    Raises PellucidError for a dtype or shape that idx does not support, or if the file cannot be written.
    """
    path = Path(path)
    code = _CODES.get(tensor.dtype)
    if code is None or not 1 <= tensor.ndim <= MAX_IDX_AXES:
        dtype = str(tensor.dtype).removeprefix("torch.")
        raise PellucidError(f"{path}: idx does not support {dtype} of shape {tuple(tensor.shape)}; convert it first")
    array = tensor.detach().cpu().contiguous().numpy()
    data = bytes([0, 0, code, tensor.ndim]) + np.array(tensor.shape, ">u4").tobytes()
    data += array.astype(array.dtype.newbyteorder(">")).tobytes()
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            file.write(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
        os.replace(file.name, path)
    except OSError as error:
        raise PellucidError(f"{path} cannot be written ({error.strerror}); choose another place") from error
