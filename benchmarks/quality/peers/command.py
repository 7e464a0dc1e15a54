"""The command of each library: `train FOLDER OUT EPOCHS SEED` and `predict FOLDER OUT`, see benchmarks.quality.sets."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch

DECLARED: list[torch.library.Library] = []  # a declaration ends with its object


def run(train: Callable[[Path, Path, int, int], None], predict: Callable[[Path, Path], None]) -> None:
    """Run what the command line says."""
    action, folder, out, *numbers = sys.argv[1:]
    import_torchvision()
    if action == "train":
        epochs, seed = map(int, numbers)
        train(Path(folder), Path(out), epochs, seed)
    else:
        predict(Path(folder), Path(out))


def import_torchvision() -> None:
    """Import torchvision also where it was built for another PyTorch, such as PyPI's with a PyTorch for CPUs.

    Operators that it cannot load are declared without code: no training here uses them.
    """
    try:
        import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        DECLARED.append(library)
        import_module("torchvision")
