"""Forward and backward passes that leave the model unchanged: outputs and gradients of its layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from inspect import isabstract
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.combine.base import Combinator, join, walk
from pellucid.fuse import kernel_gradient
from pellucid.layers import BatchNorm, Mode
from pellucid.nested import flatten, map_tree
from pellucid.sweep import backward, forward, run

if TYPE_CHECKING:
    from pellucid.layers.base import Cache, Layer, Params
    from pellucid.sweep import BackwardWatch, ForwardWatch
    from pellucid.training.model import BaseModel

MAX_PASS_BYTES = 1 << 30  # of all layers' outputs together: 9 images for VGG16 at 224 x 224
BATCH_SIZE = 64  # examples whose outputs are computed together
MIN_BATCH = 2  # examples; batch normalization needs more than one
MAX_NORM_DISTANCE = 1.5  # `norm_distance` of other pictures of the same scale
MIN_STD_RATIO = 1e-9  # of channels that are constant
MIN_ROW_DEVIATIONS = 8.0  # standard errors of a variance over rows; the largest of 1,700 new weights is 6.4


def rms(x: Tensor) -> float:
    """Return the root mean square of all values of a tensor of any dtype, summed in float64."""
    x = x if x.is_floating_point() else x.double()
    return torch.linalg.vector_norm(x, dtype=torch.float64).item() / max(x.numel(), 1) ** 0.5


def is_user_defined(component: object) -> bool:
    """Return whether a layer, loss, optimizer or objective is defined outside of the library."""
    return not type(component).__module__.startswith("pellucid.")


def library_version(component: Any) -> Any:
    """Return the library's part that a user-defined one is derived from, with the same fields; None without one."""
    base = next((kind for kind in type(component).__mro__ if kind.__module__.startswith("pellucid.")), None)
    if base is None or isabstract(base) or not is_dataclass(base):
        return None
    return base(**{field.name: getattr(component, field.name) for field in fields(base)})


def leaves(net: Layer) -> Iterator[tuple[str, Layer]]:
    """Yield (path, layer) of every layer that is not a combinator, in order."""
    return ((path, layer) for path, layer in walk(net) if not isinstance(layer, Combinator))


def is_pretrained(model: BaseModel, is_frozen: bool) -> bool:
    """Return whether a training has left its signs in the frozen layers of a model, or in the others."""
    weights = flatten(model.params)
    for path, layer in leaves(model.net):
        weight_path = join(path, "weight")
        if (weight_path in model.frozen) is not is_frozen:
            continue
        if isinstance(layer, BatchNorm) and bool(weights[join(path, layer.buffers[0])].any()):
            return True
        if "weight" in layer.decayed and _was_trained(weights[weight_path]):
            return True
    return False


def _was_trained(weight: Tensor) -> bool:
    """Return whether the sizes of rows or columns differ more than those of independent values of one distribution.

    Training makes some units and inputs larger than others. Weights that are newly drawn, here or in PyTorch, have
    independent values, so that the variance of a row's mean square follows from their second and fourth moments.
    """
    weight = weight.double()
    for rows in (weight.flatten(1), weight.transpose(0, 1).flatten(1)):
        count, length = rows.shape
        chance_variance = float(weight.pow(4).mean() - weight.square().mean().square()) / length
        excess = float(rows.square().mean(1).var(correction=0)) - chance_variance
        if excess > MIN_ROW_DEVIATIONS * (2 / count) ** 0.5 * chance_variance > 0:
            return True
    return False


def trainable_layers(model: BaseModel) -> list[tuple[str, str]]:
    """Return (path of the layer, path of its weight) for each layer that has a weight, if it is not frozen, in order.

    Only weights to which weight decay applies count, so normalization layers are left out.
    """
    pairs = ((path, join(path, "weight")) for path, layer in leaves(model.net) if "weight" in layer.decayed)
    return [(path, weight) for path, weight in pairs if weight not in model.frozen]


def evaluated(model: BaseModel, x: Tensor, watch: ForwardWatch | None = None) -> Any:
    """Return the outputs for inputs x (N, ...) in evaluation mode; watch: called for each layer and combinator."""
    with torch.inference_mode():
        return forward(model.net, model.params, x, Mode(keep=False), watch)[0]


