"""Several kinds of detectors on one split: average precision by the size of objects, the time of each stage, a page."""

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pellucid.data import DetectionFolder
from pellucid.data.augment.standardise import scaled as scaled_images
from pellucid.data.detection import scaled
from pellucid.detectors import Detector
from pellucid.detectors.search import Search, selective_search
from pellucid.errors import PellucidError, nearest
from pellucid.image_objects import Detections, Objects
from pellucid.model import Model
from pellucid.objective import sizes
from pellucid.recipe.job import begin_run, load_data, train_in
from pellucid.recipe.material import Material
from pellucid.recipe.recipe import Recipe, load_recipe
from pellucid.report.figures.grids import bars
from pellucid.report.page import render
from pellucid.run.folder import RunFolder
from pellucid.tasks.compare import ComparisonProgress
from pellucid.tasks.detect.linear import MAX_IMAGES, LinearDetector
from pellucid.tasks.detect.results import measure, percent_cell
from pellucid.tasks.detect.stages import Stages, clocked, mean
from pellucid.text import aligned, plural

ROI_POOL: Mapping[str, Any] = {"objective.pool": True}


class DetectorCandidate(NamedTuple):
    """A kind of detector. recipe: the name of its recipe, "" for R-CNN. changes: to the settings of the recipe."""

    title: str
    recipe: str
    changes: Mapping[str, Any] = {}


CANDIDATES = {
    "rcnn": DetectorCandidate("R-CNN", ""),
    "fast": DetectorCandidate("Fast R-CNN", "bccd-fast"),
    "fast-pool": DetectorCandidate("Fast R-CNN, RoIPool", "bccd-fast", ROI_POOL),
    "faster": DetectorCandidate("Faster R-CNN", "bccd-faster"),
    "faster-pool": DetectorCandidate("Faster R-CNN, RoIPool", "bccd-faster", ROI_POOL),
    "ssd": DetectorCandidate("SSD", "bccd-ssd"),
    "yolo1": DetectorCandidate("YOLO v1", "bccd-yolo1"),
    "yolo3": DetectorCandidate("YOLO v3", "bccd-yolo3"),
    "single": DetectorCandidate("single-stage", "bccd-single"),
}
MASK_CANDIDATES = {
    "mask": DetectorCandidate("Mask R-CNN", "pennfudan-mask"),
    "mask-pool": DetectorCandidate("Mask R-CNN, RoIPool", "pennfudan-mask", ROI_POOL),
}
UNMOVED = "R-CNN, boxes as proposed"
FIGURES = {"ap": "AP", "ap50": "AP50", "ap_small": "small", "ap_medium": "medium", "ap_large": "large"}


@dataclass(frozen=True)
class ComparedDetector:
    """The results of one detector on the held-out images.

    figures: COCO's metrics of the boxes, those of FIGURES. interval: the 95 % interval of AP50, by the bootstrap over
    the images. masks: AP and AP50 of masks, or None. stages: mean seconds per image. parameters: their number. run: the
    folder of the training run, "" for R-CNN.
    """

    name: str
    title: str
    figures: Mapping[str, float]
    interval: tuple[float, float]
    masks: Mapping[str, float] | None
    stages: Stages
    parameters: int
    run: str


