"""A small set of tensors, written in every format by the libraries of these formats."""

from pathlib import Path

import h5py
import numpy as np
import onnx
import safetensors.torch
import torch
from onnx import numpy_helper
from torch import Tensor

SAMPLE_TENSORS: dict[str, Tensor] = {
    "conv.weight": torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0)),
    "conv.bias": torch.tensor([1.0, -2.0, 0.5, 3.25]),
    "bn.count": torch.tensor(7),
}


def write_sample(kind: str, path: Path, tensors: dict[str, Tensor] = SAMPLE_TENSORS) -> Path:
    """Write tensors under their names in the format "zip", "old", "safetensors", "keras" or "onnx"; return the path."""
    if kind in ("zip", "old"):
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "zip")
    elif kind == "safetensors":
        safetensors.torch.save_file(tensors, path)
    elif kind == "keras":
        with h5py.File(path, "w") as file:
            for name, tensor in tensors.items():
                file.create_dataset(name, data=tensor.numpy())
    else:
        initializers = [numpy_helper.from_array(np.asarray(tensor), name) for name, tensor in tensors.items()]
        graph = onnx.helper.make_graph([], "graph", [], [], initializers)
        onnx.save(onnx.helper.make_model(graph), path)
    return path


FORMATS = ("zip", "old", "safetensors", "keras", "onnx")
