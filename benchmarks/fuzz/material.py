"""The original files to damage: the weights of a small network and an image, each in every format."""

import io
import zipfile
from pathlib import Path

import h5py
import numpy as np
import onnx
import safetensors.torch
import torch
from onnx import numpy_helper
from PIL import Image
from torch import Tensor

from pellucid.calibration.familiarity import fit_familiarity
from pellucid.combine import Parallel, Sequential
from pellucid.export import to_onnx
from pellucid.layers import Add, BatchNorm, Conv2d, Dense, Flatten, Identity, MaxPool2d, ReLU
from pellucid.model import Model

INPUT_SHAPE = (3, 12, 12)
WEIGHTS = ("ours", "forged", "graph", "zip", "old", "safetensors", "h5", "keras", "onnx")
COMPRESSIONS = {"lzw": "tiff_lzw", "deflate": "tiff_adobe_deflate"}  # of TIFFs
PICTURES = ("png", "jpeg", "gif", "bmp", "webp", "ppm", "tiff", *COMPRESSIONS)
CHECKSUMMED = (
    "ours",
    "zip",
    "png",
)  # formats whose checksums cover all that is read: a changed file is refused or gives the same result


def make_model() -> Model:
    """Return a model with weights drawn from a fixed seed, preprocessing and a fitted familiarity."""
    block = Parallel((Identity(), Sequential(Conv2d(4, 3, padding=1), ReLU())), Add())
    net = Sequential(Conv2d(4, 3), BatchNorm(), ReLU(), MaxPool2d(2), block, Flatten(), Dense(3))
    model = Model(
        net, input_shape=INPUT_SHAPE, classes=["a", "b", "c"], preprocess={"mean": [0.5] * 3, "std": [0.25] * 3}
    )
    x = torch.rand((60, *INPUT_SHAPE), generator=torch.Generator().manual_seed(0))
    model.familiarity = fit_familiarity(model.net, model.params, (x[:40], torch.arange(40) % 3), x[40:], model.stats)
    return model


def write_weights(kind: str, path: Path) -> None:
    """Write the model's weights as a file of the given kind (WEIGHTS)."""
    model = make_model()
    tensors: dict[str, Tensor] = {name: value.contiguous() for name, value in model.weights.items()}
    if kind in ("ours", "forged"):
        model.save(path)
    elif kind == "graph":
        to_onnx(model, path)
    elif kind in ("zip", "old"):
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "zip")
    elif kind == "safetensors":
        safetensors.torch.save_file(tensors, path)
    elif kind == "onnx":
        initializers = [numpy_helper.from_array(np.asarray(tensor), name) for name, tensor in tensors.items()]
        onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "graph", [], [], initializers)), path)
    else:
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            for name, tensor in tensors.items():
                file.create_dataset(name, data=tensor.numpy())
        path.write_bytes(buffer.getvalue())
        if kind == "keras":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("config.json", "{}")
                archive.writestr("model.weights.h5", buffer.getvalue())


def write_picture(kind: str, path: Path) -> None:
    """Write an image of gradients and noise as a file of the given kind (PICTURES)."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :50]
    pixels = np.stack([rows * 6, columns * 5, rng.integers(0, 255, (40, 50))], -1).astype(np.uint8)
    options = {"compression": COMPRESSIONS[kind]} if kind in COMPRESSIONS else {}
    Image.fromarray(pixels).save(path, format="TIFF" if options else kind, **options)
