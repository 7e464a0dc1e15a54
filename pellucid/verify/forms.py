"""Comparison of a network's fused forms, for training and for prediction, with the network as written."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine.base import buffer_paths, join, walk
from pellucid.fuse import Rate, freeze, fuse
from pellucid.fuse.inference import inference
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.nested import flatten, map_tree
from pellucid.sweep import backward
from pellucid.verify.differences import compare
from pellucid.verify.probe import Probe, tensors
from pellucid.verify.table import FLOOR, FORM_TOLERANCE, PREDICTS, TRAINS, GradientRow

# The learning rate is so large that rounding of the weights does not affect the update; weight decay is 25 %.
RATE = Rate(lr=2.0**20, shrink=0.25)
ZERO_THRESHOLD = 1e-9  # relative to the network's largest gradient; smaller values are rounding errors of 0
# Tolerated error of a float32 output: a fraction of the largest output, plus a multiple of the rounding error of the
# network as written.
FLOAT32_TOLERANCE = 1e-4, 10.0
OUTPUT = "output"


@dataclass(frozen=True)
class TrainingForm:
    """Settings of training: paths of frozen parameters, and whether layers are updated during the backward pass."""

    frozen: frozenset[str] = frozenset()
    in_sweep: bool = False


@dataclass(frozen=True)
class Reference:
    """Results of a network as written: outputs, gradients, parameters after the pass, and autograd's gradients."""

    outputs: tuple[Tensor, ...]
    gradients: Mapping[str, Tensor]
    params_after: Mapping[str, Tensor]
    autograd: Mapping[str, Tensor]


def learned_paths(net: Layer, params: Params) -> set[str]:
    """Return the paths of all learned parameters, not of buffers such as running statistics."""
    return set(flatten(params)) - buffer_paths(net)


def frozen_layers(net: Layer, params: Params, frozen: Collection[str]) -> set[str]:
    """Return the paths of the layers and combinators whose parameters are all frozen."""
    parameters = learned_paths(net, params)
    layers = set()
    for path, _ in walk(net):
        layer_parameters = {parameter for parameter in parameters if not path or parameter.startswith(f"{path}.")}
        if layer_parameters and layer_parameters <= set(frozen):
            layers.add(path)
    return layers


def training_results(probe: Probe, training: TrainingForm) -> dict[str, Tensor]:
    """Return the results of the form for training by path: outputs, gradients and running statistics.

    Images and 4-d weights are channels-last, as in training. The gradients of layers that are updated during the
    backward pass are computed from the change of their weights.
    """
    net = probe.net
    initial = flatten(probe.params)
    params = map_tree(channels_last, map_tree(torch.clone, probe.params))
    xs = tuple(channels_last(x.clone()) for x in probe.xs)
    in_sweep = training.in_sweep and not training.frozen
    training_net = fuse(freeze(net, params, training.frozen), RATE if in_sweep else None)
    y, cache = training_net.forward(params, xs if probe.has_tuple_input else xs[0], Mode(True, probe.generator()))
    tensors_by_path = {join(OUTPUT, str(index)): output.clone() for index, output in enumerate(tensors(y))}
    _, dy = probe.loss(y, probe.target)
    del y
    _, dparams = backward(training_net, params, cache, dy, consume=True)
    gradients, params_after = flatten(dparams), flatten(params)
    decayed = {join(path, name) for path, layer in walk(net) for name in layer.decayed}
    for path in learned_paths(net, probe.params) - training.frozen:
        if path in gradients:
            tensors_by_path[path] = gradients[path]
        elif not in_sweep or torch.equal(params_after[path], initial[path]):  # no output depends on it
            tensors_by_path[path] = torch.zeros_like(initial[path])
        else:
            decay = 1 - RATE.shrink if path in decayed else 1.0
            tensors_by_path[path] = (decay * initial[path] - params_after[path]) / RATE.lr
    return tensors_by_path | {path: params_after[path] for path in buffer_paths(net)}


