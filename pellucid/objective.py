"""Objectives: losses and gradients of a batch, for one network or several."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.settings.checks import check, is_number
from pellucid.combine.base import init_child, join, uses_flow
from pellucid.data.seeds import BatchDraws
from pellucid.data.source import Batch
from pellucid.extend.config import to_config
from pellucid.extend.registry import Part
from pellucid.fuse.context import FusedForm
from pellucid.fuse.inference import AsWritten, inference
from pellucid.fuse.kernel_form import KernelForm, with_kernels
from pellucid.fuse.parts import BatchParts, sync_norms
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.losses import Loss
from pellucid.nested import flatten, leaves
from pellucid.sweep import BackwardWatch, ForwardWatch, backward

MIN_INPUTS = 16  # number of inputs from which converting the memory layout of the weights is worthwhile
Losses = dict[str, Tensor]  # 0-d tensors by name
Gradients = tuple[Losses, Params]  # (losses, dparams), of a batch or of one of its turns, see `Objective.gradients`


class BatchEvaluation(NamedTuple):
    """The evaluation of one batch.

    outputs: predictions, as `predict` returns them. batch: the examples that were predicted, without those that the
    loss ignores. losses: 0-d tensors by name.
    """

    outputs: Any
    batch: Batch
    losses: Losses


class InputCount(NamedTuple):
    """The number of inputs of a network for one image: in one forward pass, and in all passes."""

    at_once: int
    total: int


ONE_INPUT = InputCount(1, 1)


@dataclass(frozen=True)
class Objective(Part):
    """The training objective of one or several networks: losses of a batch by name, and their gradients.

    A subclass is a frozen dataclass; its fields are networks, losses and numbers. `params` contains the parameters of
    each network under the name of its field, {"student": {...}, "teacher": {...}}; gradients have the same nesting.
    weights: factors of losses by name, 1 for all others. The total loss is the weighted sum; `gradients` must multiply
    each loss's gradient by `self.weight(name)`.
    """

    any_size: ClassVar[bool] = False  # whether images of any height and width are valid, not only the training sizes
    untrained: ClassVar[tuple[str, ...]] = ()  # names of networks for which `gradients` returns no gradients on purpose
    weights: Mapping[str, float] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        """Raise PellucidError unless the weights of the losses are finite numbers."""
        for name, value in self.weights.items():
            check(is_number(value), f"{type(self).__name__}: weights: {name!r:.40}", "finite", value)

    @property
    def nets(self) -> Mapping[str, Layer]:
        """The networks by name: the fields whose value is a layer."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Layer)}

    def with_nets(self, nets: Mapping[str, Layer]) -> Self:
        """Return the same objective with other networks of the same names."""
        return replace(self, **nets)

    def watched(self, forward: ForwardWatch, backward: BackwardWatch | None = None) -> Self:
        """Return the same objective with networks that call `forward` and `backward` after each layer's passes."""
        return self.with_nets({name: _watch_layers(net, name, forward, backward) for name, net in self.nets.items()})

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw all parameters for images of `shape`; return them, and the shape of the result of `predict`.

        Shapes are without the batch axis. By default, images are the input of every network, and the output of the
        first one is the prediction; a subclass overrides this for networks with other inputs, such as a generator.
        """
        init_results = {name: init_child(name, net, shape, rng) for name, net in self.nets.items()}
        if not init_results:
            raise PellucidError(f"{type(self).__name__} has no network; give one of its fields a layer")
        return {name: params for name, (params, _) in init_results.items()}, next(iter(init_results.values()))[1]

    def inputs_of(self, name: str, shape: Any) -> InputCount:
        """Return the largest number of inputs of the network `name` for one image of `shape`, by default 1."""
        return ONE_INPUT

    @abstractmethod
    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Gradients | Iterator[Gradients]:
        """Return (losses, dparams): 0-d tensors by name, and the gradients of their weighted sum.

        Networks without an entry in dparams are not updated by this batch; for other missing parameters, the gradient
        is zero. To update networks in turns, such as those of a GAN, `yield` several such pairs: each updates the
        parameters before execution continues, so that the next is computed with the new parameters. A loss that several
        turns return is reported as the mean of its values. Draw random numbers from `mode.rng`, on `mode.rng.device`.
        Values that depend on the parameters but are held constant in the gradients are declared for `verify`, see
        `pellucid.constant`.
        """

    @abstractmethod
    def predict(self, params: Params, images: Any) -> Any:
        """Return predictions for images (N, ...) in evaluation mode, as used by metrics."""

    def evaluator(self, params: Params, count: int, first: int = 0) -> Callable[[Batch], BatchEvaluation]:
        """Return a function that evaluates batches of `count` examples in total; `params` must not change meanwhile.

        The losses are those of `gradients` in evaluation mode. first: the index of the first batch. Random
        numbers depend only on a batch's index, so several processes can share an evaluation.
        """
        leaf = next(iter(leaves(params)), torch.empty(0))
        draws = BatchDraws(seeded_generator(leaf.device), first)

        def evaluate(batch: Batch) -> BatchEvaluation:
            mode = Mode(rng=draws.next())
            return BatchEvaluation(
                self.predict(params, batch.images), batch, merge_turns(self.gradients(params, batch, mode))[0]
            )

        return evaluate

    def fused(self) -> "Objective":
        """Return an equal objective whose networks are in fused forms, for training.

        By default, PyTorch's kernels compute the backward passes of single layers; the objective itself is returned if
        no layer has one. Layers of a network that is fused as a whole may overwrite each other's outputs, so only an
        objective that runs each network as a whole can override this.
        """
        nets = {name: with_kernels(net) for name, net in self.nets.items()}
        return self if nets == self.nets else self.with_nets(nets)

    def synced(self, parts: BatchParts) -> "Objective":
        """Return the same objective whose batch statistics in training, as in batch norm, are computed over all parts.

        A subclass that computes other batch statistics overrides this.
        """
        return self.with_nets({name: sync_norms(net, parts) for name, net in self.nets.items()})

    def total_weight(self, batch: Batch) -> float | Tensor:
        """Return the weight of a batch in a mean over batches: its number of examples; see `Loss.total_weight`."""
        return float(len(batch.images))

    @property
    def indivisible(self) -> str:
        """The reason why a batch cannot be divided into shards; "" if it can, as by default."""
        return ""

    @property
    def is_sum(self) -> bool:
        """Whether the losses are sums over the examples of a batch; by default they are means, see `total_weight`."""
        return False

    def counts(self, params: Params, batch: Batch, mode: Mode) -> dict[str, float]:
        """Return the divisors of those losses that `gradients` does not divide by the number of examples, by name.

        Such a loss is a sum over the batch, divided by this count, or by 1 if it is 0. If a batch is divided into
        shards, the counts of all shards are added before the gradients are computed. By default, the dict is empty.
        params, mode: the arguments of `gradients`, with the same random draws.
        """
        return {}

    def check(self, outputs: Any, targets: Any) -> None:
        """Raise PellucidError unless all targets of a data set are valid for outputs of this shape (no batch axis).

        By default, nothing is checked.
        """

    def check_classes(self, classes: Sequence[str], data: str) -> None:
        """Raise PellucidError unless the objective supports the classes of the data set `data`; by default, it does."""

    @property
    def start_net(self) -> Layer | None:
        """The network that may start from trained weights; by default "backbone", None if there is none."""
        return self.nets.get("backbone")

    @property
    def start_missing(self) -> str:
        """The reason why training cannot start without trained weights; "" if it can, as by default."""
        return ""

    def start(self, params: Params, trained: Params, mean: Sequence[float], std: Sequence[float]) -> None:
        """Copy trained weights into the parameters of `start_net`.

        mean, std: per channel, the statistics by which the trained network's inputs were standardized; () for none.
        """
        _copy_weights(params["backbone"], trained)

    def preprocessing(self, shape: Any, mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
        """Return the entries of a model's preprocessing for images of `shape`; mean, std: as for `start`."""
        return {"mean": [*mean], "std": [*std]} if mean else {}

    def about(self, custom: Iterable[Any] = ()) -> dict[str, Any]:
        """Return the objective's configuration for a weights file, as JSON values; raises the errors of `to_config`."""
        return {"objective": to_config(self, custom)}

    def weight(self, name: str) -> float:
        """Return the weight of a loss, 1 by default."""
        return self.weights.get(name, 1.0)

    def weighted(self, factors: Mapping[str, float]) -> Self:
        """Return the same objective with the weights of losses multiplied by factors, by name."""
        weights = {name: self.weight(name) * factor for name, factor in factors.items()}
        return replace(self, weights={**self.weights, **weights})

    def total(self, losses: Mapping[str, float]) -> float:
        """Return the weighted sum of losses; raises PellucidError if `weights` contains a loss that is not in them."""
        unknown = next((name for name in self.weights if name not in losses), None)
        if unknown is not None:
            hint = nearest(unknown, losses) or f"; losses: {', '.join(losses)}"
            raise PellucidError(f"{type(self).__name__}: weights names no loss {unknown!r}{hint}")
        return sum(self.weight(name) * value for name, value in losses.items())


