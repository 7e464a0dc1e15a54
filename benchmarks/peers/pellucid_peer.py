"""Pellucid, with the training step of `fit` and `Model.predictor()`."""

from collections.abc import Callable, Iterator
from itertools import count, islice, repeat

import torch
from torch import Tensor
from torch.nn import functional as F

import pellucid
from benchmarks import networks
from benchmarks.jobs import DETECTORS, GENERATORS, RESNET, Job, resnet_size, scenes, targets
from pellucid.data.source import Arrays, Batch
from pellucid.generators import dcgan, pix2pix
from pellucid.layers.base import Layer
from pellucid.losses import Quadratic, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.models import densenet121, lenet, resnet50
from pellucid.nested import flatten
from pellucid.objective import Supervised
from pellucid.optim import SGD, Adam
from pellucid.tasks.detect.finder import detector_for_predictions
from pellucid.training.model import BaseModel
from pellucid.training.reading import batch_loader
from pellucid.training.step import TrainingStep


def network(job: Job) -> Layer:
    name = job.network
    if RESNET.fullmatch(name):
        blocks_per_stage, width = resnet_size(name)
        return networks.resnet20(width, blocks_per_stage, job.classes)
    named = {"mlp": networks.mlp, "lenet": lenet, "vgg16": networks.vgg16, "resnet50": resnet50}
    zoo = {"densenet121": densenet121, "mobilenet_v2": networks.mobilenet_v2, "fcn8": networks.fcn8}
    return (named | zoo)[name]()


def make_detector(job: Job) -> Callable[[int], None]:
    """Return a function that runs predictions of a detector, or training steps with its recipe's frozen layers."""
    detector, batch = DETECTORS[job.network](), scenes(job)
    params, _ = detector.init(job.shape, torch.Generator().manual_seed(0))
    rng = torch.Generator().manual_seed(0)
    if job.inference:
        predict = detector_for_predictions(detector, params).predict  # as in `pellucid detect`

        @torch.inference_mode()
        def detect(steps: int) -> None:
            for _ in range(steps):
                predict(params, batch.images)

        return detect
    frozen_prefixes = tuple(f"backbone.{part}." for part in ("stem", "stage1", "stage2"))
    frozen = [path for path in flatten(params) if path.startswith(frozen_prefixes)]
    train = TrainingStep(detector, params, SGD(lr=1e-5), examples=job.batch, frozen=frozen)

    @torch.inference_mode()
    def run(steps: int) -> None:
        for _ in range(steps):
            train(batch, 1e-5, rng)

    return run


def make(job: Job) -> Callable[[int], None]:
    if job.network in GENERATORS:
        return make_generator(job)
    if job.network in DETECTORS:
        return make_detector(job)
    x = torch.rand(job.examples or job.batch, *job.shape)
    if job.network.startswith("opened-"):
        from benchmarks.peers.opened import definition

        model = pellucid.open(definition(job.network), x)
    else:
        model = Model(network(job), input_shape=job.shape)
    if job.inference:
        return make_predictions(model, x)
    net, params, target = model.net, model.params, targets(job)
    loss = Quadratic() if job.network == "mlp" else SoftmaxCrossEntropy()
    if job.network == "mlp":
        target = F.one_hot(target, job.classes).float()
    frozen = [path for path in flatten(params) if job.frozen and "norm" in path]
    train = TrainingStep(
        Supervised(net, loss), params, SGD(lr=0.01), examples=job.batch, precision=job.precision, frozen=frozen
    )
    rng = torch.Generator().manual_seed(0)
    batches: Iterator[Batch] = repeat(Batch(x, target))
    if job.examples:
        loader = batch_loader(model, Arrays(x, target), job.batch, None)
        batches = (batch for epoch in count() for batch in loader.epoch(epoch))

    @torch.inference_mode()
    def run(steps: int) -> None:
        for batch in islice(batches, steps):
            train(batch, 0.01, rng)

    return run


def make_generator(job: Job) -> Callable[[int], None]:
    objective = pix2pix("image", levels=5) if job.network == "pix2pix" else dcgan()
    params, _ = objective.init(job.shape, torch.Generator().manual_seed(0))
    train = TrainingStep(objective, params, Adam(2e-4, 0.5), examples=job.batch)
    target = targets(job) if job.network == "pix2pix" else None
    batch, rng = Batch(torch.rand(job.batch, *job.shape), target), torch.Generator().manual_seed(0)

    @torch.inference_mode()
    def run(steps: int) -> None:
        for _ in range(steps):
            train(batch, 2e-4, rng)

    return run


def make_predictions(model: BaseModel, x: Tensor) -> Callable[[int], None]:
    predict = model.predictor()

    def run(steps: int) -> None:
        for _ in range(steps):
            predict(x)

    return run
