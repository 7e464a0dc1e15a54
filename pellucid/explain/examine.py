"""One image explained by several methods, tests of each explanation, and files with the results."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from pathlib import Path
from statistics import fmean
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import interpolate

from pellucid.base.errors import PellucidError
from pellucid.base.files import make_folder, write_atomically
from pellucid.base.settings.checks import check_known
from pellucid.explain.checks import SUM_CHECKS, deletion, distance, insertion, randomize_weights
from pellucid.explain.infidelity import ScoreChanges, score_changes, sensitivity
from pellucid.explain.ledger import absorbed_text, ledger
from pellucid.explain.methods import MAGNITUDES, METHODS, explain
from pellucid.explain.names import target_text
from pellucid.explain.occlusion import grey, occlude
from pellucid.explain.road import road
from pellucid.explain.sweeps import scores
from pellucid.explain.target import Region, Target, aim
from pellucid.explain.verdicts import (
    MEANINGS,
    ORDERS,
    RULES,
    ZERO,
    TestVerdict,
    curve_verdict,
    map_caveat,
    relative_gap,
    sum_verdict,
    weights_verdict,
    zero_verdict,
)
from pellucid.layers.base import Mode, Params
from pellucid.report.figures.heat import heat, occlusion_maps, overview
from pellucid.report.sections import Facts, FigurePart, FigureRow, Page, Section, TablePart
from pellucid.report.write import write_picture
from pellucid.training.model import BaseModel

MAX_SHUFFLED_LAYERS = 4  # maximum number of explanations with shuffled weights, each of more layers
MAX_SCORECAM_MAPS = 128  # with more, the ten Score-CAM maps of an examination cost more than all else
CURVE_BATCH = 10  # number of maps whose curves are computed in one batch
COLOURS = ("colours", "blue for the score, ochre against it; green is the strength of maps without a sign")
OVERVIEW_NAME, BY_CLASS_NAME = "all", "occlusion-classes"  # names of files
CURVES = {"deletion": deletion, "insertion": insertion, "road": road}  # tests by curves of the score
Areas = dict[str, list[float]]  # by test, the areas under its curves, one for each map


@dataclass(frozen=True, eq=False)
class MethodResult:
    """The map of one method for one image, (C, H, W) or (1, H, W), and the results of its tests."""

    method: str
    map: Tensor
    sum: float  # the sum of the map
    expected_sum: float | None  # the sum that the method guarantees, None for methods without one
    # the rank correlation of the map's magnitudes with those for shuffled weights, by the path of the first shuffled
    # layer (all later layers are shuffled too); far below 1 if the explanation depends on the network, None if a map is
    # constant
    randomization_correlations: dict[str, float | None]
    # the mean score while pixels are removed, the most important first; lower than `Examination.random` is good
    deletion: float
    # the mean score while pixels are added, the most important first; higher than `Examination.random` is good
    insertion: float
    # the mean score while pixels are imputed from their neighbours, the most important first; lower is better
    road: float
    # the share of changes not predicted, and the bounds of its 95 % interval; see `infidelity`
    infidelity: tuple[float, float, float]
    sensitivity: float | None  # the largest relative change under small changes of the image, None for a map of zeros
    verdicts: dict[str, TestVerdict]  # results of these tests, by name
    # for LRP, the relevance that did not reach the input, by cause (see `Ledger`); otherwise empty
    absorbed: dict[str, float]

    @property
    def gap(self) -> float | None:
        """|sum - expected_sum| / |expected_sum|."""
        return None if self.expected_sum is None else relative_gap(self.sum, self.expected_sum)

    @property
    def caveat(self) -> str:
        """What to know of the map wherever it is shown, see `map_caveat`."""
        return map_caveat(self.map, self.expected_sum)

    @property
    def label(self) -> str:
        """The method, with the caveat of its map."""
        return f"{self.method} ({self.caveat})" if self.caveat else self.method

    @property
    def plane(self) -> Any:
        """The sum over the channels, (H, W), as a NumPy array."""
        return self.map.sum(0).cpu().numpy()


@dataclass(frozen=True, eq=False)
class Examination:
    """All results for one image."""

    target: Target  # see `aim`
    score: float  # the target's score
    results: list[MethodResult]  # one for each method
    skipped: dict[str, str]  # by method, why it does not apply
    random: dict[str, float]  # by test, the mean area for random orders of the pixels
    # 1 minus the rank correlation of the maps of each pair of methods, None if one map is constant
    distances: list[list[float | None]]

    @property
    def trusted(self) -> list[str]:
        """The methods whose map passed all its tests."""
        return [result.method for result in self.results if all(verdict.passed for verdict in result.verdicts.values())]


def examine(model: BaseModel, x: Tensor, methods: Sequence[str], target: Target = None) -> Examination:
    """Explain one image x (C, H, W), as returned by `read_picture`, by several methods, and test the explanations.

    target: a class, None for the predicted class, a Region, or a path such as "features.conv2[3]"; see `aim`. Curves
    use the predictions of the loss, usually probabilities. Occlusion fills with grey. A method that does not fit the
    network or the target is skipped; it raises PellucidError if it is the only method.
    """
    for method in methods:
        check_known("no method", method, METHODS)
    batch = model.scaled(x[None])
    single_target = _predicted_class(model, batch) if target is None else target
    orders = torch.rand((ORDERS, 1, *batch.shape[2:]), generator=torch.Generator().manual_seed(0)).to(batch.device)
    random_areas = _curve_areas(model, batch, single_target, orders)
    changes = score_changes(model.net, model.params, batch, single_target)
    results: list[MethodResult] = []
    skipped: dict[str, str] = {}
    for method in methods:
        try:
            results.append(_examine_method(model, batch, method, single_target, random_areas, changes))
        except PellucidError as error:
            if len(methods) == 1:
                raise
            skipped[method] = str(error)
    return Examination(
        target=single_target,
        score=float(scores(model.net, model.params, batch, single_target)),
        results=results,
        skipped=skipped,
        random={test: fmean(areas) for test, areas in random_areas.items()},
        distances=[[_distance(first, second) for second in results] for first in results],
    )


def _examine_method(
    model: BaseModel, batch: Tensor, method: str, target: Target, random_areas: Areas, changes: ScoreChanges
) -> MethodResult:
    options: dict[str, Any] = {"fill": grey(model)} if method == "occlusion" else {}
    if method == "scorecam":
        options = {"maps": MAX_SCORECAM_MAPS}
    explain_image = partial(explain, model.net, x=batch, method=method, target=target, **options)
    map_ = explain_image(params=model.params)

    def explain_changed(params: Params, x: Tensor) -> Tensor:
        # Both tests below begin with the map of the unchanged network and image; it is not computed again.
        is_unchanged = params is model.params and x is batch
        return map_ if is_unchanged else explain_image(params=params, x=x)

    if not bool(map_.isfinite().all()):
        raise PellucidError(f"{method} returns NaN or infinity; look for NaN in the model's weights")
    net = aim(model.net, target, len(batch)).net  # layers after the target have no effect on it
    randomizations = randomize_weights(
        net, model.params, lambda params: explain_changed(params, batch), max_explanations=MAX_SHUFFLED_LAYERS
    )
    correlations = {randomization.path: _none_if_nan(randomization.correlation) for randomization in randomizations}
    areas = {test: values[0] for test, values in _curve_areas(model, batch, target, map_).items()}
    infidelity = changes.infidelity(map_)
    largest_change = sensitivity(lambda x: explain_changed(model.params, x), batch)
    map_sum = float(map_.sum())
    expected_sum = None
    verdicts = dict[str, TestVerdict]()
    if method in SUM_CHECKS:
        expected_sum = float(SUM_CHECKS[method](model.net, model.params, batch, target, map_).expected)
        verdicts["sum"] = sum_verdict(map_sum, expected_sum, relative_gap(map_sum, expected_sum))
    if map_caveat(map_, expected_sum) == ZERO:
        verdicts["map"] = zero_verdict()
    for test, area in areas.items():
        verdicts[test] = curve_verdict(area, random_areas[test], low_is_good=test != "insertion")
    verdicts["weights"] = weights_verdict(correlations)
    return MethodResult(
        method=method,
        map=map_[0],
        sum=map_sum,
        expected_sum=expected_sum,
        randomization_correlations=correlations,
        **areas,
        infidelity=(float(infidelity.value), float(infidelity.low), float(infidelity.high)),
        sensitivity=_none_if_nan(largest_change),
        verdicts=verdicts,
        absorbed=ledger(model.net, model.params, batch, target).by_cause() if method == "lrp" else {},
    )


def _predicted_class(model: BaseModel, batch: Tensor) -> int | None:
    """Return the class with the largest score of one image; None for a network with other outputs."""
    y, _ = model.net.forward(model.params, batch, Mode(keep=False))
    return int(y.argmax(1)) if isinstance(y, Tensor) and y.dim() == 2 else None


def _curve_areas(model: BaseModel, batch: Tensor, target: Target, maps: Tensor) -> Areas:
    """Return the areas under the curves of one image, for each of the maps."""
    areas: Areas = {test: [] for test in CURVES}
    for chunk in maps.split(CURVE_BATCH):
        x = batch.expand(len(chunk), *batch.shape[1:])
        for test, curve in CURVES.items():
            areas[test].extend(curve(model.net, model.params, x, target, chunk, read=model.loss.predict).area.tolist())
    return areas


def _distance(first: MethodResult, second: MethodResult) -> float | None:
    """Return the distance of two maps, exactly 0 for a map and itself; None if one of them is constant."""
    value = _none_if_nan(distance(first.map[None], second.map[None]))
    return 0.0 if value is not None and first is second else value


def _none_if_nan(value: Tensor) -> float | None:
    return None if bool(value.isnan()) else float(value)


def write_examination(
    folder: Path, model: BaseModel, x: Tensor, examination: Examination, classes: Sequence[str]
) -> list[Path]:
    """Write METHOD.png and METHOD.npz for each method, all.png for two or more, occlusion by class, and index.html.

    x: the image (C, H, W) of values 0..1 that was examined. Figures show the sum over channels; the .npz files contain
    each channel. Returns the written files in order. Raises PellucidError if they cannot be written.
    """
    make_folder(folder)
    target_name = target_text(examination.target, classes)
    paths: list[Path] = []
    for result in examination.results:
        figure = heat_map(x, result, examination, result_lines(result, examination))
        paths += write_picture(folder, result.method, figure, _npz_values(result, x, examination))
        if result.method == "occlusion" and isinstance(examination.target, int):
            paths += _write_occlusion_by_class(folder, model, x, examination.target, classes)
    if len(examination.results) > 1:
        caption = f"{target_name}, score {examination.score:.4g}; ± marks maps with 0 in the middle"
        planes = {result.label: result.plane for result in examination.results}
        magnitudes = {result.label for result in examination.results if result.method in MAGNITUDES}
        distances = [[math.nan if value is None else value for value in row] for row in examination.distances]
        npz_values = {"distance": distances, **{result.method: result.map.cpu() for result in examination.results}}
        paths += write_picture(folder, OVERVIEW_NAME, overview(x, planes, caption, magnitudes), npz_values)
    index = folder / "index.html"
    write_atomically(index, _page(target_name, x, examination).html().encode("utf-8"), durable=False)
    return [*paths, index]


def heat_map(x: Tensor, result: MethodResult, examination: Examination, lines: tuple[str, ...] = ()) -> Figure:
    """Draw an image (C, H, W) and the map of one method; lines: the lines of text below them."""
    outline = None
    if isinstance(examination.target, Region):  # its pixels may be cells of smaller maps
        outline = interpolate(examination.target.weights[:1, None], x.shape[1:])[0, 0] > 0
    return heat(x, result.plane, result.label, lines, result.method not in MAGNITUDES, outline)


def _page(target_name: str, x: Tensor, examination: Examination) -> Page:
    """Return the page of one image: the verdict of each test on each method, and the maps with their tests."""
    tests = list(dict.fromkeys(test for result in examination.results for test in result.verdicts))
    rows: list[tuple[str, ...]] = []
    for result in examination.results:
        texts = [result.verdicts[test].text if test in result.verdicts else "" for test in tests]
        rows.append((result.label, *texts))
    maps = [
        FigurePart(
            result.method,
            heat_map(x, result, examination),
            result.label,
            "; ".join(measure_lines(result, examination)),
        )
        for result in examination.results
    ]
    sections = [
        Section("tests", "What the tests say", [TablePart("", ("method", *tests), rows, ())], wide=True),
        Section("maps", "Maps", [FigureRow(maps)], wide=True),
        Section("meaning", "What the numbers and colours mean", [Facts([*MEANINGS.items(), COLOURS])], wide=True),
    ]
    text = f"Score {examination.score:.4g}. {trusted_text(examination).capitalize()}. {RULES}"
    return Page(f"What {target_name} comes from", sections, text)


def trusted_text(examination: Examination) -> str:
    """Return which maps passed all tests, as text."""
    return f"passed all tests: {', '.join(examination.trusted) or 'none of the maps, so believe none of them'}"


def folder_for(folder: Path, x: Tensor, examination: Examination) -> Path:
    """Return the first of FOLDER, FOLDER-2, FOLDER-3 ... without results for another image, target or score."""
    identity = {"image": x.cpu(), "target": str(examination.target), "score": examination.score}
    folders = chain([folder], (folder.with_name(f"{folder.name}-{number}") for number in count(2)))
    for path in folders:
        files = [file for file in path.glob("*.npz") if file.stem in METHODS]
        if all(_has_identity(file, identity) for file in files):
            return path
    raise AssertionError("the folders are unlimited")


def _has_identity(file: Path, identity: dict[str, Any]) -> bool:
    """Return whether a method's file is for this image, target and (up to rounding) score; False if unreadable."""
    try:
        with np.load(file) as npz:
            is_equal = np.array_equal(npz["image"], identity["image"]) and str(npz["target"]) == identity["target"]
            return is_equal and math.isclose(float(npz["score"]), identity["score"], rel_tol=1e-4)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return False


