"""PyTorch modules: their gradients, their frozen parameters, and the custom autograd functions that they call."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from pellucid.base.errors import PellucidError
from pellucid.verify.network import pull_back


def frozen_names(module: nn.Module) -> list[str]:
    """Return the names of the parameters that do not require a gradient, so PyTorch does not train them."""
    return [name for name, parameter in module.named_parameters() if not parameter.requires_grad]


@contextlib.contextmanager
def recorded_functions() -> Iterator[set[str]]:
    """Record the names of the custom autograd functions that are called, without the functions of PyTorch itself."""
    names = set[str]()
    original = torch.autograd.Function.__dict__["apply"]

    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if not cls.__module__.startswith("torch."):
            names.add(cls.__name__)
        return original.__func__(cls, *args, **kwargs)

    setattr(torch.autograd.Function, "apply", classmethod(apply))  # noqa: B010 - its type allows no assignment
    try:
        yield names
    finally:
        setattr(torch.autograd.Function, "apply", original)  # noqa: B010


def module_gradients(
    module: nn.Module, inputs: tuple[Tensor, ...]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], dict[str, Tensor]]:
    """Return a fixed dy for each output of a module, and the gradients with respect to its inputs and its parameters.

    The gradients are those of sum(outputs * dy); the gradients of the parameters are by name.
    """
    with torch.no_grad():
        ys = output_tensors(module(*inputs))
    shapes = [y.shape for y in ys]
    parameters = dict(module.named_parameters())
    dy = torch.linspace(0.5, 1.5, sum(shape.numel() for shape in shapes)).to(torch.cat([y.flatten() for y in ys]))
    xs = tuple(x.detach().clone() for x in inputs)

    def outputs() -> Tensor:
        return torch.cat([y.flatten() for y in output_tensors(module(*xs))])

    gradients = pull_back(outputs, (*xs, *parameters.values()), dy)
    flat_gradients = dy.split([shape.numel() for shape in shapes])
    dys = tuple(flat_gradient.view(shape) for flat_gradient, shape in zip(flat_gradients, shapes, strict=True))
    return dys, gradients[: len(xs)], dict(zip(parameters, gradients[len(xs) :], strict=True))


def names_without_gradient(module: nn.Module, inputs: tuple[Tensor, ...]) -> set[str]:
    """Return the names of the parameters to which PyTorch gives no gradient, since no output depends on them."""
    parameters = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    with torch.inference_mode(False), torch.enable_grad():
        value = torch.cat([y.flatten() for y in output_tensors(module(*inputs))]).sum()
        if not parameters or not value.requires_grad:
            return set(parameters)
        gradients = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
    return {name for name, gradient in zip(parameters, gradients, strict=True) if gradient is None}


def criterion_gradients(
    criterion: Callable[[list[Tensor]], Tensor], outputs: Iterable[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Return the value of a function of outputs by PyTorch, 0-d, and its gradient with respect to each of them.

    Raises PellucidError for a value that is not one number, or that depends on other tensors with a gradient, such as
    the weights of a network.
    """
    with torch.inference_mode(False), torch.enable_grad():
        leaves = [y.detach().clone().requires_grad_(y.is_floating_point()) for y in outputs]
        value = criterion(leaves)
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
            raise PellucidError("from_torch: the loss must return one number, a tensor that depends on the outputs")
        seen_nodes = {value.grad_fn}
        waiting_nodes = [value.grad_fn]
        while waiting_nodes:
            node = waiting_nodes.pop()
            variable = getattr(node, "variable", None)
            if variable is not None and all(variable is not leaf for leaf in leaves):
                raise PellucidError(
                    f"from_torch: the loss also depends on a parameter of shape {tuple(variable.shape)}, whose "
                    "gradient would be missing; give penalties on weights as the optimizer's weight_decay"
                )
            parents = {parent for parent, _ in getattr(node, "next_functions", ())} - seen_nodes
            seen_nodes |= parents
            waiting_nodes += parents
        differentiable = [y for y in leaves if y.requires_grad]
        found_gradients = iter(torch.autograd.grad(value.reshape(()), differentiable, allow_unused=True))
    gradients = [next(found_gradients) if y.requires_grad else None for y in leaves]
    pairs = zip(gradients, leaves, strict=True)
    return value.detach().reshape(()), [torch.zeros_like(y) if dy is None else dy for dy, y in pairs]


def output_tensors(outputs: Any) -> list[Tensor]:
    """Return the tensors among a network's outputs, at any depth of lists, tuples and dicts."""
    return [y for y in tree_flatten(outputs)[0] if isinstance(y, Tensor)]
