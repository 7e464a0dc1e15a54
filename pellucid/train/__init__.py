"""Training: the step, the loop, checkpoints, run folders, recipes; `pellucid.train("mnist-mlp")` calls the package."""

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    """A module that can be called, so that `pellucid.train` is the package and the command of one name."""

    def __call__(self, recipe: Any, /, **overrides: Any) -> Any:
        """Train by a recipe, `pellucid.train("mnist-mlp", **{"optimizer.lr": 0.5})`; see `pellucid.train.job`."""
        from pellucid.train.job import train

        return train(recipe, **overrides)


sys.modules[__name__].__class__ = _CallablePackage
