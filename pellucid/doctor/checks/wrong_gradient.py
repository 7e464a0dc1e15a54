"""User-defined layers or losses whose backward pass does not return the gradient of their forward pass."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.data.seeds import generator
from pellucid.doctor.case import Case, UnansweredError
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.inputs import subsample
from pellucid.doctor.passes import is_user_defined, leaves
from pellucid.layers import Cache, Identity, Layer, Mode, Params
from pellucid.losses import Loss
from pellucid.nested import map_tree, params_at
from pellucid.sweep import forward
from pellucid.verify import verify

BATCH_SIZE = 8  # examples


@dataclass(frozen=True)
class RandomSum(Loss):
    """A sum of all outputs with random weights, as the loss of a layer that is verified alone."""

    def compute(self, y: Any, target: Tensor) -> tuple[Tensor, Any]:
        """Return the sum and the weights; the target is not used."""
        rng, outputs = generator(0), y if isinstance(y, tuple) else (y,)
        weights = tuple(torch.randn(output.shape, generator=rng, dtype=output.dtype) for output in outputs)
        value = torch.stack([(output * weight).sum() for output, weight in zip(outputs, weights, strict=True)]).sum()
        return value, weights if isinstance(y, tuple) else weights[0]


def find(case: Case) -> list[Finding]:
    """Verify the gradients of each user-defined layer and loss on a small batch, before the first step."""
    model, loss = case.initial, case.model.loss
    user_layers = {path: layer for path, layer in leaves(model.net) if is_user_defined(layer)}
    if not user_layers and not is_user_defined(loss):
        return []
    batch, inputs = subsample(case.train, BATCH_SIZE, model.seed), dict[str, Any]()

    def record(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        if path in user_layers:
            inputs[path] = x

    try:
        if not torch.equal(*(model.predict(batch.x).nan_to_num() for _ in range(2))):
            return []  # the outputs are random in evaluation mode, so no two passes have the same gradient
        with torch.inference_mode():
            outputs, _ = forward(model.net, model.params, case.inputs(batch), Mode(), record)
    except (PellucidError, RuntimeError) as error:
        raise UnansweredError(f"the gradients cannot be verified: {error}") from error
    verifications: list[tuple[str, Any, tuple[Any, ...]]] = []  # (path, layer or loss, arguments of `verify`)
    if is_user_defined(loss):
        verifications.append(("loss", loss, (Identity(), {}, outputs, batch.y, loss)))
    for path in reversed(inputs):  # the backward pass reaches the last layer first
        layer, params = user_layers[path], params_at(model.params, path)
        for mode in (Mode(), Mode(True)):
            if _is_repeatable(layer, params, inputs[path], mode):
                verifications.append(
                    (path or "training", layer, (layer, params, inputs[path], batch.y, RandomSum(), mode))
                )
    reasons: list[str] = []
    for path, component, arguments in verifications:
        name = type(component).__name__
        try:
            table = verify(*arguments, seed=model.seed)
        except (PellucidError, RuntimeError) as error:  # user-defined code may not support float64
            reasons.append(f"{path} ({name}): {error}")
            continue
        wrong_rows = [row for row in table.rows if not row.ok and row.layer == name]
        if wrong_rows:
            row = wrong_rows[-1]
            errors = {f"off_from_{reference}": error for reference, error in row.errors.items()}
            return [
                Finding(
                    NAME,
                    path,
                    evidence={"layer": name, "gradient_of": row.what, "largest_entry": row.largest} | errors,
                    cause=f"the backward pass of {name} does not return the gradient of its forward pass",
                    fix="derive the gradient again, and check it by `model.verify(x, y)` until all rows are ok",
                )
            ]
    if reasons:
        raise UnansweredError(f"gradients that cannot be verified: {'; '.join(reasons)}")
    return []


def _is_repeatable(layer: Layer, params: Params, x: Any, mode: Mode) -> bool:
    """Return whether two runs of a layer from one state of the generators have equal outputs."""
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        runs = (layer.forward(map_tree(torch.clone, params), x, replace(mode, rng=generator(0)))[0] for _ in range(2))
        pairs = zip(*((run if isinstance(run, tuple) else (run,)) for run in runs), strict=True)
        return all(torch.equal(first, second) for first, second in pairs)


NAME = "wrong-gradient"
CHECK = Check(
    NAME, find, finds_faults=True,
    explains=("cut-gradient", "nan-origin", "underfitting"),
)  # fmt: skip
