"""At a prompt, objects of all public classes take at most one screen and contain no elements of tensors."""

import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import pellucid
from pellucid import Layer, Model, ReLU, Sequential, data, explain, rules, trace
from pellucid.doctor import Check, Diagnosis, Finding, Remedy, case_of
from pellucid.export import TARGETS, Parity
from pellucid.metrics import R2, Box, Confusion, mean_average_precision, reliability
from pellucid.models import densenet121, resnet50
from pellucid.predictor import Predicted, PredictionList
from pellucid.weights import Mismatch
from tests.layers.samples import SAMPLES

LINES = 24
COLUMNS = 120
NAMES_FILE = Path(__file__).resolve().parents[1] / "docs/public-names.txt"


def public_classes() -> set[type]:
    """Return the public classes that have objects: no exceptions, protocols and abstract classes."""
    values: list[Any] = []
    for public_name in NAMES_FILE.read_text(encoding="utf-8").split():
        module, _, name = public_name.rpartition(".")
        values.append(getattr(import_module(module), name))
    return {
        value
        for value in values
        if inspect.isclass(value)
        and value is not Any
        and not issubclass(value, BaseException)
        and not inspect.isabstract(value)
        and not getattr(value, "_is_protocol", False)
    }


def screen_lines(text: str) -> int:
    """Return the number of lines that a text takes in a terminal."""
    return sum(max(1, math.ceil(len(line) / COLUMNS)) for line in text.split("\n"))


def check_repr(value: object) -> None:
    text = repr(value)
    assert screen_lines(text) <= LINES, text
    assert "tensor(" not in text, text
    assert "array(" not in text, text


def examples_of_data(folder: Path) -> Iterator[object]:
    digits = data.load("digits")
    x, y = digits.train.x, digits.train.y
    yield from (digits, digits.train)
    yield data.Arrays(x, y, digits.train.classes)
    yield data.Batch(x, y)
    yield data.MaskDataset(x, x[:, 0].long())
    yield data.FeatureStats.fit(torch.rand(4, 64, 8, 8))
    yield data.Subset(digits.train, torch.arange(900))
    yield data.Loader(digits.train, 32, 0, augment=data.Augment(flip=True))
    boxes = torch.rand(200, 2).repeat(1, 2) + torch.tensor([0.0, 0.0, 1.0, 1.0])
    labels = torch.zeros(200, dtype=torch.long)
    yield data.Objects(boxes, labels, torch.rand(200, 8, 8) > 0.5)
    yield data.Detections(boxes, torch.rand(200), labels)
    yield next(iter(data.CATALOGUE.values()))
    for name in ("cat", "dog"):
        (folder / name).mkdir()
        Image.fromarray(np.full((8, 8), 99, np.uint8)).save(folder / name / "1.png")
    yield data.ImageFolder(folder)


def examples_of_training(model: Model) -> Iterator[object]:
    digits = data.load("digits")
    history = model.fit(digits.train, epochs=30, batch_size=256, validation=digits.test, verbose=False)
    yield from (model, model.net, model.objective, history, model.summary(), model["c1"])
    yield model.verify(digits.test.x[:2], digits.test.y[:2])
    yield model.find_lr(digits.train, steps=20)
    diagnosis = model.doctor(digits.train, validation=digits.test, history=history)
    yield diagnosis
    yield case_of(model, digits.train, history=history)
    findings = [Finding(f"check-{k}", f"layer{k}", {"value": 0.5}, "a cause", "a fix") for k in range(90)]
    yield findings[0]
    yield Diagnosis(tuple(findings), tuple(f"check-{k}" for k in range(90)), {}, {})
    yield Check("name", lambda case: [])
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    batches = [(torch.rand(4, 1, 8, 8), torch.arange(4) % 3)]
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    yield pellucid.from_torch(module, loss=torch.nn.CrossEntropyLoss(), optimizer=optimizer, train=batches)
    yield Remedy("a description", lambda case: case)
    yield pellucid.load_recipe("digits")
    yield pellucid.Run(
        Path("runs/a"), Path("runs/a/report.html"), {"accuracy": 0.5}, model, pellucid.load_recipe("digits")
    )
    yield pellucid.CSVLog("log.csv")
    yield pellucid.Checkpoint("best.safetensors")
    yield pellucid.EarlyStopping(3)
    yield pellucid.ElasticNet(0.1, 0.2)
    yield pellucid.L2(0.1)
    yield pellucid.MaxNorm(2.0)
    yield pellucid.InverseTime(1.0, 2.0)
    yield pellucid.Warmup(100, pellucid.Cosine())


def examples_of_explanations(model: Model) -> Iterator[object]:
    yield pellucid.explain.Region(torch.zeros(300, dtype=torch.long), torch.rand(300, 40, 40), "everywhere")
    digits = data.load("digits")
    x, y = digits.test.x[:3], digits.test.y[:3]
    net, params = model.net, model.params
    account = model.ledger(x)
    yield from (account, account.absorbed[0])
    yield explain.aim(net, torch.tensor([1, 2, 3]), 3)
    yield explain.Removal("c1", (1, 2))
    yield explain.maximize(net, params, 3, (1, 8, 8), steps=3)
    measured = explain.measure_composites(net, params, x)
    yield from (measured, measured.rows[0])
    yield explain.occlude(net, params, x, square=2)
    yield explain.top_patches(net, params, digits.test.x[:50], "c1", count=2)[0]
    yield rules.AsWeighted(rules.Epsilon())
    yield rules.Entrance(x)
    yield next(iter(rules.Origin))
    yield rules.Table((), rules.Epsilon())
    yield rules.Use(x, (next(iter(rules.Origin)),))
    yield rules.ZBox(0.0, 1.0)
    passes = model.trace(x, y)
    explanation = passes.explain("dense.weight")
    yield from (passes, passes.settings, explanation, explanation.links[0], explanation.made)
    yield explanation.links[0].terms[0]
    yield explanation.links[0].terms[0].factors[0]
    yield passes.explain("c1.y").made
    yield trace.ActivationInput("x", 0.5, 1.0)
    yield trace.Named("x", "x", "", x)
    yield passes.nudge("dense.weight[0, 0]", 0.1)
    yield passes.step(lr=0.1)


