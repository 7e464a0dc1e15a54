"""The parts of `pellucid demo`: training, explanation, derivative, detection and colorization, for one page."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from pellucid.base.files import make_folder, write_atomically
from pellucid.base.text import percent, plural
from pellucid.data import load_image
from pellucid.data.images import luma
from pellucid.data.samples.cells import blood_smear
from pellucid.data.samples.files import SAMPLES, command_for, single_pictures
from pellucid.explain.examine import MethodResult, examine, heat_map
from pellucid.metrics import colourfulness_rgb
from pellucid.metrics.error_split import HIT, MISSED, classify_detections
from pellucid.model import Model
from pellucid.ops.image_objects import Detections, Objects
from pellucid.recipe.job import Run
from pellucid.report.embedded import embedded
from pellucid.report.figures.curves import metric_curves
from pellucid.report.figures.objects import draw_detections
from pellucid.report.sections import CodeBlock, FigurePart, FigureRow, Fragment, ImageRow, Section, TablePart
from pellucid.run.history import History
from pellucid.task import task_of
from pellucid.trace.text import PRODUCT_SIGN, brief

DIGIT = "3"  # the class of the sample digit.png, which is not among the training pictures of `digits`
METHODS = ("saliency", "integrated_gradients", "lrp", "occlusion")
WEIGHT = "head.scores.weight"  # the derivative with respect to its entry with the largest gradient is explained
MAX_PRODUCTS = 3  # number of products of a sum to list
NUDGE = 0.01
MAX_SIDE = 320  # pixels, the longest side of a photo on the page


class DemoPart(NamedTuple):
    """One part of the demo: a line of text, and a section of the page."""

    line: str
    section: Section


def demo_parts(run: Run) -> Iterator[DemoPart]:
    """Compute and yield the parts for a run of `digits`; sample pictures are written into the run's folder."""
    folder = make_folder(run.path / "samples")
    for name, data in single_pictures():
        write_atomically(folder / name, data, durable=False)
    for part in (_training_part, _prediction_part, _derivative_part, _detection_part, _colorization_part):
        yield part(run, folder)


def _training_part(run: Run, _: Path) -> DemoPart:
    metrics = run.metrics
    result_text = f"{percent(metrics['accuracy'])} of {metrics['n']:,} digits right that were not used for training"
    curves = metric_curves(History.read(run.path).rows, "test")
    parts = [
        f"A small network learned to read handwritten digits from pictures of 8x8 pixels: after "
        f"{plural(metrics['epochs'], 'pass', 'passes')} over the training pictures, {result_text}.",
        FigurePart("trained", curves, "Accuracy by epoch", f"All figures of the training are in {run.report}."),
        CodeBlock('pellucid train digits\n\n# or in Python\nrun = pellucid.train("digits")'),
    ]
    return DemoPart(f"trained: {result_text}", Section("trained", "A network is trained", parts))


def _prediction_part(run: Run, folder: Path) -> DemoPart:
    file, task = folder / "digit.png", task_of(run.model)
    (prediction,), x = run.model.predict(file), task.example(run.model, str(file), DIGIT).x
    examination = examine(run.model, x, METHODS)
    maps = [
        FigurePart(
            result.method,
            heat_map(x, result, examination),
            f"{result.method} of the {DIGIT}",
            _verdicts_text(result),
        )
        for result in examination.results
    ]
    parts = [
        f"The network reads this {DIGIT} as {prediction.label}, with {percent(prediction.confidence or 0.0)}. Each "
        "method marks the pixels from which that answer comes, and each map is tested before it is believed.",
        FigureRow(maps),
        CodeBlock(f"pellucid explain {shlex.quote(str(run.path))} {shlex.quote(str(file))}"),
    ]
    line = f"explained: why it reads {prediction.label}, by {plural(len(examination.results), 'method')}; "
    line += f"passed all tests: {', '.join(examination.trusted) or 'none'}"
    return DemoPart(line, Section("answer", "An answer is explained", parts, wide=True))


def _verdicts_text(result: MethodResult) -> str:
    return "; ".join(f"{test}: {verdict.text}" for test, verdict in result.verdicts.items())


