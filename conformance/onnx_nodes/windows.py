"""Windows over an image: kernel, stride, dilation and padding from ONNX's attributes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict, Unpack

from torch import Tensor

from conformance.onnx_nodes.operator import forward
from pellucid.layers import Pad2d


@dataclass(frozen=True)
class Window:
    """Kernel, stride and dilation (height, width), and the padding `edges` (left, right, top, bottom) in pixels."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    edges: tuple[int, int, int, int]

    @property
    def is_symmetric(self) -> bool:
        """Whether the padding is equal on opposite sides."""
        left, right, top, bottom = self.edges
        return (left, top) == (right, bottom)

    @property
    def padding(self) -> tuple[int, int]:
        """The padding (height, width) of a layer; only valid if `is_symmetric`."""
        return self.edges[2], self.edges[0]

    @property
    def fits_pooling(self) -> bool:
        """Whether a pooling layer supports this padding: symmetric, and at most half the window."""
        return self.is_symmetric and all(2 * p <= k for p, k in zip(self.padding, self.kernel, strict=True))

    def pad(self, x: Tensor, value: float = 0.0) -> Tensor:
        """Return x padded with `value` by Pad2d."""
        if not any(self.edges):
            return x
        return forward(Pad2d(self.edges, "constant", value), x)[0]


class WindowAttributes(TypedDict, total=False):
    """The attributes of a window in addition to `kernel_shape`, with one number (two in `pads`) for each axis."""

    auto_pad: str
    dilations: Sequence[int]
    pads: Sequence[int]
    strides: Sequence[int]


def parse_window(size: Sequence[int], kernel_shape: Sequence[int], **attributes: Unpack[WindowAttributes]) -> Window:
    """Return the window over images of `size` (height, width); raise TypeError for an unknown attribute."""
    rank, known = len(kernel_shape), WindowAttributes.__annotations__.keys()
    for name in attributes.keys() - known:
        raise TypeError(f"a window has no attribute {name}; known: {', '.join(sorted(known))}")
    kernel = height_width(kernel_shape)
    stride, dilation = (height_width(attributes.get(name) or (1,) * rank) for name in ("strides", "dilations"))
    edges, auto_pad = edges_of_pads(attributes.get("pads") or (0,) * 2 * rank), attributes.get("auto_pad", "NOTSET")
    if auto_pad == "VALID":
        edges = (0, 0, 0, 0)
    if auto_pad.startswith("SAME"):  # the output has ceil(size / stride) pixels
        axes = zip(size, kernel, stride, dilation, strict=True)
        totals = [max((-(-length // s) - 1) * s + d * (k - 1) + 1 - length, 0) for length, k, s, d in axes]
        edges = same_edges(totals, auto_pad)
    return Window(kernel, stride, dilation, edges)


def same_edges(totals: Sequence[int], auto_pad: str) -> tuple[int, int, int, int]:
    """Return (left, right, top, bottom) for `totals` (rows, columns) of padding, split in halves.

    The odd row or column is added at the end for SAME_UPPER, else at the start.
    """
    smaller, larger = [total // 2 for total in totals], [total - total // 2 for total in totals]
    (top, left), (bottom, right) = (smaller, larger) if auto_pad == "SAME_UPPER" else (larger, smaller)
    return left, right, top, bottom


def edges_of_pads(pads: Sequence[int]) -> tuple[int, int, int, int]:
    """Return (left, right, top, bottom) of ONNX's [begin of each axis ..., end of each axis ...]."""
    (top, left), (bottom, right) = height_width(pads[: len(pads) // 2], 0), height_width(pads[len(pads) // 2 :], 0)
    return left, right, top, bottom


def height_width(values: Sequence[int], rows: int = 1) -> tuple[int, int]:
    """Return values as (height, width); a single one is the width, and `rows` the height."""
    return (rows, values[0]) if len(values) == 1 else (values[0], values[1])
