"""The contents of a page about a convolutional network, after Zeiler and Fergus 2014."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from pellucid.combine import Graph, Sequential
from pellucid.combine.base import Combinator, join, walk
from pellucid.data.dataset import Dataset, float_images
from pellucid.errors import PellucidError
from pellucid.explain.ablation import AblationRow, ablation_table
from pellucid.explain.gradients import deconvnet
from pellucid.explain.maximization import Maximum, maximize
from pellucid.explain.occlusion import GREY, Occluded, grey, occlude
from pellucid.explain.retrained import Retraining
from pellucid.explain.target import upto
from pellucid.explain.top_patches import Evolution, TopPatches, activations, evolution, top_patches
from pellucid.layers import Conv2d
from pellucid.layers.base import Layer, Mode, Params, Trait
from pellucid.metrics import classes_of
from pellucid.nested import flatten
from pellucid.sweep import forward
from pellucid.training.device import CPU, on_device
from pellucid.training.model import BaseModel

MAPS, PATCHES, IMAGES = 16, 9, 3  # maps per layer, patches per map, images for occlusion
# Options of `maximize`.
ASCENT = {"steps": 100, "jitter": 1, "blur": 0.4, "decay": 0.01}


@dataclass(frozen=True, eq=False)
class LayerLook:
    """A convolution at `path`, the path of its activation (`output`, see `after`), and its maps' top patches.

    weight: (filters, C, h, w). field: the largest receptive field of a unit, (height, width). silent: number of
    maps that are never positive. maps: number of maps. outputs: (maps, h, w), for the first image that is shown.
    """

    path: str
    output: str
    weight: Tensor
    field: tuple[int, int]
    top: list[TopPatches]
    silent: int
    maps: int
    outputs: Tensor

    @property
    def key(self) -> str:
        """The path as used in file names."""
        return self.path.replace(".", "-")


@dataclass(frozen=True, eq=False)
class OccludedImage:
    """Occlusion of an image (C, H, W), and the deconvolution of a map, `map`: the one with the largest sum.

    target: the predicted class, called `label`. classes, total: the effects of occlusion on this class's probability
    and on the sum of the map.
    """

    image: Tensor
    label: str
    target: int
    classes: Occluded
    map: str
    total: Occluded
    deconvolution: Tensor


@dataclass(frozen=True, eq=False)
class Look:
    """The contents of the page about a model.

    images: (N, C, H, W). ablations, by_mean: rows with the outputs of layers replaced by 0 and by their means. best:
    class names, and inputs that maximize their scores. grown: maps by epoch. shows_retraining: whether `grown` shows
    the retrained network, not the model.
    """

    name: str
    data: str
    images: Tensor
    classes: tuple[str, ...]
    accuracy: float
    layers: list[LayerLook]
    hidden: list[OccludedImage]
    ablations: list[AblationRow]
    by_mean: list[AblationRow]
    best: list[tuple[str, Maximum]]
    retrained: Retraining | None = None
    grown: list[Evolution] = field(default_factory=list)
    shows_retraining: bool = False


def look(
    model: BaseModel,
    data: Dataset,
    name: str,
    most: int = 2000,
    maps: int = MAPS,
    epochs: Mapping[int, Params] | None = None,
    retraining: Retraining | None = None,
) -> Look:
    """Analyse a model on at most `most` images, evenly chosen from data with the model's class indices.

    maps: number of maps to show per layer, chosen by their largest activations. epochs: weights of the network by
    epoch, for the evolution of its maps; by default the weights of the unchanged network in `retraining`. retraining:
    the results of retraining. Raises PellucidError for a network without convolutions or without classes.
    """
    chosen = data.evenly(most)
    stored, labels = chosen.x, chosen.y
    images = float_images(stored)
    convolutions = [path for path, layer in walk(model.net) if isinstance(layer, Conv2d)]
    if not convolutions or len(model.output_shape) != 1 or model.output_shape[0] < 2:
        raise PellucidError(f"{name} is not a convolutional classifier; the page needs convolutions and class scores")
    weights = epochs or (retraining.weights if retraining is not None else {})
    first = sorted(int((labels == label).nonzero()[0]) for label in labels.unique())[:IMAGES]  # one image per class
    layers = [_layer(model, images, path, maps, first[0]) for path in convolutions]
    outputs, ready = [layer.output for layer in layers], model.scaled
    predicted = classes_of(model.predict(stored))
    table, by_mean = (
        ablation_table(model.net, model.params, stored, labels, by=by, prepare=ready) for by in ("zero", "mean")
    )
    return Look(
        name,
        data.name,
        images,
        tuple(data.classes),
        float((predicted == labels).double().mean()),
        layers,
        [_hidden(model, images[n], data.classes, layers[-1]) for n in first],
        table,
        by_mean,
        [(data.classes[k], _best(model, k)) for k in range(min(10, len(data.classes)))],
        retraining,
        evolution(model.net, weights, images, outputs, ready) if weights else [],
        not epochs,
    )


def after(net: Layer, path: str) -> str:
    """Return the path of the activation that only the layer at `path` feeds, or `path` if there is none.

    The search ends at the next layer with weights, the next merge, or the end of the branch.
    """
    for later, layer in _readers(net, path):
        if Trait.ACTIVATION in layer.traits:
            return later
        if Trait.WEIGHTED in layer.traits or isinstance(layer, Combinator):
            return path
    return path


def _readers(net: Layer, path: str) -> Iterator[tuple[str, Layer]]:
    """Yield the chain of layers after the layer at `path`, as long as each output has a single reader."""
    above, _, name = path.rpartition(".")
    container = dict(walk(net))[above]
    if isinstance(container, Sequential):
        names = list(container.children)
        for later in names[names.index(name) + 1 :]:
            yield from _inner(join(above, later), container.children[later])
        if above:
            yield from _readers(net, above)
    elif isinstance(container, Graph):
        repeated = {node[0] for node in container.nodes.values() if isinstance(node[0], str)}
        while name not in repeated and name not in container.outputs:
            readers = [(node, *rest) for node, (layer, *rest) in container.nodes.items() if name in rest]
            if len(readers) != 1 or len(readers[0]) > 2 or readers[0][0] not in container.layers:
                return
            name = readers[0][0]
            yield from _inner(join(above, name), container.layers[name])


def _inner(path: str, layer: Layer) -> Iterator[tuple[str, Layer]]:
    """Yield a layer, or the layers of nested Sequentials in order."""
    if isinstance(layer, Sequential):
        for name, child in layer.children.items():
            yield from _inner(join(path, name), child)
    else:
        yield path, layer


def _layer(model: BaseModel, images: Tensor, path: str, maps: int, example: int) -> LayerLook:
    output, ready = after(model.net, path), model.scaled
    strongest = activations(model.net, model.params, images, output, ready).amax(0)  # (K,)
    order = strongest.argsort(descending=True, stable=True)
    chosen = sorted(int(index) for index in order[:maps] if strongest[index] > 0)
    top = top_patches(model.net, model.params, images, output, chosen, PATCHES, ready)
    extents = [patches.corners[:, 2:] - patches.corners[:, :2] for patches in top]
    sizes = torch.cat(extents).amax(0) if extents else torch.zeros(2)
    y, _ = forward(upto(model.net, output), model.params, ready(images[example : example + 1]), Mode(keep=False))
    weight = flatten(model.params)[f"{path}.weight".lstrip(".")]
    field, silent = (int(sizes[0]), int(sizes[1])), int((strongest <= 0).sum())
    return LayerLook(path, output, weight.cpu(), field, top, silent, len(strongest), y[0].cpu())


def _hidden(model: BaseModel, image: Tensor, classes: tuple[str, ...], last: LayerLook) -> OccludedImage:
    x = model.scaled(image[None])
    target = int(classes_of(model.predict(image[None]))[0])
    side = max(1, min(image.shape[1:]) // 3)
    hide = partial(occlude, model.net, model.params, x, square=side, stride=max(1, side // 8), fill=grey(model))
    by_class = hide(target, read=model.loss.predict)
    y, _ = forward(upto(model.net, last.output), model.params, x, Mode(keep=False))
    best = f"{last.output}[{int(y[0].flatten(1).sum(1).argmax())}"
    total = hide(f"{best}, :, :]")
    deconvolution = deconvnet(model.net, model.params, x, f"{best}]")[0].cpu()
    return OccludedImage(
        image, classes[target], target, on_device(by_class, CPU), f"{best}]", on_device(total, CPU), deconvolution
    )


def _best(model: BaseModel, target: int) -> Maximum:
    start = torch.as_tensor(grey(model)).float()
    low, high = (model.scaled(torch.full((1, *model.nominal_shape), value)).cpu() for value in (0.0, 1.0))
    noise = 0.1 * float((high - low).mean())
    maximum = maximize(
        model.net, model.params, target, model.nominal_shape, start=start, noise=noise, low=low, high=high,
        rate=noise, **ASCENT,
    )  # fmt: skip
    return Maximum(GREY + (maximum.x - start) / (high - low), maximum.scores)  # back to 0..1
