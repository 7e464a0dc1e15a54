"""Weights files: safetensors whose header contains a description and a SHA-256 of all contents."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from pellucid.base.errors import DamagedFileError, PellucidError
from pellucid.base.files import write_atomically
from pellucid.base.limits import MAX_WEIGHTS_BYTES, MAX_WEIGHTS_HEADER_BYTES
from pellucid.base.text import shown
from pellucid.layers.base import Params
from pellucid.nested import flatten, nest
from pellucid.weights.fault import quoted
from pellucid.weights.match import dtype_and_shape, match
from pellucid.weights.safetensorsfile import has_valid_booleans

FORMAT = "pellucid/1"
FOREIGN_SUFFIXES = (".h5", ".hdf5", ".pth", ".pt", ".onnx")  # suffixes of other libraries' weights files
MAX_MISMATCHES = 20  # tensors that an error message lists
_LENGTH_BYTES = 8  # number of bytes, first in a safetensors file, with the length of its header


def weights_sha256(params: Params) -> str:
    """Return the SHA-256 over the paths, dtypes, shapes and bytes of the weights, sorted by path."""
    digest = hashlib.sha256()
    _hash_tensors(digest, flatten(params))
    return digest.hexdigest()


def write_weights(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write named tensors and a description, JSON values by name, into one file, atomically.

    Raises PellucidError, and writes nothing, for a description that JSON cannot represent, such as NaN, and for
    sizes above the limits of `read_weights`: 16 MiB of description, tensor names and shapes, 16 GiB in all.
    """
    cpu_tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        metadata = {name: json.dumps(value, allow_nan=False) for name, value in about.items()}
    except (TypeError, ValueError, RecursionError) as error:
        raise PellucidError(f"{path} cannot be written: {error}; describe it by finite numbers and strings") from error
    metadata["format"] = FORMAT
    metadata["sha256"] = _digest(metadata, cpu_tensors)
    file_bytes = safetensors.torch.save(cpu_tensors, metadata)
    check_size(path, int.from_bytes(file_bytes[:_LENGTH_BYTES], "little"), len(file_bytes))
    write_atomically(path, file_bytes)


def check_size(path: str | os.PathLike[str], header_size: int, file_size: int = 0) -> None:
    """Raise PellucidError if the bytes of a header, or of the whole file, exceed the limits of `read_weights`."""
    for subject, size, limit in (
        ("its description", header_size, MAX_WEIGHTS_HEADER_BYTES),
        ("it", file_size, MAX_WEIGHTS_BYTES),
    ):
        if size > limit:
            raise PellucidError(
                f"{path} cannot be written: {subject} takes {size} bytes, above the limit of {limit}; make the "
                "network, or its description, smaller"
            )