def layer_outputs(model: BaseModel, x: Tensor) -> list[tuple[str, Layer, Tensor]]:
    """Return (path, layer, outputs) in evaluation mode of each layer that is not a combinator, in forward order."""
    outputs: list[tuple[str, Layer, Tensor]] = []

    def watch(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        if not isinstance(layer, Combinator) and isinstance(y, Tensor):
            outputs.append((path, layer, y.clone()))

    evaluated(model, x, watch)
    return outputs


def norm_distance(model: BaseModel, x: Tensor) -> float | None:
    """Return how far the inputs of the first batch normalization that was trained are from its running statistics.

    The mean over the channels of the difference of the logarithms of the standard deviations, plus that of the means in
    the larger of these deviations, for as many inputs as fit into memory; None if no batch normalization was trained.
    """
    weights, found = flatten(model.params), list[tuple[str, BatchNorm, Tensor]]()
    norms = ((path, layer) for path, layer in leaves(model.net) if isinstance(layer, BatchNorm))
    if not any(bool(weights[join(path, layer.buffers[0])].any()) for path, layer in norms):
        return None

    def watch(path: str, layer: Layer, inputs: Any, *_: Any) -> None:
        if not found and isinstance(layer, BatchNorm) and bool(weights[join(path, layer.buffers[0])].any()):
            found.append((path, layer, inputs))

    evaluated(model, x[: max_batch(model, x)], watch)
    path, layer, inputs = found[0]
    running_mean, variance = (weights[join(path, name)].double() for name in layer.buffers[:2])
    running_std = (variance + layer.epsilon).sqrt()
    std, mean = torch.std_mean(inputs.double().transpose(0, 1).flatten(1), 1)
    ratios = (std / running_std).clamp_min(MIN_STD_RATIO).log().abs()
    return float((ratios + (mean - running_mean).abs() / torch.maximum(running_std, std)).mean())


def max_batch(model: BaseModel, x: Tensor) -> int:
    """Return how many of the inputs x (N, ...) fit into one pass of MAX_PASS_BYTES, at least MIN_BATCH."""
    n_bytes = 4 * sum(y.numel() for _, _, y in layer_outputs(model, x[:1]))
    return max(MAX_PASS_BYTES // max(n_bytes, 1), MIN_BATCH)


def in_batches(model: BaseModel, x: Tensor) -> tuple[Tensor, ...]:
    """Return the inputs in as few batches as fit into memory, of about equal size."""
    return torch.tensor_split(x, max(-(-len(x) // max_batch(model, x)), 1))


def with_batch_statistics(model: BaseModel, x: Tensor) -> Any:
    """Return the outputs for inputs (N, ...) in evaluation mode, except that every BatchNorm uses batch statistics.

    Of a network with several outputs, only those for the first batch.
    """

    def leaf(path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        return layer.forward(params, x, Mode(isinstance(layer, BatchNorm), keep=False))

    with torch.inference_mode():
        params = map_tree(torch.clone, model.params)
        outputs = [run(model.net, params, batch, Mode(keep=False), leaf)[0] for batch in in_batches(model, x)]
        return torch.cat(outputs) if isinstance(outputs[0], Tensor) else outputs[0]


def example_losses(model: BaseModel, x: Tensor, *targets: Tensor) -> list[Tensor]:
    """Return the loss of each example (n,) in evaluation mode, for each of several targets of the inputs x (n, ...).

    Raises PellucidError for a loss that takes no single examples, and TypeError for several outputs.
    """
    outputs = torch.cat([model(batch) for batch in x.split(BATCH_SIZE)])
    return [torch.stack([model.loss(outputs[k : k + 1], y[k : k + 1])[0] for k in range(len(x))]) for y in targets]


def gradients(
    model: BaseModel,
    x: Tensor,
    target: Tensor,
    after_forward: ForwardWatch | None = None,
    after_backward: BackwardWatch | None = None,
) -> dict[str, Tensor]:
    """Return the gradients of the parameters by path, in training mode, for as much of a batch as fits into memory.

    after_forward, after_backward: watches of the two passes, called for each layer and combinator.
    """
    count = max_batch(model, x)
    x, target = x[:count], target[:count]
    with torch.inference_mode():
        params = map_tree(torch.clone, model.params)
        y, cache = forward(model.net, params, x, Mode(True, torch.Generator().manual_seed(model.seed)), after_forward)
        _, dy = model.loss(y, target)
        _, dparams = backward(model.net, params, cache, dy, kernel_gradient, after_backward)
    return flatten(dparams)
