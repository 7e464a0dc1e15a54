"""Measure the cost of explanations in forward passes: `python -m benchmarks.explain` writes docs/explaining.md.

The network is VGG16 with random weights, on one image of 224 x 224, in float32 with one thread, in processor time. A
forward pass and a method run alternately, equally often, and the minimum time of each is used.
"""

import argparse
import math
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
from pellucid.run.folder import processor
from pellucid.sweep import forward

PAGE = Path(__file__).resolve().parent.parent / "docs" / "explaining.md"
TURNS, OCCLUSION_TURNS = 7, 3  # runs of each side; occlusion by one position at a time takes minutes
STRIDE, TARGET_CLASS = 8, 3
MAX_FORWARD_PASSES = 2.2  # limit for methods that consist of one forward and one backward pass
METHODS: tuple[tuple[str, dict[str, Any], float | None], ...] = (
    ("saliency", {}, MAX_FORWARD_PASSES),
    ("input_x_gradient", {}, MAX_FORWARD_PASSES),
    ("guided_backprop", {}, MAX_FORWARD_PASSES),
    ("deconvnet", {}, MAX_FORWARD_PASSES),
    ("gradcam", {}, MAX_FORWARD_PASSES),
    ("gradcam_plus_plus", {}, MAX_FORWARD_PASSES),
    ("guided_gradcam", {}, MAX_FORWARD_PASSES),
    ("lrp", {"composite": "epsilon"}, MAX_FORWARD_PASSES),
    ("lrp", {"composite": "epsilon_plus"}, None),
    ("lrp", {"composite": "epsilon_plus_flat"}, None),
    ("lrp", {"composite": "epsilon_gamma_box", "low": -2.0, "high": 2.0}, None),
    ("lrp", {"composite": "excitation_backprop"}, None),
    ("lrp", {"composite": "epsilon_alpha2_beta1"}, None),
    ("lrp", {"composite": "epsilon_alpha2_beta1_flat"}, None),
)
HEAD = """# What explanations cost

Written by `python -m benchmarks.explain`: VGG16 with random weights, one image of 224 x 224, float32, one thread,
processor time. The two sides, a pass forward and the method, take turns; the fastest of {turns} turns of each counts.
{machine}

A pass back that only changes how gradients are let through costs about as much as the pass forward, so 2 is the
least for these, and {limit} the limit. LRP by z+ needs one pass more, with the positive weights alone; by alpha and
beta three more. These composites are outside the limit, which a dash says.

| method | s | forward passes | limit |
|---|---:|---:|---:|
"""
OCCLUSION_TEXT = """
Occlusion with a square of {square}, stride {stride}, {count} positions: one position at a time {slow:.1f} s (every
position run), batched {fast:.1f} s, {ratio:.2f} times as fast, by the fastest of {turns} turns
of each. Both sides hide the squares and read the score and the best class under each.
"""
VERDICTS_TEXT = """
## What the tests of an explanation say

`pellucid explain` prints a verdict beside each test, in text, JSON and its page; `pellucid.explain.verdicts` holds the
rules.

- Deletion, insertion and ROAD: the area under the curve against those of 19 random orders of the same picture's pixels
  (a Monte Carlo test: Barnard 1963). Below all of them, above for insertion, is "better than random order": a random
  map gets there with probability 1/20. Among them is "no better", beyond all on the wrong side "worse". With 15 methods
  and three curves each, two such successes among random maps are to be expected. The random orders cost 912 further
  passes forward, once for each picture.
- Sum: a map that promises to add up (integrated gradients, LRP) "adds up" within 5 % of what it should; for LRP biases
  and stabilizers take their shares, so that a failure there is no fault of the explanation. Its ledger
  (`model.ledger`) names each share, and closes: input and ledger add up to the score, up to rounding errors.
- Weights: the rank correlation with the map of the same network with all weights shuffled. Above the square root of 1/2
  more than half of the variance of the pixels' ranks does not come from the weights: "it shows the image, not the
  network" (after Adebayo et al. 2018, who give no limit).
"""


