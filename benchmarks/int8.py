"""Measure predictions in int8: `python -m benchmarks.int8 accuracy [NAME ...]` and `python -m benchmarks.int8 speed`.

accuracy evaluates shipped models in int8, with ranges from several draws of training images, and writes the least and
the most into their cards and into docs/int8.md; on a machine that cannot compute in int8 it stops with an error before
it changes a card.
speed measures the processor time of `Model.predictor` in float32 and in int8 in turn, in one process, and writes
docs/int8.md.
"""

import argparse
import re
import statistics
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.jobs import JOBS
from benchmarks.peers.pellucid_peer import network
from benchmarks.results import machine, measured_with
from pellucid import __version__, shipped_files
from pellucid.data import Source
from pellucid.export.engine import int8_engine
from pellucid.layers.conv2d import Conv2d
from pellucid.model import Model
from pellucid.objective import InferenceNetwork, Supervised
from pellucid.recipe.job import load_data
from pellucid.recipe.material import load_splits
from pellucid.recipe.model_data import table_for
from pellucid.recipe.recipe import read_recipe
from pellucid.tasks.classify.predictor import evaluate
from pellucid.tasks.keypoints.finder import is_keypoint_model
from pellucid.tasks.keypoints.measure import evaluate as evaluate_keypoints
from pellucid.tasks.segment.segmenter import evaluate as evaluate_masks
from pellucid.tasks.segment.segmenter import is_segmenter
from pellucid.training.engines import CALIBRATION_BATCH_SIZE, check_int8_processor
from pellucid.training.examples import generator

PAGE = Path(__file__).resolve().parent.parent / "docs" / "int8.md"
CALIBRATION_IMAGES = 128
CALIBRATION_DRAWS = 3  # of calibration images, each with its own seed
ROUNDS = 8
MIN_RATIO = 1.5  # the target
BATCH_SIZES = (1, 32)
SIDE = 224  # of images for networks that accept any size
NETWORKS = {  # further networks, with newly drawn weights, and the shape of their inputs
    "resnet20-16": (3, 32, 32),
    "resnet50": (3, 224, 224),
    "mobilenet_v2": (3, 224, 224),
}
HEAD = """# Predictions in int8

Written by `python -m benchmarks.int8 speed`; nothing is typed by hand.
[Deploy a model](how-to/deploy.md#int8) shows the usage.

**Ratio** is the time of `model.predictor()`, in float32, divided by the time of `model.predictor(precision="int8",
calibration=images)` for the same inputs in the same process: above 1, int8 is faster. The two are timed in turn,
{rounds} times, each first in half of the turns; the ratio is the median of the ratios of each turn, with the least and
the most in brackets, and *missed* below the target of {target:g}. Times are medians, of the processor. The float32
network is computed by Pellucid, the one in int8 by onnxruntime, which also starts faster for single small images.

{measured}.

## Speed

| network | input | {batches} |
|---|---|{rules}|
"""
ACCURACY = """
## Accuracy of the shipped models

The lines of their cards, written by `python -m benchmarks.int8 accuracy`. The accuracy depends on the images from which
the ranges are computed: the figures are the least and the most of {draws} draws of {images} training images.

| model | metric | in int8 |
|---|---|---|
"""


def has_int8(model: Model) -> bool:
    """Return whether `predictor` computes a model in int8: a single network that contains a convolution."""
    return isinstance(model.objective, Supervised) and any(type(view.layer) is Conv2d for view in model.layers)


def score(model: Model) -> tuple[str, float, int]:
    """Return the metric of a model's task, its value on the test images, and the number of test images."""
    if is_segmenter(model):
        results = evaluate_masks(model)
        return "mean IoU", results["miou"], results["n"]
    if is_keypoint_model(model):
        results = evaluate_keypoints(model)
        return "normalised mean error", results["nme"], results["n"]
    results = evaluate(model)
    return "test accuracy", results["accuracy"], results["n"]


def training_source(name: str, model: Model, recipe: str) -> Source:
    """Return the training images of a shipped model. recipe: that of its card, in TOML."""
    if is_segmenter(model) or is_keypoint_model(model):
        return load_data(read_recipe(tomllib.loads(recipe), name, {})).train
    return load_splits(table_for(model.nominal_shape, str(model.preprocess["data"]))).train


def calibration_images(source: Source, seed: int) -> Tensor:
    """Return CALIBRATION_IMAGES images of a source, drawn with a seed."""
    order = torch.randperm(len(source), generator=generator(seed))
    images = source.batch(order[:CALIBRATION_IMAGES].tolist(), generator(0)).images
    return images if isinstance(images, Tensor) else torch.stack(images)


def card_lines(name: str, model: Model, recipe: str) -> list[str]:
    """Return the line of the card of a model on its accuracy in int8; none for a model that `predictor` refuses.

    Raises PellucidError if this machine cannot compute in int8.
    """
    if not has_int8(model):
        return []
    check_int8_processor()
    source = training_source(name, model, recipe)
    metric, value, n = score(model)
    float_objective = model.objective
    int8_values: list[float] = []
    for seed in range(CALIBRATION_DRAWS):
        images = calibration_images(source, seed)
        with torch.inference_mode():
            run = int8_engine(model.net, model.params, model.scaled(images).split(CALIBRATION_BATCH_SIZE))
        model.objective = Supervised(InferenceNetwork(model.net, run), model.loss)
        try:
            int8_values.append(score(model)[1])
        finally:
            model.objective = float_objective
    least, most = min(int8_values), max(int8_values)
    command = f"`python -m benchmarks.int8 accuracy {name}`"
    return [
        f"| {metric} in int8 | {least:.2%} to {most:.2%} ({100 * (least - value):+.2f} to {100 * (most - value):+.2f} "
        f"points) on {n:,} images, for {CALIBRATION_DRAWS} draws of {min(CALIBRATION_IMAGES, len(source))} training "
        f"images that set the ranges ({command}) |"
    ]


