"""The machinery of the contract suites: how our forward and backward passes are held against independent ones."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.combine import walk
from pellucid.layers import Layer, Mode
from tests.references import reference_forward

SEED = 11
FLOOR = 1.0  # what a gradient that is truly zero is compared with: the size of dy


@dataclass(frozen=True)
class Sample:
    """A layer or network and the inputs to try it on.

    `shape` is without the batch axis, a tuple of shapes for several inputs. `make` draws x for a shape that has the
    batch axis where a normal draw will not do. `smooth=False` says that x stands on a kink, where a central
    difference means nothing and PyTorch's convention decides.
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
        """Return the mode, whose generator draws the same each time."""
        return Mode(train=self.train, rng=torch.Generator().manual_seed(SEED))


def with_batch(shape: Any, batch: int) -> Any:
    """Put the batch axis before a shape or a tuple of shapes."""
    return tuple(with_batch(one, batch) for one in shape) if is_shape_tuple(shape) else (batch, *shape)


def is_shape_tuple(shape: Any) -> bool:
    """Say whether this is a tuple of shapes."""
    return len(shape) > 0 and isinstance(shape[0], tuple)


def normal(shape: Any, rng: torch.Generator) -> Any:
    """Draw from N(0, 1) in float64."""
    if is_shape_tuple(shape):
        return tuple(normal(one, rng) for one in shape)
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def randomized(params: dict[str, Any], rng: torch.Generator) -> dict[str, Any]:
    """Replace parameters and buffers by random float64 values of the same shapes, variances by positive ones.

    Masks and indices stay.
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
    """Apply `change` to every tensor of nested dicts, tuples and NamedTuples; None stays None."""
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
    """Convert the floating tensors of a tree."""
    return tree_map(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, tree)


def learned_params(net: Layer, params: dict[str, Any]) -> dict[str, Tensor]:
    """Return the parameters that have gradients, by path: all but the buffers."""
    buffers = {f"{path}.{name}".lstrip(".") for path, layer in walk(net) for name in layer.buffers}
    return {path: leaf for path, leaf in leaves(params).items() if path not in buffers}


def forward_backward(
    net: Layer, params: dict[str, Any], x: Any, mode: Mode, dy: Any = None
) -> tuple[Any, Any, dict[str, Tensor], dict[str, Tensor]]:
    """Run our forward and backward pass and return (y, dy, dx by path, dparams by path).

    `params` stay as they are, running statistics included. Without `dy`, one is drawn.
    """
    params = copy.deepcopy(params)
    y, cache = net.forward(params, x, replace_rng(mode))
    dy = cotangent(y) if dy is None else dy
    dx, dparams = net.backward(params, cache, dy)
    return y, dy, leaves(dx), leaves(dparams)


def replace_rng(mode: Mode) -> Mode:
    """Return the mode with a fresh generator of the same seed."""
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
    """Return the largest difference, relative to the largest value and the floor."""
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)}, should be {tuple(expected.shape)}"
    if not expected.numel():
        return 0.0
    expected = expected.double()
    return ((actual.double() - expected).abs().max() / (expected.abs().max() + FLOOR)).item()


def assert_close(actual: Any, expected: Any, tolerance: float, name: str = "") -> None:
    """Require two trees of the same paths with tensors that are close; NaN is close to nothing."""
    actual_leaves, expected_leaves = leaves(actual), leaves(expected)
    assert actual_leaves.keys() == expected_leaves.keys(), (
        f"{name}: {sorted(actual_leaves)} should be {sorted(expected_leaves)}"
    )
    for path, leaf in expected_leaves.items():
        error = difference(actual_leaves[path], leaf)
        assert error <= tolerance, f"{name} {path}: off by {error:.2e}, allowed {tolerance:.0e}"


def directional_slopes(net: Layer, params: dict[str, Any], x: Any, mode: Mode, dy: Any) -> tuple[float, float]:
    """Return the slope of <dy, y> along a random direction, by our backward pass and by a central difference."""
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
    """Return x + step direction; where there is no direction, x."""
    if isinstance(x, tuple):
        return tuple(shift(one, part_direction, step) for one, part_direction in zip(x, direction, strict=True))
    return x if direction is None else x + step * direction


def strided_copy(x: Tensor) -> Tensor:
    """Return the same values in every second place of memory."""
    buffer = x.new_zeros(*x.shape[:-1], 2 * x.shape[-1])
    buffer[..., ::2] = x
    return buffer[..., ::2]