def result_lines(result: MethodResult, examination: Examination) -> tuple[str, ...]:
    """Return the test results and verdicts of one method as lines of text."""
    verdicts = [f"{test}: {verdict.text}" for test, verdict in result.verdicts.items()]
    return (*measure_lines(result, examination), *verdicts)


def measure_lines(result: MethodResult, examination: Examination) -> tuple[str, ...]:
    """Return the test results of one method as lines of text."""
    correlation_texts = ", ".join(
        f"{path} {'-' if value is None else f'{value:.2f}'}"
        for path, value in result.randomization_correlations.items()
    )
    sums = []
    if result.expected_sum is not None:
        sums = [
            f"adds up to {result.sum:.4g}, should be {result.expected_sum:.4g}: off by {100 * (result.gap or 0):.2g} %"
        ]
    if result.absorbed:
        sums.append(f"absorbed: {absorbed_text(result.absorbed)}")
    return (
        *sums,
        f"deletion {result.deletion:.3f} (random {examination.random['deletion']:.3f}; lower is better), "
        f"insertion {result.insertion:.3f} (random {examination.random['insertion']:.3f}; higher is better), "
        f"ROAD {result.road:.3f} (random {examination.random['road']:.3f}; lower is better)",
        f"infidelity {interval_text(result.infidelity)}, sensitivity {sensitivity_text(result.sensitivity)}",
        f"likeness with weights shuffled from the top down to: {correlation_texts or 'no layer with weights'}",
    )


