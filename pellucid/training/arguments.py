"""Checks of the arguments of `Model` and `fit`."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check, instance, instance_by_name, integer, is_number
from pellucid.base.text import shown
from pellucid.layers.base import Layer
from pellucid.losses import LOSSES, Loss
from pellucid.objective import Objective, Supervised
from pellucid.optim import OPTIMIZERS, MaxNorm, Optimizer, Regularizer
from pellucid.training.averaging import WeightAverage
from pellucid.training.updater import optimizers_of

DEFAULT_LOSS = "softmax_cross_entropy"


def checked_limit(value: Any, name: str) -> float | None:
    """Return `value` if it is None or a finite number above 0; raises PellucidError for anything else."""
    check(value is None or (is_number(value) and value > 0), name, "a number above 0, or None for no limit", value)
    return value


def checked_average(value: Any, name: str) -> WeightAverage | None:
    """Return `value` if it is None, "start" or a number above 0 and below 1; raises PellucidError otherwise."""
    is_valid = value is None or value == "start" or (is_number(value) and 0 < value < 1)
    check(is_valid, name, "a number between 0 and 1, such as 0.998, 'start' or None", value)
    return value


def objective_of(network: Any, loss: Any) -> Objective:
    """Return an Objective unchanged, or Supervised(network, loss) for a network.

    Raises PellucidError for anything else, for an unknown loss, and for an Objective together with a loss.
    """
    if isinstance(network, torch.nn.Module):
        raise PellucidError(
            f"the network is {type(network).__name__}, a module of PyTorch; convert it with an example of its input: "
            "model = pellucid.open(module, example)"
        )
    if not isinstance(network, Objective):
        net = instance(network, (Layer, Objective), "the network")
        return Supervised(cast(Layer, net), instance_by_name(loss, Loss, LOSSES, "loss"))
    if loss != DEFAULT_LOSS:
        raise PellucidError(f"{type(network).__name__} has its own losses; leave out loss={shown(loss)}")
    return network


def checked_optimizers(argument: Any, objective: Objective) -> tuple[Optimizer, dict[str, Optimizer]]:
    """Return (optimizer, {}), or for a dict (the first optimizer, the optimizers by network name).

    Raises PellucidError for an unknown optimizer, and for a dict whose keys are not the names of the networks.
    """
    if not isinstance(argument, Mapping):
        return instance_by_name(argument, Optimizer, OPTIMIZERS, "optimizer"), {}
    named_optimizers = cast(Mapping[Any, Any], argument).items()
    optimizer_by_network = {
        name: instance_by_name(value, Optimizer, OPTIMIZERS, f"optimizer of {shown(name)}")
        for name, value in named_optimizers
    }
    optimizers = optimizers_of(optimizer_by_network, objective.nets)
    return next(iter(optimizers.values())), optimizers


def checked_regularizers(terms: Any) -> tuple[Regularizer | MaxNorm, ...]:
    """Return None, one regularizer, or a list or tuple of them as a tuple; raises PellucidError for others."""
    if terms is None:
        return ()
    term_list = cast(Sequence[Any], terms) if isinstance(terms, list | tuple) else (terms,)
    return tuple(instance(value, (Regularizer, MaxNorm), "regularizer") for value in term_list)


def class_names(value: Any) -> tuple[str, ...] | None:
    """Return the class names for a sequence of names, or "0", "1", ... for a number of classes; None for None.

    Raises PellucidError for anything else, and for a name that occurs twice.
    """
    if value is None:
        return None
    if not isinstance(value, Sequence):
        return tuple(map(str, range(integer(value, "classes", 1))))
    names = cast(Sequence[Any], value)
    if isinstance(value, str) or not value or not all(isinstance(name, str) for name in names):
        raise PellucidError(f"classes must be their number or a list of their names, not {shown(names)}")
    repeated_names = [name for name, count in Counter(names).items() if count > 1]
    if repeated_names:
        raise PellucidError(f"classes: two are called {shown(repeated_names[0])}; give each its own name")
    return tuple(names)


TO_TORCH = "pellucid.export.to_torch(model, {python!r}) writes a module of PyTorch"
# What writes files with these suffixes, which `save` refuses because it writes safetensors files.
OTHER_FORMATS = {
    ".onnx": "pellucid.export.to_onnx(model, {name!r}) writes ONNX",
    **dict.fromkeys((".pt", ".pth", ".pt2", ".ckpt", ".bin"), TO_TORCH),
    **dict.fromkeys((".h5", ".hdf5", ".keras", ".tflite", ".npz"), ""),
}


def check_weights_suffix(path: Path) -> None:
    """Raise PellucidError, with the right call, for the name of a file of another format than safetensors."""
    export = OTHER_FORMATS.get(path.suffix.lower())
    if export is not None:
        export_text = f"; {export.format(name=path.name, python=f'{path.stem}.py')}" if export else ""
        raise PellucidError(
            f"save writes a safetensors file, not {path.name}: give model.save({f'{path.stem}.safetensors'!r})"
            + export_text
        )


def output_path(path: Any) -> Path:
    """Return the path of a file to write; raises PellucidError for a folder, and for anything that is not a path."""
    check(isinstance(path, str | os.PathLike), "the file to write", "a path", path)
    file = Path(cast("str | os.PathLike[str]", path))
    if not file.name or file.is_dir():
        raise PellucidError(f"{file} is a folder; give a file in it, such as {file / 'model.safetensors'}")
    return file
