"""Feature pyramid networks."""

from typing import Any

from pellucid.combine import Graph, Sequential
from pellucid.layers import Add, Conv2d, Crop, GroupNorm, Upsample
from pellucid.layers.base import Layer


def fpn(channels: int = 96, levels: int = 3, groups: int = 8) -> Graph:
    """Return a feature pyramid network; input and output are tuples of `levels` maps, fine to coarse by factors of 2.

    A 1 x 1 convolution reduces each map to `channels` channels. Then, from coarse to fine, each result is upsampled by
    2, cropped to the size of the next finer map, and added to it. A 3 x 3 convolution computes each output. All
    convolutions are followed by group normalization with `groups` groups, as in Wu and He 2018, section 4.2.
    Source: Lin, Dollar, Girshick, He, Hariharan and Belongie 2017, section 3 and figure 3.
    """
    inputs = tuple(f"map{level}" for level in range(1, levels + 1))
    nodes: dict[str, tuple[Any, ...]] = {}
    coarser_node = ""
    for level in range(levels, 0, -1):
        nodes[f"lateral{level}"] = (_conv(channels, 1, groups), f"map{level}")
        current = f"lateral{level}"
        if coarser_node:
            nodes[f"enlarge{level}"] = (Upsample(2), coarser_node)
            nodes[f"crop{level}"] = (Crop(), f"enlarge{level}", current)
            nodes[f"add{level}"] = (Add(), current, f"crop{level}")
            current = f"add{level}"
        nodes[f"out{level}"] = (_conv(channels, 3, groups), current)
        coarser_node = current
    return Graph(nodes, tuple(f"out{level}" for level in range(1, levels + 1)), inputs)


def _conv(channels: int, kernel: int, groups: int) -> Layer:
    return Sequential(conv=Conv2d(channels, kernel, padding=kernel // 2, bias=False), norm=GroupNorm(groups))
