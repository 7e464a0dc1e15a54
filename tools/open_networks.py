"""Open the networks of a list, and write docs/open.md: `python tools/open_networks.py OPS.json RESULTS.json`.

OPS.json has a key for each network, such as `timm:vision_transformer/vit_tiny_patch16_224`. Each is
built with random weights and opened in a process of its own, in float64, for images of 224 x 224; its outputs and its
gradients for two images are compared with those of PyTorch's automatic differentiation. RESULTS.json keeps what
has been tried, so that another call continues. timm, torchvision (`pip install --no-deps`) and transformers are needed;
the operators of torchvision, which its definitions of networks for classes and masks do not call, are only declared.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 30_000_000  # parameters, in float64 with their gradients, twice
SECONDS = 300
OPERATORS: list[Any] = []  # declarations, which last as long as their objects
HEAD = """# Networks that open

Each network of `../shared/facts/open-ops.json` with random weights, as `tools/open_networks.py` found it: whether
`pellucid.open` opens it, the number of its layers, and the largest gaps to PyTorch's automatic differentiation in
float64, in evaluation mode, relative to the largest value of each tensor plus 1. The others are refused for the reason
shown, or could not be built or finished.

"""


def declare_operators() -> Any:
    """Declare the two operators without which torchvision, built for another PyTorch, cannot be imported."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def built(key: str) -> Any:
    """Return the network of a key, with random weights."""
    kind, _, name = key.partition(":")
    last = name.rpartition("/")[2]
    if kind == "timm":
        import timm

        return timm.create_model(last, pretrained=False)
    if kind == "torchvision":
        import torchvision

        return torchvision.models.get_model(last, weights=None)
    if kind == "torchvision-segmentation":
        import torchvision

        return torchvision.models.get_model(last, weights=None, weights_backbone=None)
    if kind == "transformers":
        import transformers

        kinds = [one for one in (last, last.replace("_", "-"), f"{last}_model") if one in transformers.CONFIG_MAPPING]
        return transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kinds[0]))
    raise ValueError(f"no definition of {kind} networks here")


def tried(key: str) -> dict[str, Any]:
    """Return what opening a network gave, as JSON values."""
    import torch

    import pellucid

    torch.manual_seed(0)
    OPERATORS.append(declare_operators())
    try:
        network = built(key).double().eval()
    except Exception as error:  # of other packages
        return {
            "state": "not built",
            "why": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
        }
    size = (getattr(network, "default_cfg", None) or {}).get("input_size", (3, 224, 224))
    x = torch.randn(2, *size, dtype=torch.float64)
    try:
        model = pellucid.open(network, x)
    except pellucid.PellucidError as error:
        return {"state": "refused", "why": str(error)}
    leaf, weights = x.clone().requires_grad_(), dict(network.named_parameters())
    with torch.enable_grad():
        outputs, _ = torch.utils._pytree.tree_flatten(network(leaf))
        outputs = [y for y in outputs if isinstance(y, torch.Tensor)]
        dys = [torch.randn_like(y) / y.numel() ** 0.5 for y in outputs]
        found = torch.autograd.grad(outputs, [leaf, *weights.values()], dys, allow_unused=True)
    ours = model(x)
    gradients = model.gradients(x, dys[0] if isinstance(ours, torch.Tensor) else tuple(dys))
    expected = {name: one for name, one in zip(("input", *weights), found, strict=True) if one is not None}
    pairs = zip(ours if isinstance(ours, tuple) else (ours,), outputs, strict=True)
    missing = sorted(expected.keys() - gradients.keys())
    gaps = [_gap(gradients[name], one) for name, one in expected.items() if name in gradients]
    return {
        "state": "different" if missing else "open",
        "why": f"no gradient for {', '.join(missing[:3])}" if missing else "",
        "layers": len(model.net.nodes),
        "outputs": max(_gap(one, other) for one, other in pairs),
        "gradients": max(gaps),
    }


def _gap(found: Any, expected: Any) -> float:
    return float((found - expected).abs().max() / (expected.abs().max() + 1)) if expected.numel() else 0.0


def page(results: dict[str, Any], untried: int) -> str:
    """Return the page with the table; untried: the number of networks of the list that have not been tried."""
    states = [found["state"] for found in results.values()]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))
    rows = [
        f"| {key} | {found['state']} | {found.get('layers', '')} | {_shown(found, 'outputs')} | "
        f"{_shown(found, 'gradients')} | {found.get('why', '').replace('|', '/')[:300]} |"
        for key, found in sorted(results.items())
    ]
    head = "| network | state | layers | outputs | gradients | why not |\n|---|---|---|---|---|---|"
    return (
        f"{HEAD}Of {len(results)} networks: {counts}. {untried} more of the list are unmeasured.\n\n{head}\n"
        + "\n".join(rows)
        + "\n"
    )


def _shown(found: dict[str, Any], name: str) -> str:
    return f"{found[name]:.0e}" if name in found else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Try all networks that have not been tried, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ops", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--limit", type=int, default=LIMIT, help="networks with more parameters are left out")
    parser.add_argument("--one", help="try this network only, and print the result as JSON")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/open.md")
    args = parser.parse_args(arguments)
    if args.one:
        print(json.dumps(tried(args.one)))
        return 0
    networks = json.loads(args.ops.read_text())
    results = json.loads(args.results.read_text()) if args.results.exists() else {}
    for key, facts in sorted(networks.items(), key=lambda item: item[1].get("parameters", 0)):
        if key in results or facts.get("parameters", 0) > args.limit:
            continue
        results[key] = in_process(args, key)
        print(f"{key}: {results[key]['state']} {results[key].get('why', '')[:200]}", flush=True)
        args.results.write_text(json.dumps(results, indent=1))
    args.page.write_text(page(results, len(networks.keys() - results.keys())))
    return 0


def in_process(args: argparse.Namespace, key: str) -> dict[str, Any]:
    """Return what another process found out about a network."""
    command = [sys.executable, __file__, str(args.ops), str(args.results), "--one", key]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        return json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"state": "not finished", "why": f"it took more than {SECONDS} s"}
    except (IndexError, ValueError):
        return {"state": "failed", "why": (done.stderr.strip().splitlines() or ["no output"])[-1]}


if __name__ == "__main__":
    sys.exit(main())
