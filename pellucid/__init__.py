"""See-through neural networks for vision: every layer has an explicit forward and an explicit backward pass."""

import re
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pellucid.base.version import __version__ as __version__

if TYPE_CHECKING:
    from pellucid.base.errors import PellucidError
    from pellucid.combine import Combinator, Fork, Graph, Parallel, Sequential, Shared
    from pellucid.data import Augment, Dataset, Loader, Splits, load_folder, load_image, load_splits
    from pellucid.layers import *  # noqa: F403 - __all__ below contains all of its names
    from pellucid.losses import (
        L1,
        AuxiliaryCrossEntropy,
        BinaryCrossEntropy,
        Coordinates,
        Dice,
        Focal,
        GIoU,
        HeatMaps,
        Hinge,
        Huber,
        Loss,
        NegativeLogLikelihood,
        Quadratic,
        QualityFocal,
        SoftmaxCrossEntropy,
    )
    from pellucid.metrics import Metric
    from pellucid.model import Model
    from pellucid.models import convnet, lenet, mlp
    from pellucid.objective import Objective, Supervised
    from pellucid.opening import open as open
    from pellucid.opening import register_op
    from pellucid.optim import (
        SGD,
        Adagrad,
        Adam,
        AdamW,
        MaxNorm,
        Momentum,
        Nesterov,
        Optimizer,
        Regularizer,
        RMSprop,
        Schedule,
    )
    from pellucid.optim.regularizers import L2, ElasticNet
    from pellucid.optim.schedules import Constant, Cosine, InverseTime, OneCycle, ReduceOnPlateau, Warmup
    from pellucid.predictor import Predicted, PredictionList
    from pellucid.recipe.job import Run, train
    from pellucid.recipe.recipe import Recipe, load_recipe
    from pellucid.recipe.resume import resume
    from pellucid.sweep import backward, forward, gradient
    from pellucid.training.callbacks import Callback, Checkpoint, CSVLog, EarlyStopping
    from pellucid.training.register import register
    from pellucid.tuning.launch import tune

__all__ = [
    "L1",
    "L2",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Augment",
    "AuxiliaryCrossEntropy",
    "BinaryCrossEntropy",
    "CSVLog",
    "Callback",
    "Checkpoint",
    "Combinator",
    "Constant",
    "Coordinates",
    "Cosine",
    "Dataset",
    "Dice",
    "EarlyStopping",
    "ElasticNet",
    "Focal",
    "Fork",
    "GIoU",
    "Graph",
    "HeatMaps",
    "Hinge",
    "Huber",
    "InverseTime",
    "Loader",
    "Loss",
    "MaxNorm",
    "Metric",
    "Model",
    "Momentum",
    "NegativeLogLikelihood",
    "Nesterov",
    "Objective",
    "OneCycle",
    "Optimizer",
    "Parallel",
    "PellucidError",
    "Predicted",
    "PredictionList",
    "Quadratic",
    "QualityFocal",
    "RMSprop",
    "Recipe",
    "ReduceOnPlateau",
    "Regularizer",
    "Run",
    "Schedule",
    "Sequential",
    "Shared",
    "SoftmaxCrossEntropy",
    "Splits",
    "Supervised",
    "Warmup",
    "backward",
    "convnet",
    "forward",
    "gradient",
    "lenet",
    "load_folder",
    "load_image",
    "load_recipe",
    "load_splits",
    "mlp",
    "register",
    "register_op",
    "resume",
    "train",
    "tune",
]
if not TYPE_CHECKING:  # the names in pellucid.layers, read from its source, since importing it would import PyTorch
    _source = __spec__.loader.get_data(__file__.removesuffix("__init__.py") + "layers/__init__.py").decode()
    __all__.extend(re.findall(r'^    "(\w+)",$', _source, re.MULTILINE))

# The modules of the public names. Each is imported on the first use of one of its names, so that `import pellucid` is
# fast.
_MODULES = (
    "pellucid.base.errors",
    "pellucid.layers",
    "pellucid.combine",
    "pellucid.sweep",
    "pellucid.losses",
    "pellucid.metrics",
    "pellucid.optim",
    "pellucid.optim.regularizers",
    "pellucid.optim.schedules",
    "pellucid.data",
    "pellucid.models",
    "pellucid.objective",
    "pellucid.predictor",
    "pellucid.training.callbacks",
    "pellucid.model",
    "pellucid.recipe.recipe",
    "pellucid.recipe.job",
    "pellucid.recipe.resume",
    "pellucid.training.register",
    "pellucid.opening",
    "pellucid.tuning.launch",  # the last, since an installation may lack it
)
_NOT_IN_ALL = ("open",)  # public, but `from pellucid import *` must not replace the built-in function


def __getattr__(name: str) -> Any:
    """Import a public name on its first use; raises AttributeError, with the nearest name, for an unknown one."""
    if name in __all__ or name in _NOT_IN_ALL:
        for module in _MODULES:
            value = getattr(import_module(module), name, None)
            if value is not None:
                globals()[name] = value
                return value
    from pellucid.base.errors import nearest

    hint = nearest(name, __all__)
    # `from pellucid import NAME` replaces the message of an AttributeError by its own, so raise an ImportError. That
    # statement calls this function from importlib's _handle_fromlist, before it tries to import a submodule NAME.
    if hint and sys._getframe(1).f_code.co_name == "_handle_fromlist" and find_spec(f"{__name__}.{name}") is None:
        raise ImportError(f"cannot import name {name!r} from 'pellucid'{hint}", name=__name__, path=__file__)
    raise AttributeError(f"module 'pellucid' has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*globals(), *__all__, *_NOT_IN_ALL])


if "ipykernel" in sys.modules:  # in a notebook, display results as views of the studio
    import_module("pellucid.studio.display").register()
