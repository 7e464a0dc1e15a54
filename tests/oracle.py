"""Helpers of the contract tests, which compare forward and backward passes with independent references."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.combine import walk
from pellucid.layers import Layer, Mode
from pellucid.training.device import HalfCopy
from tests.references import reference_forward

SEED = 11
FLOOR = 1.0  # added to the scale of relative errors, for gradients that are exactly zero


@dataclass(frozen=True)
class Sample:
    """A layer or network, with the shape and the kind of its test inputs.

    shape: without the batch axis; a tuple of shapes for several inputs. train: whether the mode is training.
    batches: batch sizes to test. make: function that draws x for a shape with the batch axis; by default N(0, 1).
    smooth: False if x is on a kink, where a central difference is meaningless and PyTorch's convention is expected.
    """

    layer: Layer
    shape: Any
    train: bool = False
    batches: tuple[int, ...] = (3, 1)
    make: Callable[[Any, torch.Generator], Any] | None = None
    smooth: bool = True

    def __str__(self) -> str:
        return f"{self.layer!r} on {self.shape}{' in training' if self.train else ''}".replace(" ", "")

    def inputs(self, batch: int = 3) -> tuple[dict[str, Any], Any]:
        """Return random parameters and inputs in float64."""
        rng = torch.Generator().manual_seed(SEED)
        params, _ = self.layer.init(self.shape, rng)
        x = (self.make or normal)(with_batch(self.shape, batch), rng)
        return randomized(params, rng), x

    def mode(self) -> Mode:
        """Return the mode with a new generator, whose draws are the same for each call."""
        return Mode(train=self.train, rng=torch.Generator().manual_seed(SEED))


def with_batch(shape: Any, batch: int) -> Any:
    """Return a shape, or each of a tuple of shapes, with the batch axis prepended."""
    return tuple(with_batch(one, batch) for one in shape) if is_shape_tuple(shape) else (batch, *shape)


def is_shape_tuple(shape: Any) -> bool:
    """Return whether `shape` is a tuple of shapes."""
    return len(shape) > 0 and isinstance(shape[0], tuple)


def normal(shape: Any, rng: torch.Generator) -> Any:
    """Draw a tensor, or a tuple of tensors, from N(0, 1) in float64."""
    if is_shape_tuple(shape):
        return tuple(normal(one, rng) for one in shape)
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def randomized(params: dict[str, Any], rng: torch.Generator) -> dict[str, Any]:
    """Return params with random float64 values of the same shapes, positive for variances.

    Masks and indices are unchanged.
    """
    out: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, dict):
            out[name] = randomized(value, rng)
        elif not value.is_floating_point():
            out[name] = value
        elif name == "running_var":
            out[name] = torch.rand(value.shape, generator=rng, dtype=torch.float64) + 0.5
        else:
            fan_in = value[0].numel() if value.dim() > 1 else 1
            draw = torch.randn(value.shape, generator=rng, dtype=torch.float64)
            out[name] = draw / fan_in**0.5
    return out


def tree_map(change: Callable[[Tensor], Any], tree: Any) -> Any:
    """Apply `change` to every tensor of nested dicts, tuples and NamedTuples; None is unchanged."""
    match tree:
        case Tensor():
            return change(tree)
        case dict():
            return {name: tree_map(change, part) for name, part in tree.items()}
        case tuple():
            parts = [tree_map(change, part) for part in tree]
            return type(tree)(*parts) if type(tree) is not tuple else tuple(parts)
        case _:
            assert tree is None
            return None


def leaves(tree: Any, path: str = "") -> dict[str, Tensor]:
    """Return every tensor of nested dicts and tuples by its path."""
    if isinstance(tree, Tensor):
        return {path: tree}
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree or ())
    return {name: leaf for key, part in pairs for name, leaf in leaves(part, f"{path}.{key}".lstrip(".")).items()}


def cast(tree: Any, dtype: torch.dtype) -> Any:
    """Convert the floating-point tensors of a tree to `dtype`."""
    return tree_map(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, tree)


def bf16_params(net: Layer, params: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters in the types in which a training in bfloat16 has them."""
    return HalfCopy({"": net}, cast(params, torch.float32)).params


def learned_params(net: Layer, params: dict[str, Any]) -> dict[str, Tensor]:
    """Return the parameters that have gradients, by path: all except the buffers."""
    buffers = {f"{path}.{name}".lstrip(".") for path, layer in walk(net) for name in layer.buffers}
    return {path: leaf for path, leaf in leaves(params).items() if path not in buffers}


def forward_backward(
    net: Layer, params: dict[str, Any], x: Any, mode: Mode, dy: Any = None
) -> tuple[Any, Any, dict[str, Tensor], dict[str, Tensor]]:
    """Run the network's forward and backward pass and return (y, dy, dx by path, dparams by path).

    `params` are unchanged, including running statistics. dy: by default random.
    """
    params = copy.deepcopy(params)
    y, cache = net.forward(params, x, replace_rng(mode))
    dy = cotangent(y) if dy is None else dy
    dx, dparams = net.backward(params, cache, dy)
    return y, dy, leaves(dx), leaves(dparams)


