"""Open the networks of a list: `python tools/open_networks.py LIST RESULTS.json [--page PAGE] [--least COUNT]`.

LIST is a JSON file with a key for each network, such as `timm:vision_transformer/vit_tiny_patch16_224`, or a text file
with a family a line, such as `timm:beit`, of which the network with the fewest parameters counts. Each is built with
random weights, those of transformers in their default configuration with at most two layers, and opened in a process of
its own, in float64, for images of the network's size, of 128 pixels where it takes any. Its outputs and its gradients
for two images are compared with those of PyTorch's automatic differentiation, the sum of its relevance and ledger with
the explained score. Networks above the limit of parameters are opened in float32, and only their outputs are compared.
RESULTS.json keeps what has been tried, so that another call with the same code continues. The extra `open` is needed.
"""

import argparse
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

LIMIT = 100_000_000  # parameters, in float64 with their gradients, twice
SIDE = 128  # pixels of images for networks that take any size
FIXED = ("vit", "eva", "deit")  # parts of the names of networks that need the size of their position embedding
LAYERS = 2  # of networks of transformers
SECONDS = 300
# Largest gaps. One unit in the last place of the input moves gradients of visformer_tiny by 5e-11 in PyTorch, too.
LIMITS = {"outputs": 1e-12, "gradients": 1e-9, "ledger": 1e-10}
NAMES = {
    "vitmae": "vit_mae", "clip_vision": "clip_vision_model", "siglip_vision": "siglip_vision_model",
    "data2vec_vision": "data2vec-vision",
}  # fmt: skip
OF_FACTS = "These are the networks of `../shared/facts/open-ops.json`."
OF_FAMILIES = """These are forty families of timm and transformers that nobody looked at before `pellucid.open` was
written, `conformance/open_unseen.txt`: of timm, the network with the fewest parameters."""
HEAD = """# {title}

{networks}

Each has random weights. The table is what `tools/open_networks.py` found: whether `pellucid.open` opens it, the numbers
of different operators and of layers, and the largest gaps to PyTorch's automatic differentiation in float64, in
evaluation mode, for two images: of outputs relative to the largest one, of gradients relative to the largest entry of
each tensor, with the floor of `verify` (1e-3 of the network's largest gradient, or of 1). The ledger is what the
relevance of the pixels by `cp_lrp` and all that layers absorbed lack of the explained score, relative to it: the score
of the best class, or the largest value of the first map or token where the outputs are no classes. The time is that of
`pellucid.open` beside that of one `torch.export`; opening also runs the network and its layers, on the images and on
one of another size, for comparisons, which take most of the time of large images in float64. Networks of transformers
have at most two layers. "open (outputs)" are networks with more than 100 million parameters,
in float32, of which only the outputs were compared. The others are refused for the reason shown, or could not be built
or finished.

"""


