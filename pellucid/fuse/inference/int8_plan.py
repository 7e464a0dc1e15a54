"""Conversion of a network and its parameters to a function that computes in int8.

Tests: tests/fuse/test_int8_plan.py.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.fuse.inference.int8_runs import (
    DenseRun,
    Dequantize,
    Quantize,
    QuantizedConvolution,
    QuantizedResidual,
    keeps_codes,
    on_codes,
    quantized,
)
from pellucid.fuse.inference.plan import inference
from pellucid.fuse.inference.quantization import Quantization, Range
from pellucid.fuse.inference.runs import (
    AsWritten,
    ChannelsLast,
    ConvertedCombinator,
    Convolution,
    DenseBlockRun,
    InPlaceActivation,
    MaxPoolRun,
    Residual,
    RunFunction,
    RunSequence,
    RunSum,
)
from pellucid.layers.base import Layer, Params
from pellucid.layers.dense import Dense
from pellucid.layers.relu import ReLU

KNOWN_PYTORCH = "2.13 for x86"  # with which int8 was tested
# Functions whose output is new memory that no other function reads, so that the kernel may write a sum into it.
NEW_OUTPUT_RUNS = (QuantizedConvolution, QuantizedResidual, Dequantize)


@dataclass(frozen=True)
class Observed:
    """Run a convolution or a dense layer, and record the ranges of its input and its output."""

    run: Convolution | DenseRun
    input: Range = field(default_factory=Range)
    output: Range = field(default_factory=Range)

    def __call__(self, x: Tensor, *other: Tensor) -> Tensor:
        """Return the output."""
        self.input.update(x)
        y = self.run(x, *other)
        self.output.update(y)
        return y

    @property
    def is_finite(self) -> bool:
        """Whether all values were finite."""
        return self.input.is_finite and self.output.is_finite


@dataclass(frozen=True)
class ObservedResidual:
    """Run a residual block, and record the range of its input, which both branches read."""

    residual: Residual
    input: Range = field(default_factory=Range)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        self.input.update(x)
        return self.residual(x)

    @property
    def is_finite(self) -> bool:
        """Whether all values of the input were finite."""
        return self.input.is_finite


def int8_inference(
    net: Layer,
    params: Params,
    batches: Iterable[Tensor],
    within: Callable[[Tensor], AbstractContextManager[object]] = nullcontext,
) -> ChannelsLast:
    """Return a function from inputs to outputs close to those of `inference`, computed by oneDNN's int8 kernels.

    Convolutions, fully connected layers, residual sums and max pooling between them compute on uint8 codes, all other
    layers in float32. Weights have one scale for each output channel; activations have one scale and zero point for
    each tensor, from the smallest and largest values that `inference` computes for the batches (N, ...). Later values
    outside these ranges saturate. within: returns the context in which `inference` computes a batch.
    Raises PellucidError if the processor has no VNNI instructions, PyTorch lacks the kernels, the network contains no
    convolution, its weights are not float32 on the CPU, or values are not finite.
    Source: Jacob et al. 2018, sections 2.1 to 2.4.
    """
    check_kernels()
    observed = _observe(inference(net, params).run)
    observers = _observers(observed)
    weighted = [observer.run for observer in observers if isinstance(observer, Observed)]
    if not any(isinstance(run, Convolution) for run in weighted):
        raise PellucidError("precision='int8': the network contains no Conv2d to quantize; use precision=None")
    if any(run.weight.dtype is not torch.float32 or run.weight.device.type != "cpu" for run in weighted):
        raise PellucidError("precision='int8' needs weights in float32 on the CPU; use precision=None")
    for batch in batches:
        with within(batch):
            ChannelsLast(observed)(batch)
    if not all(observer.is_finite for observer in observers):
        raise PellucidError(
            "calibration: outputs of layers are NaN or infinite for these images; check the images and the weights"
        )
    runs, _ = _convert_all(_child_runs(observed), None, False)
    return ChannelsLast(RunSequence(tuple(runs)))


def check_kernels() -> None:
    """Raise PellucidError if this processor or this PyTorch cannot compute in int8 faster than in float32."""
    if not getattr(torch.cpu, "_is_vnni_supported", lambda: False)():
        raise PellucidError(
            "precision='int8': this processor has no AVX-512 VNNI instructions, without which int8 is not faster than "
            "float32; use precision=None"
        )
    if not torch.backends.mkldnn.is_available() or not _has_operators():
        raise PellucidError(
            f"precision='int8': PyTorch {torch.__version__} has no int8 kernels of oneDNN that Pellucid can call; "
            f"install PyTorch {KNOWN_PYTORCH}, which has them, or use precision=None"
        )


def _has_operators() -> bool:
    onednn = torch.ops.onednn
    convolution = getattr(getattr(onednn, "qconv2d_pointwise", None), "binary", None)
    if convolution is None or not hasattr(onednn, "qconv_prepack") or not hasattr(onednn, "qlinear_pointwise"):
        return False
    names = [argument.name for argument in convolution._schema.arguments]
    return names[6:7] == ["qaccum"]  # other versions of PyTorch had another order


def _observe(run: RunFunction) -> RunFunction:
    """Return the same function with every convolution and dense layer observed."""
    match run:
        case Convolution():
            return Observed(run)
        case AsWritten(layer=Dense() as layer, params=params) if type(layer) is Dense:
            return Observed(DenseRun(layer, params, None))
        case RunSequence(runs):
            return RunSequence(tuple(_observe(run) for run in _move_activations(runs)))
        case DenseRun():
            return Observed(run)
        case Residual(other_branch, body, last_convolution):
            return ObservedResidual(Residual(_observe(other_branch), _observe(body), _observe(last_convolution)))
        case _:
            return _with_child_runs(run, _observe)


def _move_activations(runs: Sequence[RunFunction]) -> list[RunFunction]:
    """Return equivalent functions, with ReLU in the convolution or dense layer before it, also before max pooling.

    The codes of a convolution's output then only cover the positive values.
    """
    moved: list[RunFunction] = []
    for run in runs:
        index = len(moved) - 1
        while index >= 0 and isinstance(moved[index], MaxPoolRun):
            index -= 1
        source = moved[index] if index >= 0 else None
        if isinstance(run, InPlaceActivation) and type(run.layer) is ReLU and _without_activation(source):
            moved[index] = _with_relu(source)
        else:
            moved.append(run)
    return moved


def _without_activation(run: RunFunction | None) -> bool:
    is_dense = isinstance(run, AsWritten) and type(run.layer) is Dense
    return is_dense or (isinstance(run, Convolution) and run.act is None)


def _with_relu(run: Any) -> RunFunction:
    return replace(run, act=ReLU()) if isinstance(run, Convolution) else DenseRun(run.layer, run.params, ReLU())


def _with_child_runs(run: RunFunction, change: Callable[[Any], Any]) -> RunFunction:
    """Return a function that consists of functions, with each of them changed; other functions unchanged."""
    match run:
        case RunSequence(runs):
            return RunSequence(tuple(change(run) for run in runs))
        case ObservedResidual(Residual(other_branch, body, last_convolution), input):
            return ObservedResidual(Residual(change(other_branch), change(body), change(last_convolution)), input)
        case RunSum(first_branch, other_branches, act):
            return RunSum(change(first_branch), tuple(change(branch) for branch in other_branches), act)
        case ConvertedCombinator(layer, params, children):
            return ConvertedCombinator(layer, params, {name: change(child) for name, child in children.items()})
        case DenseBlockRun(layers):
            return DenseBlockRun(tuple(replace(layer, body=change(layer.body)) for layer in layers))
        case _:
            return run


def _observers(run: RunFunction) -> list[Observed | ObservedResidual]:
    found: list[Observed | ObservedResidual] = []

    def collect(run: RunFunction) -> RunFunction:
        if isinstance(run, Observed | ObservedResidual):
            found.append(run)
        return _with_child_runs(run, collect)

    collect(run)
    return found


def _child_runs(run: RunFunction) -> tuple[RunFunction, ...]:
    return run.runs if isinstance(run, RunSequence) else (run,)


def _convert_all(
    runs: Sequence[RunFunction], x_quantization: Quantization | None, output_codes: bool
) -> tuple[list[RunFunction], Quantization | None]:
    """Return the functions in int8, and the quantization of their output.

    x_quantization: quantization of their input. Both are None for values in float32. output_codes: whether the output
    should be codes, if it can be.
    """
    converted: list[RunFunction] = []
    for index, run in enumerate(runs):
        reader_takes_codes = _takes_codes(runs[index + 1 :], output_codes)
        new_runs, x_quantization = _convert(run, x_quantization, reader_takes_codes)
        converted += new_runs
    return converted, x_quantization


def _convert(
    run: RunFunction, x_quantization: Quantization | None, output_codes: bool
) -> tuple[list[RunFunction], Quantization | None]:
    """Return the functions that replace one function; arguments and result as in `_convert_all`."""
    if isinstance(run, Observed):
        before, x_quantization = _to_codes(run, x_quantization)
        output = run.output.quantization() if output_codes else None
        return [*before, quantized(run.run, x_quantization, output)], output
    if isinstance(run, ObservedResidual):
        return _convert_residual(run, x_quantization, output_codes)
    if x_quantization is not None and keeps_codes(run):
        return [on_codes(run, x_quantization)], x_quantization
    before = [] if x_quantization is None else [Dequantize(x_quantization)]
    return [*before, _with_child_runs(run, _convert_from_floats)], None


def _convert_from_floats(run: RunFunction) -> RunFunction:
    runs, _ = _convert_all(_child_runs(run), None, False)
    return runs[0] if len(runs) == 1 else RunSequence(tuple(runs))


def _convert_residual(
    run: ObservedResidual, x_quantization: Quantization | None, output_codes: bool
) -> tuple[list[RunFunction], Quantization | None]:
    residual = run.residual
    last = residual.last_convolution
    assert isinstance(last, Observed)
    before: list[RunFunction] = []
    body_runs = (*_child_runs(residual.body), last)
    if _takes_codes(body_runs, False):
        before, x_quantization = _to_codes(run, x_quantization)
    body, body_output = _convert_all(body_runs[:-1], x_quantization, True)
    other_branch, other_output = _convert_all(_child_runs(residual.other_branch), x_quantization, output_codes)
    between, body_output = _to_codes(last, body_output)
    if other_output is not None and not output_codes:  # the kernel adds tensors of the output's dtype
        other_branch.append(Dequantize(other_output))
        other_output = None
    if not other_branch or not isinstance(other_branch[-1], NEW_OUTPUT_RUNS):
        other_branch.append(torch.clone)
    output = None if other_output is None else last.output.quantization()
    last_convolution = quantized(last.run, body_output, output)
    assert isinstance(last_convolution, QuantizedConvolution)
    branches = RunSequence(tuple(other_branch)), other_output, RunSequence((*body, *between))
    return [*before, QuantizedResidual(*branches, last_convolution)], output


def _to_codes(
    run: Observed | ObservedResidual, x_quantization: Quantization | None
) -> tuple[list[RunFunction], Quantization]:
    """Return the function that quantizes the input of `run`, if it is not codes yet, and its quantization."""
    if x_quantization is not None:
        return [], x_quantization
    quantization = run.input.quantization()
    return [Quantize(quantization)], quantization


def _takes_codes(runs: Sequence[RunFunction], output_codes: bool) -> bool:
    """Return whether the first of these functions can use codes; output_codes: whether the output should be codes."""
    for run in runs:
        if isinstance(run, Observed):
            return True
        if isinstance(run, ObservedResidual):
            return _takes_codes((*_child_runs(run.residual.body), run.residual.last_convolution), False)
        if not keeps_codes(run):
            return False
    return output_codes
