"""Load the network of a trained model, of a recipe before training, or of the zoo."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pellucid import shipped_files
from pellucid.base.errors import PellucidError, nearest
from pellucid.combine.base import buffer_paths
from pellucid.command.args import parse_sizes
from pellucid.command.models import open_model
from pellucid.layers.base import Layer, Params, Shape
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.losses.base import Loss
from pellucid.models import MODELS, match
from pellucid.nested import flatten
from pellucid.network.inputs import NOMINAL_SIDE, FreeShape, nominal_shape
from pellucid.network.summary import shape_text
from pellucid.recipe.checks import check_network
from pellucid.recipe.material import input_shape, shape_of_table
from pellucid.recipe.recipe import build_part, load_recipe, parse_overrides, read_part
from pellucid.training.arguments import checked_regularizers
from pellucid.training.step import describe_training
from pellucid.verify.forms import TrainingForm

# Input shapes (C, H, W) of the networks of the zoo whose images are not 3 x 224 x 224 as for ImageNet.
INPUT_SHAPES: dict[str, Shape] = {
    **dict.fromkeys(("lenet", "convnet"), (1, 28, 28)),
    **dict.fromkeys(("airbench", "airbench96", "resnet20", "resnet32", "resnet56"), (3, 32, 32)),
    "inception_v3": (3, 299, 299),
}
IMAGENET_SHAPE: Shape = (3, 224, 224)
DEFAULT_SIDE = 32  # pixels: height and width of inputs in `open_net` if the network accepts any size
MAX_INPUT_VALUES = 1 << 24  # values of one image


@dataclass(frozen=True, eq=False)
class LoadedNetwork:
    """A network with its parameters, its loss, and the shapes of one input and of its output."""

    net: Layer
    params: Params
    loss: Loss
    input_shape: Shape
    output_shape: Any  # a tuple of shapes for a tuple of outputs
    training: TrainingForm = field(default_factory=TrainingForm)  # settings of the recipe, such as frozen parameters
    accepted_shape: FreeShape = ()  # the input shape of a trained model, with None for any size


def open_net(source: str, settings: list[str], data: str | None) -> LoadedNetwork:
    """Return the network of a model or a recipe; raise PellucidError, with the nearest name, for any other source."""
    if _is_recipe(source, settings):
        return _recipe_network(source, settings, data)
    if settings:
        raise PellucidError(
            f"{source} is not a recipe, so {settings[0]!r} has no effect; give settings only with a recipe"
        )
    return _model_network(source, "model or recipe", (), DEFAULT_SIDE)


def open_outline(source: str, settings: list[str], data: str | None, image: str | None) -> LoadedNetwork:
    """Return the network of a model or a recipe, or of the zoo; untrained parameters are on the device "meta".

    image: "CxHxW", the shape of the input (default: the shape of the network's training images, or 224 x 224).
    """
    is_trained_or_recipe = (
        _is_recipe(source, settings) or source in shipped_files.pretrained_names() or Path(source).exists()
    )
    image_shape = None if image is None else _parse_image_shape(image)
    if source in MODELS and not is_trained_or_recipe:
        return _zoo_network(source, settings, image_shape)
    if _is_recipe(source, settings):
        with torch.device("meta"):
            return _recipe_network(source, settings, data, image_shape)
    kinds_text = "model, recipe or network"
    if settings:
        _check_exists(source, kinds_text, MODELS)
        raise PellucidError(
            f"{source} is trained, so {settings[0]!r} has no effect; give settings only with a recipe or a network"
        )
    return _model_network(source, kinds_text, MODELS, image_shape=image_shape)


def _recipe_network(
    source: str, settings: list[str], data: str | None, image_shape: Shape | None = None
) -> LoadedNetwork:
    """Return the network of a recipe; image_shape: the input shape that `--input` gives."""
    recipe = load_recipe(source, parse_overrides(settings))
    net: Layer | None = recipe.build("network")
    if net is None:
        raise PellucidError(f"{source} trains several networks; train it, and give the run folder")
    shape = input_shape(recipe.data, data) if image_shape is None else shape_of_table(recipe.data) or image_shape
    check_network(recipe, net, shape)
    params, output_shape = net.init(shape, torch.Generator().manual_seed(recipe.recipe.seed))
    if image_shape is not None and image_shape != shape:
        output_shape = _resized_output_shape(source, net, params, shape, image_shape)
        shape = image_shape
    frozen = set().union(*(match(params, pattern) for pattern in recipe.train.frozen))
    training = describe_training(
        optimizer=recipe.build("optimizer"),
        regularizers=checked_regularizers(recipe.build("regularizer")),
        clip=recipe.train.clip or None,
        precision=recipe.train.precision,
        frozen=frozen - buffer_paths(net),
        rates=recipe.train.factors(),
    )
    return LoadedNetwork(net, params, recipe.build("loss"), shape, output_shape, training=training)


def _resized_output_shape(source: str, net: Layer, params: Params, shape: Shape, image_shape: Shape) -> Any:
    """Return the output shape for images of another size; raise PellucidError if the parameters only fit `shape`."""
    _check_fits(source, (shape[0], None, None), image_shape)
    try:
        resized_params, output_shape = net.init(image_shape, torch.Generator())
    except PellucidError as error:
        raise PellucidError(f"--input: {source}: {error}") from error
    if any(tensor.shape != flatten(params)[path].shape for path, tensor in flatten(resized_params).items()):
        _check_fits(source, shape, image_shape)
    return output_shape


def _check_fits(source: str, accepted_shape: FreeShape, image_shape: Shape) -> None:
    if any(
        size not in (None, image_size) for size, image_size in zip(accepted_shape, image_shape, strict=False)
    ) or len(accepted_shape) != len(image_shape):
        raise PellucidError(
            f"--input: {source} takes inputs of {shape_text(accepted_shape)}, not {shape_text(image_shape)}"
        )


def _zoo_network(name: str, settings: list[str], image_shape: Shape | None) -> LoadedNetwork:
    """Return a network of `pellucid.models`, with parameters on the device "meta"."""
    net: Layer = build_part(read_part({**parse_overrides(settings), "model": name}, "network", name), "network", name)
    shape = INPUT_SHAPES.get(name, IMAGENET_SHAPE) if image_shape is None else image_shape
    try:
        with torch.device("meta"):
            params, output_shape = net.init(shape, torch.Generator())
    except PellucidError as error:
        raise PellucidError(f"{name}: {error}") from error
    except (RuntimeError, OverflowError) as error:  # PyTorch cannot create tensors of these sizes
        raise PellucidError(f"{name}: its tensors would be too large; make the network smaller") from error
    return LoadedNetwork(net, params, SoftmaxCrossEntropy(), shape, output_shape)


def _check_exists(source: str, kinds_text: str, other_names: Iterable[str]) -> None:
    """Raise PellucidError, with the nearest name, unless `source` is a known name or looks like a path."""
    known_names = sorted({*shipped_files.recipe_names(), *shipped_files.pretrained_names(), *other_names})
    if not Path(source).exists() and not Path(source).suffix and "/" not in source and source not in known_names:
        hint = nearest(source, known_names) or f"; known: {', '.join(known_names)}"
        raise PellucidError(f"no {kinds_text} {source!r}{hint}")


def _model_network(
    source: str, kinds_text: str, other_names: Iterable[str], side: int = NOMINAL_SIDE, image_shape: Shape | None = None
) -> LoadedNetwork:  # fmt: skip
    _check_exists(source, kinds_text, other_names)
    model = open_model(source)
    if image_shape is not None:
        _check_fits(source, model.input_shape, image_shape)
    shape = image_shape or nominal_shape(model.input_shape, side)
    try:
        output_shape = model.outputs_for(shape)
    except PellucidError as error:
        if image_shape is not None:
            raise PellucidError(f"--input: {source}: {error}") from error
        shape = model.nominal_shape  # the network would reduce so small an image to a map without values
        output_shape = model.outputs_for(shape)
    return LoadedNetwork(model.net, model.params, model.loss, shape, output_shape, accepted_shape=model.input_shape)


def _parse_image_shape(text: str) -> Shape:
    """Return (channels, height, width) of "3x224x224"; raise PellucidError for other text and too large shapes."""
    shape = parse_sizes(text, "--input", "channels", "height", "width")
    if math.prod(shape) > MAX_INPUT_VALUES:
        raise PellucidError(f"--input {text} has more than {MAX_INPUT_VALUES:,} values; give a smaller image")
    return shape


def _is_recipe(source: str, settings: list[str]) -> bool:
    """Return whether `source` is a recipe: a TOML file, or the name of a built-in recipe.

    A name of both a recipe and a pretrained model is the recipe's only if there are settings.
    """
    is_builtin = source in shipped_files.recipe_names() and (
        bool(settings) or source not in shipped_files.pretrained_names()
    )
    return is_builtin or Path(source).suffix == ".toml"