def listed(path: Path) -> list[str]:
    """Return the keys of the networks of a list, those with the fewest parameters first where it has their number."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        sizes = {key: found.get("parameters", 0) for key, found in json.loads(text).items()}
        return sorted(sizes, key=sizes.__getitem__)
    families = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [f"{one}/{_smallest(one[5:])}" if one.startswith("timm:") else one for one in families]


def _smallest(family: str) -> str:
    """Return the network of a family of timm that has the fewest parameters."""
    timm = import_library("timm")

    def size(name: str) -> int:
        with torch.device("meta"):
            return sum(one.numel() for one in timm.create_model(name, pretrained=False).parameters())

    return min(timm.list_models(module=family), key=size)


def built(key: str) -> Any:
    """Return the network of a key, with random weights."""
    kind, _, name = key.partition(":")
    last = name.rpartition("/")[2]
    if kind == "timm":
        return import_library("timm").create_model(last, pretrained=False)
    if kind == "torchvision":
        import torchvision

        return torchvision.models.get_model(last, weights=None)
    if kind == "torchvision-segmentation":
        import torchvision

        return torchvision.models.get_model(last, weights=None, weights_backbone=None)
    if kind == "transformers":
        import transformers

        config = transformers.AutoConfig.for_model(NAMES.get(last, last.replace("-", "_")))
        if not hasattr(config, "depths") and getattr(config, "num_hidden_layers", 0) > LAYERS:
            config.num_hidden_layers = LAYERS
        return _of_transformers(config)
    raise ValueError(f"no definition of {kind} networks here")


def _of_transformers(config: Any) -> Any:
    """Return a network of the first task that the configuration has one for."""
    import transformers

    for name in ("AutoModel", "AutoModelForDepthEstimation", "AutoModelForSemanticSegmentation"):
        kind = getattr(transformers, name)
        if type(config) in kind._model_mapping:
            return kind.from_config(config)
    raise ValueError(f"transformers has no network for {type(config).__name__}")


def tried(key: str, limit: int) -> dict[str, Any]:
    """Return what opening a network gave, as JSON values; above `limit` parameters without gradients."""
    import pellucid
    from pellucid.verify.table import FLOOR, TOLERANCE

    torch.manual_seed(0)
    try:
        network = built(key).eval()
    except Exception as error:  # of other packages
        text = str(error).splitlines()
        return {"state": "not built", "why": f"{type(error).__name__}: {text[0] if text else ''}"}
    large = sum(part.numel() for part in network.parameters()) > limit
    dtype = torch.float32 if large else torch.float64
    network.to(dtype)
    x = torch.randn(2, *_size(key, network), dtype=dtype)
    try:
        operators, exporting = _exported(network, x)
    except Exception:  # torch.export's, which opening names
        operators, exporting = 0, 1.0
    started = time.perf_counter()
    try:
        model = pellucid.open(network, x)
    except pellucid.PellucidError as error:
        return {"state": "refused", "why": str(error)}
    seconds = time.perf_counter() - started
    known = {"operators": operators, "layers": len(model.net.nodes), "time": seconds / exporting}
    ours = model(x)
    leaf, weights = x.clone().requires_grad_(not large), dict(network.named_parameters())
    with torch.set_grad_enabled(not large):
        outputs, _ = torch.utils._pytree.tree_flatten(network(leaf))
        outputs = [y for y in outputs if isinstance(y, torch.Tensor)]
    pairs = zip(ours if isinstance(ours, tuple) else (ours,), outputs, strict=True)
    known["outputs"] = max(_gap(one, other.detach(), 1e-300) for one, other in pairs)
    if large:
        return {"state": "open (outputs)", **known}
    dys = [torch.randn_like(y) / y.numel() ** 0.5 for y in outputs]
    found = torch.autograd.grad(outputs, [leaf, *weights.values()], dys, allow_unused=True)
    gradients = model.gradients(x, dys[0] if isinstance(ours, torch.Tensor) else tuple(dys))
    expected = {name: one for name, one in zip(("input", *weights), found, strict=True) if one is not None}
    missing = sorted(expected.keys() - gradients.keys())
    largest = max(float(one.abs().max()) for one in expected.values() if one.numel())
    floor = FLOOR / TOLERANCE * max(largest, 1.0)
    gaps = [_gap(gradients[name], one, floor) for name, one in expected.items() if name in gradients]
    result = {
        "state": "open",
        "why": f"no gradient for {', '.join(missing[:3])}" if missing else "",
        **known,
        "gradients": max(gaps),
        "ledger": _ledger_gap(model, x, outputs[0].dim()),
    }
    far = missing or any(result[name] > limit for name, limit in LIMITS.items())
    return {**result, "state": "different"} if far else result


def _exported(network: Any, x: Any) -> tuple[int, float]:
    """Return the number of different operators of a network, in-place ones and overloads merged, and the seconds."""
    started = time.perf_counter()
    program = torch.export.export(network, (x,), strict=False)
    seconds = time.perf_counter() - started
    targets = [node.target for node in program.graph_module.graph.nodes if node.op == "call_function"]
    names = (target._schema.name for target in targets if isinstance(target, torch._ops.OpOverload))
    return len({name.partition("::")[2].removesuffix("_") for name in names}), seconds


def _ledger_gap(model: Any, x: Any, axes: int) -> float:
    """Return what relevance and ledger lack of the score, relative to it; axes: of the first output."""
    single = axes == 2 and len(model.net.outputs) == 1
    ledger = model.ledger(x, None if single else f"{model.net.outputs[0]}[0]", composite="cp_lrp")
    return abs(ledger.gap / (ledger.score or 1.0))  # untrained heads may be zeros


def _size(key: str, network: Any) -> tuple[int, int, int]:
    """Return the shape of an image: of SIDE pixels for networks that take any size, else the network's."""
    settings = getattr(network, "default_cfg", None) or {}
    if key.startswith("timm:"):
        free = not settings.get("fixed_input_size", False) and not any(word in key for word in FIXED)
        return (3, SIDE, SIDE) if free else settings["input_size"]
    side = SIDE if key.startswith("torchvision") and "vit" not in key else 224
    return 3, side, side


