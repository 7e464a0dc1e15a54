"""Views that convert PyTorch's samples without axes, without a batch axis or with one spatial axis to our shapes."""

from typing import Any

from torch import Tensor

from conformance.trial import AS_IS, ONE_ROW, UNBATCHED, View, compose_views

ONE_VALUE = View(lambda x: x.reshape(1, 1), lambda x: x.reshape(()))  # a tensor without axes
NEGATED = View(lambda x: -x, lambda x: x)  # y = f(-x), and dx = -df(dy) = df(-dy) as df is linear


def image_view(x: Tensor) -> View:
    """Return the view of (N, C, H, W), or of one image without the batch axis."""
    return AS_IS if x.dim() == 4 else UNBATCHED


def row_view(x: Tensor) -> View:
    """Return the view of (N, C, L), or of (C, L) without the batch axis, as images of one row."""
    return ONE_ROW if x.dim() == 3 else compose_views(UNBATCHED, ONE_ROW)


def spatial_view(x: Tensor, axes: int) -> View:
    """Return the view of `x`, with one or two spatial `axes` and with or without a batch, as images (N, C, H, W)."""
    return row_view(x) if axes == 1 else image_view(x)


def image_option(option: Any, axes: int, height_value: int) -> Any:
    """Return an option over one or two spatial `axes` as an option over images (height, width).

    For one axis, the value along the height is `height_value`. A list of one number becomes that number. None and
    "same" are returned unchanged; "valid" becomes 0.
    """
    if option is None or isinstance(option, str):
        return 0 if option == "valid" else option
    value = option[0] if isinstance(option, (tuple, list)) and len(option) == 1 else option
    return value if axes == 2 else (height_value, value)


def image_size(x: Tensor, size: Any, axes: int) -> Any:
    """Return an output size over one or two spatial `axes` as (height, width); None is the size of x."""
    sizes = size if isinstance(size, (tuple, list)) else (size,) * axes
    image_sizes = (x.shape[k - axes] if one is None else one for k, one in enumerate(sizes))
    return image_option(tuple(image_sizes), axes, 1)
