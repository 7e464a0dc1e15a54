"""Networks as a Python file that defines a PyTorch module, and a safetensors file with its weights."""

import inspect
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from pellucid.base.errors import PellucidError
from pellucid.base.files import write_atomically
from pellucid.combine import Combinator, Fork, Graph, Parallel, Sequential, Shared, join, walk
from pellucid.data import FeatureStats
from pellucid.export.parity import Parity, ParityError, compare, outputs, random_inputs, stored_tensor
from pellucid.export.target import ExportTarget
from pellucid.export.torch_code import modules
from pellucid.export.torch_code.calls import literal
from pellucid.export.torch_code.layers import is_writable, module_code
from pellucid.layers.base import Layer, Params
from pellucid.model import Model
from pellucid.nested import map_tree
from pellucid.network.traced import GraphTrace, TracedLayer, trace
from pellucid.operators import Fixed, Learned, ShiftMask

# The classes of modules that an exported file may contain.
HELPER_CLASSES = tuple(
    helper_class
    for helper_class in vars(modules).values()
    if inspect.isclass(helper_class) and helper_class.__module__ == modules.__name__
)
# Attributes of modules, which cannot be names of submodules.
RESERVED_NAMES = frozenset({
    *dir(nn.Sequential()), *(name for helper_class in HELPER_CLASSES for name in vars(helper_class)),
    "merge", "names", "module_and_sources", "outputs", "inputs", "function",
})  # fmt: skip
INDENT = "    "
# Templates of the beginning and of the end of an exported file.
HEAD_TEMPLATE = '''
"""A PyTorch module, written by pellucid {version}; `load()` returns it with its weights.

The weights are read from the safetensors file in the folder of this file. The module takes float32 inputs
(N, {shape}), images with values from 0 to 1, and returns logits: the output before any softmax.
"""

from collections import OrderedDict
{abc_import}from pathlib import Path
{any_import}
{torch_import}from safetensors.torch import load_file
from torch import {tensor_name}nn
{functional_import}
WEIGHTS = Path(__file__).with_name({weights})
{classes}'''
FUNCTIONS_TEMPLATE = '''
def network() -> nn.Module:
    """Return the network with random weights."""
    return {network}


def load(weights: Path = WEIGHTS) -> nn.Module:
    """Return the network with its weights, in evaluation mode."""
    net = network()
    net.load_state_dict(load_file(weights))
    return {result}.train(False)
'''
# Program of a separate Python process; arguments: module file, file of inputs, file of outputs, number of threads.
RUN_PROGRAM = """
import importlib.util, sys, torch
from safetensors.torch import load_file, save_file
spec = importlib.util.spec_from_file_location("exported", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
inputs = load_file(sys.argv[2])
xs = tuple(inputs[str(index)] for index in range(len(inputs)))
def flat(y):
    return [leaf for part in y for leaf in flat(part)] if isinstance(y, tuple) else [y]
torch.set_num_threads(int(sys.argv[4]))
with torch.inference_mode():
    ys = flat(module.load()(xs if len(xs) > 1 else xs[0]))
save_file({str(index): y.contiguous().clone() for index, y in enumerate(ys)}, sys.argv[3])
"""


def to_torch(model: Model, path: str | os.PathLike[str]) -> Parity:
    """Write a model as FILE.py and FILE_weights.safetensors, and return the difference of its outputs from the model's.

    `load()` in the file returns the module with its weights, whose names are the parameters' paths. The module takes
    float32 images from 0 to 1 and returns the network's output, before any softmax that the loss contains.
    Raises PellucidError for a model without weights and for layers without PyTorch code. Raises ParityError and writes
    no files if the outputs differ from the model's.
    """
    if not model.built:
        raise PellucidError("the model has no weights yet; give it input_shape, or fit it first")
    path = Path(path)
    if not path.name.isprintable():
        raise PellucidError(f"{path.name} cannot be the name of a Python file; give another name")
    text, weights, parity = torch_files(
        path.stem, model.net, model.params, model.nominal_shape, model.stats, model.classes
    )
    write_atomically(weights_path(path), weights)
    write_atomically(path, text.encode())
    return parity


def weights_path(path: Path) -> Path:
    """Return the path of the weights file that belongs to an exported file."""
    return path.with_name(f"{path.stem}_weights.safetensors")


TARGET = ExportTarget(
    "torch",
    "PyTorch",
    ".py",
    lambda model, path, size: to_torch(model, path),
    files=lambda path: (path, weights_path(path)),
    file_stem=lambda name: name.replace("-", "_"),  # the name of a Python module has no "-"
    size_fault="a PyTorch module takes any size that the network takes",
)


