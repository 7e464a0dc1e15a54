"""Gradients on the device beside those on the CPU in float64."""

import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.gpu.settings import Settings
from benchmarks.networks import mobilenet_v2, resnet20
from pellucid.data import Batch
from pellucid.layers.base import Layer, Mode, Params
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.models import convnext_tiny, densenet121, lenet, mlp, resnet18, vit
from pellucid.nested import flatten, map_tree
from pellucid.objective import Objective, Supervised
from pellucid.training.device import CPU, on_device
from pellucid.training.step import channels_last, training_form
from tests.objectives import OBJECTIVES, initial_params, random_batch

N_CLASSES, N_IMAGES, N_SEEDS = 10, 8, 5
# By name, the function that returns a network, and the shape (C, H, W) of its images.
NETWORKS: dict[str, tuple[Callable[[], Layer], tuple[int, int, int]]] = {
    "mlp": (lambda: mlp((784, 30, N_CLASSES)), (1, 28, 28)),
    "lenet": (lenet, (1, 28, 28)),
    "resnet20": (lambda: resnet20(16), (3, 32, 32)),
    "resnet18": (lambda: resnet18(N_CLASSES), (3, 64, 64)),
    "mobilenet_v2": (lambda: mobilenet_v2(N_CLASSES), (3, 64, 64)),
    "densenet121": (lambda: densenet121(N_CLASSES), (3, 64, 64)),
    "convnext_tiny": (lambda: convnext_tiny(N_CLASSES), (3, 64, 64)),
    "vit": (lambda: vit(N_CLASSES, 64, width=192, depth=4, heads=3), (3, 64, 64)),
}
# Objectives of tests.objectives whose training steps draw no random numbers.
DETERMINISTIC_OBJECTIVES = ("single_stage", "ssd", "yolo3", "yolo1", "l1", "mse", "zhang")
MAX_CPU_RATIO = 10.0  # an error of the device is accepted up to this multiple of that of the CPU in float32
MIN_TOLERANCE = 1e-5  # an error up to this is always accepted


class Case(NamedTuple):
    """An objective with its parameters and a batch, on the CPU in float32."""

    objective: Objective
    params: Params
    batch: Batch


def make_case(name: str, seed: int) -> Case:
    """Return the case of a network or an objective, the same each time for a seed."""
    if name in OBJECTIVES:
        objective = OBJECTIVES[name]()
        batch = random_batch(objective, seed)
        return Case(objective, initial_params(objective, batch, seed), batch)
    make, shape = NETWORKS[name]
    net, rng = make(), torch.Generator().manual_seed(seed)
    params, _ = net.init(shape, rng)
    batch = Batch(torch.rand(N_IMAGES, *shape, generator=rng), torch.arange(N_IMAGES) % N_CLASSES)
    return Case(Supervised(net, SoftmaxCrossEntropy()), params, batch)


def gradients(case: Case, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the gradients of all parameters in a training step, concatenated to a vector of float64 on the CPU.

    device, dtype: of the training step.
    """
    params = on_device(map_tree(lambda one: one.clone().to(dtype), case.params), device)
    images, targets = on_device((case.batch.images.to(dtype), case.batch.targets), device)
    channels_last(params)
    form = training_form(case.objective, params)
    with torch.inference_mode():
        result = form.gradients(params, Batch(images, targets), Mode(True, torch.Generator(device)))
        dparams = [result[1]] if isinstance(result, tuple) else [part for _, part in result]
    return torch.cat([grad.double().cpu().flatten() for part in dparams for grad in flatten(part).values()])


def error(actual: Tensor, expected: Tensor) -> float:
    """Return the Euclidean distance of two vectors, relative to the norm of `expected`."""
    return float(torch.linalg.vector_norm(actual - expected) / torch.linalg.vector_norm(expected))


def correctness(settings: Settings, names: tuple[str, ...] = (*NETWORKS, *DETERMINISTIC_OBJECTIVES)) -> dict[str, Any]:
    """Return for each case the errors in float32 of the device and of the CPU, and whether the first is accepted.

    The errors are medians over some seeds: where rounding changes the sign of the input of a ReLU, which happens on
    either device, the error of that batch is thousands of times larger.
    """
    torch.backends.cuda.matmul.allow_tf32 = False

    def measure(name: str) -> dict[str, Any]:
        errors: list[tuple[float, ...]] = []
        for seed in range(N_SEEDS):
            case = make_case(name, seed)
            exact = gradients(case, CPU, torch.float64)
            errors.append(
                tuple(error(gradients(case, device, torch.float32), exact) for device in (settings.device, CPU))
            )
        device_error, cpu_error = map(statistics.median, zip(*errors, strict=True))
        tolerance = max(MAX_CPU_RATIO * cpu_error, MIN_TOLERANCE)
        return {"error": device_error, "error_of_cpu": cpu_error, "is_right": device_error <= tolerance}

    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return {name: settings.try_measure(lambda name=name: measure(name)) for name in names}
