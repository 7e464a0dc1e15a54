"""A layer that mixes the examples of a batch, so that each output depends on the other inputs."""

import torch
from torch import Tensor

from pellucid.combine.base import replace_layer
from pellucid.doctor.case import Case, UnansweredError
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.inputs import subsample
from pellucid.doctor.passes import layer_outputs, rms
from pellucid.doctor.remedies import rebuilt
from pellucid.layers import Identity, Mode
from pellucid.layers.base import Layer
from pellucid.layers.recurrent import Recurrent
from pellucid.operators import Attention, Permute
from pellucid.sweep import forward
from pellucid.training.model import BaseModel

PART_SIZE = 4  # examples of each half of a batch
MAX_ROUNDING_ERROR = 1e-3  # relative to the outputs
TIME_FIRST = Permute((1, 0, 2))  # what a recurrent layer of PyTorch without batch_first does before and after its steps


def find(case: Case) -> list[Finding]:
    """Exchange one half of a batch, then the other, and find the first layer with a value that depends on both.

    Such a layer is at fault only if an output of the network depends on other examples too, in evaluation mode. The
    axes of the values do not matter, as they would in a comparison with a smaller batch.
    """
    x = case.inputs(subsample(case.train, 3 * PART_SIZE, case.model.seed))
    size = len(x) // 3
    if not size:
        return []
    found = _mixing_layer(case, x[: 3 * size])
    if not found and x.is_floating_point() and x.dim() > 2:
        found = _mixing_layer(case, _shuffled(x[: 3 * size]))
    return found


def _shuffled(x: Tensor) -> Tensor:
    """Return inputs with all values in another order: the network may read only a constant part, such as a margin."""
    order = torch.randperm(x.numel(), generator=torch.Generator().manual_seed(0))
    return x.flatten()[order].view_as(x)


def _mixing_layer(case: Case, x: Tensor) -> list[Finding]:
    """Return a finding for the first layer that mixes the examples of inputs (3 * size, ...), if any does."""
    model, size = case.model, len(x) // 3
    first, second, others = x.split(size)
    batches = [torch.cat(halves) for halves in ((first, second), (others, second), (first, others))]
    try:
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            repeated, *outputs = (_main_output(model, batch) for batch in (batches[0], *batches))
    except RuntimeError as error:  # a user-defined layer that requires a certain batch size
        raise UnansweredError(f"the network does not take batches of {2 * size} examples: {error}") from error
    y = outputs[0]
    if rms(y - repeated) > 0:
        return []  # random outputs
    on_first, on_second = _changes(outputs)
    is_mixed = on_first & on_second
    if tuple(y.shape[1:]) == model.output_shape:  # otherwise, the first axis may not be that of the examples
        is_mixed[:size] |= on_second[:size]
        is_mixed[size:] |= on_first[size:]
    if not bool(is_mixed.any()):
        return []
    with torch.random.fork_rng(devices=[]):
        passes = [layer_outputs(model, batch) for batch in batches]
    mixing = (k for k, values in enumerate(zip(*passes, strict=True)) if _mixes([y for _, _, y in values]))
    index = next(mixing, len(passes[0]) - 1)  # a last layer may mix only the order of the values
    path, layer, _ = passes[0][index]
    name = type(layer).__name__
    cause = f"{name} mixes the examples of a batch: its outputs for one example depend on the others"
    fix = (
        "let the layer process each example separately: check the axis that it normalizes or sums over (axis 0 is the "
        "batch), set batch_first=True in attention layers, and exchange axes by transpose or movedim, not by view or "
        "reshape"
    )
    remedy: Remedy | None = None
    if isinstance(layer, Recurrent | Attention):
        cause = f"{name} runs along the batch instead of the time steps, so that examples are mixed"
        fix = (
            "set batch_first=True in this layer, which otherwise takes axis 0 for the time steps, and exchange no "
            "axes of its inputs (batch, time, features)"
        )
    if isinstance(layer, Recurrent):
        remedy = _without_exchanged_axes([(path, layer) for path, layer, _ in passes[0]], name)
    share = float(is_mixed.double().mean())
    return [Finding(NAME, path, {"layer": name, "share_of_mixed_outputs": share}, cause, fix, remedy)]


def _main_output(model: BaseModel, x: Tensor) -> Tensor:
    """Return the first output for inputs (N, ...) in evaluation mode."""
    y, _ = forward(model.net, model.params, x, Mode(keep=False))
    return y[0] if isinstance(y, tuple) else y


def _changes(values: list[Tensor]) -> list[Tensor]:
    """Return where values of a batch differ from those with other examples in one half, for each of the halves."""
    y = values[0].double()
    return [(other.double() - y).abs() > MAX_ROUNDING_ERROR * rms(y) for other in values[1:]]


def _mixes(values: list[Tensor]) -> bool:
    on_first, on_second = _changes(values)
    return bool((on_first & on_second).any())


def _without_exchanged_axes(layers: list[tuple[str, Layer]], name: str) -> Remedy | None:
    """Return the remedy that leaves out exchanges of batch and time around recurrent layers; None without any."""
    paths = [
        path for k, (path, layer) in enumerate(layers)
        if layer == TIME_FIRST and any(isinstance(one, Recurrent) for _, one in layers[max(k - 1, 0) : k + 2])
    ]  # fmt: skip

    def apply(case: Case) -> Case:
        net = case.model.net
        for path in paths:
            net = replace_layer(net, path, lambda _: Identity())
        return rebuilt(case, keep_weights=True, net=net)

    return Remedy(f"the {name} along the time steps", apply, "batch-first") if paths else None


NAME = "mixed-examples"
CHECK = Check(
    NAME, find, finds_faults=True,
    explains=("batch-norm", "overfitting", "underfitting"),
)  # fmt: skip