@dataclass(frozen=True)
class Supervised(Objective):
    """One network with one loss of its outputs and the targets.

    `params` are the network's parameters, without a level for its name. Raises PellucidError if `weights` are given,
    because a weight of the only loss would be a factor of the learning rate.
    """

    net: Layer
    loss: Loss

    def __post_init__(self) -> None:
        """Raise PellucidError if `weights` are given."""
        if self.weights:
            raise PellucidError("Supervised has one loss, which takes no weights; change the learning rate instead")

    @property
    def nets(self) -> Mapping[str, Layer]:
        """The network under the name "", so that paths begin with the names of its layers."""
        return {"": self.net}

    def with_nets(self, nets: Mapping[str, Layer]) -> "Supervised":
        """Return the same objective with another network, `nets[""]`."""
        return Supervised(nets[""], self.loss)

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw the network's parameters; return them and the shape of its output."""
        return self.net.init(shape, rng)

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Gradients:
        """Return ({"loss": value}, dparams), from a forward pass, the loss, and a backward pass."""
        y, cache = self.net.forward(params, batch.images, mode)
        value, dy = self.loss(y, batch.targets)
        del y
        return {"loss": value}, backward(self.net, params, cache, dy, consume=True)[1]

    def predict(self, params: Params, images: Any) -> Any:
        """Return the network's outputs converted by `loss.predict`, for example to probabilities."""
        return self.loss.predict(self.net.forward(params, images, Mode(keep=False))[0])

    def evaluator(self, params: Params, count: int, first: int = 0) -> Callable[[Batch], BatchEvaluation]:
        """Return a function that evaluates a batch by one forward pass.

        Its outputs and its batch contain only the examples that the loss does not ignore.
        """
        run = inference(self.net, params) if count >= MIN_INPUTS else AsWritten(self.net, params)

        def evaluate(batch: Batch) -> BatchEvaluation:
            y = self.loss.main_output(run(batch.images))
            losses, outputs = {"loss": self.loss(y, batch.targets)[0]}, self.loss.predict(y)
            is_valid = self.loss.valid_mask(batch.targets)
            if is_valid is not None:
                outputs, batch = outputs[is_valid], Batch(batch.images[is_valid], batch.targets[is_valid])
            return BatchEvaluation(outputs, batch, losses)

        return evaluate

    def total_weight(self, batch: Batch) -> float | Tensor:
        """Return the batch's weight by `Loss.total_weight`: its number of examples, or the sum of their weights."""
        return self.loss.total_weight(batch.targets)

    @property
    def indivisible(self) -> str:
        """The reason why a batch cannot be divided into shards, see `Loss.indivisible`."""
        return self.loss.indivisible

    @property
    def is_sum(self) -> bool:
        """Whether the loss is a sum over the examples of a batch."""
        return self.loss.is_sum

    def check(self, outputs: Any, targets: Any) -> None:
        """Raise PellucidError unless the targets are valid for the loss."""
        if not isinstance(targets, Tensor):
            raise PellucidError(
                f"{type(self.loss).__name__} takes targets as one array, not a {type(targets).__name__}"
            )
        self.loss.check(outputs, targets)

    def start(self, params: Params, trained: Params, mean: Sequence[float], std: Sequence[float]) -> None:
        """Copy trained weights into the parameters of the network's `features`."""
        _copy_weights(params["features"], trained)

    def about(self, custom: Iterable[Any] = ()) -> dict[str, Any]:
        """Return the configurations of the network and the loss."""
        return {"network": to_config(self.net, custom), "loss": to_config(self.loss, custom)}


