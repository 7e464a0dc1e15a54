"""Networks of other libraries with what their configuration says about inputs and outputs."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from pellucid.config import LIMITS_HINT, raised
from pellucid.errors import PellucidError
from pellucid.text import shown
from pellucid.weights.match import require_match

CONFIG, WEIGHTS = "config.json", "model.safetensors"  # the files of a folder of Hugging Face
MAX_MODULES = 50_000  # several times those of the largest networks, which are built twice
MAX_INTEGER = 1_000_000  # in a configuration, where it is a number of classes, channels or layers
DECLARED: list[Any] = []  # declarations of operators, which last as long as their objects


class ConfiguredNetwork(NamedTuple):
    """A network of another library, and what its configuration says.

    shape: of an input, (C, H, W). options: of Model, such as `preprocess` and `classes`.
    """

    network: nn.Module
    shape: tuple[int, ...]
    options: dict[str, Any]


def import_library(name: str) -> Any:
    """Return the module timm or transformers; PellucidError if it is not installed.

    Both import torchvision, for transforms of pictures. One that was built for another PyTorch, such as the registry's
    beside a PyTorch for CPUs, cannot be imported unless the operators that it lacks are declared.
    """
    try:
        if find_spec("torchvision") is not None:
            _import_torchvision()
        return import_module(name)
    except ImportError as error:
        what = error.name or name
        raise PellucidError(f"open: networks of {name} need {what}: pip install 'pellucid[open]'") from error


def _import_torchvision() -> None:
    try:
        import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            why = " ".join(str(error).split())
            raise PellucidError(f"open: torchvision does not fit PyTorch {torch.__version__}: {why:.200}") from error
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        DECLARED.append(library)
        import_module("torchvision")


def build(
    source: str, library: str, make: Callable[[], nn.Module], seed: int = 0, available: int | None = None
) -> nn.Module:
    """Return the network that another library makes, without using a network connection, with weights drawn by `seed`.

    source: what is opened. available: the number of values in its file of weights, if it has one. Raises PellucidError
    for whatever the library raises, for too many modules, and for several times as many parameters as values.
    """
    try:
        with _offline(), _bounded(available), torch.inference_mode(False), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return make()
    except PellucidError:
        raise
    except Exception as error:  # of the other library
        why = " ".join(str(error).split())
        raise PellucidError(f"open: {library} cannot build {source} ({type(error).__name__}: {why:.200})") from error


@contextmanager
def _offline() -> Iterator[None]:
    """Forbid requests to Hugging Face, which timm and transformers make by huggingface_hub; restore that at the end."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def _bounded(available: int | None) -> Iterator[None]:
    """Raise PellucidError as soon as more than MAX_MODULES are built, or parameters far beyond the values available.

    A file may name layers of any number and size. New parameters are registered before memory is taken for their
    values, and some are replaced while a network is built, which is why several times as many are accepted.
    """
    modules, values, limit = 0, 0, raised(MAX_MODULES)

    def count_module(*_: Any) -> None:
        nonlocal modules
        modules += 1
        if modules > limit:
            raise PellucidError(f"open: the network has more than {limit:,} modules; {LIMITS_HINT}")

    def count_values(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal values
        values += 0 if parameter is None else parameter.numel()
        if available is not None and values > 4 * available + MAX_INTEGER:
            raise PellucidError(f"open: the network has far more parameters than the {available:,} values of its file")

    hooks = (
        register_module_module_registration_hook(count_module),
        register_module_parameter_registration_hook(count_values),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def load(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Replace a network's weights by those of a file; MismatchError unless names, shapes and dtypes are equal."""
    state = network.state_dict()
    found = {key: one.to(state[key].dtype) if key in state else one for key, one in tensors.items()}
    require_match(path, state, found)
    network.load_state_dict(found)


def unique_names(where: str, labels: Any) -> list[str]:
    """Return the names of classes, with its number after each name that several classes have.

    where: the entry of a file with the names, for the PellucidError unless they are a list of texts.
    """
    if not isinstance(labels, list) or not labels or not all(isinstance(name, str) for name in labels):
        raise PellucidError(f"{where} must be a list of names, not {shown(labels)}")
    counts = Counter(labels)
    return [name if counts[name] == 1 else f"{name} ({index})" for index, name in enumerate(labels)]