def read_weights(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the description that `write_weights` wrote.

    Raises PellucidError if the file cannot be read, and its subclass DamagedFileError if it is missing, of another
    format, damaged or changed in any part: nothing in it is used unless the SHA-256 over all names, values and the
    description matches.
    """
    if not isinstance(path, str | os.PathLike):
        raise PellucidError(f"a weights file must be a path, not {shown(path)}; give the file to load")
    path = Path(path)
    header = _read_file(path, _read_header)
    try:
        metadata = _parse_metadata(header)
        if metadata.get("format") != FORMAT:
            raise DamagedFileError(f"{path} is a safetensors file, but pellucid did not write it; give a {FORMAT} file")
        tensors = safetensors.torch.load(_read_file(path, Path.read_bytes))
        about = {name: json.loads(text) for name, text in metadata.items() if name not in ("format", "sha256")}
    except (safetensors.SafetensorError, ValueError, LookupError, TypeError, RuntimeError, OverflowError) as error:
        reason = quoted(" ".join(str(error).split()), 200) or type(error).__name__
        if path.suffix == ".onnx":  # as `pellucid open` knows it
            raise PellucidError(
                f"{path} is an ONNX file, not a model of pellucid; `pellucid open {path} --out NAME.safetensors` makes "
                "one of it"
            ) from error
        if path.suffix.lower() in FOREIGN_SUFFIXES:
            raise PellucidError(
                f"{path} is not a model of pellucid; to train from weights of another library, give them as "
                "start.weights; `pellucid weights show` lists their tensors"
            ) from error
        raise DamagedFileError(f"{path} is damaged or not a weights file ({reason}); copy or train it again") from error
    if not all(map(has_valid_booleans, tensors.values())):
        raise DamagedFileError(f"{path} has booleans that are neither 0 nor 1; copy or train it again")
    if metadata.get("sha256") != _digest(metadata, tensors):
        raise DamagedFileError(f"{path} is damaged or was changed: its SHA-256 does not match; copy or train it again")
    return tensors, about


def is_pellucid_file(path: str | os.PathLike[str]) -> bool:
    """Return whether a file's header has the format of `write_weights`; nothing else is read or checked."""
    try:
        return _parse_metadata(_read_header(Path(path))).get("format") == FORMAT
    except ValueError:
        return False


def nest_like(path: str | os.PathLike[str], structure: Params, tensors: Mapping[str, Tensor]) -> Params:
    """Return `tensors` nested like `structure`, whose values are not used (it may be on the device "meta").

    Raises PellucidError for missing and surplus tensors and different shapes and dtypes, of which the message lists the
    first 20, and for NaN or infinity.
    """
    structure_by_path = flatten(structure)
    mismatches = [str(mismatch) for mismatch in match(structure_by_path, dict(sorted(tensors.items())))]
    if mismatches:
        omitted = [f"and {len(mismatches) - MAX_MISMATCHES} more"] if len(mismatches) > MAX_MISMATCHES else []
        raise PellucidError(
            f"{path} does not fit its network: {'; '.join(mismatches[:MAX_MISMATCHES] + omitted)}; train it again"
        )
    for name in structure_by_path:
        if not bool(torch.isfinite(tensors[name]).all()):
            raise PellucidError(f"{path}: {name} contains NaN or infinity; use an earlier file")
    return nest(structure, tensors)


def _read_header(path: Path) -> bytes:
    """Return the beginning of a file: the header's length, and the header unless it is too large."""
    with path.open("rb") as file:
        prefix = file.read(_LENGTH_BYTES)
        size = int.from_bytes(prefix, "little")
        return prefix if size > MAX_WEIGHTS_HEADER_BYTES else prefix + file.read(size)


def _read_file(path: Path, reader: Callable[[Path], bytes]) -> bytes:
    """Return the result of `reader` for a file; raises PellucidError if it is missing, too large or cannot be read."""
    try:
        if not path.is_file():
            state = "not a file" if path.exists() else "missing"
            best_weights = path / "weights" / "best.safetensors"
            suggestion = f", such as {best_weights}" if best_weights.is_file() else ""
            raise DamagedFileError(f"{path} is {state}; give a weights file (.safetensors){suggestion}")
        size = path.stat().st_size
        if size > MAX_WEIGHTS_BYTES:
            raise PellucidError(f"{path} has {size} bytes, above the limit of {MAX_WEIGHTS_BYTES}; give a weights file")
        return reader(path)
    except (OSError, ValueError) as error:  # ValueError: a file name with a NUL character
        raise PellucidError(f"{path} cannot be read ({error}); check its permissions") from error


def _parse_metadata(data: bytes) -> dict[str, str]:
    """Return "__metadata__" of a safetensors header; the safetensors library checks the other entries."""
    size = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if len(data) < _LENGTH_BYTES or size > min(len(data) - _LENGTH_BYTES, MAX_WEIGHTS_HEADER_BYTES):
        raise ValueError("the header is incomplete")
    try:
        header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + size], object_pairs_hook=_check_unique_names)
    except RecursionError as error:
        raise ValueError("the header is nested too deeply") from error
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        return {}
    return metadata


def _check_unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name occurs twice in the header")
    return values


def _digest(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(metadata):
        if name != "sha256":
            _hash_text(digest, name)
            _hash_text(digest, metadata[name])
    _hash_tensors(digest, tensors)
    return digest.hexdigest()


def _hash_tensors(digest: "hashlib._Hash", tensors: Mapping[str, Tensor]) -> None:
    for name in sorted(tensors):
        tensor = tensors[name]
        _hash_text(digest, name)
        _hash_text(digest, dtype_and_shape(tensor))
        if tensor.numel():
            value_bytes = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(value_bytes.numpy().data)


def _hash_text(digest: "hashlib._Hash", text: str) -> None:
    text_bytes = text.encode("utf-8", "surrogatepass")
    # with the lengths, different lists of strings give different bytes
    digest.update(len(text_bytes).to_bytes(8, "little"))
    digest.update(text_bytes)
