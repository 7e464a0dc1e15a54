"""PyTorch's files of tensors: the zip archive, and the format without an archive, used before version 1.6."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from pellucid.base.limits import (
    MAX_PICKLE_BYTES,
    MAX_TORCH_DIRECTORY_BYTES,
    MAX_TORCH_LEVELS,
    MAX_TORCH_MEMBERS,
    MAX_TORCH_WEIGHT_RATIO,
)
from pellucid.weights.fault import FileFault, file_errors, quoted
from pellucid.weights.opcodes import Storage, StorageView, unpickle
from pellucid.weights.safetensorsfile import has_valid_booleans

# The format before 1.6 begins with a pickle of this number: an opcode, a length, ten bytes, STOP.
MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_LEGACY_VERSION = 1001
_CHUNK_SIZE = 1 << 20  # bytes
_RESAVE_ADVICE = "load it in PyTorch and save its tensors as safetensors"
_DAMAGE_ERRORS = (
    zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError, ValueError, EOFError, KeyError,
    OverflowError,
)  # fmt: skip

# Keys of the weights in checkpoints of various trainers; the first that is present is used.
_STATE_DICT_KEYS = (
    "state_dict", "model_state_dict", "model", "module", "net", "network", "params", "weights", "state_dict_ema",
)  # fmt: skip
_STATE_DICT_ADVICE = "save only the model's state dict"


def read_zip(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a PyTorch zip archive; raises PellucidError unless all checksums are correct.

    The members must be uncompressed, as PyTorch writes them, so no member is larger than the file.
    """
    file_size = path.stat().st_size
    with (
        file_errors(path, "PyTorch file", _DAMAGE_ERRORS),
        _LimitedReader(path.open("rb", buffering=0)) as file,
        zipfile.ZipFile(file) as archive,
    ):
        file.max_read = MAX_PICKLE_BYTES
        members = _check_members(archive, file_size)
        prefix = _archive_prefix(members)
        byte_order = members.get(prefix + "byteorder")
        if byte_order is not None and _read_member(archive, byte_order, 16) != b"little":
            raise FileFault("was written on a machine with the other byte order", _RESAVE_ADVICE)
        stream = unpickle(_read_member(archive, members[prefix + "data.pkl"], MAX_PICKLE_BYTES))
        views = views_of(stream.value, file_size)
        needed_storages = {view.storage.key: view.storage for view in views.values()}
        data_by_key: dict[str, Tensor] = {}
        for key, storage in needed_storages.items():
            member = members.get(f"{prefix}data/{key}")
            nbytes = storage.numel * storage.dtype.itemsize
            if member is None or member.file_size != nbytes:
                actual = "missing" if member is None else f"{member.file_size} bytes long"
                raise FileFault(f"needs storage {quoted(key)} of {nbytes} bytes, which is {actual}")
            with archive.open(member) as values:
                data_by_key[key] = _read_exactly(values, nbytes)
        return _assemble(views, data_by_key)