def torch_files(
    stem: str,
    net: Layer,
    params: Params,
    shape: Any,
    stats: FeatureStats | None = None,
    classes: Sequence[str] | None = None,
) -> tuple[str, bytes, Parity]:
    """Return the text of STEM.py, the bytes of its weights file, and the difference of its outputs from the network's.

    shape: shape of one input without the batch axis, or a tuple of shapes. stats: mean and standard deviation of the
    channels, for images only. Raises the same errors as `to_torch`.
    """
    params = map_tree(stored_tensor, params)
    text, tensors = source(stem, net, params, shape, stats, classes)
    weights = safetensors.torch.save({name: leaf.clone() for name, leaf in tensors.items()}, {"format": "pt"})
    xs = random_inputs(trace(net, params, shape))
    file_outputs = _outputs_of_file(stem, text, weights, xs)
    return text, weights, compare(outputs(net, params, xs, stats), file_outputs).require("the PyTorch file")


def source(
    stem: str, net: Layer, params: Params, shape: Any, stats: FeatureStats | None, classes: Sequence[str] | None
) -> tuple[str, dict[str, Tensor]]:
    """Return the text of STEM.py, and the weights by their names in the module."""
    from pellucid.base.version import __version__

    code = _network_code(net, params, trace(net, params, shape))
    net_expression = "net"
    if stats is not None:
        statistics = ", ".join(repr(tuple(values.flatten().tolist())) for values in (stats.mean, stats.std))
        net_expression = f"nn.Sequential(Standardise({statistics}), net)"
    body = FUNCTIONS_TEMPLATE.format(network=code.text, result=net_expression)
    code_blocks = [*_helper_sources(body), body.strip()]
    uses_functions = any(re.search(r"\bF\.", block) for block in code_blocks)
    collection_names = [name for name in ("Callable", "Sequence") if any(f"{name}[" in block for block in code_blocks)]
    head = HEAD_TEMPLATE.format(
        version=__version__,
        shape=", ".join(map(str, shape)),
        weights=literal(weights_path(Path(f"{stem}.py")).name),
        classes="" if classes is None else f"CLASSES = {literal(tuple(classes))}\n",
        functional_import="from torch.nn import functional as F\n" if uses_functions else "",
        abc_import=f"from collections.abc import {', '.join(collection_names)}\n" if collection_names else "",
        any_import="from typing import Any\n" if any("Any" in block for block in code_blocks) else "",
        torch_import="import torch\n" if any("torch." in block for block in code_blocks) else "",
        tensor_name="Tensor, " if any("Tensor" in block for block in code_blocks) else "",
    )
    return "\n\n\n".join([head.strip(), *code_blocks]) + "\n", code.weights


def _outputs_of_file(stem: str, text: str, weights: bytes, xs: Sequence[Tensor]) -> list[Tensor]:
    """Return the outputs of the module that a separate Python process loads from the file's text and weights."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        module_path, xs_file, ys_file = directory / f"{stem}.py", directory / "[inputs]", directory / "[outputs]"
        module_path.write_text(text, encoding="utf-8")
        weights_path(module_path).write_bytes(weights)
        safetensors.torch.save_file({str(index): x.contiguous() for index, x in enumerate(xs)}, xs_file)
        files = (str(module_path), str(xs_file), str(ys_file))
        command = [sys.executable, "-c", RUN_PROGRAM, *files, str(torch.get_num_threads())]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        if process.returncode:
            message = (process.stderr.strip().splitlines() or ["no error message"])[-1]
            raise ParityError(
                f"the PyTorch file does not run, and is not written: {message}; this is a fault in pellucid"
            )
        ys = safetensors.torch.load_file(ys_file)
    return [ys[str(index)] for index in range(len(ys))]


@dataclass(frozen=True, eq=False)
class ModuleCode:
    """A Python expression that creates a module, and the module's weights by name."""

    text: str
    weights: dict[str, Tensor]


def _network_code(net: Layer, params: Params, traced: GraphTrace) -> ModuleCode:
    """Return the code of a network; raises PellucidError that lists all layers without PyTorch code."""
    steps: dict[str, TracedLayer] = {}
    for step in traced.steps:
        steps.setdefault(step.path, step)
    unwritable = [step.layer for step in traced.steps if not is_writable(type(step.layer))]
    unwritable += [
        child for _, child in walk(net) if isinstance(child, Combinator) and type(child) not in COMBINATOR_CODERS
    ]
    missing = dict.fromkeys(type(layer).__name__ for layer in unwritable)
    if missing:
        raise PellucidError(
            f"no PyTorch code for the layers {', '.join(missing)}; use pellucid's own, or give them a method "
            "torch_code(self, shape): see pellucid.Layer.torch_code"
        )
    return _layer_code(net, params, "", steps, 1)


