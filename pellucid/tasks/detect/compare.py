"""Comparison of detectors on one split: average precision by the size of objects, the time of each stage, a page."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import plural
from pellucid.combine.nets import parameter_counts
from pellucid.data import DetectionFolder
from pellucid.data.augment.standardise import scaled as scaled_images
from pellucid.data.detection import scale_objects
from pellucid.detectors import Detector
from pellucid.detectors.search import Search, selective_search
from pellucid.ops.image_objects import Detections, Objects
from pellucid.recipe.job import load_data
from pellucid.recipe.material import Material
from pellucid.recipe.recipe import Recipe, load_recipe
from pellucid.recipe.resume import train_or_resume
from pellucid.report.figures.grids import bar_panels
from pellucid.report.sections import FigurePart, Page, Section, TablePart
from pellucid.tasks.comparison import Comparison, ComparisonProgress, measure_candidates, select
from pellucid.tasks.detect.linear import MAX_IMAGES, LinearDetector
from pellucid.tasks.detect.results import measure, percent_cell
from pellucid.tasks.detect.stages import StageTimes, mean_stages, timed_predictor

ROI_POOL: Mapping[str, Any] = {"objective.pool": True}


class DetectorCandidate(NamedTuple):
    """A kind of detector. recipe: its name, "" for R-CNN. changes: settings that override those of the recipe."""

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
UNREGRESSED_TITLE = "R-CNN, boxes as proposed"
METRIC_LABELS = {"ap": "AP", "ap50": "AP50", "ap_small": "small", "ap_medium": "medium", "ap_large": "large"}

STAGES_TEXT = (
    "Features are the maps of the image; proposals are what a first network, a search or a file gives; heads are what "
    "is computed for each proposal, of single-stage detectors for each cell; the decision is the threshold and the "
    "suppression of boxes. R-CNN computes features for each proposal, so that they come after these."
)


@dataclass(frozen=True)
class ComparedDetector:
    """The results of one detector on the held-out images.

    figures: COCO's metrics of the boxes that METRIC_LABELS lists. interval: the 95 % interval of AP50, from a bootstrap
    over the images. masks: AP and AP50 of masks, or None. stages: mean seconds per image. parameters: their number.
    run: the folder of the training run, "" for R-CNN.
    """

    name: str
    title: str
    figures: Mapping[str, float]
    interval: tuple[float, float]
    masks: Mapping[str, float] | None
    stages: StageTimes
    parameters: int
    run: str


@dataclass(frozen=True)
class DetectorComparison(Comparison):
    """The detectors on one data set.

    train, held_out: numbers of images. threads: the number of PyTorch's threads when the times were measured.
    proposals: the source of R-CNN's proposals.
    """

    data: str
    train: int
    held_out: int
    seed: int
    threads: int
    proposals: str
    rows: tuple[ComparedDetector, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        rows = [{**asdict(row), "stages": row.stages._asdict()} for row in self.rows]
        return {**asdict(self), "rows": rows}

    def table(self) -> TablePart:
        """Return a row for each detector, in per cent and milliseconds; missing values are "-"."""
        with_masks = any(row.masks is not None for row in self.rows)
        columns = ("detector", "AP50", "interval", "AP", "small", "medium", "large")
        columns += ("mask AP50", "mask AP") if with_masks else ()
        columns += ("features", "proposals", "heads", "decision", "ms / image")
        return TablePart("", columns, [_table_row(row, with_masks) for row in self.rows])

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

    def lines(self) -> list[str]:
        """Return the lines above the table in a terminal."""
        return ["", *self.notes(), ""]

    def page_or_figure(self, command: str) -> Page:
        """Return the page: the table, and figures of the average precision by size and of the time of each stage."""
        # A metric is NaN if there are no objects of its size.
        metrics = [name for name in METRIC_LABELS if all(row.figures[name] >= 0 for row in self.rows)]
        precision = {row.title: [100 * row.figures[name] for name in metrics] for row in self.rows}
        times = {row.title: [1000 * value for value in row.stages] for row in self.rows}
        precision_bars = bar_panels(precision, [METRIC_LABELS[name] for name in metrics], [1] * len(metrics))
        time_bars = bar_panels(times, [f"{name}, ms" for name in StageTimes._fields], [1] * len(StageTimes._fields))
        alt = "Average precision of each detector, of all objects and by their size"
        figure = FigurePart("times", time_bars, "Milliseconds of each stage of each detector")
        sections = [
            Section("results", "Results", [*self.notes(), self.table()], wide=True),
            Section("sizes", "By the size of objects", [FigurePart("sizes", precision_bars, alt)], wide=True),
            Section("times", "Time of each stage", [STAGES_TEXT, figure], wide=True),
        ]
        return Page(f"Detectors on {self.data}", sections, command=command)


def compare_detectors(
    name: str,
    root: str | os.PathLike[str] | None = None,
    seed: int = 0,
    only: Collection[str] = (),
    overrides: Mapping[str, Any] | None = None,
    runs: str | os.PathLike[str] = "runs",
    proposals: dict[str, Tensor] | Search = "selective_search",
    progress: ComparisonProgress = lambda title, done, total: None,
    verbose: bool = False,
) -> DetectorComparison:
    """Train the detectors of CANDIDATES on annotated images, or of MASK_CANDIDATES for masks, and measure each.

    name, root: see `pellucid.data.catalogue.load`. only: names of candidates, () for all. overrides: settings for all
    recipes. runs: the folder of run folders; a finished run of the same recipe is not repeated, an unfinished one is
    resumed. proposals: for R-CNN, boxes by file name, or the name of a search. progress: see `measure_candidates`.
    verbose: whether to print the progress of trainings. Raises PellucidError for an unknown candidate, and for data
    without objects.
    """
    base_recipe = load_recipe("bccd-single", {"data.name": name, **(overrides or {})})
    material = load_data(base_recipe, root)
    if not isinstance(material.train, DetectionFolder):
        raise PellucidError(f"{name} has no annotated objects; give data with boxes, such as bccd")
    unknown_detector = f"there is no detector {{!r}} for {name}"
    candidates = select(MASK_CANDIDATES if material.train.has_masks else CANDIDATES, only, unknown_detector)
    settings = {"data.name": name, "objective.classes": len(material.train.classes or ()), "recipe.seed": seed}
    if proposals == "selective_search" and "rcnn" in candidates:
        selective_search(torch.zeros(3, 32, 32))  # raises PellucidError if the package is missing

    def measure_candidate(key: str, candidate: DetectorCandidate) -> Iterable[ComparedDetector]:
        if not candidate.recipe:
            return _measure_linear(key, material, proposals, seed, root)
        recipe = load_recipe(candidate.recipe, {**candidate.changes, **settings, **(overrides or {})})
        return [_train_and_measure(key, candidate.title, recipe, root, Path(runs), verbose)]

    rows = measure_candidates(candidates, measure_candidate, progress)
    held_out = material.validation or material.test
    return DetectorComparison(
        name, len(material.train), len(held_out), seed, torch.get_num_threads(),
        proposals if isinstance(proposals, str) else "a file", rows,
    )  # fmt: skip


def _train_and_measure(
    key: str, title: str, recipe: Recipe, root: str | os.PathLike[str] | None, runs: Path, verbose: bool
) -> ComparedDetector:
    material = load_data(recipe, root)
    trained = train_or_resume(recipe, material, runs, root, verbose)
    model = trained.model
    held_out = material.validation or material.test
    assert isinstance(held_out, DetectionFolder)
    assert isinstance(model.objective, Detector)
    predict, detections, stages = timed_predictor(model.objective, model.params), [], []
    with torch.inference_mode():
        predict(scaled_images(held_out.example(0)[0][None], model.stats))  # the first pass allocates memory
        for k in range(len(held_out)):
            image_detections, image_times = predict(scaled_images(held_out.example(k)[0][None], model.stats))
            detections.append(_scale_to_file(image_detections, held_out, k))
            stages.append(image_times)
    parameters = parameter_counts(model.objective.nets, model.params).parameters
    return _compared_detector(key, title, held_out, detections, stages, parameters, str(trained.path))


def _measure_linear(
    key: str,
    material: Material[Any],
    proposals: dict[str, Tensor] | Search,
    seed: int,
    root: str | os.PathLike[str] | None,
) -> Iterator[ComparedDetector]:
    """Yield the rows of R-CNN: with the boxes as proposed, and with regressed boxes."""
    held_out = material.validation or material.test
    with torch.inference_mode():
        detector = LinearDetector(len(material.train.classes), proposals, root).fit(material.train, seed)
        timed_detections = [detector.detections(held_out, k) for k in range(len(held_out))]
    parameters = detector.parameters
    stages = [timed.stages for timed in timed_detections]
    for name, title, attribute in (
        (f"{key}-unmoved", UNREGRESSED_TITLE, "unregressed"),
        (key, CANDIDATES[key].title, "regressed"),
    ):
        detections = [
            _scale_to_file(getattr(timed, attribute), held_out, k) for k, timed in enumerate(timed_detections)
        ]
        yield _compared_detector(name, title, held_out, detections, stages, parameters, "")


def _compared_detector(
    key: str,
    title: str,
    test: DetectionFolder,
    detections: list[Detections],
    stages: list[StageTimes],
    parameters: int,
    run: str,
) -> ComparedDetector:
    objects = [_objects_in_file(test, k) for k in range(len(test))]
    results = measure(detections, objects, test.classes or ())
    masks = None if results.masks is None else {name: results.masks[name] for name in ("ap", "ap50")}
    figures = {name: results.figures[name] for name in METRIC_LABELS}
    return ComparedDetector(key, title, figures, results.intervals["ap50"], masks, mean_stages(stages), parameters, run)


def _objects_in_file(test: DetectionFolder, k: int) -> Objects:
    """Return the objects of image k in the pixels of its file."""
    return test.records[k].objects(len(test.keypoints), test.has_masks)


def _scale_to_file(detections: Detections, test: DetectionFolder, k: int) -> Detections:
    """Return the detections in image k, scaled from the network's input to the pixels of its file."""
    return scale_objects(detections, test.size_of(k), test.records[k].size)


def _table_row(row: ComparedDetector, with_masks: bool) -> tuple[str, ...]:
    interval = " to ".join(f"{100 * value:.1f}" for value in row.interval)
    box_cells = [percent_cell(row.figures[name]) for name in ("ap50", "ap", "ap_small", "ap_medium", "ap_large")]
    mask_cells = (
        [percent_cell(None if row.masks is None else row.masks[name]) for name in ("ap50", "ap")] if with_masks else []
    )
    time_cells = [f"{1000 * value:.1f}" for value in (*row.stages, row.stages.total)]
    return (row.title, box_cells[0], interval, *box_cells[1:], *mask_cells, *time_cells)
