"""PyTorch's sample inputs for its modules, run on our layers and losses.

PyTorch tests torch.nn on these samples (`torch.testing._internal`): each contains the arguments of a module and an
input. Our layer has the module's options, parameters and buffers. Both run forward and backward, in training and in
evaluation mode, in float64 and float32. Each mode has its own samples. Where PyTorch draws weights of losses below 0,
both receive |weight|.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from conformance.case import TOLERANCE, Case, missing_samples_error, torch_version
from conformance.moduleinfo.losses import MODULES as LOSSES
from conformance.moduleinfo.module import Module
from conformance.moduleinfo.norms import MODULES as NORMS
from conformance.moduleinfo.pads import MODULES as PADS
from conformance.moduleinfo.values import MODULES as VALUES
from conformance.moduleinfo.windows import MODULES as WINDOWS
from conformance.trial import run

MODULES: tuple[Module, ...] = (*WINDOWS, *PADS, *VALUES, *NORMS, *LOSSES)


def cases() -> Iterator[Case]:
    """Yield every sample of every module in MODULES, in both dtypes and both modes.

    Raises PellucidError if the installed PyTorch has no samples of a module.
    """
    from torch.testing._internal.common_modules import module_db

    infos = {info.name: info for info in module_db}
    for module in MODULES:
        if module.name not in infos:
            raise missing_samples_error("module", module.name)
        for dtype in TOLERANCE:
            yield from _samples(module, infos[module.name], dtype)


def _samples(module: Module, info: Any, dtype: torch.dtype) -> Iterator[Case]:
    suite = f"torch ModuleInfo {module.name} {str(dtype).removeprefix('torch.')}"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        samples_by_mode = {
            training: info.module_inputs_func(info, "cpu", dtype, False, training) for training in (True, False)
        }
    for training, samples in samples_by_mode.items():
        for number, sample in enumerate(samples):
            name = f"{'training' if training else 'evaluation'} sample {number} {sample.desc}".rstrip()
            check = partial(_check, module, info.module_cls, sample, dtype, training)
            yield Case(suite, torch_version(), name, module.subject, check, TOLERANCE[dtype])


def _check(module: Module, torch_class: Any, sample: Any, dtype: torch.dtype, training: bool) -> float:
    build, call = sample.constructor_input, sample.forward_input
    reference = torch_class(*build.args, **build.kwargs).to(dtype).train(training)
    return run(module.adapt(reference, *call.args, **call.kwargs))
