"""Files of exported programs (.pt2), read without running a pickle or other code in them."""

import json
import logging
import math
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from pellucid.base.limits import (
    MAX_PROGRAM_ARGUMENTS,
    MAX_PROGRAM_BYTES,
    MAX_PROGRAM_INPUTS,
    MAX_PROGRAM_MEMBERS,
    MAX_PROGRAM_NODES,
    MAX_PROGRAM_OUTPUTS,
    MAX_PROGRAM_VALUES,
    MAX_PROGRAM_WEIGHT_RATIO,
)
from pellucid.nested import entries
from pellucid.opening.size_formulas import SAVE_AGAIN, check_computed_sizes, check_formulas
from pellucid.weights.fault import FileFault, check_count, file_errors, quoted

OPERATORS = re.compile(
    r"torch\.ops\.aten\.\w+\.\w+|torch\.sym_\w+"
    r"|_operator\.(?:getitem|add|sub|mul|floordiv|truediv|mod|neg|eq|ne|lt|le|gt|ge|and_|or_|not_)"
)
CALLABLE_ARGUMENTS = {"as_operator", "as_graph", "as_custom_obj"}  # arguments that could be called
CONTAINER_TYPES = {"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}  # import nothing
CREATION_OPS = ("arange", "full", "ones", "scalar_tensor", "zeros", "empty", "eye", "linspace")  # read no tensor
DAMAGE_ERRORS = (
    zipfile.BadZipFile, RuntimeError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError,
    AssertionError, NotImplementedError, MemoryError, EOFError,
)  # fmt: skip


def read_program(path: Path) -> ExportedProgram:
    """Return the exported program of a file.

    Raises PellucidError for a damaged file, and for a file that contains a pickle instead of tensors, operators other
    than PyTorch's own, or formulas for sizes that are more than arithmetic. The example inputs, which every file stores
    as a pickle, are not read.
    """
    # not by `torch.export.load`, which runs pickles and evaluates formulas of sizes as Python
    with file_errors(path, "exported program", DAMAGE_ERRORS):
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
            _drop_unused_ranges(program_dict)
            state = _read_tensors(archive, files, "data/weights/", f"{model}_weights_config.json")
            constants = _read_tensors(archive, files, "data/constants/", f"{model}_constants_config.json")
        return _deserialize(program_dict, state, constants)


def _deserialize(
    program_dict: dict[str, Any], state: dict[str, Tensor], constants: dict[str, Tensor]
) -> ExportedProgram:
    """Return the program; raises FileFault for one that PyTorch cannot read."""
    from torch._export.serde import schema, serialize

    disabled_level = logging.root.manager.disable
    try:
        logging.disable(logging.CRITICAL)  # PyTorch also logs the errors that it raises
        program = serialize._dict_to_dataclass(schema.ExportedProgram, {**program_dict, "guards_code": []})
        return serialize.ExportedProgramDeserializer().deserialize(program, state, constants, None)
    except Exception as error:  # of any class, some of them PyTorch's own
        raise FileFault(f"is no program that PyTorch can read ({quoted(' '.join(str(error).split()), 160)})") from error
    finally:
        logging.disable(disabled_level)


def _entries_by_path(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the entries by their paths within the archive's folder."""
    infos = archive.infolist()
    if len(infos) > MAX_PROGRAM_MEMBERS:
        raise FileFault(f"has {len(infos)} entries, above the limit of {MAX_PROGRAM_MEMBERS}")
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
    """Return the tensors of a folder of the archive, by name.

    Tensors of the same entry share memory, as tied weights do. Raises FileFault if they have much more values than are
    stored.
    """
    from torch._export.serde import schema, serialize

    tensors: dict[str, Tensor] = {}
    data_by_path: dict[str, bytearray] = {}  # the bytes of an entry, by its path
    # the bytes of tensors with the same values and shape, which are one
    bytes_by_layout: dict[tuple[Any, ...], int] = {}
    for name, entry in _read_json(archive, files, folder + config)["config"].items():
        if entry["use_pickle"] or entry["tensor_meta"] is None:
            raise FileFault(
                f"stores {quoted(name)} as a pickle, which may run code", "save tensors of PyTorch's own types"
            )
        meta: Any = serialize._dict_to_dataclass(schema.TensorMeta, entry["tensor_meta"])
        if meta.layout != schema.Layout.Strided:
            raise FileFault(f"stores {quoted(name)} in another layout than a dense array", SAVE_AGAIN)
        dtype = serialize.deserialize_scalar_type(meta.dtype)
        sizes = [int(entry.as_int) for entry in meta.sizes]
        strides = [int(entry.as_int) for entry in meta.strides]
        offset = int(meta.storage_offset.as_int)
        path = folder + entry["path_name"]
        if path not in data_by_path:
            data_by_path[path] = bytearray(archive.read(files[path]))
        data = data_by_path[path]
        flat = torch.frombuffer(data, dtype=dtype) if data else torch.zeros(0, dtype=dtype)
        if min(sizes, default=0) < 0 or math.prod(sizes) > len(flat):
            raise FileFault(f"has {quoted(name)} with more values than are stored")
        tensor = torch.as_strided(flat, sizes, strides, offset)
        bytes_by_layout[path, dtype, *sizes, *strides, offset] = tensor.numel() * dtype.itemsize
        tensors[name] = torch.nn.Parameter(tensor, False) if entry["is_param"] else tensor
    stored_bytes = sum(map(len, data_by_path.values()))
    described_bytes = sum(bytes_by_layout.values())
    if described_bytes > MAX_PROGRAM_WEIGHT_RATIO * stored_bytes:
        raise FileFault(f"describes tensors of {described_bytes:,} bytes, of which {stored_bytes:,} are stored")
    return tensors


def _check_program(program_dict: dict[str, Any]) -> None:
    """Raise FileFault for operators and formulas that could do more than compute the network."""
    formulas: list[Any] = []
    n_entries = 0
    for name, value in entries(program_dict):
        n_entries += 1
        if name == "expr_str":
            formulas.append(value)
        if name in CALLABLE_ARGUMENTS:
            raise FileFault(f"has an argument {quoted(name)}, which is no value", SAVE_AGAIN)
        if name in ("in_spec", "out_spec") and not _is_plain(json.loads(value)):
            raise FileFault(f"has {quoted(name)} of other parts than tuples, lists and dicts", SAVE_AGAIN)
    check_formulas(formulas)
    graph = program_dict["graph_module"]["graph"]
    check_count("entries", n_entries, MAX_PROGRAM_VALUES)
    check_count("nodes", len(graph["nodes"]), MAX_PROGRAM_NODES)
    check_count("inputs", len(program_dict["graph_module"]["signature"]["input_specs"]), MAX_PROGRAM_INPUTS)
    check_count("outputs", len(graph["outputs"]), MAX_PROGRAM_OUTPUTS)
    for node in graph["nodes"]:
        target = node["target"]
        if not isinstance(target, str) or not OPERATORS.fullmatch(target) or not _is_pure_operator(target):
            raise FileFault(f"calls {quoted(str(target))}, which is no operator of PyTorch", SAVE_AGAIN)
        check_count(f"arguments of {quoted(target)}", len(node["inputs"]), MAX_PROGRAM_ARGUMENTS)
        _check_inputs(target, node["inputs"])
    check_computed_sizes(graph["nodes"])  # products of sizes may become integers that fill the memory


def _drop_unused_ranges(program_dict: dict[str, Any]) -> None:
    """Delete the ranges of symbols that are in no formula, of each of which PyTorch would log a warning."""
    symbols = {
        symbol
        for name, value in entries(program_dict)
        if name == "expr_str"
        for symbol in re.findall(r"Symbol\('(\w+)'", value)
    }
    ranges = program_dict["range_constraints"]
    program_dict["range_constraints"] = {name: value for name, value in ranges.items() if name in symbols}


def _is_pure_operator(target: str) -> bool:
    """Return whether an ATen operator only computes: it has kernels, unlike TorchScript operators, and no file name."""
    if not target.startswith("torch.ops.aten."):
        return True
    name, overload = target.split(".")[3:]
    full_name = f"aten::{name}" if overload == "default" else f"aten::{name}.{overload}"
    if not torch._C._dispatch_has_kernel(full_name):
        return False
    return all(
        argument.name != "filename" for argument in getattr(getattr(torch.ops.aten, name), overload)._schema.arguments
    )


def _is_plain(spec: Any) -> bool:
    """Return whether the structure of inputs or outputs names only CONTAINER_TYPES; other types may import modules."""
    if isinstance(spec, list):  # the version of the format, and the structure
        return all(_is_plain(child) for child in spec if not isinstance(child, int))
    context = spec["context"]
    type_names = json.loads(context) if isinstance(context, str) else context
    contexts = type_names if isinstance(type_names, list) else [type_names]
    is_known = spec["type"] in CONTAINER_TYPES or spec["type"] is None
    return (
        is_known
        and not any(isinstance(context, (dict, list)) for context in contexts)
        and _is_plain(spec["children_spec"])
    )


def _check_inputs(target: str, inputs: Any) -> None:
    """Raise FileFault for an operator that reads neither a tensor nor a size, unless it is in CREATION_OPS."""
    text = json.dumps(inputs)
    reads_value = '"as_tensor' in text or '"as_sym' in text or not target.startswith("torch.ops.aten.")
    if not reads_value and target.split(".")[-2] not in CREATION_OPS:
        raise FileFault(f"calls {quoted(target)}, which reads no tensor", SAVE_AGAIN)