def examples_of_results() -> Iterator[object]:
    box = Box("a.png", "cat", (0.0, 0.0, 1.0, 1.0), 0.5)
    scores = mean_average_precision([box], [box])
    yield from (box, scores, scores.classes["cat"])
    for metric, targets in ((Confusion(), torch.tensor([1, 2])), (R2(), torch.rand(2, 3))):
        metric.update(torch.rand(2, 3), targets)
        yield metric
    yield reliability(torch.zeros(100, dtype=torch.long), torch.full((100, 4), 0.25))
    prediction = Predicted({"label": "cat"}, "a.png: cat", boxes=torch.rand(50, 4), scores=torch.rand(50))
    yield from (prediction, PredictionList([prediction] * 500))
    yield next(iter(TARGETS.values()))
    yield Parity(1e-7)
    yield Mismatch("dense.weight", "10 x 64", None)
    yield pellucid.Trait.LINEAR


def examples_of_networks() -> Iterator[object]:
    yield from (sample.layer for sample in SAMPLES)
    yield from (resnet50(10), densenet121(10))
    yield pellucid.Sequential([pellucid.Dense(9)] * 300)
    yield pellucid.Graph({f"n{k}": (pellucid.ReLU(), f"n{k - 1}" if k else "input") for k in range(300)}, ("n299",))
    yield pellucid.Shared(resnet50(10))
    yield pellucid.Fork(a=resnet50(10), b=resnet50(10))
    yield pellucid.Parallel((pellucid.Identity(), resnet50(10)), pellucid.Add())
    yield pellucid.Supervised(resnet50(10), pellucid.SoftmaxCrossEntropy())
    yield Model(resnet50(10))


@pytest.fixture(scope="module")
def model() -> Model:
    net = pellucid.Sequential(
        c1=pellucid.Conv2d(4, 3), relu=pellucid.ReLU(), flatten=pellucid.Flatten(), dense=pellucid.Dense(10)
    )
    return Model(net, input_shape=(1, 8, 8))


def test_objects_of_all_public_classes_are_short(model: Model, tmp_path: Path):
    examples = [
        *examples_of_data(tmp_path),
        *examples_of_training(model),
        *examples_of_explanations(model),
        *examples_of_results(),
        *examples_of_networks(),
    ]
    for example in examples:
        check_repr(example)
    shown_classes = {type(example) for example in examples}
    shown_functions = {kind.__repr__ for kind in shown_classes}
    for kind in public_classes() - shown_classes:
        if kind.__repr__ in shown_functions | {object.__repr__}:
            continue  # the same function, or only the name of the class
        check_repr(kind())


def test_repr_of_long_objects_begins_and_ends_like_their_text():
    net = pellucid.Sequential([pellucid.Dense(9)] * 30)
    lines = repr(net).split("\n")
    assert len(lines) == 20
    assert lines[:2] == ["Sequential(", "  dense1: Dense(9)"]
    assert lines[-2:] == ["... 13 more lines, which print() shows", ")"]  # 32 lines, 18 of them and the last are shown
    assert len(str(net).split("\n")) == 32


def test_repr_of_a_network_shows_as_many_levels_as_fit():
    assert repr(resnet50(10)).split("\n")[:4] == [
        "Sequential(",
        "  features: Sequential(",
        "    stem: Sequential of 4 layers",
        "    stage1: Sequential of 3 layers",
    ]
    assert "      conv: Conv2d(64, 7, stride=2, padding=3, bias=False)" in str(resnet50(10)).split("\n")


def test_repr_of_a_graph_shows_the_inputs_of_nodes():
    graph = pellucid.Graph({"a": (pellucid.ReLU(), "input"), "s": (pellucid.Add(), "a", "input")}, ("s",))
    assert repr(graph) == "Graph(\n  a: ReLU <- input\n  s: Add <- a, input\n)"


def test_a_network_with_a_layer_of_arrays_has_a_repr() -> None:
    @dataclass(frozen=True, eq=False)
    class Scaled(Layer):
        scale: Any = None

        def init(self, shape: Any, rng: torch.Generator) -> Any:
            return {}, shape

        def forward(self, params: Any, x: Any, mode: Any) -> Any:
            return x * self.scale, ()

        def backward(self, params: Any, cache: Any, dy: Any) -> Any:
            return dy * self.scale, {}

    for scale in (torch.ones(3), np.ones(3)):
        assert "Scaled" in repr(Sequential(Scaled(scale)))


def test_an_error_in_a_property_of_a_layer_is_not_hidden() -> None:
    class Mistaken(ReLU):
        @property
        def output(self) -> Any:
            return self.typo  # pyright: ignore

    with pytest.raises(AttributeError, match="typo"):
        _ = Mistaken().output