def time_call(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def alternating(run_first: Callable[[], object], run_second: Callable[[], object], turns: int) -> tuple[float, float]:
    """Call two functions alternately, `turns` times each, and return the minimum seconds of each."""
    first_seconds, second_seconds = zip(
        *((time_call(run_first), time_call(run_second)) for _ in range(turns)), strict=True
    )
    return min(first_seconds), min(second_seconds)


def method_rows(net: Layer, params: Params, x: Tensor, turns: int = TURNS) -> list[str]:
    """Return the row of the table for each method, and print it."""

    def forward_pass() -> None:
        forward(net, params, x, Mode(keep=False))

    lines: list[str] = []
    for method, options, limit in METHODS:

        def explained_once(method: str = method, options: dict[str, Any] = options) -> None:
            explain(net, params, x, method, **options)

        forward_pass()
        explained_once()
        forward_seconds, explanation_seconds = alternating(forward_pass, explained_once, turns)
        name = f"{method}, {options['composite']}" if options else method
        lines.append(
            f"| {name} | {explanation_seconds:.3f} | {explanation_seconds / forward_seconds:.2f} | {limit or '-'} |"
        )
        print(lines[-1], flush=True)
    return lines


def occlude_one_by_one(
    net: Layer, params: Params, x: Tensor, target: int, square: int, stride: int
) -> tuple[Tensor, Tensor]:
    """Return `occlude` of one image, score and best class (h, w), by one forward pass for each position."""
    tops, lefts = (range(0, stride * math.ceil((size - square) / stride) + 1, stride) for size in x.shape[2:])
    scores: list[Tensor] = []
    for top in tops:
        for left in lefts:
            hidden = x.clone()
            hidden[:, :, top : top + square, left : left + square] = 0
            scores.append(forward(net, params, hidden, Mode(keep=False))[0][0])
    outputs = torch.stack(scores).view(len(tops), len(lefts), -1)
    return outputs[:, :, target], outputs.argmax(2)


def occlusion_section(net: Layer, params: Params, x: Tensor, stride: int = STRIDE, turns: int = OCCLUSION_TURNS) -> str:
    """Return the section on occlusion: the times of `occlude` and of `occlude_one_by_one` with the default square."""
    square = x.shape[2] // 4
    scores: dict[str, Tensor] = {}

    def run_batched() -> None:
        scores["batched"] = occlude(net, params, x, TARGET_CLASS, square, stride).score[0]

    def run_single() -> None:
        scores["single"], _ = occlude_one_by_one(net, params, x, TARGET_CLASS, square, stride)

    single_seconds, batched_seconds = alternating(run_single, run_batched, turns)
    torch.testing.assert_close(scores["batched"], scores["single"], rtol=1e-3, atol=1e-4)
    return OCCLUSION_TEXT.format(
        square=square,
        stride=stride,
        count=scores["single"].numel(),
        slow=single_seconds,
        fast=batched_seconds,
        ratio=single_seconds / batched_seconds,
        turns=turns,
    )


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    net = vgg16(1000)
    rng = torch.Generator().manual_seed(0)
    params, _ = net.init((3, 224, 224), rng)
    x = torch.randn(1, 3, 224, 224, generator=rng).clamp(-2, 2)
    with torch.inference_mode():
        lines = method_rows(net, params, x)
        occlusion_lines = occlusion_section(net, params, x)
    head = HEAD.format(turns=TURNS, limit=MAX_FORWARD_PASSES, machine=f"torch {torch.__version__} on {processor()}.")
    date = time.strftime("%Y-%m-%d")
    text = head + "\n".join(lines) + "\n" + occlusion_lines + VERDICTS_TEXT
    PAGE.write_text(f"{text}\nMeasured {date}.\n", encoding="utf-8")
    print(f"{occlusion_lines}wrote {PAGE.name}")


if __name__ == "__main__":
    main()