def replace_rng(mode: Mode) -> Mode:
    """Return the mode with a new generator of the same seed."""
    return replace(mode, rng=torch.Generator().manual_seed(SEED))


def cotangent(y: Any) -> Any:
    """Draw a random dy for y."""
    rng = torch.Generator().manual_seed(SEED + 1)
    return tree_map(lambda leaf: torch.randn(leaf.shape, generator=rng, dtype=torch.float64).to(leaf.dtype), y)


def autograd(
    net: Layer, params: dict[str, Any], x: Any, mode: Mode, dy: Any
) -> tuple[Any, dict[str, Tensor], dict[str, Tensor]]:
    """Run the reference and PyTorch's autograd on it, and return (y, dx by path, dparams by path)."""

    params = tree_map(torch.clone, params)
    x = tree_map(torch.clone, x)
    params_with_gradients = learned_params(net, params)
    inputs = {path: leaf for path, leaf in leaves(x).items() if leaf.is_floating_point()}
    for leaf in (*inputs.values(), *params_with_gradients.values()):
        leaf.requires_grad_()
    y = reference_forward(net, params, x, replace_rng(mode))
    gradients = torch.autograd.grad(
        list(leaves(y).values()),
        [*inputs.values(), *params_with_gradients.values()],
        list(leaves(dy).values()),
        allow_unused=True,
    )
    gradients_or_zeros = [
        torch.zeros_like(leaf) if grad is None else grad
        for leaf, grad in zip([*inputs.values(), *params_with_gradients.values()], gradients, strict=True)
    ]
    return (
        tree_map(Tensor.detach, y),
        dict(zip(inputs, gradients_or_zeros[: len(inputs)], strict=True)),
        dict(zip(params_with_gradients, gradients_or_zeros[len(inputs) :], strict=True)),
    )


def difference(actual: Tensor, expected: Tensor) -> float:
    """Return the largest absolute difference divided by (the largest expected absolute value + FLOOR)."""
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)}, should be {tuple(expected.shape)}"
    if not expected.numel():
        return 0.0
    expected = expected.double()
    return ((actual.double() - expected).abs().max() / (expected.abs().max() + FLOOR)).item()


def assert_close(actual: Any, expected: Any, tolerance: float, name: str = "") -> None:
    """Assert that two trees have equal paths, and tensors with a `difference` of at most `tolerance`; NaN fails."""
    actual_leaves, expected_leaves = leaves(actual), leaves(expected)
    assert actual_leaves.keys() == expected_leaves.keys(), (
        f"{name}: {sorted(actual_leaves)} should be {sorted(expected_leaves)}"
    )
    for path, leaf in expected_leaves.items():
        error = difference(actual_leaves[path], leaf)
        assert error <= tolerance, f"{name} {path}: off by {error:.2e}, allowed {tolerance:.0e}"


def directional_slopes(net: Layer, params: dict[str, Any], x: Any, mode: Mode, dy: Any) -> tuple[float, float]:
    """Return the slope of <dy, y> along a random direction, by the backward pass and by a central difference."""
    rng = torch.Generator().manual_seed(SEED + 2)
    learned = learned_params(net, params)
    param_direction = {path: torch.randn(leaf.shape, generator=rng, dtype=leaf.dtype) for path, leaf in learned.items()}
    input_direction = tree_map(
        lambda leaf: torch.randn(leaf.shape, generator=rng, dtype=leaf.dtype) if leaf.is_floating_point() else None, x
    )

    def value(step: float) -> float:
        shifted_params = copy.deepcopy(params)
        for path, leaf in learned_params(net, shifted_params).items():
            leaf.add_(param_direction[path], alpha=step)
        shifted_x = shift(x, input_direction, step)
        y, _ = net.forward(shifted_params, shifted_x, replace_rng(mode))
        parts = zip(leaves(y).values(), leaves(dy).values(), strict=True)
        return sum((one * weight).sum().item() for one, weight in parts)

    _, _, dx, dparams = forward_backward(net, params, x, mode, dy)
    slope = sum((dx[path] * leaf).sum().item() for path, leaf in leaves(input_direction).items())
    slope += sum((dparams[path] * leaf).sum().item() for path, leaf in param_direction.items())
    step = 1e-6
    return slope, (value(step) - value(-step)) / (2 * step)


def shift(x: Any, direction: Any, step: float) -> Any:
    """Return x + step * direction, or x if the direction is None."""
    if isinstance(x, tuple):
        return tuple(shift(one, part_direction, step) for one, part_direction in zip(x, direction, strict=True))
    return x if direction is None else x + step * direction


def strided_copy(x: Tensor) -> Tensor:
    """Return a copy that is not contiguous: a view of every second element of a larger tensor."""
    buffer = x.new_zeros(*x.shape[:-1], 2 * x.shape[-1])
    buffer[..., ::2] = x
    return buffer[..., ::2]
