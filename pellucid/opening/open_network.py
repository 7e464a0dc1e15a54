"""`pellucid.open`: conversion of a PyTorch module or a file to a Model with an explicit backward pass per layer."""

import contextlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parameter import is_lazy

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import integer
from pellucid.base.settings.tensors import as_tensor
from pellucid.base.text import note, plural
from pellucid.combine import Graph
from pellucid.combine.base import shape_of
from pellucid.combine.nets import named_layers
from pellucid.layers import Dropout
from pellucid.layers.base import Params
from pellucid.nested import flatten, map_tree
from pellucid.network.bounds import init_within_bounds
from pellucid.opening.custom_backward import check_custom_backward
from pellucid.opening.exported import ExportedNetwork, compositions_of, export
from pellucid.opening.graph import INTEGERS, graph_of
from pellucid.opening.huggingface import folder_network
from pellucid.opening.missing import MissingLayersError
from pellucid.opening.model import OpenedModel
from pellucid.opening.onnx.open_onnx import open_onnx
from pellucid.opening.outputs import (
    check_outputs,
    difference_hint,
    free_shapes,
    loss_for,
    outputs_if_accepted,
    outputs_of,
)
from pellucid.opening.program import open_program
from pellucid.opening.programfile import read_program
from pellucid.opening.timmnetworks import PREFIX, timm_network
from pellucid.operators import Attention
from pellucid.training.arguments import class_names
from pellucid.verify.modules import frozen_names

OTHER_COUNT = 7  # length of the first axis that a network accepts only if that axis counts examples
_EXAMPLE_HINT = "for images: pellucid.open(network, torch.rand(1, 3, 224, 224)), with the height and width of yours"


def open(
    network: nn.Module | ExportedProgram | str | os.PathLike[str],
    example: Tensor | tuple[Tensor, ...] | None = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    **options: Any,
) -> OpenedModel:
    """Return a Model with the same outputs as another library's network, with layers that have backward passes.

    network: a PyTorch module, in any mode; it is unchanged, and its weights are copied. Or an ONNX file (.onnx), an
    exported program for any number of examples, or the program's file (.pt2); no code in files is run. Or the name of a
    timm network, "timm:convnext_tiny", or a Hugging Face folder with config.json and model.safetensors. example: an
    input (N, ...), or a tuple of inputs, of the shape that the model will receive. The model accepts any number of
    examples, and images of another height and width if the layers compute the network's outputs for another size too.
    ONNX files and programs need an example only if they leave sizes free; names and folders need none. weights: the
    file with the weights of a timm network, of which only tensors are read; None for random weights. options: arguments
    of Model, such as `loss` (by default chosen by the outputs), `optimizer` and `classes`.

    The network is a Graph with one node for each call of an operator, named by the path of its module such as
    `layer3.0.conv1`. A functional call has the path of the calling module and the name of the operator, `layer3.0.add`,
    and a repeated call a number, `relu~2`. Parameters and buffers have the keys of the state_dict. Batch normalization
    and dropout depend on the mode. Other modules that compute something else in training mode are opened as in
    evaluation mode, with a note.

    For an ONNX file, nodes have the file's names. Parameters are the file's initializers; their names are unchanged if
    they are the node's path with a suffix. Detectors are opened up to their suppression; a note names the omitted
    operators.

    Networks of timm and folders require the extra `open`. Their configuration sets the model's input size, its
    `preprocess` (the mean and standard deviation of the data) and its classes. Nothing is downloaded. With `classes`, a
    network of timm has that many outputs.

    Raises PellucidError for a network that torch.export cannot trace, for operators without a layer (the message lists
    all of them), and for a folder that names code of its own. Also raises it if the outputs for the example differ from
    the network's, or for ONNX files from onnxruntime's.
    """
    if "input_shape" in options:
        raise PellucidError(
            "open takes an example instead of input_shape: pellucid.open(network, torch.rand(1, *input_shape))"
        )
    if isinstance(example, tuple) and len(example) == 1:
        example = example[0]  # as torch.onnx.export takes one input
    if options.get("loss", "") is None:
        del options["loss"]  # the default
    if isinstance(network, (str, os.PathLike)):
        return _open_named(str(network), example, weights, options)
    if weights is not None:
        raise _weights_error("a module or an exported program")
    if isinstance(network, ExportedProgram):
        examples = example if isinstance(example, tuple) or example is None else (example,)
        return open_program(network, examples, options)
    if not isinstance(network, nn.Module):
        raise PellucidError(f"open takes a torch.nn.Module and an example input, not {type(network).__name__}")
    if example is None:
        raise PellucidError(f"open: {type(network).__name__} needs an example of its input; {_EXAMPLE_HINT}")
    _check_example(example)
    return _open_module(network, example, options)


