"""Networks of timm and transformers, with the input shape and the options in their configuration."""

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

from pellucid.base.errors import PellucidError
from pellucid.base.limits import LIMITS_HINT, MAX_FOLDER_MODULES, MAX_FOLDER_NUMBER, scaled_limit
from pellucid.base.text import shown
from pellucid.weights.match import require_match

# the files in a Hugging Face folder
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
OPERATOR_DECLARATIONS: list[Any] = []  # keeps the declarations of operators, which end with their objects


class ConfiguredNetwork(NamedTuple):
    """A network of another library, with values from its configuration."""

    network: nn.Module
    shape: tuple[int, ...]  # the shape of an input, (C, H, W)
    options: dict[str, Any]  # arguments of Model, such as `preprocess` and `classes`


def import_library(name: str) -> Any:
    """Return the module timm or transformers; raises PellucidError if it is not installed.

    Both import torchvision, for transforms of pictures. A torchvision that was built for another PyTorch, such as
    PyPI's torchvision with a PyTorch for CPUs, can be imported only after its missing operators are declared.
    """
    try:
        if find_spec("torchvision") is not None:
            _import_torchvision()
        return import_module(name)
    except ImportError as error:
        missing_package = error.name or name
        raise PellucidError(f"open: networks of {name} need {missing_package}: pip install 'pellucid[open]'") from error


def _import_torchvision() -> None:
    try:
        import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            reason = " ".join(str(error).split())
            raise PellucidError(f"open: torchvision does not fit PyTorch {torch.__version__}: {reason:.200}") from error
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        OPERATOR_DECLARATIONS.append(library)
        import_module("torchvision")


def build(
    source: str, library: str, make_network: Callable[[], nn.Module], seed: int = 0, file_values: int | None = None
) -> nn.Module:
    """Return the network of `make_network`, built without a network connection, with weights drawn with `seed`.

    source, library: the names of the opened network and of its library in messages. file_values: the number of values
    in its file of weights, or None. Raises PellucidError for any error of the library, for too many modules, and for
    several times as many parameters as values.
    """
    try:
        # offline, since a configuration may name a backbone, which transformers would look up on the hub
        with _offline(), _size_limit(file_values), torch.inference_mode(False), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return make_network()
    except PellucidError:
        raise
    except Exception as error:  # raised by the other library
        reason = " ".join(str(error).split())
        raise PellucidError(f"open: {library} cannot build {source} ({type(error).__name__}: {reason:.200})") from error


@contextmanager
def _offline() -> Iterator[None]:
    """Forbid requests to Hugging Face, which timm and transformers make with huggingface_hub, inside the context."""
    from huggingface_hub import constants

    was_offline = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = was_offline


@contextmanager
def _size_limit(file_values: int | None) -> Iterator[None]:
    """Raise PellucidError as soon as a network exceeds MAX_FOLDER_MODULES or has far more parameters than its file.

    A configuration may name layers of any number and size. New parameters are registered before their memory is used.
    Some are replaced while a network is built, so up to four times as many parameters as values are accepted.
    """
    module_count = value_count = 0
    max_modules = scaled_limit(MAX_FOLDER_MODULES)

    def count_module(*_: Any) -> None:
        nonlocal module_count
        module_count += 1
        if module_count > max_modules:
            raise PellucidError(f"open: the network has more than {max_modules:,} modules; {LIMITS_HINT}")

    def count_values(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal value_count
        value_count += 0 if parameter is None else parameter.numel()
        if file_values is not None and value_count > 4 * file_values + MAX_FOLDER_NUMBER:
            raise PellucidError(
                f"open: the network has far more parameters than the {file_values:,} values of its file"
            )

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
    """Replace a network's weights with the tensors of a file.

    Raises MismatchError unless names and shapes are equal.
    """
    state = network.state_dict()
    weights = {key: tensor.to(state[key].dtype) if key in state else tensor for key, tensor in tensors.items()}
    require_match(path, state, weights)
    network.load_state_dict(weights)


def unique_class_names(entry_name: str, labels: Any) -> list[str]:
    """Return the names of classes, with the class index after each name that several classes have.

    entry_name: the name of the file's entry with the labels. Raises PellucidError unless they are a list of strings.
    """
    if not isinstance(labels, list) or not labels or not all(isinstance(name, str) for name in labels):
        raise PellucidError(f"{entry_name} must be a list of names, not {shown(labels)}")
    counts = Counter(labels)
    return [name if counts[name] == 1 else f"{name} ({index})" for index, name in enumerate(labels)]
