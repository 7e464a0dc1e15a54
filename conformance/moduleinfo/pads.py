"""Samples of PyTorch's padding modules, run on Pad2d and, for a third axis, on PadChannels."""

from functools import partial
from typing import Any

from torch import Tensor

from conformance.moduleinfo.module import ConvertedModule, Module, layer_module
from conformance.trial import ForwardPass, Trial
from conformance.views import spatial_view
from pellucid.layers import Mode, Pad2d, PadChannels

KINDS = {
    "Reflection": "reflect",
    "Replication": "replicate",
    "Circular": "circular",
    "Zero": "zero",
    "Constant": "constant",
}


def pad(module: Any, x: Tensor, axes: int, kind: str) -> ConvertedModule:
    """Convert a padding module over one or two `axes` to Pad2d."""
    left, right, top, bottom = (*module.padding, 0, 0)[:4]
    value = module.value if kind == "constant" else 0.0
    return ConvertedModule(Pad2d((left, right, top, bottom), kind, value), spatial_view(x, axes))


def zero_pad_volume(module: Any, x: Tensor) -> Trial:
    """Return the trial of Pad2d followed by PadChannels on a ZeroPad3d, whose first spatial axis becomes channels."""
    left, right, top, bottom, before, after = module.padding
    image, channels = Pad2d((left, right, top, bottom)), PadChannels(before, after)

    def forward() -> ForwardPass:
        inner, image_cache = image.forward({}, x.flatten(0, -4), Mode())  # (N or N C, D, H, W)
        y, cache = channels.forward({}, inner, Mode())

        def backward(dy: Tensor) -> dict[str, Tensor]:
            dinner, _ = channels.backward({}, cache, dy.flatten(0, -4))
            return {"x": image.backward({}, image_cache, dinner)[0].view_as(x)}

        return ForwardPass((y.view(*x.shape[:-3], *y.shape[1:]),), backward)

    return Trial({"x": x}, lambda: (module(x),), forward)


MODULES = (
    *(
        layer_module(f"nn.{name}Pad{axes}d", Pad2d, partial(pad, axes=axes, kind=kind))
        for name, kind in KINDS.items()
        for axes in (1, 2)
    ),
    Module("nn.ZeroPad3d", PadChannels, zero_pad_volume),
)