def _check_example(example: Any) -> None:
    examples = example if isinstance(example, tuple) else (example,)
    for x in examples:
        if isinstance(x, Mapping):
            raise PellucidError(
                "open: an input is a dictionary; open a module whose forward takes its tensors one by one and calls "
                f"the network with {{{', '.join(f'{key!r}: ...' for key in list(x)[:3])}}}"
            )
        is_numbers = isinstance(x, Tensor) and (x.is_floating_point() or x.dtype in INTEGERS)
        if not is_numbers or not x.dim() or not len(x):
            raise PellucidError(
                "open: the example must be a tensor (N, ...) of floats, or of int64 for indices, or a tuple of them"
            )


def _open_module(
    network: nn.Module, example: Tensor | tuple[Tensor, ...], options: dict[str, Any], from_file: bool = False
) -> OpenedModel:
    """Return the model of a module; from_file: whether a file describes it, so `network.bounds` limits its size."""
    examples = example if isinstance(example, tuple) else (example,)
    inputs = tuple(x[:2].detach() for x in examples)
    has_double = any(tensor.dtype is torch.float64 for tensor in (*network.state_dict().values(), *examples))
    dtype = torch.float64 if has_double else torch.float32
    floats = tuple(tensor if tensor.is_floating_point() else tensor.to(dtype) for tensor in inputs)
    if options.get("precision") == "bf16" and any(not tensor.is_floating_point() for tensor in inputs):
        raise PellucidError("open: precision='bf16' has no whole numbers above 256, as indices are; leave it out")
    x = floats if isinstance(example, tuple) else floats[0]
    _check_weights(network, examples)
    try:
        net, params, y, functions, names = _checked_graph(network, example, inputs, x, from_file)
    except PellucidError:
        _check_dtype(network, inputs)
        _check_batch_axis(network, examples)
        raise
    is_double = any(tensor.dtype is torch.float64 for tensor in (*flatten(params).values(), *examples))
    defaults: dict[str, Any] = {"precision": "float64" if is_double else "float32"}
    if "loss" not in options:
        defaults["loss"] = loss_for(net, y)
    model = OpenedModel(net, **{**defaults, **options})
    model.index_inputs = tuple(not tensor.is_floating_point() for tensor in inputs)
    model._set_params(map_tree(torch.clone, params), *free_shapes(network, net, params, x, y))
    model._keep_state(network.state_dict(), flatten(params))
    model.example_shape = shape_of(x)
    model.output_names = names
    if functions:
        check_custom_backward(network, model, inputs, functions)
    _freeze(model, network)
    _note_training(network, model)
    return model


