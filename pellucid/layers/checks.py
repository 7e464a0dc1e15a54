"""Checks of hyperparameters and shapes that several layers share; each raises PellucidError in one line."""

from typing import Any

from pellucid.errors import PellucidError


def positive(layer: object, **values: Any) -> None:
    """Require whole numbers (or pairs of them) of at least 1."""
    _at_least(layer, 1, values)


def not_negative(layer: object, **values: Any) -> None:
    """Require whole numbers (or pairs of them) of at least 0."""
    _at_least(layer, 0, values)


def image_shape(layer: object, shape: Any) -> tuple[int, int, int]:
    """Require an input shape (channels, height, width)."""
    if len(shape) != 3 or not all(isinstance(size, int) for size in shape):
        raise PellucidError(
            f"{type(layer).__name__} takes images of shape (channels, height, width), not {tuple(shape)}; "
            "put Reshape before it"
        )
    return shape


def window_output(layer: object, axis: str, size: int) -> int:
    """Require that a sliding window leaves at least one output position."""
    if size < 1:
        raise PellucidError(
            f"{type(layer).__name__}: the input is smaller than the window along its {axis}; "
            "use a smaller kernel or dilation, or more padding"
        )
    return size


def _at_least(layer: object, least: int, values: dict[str, Any]) -> None:
    for name, value in values.items():
        numbers = value if isinstance(value, tuple) and len(value) == 2 else (value,)
        if not all(type(number) is int and number >= least for number in numbers):
            raise PellucidError(
                f"{type(layer).__name__}: {name} must be a whole number of at least {least} "
                f"(or a pair of them for a window), not {value!r}"
            )


def same_shapes(layer: object, shapes: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    """Require two or more inputs of one shape, and return it."""
    if len(shapes) < 2 or any(shape != shapes[0] for shape in shapes):
        raise PellucidError(f"{type(layer).__name__} takes two or more inputs of one shape, not {shapes}")
    return shapes[0]
