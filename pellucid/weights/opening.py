"""Open a weights file of any known format, recognized by its content, not its name."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pellucid.weights import kerasfile, onnxfile, safetensorsfile, torchfile
from pellucid.weights.fault import FileFault, file_errors

_HEAD_BYTES = 512  # bytes: includes the signature of a tar archive, at 257


@dataclass(frozen=True)
class WeightsFormat:
    """A file format: its name, a test of the first bytes of a file, and its reader."""

    name: str
    has_signature: Callable[[bytes], bool]
    read: Callable[[Path], dict[str, Tensor]]


FORMATS = (
    WeightsFormat("PyTorch, zip", lambda head: head.startswith(b"PK\3\4"), torchfile.read_zip),
    WeightsFormat(
        "PyTorch, before 1.6", lambda head: head[:1] == b"\x80" and torchfile.MAGIC in head, torchfile.read_legacy
    ),
    WeightsFormat("Keras, HDF5", lambda head: head.startswith(b"\x89HDF\r\n\x1a\n"), kerasfile.read),
    WeightsFormat("safetensors", lambda head: head[4:9] == b"\0\0\0\0{", safetensorsfile.read),
    WeightsFormat("ONNX", lambda head: head[:1] == b"\x08" and head[1:2] < b"\x80", onnxfile.read),
)
KNOWN_FORMATS = "give a safetensors file, a .pth of PyTorch, a .h5 of Keras or an ONNX model"

# Files in other formats: first bytes, what the file is, and what to do.
_FOREIGN_SIGNATURES = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the weights", "run `git lfs pull` to get the file itself"),
    (b"<", "is a web page, not weights", "open it in a browser and download the file behind it"),
    (b"\x1f\x8b", "is compressed by gzip", "unpack it with gunzip"),
    (b"\x80", "is a Python pickle, which may run code when it is loaded", "save its tensors as safetensors"),
    (b"\x93NUMPY", "is one NumPy array without a name", "save named tensors as safetensors"),
)


def open_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return the tensors of a weights file by their names in the file, on the CPU, each in its own memory.

    Raises PellucidError with a message of one line for a file that is missing, damaged, malicious or in another format.
    Files cannot run code, and reading takes at most a few times the file's size in memory.
    """
    path = Path(path)
    return _format(path).read(path)


def format_name(path: str | os.PathLike[str]) -> str:
    """Return the name of a weights file's format; raises PellucidError for other formats."""
    return _format(Path(path)).name


def _format(path: Path) -> WeightsFormat:
    with file_errors(path, "file"):
        if not path.is_file():
            raise FileFault("is not a file" if path.exists() else "is missing", "give a weights file")
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        for weights_format in FORMATS:
            if weights_format.has_signature(head):
                return weights_format
        if not head:
            raise FileFault("is empty")
        if head[257:262] == b"ustar":
            raise FileFault("is a tar archive", "unpack it, or save it again with a current version of PyTorch")
        for signature, fault, advice in _FOREIGN_SIGNATURES:
            if head.lstrip().startswith(signature):
                raise FileFault(fault, advice)
        raise FileFault("is in a format that pellucid cannot read", KNOWN_FORMATS)
