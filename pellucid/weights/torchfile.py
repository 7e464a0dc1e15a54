"""PyTorch's files of tensors: the zip archive of today, and the stream that was written before version 1.6."""

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

from pellucid.weights.fault import Fault, quoted, refusing
from pellucid.weights.opcodes import Storage, View, interpret
from pellucid.weights.safetensorsfile import has_valid_booleans

# The old format begins with this number as an object stream of its own: an instruction, a length, ten bytes.
MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_OLD_VERSION = 1001
_OBJECTS = 16 << 20  # bytes of object streams: what describes some 40,000 tensors
_MEMBERS = 100_000
_DIRECTORY = 8 << 20  # bytes: each member takes 46 and its name, and a hundred times that in memory
_PIECE = 1 << 20
_RESAVE = "load it in PyTorch and save its tensors as safetensors"
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError, ValueError, EOFError, KeyError,
    OverflowError,
)  # fmt: skip

# Keys of the weights in checkpoints of various trainers; the first that is present is used.
_WRAPPERS = (
    "state_dict", "model_state_dict", "model", "module", "net", "network", "params", "weights", "state_dict_ema",
)  # fmt: skip
_DEPTH = 4
_SLACK = 2  # tensors may share storage, as tied weights do, so together they may be larger than the file
_ALONE = "save the state dict of the model alone"


