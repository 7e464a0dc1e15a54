"""Display of a model: its layers with their parameters by name, and its tables."""
# The types of users' arguments are checked at run time, regardless of their annotations.
# pyright: reportUnnecessaryIsInstance=false

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.foreign import MODEL_ANSWERS, missing_attribute
from pellucid.base.settings.arguments import Checked, checked
from pellucid.base.text import aligned, plural
from pellucid.combine.base import Combinator, prefix_of
from pellucid.combine.nets import named_layers, parameter_counts
from pellucid.data import FeatureStats
from pellucid.layers.base import Layer, Params, describe
from pellucid.losses import Loss
from pellucid.nested import flatten
from pellucid.network.bounds import check_picture
from pellucid.network.inputs import FreeShape, check_inputs, check_range, nominal_shape
from pellucid.network.summary import Summary, shape_text, summary
from pellucid.objective import Objective, Supervised
from pellucid.optim import Optimizer
from pellucid.run.described import expects_unit_range, image_shape
from pellucid.run.weights import weights_sha256


@dataclass(frozen=True, eq=False, repr=False)
class LayerView:
    """One layer of a model."""

    path: str
    layer: Layer
    # the layer's tensors by name, shared with the model; empty while the model has no weights. For a combinator the
    # names are paths such as `conv1.weight`.
    params: dict[str, Tensor]

    def __repr__(self) -> str:
        """Return path, layer and shapes of the parameters in one line."""
        shapes = ", ".join(f"{name} {shape_text(tuple(tensor.shape))}" for name, tensor in self.params.items())
        return f"<{self._title}{f'; {shapes}' if shapes else ''}>"

    def __str__(self) -> str:
        """Return the parameters as a table."""
        return f"{self._title}\n{aligned(self._table_cells(), right=(2, 3, 4, 5))}"

    def _repr_html_(self) -> str:
        """Return the table of parameters as HTML for notebooks."""
        from pellucid.report.page import table_html

        return table_html(self._title, self._table_cells(), right=(2, 3, 4, 5))

    @property
    def _title(self) -> str:
        """The path, unless it is "", and the layer with its arguments."""
        return f"{self.path}: {_layer_text(self.layer)}" if self.path else _layer_text(self.layer)

    def _table_cells(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [("parameter", "shape", "mean", "std", "min", "max")]
        for name, tensor in self.params.items():
            values = tensor.detach().double()
            statistics = (values.mean(), values.std(correction=0), values.min(), values.max())
            rows.append((name, shape_text(tuple(tensor.shape)), *(f"{value.item():.4g}" for value in statistics)))
        return rows


class OtherObjectiveError(PellucidError):
    """A model without one network and one loss, for a method that requires these."""


class ModelDisplay(metaclass=Checked):
    """The methods of Model that display networks, weights, objective and optimizer."""

    objective: Objective
    optimizer: Optimizer
    params: Params
    seed: int
    input_shape: FreeShape  # without the batch axis; None for a free height or width
    example_shape: tuple[int, ...] = ()  # of the example with which a network was opened; () for other networks
    index_inputs: tuple[bool, ...] = ()  # for each input of an opened network, whether it is whole numbers
    output_shape: Any
    preprocess: dict[str, Any]
    stats: FeatureStats | None  # of the preprocessing
    trained_on_uint8: bool = False  # whether `fit` was given images that are divided by 255
    _outputs: dict[FreeShape, Any]  # cache: shapes of outputs by shapes of inputs
    _picture_outputs: dict[FreeShape, Any]  # the same for pictures within the bounds of memory

    @property
    def supervised(self) -> Supervised:
        """The objective of a model with one network and one loss; raises PellucidError for other models."""
        if not isinstance(self.objective, Supervised):
            names = ", ".join(self.objective.nets)
            raise OtherObjectiveError(
                f"the model has the networks {names} and the losses of {type(self.objective).__name__}; this works for "
                "one network with one loss, such as a classifier"
            )
        return self.objective

    @property
    def net(self) -> Layer:
        """The network of a model with one network and one loss; raises PellucidError for other models."""
        return self.supervised.net

    @property
    def loss(self) -> Loss:
        """The loss of a model with one network and one loss; raises PellucidError for other models."""
        return self.supervised.loss

    @property
    def nominal_shape(self) -> tuple[int, ...]:
        """The shape of an input, with the example's or NOMINAL_SIDE pixels for a free height or width."""
        is_free = None in self.input_shape
        return self.example_shape if is_free and self.example_shape else nominal_shape(self.input_shape)

    def outputs_for(self, shape: Sequence[int]) -> Any:
        """Return the outputs' shape for inputs of `shape` (no batch axis); raises PellucidError for an invalid one."""
        key = tuple(shape)
        if key not in self._outputs:
            with torch.device("meta"):
                self._outputs[key] = self.objective.init(key, torch.Generator())[1]
        return self._outputs[key]

    def outputs_for_picture(self, shape: Sequence[int]) -> Any:
        """Return the shape of the outputs for a picture (C, H, W) of any size; raises the errors of `check_picture`."""
        key = tuple(shape)
        if key not in self._picture_outputs:
            self._picture_outputs[key] = check_picture(self.objective, key)
        return self._picture_outputs[key]

    @property
    def built(self) -> bool:
        """Whether the model has weights."""
        return bool(self.input_shape)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights by path, such as `block1.conv.weight`."""
        return flatten(self.params)

    @property
    def layers(self) -> tuple[LayerView, ...]:
        """The layers that are not combinators, in order, for uses such as `model.layers[-1].params`."""
        return leaf_views(self.objective.nets, self.weights)

    def __getitem__(self, path: str) -> LayerView:
        """Return the layer at a path, with its parameters by name: `model["features.conv1"].params["weight"]`."""
        return layer_view(self.objective.nets, self.weights, path)

    if not TYPE_CHECKING:  # type checkers report unknown attributes

        def __getattr__(self, name):
            """Raise AttributeError, for an attribute of PyTorch's modules with what replaces it."""
            raise missing_attribute(self, name, MODEL_ANSWERS)

    def __repr__(self) -> str:
        """Return the number of layers and parameters, the shapes, the loss and the optimizer in one line."""
        shapes = (
            f"{shape_text(self.input_shape)} -> {shape_text(self.output_shape)}" if self.built else "no weights yet"
        )
        parameters_text = f"{parameter_counts(self.objective.nets, self.params)}, " if self.built else ""
        loss_or_objective = self.objective.loss if isinstance(self.objective, Supervised) else self.objective
        objective_and_optimizer = f"{type(loss_or_objective).__name__}, {type(self.optimizer).__name__}"
        return f"<Model: {plural(len(self.layers), 'layer')}, {parameters_text}{shapes}; {objective_and_optimizer}>"

    def __str__(self) -> str:
        """Return the line of `repr` and, if there are weights, the table of layers."""
        return f"{self!r}\n{aligned(self._table_cells(), right=(3, 4, 5))}" if self.built else repr(self)

    def _repr_html_(self) -> str:
        """Return the table of layers as HTML for notebooks."""
        from pellucid.report.page import table_html

        return table_html(repr(self)[1:-1], self._table_cells(), right=(3, 4, 5))

    def _table_cells(self) -> list[tuple[str, ...]]:
        if self.built and isinstance(self.objective, Supervised):
            return self.summary().cells()
        return [("path", "layer"), *((layer.path, _layer_text(layer.layer)) for layer in self.layers)]

    @checked
    def summary(self, input_shape: Sequence[int] | None = None) -> Summary:
        """Return the table of layers with shapes, parameters and multiply-adds; str() formats it as text.

        input_shape: the shape of an input, without the batch axis, by default the model's, with a height and width of
        224, or of the example of an opened network, if they are free.
        """
        if input_shape is None:
            self._check_has_weights()
            return summary(self.net, self.params, self.nominal_shape, self.seed)
        shape = nominal_shape(image_shape(input_shape))
        if not self.built:
            return summary(self.net, None, shape, self.seed)
        has_same_rank = len(shape) == len(self.input_shape)
        if not has_same_rank or any(
            model_side not in (None, side) for side, model_side in zip(shape, self.input_shape, strict=True)
        ):
            raise PellucidError(
                f"summary: the network takes inputs of shape {self.input_shape}, without the batch axis, not {shape}"
            )
        return summary(self.net, self.params, shape, self.seed)

    def sha256(self) -> str:
        """Return the SHA-256 of the weights."""
        return weights_sha256(self.params)

    def _check_input(self, x: Tensor, data_name: str) -> None:
        self._check_has_weights()
        check_inputs(x.shape, self.input_shape, data_name)
        if self.trained_on_uint8 or expects_unit_range(self.preprocess, self.stats):
            check_range(x, data_name)
        if None in self.input_shape:  # a free height or width may be too small for the network
            self.outputs_for(x.shape[1:])

    def _check_has_weights(self) -> None:
        if not self.built:
            raise PellucidError("the model has no weights yet; give it input_shape, or fit it first")


def layer_view(nets: Mapping[str, Layer], weights: Mapping[str, Tensor], path: str) -> LayerView:
    """Return the layer at `path`; raises PellucidError, with the nearest path, if there is none."""
    layers = dict(named_layers(nets))
    if not isinstance(path, str) or path not in layers or (not path and isinstance(layers[path], Combinator)):
        known = [name for name in layers if name]
        hint = nearest(path, known) if isinstance(path, str) else ""
        known_paths = ", ".join(known)[:300] or "none"
        raise PellucidError(f"no layer {path!r:.80}{hint or f'; known: {known_paths}'}")
    prefix = prefix_of(path)
    params = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
    return LayerView(path, layers[path], params)


def leaf_views(nets: Mapping[str, Layer], weights: Mapping[str, Tensor]) -> tuple[LayerView, ...]:
    """Return views of all layers that are not combinators, in order; the path of a network of one layer is ""."""
    return tuple(
        layer_view(nets, weights, path) for path, layer in named_layers(nets) if not isinstance(layer, Combinator)
    )


def _layer_text(layer: Layer) -> str:
    """Return a layer with its arguments as text; for a combinator, its type and the names of its first layers."""
    if not isinstance(layer, Combinator):
        return describe(layer)
    return f"{type(layer).__name__} of {', '.join(list(layer.layers)[:8])}{', ...' if len(layer.layers) > 8 else ''}"
