"""The network of a trained model, of a recipe before training, or of the zoo."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pellucid import shipped_files
from pellucid.combine.base import buffer_paths
from pellucid.command.args import sizes
from pellucid.command.models import open_model
from pellucid.errors import PellucidError, nearest
from pellucid.layers.base import Layer, Params, Shape
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.losses.base import Loss
from pellucid.models import MODELS, match
from pellucid.nested import flatten
from pellucid.network.inputs import NOMINAL, FreeShape, nominal
from pellucid.network.summary import shape_text
from pellucid.recipe.checks import check_network
from pellucid.recipe.material import input_shape, stated_shape
from pellucid.recipe.recipe import build_part, load_recipe, parse_overrides, read_part
from pellucid.training.arguments import regularizers
from pellucid.training.step import training_of
from pellucid.verify.forms import TrainingForm

# Input shapes (C, H, W) of networks whose images are not 224 x 224 as for ImageNet.
INPUT_SHAPES: dict[str, Shape] = {
    **dict.fromkeys(("lenet", "convnet"), (1, 28, 28)),
    **dict.fromkeys(("airbench", "airbench96", "resnet20", "resnet32", "resnet56"), (3, 32, 32)),
    "inception_v3": (3, 299, 299),
}
IMAGENET: Shape = (3, 224, 224)
DEFAULT_SIDE = 32  # pixels: height and width of inputs to `open_net` where the network takes any size
MAX_VALUES = 1 << 24  # of an image


@dataclass(frozen=True, eq=False)
class Net:
    """A network with its parameters, its loss, and the shapes of one input and of its output."""

    net: Layer
    params: Params
    loss: Loss
    input_shape: Shape
    output_shape: Any  # a tuple of shapes for several outputs
    training: TrainingForm = field(default_factory=TrainingForm)  # settings of the recipe, such as frozen parameters
    takes: FreeShape = ()  # the input shape of a trained model, with None for any size


def open_net(what: str, settings: list[str], data: str | None) -> Net:
    """Return the network of a model or a recipe; raises PellucidError, with the nearest name, for anything else."""
    if _is_recipe(what, settings):
        return _of_recipe(what, settings, data)
    if settings:
        raise PellucidError(
            f"{what} is not a recipe, so {settings[0]!r} has no effect; give settings only with a recipe"
        )
    return _of_model(what, "model or recipe", (), DEFAULT_SIDE)


def open_outline(what: str, settings: list[str], data: str | None, image: str | None) -> Net:
    """Return the network as `open_net` does, or a network of the zoo; untrained parameters are on the device "meta".

    image: "CxHxW", the shape of the input (default: the shape of the images that the network is for, or 224 x 224).
    """
    is_trained_or_recipe = _is_recipe(what, settings) or what in shipped_files.pretrained_names() or Path(what).exists()
    shape = None if image is None else _shape(image)
    if what in MODELS and not is_trained_or_recipe:
        return _of_zoo(what, settings, shape)
    if _is_recipe(what, settings):
        with torch.device("meta"):
            return _of_recipe(what, settings, data, shape)
    kinds = "model, recipe or network"
    if settings:
        _check_exists(what, kinds, MODELS)
        raise PellucidError(
            f"{what} is trained, so {settings[0]!r} has no effect; give settings only with a recipe or a network"
        )
    return _of_model(what, kinds, MODELS, image=shape)


def _of_recipe(what: str, settings: list[str], data: str | None, image: Shape | None = None) -> Net:
    """Return the network of a recipe; image: the input shape of `--input`."""
    recipe = load_recipe(what, parse_overrides(settings))
    net: Layer | None = recipe.build("network")
    if net is None:
        raise PellucidError(f"{what} trains several networks; train it, and give the run folder")
    shape = input_shape(recipe.data, data) if image is None else stated_shape(recipe.data) or image
    check_network(recipe, net, shape)
    params, out = net.init(shape, torch.Generator().manual_seed(recipe.recipe.seed))
    if image is not None and image != shape:
        out = _resized(what, net, params, shape, image)
        shape = image
    frozen = set().union(*(match(params, pattern) for pattern in recipe.train.frozen))
    training = training_of(
        recipe.build("optimizer"),
        regularizers(recipe.build("regularizer")),
        recipe.train.clip or None,
        recipe.train.precision,
        frozen - buffer_paths(net),
        recipe.train.factors(),
    )
    return Net(net, params, recipe.build("loss"), shape, out, training)


def _resized(what: str, net: Layer, params: Params, shape: Shape, image: Shape) -> Any:
    """Return the output shape for images of another size; raises PellucidError if the parameters fit only `shape`."""
    _check_fits(what, (shape[0], None, None), image)
    try:
        resized, out = net.init(image, torch.Generator())
    except PellucidError as error:
        raise PellucidError(f"--input: {what}: {error}") from error
    if any(tensor.shape != flatten(params)[path].shape for path, tensor in flatten(resized).items()):
        _check_fits(what, shape, image)
    return out


def _check_fits(what: str, takes: FreeShape, image: Shape) -> None:
    if any(size not in (None, given) for size, given in zip(takes, image, strict=False)) or len(takes) != len(image):
        raise PellucidError(f"--input: {what} takes inputs of {shape_text(takes)}, not {shape_text(image)}")


def _of_zoo(name: str, settings: list[str], image: Shape | None) -> Net:
    """Return a network of `pellucid.models`, with parameters on the device "meta"."""
    net: Layer = build_part(read_part({**parse_overrides(settings), "model": name}, "network", name), "network", name)
    shape = INPUT_SHAPES.get(name, IMAGENET) if image is None else image
    try:
        with torch.device("meta"):
            params, out = net.init(shape, torch.Generator())
    except PellucidError as error:
        raise PellucidError(f"{name}: {error}") from error
    except (RuntimeError, OverflowError) as error:  # sizes that no tensor can have
        raise PellucidError(f"{name}: its tensors would be too large; make the network smaller") from error
    return Net(net, params, SoftmaxCrossEntropy(), shape, out)


def _check_exists(what: str, kinds: str, more: Iterable[str]) -> None:
    """Raise PellucidError, with the nearest name, unless `what` is a known name or looks like a path."""
    known = sorted({*shipped_files.recipe_names(), *shipped_files.pretrained_names(), *more})
    if not Path(what).exists() and not Path(what).suffix and "/" not in what and what not in known:
        hint = nearest(what, known) or f"; known: {', '.join(known)}"
        raise PellucidError(f"no {kinds} {what!r}{hint}")


def _of_model(
    what: str, kinds: str, more: Iterable[str], side: int = NOMINAL, image: Shape | None = None
) -> Net:  # fmt: skip
    _check_exists(what, kinds, more)
    model = open_model(what)
    if image is not None:
        _check_fits(what, model.input_shape, image)
    shape = image or nominal(model.input_shape, side)
    try:
        outputs = model.outputs_for(shape)
    except PellucidError as error:
        if image is not None:
            raise PellucidError(f"--input: {what}: {error}") from error
        shape = model.nominal_shape  # the network reduces so small an image to nothing
        outputs = model.outputs_for(shape)
    return Net(model.net, model.params, model.loss, shape, outputs, takes=model.input_shape)


def _shape(text: str) -> Shape:
    """Return (channels, height, width) of "3x224x224"."""
    shape = sizes(text, "--input", "channels", "height", "width")
    if math.prod(shape) > MAX_VALUES:
        raise PellucidError(f"--input {text} has more than {MAX_VALUES:,} values; give a smaller image")
    return shape


def _is_recipe(what: str, settings: list[str]) -> bool:
    """Return whether `what` is a recipe: a TOML file, or a built-in name (a model's name too only with settings)."""
    builtin = what in shipped_files.recipe_names() and (bool(settings) or what not in shipped_files.pretrained_names())
    return builtin or Path(what).suffix == ".toml"
