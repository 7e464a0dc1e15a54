"""Open the networks of a list: `python tools/open_networks.py LIST RESULTS.json [--page PAGE] [--least COUNT]`.

LIST is a JSON file with a key for each network, such as `timm:vision_transformer/vit_tiny_patch16_224`, or a text file
with one family in each line, such as `timm:beit`, for its network with the fewest parameters. Each network is built
with random weights and opened in a separate process, in float64. Networks of transformers have their default
configuration with at most two layers. Images have the network's size, or 128 pixels if it accepts any. The outputs and
gradients for two images are compared with PyTorch's automatic differentiation, and the sum of relevance and ledger with
the explained score. Networks above the limit of parameters are opened in float32, and only their outputs are compared.
RESULTS.json stores the results; a call with the same code skips networks that are in it. The extra `open` is required.
"""

import argparse
import csv
import hashlib
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from pellucid.opening.configured import import_library

MAX_PARAMETERS = 100_000_000  # both networks and their gradients in float64 must fit in memory
SIDE = 128  # side in pixels of the images for networks that accept any size
FIXED_SIZE_WORDS = (
    "vit",
    "eva",
    "deit",
)  # parts of the names of networks whose position embedding fixes the size of the images
MAX_REASON = 300  # characters on the page
MAX_LAYERS = 2  # of networks of the package transformers
MAX_SECONDS = 300
# Largest relative errors. In PyTorch, too, one unit in the last place of the input changes gradients of visformer_tiny
# by 5e-11.
MAX_GAPS = {"outputs": 1e-12, "gradients": 1e-9, "ledger": 1e-10}
CONFIG_NAMES = {
    "vitmae": "vit_mae", "clip_vision": "clip_vision_model", "siglip_vision": "siglip_vision_model",
    "data2vec_vision": "data2vec-vision",
}  # fmt: skip
HEADS = {
    "networks": """# Networks that open

What `pellucid.open` does with the networks of `../shared/facts/open-ops.json`, each with random weights; those of
transformers have at most two layers. Written by `tools/open_networks.py`. The gaps are to PyTorch's automatic
differentiation in float64, in evaluation mode, for two images: of outputs relative to the largest one, of gradients
relative to the largest entry of each tensor, with the floor of `verify` (1e-3 of the network's largest gradient, or of
1). The ledger is what the relevance of the pixels by `cp_lrp` and all that layers absorbed lack of the explained score,
relative to it. The time is relative to one `torch.export`. "open (outputs)" are networks with more than 100 million
parameters, in float32, of which only the outputs were compared.

Of 60 posted networks, in halves, the second unseen until the end, 29 and 25 of 30 opened at once, with PyTorch's
outputs and gradients (`python -m benchmarks.posted FOLDER`). Refused: FFT, a straight-through estimator, networks for
one example, a dictionary. Libraries, [measured on twelve networks](beside.md):

| library | takes | not |
|---|---|---|
| Pellucid | all inputs and targets; gradients, LRP, CAMs, measures | SHAP, concepts |
| Captum | PyTorch code; LRP of modules | sums, attention |
| Zennit | LRP of modules | sums, attention, several inputs |
| LXT | LRP of transformers | other networks |
| pytorch-grad-cam | CAMs | signals, NHWC, several inputs |
| Quantus | measures | maps |
""",
    "families": """# Families of networks that open

Forty families of timm and transformers that nobody looked at before `pellucid.open` was written
(`conformance/open_unseen.txt`): of timm, the network with the fewest parameters. Measured as the [networks that
open](open.md).
""",
}