def interval_text(interval: tuple[float, float, float]) -> str:
    """Return a value and the bounds of its interval as text, "-" for a score that never changes."""
    value, low, high = interval
    if math.isnan(value):
        return "-"
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def sensitivity_text(value: float | None) -> str:
    """Return a sensitivity as text, "-" for a map of zeros."""
    return "-" if value is None else f"{value:.2f}"


def _npz_values(result: MethodResult, x: Tensor, examination: Examination) -> dict[str, Any]:
    return {
        "map": result.map.cpu(),
        "image": x.cpu(),
        "target": str(examination.target),
        "score": examination.score,
        "sum": result.sum,
        "wanted": math.nan if result.expected_sum is None else result.expected_sum,
        "deletion": result.deletion,
        "insertion": result.insertion,
        "road": result.road,
        "infidelity": result.infidelity,
        "sensitivity": math.nan if result.sensitivity is None else result.sensitivity,
        "lost_down_to": list(result.randomization_correlations) or [""],
        "likeness": [math.nan if value is None else value for value in result.randomization_correlations.values()]
        or [math.nan],
        "verdicts": [f"{test}: {verdict.text}" for test, verdict in result.verdicts.items()],
    }


def _write_occlusion_by_class(
    folder: Path, model: BaseModel, x: Tensor, target: int, classes: Sequence[str]
) -> tuple[Path, Path]:
    """Write the target's probability, and the predicted class, for each position of the occluded square."""
    occluded = occlude(
        model.net, model.params, model.scaled(x[None]), target, fill=grey(model), read=model.loss.predict
    )
    assert occluded.predicted is not None
    probability, predicted = occluded.score[0].cpu(), occluded.predicted[0].cpu()
    figure = occlusion_maps(probability, predicted, classes, f"p({classes[target]}) with grey there")
    npz_values = {"probability": probability, "predicted": predicted, "corners": occluded.corners}
    return write_picture(folder, BY_CLASS_NAME, figure, npz_values)