def read_zip(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a zip archive of PyTorch; PellucidError unless all checksums agree.

    The members must be stored uncompressed, as PyTorch writes them, so that nothing can expand.
    """
    size = path.stat().st_size
    with (
        refusing(path, "PyTorch file", _DAMAGE),
        _LimitedReader(path.open("rb", buffering=0)) as file,
        zipfile.ZipFile(file) as archive,
    ):
        file.most = _OBJECTS
        members = _members(archive, size)
        prefix = _prefix(members)
        order = members.get(prefix + "byteorder")
        if order is not None and _bytes(archive, order, 16) != b"little":
            raise Fault("was written on a machine of the other byte order", _RESAVE)
        stream = interpret(_bytes(archive, members[prefix + "data.pkl"], _OBJECTS))
        views = views_of(stream.value, size)
        needed = {view.storage.key: view.storage for view in views.values()}
        data: dict[str, Tensor] = {}
        for key, storage in needed.items():
            member = members.get(f"{prefix}data/{key}")
            wanted = storage.numel * storage.dtype.itemsize
            if member is None or member.file_size != wanted:
                held = "missing" if member is None else f"{member.file_size} bytes long"
                raise Fault(f"needs storage {quoted(key)} of {wanted} bytes, which is {held}")
            with archive.open(member) as numbers:
                data[key] = _read_exactly(numbers, wanted)
        return _assemble(views, data)


def read_old(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file written by a PyTorch before 1.6; PellucidError where it is damaged.

    The file is five object streams (a magic number, the version, the machine, the objects, the storages' keys) and
    then, for each key, the count of its numbers and the numbers.
    """
    size = path.stat().st_size
    with refusing(path, "PyTorch file", (RuntimeError, OverflowError)), path.open("rb") as file:
        head = file.read(_OBJECTS)
        magic = interpret(head)
        version = interpret(head, magic.end)
        system = interpret(head, version.end)
        objects = interpret(head, system.end)
        keys = interpret(head, objects.end)
        if version.value != _OLD_VERSION or type(system.value) is not dict:
            raise Fault("is of a version of PyTorch that is not known", _RESAVE)
        if system.value.get("little_endian") is not True:
            raise Fault("was written on a machine of the other byte order", _RESAVE)
        if type(keys.value) is not list or any(type(key) is not str for key in keys.value):
            raise Fault("lists its storages by something else than names")
        views = views_of(objects.value, size)
        needed = {view.storage.key for view in views.values()}
        file.seek(keys.end)
        data: dict[str, Tensor] = {}
        for key in keys.value:
            nbytes = _storage_bytes(file, key, objects.storages, size)
            if key in needed:
                data[key] = _read_exactly(file, nbytes)
            else:
                file.seek(nbytes, io.SEEK_CUR)  # such as an optimizer's
        if file.tell() != size or len(set(keys.value)) != len(keys.value) or len(data) != len(needed):
            raise Fault("does not hold each of its storages once, up to its end")
        return _assemble(views, data)


def views_of(root: Any, size: int) -> dict[str, View]:
    """Return the named tensors of a checkpoint: `root` itself, or the dict that it holds as "state_dict" or the like.

    Plain values beside tensors, such as an epoch's number, are left out. size: of the file, in bytes.
    Raises Fault when there are none, or something else among them, or more bytes than the file can hold.
    """
    if type(root) is View:
        raise Fault("holds one tensor without a name", _ALONE)
    table = _unwrapped(root)
    found: dict[str, View] = {}
    for name, value in table.items():
        if type(value) is View and type(name) is str:
            found[name] = value
        elif value is not None and type(value) not in (bool, int, float, str):
            what = "no text as the name of a tensor" if type(value) is View else f"a {type(value).__name__}, no tensor"
            raise Fault(f"has, at {quoted(str(name))}, {what}", _ALONE)
    total = sum(view.numel * view.storage.dtype.itemsize for view in found.values())
    if total > _SLACK * size:
        raise Fault(f"describes tensors of {total} bytes in a file of {size}")
    return found


def _assemble(views: Mapping[str, View], data: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous tensors that share no memory; data: the bytes of each storage, by its key."""
    taken: set[str] = set()
    result: dict[str, Tensor] = {}
    for name, view in views.items():
        key, dtype = view.storage.key, view.storage.dtype
        raw = data[key]
        tensor = raw.view(dtype).as_strided(view.shape, view.strides, view.offset)
        if key in taken or not tensor.is_contiguous():
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        if not has_valid_booleans(tensor):
            raise Fault(f"has truth values at {quoted(name)} that are neither 0 nor 1")
        taken.add(key)
        result[name] = tensor
    return result


def _unwrapped(root: Any) -> dict[Any, Any]:
    table = root
    for _ in range(_DEPTH):
        if type(table) is not dict:
            break
        if any(type(value) is View for value in table.values()):
            return table
        inner = next((name for name in _WRAPPERS if type(table.get(name)) is dict), None)
        if inner is None:
            names = ", ".join(quoted(str(name), 20) for name in list(table)[:5])
            raise Fault(f"holds no tensors by name, but {names or 'an empty dict'}", _ALONE)
        table = table[inner]
    raise Fault(f"holds a {type(table).__name__}, no dict of tensors", _ALONE)


class _LimitedReader(io.BufferedReader):
    """A file that refuses reads of more than `most` bytes, at first those of the largest archive directory."""

    most = _DIRECTORY

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes; Fault for more than `most`."""
        if size is not None and size > self.most:
            raise Fault(f"has a directory of {size} bytes")
        return super().read(size)


def _storage_bytes(file: IO[bytes], key: str, storages: Mapping[str, Storage], size: int) -> int:
    """Read the count in front of a storage's numbers, and return their size in bytes."""
    count = int.from_bytes(file.read(8), "little", signed=True)
    storage = storages.get(key)
    if storage is None or count != storage.numel:
        raise Fault(f"is wrong about the size of storage {quoted(key)}")
    nbytes = count * storage.dtype.itemsize
    if file.tell() + nbytes > size:
        raise Fault("is cut off")
    return nbytes


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name; Fault for what PyTorch never writes and attackers do."""
    infos = archive.infolist()
    if len(infos) > _MEMBERS or sum(info.file_size for info in infos) > size:
        raise Fault(f"promises {len(infos)} members, larger together than the file of {size} bytes")
    for info in infos:
        name = quoted(info.filename)
        if info.flag_bits & 1:
            raise Fault(f"has the encrypted member {name}", "decrypt it first")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise Fault(f"has the compressed member {name}, which PyTorch never writes", _RESAVE)
        if stat.S_ISLNK(info.external_attr >> 16):
            raise Fault(f"has the symbolic link {name}")
    members = {info.filename: info for info in infos}
    if len(members) != len(infos):
        raise Fault("has two members of one name")
    return members


def _prefix(members: dict[str, zipfile.ZipInfo]) -> str:
    """Return the folder, with its slash, that holds all members of PyTorch's archive."""
    objects = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(objects) == 1:
        prefix = objects[0].removesuffix("data.pkl")
        if prefix + "constants.pkl" in members:
            raise Fault("is a TorchScript program, which is code", "save the state dict of the model")
        return prefix
    if "model.weights.h5" in members:
        raise Fault("is a .keras archive", "unpack it and give the model.weights.h5 in it")
    if any(name.endswith(".npy") for name in members):
        raise Fault("is a NumPy archive", "save its arrays as safetensors")
    raise Fault("is a zip archive, but not one of PyTorch", "unpack it, or give a weights file")


def _bytes(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int) -> bytes:
    if member.file_size > limit:
        raise Fault(f"has a member {quoted(member.filename)} of {member.file_size} bytes, above the limit of {limit}")
    return archive.read(member)


def _read_exactly(file: IO[bytes], nbytes: int) -> Tensor:
    """Return the next `nbytes` bytes (uint8); reading to a member's end also checks its CRC."""
    raw = torch.empty(nbytes, dtype=torch.uint8)
    into = raw.numpy().data
    at = 0
    while at < nbytes:
        piece = file.read(min(_PIECE, nbytes - at))
        if not piece:
            raise Fault("is cut off")
        into[at : at + len(piece)] = piece
        at += len(piece)
    return raw
