"""Explain the same networks by Pellucid, Captum, Zennit and pytorch-grad-cam, and write docs/beside.md."""

import json
from importlib.metadata import PackageNotFoundError, version
from math import inf
from pathlib import Path
from typing import Any

import torch
from scipy.ndimage import zoom
from torch import Tensor, nn

from benchmarks.beside.libraries import LIBRARIES, Maps, quiet
from benchmarks.beside.networks import CASES, Case

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, RESULTS = DOCS / "beside.md", DOCS / "beside.json"
EXACT = 1e-6  # the relative gap up to which a gradient, a Grad-CAM and DeepLIFT's sum count as right
FLOAT32 = 1e-5  # the same for pytorch-grad-cam, which scales its maps in float32
MAX_LOSS = 0.05  # of the sum of integrated gradients and of relevance (Sundararajan, Taly and Yan 2017, section 5)
TEXT = """# Explanations beside other libraries

Written by `python -m benchmarks.beside` with {versions}.
Small networks as people write them, with random weights and without biases, so that all relevance should reach the
input. For other scores than that of a class, the network is wrapped in a module that returns the score, and Zennit gets
the relevance of its outputs; Pellucid takes the score as a target. Each is right if the gradient equals automatic
differentiation, and Grad-CAM its formula, up to {exact:g}; if the map of DeepLIFT adds up to the score up to {exact:g},
and those of integrated gradients and LRP within {loss:.0%}. What is not right follows its number; messages and gaps are
in [beside.json](beside.json). LXT rewrites attention and norms of transformers: [compared there](relevance.md). Quantus
measures maps, and makes none.

| network | {names} |
|---|{rule}|
"""


def reference(case: Case, module: nn.Module, xs: Maps, method: str) -> Maps:
    """Return the map by automatic differentiation: a gradient, or Grad-CAM with its sign."""
    inputs = [x.clone().requires_grad_() for x in xs]
    if method == "gradient":
        return torch.autograd.grad(case.score(module(*inputs)).sum(), inputs)
    maps: list[Tensor] = []
    hook = module.get_submodule(case.cam_layer).register_forward_hook(lambda *given: maps.append(given[2]))
    score = case.score(module(*inputs)).sum()
    hook.remove()
    (gradient,) = torch.autograd.grad(score, maps)
    positions = tuple(range(2, gradient.dim()))
    return ((gradient.mean(positions, keepdim=True) * maps[0]).sum(1, keepdim=True).detach(),)


def judged(case: Case, library: str, method: str) -> dict[str, Any]:
    """Return whether the map of a library is right, and what is wrong with it otherwise."""
    module, xs = case.draw()
    try:
        maps = quiet(LIBRARIES[library][method], case, module, xs)
    except Exception as error:
        return {"right": False, "why": "refused", "message": f"{type(error).__name__}: {error}"[:300]}
    if method in ("gradient", "Grad-CAM"):
        expected = reference(case, module, xs, method)
        if library == "pytorch-grad-cam":
            expected = (scaled(expected[0], xs[0]),)
        gap = max(relative_gap(map_, value) for map_, value in zip(maps, expected, strict=True))
        return {
            "right": gap <= (FLOAT32 if library == "pytorch-grad-cam" else EXACT),
            "gap": gap,
            "why": "has another shape" if gap == inf else f"off by {gap:.0%}",
        }
    with torch.no_grad():
        expected_sum = case.score(module(*xs))
        if method != "LRP":
            expected_sum = expected_sum - case.score(module(*map(torch.zeros_like, xs)))
    total = torch.stack([map_.flatten(1).sum(1) for map_ in maps]).sum(0)
    gap = float(((total - expected_sum).abs() / expected_sum.abs()).max())
    limit = EXACT if method == "DeepLIFT" else MAX_LOSS
    return {"right": gap <= limit, "gap": gap, "why": f"sum off by {gap:.0%}"}


def scaled(map_: Tensor, x: Tensor) -> Tensor:
    """Return max(map, 0) scaled to the range from 0 to 1 before and after it is resized, as pytorch-grad-cam does."""
    positive = to_range(map_.clamp_min(0))
    size = x.shape[1:-1] if x.shape[-1] == 3 else x.shape[2:]
    if len(size) == 3:  # by splines
        factors = [large / small for large, small in zip(size, map_.shape[2:], strict=True)]
        zoomed = torch.stack([torch.from_numpy(zoom(one[0].numpy(), factors))[None] for one in positive])
        return to_range(zoomed.clamp_min(0))
    return to_range(torch.nn.functional.interpolate(positive, size, mode="bilinear"))


def to_range(map_: Tensor) -> Tensor:
    """Return maps (N, 1, ...), each scaled to the range from 0 to 1."""
    axes = tuple(range(1, map_.dim()))
    positive = map_ - map_.amin(axes, keepdim=True)
    return positive / (1e-7 + positive.amax(axes, keepdim=True))


def relative_gap(map_: Tensor, expected: Tensor) -> float:
    """Return the largest difference relative to the largest value; infinite for another shape."""
    if map_.shape != expected.shape:
        return inf
    return float((map_ - expected).abs().max() / expected.abs().max())


def main() -> None:
    """Judge every library on every network, and write the page."""
    results: dict[str, dict[str, dict[str, Any]]] = {}
    rows: list[str] = []
    for case in CASES:
        cells: list[str] = []
        for library, methods in LIBRARIES.items():
            names = [name for name in methods if name != "Grad-CAM" or case.cam_layer]
            judgements = {name: judged(case, library, name) for name in names}
            results.setdefault(case.name, {})[library] = judgements
            wrong = [f"{name} {one['why']}" for name, one in judgements.items() if not one["right"]]
            right = sum(one["right"] for one in judgements.values())
            cells.append("; ".join([f"{right} of {len(names)}", *wrong]) if names else "-")
        rows.append(f"| {case.name} | {' | '.join(cells)} |")
        print(rows[-1], flush=True)
    versions = ", ".join(f"{name} {version_of(name)}" for name in ("torch", "captum", "zennit", "grad-cam"))
    head = TEXT.format(
        versions=versions, exact=EXACT, loss=MAX_LOSS, names=" | ".join(LIBRARIES), rule="---|" * len(LIBRARIES)
    )
    PAGE.write_text(head.replace("||\n", "|\n") + "\n".join(rows) + "\n", encoding="utf-8")
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def version_of(package: str) -> str:
    """Return the version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise SystemExit(f"needs {package}: pip install --no-deps captum zennit grad-cam ttach") from error


if __name__ == "__main__":
    main()