def _derivative_part(run: Run, folder: Path) -> DemoPart:
    file = folder / "digit.png"
    example = task_of(run.model).example(run.model, str(file), DIGIT)
    digit_trace = run.model.trace(example.x[None], example.target)
    explanation = digit_trace.explain(WEIGHT, MAX_PRODUCTS)
    nudge = digit_trace.nudge(explanation.name, NUDGE)
    (term,) = explanation.links[0].terms  # a dense layer's sum has one term for one picture
    product = PRODUCT_SIGN.join(brief(factor.value) for factor in term.factors)
    name = shlex.quote(explanation.name)
    parts = [
        f"How much does one of the weights matter for the loss C of this {DIGIT}? The chain rule gives its derivative "
        f"as a product of numbers that were all computed in the two passes. As a check, {NUDGE:g} added to the weight "
        f"changes the loss by {brief(nudge.actual)}; the derivative predicts {brief(nudge.predicted)}.",
        Fragment(explanation._repr_html_()),
        CodeBlock(
            f"pellucid trace {shlex.quote(str(run.path))} {shlex.quote(str(file))} --target {DIGIT} --weight {name}\n\n"
            f'# or in Python\nmodel.trace(x, target).explain("{explanation.name}")'
        ),
    ]
    line = f"derived: \u2202C/\u2202{explanation.name} = {product} = {brief(explanation.gradient)}"
    return DemoPart(line, Section("derivative", "One derivative, as its factors", parts, wide=True))


def _detection_part(_run: Run, folder: Path) -> DemoPart:
    file, model = folder / "cells.jpg", Model.load("bccd")
    (detections,), classes, (_, cells) = model.predict(file), list(model.classes or ()), blood_smear(0)
    label_indices = [classes.index(name) for name in detections.labels]
    objects = Objects(
        torch.tensor([box for _, *box in cells]), torch.tensor([classes.index(name) for name, *_ in cells])
    )
    matching = classify_detections(
        Detections(detections.boxes, detections.scores, torch.tensor(label_indices)), objects
    )
    missed_indices = matching.not_found(objects)
    kinds = [*(verdict.kind for verdict in matching.verdicts), *([MISSED] * len(missed_indices))]
    drawn_names = [*detections.labels, *(cells[k][0] for k in missed_indices)]
    boxes = torch.cat([detections.boxes, objects.boxes[missed_indices]])
    figure = draw_detections(load_image(file) / 255, boxes, kinds, drawn_names)
    hit_names = [name for name, kind in zip(drawn_names, kinds, strict=True) if kind == HIT]
    true_labels = [name for name, *_ in cells]
    rows = [
        (name, *(str(list(class_names).count(name)) for class_names in (detections.labels, hit_names, true_labels)))
        for name in classes
    ]
    parts = [
        f"A shipped detector finds {plural(len(label_indices), 'object')} in a drawing of {len(cells)} blood cells. As "
        f"the drawing is known, each box is judged: {len(hit_names)} are right.",
        FigureRow([
            FigurePart("objects", figure, "Boxes that are right, false alarms and missed cells"),
            TablePart("", ("class", "found", "of these right", "drawn"), rows),
        ]),
        _sample_code(file),
    ]  # fmt: skip
    counts_text = ", ".join(f"{name} {n_found}" for name, n_found, *_ in rows)
    line = (
        f"found: {plural(len(label_indices), 'object')} ({counts_text}) in a drawing of {len(cells)} cells, "
        f"{len(hit_names)} right"
    )
    return DemoPart(line, Section("objects", "Objects are found", parts, wide=True))


def _colorization_part(_: Run, folder: Path) -> DemoPart:
    file, image = folder / "flower.jpg", load_image(folder / "flower.jpg")
    (colorized,) = Model.load("colorize").predict(file)
    pictures = {"grey": luma(image).expand(3, -1, -1), "colorized": colorized.image, "original": image}
    colourfulness, true_colourfulness = (
        float(colourfulness_rgb(pictures[name][None] / 255)) for name in ("colorized", "original")
    )
    parts = [
        "A small colorizer that is shipped with the package sees only the grey photo, and keeps its lightness. It is "
        f"careful where several colours are likely: the colourfulness is {colourfulness:.1f}, that of "
        f"the original {true_colourfulness:.1f}.",
        ImageRow(file.name, [(name, embedded(picture, MAX_SIDE)) for name, picture in pictures.items()]),
        _sample_code(file),
    ]
    line = f"coloured: {file.name}, colourfulness {colourfulness:.1f} (original {true_colourfulness:.1f})"
    return DemoPart(line, Section("colours", "A photo is coloured", parts, wide=True))


def _sample_code(file: Path) -> CodeBlock:
    """Return the command for a sample, `pellucid COMMAND MODEL FILE`, and the equivalent Python code."""
    command = next(command_for(sample, file.parent) for sample in SAMPLES if sample.name == file.name)
    return CodeBlock(f'{command}\n\n# or in Python\nModel.load("{command.split()[2]}").predict("{file}")')
