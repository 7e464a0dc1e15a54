"""The model of an opened network: a Model with the keys of the network's state_dict."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import copy_cache
from pellucid.layers.base import Mode
from pellucid.model import Model
from pellucid.nested import flatten
from pellucid.sweep import backward, forward
from pellucid.training.examples import as_inputs


class OpenedModel(Model):
    """A Model over the graph of a network that was opened; see pellucid.open.

    Paths of parameters and buffers are the keys of the network's state_dict.
    """

    dtypes: dict[str, torch.dtype]  # of the network's state_dict, by its keys in order
    unused: dict[str, Tensor]  # its entries that are not part of the graph
    tied: dict[str, str]  # from a key of it to the first key of the same tensor
    cut: tuple[str, ...] = ()  # the operators of an ONNX file that were left out

    def gradients(self, x: Any, dy: Any, train: bool = False, seed: int = 0) -> dict[str, Tensor]:
        """Return the gradients of Σ dy y with respect to the input, under "input", and to the parameters, by key.

        x: inputs (N, ...). dy: shaped like the outputs, or a tuple. train: whether dropout and batch statistics are in
        use; running statistics change then, and dropout draws with `seed`. Parameters without an effect on the outputs
        are absent.
        """
        inputs = self.scaled(as_inputs(x, dtype=self.dtype))
        mode = Mode(train=train, rng=torch.Generator(self.device).manual_seed(seed))
        with torch.no_grad():
            _, cache = forward(self.net, self.params, inputs, mode)
            dx, dparams = backward(self.net, self.params, copy_cache(cache), dy)
        return {"input": dx, **flatten(dparams)}

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of all weights under the original's keys, as `load_state_dict` of the original network takes.

        They are contiguous, as safetensors needs them. Entries that are not part of the graph, such as the count of
        batches of batch normalization and buffers from which constants were computed, are those of the opened network.
        """
        current = {**self.unused, **self.weights}
        return {key: _copied(current[self.tied.get(key, key)], dtype) for key, dtype in self.dtypes.items()}

    def _keep_state(self, state: Mapping[str, Tensor]) -> None:
        """Remember the keys and types of the network's state_dict, and copies of what the graph does not have."""
        first: dict[tuple[int, torch.Size], str] = {}
        filled = {key: tensor for key, tensor in state.items() if tensor.numel()}
        self.tied = {key: first.setdefault((tensor.data_ptr(), tensor.shape), key) for key, tensor in filled.items()}
        self.dtypes = {key: tensor.dtype for key, tensor in state.items()}
        known = self.weights.keys()
        absent = (key for key in state if self.tied.get(key, key) not in known)
        self.unused = {key: state[key].detach().clone() for key in absent}


def _copied(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.detach().to(dtype).clone(memory_format=torch.contiguous_format)
