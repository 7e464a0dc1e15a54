"""The number of CPU threads of a run whose recipe has threads = "auto"."""

from typing import Any

import torch

from pellucid.base.allocator import keeping_freed_memory
from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import integer
from pellucid.model import Model
from pellucid.recipe.material import Material
from pellucid.recipe.recipe import Recipe
from pellucid.run.folder import RunFolder
from pellucid.training.distributed import processes
from pellucid.training.process import naming_batch_size
from pellucid.training.reading import Augmentation
from pellucid.training.threads import AutoThreads, FastestThreads, check_on_cpu, fastest_training_threads


def check_auto_threads(recipe: Recipe, device: torch.device) -> None:
    """Raise PellucidError for recipe.threads = "auto" in a training on a GPU, and in one of many processes."""
    if recipe.recipe.threads != "auto":
        return
    check_on_cpu("recipe.threads", device)
    if processes().count > 1:
        raise PellucidError(
            'recipe.threads: "auto" is for one process, and the processes of torchrun need the same number; give one, '
            "such as recipe.threads=1"
        )


def recorded_threads(run: RunFolder) -> int:
    """Return the number of threads with which a run was begun; 0 for a run that has not begun."""
    if not run.manifest.is_file():
        return 0
    return integer(run.read_manifest().get("threads"), f"{run.manifest}: threads", 1)


def auto_threads(
    recipe: Recipe, model: Model, material: Material[Any], run: RunFolder, augment: Augmentation | None
) -> AutoThreads:
    """Return the callback with the number of threads of a run: that of its manifest, otherwise the fastest one.

    Only with distributed.exact = false is the number measured again in the course of the training.
    """
    n_parts = recipe.distributed.shards or recipe.train.accumulate
    batch_size = -(-min(recipe.train.batch_size, len(material.train)) // n_parts)

    def measure() -> FastestThreads:
        return fastest_training_threads(model, material.train, batch_size, augment)

    # a resumed run keeps its number, on which the bits of its weights depend
    fastest = FastestThreads(recorded_threads(run))
    if not fastest.threads:
        with keeping_freed_memory(), naming_batch_size(batch_size):
            fastest = measure()
    return AutoThreads(fastest, None if recipe.distributed.exact else measure)
