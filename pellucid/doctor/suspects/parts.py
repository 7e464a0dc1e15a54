"""Data, losses, layers and networks that may be why a training fails, each with a harmless one in its place."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.combine import Sequential
from pellucid.combine.base import buffer_paths, replace_layer, walk
from pellucid.data.dataset import float_images
from pellucid.data.seeds import generator
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Suspect, suspect
from pellucid.doctor.inputs import Change
from pellucid.doctor.passes import is_user_defined, leaves, output_layers, rms, trainable_layers
from pellucid.doctor.rehearsal import reinitialized
from pellucid.doctor.remedies import as_he, begun, rebuilt, standardised, with_layers, with_parts
from pellucid.errors import PellucidError
from pellucid.layers import AvgPool2d, BatchNorm, Conv2d, Dense, LpPool2d, MaxPool2d, ReLU
from pellucid.layers.base import Cache, Layer, Mode, Params, Trait
from pellucid.losses import Loss
from pellucid.sweep import forward
from pellucid.training.model import BaseModel
from pellucid.tree import flatten

OFF_CENTRE, TALL, FLAT = 2.0, 5.0, 0.05  # deviations that targets' mean is from 0; the largest and smallest deviation
BYTES = 255.0
SMALL, LARGE = 0.1, 3.0  # root mean square of inputs, between which they are not multiplied by 255 or divided by it
BATCH = 8  # examples
COUPLED = 1e-3  # of the gradients of the other examples, changed by one example's target
DRAWS = 16  # passes in training mode, over which the drawing of numbers is averaged
MODE_GAP = 0.15  # of a layer's mean absolute output, by which training mode differs from evaluation
NARROW = 16  # units of a layer, fewer than which may be too few
WIDE = 64  # units that are tried instead
DEEP = 4  # layers that learn, from which on a network is tried with batch normalization
HE = 3.0  # times the size of weights as He 2015 draws them, or its inverse
ONE_SIDED = 0.5  # deviations that the mean of weights is off from 0; of 50 drawn around 0 it is 0.14
FIRST_BIASES = 1.0  # from 0, root mean square of a layer's first biases
STRIDING = (Conv2d, MaxPool2d, AvgPool2d, LpPool2d)
REDUCIBLE = 16  # pixels of a side
EARLY = 16  # times fewer positions than the input has, already for the second convolution
SHALLOW = 3  # convolutions, behind which a single position is left too early


def targets(case: Case) -> Iterator[Suspect]:
    """Yield targets that are numbers far from mean 0 and deviation 1."""
    y = case.train.y
    if case.classifies or not y.is_floating_point():
        return
    mean, std = y.double().mean(0, keepdim=True), y.double().std(0, correction=0, keepdim=True)
    off = float((mean.abs() / std.clamp_min(1e-12)).max())
    if float(std.min()) > 0 and (off > OFF_CENTRE or float(std.max()) > TALL or float(std.min()) < FLAT):
        yield suspect(
            "unnormalised-targets", "targets are far from what the network outputs at first, so that most of the "
            "training goes into their mean and scale",
            "take off the targets' mean and divide by their deviation, and undo that on what the network predicts",
            "standardised targets",
            lambda case: rebuilt(standardised(case)),
            path="train", odd=True, mean_target=float(mean.mean()), standard_deviation_of_the_targets=float(std.mean()),
        )  # fmt: skip


def pretrained_scale(case: Case) -> Iterator[Suspect]:
    """Yield the scale of inputs of a network that begins with weights learned elsewhere."""
    if not _pretrained(case):
        return
    size = float(case.inputs(case.sample).double().square().mean().sqrt())
    x = float_images(case.sample.x)
    axes = (0, 2, 3) if x.dim() == 4 else (0,)
    mean, std = x.mean(axes, keepdim=True), x.std(axes, correction=0, keepdim=True).clamp_min(1e-6)
    ways: dict[str, Change] = {"standardised": lambda x: (x - mean) / std}
    if size > LARGE:
        ways["divided by 255"] = lambda x: x / BYTES
    if size < SMALL:
        ways["multiplied by 255"] = lambda x: x * BYTES
    for name, way in ways.items():
        yield suspect(
            "preprocessing-mismatch", "the network begins with weights that were learned from inputs of another scale",
            "prepare inputs as for the training that the weights come from", f"inputs {name}",
            lambda case, way=way: with_parts(case, lambda part: replace(part, x=way(float_images(part.x)))),
            path="train", root_mean_square_of_inputs=size,
        )  # fmt: skip


def _pretrained(case: Case) -> bool:
    """Return whether some weights are frozen, or others than the network draws by its seed."""
    if case.model.frozen:
        return True
    drawn, first = flatten(reinitialized(case.first).params), flatten(case.first.params)
    return any(value.dim() > 1 and not torch.equal(value, drawn[path]) for path, value in first.items())


@dataclass(frozen=True)
class PerExample(Loss):
    """The mean of a loss over the examples, each by itself."""

    loss: Loss

    def compute(self, y: Any, target: Tensor) -> tuple[Tensor, Any]:
        """Return (value, dy)."""
        parts = [self.loss(y[k : k + 1], target[k : k + 1]) for k in range(len(target))]
        return torch.stack([value for value, _ in parts]).mean(), torch.cat([dy for _, dy in parts]) / len(target)

    def check(self, outputs: Any, targets: Tensor) -> None:
        """Raise what the loss raises."""
        self.loss.check(outputs, targets)

    def predict(self, y: Any) -> Tensor:
        """Return what the loss returns."""
        return self.loss.predict(y)

    def judged(self, y: Any) -> Any:
        """Return what the loss returns."""
        return self.loss.judged(y)


@dataclass(frozen=True)
class AsInEvaluation(Layer):
    """A layer that runs in evaluation mode in training too."""

    layer: Layer

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw what the layer draws."""
        return self.layer.init(shape, rng)

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        """Return what the layer returns in evaluation."""
        return self.layer.forward(params, x, replace(mode, train=False))

    def backward(self, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        """Return what the layer returns."""
        return self.layer.backward(params, cache, dy)


def coupled_loss(case: Case) -> Iterator[Suspect]:
    """Yield a loss whose gradient for one example depends on the targets of the others, beyond a common factor."""
    loss = case.model.loss
    if not is_user_defined(loss) or not isinstance(loss, Loss):
        return
    share = _coupled(case, loss)
    if share > COUPLED:
        shapes = [str(tuple(part.shape)) for part in (case.model.predict(case.probe.x[:BATCH]), case.probe.y[:BATCH])]
        yield suspect(
            "loss-mixes-examples", "the loss compares each output with the targets of other examples, as when outputs "
            "(N, 1) and targets (N,) are broadcast against each other to (N, N)",
            "bring outputs and targets to one shape before they are compared, and take the mean over the examples",
            "the loss of each example by itself", lambda case: rebuilt(case, loss=PerExample(loss)),
            path="loss", odd=True, loss=type(loss).__name__, outputs=shapes[0], targets=shapes[1],
            gradient_changed_by_another_target=share,
        )  # fmt: skip


def _coupled(case: Case, loss: Loss) -> float:
    """Return by which share the other examples' gradients change with the first one's target, up to a factor."""
    part = case.probe
    y = part.y[:BATCH]
    others = (part.y != y[:1]).flatten(1).any(1) if part.y.dim() > 1 else part.y != y[0]
    if not bool(others.any()):
        return 0.0
    target = torch.cat([part.y[others][:1], y[1:]])
    model = case.first
    try:
        with torch.inference_mode():
            outputs, _ = forward(model.net, model.params, case.inputs(part)[:BATCH], Mode(keep=False))
            one, other = (loss(outputs, now)[1][1:].double().flatten() for now in (y, target))
    except (PellucidError, RuntimeError, AttributeError, TypeError):  # several outputs, or a loss of another kind
        return 0.0
    size = float(one.square().sum())
    if not 0 < size < float("inf"):
        return 0.0
    return rms(other - float(one @ other) / size * one) / rms(one)


def modes(case: Case) -> Iterator[Suspect]:
    """Yield user-defined layers whose outputs in training are not, on average, those of evaluation."""
    found = {path: share for path, share in _mode_gaps(case).items() if share > MODE_GAP}
    if found:
        layers, path = dict(walk(case.model.net)), next(iter(found))
        kinds = {type(layers[path]) for path in found}
        yield suspect(
            "mode-mismatch", "the layer's outputs in training have another size than those in evaluation, for which "
            "the layers behind it did not learn, as of dropout that does not divide by the share that it keeps",
            "let the layer have the same mean in both modes: divide by the share that is kept, in training",
            "the layer as in evaluation",
            lambda case: with_layers(
                case, lambda layer: AsInEvaluation(layer) if type(layer) in kinds else layer, keep=True
            ),
            path=path, odd=True, layer=type(layers[path]).__name__, outputs_differ_by=found[path],
        )  # fmt: skip


def _mode_gaps(case: Case) -> dict[str, float]:
    """Return for each user-defined layer how far its mean output in training is from that in evaluation."""
    inputs: dict[str, tuple[Layer, Any, Any]] = {}
    # Running statistics follow training.
    layers = {path for path, layer in leaves(case.model.net) if is_user_defined(layer) and not layer.buffers}
    if not layers:
        return {}

    def keep(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        if path in layers and isinstance(x, Tensor) and isinstance(y, Tensor):
            inputs[path] = layer, x, y

    with torch.inference_mode():
        forward(case.model.net, case.model.params, case.inputs(case.probe), Mode(keep=False), keep)
        found: dict[str, float] = {}
        for path, (layer, x, y) in inputs.items():
            rng = torch.Generator().manual_seed(case.model.seed)
            params = _params_at(case.model.params, path)
            copies = {name: value.clone() if isinstance(value, Tensor) else value for name, value in params.items()}
            total = sum(layer.forward(copies, x, Mode(True, rng, keep=False))[0].mean(0) for _ in range(DRAWS))
            usual = y.mean(0)
            if isinstance(total, Tensor) and total.shape == usual.shape and rms(usual) > 0:
                found[path] = rms(total / DRAWS - usual) / rms(usual)
    return found


def _params_at(params: Params, path: str) -> Params:
    for name in path.split(".") if path else []:
        params = params.get(name, {})
    return params


def initialization(case: Case) -> Iterator[Suspect]:
    """Yield initial weights or biases of an unusual size, or weights of user-defined layers not drawn around 0."""
    flat = flatten(case.first.params)
    sizes: dict[str, float] = {}
    bias = 0.0
    own_weights = _own_weights(case)
    for path, weight in trainable_layers(case.first):
        if weight not in own_weights:
            sizes[path] = float(flat[weight].square().mean().sqrt()) / (2 / flat[weight][0].numel()) ** 0.5
        if f"{path}.bias" in flat:
            bias = max(bias, float(flat[f"{path}.bias"].square().mean().sqrt()))
    values = [flat[path].double() for path in own_weights]
    shifts = [float(value.mean().abs() / value.std().clamp_min(1e-12)) for value in values]
    scales = [float(value.square().mean().sqrt()) / _glorot(value) for value in values]
    odd = any(not 1 / HE <= size <= HE for size in [*list(sizes.values())[:-1], *scales])
    odd = odd or any(shift > ONE_SIDED for shift in shifts)
    every = [*sizes.values(), *scales]
    if every and (odd or (sizes and list(sizes.values())[-1] > HE) or bias > FIRST_BIASES):
        yield suspect(
            "bad-initialization", "the first weights or biases are of a size from which the network does not learn",
            "draw weights as He 2015, around 0, and begin with biases of 0", "weights redrawn as He 2015",
            _redrawn, odd=True, smallest_weights_over_he=min(every), largest_weights_over_he=max(every),
            largest_first_biases=bias, largest_mean_of_weights_over_deviation=max(shifts, default=0.0),
        )  # fmt: skip


def _own_weights(case: Case) -> list[str]:
    """Return the paths of the matrices and kernels that user-defined layers learn."""
    known = {path for path, layer in leaves(case.model.net) if is_user_defined(layer)}
    skip = buffer_paths(case.model.net) | case.model.frozen
    return [
        path for path, value in flatten(case.first.params).items()
        if path not in skip and value.dim() >= 2 and min(value.shape[:2]) > 1 and path.rpartition(".")[0] in known
    ]  # fmt: skip


def _glorot(value: Tensor) -> float:
    """Return the deviation of Glorot 2010, which does not depend on which of two axes the inputs are."""
    return (2 / (value[0, 0].numel() * sum(value.shape[:2]))) ** 0.5


def _redrawn(case: Case) -> Case:
    weights = _own_weights(case)

    def redraw(model: BaseModel) -> None:
        rng, flat = generator(model.seed), flatten(model.params)
        for path in weights:
            flat[path].copy_(torch.randn(flat[path].shape, generator=rng) * _glorot(flat[path]))

    return begun(with_layers(case, as_he), redraw)


def _inner(case: Case) -> list[str]:
    """Return the paths of the dense layers and convolutions before the last one."""
    last, known = output_layers(case.model, case.inputs(case.probe)), dict(walk(case.model.net))
    paths = (path for path, _ in trainable_layers(case.first) if path not in last)
    return [path for path in paths if isinstance(known[path], Dense | Conv2d)]


def _changed(case: Case, paths: Sequence[str], change: Callable[[Layer], Layer], keep: bool = False) -> Case:
    net = case.model.net
    for path in paths:
        net = replace_layer(net, path, change)
    return rebuilt(case, keep, net=net)


def linear(case: Case) -> Iterator[Suspect]:
    """Yield a network without activations."""
    inner = _inner(case)
    if inner and not any(
        Trait.ACTIVATION in layer.traits or is_user_defined(layer) for _, layer in walk(case.model.net)
    ):
        yield suspect(
            "no-activation", "no activation stands between the layers, so that all of them are one linear map",
            "put a ReLU behind each layer but the last", "ReLU behind each inner layer",
            lambda case: _changed(case, inner, lambda layer: Sequential(layer, ReLU())), layers=len(inner) + 1,
        )  # fmt: skip


def reduced(case: Case) -> Iterator[Suspect]:
    """Yield strides and pooling that leave few positions of images before the network has many features of them."""
    shape = case.model.nominal_shape
    if len(shape) != 3 or min(shape[1:]) < REDUCIBLE:
        return
    layers = {path: it for path, it in case.activity.items() if isinstance(it.layer, STRIDING)}
    convs = [index for index, it in enumerate(layers.values()) if isinstance(it.layer, Conv2d)]
    if not convs:
        return
    positions = [it.size // it.units for it in layers.values()]
    first = positions[convs[1] - 1] if len(convs) > 1 else positions[-1]  # the input of the second convolution
    coarse = [path for path, it in layers.items() if _stride(it.layer) > (1 if isinstance(it.layer, Conv2d) else 2)]
    if coarse and (first <= shape[1] * shape[2] / EARLY or (positions[-1] <= 1 and len(convs) <= SHALLOW)):
        yield suspect(
            "reduced-too-early", "strides and pooling leave so few places of the pictures that the "
            "differences between classes are lost",
            "take smaller strides and windows of pooling, above all in the first layers",
            "strides of 1, pooling by 2", lambda case: _changed(case, coarse, _finer, keep=True), odd=True,
            places_of_an_input=shape[1] * shape[2], places_after_the_first_layers=first,
            places_at_the_end=positions[-1],
        )  # fmt: skip


def _stride(layer: Layer) -> int:
    stride = getattr(layer, "step", getattr(layer, "stride", 1))
    return max(stride) if isinstance(stride, tuple) else stride


def _finer(layer: Layer) -> Layer:
    if isinstance(layer, Conv2d):
        return replace(layer, stride=1)
    return replace(layer, kernel=2, stride=None, padding=0)  # pyright: ignore


def size(case: Case) -> Iterator[Suspect]:
    """Yield layers of few units."""
    if any(initialization(case)):
        return  # another network draws its own weights, which might be all that helps
    known = dict(walk(case.model.net))
    narrow = {path: units for path in _inner(case) if (units := _units(known[path])) < NARROW}
    if narrow:
        yield suspect(
            "network-too-small", "a layer is too narrow for what the network is to learn",
            "give it more units", f"{WIDE} units in each layer of fewer than {NARROW}",
            lambda case: _changed(case, list(narrow), _wider), units_of_the_narrowest_layer=min(narrow.values()),
        )  # fmt: skip


def _units(layer: Layer) -> int:
    return layer.units if isinstance(layer, Dense) else layer.filters if isinstance(layer, Conv2d) else 0


def _wider(layer: Layer) -> Layer:
    return replace(layer, units=WIDE) if isinstance(layer, Dense) else replace(layer, filters=WIDE)  # pyright: ignore


def depth(case: Case) -> Iterator[Suspect]:
    """Yield many layers in a row."""
    inner, norms = _inner(case), any(isinstance(layer, BatchNorm) for _, layer in walk(case.model.net))
    if len(inner) >= DEEP and not norms and not any(initialization(case)):
        yield suspect(
            "network-too-deep", "so many layers in a row pass on too little of the input, and of the gradient",
            "take fewer layers, batch normalization between them, or residual blocks",
            "batch normalization behind each inner layer",
            lambda case: _changed(case, inner, lambda layer: Sequential(layer, BatchNorm())), layers=len(inner) + 1,
        )  # fmt: skip