def _gap(found: Any, expected: Any, floor: float) -> float:
    return float((found - expected).abs().max() / (expected.abs().max() + floor)) if expected.numel() else 0.0


def page(results: dict[str, Any], untried: Sequence[str], head: str) -> str:
    """Return the page with the table; untried: the networks of the list that have not been tried."""
    states = [found["state"] for found in results.values()]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))
    rows = [
        f"| {key} | {found['state']} | {found.get('operators', '')} | {found.get('layers', '')} | "
        f"{_shown(found, 'outputs')} | {_shown(found, 'gradients')} | {_shown(found, 'ledger')} | "
        f"{_shown(found, 'time', '.1f')} | {found.get('why', '').replace('|', '/')[:300]} |"
        for key, found in sorted(results.items())
    ]
    columns = "| network | state | operators | layers | outputs | gradients | ledger | time | why not |"
    times = statistics.median(found["time"] for found in results.values() if "time" in found)
    unmeasured = f" Not measured: {', '.join(untried)}." if untried else ""
    table = "\n".join([columns, "|---" * columns.count(" | ") + "|---|", *rows])
    return (
        f"{head}Of {len(results)} networks: {counts}.{unmeasured} The median of the times is {times:.1f}.\n\n{table}\n"
    )


def _shown(found: dict[str, Any], name: str, form: str = ".0e") -> str:
    return f"{found[name]:{form}}" if name in found else ""


def known_results(path: Path) -> dict[str, Any]:
    """Return what is in a file of results, without failures; nothing if the code has changed since."""
    stored = json.loads(path.read_text()) if path.exists() else {}
    if stored.get("code") != code():
        return {}
    return {key: found for key, found in stored["networks"].items() if found["state"] not in ("failed", "not finished")}


def code() -> str:
    """Return a digest of the library's code."""
    files = sorted((Path(__file__).resolve().parents[1] / "pellucid").rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Try all networks that have not been tried; return 1 if too few open, or if one is open and differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--limit", type=int, default=LIMIT, help="no gradients for networks with more parameters")
    parser.add_argument("--only", default="", help="try only networks whose keys begin with this")
    parser.add_argument("--page", type=Path, help="write the table here")
    parser.add_argument("--least", type=int, default=0, help="fail unless so many networks open")
    args = parser.parse_args(arguments)
    networks = listed(args.list)
    results = known_results(args.results)
    for key in networks:
        if key in results or not key.startswith(args.only):
            continue
        results[key] = in_process(key, args.limit)
        print(f"{key}: {results[key]['state']} {results[key].get('why', '')[:200]}", flush=True)
        args.results.write_text(json.dumps({"code": code(), "networks": results}, indent=1))
    if args.page:
        families = args.list.suffix != ".json"
        head = HEAD.format(
            title="Families of networks that open" if families else "Networks that open",
            networks=OF_FAMILIES if families else OF_FACTS,
        )
        args.page.write_text(page(results, sorted(set(networks) - results.keys()), head))
    states = [found["state"] for found in results.values()]
    count = sum(state.startswith("open") for state in states)
    print(f"{count} of {len(networks)} networks open")
    return int(count < args.least or bool({"different", "failed"} & set(states)))


def in_process(key: str, limit: int) -> dict[str, Any]:
    """Return what a copy of this process found out about a network; the packages are imported only once."""
    for name in ("timm", "transformers"):
        import_library(name)
    _exported(torch.nn.ReLU(), torch.zeros(1))  # what only the first export imports is no part of a time
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_send, args=(there, key, limit))
    process.start()
    there.close()
    try:
        if here.poll(SECONDS):
            return here.recv()
        return {"state": "not finished", "why": f"it took more than {SECONDS} s"}
    except EOFError:
        return {"state": "failed", "why": "the process ended without a result"}
    finally:
        process.kill()
        process.join()


def _send(there: Connection, key: str, limit: int) -> None:
    try:
        there.send(tried(key, limit))
    except Exception as error:  # the result says so, and the next network is tried
        there.send({"state": "failed", "why": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})


if __name__ == "__main__":
    sys.exit(main())