@dataclass(frozen=True)
class DetectorComparison:
    """The detectors on one data set.

    threads: the number used by PyTorch when the times were measured. proposals: the method that finds R-CNN's
    proposals.
    """

    data: str
    train: int
    held_out: int
    seed: int
    threads: int
    proposals: str
    rows: tuple[ComparedDetector, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        values = asdict(self)
        values["rows"] = [
            {**row, "stages": one.stages._asdict()} for row, one in zip(values["rows"], self.rows, strict=True)
        ]
        return values

    def table(self) -> list[tuple[str, ...]]:
        """Return the header and a row for each detector, in per cent and milliseconds; a dash for a missing value."""
        masks = any(row.masks is not None for row in self.rows)
        head = ("detector", "AP50", "interval", "AP", "small", "medium", "large")
        head += ("mask AP50", "mask AP") if masks else ()
        head += ("features", "proposals", "heads", "decision", "ms / image")
        return [head, *(_cells(row, masks) for row in self.rows)]

    def notes(self) -> list[str]:
        """Return sentences about the measurements and about R-CNN's training."""
        notes = [
            f"AP in per cent on {self.held_out} held-out images, in their own pixels; small is below 32 x 32 pixels, "
            f"large above 96 x 96. Milliseconds for one image at a time on {plural(self.threads, 'thread')}."
        ]
        if any(not row.run for row in self.rows):
            notes.append(
                f"R-CNN learned from {min(MAX_IMAGES, self.train)} of the {self.train} training images, without "
                f"fine-tuning; its proposals are from {self.proposals}."
            )
        return notes

    def __str__(self) -> str:
        """Return the table in plain text."""
        rows = self.table()
        return aligned(rows, right=range(1, len(rows[0])))


def compare_detectors(
    name: str,
    root: str | os.PathLike[str] | None = None,
    seed: int = 0,
    only: Collection[str] = (),
    overrides: Mapping[str, Any] | None = None,
    runs: str | os.PathLike[str] = "runs",
    proposals: dict[str, Tensor] | Search = "selective_search",
    progress: ComparisonProgress = lambda what, done, total: None,
    verbose: bool = False,
) -> DetectorComparison:
    """Train the detectors of CANDIDATES on annotated images, or of MASK_CANDIDATES for masks, and measure each.

    name, root: see `pellucid.data.catalogue.load`. only: names of candidates. overrides: settings for all recipes.
    runs: the folder of run folders; a finished run of the same recipe there is not repeated, an unfinished one is
    resumed. proposals: of R-CNN, boxes by file name, or the name of a search. verbose: whether trainings show their
    progress. Raises PellucidError for an unknown candidate, and for data without objects.
    """
    first = load_recipe("bccd-single", {"data.name": name, **(overrides or {})})
    material = load_data(first, root)
    if not isinstance(material.train, DetectionFolder):
        raise PellucidError(f"{name} has no annotated objects; give data with boxes, such as bccd")
    candidates = MASK_CANDIDATES if material.train.has_masks else CANDIDATES
    for key in only:
        if key not in candidates:
            hint = nearest(key, candidates) or f"; there are {', '.join(candidates)}"
            raise PellucidError(f"there is no detector {key!r} for {name}{hint}")
    settings = {"data.name": name, "objective.classes": len(material.train.classes or ()), "recipe.seed": seed}
    if proposals == "selective_search" and "rcnn" in candidates and (not only or "rcnn" in only):
        selective_search(torch.zeros(3, 32, 32))  # raises an error before the long trainings if it is not installed
    rows: list[ComparedDetector] = []
    chosen = [key for key in candidates if not only or key in only]
    for number, key in enumerate(chosen, 1):
        progress(candidates[key].title, number, len(chosen))
        if candidates[key].recipe:
            recipe = load_recipe(candidates[key].recipe, {**candidates[key].changes, **settings, **(overrides or {})})
            rows.append(_trained(key, candidates[key].title, recipe, root, Path(runs), verbose))
        else:
            rows += _linear(key, material, proposals, seed, root)
    held_out = material.validation or material.test
    return DetectorComparison(
        name, len(material.train), len(held_out), seed, torch.get_num_threads(),
        proposals if isinstance(proposals, str) else "a file", tuple(rows),
    )  # fmt: skip


def _trained(
    key: str, title: str, recipe: Recipe, root: str | os.PathLike[str] | None, runs: Path, verbose: bool
) -> ComparedDetector:
    material = load_data(recipe, root)
    model, path = _model(recipe, material, root, runs, verbose)
    held_out = material.validation or material.test
    assert isinstance(held_out, DetectionFolder)
    assert isinstance(model.objective, Detector)
    run, found, stages = clocked(model.objective, model.params), [], []
    with torch.inference_mode():
        run(scaled_images(held_out.example(0)[0][None], model.stats))  # the first pass allocates memory
        for k in range(len(held_out)):
            detections, times = run(scaled_images(held_out.example(k)[0][None], model.stats))
            found.append(_in_file(detections, held_out, k))
            stages.append(times)
    parameters = sizes(model.objective.nets, model.params).parameters
    return _measured(key, title, held_out, found, stages, parameters, str(path))


def _model(
    recipe: Recipe, material: Material[Any], root: str | os.PathLike[str] | None, runs: Path, verbose: bool
) -> tuple[Model, Path]:
    """Return the model of a run with this recipe, and the run folder; see `compare_detectors`."""
    matching = [path for path in _folders(runs, recipe.name) if load_recipe(path / "recipe.toml") == recipe]
    finished = [path for path in matching if (path / "results.json").is_file()]
    if finished:
        return Model.load(RunFolder(finished[-1]).best), finished[-1]
    if matching:
        return train_in(matching[-1], material, verbose, root).model, matching[-1]
    path, model = begin_run(recipe, material, runs, root)
    return train_in(path, material, verbose, root, model=model).model, path


def _folders(runs: Path, name: str) -> list[Path]:
    """Return the run folders of recipes of this name, in the order of their numbers."""
    paths = [path for path in runs.glob(f"{name}-*") if (path / "recipe.toml").is_file()]
    numbered = [path for path in paths if path.name.removeprefix(f"{name}-").isdecimal()]
    return sorted(numbered, key=lambda path: int(path.name.removeprefix(f"{name}-")))


def _linear(
    key: str,
    material: Material[Any],
    proposals: dict[str, Tensor] | Search,
    seed: int,
    root: str | os.PathLike[str] | None,
) -> Iterator[ComparedDetector]:
    """Yield the rows of R-CNN without and with the regression of boxes."""
    held_out = material.validation or material.test
    with torch.inference_mode():
        detector = LinearDetector(len(material.train.classes), proposals, root).fit(material.train, seed)
        found = [detector.detections(held_out, k) for k in range(len(held_out))]
    parameters = detector.parameters
    stages = [one.stages for one in found]
    for name, title, attribute in ((f"{key}-unmoved", UNMOVED, "unmoved"), (key, CANDIDATES[key].title, "moved")):
        detections = [_in_file(getattr(one, attribute), held_out, k) for k, one in enumerate(found)]
        yield _measured(name, title, held_out, detections, stages, parameters, "")


def _measured(
    key: str,
    title: str,
    held: DetectionFolder,
    found: list[Detections],
    stages: list[Stages],
    parameters: int,
    run: str,
) -> ComparedDetector:
    truth = [_truth(held, k) for k in range(len(held))]
    results = measure(found, truth, held.classes or ())
    masks = None if results.masks is None else {name: results.masks[name] for name in ("ap", "ap50")}
    figures = {name: results.figures[name] for name in FIGURES}
    return ComparedDetector(key, title, figures, results.intervals["ap50"], masks, mean(stages), parameters, run)


def _truth(held: DetectionFolder, k: int) -> Objects:
    """Return the objects of image k in the pixels of its file."""
    return held.records[k].objects(len(held.keypoints), held.has_masks)


def _in_file(found: Detections, held: DetectionFolder, k: int) -> Detections:
    """Return detections in image k in the pixels of its file."""
    return scaled(found, held.size_of(k), held.records[k].size)


def _cells(row: ComparedDetector, masks: bool) -> tuple[str, ...]:
    interval = " to ".join(f"{100 * value:.1f}" for value in row.interval)
    boxes = [percent_cell(row.figures[name]) for name in ("ap50", "ap", "ap_small", "ap_medium", "ap_large")]
    of_masks = (
        [percent_cell(None if row.masks is None else row.masks[name]) for name in ("ap50", "ap")] if masks else []
    )
    times = [f"{1000 * value:.1f}" for value in (*row.stages, row.stages.total)]
    return (row.title, boxes[0], interval, *boxes[1:], *of_masks, *times)


def comparison_page(found: DetectorComparison, command: str) -> tuple[str, dict[str, Figure | None]]:
    """Return the HTML document, and its figures by name."""
    # A metric is NaN if there are no objects of its size.
    measured = [name for name in FIGURES if all(row.figures[name] >= 0 for row in found.rows)]
    sizes = {row.title: [100 * row.figures[name] for name in measured] for row in found.rows}
    times = {row.title: [1000 * value for value in row.stages] for row in found.rows}
    figures: dict[str, Figure | None] = {
        "sizes": bars(sizes, [FIGURES[name] for name in measured], [1] * len(measured)),
        "times": bars(times, [f"{name}, ms" for name in Stages._fields], [1] * len(Stages._fields)),
    }
    title = f"Detectors on {found.data}"
    html = render(
        "detectors", title=title, notes=found.notes(), rows=found.table(), figures=figures, command=command
    )  # fmt: skip
    return html, figures
