"""One operator of ONNX, and helpers that compute its nodes with our layers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from conformance.case import Mismatch, SkipCase
from conformance.trial import AS_IS, ONE_ROW, UNBATCHED, View
from pellucid.layers import Cache, Layer, Mode, Params

Outputs = tuple[Tensor | None, ...]


@dataclass(frozen=True)
class Operator:
    """An operator of ONNX, from version `since` of its domain's operator set on.

    `adapt(*inputs, **attributes)` takes a node's inputs (None for an omitted one) and its attributes, with ONNX's
    defaults. It returns the outputs that we have, or raises SkipCase with the name of an option that we do not have.
    `older` is the operator in earlier versions. `subject` is our class; `variants` has another class for some values
    of attributes. An operator that only `moves` values also accepts integers, as float64, which represents them
    exactly.
    """

    subject: Any
    adapt: Callable[..., Outputs]
    since: int = 1
    domain: str = ""
    moves: bool = False
    variants: Mapping[tuple[str, Any], Any] = field(default_factory=dict)
    older: "Operator | None" = None

    def at_version(self, version: int) -> "Operator":
        """Return the operator in `version` of the operator set; raise SkipCase if we do not have it."""
        if version >= self.since:
            return self
        if self.older is None:
            raise SkipCase(f"operator set {version}")
        return self.older.at_version(version)

    def subject_of(self, attributes: Mapping[str, Any]) -> Any:
        """Return our class that a node with these attributes checks."""
        subjects = (kind for (name, value), kind in self.variants.items() if attributes.get(name) == value)
        return next(subjects, self.subject)


def forward(layer: Layer, x: Any, params: Params | None = None, mode: Mode | None = None) -> tuple[Any, Cache]:
    """Return (y, cache) of the layer, and check its `init`.

    Raises Mismatch if the names or shapes of `params` differ from those that `init` returns, or if the shape of y
    differs from the output shape that `init` returns.
    """
    params = params or {}
    is_tuple = isinstance(x, tuple)
    shape = tuple(tuple(one.shape[1:]) for one in x) if is_tuple else tuple(x.shape[1:])
    init_params, output_shape = layer.init(shape, torch.Generator())
    shapes = {name: tuple(tensor.shape) for name, tensor in params.items()}
    expected_shapes = {name: tuple(tensor.shape) for name, tensor in init_params.items()}
    if shapes != expected_shapes:
        raise Mismatch(f"{type(layer).__name__}.init makes parameters {expected_shapes}; the node has {shapes}")
    y, cache = layer.forward(params, x, mode or Mode())
    if tuple(y.shape[1:]) != tuple(output_shape):
        raise Mismatch(
            f"{type(layer).__name__}.init announces {tuple(output_shape)}; the output is {tuple(y.shape[1:])}"
        )
    return y, cache


def without_none(**tensors: Tensor | None) -> Params:
    """Return the tensors by name, without those that are None."""
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def image_view(x: Tensor) -> View:
    """Return the view of x as images; (N, C, L) become images of one row. Raises SkipCase unless x has 3 or 4 axes."""
    if x.dim() not in (3, 4):
        raise SkipCase(f"{x.dim() - 2}-D image")
    return ONE_ROW if x.dim() == 3 else AS_IS


def batched_axis(axis: int, rank: int) -> tuple[int, View]:
    """Return a non-negative axis and a view of the tensor; axis 0 becomes axis 1 of a view with a batch axis."""
    axis = axis % rank if rank else 0
    return (1, UNBATCHED) if axis == 0 else (axis, AS_IS)


def elementwise(layer: Layer, x: Tensor) -> Outputs:
    """Return the output of a layer that accepts any shape; a tensor without axes gets a batch axis."""
    view = AS_IS if x.dim() else UNBATCHED
    return (view.drop(forward(layer, view.lift(x))[0]),)