@dataclass(frozen=True)
class LayerWrapper(FusedForm):
    """Base class of layers that wrap another layer to observe its passes."""


@dataclass(frozen=True, eq=False)
class InferenceNetwork(LayerWrapper):
    """A network as converted by `inference`, without a backward pass; `run` contains its parameters."""

    run: Callable[[Any], Any]

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        """Run the network."""
        return self.run(x), None

    def backward(self, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        """Raise NotImplementedError, since `run` returns no cache."""
        raise NotImplementedError("a network in the form of inference has no backward pass")


def without_wrappers(net: Layer) -> Layer:
    """Return a network with each LayerWrapper and KernelForm replaced by its layer, for code that checks its layers."""
    if isinstance(net, LayerWrapper | KernelForm):
        return without_wrappers(net.layer)
    return net.rebuild({name: without_wrappers(child) for name, child in net.layers.items()}) if uses_flow(net) else net


@dataclass(frozen=True)
class _WatchedLayer(LayerWrapper):
    """A layer that calls a function after its forward pass, and another one after its backward pass."""

    path: str
    after_forward: ForwardWatch
    after_backward: BackwardWatch | None

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        """Run the layer."""
        y, cache = self.layer.forward(params, x, mode)
        self.after_forward(self.path, self.layer, x, y, cache)
        return y, cache

    def backward(self, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        """Propagate back through the layer."""
        dx, dparams = self.layer.backward(params, cache, dy)
        if self.after_backward is not None:
            self.after_backward(self.path, self.layer, dy, dx, dparams)
        return dx, dparams


def _watch_layers(net: Layer, path: str, forward: ForwardWatch, backward: BackwardWatch | None) -> Layer:
    if uses_flow(net):
        return net.rebuild(
            {name: _watch_layers(child, join(path, name), forward, backward) for name, child in net.layers.items()}
        )
    return _WatchedLayer(net, path, forward, backward)


def merge_turns(result: Gradients | Iterator[Gradients]) -> Gradients:
    """Return the losses and gradients of all turns of `Objective.gradients`, without updates between the turns."""
    if isinstance(result, tuple):
        return result
    turns = [*result]
    return mean_losses([losses for losses, _ in turns]), {
        name: net for _, dparams in turns for name, net in dparams.items()
    }


def mean_losses(turns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the losses of several turns by name; a loss of several turns is the mean of its values."""
    values_by_name: dict[str, list[Any]] = {}
    for losses in turns:
        for name, value in losses.items():
            values_by_name.setdefault(name, []).append(value)
    return {name: ones[0] if len(ones) == 1 else sum(ones) / len(ones) for name, ones in values_by_name.items()}


def _copy_weights(params: Params, trained: Params) -> None:
    weights = flatten(trained)
    for path, tensor in flatten(params).items():
        tensor.copy_(weights[path])


def seeded_generator(device: torch.device, seed: int = 0) -> torch.Generator:
    """Return a random generator on a device, seeded with `seed`; on the CPU for "meta", which has no generators."""
    return torch.Generator("cpu" if device.type == "meta" else device).manual_seed(seed)
