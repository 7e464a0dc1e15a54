"""Networks as a Python file that makes a PyTorch module, and a safetensors file with its weights."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from pellucid.data import FeatureStats
from pellucid.errors import PellucidError
from pellucid.export.parity import Parity, ParityError, batch, compare, outputs
from pellucid.export.torch_code.layers import literal
from pellucid.export.torch_code.source import code, helpers
from pellucid.export.trace import trace
from pellucid.files import write_atomically
from pellucid.layers.base import Layer, Params
from pellucid.model import Model
from pellucid.tree import map_tree

HEAD = '''
"""A PyTorch module, written by pellucid {version}; `load()` returns it with its weights.

They stand in the safetensors file that must lie beside this one, under the names of the module's parts. The module
takes float32 images from 0 to 1, (N, {shape}), and returns what stands before any softmax.
"""

from collections import OrderedDict
{sequences}from pathlib import Path
{anything}
{torch}from safetensors.torch import load_file
from torch import {tensor}nn
{functions}
WEIGHTS = Path(__file__).with_name({weights})
{classes}'''
FUNCTIONS = '''
def network() -> nn.Module:
    """Return the network; its weights are drawn at random."""
    return {network}


def load(weights: Path = WEIGHTS) -> nn.Module:
    """Return the network with its weights, in evaluation mode."""
    net = network()
    net.load_state_dict(load_file(weights))
    return {whole}.train(False)
'''
# Run by a Python of its own: the file, the inputs, the outputs, the threads.
CHECK = """
import importlib.util, sys, torch
from safetensors.torch import load_file, save_file
spec = importlib.util.spec_from_file_location("exported", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
given = load_file(sys.argv[2])
xs = tuple(given[str(place)] for place in range(len(given)))
def flat(y):
    return [leaf for part in y for leaf in flat(part)] if isinstance(y, tuple) else [y]
torch.set_num_threads(int(sys.argv[4]))
with torch.inference_mode():
    ys = flat(module.load()(xs if len(xs) > 1 else xs[0]))
save_file({str(place): y.contiguous().clone() for place, y in enumerate(ys)}, sys.argv[3])
"""


def to_torch(model: Model, path: str | os.PathLike[str]) -> Parity:
    """Write a model as FILE.py and FILE_weights.safetensors, which appear only if they give the model's own outputs.

    `load()` of the file returns the module with its weights, whose names are the paths of our parameters; the module
    takes float32 images from 0 to 1 and returns what the network says before any softmax that the loss contains.
    Raises PellucidError for a model without weights and for layers of other people, and ParityError.
    """
    if not model.built:
        raise PellucidError("the model has no weights yet; give it input_shape, or fit it first")
    path = Path(path)
    if not path.name.isprintable():
        raise PellucidError(f"{path.name} cannot name a Python file and its weights; give another name")
    text, weights, parity = torch_files(
        path.stem, model.net, model.params, model.nominal_shape, model.stats, model.classes
    )
    write_atomically(weights_path(path), weights)
    write_atomically(path, text.encode())
    return parity


def weights_path(path: Path) -> Path:
    """Return the place of the weights that belong to an exported file."""
    return path.with_name(f"{path.stem}_weights.safetensors")


def torch_files(
    stem: str,
    net: Layer,
    params: Params,
    shape: Any,
    stats: FeatureStats | None = None,
    classes: Sequence[str] | None = None,
) -> tuple[str, bytes, Parity]:
    """Return the text of STEM.py, the bytes of its weights file, and how far the module is from the network.

    shape: of one input without the batch axis, or a tuple of shapes. stats: of the channels, for images only.
    Raises as `to_torch` does.
    """
    params = map_tree(lambda leaf: leaf.detach().cpu().float().contiguous(), params)
    text, held = source(stem, net, params, shape, stats, classes)
    weights = safetensors.torch.save({name: leaf.clone() for name, leaf in held.items()}, {"format": "pt"})
    xs = batch(trace(net, params, shape))
    theirs = _run(stem, text, weights, xs)
    return text, weights, compare(outputs(net, params, xs, stats), theirs).require("the PyTorch file")


def source(
    stem: str, net: Layer, params: Params, shape: Any, stats: FeatureStats | None, classes: Sequence[str] | None
) -> tuple[str, dict[str, Tensor]]:
    """Return the text of STEM.py, and the weights by the names of its modules."""
    from pellucid.version import __version__

    made = code(net, params, trace(net, params, shape))
    whole = "net"
    if stats is not None:
        numbers = ", ".join(repr(tuple(each.flatten().tolist())) for each in (stats.mean, stats.std))
        whole = f"nn.Sequential(Standardise({numbers}), net)"
    body = FUNCTIONS.format(network=made.text, whole=whole)
    parts = [*helpers(body), body.strip()]
    uses_functions = any("F." in part for part in parts)
    head = HEAD.format(
        version=__version__,
        shape=", ".join(map(str, shape)),
        weights=literal(weights_path(Path(f"{stem}.py")).name),
        classes="" if classes is None else f"CLASSES = {literal(tuple(classes))}\n",
        functions="from torch.nn import functional as F\n" if uses_functions else "",
        sequences="from collections.abc import Sequence\n" if any("Sequence[" in part for part in parts) else "",
        anything="from typing import Any\n" if any("Any" in part for part in parts) else "",
        torch="import torch\n" if any("torch." in part for part in parts) else "",
        tensor="Tensor, " if any("Tensor" in part for part in parts) else "",
    )
    return "\n\n\n".join([head.strip(), *parts]) + "\n", made.weights


def _run(stem: str, text: str, weights: bytes, xs: Sequence[Tensor]) -> list[Tensor]:
    """Return what the module says of the inputs, in a process of its own, as whoever uses it will."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        file, given, found = here / f"{stem}.py", here / "[given]", here / "[found]"
        file.write_text(text, encoding="utf-8")
        weights_path(file).write_bytes(weights)
        safetensors.torch.save_file({str(place): x.contiguous() for place, x in enumerate(xs)}, given)
        words = [sys.executable, "-c", CHECK, str(file), str(given), str(found), str(torch.get_num_threads())]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise ParityError(f"the PyTorch file does not run, and is not written: {said}; this is a fault in pellucid")
        ys = safetensors.torch.load_file(found)
    return [ys[str(place)] for place in range(len(ys))]
