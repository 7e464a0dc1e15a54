"""Flattening, reshaping and padding in ONNX."""

from pellucid.export.onnx_nodes.node import Nodes
from pellucid.layers import Crop, Flatten, Pad2d, PadChannels, Reshape

MODES = {"zero": "constant", "constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def flatten(layer: Flatten, n: Nodes) -> None:
    """Write Flatten."""
    n.last("Flatten", n.x, axis=1)


def reshape(layer: Reshape, n: Nodes) -> None:
    """Write Reshape; 0 represents the batch axis."""
    n.last("Reshape", n.x, n.whole("shape", 0, *n.step.output.shape))


def pad2d(layer: Pad2d, n: Nodes) -> None:
    """Write Pad, and Slice for negative padding.

    Padded values are computed from the whole image, so Pad comes first; for "circular" they are computed from the part
    that is kept, so Slice comes first.
    """
    edges = layer.edges()
    added, cut = tuple(max(size, 0) for size in edges), tuple(max(-size, 0) for size in edges)
    if not any(cut):
        n.last("Pad", n.x, *_pads(layer, n, added), mode=MODES[layer.kind])
    elif not any(added):
        n.last("Slice", n.x, *_kept(n, n.shape[1:], cut))
    elif layer.kind == "circular":
        n.last("Pad", n.inner("Slice", n.x, *_kept(n, n.shape[1:], cut)), *_pads(layer, n, added), mode="wrap")
    else:
        size = n.shape[1] + added[2] + added[3], n.shape[2] + added[0] + added[1]
        n.last("Slice", n.inner("Pad", n.x, *_pads(layer, n, added), mode=MODES[layer.kind]), *_kept(n, size, cut))


def pad_channels(layer: PadChannels, n: Nodes) -> None:
    """Write Pad."""
    n.last("Pad", n.x, n.whole("pads", 0, layer.before, 0, 0, 0, layer.after, 0, 0), mode="constant")


def crop(layer: Crop, n: Nodes) -> None:
    """Write Slice to the height and width of the second input, which are fixed in the file."""
    n.strange = True
    n.last("Slice", n.x, n.whole("starts", 0, 0), n.whole("ends", *n.step.output.shape[1:]), n.whole("axes", 2, 3))


def _pads(layer: Pad2d, n: Nodes, edges: tuple[int, ...]) -> tuple[str, ...]:
    left, right, top, bottom = edges
    value = (n.number("value", layer.value),) if layer.value else ()
    return (n.whole("pads", 0, 0, top, left, 0, 0, bottom, right), *value)


def _kept(n: Nodes, size: tuple[int, ...], cut: tuple[int, ...]) -> tuple[str, ...]:
    left, right, top, bottom = cut
    starts, ends = n.whole("starts", top, left), n.whole("ends", size[0] - bottom, size[1] - right)
    return starts, ends, n.whole("axes", 2, 3)