def network_keys(path: Path) -> list[str]:
    """Return the keys of the networks of a list, in a JSON list by increasing number of parameters."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        sizes = {key: result.get("parameters", 0) for key, result in json.loads(text).items()}
        return sorted(sizes, key=sizes.__getitem__)
    families = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [f"{one}/{_smallest_network(one[5:])}" if one.startswith("timm:") else one for one in families]


def _smallest_network(family: str) -> str:
    """Return the name of the network with the fewest parameters in a family of timm."""
    timm = import_library("timm")

    def size(name: str) -> int:
        with torch.device("meta"):
            return sum(one.numel() for one in timm.create_model(name, pretrained=False).parameters())

    return min(timm.list_models(module=family), key=size)


def build_network(key: str) -> Any:
    """Return the network of a key, with random weights; raise ValueError for an unknown kind."""
    kind, _, name = key.partition(":")
    model_name = name.rpartition("/")[2]
    if kind == "timm":
        return import_library("timm").create_model(model_name, pretrained=False)
    if kind == "torchvision":
        import torchvision

        return torchvision.models.get_model(model_name, weights=None)
    if kind == "torchvision-segmentation":
        import torchvision

        return torchvision.models.get_model(model_name, weights=None, weights_backbone=None)
    if kind == "transformers":
        import transformers

        config = transformers.AutoConfig.for_model(CONFIG_NAMES.get(model_name, model_name.replace("-", "_")))
        if not hasattr(config, "depths") and getattr(config, "num_hidden_layers", 0) > MAX_LAYERS:
            config.num_hidden_layers = MAX_LAYERS
        return _build_transformer(config)
    raise ValueError(f"no definition of {kind} networks here")


def _build_transformer(config: Any) -> Any:
    """Return a network of the first class that supports the configuration; raise ValueError if none does."""
    import transformers

    for name in ("AutoModel", "AutoModelForDepthEstimation", "AutoModelForSemanticSegmentation"):
        kind = getattr(transformers, name)
        if type(config) in kind._model_mapping:
            return kind.from_config(config)
    raise ValueError(f"transformers has no network for {type(config).__name__}")


def try_network(key: str, limit: int) -> dict[str, Any]:
    """Return the state and measurements of opening a network, as JSON values.

    limit: the number of parameters above which the network is opened in float32 and only outputs are compared.
    """
    import pellucid
    from pellucid.verify.table import FLOOR, TOLERANCE

    torch.manual_seed(0)
    try:
        network = build_network(key).eval()
    except Exception as error:  # any exception of another package
        text = str(error).splitlines()
        return {"state": "not built", "why": f"{type(error).__name__}: {text[0] if text else ''}"}
    large = sum(part.numel() for part in network.parameters()) > limit
    dtype = torch.float32 if large else torch.float64
    network.to(dtype)
    x = torch.randn(2, *_size(key, network), dtype=dtype)
    try:
        operators, export_seconds = _count_operators(network, x)
    except Exception:  # of torch.export; pellucid.open reports it below
        operators, export_seconds = 0, 1.0
    started = time.perf_counter()
    try:
        model = pellucid.open(network, x)
    except pellucid.PellucidError as error:
        return {"state": "refused", "why": str(error)}
    seconds = time.perf_counter() - started
    measured = {"operators": operators, "layers": len(model.net.nodes), "time": seconds / export_seconds}
    ours = model(x)
    x_leaf, weights = x.clone().requires_grad_(not large), dict(network.named_parameters())
    with torch.set_grad_enabled(not large):
        outputs, _ = torch.utils._pytree.tree_flatten(network(x_leaf))
        outputs = [y for y in outputs if isinstance(y, torch.Tensor)]
    pairs = zip(ours if isinstance(ours, tuple) else (ours,), outputs, strict=True)
    measured["outputs"] = max(_gap(actual, expected_output.detach(), 1e-300) for actual, expected_output in pairs)
    if large:
        return {"state": "open (outputs)", **measured}
    dys = [torch.randn_like(y) / y.numel() ** 0.5 for y in outputs]
    grads = torch.autograd.grad(outputs, [x_leaf, *weights.values()], dys, allow_unused=True)
    gradients = model.gradients(x, dys[0] if isinstance(ours, torch.Tensor) else tuple(dys))
    expected = {name: actual for name, actual in zip(("input", *weights), grads, strict=True) if actual is not None}
    missing = sorted(expected.keys() - gradients.keys())
    largest = max(float(actual.abs().max()) for actual in expected.values() if actual.numel())
    floor = FLOOR / TOLERANCE * max(largest, 1.0)
    gaps = [_gap(gradients[name], actual, floor) for name, actual in expected.items() if name in gradients]
    result = {
        "state": "open",
        "why": f"no gradient for {', '.join(missing[:3])}" if missing else "",
        **measured,
        "gradients": max(gaps),
        "ledger": _ledger_gap(model, x, outputs[0].dim()),
    }
    is_different = missing or any(result[name] > limit for name, limit in MAX_GAPS.items())
    return {**result, "state": "different"} if is_different else result


def _count_operators(network: Any, x: Any) -> tuple[int, float]:
    """Return the number of different operators of a network, and the seconds of torch.export.

    Overloads and in-place variants of an operator count as one.
    """
    started = time.perf_counter()
    program = torch.export.export(network, (x,), strict=False)
    seconds = time.perf_counter() - started
    targets = [node.target for node in program.graph_module.graph.nodes if node.op == "call_function"]
    names = (target._schema.name for target in targets if isinstance(target, torch._ops.OpOverload))
    return len({name.partition("::")[2].removesuffix("_") for name in names}), seconds


def _ledger_gap(model: Any, x: Any, axes: int) -> float:
    """Return |score - relevance - ledger| relative to the score; axes: the number of axes of the first output."""
    single = axes == 2 and len(model.net.outputs) == 1
    ledger = model.ledger(x, None if single else f"{model.net.outputs[0]}[0]", composite="cp_lrp")
    return abs(ledger.gap / (ledger.score or 1.0))  # the score is 0 if the untrained head is


def _size(key: str, network: Any) -> tuple[int, int, int]:
    """Return the shape (C, H, W) of an image: SIDE pixels for networks that accept any size, else the network's."""
    settings = getattr(network, "default_cfg", None) or {}
    if key.startswith("timm:"):
        takes_any_size = not settings.get("fixed_input_size", False) and not any(
            word in key for word in FIXED_SIZE_WORDS
        )
        return (3, SIDE, SIDE) if takes_any_size else settings["input_size"]
    side = SIDE if key.startswith("torchvision") and "vit" not in key else 224
    return 3, side, side


