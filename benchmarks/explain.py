"""What explanations cost, in forward passes of the same run: `python -m benchmarks.explain` writes docs/explaining.md.

VGG16 with random weights on one image of 224 x 224, float32, one thread, processor time; the two sides take turns, and
the fastest of each counts.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.explain import explain
from pellucid.explain.occlusion import occlude
from pellucid.layers.base import Layer, Mode, Params
from pellucid.models import vgg16
from pellucid.sweep import forward
from pellucid.train.runs import processor

PAGE = Path(__file__).resolve().parent.parent / "docs" / "explaining.md"
TURNS = 7
STRIDE = 8
METHODS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("saliency", {}),
    ("input_x_gradient", {}),
    ("guided_backprop", {}),
    ("deconvnet", {}),
    ("gradcam", {}),
    ("lrp", {"composite": "epsilon"}),
    ("lrp", {"composite": "epsilon_plus"}),
    ("lrp", {"composite": "epsilon_plus_flat"}),
    ("lrp", {"composite": "epsilon_gamma_box", "low": -2.0, "high": 2.0}),
    ("lrp", {"composite": "excitation_backprop"}),
    ("lrp", {"composite": "epsilon_alpha2_beta1"}),
    ("lrp", {"composite": "epsilon_alpha2_beta1_flat"}),
)
HEAD = """# What explanations cost

Written by `python -m benchmarks.explain`: VGG16 with random weights, one image of 224 x 224, float32, one thread,
processor time, the fastest of {turns} turns of each side. {machine}

A pass back that only changes how gradients are let through costs about as much as the pass forward, so 2 is the
least for these. LRP by z+ needs one pass more, with the positive weights alone; by alpha and beta three more.

| method | s | forward passes |
|---|---:|---:|
"""
OCCLUSION = """
Occlusion with a square of {square}, stride {stride}, {count} positions: one position at a time {slow:.1f} s (every
position run), batched {fast:.1f} s, {ratio:.2f} times as fast.
"""


def seconds(run: Callable[[], object]) -> float:
    begun = time.process_time()
    run()
    return time.process_time() - begun


def passes(net: Layer, params: Params, x: Tensor) -> list[str]:
    """Return a line of the table for each method."""

    def plain() -> None:
        forward(net, params, x, Mode(keep=False))

    lines: list[str] = []
    for method, options in METHODS:

        def explained(method: str = method, options: dict[str, Any] = options) -> None:
            explain(net, params, x, method, **options)

        plain()
        explained()
        turns = [(seconds(plain), seconds(explained)) for _ in range(TURNS)]
        forwards, whole = (min(side) for side in zip(*turns, strict=True))
        name = f"{method}, {options['composite']}" if options else method
        lines.append(f"| {name} | {whole:.3f} | {whole / forwards:.2f} |")
        print(lines[-1], flush=True)
    return lines


def occlusion(net: Layer, params: Params, x: Tensor) -> str:
    """Return what hiding every part of the image costs, both ways, with the default square."""
    square = x.shape[2] // 4
    fast = min(seconds(lambda: occlude(net, params, x, 3, stride=STRIDE)) for _ in range(2))
    corners = occlude(net, params, x, 3, stride=STRIDE).corners.flatten(0, 1).tolist()

    def one_by_one() -> None:
        for top, left, bottom, right in corners:
            hidden = x.clone()
            hidden[:, :, top:bottom, left:right] = 0
            forward(net, params, hidden, Mode(keep=False))

    slow = seconds(one_by_one)
    return OCCLUSION.format(square=square, stride=STRIDE, count=len(corners), slow=slow, fast=fast, ratio=slow / fast)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    net = vgg16(1000)
    rng = torch.Generator().manual_seed(0)
    params, _ = net.init((3, 224, 224), rng)
    x = torch.randn(1, 3, 224, 224, generator=rng).clamp(-2, 2)
    with torch.inference_mode():
        lines = passes(net, params, x)
        hidden = occlusion(net, params, x)
    head = HEAD.format(turns=TURNS, machine=f"torch {torch.__version__} on {processor()}.")
    PAGE.write_text(head + "\n".join(lines) + "\n" + hidden, encoding="utf-8")
    print(f"{hidden}wrote {PAGE.name}")


if __name__ == "__main__":
    main()
