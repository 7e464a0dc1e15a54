"""Outputs of onnxruntime for the comparison with an opened file, computed in another process within limits."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pellucid.base.child import run_child
from pellucid.base.errors import PellucidError
from pellucid.base.limits import LIMITS_HINT, MAX_ONNX_MEMORY, MAX_ONNX_SECONDS, scaled_limit
from pellucid.opening.onnx.file import FLOAT16, MAX_BYTE, UINT8, OnnxNetwork
from pellucid.opening.onnx_nodes.proto import import_optional, keep_needed
from pellucid.opening.outputs import batch_rows
from pellucid.weights.fault import quoted

MODEL_COPIES = 6  # the file, its tensors, and the weights in the layouts of the kernels
RUNTIME_DTYPES = {FLOAT16: torch.float16, UINT8: torch.uint8}  # of inputs that the network takes as float32
MAX_THREADS = 8  # each reserves address space
SCRIPT = Path(__file__).with_name("runtime_script.py")


def runtime_outputs(path: Path, network: OnnxNetwork, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return the outputs of onnxruntime, computed in batches of the file's batch size; in float16 if `in_halves`.

    Only nodes that the outputs need are run, in a process that ends at the limits, and when this one is interrupted.
    Raises PellucidError for a file that exceeds them or that onnxruntime cannot run.
    """
    onnx = import_optional("onnx")
    model = onnx.ModelProto()
    model.CopyFrom(network.proto)
    del model.graph.output[:]  # its shapes are not needed, and may be wrong
    model.graph.output.extend(onnx.helper.make_value_info(name, onnx.TypeProto()) for name in network.outputs)
    keep_needed(model, network.outputs)
    dtypes = {value.name: RUNTIME_DTYPES.get(value.type.tensor_type.elem_type) for value in model.graph.input}
    n_examples = len(inputs[0])
    batch_indices = batch_rows(n_examples, network.batch or n_examples)
    batches: list[Tensor] = []
    for name, x in zip(network.inputs, inputs, strict=True):
        dtype = dtypes[name]
        values = (x * MAX_BYTE).round() if dtype is torch.uint8 else x
        values = values if dtype is None else values.to(dtype)
        batches.append(values[batch_indices])
    outputs = [
        torch.cat(batch_outputs)[:n_examples]
        for batch_outputs in _run(path, model.SerializeToString(), network.inputs, batches)
    ]
    return [output.half() for output in outputs] if network.in_halves else outputs


def _run(path: Path, data: bytes, names: Sequence[str], inputs: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """Return the batches of each output.

    path: the file, for error messages. inputs: (batches, N, ...).
    """
    settings = {
        "names": list(names),
        "seconds": scaled_limit(MAX_ONNX_SECONDS),
        "memory": scaled_limit(MAX_ONNX_MEMORY) + MODEL_COPIES * len(data),
        "threads": min(torch.get_num_threads(), MAX_THREADS),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model.onnx").write_bytes(data)
        np.savez(folder / "inputs.npz", *(x.numpy() for x in inputs))
        arguments = ["-P", str(SCRIPT), str(folder), json.dumps(settings)]
        # in another process, since onnxruntime cannot be interrupted or limited from within; starting it takes 0.3 s
        message = run_child(arguments, settings["seconds"], _limit_error(path))
        if message is not None:
            raise PellucidError(f"{path}: onnxruntime cannot run it ({quoted(message, 200)})")
        with np.load(folder / "outputs.npz", allow_pickle=False) as file:
            outputs = [torch.from_numpy(file[name]) for name in file.files]
    n_outputs = len(outputs) // len(inputs[0])
    return [tuple(outputs[index::n_outputs]) for index in range(n_outputs)]


def _limit_error(path: Path) -> PellucidError:
    return PellucidError(
        f"{path}: onnxruntime, with whose outputs those of the model are compared, needs more than "
        f"{scaled_limit(MAX_ONNX_SECONDS)} s or {scaled_limit(MAX_ONNX_MEMORY) >> 20:,} MiB; {LIMITS_HINT}"
    )
