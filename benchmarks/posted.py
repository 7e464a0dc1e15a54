"""Networks of a folder, each opened as the documentation says, and compared with PyTorch in float64.

    python -m benchmarks.posted FOLDER [OUT.json]

Each file of the folder has a function `make()` that returns (network, inputs), a tensor or a tuple of them. The outputs
and the gradients with respect to inputs and parameters must agree up to LIMIT of the largest value of a tensor.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import pellucid
from pellucid.base.text import first_line

LIMIT = 1e-9
FLOOR = 1e-3  # the scale of smaller values, such as gradients that are 0 but for rounding


def as_tensors(y: Any) -> list[Tensor]:
    """Return all tensors of nested outputs in order."""
    if isinstance(y, Tensor):
        return [y]
    if isinstance(y, Mapping):
        return [tensor for value in y.values() for tensor in as_tensors(value)]
    if isinstance(y, list | tuple):
        return [tensor for value in y for tensor in as_tensors(value)]
    return []


def as_double(x: Any) -> Any:
    """Return an input, a dictionary of inputs, or a tuple of several, with floats in float64."""
    if isinstance(x, Tensor):
        return x.double() if x.is_floating_point() else x
    if isinstance(x, Mapping):
        return {key: as_double(one) for key, one in x.items()}
    tensors = tuple(as_double(one) for one in x)
    return tensors[0] if len(tensors) == 1 else tensors


def difference(actual: Tensor | None, expected: Tensor | None) -> float:
    """Return the largest difference, relative to the largest expected value; None stands for zeros."""
    if expected is None:
        return 0.0 if actual is None else float(actual.abs().max())
    expected = expected.double()
    gap = expected if actual is None else actual.double() - expected
    return float(gap.abs().max()) / max(float(expected.abs().max()), FLOOR) if gap.numel() else 0.0


def compared(network: nn.Module, inputs: Any) -> tuple[float, float | None]:
    """Open a network, and return the largest difference of its outputs and of its gradients from PyTorch's.

    The second is None if PyTorch computes no gradient of the network, such as one that changes saved values in place.
    """
    network.eval()
    xs = inputs if isinstance(inputs, tuple) else (inputs,)
    model = pellucid.open(network, inputs)
    leaves = [x.clone().requires_grad_(x.is_floating_point()) for x in xs]
    expected = as_tensors(network(*(x.clone() for x in leaves)))
    outputs = as_tensors(model(inputs))
    if [tuple(y.shape) for y in outputs] != [tuple(y.shape) for y in expected]:
        raise ValueError(f"outputs {[tuple(y.shape) for y in outputs]}, not {[tuple(y.shape) for y in expected]}")
    output_gap = max(difference(y, reference.detach()) for y, reference in zip(outputs, expected, strict=True))
    torch.manual_seed(1)
    dys = [torch.randn(y.shape, dtype=torch.float64).to(y.dtype) for y in expected]
    parts = [(y, dy) for y, dy in zip(expected, dys, strict=True) if y.requires_grad]
    parameters = {name: tensor for name, tensor in network.named_parameters() if tensor.requires_grad}
    wanted = [x for x in leaves if x.requires_grad] + list(parameters.values())
    if not parts or not wanted:
        return output_gap, 0.0
    try:
        references = torch.autograd.grad([y for y, _ in parts], wanted, [dy for _, dy in parts], allow_unused=True)
    except RuntimeError:
        return output_gap, None
    gradients = model.gradients(inputs, dys[0] if len(dys) == 1 else tuple(dys))
    dxs = gradients["input"] if isinstance(gradients["input"], tuple) else (gradients["input"],)
    actual = [dx for dx, x in zip(dxs, leaves, strict=True) if x.requires_grad]
    actual += [gradients.get(model.tied.get(name, name)) for name in parameters]
    scale = max((float(one.abs().max()) for one in references if one is not None and one.numel()), default=0.0)
    floor = max(scale * FLOOR, 1e-12)  # a gradient that is 0 but for rounding has no scale of its own
    gaps = []
    for one, reference in zip(actual, references, strict=True):
        gap = difference(one, reference)
        is_rounding = reference is not None and float(reference.abs().max()) <= floor
        gaps.append(gap * FLOOR / floor if is_rounding else gap)
    return output_gap, max(gaps)


def tried(path: Path) -> dict[str, Any]:
    """Return what came of one network: "equal", "differs", "refused" by Pellucid in one line, or "error"."""
    namespace: dict[str, Any] = {"__name__": path.stem}
    try:
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), namespace)
        torch.set_default_dtype(torch.float32)
        network, inputs = namespace["make"]()
        torch.set_default_dtype(torch.float64)  # of tensors that the network makes
        network, inputs = network.double(), as_double(inputs)
    except Exception as error:
        return {"name": path.stem, "state": "not built", "line": f"{type(error).__name__}: {first_line(error)}"}
    try:
        output_gap, gradient_gap = compared(network, inputs)
    except pellucid.PellucidError as error:
        return {"name": path.stem, "state": "refused", "line": first_line(error)}
    except Exception as error:
        return {"name": path.stem, "state": "error", "line": f"{type(error).__name__}: {first_line(error)}"}
    state = "equal" if max(output_gap, gradient_gap or 0.0) <= LIMIT else "differs"
    return {"name": path.stem, "state": state, "outputs": output_gap, "gradients": gradient_gap}


def main(folder: str, out: str = "") -> None:
    """Try all networks of a folder, print a line for each, and write the results as JSON."""
    torch.set_num_threads(1)
    results = []
    for path in sorted(Path(folder).glob("*.py")):
        torch.manual_seed(0)
        result = tried(path)
        results.append(result)
        detail = result.get("line")
        if detail is None:
            gradients = "PyTorch has none" if result["gradients"] is None else f"{result['gradients']:.1e}"
            detail = f"outputs {result['outputs']:.1e}, gradients {gradients}"
        print(f"{result['name']:32} {result['state']:10} {detail}", flush=True)
    counts = {state: sum(result["state"] == state for result in results) for state in {r["state"] for r in results}}
    print(f"{len(results)} networks: " + ", ".join(f"{count} {state}" for state, count in sorted(counts.items())))
    if out:
        Path(out).write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