def write_accuracy(name: str) -> None:
    """Write the line on int8 into the card of a shipped model, after the line of the metric, and print it."""
    path = shipped_files.pretrained_file(name).with_suffix(".md")
    card = path.read_text(encoding="utf-8")
    recipe = re.search(r"## Recipe\n\n```toml\n(.*?)\n```", card, re.DOTALL)
    if recipe is None:
        print(f"{name}: the card has no recipe, which names the training images", flush=True)
        return
    for line in card_lines(name, Model.load(name), recipe[1]):
        lines = [other for other in card.split("\n") if " in int8 | " not in other]
        metric = line.split(" in int8")[0]
        index = next(k for k, other in enumerate(lines) if other.startswith(f"{metric} |"))
        path.write_text("\n".join([*lines[: index + 1], line, *lines[index + 1 :]]), encoding="utf-8")
        print(f"{name}: {line}", flush=True)


def subjects() -> Iterator[tuple[str, Model]]:
    """Yield the models to time, by name: shipped models of one network with convolutions, and further networks."""
    for name in shipped_files.pretrained_names():
        model = Model.load(name)
        if has_int8(model):
            yield f"`{name}`", model
    for name, shape in NETWORKS.items():
        yield name, Model(network(JOBS[name]), input_shape=shape, seed=0)


def times(predict: Callable[[Tensor], Any], other: Callable[[Tensor], Any], x: Tensor) -> list[tuple[float, float]]:
    """Return the processor seconds of both functions in each round but the first; they go first in turn."""
    rounds: list[tuple[float, float]] = []
    for k in range(ROUNDS + 1):
        seconds = [0.0, 0.0]
        for index in (0, 1) if k % 2 else (1, 0):
            start = time.process_time()
            (predict, other)[index](x)
            seconds[index] = time.process_time() - start
        rounds.append((seconds[0], seconds[1]))
    return rounds[1:]


def write_speed() -> None:
    """Time all models in float32 and int8, and write the page."""
    rows: list[str] = []
    for name, model in subjects():
        shape = tuple(SIDE if size is None else size for size in model.input_shape)
        images = torch.rand(max(32, *BATCH_SIZES), *shape, generator=torch.Generator().manual_seed(0))
        functions = model.predictor(), model.predictor(precision="int8", calibration=images)
        cells = [speed_text(times(*functions, images[:count])) for count in BATCH_SIZES]
        rows.append(f"| {name} | {'x'.join(map(str, shape))} | {' | '.join(cells)} |")
        print(rows[-1], flush=True)
    environment = measured_with()
    threads = f"{torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
    measured = f"Measured {environment['date']} with {threads} on {machine(environment)}"
    head = HEAD.format(
        rounds=ROUNDS,
        target=MIN_RATIO,
        measured=f"{measured}, Pellucid {__version__}, PyTorch {torch.__version__}",
        batches=" | ".join(f"batch {count}: float32, int8, ratio" for count in BATCH_SIZES),
        rules="|".join("---:" for _ in BATCH_SIZES),
    )
    PAGE.write_text(head + "\n".join(rows) + "\n" + accuracy_section(), encoding="utf-8")


def speed_text(rounds: list[tuple[float, float]]) -> str:
    float32_ms, int8_ms = (statistics.median(seconds) * 1e3 for seconds in zip(*rounds, strict=True))
    ratios = [first / second for first, second in rounds]
    median = statistics.median(ratios)
    ratio = f"{median:.2f} ({min(ratios):.2f}, {max(ratios):.2f}){' missed' if median < MIN_RATIO else ''}"
    return f"{float32_ms:.2f} ms, {int8_ms:.2f} ms, {ratio}"


def accuracy_section() -> str:
    head = ACCURACY.format(draws=CALIBRATION_DRAWS, images=CALIBRATION_IMAGES)
    return head + "\n".join(accuracy_rows()) + "\n"


def accuracy_rows() -> Iterator[str]:
    for name in shipped_files.pretrained_names():
        card = shipped_files.pretrained_file(name).with_suffix(".md").read_text(encoding="utf-8")
        if line := re.search(r"^\| (.*) in int8 \| (.*), for \d+ draws of .*$", card, re.MULTILINE):
            value = re.search(rf"^\| {line[1]} \| ([\d.]+%)", card, re.MULTILINE)
            assert value is not None
            yield f"| `{name}` | {line[1]} {value[1]} | {line[2]} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["accuracy", "speed"])
    parser.add_argument("names", nargs="*", metavar="NAME", help="shipped models; all of them unless given")
    options = parser.parse_args()
    if options.what == "speed":
        write_speed()
        return
    for name in options.names or shipped_files.pretrained_names():
        write_accuracy(name)
    speed = PAGE.read_text(encoding="utf-8").partition("\n## Accuracy of the shipped models\n")[0]
    PAGE.write_text(speed + accuracy_section(), encoding="utf-8")


if __name__ == "__main__":
    main()