def read_legacy(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file in PyTorch's format before 1.6; raises PellucidError if it is damaged.

    The file contains five pickles (a magic number, the version, the machine, the objects, the keys of the storages) and
    then, for each key, the number of elements and the elements.
    """
    file_size = path.stat().st_size
    with file_errors(path, "PyTorch file", (RuntimeError, OverflowError)), path.open("rb") as file:
        head = file.read(MAX_PICKLE_BYTES)
        magic = unpickle(head)
        version = unpickle(head, magic.end)
        system = unpickle(head, version.end)
        objects = unpickle(head, system.end)
        keys = unpickle(head, objects.end)
        if version.value != _LEGACY_VERSION or type(system.value) is not dict:
            raise FileFault("was written by an unknown version of PyTorch", _RESAVE_ADVICE)
        if system.value.get("little_endian") is not True:
            raise FileFault("was written on a machine with the other byte order", _RESAVE_ADVICE)
        if type(keys.value) is not list or any(type(key) is not str for key in keys.value):
            raise FileFault("lists its storages by keys that are not strings")
        views = views_of(objects.value, file_size)
        needed_storages = {view.storage.key for view in views.values()}
        file.seek(keys.end)
        data_by_key: dict[str, Tensor] = {}
        for key in keys.value:
            nbytes = _storage_bytes(file, key, objects.storages, file_size)
            if key in needed_storages:
                data_by_key[key] = _read_exactly(file, nbytes)
            else:
                file.seek(nbytes, io.SEEK_CUR)  # not a weight, for example optimizer state
        if (
            file.tell() != file_size
            or len(set(keys.value)) != len(keys.value)
            or len(data_by_key) != len(needed_storages)
        ):
            raise FileFault("does not contain each of its storages exactly once")
        return _assemble(views, data_by_key)


def views_of(root: Any, size: int) -> dict[str, StorageView]:
    """Return the named tensors of a checkpoint: the items of `root`, or of a dict in it, such as "state_dict".

    Plain values among the tensors, such as the number of the epoch, are left out. size: of the file, in bytes.
    Raises FileFault if there are no named tensors, if there are other objects among them, or if the tensors are much
    larger than the file.
    """
    if type(root) is StorageView:
        raise FileFault("contains one tensor without a name", _STATE_DICT_ADVICE)
    named_values = _find_state_dict(root)
    views: dict[str, StorageView] = {}
    for name, value in named_values.items():
        if type(value) is StorageView and type(name) is str:
            views[name] = value
        elif value is not None and type(value) not in (bool, int, float, str):
            kind = f"a {type(value).__name__}, not a tensor"
            fault = "a tensor whose name is not a string" if type(value) is StorageView else kind
            raise FileFault(f"has, at {quoted(str(name))}, {fault}", _STATE_DICT_ADVICE)
    total = sum(view.numel * view.storage.dtype.itemsize for view in views.values())
    if total > MAX_TORCH_WEIGHT_RATIO * size:
        raise FileFault(f"describes tensors of {total} bytes in a file of {size} bytes")
    return views


def _assemble(views: Mapping[str, StorageView], data: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous tensors that share no memory; data: the bytes of each storage, by its key."""
    used_keys: set[str] = set()
    result: dict[str, Tensor] = {}
    for name, view in views.items():
        key = view.storage.key
        dtype = view.storage.dtype
        raw = data[key]
        tensor = raw.view(dtype).as_strided(view.shape, view.strides, view.offset)
        if key in used_keys or not tensor.is_contiguous():
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        if not has_valid_booleans(tensor):
            raise FileFault(f"has booleans at {quoted(name)} that are neither 0 nor 1")
        used_keys.add(key)
        result[name] = tensor
    return result


def _find_state_dict(root: Any) -> dict[Any, Any]:
    """Return the dict of tensors: `root`, or a dict inside it under one of the keys in _STATE_DICT_KEYS."""
    candidate = root
    for _ in range(MAX_TORCH_LEVELS):
        if type(candidate) is not dict:
            break
        if any(type(value) is StorageView for value in candidate.values()):
            return candidate
        inner_key = next((name for name in _STATE_DICT_KEYS if type(candidate.get(name)) is dict), None)
        if inner_key is None:
            names = ", ".join(quoted(str(name), 20) for name in list(candidate)[:5])
            raise FileFault(f"contains no named tensors, but {names or 'an empty dict'}", _STATE_DICT_ADVICE)
        candidate = candidate[inner_key]
    raise FileFault(f"contains a {type(candidate).__name__}, not a dict of tensors", _STATE_DICT_ADVICE)


class _LimitedReader(io.BufferedReader):
    """A file that raises FileFault for reads of more than `max_read` bytes; zipfile reads the directory first."""

    max_read = MAX_TORCH_DIRECTORY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next `size` bytes; raises FileFault above `max_read`."""
        if size is not None and size > self.max_read:
            raise FileFault(f"has a directory of {size} bytes")
        return super().read(size)


def _storage_bytes(file: IO[bytes], key: str, storages: Mapping[str, Storage], file_size: int) -> int:
    """Read the number of elements, which precedes a storage, and return the size of the storage in bytes."""
    numel = int.from_bytes(file.read(8), "little", signed=True)
    storage = storages.get(key)
    if storage is None or numel != storage.numel:
        raise FileFault(f"declares a wrong size for storage {quoted(key)}")
    nbytes = numel * storage.dtype.itemsize
    if file.tell() + nbytes > file_size:
        raise FileFault("is truncated")
    return nbytes


def _check_members(archive: zipfile.ZipFile, file_size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name; raises FileFault for members that PyTorch never writes, such as links."""
    infos = archive.infolist()
    if len(infos) > MAX_TORCH_MEMBERS or sum(info.file_size for info in infos) > file_size:
        raise FileFault(f"declares {len(infos)} members that are together larger than the file of {file_size} bytes")
    for info in infos:
        name = quoted(info.filename)
        if info.flag_bits & 1:
            raise FileFault(f"has the encrypted member {name}", "decrypt it first")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise FileFault(f"has the compressed member {name}, which PyTorch never writes", _RESAVE_ADVICE)
        if stat.S_ISLNK(info.external_attr >> 16):
            raise FileFault(f"has the symbolic link {name}")
    members = {info.filename: info for info in infos}
    if len(members) != len(infos):
        raise FileFault("has two members with the same name")
    return members


def _archive_prefix(members: dict[str, zipfile.ZipInfo]) -> str:
    """Return the prefix of all members of a PyTorch archive: the name of its folder with a slash, or ""."""
    pickles = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) == 1:
        prefix = pickles[0].removesuffix("data.pkl")
        if prefix + "constants.pkl" in members:
            raise FileFault("is a TorchScript program, which is code", "save the state dict of the model")
        return prefix
    if "model.weights.h5" in members:
        raise FileFault("is a .keras archive", "unpack it and give the model.weights.h5 in it")
    if any(name.endswith(".npy") for name in members):
        raise FileFault("is a NumPy archive", "save its arrays as safetensors")
    raise FileFault("is a zip archive that PyTorch did not write", "unpack it, or give a weights file")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int) -> bytes:
    if member.file_size > limit:
        raise FileFault(
            f"has a member {quoted(member.filename)} of {member.file_size} bytes, above the limit of {limit}"
        )
    return archive.read(member)


def _read_exactly(file: IO[bytes], nbytes: int) -> Tensor:
    """Return the next `nbytes` bytes (uint8); reading to a member's end also checks its CRC."""
    raw = torch.empty(nbytes, dtype=torch.uint8)
    buffer = raw.numpy().data
    position = 0
    while position < nbytes:
        chunk = file.read(min(_CHUNK_SIZE, nbytes - position))
        if not chunk:
            raise FileFault("is truncated")
        buffer[position : position + len(chunk)] = chunk
        position += len(chunk)
    return raw
