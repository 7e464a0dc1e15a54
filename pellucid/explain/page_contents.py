"""The contents of a page about a convolutional network, after Zeiler and Fergus 2014."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine import Graph, Sequential
from pellucid.combine.base import Combinator, join, walk
from pellucid.data.dataset import Dataset, float_images
from pellucid.explain.ablation import AblationRow, ablation_table
from pellucid.explain.gradients import deconvnet
from pellucid.explain.maximization import Maximum, maximize
from pellucid.explain.occlusion import GREY, Occluded, grey, occlude
from pellucid.explain.parts import upto
from pellucid.explain.retrained import Retraining
from pellucid.explain.top_patches import Evolution, TopPatches, activations, evolution, top_patches
from pellucid.layers import Conv2d
from pellucid.layers.base import Layer, Mode, Params, Trait
from pellucid.metrics import classes_of
from pellucid.nested import flatten
from pellucid.sweep import forward
from pellucid.training.device import CPU, on_device
from pellucid.training.model import BaseModel

MAX_MAPS = 16  # per layer
PATCHES_PER_MAP = 9
MAX_IMAGES = 3  # for occlusion
MAX_CLASSES = 10  # with an input that maximizes their score
# Options of `maximize`.
ASCENT_OPTIONS = {"steps": 100, "jitter": 1, "blur": 0.4, "decay": 0.01}


@dataclass(frozen=True, eq=False)
class LayerContents:
    """The convolution at `path`, its activation at the path `output` (see `activation_path`), and its top patches."""

    path: str
    output: str
    weight: Tensor  # (filters, C, h, w)
    field_size: tuple[int, int]  # the largest receptive field of a unit, (height, width) in pixels
    top: list[TopPatches]
    n_silent: int  # number of maps that are never positive
    maps: int  # number of maps
    outputs: Tensor  # (maps, h, w), for the first example image

    @property
    def key(self) -> str:
        """The path as used in file names."""
        return self.path.replace(".", "-")


@dataclass(frozen=True, eq=False)
class OccludedImage:
    """Occlusion of an image (C, H, W), and the deconvolution of the map with the largest sum, at the path `map`."""

    image: Tensor
    label: str  # the name of the predicted class
    target: int  # the index of the predicted class
    class_occlusion: Occluded  # the effect of occlusion on the probability of the predicted class
    map: str
    map_occlusion: Occluded  # the effect of occlusion on the sum of the map
    deconvolution: Tensor


@dataclass(frozen=True, eq=False)
class PageContents:
    """The contents of the page about a model."""

    name: str
    data: str
    images: Tensor  # (N, C, H, W)
    classes: tuple[str, ...]
    accuracy: float
    layers: list[LayerContents]
    occluded_images: list[OccludedImage]
    ablations: list[AblationRow]  # rows with the outputs of layers replaced by 0
    mean_ablations: list[AblationRow]  # rows with the outputs of layers replaced by their means
    class_maxima: list[tuple[str, Maximum]]  # names of classes, and the inputs that maximize their scores
    retrained: Retraining | None = None
    evolutions: list[Evolution] = field(default_factory=list)  # maps by epoch
    shows_retraining: bool = False  # whether `evolutions` shows the retrained network instead of the model


def page_contents(
    model: BaseModel,
    data: Dataset,
    name: str,
    max_images: int = 2000,
    maps: int = MAX_MAPS,
    epochs: Mapping[int, Params] | None = None,
    retraining: Retraining | None = None,
) -> PageContents:
    """Analyse a model on at most `max_images` images, evenly chosen from data with the model's class indices.

    maps: number of maps to show per layer, chosen by their largest activations. epochs: weights of the network by
    epoch, for the evolution of its maps; by default the weights of the unchanged network in `retraining`. retraining:
    the results of retraining. Raises PellucidError for a network without convolutions or without classes.
    """
    sample = data.evenly(max_images)
    inputs, labels = sample.x, sample.y
    images = float_images(inputs)
    convolutions = [path for path, layer in walk(model.net) if isinstance(layer, Conv2d)]
    if not convolutions or len(model.output_shape) != 1 or model.output_shape[0] < 2:
        raise PellucidError(f"{name} is not a convolutional classifier; the page needs convolutions and class scores")
    epoch_weights = epochs or (retraining.weights if retraining is not None else {})
    example_indices = sorted(int((labels == label).nonzero()[0]) for label in labels.unique())[
        :MAX_IMAGES
    ]  # one image per class
    layers = [_layer_contents(model, images, path, maps, example_indices[0]) for path in convolutions]
    outputs = [layer.output for layer in layers]
    prepare = model.scaled
    predicted = classes_of(model.predict(inputs))
    zero_ablations, mean_ablations = (
        ablation_table(model.net, model.params, inputs, labels, by=by, prepare=prepare) for by in ("zero", "mean")
    )
    return PageContents(
        name=name,
        data=data.name,
        images=images,
        classes=tuple(data.classes),
        accuracy=float((predicted == labels).double().mean()),
        layers=layers,
        occluded_images=[_occlude_image(model, images[n], data.classes, layers[-1]) for n in example_indices],
        ablations=zero_ablations,
        mean_ablations=mean_ablations,
        class_maxima=[(data.classes[k], _maximize_class(model, k)) for k in range(min(MAX_CLASSES, len(data.classes)))],
        retrained=retraining,
        evolutions=evolution(model.net, epoch_weights, images, outputs, prepare) if epoch_weights else [],
        shows_retraining=not epochs,
    )


def activation_path(net: Layer, path: str) -> str:
    """Return the path of the activation that follows the layer at `path`, or `path` if none follows.

    The search ends at the next layer with weights, the next merge, or the end of the branch.
    """
    for next_path, layer in _following_layers(net, path):
        if Trait.ACTIVATION in layer.traits:
            return next_path
        if Trait.WEIGHTED in layer.traits or isinstance(layer, Combinator):
            return path
    return path


def _following_layers(net: Layer, path: str) -> Iterator[tuple[str, Layer]]:
    """Yield the layers after the layer at `path`, up to the first output that several layers or none use."""
    parent_path, _, name = path.rpartition(".")
    container = dict(walk(net))[parent_path]
    if isinstance(container, Sequential):
        names = list(container.children)
        for next_name in names[names.index(name) + 1 :]:
            yield from _flat_layers(join(parent_path, next_name), container.children[next_name])
        if parent_path:
            yield from _following_layers(net, parent_path)
    elif isinstance(container, Graph):
        repeated_nodes = {node[0] for node in container.nodes.values() if isinstance(node[0], str)}
        while name not in repeated_nodes and name not in container.outputs:
            readers = [reader for reader, (_, *sources) in container.nodes.items() if name in sources]
            # The only reader is the next layer if it has one source and a layer of its own.
            if len(readers) != 1 or len(container.nodes[readers[0]]) > 2 or readers[0] not in container.layers:
                return
            name = readers[0]
            yield from _flat_layers(join(parent_path, name), container.layers[name])


def _flat_layers(path: str, layer: Layer) -> Iterator[tuple[str, Layer]]:
    """Yield a layer, or the layers of nested Sequentials in order."""
    if isinstance(layer, Sequential):
        for name, child in layer.children.items():
            yield from _flat_layers(join(path, name), child)
    else:
        yield path, layer


def _layer_contents(model: BaseModel, images: Tensor, path: str, max_maps: int, example_index: int) -> LayerContents:
    output = activation_path(model.net, path)
    prepare = model.scaled
    largest_activations = activations(model.net, model.params, images, output, prepare).amax(0)  # (K,)
    order = largest_activations.argsort(descending=True, stable=True)
    map_indices = sorted(int(index) for index in order[:max_maps] if largest_activations[index] > 0)
    top = top_patches(model.net, model.params, images, output, map_indices, PATCHES_PER_MAP, prepare)
    extents = [patches.corners[:, 2:] - patches.corners[:, :2] for patches in top]
    height, width = torch.cat(extents).amax(0).tolist() if extents else (0, 0)
    y, _ = forward(
        upto(model.net, output), model.params, prepare(images[example_index : example_index + 1]), Mode(keep=False)
    )
    weight = flatten(model.params)[f"{path}.weight".lstrip(".")]
    return LayerContents(
        path=path,
        output=output,
        weight=weight.cpu(),
        field_size=(height, width),
        top=top,
        n_silent=int((largest_activations <= 0).sum()),
        maps=len(largest_activations),
        outputs=y[0].cpu(),
    )


def _occlude_image(model: BaseModel, image: Tensor, classes: tuple[str, ...], last: LayerContents) -> OccludedImage:
    x = model.scaled(image[None])
    target = int(classes_of(model.predict(image[None]))[0])
    side = max(1, min(image.shape[1:]) // 3)
    options = {"square": side, "stride": max(1, side // 8), "fill": grey(model)}
    occlude_square = partial(occlude, model.net, model.params, x, **options)
    class_occlusion = occlude_square(target, read=model.loss.predict)
    y, _ = forward(upto(model.net, last.output), model.params, x, Mode(keep=False))
    map_index = int(y[0].flatten(1).sum(1).argmax())
    strongest_map = f"{last.output}[{map_index}]"
    return OccludedImage(
        image=image,
        label=classes[target],
        target=target,
        class_occlusion=on_device(class_occlusion, CPU),
        map=strongest_map,
        map_occlusion=on_device(occlude_square(f"{last.output}[{map_index}, :, :]"), CPU),
        deconvolution=deconvnet(model.net, model.params, x, strongest_map)[0].cpu(),
    )


def _maximize_class(model: BaseModel, target: int) -> Maximum:
    start = torch.as_tensor(grey(model)).float()
    low, high = (model.scaled(torch.full((1, *model.nominal_shape), value)).cpu() for value in (0.0, 1.0))
    noise = 0.1 * float((high - low).mean())  # the default noise and rate of `maximize`, which are for inputs 0..1
    maximum = maximize(
        model.net, model.params, target, model.nominal_shape, start=start, noise=noise, low=low, high=high,
        rate=noise, **ASCENT_OPTIONS,
    )  # fmt: skip
    return Maximum(GREY + (maximum.x - start) / (high - low), maximum.scores)  # back to 0..1