def _gap(actual: Any, expected: Any, floor: float) -> float:
    return float((actual - expected).abs().max() / (expected.abs().max() + floor)) if expected.numel() else 0.0


def page(results: dict[str, Any], untried: Sequence[str], head: str, table: str, date: str) -> str:
    """Return the page: counts, the networks that open, and why others do not.

    untried: the networks of the list without a result. table: the name of the file with all results.
    """
    states = [result["state"] for result in results.values()]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))
    times = statistics.median(result["time"] for result in results.values() if "time" in result)
    unmeasured = f" Not measured: {', '.join(untried)}." if untried else ""
    measured = [result for result in results.values() if result["state"] == "open"]
    gaps = ", ".join(f"{name} {max(result[name] for result in measured):.0e}" for name in MAX_GAPS)
    lines = [
        head,
        f"Of {len(results)} networks: {counts}.{unmeasured} The largest gaps: {gaps}. The median of the times is "
        f"{times:.1f}. The operators, layers, gaps and times of each network are in [{table}]({table}).\n",
    ]
    lines.append("| not open | state | why not |\n|---|---|---|")
    for key, result in sorted(results.items()):
        if not result["state"].startswith("open"):
            lines.append(f"| {key} | {result['state']} | {result.get('why', '').replace('|', '/')[:MAX_REASON]} |")
    return "\n".join([*lines, "", f"Measured {date}."]) + "\n"


def write_table(results: dict[str, Any], path: Path) -> None:
    """Write all results as a CSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ("network", "state", "operators", "layers", "outputs", "gradients", "ledger", "time", "why not")
        )
        for key, result in sorted(results.items()):
            gaps = (_formatted(result, name) for name in MAX_GAPS)
            counts = (result.get("operators", ""), result.get("layers", ""))
            writer.writerow(
                (key, result["state"], *counts, *gaps, _formatted(result, "time", ".1f"), result.get("why", ""))
            )


def _formatted(result: dict[str, Any], name: str, form: str = ".0e") -> str:
    return f"{result[name]:{form}}" if name in result else ""


def known_results(path: Path) -> dict[str, Any]:
    """Return the results in a file without failures, or {} if there is no file or the code has changed since."""
    stored = json.loads(path.read_text()) if path.exists() else {}
    if stored.get("code") != code_digest():
        return {}
    return {
        key: result for key, result in stored["networks"].items() if result["state"] not in ("failed", "not finished")
    }


def code_digest() -> str:
    """Return the SHA-256 digest of the library's code."""
    files = sorted((Path(__file__).resolve().parents[1] / "pellucid").rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Try all networks without a result; return 1 if too few open, if one differs or if one failed, else 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument(
        "--limit", type=int, default=MAX_PARAMETERS, help="no gradients for networks with more parameters"
    )
    parser.add_argument("--only", default="", help="try only networks whose keys begin with this")
    parser.add_argument("--page", type=Path, help="write the page here, and all results beside it as a CSV file")
    parser.add_argument("--least", type=int, default=0, help="fail unless so many networks open")
    args = parser.parse_args(arguments)
    networks = network_keys(args.list)
    results = known_results(args.results)
    for key in networks:
        if key in results or not key.startswith(args.only):
            continue
        results[key] = in_process(key, args.limit)
        print(f"{key}: {results[key]['state']} {results[key].get('why', '')[:200]}", flush=True)
        args.results.write_text(json.dumps({"code": code_digest(), "networks": results}, indent=1))
    if args.page:
        table = args.page.with_suffix(".csv")
        write_table(results, table)
        head = HEADS["networks" if args.list.suffix == ".json" else "families"]
        untried = sorted(set(networks) - results.keys())
        args.page.write_text(page(results, untried, head, table.name, time.strftime("%Y-%m-%d")))
    states = [result["state"] for result in results.values()]
    count = sum(state.startswith("open") for state in states)
    print(f"{count} of {len(networks)} networks open")
    return int(count < args.least or bool({"different", "failed"} & set(states)))


def in_process(key: str, limit: int) -> dict[str, Any]:
    """Return the result of a network from a forked process; the packages are imported once, before the fork."""
    for name in ("timm", "transformers"):
        import_library(name)
    _count_operators(torch.nn.ReLU(), torch.zeros(1))  # the first export imports modules, which must not count
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_send_result, args=(sender, key, limit))
    process.start()
    sender.close()
    try:
        if receiver.poll(MAX_SECONDS):
            return receiver.recv()
        return {"state": "not finished", "why": f"it took more than {MAX_SECONDS} s"}
    except EOFError:
        return {"state": "failed", "why": "the process ended without a result"}
    finally:
        process.kill()
        process.join()


def _send_result(sender: Connection, key: str, limit: int) -> None:
    try:
        sender.send(try_network(key, limit))
    except Exception as error:  # stored as the result; the next network is tried
        sender.send({"state": "failed", "why": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})


if __name__ == "__main__":
    sys.exit(main())
