"""Hugging Face's residual networks, which are PyTorch modules, compared with ours, built like torchvision's."""

from collections.abc import Iterator
from functools import lru_cache, partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from conformance.case import Case
from conformance.networks.answer import Answer, PassResult, images, random_weight
from conformance.networks.network import Network
from pellucid import models
from pellucid.verify import pull_back

BATCH, SIDE = 2, 64
BASIC_WIDTHS, BOTTLENECK_WIDTHS = (64, 128, 256, 512), (256, 512, 1024, 2048)


def cases() -> Iterator[Case]:
    """Yield the cases of the three networks, each built from a configuration without a download."""
    for name, subject, depths, widths in (
        ("ResNet-18", models.resnet18, (2, 2, 2, 2), BASIC_WIDTHS),
        ("ResNet-34", models.resnet34, (3, 4, 6, 3), BASIC_WIDTHS),
        ("ResNet-50", models.resnet50, (3, 4, 6, 3), BOTTLENECK_WIDTHS),
    ):
        ask = partial(_ask, depths, widths)
        suite = f"torch transformers {name}"
        yield from Network(suite, version("transformers"), subject, subject(), ask, trains=True).cases()


@lru_cache(maxsize=1)  # the cases of one network follow one another
def _ask(depths: tuple[int, ...], widths: tuple[int, ...]) -> Answer:
    from transformers import ResNetConfig, ResNetForImageClassification

    kind = "basic" if widths == BASIC_WIDTHS else "bottleneck"
    options: dict[str, Any] = {"hidden_sizes": list(widths), "depths": list(depths), "num_labels": 1000}
    config = ResNetConfig(**options, layer_type=kind)
    model: Any = ResNetForImageClassification(config).train(False)
    rng = torch.Generator().manual_seed(0)
    weights = {name: _random_value(name, value, rng) for name, value in model.state_dict().items()}
    model.load_state_dict(weights)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # running statistics become those of the batch
    x, dy = images(BATCH, SIDE, rng), torch.randn(BATCH, 1000, generator=rng, dtype=torch.float64)
    with torch.no_grad():
        single = model(x.float()).logits
    model.double()
    evaluation, training = _pass_result(model, x, dy), _pass_result(model.train(), x, dy)
    return Answer(weights, x, dy, single, evaluation, training)


def _random_value(name: str, value: Tensor, rng: torch.Generator) -> Tensor:
    return random_weight(tuple(value.shape), name, value[0].numel(), rng) if value.is_floating_point() else value


def _pass_result(model: Any, x: Tensor, dy: Tensor) -> PassResult:
    """Return the logits and the gradients of one pass."""
    logits: list[Tensor] = []

    def run() -> Tensor:
        logits.append(model(x).logits)
        return logits[-1]

    parameters = dict(model.named_parameters())
    dx, *dweights = pull_back(run, [x, *parameters.values()], dy)
    buffers = {name: value.clone() for name, value in model.named_buffers() if "running" in name}
    return PassResult(logits[0].detach(), dx, dict(zip(parameters, dweights, strict=True)), buffers)