def _helper_sources(text: str) -> list[str]:
    """Return the source code of the classes in HELPER_CLASSES that the text of a file uses."""
    used_names = set(re.findall(r"(?<![\w.\"'])([A-Z]\w+)\(", text))
    return [
        inspect.getsource(helper_class).rstrip()
        for helper_class in HELPER_CLASSES
        if helper_class.__name__ in used_names
    ]


def _layer_code(layer: Layer, params: Params, path: str, steps: Mapping[str, TracedLayer], depth: int) -> ModuleCode:
    if not isinstance(layer, Combinator):
        return ModuleCode(module_code(layer, steps[path]), dict(params))
    names = _submodule_names(layer)
    codes = {
        name: _layer_code(child, params[name], join(path, name), steps, depth + 1)
        for name, child in layer.layers.items()
    }
    weights = {join(names[name], key): tensor for name, code in codes.items() for key, tensor in code.weights.items()}
    return ModuleCode(
        COMBINATOR_CODERS[type(layer)](layer, {name: code.text for name, code in codes.items()}, names, depth),
        weights,
    )


def _sequential(layer: Sequential, child_texts: Mapping[str, str], names: Mapping[str, str], depth: int) -> str:
    return f"nn.Sequential(OrderedDict({_dict_code({names[name]: text for name, text in child_texts.items()}, depth)}))"


def _parallel(layer: Parallel, child_texts: Mapping[str, str], names: Mapping[str, str], depth: int) -> str:
    branches = _dict_code({names[name]: child_texts[name] for name in layer.branches}, depth)
    return f"Parallel({branches}, {child_texts['merge']})"


def _fork(layer: Fork, child_texts: Mapping[str, str], names: Mapping[str, str], depth: int) -> str:
    return f"Fork({_dict_code({names[name]: text for name, text in child_texts.items()}, depth)})"


def _shared(layer: Shared, child_texts: Mapping[str, str], names: Mapping[str, str], depth: int) -> str:
    return f"Shared({child_texts['layer']})"


def _graph(layer: Graph, child_texts: Mapping[str, str], names: Mapping[str, str], depth: int) -> str:
    nodes = {}
    for name, (layer_or_name, *sources) in layer.nodes.items():
        module = literal(names[layer_or_name]) if isinstance(layer_or_name, str) else child_texts[name]
        arguments = [module, *(literal(names[source]) for source in sources)]
        nodes[names[name]] = f"({', '.join(arguments)})" if sources else f"({module},)"
    outputs, inputs = (tuple(names[name] for name in node_names) for node_names in (layer.outputs, layer.inputs))
    return f"Graph({_dict_code(nodes, depth)}, {literal(outputs)}, {literal(inputs)})"


COMBINATOR_CODERS: dict[type[Layer], Callable[[Any, Mapping[str, str], Mapping[str, str], int], str]] = {
    Sequential: _sequential,
    Parallel: _parallel,
    Fork: _fork,
    Shared: _shared,
    Graph: _graph,
}


def _dict_code(entries: Mapping[str, str], depth: int) -> str:
    if not entries:
        return "{}"
    lines = [f"{INDENT * (depth + 1)}{literal(name)}: {text}," for name, text in entries.items()]
    return "\n".join(["{", *lines, f"{INDENT * depth}}}"])


def _submodule_names(layer: Combinator) -> dict[str, str]:
    """Return the children's names as submodules: unchanged unless they are attributes of PyTorch's modules.

    A name with dots is a path of submodules.
    """
    children: Iterable[str] = (*layer.nodes, *layer.inputs) if isinstance(layer, Graph) else layer.layers
    has_fixed_names = isinstance(layer, Parallel | Shared)  # whose modules have the attributes `merge` and `layer`
    names: dict[str, str] = {}
    tensor_names = {name for name, child in layer.layers.items() if isinstance(child, Learned | Fixed | ShiftMask)}
    for name in children:
        parts = name.split(".")
        has_tensor_prefix = any(".".join(parts[:n_parts]) in tensor_names for n_parts in range(1, len(parts)))
        if has_tensor_prefix:  # a parameter has no submodules
            parts = ["_".join(parts)]
        if not (has_fixed_names and name in ("merge", "layer")):
            parts = [f"{part}_" if part in RESERVED_NAMES else part for part in parts]
        unused_name = ".".join(parts)
        while unused_name in names.values():
            unused_name += "_"
        names[name] = unused_name
    return names