def channels_last(x: Tensor) -> Tensor:
    """Return x in the memory format of training: 4-d tensors are channels-last."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def training_rows(
    probe: Probe,
    training: TrainingForm,
    nudges: Sequence[float],
    reference: Callable[[Probe], Reference],
    samples: int,
) -> tuple[list[GradientRow], tuple[str, ...]]:
    """Compare the form for training with the network as written and with autograd; return (rows, notes).

    Due to rounding, the two forms may be on different sides of a kink. A gradient that differs still counts as right if
    the loss of the network as written has a kink at the entries that differ (see `differences.compare`), and if all its
    entries are equal after a nudge, a small random change of parameters and inputs. Outputs and running statistics must
    be equal without a nudge.

    nudges: the relative sizes of these changes, tried one after the other. reference: a function that returns the
    results of the network as written; if it raises PellucidError, the comparison ends with a note. samples: the number
    of entries of a tensor that are compared with central differences.
    """
    rows: list[GradientRow] = []
    kink_indices: list[int] = []  # the indices of the rows with gradients that differ at a kink
    for size in (0.0, *nudges):
        nudged_probe = probe.with_nudge(size) if size else probe
        try:
            reference_results = reference(nudged_probe)
        except PellucidError as error:
            return rows, (f"The form for training was not compared: {error}",)
        with torch.no_grad():
            fused_results = training_results(nudged_probe, training)
            compared_rows = _compare_results(nudged_probe, training, reference_results, fused_results)
            if not size:
                rows = compared_rows
                wrong_indices = [k for k, row in enumerate(rows) if not row.ok]
                kink_indices = [
                    k for k in wrong_indices if _is_on_kink(probe, rows[k], reference_results, fused_results, samples)
                ]
        for k in kink_indices:
            if compared_rows[k].ok:
                rows[k] = replace(rows[k], ok=True, note="on a kink; equal at a nudged input")
        kink_indices = [k for k in kink_indices if not rows[k].ok]
        if not kink_indices:
            break
    return rows, ()


def _is_on_kink(
    probe: Probe, row: GradientRow, reference_results: Reference, results: Mapping[str, Tensor], samples: int
) -> bool:
    """Return whether the loss has a kink where a gradient differs between the form and the network as written."""
    path = join(row.path, row.what)
    if not row.layer or path not in learned_paths(probe.net, probe.params):
        return False
    value = flatten(probe.params)[path]
    fused_gradient = results[path]
    if fused_gradient.shape != value.shape:
        return False
    references = [
        reference
        for reference in (reference_results.gradients.get(path), reference_results.autograd.get(path))
        if reference is not None
    ]
    rng = torch.Generator().manual_seed(0)
    return not any(
        compare(
            [value], fused_gradient.flatten(), reference.flatten(), probe.value, samples, rng, FORM_TOLERANCE, FLOOR
        ).is_wrong
        for reference in references
    )


def _compare_results(
    probe: Probe, training: TrainingForm, reference_results: Reference, results: Mapping[str, Tensor]
) -> list[GradientRow]:
    """Return the rows for the results of the form for training: outputs, gradients and running statistics."""
    params = flatten(probe.params)
    updated = learned_paths(probe.net, probe.params) - training.frozen
    gradients = {path: reference_results.gradients.get(path) for path in params if path in updated}
    largest_gradients = [
        float(gradient.abs().max()) for gradient in gradients.values() if gradient is not None and gradient.numel()
    ]
    floor = max([FLOOR, *(ZERO_THRESHOLD * largest for largest in largest_gradients)])
    layers = dict(walk(probe.net))
    rows = [
        _row(TRAINS, OUTPUT, "", "y", results[join(OUTPUT, str(k))], y, FLOOR)
        for k, y in enumerate(reference_results.outputs)
    ]
    for path, value in params.items():
        owner_path = path
        while owner_path not in layers:  # a parameter may be nested more deeply than the layers
            owner_path = owner_path.rpartition(".")[0]
        parent, _, name = path.rpartition(".")
        layer = type(layers[owner_path]).__name__
        if path in gradients:
            explicit = gradients[path]
            expected = torch.zeros_like(value) if explicit is None else explicit
            rows.append(
                _row(TRAINS, parent, layer, name, results[path], expected, floor, reference_results.autograd.get(path))
            )
        elif path not in training.frozen:
            rows.append(_row(TRAINS, parent, layer, name, results[path], reference_results.params_after[path], FLOOR))
    return rows


def predicting_rows(probe: Probe, params: Params, x: Any) -> list[GradientRow]:
    """Compare the outputs of the form for prediction with those of the network as written, in float64.

    A float32 network is also compared in float32, which uses other kernels, with the tolerance FLOAT32_TOLERANCE.
    """
    with torch.no_grad():
        expected = flat_outputs(probe.run(probe.xs, probe.params, _own_forward)[0])
        inputs = tuple(x.clone() for x in probe.xs)
        fused = flat_outputs(inference(probe.net, probe.params)(inputs if probe.has_tuple_input else inputs[0]))
        largest = float(expected.abs().max()) if expected.numel() else 0.0
        rows = [_row(PREDICTS, OUTPUT, "", "y", fused, expected, FLOOR)]
        if all(tensor.dtype is torch.float32 for tensor in [*flatten(params).values(), *tensors(x)]):
            rounding = float((flat_outputs(probe.net.forward(params, x, Mode())[0]).double() - expected).abs().max())
            copies = tuple(input_tensor.clone() for input_tensor in tensors(x))
            fused = flat_outputs(inference(probe.net, params)(copies if probe.has_tuple_input else copies[0])).double()
            fraction, multiple = FLOAT32_TOLERANCE
            bound = fraction * largest + multiple * rounding
            rows.append(_row(PREDICTS, OUTPUT, "", "y (float32)", fused, expected, bound, tolerance=0.0))
    return rows


def _row(
    form: str,
    path: str,
    layer: str,
    what: str,
    value: Tensor,
    expected: Tensor,
    floor: float,
    reference: Tensor | None = None,
    tolerance: float = FORM_TOLERANCE,
) -> GradientRow:
    """Return the row of one tensor; it is right up to an error of `tolerance` times the largest entry plus `floor`."""
    row = GradientRow(
        path=path,
        layer=layer,
        what=what,
        entries=expected.numel(),
        largest=0.0,
        autograd=None,
        differences=None,
        checked=0,
        kinks=0,
        ok=True,
        note="",
        form=form,
    )
    if value.shape != expected.shape:
        return replace(row, ok=False, note=f"shape {tuple(value.shape)} instead of {tuple(expected.shape)}")
    if not row.entries:
        return replace(row, written=0.0)
    if expected.dtype is torch.bool:  # boolean tensors cannot be subtracted
        value, expected = value.double(), expected.double()
    largest = float(expected.abs().max())
    is_zero = form == TRAINS and largest <= floor
    unit = math.inf if is_zero else largest or 1.0
    error = float((value - expected).abs().max())
    reference_error = None if reference is None else float((value - reference).abs().max())
    ok = all(distance <= tolerance * largest + floor for distance in (error, reference_error or 0.0))  # False for NaN
    relative = None if reference_error is None else reference_error / unit
    return replace(
        row,
        largest=largest,
        autograd=relative,
        ok=ok,
        note="zero" if is_zero else "",
        written=error / unit,
    )


def _own_forward(index: int, path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
    """Run the `forward` of a layer unchanged, for `Probe.run`."""
    return layer.forward(params, x, mode)


def flat_outputs(y: Any) -> Tensor:
    """Return all outputs as one flat tensor."""
    return torch.cat([tensor.flatten() for tensor in tensors(y)])
