"""Weights files with an objective, or with a network for images of any size.

Values of the description, such as a threshold, a stride or a padding, are changed, with a matching SHA-256.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.fuzz.mutations import forge, read_in_order
from pellucid.base.errors import PellucidError
from pellucid.combine import Graph, Sequential, Shared
from pellucid.data import load_image
from pellucid.detectors import FasterRCNN, SingleStage
from pellucid.generators import GAN, l1
from pellucid.layers import Conv2d, Dense, Flatten, GroupNorm, ReLU, RoIAlign, Upsample
from pellucid.model import Model
from pellucid.models.dcgan import dcgan_discriminator, dcgan_generator
from pellucid.models.fpn import fpn
from pellucid.run.weights import write_weights
from pellucid.tasks.colorize.colorizer import Colorizer
from pellucid.tasks.detect.finder import ObjectFinder
from pellucid.tasks.segment.segmenter import Segmenter

OBJECTIVES = ("detector", "two-stage", "segmenter", "gan", "colorizer")


def write_objective(kind: str, path: Path) -> None:
    """Write the weights file of a small model of the given kind (OBJECTIVES)."""
    if kind == "segmenter":
        net = Sequential(
            conv1=Conv2d(4, 3, stride=2, padding=1), relu=ReLU(), conv2=Conv2d(3, 3, padding=1), up=Upsample(2)
        )
        Model(net, input_shape=(3, None, None), classes=["a", "b", "c"], preprocess={"data": "x"}).save(path)
    elif kind == "gan":
        Model(GAN(dcgan_generator(8, 1, 4), 5, dcgan_discriminator(8, 4), spectral=True), input_shape=(1, 8, 8)).save(
            path
        )
    elif kind == "colorizer":
        Model(l1(width=4, levels=2), input_shape=(3, 16, 16), preprocess={"size": 16}).save(path)
    else:
        model = Model(_detector(kind), input_shape=(3, None, None), classes=["a", "b"], preprocess={"size": 48})
        model.save(path)


def write_objective_case(original: Path, path: Path, rng: random.Random) -> None:
    """Write a copy changed by `forge`, or with one to three numbers of the description changed, equally often."""
    if rng.random() < 0.5:
        forge(original, path, rng)
        return
    tensors, about = read_in_order(original)
    locations = list(_number_locations(about))
    for parent, key in rng.sample(locations, rng.choice([1, 1, 2, 3])):
        value = parent[key]
        parent[key] = rng.choice([2 * value, value + 1, 1000 * value, -value, 0, 1, 2, 7, 100, 4000, 10**6, 0.5, 1e-9])
    write_weights(path, tensors, about)


def _number_locations(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the container and the key of each number in nested JSON values."""
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        if isinstance(value, dict | list):
            yield from _number_locations(value)
        elif type(value) in (int, float):
            yield tree, key


def use_objective(kind: str, path: Path, picture: Path) -> Tensor:
    """Return a prediction of the model in a file.

    PellucidError from the prediction is raised with the name of the weights file, like an error in loading.
    """
    model = Model.load(path)
    try:
        return _predict(kind, model, picture)
    except PellucidError as error:
        raise PellucidError(f"{path.name}: {error}") from error


def _predict(kind: str, model: Model, picture: Path) -> Tensor:
    if kind == "segmenter":
        segmenter = Segmenter(model)
        return segmenter(load_image(picture, mode=segmenter.mode)).probabilities
    if kind == "gan":
        return model.predict(torch.zeros(2, *model.nominal_shape))
    if kind == "colorizer":
        return Colorizer(model)(load_image(picture))
    finder = ObjectFinder(model)
    detections = finder(load_image(picture, mode=finder.mode))
    return torch.cat([detections.boxes.flatten(), detections.scores])


def _detector(kind: str) -> SingleStage | FasterRCNN:
    nodes = {
        "stage0": (Sequential(conv=Conv2d(8, 3, stride=4, padding=1), relu=ReLU()), "input"),
        "stage1": (Sequential(conv=Conv2d(8, 3, stride=2, padding=1), relu=ReLU()), "stage0"),
    }
    backbone, neck, align = Graph(nodes, ("stage0", "stage1")), fpn(8, 2, groups=2), RoIAlign(3, 1 / 4, sampling=2)
    classes = 2 if kind == "detector" else 1
    out = Conv2d(classes + 4, 3, padding=1)
    first_stage = Shared(Sequential(conv=Conv2d(8, 3, padding=1), norm=GroupNorm(2), relu=ReLU(), out=out))
    if kind == "detector":
        return SingleStage(2, backbone, neck, first_stage, (4, 8), 3.0, score_threshold=0.0, weights={"box": 2.0})
    head = Sequential(flat=Flatten(), dense=Dense(8), relu=ReLU(), out=Dense(7))
    return FasterRCNN(2, backbone, neck, first_stage, align, head, (4, 8), scale=3.0, proposals=20, score_threshold=0.0)
