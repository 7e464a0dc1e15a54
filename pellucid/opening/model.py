"""The model of an opened network: a Model with the keys of the network's state_dict."""

from collections.abc import Iterable, Mapping, Set
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_known
from pellucid.base.settings.tensors import as_tensor
from pellucid.combine.base import copy_cache
from pellucid.explain.functions import mapped
from pellucid.fuse import kernel_gradient
from pellucid.layers.base import Mode
from pellucid.model import Model
from pellucid.nested import flatten
from pellucid.network.inputs import check_inputs
from pellucid.sweep import backward, forward
from pellucid.training.examples import as_inputs


class OpenedModel(Model):
    """A Model whose network is the graph of an opened network; see pellucid.open.

    Paths of parameters and buffers are the keys of the network's state_dict, except for a network that is a single
    layer.
    """

    dtypes: dict[str, torch.dtype]  # of the tensors in the network's state_dict, in its order
    unused: dict[str, Tensor]  # entries of the state_dict that are not part of the graph
    # by key of the state_dict: the path in the graph, or the first key of the same tensor
    path_by_tied_key: dict[str, str]
    unregistered: Set[str] = frozenset()  # paths of parameters with a gradient that PyTorch's network does not list
    cut: tuple[str, ...] = ()  # the omitted operators of an ONNX file

    def __call__(self, x: Any) -> Any:
        """Return the network's outputs in evaluation mode; for a network with several inputs, x is a tuple of them.

        Several outputs are a tuple; those with names, such as the entries of a dict, are also found by name: y["aux"].
        """
        if not self._has_several_inputs:
            y = super().__call__(self._as_floats(x))
        else:
            with torch.no_grad():
                y = self.net.forward(self.params, self._inputs(x), Mode(keep=False))[0]
        return NamedOutputs(self.output_names, y) if isinstance(y, tuple) and self.output_names else y

    def save(self, path: str | PathLike[str]) -> None:
        """Write network and weights atomically to one safetensors file; see Model."""
        if self._has_several_inputs:
            raise PellucidError("save: a network with several inputs cannot be saved; keep its state_dict()")
        super().save(path)

    def gradients(self, x: Any, dy: Any, train: bool = False, seed: int = 0) -> dict[str, Tensor]:
        """Return the gradients of Σ dy y with respect to the input, under "input", and to the parameters, by key.

        x: inputs (N, ...), or a tuple of them for a network with several inputs, whose gradients are a tuple, too. dy:
        a tensor of the shape of the output, or a tuple for several outputs. train: whether to use dropout, drawn with
        `seed`, and batch statistics, which update the running statistics. Parameters without an effect on the outputs
        are absent. Raises PellucidError for x or dy of another shape.
        """
        inputs = self._inputs(x)
        mode = Mode(train=train, rng=torch.Generator(self.device).manual_seed(seed))
        with torch.no_grad():
            y, cache = forward(self.net, self.params, inputs, mode)
            outputs = y if isinstance(y, tuple) else (y,)
            dys = tuple(as_tensor(value, "dy") for value in (dy if isinstance(dy, tuple) else (dy,)))
            shapes = [tuple(output.shape) for output in outputs]
            dy_shapes = [tuple(gradient.shape) for gradient in dys]
            if dy_shapes != shapes:
                raise PellucidError(
                    f"gradients: dy has the shape {_shapes_text(dy_shapes)}; the outputs have {_shapes_text(shapes)}"
                )
            dys = tuple(
                gradient.to(output) for gradient, output in zip(dys, outputs, strict=True)
            )  # their dtype and device
            output_gradients = dys if isinstance(y, tuple) else dys[0]
            dx, dparams = backward(self.net, self.params, copy_cache(cache), output_gradients, kernel_gradient)
        return {"input": dx, **flatten(dparams)}

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of all weights with the original keys, for `load_state_dict` of the original network.

        They are contiguous, as safetensors requires. Entries that are not part of the graph have the values of the
        opened network, such as batch normalization's count of batches, and buffers from which constants were computed.
        """
        current = {**self.unused, **self.weights}
        return {key: _copy(current[self.path_by_tied_key.get(key, key)], dtype) for key, dtype in self.dtypes.items()}

    @property
    def _has_several_inputs(self) -> bool:
        """Whether the network takes a tuple of inputs."""
        return bool(self.input_shape) and isinstance(self.input_shape[0], tuple)

    def _inputs(self, x: Any) -> Any:
        """Return the network's input, or the tuple of its inputs, after preprocessing with `scaled`."""
        return mapped(self.scaled, self._given_inputs(x))

    def _given_inputs(self, x: Any) -> Any:
        """Return the network's input, or the tuple of its inputs, after checks of their shapes and values."""
        x = self._as_floats(x)
        if not self._has_several_inputs:
            return super()._given_inputs(x)
        shapes: Any = self.input_shape
        if not isinstance(x, tuple) or len(x) != len(shapes):
            raise PellucidError(f"x must be a tuple of {len(shapes)} inputs (N, ...)")
        tensors = tuple(as_inputs(value, f"x[{index}]", self.dtype) for index, value in enumerate(x))
        for index, (tensor, shape) in enumerate(zip(tensors, shapes, strict=True)):
            check_inputs(tensor.shape, shape, f"x[{index}]")
        return tensors

    def _as_floats(self, x: Any) -> Any:
        """Return the inputs with whole numbers in the model's dtype where the network takes whole numbers."""
        if not any(self.index_inputs):
            return x
        xs = x if isinstance(x, tuple) else (x,)
        pairs = zip(xs, self.index_inputs, strict=False)
        floats = tuple(as_tensor(value, "x").to(self.dtype) if is_index else value for value, is_index in pairs)
        return floats + xs[len(floats) :] if isinstance(x, tuple) else floats[0]

    def _keep_state(self, state: Mapping[str, Tensor], graph_tensors: Mapping[str, Tensor]) -> None:
        """Store the keys and dtypes of the network's state_dict, and copies of its entries outside of the graph.

        graph_tensors: the tensors of the state_dict that became parameters of the graph, by path.
        """
        first_names = {memory_key(tensor): path for path, tensor in graph_tensors.items() if tensor.numel()}
        self.path_by_tied_key = {}
        for key, tensor in state.items():
            if tensor.numel():
                self.path_by_tied_key[key] = first_names.setdefault(memory_key(tensor), key)
        self.dtypes = {key: tensor.dtype for key, tensor in state.items()}
        unused_keys = (key for key in state if key not in graph_tensors and self.path_by_tied_key.get(key, key) == key)
        self.unused = {key: state[key].detach().clone() for key in unused_keys}


class NamedOutputs(tuple[Any, ...]):
    """A tuple of a network's outputs that are also found by name."""

    names: tuple[str, ...]

    def __new__(cls, names: tuple[str, ...], outputs: tuple[Any, ...]) -> "NamedOutputs":
        """Return the outputs as a tuple with names."""
        self = super().__new__(cls, outputs)
        self.names = names
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        """Return the arguments of a copy."""
        return self.names, tuple(self)

    def __getitem__(self, key: Any) -> Any:
        """Return an output by its name, or outputs by index; raises PellucidError for an unknown name."""
        if not isinstance(key, str):
            return super().__getitem__(key)
        check_known("no output", key, self.names)
        return self[self.names.index(key)]


def memory_key(tensor: Tensor) -> tuple[Any, ...]:
    """Return a key that is equal for two tensors with the same memory, shape and strides."""
    return tensor.data_ptr(), tensor.shape, tensor.stride()


def _shapes_text(shapes: Iterable[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes))


def _copy(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.detach().to(dtype).clone(memory_format=torch.contiguous_format)