def _check_dtype(network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Raise PellucidError if a network that cannot be opened takes these whole numbers only as floats."""
    integer_dtypes = [str(x.dtype).removeprefix("torch.") for x in inputs if not x.is_floating_point()]
    if not integer_dtypes or outputs_if_accepted(network, inputs) is not None:
        return
    if outputs_if_accepted(network, tuple(x.float() for x in inputs)) is not None:
        raise PellucidError(
            f"open: the example is {integer_dtypes[0]}, and {type(network).__name__} computes with floats; give "
            "example.float()"
        ) from None


def _check_batch_axis(network: nn.Module, examples: tuple[Tensor, ...]) -> None:
    """Raise PellucidError if a network that cannot be opened takes no batch, or none of these examples."""
    name, batches = type(network).__name__, tuple(x[None] for x in examples)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):  # of the network
        if outputs_if_accepted(network, _repeated(examples)) is not None:
            return
        has_no_batch_axis = outputs_if_accepted(network, _repeated(batches)) is not None
        takes_one = outputs_if_accepted(network, tuple(x[:1] for x in examples)) is not None
    if has_no_batch_axis:
        shapes = ", ".join(str(tuple(x.shape)) for x in examples)
        raise PellucidError(
            f"open: the example has no batch axis: its shape is {shapes}, and {name} takes "
            f"{', '.join(str(tuple(x.shape)) for x in batches)}; give example[None]"
            + (" for each of them" if len(examples) > 1 else "")
        ) from None
    if takes_one:
        raise PellucidError(
            f"open: {name} takes a single example, not several at once; keep the first axis of its inputs, as by "
            "x.flatten(1) in place of x.view(-1), or without x.squeeze(0)"
        ) from None


def _repeated(examples: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return batches of OTHER_COUNT times the first example."""
    return tuple(torch.cat([x[:1]] * OTHER_COUNT) for x in examples)


def _check_weights(network: nn.Module, examples: tuple[Tensor, ...]) -> None:
    """Raise PellucidError for uninitialized lazy parameters, and for weights or examples of less than 32 bits."""
    for name, tensor in network.named_parameters():
        if is_lazy(tensor):
            raise PellucidError(f"open: {name} has no shape before the network has run; run it once on the example")
    for tensor in (*network.parameters(), *examples):
        if tensor.dtype in (torch.float16, torch.bfloat16):
            dtype = str(tensor.dtype).removeprefix("torch.")
            raise PellucidError(
                f"open: the network or the example is {dtype}; open network.float() with a float32 example "
                '(precision="bfloat16" trains in it)'
            )


def _freeze(model: OpenedModel, network: nn.Module) -> None:
    """Freeze the parameters that the network does not train, with a note."""
    frozen = [name for name in frozen_names(network) if name in model.weights]
    if frozen:
        model.freeze(*frozen)
        note(f"open: {plural(len(frozen), 'parameter')} frozen in the network stay frozen; model.unfreeze() frees them")


def _checked_graph(
    network: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    inputs: tuple[Tensor, ...],
    x: Any,
    from_file: bool,
) -> tuple[Graph, Params, Any, set[str], tuple[str, ...]]:
    """Return the graph of a module, its parameters by path, its outputs for x, its custom functions, and output names.

    The outputs equal the module's. The custom functions have a backward pass of their own. After a PellucidError, the
    module is exported with another number of examples, since a number in the network may be a multiple of the first.
    """
    first_error: PellucidError | None = None
    for count_index in range(2):
        try:
            exported, net, params = _exported_graph(network, example, count_index)
            if from_file:
                init_within_bounds(net, shape_of(x))
            params = map_tree(torch.detach, params)  # shares the network's memory, by which tied weights are found
            # The comparison may take longer than the export (of a ViT-B/16), but no wrong translation passes it.
            y = outputs_of(net, params, x)
            functions, names = check_outputs(network, inputs, y, difference_hint(exported, inputs[0].dtype))
        except PellucidError as error:
            first_error = first_error or error
        else:
            return net, params, y, functions, names
    assert first_error is not None
    raise first_error


def _exported_graph(
    network: nn.Module, example: Tensor | tuple[Tensor, ...], count_index: int
) -> tuple[ExportedNetwork, Graph, Params]:
    """Return the export of a module, its graph and its parameters.

    Operators without a layer are replaced by those of which PyTorch composes them. Raises the error for the operators
    that the module calls if these have no layer either.
    """
    exported = export(network, example, count_index)
    decomposed: frozenset[Any] = frozenset()
    first_error: MissingLayersError | None = None
    while True:
        try:
            return exported, *graph_of(exported, network)
        except MissingLayersError as error:
            first_error = first_error or error
            compositions = compositions_of(error.targets - decomposed)
            if not compositions:
                raise first_error from None
            decomposed |= set(compositions)
            exported = export(network, example, count_index, decomposed)


def _weights_error(source: str) -> PellucidError:
    return PellucidError(
        "open: the argument weights is accepted only for a source of the form timm:NAME; leave it out for "
        f"{source}, which contains its weights"
    )


def _open_named(
    source: str,
    example: Tensor | tuple[Tensor, ...] | None,
    weights: str | os.PathLike[str] | None,
    options: dict[str, Any],
) -> OpenedModel:
    """Return the model of a file, a folder, or a timm network's name."""
    is_name = source.startswith(PREFIX)
    if weights is not None and not is_name:
        raise _weights_error(source)
    if not is_name and not Path(source).is_dir():
        return _open_file(Path(source), example, options)
    if is_name:
        classes = class_names(options.get("classes"))
        seed = integer(options.get("seed", 0), "seed", 0)
        weights_file = None if weights is None else Path(weights)
        class_count = None if classes is None else len(classes)
        configured = timm_network(source.removeprefix(PREFIX), weights_file, class_count, seed)
    else:
        configured = folder_network(Path(source))
    x = torch.rand(2, *configured.shape, generator=torch.Generator().manual_seed(0)) if example is None else example
    if isinstance(x, Tensor) and x.is_floating_point():
        configured.network.to(x.dtype)
    _check_example(x)
    return _open_module(configured.network, x, {**configured.options, **options}, from_file=not is_name)


def _open_file(path: Path, example: Any, options: dict[str, Any]) -> OpenedModel:
    examples = None
    if example is not None:
        inputs = example if isinstance(example, tuple) else (example,)
        examples = tuple(as_tensor(value, "open: the example").detach() for value in inputs)
        if not examples or not all(x.dim() and len(x) for x in examples):
            raise PellucidError("open: the example must be an array (N, ...), or a tuple of them for several inputs")
    if path.suffix.lower() == ".onnx":
        return open_onnx(path, examples, options)
    if path.suffix.lower() == ".pt2":
        return open_program(read_program(path), examples, options, path)
    raise PellucidError(
        f"open: {path} is neither an ONNX file (.onnx) nor an exported program (.pt2); timm:NAME opens a "
        "network of timm"
    )


def attentions_without_dropout(network: nn.Module, model: OpenedModel) -> list[str]:
    """Return the paths of each nn.MultiheadAttention with dropout of the attention weights that the model lacks.

    A class derived from it, for example, may use its dropout elsewhere.
    """
    dropout_paths = [
        path
        for path, layer in named_layers(model.objective.nets)
        if isinstance(layer, Dropout | Attention) and layer.rate
    ]
    return [
        path
        for path, module in network.named_modules()
        if isinstance(module, nn.MultiheadAttention)
        and module.dropout
        and not any(layer_path.startswith(f"{path}.".lstrip(".")) for layer_path in dropout_paths)
    ]


def _note_training(network: nn.Module, model: OpenedModel) -> None:
    """Print a note if modules other than batch normalization and dropout depend on their mode."""
    norms = ((path, module) for path, module in network.named_modules() if isinstance(module, _BatchNorm))
    averaging_paths = [path for path, module in norms if module.momentum is None]
    if averaging_paths:
        note(
            f"open: {averaging_paths[0]} averages its statistics over all batches (momentum=None); here training "
            "keeps them"
        )
    without_dropout = attentions_without_dropout(network, model)
    affected_modules = [
        f"{path or 'the network itself'} ({type(module).__name__})"
        for path, module in network.named_modules()
        if (
            (not type(module).__module__.startswith("torch.nn.") and "training" in _code_names(type(module).forward))
            and not isinstance(module, (_BatchNorm, _DropoutNd))
        )
        or path in without_dropout
    ]
    if affected_modules:
        others = f" and {plural(len(affected_modules) - 1, 'other module')}" if len(affected_modules) > 1 else ""
        note(f"open: {affected_modules[0]}{others} may compute something else in training; opened as in evaluation")


def _code_names(function: Any) -> tuple[str, ...]:
    code = getattr(function, "__code__", None)
    return code.co_names if code is not None else ()
