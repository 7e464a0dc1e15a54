"""Files of exported programs (.pt2), read without running a pickle or other code in them."""

import json
import math
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from pellucid.nested import entries
from pellucid.weights.fault import FileFault, file_errors, quoted

MAX_ENTRIES = 100_000  # entries of the archive
MAX_PROGRAM_BYTES = 64 << 20  # bytes of the program, without the weights
MAX_CREATED = 1 << 24  # values that an operator without tensor inputs creates
MAX_VALUES = 1 << 28  # values in a tensor whose shape is an argument
SAVE_AGAIN = "save it again by torch.export.save of PyTorch 2.13"
OPERATORS = re.compile(
    r"torch\.ops\.aten\.\w+\.\w+|torch\.sym_\w+"
    r"|_operator\.(?:getitem|add|sub|mul|floordiv|truediv|mod|pow|neg|eq|ne|lt|le|gt|ge|and_|or_|not_)"
)
CALLABLE_ARGUMENTS = {"as_operator", "as_graph", "as_custom_obj"}  # arguments that could be called
CONTAINER_TYPES = {"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}  # import nothing
CREATION_OPS = ("arange", "full", "ones", "scalar_tensor", "zeros", "empty", "eye", "linspace")  # read no tensor
_SYMBOL = re.compile(r"Symbol\('[a-z]{1,4}\d{1,9}'(?:, (?:positive|integer|nonnegative)=True)*\)")
_ARITHMETIC = re.compile(r"(?:\d{1,19}|FloorDiv|CeilDiv|PythonMod|Mod|Max|Min|Mul|Add|Integer|[ +*,()-])*")
_DAMAGE_ERRORS = (
    zipfile.BadZipFile, RuntimeError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError,
    AssertionError, NotImplementedError, MemoryError,
)  # fmt: skip


def read_program(path: Path) -> ExportedProgram:
    """Return the exported program of a file.

    Raises PellucidError for a damaged file, and for a file that contains a pickle instead of tensors, operators other
    than PyTorch's own, or formulas for sizes that are more than arithmetic. The example inputs, which every file stores
    as a pickle, are not read.
    """
    with file_errors(path, "exported program", _DAMAGE_ERRORS):
        if not path.is_file():
            raise FileFault("is missing", "give a .pt2 file of torch.export.save")
        with zipfile.ZipFile(path) as archive:
            files = _entries_by_path(archive)
            models = [name for name in files if re.fullmatch(r"models/[\w-]+\.json", name)]
            if len(models) != 1:
                raise FileFault(f"contains {len(models)} programs instead of one", SAVE_AGAIN)
            model = models[0].removeprefix("models/").removesuffix(".json")
            program_dict = _read_json(archive, files, models[0])
            _check_program(program_dict)
            state = _read_tensors(archive, files, "data/weights/", f"{model}_weights_config.json")
            constants = _read_tensors(archive, files, "data/constants/", f"{model}_constants_config.json")
        return _deserialize(program_dict, state, constants)


def _deserialize(
    program_dict: dict[str, Any], state: dict[str, Tensor], constants: dict[str, Tensor]
) -> ExportedProgram:
    from torch._export.serde import schema, serialize

    program = serialize._dict_to_dataclass(schema.ExportedProgram, {**program_dict, "guards_code": []})
    return serialize.ExportedProgramDeserializer().deserialize(program, state, constants, None)


def _entries_by_path(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the entries by their paths within the archive's folder."""
    infos = archive.infolist()
    if len(infos) > MAX_ENTRIES:
        raise FileFault(f"has {len(infos)} entries, above the limit of {MAX_ENTRIES}")
    if any(info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size for info in infos):
        raise FileFault("is compressed", SAVE_AGAIN)
    return {info.filename.partition("/")[2]: info for info in infos}


def _read_json(archive: zipfile.ZipFile, files: dict[str, zipfile.ZipInfo], name: str) -> Any:
    if name not in files:
        raise FileFault(f"has no entry {name}", SAVE_AGAIN)
    if files[name].file_size > MAX_PROGRAM_BYTES:
        raise FileFault(f"has {files[name].file_size} bytes in {name}, above the limit of {MAX_PROGRAM_BYTES}")
    return json.loads(archive.read(files[name]))


def _read_tensors(
    archive: zipfile.ZipFile, files: dict[str, zipfile.ZipInfo], folder: str, config: str
) -> dict[str, Tensor]:
    """Return the tensors of a folder of the archive, by name."""
    from torch._export.serde import schema, serialize

    tensors: dict[str, Tensor] = {}
    for name, entry in _read_json(archive, files, folder + config)["config"].items():
        if entry["use_pickle"] or entry["tensor_meta"] is None:
            raise FileFault(
                f"stores {quoted(name)} as a pickle, which may run code", "save tensors of PyTorch's own types"
            )
        meta: Any = serialize._dict_to_dataclass(schema.TensorMeta, entry["tensor_meta"])
        dtype = serialize.deserialize_scalar_type(meta.dtype)
        size, stride = ([int(one.as_int) for one in each] for each in (meta.sizes, meta.strides))
        data = bytearray(archive.read(files[folder + entry["path_name"]]))
        flat = torch.frombuffer(data, dtype=dtype) if data else torch.zeros(0, dtype=dtype)
        if math.prod(size) > len(flat):
            raise FileFault(f"has {quoted(name)} with more values than are stored")
        tensor = torch.as_strided(flat, size, stride, int(meta.storage_offset.as_int)).clone()
        tensors[name] = torch.nn.Parameter(tensor, False) if entry["is_param"] else tensor
    return tensors


def _check_program(program_dict: dict[str, Any]) -> None:
    """Raise FileFault for operators and formulas that could do more than compute the network."""
    for name, value in entries(program_dict):
        if name == "expr_str" and not (isinstance(value, str) and _ARITHMETIC.fullmatch(_SYMBOL.sub("1", value))):
            raise FileFault(f"has the size {quoted(str(value))}, which is more than arithmetic", SAVE_AGAIN)
        if name in CALLABLE_ARGUMENTS:
            raise FileFault(f"has an argument {quoted(name)}, which is no value", SAVE_AGAIN)
        if name in ("in_spec", "out_spec") and not _is_plain(json.loads(value)):
            raise FileFault(f"has {quoted(name)} of other parts than tuples, lists and dicts", SAVE_AGAIN)
    for node in program_dict["graph_module"]["graph"]["nodes"]:
        target = node["target"]
        if not isinstance(target, str) or not OPERATORS.fullmatch(target) or not _is_pure_operator(target):
            raise FileFault(f"calls {quoted(str(target))}, which is no operator of PyTorch", SAVE_AGAIN)
        _check_created(target, node["inputs"])


def _is_pure_operator(target: str) -> bool:
    """Return whether an ATen operator only computes: it has kernels, unlike TorchScript operators, and no file name."""
    if not target.startswith("torch.ops.aten."):
        return True
    name, overload = target.split(".")[3:]
    full_name = f"aten::{name}" if overload == "default" else f"aten::{name}.{overload}"
    if not torch._C._dispatch_has_kernel(full_name):
        return False
    return all(one.name != "filename" for one in getattr(getattr(torch.ops.aten, name), overload)._schema.arguments)


def _is_plain(spec: Any) -> bool:
    """Return whether the structure of inputs or outputs names only CONTAINER_TYPES; other types may import modules."""
    if isinstance(spec, list):  # the version of the format, and the structure
        return all(_is_plain(part) for part in spec if not isinstance(part, int))
    context = spec["context"]
    type_names = json.loads(context) if isinstance(context, str) else context
    contexts = type_names if isinstance(type_names, list) else [type_names]
    is_known = spec["type"] in CONTAINER_TYPES or spec["type"] is None
    return is_known and not any(isinstance(one, (dict, list)) for one in contexts) and _is_plain(spec["children_spec"])


def _check_created(target: str, inputs: Any) -> None:
    """Raise FileFault for shapes above MAX_VALUES, and for operators without tensor inputs.

    An operator in CREATION_OPS may have no tensor inputs if it creates at most MAX_CREATED values.
    """
    text = json.dumps(inputs)
    name = target.split(".")[-2]
    for size_text in re.findall(r'"as_ints": \[([-\d, ]+)\]', text):
        if math.prod(max(abs(int(size)), 1) for size in size_text.split(",")) > MAX_VALUES:
            raise FileFault(f"calls {quoted(target)} for more than {MAX_VALUES:,} values")
    if '"as_tensor' in text or not target.startswith("torch.ops.aten."):
        return
    sizes = [abs(int(number)) for number in re.findall(r"-?\d+", text)]
    if name not in CREATION_OPS and '"as_sym' not in text:
        raise FileFault(f"calls {quoted(target)}, which reads no tensor", SAVE_AGAIN)
    if math.prod(max(size, 1) for size in sizes) > MAX_CREATED:
        raise FileFault(f"creates more than {MAX_CREATED:,} values by {quoted(target)}")
